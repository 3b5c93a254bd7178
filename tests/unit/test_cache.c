/* SPDX-License-Identifier: MIT */
/*
 * test_cache.c - the bound, the policy, and the one fill. Run under thread and address,undefined.
 *
 * That a thread waits inside dv_cache_get() is seen from outside by its state in /proc, not by
 * sleeping: a test goes on when all waiters sleep, and only counts what they then got.
 */
#include "core/cache.h"

#include "core/cleanup.h"
#include "tests/support/check.h"
#include "tests/support/random.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAITERS 8

static struct dv_cache_key key_of(uint64_t n)
{
	return (struct dv_cache_key){.dev = 1, .ino = n / 100, .version = 5, .part = n % 100};
}

static struct dv_cache *cache_of(size_t bytes, unsigned shards)
{
	struct dv_cache *c = NULL;
	CHECK_EQ(dv_cache_new(bytes, shards, &c), 0);
	return c;
}

static void fill(struct dv_cache_entry *e, uint64_t n)
{
	memset(e->data, (int)(n % 251), e->len);
}

static void check_bytes(const struct dv_cache_entry *e, uint64_t n)
{
	const uint8_t *p = e->data;
	if (e->len == 0)
		return;
	CHECK_EQ(p[0], n % 251);
	CHECK(memcmp(p, p + 1, e->len - 1) == 0); /* all the same */
}

/* One use of key n by a reader that fills what is missing. -> was it a hit */
static bool use(struct dv_cache *c, uint64_t n, size_t len)
{
	struct dv_cache_key key = key_of(n);
	struct dv_cache_entry *e;
	int got = dv_cache_get(c, &key, len, false, &e);

	CHECK(got == DV_CACHE_HIT || got == DV_CACHE_FILL);
	CHECK_EQ(e->len, len);
	CHECK_EQ((uintptr_t)e->data % 16, 0);
	if (got == DV_CACHE_FILL) {
		fill(e, n);
		dv_cache_filled(c, e);
	} else {
		check_bytes(e, n);
	}
	dv_cache_put(c, e);
	return got == DV_CACHE_HIT;
}

static struct dv_cache_stats stats_of(struct dv_cache *c)
{
	struct dv_cache_stats s;
	dv_cache_stats(c, &s);
	return s;
}

static void test_what_was_filled_is_found_again(void)
{
	struct dv_cache *c = cache_of(1 << 20, 4);

	for (uint64_t n = 0; n < 100; n++)
		CHECK(!use(c, n, n * 10));
	for (uint64_t n = 0; n < 100; n++)
		CHECK(use(c, n, n * 10));
	struct dv_cache_stats s = stats_of(c);
	CHECK_EQ(s.hits, 100);
	CHECK_EQ(s.misses, 100);
	CHECK_EQ(s.entries, 100);
	CHECK_EQ(s.evictions, 0);
	CHECK(s.bytes > 49500 && s.bytes < 49500 + 100 * 200);
	CHECK_EQ(s.bytes_max, 1 << 20);
	dv_cache_free(&c);
	CHECK(c == NULL);
}

static void test_every_part_of_the_key_counts(void)
{
	struct dv_cache *c = cache_of(1 << 20, 1);
	struct dv_cache_key keys[] = {
		{1, 1, 1, 1}, {2, 1, 1, 1}, {1, 2, 1, 1}, {1, 1, 2, 1}, {1, 1, 1, DV_CACHE_LAYOUT}};
	struct dv_cache_entry *e;

	for (size_t i = 0; i < DV_ARRAY_LEN(keys); i++) {
		CHECK_EQ(dv_cache_get(c, &keys[i], 8, false, &e), DV_CACHE_FILL);
		fill(e, i);
		dv_cache_filled(c, e);
		dv_cache_put(c, e);
	}
	for (size_t i = 0; i < DV_ARRAY_LEN(keys); i++) {
		CHECK_EQ(dv_cache_get(c, &keys[i], 8, true, &e), DV_CACHE_HIT);
		check_bytes(e, i);
		dv_cache_put(c, e);
	}
	dv_cache_free(&c);
}

static void test_bound_holds_under_random_use(void)
{
	struct test_random r = {11};
	struct dv_cache *c = cache_of(1 << 20, 4);

	for (int i = 0; i < 60000; i++) {
		uint64_t n = test_random_below(&r, test_random_below(&r, 2000) + 1);
		use(c, n, n * n % 20000);
		CHECK(stats_of(c).bytes <= 1 << 20);
	}
	struct dv_cache_stats s = stats_of(c);
	CHECK(s.evictions > 1000);
	CHECK(s.hits > 1000);
	CHECK(s.bytes > (1 << 20) * 3 / 4);
	dv_cache_free(&c);
}

