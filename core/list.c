/* SPDX-License-Identifier: MIT */
/*
 * list.c - the names of a directory of the mount: each once, without memory of them all.
 *
 *   without a handle   path, flat: one directory, in the order of the backing; positions are its
 *                      own cookies, so that no state is kept between calls. What a mount does.
 *   with one           path, flat, split: in the order of the keys, a window of them at a time
 *                      (order.h); split and hash walk over the tree of shard directories, hash, and
 *                      who asks for it, in the order of the backing. The handle holds the open
 *                      directories; positions are those of list_place.h
 *
 * A key in two forms is listed once. While a directory is listed the keeper does not move values
 * between forms in it (listed_until_ns), so that no name is missed; a superseded form that is still
 * there is the one listed, since it was there first.
 */
#include "core/list.h"
#include "core/cleanup.h"
#include "core/internal.h"
#include "core/list_place.h"
#include "core/listed.h"
#include "core/log.h"
#include "core/order.h"
#include "core/place.h"
#include "core/twin.h"

#include <dirent.h>
#include <string.h>

#define BUF_BYTES 32768u
#define ENTS_MAX  1024u

struct dv_list {
	pthread_mutex_t lock;
	struct dv_store *store;
	struct dv_node *dir; /* path, flat: that of the first level, borrowed; else the root */
	unsigned depth;	     /* open levels */
	struct level {
		int fd;
		size_t path_len;	/* of the shard path up to here */
		size_t key_len;		/* of what all keys below it begin with */
		struct dv_order *order; /* NULL: in chunks, as they come: */
		int64_t cookie;		/* of the next read */
		ssize_t count, next;
		struct dv_dirent ents[64];
		char buf[4096];
	} * *levels; /* depth_max of them, made as they are needed */
	unsigned depth_max;
	char shard[DV_SHARD_MAX];
	char head[DV_NAME_MAX + 1]; /* split: what all keys below the open levels begin with */
	const char *prefix, *after; /* borrowed, "": no bound */
	bool unsorted;
	int64_t count;		     /* entries taken so far */
	int64_t place;		     /* of the last one given */
	char found[DV_NAME_MAX + 1]; /* the key that a walk to a place ended at: given before */
};

static mode_t type_of(uint8_t d_type)
{
	return d_type == DT_UNKNOWN ? 0 : DTTOIF(d_type);
}

struct lister {
	struct dv_store *s;
	struct dv_node *dir;
	int dirfd;
	const char *shard;
	bool quiet; /* the store's own walk: the keeper goes on */
	dv_list_fn *fn;
	void *ctx;
	struct dv_list *list; /* NULL: without a handle */
	int64_t last;	      /* cookie of the last entry that was taken in this call */
	bool gave;	      /* was one? */
};

/* Does what lies under (dirfd, stored) hide a packed value? Objects do where they have the name of
 * a raw one. */
static bool hides(const struct lister *l, const struct dv_names *names, const char *stored,
		  struct dv_stat *st)
{
	struct dv_store *s = l->s;
	if (!stored[0] || DV_B(s, stat, l->dirfd, stored, st))
		return false;
	return S_ISREG(st->mode) || strcmp(stored, names->other) == 0;
}

/* Is a packed value hidden by another one, which is listed by itself? */
static bool is_hidden(const struct lister *l, const struct dv_names *names,
		      const struct dv_list_entry *e)
{
	struct dv_stat st;
	const char *by = names->raw;
	if (!hides(l, names, by, &st) && !hides(l, names, by = names->aside, &st))
		return false;
	uint64_t ino = e->ino ? e->ino : dv_twin_ino(l->s, l->dirfd, by, &st);
	if (dv_twin_is_foreign(l->s, l->dirfd, names->packed, ino))
		dv_twin_tell(l->s, l->dir, e->name, l->dirfd, names->packed);
	return true;
}

