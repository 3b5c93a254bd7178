/* SPDX-License-Identifier: MIT */
/* put.c - see put.h. The rename itself: rename.c. */
#include "core/put.h"

#include "core/cleanup.h"
#include "core/journal.h"
#include "core/meta.h"
#include "core/ops.h"
#include "core/sealed.h"
#include "core/space.h"
#include "core/tail.h"
#include "core/value.h"

#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define ACL_DEFAULT "system.posix_acl_default"
#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_MAX	    4096  /* more than ext4 and XFS keep */
#define XATTR_MAX   65536 /* XATTR_LIST_MAX and XATTR_SIZE_MAX of the kernel */

struct dv_put {
	struct dv_node *node; /* a reference */
	uint64_t id;
	char stored[DV_TAIL_NAME]; /* in the owner folder, as long as it is not committed */
	mode_t mode;
	uint64_t written; /* bytes: the keeper can pack none of them before they have a name */
	bool named, keep_attrs, sealed, committed;
	dv_err failed; /* of a write */
};

struct dv_node *dv_put_node(struct dv_put *p)
{
	return p->node;
}

/* The node of the file, which has the name in the owner folder. Takes fd. */
static dv_err enter(struct dv_store *s, struct dv_put *p, int fd)
{
	struct dv_stat st;
	struct dv_file *f = dv_file_new(s, fd, true);
	dv_err err = f ? DV_B(s, stat, fd, "", &st) : -ENOMEM;
	if (!err && !S_ISREG(st.mode))
		err = -EINVAL;
	if (!err) {
		struct dv_ident id = dv_ident_of(&st);
		p->mode = st.mode & 07777;
		p->node = dv_node_new(S_IFREG, dv_meta_ino(&id), "");
		err = p->node ? 0 : -ENOMEM;
		if (!err) {
			atomic_fetch_add(&s->node_count, 1);
			atomic_init(&p->node->dirty, true);
			/* Who finds the object under its name first finds this node. */
			dv_node_set_object(s, p->node, &id, DV_FORM_RAW);
			dv_ignore(
				DV_B(s, flock, fd, LOCK_SH | LOCK_NB)); /* as any that is written */
			dv_node_set_file(s, p->node, f, true);
		}
	}
	dv_file_unref(s, f);
	return err;
}

static dv_err new_put(struct dv_store *s, struct dv_put **out)
{
	if (!s->journal)
		return -EROFS;
	struct dv_put *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->id = dv_journal_new_id(s->journal);
	dv_journal_stage_name(p->id, p->stored);
	*out = p;
	return 0;
}

dv_err dv_put_begin(struct dv_store *s, mode_t mode, struct dv_put **out)
{
	struct dv_put *p = NULL;
	dv_err err = new_put(s, &p);
	if (err)
		return err;
	dv_act_as_self(s);
	int fd = DV_B(s, open, dv_journal_dirfd(s->journal), p->stored, O_RDWR | O_CREAT | O_EXCL,
		      mode & 07777);
	p->named = fd >= 0;
	err = fd < 0 ? fd : enter(s, p, fd);
	if (err)
		dv_put_end(s, &p);
	*out = p;
	return err;
}

dv_err dv_put_begin_link(struct dv_store *s, int fd, struct dv_put **out)
{
	struct dv_put *p = NULL;
	dv_err err = dv_is_sealed(s) ? -EOPNOTSUPP : 0;
	if (!err)
		err = new_put(s, &p);
	if (!err)
		err = DV_B(s, link_fd, fd, dv_journal_dirfd(s->journal), p->stored);
	if (err) {
		DV_B(s, close, fd);
	} else {
		p->named = p->keep_attrs = true;
		err = enter(s, p, fd);
	}
	if (err)
		dv_put_end(s, &p);
	*out = p;
	return err;
}

ssize_t dv_put_write(struct dv_store *s, const struct dv_call *call, struct dv_put *p,
		     const void *buf, struct dv_range range)
{
	if (p->failed)
		return p->failed;
	ssize_t done = dv_store_write(s, call, p->node, buf, range, 0);
	if (done > 0) { /* else a long one would wait for what can not be done */
		dv_space_seen(s, (uint64_t)done);
		p->written += (uint64_t)done;
	}
	if (done >= 0 && (uint64_t)done < range.len)
		done = -ENOSPC; /* a part was written, then there was no room */
	if (done < 0)
		p->failed = (dv_err)done;
	return done;
}

