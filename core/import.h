/* SPDX-License-Identifier: MIT */
/*
 * import.h - a file from elsewhere on its way to be a value: copied to a put, or linked as one.
 *
 *   copy   its bytes, holes left out, and its attributes as far as they can be given
 *   link   the file itself, in the owner folder: nothing is copied, and attributes are its own. Once
 *          the put is committed and synced its old name is removed; at every moment one of the two
 *          names leads to the bytes
 *
 * The file is none of the store's: it is opened and read by calls of our own.
 */
#ifndef DV_IMPORT_H
#define DV_IMPORT_H

#include "core/put.h"
#include "core/store.h"

#include <stdbool.h>

/* An open file, which was (dirfd, name). */
struct dv_import {
	int fd;
	int dirfd; /* borrowed; AT_FDCWD */
	const char *name;
	struct dv_stat st;
	bool linked; /* the value is the file itself */
};

/* -EISDIR, -EINVAL: no regular file (a symbolic link neither); errors of open(2). */
DV_CHECK dv_err dv_import_open(int dirfd, const char *name, struct dv_import *out);
void dv_import_close(struct dv_import *im);

/* *out is to be committed and ended. read (may be NULL) is told how many bytes came. */
DV_CHECK dv_err dv_import_copy(struct dv_store *s, const struct dv_call *call,
			       const struct dv_import *im, void (*read)(void *ctx, uint64_t bytes),
			       void *ctx, struct dv_put **out);
/* -EXDEV: it is to be copied (another filesystem, other links, no right to). */
DV_CHECK dv_err dv_import_link(struct dv_store *s, struct dv_import *im, struct dv_put **out);

/* The old name goes, if it still leads to the file. -ESTALE: it does not, or the file was written to
 * while it was copied. */
DV_CHECK dv_err dv_import_unlink(const struct dv_import *im);

#endif
