/* SPDX-License-Identifier: MIT */
/*
 * test_nth_call.c - the N-th call of the backing fails, N = 1 until none is left, once and for
 * good, in every operation: no crash, the value is the old or the new one, nothing leaks, and once
 * the fault is gone everything works and nothing is left over.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "tests/fault/operations.h"
#include "tests/support/check.h"
#include "tests/support/workloads.h"
#include "tests/support/world.h"

#include <errno.h>

static bool slow;
/* Of short counts: which of a call is short makes little difference to a sanitizer. */
static const unsigned long stride = TEST_SANITIZED ? 5 : 1;

static void no_log(enum dv_log_level level, const char *line)
{
	(void)level;
	if (slow && getenv("TEST_LOG"))
		fprintf(stderr, "%s\n", line);
}

struct fault {
	unsigned long n;
	int error;
	bool for_good;
	bool hit;
};

static void arm(struct world *w)
{
	const struct fault *f = w->ctx;
	simfs_fail_nth(w->fs, f->n, f->error, f->for_good);
}

static void disarm(struct world *w)
{
	struct fault *f = w->ctx;
	f->hit = simfs_failed(w->fs);
	simfs_fail_nth(w->fs, 0, 0, false);
}

static void report(const struct world *w)
{
	fprintf(stderr, "%s; in \"%s\" (%s):\n  %s\n", world_context_text(), w->step,
		strerror(w->err < 0 ? -w->err : 0), w->why);
	simfs_dump(w->fs, stderr);
	exit(1);
}

/* A failed close leaves the store closed, and a failed open too. */
static void open_again(struct world *w)
{
	if (!w->s) {
		dv_err err = world_open(w, w->fs, WORLD_BOOT);
		if (err) {
			snprintf(w->why, sizeof(w->why), "can not be opened: %s", strerror(-err));
			report(w);
		}
	}
}

/* An error of earlier work is told once by fsync. */
static void run_clean(struct world *w, const char *script)
{
	w->before = w->after = NULL;
	if (!world_run(w, script)) {
		if (w->err >= 0)
			report(w);
		w->why[0] = '\0';
		if (!world_run(w, script))
			report(w);
	}
}

/* -> false: the call was not reached. */
static bool fail_at(const struct operation *op, struct fault *f)
{
	struct world w;
	world_context("%s: call %lu fails with %s%s; %s; then %s, then %s", op->name, f->n,
		      strerror(f->error), f->for_good ? " and all later ones" : "", op->setup,
		      op->step, op->after);
	world_init(&w, WORLD_PROCESS, op->transform);
	run_clean(&w, op->setup);
	w.ctx = f;
	w.before = arm;
	w.after = disarm;
	f->hit = false;
	bool ok = world_step(&w, op->step);
	w.before = w.after = NULL;
	open_again(&w);
	if (!ok || !world_verify(&w, true))
		report(&w);
	if (w.err < 0 && !f->hit) {
		snprintf(w.why, sizeof(w.why), "fails without a fault");
		report(&w);
	}
	run_clean(&w, op->after);
	if (!world_verify(&w, true))
		report(&w);
	dv_err err = world_close(&w);
	/* A record that could not be brought to its end is for the next mount. */
	if (err || !world_check(&w, w.fs, WORLD_BOOT)) {
		if (err)
			snprintf(w.why, sizeof(w.why), "close: %s", strerror(-err));
		report(&w);
	}
	world_release(&w);
	return f->hit;
}

static void fail_everywhere(int error, bool for_good)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(operations); i++)
		for (struct fault f = {.n = 1, .error = error, .for_good = for_good};
		     fail_at(&operations[i], &f); f.n++)
			;
	world_small_limits(true);
	for (size_t i = 0; i < DV_ARRAY_LEN(parts_operations); i++)
		for (struct fault f = {.n = 1, .error = error, .for_good = for_good};
		     fail_at(&parts_operations[i], &f); f.n++)
			;
	world_small_limits(false);
}