dv_err dv_put_resize(struct dv_store *s, const struct dv_call *call, struct dv_put *p,
		     uint64_t size)
{
	struct dv_setattr set = {.valid = DV_SET_SIZE, .size = size};
	struct dv_stat st;
	if (p->failed)
		return p->failed;
	p->failed = dv_store_setattr(s, call, p->node, &set, &st);
	return p->failed;
}

/* ---- what a value is to have beside its bytes ---- */

/* The access ACL of a file that is made with `mode` in a directory with the default ACL acl, as
 * posix_acl_create() of the kernel makes it. The attribute: u32 version, then entries of u16 tag,
 * u16 permissions, u32 id (linux/posix_acl_xattr.h), little endian. */
static void mask_acl(uint8_t *acl, size_t len, mode_t mode)
{
	enum { USER_OBJ = 1, GROUP_OBJ = 4, MASK = 16, OTHER = 32 };
	bool has_mask = false;
	for (size_t at = 4; at + 8 <= len; at += 8)
		has_mask |= acl[at] == MASK;
	for (size_t at = 4; at + 8 <= len; at += 8) {
		unsigned tag = acl[at], keep = 7;
		if (tag == USER_OBJ)
			keep = mode >> 6 & 7;
		else if (tag == MASK || (tag == GROUP_OBJ && !has_mask))
			keep = mode >> 3 & 7;
		else if (tag == OTHER)
			keep = mode & 7;
		acl[at + 2] &= (uint8_t)keep;
	}
}

/* As a file that is made in the directory: its group, its default ACL. */
static dv_err dress_new(struct dv_store *s, const struct dv_put *p, int fd, int dirfd)
{
	struct dv_stat st;
	uint8_t acl[ACL_MAX];
	dv_err err = DV_B(s, stat, dirfd, "", &st);
	if (!err && (st.mode & S_ISGID)) {
		/* The kernel would; who may not is in none of the directory's groups. */
		if (DV_B(s, chown, fd, (uid_t)-1, st.gid) == 0)
			err = DV_B(s, chmod, fd, p->mode);
	}
	ssize_t len = err || !s->has_acls ? -ENODATA
					  : DV_B(s, getxattr, dirfd, ACL_DEFAULT, acl, sizeof(acl));
	if (len <= 4)
		return err;
	mask_acl(acl, (size_t)len, p->mode);
	return DV_B(s, setxattr, fd, ACL_ACCESS, acl, (size_t)len, 0);
}

static dv_err dress_as(struct dv_store *s, struct dv_node *over, int fd)
{
	struct dv_file *old = NULL;
	struct dv_stat st;
	dv_err err = dv_value_handle(s, over, &old);
	if (!err)
		err = DV_B(s, stat, old->fd, "", &st);
	if (!err)
		err = dv_meta_copy(s, old->fd, &st, fd);
	if (err == -EPERM || err == -EACCES) /* another user's: it is the writer's from now on */
		err = DV_B(s, chmod, fd, st.mode & 0777);
	dv_file_unref(s, old);
	return err;
}

/* Those that can not be given, on another filesystem or by this user, are left out. */
static dv_err give_xattrs(struct dv_store *s, int from, int to)
{
	DV_AUTO_FREE char *list = malloc(XATTR_MAX);
	DV_AUTO_FREE char *value = malloc(XATTR_MAX);
	if (!list || !value)
		return -ENOMEM;
	ssize_t len = DV_B(s, listxattr, from, list, XATTR_MAX);
	for (char *attr = list; len > 0 && attr < list + len; attr += strlen(attr) + 1) {
		if (dv_meta_is_hidden(attr))
			continue;
		ssize_t got = DV_B(s, getxattr, from, attr, value, XATTR_MAX);
		if (got >= 0)
			dv_ignore(DV_B(s, setxattr, to, attr, value, (size_t)got, 0));
	}
	return 0;
}

dv_err dv_put_dress(struct dv_store *s, struct dv_put *p, int fd, const struct dv_stat *st)
{
	struct dv_file *f = dv_node_file(s, p->node, true);
	struct timespec times[2] = {st->atime, st->mtime};
	mode_t mode = st->mode & 07777;
	if (!f)
		return -ESTALE;
	if (DV_B(s, chown, f->fd, st->uid, st->gid)) {
		mode &= ~(mode_t)(S_ISUID | S_ISGID); /* they were meant for that owner */
		dv_ignore(DV_B(s, chown, f->fd, (uid_t)-1, st->gid));
	}
	dv_err err = give_xattrs(s, fd, f->fd);
	if (!err)
		err = DV_B(s, chmod, f->fd, mode);
	if (!err)
		err = DV_B(s, utimens, f->fd, times);
	dv_file_unref(s, f);
	p->keep_attrs = !err;
	return err;
}

