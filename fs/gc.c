/* SPDX-License-Identifier: MIT */
/* gc.c - see gc.h. */
#include "fs/gc.h"

#include "fs/through.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FRESH_S 2 /* so long a value that was just written may be pending */

struct candidate {
	int64_t used_ns, changed_ns;
	uint64_t bytes;
	char *key;
};

/* A heap: the one used last is on top. */
struct window {
	struct candidate *at;
	size_t count;
	bool cut; /* there were more */
};

static int64_t ns_of(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void swap(struct candidate *a, struct candidate *b)
{
	struct candidate was = *a;

	*a = *b;
	*b = was;
}

static void sift_down(struct window *w, size_t i)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= w->count)
			return;
		if (child + 1 < w->count && w->at[child + 1].used_ns > w->at[child].used_ns)
			child++;
		if (w->at[i].used_ns >= w->at[child].used_ns)
			return;
		swap(&w->at[i], &w->at[child]);
		i = child;
	}
}

static void sift_up(struct window *w, size_t i)
{
	while (i && w->at[(i - 1) / 2].used_ns < w->at[i].used_ns) {
		swap(&w->at[i], &w->at[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
}

static dv_err keep(struct window *w, const char *key, const struct dvfs_value *v)
{
	int64_t used = ns_of(v->atime), changed = ns_of(v->mtime);
	struct candidate c = {.changed_ns = changed, .bytes = v->stored_bytes};

	c.used_ns = used > changed ? used : changed;
	if (w->count == FS_GC_WINDOW) {
		w->cut = true;
		if (c.used_ns >= w->at[0].used_ns)
			return 0;
	}
	c.key = strdup(key);
	if (!c.key)
		return -ENOMEM;
	if (w->count == FS_GC_WINDOW) {
		free(w->at[0].key);
		w->at[0] = c;
		sift_down(w, 0);
	} else {
		w->at[w->count] = c;
		sift_up(w, w->count++);
	}
	return 0;
}

static void empty(struct window *w)
{
	for (size_t i = 0; i < w->count; i++)
		free(w->at[i].key);
	w->count = 0;
	w->cut = false;
}

static int by_use(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return (x->used_ns > y->used_ns) - (x->used_ns < y->used_ns);
}

/* All values; those used longest ago are kept. */
static dv_err look(struct fs_door *d, struct window *w, uint64_t *values, uint64_t *bytes)
{
	struct dvfs_iter *it = NULL;
	const char *key;
	dv_err err = dvfs_iter_open(d->lib, NULL, &it);

	*values = *bytes = 0;
	while (!err && (err = dvfs_iter_next(it, &key)) == 1) {
		struct dvfs_value v;

		err = dvfs_stat(d->lib, key, &v);
		if (!err) {
			++*values;
			*bytes += v.stored_bytes;
			err = keep(w, key, &v);
		} else if (err == -ENOENT || err == -EBADMSG) { /* erased meanwhile; damaged */
			err = 0;
		}
	}
	dvfs_iter_close(&it);
	return err;
}

/* -EBUSY: it is open, or was written to since it was looked at. */
static dv_err erase_through(struct fs_door *d, const struct candidate *c)
{
	struct statx st;
	int fd = fs_through_open(d, c->key);
	dv_err err = fd < 0 ? fd : 0;

	if (!err && fcntl(fd, F_SETLEASE, F_WRLCK))
		err = -EBUSY; /* or nobody can tell */
	/* Not what the kernel remembers: what was looked at is the store. */
	if (!err &&
	    (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_MTIME, &st) ||
	     (int64_t)st.stx_mtime.tv_sec * 1000000000 + st.stx_mtime.tv_nsec != c->changed_ns))
		err = -EBUSY;
	if (!err)
		err = fs_through_erase(d, c->key);
	if (fd >= 0)
		close(fd);
	return err;
}

/* -EBUSY: it was written to since it was looked at, which may be long ago. */
static dv_err erase_beside(struct fs_door *d, const struct candidate *c)
{
	struct dvfs_value v;
	dv_err err = dvfs_stat(d->lib, c->key, &v);

	if (err && err != -EBADMSG)
		return err;
	if (!err && ns_of(v.mtime) != c->changed_ns)
		return -EBUSY;
	return dvfs_erase(d->lib, c->key);
}

/* -> 1: it is gone */
static dv_err erase(struct fs_door *d, struct fs_gc *gc, const struct candidate *c, int64_t now)
{
	/* A time to come is of a clock that was set back since: else such a value would stay for ever. */
	dv_err err = llabs(now - c->changed_ns) < FRESH_S * 1000000000ll ? -EBUSY : 0;

	if (!err && !gc->dry)
		err = d->mount[0] ? erase_through(d, c) : erase_beside(d, c);
	if (err == -ENOENT)
		return 0;
	if (err == -EBUSY) {
		gc->in_use++;
		return 0;
	}
	if (err)
		return err;
	gc->erased++;
	gc->erased_bytes += c->bytes;
	if (gc->tell)
		gc->tell(gc->ctx, c->key, c->bytes);
	return 1;
}

/* Of the window, the oldest first. *more: all of it went, and it was not all that there is. */
static dv_err erase_some(struct fs_door *d, struct fs_gc *gc, struct window *w, uint64_t bytes,
			 bool *more)
{
	struct timespec t;
	int64_t now;
	uint64_t before = gc->erased;
	dv_err err = 0;
	size_t i = 0;

	clock_gettime(CLOCK_REALTIME, &t);
	now = ns_of(t);
	qsort(w->at, w->count, sizeof(*w->at), by_use);
	for (; err >= 0 && i < w->count; i++) {
		const struct candidate *c = &w->at[i];
		bool old =
			gc->max_age_s && (uint64_t)(now - c->used_ns) / 1000000000 > gc->max_age_s;

		if (now < c->used_ns)
			old = false;
		if (!old && (!gc->max_bytes || bytes <= gc->max_bytes))
			break;
		err = erase(d, gc, c, now);
		if (err == 1)
			bytes -= c->bytes < bytes ? c->bytes : bytes;
	}
	*more = w->cut && i == w->count && gc->erased > before && !gc->dry;
	return err < 0 ? err : 0;
}

dv_err fs_gc_run(struct fs_door *d, struct fs_gc *gc)
{
	struct window w = {0};
	uint64_t values, bytes;
	bool more = true, first = true;
	dv_err err = 0;

	w.at = calloc(FS_GC_WINDOW, sizeof(*w.at));
	if (!w.at)
		return -ENOMEM;
	while (!err && more) {
		empty(&w);
		err = look(d, &w, &values, &bytes);
		if (first) {
			gc->values = values;
			gc->bytes = bytes;
		}
		first = false;
		if (!err)
			err = erase_some(d, gc, &w, bytes, &more);
	}
	empty(&w);
	free(w.at);
	return err;
}
