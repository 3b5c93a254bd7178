/* SPDX-License-Identifier: MIT */
/*
 * loose.c - see loose.h. One table of names; those of a directory hang together in a list, so that
 * its sync finds them.
 *
 * Each entry has the number of the change that it tells: a sync settles those that came before it
 * began.
 */
#include "core/loose.h"

#include "core/hash.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define KEPT                                                                                       \
	(DV_LOOSE_MADE | DV_LOOSE_PRUNED |                                                         \
	 DV_LOOSE_PRUNE) /* says nothing of names in the directory */

struct loose_dir {
	struct loose_name *names; /* utlist */
	UT_hash_handle hh;
	size_t len;
	char key[]; /* device and inode number, then the shard */
};

struct loose_name {
	struct loose_dir *dir;
	struct loose_name *prev, *next;
	unsigned what;
	uint64_t via, change;
	UT_hash_handle hh;
	size_t len;
	char key[]; /* the directory's pointer, then the name */
};

struct dv_loose {
	pthread_mutex_t lock; /* all */
	struct loose_dir *dirs;
	struct loose_name *names;
	unsigned count, shards, dirs_moved, prunes; /* of names, and of them shard directories.. */
	uint64_t changes;
	/* number of the last change that had no room: until it is durable all names, all shard
	 * directories, count as loose; 0: none */
	uint64_t all, all_shards;
};

#define DIR_KEY_MAX  (2 * sizeof(uint64_t) + DV_SHARD_MAX)
#define NAME_KEY_MAX (sizeof(void *) + DV_NAME_MAX + 1)

dv_err dv_loose_new(struct dv_loose **out)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	pthread_mutex_init(&(*out)->lock, NULL);
	return 0;
}

void dv_loose_free(struct dv_loose **slot)
{
	struct dv_loose *l = *slot;
	struct loose_name *n, *next_name;
	struct loose_dir *d, *next_dir;
	if (!l)
		return;
	HASH_ITER(hh, l->names, n, next_name)
	{
		HASH_DEL(l->names, n);
		free(n);
	}
	HASH_ITER(hh, l->dirs, d, next_dir)
	{
		HASH_DEL(l->dirs, d);
		free(d);
	}
	pthread_mutex_destroy(&l->lock);
	free(l);
	*slot = NULL;
}

/* ---- the table; lock held ---- */

static size_t dir_key(char *key, const struct dv_node *dir, const char *shard)
{
	size_t len = shard ? strlen(shard) : 0;
	memcpy(key, &dir->id.dev, sizeof(uint64_t)); /* constant of a directory */
	memcpy(key + sizeof(uint64_t), &dir->id.ino, sizeof(uint64_t));
	memcpy(key + 2 * sizeof(uint64_t), shard ? shard : "", len);
	return 2 * sizeof(uint64_t) + len;
}

static struct loose_dir *find_dir(struct dv_loose *l, const struct dv_node *dir, const char *shard)
{
	char key[DIR_KEY_MAX];
	size_t len = dir_key(key, dir, shard);
	struct loose_dir *d = NULL;
	HASH_FIND(hh, l->dirs, key, len, d);
	return d;
}

static size_t name_key(char *key, const struct loose_dir *d, const char *name)
{
	size_t len = strlen(name);
	memcpy(key, &d, sizeof(d));
	memcpy(key + sizeof(d), name, len);
	return sizeof(d) + len;
}

static struct loose_name *find_name(struct dv_loose *l, const struct dv_loose_at *at)
{
	char key[NAME_KEY_MAX];
	struct loose_name *n = NULL;
	struct loose_dir *d = find_dir(l, at->dir, at->shard);
	if (!d)
		return NULL;
	size_t len = name_key(key, d, at->name);
	HASH_FIND(hh, l->names, key, len, n);
	return n;
}

/* NULL: no memory. */
static struct loose_dir *enter_dir(struct dv_loose *l, const struct dv_node *dir, const char *shard)
{
	char key[DIR_KEY_MAX];
	size_t len = dir_key(key, dir, shard);
	struct loose_dir *d = find_dir(l, dir, shard);
	if (d)
		return d;
	d = calloc(1, sizeof(*d) + len);
	if (!d)
		return NULL;
	d->len = len;
	memcpy(d->key, key, len);
	HASH_ADD_KEYPTR(hh, l->dirs, d->key, d->len, d);
	if (DV_HASHED(d))
		return d;
	free(d);
	return NULL;
}

