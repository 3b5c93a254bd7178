/* SPDX-License-Identifier: MIT */
/*
 * advanced_transform.c - diskv's AdvancedTransform: keys with slashes are paths, and each file has a
 * suffix. The store's own transform does it, and so does one of the program's.
 */
#include <diskvfs.h>

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUFFIX ".txt"

static int to_path(void *self, const char *key, char *path, size_t size)
{
	(void)self;
	return (size_t)snprintf(path, size, "%s" SUFFIX, key) < size ? 0 : -ENAMETOOLONG;
}

static int to_key(void *self, const char *path, char *key, size_t size)
{
	size_t len = strlen(path), suffix = strlen(SUFFIX);

	(void)self;
	if (len <= suffix || len - suffix >= size || strcmp(path + len - suffix, SUFFIX) != 0)
		return -ENOENT;
	memcpy(key, path, len - suffix);
	key[len - suffix] = '\0';
	return 0;
}

static void run(const char *folder, const struct dvfs_options *o)
{
	struct dvfs *d;
	char why[256], path[4096];
	void *value;
	size_t len;

	if (dvfs_open(folder, o, &d, why, sizeof(why)) < 0)
		errx(1, "%s", why);
	if (dvfs_write(d, "alpha/beta/gamma", "1", 1, 0) < 0)
		errx(1, "can not be written");
	snprintf(path, sizeof(path), "%s/alpha/beta/gamma" SUFFIX, folder);
	if (access(path, F_OK) < 0)
		err(1, "%s", path);
	if (dvfs_read(d, "alpha/beta/gamma", &value, &len) < 0 || len != 1)
		errx(1, "can not be read");
	free(value);
	if (dvfs_erase(d, "alpha/beta/gamma") < 0 || dvfs_close(&d) < 0)
		errx(1, "can not be erased");
	snprintf(path, sizeof(path), "%s/alpha", folder);
	if (access(path, F_OK) == 0)
		errx(1, "an empty directory is left");
}

int main(int argc, char **argv)
{
	static const char *const samples[] = {"alpha", "alpha/beta", "a/b/c", NULL};
	struct dvfs_transform own = {.struct_size = sizeof(own),
				     .to_path = to_path,
				     .to_key = to_key,
				     .samples = samples};
	struct dvfs_options o;
	char folder[4096];

	if (argc != 2)
		errx(1, "usage: advanced_transform FOLDER");
	dvfs_options_init(&o, sizeof(o));
	o.create = 1;
	o.transform = "path:" SUFFIX;
	snprintf(folder, sizeof(folder), "%s/store", argv[1]);
	run(folder, &o);
	o.transform = "path";
	o.custom_transform = &own;
	snprintf(folder, sizeof(folder), "%s/own", argv[1]);
	run(folder, &o);
	puts("alpha/beta/gamma" SUFFIX);
	return 0;
}
