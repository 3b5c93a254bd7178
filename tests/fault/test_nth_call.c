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

static void test_one_call_fails_in_the_layouts_of_diskv(void)
{
	static const int errors[] = {EIO, ENOSPC, EMFILE, EDQUOT};
	for (size_t i = 0; i < DV_ARRAY_LEN(operations); i++) {
		char transform[64];
		snprintf(transform, sizeof(transform), "%s@%s", operations[i].transform,
			 i % 4 ? "diskv:gzip" : "diskv");
		struct operation op = operations[i];
		op.transform = transform;
		/* What needs a second name, or packing, is left out (workload_as_diskv). */
		if (!strncmp(op.transform, "split", 5) || strstr(op.setup, "room"))
			continue;
		/* One call fails with the first, all from one on with the second. */
		for (size_t e = 0; e < (slow ? DV_ARRAY_LEN(errors) : TEST_SANITIZED ? 1 : 2); e++)
			for (struct fault f = {.n = 1, .error = errors[e], .for_good = e % 2};
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
	struct simfs *disk = simfs_after_kill(w.fs);
	struct dv_store *dead = w.s;
	w.s = NULL;
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

static void short_everywhere(const struct operation *all, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (unsigned long n = 1;; n++) {
			struct world w;
			const struct operation *op = &all[i];
			world_context("%s: transfer %lu is short", op->name, n);
			world_init(&w, WORLD_PROCESS, op->transform);
			run_clean(&w, op->setup);
			simfs_fail_op(w.fs, "pread,pwrite,copy_range");
			simfs_fail_short(w.fs, true);
			simfs_fail_nth(w.fs, n, EIO, false);
			bool ok = world_step(&w, op->step) && w.err >= 0;
			bool hit = simfs_failed(w.fs);
			simfs_fail_nth(w.fs, 0, 0, false);
			if (!ok || !world_verify(&w, true))
				report(&w);
			world_release(&w);
			if (!hit)
				break;
		}
}

static void test_a_short_count_is_no_error(void)
{
	short_everywhere(operations, DV_ARRAY_LEN(operations));
	world_small_limits(true);
	short_everywhere(parts_operations, DV_ARRAY_LEN(parts_operations));
	world_small_limits(false);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_one_call_fails),
		CHECK_TEST(test_all_calls_fail_from_one_on),
		CHECK_TEST(test_one_call_fails_in_the_layouts_of_diskv),
		CHECK_TEST(test_a_short_count_is_no_error),
		CHECK_TEST(test_a_recovery_that_fails_at_any_call_loses_nothing),
	};
	dv_log_set_sink(no_log);
	slow = argc > 1 && !strcmp(argv[1], "--slow");
	return check_main(argc - slow, argv + slow, tests, DV_ARRAY_LEN(tests));
}
