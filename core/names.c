/* SPDX-License-Identifier: MIT */
/*
 * names.c - making names: mknod, mkdir, symlink, link. (Removing: names_remove.c; renaming:
 * rename.c.)
 *
 * Directory gates are held shared, so that a swap, which puts the directory's times back, does not
 * run beside the change.
 */
#include "core/io.h"
#include "core/journal.h"
#include "core/meta.h"
#include "core/ops.h"
#include "core/rival.h"
#include "core/sealed.h"
#include "core/value.h"

#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define ACL_DEFAULT "system.posix_acl_default"

/* ---- making ---- */

/* Gate exclusive. 0 too where n is not under its raw name any more: the caller looks again. */
static dv_err rename_aside(struct dv_store *s, struct dv_node *n, const struct dv_place *p)
{
	struct dv_stat st;
	if (!p->names.aside[0])
		return -ENOTDIR;
	dv_err err = DV_B(s, stat, p->dirfd, p->names.raw, &st);
	struct dv_ident id = dv_ident_of(&st);
	if (err == -ENOENT || (!err && (n->form != DV_FORM_RAW || !dv_ident_equal(&id, &n->id))))
		return 0;
	if (!err)
		err = DV_B(s, rename, p->dirfd, p->names.raw, p->dirfd, p->names.aside,
			   RENAME_NOREPLACE);
	if (err)
		return err;
	atomic_fetch_add(&s->swaps, 1);
	struct dv_loose_at at = dv_place_at(p);
	dv_loose_add(s, &at, DV_LOOSE_RAW, 0);
	dv_names_changed(n);
	return dv_node_add_name(s, n, s->root, p->name, DV_SLOT_ASIDE);
}

/*
 * A value has the name that a shard directory needs (abc beside abcabc under split:3): it moves
 * aside.
 */
static dv_err move_aside(struct dv_store *s, const struct dv_call *call, const char *parent,
			 const char *component)
{
	char name[DV_NAME_MAX + 1];
	enum dv_form form;
	struct dv_node *n = NULL;
	struct dv_names names;
	struct dv_place p;
	dv_err err = dv_names_parse(s->transform, component, true, parent, name, &form);
	/* Foreign: not ours to move. Diskv's layout, and a plugin, have no other name. */
	if (err || dv_names_of(s->transform, name, &names) || !names.aside[0])
		return -ENOTDIR;
	err = dv_find(s, call, s->root, name, &n);
	if (!err)
		err = dv_make_raw(s, n, call->nowait);
	if (err) {
		dv_node_unref(s, n);
		return err;
	}
	err = dv_gate_exclusive(n, call->nowait);
	if (!err) {
		err = dv_place_open(s, s->root, name, false, &p);
		if (!err) {
			err = dv_node_reserve_names();
			if (!err)
				err = rename_aside(s, n, &p);
			dv_node_release_names();
			dv_place_close(s, &p);
		}
		dv_gate_open(n);
	}
	dv_node_unref(s, n);
	return err;
}

dv_err dv_clear_way(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
		    const char *name)
{
	char shard[DV_SHARD_MAX], parent[DV_SHARD_MAX];
	struct dv_stat st;
	if (!S_ISDIR(dir->type) || !dv_transform_has_shards(s->transform) ||
	    dv_transform_is_plugin(s->transform))
		return -ENOTDIR;
	dv_err err = dv_transform_shard(s->transform, name, shard);
	for (char *end = shard; !err && *end; end += *end == '/') {
		end = strchrnul(end, '/');
		char saved = *end;
		*end = '\0';
		err = DV_B(s, stat, s->rootfd, shard, &st);
		if (!err && S_ISREG(st.mode)) {
			char *slash = strrchr(shard, '/');
			size_t parent_len = slash ? (size_t)(slash - shard) : 0;
			memcpy(parent, shard, parent_len);
			parent[parent_len] = '\0';
			return move_aside(s, call, parent, slash ? slash + 1 : shard);
		}
		*end = saved;
	}
	return err ? err : -ENOTDIR;
}

/* -EEXIST where any form of the name exists. The raw name itself is left to the call that makes it.
 */
static dv_err refuse_existing(struct dv_store *s, const struct dv_place *p, bool regular)
{
	struct dv_stat st;
	struct dv_found f;
	if (regular && strcmp(p->names.raw, p->names.other) == 0 && p->names.packed[0] &&
	    !p->names.aside[0]) {
		dv_err err = DV_B(s, stat, p->dirfd, p->names.packed, &st);
		if (err == -ENOENT)
			return 0;
		return err ? err : S_ISREG(st.mode) ? -EEXIST : 0;
	}
	dv_err err = dv_place_find(s, p, &f);
	return err == -ENOENT ? 0 : err ? err : -EEXIST;
}

