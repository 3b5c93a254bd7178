/* SPDX-License-Identifier: MIT */
/* tree.c - see tree.h. */
#include "fs/tree.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

void fs_tree_count(const char *path, uint64_t *files, uint64_t *bytes)
{
	char *paths[] = {(char *)path, NULL};
	FTS *f = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	FTSENT *e;

	while (f && (e = fts_read(f))) {
		if (e->fts_info == FTS_D || e->fts_info == FTS_DP || e->fts_info == FTS_ERR ||
		    e->fts_info == FTS_NS || e->fts_info == FTS_DNR)
			continue;
		++*files;
		if (e->fts_info == FTS_F && S_ISREG(e->fts_statp->st_mode))
			*bytes += (uint64_t)e->fts_statp->st_size;
	}
	if (f)
		fts_close(f);
}

struct file_id {
	uint64_t dev, ino, size;
	int64_t mtime_s, mtime_ns;
};

struct fs_link {
	struct file_id id;
	void *what;
	UT_hash_handle hh;
};

static struct file_id id_of(const struct stat *st)
{
	return (struct file_id){st->st_dev, st->st_ino, (uint64_t)st->st_size, st->st_mtim.tv_sec,
				st->st_mtim.tv_nsec};
}

dv_err fs_links_add(struct fs_links *l, const struct stat *st, void *what)
{
	struct fs_link *link = calloc(1, sizeof(*link));

	if (!link)
		return -ENOMEM;
	link->id = id_of(st);
	link->what = what;
	HASH_ADD(hh, l->head, id, sizeof(link->id), link);
	return 0;
}

void *fs_links_find(struct fs_links *l, const struct stat *st)
{
	struct file_id id = id_of(st);
	struct fs_link *link;

	HASH_FIND(hh, l->head, &id, sizeof(id), link);
	return link ? link->what : NULL;
}

void fs_links_release(struct fs_links *l, void (*forget)(void *ctx, void *what), void *ctx)
{
	struct fs_link *link, *next;

	HASH_ITER(hh, l->head, link, next)
	{
		HASH_DELETE(hh, l->head, link);
		forget(ctx, link->what);
		free(link);
	}
}

void fs_room_missed(struct fs_room *r, dv_err err, uint64_t done)
{
	if (err != -ENOSPC && err != -EDQUOT)
		return;
	if (done != r->done)
		r->misses = 0;
	r->done = done;
	r->gone |= ++r->misses == FS_ROOM_MISSES;
}