static void test_scan_does_not_displace_a_hot_set(void)
{
	enum { LEN = 4096, ROOM = 256, HOT = 128, SCAN = 20000 };
	struct dv_cache *c = cache_of((size_t)ROOM * (LEN + 200), 1);
	unsigned hot_hits = 0, hot_uses = 0;

	/* Used twice with others in between: hot. */
	for (int round = 0; round < 2; round++) {
		for (uint64_t n = 0; n < HOT; n++)
			use(c, n, LEN);
		use(c, 500 + (uint64_t)round, LEN);
	}
	for (uint64_t i = 0; i < SCAN; i++) {
		CHECK(!use(c, 1000 + i, LEN));
		/* The many reads that one pass over a frame consists of. */
		for (int k = 0; k < 8; k++)
			CHECK(use(c, 1000 + i, LEN));
		if (i % 10 == 0) {
			hot_uses++;
			hot_hits += use(c, (i / 10) % HOT, LEN);
		}
	}
	CHECK_EQ(hot_uses, SCAN / 10);
	CHECK_EQ(hot_hits, hot_uses);
	/* Nor does a scan that nothing hot is used beside. */
	for (uint64_t i = 0; i < 10 * ROOM; i++)
		CHECK(!use(c, 100000 + i, LEN));
	for (uint64_t n = 0; n < HOT; n++)
		CHECK(use(c, n, LEN));
	dv_cache_free(&c);
}

static void test_keys_that_come_back_soon_go_to_main(void)
{
	enum { LEN = 8000, ROOM = 100, BACK = 20 };
	struct dv_cache *c = cache_of((size_t)ROOM * (LEN + 200), 1);
	unsigned kept = 0;

	for (uint64_t n = 0; n < ROOM; n++)
		use(c, n, LEN);
	/* The first keys are pushed out, then asked for again while the ghost knows them. */
	for (uint64_t n = 0; n < ROOM; n++)
		use(c, 1000 + n, LEN);
	for (uint64_t n = 0; n < BACK; n++)
		CHECK(!use(c, n, LEN));
	for (uint64_t n = 0; n < 10 * ROOM; n++)
		use(c, 2000 + n, LEN);
	/* A mark can be lost to others of its set: a seed in some hundred loses one. */
	for (uint64_t n = 0; n < BACK; n++)
		kept += use(c, n, LEN);
	CHECK(kept >= BACK / 2);
	dv_cache_free(&c);
}

/* More keys than fit come back and go through main; what is used all the while stays there. */
static void test_what_is_used_outlives_what_is_not_in_main(void)
{
	enum { LEN = 1000, ROOM = 100, HOT = 10, OTHERS = 150, STEPS = 20000, WARM = 600 };
	struct dv_cache *c = cache_of((size_t)ROOM * (LEN + 200), 1);
	unsigned missed = 0;

	for (uint64_t step = 0; step < STEPS; step++) {
		for (uint64_t n = 0; n < HOT; n++)
			missed += !use(c, n, LEN) && step >= WARM;
		use(c, 1000 + step % OTHERS, LEN);
	}
	CHECK(stats_of(c).evictions > STEPS / 10);
	CHECK_EQ(missed, 0);
	dv_cache_free(&c);
}

static void test_set_that_changed_is_learned(void)
{
	enum { LEN = 1000, ROOM = 200, HOT = 100 };
	struct dv_cache *c = cache_of((size_t)ROOM * (LEN + 200), 1);
	unsigned hits = 0;

	for (int round = 0; round < 50; round++)
		for (uint64_t n = 0; n < HOT; n++)
			use(c, n, LEN);
	for (int round = 0; round < 50; round++) {
		for (uint64_t n = 0; n < HOT; n++) {
			hits += use(c, 5000 + n, LEN);
			use(c, 10000 + (uint64_t)round * HOT + n, LEN);
		}
	}
	CHECK(hits > 30 * HOT); /* 40 to 41 with any seed */
	dv_cache_free(&c);
}

