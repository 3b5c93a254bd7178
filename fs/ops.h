/* SPDX-License-Identifier: MIT */
/*
 * ops.h - the operations, in four files by what they touch. Each fills its part of libfuse's table.
 *
 * Without a handler, and so answered ENOSYS once, after which the kernel does it alone or never
 * asks again: CREATE (MKNOD makes files), FLUSH, ACCESS (default_permissions), BMAP, POLL,
 * COPY_FILE_RANGE (falls back to READ and WRITE), GETLK, SETLK, FLOCK (locks are kept by the
 * kernel).
 */
#ifndef FS_OPS_H
#define FS_OPS_H

#include <fuse_lowlevel.h>

void fs_ops_lookup_fill(struct fuse_lowlevel_ops *ops);
void fs_ops_name_fill(struct fuse_lowlevel_ops *ops);
void fs_ops_file_fill(struct fuse_lowlevel_ops *ops);
void fs_ops_dir_fill(struct fuse_lowlevel_ops *ops);
void fs_ops_xattr_fill(struct fuse_lowlevel_ops *ops);

#endif
