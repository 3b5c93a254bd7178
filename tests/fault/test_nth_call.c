/* SPDX-License-Identifier: MIT */
/*
 * test_nth_call.c - the N-th call of the backing fails, N = 1 until none is left, once and for
 * good, in every operation: no crash, the value is the old or the new one, nothing leaks, and once
 * the fault is gone everything works and nothing is left over.
 */
#include "core/cleanup.h"
#include "core/log.h"
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

/* setup is made without faults, then step with, then after without. */
struct operation {
	const char *name, *transform, *setup, *step, *after;
};

static const struct operation operations[] = {
	{"create", "path", "put b 100", "create a", "put a 100"},
	{"create in a shard", "split:3", "put b 100", "create abcdefg", "put abcdefg 100"},
	{"create beside a shard", "split:3", "put abc 9000; run", "create abcabc",
	 "put abcabc 100; append abc 7"},
	{"write new", "path", "create a", "write a 0 9000", "append a 10"},
	{"write raw", "path", "put a 9000; fsync a", "write a 100 5000", "append a 10"},
	{"append raw", "path", "put a 9000; fsync a", "append a 5000", "append a 10"},
	{"append to packed", "path", "put a 20000; run", "append a 700", "append a 10; fsync a"},
	{"edit packed", "path", "put a 20000; run", "write a 5000 700", "append a 10; fsync a"},
	{"edit staged", "path", "put a 20000; run; append a 1", "write a 5000 700",
	 "append a 10; fsync a"},
	{"edit packed links", "path", "put a 20000; run; link a b", "write a 5000 700",
	 "append b 10; fsync a"},
	{"write without room", "path", "put b 60000; put c 20000; create a; fsync a; room 8",
	 "write a 0 60000", "room 100000; append a 10; fsync b"},
	{"truncate raw to nothing", "path", "put a 9000; fsync a", "trunc a 0", "write a 0 5000"},
	{"truncate packed to nothing", "path", "put a 20000; run", "trunc a 0", "write a 0 5000"},
	{"truncate packed links to nothing", "path", "put a 20000; run; link a b", "trunc a 0",
	 "write b 0 5000"},
	{"truncate packed", "path", "put a 20000; run", "trunc a 7000", "append a 10"},
	{"truncate raw", "path", "put a 9000; fsync a", "trunc a 7000", "append a 10"},
	{"commit raw", "path", "put a 9000; fsync a; put a 5000", "run", "append a 1"},
	{"commit over packed", "path", "put a 20000; run; put a 9000", "run", "append a 1"},
	{"commit edits", "path", "put a 20000; put b 9000; run; append a 9; append b 9", "run",
	 "append a 1"},
	{"commit packed links", "path", "put a 20000; run; link a b; put a 9000", "run",
	 "append b 1"},
	{"fsync new", "path", "mkdir d; put d/a 9000", "fsync d/a", "append d/a 1; fsync d/a"},
	{"fsync replaced raw", "path", "put a 9000; fsync a; put a 5000", "fsync a",
	 "append a 1; fsync a"},
	{"fsync replaced packed", "path", "put a 20000; run; put a 5000", "fsync a",
	 "append a 1; fsync a"},
	{"fsync packed links", "path", "put a 20000; run; link a b; append a 10", "fsync a",
	 "append a 1; fsync b"},
	{"fsync in a shard", "split:3", "put abcdefg 9000", "fsync abcdefg",
	 "append abcdefg 1; fsync abcdefg"},
	{"pack one", "path", "put a 20000", "run", "run"},
	{"pack a batch", "path", "mkdir d; put a 20000; put b 9000; put d/c 30000", "run",
	 "run; append a 1"},
	{"pack a large batch", "path",
	 "put a 9000; put b 9000; put c 9000; put d 9000; put e 9000; put f 9000; put g 9000; put "
	 "h 9000; put i 9000; "
	 "put j 9000; put k 9000; put l 9000; put m 9000; put n 9000; put o 9000; put p 9000; put "
	 "q 9000; put r 9000",
	 "run", "run; append a 1"},
	{"pack all", "path", "mkdir d; put a 20000; put d/c 30000; put d/e 9000", "packall",
	 "run; append a 1"},
	{"unpack", "path", "mkdir d; put a 20000; put d/b 9000; run", "unpack", "append a 1; run"},
	{"pack in shards", "split:3", "put abcdefg 20000; put abc 9000; put abcabc 9000", "packall",
	 "run; append abc 1"},
	{"rename raw to free", "path", "mkdir d; put a 9000", "rename a d/b", "append d/b 1"},
	{"rename packed to free", "path", "mkdir d; put a 9000; run", "rename a d/b",
	 "append d/b 1"},
	{"rename staged to free", "path", "mkdir d; put a 9000; run; append a 9", "rename a d/b",
	 "append d/b 1"},
	{"rename raw over raw", "path", "put a 9000; put b 5000; fsync b", "rename a b",
	 "append b 1"},
	{"rename raw over packed", "path", "mkdir d; put d/b 20000; run; put a 5000",
	 "rename a d/b", "append d/b 1"},
	{"rename packed over raw", "path", "mkdir d; put a 20000; run; put d/b 5000; fsync d/b",
	 "rename a d/b", "append d/b 1"},
	{"rename packed over packed", "path", "put a 20000; put b 9000; run", "rename a b",
	 "append b 1"},
	{"rename staged over packed", "path", "put a 20000; put b 9000; run; put a 5000",
	 "rename a b", "append b 1"},
	{"rename raw over staged", "path", "put b 20000; run; append b 1; put a 9000", "rename a b",
	 "append b 1"},
	{"rename packed over staged", "path", "put a 9000; put b 20000; run; append b 1",
	 "rename a b", "append b 1"},
	{"rename over a shard", "split:3", "put abc 9000; put abcabc 9000; put xyzxyz 9000; run",
	 "rename xyzxyz abc", "append abc 1"},
	{"exchange raw", "path", "mkdir d; put a 9000; put d/b 5000", "exchange a d/b",
	 "append a 1"},
	{"exchange packed", "path", "put a 20000; put b 9000; run", "exchange a b", "append a 1"},
	{"exchange raw and packed", "path", "put a 20000; run; put b 9000", "exchange a b",
	 "append a 1"},
	{"exchange packed and raw", "path", "put a 20000; run; put b 9000", "exchange b a",
	 "append a 1"},
	{"exchange staged", "path", "put a 20000; put b 9000; run; append a 1; put b 5000",
	 "exchange b a", "append a 1"},
	{"link raw", "path", "mkdir d; put a 9000", "link a d/b", "append d/b 1"},
	{"link packed", "path", "put a 20000; run", "link a b", "append b 1"},
	{"link staged", "path", "put a 20000; run; append a 1", "link a b", "append b 1"},
	{"unlink raw", "path", "put a 9000", "unlink a", "put a 100"},
	{"unlink packed", "path", "put a 9000; run", "unlink a", "put a 100"},
	{"unlink staged", "path", "put a 9000; run; append a 10", "unlink a", "put a 100"},
	{"unlink replaced", "path", "put a 9000; fsync a; put a 5000", "unlink a", "put a 100"},
	{"unlink open", "path", "put a 9000; run; append a 10; hold a", "unlink a",
	 "put a 100; drop a"},
	{"unlink in a shard", "split:3", "put abcdefg 9000; run", "unlink abcdefg",
	 "put abcdefg 100"},
	{"unlink a link", "path", "put a 9000; run; link a b; append a 9", "unlink a",
	 "append b 100"},
	{"unlink a link of a stranger", "path", "put a 9000; run; link a b; reopen; append a 9",
	 "unlink a", "append b 100"},
	{"rename over a link", "path", "put a 9000; put c 5000; run; link a b; reopen; append a 9",
	 "rename c a", "append b 100"},
	{"whole new", "path", "mkdir d", "whole d/a 9000", "append d/a 10; fsync d/a"},
	{"whole synced", "path", "mkdir d", "wholesync d/a 9000", "append d/a 10; fsync d/a"},
	{"whole over raw", "path", "put a 9000; fsync a", "whole a 5000", "append a 10; fsync a"},
	{"whole over packed", "path", "put a 9000; fsync a; run", "whole a 5000",
	 "run; append a 10; fsync a"},
	{"whole over staged", "path", "put a 9000; fsync a; run; append a 10", "wholesync a 5000",
	 "append a 10; fsync a"},
	{"whole over a link", "path", "put a 9000; fsync a; link a b", "whole a 5000",
	 "append b 10; fsync b"},
	{"whole in a shard", "split:3", "put abc 9000; run", "whole abcabc 5000",
	 "whole abc 10; run"},
	{"mkdir", "path", "mkdir d", "mkdir d/e", "mkdir d/e; put d/e/a 9"},
	{"rmdir", "path", "mkdir d; mkdir d/e", "rmdir d/e", "rmdir d/e; mkdir d/e"},
	{"rename a directory", "path", "mkdir d; put d/a 20000; run; append d/a 9; put d/b 20",
	 "rendir d e", "rendir d e; append e/a 1; fsync e/a"},
	{"list", "path", "mkdir d; put a 9000; put d/b 20; run; put c 9", "list", "list"},
	{"list shards", "split:3", "put a 9000; put abcabc 20; run; put abc 9", "list", "list"},
	{"look up", "path", "mkdir d; put d/a 20000; run; reopen", "look d/a", "append d/a 1"},
	{"chmod", "path", "put a 20000; run", "chmod a", "append a 1"},
	{"chmod staged", "path", "put a 20000; run; append a 1", "chmod a", "append a 1"},
	{"setxattr", "path", "put a 20000; run", "setx a", "append a 1"},
	{"fsync a directory", "path", "mkdir d; put d/a 9; unlink d/a", "fsyncdir d", "put d/a 8"},
	{"close and open", "path",
	 "put a 20000; put b 9000; run; append a 1; put b 800; put c 9000", "reopen", "append a 1"},
};

