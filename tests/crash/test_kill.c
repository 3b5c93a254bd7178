/* SPDX-License-Identifier: MIT */
/*
 * test_kill.c - kill -9 at every mutating call of every workload: each acknowledged step holds, the
 * one that was under way has happened or not, and the next mount finishes what was pending.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "tests/support/check.h"
#include "tests/support/workloads.h"
#include "tests/support/world.h"

#define SCRIPT_MAX   4096
#define RANDOM_STEPS 30

static bool slow;

static void no_log(enum dv_log_level level, const char *line)
{
	(void)level;
	(void)line;
}

static void report(const struct world *w)
{
	fprintf(stderr, "%s; in \"%s\":\n  %s\n", world_context_text(), w->step, w->why);
	exit(1);
}

static void start(struct world *w, const struct workload *load, unsigned long n, unsigned long k)
{
	world_context("%s, transform %s, killed at call %lu, then at %lu; script: %s", load->name,
		      load->transform, n, k, load->script);
	world_init(w, WORLD_PROCESS, load->transform);
	simfs_power_cut_at(w->fs, n);
	world_run(w, load->script);
	if (w->why[0])
		report(w);
}

/* Kills at call n of the workload and looks. -> false: the workload ended before. */
static bool kill_at(const struct workload *load, unsigned long n, unsigned long *recovery_calls)
{
	struct world w;
	start(&w, load, n, 0);
	bool killed = simfs_is_cut(w.fs);
	if (killed) {
		struct simfs *disk = simfs_after_kill(w.fs);
		if (!world_check(&w, disk, WORLD_BOOT))
			report(&w);
		*recovery_calls = simfs_changes(disk);
		simfs_free(disk);
	}
	world_release(&w);
	return killed;
}

/* The same, and the next mount is killed too, at its call k. */
static bool kill_twice(const struct workload *load, unsigned long n, unsigned long k)
{
	struct world w;
	start(&w, load, n, k);
	struct simfs *disk = simfs_after_kill(w.fs);
	struct dv_store *dead = w.s;
	simfs_power_cut_at(disk, k);
	w.s = NULL;
	if (world_open(&w, disk, WORLD_BOOT) == 0)
		(void)dv_store_close(&w.s, NULL);
	w.s = dead;
	bool killed = simfs_is_cut(disk);
	struct simfs *again = simfs_after_kill(disk);
	if (!world_check(&w, again, WORLD_BOOT))
		report(&w);
	simfs_free(again);
	simfs_free(disk);
	world_release(&w);
	return killed;
}

static void kill_everywhere(const struct workload *load, unsigned long stride)
{
	unsigned long calls = 0;
	for (unsigned long n = 1; kill_at(load, n, &calls); n++)
		for (unsigned long k = 1 + n % stride; k <= calls && kill_twice(load, n, k);
		     k += stride)
			;
}

static void test_every_acknowledged_step_survives_a_kill(void)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(workloads); i++)
		kill_everywhere(&workloads[i], slow ? 1 : TEST_SANITIZED ? 37 : 11);
}

static void test_every_acknowledged_step_of_a_stream_or_an_append_survives_a_kill(void)
{
	world_small_limits(true);
	for (size_t i = 0; i < DV_ARRAY_LEN(parts_workloads); i++)
		kill_everywhere(&parts_workloads[i], slow ? 1 : TEST_SANITIZED ? 37 : 11);
	world_small_limits(false);
}

static void test_every_acknowledged_step_survives_a_kill_in_the_layouts_of_diskv(void)
{
	static const char *const layouts[] = {"diskv:gzip", "diskv", "diskv:zlib"};
	for (size_t i = 0; i < DV_ARRAY_LEN(workloads); i++) {
		struct workload load;
		char transform[64];
		if (workload_as_diskv(&workloads[i], layouts[i % 3], transform, &load))
			kill_everywhere(&load, slow ? 1 : 53);
	}
	for (uint64_t seed = 1; seed <= (slow ? 200 : 2); seed++) {
		char script[SCRIPT_MAX];
		random_script(seed, seed % 2 == 0, RANDOM_STEPS, script, sizeof(script));
		kill_everywhere(&(struct workload){"random",
						   seed % 2 ? "flat@diskv:zlib" : "path@diskv:gzip",
						   script},
				slow ? 5 : 53);
	}
}

/* As NTP, a user, or a machine without a clock does it: an hour on or back after each step. Which of two
 * versions is the later one is nothing that times tell. */