/* The mode for a new object: the umask counts only where the directory has no default ACL. */
static mode_t masked(struct dv_store *s, const struct dv_call *call, int dirfd, mode_t mode)
{
	if (call->umask && s->has_acls && DV_B(s, getxattr, dirfd, ACL_DEFAULT, NULL, 0) > 0)
		return mode;
	return mode & ~(call->umask & 0777);
}

/* The node for the object that was just made as `stored`; fd: open on it, or -1 (taken). */
static dv_err enter_new(struct dv_store *s, struct dv_node *dir, const struct dv_place *p,
			const char *stored, uint8_t slot, enum dv_form form, int fd,
			struct dv_node **out, struct dv_stat *st)
{
	bool again = false;
	dv_err err = fd >= 0 ? DV_B(s, stat, fd, "", st) : DV_B(s, stat, p->dirfd, stored, st);
	struct dv_ident id = dv_ident_of(st);
	struct dv_node *n = err ? NULL : dv_node_new(st->mode, dv_meta_ino(&id), p->name);
	if (!err && !n)
		err = -ENOMEM;
	if (!err) {
		atomic_fetch_add(&s->node_count, 1);
		n->id = id;
		n->form = form;
		dv_node_drop_name(s, dir, p->name); /* whoever had it before lost it outside */
		struct dv_entry e = {.dir = dir,
				     .name = p->name,
				     .slot = slot,
				     .alone = true,
				     .moves = dv_node_moves(s)};
		err = dv_node_enter(s, n, &e, out, &again);
	}
	if (!err && again &&
	    !dv_node_is(s, *out, &id, form)) { /* looked up meanwhile is fine; replaced is not */
		dv_node_unref(s, *out);
		*out = NULL;
		err = -EEXIST;
	}
	if (err) {
		if (fd >= 0)
			DV_B(s, close, fd);
		return err;
	}
	if (fd >= 0) {
		if (form == DV_FORM_RAW) /* nobody else knows it yet */
			dv_ignore(DV_B(s, flock, fd, LOCK_SH | LOCK_NB));
		struct dv_file *f = dv_file_new(s, fd, true);
		if (f)
			dv_node_set_file(s, *out, f, false);
		dv_file_unref(s, f);
	}
	st->ino = (*out)->ino;
	dv_touch_dir(s, dir);
	return 0;
}

#define MAKE (O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW)

/* Would a file that is made elsewhere and renamed into dirfd be as one that is made there? */
static bool takes_files_as_they_are(struct dv_store *s, int dirfd)
{
	struct dv_stat st;
	return DV_B(s, stat, dirfd, "", &st) == 0 && !(st.mode & S_ISGID) &&
	       (!s->has_acls || DV_B(s, getxattr, dirfd, ACL_DEFAULT, NULL, 0) <= 0);
}

/*
 * A packed form of the name was unlinked, and may come back: the new file is made under the name
 * that the old one went through, and renamed from there, so that it is not kept without the
 * unlinking. -> descriptor; -EXDEV: it takes a sync instead.
 */
static int make_via(struct dv_store *s, const struct dv_place *p, const char *stored, mode_t mode)
{
	char name[DV_STAGE_NAME];
	struct dv_loose_at at = dv_place_at(p);
	int from = dv_journal_dirfd(s->journal);
	uint64_t via = takes_files_as_they_are(s, p->dirfd) ? dv_loose_take_via(s, &at) : 0;
	if (!via)
		return -EXDEV;
	dv_journal_stage_name(via, name);
	int fd = DV_B(s, open, from, name, MAKE, mode);
	if (fd < 0)
		return -EXDEV;
	dv_err err = DV_B(s, rename, from, name, p->dirfd, stored, RENAME_NOREPLACE);
	if (!err) {
		dv_loose_drop(s, &at, DV_LOOSE_PACKED, UINT64_MAX);
		return fd;
	}
	dv_ignore(DV_B(s, unlink, from, name)); /* swept by the next owner */
	DV_B(s, close, fd);
	return err == -EEXIST ? err : -EXDEV;
}

/* -> descriptor */
static int make_file(struct dv_store *s, const struct dv_place *p, const char *stored, mode_t mode,
		     bool nowait)
{
	struct dv_loose_at at = dv_place_at(p);
	unsigned gone = dv_loose_get(s, &at) & DV_LOOSE_GONE & ~dv_place_kind(p, stored);
	if (gone == DV_LOOSE_PACKED) {
		int fd = make_via(s, p, stored, mode);
		if (fd != -EXDEV)
			return fd;
	}
	dv_err err = gone ? dv_place_settle(s, p, stored, 0, nowait) : 0;
	return err ? err : DV_B(s, open, p->dirfd, stored, MAKE, mode);
}