/* With small limits: values in two parts. */
static const struct operation parts_operations[] = {
	{"copy", "path", "put a 20000; run", "copy a b", "append b 10; fsync b"},
	{"copy over raw", "path", "put a 20000; run; put b 9000", "copy a b",
	 "append b 10; fsync b"},
	{"copy over packed", "path", "put a 20000; put b 9000; run", "copy a b",
	 "append b 10; fsync b"},
	{"fsync a copy", "path", "put a 20000; run; copy a b", "fsync b", "append b 1; fsync b"},
	{"begin a stream", "path", "put a 13000", "append a 9000", "append a 10; fsync a"},
	{"go on with a stream", "path", "put a 13000; append a 9000", "append a 30000",
	 "append a 10; fsync a"},
	{"begin a stream over raw", "path", "put a 5000; fsync a; put a 13000", "append a 20000",
	 "append a 10; fsync a"},
	{"commit a stream", "path", "put a 13000; append a 9000", "run", "append a 10; fsync a"},
	{"commit a stream over raw", "path", "put a 5000; fsync a; put a 13000; append a 9000",
	 "run", "append a 10; fsync a"},
	{"commit a stream over packed", "path", "put a 20000; run; put a 13000; append a 9000",
	 "run", "append a 10; fsync a"},
	{"fsync a stream", "path", "put a 13000; append a 9000", "fsync a", "append a 10; fsync a"},
	{"write into a stream", "path", "put a 13000; append a 20000", "write a 100 500",
	 "append a 10; fsync a"},
	{"write into a long stream", "path", "put a 13000; append a 20000; append a 20000",
	 "write a 100 500", "append a 10; fsync a"},
	{"truncate a stream", "path", "put a 13000; append a 20000", "trunc a 9000",
	 "append a 10; fsync a"},
	{"empty a stream", "path", "put a 13000; append a 20000", "trunc a 0",
	 "append a 10; fsync a"},
	{"rename a stream", "path", "put a 13000; append a 9000; put b 100", "rename a b",
	 "append b 10; fsync b"},
	{"unlink a stream", "path", "put a 13000; append a 9000; hold a", "unlink a",
	 "put a 100; drop a"},
	{"link a stream", "path", "put a 13000; append a 9000", "link a b", "append b 10; fsync b"},
	{"chmod a stream", "path", "put a 13000; append a 9000", "chmod a", "append a 10; fsync a"},
	{"begin an append", "path", "put a 20000; run", "append a 700", "append a 10; fsync a"},
	{"append much", "path", "put a 20000; run; append a 10", "append a 60000",
	 "append a 10; fsync a"},
	{"commit an append", "path", "put a 20000; run; append a 700", "run",
	 "append a 10; fsync a"},
	{"commit a large append", "path", "put a 20000; run; append a 30000", "run",
	 "append a 10; fsync a"},
	{"fsync an append", "path", "put a 20000; run; append a 700", "fsync a",
	 "append a 10; fsync a"},
	{"fsync an append again", "path", "put a 20000; run; append a 700; fsync a; append a 30000",
	 "fsync a", "append a 10; fsync a"},
	{"edit after an append", "path", "put a 20000; run; append a 700", "write a 5 700",
	 "append a 10; fsync a"},
	{"replace after an append", "path", "put a 20000; run; append a 700", "trunc a 0",
	 "append a 10; fsync a"},
	{"unlink after an append", "path", "put a 20000; run; append a 700; hold a", "unlink a",
	 "put a 100; drop a"},
	{"rename after an append", "path", "put a 20000; run; append a 700; put b 9000; run",
	 "rename b a", "append a 10; fsync a"},
	{"append to a link", "path", "put a 20000; run; link a b", "append b 9000",
	 "append a 10; fsync b"},
	{"close and open with parts", "path",
	 "put a 20000; run; append a 700; put b 13000; append b 9000", "reopen",
	 "append a 1; append b 1"},
};

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
	static const int errors[] = {EIO, ENOSPC, ESTALE, EDQUOT, EMFILE, EROFS, EACCES, ENOMEM};
	for (size_t i = 0; i < (slow ? DV_ARRAY_LEN(errors) : TEST_SANITIZED ? 1 : 3); i++)
		fail_everywhere(errors[i], false);
}

static void test_all_calls_fail_from_one_on(void)
{
	static const int errors[] = {EIO, ENOSPC, EROFS, EDQUOT, EMFILE, EACCES, ENOMEM};
	for (size_t i = 0; i < (slow ? DV_ARRAY_LEN(errors) : TEST_SANITIZED ? 1 : 2); i++)
		fail_everywhere(errors[i], true);
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
	};
	dv_log_set_sink(no_log);
	slow = argc > 1 && !strcmp(argv[1], "--slow");
	return check_main(argc - slow, argv + slow, tests, DV_ARRAY_LEN(tests));
}
