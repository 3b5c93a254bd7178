/* SPDX-License-Identifier: MIT */
/*
 * test_power_cut.c - the power goes at every mutating call of every workload, and the disk keeps
 * what it likes of what was not synced: fsynced values are there, replaced ones are old or new and
 * whole, packed files decode, renames are not torn, and recovery can itself be cut. Each step looks
 * its nodes up anew, so that nothing that matters is remembered in them alone.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "tests/support/check.h"
#include "tests/support/workloads.h"
#include "tests/support/world.h"

#define SCRIPT_MAX     4096
#define RANDOM_STEPS   25
#define SEED_CUT_AGAIN 2 /* this disk's recovery is cut too */

static bool slow, ordered;

static void no_log(enum dv_log_level level, const char *line)
{
	(void)level;
	if (slow)
		fprintf(stderr, "%s\n", line);
}

static void report(const struct world *w)
{
	fprintf(stderr, "%s; in \"%s\":\n  %s\n", world_context_text(), w->step, w->why);
	simfs_dump(w->fs, stderr);
	exit(1);
}

static void tell(const struct workload *load, unsigned long n, uint64_t seed, unsigned long k)
{
	world_context(
		"%s, transform %s, cut at call %lu, disk %llu, recovery cut at %lu; script: %s",
		load->name, load->transform, n, (unsigned long long)seed, k, load->script);
}

/* Recovery of the disk (w, seed) is cut at its call k. -> false: it ended before. */
static bool cut_again(struct world *w, uint64_t seed, unsigned long k)
{
	struct simfs *disk = simfs_after_cut(w->fs, seed);
	struct dv_store *dead = w->s;
	w->s = NULL;
	simfs_power_cut_at(disk, k);
	if (world_open(w, disk, WORLD_OTHER_BOOT) == 0)
		(void)dv_store_close(&w->s, NULL);
	w->s = dead;
	bool cut = simfs_is_cut(disk);
	struct simfs *again = simfs_after_cut(disk, seed + k);
	if (!world_check(w, again, WORLD_OTHER_BOOT "2"))
		report(w);
	simfs_free(again);
	simfs_free(disk);
	return cut;
}

/* Cuts at call n of the workload. -> false: the workload ended before. */
static bool cut_at(const struct workload *load, unsigned long n, uint64_t seeds,
		   unsigned long stride)
{
	struct world w;
	tell(load, n, 0, 0);
	world_init(&w, WORLD_POWER, load->transform);
	simfs_set_ordered(w.fs, ordered);
	simfs_power_cut_at(w.fs, n);
	world_run(&w, load->script);
	bool cut = simfs_is_cut(w.fs);
	if (w.why[0])
		report(&w);
	for (uint64_t seed = 0; seed < seeds && cut; seed++) {
		tell(load, n, seed, 0);
		struct simfs *disk = simfs_after_cut(w.fs, seed);
		if (!world_check(&w, disk, WORLD_OTHER_BOOT)) {
			struct simfs *again = simfs_after_cut(w.fs, seed);
			simfs_dump(again, stderr);
			simfs_dump(disk, stderr);
			report(&w);
		}
		simfs_free(disk);
	}
	for (unsigned long k = 1 + n % stride; cut; k += stride) {
		tell(load, n, SEED_CUT_AGAIN, k);
		if (!cut_again(&w, SEED_CUT_AGAIN, k))
			break;
	}
	world_release(&w);
	return cut;
}

static void cut_everywhere(const struct workload *load, uint64_t seeds, unsigned long stride)
{
	for (unsigned long n = 1; cut_at(load, n, seeds, stride); n++)
		;
}

/* What names in order leave behind, names in any order may leave too: the former gets fewer
 * disks. */
static void scripted_work(void)
{
	bool few = ordered || TEST_SANITIZED;
	for (size_t i = 0; i < DV_ARRAY_LEN(workloads); i++)
		cut_everywhere(&workloads[i], slow ? 40 : few ? 3 : 5, slow ? 1 : few ? 53 : 19);
}

static void test_no_power_cut_breaks_a_promise_where_names_keep_their_order(void)
{
	ordered = true;
	scripted_work();
	ordered = false;
}

static void test_no_power_cut_breaks_a_promise_where_names_come_in_any_order(void)
{
	scripted_work();
}

static void test_no_power_cut_breaks_a_promise_in_the_layouts_of_diskv(void)
{
	static const char *const layouts[] = {"diskv:gzip", "diskv", "diskv:zlib:1"};
	bool few = !slow;
	for (size_t i = 0; i < DV_ARRAY_LEN(workloads); i++) {
		struct workload load;
		char transform[64];
		/* Each in one of them, gzip and raw first. */
		const char *layout = layouts[i % (slow ? 3 : 2)];
		if (workload_as_diskv(&workloads[i], layout, transform, &load))
			cut_everywhere(&load, few ? 3 : 40, few ? 53 : 1);
	}
	for (uint64_t seed = 1; seed <= (few ? 4 : 200); seed++) {
		char script[SCRIPT_MAX];
		random_script(seed, seed % 2 == 0, RANDOM_STEPS, script, sizeof(script));
		cut_everywhere(
			&(struct workload){"random",
					   seed % 2 ? "hash:md5:2x1@diskv:gzip" : "path@diskv:zlib",
					   script},
			few ? 4 : 12, few ? 53 : 5);
	}
}