/* fd was just made as stored. Where the disk is full no file is left that only looks like a value. */
static dv_err make_sealed(struct dv_store *s, const struct dv_place *p, const char *stored, int *fd)
{
	dv_err err = dv_sealed_make_empty(s, *fd);
	if (!err)
		return 0;
	dv_ignore(DV_B(s, unlink, p->dirfd, stored));
	DV_B(s, close, *fd);
	*fd = -1;
	return err;
}

static dv_err make_regular(struct dv_store *s, struct dv_place *p, mode_t mode, bool nowait,
			   const char **stored, uint8_t *slot, int *fd)
{
	bool sealed = dv_is_sealed(s);
	*stored = sealed ? p->names.packed : p->names.raw;
	*slot = DV_SLOT_PLAIN;
	if (!(*stored)[0])
		return -ENAMETOOLONG;
	*fd = make_file(s, p, *stored, mode & 07777, nowait);
	if (*fd >= 0 && sealed)
		return make_sealed(s, p, *stored, fd);
	struct dv_stat st;
	if (*fd != -EEXIST || DV_B(s, stat, p->dirfd, *stored, &st) || !S_ISDIR(st.mode))
		return *fd < 0 ? *fd : 0;
	if (p->names.aside[0]) {
		*stored = p->names.aside;
		*slot = DV_SLOT_ASIDE;
		*fd = make_file(s, p, *stored, mode & 07777, nowait);
	} else if (!dv_transform_has_dirs(s->transform)) {
		*fd = -EISDIR; /* of other keys */
	}
	return *fd < 0 ? *fd : 0;
}

/* A packed form of the name that came since it was looked for is a value: the file that was just made
 * goes. */
static dv_err keep_if_alone(struct dv_store *s, const struct dv_place *p, const char *stored,
			    int *fd)
{
	static const struct dv_beside none;
	struct dv_stat st, packed;
	dv_err err = DV_B(s, stat, *fd, "", &st);
	struct dv_ident id = dv_ident_of(&st);
	if (!err && dv_rival_came(s, p, p->names.packed, &none, dv_meta_ino(&id), &packed)) {
		err = dv_unlink_form(s, p, stored, &id, false);
		err = err && err != DV_IS_ANOTHER ? err : -EEXIST;
	}
	if (err)
		DV_B(s, close, *fd);
	return err;
}

struct making {
	mode_t mode; /* with type */
	dev_t rdev;
	const char *target; /* of a symbolic link */
};

/* A flat namespace has values only, and they are never directories: where a shard directory has the
 * raw name, refuse_existing has no say. */
static dv_err make(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
		   const char *name, const struct making *m, struct dv_node **out,
		   struct dv_stat *st)
{
	struct dv_place p;
	int fd = -1;
	uint8_t slot = DV_SLOT_PLAIN;
	bool regular = S_ISREG(m->mode);
	if (!regular && !dv_transform_has_dirs(s->transform))
		return -EPERM;
	if (s->options.read_only)
		return -EROFS;
	dv_err err = dv_place_open(s, dir, name, true, &p);
	if (err)
		return err;
	const char *stored = p.names.other;
	err = refuse_existing(s, &p, regular);
	if (!err && !regular)
		err = dv_place_settle(s, &p, stored, 0, call->nowait);
	if (!err) {
		mode_t mode = masked(s, call, p.dirfd, m->mode);
		DV_B(s, act_as, call->uid, call->gid);
		if (regular)
			err = make_regular(s, &p, mode, call->nowait, &stored, &slot, &fd);
		else if (S_ISDIR(m->mode))
			err = DV_B(s, mkdir, p.dirfd, stored, mode & 07777);
		else if (S_ISLNK(m->mode))
			err = DV_B(s, symlink, m->target, p.dirfd, stored);
		else
			err = DV_B(s, mknod, p.dirfd, stored, mode, m->rdev);
		dv_act_as_self(s);
	}
	if (!err && regular)
		err = keep_if_alone(s, &p, stored, &fd);
	if (!err && regular)
		dv_keep_quiet(s, fd);
	if (!err)
		err = enter_new(s, dir, &p, stored, slot,
				!regular	  ? DV_FORM_OTHER
				: dv_is_sealed(s) ? DV_FORM_PACKED
						  : DV_FORM_RAW,
				fd, out, st);
	dv_place_close(s, &p);
	return err;
}