/* Is it this entry that stands for the key, where the key may have two? */
static bool stands_for_key(const struct lister *l, enum dv_form form, struct dv_list_entry *e)
{
	struct dv_store *s = l->s;
	struct dv_names names;
	struct dv_stat st;
	struct dv_ident loser = {0};
	struct dv_node *n = dv_node_find_name(s, l->dir, e->name);
	/* Without its gate: the keeper settles nothing while we list. */
	bool has_loser = n && dv_node_loser(s, n, &loser);
	if (n) {
		e->ino = n->ino;
		e->type = n->type;
	}
	dv_node_unref(s, n);
	if (form != DV_FORM_PACKED && !has_loser)
		return true;
	if (dv_names_of(s->transform, e->name, &names))
		return false;
	if (has_loser && names.packed[0] && DV_B(s, stat, l->dirfd, names.packed, &st) == 0) {
		struct dv_ident id = dv_ident_of(&st);
		if (dv_ident_equal(&id, &loser)) /* and not beside another of its names */
			return form == DV_FORM_PACKED;
	}
	if (form != DV_FORM_PACKED)
		return true;
	return !is_hidden(l, &names, e);
}

/* false: the consumer is full. */
static bool give(struct lister *l, const struct dv_dirent *d, int64_t cookie)
{
	struct dv_store *s = l->s;
	char name[DV_NAME_MAX + 1];
	enum dv_form form;
	struct dv_dirent e = *d;
	if (e.type == DT_UNKNOWN) {
		struct dv_stat st;
		if (DV_B(s, stat, l->dirfd, e.name, &st))
			return true;
		e.type = IFTODT(st.mode);
	}
	if (l->dir == s->root && strncmp(e.name, DV_CONTROL_DIR, sizeof(DV_CONTROL_DIR) - 1) == 0)
		return true;
	if (dv_names_parse(s->transform, e.name, e.type == DT_REG, l->shard, name, &form))
		return true; /* not ours */
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return true;
	if (l->list) {
		if (strcmp(name, l->list->found) == 0)
			return true;
		cookie = dv_list_place(l->list->count + 1, name);
	}
	struct dv_list_entry entry = {.name = name, .type = type_of(e.type), .cookie = cookie};
	if (!stands_for_key(l, form, &entry))
		return true;
	if (!l->fn(l->ctx, &entry))
		return false;
	l->last = cookie;
	return l->gave = true;
}

static void listing_pauses(const struct lister *l, bool cut)
{
	if (!l->quiet)
		dv_listed_pause(l->dir, l->gave ? l->last : 0, cut);
}

static dv_err list_flat(struct lister *l, int64_t cookie)
{
	struct dv_store *s = l->s;
	struct dv_file *f = NULL;
	DV_AUTO_FREE char *buf = malloc(BUF_BYTES);
	DV_AUTO_FREE struct dv_dirent *ents = malloc(ENTS_MAX * sizeof(*ents));
	dv_err err = buf && ents ? dv_dir_file(s, l->dir, &f) : -ENOMEM;
	if (err)
		return err;
	l->dirfd = f->fd;
	pthread_mutex_t *lock = &s->list_locks[(unsigned)f->fd % DV_ARRAY_LEN(s->list_locks)];
	bool more = true;
	/* What was packed since has a new place, behind the end of those who had all: it must not
	 * be given twice. */
	bool ended = !l->quiet && cookie && cookie == atomic_load(&l->dir->listed_end);
	if (!l->quiet)
		dv_listed_begin(l->dir, cookie);
	while (more && !err && !ended) {
		pthread_mutex_lock(lock);
		ssize_t n = DV_B(s, readdir, f->fd, cookie, buf, BUF_BYTES, ents, ENTS_MAX);
		pthread_mutex_unlock(lock);
		if (n < 0)
			err = (dv_err)n;
		ended = n == 0;
		for (ssize_t i = 0; i < n && more; i++) {
			more = give(l, &ents[i], ents[i].cookie);
			if (more)
				cookie = ents[i].cookie;
		}
	}
	listing_pauses(l, !ended);
	dv_file_unref(s, f);
	return err;
}

/* ---- with a handle ---- */

dv_err dv_list_open(struct dv_store *s, struct dv_node *dir, struct dv_list **out)
{
	struct dv_list *l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->depth_max = dv_transform_shard_depth(s->transform) + 1;
	l->levels = calloc(l->depth_max, sizeof(struct level *));
	if (!l->levels) {
		free(l);
		return -ENOMEM;
	}
	l->store = s;
	l->dir = dir;
	l->prefix = l->after = "";
	pthread_mutex_init(&l->lock, NULL);
	*out = l;
	return 0;
}

