/* SPDX-License-Identifier: MIT */
/*
 * test_gate.c - claims about core/gate.h. That a thread waits is seen in the gate's word, which
 * says who does; under the thread sanitizer the plain variables here tell whether a gate is a lock.
 */
#include "core/gate.h"

#include "core/cleanup.h"
#include "tests/support/check.h"

#include <pthread.h>
#include <sched.h>

#define WRITERS_WAIT 0x3fff0000u
#define READERS_WAIT 0x40000000u

static struct dv_gate gate;
static long value; /* the gate's */

static void until(unsigned bits)
{
	while (!(atomic_load(&gate.word) & bits))
		sched_yield();
}

static pthread_t start(void *(*fn)(void *), void *arg)
{
	pthread_t t;
	CHECK_EQ(pthread_create(&t, NULL, fn, arg), 0);
	return t;
}

static void test_readers_share_and_a_writer_is_alone(void)
{
	dv_gate_init(&gate);
	dv_gate_take_shared(&gate);
	CHECK(dv_gate_try_shared(&gate));
	CHECK(!dv_gate_try_exclusive(&gate));
	dv_gate_give(&gate);
	CHECK(!dv_gate_try_exclusive(&gate));
	dv_gate_give(&gate);
	CHECK(dv_gate_try_exclusive(&gate));
	CHECK(!dv_gate_try_exclusive(&gate));
	CHECK(!dv_gate_try_shared(&gate));
	dv_gate_give(&gate);
	dv_gate_take_exclusive(&gate);
	dv_gate_give(&gate);
	CHECK_EQ(atomic_load(&gate.word), 0);
	dv_gate_release(&gate);
}

static void *write_one(void *arg)
{
	dv_gate_take_exclusive(&gate);
	value = (long)(size_t)arg;
	dv_gate_give(&gate);
	return NULL;
}

static void *read_one(void *arg)
{
	dv_gate_take_shared(&gate);
	*(long *)arg = value;
	dv_gate_give(&gate);
	return NULL;
}

static void test_a_writer_that_waits_comes_before_new_readers(void)
{
	long seen = 0;
	value = 0;
	dv_gate_init(&gate);
	dv_gate_take_shared(&gate);
	pthread_t writer = start(write_one, (void *)5);
	until(WRITERS_WAIT);
	CHECK(!dv_gate_try_shared(&gate)); /* nowait says so too */
	pthread_t reader = start(read_one, &seen);
	until(READERS_WAIT);
	CHECK_EQ(value, 0);
	dv_gate_give(&gate);
	pthread_join(writer, NULL);
	pthread_join(reader, NULL);
	CHECK_EQ(seen, 5);
	CHECK_EQ(atomic_load(&gate.word), 0);
	dv_gate_release(&gate);
}

static void test_all_who_wait_get_it_in_the_end(void)
{
	enum { EACH = 4 };
	pthread_t threads[2 * EACH];
	long seen[EACH];
	dv_gate_init(&gate);
	dv_gate_take_exclusive(&gate);
	for (int i = 0; i < EACH; i++) {
		threads[i] = start(write_one, (void *)9);
		threads[EACH + i] = start(read_one, &seen[i]);
	}
	until(WRITERS_WAIT);
	until(READERS_WAIT);
	dv_gate_give(&gate);
	for (int i = 0; i < 2 * EACH; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(atomic_load(&gate.word), 0);
	dv_gate_release(&gate);
}

/* ---- many threads, many gates: more than there are places to wait ---- */

enum { GATES = 200, THREADS = 6, ROUNDS = 20000 };
static struct {
	struct dv_gate gate;
	long a, b; /* the gate's: always alike */
} cells[GATES];
static atomic_long changes;

static void *hammer(void *arg)
{
	unsigned r = (unsigned)(size_t)arg * 2654435761u + 1;
	for (int i = 0; i < ROUNDS; i++) {
		r = r * 1664525u + 1013904223u;
		/* mostly few gates, so that there is waiting */
		size_t at = (r >> 8) % (r >> 28 ? 3 : GATES);
		struct dv_gate *g = &cells[at].gate;
		bool change = r >> 24 & 1, try = r >> 25 & 1, got = true;
		if (try)
			got = change ? dv_gate_try_exclusive(g) : dv_gate_try_shared(g);
		else if (change)
			dv_gate_take_exclusive(g);
		else
			dv_gate_take_shared(g);
		if (!got)
			continue;
		CHECK_EQ(cells[at].a, cells[at].b);
		if (change) {
			cells[at].a++;
			cells[at].b++;
			atomic_fetch_add(&changes, 1);
		}
		dv_gate_give(g);
	}
	return NULL;
}

static void test_no_change_is_lost_or_seen_by_half(void)
{
	pthread_t threads[THREADS];
	long sum = 0;
	for (size_t i = 0; i < GATES; i++)
		dv_gate_init(&cells[i].gate);
	for (size_t i = 0; i < THREADS; i++)
		threads[i] = start(hammer, (void *)(i + 1));
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < GATES; i++) {
		sum += cells[i].a;
		CHECK_EQ(atomic_load(&cells[i].gate.word), 0);
		dv_gate_release(&cells[i].gate);
	}
	CHECK_EQ(sum, atomic_load(&changes));
	CHECK(sum > ROUNDS);
}

static void *take_and_free(void *arg)
{
	dv_gate_take_exclusive(arg);
	dv_gate_give(arg);
	dv_gate_release(arg);
	free(arg);
	return NULL;
}

static void test_who_has_it_last_may_free_it(void)
{
	for (int i = 0; i < 200; i++) {
		struct dv_gate *g = malloc(sizeof(*g));
		CHECK(g);
		dv_gate_init(g);
		dv_gate_take_exclusive(g);
		pthread_t t = start(take_and_free, g);
		while (!(atomic_load(&g->word) & WRITERS_WAIT))
			sched_yield();
		dv_gate_give(g);
		pthread_join(t, NULL);
	}
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_readers_share_and_a_writer_is_alone),
		CHECK_TEST(test_a_writer_that_waits_comes_before_new_readers),
		CHECK_TEST(test_all_who_wait_get_it_in_the_end),
		CHECK_TEST(test_no_change_is_lost_or_seen_by_half),
		CHECK_TEST(test_who_has_it_last_may_free_it),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
