/* SPDX-License-Identifier: MIT */
/*
 * test_nth_others.c - as test_nth_call.c, of what that one's language does not have: a value K beside a
 * K.zst of another maker, and files from elsewhere that become values. Whatever fails, neither of the two
 * values of a twin is lost, an import is there whole or not at all, and nothing leaks.
 */
#include "core/cleanup.h"
#include "core/import.h"
#include "core/log.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"
#include "tests/support/workloads.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <zstd.h>

#define PLAIN	 30000u
#define FILE_MAX (PLAIN + 1000u)

static const struct dv_call call;
static const int errors[] = {EIO,    ENOSPC, EINTR, 0 /* half of a transfer */, EDQUOT, EMFILE,
			     ENOMEM, ESTALE, EROFS};
static bool slow;
static char text[PLAIN], foreign[FILE_MAX];
static size_t foreign_len;

struct fixture {
	struct simfs *fs;
	struct dv_backing b;
	struct dv_store *s;
	struct dv_node *root;
};

typedef dv_err step_fn(struct fixture *f);

static void no_log(enum dv_log_level level, const char *line)
{
	(void)level;
	(void)line;
}

static dv_err open_store(struct fixture *f)
{
	struct dv_store_options o = {.threads = 1, .boot_id = "boot", .host_id = "here"};
	char why[512];
	f->b = simfs_backing(f->fs);
	dv_err err = dv_store_open(f->b, "/", &o, &f->s, why, sizeof(why));
	if (!err)
		f->root = dv_store_root(f->s);
	return err;
}

static dv_err close_store(struct fixture *f)
{
	dv_node_unref(f->s, f->root);
	return dv_store_close(&f->s, NULL);
}

static void put_file(struct fixture *f, const char *name, const void *bytes, size_t len)
{
	int root = f->b.ops->open_root(f->b.self, "/");
	int fd = f->b.ops->open(f->b.self, root, name, O_RDWR | O_CREAT | O_EXCL, 0644);
	CHECK(fd >= 0);
	CHECK_EQ(f->b.ops->pwrite(f->b.self, fd, bytes, len, 0), len);
	f->b.ops->close(f->b.self, fd);
	f->b.ops->close(f->b.self, root);
}

/* K is "raw twin", K.zst the frame of another maker; M is a value of its own. */
static void setup(struct fixture *f, bool twin)
{
	struct dv_init_options o = {0};
	char why[512];
	*f = (struct fixture){.fs = simfs_new()};
	f->b = simfs_backing(f->fs);
	CHECK_EQ(dv_store_init(f->b, "/", &o, why, sizeof(why)), 0);
	put_file(f, "M", "of its own", 10);
	if (twin) {
		put_file(f, "K", "raw twin", 8);
		put_file(f, "K.zst", foreign, foreign_len);
	}
	CHECK_EQ(open_store(f), 0);
}

/* Of a value of the store that is open. -> its length, or the error */
static ssize_t value(struct fixture *f, const char *name, char buf[FILE_MAX])
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	dv_err err = dv_store_lookup(f->s, &call, f->root, name, &n, &st);
	if (err)
		return err;
	ssize_t len = dv_store_read(f->s, &call, n, buf, (struct dv_range){0, FILE_MAX});
	dv_node_unref(f->s, n);
	return len;
}

static bool is(struct fixture *f, const char *name, const void *bytes, size_t len)
{
	char buf[FILE_MAX];
	return value(f, name, buf) == (ssize_t)len && !memcmp(buf, bytes, len);
}

static struct dv_node *node(struct fixture *f, const char *name, dv_err *err)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	*err = dv_store_lookup(f->s, &call, f->root, name, &n, &st);
	return n;
}

/* ---- steps ---- */

static dv_err unlink_it(struct fixture *f)
{
	return dv_store_unlink(f->s, &call, f->root, "K");
}

static dv_err rename_away(struct fixture *f)
{
	return dv_store_rename(f->s, &call, f->root, "K", f->root, "N", 0);
}

static dv_err rename_over(struct fixture *f)
{
	return dv_store_rename(f->s, &call, f->root, "M", f->root, "K", 0);
}

static dv_err exchange(struct fixture *f)
{
	return dv_store_rename(f->s, &call, f->root, "M", f->root, "K", RENAME_EXCHANGE);
}

