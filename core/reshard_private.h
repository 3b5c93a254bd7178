/* SPDX-License-Identifier: MIT */
/* reshard_private.h - what reshard.c (phases) and reshard_move.c (renaming) share. */
#ifndef DV_RESHARD_PRIVATE_H
#define DV_RESHARD_PRIVATE_H

#include "core/reshard.h"

/* A tree of values. */
struct dv_tree {
	int fd;
	const struct dv_transform *transform;
	bool is_root; /* of the store: its control folder, and lost+found, are none of it */
};

/* How many values, and what they are. */
struct dv_tally {
	uint64_t count, sum;
};

struct dv_moving {
	struct dv_store *s; /* backing, rootfd, transform are used of it */
	struct dv_tree from, to;
	bool folders;	       /* both have them, and the same */
	struct dv_tally tally; /* of what was walked */
	uint64_t moved;
	char *why;
	size_t why_size;
};

/* Walks `from`, adds to the tally. -EINVAL: something in it has no place in `to`, or is no value;
 * why[] says what. */
DV_CHECK dv_err dv_reshard_walk(struct dv_moving *m);
/* Renames all values. -ENOTUNIQ: one has no place beside another one; why[]. */
DV_CHECK dv_err dv_reshard_move(struct dv_moving *m);
/* Removes the folders of an empty tree. -ENOTEMPTY. */
DV_CHECK dv_err dv_reshard_prune(struct dv_store *s, const struct dv_tree *t);
/* Renames each entry of the tree `from` into the root `to`. */
DV_CHECK dv_err dv_reshard_lift(struct dv_moving *m);

#endif
