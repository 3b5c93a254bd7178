/* SPDX-License-Identifier: MIT */
/*
 * lib.h - what the files of the library (diskvfs.h) share.
 *
 * The library is a thin layer over store.h: it turns keys into paths of the mount, walks to their
 * directories, and calls the store once.
 */
#ifndef DV_LIB_H
#define DV_LIB_H

#include "core/diskvfs.h"
#include "core/error.h"
#include "core/store.h"

#include <stdatomic.h>

#define LIB_PATH_MAX   65536 /* of a path in the mount, and of a key, with its NUL */
#define LIB_BUSY_TRIES 20    /* names that others change meanwhile; the store has tried for long */
#define LIB_TRIES      100   /* directories that others remove while they are needed */

struct dvfs {
	struct dv_store *store;
	struct dvfs_options o; /* strings not kept */
	struct dvfs_transform t;
	struct dvfs_codec codec;
	bool maps; /* t.to_path is there */
	bool has_codec;
	char *base;	     /* for messages */
	atomic_uint handles; /* readers, writers, iterators, calls: close waits for none */
	unsigned forks;	     /* lib_guard.c */
};

extern const struct dv_call lib_call;

/* ---- lib_guard.c ---- */

void lib_guard_begin(struct dvfs *s);
/* The log's sink is called, by this thread; or has returned. */
void lib_guard_sink(bool in);
/* -EINVAL: NULL; -ECHILD: in the child of a fork; -EDEADLK: in the log's sink. */
DV_CHECK dv_err lib_may(const struct dvfs *s);
/* The same; as long as somebody is in, or has a reader, writer or iterator, nobody closes the store. */
DV_CHECK dv_err lib_enter(struct dvfs *s);
void lib_leave(struct dvfs *s);

/* ---- lib_path.c ---- */

/* The path of a key, checked, on the heap. -EINVAL, -ENAMETOOLONG, what to_path says. */
DV_CHECK dv_err lib_path(const struct dvfs *s, const char *key, char **out);
/* May the path be a key's? */
DV_CHECK dv_err lib_check_path(const struct dvfs *s, const char *path);

/* Where a path leads: dir lends a reference, name points into path. */
struct lib_place {
	struct dv_node *dir;
	const char *name;
};
/* create: makes missing directories. -ENOENT; -ENOTDIR: a value is in the way. */
DV_CHECK dv_err lib_find_dir(struct dvfs *s, const char *path, bool create, struct lib_place *out);

struct dv_put;
/* Puts it under path. Directories are made, and made again where others removed them before the value
 * was in them. flags: DV_PUT_*. */
DV_CHECK dv_err lib_commit(struct dvfs *s, struct dv_put *put, const char *path, unsigned flags);
/* Others change the name all the time: is the call to be made again? */
bool lib_goes_on(dv_err err, unsigned *tries);

/* The value of a key: *out lends a reference. -ENOENT too for what is no regular file. */
DV_CHECK dv_err lib_find(struct dvfs *s, const char *key, struct dv_node **out,
			 struct dv_stat *out_stat);

/* Removes the directories above path that are empty. */
void lib_prune(struct dvfs *s, char *path);

/* ---- lib_laws.c ---- */

DV_CHECK dv_err lib_check_laws(const struct dvfs *s, char *why, size_t why_size);

/* ---- lib_codec.c ---- */

/* A value's bytes on their way through the codec. */
struct lib_filter;
DV_CHECK dv_err lib_filter_new(const struct dvfs *s, bool decode, struct lib_filter **out);
void lib_filter_free(struct lib_filter **f);
DV_CHECK dv_err lib_filter_run(struct lib_filter *f, const void *buf, size_t len, bool end,
			       dvfs_sink *sink, void *ctx);

/* ---- lib_walk.c ---- */

/* All keys below a prefix, in the order of the store, or as they are found. Both strings are borrowed;
 * after: only where the store keeps the order. */
struct lib_walk;
DV_CHECK dv_err lib_walk_open(struct dvfs *s, const char *prefix, const char *after, bool unsorted,
			      struct lib_walk **out);
/* *key is lent until the next call; NULL: the end. */
DV_CHECK dv_err lib_walk_next(struct lib_walk *w, const char **key);
void lib_walk_close(struct lib_walk **w);

/* Is the order of a walk that of the keys? */
bool lib_in_order(const struct dvfs *s);
/* Only a key is equal to itself: of two that the program's own order calls equal the bytes decide. */
int lib_compare(const struct dvfs *s, const char *a, const char *b);

/* ---- lib_sorted.c ---- */

#define LIB_WINDOW (8u << 20) /* bytes of keys that are kept at once */

/* The same in order, whatever the store keeps. */
struct lib_sorted;
DV_CHECK dv_err lib_sorted_open(struct dvfs *s, const char *prefix, const char *after,
				size_t window, struct lib_sorted **out);
DV_CHECK dv_err lib_sorted_next(struct lib_sorted *o, const char **key);
void lib_sorted_close(struct lib_sorted **o);

#endif
