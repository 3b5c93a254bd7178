/* SPDX-License-Identifier: MIT */
/*
 * broken.c - transforms that break a law of core/plugin.h each, by BROKEN:
 *
 *   1 another version    2 inverse() gives another key    3 a path out of the store
 *   4 no end to a path   5 refuses all keys               6 no functions    7 keys share a file
 *   8 compare is no order
 */
#include "core/plugin.h"

#include <stdio.h>
#include <string.h>

static char last[256];

static int broken_transform(void *self, const char *key, char *path, size_t size)
{
	(void)self;
	snprintf(last, sizeof(last), "%s", key);
	switch (BROKEN) {
	case 3:
		return snprintf(path, size, "../%s", key) < 0;
	case 4:
		memset(path, 'a', size);
		return 0;
	case 5:
		return -1;
	case 7:
		return snprintf(path, size, "same") < 0;
	default:
		return snprintf(path, size, "%s", key) < 0;
	}
}

static int broken_inverse(void *self, const char *path, char *key, size_t size)
{
	(void)self;
	if (BROKEN == 7) /* it remembers, and is right each time */
		return snprintf(key, size, "%s", last) < 0;
	return snprintf(key, size, BROKEN == 2 ? "%s!" : "%s", path) < 0;
}

static int broken_compare(void *self, const char *a, const char *b)
{
	(void)self, (void)a, (void)b;
	return 1;
}

const struct diskvfs_transform diskvfs_transform = {
	.abi = DISKVFS_PLUGIN_ABI + (BROKEN == 1),
	.transform = BROKEN == 6 ? NULL : broken_transform,
	.inverse = broken_inverse,
	.compare = BROKEN == 8 ? broken_compare : NULL,
};