void dv_list_bound(struct dv_list *list, const char *prefix, const char *after)
{
	list->prefix = prefix;
	list->after = after;
}

void dv_list_unsorted(struct dv_list *list)
{
	list->unsorted = true;
}

static void pop_level(struct dv_store *s, struct dv_list *l)
{
	struct level *v = l->levels[--l->depth];
	dv_order_free(&v->order);
	DV_B(s, close, v->fd);
	l->shard[l->depth ? l->levels[l->depth - 1]->path_len : 0] = '\0';
}

void dv_list_close(struct dv_store *s, struct dv_list **list)
{
	struct dv_list *l = *list;
	if (!l)
		return;
	while (l->depth)
		pop_level(s, l);
	pthread_mutex_destroy(&l->lock);
	for (unsigned i = 0; i < l->depth_max; i++)
		free(l->levels[i]);
	free(l->levels);
	free(l);
	*list = NULL;
}

/* The bytes of a key that the shard directory `stored` of split stands for. */
static void block_of(const char *stored, char out[DV_NAME_MAX + 1])
{
	if (dv_component_unescape(stored, strlen(stored), out))
		strcpy(out, stored);
	size_t len = strlen(out);
	if (len > 4 && dv_component_has_ending(out, len, ".zst") &&
	    !strcmp(out + len - 4, ".raw")) /* spelled as raw names are */
		out[len - 4] = '\0';
}

/* Is the key outside what is asked for? */
static bool is_outside(const struct dv_list *l, const char *key)
{
	return strncmp(key, l->prefix, strlen(l->prefix)) != 0 ||
	       (l->after[0] && strcmp(key, l->after) <= 0);
}

/* Are all keys that begin with `head`? */
static bool all_outside(const struct dv_list *l, const char *head)
{
	size_t len = strlen(head), prefix_len = strlen(l->prefix);
	if (strncmp(head, l->prefix, len < prefix_len ? len : prefix_len) != 0)
		return true;
	return strncmp(head, l->after, len) < 0;
}

/* What e is sorted by: how its key goes on, or the keys below the directory that it is. */
static dv_err sort_text(void *ctx, const struct dv_dirent *e, char out[DV_ORDER_TEXT])
{
	const struct dv_list *l = ctx;
	const struct dv_transform *t = l->store->transform;
	const struct level *v = l->levels[l->depth - 1];
	enum dv_form form;
	char key[DV_NAME_MAX + 1];
	strcpy(out, e->name);
	if (e->type == DT_DIR && dv_transform_has_shards(t)) {
		char head[2 * DV_NAME_MAX + 2];
		block_of(e->name, key);
		strcpy(out, key);
		memcpy(head, l->head, v->key_len);
		strcpy(head + v->key_len, key);
		return all_outside(l, head) ? -ENOENT : 0;
	}
	dv_err err = dv_names_parse(t, e->name, e->type == DT_REG, l->shard, key, &form);
	if (err == -ENOMEM)
		return err;
	if (!err && strlen(key) >= v->key_len)
		strcpy(out, key + v->key_len);
	if (e->type == DT_DIR)
		strcat(out, "/");
	if (err)
		return 0; /* not ours, as the listing finds */
	return (e->type == DT_DIR ? all_outside(l, out) : is_outside(l, key)) ? -ENOENT : 0;
}

