/* SPDX-License-Identifier: MIT */
/*
 * tree.h - trees of files outside the store: how much lies in one, which of its files have several
 * names, and when to give up copying one.
 */
#ifndef FS_TREE_H
#define FS_TREE_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Adds the files, and their bytes, beneath path, or of it. What can not be read counts nothing. */
void fs_tree_count(const char *path, uint64_t *files, uint64_t *bytes);

/* What stands for a file with several names, by its numbers, size and time of change: one that was
 * written to is another. Zeroed: empty. */
struct fs_links {
	struct fs_link *head;
};

/* Takes what. -ENOMEM */
DV_CHECK dv_err fs_links_add(struct fs_links *l, const struct stat *st, void *what);
/* Borrowed; NULL: not known. */
void *fs_links_find(struct fs_links *l, const struct stat *st);
void fs_links_release(struct fs_links *l, void (*forget)(void *ctx, void *what), void *ctx);

/* One large file may find no room where small ones do; where so many in a row find none, the rest of
 * a tree would only be told of, name by name. Zeroed: none yet. */
#define FS_ROOM_MISSES 8
struct fs_room {
	uint64_t done; /* files, at the first miss of the row */
	unsigned misses;
	bool gone; /* give up */
};

/* A file failed with err after done others had been copied. */
void fs_room_missed(struct fs_room *r, dv_err err, uint64_t done);

#endif
