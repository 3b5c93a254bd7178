/* SPDX-License-Identifier: MIT */
/*
 * cache.c - S3-FIFO over pinned entries, one duty to fill for each missing one.
 *
 * Place: value asks here before it reads and decodes; nothing below it knows of files or frames.
 *
 *   new key ---------> [ small, 10 % ] --used again--> [ main, 90 % ] --not used--> gone
 *                            |                             |   ^
 *                            | not used                    +---+ used: one more round
 *                            v
 *   new key known here <-- ( ghost: marks of keys, no data )
 *       `-------------------> main
 *
 * "Used" is counted once for each entry made in the shard meanwhile: the many small reads that one
 * pass over a frame consists of are one use, not many.
 *
 * Invariants, all under the shard's lock
 *   I1  an entry is in the table from get until it is evicted, failed or, if not kept, put last.
 *   I2  an entry lies in a queue exactly when it is kept; bytes is the sum of the charges of those.
 *   I3  bytes <= share whenever a call returns, or every entry in the queues is pinned.
 *   I4  pins > 0 while an entry is FILLING or a thread waits for it, so it is neither evicted nor
 *       freed then; only pins == 0 is evicted, and then nobody holds a pointer to it.
 *   I5  exactly one thread has the duty to fill a FILLING entry. data is written by that thread
 *       alone, and read by others after READY was set under the lock: it needs no lock of its own.
 *
 *   (none)   --> FILLING  [dv_cache_get -> FILL]
 *   FILLING  --> READY    [dv_cache_filled]     waiters get a hit
 *   FILLING  --> FAILED   [dv_cache_failed]     out of table and queue; waiters get the error
 *   READY    --> freed    [evict; drop_pin, where not kept]
 *   FAILED   --> freed    [drop_pin, the last]
 *
 * Locks: the shard's mutex, a leaf; no two are ever held. Memory is taken and given back outside.
 */
#include "core/cache.h"

#include "core/cleanup.h"
#include "core/spares.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define DATA_ALIGN	    16u /* malloc's own */
#define CACHE_LINE_BYTES    64u
#define SMALL_QUEUE_DIVISOR 10u /* of a shard's share */
#define RESERVED_DIVISOR    2u	/* of it all may be reserved */
#define USES_MAX	    3u	/* rounds in main that use can earn */
/* Buckets and ghost marks follow the share, for entries of about this size; with smaller entries
 * chains grow longer and the ghost remembers less far back. */
#define BYTES_PER_BUCKET 1024u
#define BYTES_PER_MARK	 2048u
#define INDEX_MIN	 64u
#define INDEX_MAX	 (1u << 22)
#define GHOST_WAYS	 4u
#define SHARDS_MAX	 1024u

enum state { FILLING, READY, FAILED };
enum queue_id { QUEUE_NONE, QUEUE_SMALL, QUEUE_MAIN };

struct entry {
	struct dv_cache_entry public; /* first: the handle is the entry */
	/* constant */
	struct shard *shard;
	struct dv_cache_key key;
	uint64_t hash;
	size_t charge;
	/* under shard->lock */
	struct entry *chain; /* next in the bucket; next to free once it is out of the table */
	struct entry *newer, *older;
	unsigned pins;
	dv_err err;	   /* of FAILED */
	uint32_t last_use; /* shard->made at the last use counted */
	uint8_t state, queue, uses;
};

struct queue {
	struct entry *newest, *oldest;
	size_t count, bytes;
};

/* What the ghost keeps of a key: a fingerprint and when it was dropped. */
struct mark {
	uint32_t print, dropped;
};

struct shard {
	pthread_mutex_t lock;
	pthread_cond_t filled; /* an entry left FILLING */
	/* constant */
	size_t buckets, ghost_sets;
	struct dv_spares spares; /* blocks of entries that are gone; its own lock */
	/* under lock */
	size_t share; /* less than at first while bytes are reserved */
	struct entry **table;
	struct queue small, main;
	struct mark *ghost; /* ghost_sets * GHOST_WAYS */
	uint32_t drops;	    /* clock of the ghost: evictions from small; wraps */
	uint32_t made;	    /* clock of uses: entries inserted; wraps */
	uint64_t hits, misses, evictions, entries;
} __attribute__((aligned(CACHE_LINE_BYTES)));