static void work_in_parts(void)
{
	world_small_limits(true);
	for (size_t i = 0; i < DV_ARRAY_LEN(parts_workloads); i++)
		cut_everywhere(&parts_workloads[i],
			       slow		? 40
			       : TEST_SANITIZED ? 3
						: 5,
			       slow		? 1
			       : TEST_SANITIZED ? 53
						: 17);
	world_small_limits(false);
}

static void test_no_power_cut_breaks_a_stream_or_an_append(void)
{
	work_in_parts(); /* names in any order: the harder disk */
	ordered = slow;
	if (slow)
		work_in_parts();
	ordered = false;
}

static void random_work(uint64_t from, uint64_t count, uint64_t seeds, unsigned long stride)
{
	static const char *const transforms[] = {"path", "flat", "split:3", "hash:md5:2x1"};
	for (uint64_t seed = from; seed < from + count; seed++) {
		char script[SCRIPT_MAX], name[32];
		world_small_limits(seed % 3 == 0);
		random_script(seed, seed % 4 == 0, RANDOM_STEPS, script, sizeof(script));
		snprintf(name, sizeof(name), "random %llu", (unsigned long long)seed);
		struct workload load = {name, transforms[seed % 4], script};
		cut_everywhere(&load, seeds, stride);
	}
	world_small_limits(false);
}

static void some_random_work(void)
{
	bool few = ordered || TEST_SANITIZED;
	random_work(1, slow ? 400 : few ? 4 : 16, slow ? 12 : 4, slow ? 5 : 23);
}

static void test_random_work_survives_a_power_cut_where_names_keep_their_order(void)
{
	ordered = true;
	some_random_work();
	ordered = false;
}

static void test_random_work_survives_a_power_cut_where_names_come_in_any_order(void)
{
	some_random_work();
}

static void go_on(struct world *w)
{
	(void)w;
}

/* The n-th open of what an fsync in a directory takes is refused. -> false: there are fewer. */
static bool refuse_open(unsigned long n, const char *transform, const char *script)
{
	struct world w;
	world_context("%s, open %lu refused; script: %s", transform, n, script);
	world_init(&w, WORLD_POWER, transform);
	CHECK(world_run(&w, "mkdir d; fsyncdir .; reopen"));
	w.before = go_on; /* errors are not the end */
	simfs_fail_op(w.fs, "open");
	simfs_fail_nth(w.fs, n, EACCES, false);
	world_run(&w, script);
	bool refused = simfs_failed(w.fs);
	CHECK(w.err == 0 || w.err == -EACCES);
	simfs_fail_nth(w.fs, 0, 0, false);
	for (uint64_t seed = 0; seed < 4; seed++) {
		struct simfs *disk = simfs_after_cut(w.fs, seed);
		if (!world_check(&w, disk, WORLD_OTHER_BOOT))
			report(&w);
		simfs_free(disk);
	}
	world_release(&w);
	return refused;
}

static void test_fsync_is_durable_in_a_directory_that_may_not_be_read(void)
{
	static const char *const cases[][2] = {
		{"path", "create d/a; fsync d/a"},
		{"path", "fsyncdir d"},
		{"hash:md5:2x2", "create a; fsync a"},
	};
	for (size_t i = 0; i < DV_ARRAY_LEN(cases); i++)
		for (unsigned long n = 1; refuse_open(n, cases[i][0], cases[i][1]); n++)
			;
}

/* --try TRANSFORM SCRIPT DISKS [ordered], --random FROM COUNT DISKS [ordered]: a failure again. */
static bool tried_by_hand(int argc, char **argv)
{
	if (argc < 5 || strncmp(argv[1], "--", 2) != 0)
		return false;
	uint64_t disks = strtoull(argv[4], NULL, 10);
	ordered = argc > 5;
	if (!strcmp(argv[1], "--try"))
		cut_everywhere(&(struct workload){"by hand", argv[2], argv[3]}, disks, 3);
	else
		random_work(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), disks, 11);
	return true;
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_no_power_cut_breaks_a_promise_where_names_keep_their_order),
		CHECK_TEST(test_no_power_cut_breaks_a_promise_where_names_come_in_any_order),
		CHECK_TEST(test_fsync_is_durable_in_a_directory_that_may_not_be_read),
		CHECK_TEST(test_no_power_cut_breaks_a_promise_in_the_layouts_of_diskv),
		CHECK_TEST(test_no_power_cut_breaks_a_stream_or_an_append),
		CHECK_TEST(test_random_work_survives_a_power_cut_where_names_keep_their_order),
		CHECK_TEST(test_random_work_survives_a_power_cut_where_names_come_in_any_order),
	};
	dv_log_set_sink(no_log);
	if (tried_by_hand(argc, argv))
		return 0;
	slow = argc > 1 && !strcmp(argv[1], "--slow");
	return check_main(argc - slow, argv + slow, tests, DV_ARRAY_LEN(tests));
}
