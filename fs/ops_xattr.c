/* SPDX-License-Identifier: MIT */
/*
 * ops_xattr.c - GETXATTR, LISTXATTR, SETXATTR, REMOVEXATTR.
 *
 * The kernel itself asks for two kinds of attributes: security.capability before the first write to
 * a file, and the ACLs when somebody else than the owner opens one. To the second any answer but
 * "none" or a value fails the open, so a backing without ACLs is reported as a file without them.
 */
#include "fs/ops.h"
#include "fs/reply.h"

#include <string.h>

static bool is_acl(const char *name)
{
	return strncmp(name, "system.posix_acl_", 17) == 0;
}

static dv_err acl_error(const char *name, ssize_t err)
{
	return err == -EOPNOTSUPP && is_acl(name) ? -ENODATA : (dv_err)err;
}

static void op_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size)
{
	char *buf = fs_turn_buffer();
	struct fs_op op;
	ssize_t n;

	if (fs_control_is(id)) {
		fuse_reply_err(req, ENODATA);
		return;
	}
	if (!fs_op_begin(&op, req, "GETXATTR", id))
		return;
	if (op.fs->options->noacl && is_acl(name)) {
		fs_reply_err(&op, -EOPNOTSUPP);
		return;
	}
	if (!buf)
		n = -ENOMEM;
	else
		n = dv_store_getxattr(op.fs->store, &op.call, op.node, name, size ? buf : NULL,
				      size < FS_MESSAGE_MAX ? size : FS_MESSAGE_MAX);
	if (n < 0)
		n = acl_error(name, n);
	if (size == 0)
		fs_reply_xattr_size(&op, n);
	else
		fs_reply_data(&op, n, buf);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t id, size_t size)
{
	char *buf = fs_turn_buffer();
	struct fs_op op;
	ssize_t n;

	if (fs_control_is(id)) {
		if (size == 0)
			fuse_reply_xattr(req, 0);
		else
			fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (!fs_op_begin(&op, req, "LISTXATTR", id))
		return;
	if (!buf)
		n = -ENOMEM;
	else
		n = dv_store_listxattr(op.fs->store, &op.call, op.node, size ? buf : NULL,
				       size < FS_MESSAGE_MAX ? size : FS_MESSAGE_MAX);
	if (size == 0)
		fs_reply_xattr_size(&op, n);
	else
		fs_reply_data(&op, n, buf);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t id, const char *name, const char *value,
			size_t size, int flags)
{
	struct fs_op op;

	if (!fs_op_begin(&op, req, "SETXATTR", id))
		return;
	if (op.fs->options->noacl && is_acl(name))
		fs_reply_err(&op, -EOPNOTSUPP);
	else
		fs_reply_err(&op, dv_store_setxattr(op.fs->store, &op.call, op.node, name, value,
						    size, flags));
}

static void op_removexattr(fuse_req_t req, fuse_ino_t id, const char *name)
{
	struct fs_op op;

	if (fs_op_begin(&op, req, "REMOVEXATTR", id))
		fs_reply_err(&op, dv_store_removexattr(op.fs->store, &op.call, op.node, name));
}

void fs_ops_xattr_fill(struct fuse_lowlevel_ops *ops)
{
	ops->getxattr = op_getxattr;
	ops->listxattr = op_listxattr;
	ops->setxattr = op_setxattr;
	ops->removexattr = op_removexattr;
}