static void test_pinned_data_stays_while_others_come_and_go(void)
{
	enum { LEN = 1000, ROOM = 50, PINS = 20 };
	struct dv_cache *c = cache_of((size_t)ROOM * (LEN + 200), 1);
	struct dv_cache_entry *pinned[PINS];

	for (uint64_t n = 0; n < PINS; n++) {
		struct dv_cache_key key = key_of(n);
		CHECK_EQ(dv_cache_get(c, &key, LEN, false, &pinned[n]), DV_CACHE_FILL);
		fill(pinned[n], n);
		dv_cache_filled(c, pinned[n]);
	}
	for (uint64_t n = 0; n < 5000; n++) {
		use(c, 1000 + n, LEN);
		CHECK(stats_of(c).bytes <= stats_of(c).bytes_max);
	}
	for (uint64_t n = 0; n < PINS; n++) {
		check_bytes(pinned[n], n);
		dv_cache_put(c, pinned[n]);
	}
	dv_cache_free(&c);
}

static void test_entries_in_use_may_pass_the_bound_until_they_are_put(void)
{
	enum { LEN = 1000, ROOM = 10, PINS = 40 };
	struct dv_cache *c = cache_of((size_t)ROOM * (LEN + 200), 1);
	struct dv_cache_entry *pinned[PINS];

	for (uint64_t n = 0; n < PINS; n++) {
		struct dv_cache_key key = key_of(n);
		CHECK_EQ(dv_cache_get(c, &key, LEN, false, &pinned[n]), DV_CACHE_FILL);
		fill(pinned[n], n);
		dv_cache_filled(c, pinned[n]);
	}
	CHECK(stats_of(c).bytes > stats_of(c).bytes_max);
	for (uint64_t n = 0; n < PINS; n++) {
		check_bytes(pinned[n], n);
		dv_cache_put(c, pinned[n]);
	}
	CHECK(stats_of(c).bytes <= stats_of(c).bytes_max);
	CHECK(stats_of(c).entries > 0);
	dv_cache_free(&c);
}

static void test_entry_larger_than_a_share_is_made_for_its_users_and_not_kept(void)
{
	struct dv_cache *c = cache_of(16384, 4);
	struct dv_cache_key key = key_of(7);
	struct dv_cache_entry *a, *b;

	CHECK(!use(c, 1, 100));
	CHECK_EQ(dv_cache_get(c, &key, 5000, false, &a), DV_CACHE_FILL);
	fill(a, 7);
	dv_cache_filled(c, a);
	CHECK_EQ(dv_cache_get(c, &key, 5000, false, &b), DV_CACHE_HIT);
	CHECK(a == b);
	dv_cache_put(c, a);
	check_bytes(b, 7);
	dv_cache_put(c, b);
	CHECK(stats_of(c).bytes < 16384);
	CHECK_EQ(stats_of(c).entries, 1);
	CHECK(!use(c, 7, 5000));
	CHECK(use(c, 1, 100));
	dv_cache_free(&c);
}

static void test_cache_of_no_bytes_keeps_nothing(void)
{
	struct dv_cache *c = cache_of(0, 1);

	CHECK(!use(c, 1, 0));
	CHECK(!use(c, 1, 0));
	CHECK_EQ(stats_of(c).bytes, 0);
	dv_cache_free(&c);
}

static void test_what_is_reserved_is_taken_off_the_bound_up_to_half(void)
{
	struct dv_cache *c = cache_of(1 << 20, 4);
	for (uint64_t n = 0; n < 400; n++)
		use(c, n, 4096);
	CHECK(stats_of(c).bytes > 900000);
	dv_cache_reserve(c, 256 << 10);
	CHECK(stats_of(c).bytes <= 768 << 10);
	for (uint64_t n = 400; n < 800; n++)
		use(c, n, 4096);
	CHECK(stats_of(c).bytes <= 768 << 10);
	dv_cache_reserve(c, 100 << 20);
	CHECK(stats_of(c).bytes <= 512 << 10);
	CHECK(stats_of(c).bytes > 400000); /* the rest stays a cache */
	dv_cache_reserve(c, 0);
	for (uint64_t n = 0; n < 400; n++)
		use(c, n, 4096);
	CHECK(stats_of(c).bytes > 900000);
	dv_cache_free(&c);
}

static void test_odd_shard_counts_are_refused(void)
{
	struct dv_cache *c = NULL;
	CHECK_EQ(dv_cache_new(1000, 0, &c), -EINVAL);
	CHECK_EQ(dv_cache_new(1000, 3, &c), -EINVAL);
	CHECK(c == NULL);
}

