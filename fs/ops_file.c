/* SPDX-License-Identifier: MIT */
/*
 * ops_file.c - bytes: READ, WRITE, COPY_FILE_RANGE, FSYNC, FALLOCATE, LSEEK; and OPEN, IOCTL, which
 * are refused.
 *
 * Appending: no OPEN was sent, but a WRITE carries the descriptor's O_APPEND. The offset in it is
 * where the kernel believes the end to be; the store puts the bytes at the true end. Where the two
 * differ, the kernel's pages from that offset on are wrong, and it is told so.
 */
#include "fs/ops.h"
#include "fs/reply.h"
#include "fs/told.h"

#include <fcntl.h>
#include <unistd.h>

#define SIZE_IS_TOLD_NS 2000000

/* ENOSYS: the kernel opens files without asking from now on. */
static void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

static void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	char *buf = fs_turn_buffer();
	struct fs_op op;
	ssize_t n;

	if (fs_control_is(id)) {
		fs_control_read(fuse_req_userdata(req), req, id, size, (uint64_t)off);
		return;
	}
	if (!fs_op_begin(&op, req, "READ", id))
		return;
	if (off < 0 || size > FS_MESSAGE_MAX)
		n = -EINVAL;
	else if (!buf)
		n = -ENOMEM;
	else {
		op.call.before_emptied = !(fi->flags & O_DIRECT); /* that asks past the end too */
		n = dv_store_read(op.fs->store, &op.call, op.node, buf,
				  (struct dv_range){(uint64_t)off, size});
	}
	/* The kernel shows zeros there as long as it knows the old size; another thread is about to tell it. */
	if (n == 0 && size && op.call.before_emptied && !op.call.nowait)
		(void)nanosleep(&(struct timespec){.tv_nsec = SIZE_IS_TOLD_NS}, NULL);
	fs_reply_data(&op, n, buf);
}

/* Flags of the protocol that libfuse 3.14 does not hand on: from the raw request. */
static unsigned write_flags(const struct fuse_file_info *fi)
{
	const struct fuse_write_in *in = (const void *)(fs_turn.in + 1);
	unsigned flags = 0;

	/* A page written back by the kernel knows its place. */
	if ((fi->flags & O_APPEND) && !fi->writepage)
		flags |= DV_WRITE_APPEND;
	if (in->write_flags & FUSE_WRITE_KILL_SUIDGID)
		flags |= DV_WRITE_KILL_SUIDGID;
	return flags;
}

static void op_write(fuse_req_t req, fuse_ino_t id, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct fs_op op;
	unsigned flags;
	ssize_t n;

	if (fs_control_is(id)) {
		fs_control_write(fuse_req_userdata(req), req, id, buf, size);
		return;
	}
	if (!fs_op_begin(&op, req, "WRITE", id))
		return;
	flags = write_flags(fi);
	if (off < 0 || (uint64_t)size > (uint64_t)(INT64_MAX - off))
		n = -EFBIG;
	else
		n = dv_store_write(op.fs->store, &op.call, op.node, buf,
				   (struct dv_range){(uint64_t)off, size}, flags);
	fs_reply_written(&op, n);
}

/* EOPNOTSUPP: the kernel reads and writes. */
static void op_copy_file_range(fuse_req_t req, fuse_ino_t id, off_t off, struct fuse_file_info *fi,
			       fuse_ino_t id_to, off_t off_to, struct fuse_file_info *fi_to,
			       size_t len, int flags)
{
	struct dv_node *to;
	struct fs_op op;
	ssize_t n = -EOPNOTSUPP;

	(void)fi;
	(void)fi_to;
	if (fs_control_is(id) || fs_control_is(id_to)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (!fs_op_begin(&op, req, "COPY_FILE_RANGE", id))
		return;
	to = fs_nodes_get(op.fs->nodes, id_to);
	if (to && off >= 0 && off_to >= 0 && !flags)
		n = dv_store_copy(op.fs->store, &op.call, op.node,
				  (struct dv_range){(uint64_t)off, len}, to, (uint64_t)off_to);
	if (to)
		fs_told_change(to, fs_told_now_ms());
	dv_node_unref(op.fs->store, to);
	fs_reply_written(&op, n);
}

static void op_fsync(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi)
{
	struct fs_op op;

	(void)fi;
	if (fs_control_is(id)) {
		fuse_reply_err(req, 0);
		return;
	}
	if (!fs_op_begin(&op, req, "FSYNC", id))
		return;
	fs_reply_err(&op, dv_store_fsync(op.fs->store, &op.call, op.node, datasync));
}

static void op_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	struct fs_op op;
	dv_err err;

	(void)fi;
	if (!fs_op_begin(&op, req, "FALLOCATE", id))
		return;
	if (off < 0 || len <= 0)
		err = -EINVAL;
	else if (len > INT64_MAX - off)
		err = -EFBIG;
	else
		err = dv_store_fallocate(op.fs->store, &op.call, op.node, mode,
					 (struct dv_range){(uint64_t)off, (uint64_t)len});
	fs_told_change(op.node, fs_told_now_ms());
	fs_reply_err(&op, err);
}

static void op_lseek(fuse_req_t req, fuse_ino_t id, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	struct fs_op op;
	uint64_t found = 0;
	dv_err err;

	(void)fi;
	if (!fs_op_begin(&op, req, "LSEEK", id))
		return;
	if (off < 0)
		err = -ENXIO;
	else if (whence != SEEK_DATA && whence != SEEK_HOLE)
		err = -EINVAL;
	else
		err = dv_store_seek(op.fs->store, &op.call, op.node, (uint64_t)off, whence, &found);
	if (fs_op_failed(&op, err))
		return;
	fs_op_end(&op);
	fuse_reply_lseek(req, (off_t)found);
}

static void op_ioctl(fuse_req_t req, fuse_ino_t id, unsigned cmd, void *arg,
		     struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
		     size_t out_size)
{
	(void)id;
	(void)cmd;
	(void)arg;
	(void)fi;
	(void)flags;
	(void)in;
	(void)in_size;
	(void)out_size;
	fuse_reply_err(req, ENOTTY);
}

void fs_ops_file_fill(struct fuse_lowlevel_ops *ops)
{
	ops->open = op_open;
	ops->read = op_read;
	ops->write = op_write;
	ops->copy_file_range = op_copy_file_range;
	ops->fsync = op_fsync;
	ops->fallocate = op_fallocate;
	ops->lseek = op_lseek;
	ops->ioctl = op_ioctl;
}