static dv_err replace(struct fixture *f)
{
	struct dv_setattr set = {.valid = DV_SET_SIZE};
	struct dv_stat st;
	dv_err err;
	struct dv_node *n = node(f, "K", &err);
	if (!err)
		err = dv_store_setattr(f->s, &call, n, &set, &st);
	if (!err)
		err = (dv_err)dv_store_write(f->s, &call, n, text, (struct dv_range){0, 9000}, 0);
	if (err >= 0)
		err = dv_store_fsync(f->s, &call, n, false);
	dv_node_unref(f->s, n);
	return err;
}

static dv_err append(struct fixture *f)
{
	dv_err err;
	struct dv_node *n = node(f, "K", &err);
	if (!err)
		err = (dv_err)dv_store_write(f->s, &call, n, text, (struct dv_range){0, 100},
					     DV_WRITE_APPEND);
	dv_node_unref(f->s, n);
	return err < 0 ? err : 0;
}

static dv_err pack(struct fixture *f)
{
	struct dv_pack_result r;
	return dv_store_pack_all(f->s, &r);
}

static dv_err unpack(struct fixture *f)
{
	struct dv_pack_result r;
	return dv_store_unpack(f->s, NULL, &r);
}

static const struct {
	const char *name;
	step_fn *step;
	const char *moved; /* where the raw twin's bytes may be too */
	bool drops;	   /* they may be gone */
} steps[] = {
	{"unlink", unlink_it, NULL, true},
	{"rename away", rename_away, "N", false},
	{"rename over it", rename_over, NULL, true},
	{"exchange", exchange, "M", false},
	{"replace", replace, NULL, true},
	{"append", append, NULL, false},
	{"pack", pack, NULL, false},
	{"unpack", unpack, NULL, false},
};

static bool appended(struct fixture *f, const char *name)
{
	char buf[FILE_MAX];
	return value(f, name, buf) == 108 && !memcmp(buf, "raw twin", 8) &&
	       !memcmp(buf + 8, text, 100);
}

/* Bytes of the other maker: under K where that is all that is left, else as the file that it is. */
static bool foreign_is_there(struct fixture *f)
{
	char buf[FILE_MAX];
	int root = f->b.ops->open_root(f->b.self, "/");
	bool found = false;
	for (unsigned i = 0; i < 2 && !found; i++) {
		int fd = f->b.ops->open(f->b.self, root, i ? "K.zst.raw" : "K.zst", O_RDONLY, 0);
		if (fd < 0)
			continue;
		found = f->b.ops->pread(f->b.self, fd, buf, sizeof(buf), 0) ==
				(ssize_t)foreign_len &&
			!memcmp(buf, foreign, foreign_len);
		f->b.ops->close(f->b.self, fd);
	}
	f->b.ops->close(f->b.self, root);
	return found;
}

/* What is being tried, told where a check fails. */
static char trying[160];

static void require(struct fixture *f, bool truth, const char *what)
{
	if (truth)
		return;
	fprintf(stderr, "%s: %s\n", trying, what);
	simfs_dump(f->fs, stderr);
	CHECK(truth);
}

static void check_twin(struct fixture *f, size_t step, dv_err err, bool at_rest)
{
	char buf[FILE_MAX];
	const char *moved = steps[step].moved;
	bool raw = is(f, "K", "raw twin", 8) || appended(f, "K") ||
		   (moved && is(f, moved, "raw twin", 8));
	require(f, raw || steps[step].drops, "the raw value is lost");
	require(f, foreign_is_there(f), "the other maker's file is lost");
	if (steps[step].step != rename_over && steps[step].step != exchange)
		CHECK(is(f, "M", "of its own", 10));
	else
		CHECK(is(f, "M", "of its own", 10) || is(f, "K", "of its own", 10));
	if (err == 0 && steps[step].step == replace)
		require(f, is(f, "K", text, 9000), "what was written is not there");
	/* A replacement that failed leaves the old value, or is there whole; until it comes to rest it may
	 * be as far as it got. */
	if (err && steps[step].step == replace)
		require(f, raw || is(f, "K", text, 9000) || (!at_rest && value(f, "K", buf) == 0),
			"neither old nor new");
}

/* hidden: the failure could be noted in the store, so that a kill does not publish what is cut short. */
static void check_after_remount(struct fixture *f, size_t step, dv_err err, bool hidden)
{
	if (!f->s)
		CHECK_EQ(open_store(f), 0);
	check_twin(f, step, err, false);
	dv_ignore(close_store(f)); /* an error of earlier work may be told once */
	CHECK_EQ(open_store(f), 0);
	check_twin(f, step, err, hidden);
	CHECK_EQ(close_store(f), 0);
	CHECK_EQ(simfs_open_fds(f->fs), 0);
	CHECK_EQ(simfs_bad_fds(f->fs), 0);
}

