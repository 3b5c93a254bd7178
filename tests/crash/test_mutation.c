/* SPDX-License-Identifier: MIT */
/*
 * test_mutation.c - proof that the power-cut test would notice: each fsync of a workload in turn
 * does nothing, or each rename is torn in two, and the power is cut behind it. The known ones must
 * be missed.
 *
 *   bytes     a stage's, before it takes the name of a good value (I2)
 *   record    the journal's, before both forms of a value exist (I4)
 *   names     the directory's, before the superseded form is unlinked (I3)
 *
 * With --table every fsync is listed with what is lost without it, or that nothing is.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "tests/support/check.h"
#include "tests/support/workloads.h"
#include "tests/support/world.h"

#define SEEDS	   12
#define SEEDS_MANY 200
#define FSYNCS_MAX 200

enum mutant { IGNORED_FSYNC, TORN_RENAME };

static bool table;

static void no_log(enum dv_log_level level, const char *line)
{
	(void)level;
	(void)line;
}

/* The workload with its fsync number `ignored` void, cut at call n. why: what is lost. -> false: it
 * ended before. */
static bool cut_without(const struct workload *load, unsigned long ignored, unsigned long n,
			char *why, size_t why_size)
{
	struct world w;
	world_context("%s: fsync %lu ignored, cut at %lu", load->name, ignored, n);
	world_init(&w, WORLD_POWER, load->transform);
	simfs_ignore_fsync(w.fs, ignored);
	simfs_power_cut_at(w.fs, n);
	world_run(&w, load->script);
	bool cut = simfs_is_cut(w.fs);
	for (uint64_t seed = 0; seed < SEEDS && cut && !why[0]; seed++) {
		struct simfs *disk = simfs_after_cut(w.fs, seed);
		if (!world_check(&w, disk, WORLD_OTHER_BOOT))
			snprintf(why, why_size, "%.*s", (int)why_size - 1, w.why);
		w.why[0] = '\0';
		simfs_free(disk);
	}
	world_release(&w);
	return cut;
}

static unsigned long count_fsyncs(const struct workload *load)
{

	struct world w;
	world_init(&w, WORLD_POWER, load->transform);
	unsigned long before = simfs_fsync_calls(w.fs);
	CHECK(world_run(&w, load->script));
	unsigned long count = simfs_fsync_calls(w.fs) - before;
	world_release(&w);
	return count;
}

/* Which fsyncs are missed? needed[i]: the i-th (from 1). -> how many there are. */
static unsigned long try_each(const struct workload *load, bool needed[FSYNCS_MAX])
{
	unsigned long count = count_fsyncs(load);
	CHECK(count < FSYNCS_MAX);
	for (unsigned long i = 0; i <= count; i++) { /* 0: none, and then nothing is lost */
		char why[256] = "";
		for (unsigned long n = 1; !why[0] && cut_without(load, i, n, why, sizeof(why)); n++)
			;
		needed[i] = why[0] != '\0';
		CHECK(i > 0 || !needed[i]);
		if (table)
			printf("  %s, fsync %lu of %lu: %s\n", load->name, i, count,
			       needed[i] ? why : "not missed");
	}
	return count;
}

static unsigned needed_of(const struct workload *load)
{
	bool needed[FSYNCS_MAX] = {false};
	unsigned total = 0;
	unsigned long count = try_each(load, needed);
	for (unsigned long i = 1; i <= count; i++)
		total += needed[i];
	return total;
}

static void test_a_replacement_needs_its_bytes(void)
{
	/* the fsync of the value; the stage's bytes before it takes the name */
	CHECK(needed_of(&(struct workload){"replace raw", "path",
					   "put a 3000; fsync a; put a 2000; run; fsyncdir ."}) >=
	      3);
}

static void test_a_rename_over_a_good_value_needs_its_bytes(void)
{
	CHECK(needed_of(&(struct workload){
		      "rename over", "path",
		      "put a 9000; fsync a; put b 7000; rename b a; fsyncdir ."}) >= 3);
}

