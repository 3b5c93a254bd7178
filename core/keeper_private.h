/* SPDX-License-Identifier: MIT */
/*
 * keeper_private.h - what the files of the module keeper share.
 *
 *   keeper.c          the queue, its rounds, the thread
 *   keeper_commit.c   commits of stages, several at a time
 */
#ifndef DV_KEEPER_PRIVATE_H
#define DV_KEEPER_PRIVATE_H

#include "core/keeper.h"

#define MS 1000000ll

/* What the keeper needs to know of a node, taken under its gate. */
struct dv_keeper_look {
	bool staged, replacement, loser, failed;
	int64_t append_ns; /* of an append: when it began; else 0 */
	bool pays;	   /* ..and whether its commit is worth what it writes */
	bool raw;	   /* a value in raw form */
	uint64_t writes;
};

struct dv_keeper_look dv_keeper_look(struct dv_node *n);

struct dv_urgency {
	bool now;   /* nothing has to be quiet */
	bool room;  /* for somebody whose write has failed, and is made again: his stage stays */
	bool force; /* whoever writes */
};

/* Commits those of taken[] that wait for it. */
void dv_keeper_commit_some(struct dv_store *s, struct dv_node **taken, size_t count,
			   const struct dv_urgency *u);

#endif
