/* SPDX-License-Identifier: MIT */
/*
 * io.h - reads and writes that do not stop half way. The backing's own may move fewer bytes than
 * they were asked to.
 */
#ifndef DV_IO_H
#define DV_IO_H

#include "core/internal.h"

/* -EBADMSG: the file ends before off + len. */
DV_CHECK dv_err dv_read_full(struct dv_store *s, int fd, void *buf, size_t len, uint64_t off);
/* After an error any part may be written. */
DV_CHECK dv_err dv_write_full(struct dv_store *s, int fd, const void *buf, size_t len,
			      uint64_t off);

/* Opens for reading; with noatime, access times stay where they may. -> descriptor */
DV_CHECK int dv_open_quiet(struct dv_store *s, int dirfd, const char *name, int flags);

/* The same for a file that was just made. */
void dv_keep_quiet(struct dv_store *s, int fd);

/* Calls fn for each entry of the open directory fd, in the order of the backing, until it returns other than
 * 0. Names that come or go meanwhile may be met or not. */
typedef dv_err dv_dirent_fn(void *ctx, int fd, const struct dv_dirent *e);
DV_CHECK dv_err dv_each_dirent(struct dv_store *s, int fd, dv_dirent_fn *fn, void *ctx);

/*
 * fd, which is empty, is about to get size bytes: the space is taken now, or -ENOSPC (-EDQUOT) is
 * told before anything is written. Little is not reserved: it fails as early by itself. fd's size
 * stays 0.
 */
#define DV_RESERVE_FROM (1u << 20)
DV_CHECK dv_err dv_reserve(struct dv_store *s, int fd, uint64_t size);

/* Counts err by kind and returns it. */
dv_err dv_count_error(struct dv_store *s, dv_err err);

/*
 * flock(2), but it waits no longer than wait_ms (0: not at all): a lock that an unresponsive process
 * holds keeps nobody for good. -EAGAIN: not had. Where the backing knows no locks: 0.
 */
#define DV_LOCK_WAIT_MS 10000u
DV_CHECK dv_err dv_lock_wait(struct dv_store *s, int fd, int operation, unsigned wait_ms);

#endif
