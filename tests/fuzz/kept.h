/* SPDX-License-Identifier: MIT */
/*
 * kept.h - the contents of a folder's files, to see that none of them goes.
 *
 * A file has what it holds, and what zstd, gzip and zlib make of that. Where it lies, or in which of
 * these forms, does not matter. Empty files, and those of more than KEPT_FILE_MAX, are left out.
 *
 *   kept_take(&before, b, "/store");  ... use the store ...  kept_take(&after, b, "/store");
 *   kept_all(&before, &after)
 */
#ifndef TESTS_KEPT_H
#define TESTS_KEPT_H

#include "core/backing.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEPT_FILE_MAX  (320u << 10)
#define KEPT_FILES_MAX 256u
#define KEPT_FORMS     4u

struct kept_file {
	char name[64];
	uint64_t sums[KEPT_FORMS]; /* 0: it has none */
};

struct kept {
	size_t count;
	bool more; /* than have room */
	struct kept_file files[KEPT_FILES_MAX];
};

/* What lies below path; without the folder `except` in it, which may be NULL. */
void kept_take(struct kept *k, struct dv_backing b, const char *path, const char *except);

/* Is each of before's files, in any of its forms, among after's? Tells the first that is not where FUZZ_TELL is set. */
bool kept_all(const struct kept *before, const struct kept *after);

#endif
