/* SPDX-License-Identifier: MIT */
/*
 * ops_dir.c - listing: OPENDIR, READDIR, READDIRPLUS, RELEASEDIR, FSYNCDIR.
 *
 * Where the store lists in the backing's own order a position is its cookie alone: OPENDIR is
 * answered ENOSYS and the kernel caches listings. Else the handle of a listing is kept in fi->fh,
 * the only use of a file handle in this program.
 *
 * "." and ".." come first and are the driver's own. Offsets that the kernel may come back with:
 *
 *   0            the start: ".", "..", then the store from 0
 *   AFTER_DOT    "..", then the store from 0
 *   AFTER_DOTDOT the store from 0
 *   other        the store's cookie; a cookie never has one of these values (ext4 uses 63 bits, but
 * its greatest hash is 0x7ffffffe and its end is INT64_MAX)
 */
#include "fs/evict.h"
#include "fs/ops.h"
#include "fs/reply.h"

#include "core/cleanup.h"

#include <string.h>

#define AFTER_DOT    (INT64_MAX - 2)
#define AFTER_DOTDOT (INT64_MAX - 1)
/* "not known": what libfuse and the kernel's users of d_ino take for that */
#define UNKNOWN_INO 0xffffffffu

/* A reply that fills up, and the entries that READDIRPLUS still has to look up. */
struct listing {
	fuse_req_t req;
	uint64_t dir; /* its node id */
	char *buf;    /* borrowed */
	size_t size, used;
	bool plus;
	/* READDIRPLUS: names are collected first and looked up when the store is done with the
	 * listing. */
	char *names;
	size_t names_used, names_room;
	size_t reserved; /* bytes of the reply that the collected entries will take */
	unsigned count;	 /* entries of the store taken in this pass */
};

struct collected {
	int64_t cookie;
	uint64_t ino;
	mode_t type;
	size_t len; /* of the name that follows, with its NUL, rounded up */
};

/* -> false: no room. */
static bool add_plain(struct listing *l, const char *name, uint64_t ino, mode_t type, int64_t next)
{
	struct stat st;
	size_t n;

	memset(&st, 0, sizeof(st));
	st.st_ino = ino ? ino : UNKNOWN_INO;
	st.st_mode = type;
	n = fuse_add_direntry(l->req, l->buf + l->used, l->size - l->used, name, &st, next);
	if (n > l->size - l->used)
		return false;
	l->used += n;
	return true;
}

static bool add_plus(struct listing *l, const char *name, const struct fuse_entry_param *e,
		     int64_t next)
{
	size_t n =
		fuse_add_direntry_plus(l->req, l->buf + l->used, l->size - l->used, name, e, next);

	if (n > l->size - l->used)
		return false;
	l->used += n;
	return true;
}

/* An entry that carries no node: "." and "..", and names whose node can not be told. */
static bool add_bare(struct listing *l, const char *name, uint64_t ino, mode_t type, int64_t next)
{
	struct fuse_entry_param e;

	if (!l->plus)
		return add_plain(l, name, ino, type, next);
	memset(&e, 0, sizeof(e));
	e.attr.st_ino = ino ? ino : UNKNOWN_INO;
	e.attr.st_mode = type;
	return add_plus(l, name, &e, next);
}

static bool collect(struct listing *l, const struct dv_list_entry *entry)
{
	size_t len = strlen(entry->name) + 1, step, need;
	struct collected head;

	need = fuse_add_direntry_plus(l->req, NULL, 0, entry->name, NULL, 0);
	if (need > l->size - l->used - l->reserved)
		return false;
	step = (len + 7) & ~(size_t)7;
	if (l->names_used + sizeof(head) + step > l->names_room)
		return false;
	head = (struct collected){entry->cookie, entry->ino, entry->type, step};
	memcpy(l->names + l->names_used, &head, sizeof(head));
	memcpy(l->names + l->names_used + sizeof(head), entry->name, len);
	l->names_used += sizeof(head) + step;
	l->reserved += need;
	l->count++;
	return true;
}

static bool take_entry(void *ctx, const struct dv_list_entry *entry)
{
	struct listing *l = ctx;

	/* What others have put into the store where the mount's own folder is. */
	if (fs_control_is_folder_name(l->dir, entry->name))
		return true;
	if (l->plus)
		return collect(l, entry);
	if (!add_plain(l, entry->name, entry->ino, entry->type, entry->cookie))
		return false;
	l->count++;
	return true;
}

/* Takes back the lookups counted in a reply that the kernel did not take. */
static void forget_reply(struct fs_session *fs, const struct listing *l)
{
	for (size_t at = 0; at + sizeof(struct fuse_direntplus) <= l->used;) {
		const struct fuse_direntplus *d = (const void *)(l->buf + at);

		if (d->entry_out.nodeid)
			fs_entry_undone(fs, d->entry_out.nodeid);
		at += (size_t)FUSE_DIRENTPLUS_SIZE(d);
	}
}