static dv_err make_gated(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
			 const char *name, const struct making *m, struct dv_node **out,
			 struct dv_stat *st)
{
	unsigned waits = 0;
	for (unsigned tries = 0;; tries++) {
		dv_err err = dv_gate_shared(dir, call->nowait);
		if (err)
			return err;
		err = make(s, call, dir, name, m, out, st);
		dv_gate_open(dir);
		if (err != -ENOTDIR || tries == DV_TRIES)
			return err;
		do
			err = dv_clear_way(s, call, dir, name);
		while (dv_goes_on(call, &err, &waits));
		if (err)
			return err;
	}
}

dv_err dv_store_mknod(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
		      const char *name, mode_t mode, dev_t rdev, struct dv_node **out,
		      struct dv_stat *out_stat)
{
	struct making m = {.mode = mode & S_IFMT ? mode : mode | S_IFREG, .rdev = rdev};
	if (S_ISDIR(m.mode) || S_ISLNK(m.mode))
		return -EINVAL;
	return make_gated(s, call, dir, name, &m, out, out_stat);
}

dv_err dv_store_mkdir(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
		      const char *name, mode_t mode, struct dv_node **out, struct dv_stat *out_stat)
{
	struct making m = {.mode = (mode & 07777) | S_IFDIR};
	return make_gated(s, call, dir, name, &m, out, out_stat);
}

dv_err dv_store_symlink(struct dv_store *s, const struct dv_call *call, const char *target,
			struct dv_node *dir, const char *name, struct dv_node **out,
			struct dv_stat *out_stat)
{
	struct making m = {.mode = S_IFLNK | 0777, .target = target};
	return make_gated(s, call, dir, name, &m, out, out_stat);
}

/* ---- link ---- */

/* Gates held: directory shared, n exclusive and at rest. */
static dv_err link_at_rest(struct dv_store *s, struct dv_node *n, struct dv_node *dir,
			   const char *name, bool nowait, struct dv_stat *st)
{
	struct dv_place from, to;
	const char *stored;
	dv_err err = dv_place_of(s, n, 0, &from, &stored);
	if (err)
		return err == -ESTALE && !dv_node_has_name(s, n) ? -ENOENT : err;
	err = dv_place_open(s, dir, name, false, &to);
	if (!err) {
		err = refuse_existing(s, &to, false);
		const char *as = dv_place_stored(&to, n->form, DV_SLOT_PLAIN);
		if (!err && !as[0])
			err = -ENAMETOOLONG;
		if (!err)
			err = dv_place_settle(s, &to, as, 0, nowait);
		if (!err)
			err = DV_B(s, link, from.dirfd, stored, to.dirfd, as);
		dv_place_close(s, &to);
	}
	dv_place_of_close(s, &from);
	if (!err)
		err = dv_node_add_name(s, n, dir, name, DV_SLOT_PLAIN);
	if (!err) {
		dv_names_changed(n);
		n->writes++; /* a packer that counted one link looks again */
		dv_forget_kept_ctime(s, n);
		dv_told_ends(n);
		err = dv_value_stat(s, n, false, st);
	}
	return err;
}

dv_err dv_store_link(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
		     struct dv_node *dir, const char *name, struct dv_stat *out_stat)
{
	struct dv_names names;
	unsigned tries = 0;
	if (!dv_transform_has_dirs(s->transform) || S_ISDIR(n->type))
		return -EPERM;
	if (s->options.read_only)
		return -EROFS;
	dv_err err = dv_names_of(s->transform, name, &names);
	/* A name too long to be packed: the value goes raw, under both. */
	if (!err && !names.packed[0] && dv_node_form(s, n) == DV_FORM_PACKED)
		err = dv_make_raw(s, n, call->nowait);
	while (!err || dv_try_again(s, call, n, &err, &tries)) {
		err = dv_bring_to_rest(s, n, call->nowait);
		if (err)
			continue;
		err = dv_gate_shared(dir, call->nowait);
		if (err)
			return err;
		err = dv_gate_exclusive(n, call->nowait);
		if (err) {
			dv_gate_open(dir);
			return err;
		}
		bool busy = dv_is_busy(n);
		err = busy ? 0 : dv_node_reserve_names();
		if (!busy && !err)
			err = link_at_rest(s, n, dir, name, call->nowait, out_stat);
		dv_node_release_names();
		dv_gate_open(n);
		dv_gate_open(dir);
		if (!busy && err != -ESTALE)
			break;
	}
	return err;
}