struct dv_cache {
	/* constant */
	size_t bytes_max;
	unsigned shard_count;
	uint64_t seed; /* so that no store can be made to fill one bucket */
	struct shard *shards;
};

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9E3779B97F4A7C15u;
	h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93u;
	return h ^ (h >> 32);
}

uint64_t dv_cache_version(int64_t btime_ns, int64_t ctime_ns, uint64_t stored_size)
{
	uint64_t h = mix(0, (uint64_t)btime_ns); /* not with each other: they are alike */
	return mix(mix(h, (uint64_t)ctime_ns), stored_size);
}

static uint64_t key_hash(const struct dv_cache *c, const struct dv_cache_key *key)
{
	uint64_t h = mix(c->seed, key->dev);
	h = mix(h, key->ino);
	h = mix(h, key->version);
	return mix(h, key->part);
}

static bool key_equal(const struct dv_cache_key *a, const struct dv_cache_key *b)
{
	return a->ino == b->ino && a->part == b->part && a->version == b->version &&
	       a->dev == b->dev;
}

/* The shard takes the low bits of a hash, the bucket high ones, the fingerprint those between. */
static struct entry **bucket_of(struct shard *s, uint64_t hash)
{
	return &s->table[(hash >> 40) & (s->buckets - 1)];
}

static struct entry *table_find(struct shard *s, uint64_t hash, const struct dv_cache_key *key)
{
	struct entry *e = *bucket_of(s, hash);
	while (e && !(e->hash == hash && key_equal(&e->key, key)))
		e = e->chain;
	return e;
}

static void table_add(struct shard *s, struct entry *e)
{
	struct entry **bucket = bucket_of(s, e->hash);
	e->chain = *bucket;
	*bucket = e;
	s->entries++;
}

static void table_remove(struct shard *s, struct entry *e)
{
	struct entry **slot = bucket_of(s, e->hash);
	while (*slot != e)
		slot = &(*slot)->chain;
	*slot = e->chain;
	e->chain = NULL;
	s->entries--;
}

static struct queue *queue_of(struct shard *s, const struct entry *e)
{
	return e->queue == QUEUE_SMALL ? &s->small : &s->main;
}

static void queue_add(struct shard *s, struct entry *e, enum queue_id id)
{
	e->queue = (uint8_t)id;
	struct queue *q = queue_of(s, e);
	e->newer = NULL;
	e->older = q->newest;
	if (q->newest)
		q->newest->newer = e;
	else
		q->oldest = e;
	q->newest = e;
	q->count++;
	q->bytes += e->charge;
}

static void queue_remove(struct shard *s, struct entry *e)
{
	struct queue *q = queue_of(s, e);
	if (e->newer)
		e->newer->older = e->older;
	else
		q->newest = e->older;
	if (e->older)
		e->older->newer = e->newer;
	else
		q->oldest = e->newer;
	q->count--;
	q->bytes -= e->charge;
	e->queue = QUEUE_NONE;
}

static struct mark *ghost_set(struct shard *s, uint64_t hash)
{
	return &s->ghost[((hash >> 40) & (s->ghost_sets - 1)) * GHOST_WAYS];
}

static uint32_t fingerprint(uint64_t hash)
{
	uint32_t print = (uint32_t)(hash >> 10);
	return print ? print : 1; /* 0 marks an empty place */
}

static void ghost_add(struct shard *s, uint64_t hash)
{
	struct mark *set = ghost_set(s, hash), *place = set;
	s->drops++;
	for (unsigned i = 0; i < GHOST_WAYS; i++) {
		if (set[i].print == 0) {
			place = &set[i];
			break;
		}
		if (s->drops - set[i].dropped > s->drops - place->dropped)
			place = &set[i];
	}
	*place = (struct mark){fingerprint(hash), s->drops};
}

