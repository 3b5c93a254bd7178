/* SPDX-License-Identifier: MIT */
/*
 * reply.h - the frame of every operation: find the node, call the store once, reply once.
 *
 *	struct fs_op op;
 *	if (!fs_op_begin(&op, req, "GETATTR", id))
 *		return;
 *	err = dv_store_getattr(op.fs->store, &op.call, op.node, &st);
 *	fs_reply_attr(&op, err, &st, true);
 *
 * Each fs_reply_ function ends the operation: it gives op->node back and then replies, or, where
 *the store said -EAGAIN to a call that must not wait, ends the request without a reply and marks it
 *deferred (see session.h). No lock is held.
 *
 * What reaches the kernel: never ENOSYS (it would switch the operation off for the life of the
 * mount), never EAGAIN, EIO for -EBADMSG. Corrupt bytes and I/O errors are logged here, with the
 *key.
 */
#ifndef FS_REPLY_H
#define FS_REPLY_H

#include "core/store.h"
#include "fs/session.h"

#include <fuse_lowlevel.h>

struct fs_op {
	struct fs_session *fs;
	fuse_req_t req;
	const char *name; /* of the operation, for the log */
	uint64_t id;
	struct dv_node *node; /* one reference */
	struct dv_call call;
};

/* false: the node is not one of the store; the request was answered. */
bool fs_op_begin(struct fs_op *op, fuse_req_t req, const char *name, fuse_ino_t id);

/* 0 or -errno, nothing else to tell. */
void fs_reply_err(struct fs_op *op, dv_err err);
/* st is not looked at where err < 0. shown: to a program, as it is answered; else the kernel asks for itself. Where
 * others may have written bytes and put the mtime back it is told so as below. */
void fs_reply_attr(struct fs_op *op, dv_err err, const struct dv_stat *st, bool shown);
/*
 * The same after they were set. The kernel takes the mtime that comes with this answer for that of the pages
 * it keeps, whoever has changed the bytes before. Where that may be: the answer has another mtime, and is
 * not kept, so that it asks again before it shows any of it, finds the mtime changed, and drops the pages
 * (told.h).
 */
void fs_reply_set_attr(struct fs_op *op, dv_err err, const struct dv_stat *st);
/*
 * Before attributes of node are told: a listing that the kernel keeps of it goes where its mtime does
 * not tell that names have changed. The kernel waits for locks of its pages, so the serving thread does not:
 * -EAGAIN, to be made again by the pool.
 */
DV_CHECK dv_err fs_listing_check(struct fs_op *op, struct dv_node *node, const struct dv_stat *st);
/* Takes child, which is counted as one lookup; NULL where err < 0. */
void fs_reply_entry(struct fs_op *op, dv_err err, struct dv_node *child, const struct dv_stat *st);
/* The same; -ENOENT becomes an entry that the kernel remembers as missing. */
void fs_reply_lookup(struct fs_op *op, dv_err err, struct dv_node *child, const struct dv_stat *st);
/* len: bytes of buf, or -errno. */
void fs_reply_data(struct fs_op *op, ssize_t len, const char *buf);
/* A count, or -errno. */
void fs_reply_written(struct fs_op *op, ssize_t count);
void fs_reply_xattr_size(struct fs_op *op, ssize_t size);

/*
 * What an error does to the request: ends the operation where it is one. -> true: err was < 0 and
 * the request is done; false: go on and reply, then call fs_op_end().
 */
bool fs_op_failed(struct fs_op *op, dv_err err);
void fs_op_end(struct fs_op *op);

/* What the kernel is told of child, whose reference is taken and which is counted as one lookup.
 * out->ino 0: out of memory. */
void fs_entry_fill(struct fs_session *fs, struct dv_node *child, const struct dv_stat *st,
		   struct fuse_entry_param *out);
/* The kernel did not get, or take, such an entry: it knows nothing of what it was to be told, and will not
 * forget it. id: out->ino. */
void fs_entry_undone(struct fs_session *fs, uint64_t id);

/* ino: of the node, not of the file in the store. */
void fs_stat_convert(const struct dv_stat *from, uint64_t ino, struct stat *to);

#endif
