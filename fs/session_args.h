/* SPDX-License-Identifier: MIT */
/*
 * session_args.h - what libfuse is told of the options. Set-user-id bits and device nodes are honoured
 * where root asks for it, and never otherwise.
 */
#ifndef FS_SESSION_ARGS_H
#define FS_SESSION_ARGS_H

#include "core/error.h"

#include <fuse_opt.h>

struct fs_options;

/* args: FUSE_ARGS_INIT(0, NULL), the caller's to free, also on an error. */
DV_CHECK dv_err fs_session_args(const struct fs_options *o, struct fuse_args *args);

#endif
