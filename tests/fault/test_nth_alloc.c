/* SPDX-License-Identifier: MIT */
/*
 * test_nth_alloc.c - the N-th allocation of memory fails, N = 1 until none is left, once and for good, in
 * every operation: -ENOMEM or success, the value is the old or the new one, nothing leaks, and once
 * there is memory again everything works and nothing is left over.
 *
 * The linker sends the allocations of core/ here (--wrap). This file and support/ are compiled so
 * that theirs do not come here. zstd's contexts count as one allocation each.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "tests/fault/operations.h"
#include "tests/support/check.h"
#include "tests/support/world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <zstd.h>

static struct {
	atomic_bool armed;
	atomic_ulong count;
	unsigned long n;
	bool for_good;
	atomic_bool hit;
} memory;

/* Is there none for this one? */
static bool none(void)
{
	if (!atomic_load(&memory.armed))
		return false;
	unsigned long i = atomic_fetch_add(&memory.count, 1) + 1;
	if (i != memory.n && !(memory.for_good && i > memory.n))
		return false;
	atomic_store(&memory.hit, true);
	errno = ENOMEM;
	return true;
}

/* ---- what the linker puts in the place of the functions ---- */

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);
int __wrap_asprintf(char **out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
ZSTD_CCtx *__real_ZSTD_createCCtx(void);
ZSTD_DCtx *__real_ZSTD_createDCtx(void);
ZSTD_CCtx *__wrap_ZSTD_createCCtx(void);
ZSTD_DCtx *__wrap_ZSTD_createDCtx(void);

void *__wrap_malloc(size_t size)
{
	return none() ? NULL : malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return none() ? NULL : calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return none() ? NULL : realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
	return none() ? NULL : strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
	return none() ? NULL : strndup(text, size);
}

int __wrap_asprintf(char **out, const char *fmt, ...)
{
	va_list ap;
	if (none())
		return -1;
	va_start(ap, fmt);
	int len = vasprintf(out, fmt, ap);
	va_end(ap);
	return len;
}

ZSTD_CCtx *__wrap_ZSTD_createCCtx(void)
{
	return none() ? NULL : __real_ZSTD_createCCtx();
}

ZSTD_DCtx *__wrap_ZSTD_createDCtx(void)
{
	return none() ? NULL : __real_ZSTD_createDCtx();
}

/* ---- the operations ---- */

static void no_log(enum dv_log_level level, const char *line)
{
	(void)level;
	if (getenv("TEST_LOG"))
		fprintf(stderr, "%s\n", line);
}

static void arm(struct world *w)
{
	(void)w;
	atomic_store(&memory.armed, true);
}

static void disarm(struct world *w)
{
	(void)w;
	atomic_store(&memory.armed, false);
}

static void report(const struct world *w)
{
	fprintf(stderr, "%s; in \"%s\" (%s):\n  %s\n", world_context_text(), w->step,
		strerror(w->err < 0 ? -w->err : 0), w->why);
	simfs_dump(w->fs, stderr);
	exit(1);
}

static void must(struct world *w, bool ok, const char *why)
{
	if (ok)
		return;
	if (why)
		snprintf(w->why, sizeof(w->why), "%s", why);
	report(w);
}

/* A step without memory may have closed the store. */
static void open_again(struct world *w)
{
	if (!w->s)
		must(w, world_open(w, w->fs, WORLD_BOOT) == 0, "can not be opened");
}

/* An error of earlier work is told once by fsync. */
static void run_clean(struct world *w, const char *script)
{
	w->before = w->after = NULL;
	if (world_run(w, script))
		return;
	must(w, w->err < 0, NULL);
	w->why[0] = '\0';
	must(w, world_run(w, script), NULL);
}

/* The world says EIO for a short count, and for whatever the keeper could not do; where a full disk
 * could not be packed there is no space either. */
static bool is_right(const struct operation *op, dv_err err)
{
	if (err == -EIO)
		return !strncmp(op->step, "write ", 6) || !strcmp(op->step, "run");
	return err >= 0 || err == -ENOMEM || (err == -ENOSPC && strstr(op->setup, "room "));
}

/* -> false: there are not so many. */
static bool fail_at(const struct operation *op, unsigned long n, bool for_good)
{
	struct world w;
	world_context("%s: no memory for allocation %lu%s; %s; then %s, then %s", op->name, n,
		      for_good ? " and all later ones" : "", op->setup, op->step, op->after);
	world_init(&w, WORLD_PROCESS, op->transform);
	run_clean(&w, op->setup);
	memory.n = n;
	memory.for_good = for_good;
	atomic_store(&memory.count, 0);
	atomic_store(&memory.hit, false);
	w.before = arm;
	w.after = disarm;
	bool ok = world_step(&w, op->step);
	w.before = w.after = NULL;
	must(&w, w.err >= 0 || atomic_load(&memory.hit), "fails without a fault");
	must(&w, is_right(op, w.err), "fails with another error than ENOMEM");
	open_again(&w);
	must(&w, ok, NULL);
	must(&w, world_verify(&w, true), NULL);
	run_clean(&w, op->after);
	must(&w, world_verify(&w, true), NULL);
	dv_err err = world_close(&w);
	must(&w, !err, "can not be closed");
	must(&w, world_check(&w, w.fs, WORLD_BOOT), NULL);
	world_release(&w);
	return atomic_load(&memory.hit);
}

/* OPERATION: the name of one, to look into. */
static void fail_everywhere(const struct operation *all, size_t count, bool for_good)
{
	const char *only = getenv("OPERATION");
	for (size_t i = 0; i < count; i++)
		for (unsigned long n = 1;
		     (!only || !strcmp(only, all[i].name)) && fail_at(&all[i], n, for_good); n++)
			;
}

static void test_no_memory_for_one_allocation(void)
{
	fail_everywhere(operations, DV_ARRAY_LEN(operations), false);
}

static void test_no_memory_from_one_allocation_on(void)
{
	fail_everywhere(operations, DV_ARRAY_LEN(operations), true);
}

static void test_no_memory_where_values_are_in_two_parts(void)
{
	world_small_limits(true);
	fail_everywhere(parts_operations, DV_ARRAY_LEN(parts_operations), false);
	fail_everywhere(parts_operations, DV_ARRAY_LEN(parts_operations), true);
	world_small_limits(false);
}

/* Killed after the step; the next mount's recovery gets no memory for allocation n, the one after it
 * has all. -> false: there are not so many. */
static bool fail_recovery_at(const struct operation *op, unsigned long n)
{
	struct world w;
	world_context("%s: killed; no memory for allocation %lu of the recovery; %s; %s", op->name,
		      n, op->setup, op->step);
	world_init(&w, WORLD_PROCESS, op->transform);
	run_clean(&w, op->setup);
	run_clean(&w, op->step);
	struct dv_store *dead;
	struct simfs *disk = world_kill(&w, &dead);
	memory.n = n;
	memory.for_good = false;
	atomic_store(&memory.count, 0);
	atomic_store(&memory.hit, false);
	arm(&w);
	if (world_open(&w, disk, WORLD_BOOT) == 0)
		dv_ignore(dv_store_close(&w.s, NULL));
	disarm(&w);
	w.s = dead;
	CHECK_EQ(simfs_open_fds(disk), 0);
	must(&w, world_check(&w, disk, WORLD_BOOT), NULL);
	simfs_free(disk);
	world_release(&w);
	return atomic_load(&memory.hit);
}

static void fail_recoveries(const struct operation *all, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (unsigned long n = 1; fail_recovery_at(&all[i], n); n++)
			;
}

static void test_no_memory_for_a_recovery(void)
{
	fail_recoveries(operations, DV_ARRAY_LEN(operations));
	world_small_limits(true);
	fail_recoveries(parts_operations, DV_ARRAY_LEN(parts_operations));
	world_small_limits(false);
}

/* What needs a second name, or packing, is left out (workload_as_diskv). */
static void test_no_memory_in_the_layouts_of_diskv(void)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(operations); i++) {
		char transform[64];
		struct operation op = operations[i];
		if (!strncmp(op.transform, "split", 5) || strstr(op.setup, "room"))
			continue;
		snprintf(transform, sizeof(transform), "%s@%s", op.transform,
			 i % 4 ? "diskv:gzip" : "diskv");
		op.transform = transform;
		fail_everywhere(&op, 1, false);
	}
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_no_memory_for_one_allocation),
		CHECK_TEST(test_no_memory_from_one_allocation_on),
		CHECK_TEST(test_no_memory_where_values_are_in_two_parts),
		CHECK_TEST(test_no_memory_in_the_layouts_of_diskv),
		CHECK_TEST(test_no_memory_for_a_recovery),
	};
	dv_log_set_sink(no_log);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
