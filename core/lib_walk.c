/* SPDX-License-Identifier: MIT */
/*
 * lib_walk.c - all keys below a prefix, in the order of the store, one at a time.
 *
 *   levels   one for each open directory of path: its node, a list with a handle, and some names
 *            that were read from it
 *
 * The walk begins in the directory that the prefix names, so that others are not read. Each list
 * leaves out what lies outside the prefix or not behind `after` (dv_list_bound()).
 */
#include "core/lib.h"

#include "core/cleanup.h"
#include "core/transform.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 64u

struct level {
	struct dv_node *dir;
	struct dv_list *list;
	size_t base; /* bytes of the path up to here, its slash too */
	int64_t cookie;
	unsigned count, next;
	bool ended;
	struct {
		mode_t type;
		char name[DV_NAME_MAX + 1];
	} names[BATCH];
};

struct lib_walk {
	struct dvfs *s;
	const char *prefix, *after; /* of paths; "": none, and with a custom transform */
	const char *key_prefix;
	bool unsorted;
	struct level **levels;
	size_t depth, room;
	char path[LIB_PATH_MAX + DV_NAME_MAX + 2];
	char key[LIB_PATH_MAX];
};

bool lib_in_order(const struct dvfs *s)
{
	return !s->maps && !s->t.compare && dv_store_keeps_order(s->store);
}

int lib_compare(const struct dvfs *s, const char *a, const char *b)
{
	if (!s->t.compare)
		return dv_store_compare(s->store, a, b);
	int order = s->t.compare(s->t.self, a, b);
	return order ? order : strcmp(a, b);
}

static void pop(struct lib_walk *w)
{
	struct level *v = w->levels[--w->depth];
	dv_list_close(w->s->store, &v->list);
	dv_node_unref(w->s->store, v->dir);
	free(v);
}

/* The directory whose path, and slash, are the first base bytes of w->path. Takes dir. */
static dv_err push(struct lib_walk *w, struct dv_node *dir, size_t base)
{
	struct level *v = calloc(1, sizeof(*v));
	dv_err err = v ? 0 : -ENOMEM;
	if (!err && w->depth == w->room) {
		size_t room = w->room ? w->room * 2 : 8;
		struct level **grown = realloc(w->levels, room * sizeof(struct level *));
		if (grown) {
			w->levels = grown;
			w->room = room;
		}
		err = grown ? 0 : -ENOMEM;
	}
	if (!err)
		err = dv_list_open(w->s->store, dir, &v->list);
	if (err) {
		free(v);
		dv_node_unref(w->s->store, dir);
		return err;
	}
	v->dir = dir;
	v->base = base;
	bool within = strncmp(w->path, w->prefix, base) == 0 && strlen(w->prefix) > base;
	bool behind = strncmp(w->path, w->after, base) != 0 || strlen(w->after) <= base;
	dv_list_bound(v->list, within ? w->prefix + base : "", behind ? "" : w->after + base);
	if (w->unsorted)
		dv_list_unsorted(v->list);
	w->levels[w->depth++] = v;
	return 0;
}

static bool collect(void *ctx, const struct dv_list_entry *e)
{
	struct level *v = ctx;
	if (v->count == BATCH)
		return false;
	v->names[v->count].type = e->type;
	strcpy(v->names[v->count++].name, e->name);
	v->cookie = e->cookie;
	return true;
}

static dv_err read_level(struct lib_walk *w, struct level *v)
{
	v->count = v->next = 0;
	dv_err err = dv_store_list(w->s->store, &lib_call, v->dir, v->list, v->cookie, collect, v);
	if (err == -ENOENT || err == -ESTALE) /* removed meanwhile */
		err = 0;
	v->ended = v->count == 0;
	return err;
}

/* An entry, whose path is in w->path. *is_key: it is a value; a directory is entered. */
static dv_err enter(struct lib_walk *w, struct level *v, const char *name, mode_t type,
		    bool *is_key)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	*is_key = S_ISREG(type);
	if (type && !S_ISDIR(type))
		return 0;
	dv_err err = dv_store_lookup(w->s->store, &lib_call, v->dir, name, &n, &st);
	if (err) /* -EXDEV: something is mounted there */
		return err == -ENOENT || err == -ESTALE || err == -EXDEV ? 0 : err;
	type = dv_node_type(n);
	*is_key = S_ISREG(type);
	size_t len = strlen(w->path);
	if (!S_ISDIR(type) || len + 2 > LIB_PATH_MAX) {
		dv_node_unref(w->s->store, n);
		return 0;
	}
	strcpy(w->path + len, "/");
	return push(w, n, len + 1);
}

/* Is w->path, a value's, one that is asked for? */
static bool wanted(struct lib_walk *w, const char **key)
{
	*key = w->path;
	if (lib_check_path(w->s, w->path)) /* no call could name it */
		return false;
	if (w->s->maps) {
		if (w->s->t.to_key(w->s->t.self, w->path, w->key, sizeof(w->key)))
			return false;
		*key = w->key;
	}
	return strncmp(*key, w->key_prefix, strlen(w->key_prefix)) == 0 &&
	       (!w->after[0] || strcmp(*key, w->after) > 0);
}

dv_err lib_walk_next(struct lib_walk *w, const char **key)
{
	*key = NULL;
	while (w->depth) {
		struct level *v = w->levels[w->depth - 1];
		bool is_key;
		if (v->next == v->count) {
			dv_err err = v->ended ? 0 : read_level(w, v);
			if (err)
				return err;
			if (v->ended)
				pop(w);
			continue;
		}
		const char *name = v->names[v->next].name;
		mode_t type = v->names[v->next++].type;
		if (v->base + strlen(name) >= LIB_PATH_MAX)
			continue;
		strcpy(w->path + v->base, name);
		dv_err err = enter(w, v, name, type, &is_key);
		if (err)
			return err;
		if (is_key && wanted(w, key))
			return 0;
	}
	*key = NULL;
	return 0;
}

/* The directory of the prefix. -ENOENT: nothing begins with it. */
static dv_err begin(struct lib_walk *w)
{
	const char *slash = strrchr(w->prefix, '/');
	struct lib_place p;
	if (!slash)
		return push(w, dv_store_root(w->s->store), 0);
	if (!dv_store_has_dirs(w->s->store) || strlen(w->prefix) >= LIB_PATH_MAX)
		return -ENOENT;
	size_t base = (size_t)(slash - w->prefix) + 1;
	memcpy(w->path, w->prefix, base - 1);
	w->path[base - 1] = '\0';
	dv_err err = lib_check_path(w->s, w->path);
	if (err)
		return -ENOENT;
	memcpy(w->path, w->prefix, base);
	w->path[base] = '\0'; /* lib_find_dir() goes as far as the last slash */
	err = lib_find_dir(w->s, w->path, false, &p);
	return err ? err : push(w, p.dir, base);
}

dv_err lib_walk_open(struct dvfs *s, const char *prefix, const char *after, bool unsorted,
		     struct lib_walk **out)
{
	struct lib_walk *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->s = s;
	w->key_prefix = prefix;
	w->prefix = s->maps ? "" : prefix;
	w->after = lib_in_order(s) ? after : "";
	w->unsorted = unsorted;
	dv_err err = begin(w);
	if (err == -ENOENT || err == -ENOTDIR)
		err = 0; /* no such keys */
	if (err)
		lib_walk_close(&w);
	*out = w;
	return err;
}

void lib_walk_close(struct lib_walk **walk)
{
	struct lib_walk *w = *walk;
	if (!w)
		return;
	while (w->depth)
		pop(w);
	free(w->levels);
	free(w);
	*walk = NULL;
}
