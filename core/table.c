/* SPDX-License-Identifier: MIT */
/* table.c - see table.h. */
#include "core/table.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define SHRINK_SHARE 4u /* it shrinks where it has this many times the buckets it needs.. */
#define SHRINK_STEPS 8u /* ..so many at a time, so that it is small again when it is empty */

size_t dv_table_buckets(const struct dv_table *t)
{
	return t->low + t->split;
}

static size_t index_of(const struct dv_table *t, uint64_t hash)
{
	size_t i = hash & (2 * t->low - 1);
	return i < dv_table_buckets(t) ? i : i & (t->low - 1);
}

static struct dv_table_entry **bucket(const struct dv_table *t, size_t i)
{
	return &t->segments[i / DV_TABLE_SEGMENT][i % DV_TABLE_SEGMENT];
}

dv_err dv_table_init(struct dv_table *t, dv_table_hash_fn *hash)
{
	*t = (struct dv_table){.hash = hash, .low = DV_TABLE_SEGMENT, .segment_room = 1};
	if (getrandom(&t->seed, sizeof(t->seed), GRND_NONBLOCK) != sizeof(t->seed)) {
		struct timespec now; /* an early boot: better than a constant */
		clock_gettime(CLOCK_REALTIME, &now);
		t->seed = (uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15u ^ (uint64_t)(uintptr_t)t;
	}
	t->segments = calloc(1, sizeof(*t->segments));
	if (t->segments)
		t->segments[0] = calloc(DV_TABLE_SEGMENT, sizeof(**t->segments));
	if (t->segments && t->segments[0])
		return 0;
	dv_table_release(t);
	return -ENOMEM;
}

void dv_table_release(struct dv_table *t)
{
	for (size_t i = 0; t->segments && i < t->segment_room; i++)
		free(t->segments[i]);
	free(t->segments);
	*t = (struct dv_table){0};
}

/* Is there room for bucket i, the first one that does not exist? */
static bool make_segment(struct dv_table *t, size_t i)
{
	size_t at = i / DV_TABLE_SEGMENT;
	if (at == t->segment_room) {
		struct dv_table_entry ***grown =
			realloc(t->segments, 2 * at * sizeof(*t->segments));
		if (!grown)
			return false;
		memset(grown + at, 0, at * sizeof(*grown));
		t->segments = grown;
		t->segment_room = 2 * at;
	}
	if (!t->segments[at])
		t->segments[at] = calloc(DV_TABLE_SEGMENT, sizeof(**t->segments));
	return t->segments[at] != NULL;
}

/* Bucket `split` gives what belongs into a new one at the end. */
static void grow(struct dv_table *t)
{
	size_t from = t->split, to = dv_table_buckets(t);
	if (!make_segment(t, to))
		return;
	if (++t->split == t->low) {
		t->low *= 2;
		t->split = 0;
	}
	struct dv_table_entry *e = *bucket(t, from), *next;
	*bucket(t, from) = NULL;
	for (; e; e = next) {
		next = e->next;
		struct dv_table_entry **b = bucket(t, index_of(t, t->hash(e, t->seed)));
		e->next = *b;
		*b = e;
	}
}

/* The last bucket goes back into the one it came from. */
static void shrink(struct dv_table *t)
{
	if (t->split == 0) {
		t->low /= 2;
		t->split = t->low;
	}
	size_t last = dv_table_buckets(t) - 1;
	t->split--;
	struct dv_table_entry **to = bucket(t, t->split), **from = bucket(t, last);
	while (*to)
		to = &(*to)->next;
	*to = *from;
	*from = NULL;
	if (last % DV_TABLE_SEGMENT == 0) {
		free(t->segments[last / DV_TABLE_SEGMENT]);
		t->segments[last / DV_TABLE_SEGMENT] = NULL;
	}
}

struct dv_table_entry *dv_table_chain(const struct dv_table *t, uint64_t hash)
{
	return *bucket(t, index_of(t, hash));
}

void dv_table_insert(struct dv_table *t, struct dv_table_entry *e)
{
	struct dv_table_entry **b = bucket(t, index_of(t, t->hash(e, t->seed)));
	e->next = *b;
	*b = e;
	if (++t->count > DV_TABLE_LOAD * dv_table_buckets(t))
		grow(t);
}

void dv_table_remove(struct dv_table *t, struct dv_table_entry *e)
{
	struct dv_table_entry **at = bucket(t, index_of(t, t->hash(e, t->seed)));
	while (*at != e) {
		assert(*at); /* it is in the table */
		at = &(*at)->next;
	}
	*at = e->next;
	t->count--;
	for (unsigned i = 0; i < SHRINK_STEPS && dv_table_buckets(t) > DV_TABLE_SEGMENT &&
			     t->count * SHRINK_SHARE < dv_table_buckets(t);
	     i++)
		shrink(t);
}

/* The halves of the product of 128 bits (as wyhash by Wang Yi does). */
static uint64_t fold(uint64_t a, uint64_t b)
{
	__uint128_t product = (__uint128_t)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t dv_table_hash_bytes(uint64_t seed, const void *bytes, size_t len)
{
	const unsigned char *at = bytes;
	uint64_t h = seed ^ 0xa0761d6478bd642fu, word;
	for (size_t left = len; left; left -= left < 8 ? left : 8, at += 8) {
		word = 0;
		memcpy(&word, at, left < 8 ? left : 8);
		h = fold(h ^ word, seed ^ 0xe7037ed1a0b428dbu);
	}
	return fold(h ^ len, 0x8ebc6af09c88c6e3u);
}
