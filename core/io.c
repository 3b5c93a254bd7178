/* SPDX-License-Identifier: MIT */
/* io.c - see io.h. */
#include "core/io.h"

#include "core/cleanup.h"

#include <linux/falloc.h>
#include <sys/file.h>
#include <time.h>

#define LOCK_STEP_MS 10u
#define ENTS_BYTES   8192u /* small: directories are walked inside one another */
#define ENTS_MAX     64u

dv_err dv_read_full(struct dv_store *s, int fd, void *buf, size_t len, uint64_t off)
{
	char *at = buf;
	while (len) {
		ssize_t n = DV_B(s, pread, fd, at, len, off);
		if (n < 0)
			return (dv_err)n;
		if (n == 0)
			return -EBADMSG; /* shorter than its own sizes say */
		at += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

dv_err dv_write_full(struct dv_store *s, int fd, const void *buf, size_t len, uint64_t off)
{
	const char *at = buf;
	while (len) {
		ssize_t n = DV_B(s, pwrite, fd, at, len, off);
		if (n < 0)
			return (dv_err)n;
		if (n == 0)
			return -EIO;
		at += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int dv_open_quiet(struct dv_store *s, int dirfd, const char *name, int flags)
{
	int fd = -EPERM;
	if (s->options.noatime)
		fd = DV_B(s, open, dirfd, name, flags | O_NOATIME, 0);
	if (fd == -EPERM) /* the owner's right */
		fd = DV_B(s, open, dirfd, name, flags, 0);
	return fd;
}

void dv_keep_quiet(struct dv_store *s, int fd)
{
	if (s->options.noatime)
		dv_ignore(DV_B(s, set_noatime, fd)); /* the owner's right */
}

dv_err dv_reserve(struct dv_store *s, int fd, uint64_t size)
{
	struct dv_fsinfo fs;
	if (size < DV_RESERVE_FROM)
		return 0;
	dv_err err = DV_B(s, fallocate, fd, FALLOC_FL_KEEP_SIZE, 0, size);
	if (err != -EOPNOTSUPP)
		return err;
	err = DV_B(s, fsinfo, fd, &fs); /* NFS and others: what they say must do */
	return !err && fs.bsize && size / fs.bsize >= fs.bavail ? -ENOSPC : 0;
}

dv_err dv_count_error(struct dv_store *s, dv_err err)
{
	switch (err) {
	case -EBADMSG:
	case -EFBIG:
		dv_count(s, errors_corrupt, 1);
		break;
	case -EIO:
		dv_count(s, errors_io, 1);
		break;
	case -ENOSPC:
	case -EDQUOT:
		dv_count(s, errors_space, 1);
		break;
	default:
		dv_count(s, errors_other, 1);
	}
	return err;
}

dv_err dv_lock_wait(struct dv_store *s, int fd, int operation, unsigned wait_ms)
{
	dv_err err = DV_B(s, flock, fd, operation | LOCK_NB);
	for (; err == -EWOULDBLOCK && wait_ms >= LOCK_STEP_MS; wait_ms -= LOCK_STEP_MS) {
		nanosleep(&(struct timespec){.tv_nsec = LOCK_STEP_MS * 1000000}, NULL);
		err = DV_B(s, flock, fd, operation | LOCK_NB);
	}
	return err == -EWOULDBLOCK ? -EAGAIN : 0;
}

dv_err dv_each_dirent(struct dv_store *s, int fd, dv_dirent_fn *fn, void *ctx)
{
	DV_AUTO_FREE char *buf = malloc(ENTS_BYTES);
	DV_AUTO_FREE struct dv_dirent *ents = malloc(ENTS_MAX * sizeof(*ents));
	int64_t cookie = 0;
	if (!buf || !ents)
		return -ENOMEM;
	for (;;) {
		ssize_t n = DV_B(s, readdir, fd, cookie, buf, ENTS_BYTES, ents, ENTS_MAX);
		dv_err err = n < 0 ? (dv_err)n : 0;
		for (ssize_t i = 0; i < n && !err; i++)
			err = fn(ctx, fd, &ents[i]);
		if (err || n <= 0)
			return err;
		cookie = ents[n - 1].cookie;
	}
}