static void test_nowait_never_fills_and_never_waits(void)
{
	struct dv_cache *c = cache_of(1 << 20, 1);
	struct dv_cache_key key = key_of(3);
	struct dv_cache_entry *mine, *e = (void *)&key;

	CHECK_EQ(dv_cache_get(c, &key, 10, true, &e), DV_CACHE_BUSY);
	CHECK(e == NULL);
	CHECK_EQ(dv_cache_get(c, &key, 10, false, &mine), DV_CACHE_FILL);
	/* The thread that would have to fill it is this one: waiting would never end. */
	CHECK_EQ(dv_cache_get(c, &key, 10, true, &e), DV_CACHE_BUSY);
	CHECK(e == NULL);
	fill(mine, 3);
	dv_cache_filled(c, mine);
	CHECK_EQ(dv_cache_get(c, &key, 10, true, &e), DV_CACHE_HIT);
	check_bytes(e, 3);
	dv_cache_put(c, e);
	dv_cache_put(c, mine);
	CHECK_EQ(stats_of(c).misses, 1);
	CHECK_EQ(stats_of(c).hits, 1);
	dv_cache_free(&c);
}

/* One waiting thread. */
struct waiter {
	struct dv_cache *cache;
	struct dv_cache_key key;
	size_t len;
	atomic_int tid; /* 0: not yet running */
	int got;
};

static void *wait_for_entry(void *arg)
{
	struct waiter *w = arg;
	struct dv_cache_entry *e;

	atomic_store(&w->tid, (int)syscall(SYS_gettid));
	w->got = dv_cache_get(w->cache, &w->key, w->len, false, &e);
	if (w->got == DV_CACHE_HIT) {
		check_bytes(e, 3);
		dv_cache_put(w->cache, e);
	} else {
		CHECK(w->got < 0 && e == NULL);
	}
	return NULL;
}

static void until_asleep(struct waiter *w)
{
	char path[64], line[256], *state;

	for (;;) {
		int tid = atomic_load(&w->tid);
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
		FILE *f = tid ? fopen(path, "r") : NULL;
		if (f) {
			state = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
			fclose(f);
			if (state && state[2] == 'S')
				return;
		}
		sched_yield();
	}
}

/* Starts the waiters for a key that this thread has the duty to fill. */
static void start_waiters(struct dv_cache *c, size_t len, struct waiter *w, pthread_t *threads)
{
	for (size_t i = 0; i < WAITERS; i++) {
		w[i] = (struct waiter){.cache = c, .key = key_of(3), .len = len};
		CHECK_EQ(pthread_create(&threads[i], NULL, wait_for_entry, &w[i]), 0);
	}
	for (size_t i = 0; i < WAITERS; i++)
		until_asleep(&w[i]);
}

static void check_one_fill(size_t cache_bytes, size_t len)
{
	struct dv_cache *c = cache_of(cache_bytes, 1);
	struct dv_cache_key key = key_of(3);
	struct dv_cache_entry *e;
	struct waiter w[WAITERS];
	pthread_t threads[WAITERS];

	CHECK_EQ(dv_cache_get(c, &key, len, false, &e), DV_CACHE_FILL);
	start_waiters(c, len, w, threads);
	fill(e, 3);
	dv_cache_filled(c, e);
	dv_cache_put(c, e);
	for (size_t i = 0; i < WAITERS; i++) {
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
		CHECK_EQ(w[i].got, DV_CACHE_HIT);
	}
	CHECK_EQ(stats_of(c).misses, 1);
	CHECK_EQ(stats_of(c).hits, WAITERS);
	dv_cache_free(&c);
}

static void test_one_fill_serves_all_who_wait(void)
{
	check_one_fill(1 << 20, 1000);
	check_one_fill(500, 1000); /* not kept */
}

static void check_failure(size_t cache_bytes, size_t len)
{
	struct dv_cache *c = cache_of(cache_bytes, 1);
	struct dv_cache_key key = key_of(3);
	struct dv_cache_entry *e;
	struct waiter w[WAITERS];
	pthread_t threads[WAITERS];

	CHECK_EQ(dv_cache_get(c, &key, len, false, &e), DV_CACHE_FILL);
	start_waiters(c, len, w, threads);
	dv_cache_failed(c, e, -EBADMSG);
	/* Not remembered, even while the waiters are still on their way out. */
	CHECK_EQ(dv_cache_get(c, &key, len, false, &e), DV_CACHE_FILL);
	for (size_t i = 0; i < WAITERS; i++) {
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
		CHECK_EQ(w[i].got, -EBADMSG);
	}
	CHECK_EQ(stats_of(c).entries, 1);
	fill(e, 3);
	dv_cache_filled(c, e);
	dv_cache_put(c, e);
	CHECK_EQ(use(c, 3, len), cache_bytes > len);
	dv_cache_free(&c);
}

static void test_failure_wakes_all_with_its_error_and_is_not_remembered(void)
{
	check_failure(1 << 20, 1000);
	check_failure(500, 1000);
}

