/* SPDX-License-Identifier: MIT */
/*
 * transform_plugin.c - transforms of shared objects (plugin.h): no answer of one is trusted.
 *
 * Layer 1: who loads the object hands its functions over (dv_transform_bind).
 */
#include "core/transform_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64u
#define SAMPLES	  256u
#define ORDERED	  64u /* of them, each with each */
#define PATH_SIZE (DV_SHARD_MAX + DV_NAME_MAX + 2)

static bool is_good_component(const char *s, size_t len)
{
	return len > 0 && len <= DV_NAME_MAX && !dv_component_is_reserved(s, len);
}

/* Splits path, which may be anything that ends. */
static bool split_path(const char *path, char shard[DV_SHARD_MAX], char file[DV_NAME_MAX + 1])
{
	unsigned depth = 0;
	const char *at = path;
	for (const char *slash; (slash = strchr(at, '/')); at = slash + 1) {
		size_t len = (size_t)(slash - at);
		if (!is_good_component(at, len) || dv_component_has_ending(at, len, ".zst") ||
		    ++depth > DEPTH_MAX)
			return false;
	}
	size_t shard_len = at == path ? 0 : (size_t)(at - path) - 1;
	if (!is_good_component(at, strlen(at)) || shard_len >= DV_SHARD_MAX)
		return false;
	memcpy(shard, path, shard_len);
	shard[shard_len] = '\0';
	strcpy(file, at);
	return true;
}

dv_err dv_plugin_place(const struct dv_transform *t, const char *name, char shard[DV_SHARD_MAX],
		       char file[DV_NAME_MAX + 1])
{
	char path[PATH_SIZE] = "", back[DV_NAME_MAX + 1] = "";
	if (!t->ops || t->ops->transform(t->self, name, path, sizeof(path)) != 0)
		return -EINVAL;
	path[sizeof(path) - 1] = '\0';
	if (!split_path(path, shard, file) ||
	    t->ops->inverse(t->self, path, back, sizeof(back)) != 0)
		return -EINVAL;
	back[sizeof(back) - 1] = '\0';
	return strcmp(back, name) == 0 ? 0 : -EINVAL;
}