/* -> -EAGAIN: this one has to wait; else 0, the entry is in the reply or its name is gone. */
static dv_err look_up(struct fs_op *op, struct listing *l, const char *name,
		      const struct collected *c)
{
	struct fs_session *fs = op->fs;
	struct fuse_entry_param e;
	struct dv_node *child = NULL;
	struct dv_stat st;
	dv_err err;

	/* One reply makes hundreds of nodes, and while a directory is listed none of its names can
	 * be invalidated. */
	if (fs_evict_is_full(fs->evict)) {
		add_bare(l, name, c->ino, c->type, c->cookie); /* room was reserved */
		return 0;
	}
	err = dv_store_lookup(fs->store, &op->call, op->node, name, &child, &st);
	if (err == -EAGAIN && op->call.nowait)
		return -EAGAIN;
	if (err == -ENOENT)
		return 0;
	if (err < 0) {
		add_bare(l, name, c->ino, c->type, c->cookie); /* room was reserved */
		return 0;
	}
	err = fs_listing_check(op, child, &st);
	if (err) {
		dv_node_unref(fs->store, child);
		return err;
	}
	fs_entry_fill(fs, child, &st, &e);
	if (!add_plus(l, name, &e, c->cookie) && e.ino)
		fs_entry_undone(fs, e.ino);
	return 0;
}

/* Looks the collected names up. -EAGAIN: one has to wait; the whole reply is made anew by the pool,
 * since a shorter one would cost another message. */
static dv_err look_up_all(struct fs_op *op, struct listing *l)
{
	const char *at = l->names;

	for (unsigned i = 0; i < l->count; i++) {
		struct collected c;

		memcpy(&c, at, sizeof(c));
		if (look_up(op, l, at + sizeof(c), &c) == -EAGAIN)
			return -EAGAIN;
		at += sizeof(c) + c.len;
	}
	return 0;
}

/* Names that went away may empty a reply, which would mean the end: lists on then. */
static dv_err fill(struct fs_op *op, struct listing *l, struct dv_list *list, int64_t cookie)
{
	bool from_start = cookie == 0;

	for (;;) {
		struct collected last;
		const char *at = l->names;
		dv_err err;

		l->names_used = l->reserved = 0;
		l->count = 0;
		err = dv_store_list(op->fs->store, &op->call, op->node, list, cookie, take_entry,
				    l);
		/* What was listed goes first; the error comes back at the next offset. */
		if (err < 0 && (l->count == 0 || err == -EAGAIN))
			return err;
		if (!l->plus)
			return 0;
		err = look_up_all(op, l);
		if (err < 0 && from_start)
			dv_store_list_undone(op->node);
		if (err < 0 || l->used || l->count == 0)
			return err;
		for (unsigned i = 0; i < l->count; i++) {
			memcpy(&last, at, sizeof(last));
			at += sizeof(last) + last.len;
		}
		cookie = last.cookie;
	}
}

static void list(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, uint64_t fh, bool plus)
{
	DV_AUTO_FREE char *names = NULL;
	struct listing l = {.req = req, .dir = id, .buf = fs_turn_buffer(), .plus = plus};
	struct dv_list *handle = (struct dv_list *)(uintptr_t)fh;
	struct fs_op op;
	int64_t cookie = off;
	dv_err err = 0;

	if (fs_control_is(id)) {
		fs_control_readdir(req, id, size, off, plus);
		return;
	}
	if (!fs_op_begin(&op, req, plus ? "READDIRPLUS" : "READDIR", id))
		return;
	l.size = size < FS_MESSAGE_MAX ? size : FS_MESSAGE_MAX;
	if (plus) {
		/* An entry takes at most 128 + its name in the reply, 32 + its name here. */
		l.names_room = l.size;
		l.names = names = malloc(l.names_room);
	}
	if (!l.buf || (plus && !names))
		err = -ENOMEM;
	if (err == 0 && off == 0)
		add_bare(&l, ".", dv_node_ino(op.node), S_IFDIR, AFTER_DOT);
	if (err == 0 && (off == 0 || off == AFTER_DOT))
		add_bare(&l, "..", 0, S_IFDIR, AFTER_DOTDOT);
	if (off == AFTER_DOT || off == AFTER_DOTDOT)
		cookie = 0;
	if (err == 0)
		err = fill(&op, &l, handle, cookie);
	if (err < 0 && plus)
		forget_reply(op.fs, &l);
	if (fs_op_failed(&op, err))
		return;
	fs_op_end(&op);
	if (fuse_reply_buf(req, l.buf, l.used) < 0 && plus)
		forget_reply(op.fs, &l);
}

static void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	list(req, id, size, off, fi->fh, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	list(req, id, size, off, fi->fh, true);
}

static void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs_session *fs = fuse_req_userdata(req);
	struct dv_list *handle = NULL;
	struct fs_op op;

	if (dv_store_lists_in_order_of_backing(fs->store)) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->cache_readdir = fi->keep_cache = 1;
	if (fs_control_is(id)) {
		fi->fh = 0;
		fuse_reply_open(req, fi);
		return;
	}
	if (!fs_op_begin(&op, req, "OPENDIR", id))
		return;
	if (fs_op_failed(&op, dv_list_open(fs->store, op.node, &handle)))
		return;
	fs_op_end(&op);
	fi->fh = (uintptr_t)handle;
	/* Interrupted: no RELEASEDIR will come. */
	if (fuse_reply_open(req, fi) < 0)
		dv_list_close(fs->store, &handle);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs_session *fs = fuse_req_userdata(req);
	struct dv_list *handle = (struct dv_list *)(uintptr_t)fi->fh;

	(void)id;
	if (handle)
		dv_list_close(fs->store, &handle);
	fuse_reply_err(req, 0);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi)
{
	struct fs_op op;

	(void)fi;
	if (fs_control_is(id)) {
		fuse_reply_err(req, 0);
		return;
	}
	if (fs_op_begin(&op, req, "FSYNCDIR", id))
		fs_reply_err(&op, dv_store_fsync(op.fs->store, &op.call, op.node, datasync));
}

void fs_ops_dir_fill(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = op_opendir;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
	ops->releasedir = op_releasedir;
	ops->fsyncdir = op_fsyncdir;
}
