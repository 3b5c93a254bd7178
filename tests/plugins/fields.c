/* SPDX-License-Identifier: MIT */
/*
 * fields.c - an example of a transform in a shared object (core/plugin.h): the fields of a key are
 * folders, and the last one is the file, with ".v" behind it so that no file has the name of a folder.
 *
 *   fields.so:-     2026-11-28 lies at 2026/11/28.v
 *
 * A key with an empty field, or one that is refused as a folder, has no path.
 */
#include "core/plugin.h"

#include <stdlib.h>
#include <string.h>

#define ENDING ".v"

static int fields_open(const char *args, void **self, char *why, size_t why_size)
{
	char *separator = strlen(args) == 1 && *args != '/' ? strdup(args) : NULL;
	if (!separator && why_size > 0)
		strncat(why, "the argument is the one byte between fields", why_size - 1);
	*self = separator;
	return separator ? 0 : -1;
}

static void fields_close(void *self)
{
	free(self);
}

static int fields_transform(void *self, const char *key, char *path, size_t size)
{
	const char separator = *(const char *)self;
	size_t len = strlen(key);
	if (len + sizeof(ENDING) > size || strchr(key, '/'))
		return -1;
	for (size_t i = 0, start = 0; i <= len; i++) {
		if (key[i] && key[i] != separator) {
			path[i] = key[i];
			continue;
		}
		if (i == start) /* an empty field */
			return -1;
		if (key[i] &&
		    (key[start] == '.' || (i - start >= 4 && memcmp(key + i - 4, ".zst", 4) == 0) ||
		     (i - start >= 4 && memcmp(key + i - 4, ".raw", 4) == 0)))
			return -1;
		path[i] = key[i] ? '/' : '\0';
		start = i + 1;
	}
	if (len > 250)
		return -1;
	strcpy(path + len, ENDING);
	return 0;
}

static int fields_inverse(void *self, const char *path, char *key, size_t size)
{
	size_t len = strlen(path), ending = strlen(ENDING);
	if (len <= ending || len - ending >= size || strcmp(path + len - ending, ENDING) != 0)
		return -1;
	for (size_t i = 0; i < len - ending; i++)
		key[i] = path[i] == '/' ? *(const char *)self : path[i];
	key[len - ending] = '\0';
	return 0;
}

const struct diskvfs_transform diskvfs_transform = {
	.abi = DISKVFS_PLUGIN_ABI,
	.open = fields_open,
	.close = fields_close,
	.transform = fields_transform,
	.inverse = fields_inverse,
};