static void test_every_acknowledged_step_survives_a_kill_while_the_clock_steps(void)
{
	static const char *const layouts[] = {"diskv:gzip", "diskv", "diskv:zlib"};
	const unsigned long stride = TEST_SANITIZED ? 7 : 1;
	unsigned long calls;
	for (int64_t seconds = -3600; seconds <= 3600; seconds += 7200) {
		world_clock_steps(seconds);
		for (size_t i = 0; i < DV_ARRAY_LEN(workloads); i++) {
			struct workload load;
			char transform[64];
			for (unsigned long n = 1; kill_at(&workloads[i], n, &calls); n += stride)
				;
			if (slow)
				kill_everywhere(&workloads[i], 7);
			/* Back is what misleads. */
			if ((slow || seconds < 0) &&
			    workload_as_diskv(&workloads[i], layouts[i % 3], transform, &load))
				for (unsigned long n = 1; kill_at(&load, n, &calls); n += stride)
					;
		}
		world_small_limits(true);
		for (size_t i = 0; i < DV_ARRAY_LEN(parts_workloads); i++)
			kill_everywhere(&parts_workloads[i], slow ? 7 : 211);
		world_small_limits(false);
	}
	world_clock_steps(0);
}

static void random_work(uint64_t from, uint64_t count, unsigned long stride)
{
	static const char *const transforms[] = {"path", "flat", "split:3", "hash:md5:2x1"};
	for (uint64_t seed = from; seed < from + count; seed++) {
		char script[SCRIPT_MAX], name[32];
		const char *transform = transforms[seed % 4];
		world_small_limits(seed % 3 == 0);
		random_script(seed, seed % 4 == 0, RANDOM_STEPS, script, sizeof(script));
		snprintf(name, sizeof(name), "random %llu", (unsigned long long)seed);
		struct workload load = {name, transform, script};
		kill_everywhere(&load, stride);
	}
	world_small_limits(false);
}

static void test_random_work_survives_a_kill(void)
{
	random_work(1, slow ? 400 : TEST_SANITIZED ? 4 : 12, slow ? 5 : 23);
}

/* Truncates a and writes len bytes of 'n', at once. -> the error of the write */
static ssize_t replace_a(struct world *w, size_t len, size_t off)
{
	static const struct dv_call call = {0};
	struct dv_setattr set = {.valid = DV_SET_SIZE};
	struct dv_node *root = dv_store_root(w->s), *n = NULL;
	struct dv_stat st;
	char *text = malloc(len);
	CHECK(text != NULL);
	memset(text, 'n', len);
	CHECK_EQ(dv_store_lookup(w->s, &call, root, "a", &n, &st), 0);
	if (off == 0)
		CHECK_EQ(dv_store_setattr(w->s, &call, n, &set, &st), 0);
	ssize_t got = dv_store_write(w->s, &call, n, text, (struct dv_range){off, len}, 0);
	if (got >= 0 && (size_t)got < len) /* a short count: the rest tells the error */
		got = dv_store_write(w->s, &call, n, text, (struct dv_range){off + (size_t)got, 1},
				     0);
	dv_node_unref(w->s, n);
	dv_node_unref(w->s, root);
	free(text);
	return got;
}

/* As the kernel would say: where space is short the keeper must not take the writer for done. */
static int still_written(void *self, struct dv_node *n)
{
	(void)self;
	(void)n;
	return 1;
}

static void test_a_replacement_that_a_full_disk_cut_short_is_not_put_in_place_after_a_kill(void)
{
	static const char *const before[] = {"put a 9000; fsync a", "put a 9000; fsync a; run"};
	for (size_t i = 0; i < 2; i++) {
		struct world w;
		world_context("after %s", before[i]);
		world_init(&w, WORLD_PROCESS, "path");
		CHECK(world_run(&w, before[i]));
		dv_store_set_hooks(w.s, &(struct dv_store_hooks){.has_writer = still_written});
		simfs_set_free_blocks(w.fs, 3);
		CHECK_EQ(replace_a(&w, 20000, 0), -ENOSPC);
		simfs_set_free_blocks(w.fs, 1000);
		struct simfs *disk = simfs_after_kill(w.fs);
		if (!world_check(&w, disk, WORLD_BOOT))
			report(&w); /* the old value stands */
		simfs_free(disk);
		/* The bytes that were left out are written after all: it counts. */
		CHECK_EQ(replace_a(&w, 20000, 8192), 20000);
		disk = simfs_after_kill(w.fs);
		CHECK(!world_check(&w, disk, WORLD_BOOT));
		simfs_free(disk);
		world_release(&w);
	}
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_every_acknowledged_step_survives_a_kill),
		CHECK_TEST(test_every_acknowledged_step_of_a_stream_or_an_append_survives_a_kill),
		CHECK_TEST(test_every_acknowledged_step_survives_a_kill_in_the_layouts_of_diskv),
		CHECK_TEST(test_every_acknowledged_step_survives_a_kill_while_the_clock_steps),
		CHECK_TEST(test_random_work_survives_a_kill),
		CHECK_TEST(
			test_a_replacement_that_a_full_disk_cut_short_is_not_put_in_place_after_a_kill),
	};
	dv_log_set_sink(no_log);
	if (argc == 4 && !strcmp(argv[1], "--random")) { /* FROM COUNT: a failure again */
		random_work(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), 11);
		return 0;
	}
	slow = argc > 1 && !strcmp(argv[1], "--slow");
	return check_main(argc - slow, argv + slow, tests, DV_ARRAY_LEN(tests));
}