static void free_dir_if_empty(struct dv_loose *l, struct loose_dir *d)
{
	if (d->names)
		return;
	HASH_DEL(l->dirs, d);
	free(d);
}

/* NULL: no memory, or too many. */
static struct loose_name *enter_name(struct dv_loose *l, const struct dv_loose_at *at)
{
	char key[NAME_KEY_MAX];
	struct loose_name *n = find_name(l, at);
	bool shard = !at->name[0];
	if (n || (shard ? l->shards : l->count - l->shards) >= DV_LOOSE_MAX / 2)
		return n;
	struct loose_dir *d = enter_dir(l, at->dir, at->shard);
	if (!d)
		return NULL;
	size_t len = name_key(key, d, at->name);
	n = calloc(1, sizeof(*n) + len);
	if (!n) {
		free_dir_if_empty(l, d);
		return NULL;
	}
	n->dir = d;
	n->len = len;
	memcpy(n->key, key, len);
	HASH_ADD_KEYPTR(hh, l->names, n->key, n->len, n);
	if (!DV_HASHED(n)) {
		free(n);
		free_dir_if_empty(l, d);
		return NULL;
	}
	DL_APPEND(d->names, n);
	l->count++;
	l->shards += shard;
	return n;
}

static void set_what(struct dv_loose *l, struct loose_name *n, unsigned what)
{
	l->dirs_moved -= (n->what & DV_LOOSE_DIR) != 0;
	l->dirs_moved += (what & DV_LOOSE_DIR) != 0;
	l->prunes -= (n->what & DV_LOOSE_PRUNE) != 0;
	l->prunes += (what & DV_LOOSE_PRUNE) != 0;
	n->what = what;
	if (!(what & DV_LOOSE_PACKED))
		n->via = 0;
}

/* The directory may go too. */
static void leave(struct dv_loose *l, struct loose_name *n)
{
	struct loose_dir *d = n->dir;
	set_what(l, n, 0);
	l->shards -= n->len == sizeof(d);
	HASH_DEL(l->names, n);
	DL_DELETE(d->names, n);
	free(n);
	l->count--;
	free_dir_if_empty(l, d);
}

static void synced_dir(struct dv_loose *l, struct loose_dir *d, uint64_t change, unsigned kept)
{
	struct loose_name *n, *next;
	DL_FOREACH_SAFE(d->names, n, next) /* the last one takes the directory with it */
	{
		if (n->change > change)
			continue;
		if (n->what & kept)
			set_what(l, n, n->what & kept);
		else
			leave(l, n);
	}
}

/* ---- the public part ---- */

void dv_loose_add(struct dv_store *s, const struct dv_loose_at *at, unsigned what, uint64_t via)
{
	struct dv_loose *l = s->loose;
	if (!l || !what)
		return;
	pthread_mutex_lock(&l->lock);
	l->changes++;
	struct loose_name *n = enter_name(l, at);
	if (n) {
		set_what(l, n, n->what | what);
		n->change = l->changes;
		if (what & DV_LOOSE_PACKED)
			n->via = via;
	} else if (at->name[0]) {
		l->all = l->changes;
	} else if (what & ~(unsigned)DV_LOOSE_PRUNE) {
		l->all_shards = l->changes;
	}
	pthread_mutex_unlock(&l->lock);
}

unsigned dv_loose_get(struct dv_store *s, const struct dv_loose_at *at)
{
	struct dv_loose *l = s->loose;
	if (!l)
		return 0;
	pthread_mutex_lock(&l->lock);
	struct loose_name *n = find_name(l, at);
	bool all = at->name[0] ? l->all : l->all_shards;
	unsigned what = all ? ~0u : n ? n->what : 0;
	pthread_mutex_unlock(&l->lock);
	return what;
}

uint64_t dv_loose_take_via(struct dv_store *s, const struct dv_loose_at *at)
{
	struct dv_loose *l = s->loose;
	uint64_t via = 0;
	if (!l)
		return 0;
	pthread_mutex_lock(&l->lock);
	struct loose_name *n = l->all ? NULL : find_name(l, at);
	if (n) {
		via = n->via;
		n->via = 0;
	}
	pthread_mutex_unlock(&l->lock);
	return via;
}

void dv_loose_drop(struct dv_store *s, const struct dv_loose_at *at, unsigned what, uint64_t until)
{
	struct dv_loose *l = s->loose;
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	struct loose_name *n = find_name(l, at);
	if (n && n->change > until)
		n = NULL;
	if (n && (n->what & ~what))
		set_what(l, n, n->what & ~what);
	else if (n)
		leave(l, n);
	pthread_mutex_unlock(&l->lock);
}

