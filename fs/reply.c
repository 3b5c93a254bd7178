/* SPDX-License-Identifier: MIT */
/*
 * reply.c - begins and ends operations.
 */
#include "fs/reply.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "fs/told.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of /proc/PID/status up to the end of the line of groups: 65536 groups are the kernel's maximum,
 * 11 characters each. */
#define STATUS_MAX (800u << 10)

static bool listed(const char *groups, gid_t gid)
{
	char *end;

	for (unsigned long g; *groups && *groups != '\n'; groups = end) {
		g = strtoul(groups, &end, 10);
		if (end == groups)
			break;
		if (g == gid)
			return true;
	}
	return false;
}

/*
 * Asks /proc for the supplementary groups of the caller, who waits for the reply.
 * (fuse_req_getgroups() of libfuse 3.14 searches a buffer that is not terminated.)
 */
static bool in_group(const struct dv_call *call, gid_t gid)
{
	DV_AUTO_FREE char *line = NULL;
	size_t room = 0, total = 0;
	ssize_t len;
	char path[64];
	bool is = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/status",
		 (long)fuse_req_ctx((fuse_req_t)call->self)->pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (total < STATUS_MAX && (len = getline(&line, &room, f)) > 0) {
		total += (size_t)len;
		if (!strncmp(line, "Groups:", 7)) {
			is = listed(line + 7, gid);
			break;
		}
	}
	fclose(f);
	return is;
}

bool fs_op_begin(struct fs_op *op, fuse_req_t req, const char *name, fuse_ino_t id)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	op->fs = fuse_req_userdata(req);
	op->req = req;
	op->name = name;
	op->id = id;
	op->call.uid = ctx->uid;
	op->call.gid = ctx->gid;
	op->call.umask = ctx->umask;
	op->call.nowait = !fs_turn.may_wait;
	op->call.parks = fs_turn.may_wait && fs_turn.parks;
	op->call.waited_ns = fs_turn.waited_ns;
	op->call.in_group = in_group;
	op->call.self = req;
	if (fs_control_is(id)) {
		fuse_reply_err(req, EPERM);
		return false;
	}
	(void)dv_log_note_take(); /* of a request before */
	op->node = fs_nodes_get(op->fs->nodes, id);
	if (!op->node) {
		dv_warn("%s of a node that was forgotten: %llu", name, (unsigned long long)id);
		fuse_reply_err(req, ESTALE);
		return false;
	}
	return true;
}

void fs_op_end(struct fs_op *op)
{
	dv_node_unref(op->fs->store, op->node);
	op->node = NULL;
}

static void log_error(struct fs_op *op, dv_err err)
{
	char path[PATH_MAX], shown[512];
	const char *note;

	path[0] = '\0';
	dv_node_path(op->fs->store, op->node, path, sizeof(path));
	dv_log_key(shown, sizeof(shown), path);
	note = dv_log_note_take();
	dv_error("%s of '%s': %s%s%s", op->name, shown,
		 err == -EBADMSG ? "its stored bytes are damaged or not supported" : strerror(-err),
		 note[0] ? ": " : "", note);
}

bool fs_op_failed(struct fs_op *op, dv_err err)
{
	int answer = -err;

	if (err >= 0)
		return false;
	if (err == -EAGAIN && !fs_turn.may_wait) {
		fs_op_end(op);
		fs_turn.deferred = true;
		fuse_reply_none(op->req);
		return true;
	}
	if (err == -EINPROGRESS && op->call.parks) {
		fs_op_end(op);
		fs_turn.parked = true;
		fuse_reply_none(op->req);
		return true;
	}
	if (err == -EBADMSG || err == -EIO || err == -EAGAIN) {
		log_error(op, err);
		answer = EIO;
	} else if (err == -ENOSYS) {
		answer = EOPNOTSUPP;
	}
	fs_op_end(op);
	fuse_reply_err(op->req, answer);
	return true;
}

void fs_stat_convert(const struct dv_stat *from, uint64_t ino, struct stat *to)
{
	memset(to, 0, sizeof(*to));
	to->st_ino = ino;
	to->st_mode = from->mode;
	to->st_nlink = from->nlink;
	to->st_uid = from->uid;
	to->st_gid = from->gid;
	to->st_rdev = from->rdev;
	to->st_size = (off_t)from->size;
	to->st_blocks = (blkcnt_t)from->blocks;
	to->st_blksize = from->blksize;
	to->st_atim = from->atime;
	to->st_mtim = from->mtime;
	to->st_ctim = from->ctime;
}

void fs_reply_err(struct fs_op *op, dv_err err)
{
	if (fs_op_failed(op, err))
		return;
	fs_op_end(op);
	fuse_reply_err(op->req, 0);
}

dv_err fs_listing_check(struct fs_op *op, struct dv_node *node, const struct dv_stat *st)
{
	uint64_t id;

	if (!dv_store_dir_moved(node, st, false))
		return 0;
	if (!fs_turn.may_wait)
		return -EAGAIN;
	id = fs_nodes_id_of(op->fs->nodes, node);
	if (dv_store_dir_moved(node, st, true) && id)
		dv_ignore(fuse_lowlevel_notify_inval_inode(op->fs->se, id, 0, 0));
	return 0;
}

/*
 * Others may have written bytes and put the mtime back: the kernel, which compares that, is told another one, not to
 * be kept, and drops its pages itself. Before it shows attributes to anybody it asks again; but for an
 * answer that is `shown` as it comes: that has the right one, and is not kept either, so that who reads
 * asks again. The kernel may drop an answer, so it is told so until one counts as taken.
 */
