/* SPDX-License-Identifier: MIT */
/*
 * place.h - from a name in the mount to a directory descriptor and stored names.
 */
#ifndef DV_PLACE_H
#define DV_PLACE_H

#include "core/internal.h"
#include "core/loose.h"

struct dv_place {
	struct dv_node *dir;  /* borrowed: the directory as in the mount */
	struct dv_file *file; /* keeps dirfd open */
	int dirfd;	      /* where the stored names are */
	struct dv_names names;
	char *shard; /* relative path of the shard directory; NULL: none */
	char name[DV_NAME_MAX + 1];
};

/* What was found under a name. */
struct dv_found {
	enum dv_form form;
	uint8_t slot;
	struct dv_stat st;
	const char *stored; /* points into the place */
};

/* The directory's descriptor with a new reference. -ESTALE: another object is there. */
DV_CHECK dv_err dv_dir_file(struct dv_store *s, struct dv_node *dir, struct dv_file **out);

/* create: makes missing shard directories; -ENOTDIR: something else has the name of one. Without it
 * a missing one gives -ENOENT. */
DV_CHECK dv_err dv_place_open(struct dv_store *s, struct dv_node *dir, const char *name,
			      bool create, struct dv_place *out);
void dv_place_close(struct dv_store *s, struct dv_place *p);

/* The place of n's first name (skip: which one) and the stored name in its present form. Gate at
 * least shared. -ESTALE: no name. */
DV_CHECK dv_err dv_place_of(struct dv_store *s, struct dv_node *n, unsigned skip,
			    struct dv_place *out, const char **out_stored);
/* dv_place_of() fills the directory with a reference: this gives it back too. */
void dv_place_of_close(struct dv_store *s, struct dv_place *p);
const char *dv_place_stored(const struct dv_place *p, enum dv_form form, uint8_t slot);

/* What value or object has the name: raw before packed. -ENOENT: none. */
DV_CHECK dv_err dv_place_find(struct dv_store *s, const struct dv_place *p, struct dv_found *out);
/* The same of what was there a moment ago: another mount that unpacks and packs it again may have it under that
 * name which is not looked at just then, each time. */
DV_CHECK dv_err dv_place_find_known(struct dv_store *s, const struct dv_place *p,
				    struct dv_found *out);

/* The key of p, for loose.h. */
static inline struct dv_loose_at dv_place_at(const struct dv_place *p)
{
	return (struct dv_loose_at){.dir = p->dir, .shard = p->shard, .name = p->name};
}
/* Which of p's stored names it is: one of DV_LOOSE_GONE. */
unsigned dv_place_kind(const struct dv_place *p, const char *stored);
/* Before a name that is `stored` is made: other stored names of the key that are gone, and may come
 * back, are made to stay away by a sync. nowait: -EAGAIN then. also: more that must not be
 * loose. */
DV_CHECK dv_err dv_place_settle(struct dv_store *s, const struct dv_place *p, const char *stored,
				unsigned also, bool nowait);

/* After a name went: removes empty shard directories, deepest first. One that a value was renamed
 * from or to of late waits for dv_place_prune_due(): the renaming must not be lost where the
 * removal is kept. */
void dv_place_prune(struct dv_store *s, const char *name);
/* Syncs and removes those that waited. */
void dv_place_prune_due(struct dv_store *s);

#endif