/* error 0: the n-th transfer does half of its work. */
static void arm(struct fixture *f, unsigned long n, int error, bool for_good)
{
	simfs_fail_op(f->fs, error ? NULL : "pread,pwrite,copy_range");
	simfs_fail_short(f->fs, error == 0);
	simfs_fail_nth(f->fs, n, error ? error : EIO, for_good);
}

/* -> false: the call was not reached. killed: before anything else is done. */
static bool fail_twin(size_t step, unsigned long n, int error, bool for_good, bool killed)
{
	struct fixture f;
	setup(&f, true);
	snprintf(trying, sizeof(trying), "%s: call %lu fails with %s%s%s", steps[step].name, n,
		 error ? strerror(error) : "a short count", for_good ? " and all later ones" : "",
		 killed ? ", killed" : "");
	arm(&f, n, error, for_good);
	dv_err err = steps[step].step(&f);
	bool hit = simfs_failed(f.fs);
	simfs_fail_nth(f.fs, 0, 0, false);
	if (killed) {
		struct fixture after = {.fs = simfs_after_kill(f.fs)};
		check_after_remount(&after, step, err, !for_good);
		simfs_free(after.fs);
	}
	require(&f, (hit && error) || err == 0, "fails without an error");
	check_after_remount(&f, step, err, true);
	simfs_free(f.fs);
	return hit;
}

static void test_a_twin_loses_neither_value_whatever_fails(void)
{
	unsigned long made = 0;
	size_t count = slow ? DV_ARRAY_LEN(errors) : TEST_SANITIZED ? 1 : 4;
	for (size_t step = 0; step < DV_ARRAY_LEN(steps); step++)
		for (size_t e = 0; e < count; e++)
			for (unsigned how = 0; how < 4; how++)
				for (unsigned long n = 1;
				     fail_twin(step, n, errors[e], how & 1, how & 2); n++)
					made++;
	CHECK(made > 100);
}

/* ---- imports ---- */

static bool fail_import(const char *file, const char *name, unsigned long n, int error,
			bool for_good)
{
	struct fixture f;
	struct dv_import im;
	struct dv_put *p = NULL;
	setup(&f, false);
	CHECK_EQ(dv_import_open(AT_FDCWD, file, &im), 0);
	arm(&f, n, error, for_good);
	dv_err err = dv_import_copy(f.s, &call, &im, NULL, NULL, &p);
	if (!err)
		err = dv_put_commit(f.s, &call, p, f.root, name, DV_PUT_SYNC);
	dv_put_end(f.s, &p);
	bool hit = simfs_failed(f.fs);
	simfs_fail_nth(f.fs, 0, 0, false);
	dv_import_close(&im);
	CHECK((hit && error) || err == 0);
	for (unsigned round = 0; round < 2; round++) {
		char buf[FILE_MAX];
		bool whole = is(&f, name, text, PLAIN);
		/* Where only the sync failed it is there, and the error told. */
		CHECK(whole ||
		      (err && (value(&f, name, buf) == -ENOENT || is(&f, name, "of its own", 10))));
		CHECK(is(&f, "M", "of its own", 10) || !strcmp(name, "M"));
		dv_err closed = close_store(&f);
		CHECK(closed == 0 || hit);
		CHECK_EQ(simfs_open_fds(f.fs), 0);
		CHECK_EQ(open_store(&f), 0);
	}
	CHECK_EQ(close_store(&f), 0);
	simfs_free(f.fs);
	return hit;
}

static void test_an_import_is_there_whole_or_not_at_all(void)
{
	char file[] = "/tmp/dv-nth-XXXXXX";
	int fd = mkstemp(file);
	size_t count = slow ? DV_ARRAY_LEN(errors) : TEST_SANITIZED ? 1 : 4;
	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, PLAIN), PLAIN);
	close(fd);
	for (size_t e = 0; e < count; e++)
		for (unsigned how = 0; how < 4; how++)
			for (unsigned long n = 1;
			     fail_import(file, how & 2 ? "M" : "new", n, errors[e], how & 1); n++)
				;
	unlink(file);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_twin_loses_neither_value_whatever_fails),
		CHECK_TEST(test_an_import_is_there_whole_or_not_at_all),
	};
	for (size_t i = 0; i < PLAIN; i++)
		text[i] = (char)('a' + i * i % 7);
	foreign_len = ZSTD_compress(foreign, sizeof(foreign), text, PLAIN, 3);
	dv_log_set_sink(no_log);
	slow = argc > 1 && !strcmp(argv[1], "--slow");
	return check_main(argc - slow, argv + slow, tests, DV_ARRAY_LEN(tests));
}
