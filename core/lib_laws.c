/* SPDX-License-Identifier: MIT */
/*
 * lib_laws.c - does a program's transform keep the laws? On its own samples, all of which it has to
 * take, and on some keys of ours, which it may refuse.
 */
#include "core/lib.h"

#include "core/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLES_MAX 256u
#define LONG_KEY                                                                                   \
	"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789abcdefghijklmn"

static const char *const ours[] = {"a",	  "b",	 "aa",	  "ab",	  "abc",   "abcabc", "abcdef",
				   "A",	  "0",	 "a b",	  "a.b",  ".a",	   "a.zst",  "a.zst.raw",
				   "*",	  "[x]", "\n",	  "\xff", "a/b",   "a/b/c",  "b/a",
				   "a-b", "a_b", "a.txt", "%2e",  LONG_KEY};

struct sample {
	const char *key;
	char *path;
};

struct laws {
	const struct dvfs *s;
	struct sample samples[SAMPLES_MAX];
	size_t count;
	char *back; /* LIB_PATH_MAX bytes */
	char *why;
	size_t why_size;
};

static dv_err broken(struct laws *l, const char *key, const char *other, const char *law)
{
	snprintf(l->why, l->why_size, "custom_transform: %s: %s%s%s", law, key,
		 other ? " and " : "", other ? other : "");
	return -EINVAL;
}

static dv_err take(struct laws *l, const char *key, bool must)
{
	const struct dvfs *s = l->s;
	char *path = NULL;
	dv_err err = lib_path(s, key, &path);
	if (err == -ENOMEM)
		return err;
	if (err)
		return must ? broken(l, key, NULL, "to_path gives no path that can be") : 0;
	l->samples[l->count++] = (struct sample){key, path};
	if (s->maps &&
	    (s->t.to_key(s->t.self, path, l->back, LIB_PATH_MAX) != 0 || strcmp(l->back, key) != 0))
		return broken(l, key, NULL, "to_key does not give back the key");
	return 0;
}

static bool is_beneath(const char *path, const char *other)
{
	size_t len = strlen(other);
	return strncmp(path, other, len) == 0 && path[len] == '/';
}

static dv_err check_pair(struct laws *l, const struct sample *a, const struct sample *b)
{
	const struct dvfs_transform *t = &l->s->t;
	int order = t->compare ? t->compare(t->self, a->key, b->key) : 0;
	int back = t->compare ? t->compare(t->self, b->key, a->key) : 0;
	bool same = !strcmp(a->key, b->key);
	if ((same && order) || (order > 0) != (back < 0) || (order < 0) != (back > 0))
		return broken(l, a->key, b->key, "compare is no order");
	if (!l->s->maps || same)
		return 0;
	if (!strcmp(a->path, b->path))
		return broken(l, a->key, b->key, "two keys have one path");
	/* Of our own keys some may be each other's directories, as under path. */
	bool slashes = strchr(a->key, '/') || strchr(b->key, '/');
	if (!slashes && (is_beneath(a->path, b->path) || is_beneath(b->path, a->path)))
		return broken(l, a->key, b->key, "one lies beneath the other");
	return 0;
}

static dv_err check_all(struct laws *l)
{
	const char *const *own = l->s->t.samples;
	dv_err err = 0;
	for (size_t i = 0; !err && own && own[i] && l->count < SAMPLES_MAX; i++)
		err = take(l, own[i], true);
	for (size_t i = 0; !err && i < DV_ARRAY_LEN(ours) && l->count < SAMPLES_MAX; i++)
		err = take(l, ours[i], false);
	for (size_t i = 0; !err && i < l->count; i++)
		for (size_t j = i; !err && j < l->count; j++)
			err = check_pair(l, &l->samples[i], &l->samples[j]);
	return err;
}

dv_err lib_check_laws(const struct dvfs *s, char *why, size_t why_size)
{
	struct laws *l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->s = s;
	l->why = why;
	l->why_size = why_size;
	l->back = malloc(LIB_PATH_MAX);
	dv_err err = l->back ? check_all(l) : -ENOMEM;
	for (size_t i = 0; i < l->count; i++)
		free(l->samples[i].path);
	free(l->back);
	free(l);
	return err;
}
