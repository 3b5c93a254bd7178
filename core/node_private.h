/* SPDX-License-Identifier: MIT */
/*
 * node_private.h - the names of one node, as node.c keeps them: those given last first.
 *
 *   n->links -> other <-> other <-> other -> own link -> NULL
 *
 * The own link, in the node's memory, is the node's first name, so it is the last here, or taken
 * out for good. It has no room for a way back and needs none: the first of the others has nothing
 * before it, so its way back leads to the last of the others. So each of these takes the same time
 * however many names there are.
 *
 * Locks        names_lock for chain and unchain.
 */
#ifndef DV_NODE_PRIVATE_H
#define DV_NODE_PRIVATE_H

#include "core/node.h"

/* The link behind n. */
static inline struct dv_link *dv_link_own(struct dv_node *n)
{
	return (struct dv_link *)(n + 1);
}

void dv_link_name(struct dv_link *l, const char *name, size_t len);

/* One of the others, of no node yet; dir is borrowed. NULL: no memory. */
struct dv_link *dv_link_new(struct dv_node *dir, const char *name, uint8_t slot);
void dv_link_free(struct dv_link *l); /* NULL is allowed; no own link */

/* l is a name of n; the own link only while n has none. */
void dv_link_chain(struct dv_node *n, struct dv_link *l);
void dv_link_unchain(struct dv_link *l);

#endif
