/* SPDX-License-Identifier: MIT */
/* nested.c - a transform whose folders may have the names of files: abcd lies at ab/abcd, ab at ab. */
#include "core/plugin.h"

#include <stdio.h>
#include <string.h>

static int nested_transform(void *self, const char *key, char *path, size_t size)
{
	(void)self;
	if (key[0] == '.' || strlen(key) < 1 || key[1] == '.')
		return -1;
	if (strlen(key) < 4)
		return snprintf(path, size, "%s", key) < 0;
	return snprintf(path, size, "%.2s/%s", key, key) < 0;
}

static int nested_inverse(void *self, const char *path, char *key, size_t size)
{
	const char *slash = strrchr(path, '/');
	(void)self;
	return snprintf(key, size, "%s", slash ? slash + 1 : path) < 0;
}

const struct diskvfs_transform diskvfs_transform = {
	.abi = 1, /* as it was built before there was a compare */
	.transform = nested_transform,
	.inverse = nested_inverse,
};
