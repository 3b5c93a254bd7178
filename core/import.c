/* SPDX-License-Identifier: MIT */
/* import.c - see import.h. */
#include "core/import.h"

#include "core/cleanup.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES (256u << 10)

static void take_stat(const struct stat *from, struct dv_stat *to)
{
	*to = (struct dv_stat){.mode = from->st_mode,
			       .nlink = (uint32_t)from->st_nlink,
			       .uid = from->st_uid,
			       .gid = from->st_gid,
			       .dev = from->st_dev,
			       .ino = from->st_ino,
			       .size = (uint64_t)from->st_size,
			       .atime = from->st_atim,
			       .mtime = from->st_mtim};
}

static dv_err open_as(int dirfd, const char *name, int mode, struct dv_import *out)
{
	struct stat st;
	*out = (struct dv_import){.dirfd = dirfd, .name = name};
	out->fd = openat(dirfd, name, mode | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (out->fd < 0)
		return errno == ELOOP ? -EINVAL : -errno;
	dv_err err = fstat(out->fd, &st) ? -errno : 0;
	if (!err && !S_ISREG(st.st_mode))
		err = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (err)
		dv_import_close(out);
	else
		take_stat(&st, &out->st);
	return err;
}

dv_err dv_import_open(int dirfd, const char *name, struct dv_import *out)
{
	return open_as(dirfd, name, O_RDONLY, out);
}

void dv_import_close(struct dv_import *im)
{
	if (im->fd >= 0)
		close(im->fd);
	im->fd = -1;
}

/* ---- copying ---- */

struct copying {
	struct dv_store *s;
	const struct dv_call *call;
	struct dv_put *put;
	int fd;
	char *buf;
	void (*read)(void *ctx, uint64_t bytes);
	void *ctx;
};

static dv_err copy_piece(const struct copying *c, off_t from, off_t end)
{
	while (from < end) {
		size_t len = end - from < (off_t)COPY_BYTES ? (size_t)(end - from) : COPY_BYTES;
		ssize_t got = pread(c->fd, c->buf, len, from);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got) /* cut short meanwhile */
			break;
		ssize_t done = dv_put_write(c->s, c->call, c->put, c->buf,
					    (struct dv_range){(uint64_t)from, (uint64_t)got});
		if (done < 0)
			return (dv_err)done;
		if (c->read)
			c->read(c->ctx, (uint64_t)got);
		from += got;
	}
	return 0;
}

/* Holes stay holes. */
static dv_err copy_bytes(const struct copying *c, off_t size)
{
	off_t end;
	dv_err err = 0;
	for (off_t at = 0; !err && at < size; at = end) {
		off_t data = lseek(c->fd, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0) /* nothing is known of holes */
			data = at;
		end = lseek(c->fd, data, SEEK_HOLE);
		if (end <= data || end > size)
			end = size;
		err = copy_piece(c, data, end);
	}
	return err ? err : dv_put_resize(c->s, c->call, c->put, (uint64_t)size);
}

dv_err dv_import_copy(struct dv_store *s, const struct dv_call *call, const struct dv_import *im,
		      void (*read)(void *ctx, uint64_t bytes), void *ctx, struct dv_put **out)
{
	DV_AUTO_FREE char *buf = malloc(COPY_BYTES);
	struct dv_put *put = NULL;
	dv_err err = buf ? dv_put_begin(s, 0600, &put) : -ENOMEM;
	struct copying c = {s, call, put, im->fd, buf, read, ctx};
	if (!err)
		err = copy_bytes(&c, (off_t)im->st.size);
	if (!err)
		err = dv_put_dress(s, put, im->fd, &im->st);
	if (err)
		dv_put_end(s, &put);
	*out = put;
	return err;
}

/* ---- moving ---- */

dv_err dv_import_link(struct dv_store *s, struct dv_import *im, struct dv_put **out)
{
	struct dv_import again;
	if (im->st.nlink != 1) /* a program that has another name would write to the value */
		return -EXDEV;
	if (open_as(im->dirfd, im->name, O_RDWR, &again))
		return -EXDEV;
	if (again.st.dev != im->st.dev || again.st.ino != im->st.ino || again.st.nlink != 1) {
		dv_import_close(&again);
		return -EXDEV;
	}
	im->linked = dv_put_begin_link(s, again.fd, out) == 0;
	return im->linked ? 0 : -EXDEV;
}

static bool is_unchanged(const struct dv_import *im, const struct stat *st)
{
	return (uint64_t)st->st_size == im->st.size && st->st_mtim.tv_sec == im->st.mtime.tv_sec &&
	       st->st_mtim.tv_nsec == im->st.mtime.tv_nsec;
}

dv_err dv_import_unlink(const struct dv_import *im)
{
	struct stat st;
	if (fstatat(im->dirfd, im->name, &st, AT_SYMLINK_NOFOLLOW) || st.st_dev != im->st.dev ||
	    st.st_ino != im->st.ino || (!im->linked && !is_unchanged(im, &st)))
		return -ESTALE;
	return unlinkat(im->dirfd, im->name, 0) ? -errno : 0;
}
