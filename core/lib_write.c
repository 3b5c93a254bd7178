/* SPDX-License-Identifier: MIT */
/* lib_write.c - writing values whole, and erasing them. See diskvfs.h, put.h. */
#include "core/lib.h"

#include "core/cleanup.h"
#include "core/put.h"

#include <stdlib.h>
#include <string.h>

struct dvfs_writer {
	struct dvfs *s;
	struct dv_put *put;
	struct lib_filter *filter; /* NULL: no codec */
	char *path;
	uint64_t size; /* so far */
	int flags;
	dv_err err; /* of an earlier write */
};

/* ---- a stream ---- */

int dvfs_writer_open(struct dvfs *s, const char *key, int flags, struct dvfs_writer **out)
{
	char *path = NULL;
	if (!out)
		return -EINVAL;
	*out = NULL;
	dv_err err = flags & ~(DVFS_SYNC | DVFS_NEW) ? -EINVAL : lib_enter(s);
	if (err)
		return err;
	err = lib_path(s, key, &path);
	struct dvfs_writer *w = err ? NULL : calloc(1, sizeof(*w));
	if (!w) {
		free(path);
		lib_leave(s);
		return err ? err : -ENOMEM;
	}
	w->s = s;
	w->path = path;
	w->flags = flags;
	err = dv_put_begin(s->store, s->o.file_mode, &w->put);
	if (!err && s->has_codec)
		err = lib_filter_new(s, false, &w->filter);
	if (err)
		dvfs_writer_abort(&w);
	*out = w;
	return err;
}

static int store_bytes(void *ctx, const void *buf, size_t len)
{
	struct dvfs_writer *w = ctx;
	ssize_t done =
		dv_put_write(w->s->store, &lib_call, w->put, buf, (struct dv_range){w->size, len});
	if (done < 0)
		return (int)done;
	w->size += len;
	return 0;
}

static dv_err add(struct dvfs_writer *w, const void *buf, size_t len, bool end)
{
	if (!w->err && w->filter)
		w->err = lib_filter_run(w->filter, buf, len, end, store_bytes, w);
	else if (!w->err && len)
		w->err = store_bytes(w, buf, len);
	return w->err;
}

int dvfs_writer_write(struct dvfs_writer *w, const void *buf, size_t len)
{
	if (!w || (!buf && len))
		return -EINVAL;
	dv_err err = lib_may(w->s);
	return err ? err : add(w, buf, len, false);
}

int dvfs_writer_set_key(struct dvfs_writer *w, const char *key)
{
	char *path = NULL;
	dv_err err = w ? lib_may(w->s) : -EINVAL;
	if (!err)
		err = lib_path(w->s, key, &path);
	if (err)
		return err;
	free(w->path);
	w->path = path;
	return 0;
}

int dvfs_writer_commit(struct dvfs_writer **writer)
{
	struct dvfs_writer *w = writer ? *writer : NULL;
	if (!w)
		return -EINVAL;
	dv_err err = lib_may(w->s);
	if (!err)
		err = add(w, NULL, 0, true);
	if (!err)
		err = lib_commit(w->s, w->put, w->path,
				 (w->flags & DVFS_SYNC ? DV_PUT_SYNC : 0u) |
					 (w->flags & DVFS_NEW ? DV_PUT_NEW : 0u));
	dvfs_writer_abort(writer);
	return err;
}

void dvfs_writer_abort(struct dvfs_writer **writer)
{
	struct dvfs_writer *w = writer ? *writer : NULL;
	if (!w || lib_may(w->s) == -EDEADLK)
		return;
	*writer = NULL;
	if (lib_may(w->s)) /* what it has written is the parent's */
		return;
	lib_filter_free(&w->filter);
	dv_put_end(w->s->store, &w->put);
	lib_leave(w->s);
	free(w->path);
	free(w);
}

int dvfs_write(struct dvfs *s, const char *key, const void *buf, size_t len, int flags)
{
	struct dvfs_writer *w = NULL;
	if (!buf && len)
		return -EINVAL;
	dv_err err = dvfs_writer_open(s, key, flags, &w);
	if (err)
		return err;
	err = dvfs_writer_write(w, buf, len);
	if (err) {
		dvfs_writer_abort(&w);
		return err;
	}
	return dvfs_writer_commit(&w);
}

/* ---- erasing ---- */

static dv_err erase_once(struct dvfs *s, const char *path)
{
	struct lib_place p;
	struct dv_node *n = NULL;
	struct dv_stat st;
	dv_err err = lib_find_dir(s, path, false, &p);
	if (err)
		return err == -ENOTDIR ? -ENOENT : err;
	err = dv_store_lookup(s->store, &lib_call, p.dir, p.name, &n, &st);
	if (!err && !S_ISREG(dv_node_type(n)))
		err = -ENOENT;
	if (!err)
		err = dv_store_unlink(s->store, &lib_call, p.dir, p.name);
	dv_node_unref(s->store, n);
	dv_node_unref(s->store, p.dir);
	return err;
}

int dvfs_erase(struct dvfs *s, const char *key)
{
	DV_AUTO_FREE char *path = NULL;
	unsigned tries = 0;
	dv_err err = lib_enter(s);
	if (err)
		return err;
	err = lib_path(s, key, &path);
	if (!err)
		do
			err = erase_once(s, path);
		while (lib_goes_on(err, &tries));
	if (!err)
		lib_prune(s, path);
	lib_leave(s);
	return err;
}

int dvfs_erase_all(struct dvfs *s, uint64_t *erased)
{
	struct dvfs_iter *it = NULL;
	const char *key;
	uint64_t count = 0;
	int got = dvfs_iter_open(s, NULL, &it);
	while (!got && (got = dvfs_iter_next(it, &key)) == 1) {
		got = dvfs_erase(s, key);
		count += !got;
		if (got == -ENOENT) /* another was faster */
			got = 0;
	}
	dvfs_iter_close(&it);
	if (erased)
		*erased = count;
	return got;
}