struct renamed {
	struct dv_renamed_in in; /* first: dress() gets it */
	const struct dv_put *put;
};

static dv_err dress(struct dv_store *s, const struct dv_renamed_in *in, const struct dv_place *to,
		    struct dv_node *over)
{
	const struct dv_put *p = ((const struct renamed *)in)->put;
	struct dv_file *f = dv_node_file(s, p->node, true);
	if (!f)
		return -ESTALE;
	dv_err err = 0;
	if (over && S_ISREG(over->type))
		err = dress_as(s, over, f->fd);
	else
		err = dress_new(s, p, f->fd, to->dirfd);
	dv_file_unref(s, f);
	return err;
}

static dv_err dress_not(struct dv_store *s, const struct dv_renamed_in *in,
			const struct dv_place *to, struct dv_node *over)
{
	(void)s, (void)in, (void)to, (void)over;
	return 0;
}

/* ---- the end ---- */

/*
 * Where a value's one file is compressed (sealed.h): that file is made now, and takes the plain one's
 * place in the owner folder, and as the node's object.
 */
static dv_err seal(struct dv_store *s, struct dv_put *p)
{
	struct dv_tag tag = {.st_ino = dv_node_ino(p->node)};
	char name[DV_TAIL_NAME];
	struct dv_stat st;
	int fd = -1, dirfd = dv_journal_dirfd(s->journal);
	struct dv_file *from = dv_node_file(s, p->node, true);
	if (!from)
		return -ESTALE;
	clock_gettime(CLOCK_REALTIME, &tag.swapped);
	dv_tail_packed_name(p->id, name);
	dv_act_as_self(s);
	dv_err err = dv_sealed_make(s, from->fd, dirfd, name, &tag, &fd);
	dv_file_unref(s, from);
	if (err)
		return err == -ECANCELED ? -EIO : err;
	dv_ignore(DV_B(s, unlink, dirfd, p->stored)); /* swept by the next owner */
	strcpy(p->stored, name);
	struct dv_file *f = dv_file_new(s, fd, true);
	err = f ? DV_B(s, stat, fd, "", &st) : -ENOMEM;
	if (!err) {
		struct dv_ident id = dv_ident_of(&st);
		dv_node_set_object(s, p->node, &id, DV_FORM_PACKED);
		dv_node_set_file(s, p->node, f, true);
		atomic_store(&p->node->dirty, false);
		p->sealed = true;
	}
	dv_file_unref(s, f);
	return err;
}

dv_err dv_put_commit(struct dv_store *s, const struct dv_call *call, struct dv_put *p,
		     struct dv_node *dir, const char *name, unsigned flags)
{
	const struct renamed r = {.in = {.node = p->node,
					 .stored = p->stored,
					 .dress = p->keep_attrs ? dress_not : dress},
				  .put = p};
	if (p->failed)
		return p->failed;
	if (p->committed)
		return -EINVAL;
	if (dv_is_sealed(s) && !p->sealed)
		p->failed = seal(s, p);
	if (p->failed)
		return p->failed;
	uint64_t backlog = p->sealed ? 0 : p->written;
	dv_space_wrote(s, backlog);
	dv_err err =
		dv_rename_in(s, call, &r.in, dir, name, flags & DV_PUT_NEW ? RENAME_NOREPLACE : 0);
	if (err) {
		dv_space_seen(s, backlog);
		return err;
	}
	p->committed = true;
	p->named = false;
	dv_node_unpin(s, p->node);
	return flags & DV_PUT_SYNC ? dv_store_fsync(s, call, p->node, false) : 0;
}

void dv_put_end(struct dv_store *s, struct dv_put **put)
{
	struct dv_put *p = *put;
	if (!p)
		return;
	if (p->named)
		dv_ignore(DV_B(s, unlink, dv_journal_dirfd(s->journal),
			       p->stored)); /* swept by the next owner */
	dv_node_unref(s, p->node);
	free(p);
	*put = NULL;
}
