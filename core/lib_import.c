/* SPDX-License-Identifier: MIT */
/*
 * lib_import.c - a file from elsewhere becomes a value. See diskvfs.h.
 *
 *   copy   its bytes, holes left out, and its attributes go to a put
 *   move   it is linked into the store, put in its place, made durable, and only then is the old
 *          name removed: at every moment one of the two names leads to the bytes. What can not be
 *          linked (another filesystem, other links, a codec) is copied, made durable, and unlinked
 *
 * The file is none of the store's: it is opened and read by calls of our own.
 */
#include "core/lib.h"

#include "core/cleanup.h"
#include "core/put.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES (256u << 10)

struct source {
	int fd;
	struct dv_stat st;
};

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

static dv_err open_source(const char *path, int mode, struct source *out)
{
	struct stat st;
	out->fd = open(path, mode | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (out->fd < 0)
		return errno == ELOOP ? -EINVAL : -errno;
	dv_err err = fstat(out->fd, &st) ? -errno : 0;
	take_stat(&st, &out->st);
	if (!err && !S_ISREG(st.st_mode))
		err = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (err) {
		close(out->fd);
		out->fd = -1;
	}
	return err;
}

/* ---- copying ---- */

static dv_err copy_piece(struct dvfs *s, struct dv_put *put, int fd, char *buf, off_t from,
			 off_t end)
{
	while (from < end) {
		size_t len = end - from < (off_t)COPY_BYTES ? (size_t)(end - from) : COPY_BYTES;
		ssize_t got = pread(fd, buf, len, from);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got) /* cut short meanwhile */
			break;
		ssize_t done = dv_put_write(s->store, &lib_call, put, buf,
					    (struct dv_range){(uint64_t)from, (uint64_t)got});
		if (done < 0)
			return (dv_err)done;
		from += got;
	}
	return 0;
}

/* Holes stay holes. */
static dv_err copy_bytes(struct dvfs *s, struct dv_put *put, const struct source *src)
{
	off_t size = (off_t)src->st.size, end;
	DV_AUTO_FREE char *buf = malloc(COPY_BYTES);
	dv_err err = buf ? 0 : -ENOMEM;
	for (off_t at = 0; !err && at < size; at = end) {
		off_t data = lseek(src->fd, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0) /* nothing is known of holes */
			data = at;
		end = lseek(src->fd, data, SEEK_HOLE);
		if (end <= data || end > size)
			end = size;
		err = copy_piece(s, put, src->fd, buf, data, end);
	}
	return err ? err : dv_put_resize(s->store, &lib_call, put, src->st.size);
}

static dv_err commit(struct dvfs *s, struct dv_put *put, const char *path, unsigned flags)
{
	dv_err err = -ENOENT;
	for (unsigned tries = 0; err == -ENOENT && tries < LIB_TRIES; tries++) {
		struct lib_place p;
		err = lib_find_dir(s, path, true, &p);
		if (err)
			break;
		err = dv_put_commit(s->store, &lib_call, put, p.dir, p.name, flags);
		dv_node_unref(s->store, p.dir);
	}
	return err;
}

struct encoding {
	struct dvfs *s;
	struct dv_put *put;
	uint64_t size; /* so far */
};

static int put_bytes(void *ctx, const void *buf, size_t len)
{
	struct encoding *f = ctx;
	ssize_t done =
		dv_put_write(f->s->store, &lib_call, f->put, buf, (struct dv_range){f->size, len});
	f->size += done > 0 ? (uint64_t)done : 0;
	return done < 0 ? (int)done : 0;
}

static dv_err encode_bytes(struct dvfs *s, struct dv_put *put, const struct source *src)
{
	struct encoding f = {s, put, 0};
	struct lib_filter *filter = NULL;
	DV_AUTO_FREE char *buf = malloc(COPY_BYTES);
	ssize_t got = 1;
	dv_err err = buf ? lib_filter_new(s, false, &filter) : -ENOMEM;
	while (!err && got) {
		got = read(src->fd, buf, COPY_BYTES);
		if (got < 0 && errno == EINTR)
			continue;
		err = got < 0 ? -errno
			      : lib_filter_run(filter, buf, (size_t)got, !got, put_bytes, &f);
	}
	lib_filter_free(&filter);
	return err;
}

static dv_err import_copy(struct dvfs *s, const char *path, const struct source *src,
			  unsigned flags)
{
	struct dv_put *put = NULL;
	dv_err err = dv_put_begin(s->store, 0600, &put);
	if (!err)
		err = s->has_codec ? encode_bytes(s, put, src) : copy_bytes(s, put, src);
	if (!err)
		err = dv_put_dress(s->store, put, src->fd, &src->st);
	if (!err)
		err = commit(s, put, path, flags);
	dv_put_end(s->store, &put);
	return err;
}

/* ---- moving ---- */

/* -EXDEV: it is to be copied. */
static dv_err import_link(struct dvfs *s, const char *path, const char *from, unsigned flags)
{
	struct source src;
	struct dv_put *put = NULL;
	if (s->has_codec)
		return -EXDEV;
	if (open_source(from, O_RDWR, &src))
		return -EXDEV;	 /* a copy tells what is wrong, if anything is */
	if (src.st.nlink != 1) { /* a program that has another name would write to the value */
		close(src.fd);
		return -EXDEV;
	}
	if (dv_put_begin_link(s->store, src.fd, &put))
		return -EXDEV;
	dv_err err = commit(s, put, path, flags);
	dv_put_end(s->store, &put);
	return err == -EXDEV ? -EIO : err;
}

/* The name goes if it still leads to what was moved. */
static dv_err unlink_source(const char *path, const struct source *src)
{
	struct stat st;
	if (lstat(path, &st) || st.st_dev != src->st.dev || st.st_ino != src->st.ino)
		return -ESTALE;
	return unlink(path) ? -errno : 0;
}

int dvfs_import(struct dvfs *s, const char *key, const char *path, int flags)
{
	DV_AUTO_FREE char *to = NULL;
	struct source src;
	if (!path || (flags & ~(DVFS_SYNC | DVFS_NEW | DVFS_MOVE)))
		return -EINVAL;
	dv_err err = lib_path(s, key, &to);
	if (!err)
		err = open_source(path, O_RDONLY, &src);
	if (err)
		return err;
	bool move = flags & DVFS_MOVE;
	unsigned how = (move || (flags & DVFS_SYNC) ? DV_PUT_SYNC : 0u) |
		       (flags & DVFS_NEW ? DV_PUT_NEW : 0u);
	err = move ? import_link(s, to, path, how) : -EXDEV;
	if (err == -EXDEV)
		err = import_copy(s, to, &src, how);
	if (!err && move)
		err = unlink_source(path, &src);
	close(src.fd);
	return err;
}