static void test_a_swap_of_forms_needs_bytes_record_and_names(void)
{
	CHECK(needed_of(&(struct workload){"replace packed", "path",
					   "put a 20000; fsync a; run; put a 9000; run"}) >= 9);
}

static void test_packing_needs_bytes_record_and_names(void)
{
	CHECK(needed_of(&(struct workload){"pack", "path", "put a 20000; fsync a; run"}) >= 5);
}

static void test_unpacking_needs_bytes_record_and_names(void)
{
	CHECK(needed_of(&(struct workload){"unpack", "path",
					   "put a 20000; fsync a; run; reopen; unpack"}) >= 8);
}

static void test_a_rewrite_in_place_needs_its_record_and_copy(void)
{
	CHECK(needed_of(&(struct workload){
		      "rewrite in place", "path",
		      "put a 20000; fsync a; run; link a b; fsync b; append a 5000; fsync a"}) >=
	      9);
}

static void test_fsync_needs_every_directory_above(void)
{
	CHECK(needed_of(&(struct workload){"fsync", "path",
					   "mkdir d; mkdir d/e; put d/e/a 9000; fsync d/e/a; look "
					   "d/e/a; chmod d/e/a"}) >= 4);
}

/* A sync or rename of `after`, the nth from its start, that keeps another name of a key away. */
struct rule {
	const char *name, *transform, *before, *after;
	unsigned long nth;
};

/* Breaks the nth of r->after (0: none) and cuts at call n of that. As cut_without(). */
static bool cut_rule(const struct rule *r, enum mutant kind, unsigned long nth, unsigned long n,
		     char *why, size_t why_size)
{
	struct world w;
	world_context("%s: %lu broken, cut at %lu", r->name, nth, n);
	world_init(&w, WORLD_POWER, r->transform);
	CHECK(world_run(&w, r->before));
	if (kind == TORN_RENAME)
		simfs_tear_rename(w.fs, nth);
	else
		simfs_ignore_fsync(w.fs, nth);
	simfs_power_cut_at(w.fs, n);
	world_run(&w, r->after);
	bool cut = simfs_is_cut(w.fs);
	for (uint64_t seed = 0; seed < SEEDS_MANY && cut && !why[0]; seed++) {
		struct simfs *disk = simfs_after_cut(w.fs, seed);
		if (!world_check(&w, disk, WORLD_OTHER_BOOT))
			snprintf(why, why_size, "%.*s", (int)why_size - 1, w.why);
		w.why[0] = '\0';
		simfs_free(disk);
	}
	world_release(&w);
	return cut;
}

/* Is anything lost where the nth is broken? */
static bool is_missed(const struct rule *r, enum mutant kind, unsigned long nth)
{
	char why[256] = "";
	for (unsigned long n = 1; !why[0] && cut_rule(r, kind, nth, n, why, sizeof(why)); n++)
		;
	if (table)
		printf("  %s, %lu: %s\n", r->name, nth, why[0] ? why : "not missed");
	return why[0] != '\0';
}

static void check_rules(const struct rule *rules, size_t count, enum mutant kind)
{
	for (size_t i = 0; i < count; i++) {
		CHECK(!is_missed(&rules[i], kind, 0));
		if (!is_missed(&rules[i], kind, rules[i].nth)) {
			fprintf(stderr, "%s: not missed\n", rules[i].name);
			exit(1);
		}
	}
}

