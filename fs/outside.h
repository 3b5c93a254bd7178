/* SPDX-License-Identifier: MIT */
/*
 * outside.h - what an import reads and an export writes lies outside the store and its mount.
 *
 * Else an import would read what it writes, without an end, and --move would take the store's own files
 * away; an export would write over values. Directories are told by their numbers, whatever the path.
 */
#ifndef FS_OUTSIDE_H
#define FS_OUTSIDE_H

#include "fs/door.h"

#include <stdbool.h>
#include <sys/stat.h>

struct fs_outside {
	struct fs_outside_dir {
		dev_t dev;
		ino_t ino;
	} roots[2]; /* of the store, of the mount */
	unsigned count;
};

void fs_outside_init(struct fs_outside *o, const struct fs_door *d);

/* Is it the folder of the store, or the mount's? */
bool fs_outside_is_root(const struct fs_outside *o, const struct stat *st);

/* Does path lie in one of them, or is one? What is missing, or is no directory, lies where its name
 * does. follow: a symbolic link stands for what it leads to. */
bool fs_outside_is_in(const struct fs_outside *o, const char *path, bool follow);

#endif
