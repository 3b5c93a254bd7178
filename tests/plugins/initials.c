/* SPDX-License-Identifier: MIT */
/*
 * initials.c - an example of a transform in a shared object (core/plugin.h) without arguments: the
 * last byte of a key, in hexadecimal, is its folder. img0041.jpg lies at 67/img0041.jpg.
 *
 * Keys are listed by their last bytes, without regard to case.
 *
 * Two digits are no key's file, since files here begin with "=".
 */
#include "core/plugin.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static int initials_transform(void *self, const char *key, char *path, size_t size)
{
	size_t len = strlen(key);
	(void)self;
	if (!len || len > 254)
		return -1;
	int n = snprintf(path, size, "%02x/=%s", (unsigned char)key[len - 1], key);
	return n > 0 && (size_t)n < size ? 0 : -1;
}

static int initials_inverse(void *self, const char *path, char *key, size_t size)
{
	const char *file = strrchr(path, '/');
	(void)self;
	if (!file || file[1] != '=' || strlen(file + 2) >= size)
		return -1;
	strcpy(key, file + 2);
	return 0;
}

static int initials_compare(void *self, const char *a, const char *b)
{
	size_t a_len = strlen(a), b_len = strlen(b);
	(void)self;
	return tolower((unsigned char)a[a_len ? a_len - 1 : 0]) -
	       tolower((unsigned char)b[b_len ? b_len - 1 : 0]);
}

const struct diskvfs_transform diskvfs_transform = {
	.abi = DISKVFS_PLUGIN_ABI,
	.transform = initials_transform,
	.inverse = initials_inverse,
	.compare = initials_compare,
};