/* Of unlinked and renamed names, by the directory's sync. */
static void test_what_was_unlinked_or_renamed_needs_to_stay_away(void)
{
	static const struct rule rules[] = {
		{"unlink behind a superseded form", "path",
		 "put a 9000; fsync a; run; put b 8000; rename b a", "unlink a", 1},
		{"rename to a name just unlinked", "path",
		 "put a 9000; fsync a; run; fsyncdir .; put b 8000", "unlink a; rename b a; setx a",
		 1},
		{"make again what was renamed", "path", "put a 9000; fsync a; run; fsyncdir .",
		 "rename a b; put a 8000", 1},
		{"pack what was made again", "path", "put a 9000; fsync a; hold a",
		 "unlink a; put a 8000; run", 4},
		{"another form in a directory that moved", "path",
		 "mkdir d; put d/a 9000; fsync d/a; run; reopen", "rendir d e; append e/a 1; run",
		 4},
		{"rename into a new shard", "hash:md5:2x1", "put a 9000; fsync a",
		 "rename a b; setx b", 2},
		{"rename out of a shard that goes", "hash:md5:2x1",
		 "put b 100; put a 200; fsync a; fsync b", "rename a b; run; setx b", 1},
		{"rename out of a shard made again", "split:3",
		 "put abc 9000; fsync abc; run; fsyncdir .",
		 "unlink abc; put abc 4000; rename abc ab; setx ab", 2},
	};
	check_rules(rules, DV_ARRAY_LEN(rules), IGNORED_FSYNC);
}

/* Names that go and come through one name in the owner folder keep their order. */
static void test_what_follows_an_unlinking_needs_its_renames_whole(void)
{
	static const char before[] = "put a 9000; fsync a; run; fsyncdir .; hold a";
	static const char replaced[] = "put a 9000; fsync a; run; put a 3000; fsync a";
	static const struct rule rules[] = {
		{"make again: out of the packed name", "path", before, "unlink a; put a 8000", 1},
		{"make again: to the raw one", "path", before, "unlink a; put a 8000", 2},
		{"unlink behind: the packed form", "path", replaced, "run; unlink a; put b 1", 1},
		{"unlink behind: the raw one", "path", replaced, "run; unlink a; put b 1", 2},
	};
	check_rules(rules, DV_ARRAY_LEN(rules), TORN_RENAME);
}

/* The frames; the record of the swap; the new name before the old one goes. */
static void test_a_stream_needs_bytes_record_and_names(void)
{
	world_small_limits(true);
	CHECK(needed_of(&(struct workload){
		      "stream", "path", "put a 3000; fsync a; put a 13000; append a 9000; run"}) >=
	      5);
	world_small_limits(false);
}

/* What is overwritten and the record before it is; what was added; the object before the record
 * ends. */
static void test_an_append_needs_bytes_record_and_object(void)
{
	world_small_limits(true);
	CHECK(needed_of(&(struct workload){
		      "append", "path",
		      "put a 9500; fsync a; run; append a 9000; fsync a; append a 20000; run"}) >=
	      10);
	world_small_limits(false);
}

/* Of those that stand the strict model of a disk. */
static void test_the_fsyncs_of_every_workload(void)
{
	if (!table)
		return;
	for (size_t i = 0; i < DV_ARRAY_LEN(workloads); i++)
		printf("%s: %u missed\n", workloads[i].name, needed_of(&workloads[i]));
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_replacement_needs_its_bytes),
		CHECK_TEST(test_a_rename_over_a_good_value_needs_its_bytes),
		CHECK_TEST(test_a_swap_of_forms_needs_bytes_record_and_names),
		CHECK_TEST(test_packing_needs_bytes_record_and_names),
		CHECK_TEST(test_unpacking_needs_bytes_record_and_names),
		CHECK_TEST(test_a_rewrite_in_place_needs_its_record_and_copy),
		CHECK_TEST(test_fsync_needs_every_directory_above),
		CHECK_TEST(test_what_was_unlinked_or_renamed_needs_to_stay_away),
		CHECK_TEST(test_what_follows_an_unlinking_needs_its_renames_whole),
		CHECK_TEST(test_a_stream_needs_bytes_record_and_names),
		CHECK_TEST(test_an_append_needs_bytes_record_and_object),
		CHECK_TEST(test_the_fsyncs_of_every_workload),
	};
	dv_log_set_sink(no_log);
	table = argc > 1 && !strcmp(argv[1], "--table");
	return check_main(argc - table, argv + table, tests, DV_ARRAY_LEN(tests));
}