static const char *const layouts[] = {"diskv:gzip", "diskv:zlib", "diskv"};

/* The operation in a layout of diskv. What needs a second name, or packing, is none there
 * (workload_as_diskv): false. transform: room for out's. */
static bool in_layout(const struct operation *op, const char *layout, char transform[64],
		      struct operation *out)
{
	*out = *op;
	snprintf(transform, 64, "%s@%s", op->transform, layout);
	out->transform = transform;
	return strncmp(op->transform, "split", 5) != 0 && !strstr(op->setup, "room");
}

static void test_one_call_fails_in_the_layouts_of_diskv(void)
{
	static const int errors[] = {EIO, ENOSPC, EMFILE, EDQUOT, EINTR, ESTALE, EROFS, ENOMEM};
	for (size_t i = 0; i < DV_ARRAY_LEN(operations); i++)
		for (size_t l = 0; l < DV_ARRAY_LEN(layouts); l++) {
			char transform[64];
			struct operation op;
			/* Each operation in one of them, and in all with --slow. */
			if (!in_layout(&operations[i], layouts[l], transform, &op) ||
			    (!slow && l != (i % 2   ? i / 2 % 2
					    : i % 4 ? 0
						    : 2)))
				continue;
			/* One call fails with the first, all from one on with the second. */
			for (size_t e = 0; e < (slow		 ? 2 * DV_ARRAY_LEN(errors)
						: TEST_SANITIZED ? 1
								 : 2);
			     e++)
				for (struct fault f = {.n = 1,
						      .error = errors[slow ? e / 2 : e],
						      .for_good = e % 2};
				     fail_at(&op, &f); f.n++)
					;
		}
}

static void test_one_call_fails(void)
{
	static const int errors[] = {EIO,   ENOSPC, ESTALE, EDQUOT, EMFILE,
				     EROFS, EACCES, ENOMEM, EINTR};
	for (size_t i = 0; i < (slow ? DV_ARRAY_LEN(errors) : TEST_SANITIZED ? 1 : 3); i++)
		fail_everywhere(errors[i], false);
}

static void test_all_calls_fail_from_one_on(void)
{
	static const int errors[] = {EIO, ENOSPC, EROFS, EDQUOT, EMFILE, EACCES, ENOMEM, EINTR};
	for (size_t i = 0; i < (slow ? DV_ARRAY_LEN(errors) : TEST_SANITIZED ? 1 : 2); i++)
		fail_everywhere(errors[i], true);
}

/* Killed after the step, call n of the next mount's recovery fails; the one after that has all. ->
 * false: the call was not reached. */
static bool fail_recovery_at(const struct operation *op, const struct fault *f)
{
	struct world w;
	world_context("%s: killed; call %lu of the recovery fails with %s%s; %s; %s", op->name,
		      f->n, strerror(f->error), f->for_good ? " and all later ones" : "", op->setup,
		      op->step);
	world_init(&w, WORLD_PROCESS, op->transform);
	run_clean(&w, op->setup);
	run_clean(&w, op->step);
	struct dv_store *dead;
	struct simfs *disk = world_kill(&w, &dead);
	simfs_fail_nth(disk, f->n, f->error, f->for_good);
	if (world_open(&w, disk, WORLD_BOOT) == 0)
		dv_ignore(dv_store_close(&w.s, NULL));
	w.s = dead;
	bool hit = simfs_failed(disk);
	simfs_fail_nth(disk, 0, 0, false);
	CHECK_EQ(simfs_open_fds(disk), 0);
	if (!world_check(&w, disk, WORLD_BOOT))
		report(&w);
	simfs_free(disk);
	world_release(&w);
	return hit;
}

static void fail_recoveries(const struct operation *all, size_t count, int error, bool for_good)
{
	for (size_t i = 0; i < count; i++)
		for (struct fault f = {.n = 1, .error = error, .for_good = for_good};
		     fail_recovery_at(&all[i], &f); f.n += slow		    ? 1
							   : TEST_SANITIZED ? 13
									    : 3)
			;
}