/* Was the key dropped among the last as many drops as there are entries? Forgets it. */
static bool ghost_take(struct shard *s, uint64_t hash)
{
	struct mark *set = ghost_set(s, hash);
	for (unsigned i = 0; i < GHOST_WAYS; i++) {
		if (set[i].print != fingerprint(hash))
			continue;
		bool recent = s->drops - set[i].dropped <= s->small.count + s->main.count;
		set[i].print = 0;
		return recent;
	}
	return false;
}

static size_t shard_bytes(const struct shard *s)
{
	return s->small.bytes + s->main.bytes;
}

static void evict(struct shard *s, struct entry *e, struct entry **dead)
{
	assert(e->pins == 0 && e->state == READY); /* I4 */
	queue_remove(s, e);
	table_remove(s, e);
	e->chain = *dead;
	*dead = e;
	s->evictions++;
}

/* Drops one entry, or moves used ones to main until one is dropped; false: all are used or pinned.
 * Each entry is looked at once. */
static bool evict_from_small(struct shard *s, struct entry **dead)
{
	for (size_t n = s->small.count; n > 0; n--) {
		struct entry *e = s->small.oldest;
		if (e->pins == 0 && e->uses == 0) {
			ghost_add(s, e->hash);
			evict(s, e, dead);
			return true;
		}
		queue_remove(s, e);
		queue_add(s, e, e->uses ? QUEUE_MAIN : QUEUE_SMALL);
		e->uses = 0;
	}
	return false;
}

/* Use is spent by one for each round, so each entry is looked at USES_MAX + 1 times at most. */
static bool evict_from_main(struct shard *s, struct entry **dead)
{
	for (size_t n = s->main.count * (USES_MAX + 1); n > 0; n--) {
		struct entry *e = s->main.oldest;
		if (e->pins == 0 && e->uses == 0) {
			evict(s, e, dead);
			return true;
		}
		queue_remove(s, e);
		queue_add(s, e, QUEUE_MAIN);
		if (e->uses)
			e->uses--;
	}
	return false;
}

/* I3. Victims are chained to *dead, to be freed when the lock is gone. */
static void make_room_locked(struct shard *s, struct entry **dead)
{
	bool more = true;
	while (more && shard_bytes(s) > s->share) {
		more = s->small.bytes > s->share / SMALL_QUEUE_DIVISOR && evict_from_small(s, dead);
		if (!more && shard_bytes(s) > s->share)
			more = evict_from_main(s, dead) || evict_from_small(s, dead);
	}
}

static void entry_free(struct entry *e)
{
	if (e)
		dv_spares_put(&e->shard->spares, e, e->charge);
}

static void free_dead(struct entry *dead)
{
	while (dead) {
		struct entry *next = dead->chain;
		entry_free(dead);
		dead = next;
	}
}

/* One block: the entry, then its data. */
static struct entry *entry_new(struct shard *s, const struct dv_cache_key *key, uint64_t hash,
			       size_t len)
{
	size_t head = (sizeof(struct entry) + DATA_ALIGN - 1) / DATA_ALIGN * DATA_ALIGN;

	if (len > SIZE_MAX - head)
		return NULL;
	struct entry *e = dv_spares_get(&s->spares, head + len);
	if (!e)
		return NULL;
	*e = (struct entry){
		.public = {.len = len, .data = (char *)e + head},
		.shard = s,
		.key = *key,
		.hash = hash,
		.charge = head + len,
		.pins = 1,
		.state = FILLING,
	};
	return e;
}

static void insert_locked(struct shard *s, struct entry *e, struct entry **dead)
{
	table_add(s, e);
	s->misses++;
	e->last_use = ++s->made;
	if (e->charge > s->share)
		return; /* not kept: in no queue */
	queue_add(s, e, ghost_take(s, e->hash) ? QUEUE_MAIN : QUEUE_SMALL);
	make_room_locked(s, dead);
}