dv_err dv_transform_file(const struct dv_transform *t, const char *name, char out[DV_NAME_MAX + 1])
{
	char shard[DV_SHARD_MAX];
	const size_t len = strlen(name), suffix_len = strlen(t->suffix);
	if (t->kind == KIND_PLUGIN)
		return dv_plugin_place(t, name, shard, out);
	if (len + suffix_len > DV_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(out, name, len);
	memcpy(out + len, t->suffix, suffix_len + 1);
	return 0;
}

dv_err dv_transform_name(const struct dv_transform *t, const char *shard, const char *file,
			 char out[DV_NAME_MAX + 1])
{
	char path[PATH_SIZE];
	const size_t len = strlen(file), suffix_len = strlen(t->suffix);
	if (t->kind == KIND_PLUGIN) {
		snprintf(path, sizeof(path), "%s%s%s", shard, shard[0] ? "/" : "", file);
		out[0] = out[DV_NAME_MAX] = '\0';
		if (!t->ops || t->ops->inverse(t->self, path, out, DV_NAME_MAX + 1) != 0)
			return -ENOENT;
		out[DV_NAME_MAX] = '\0';
		return out[0] && !strchr(out, '/') ? 0 : -ENOENT;
	}
	if (len <= suffix_len || len > DV_NAME_MAX + suffix_len ||
	    strcmp(file + len - suffix_len, t->suffix) != 0)
		return -ENOENT;
	memcpy(out, file, len - suffix_len);
	out[len - suffix_len] = '\0';
	return 0;
}

/* ---- the laws ---- */

/* Names that a transform may stumble over, and plain ones. */
static void sample(unsigned i, char out[DV_NAME_MAX + 1])
{
	static const char *const odd[] = {"a",	       "ab",	     "abc",
					  "abcd",      "abcabc",     "A",
					  "0",	       ".a",	     "..a",
					  "...",       "a.",	     "a b",
					  " ",	       "-",	     "%",
					  "%2e",       "a.zst",	     ".zst",
					  "a.raw",     "[*?]",	     "\n",
					  "\t\r",      "\xff",	     "\x01",
					  "\\",	       "'\"",	     "a%2fb",
					  "grüße",     "con",	     "a.txt",
					  "a.zst.raw", "index.html", "2024-02-30T00:00:00",
					  "_",	       "__",	     "~"};
	const unsigned count = sizeof(odd) / sizeof(odd[0]);
	if (i < count) {
		strcpy(out, odd[i]);
	} else if (i < count + 8) { /* long ones */
		size_t len = DV_NAME_MAX - (i - count);
		memset(out, 'a' + (int)(i - count), len);
		out[len] = '\0';
	} else {
		snprintf(out, DV_NAME_MAX + 1, "key-%u-%x", i % 19, i * 2654435761u);
	}
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static dv_err check_sample(const struct dv_transform *t, unsigned i, char **out, char *why,
			   size_t why_size)
{
	char key[DV_NAME_MAX + 1], path[PATH_SIZE] = "", shard[DV_SHARD_MAX], file[DV_NAME_MAX + 1];
	sample(i, key);
	*out = NULL;
	if (t->ops->transform(t->self, key, path, sizeof(path)) != 0)
		return 0;
	if (dv_plugin_place(t, key, shard, file)) {
		snprintf(why, why_size,
			 "the transform breaks a law of plugin.h: the key \"%.80s\" has the path "
			 "\"%.80s\", which is none, or whose inverse is another key",
			 key, path);
		return -EINVAL;
	}
	return asprintf(out, "%s/%s", shard, file) < 0 ? -ENOMEM : 0;
}

int dv_transform_compare(const struct dv_transform *t, const char *a, const char *b)
{
	int order = t->ops && t->ops->compare ? t->ops->compare(t->self, a, b) : 0;
	return order ? order : strcmp(a, b);
}

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

static dv_err check_order(const struct dv_transform *t, char *why, size_t why_size)
{
	char a[DV_NAME_MAX + 1], b[DV_NAME_MAX + 1];
	for (unsigned i = 0; t->ops->compare && i < ORDERED; i++)
		for (unsigned j = i; j < ORDERED; j++) {
			sample(i, a);
			sample(j, b);
			int order = t->ops->compare(t->self, a, b);
			if (sign(order) == -sign(t->ops->compare(t->self, b, a)) &&
			    (i != j || !order))
				continue;
			snprintf(why, why_size,
				 "the transform breaks a law of plugin.h: compare is no order, for "
				 "the keys \"%.80s\" and \"%.80s\"",
				 a, b);
			return -EINVAL;
		}
	return 0;
}

dv_err dv_transform_check_laws(const struct dv_transform *t, char *why, size_t why_size)
{
	char *paths[SAMPLES];
	size_t count = 0;
	dv_err err = t->ops ? 0 : -EINVAL;
	for (unsigned i = 0; !err && i < SAMPLES; i++) {
		err = check_sample(t, i, &paths[count], why, why_size);
		count += !err && paths[count];
	}
	if (!err && !count) {
		snprintf(why, why_size, "the transform refuses all of %u sample keys", SAMPLES);
		err = -EINVAL;
	}
	qsort(paths, count, sizeof(paths[0]), compare_paths);
	for (size_t i = 1; !err && i < count; i++)
		if (strcmp(paths[i - 1], paths[i]) == 0) {
			snprintf(why, why_size,
				 "the transform breaks a law of plugin.h: two keys share the file "
				 "\"%.120s\"",
				 paths[i]);
			err = -EINVAL;
		}
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	if (!err)
		err = check_order(t, why, why_size);
	return err;
}

const char *dv_plugin_file_end(const char *text)
{
	static const char *const ours[] = {"path:", "split:", "hash:", "plugin:"};
	for (size_t i = 0; text && i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strncmp(text, ours[i], strlen(ours[i])) == 0)
			return NULL;
	for (const char *at = text; at && (at = strstr(at, ".so")); at += 3)
		if (at > text && at[-1] != '/' && (!at[3] || at[3] == ':'))
			return at + 3;
	return NULL;
}

void dv_transform_bind(struct dv_transform *t, const struct dv_plugin *plugin)
{
	t->ops = plugin->ops;
	t->self = plugin->self;
}

bool dv_transform_is_plugin(const struct dv_transform *t)
{
	return t->kind == KIND_PLUGIN;
}

dv_err dv_plugin_parse(struct dv_transform *t, const char *spec, char *why, size_t why_size)
{
	/* plugin:NAME:DIGEST[:ARGS] */
	const char *name = spec + 7, *digest = strchr(name, ':');
	size_t len = digest ? strspn(digest + 1, "0123456789abcdef") : 0;
	if (!digest || digest == name || len != 64 || (digest[65] && digest[65] != ':') ||
	    strlen(spec) >= DV_SPEC_MAX || strpbrk(spec, "\n\r")) {
		snprintf(why, why_size, "plugin needs a name and a SHA-256");
		return -EINVAL;
	}
	t->kind = KIND_PLUGIN;
	t->depth = DEPTH_MAX;
	strcpy(t->spec, spec);
	return 0;
}
