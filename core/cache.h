/* SPDX-License-Identifier: MIT */
/*
 * cache.h - decoded frames and layouts in memory, bounded in bytes.
 *
 * Keyed by the identity of what was really read, never by a name: struct dv_cache_key. Sharded,
 * each shard with its own short lock; S3-FIFO (Yang et al., "FIFO queues are all you need for cache
 * eviction", SOSP 2023): a scan passes through the small queue without displacing what is used
 * again. A missing entry is made once however many threads ask for it: the first one gets the duty
 * to fill, the others wait. No lock is held while an entry is filled.
 *
 *   dv_cache_get -> DV_CACHE_HIT   entry is filled; read entry->data, then dv_cache_put
 *                   DV_CACHE_FILL  the caller must fill entry->data and call dv_cache_filled, then
 *                                  use it as after a hit, or call dv_cache_failed
 *                   DV_CACHE_BUSY  (nowait) missing, or someone else is filling it
 *                   -errno         the fill by another thread failed with this; -ENOMEM
 *
 * Who has the duty to fill an entry must not wait for another one meanwhile (get it first, or with
 * nowait): two threads could wait for each other.
 *
 * Threads   all functions but new and free may be called from any thread at once. What was written
 *           to data before dv_cache_filled is seen by everyone who gets a hit.
 */
#ifndef DV_CACHE_H
#define DV_CACHE_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dv_cache;

struct dv_cache_key {
	uint64_t dev, ino;
	uint64_t version; /* dv_cache_version() */
	uint64_t part;	  /* number of a frame; DV_CACHE_LAYOUT */
};
#define DV_CACHE_LAYOUT UINT64_MAX

/* Of what does not change but with the object's bytes. Numbers of inodes come again, with times that differ in
 * a few bits: other times give another version, as good as always. */
uint64_t dv_cache_version(int64_t btime_ns, int64_t ctime_ns, uint64_t stored_size);

struct dv_cache_entry {
	size_t len; /* bytes of data, fixed when it was asked for */
	void *data; /* 16-byte aligned; filled once, then constant until the last put */
};

enum { DV_CACHE_HIT = 1, DV_CACHE_FILL = 2, DV_CACHE_BUSY = 3 };

/* hits: answers DV_CACHE_HIT, also after waiting; misses: answers DV_CACHE_FILL. */
struct dv_cache_stats {
	uint64_t hits, misses, evictions, entries, bytes, bytes_max;
};

/*
 * bytes_max: bound on what lies in it, about 150 bytes of each entry's own included, entries in use
 * included as far as they can be evicted: it is passed only while entries in use need more, and by
 * them alone. Indices take 1.2 % more. shards: a power of two. -EINVAL: shards; -ENOMEM.
 */
DV_CHECK dv_err dv_cache_new(size_t bytes_max, unsigned shards, struct dv_cache **out);
/* Every entry has been put and nobody is inside. */
void dv_cache_free(struct dv_cache **c);

/*
 * *out is pinned until dv_cache_put(): it is not evicted. len: size of the data that a fill would
 * make; one key has one len. An entry larger than a shard's share is made for its users and not
 * kept. nowait: never waits for a fill and never fills: -> HIT or BUSY only.
 */
DV_CHECK int dv_cache_get(struct dv_cache *c, const struct dv_cache_key *key, size_t len,
			  bool nowait, struct dv_cache_entry **out);
void dv_cache_filled(struct dv_cache *c, struct dv_cache_entry *e);
/* Wakes the waiters with err (< 0), which nobody else gets; drops the entry and the caller's
 * pin. */
void dv_cache_failed(struct dv_cache *c, struct dv_cache_entry *e, dv_err err);
void dv_cache_put(struct dv_cache *c, struct dv_cache_entry *e);

/*
 * Memory besides the cache that its bound is to cover: so many bytes less lie in it from now on,
 * but never less than half of bytes_max. What does not fit any more is evicted.
 */
void dv_cache_reserve(struct dv_cache *c, size_t bytes);

void dv_cache_stats(struct dv_cache *c, struct dv_cache_stats *out);

#endif
