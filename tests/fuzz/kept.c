/* SPDX-License-Identifier: MIT */
/*
 * kept.c - see kept.h.
 */
#include "tests/fuzz/kept.h"

#include "core/fnv.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 64 /* split:1 has a folder for each byte of a name */

static uint64_t sum_of(const uint8_t *bytes, long len)
{
	return len > 0 ? dv_fnv1a(DV_FNV1A, bytes, (size_t)len) | 1 : 0;
}

static void take_file(struct kept *k, struct dv_backing b, int dirfd, const char *name)
{
	static uint8_t file[KEPT_FILE_MAX + 1], plain[FUZZ_PLAIN_MAX];
	int fd = b.ops->open(b.self, dirfd, name, O_RDONLY, 0);
	require(fd >= 0);
	ssize_t len = b.ops->pread(b.self, fd, file, sizeof(file), 0);
	b.ops->close(b.self, fd);
	if (len <= 0 || len > (ssize_t)KEPT_FILE_MAX)
		return;
	if (k->count == KEPT_FILES_MAX) {
		k->more = true;
		return;
	}
	struct kept_file *f = &k->files[k->count++];
	snprintf(f->name, sizeof(f->name), "%s", name);
	size_t n = (size_t)len;
	f->sums[0] = sum_of(file, len);
	f->sums[1] = sum_of(plain, plain_of_zstd(file, n, plain, sizeof(plain)));
	f->sums[2] = sum_of(plain, plain_of_deflate(file, n, true, plain, sizeof(plain)));
	f->sums[3] = sum_of(plain, plain_of_deflate(file, n, false, plain, sizeof(plain)));
}

static void take_folder(struct kept *k, struct dv_backing b, int dirfd, const char *except,
			int depth)
{
	_Alignas(8) char buf[4096];
	struct dv_dirent ents[32];
	int64_t cookie = 0;
	ssize_t n;
	while ((n = b.ops->readdir(b.self, dirfd, cookie, buf, sizeof(buf), ents, 32)) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			cookie = ents[i].cookie;
			if (ents[i].type == DT_REG)
				take_file(k, b, dirfd, ents[i].name);
			if (ents[i].type != DT_DIR || depth == DEPTH_MAX ||
			    (except && strcmp(ents[i].name, except) == 0))
				continue;
			int fd =
				b.ops->open(b.self, dirfd, ents[i].name, O_RDONLY | O_DIRECTORY, 0);
			require(fd >= 0);
			take_folder(k, b, fd, NULL, depth + 1);
			b.ops->close(b.self, fd);
		}
	}
	require(n == 0);
}

void kept_take(struct kept *k, struct dv_backing b, const char *path, const char *except)
{
	int fd = b.ops->open_root(b.self, path);
	require(fd >= 0);
	k->count = 0;
	k->more = false;
	take_folder(k, b, fd, except, 0);
	b.ops->close(b.self, fd);
}

static bool has(const struct kept *k, const struct kept_file *f)
{
	for (size_t i = 0; i < k->count; i++)
		for (unsigned a = 0; a < KEPT_FORMS; a++)
			for (unsigned b = 0; b < KEPT_FORMS; b++)
				if (f->sums[a] && f->sums[a] == k->files[i].sums[b])
					return true;
	return false;
}

bool kept_all(const struct kept *before, const struct kept *after)
{
	for (size_t i = 0; i < before->count; i++) {
		if (after->more || has(after, &before->files[i]))
			continue;
		if (getenv("FUZZ_TELL"))
			fprintf(stderr, "%s: its content is no longer there\n",
				before->files[i].name);
		return false;
	}
	return true;
}
