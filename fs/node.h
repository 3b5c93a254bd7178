/* SPDX-License-Identifier: MIT */
/*
 * node.h - node ids: the numbers by which the kernel names the store's nodes.
 *
 * Three kinds of identifier exist. A node id is what the kernel uses in requests; it is given out
 * once, never reused, and dies when the kernel has forgotten all lookups of it. A dv_node is the
 * store's object behind it; one dv_node has at most one node id at a time, else locks and pages of
 * one file would split. st_ino is the number that programs see and has nothing to do with either.
 *
 * The kernel counts how often a node id was given to it (each LOOKUP, MKNOD... reply and each entry
 * of READDIRPLUS is one) and tells with FORGET how many it drops. An entry of the table holds
 * one reference to its dv_node until the count is zero, and the last ones to come to zero keep
 * theirs: they are idle. A file handle (name_to_handle_at) is a node id, which the kernel asks for
 * again, as "." in it, when it has no inode of it in memory any more. What no name leads to is
 * never idle, so that its space is given back at once.
 *
 * One short mutex guards the table; nothing of the store is called with it held but
 * dv_node_cookie() and dv_node_ref(), which are plain memory accesses.
 */
#ifndef FS_NODE_H
#define FS_NODE_H

#include "core/error.h"
#include "core/store.h"

#include <stddef.h>
#include <stdint.h>

#define FS_ROOT_ID 1u

struct fs_nodes; /* opaque; all functions may be called from any thread */

/* Takes no reference to the store, which must outlive the table. idle_max: how many nodes that the
 * kernel has forgotten are kept. */
DV_CHECK dv_err fs_nodes_new(struct dv_store *store, uint32_t idle_max, struct fs_nodes **out);
/* Gives every reference back that the kernel still held. */
void fs_nodes_free(struct fs_nodes **nodes);

/* Lends a new reference to the node behind id, idle or not; NULL where the id is not known. */
struct dv_node *fs_nodes_get(struct fs_nodes *nodes, uint64_t id);

/* Counts one lookup of node, whose reference is taken in any case. -> its id, 0: out of memory. */
uint64_t fs_nodes_enter(struct fs_nodes *nodes, struct dv_node *node);
/* *first: the kernel does not know it, as far as it was told and has forgotten. */
uint64_t fs_nodes_enter_first(struct fs_nodes *nodes, struct dv_node *node, bool *first);

/* Drops n lookups of id. The root and unknown ids are left alone. */
void fs_nodes_forget(struct fs_nodes *nodes, uint64_t id, uint64_t n);

/* -> the id of node, 0 where the kernel does not know it, or has forgotten it. */
uint64_t fs_nodes_id_of(struct fs_nodes *nodes, struct dv_node *node);

/* The ids that were looked up longest ago, up to max. Each is then counted as looked up. Never the
 * root. */
size_t fs_nodes_oldest(struct fs_nodes *nodes, uint64_t *out, size_t max);

/* Number of entries, the root included, idle ones not. */
uint64_t fs_nodes_count(struct fs_nodes *nodes);

struct fs_nodes_numbers {
	uint64_t count;	    /* entries now, the root included, idle ones not */
	uint64_t idle;	    /* those */
	uint64_t peak;	    /* the most there ever were */
	uint64_t forgotten; /* how many the kernel has let go so far */
};
void fs_nodes_tell(struct fs_nodes *nodes, struct fs_nodes_numbers *out);

#endif
