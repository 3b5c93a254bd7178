/* SPDX-License-Identifier: MIT */
/*
 * test_syncs.c - what each operation costs in calls of fsync, fdatasync and syncfs: the common ones
 * pay nothing for power cuts that come in between others. Counts, on the simulated filesystem.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "tests/support/check.h"
#include "tests/support/world.h"

struct cost {
	const char *before, *operation;
	unsigned long syncs;
};

static void no_log(enum dv_log_level level, const char *line)
{
	(void)level;
	(void)line;
}

static unsigned long syncs_of(const char *transform, const struct cost *c)
{
	struct world w;
	world_context("after \"%s\": \"%s\"", c->before, c->operation);
	world_init(&w, WORLD_PROCESS, transform);
	CHECK(world_run(&w, c->before));
	unsigned long before = simfs_fsync_calls(w.fs);
	CHECK(world_run(&w, c->operation));
	unsigned long syncs = simfs_fsync_calls(w.fs) - before;
	world_release(&w);
	return syncs;
}

static void check(const char *transform, const struct cost *costs, size_t count)
{
	bool wrong = false;
	for (size_t i = 0; i < count; i++) {
		unsigned long syncs = syncs_of(transform, &costs[i]);
		if (syncs != costs[i].syncs)
			fprintf(stderr, "%s: after \"%s\", \"%s\": %lu syncs, not %lu\n", transform,
				costs[i].before, costs[i].operation, syncs, costs[i].syncs);
		wrong |= syncs != costs[i].syncs;
	}
	CHECK(!wrong);
}

static void test_common_operations_cost_what_they_always_did(void)
{
	static const struct cost costs[] = {
		{"", "put a 9000", 0},
		{"put a 9000", "fsync a", 2},
		{"put a 9000; fsync a", "run", 4},	       /* pack */
		{"put a 9000; put b 9000; fsync a", "run", 5}, /* two */
		{"put a 9000; fsync a", "put a 8000", 0},      /* replace raw */
		{"put a 2000; fsync a; put a 1000", "run", 1}, /* ..committed */
		{"put a 9000; fsync a; run", "put a 2000", 0}, /* replace packed */
		{"put a 9000; fsync a; run; put a 2000", "run", 4},
		{"put a 9000; fsync a; run; put a 2000; run; put a 1000", "run", 1},
		{"put a 9000; fsync a; put b 8000", "rename b a", 1},	   /* over raw */
		{"put a 9000; fsync a; run; put b 8000", "rename b a", 3}, /* over packed */
		{"put a 9000; fsync a", "rename a b", 0},
		{"put a 9000; fsync a", "unlink a", 0},
		{"put a 9000; fsync a; run; fsyncdir .", "unlink a", 0}, /* packed */
		{"put a 9000; fsync a; run", "unlink a", 0},
		{"put a 9000; fsync a; run; fsyncdir .; unlink a", "put a 8000",
		 0}, /* as tar does */
		{"put a 9000; fsync a; run; unlink a; put a 8000; fsync a", "run", 4},
		{"put a 9000; fsync a; unlink a", "put a 8000", 0},
		{"mkdir d; put d/a 9000; fsync d/a", "rendir d e", 0},
		{"put a 9000; fsync a; run", "append a 1", 0},
		{"put a 9000; fsync a; run; append a 1", "fsync a", 5},
	};
	check("path", costs, DV_ARRAY_LEN(costs));
	check("flat", costs, 17);
}

static void test_shards_cost_one_sync_where_a_renaming_makes_them(void)
{
	static const struct cost costs[] = {
		{"", "put a 9000", 0},
		{"put a 9000; fsync a; put b 8000; fsync b", "rename b a", 0},
		{"put a 9000; fsync a; put b 8000; fsync b", "unlink b", 0},
		{"put a 9000; fsync a", "rename a b", 2},
	};
	check("hash:md5:2x1", costs, DV_ARRAY_LEN(costs));
}

/* Where another name of the key may come back: one sync of a directory more than else. */
static void test_rare_operations_wait_for_the_names_that_may_come_back(void)
{
	static const struct cost costs[] = {
		{"put a 9000; fsync a; run; put a 8000; fsync a", "unlink a", 0},
		{"put a 9000; fsync a; run; put b 8000; rename b a", "unlink a", 1},
		{"put a 9000; fsync a; run; put a 2000; run", "unlink a", 0},
		{"put a 9000; fsync a; run; put a 2000; run", "rename a b", 1},
		{"put a 9000; fsync a; run; rename a b", "put a 8000", 1},
		{"put a 9000; fsync a; run; unlink a; put b 100; fsync b", "rename b a", 0},
		{"put a 9000; fsync a; run; unlink a; put b 100", "rename b a", 1},
		{"put a 9000; fsync a; run; fsyncdir .; rename a b", "append b 1; fsync b", 6},
		{"put a 9000; unlink a; put a 8000", "run", 5},
		{"put a 9000; unlink a; put a 8000; put b 9000", "run", 6},
		{"mkdir d; put d/a 9000; fsync d/a; rendir d e", "run", 5},
	};
	check("path", costs, DV_ARRAY_LEN(costs));
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_common_operations_cost_what_they_always_did),
		CHECK_TEST(test_rare_operations_wait_for_the_names_that_may_come_back),
		CHECK_TEST(test_shards_cost_one_sync_where_a_renaming_makes_them),
	};
	dv_log_set_sink(no_log);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
