/* SPDX-License-Identifier: MIT */
/* test_budget.c - claims about core/budget.h. */
#include "core/budget.h"

#include "core/cleanup.h"
#include "tests/support/check.h"

#include <sched.h>
#include <stdbool.h>

enum { MAX = 100, THREADS = 8, ROUNDS = 400 };

static void *take_and_give(void *arg)
{
	struct dv_budget *b = arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t bytes = 1 + i * 37 % MAX;
		dv_budget_take(b, bytes);
		sched_yield();
		dv_budget_give(b, bytes);
	}
	return NULL;
}

static void test_never_more_than_all_of_it_is_taken(void)
{
	struct dv_budget b;
	pthread_t threads[THREADS];
	dv_budget_init(&b, MAX);
	for (unsigned i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, take_and_give, &b), 0);
	for (unsigned i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(b.taken, 0);
	CHECK(b.peak <= MAX && b.peak > MAX / 2);
	dv_budget_release(&b);
}

static void *take_too_much(void *arg)
{
	dv_budget_take(arg, 3 * MAX);
	return NULL;
}

static void test_more_than_all_of_it_waits_until_it_is_alone(void)
{
	struct dv_budget b;
	pthread_t thread;
	dv_budget_init(&b, MAX);
	dv_budget_take(&b, 1);
	CHECK_EQ(pthread_create(&thread, NULL, take_too_much, &b), 0);
	dv_budget_take(&b, MAX - 1); /* what fits does not wait for it */
	CHECK_EQ(b.peak, MAX);
	dv_budget_give(&b, 1);
	dv_budget_give(&b, MAX - 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(b.peak, 3 * MAX);
	dv_budget_give(&b, 3 * MAX);
	dv_budget_release(&b);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_never_more_than_all_of_it_is_taken),
		CHECK_TEST(test_more_than_all_of_it_waits_until_it_is_alone),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