/* Shared by the threads of the last test. */
struct crowd {
	struct dv_cache *cache;
	atomic_int filling[300]; /* threads with the duty to fill key i: at most 1 */
	atomic_ullong seed;
	atomic_ullong fills, failures;
};

static void crowd_step(struct crowd *crowd, struct test_random *r)
{
	uint64_t n = test_random_below(r, 1 + test_random_below(r, 300));
	size_t len = 100 + n * 7;
	struct dv_cache_key key = key_of(n);
	struct dv_cache_entry *e;
	int got = dv_cache_get(crowd->cache, &key, len, test_random_below(r, 8) == 0, &e);

	if (got == DV_CACHE_BUSY)
		return;
	if (got < 0) {
		CHECK_EQ(got, -EIO);
		return;
	}
	if (got == DV_CACHE_FILL) {
		CHECK_EQ(atomic_fetch_add(&crowd->filling[n], 1), 0);
		fill(e, n);
		if (test_random_below(r, 16) == 0)
			sched_yield();
		atomic_fetch_sub(&crowd->filling[n], 1);
		if (test_random_below(r, 16) == 0) {
			atomic_fetch_add(&crowd->failures, 1);
			dv_cache_failed(crowd->cache, e, -EIO);
			return;
		}
		atomic_fetch_add(&crowd->fills, 1);
		dv_cache_filled(crowd->cache, e);
	}
	CHECK_EQ(e->len, len);
	check_bytes(e, n);
	dv_cache_put(crowd->cache, e);
}

static void *crowd_member(void *arg)
{
	struct crowd *crowd = arg;
	struct test_random r = {atomic_fetch_add(&crowd->seed, 1)};

	for (int i = 0; i < 10000; i++)
		crowd_step(crowd, &r);
	return NULL;
}

static void test_crowd_sees_right_bytes_one_filler_and_the_bound(void)
{
	struct crowd crowd = {.cache = cache_of(100000, 2), .seed = 99};
	pthread_t threads[6];

	for (size_t i = 0; i < DV_ARRAY_LEN(threads); i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, crowd_member, &crowd), 0);
	for (size_t i = 0; i < DV_ARRAY_LEN(threads); i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	struct dv_cache_stats s = stats_of(crowd.cache);
	CHECK(s.bytes <= s.bytes_max);
	CHECK_EQ(s.misses, atomic_load(&crowd.fills) + atomic_load(&crowd.failures));
	CHECK(s.evictions > 0 && s.hits > 0);
	dv_cache_free(&crowd.cache);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* Files that come one after the other under one inode number, at moments near to each other. */
static void test_other_times_make_another_version(void)
{
	enum { TIMES = 64, SIZES = 8, ALL = TIMES * TIMES * SIZES };
	static uint64_t all[ALL];
	int64_t start = 1700000000000000000;
	for (unsigned i = 0; i < ALL; i++)
		all[i] = dv_cache_version(start + i % TIMES, start + i / TIMES % TIMES,
					  20 + i / TIMES / TIMES);
	qsort(all, ALL, sizeof(all[0]), compare_u64);
	for (unsigned i = 1; i < ALL; i++)
		CHECK(all[i] != all[i - 1]);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_what_was_filled_is_found_again),
		CHECK_TEST(test_every_part_of_the_key_counts),
		CHECK_TEST(test_bound_holds_under_random_use),
		CHECK_TEST(test_scan_does_not_displace_a_hot_set),
		CHECK_TEST(test_keys_that_come_back_soon_go_to_main),
		CHECK_TEST(test_what_is_used_outlives_what_is_not_in_main),
		CHECK_TEST(test_set_that_changed_is_learned),
		CHECK_TEST(test_pinned_data_stays_while_others_come_and_go),
		CHECK_TEST(test_entries_in_use_may_pass_the_bound_until_they_are_put),
		CHECK_TEST(test_entry_larger_than_a_share_is_made_for_its_users_and_not_kept),
		CHECK_TEST(test_cache_of_no_bytes_keeps_nothing),
		CHECK_TEST(test_what_is_reserved_is_taken_off_the_bound_up_to_half),
		CHECK_TEST(test_odd_shard_counts_are_refused),
		CHECK_TEST(test_nowait_never_fills_and_never_waits),
		CHECK_TEST(test_one_fill_serves_all_who_wait),
		CHECK_TEST(test_failure_wakes_all_with_its_error_and_is_not_remembered),
		CHECK_TEST(test_crowd_sees_right_bytes_one_filler_and_the_bound),
		CHECK_TEST(test_other_times_make_another_version),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
