/* SPDX-License-Identifier: MIT */
/*
 * git_like.c - diskv's git-like store: the first two digits of a key are a directory, the others a file
 * in it, as git keeps loose objects.
 */
#include <diskvfs.h>

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int to_path(void *self, const char *key, char *path, size_t size)
{
	(void)self;
	if (strlen(key) < 3 || strchr(key, '/'))
		return -EINVAL;
	return (size_t)snprintf(path, size, "%.2s/%s", key, key + 2) < size ? 0 : -ENAMETOOLONG;
}

static int to_key(void *self, const char *path, char *key, size_t size)
{
	(void)self;
	if (strlen(path) < 4 || path[2] != '/')
		return -ENOENT;
	return (size_t)snprintf(key, size, "%.2s%s", path, path + 3) < size ? 0 : -ENOENT;
}

int main(int argc, char **argv)
{
	static const char *const samples[] = {"1bd88421b055327fcc8660c76c4894c4ea4c95d7", "abc",
					      NULL};
	const struct dvfs_transform git = {.struct_size = sizeof(git),
					   .to_path = to_path,
					   .to_key = to_key,
					   .samples = samples};
	const char *key = samples[0];
	struct dvfs_options o;
	struct dvfs *d;
	char why[256], path[4096];
	void *value;
	size_t len;

	if (argc != 2)
		errx(1, "usage: git_like FOLDER");
	dvfs_options_init(&o, sizeof(o));
	o.create = 1;
	o.custom_transform = &git;
	if (dvfs_open(argv[1], &o, &d, why, sizeof(why)) < 0)
		errx(1, "%s", why);
	if (dvfs_write(d, key, "blob", 4, DVFS_SYNC) < 0)
		errx(1, "%s can not be written", key);
	snprintf(path, sizeof(path), "%s/1b/d88421b055327fcc8660c76c4894c4ea4c95d7", argv[1]);
	if (access(path, F_OK) < 0)
		err(1, "%s", path);
	if (dvfs_read(d, key, &value, &len) < 0 || len != 4 || memcmp(value, "blob", 4) != 0)
		errx(1, "%s is not what was written", key);
	free(value);
	printf("%s lies at 1b/d88421b055327fcc8660c76c4894c4ea4c95d7\n", key);
	return dvfs_erase(d, key) < 0 || dvfs_close(&d) < 0;
}
