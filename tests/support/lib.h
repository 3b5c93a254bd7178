/* SPDX-License-Identifier: MIT */
/* lib.h - stores in a folder of their own, for tests that see of the library only its header. */
#ifndef TEST_LIB_H
#define TEST_LIB_H

#include "core/diskvfs.h"
#include "tests/support/check.h"
#include "tests/support/folder.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

struct lib {
	char path[64];
	struct dvfs_options o;
	struct dvfs *s;
};

static inline void lib_print(int severity, const char *line)
{
	if (getenv("TEST_LOG"))
		fprintf(stderr, "log %d: %s\n", severity, line);
}

static inline void lib_open(struct lib *l)
{
	char why[512];
	int err = dvfs_open(l->path, &l->o, &l->s, why, sizeof(why));
	if (err)
		fprintf(stderr, "%s: %s\n", l->path, why);
	CHECK_EQ(err, 0);
}

/* Makes and opens a store; the options of l->o may be changed before lib_reopen(). */
static inline void lib_begin(struct lib *l, const char *transform)
{
	dvfs_set_log(lib_print);
	folder_make(l->path, "dvfs");
	dvfs_options_init(&l->o, sizeof(l->o));
	l->o.create = 1;
	l->o.transform = transform;
	l->o.threads = 2;
	lib_open(l);
}

static inline void lib_reopen(struct lib *l)
{
	CHECK_EQ(dvfs_close(&l->s), 0);
	lib_open(l);
}

static inline void lib_end(struct lib *l)
{
	CHECK_EQ(dvfs_close(&l->s), 0);
	CHECK(l->s == NULL);
	folder_remove(l->path);
}

/* Not where a sanitizer keeps what it wants. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMORY_IS_OURS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MEMORY_IS_OURS 0
#endif
#endif
#ifndef MEMORY_IS_OURS
#define MEMORY_IS_OURS 1
#endif

/* The most memory that this process had. */
static inline unsigned lib_hwm_kb(void)
{
	char line[128];
	unsigned kb = 0;
	FILE *f = fopen("/proc/self/status", "r");
	CHECK(f != NULL);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "VmHWM: %u", &kb);
	fclose(f);
	return kb;
}

static inline void lib_write(struct lib *l, const char *key, const char *text)
{
	CHECK_EQ(dvfs_write(l->s, key, text, strlen(text), 0), 0);
}

static inline void lib_is(struct lib *l, const char *key, const char *text)
{
	void *buf;
	size_t len;
	CHECK_EQ(dvfs_read(l->s, key, &buf, &len), 0);
	CHECK_STR((char *)buf, text);
	CHECK_EQ(len, strlen(text));
	free(buf);
}

static inline void lib_is_not(struct lib *l, const char *key)
{
	void *buf;
	size_t len;
	CHECK_EQ(dvfs_read(l->s, key, &buf, &len), -ENOENT);
	CHECK(buf == NULL);
	CHECK_EQ(dvfs_has(l->s, key), 0);
}

/* Is there such a file in the store's folder? */
static inline int lib_file(const struct lib *l, const char *name)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", l->path, name);
	return access(path, F_OK) == 0;
}

/* All keys, with a newline behind each, as an iterator gives them. */
static inline char *lib_list(struct lib *l, const struct dvfs_range *range)
{
	struct dvfs_iter *it;
	const char *key;
	size_t len = 0;
	char *all = calloc(1, 1);
	int got;
	CHECK(all != NULL);
	CHECK_EQ(dvfs_iter_open(l->s, range, &it), 0);
	while ((got = dvfs_iter_next(it, &key)) == 1) {
		all = realloc(all, len + strlen(key) + 2);
		CHECK(all != NULL);
		len += (size_t)sprintf(all + len, "%s\n", key);
	}
	CHECK_EQ(got, 0);
	dvfs_iter_close(&it);
	CHECK(it == NULL);
	return all;
}

static inline void lib_keys_are(struct lib *l, const struct dvfs_range *range, const char *want)
{
	char *all = lib_list(l, range);
	CHECK_STR(all, want);
	free(all);
}

/* A text that packs, made of a number. */
static inline char *lib_text(size_t len, unsigned seed)
{
	char *text = malloc(len + 32);
	CHECK(text != NULL);
	for (size_t at = 0; at < len; at += 16)
		sprintf(text + at, "%7u %7zu\n", seed % 10000000u, at % 999983u);
	text[len] = '\0';
	return text;
}

#endif
