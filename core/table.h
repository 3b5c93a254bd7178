/* SPDX-License-Identifier: MIT */
/*
 * table.h - a hash table of things that carry their own link: one pointer in each, one for each in
 * the table.
 *
 * It grows and shrinks by one bucket at a time (linear hashing, Litwin 1980), so no insertion ever
 * waits for all others to be moved, and what was large for a while does not stay so:
 *
 *   buckets   | 0 ... split-1 | split ... low-1 | low ... low+split-1 |        low: a power of two
 *   hash by     2 low            low               2 low
 *
 * Buckets lie in segments that never move. Where memory for a new one is missing the chains get
 * longer, nothing fails.
 *
 * Calling sequence: init, then insert, remove and
 *     for (struct dv_table_entry *e = dv_table_chain(t, hash); e; e = e->next) look at e
 * Locks: none, the caller's.
 */
#ifndef DV_TABLE_H
#define DV_TABLE_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

struct dv_table_entry {
	struct dv_table_entry *next; /* of the same bucket */
};

/* The same for an entry as long as it is in the table. */
typedef uint64_t dv_table_hash_fn(const struct dv_table_entry *e, uint64_t seed);

struct dv_table {
	dv_table_hash_fn *hash;
	uint64_t seed; /* random: names are chosen by strangers */
	struct dv_table_entry ***segments;
	size_t segment_room;
	size_t count, low, split;
};

#define DV_TABLE_SEGMENT 512u /* buckets: a page */
#define DV_TABLE_LOAD	 2u   /* entries for each bucket before it grows */

DV_CHECK dv_err dv_table_init(struct dv_table *t, dv_table_hash_fn *hash);
/* The entries stay with the caller. Once more is allowed. */
void dv_table_release(struct dv_table *t);

/* All entries of this hash, and others. */
struct dv_table_entry *dv_table_chain(const struct dv_table *t, uint64_t hash);
void dv_table_insert(struct dv_table *t, struct dv_table_entry *e);
/* e is in it. */
void dv_table_remove(struct dv_table *t, struct dv_table_entry *e);

size_t dv_table_buckets(const struct dv_table *t);

/* Who does not know the seed finds no bytes that collide. */
uint64_t dv_table_hash_bytes(uint64_t seed, const void *bytes, size_t len);

#define DV_TABLE_OWNER(e, type, member) ((type *)((char *)(e)-offsetof(type, member)))

#endif