/* Gives one pin back; frees through *dead what nobody will find again. */
static void drop_pin_locked(struct shard *s, struct entry *e, struct entry **dead)
{
	assert(e->pins > 0);
	if (--e->pins > 0)
		return;
	if (e->queue != QUEUE_NONE) {
		make_room_locked(s, dead);
		return;
	}
	if (e->state != FAILED) /* that one has left the table already */
		table_remove(s, e);
	e->chain = *dead;
	*dead = e;
}

/* The caller has no pin yet. -> HIT, BUSY or the error of the fill it waited for. */
static int join_locked(struct shard *s, struct entry *e, bool nowait, struct entry **dead)
{
	if (e->state == FILLING && nowait)
		return DV_CACHE_BUSY;
	e->pins++;
	while (e->state == FILLING)
		pthread_cond_wait(&s->filled, &s->lock);
	if (e->state == FAILED) {
		dv_err err = e->err;
		drop_pin_locked(s, e, dead);
		return err;
	}
	s->hits++;
	if (e->last_use != s->made) {
		e->last_use = s->made;
		if (e->uses < USES_MAX)
			e->uses++;
	}
	return DV_CACHE_HIT;
}

int dv_cache_get(struct dv_cache *c, const struct dv_cache_key *key, size_t len, bool nowait,
		 struct dv_cache_entry **out)
{
	uint64_t hash = key_hash(c, key);
	struct shard *s = &c->shards[hash & (c->shard_count - 1)];
	struct entry *spare = NULL, *dead = NULL, *e;
	int result;

	*out = NULL;
	pthread_mutex_lock(&s->lock);
	e = table_find(s, hash, key);
	if (!e && !nowait) {
		pthread_mutex_unlock(&s->lock);
		spare = entry_new(s, key, hash, len);
		if (!spare)
			return -ENOMEM;
		pthread_mutex_lock(&s->lock);
		e = table_find(s, hash, key);
	}
	if (e) {
		result = join_locked(s, e, nowait, &dead);
	} else if (nowait) {
		result = DV_CACHE_BUSY;
	} else {
		e = dv_take_ptr(&spare);
		insert_locked(s, e, &dead);
		result = DV_CACHE_FILL;
	}
	pthread_mutex_unlock(&s->lock);

	entry_free(spare);
	free_dead(dead);
	if (result == DV_CACHE_HIT || result == DV_CACHE_FILL)
		*out = &e->public;
	return result;
}

void dv_cache_filled(struct dv_cache *c, struct dv_cache_entry *public)
{
	struct entry *e = (struct entry *)public;
	struct shard *s = e->shard;

	(void)c;
	pthread_mutex_lock(&s->lock);
	assert(e->state == FILLING);
	e->state = READY;
	pthread_cond_broadcast(&s->filled);
	pthread_mutex_unlock(&s->lock);
}

void dv_cache_failed(struct dv_cache *c, struct dv_cache_entry *public, dv_err err)
{
	struct entry *e = (struct entry *)public, *dead = NULL;
	struct shard *s = e->shard;

	(void)c;
	assert(err < 0);
	pthread_mutex_lock(&s->lock);
	assert(e->state == FILLING);
	e->state = FAILED;
	e->err = err;
	table_remove(s, e);
	if (e->queue != QUEUE_NONE)
		queue_remove(s, e);
	pthread_cond_broadcast(&s->filled);
	drop_pin_locked(s, e, &dead);
	pthread_mutex_unlock(&s->lock);
	free_dead(dead);
}

void dv_cache_put(struct dv_cache *c, struct dv_cache_entry *public)
{
	struct entry *e = (struct entry *)public, *dead = NULL;
	struct shard *s = e->shard;

	(void)c;
	pthread_mutex_lock(&s->lock);
	assert(e->state == READY);
	drop_pin_locked(s, e, &dead);
	pthread_mutex_unlock(&s->lock);
	free_dead(dead);
}