static bool tell(struct dv_node *node, const struct dv_stat *st, bool fresh, bool shown)
{
	bool differ = !fresh && dv_store_bytes_differ(node, st);
	enum fs_told_kind kind = fresh			      ? FS_TOLD_FRESH
				 : dv_store_is_told(node, st) ? FS_TOLD_SAME
							      : FS_TOLD_OTHER;
	bool taken = fs_told_answer(node, kind, fs_told_now_ms());

	if (!(differ && shown))
		dv_store_told(node, st, taken || (differ && fs_told_often(node)));
	return differ;
}

/* Another mtime, and another one for each ctime: what the kernel knows may be one of these. */
static void as_moved(struct stat *st)
{
	uint64_t ctime = (uint64_t)st->st_ctim.tv_sec * 1000000000u + (uint64_t)st->st_ctim.tv_nsec;
	long off = 1 + (long)((ctime * 0x9E3779B97F4A7C15u >> 32) % 500000u);

	st->st_mtim.tv_nsec = (st->st_mtim.tv_nsec + off) % 1000000000;
}

static void reply_attr(struct fs_op *op, const struct dv_stat *from, bool moved, double timeout_s)
{
	struct stat st;

	fs_stat_convert(from, dv_node_ino(op->node), &st);
	if (moved)
		as_moved(&st);
	if (fuse_reply_attr(op->req, &st, timeout_s) < 0) /* interrupted */
		dv_store_told_nothing(op->node);
	fs_op_end(op);
}

void fs_reply_attr(struct fs_op *op, dv_err err, const struct dv_stat *from, bool shown)
{
	bool differ;

	if (fs_op_failed(op, err))
		return;
	differ = tell(op->node, from, false, shown);
	reply_attr(op, from, differ && !shown, differ ? 0 : op->fs->timeout_s);
}

void fs_reply_set_attr(struct fs_op *op, dv_err err, const struct dv_stat *from)
{
	struct stat st;

	uint32_t now = fs_told_now_ms();
	bool moved;

	if (fs_op_failed(op, err))
		return;
	moved = dv_store_bytes_moved(op->node) || fs_told_is_under_way(op->node, now);
	fs_told_change(op->node, now);
	if (!moved) {
		dv_store_told(op->node, from,
			      true); /* the kernel takes this one whatever else comes */
		reply_attr(op, from, false, op->fs->timeout_s);
		return;
	}
	dv_store_told_nothing(op->node);
	fs_stat_convert(from, dv_node_ino(op->node), &st);
	as_moved(&st);
	fs_op_end(op);
	fuse_reply_attr(op->req, &st, 0);
}

void fs_entry_fill(struct fs_session *fs, struct dv_node *child, const struct dv_stat *st,
		   struct fuse_entry_param *out)
{
	bool first;

	memset(out, 0, sizeof(*out));
	out->entry_timeout = out->attr_timeout = fs->timeout_s;
	fs_stat_convert(st, dv_node_ino(child), &out->attr);
	(void)dv_store_dir_moved(child, st, true);
	out->ino = fs_nodes_enter_first(fs->nodes, child, &first);
	if (out->ino && tell(child, st, first, false)) {
		as_moved(&out->attr);
		out->attr_timeout = 0;
	}
	if (out->ino != FS_ROOT_ID) /* the kernel made its inode before it could ask */
		out->generation = fs->generation;
}

void fs_entry_undone(struct fs_session *fs, uint64_t id)
{
	struct dv_node *node = fs_nodes_get(fs->nodes, id);

	if (node)
		dv_store_told_nothing(node);
	dv_node_unref(fs->store, node);
	fs_nodes_forget(fs->nodes, id, 1);
}

void fs_reply_entry(struct fs_op *op, dv_err err, struct dv_node *child, const struct dv_stat *st)
{
	struct fs_session *fs = op->fs;
	struct fuse_entry_param e;

	if (fs_op_failed(op, err))
		return;
	fs_entry_fill(fs, child, st, &e);
	fs_op_end(op);
	if (!e.ino) {
		fuse_reply_err(op->req, ENOMEM);
		return;
	}
	/* The kernel did not take it (interrupted, unmounted): it will not forget it either. */
	if (fuse_reply_entry(op->req, &e) < 0)
		fs_entry_undone(fs, e.ino);
}

void fs_reply_lookup(struct fs_op *op, dv_err err, struct dv_node *child, const struct dv_stat *st)
{
	struct fuse_entry_param missing;

	if (!err) {
		err = fs_listing_check(op, child, st);
		if (err)
			dv_node_unref(op->fs->store, child);
	}
	if (err != -ENOENT || op->fs->timeout_s <= 0) {
		fs_reply_entry(op, err, child, st);
		return;
	}
	memset(&missing, 0, sizeof(missing));
	missing.entry_timeout = op->fs->timeout_s;
	fs_op_end(op);
	fuse_reply_entry(op->req, &missing);
}

void fs_reply_data(struct fs_op *op, ssize_t len, const char *buf)
{
	if (fs_op_failed(op, (dv_err)(len < 0 ? len : 0)))
		return;
	fs_op_end(op);
	fuse_reply_buf(op->req, len ? buf : NULL, (size_t)len);
}

void fs_reply_written(struct fs_op *op, ssize_t count)
{
	if (fs_op_failed(op, (dv_err)(count < 0 ? count : 0)))
		return;
	if (count > 0)
		fs_told_change(op->node, fs_told_now_ms());
	fs_op_end(op);
	fuse_reply_write(op->req, (size_t)count);
}

void fs_reply_xattr_size(struct fs_op *op, ssize_t size)
{
	if (fs_op_failed(op, (dv_err)(size < 0 ? size : 0)))
		return;
	fs_op_end(op);
	fuse_reply_xattr(op->req, (size_t)size);
}
