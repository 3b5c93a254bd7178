/* SPDX-License-Identifier: MIT */
/*
 * lib_sorted.c - keys in order where the store does not keep it: under hash, a custom transform, an
 * order of the program's own.
 *
 * The store is walked once for each window: of the keys behind the last one given, the smallest that
 * fit are kept. Where the window is full its larger half is dropped, to be found by a later walk.
 */
#include "core/lib.h"

#include "core/cleanup.h"

#include <stdlib.h>
#include <string.h>

struct lib_sorted {
	struct dvfs *s;
	const char *prefix;
	size_t window, used; /* bytes */
	char **keys;
	size_t count, room, next;
	char *last;  /* given last, or `after`; NULL: none */
	char *bound; /* of this window: what is not smaller is left for later; NULL: none */
	bool filled;
};

static int by_order(const void *a, const void *b, void *s)
{
	return lib_compare(s, *(char *const *)a, *(char *const *)b);
}

static void drop(struct lib_sorted *o, size_t keep)
{
	while (o->count > keep) {
		char *key = o->keys[--o->count];
		o->used -= strlen(key) + 1 + sizeof(char *);
		free(key);
	}
}

/* The larger half goes. */
static dv_err halve(struct lib_sorted *o)
{
	qsort_r(o->keys, o->count, sizeof(char *), by_order, o->s);
	drop(o, (o->count + 1) / 2);
	free(o->bound);
	o->bound = strdup(o->keys[o->count - 1]);
	return o->bound ? 0 : -ENOMEM;
}

static dv_err add(struct lib_sorted *o, const char *key)
{
	if ((o->last && lib_compare(o->s, key, o->last) <= 0) ||
	    (o->bound && lib_compare(o->s, key, o->bound) > 0))
		return 0;
	if (o->count == o->room) {
		size_t room = o->room ? o->room * 2 : 256;
		char **grown = realloc(o->keys, room * sizeof(char *));
		if (!grown)
			return -ENOMEM;
		o->keys = grown;
		o->room = room;
	}
	o->keys[o->count] = strdup(key);
	if (!o->keys[o->count])
		return -ENOMEM;
	o->used += strlen(key) + 1 + sizeof(char *);
	o->count++;
	return o->used > o->window && o->count > 1 ? halve(o) : 0;
}

static dv_err fill(struct lib_sorted *o)
{
	struct lib_walk *w = NULL;
	const char *key;
	drop(o, 0);
	o->next = 0;
	free(dv_take_ptr(&o->bound));
	dv_err err = lib_walk_open(o->s, o->prefix, "", false, &w);
	while (!err && !(err = lib_walk_next(w, &key)) && key)
		err = add(o, key);
	lib_walk_close(&w);
	if (o->count)
		qsort_r(o->keys, o->count, sizeof(char *), by_order, o->s);
	o->filled = true;
	return err;
}

dv_err lib_sorted_next(struct lib_sorted *o, const char **key)
{
	dv_err err = 0;
	*key = NULL;
	if (!o->filled || (o->next == o->count && o->bound))
		err = fill(o);
	if (err || o->next == o->count)
		return err;
	char *copy = strdup(o->keys[o->next]);
	if (!copy)
		return -ENOMEM;
	free(o->last);
	o->last = copy;
	o->next++;
	*key = copy;
	return 0;
}

dv_err lib_sorted_open(struct dvfs *s, const char *prefix, const char *after, size_t window,
		       struct lib_sorted **out)
{
	struct lib_sorted *o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->s = s;
	o->prefix = prefix;
	o->window = window;
	if (*after && !(o->last = strdup(after))) {
		free(o);
		return -ENOMEM;
	}
	*out = o;
	return 0;
}

void lib_sorted_close(struct lib_sorted **sorted)
{
	struct lib_sorted *o = *sorted;
	if (!o)
		return;
	drop(o, 0);
	free(o->keys);
	free(o->last);
	free(o->bound);
	free(o);
	*sorted = NULL;
}