/* The smallest power of two that is at least n, within the limits of an index. */
static size_t index_size(size_t n)
{
	size_t size = INDEX_MIN;
	while (size < n && size < INDEX_MAX)
		size *= 2;
	return size;
}

/* s is zeroed; what was made before an error is given back by shard_release(). */
static dv_err shard_init(struct shard *s, size_t share)
{
	s->share = share;
	s->buckets = index_size(share / BYTES_PER_BUCKET);
	s->ghost_sets = index_size(share / BYTES_PER_MARK) / GHOST_WAYS;
	pthread_mutex_init(&s->lock, NULL); /* neither can fail on Linux with default attributes */
	pthread_cond_init(&s->filled, NULL);
	dv_spares_init(&s->spares);
	s->table = calloc(s->buckets, sizeof(*s->table));
	s->ghost = calloc(s->ghost_sets * GHOST_WAYS, sizeof(*s->ghost));
	return s->table && s->ghost ? 0 : -ENOMEM;
}

static void shard_release(struct shard *s)
{
	if (!s->buckets) /* never initialised */
		return;
	/* Pages of a table that was never used are not there; to look for entries would bring them. */
	for (size_t i = 0; s->entries && i < s->buckets; i++) {
		for (struct entry *e = s->table[i]; e; e = e->chain)
			assert(e->pins == 0);
		free_dead(s->table[i]);
	}
	free(s->table);
	free(s->ghost);
	dv_spares_release(&s->spares);
	pthread_cond_destroy(&s->filled);
	pthread_mutex_destroy(&s->lock);
}

static uint64_t random_seed(void)
{
	uint64_t seed;
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t)sizeof(seed))
		return seed;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_nsec ^ (uint64_t)(uintptr_t)&seed;
}

dv_err dv_cache_new(size_t bytes_max, unsigned shards, struct dv_cache **out)
{
	if (shards == 0 || shards > SHARDS_MAX || (shards & (shards - 1)))
		return -EINVAL;
	struct dv_cache *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	void *block;
	if (posix_memalign(&block, CACHE_LINE_BYTES, shards * sizeof(*c->shards)) != 0) {
		free(c);
		return -ENOMEM;
	}
	c->shards = memset(block, 0, shards * sizeof(*c->shards));
	c->bytes_max = bytes_max;
	c->shard_count = shards;
	c->seed = random_seed();
	for (unsigned i = 0; i < shards; i++) {
		dv_err err = shard_init(&c->shards[i], bytes_max / shards);
		if (err) {
			dv_cache_free(&c);
			return err;
		}
	}
	*out = c;
	return 0;
}

void dv_cache_reserve(struct dv_cache *c, size_t bytes)
{
	size_t most = c->bytes_max / RESERVED_DIVISOR;
	size_t share = (c->bytes_max - (bytes < most ? bytes : most)) / c->shard_count;

	for (unsigned i = 0; i < c->shard_count; i++) {
		struct shard *s = &c->shards[i];
		struct entry *dead = NULL;
		pthread_mutex_lock(&s->lock);
		s->share = share;
		make_room_locked(s, &dead);
		pthread_mutex_unlock(&s->lock);
		free_dead(dead);
	}
}

void dv_cache_free(struct dv_cache **c)
{
	if (!*c)
		return;
	for (unsigned i = 0; i < (*c)->shard_count; i++)
		shard_release(&(*c)->shards[i]);
	free((*c)->shards);
	free(*c);
	*c = NULL;
}

void dv_cache_stats(struct dv_cache *c, struct dv_cache_stats *out)
{
	*out = (struct dv_cache_stats){.bytes_max = c->bytes_max};
	for (unsigned i = 0; i < c->shard_count; i++) {
		struct shard *s = &c->shards[i];
		pthread_mutex_lock(&s->lock);
		out->hits += s->hits;
		out->misses += s->misses;
		out->evictions += s->evictions;
		out->entries += s->entries;
		out->bytes += shard_bytes(s);
		pthread_mutex_unlock(&s->lock);
	}
}
