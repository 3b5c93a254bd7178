/* SPDX-License-Identifier: MIT */
/*
 * tree.h - trees of files outside the store: how much lies in one, and which of its files have several
 * names.
 */
#ifndef FS_TREE_H
#define FS_TREE_H

#include "core/error.h"

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

#endif