static void test_a_recovery_that_fails_at_any_call_loses_nothing(void)
{
	static const int errors[] = {EIO, ENOSPC, EMFILE, ENOMEM, EROFS, EDQUOT};
	for (size_t i = 0; i < (slow ? DV_ARRAY_LEN(errors) : 1); i++)
		for (int for_good = 0; for_good < 2; for_good++) {
			fail_recoveries(operations, DV_ARRAY_LEN(operations), errors[i], for_good);
			world_small_limits(true);
			fail_recoveries(parts_operations, DV_ARRAY_LEN(parts_operations), errors[i],
					for_good);
			world_small_limits(false);
		}
}

static void test_a_recovery_in_the_layouts_of_diskv_that_fails_loses_nothing(void)
{
	static const int errors[] = {EIO, ENOSPC, EMFILE, ENOMEM, EROFS, EDQUOT, EINTR};
	for (size_t i = 0; i < DV_ARRAY_LEN(operations); i++)
		for (size_t l = 0; l < DV_ARRAY_LEN(layouts); l++) {
			char transform[64];
			struct operation op;
			if (!in_layout(&operations[i], layouts[l], transform, &op) ||
			    (!slow && l != i % 3))
				continue;
			for (size_t e = 0; e < (slow ? DV_ARRAY_LEN(errors) : 1); e++)
				for (int for_good = 0; for_good < 2; for_good++)
					fail_recoveries(&op, 1, errors[e], for_good);
		}
}

/* With its threads, what follows their start can fail too: they are ended before the store is. */
static void test_an_opening_with_threads_that_fails_ends_them(void)
{
	static const int errors[] = {EIO, EMFILE, ENOMEM};
	struct world w;
	world_init(&w, WORLD_PROCESS, "path");
	run_clean(&w, "put a 20000; run; put b 9000; append a 10");
	for (size_t e = 0; e < (slow ? DV_ARRAY_LEN(errors) : 1); e++)
		for (int for_good = 0; for_good < 2; for_good++)
			for (unsigned long n = 1;; n++) {
				struct simfs *disk = simfs_after_kill(w.fs);
				struct dv_store_options o = {
					.threads = 1, .boot_id = WORLD_BOOT, .background = true};
				struct dv_store *s = NULL;
				char why[512];
				world_context("opening with threads: call %lu fails", n);
				simfs_fail_nth(disk, n, errors[e], for_good);
				dv_err err = dv_store_open(simfs_backing(disk), "/store", &o, &s,
							   why, sizeof(why));
				bool hit = simfs_failed(disk);
				simfs_fail_nth(disk, 0, 0, false);
				CHECK(hit || err == 0);
				dv_ignore(dv_store_close(&s, NULL)); /* an error may be told once */
				CHECK_EQ(simfs_open_fds(disk), 0);
				CHECK_EQ(simfs_bad_fds(disk), 0);
				struct dv_store *dead = w.s;
				if (!world_check(&w, disk, WORLD_BOOT))
					report(&w);
				CHECK(w.s == dead);
				simfs_free(disk);
				if (!hit)
					break;
			}
	world_release(&w);
}

/* n = 0: every transfer is. -> false: there are fewer transfers. */
static bool short_at(const struct operation *op, unsigned long n)
{
	struct world w;
	world_context("%s (%s): transfer %lu is short; %s; then %s", op->name, op->transform, n,
		      op->setup, op->step);
	world_init(&w, WORLD_PROCESS, op->transform);
	run_clean(&w, op->setup);
	simfs_fail_op(w.fs, "pread,pwrite,copy_range");
	simfs_fail_short(w.fs, true);
	simfs_fail_nth(w.fs, n ? n : 1, EIO, n == 0);
	bool ok = world_step(&w, op->step) && w.err >= 0;
	bool hit = simfs_failed(w.fs);
	simfs_fail_nth(w.fs, 0, 0, false);
	if (!ok || !world_verify(&w, true))
		report(&w);
	world_release(&w);
	return hit;
}

