/* SPDX-License-Identifier: MIT */
/*
 * ops_name.c - what changes names: MKNOD, MKDIR, SYMLINK, LINK, UNLINK, RMDIR, RENAME.
 *
 * MKNOD makes every regular file, since CREATE is answered ENOSYS. Modes come without the umask
 * applied (DONT_MASK): the store applies it unless the directory has a default ACL. The name of the
 * virtual folder is taken.
 */
#include "fs/ops.h"
#include "fs/reply.h"
#include "fs/taken.h"

#include <stdio.h>

/* Answers the request if the name is the virtual folder's. */
static bool name_is_taken(fuse_req_t req, fuse_ino_t parent, const char *name, int answer)
{
	if (!fs_control_is_folder_name(parent, name))
		return false;
	fuse_reply_err(req, answer);
	return true;
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct fs_taken who = {fuse_req_ctx(req)->pid, parent, name};
	struct dv_node *child = NULL;
	struct dv_stat st;
	struct fs_op op;
	dv_err err;

	if (name_is_taken(req, parent, name, EEXIST) || !fs_op_begin(&op, req, "MKNOD", parent))
		return;
	err = dv_store_mknod(op.fs->store, &op.call, op.node, name, mode, rdev, &child, &st);
	/* bind(2) does not look again, and of what is no regular file it is an error for everybody. */
	if (err == -EEXIST && S_ISREG(mode))
		err = -fs_taken_answer(&who);
	else if (err != -EAGAIN && err != -EINPROGRESS)
		fs_taken_end(&who);
	fs_reply_entry(&op, err, child, &st);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct dv_node *child = NULL;
	struct dv_stat st;
	struct fs_op op;
	dv_err err;

	if (name_is_taken(req, parent, name, EEXIST) || !fs_op_begin(&op, req, "MKDIR", parent))
		return;
	err = dv_store_mkdir(op.fs->store, &op.call, op.node, name, mode, &child, &st);
	fs_reply_entry(&op, err, child, &st);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct dv_node *child = NULL;
	struct dv_stat st;
	struct fs_op op;
	dv_err err;

	if (name_is_taken(req, parent, name, EEXIST) || !fs_op_begin(&op, req, "SYMLINK", parent))
		return;
	err = dv_store_symlink(op.fs->store, &op.call, target, op.node, name, &child, &st);
	fs_reply_entry(&op, err, child, &st);
}

/* The entry in the reply is the linked node itself: one node id, one more lookup. */
static void op_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t parent, const char *name)
{
	struct dv_node *dir;
	struct dv_stat st;
	struct fs_op op;
	dv_err err;

	if (name_is_taken(req, parent, name, EEXIST))
		return;
	if (fs_control_is(parent)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	if (!fs_op_begin(&op, req, "LINK", id))
		return;
	dir = fs_nodes_get(op.fs->nodes, parent);
	err = dir ? dv_store_link(op.fs->store, &op.call, op.node, dir, name, &st) : -ESTALE;
	dv_node_unref(op.fs->store, dir);
	fs_reply_entry(&op, err, err < 0 ? NULL : dv_node_ref(op.node), &st);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs_op op;

	if (name_is_taken(req, parent, name, EISDIR) || !fs_op_begin(&op, req, "UNLINK", parent))
		return;
	fs_reply_err(&op, dv_store_unlink(op.fs->store, &op.call, op.node, name));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs_op op;

	if (name_is_taken(req, parent, name, EBUSY) || !fs_op_begin(&op, req, "RMDIR", parent))
		return;
	fs_reply_err(&op, dv_store_rmdir(op.fs->store, &op.call, op.node, name));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
		      const char *newname, unsigned flags)
{
	struct dv_node *newdir;
	struct fs_op op;
	dv_err err;

	if (name_is_taken(req, parent, name, EBUSY) ||
	    name_is_taken(req, newparent, newname, EBUSY))
		return;
	if (fs_control_is(newparent)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	if (!fs_op_begin(&op, req, "RENAME", parent))
		return;
	newdir = fs_nodes_get(op.fs->nodes, newparent);
	if (flags & (unsigned)~(RENAME_NOREPLACE | RENAME_EXCHANGE))
		err = -EINVAL;
	else if (!newdir)
		err = -ESTALE;
	else
		err = dv_store_rename(op.fs->store, &op.call, op.node, name, newdir, newname,
				      flags);
	dv_node_unref(op.fs->store, newdir);
	fs_reply_err(&op, err);
}

void fs_ops_name_fill(struct fuse_lowlevel_ops *ops)
{
	ops->mknod = op_mknod;
	ops->mkdir = op_mkdir;
	ops->symlink = op_symlink;
	ops->link = op_link;
	ops->unlink = op_unlink;
	ops->rmdir = op_rmdir;
	ops->rename = op_rename;
}
