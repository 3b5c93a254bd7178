/* SPDX-License-Identifier: MIT */
/* outside.c - see outside.h. */
#include "fs/outside.h"

#include "core/cleanup.h"

#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UP_MAX	  4096 /* directories; PATH_MAX holds half of that */
#define DIR_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)

static void add(struct fs_outside *o, const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0)
		o->roots[o->count++] = (struct fs_outside_dir){st.st_dev, st.st_ino};
}

void fs_outside_init(struct fs_outside *o, const struct fs_door *d)
{
	o->count = 0;
	add(o, d->store);
	if (d->mount[0])
		add(o, d->mount);
}

bool fs_outside_is_root(const struct fs_outside *o, const struct stat *st)
{
	for (unsigned i = 0; i < o->count; i++)
		if (o->roots[i].dev == st->st_dev && o->roots[i].ino == st->st_ino)
			return true;
	return false;
}

static int open_dir_of(const char *path, bool follow)
{
	DV_AUTO_FREE char *copy = NULL;
	int fd = open(path, DIR_FLAGS | (follow ? 0 : O_NOFOLLOW));

	if (fd >= 0)
		return fd;
	copy = strdup(path);
	return copy ? open(dirname(copy), DIR_FLAGS) : -1;
}

bool fs_outside_is_in(const struct fs_outside *o, const char *path, bool follow)
{
	int fd = open_dir_of(path, follow);
	struct stat st, below = {0};
	bool found = false;

	for (unsigned i = 0; fd >= 0 && i < UP_MAX; i++) {
		int up;

		if (fstat(fd, &st) || (i && st.st_dev == below.st_dev && st.st_ino == below.st_ino))
			break; /* the root of all has itself above it */
		found = fs_outside_is_root(o, &st);
		if (found)
			break;
		below = st;
		up = openat(fd, "..", DIR_FLAGS);
		close(fd);
		fd = up;
	}
	if (fd >= 0)
		close(fd);
	return found;
}