static void test_a_short_count_is_no_error(void)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(operations); i++)
		for (unsigned long n = 0; short_at(&operations[i], n); n += stride)
			;
	world_small_limits(true);
	for (size_t i = 0; i < DV_ARRAY_LEN(parts_operations); i++)
		for (unsigned long n = 0; short_at(&parts_operations[i], n); n += stride)
			;
	world_small_limits(false);
}

static void test_a_short_count_is_no_error_in_the_layouts_of_diskv(void)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(operations); i++)
		for (size_t l = 0; l < DV_ARRAY_LEN(layouts); l++) {
			char transform[64];
			struct operation op;
			if (!in_layout(&operations[i], layouts[l], transform, &op) ||
			    (TEST_SANITIZED && l != i % 3))
				continue;
			for (unsigned long n = 0; short_at(&op, n); n += stride)
				;
		}
}

/* Killed after the step, a transfer of the next mount's recovery is short: nothing that it would tell. */
static bool short_recovery_at(const struct operation *op, unsigned long n)
{
	struct world w;
	world_context("%s (%s): killed; transfer %lu of the recovery is short; %s; %s", op->name,
		      op->transform, n, op->setup, op->step);
	world_init(&w, WORLD_PROCESS, op->transform);
	run_clean(&w, op->setup);
	run_clean(&w, op->step);
	struct dv_store *dead;
	struct simfs *disk = world_kill(&w, &dead);
	simfs_fail_op(disk, "pread,pwrite,copy_range");
	simfs_fail_short(disk, true);
	simfs_fail_nth(disk, n, EIO, false);
	dv_err err = world_open(&w, disk, WORLD_BOOT);
	bool hit = simfs_failed(disk);
	simfs_fail_nth(disk, 0, 0, false);
	if (err || (err = dv_store_close(&w.s, NULL)) != 0) {
		snprintf(w.why, sizeof(w.why), "recovery: %s", strerror(-err));
		report(&w);
	}
	w.s = dead;
	if (!world_check(&w, disk, WORLD_BOOT))
		report(&w);
	simfs_free(disk);
	world_release(&w);
	return hit;
}

static void test_a_short_count_in_a_recovery_is_no_error(void)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(operations); i++) {
		char transform[64];
		struct operation op;
		for (unsigned long n = 1; short_recovery_at(&operations[i], n); n += stride)
			;
		for (size_t l = 0; l < DV_ARRAY_LEN(layouts); l++)
			if (in_layout(&operations[i], layouts[l], transform, &op) &&
			    (slow || l == i % 3))
				for (unsigned long n = 1; short_recovery_at(&op, n); n += stride)
					;
	}
	world_small_limits(true);
	for (size_t i = 0; i < DV_ARRAY_LEN(parts_operations); i++)
		for (unsigned long n = 1; short_recovery_at(&parts_operations[i], n); n += stride)
			;
	world_small_limits(false);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_one_call_fails),
		CHECK_TEST(test_all_calls_fail_from_one_on),
		CHECK_TEST(test_one_call_fails_in_the_layouts_of_diskv),
		CHECK_TEST(test_an_opening_with_threads_that_fails_ends_them),
		CHECK_TEST(test_a_short_count_is_no_error),
		CHECK_TEST(test_a_short_count_is_no_error_in_the_layouts_of_diskv),
		CHECK_TEST(test_a_recovery_that_fails_at_any_call_loses_nothing),
		CHECK_TEST(test_a_recovery_in_the_layouts_of_diskv_that_fails_loses_nothing),
		CHECK_TEST(test_a_short_count_in_a_recovery_is_no_error),
	};
	dv_log_set_sink(no_log);
	slow = argc > 1 && !strcmp(argv[1], "--slow");
	return check_main(argc - slow, argv + slow, tests, DV_ARRAY_LEN(tests));
}