/* The directory of a level: `name` in the one above it, "." for the first. */
static int open_level(struct dv_store *s, struct dv_list *l, const char *name)
{
	struct dv_file *f = NULL;
	int at = l->depth ? l->levels[l->depth - 1]->fd : s->rootfd;
	if (!l->depth && l->dir != s->root) {
		dv_err err = dv_dir_file(s, l->dir, &f);
		if (err)
			return err;
		at = f->fd;
	}
	int fd = DV_B(s, open, at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	dv_file_unref(s, f);
	return fd;
}

static dv_err push_level(struct dv_store *s, struct dv_list *l, const char *name)
{
	size_t len = strlen(l->shard);
	if (l->depth == l->depth_max || len + strlen(name) + 2 > sizeof(l->shard))
		return -ENAMETOOLONG;
	if (!l->levels[l->depth] && !(l->levels[l->depth] = calloc(1, sizeof(struct level))))
		return -ENOMEM;
	struct level *v = l->levels[l->depth];
	if (dv_transform_keeps_order(s->transform) && !l->unsorted &&
	    !(v->order = dv_order_new(DV_ORDER_WINDOW, sort_text, l)))
		return -ENOMEM;
	v->fd = open_level(s, l, name);
	if (v->fd < 0) {
		dv_order_free(&v->order);
		return v->fd;
	}
	v->cookie = 0;
	v->count = v->next = 0;
	v->key_len = 0;
	if (l->depth) {
		char block[DV_NAME_MAX + 1];
		block_of(name, block);
		v->key_len = l->levels[l->depth - 1]->key_len + strlen(block);
		if (v->key_len > DV_NAME_MAX) { /* longer than any key: not ours */
			dv_order_free(&v->order);
			DV_B(s, close, v->fd);
			return -ENOENT;
		}
		memcpy(l->head + v->key_len - strlen(block), block, strlen(block));
		if (len)
			l->shard[len++] = '/';
		strcpy(l->shard + len, name);
	}
	v->path_len = strlen(l->shard);
	l->depth++;
	return 0;
}

/* The next entry of one directory, which stays until it is taken. */
static dv_err peek(struct dv_store *s, struct level *v, const struct dv_dirent **out)
{
	if (v->order)
		return dv_order_peek(s, v->order, v->fd, out);
	*out = NULL;
	if (v->next == v->count) {
		v->next = v->count = 0;
		ssize_t n = DV_B(s, readdir, v->fd, v->cookie, v->buf, sizeof(v->buf), v->ents,
				 DV_ARRAY_LEN(v->ents));
		if (n <= 0)
			return (dv_err)n;
		v->count = n;
		v->cookie = v->ents[n - 1].cookie;
	}
	struct dv_dirent *e = &v->ents[v->next];
	struct dv_stat st;
	if (e->type == DT_UNKNOWN && DV_B(s, stat, v->fd, e->name, &st) == 0)
		e->type = IFTODT(st.mode);
	*out = e;
	return 0;
}

static void take(struct level *v)
{
	if (v->order)
		dv_order_take(v->order);
	else
		v->next++;
}

/* Does it lie outside the bounds? What is sorted has been sifted before, hash has no bounds. */
static dv_err pass_over(struct dv_list *l, const struct dv_dirent *e, bool *out)
{
	char text[DV_ORDER_TEXT];
	*out = false;
	if (!l->unsorted || !dv_transform_keeps_order(l->store->transform))
		return 0;
	dv_err err = sort_text(l, e, text);
	*out = err == -ENOENT;
	return *out ? 0 : err;
}

/* The next entry of the walk that is no shard directory; NULL: the end. */
static dv_err next_entry(struct dv_store *s, struct dv_list *l, const struct dv_dirent **out)
{
	*out = NULL;
	while (l->depth) {
		struct level *v = l->levels[l->depth - 1];
		const struct dv_dirent *e;
		dv_err err = peek(s, v, &e);
		if (err)
			return err;
		if (!e) {
			pop_level(s, l);
			continue;
		}
		bool outside;
		err = pass_over(l, e, &outside);
		if (err)
			return err;
		if (outside) {
			take(v);
			continue;
		}
		if (e->type != DT_DIR ||
		    !dv_transform_is_shard(s->transform, l->depth - 1, e->name)) {
			*out = e;
			return 0;
		}
		err = push_level(s, l, e->name);
		take(v);
		if (err && err != -ENOENT && err != -ENOTDIR && err != -ELOOP && err != -EXDEV)
			return err;
	}
	return 0;
}

static dv_err walk_from_start(struct dv_store *s, struct dv_list *list)
{
	while (list->depth)
		pop_level(s, list);
	list->count = list->place = 0;
	list->found[0] = '\0';
	return push_level(s, list, ".");
}

/* Walks on to the key of the place, or, where any is, for as many entries as it counts. */
static dv_err walk_to(struct dv_store *s, struct dv_list *list, int64_t place, bool any)
{
	const struct dv_dirent *e;
	enum dv_form form;
	for (list->found[0] = '\0'; !any || list->count < dv_list_place_count(place);) {
		dv_err err = next_entry(s, list, &e);
		if (err || !e)
			return err;
		if (!any &&
		    !dv_names_parse(s->transform, e->name, e->type == DT_REG, list->shard,
				    list->found, &form) &&
		    dv_list_place_is(place, list->found))
			break;
		take(list->levels[list->depth - 1]);
		list->count++;
	}
	list->place = place;
	return 0;
}

/* The kernel asks for places that are not the handle's own after seekdir, where it has lost the rest
 * of what another handle had listed, and where an answer is made again. */
static dv_err walk_to_place(struct dv_store *s, struct dv_list *list, int64_t place)
{
	dv_err err = walk_from_start(s, list);
	if (!err && place)
		err = walk_to(s, list, place, false);
	if (err || list->place == place)
		return err;
	err = walk_from_start(s, list);
	return err ? err : walk_to(s, list, place, true);
}

static dv_err list_walk(struct lister *l, struct dv_list *list, int64_t cookie)
{
	struct dv_store *s = l->s;
	dv_err err = 0;
	pthread_mutex_lock(&list->lock);
	l->list = list;
	l->shard = list->shard;
	if (!l->quiet)
		dv_listed_begin(l->dir, cookie);
	if (cookie == 0 || cookie != list->place)
		err = walk_to_place(s, list, cookie);
	bool more = true, ended = false;
	while (more && !err) {
		const struct dv_dirent *e;
		err = next_entry(s, list, &e);
		ended = !err && !e;
		if (err || !e)
			break;
		struct level *v = list->levels[list->depth - 1];
		l->dirfd = v->fd;
		more = give(l, e, 0);
		if (more) {
			take(v);
			list->count++;
		}
	}
	if (l->gave)
		list->place = l->last;
	listing_pauses(l, !ended);
	pthread_mutex_unlock(&list->lock);
	return err;
}

/* A descriptor that could only reach what lies in the directory is opened anew: its mode may have
 * changed. */
static dv_err list_open_flat(struct lister *l, int64_t cookie)
{
	dv_err err = list_flat(l, cookie);
	if (err != -EBADF)
		return err;
	if (l->dir != l->s->root)
		dv_node_drop_file(l->s, l->dir);
	err = list_flat(l, cookie);
	return err == -EBADF ? -EACCES : err;
}

static dv_err list_any(struct lister *l, struct dv_list *list, int64_t cookie)
{
	if (!S_ISDIR(l->dir->type))
		return -ENOTDIR;
	if (list)
		return list_walk(l, list, cookie);
	return dv_transform_has_shards(l->s->transform) ? -EINVAL : list_open_flat(l, cookie);
}

dv_err dv_store_list(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
		     struct dv_list *list, int64_t cookie, dv_list_fn *fn, void *ctx)
{
	struct lister l = {.s = s, .dir = dir, .shard = "", .fn = fn, .ctx = ctx};
	/* A swap that is under way ends first; those that come see that the directory is being
	 * listed. */
	dv_err err = dv_gate_shared(dir, call->nowait);
	if (err)
		return err;
	err = list_any(&l, list, cookie);
	dv_gate_open(dir);
	return err;
}

struct names {
	size_t count;
	int64_t cookie;
	char name[128][DV_NAME_MAX + 1];
};

static bool collect(void *ctx, const struct dv_list_entry *e)
{
	struct names *n = ctx;
	if (n->count == DV_ARRAY_LEN(n->name))
		return false;
	strcpy(n->name[n->count++], e->name);
	n->cookie = e->cookie;
	return true;
}

dv_err dv_list_each(struct dv_store *s, struct dv_node *dir, unsigned depth, dv_list_each_fn *fn,
		    void *ctx)
{
	struct dv_list *list = NULL;
	DV_AUTO_FREE struct names *names = calloc(1, sizeof(*names));
	if (!names)
		return -ENOMEM;
	dv_err err = dv_transform_has_shards(s->transform) ? dv_list_open(s, dir, &list) : 0;
	do {
		struct lister l = {.s = s,
				   .dir = dir,
				   .shard = "",
				   .quiet = true,
				   .fn = collect,
				   .ctx = names};
		names->count = 0;
		err = err ? err : list_any(&l, list, names->cookie);
		for (size_t i = 0; i < names->count && !err; i++)
			err = fn(ctx, dir, names->name[i], depth);
	} while (!err && names->count);
	dv_list_close(s, &list);
	return err;
}