void dv_loose_drop_dir(struct dv_store *s, const struct dv_node *dir, const char *shard)
{
	struct dv_loose *l = s->loose;
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	struct loose_dir *d = find_dir(l, dir, shard);
	if (d)
		synced_dir(l, d, UINT64_MAX, 0);
	pthread_mutex_unlock(&l->lock);
}

uint64_t dv_loose_changes(struct dv_store *s)
{
	struct dv_loose *l = s->loose;
	if (!l)
		return 0;
	pthread_mutex_lock(&l->lock);
	uint64_t changes = l->changes;
	pthread_mutex_unlock(&l->lock);
	return changes;
}

dv_err dv_loose_sync(struct dv_store *s, const struct dv_loose_at *at, int dirfd)
{
	struct dv_loose *l = s->loose;
	uint64_t before = dv_loose_changes(s);
	dv_err err = DV_B(s, fsync, dirfd);
	if (err == -EBADF)
		err = DV_B(s, syncfs, s->rootfd);
	if (err || !l)
		return err;
	pthread_mutex_lock(&l->lock);
	struct loose_dir *d = find_dir(l, at->dir, at->shard);
	if (d)
		synced_dir(l, d, before, KEPT);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

dv_err dv_loose_sync_all(struct dv_store *s)
{
	struct dv_loose *l = s->loose;
	uint64_t before = dv_loose_changes(s);
	dv_err err = DV_B(s, syncfs, s->rootfd);
	if (err || !l)
		return err;
	struct loose_dir *d, *next;
	pthread_mutex_lock(&l->lock);
	HASH_ITER(hh, l->dirs, d, next)
	synced_dir(l, d, before, DV_LOOSE_PRUNE);
	l->all = l->all <= before ? 0 : l->all;
	l->all_shards = l->all_shards <= before ? 0 : l->all_shards;
	pthread_mutex_unlock(&l->lock);
	return 0;
}

dv_err dv_loose_settle(struct dv_store *s, const struct dv_loose_at *at, int dirfd, unsigned what,
		       bool nowait)
{
	unsigned is = dv_loose_get(s, at);
	if (!(is & what))
		return 0;
	if (nowait)
		return -EAGAIN;
	return is == ~0u ? dv_loose_sync_all(s) : dv_loose_sync(s, at, dirfd);
}

bool dv_loose_dirs_moved(struct dv_store *s)
{
	struct dv_loose *l = s->loose;
	if (!l)
		return false;
	pthread_mutex_lock(&l->lock);
	bool moved = l->dirs_moved || l->all;
	pthread_mutex_unlock(&l->lock);
	return moved;
}

char *dv_loose_next_prune(struct dv_store *s)
{
	struct dv_loose *l = s->loose;
	char *shard = NULL;
	if (!l)
		return NULL;
	pthread_mutex_lock(&l->lock);
	struct loose_name *n = NULL, *next = NULL;
	if (l->prunes)
		HASH_ITER(hh, l->names, n, next)
		{
			if (!(n->what & DV_LOOSE_PRUNE))
				continue;
			struct loose_dir *d = n->dir;
			size_t len = d->len - 2 * sizeof(uint64_t);
			shard = malloc(len + 1);
			if (shard) {
				memcpy(shard, d->key + 2 * sizeof(uint64_t), len);
				shard[len] = '\0';
			}
			if (n->what & ~(unsigned)DV_LOOSE_PRUNE)
				set_what(l, n, n->what & ~(unsigned)DV_LOOSE_PRUNE);
			else
				leave(l, n);
			break;
		}
	pthread_mutex_unlock(&l->lock);
	return shard;
}

bool dv_loose_is_empty(struct dv_store *s)
{
	struct dv_loose *l = s->loose;
	if (!l)
		return true;
	pthread_mutex_lock(&l->lock);
	bool empty = !l->count && !l->all && !l->all_shards;
	pthread_mutex_unlock(&l->lock);
	return empty;
}

bool dv_loose_is_crowded(struct dv_store *s)
{
	struct dv_loose *l = s->loose;
	if (!l)
		return false;
	pthread_mutex_lock(&l->lock);
	bool crowded = l->all || l->count - l->shards > DV_LOOSE_MAX / 4;
	pthread_mutex_unlock(&l->lock);
	return crowded;
}
