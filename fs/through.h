/* SPDX-License-Identifier: MIT */
/*
 * through.h - values by way of a mount, for commands (door.h): opened, erased, and put there whole by
 * a user who may not write to the store's folder.
 *
 * Keys lead to regular files; symbolic links in the mount are not followed.
 */
#ifndef FS_THROUGH_H
#define FS_THROUGH_H

#include "fs/door.h"

/* For reading. -> descriptor; -ENOENT: no value has that key; -EINVAL, -ENAMETOOLONG: it is none. */
DV_CHECK int fs_through_open(const struct fs_door *d, const char *key);

/* Directories that it leaves empty go too. */
DV_CHECK dv_err fs_through_erase(const struct fs_door *d, const char *key);

struct fs_through_put {
	int fd;	   /* to be written to */
	int dirfd; /* of the key's directory */
	char name[NAME_MAX + 1], temporary[64];
};

/* Directories are made. */
DV_CHECK dv_err fs_through_put_begin(const struct fs_door *d, const char *key,
				     struct fs_through_put *out);
/* err: what went wrong meanwhile; then nothing is put. -> err, or what goes wrong now */
DV_CHECK dv_err fs_through_put_end(struct fs_through_put *t, dv_err err, bool sync, bool only_new);

#endif
