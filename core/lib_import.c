/* SPDX-License-Identifier: MIT */
/* lib_import.c - a file from elsewhere becomes a value. See diskvfs.h, import.h. */
#include "core/lib.h"

#include "core/cleanup.h"
#include "core/import.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define COPY_BYTES (256u << 10)

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

static dv_err encode_bytes(struct dvfs *s, struct dv_put *put, int fd)
{
	struct encoding f = {s, put, 0};
	struct lib_filter *filter = NULL;
	DV_AUTO_FREE char *buf = malloc(COPY_BYTES);
	ssize_t got = 1;
	dv_err err = buf ? lib_filter_new(s, false, &filter) : -ENOMEM;
	while (!err && got) {
		got = read(fd, buf, COPY_BYTES);
		if (got < 0 && errno == EINTR)
			continue;
		err = got < 0 ? -errno
			      : lib_filter_run(filter, buf, (size_t)got, !got, put_bytes, &f);
	}
	lib_filter_free(&filter);
	return err;
}

/* Its bytes through the codec, its attributes to what comes of them. */
static dv_err import_encoded(struct dvfs *s, const struct dv_import *im, struct dv_put **out)
{
	struct dv_put *put = NULL;
	dv_err err = dv_put_begin(s->store, 0600, &put);
	if (!err)
		err = encode_bytes(s, put, im->fd);
	if (!err)
		err = dv_put_dress(s->store, put, im->fd, &im->st);
	if (err)
		dv_put_end(s->store, &put);
	*out = put;
	return err;
}

static dv_err import_file(struct dvfs *s, const char *to, struct dv_import *im, int flags)
{
	struct dv_put *put = NULL;
	bool move = flags & DVFS_MOVE;
	unsigned how = (move || (flags & DVFS_SYNC) ? DV_PUT_SYNC : 0u) |
		       (flags & DVFS_NEW ? DV_PUT_NEW : 0u);
	dv_err err = move && !s->has_codec ? dv_import_link(s->store, im, &put) : -EXDEV;
	if (err == -EXDEV)
		err = s->has_codec ? import_encoded(s, im, &put)
				   : dv_import_copy(s->store, &lib_call, im, NULL, NULL, &put);
	if (!err)
		err = lib_commit(s, put, to, how);
	dv_put_end(s->store, &put);
	return err || !move ? err : dv_import_unlink(im);
}

int dvfs_import(struct dvfs *s, const char *key, const char *path, int flags)
{
	DV_AUTO_FREE char *to = NULL;
	struct dv_import im;
	if (!path || (flags & ~(DVFS_SYNC | DVFS_NEW | DVFS_MOVE)))
		return -EINVAL;
	dv_err err = lib_enter(s);
	if (err)
		return err;
	err = lib_path(s, key, &to);
	if (!err)
		err = dv_import_open(AT_FDCWD, path, &im);
	if (!err) {
		err = import_file(s, to, &im, flags);
		dv_import_close(&im);
	}
	lib_leave(s);
	return err;
}
