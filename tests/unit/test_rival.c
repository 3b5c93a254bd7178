/* SPDX-License-Identifier: MIT */
/*
 * test_rival.c - a form that is to go is gone, or another one has its name, at the very moment in which it
 * is removed (dv_unlink_form): another mount was first. What was being done has been done.
 */
#include "core/cleanup.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

#include <errno.h>
#include <fcntl.h>

static const struct dv_call call;
static struct simfs *fs;
static struct dv_store *s;
static struct dv_node *root;

/* ---- what others do just before a rename ---- */

static struct dv_backing_ops ops; /* simfs', but for rename */
static void (*before_rename)(const char *oldname, const char *newname);

static int watched_rename(void *self, int olddir, const char *oldname, int newdir,
			  const char *newname, unsigned flags)
{
	struct dv_backing k = simfs_backing(self);
	if (before_rename)
		before_rename(oldname, newname);
	return k.ops->rename(self, olddir, oldname, newdir, newname, flags);
}

/* A program in the store makes a file. */
static void put(const char *name, const char *text)
{
	struct dv_backing k = simfs_backing(fs);
	int dir = k.ops->open_root(k.self, "/");
	int fd = k.ops->open(k.self, dir, name, O_RDWR | O_CREAT | O_TRUNC, 0644);
	CHECK(fd >= 0);
	CHECK_EQ(k.ops->pwrite(k.self, fd, text, strlen(text), 0), (ssize_t)strlen(text));
	k.ops->close(k.self, fd);
	k.ops->close(k.self, dir);
}

static void remove_it(const char *name)
{
	struct dv_backing k = simfs_backing(fs);
	int dir = k.ops->open_root(k.self, "/");
	CHECK_EQ(k.ops->unlink(k.self, dir, name), 0);
	k.ops->close(k.self, dir);
}

static bool is_there(const char *name)
{
	struct dv_backing k = simfs_backing(fs);
	struct dv_stat st;
	int dir = k.ops->open_root(k.self, "/");
	dv_err err = k.ops->stat(k.self, dir, name, &st);
	k.ops->close(k.self, dir);
	return err == 0;
}

/* ---- the store ---- */

static int has_writer(void *self, struct dv_node *n)
{
	(void)self, (void)n;
	return 0;
}

static void begin(void)
{
	char why[256];
	struct dv_init_options init = {0};
	struct dv_store_options o = {.threads = 1, .hooks = {.has_writer = has_writer}};
	fs = simfs_new();
	struct dv_backing b = simfs_backing(fs);
	ops = *b.ops;
	ops.rename = watched_rename;
	b.ops = &ops;
	CHECK_EQ(dv_store_init(b, "/", &init, why, sizeof(why)), 0);
	CHECK_EQ(dv_store_open(b, "/", &o, &s, why, sizeof(why)), 0);
	root = dv_store_root(s);
}

static void end(void)
{
	unsigned left = 0;
	before_rename = NULL;
	dv_node_unref(s, root);
	CHECK_EQ(dv_store_close(&s, &left), 0);
	CHECK_EQ(left, 0);
	CHECK_EQ(simfs_open_fds(fs), 0);
	simfs_free(fs);
}

enum { LEN = 20000 };

static void fill(struct dv_node *n, char letter)
{
	static char buf[LEN];
	memset(buf, letter, sizeof(buf));
	CHECK_EQ(dv_store_write(s, &call, n, buf, (struct dv_range){0, LEN}, 0), LEN);
}

static struct dv_node *make(const char *name, char letter)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	CHECK_EQ(dv_store_mknod(s, &call, root, name, S_IFREG | 0644, 0, &n, &st), 0);
	fill(n, letter);
	return n;
}

static char shown(const char *name)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	char first = '!';
	if (dv_store_lookup(s, &call, root, name, &n, &st))
		return '-';
	CHECK_EQ(dv_store_read(s, &call, n, &first, (struct dv_range){0, 1}), 1);
	dv_node_unref(s, n);
	return first;
}

/* ---- rename ---- */

static void remove_packed_first(const char *oldname, const char *newname)
{
	(void)newname;
	if (strcmp(oldname, "k.zst") != 0)
		return;
	before_rename = NULL;
	remove_it("k.zst");
}

/* Another mount packs the value that is replaced at this moment, and takes that back. */
static void pack_beside(const char *oldname, const char *newname)
{
	if (strcmp(oldname, "t") != 0 || strcmp(newname, "k") != 0)
		return;
	put("k.zst", "packed elsewhere");
	before_rename = remove_packed_first;
}

static void test_a_rename_beside_a_form_that_others_take_back_is_done(void)
{
	begin();
	dv_node_unref(s, make("k", 'o'));
	dv_node_unref(s, make("t", 'n'));
	before_rename = pack_beside;
	CHECK_EQ(dv_store_rename(s, &call, root, "t", root, "k", 0), 0);
	CHECK(before_rename == NULL);
	CHECK_EQ(shown("k"), 'n');
	CHECK_EQ(shown("t"), '-');
	CHECK(!is_there("k.zst"));
	end();
}

static void fail_sync(const char *op)
{
	if (strcmp(op, "fsync") == 0) {
		simfs_set_before_call(fs, NULL);
		simfs_fail_nth(fs, 1, ESTALE, false);
	}
}

static void pack_beside_and_fail(const char *oldname, const char *newname)
{
	if (strcmp(oldname, "t") != 0 || strcmp(newname, "k") != 0)
		return;
	before_rename = NULL;
	put("k.zst", "packed elsewhere");
	simfs_set_before_call(fs, fail_sync);
}

static void test_a_rename_after_which_something_is_to_be_tried_again_is_done(void)
{
	begin();
	dv_node_unref(s, make("k", 'o'));
	dv_node_unref(s, make("t", 'n'));
	before_rename = pack_beside_and_fail;
	CHECK_EQ(dv_store_rename(s, &call, root, "t", root, "k", 0), 0);
	CHECK(before_rename == NULL);
	CHECK_EQ(simfs_failed(fs), 1);
	CHECK_EQ(shown("k"), 'n');
	CHECK_EQ(shown("t"), '-');
	end();
}

/* ---- a superseded form ---- */

static void test_a_superseded_form_that_others_remove_fails_no_sync(void)
{
	struct dv_pack_result r;
	begin();
	struct dv_node *n = make("k", 'o');
	CHECK_EQ(dv_store_pack_all(s, &r), 0);
	CHECK(is_there("k.zst") && !is_there("k"));
	fill(n, 'n');
	before_rename = remove_packed_first;
	CHECK_EQ(dv_store_fsync(s, &call, n, false), 0);
	dv_store_run(s, true);
	CHECK(before_rename == NULL);
	CHECK_EQ(shown("k"), 'n');
	dv_node_unref(s, n);
	end();
}

/* ---- a raw file of a program beside the packed form ---- */

/* Which of the two was written last is the value; the other one is kept. */
static void test_a_replacement_beside_which_a_program_puts_a_file_does_not_stay_pending(void)
{
	for (int later = 0; later < 2; later++) {
		struct dv_setattr set = {.valid = DV_SET_SIZE};
		struct dv_store_stats st;
		struct dv_pack_result r;
		struct dv_stat out;
		begin();
		struct dv_node *n = make("k", 'o');
		CHECK_EQ(dv_store_pack_all(s, &r), 0);
		CHECK_EQ(dv_store_setattr(s, &call, n, &set, &out), 0);
		fill(n, 'n');
		put("k", "of a program");
		if (later)
			fill(n, 'n');
		for (int i = 0; i < 4; i++)
			dv_store_run(s, true);
		dv_store_stats(s, &st);
		CHECK_EQ(st.pending, 0);
		CHECK_EQ(st.put_aside, !later);
		dv_node_unref(s, n);
		CHECK_EQ(shown("k"), later ? 'n' : 'o');
		end();
	}
}

/* ---- a new value ---- */

static bool made; /* by another mount, after the file here was removed */

static void make_elsewhere(const char *op)
{
	if (strcmp(op, "stat") == 0 || strcmp(op, "unlink") == 0) {
		simfs_set_before_call(fs, NULL);
		put("k", "made elsewhere");
	}
}

static void replace_what_was_made(const char *oldname, const char *newname)
{
	(void)newname;
	if (strcmp(oldname, "k") != 0)
		return;
	before_rename = NULL;
	remove_it("k");
	if (made)
		simfs_set_before_call(fs, make_elsewhere);
}

static void before_call(const char *op)
{
	if (strcmp(op, "stat") != 0)
		return;
	simfs_set_before_call(fs, NULL);
	if (!is_there("k")) {
		simfs_set_before_call(fs, before_call);
		return;
	}
	put("k.zst", "packed elsewhere");
	before_rename = replace_what_was_made;
}

/* Beside a packed form that came at this moment the file that was made for the new value goes: no other one. */
static void test_a_new_value_beside_one_that_came_takes_nothing_of_others_with_it(void)
{
	for (int i = 0; i < 2; i++) {
		struct dv_node *n = NULL;
		struct dv_stat st;
		begin();
		made = i;
		simfs_set_before_call(fs, before_call);
		CHECK_EQ(dv_store_mknod(s, &call, root, "k", S_IFREG | 0644, 0, &n, &st), -EEXIST);
		simfs_set_before_call(fs, NULL);
		CHECK(before_rename == NULL);
		CHECK_EQ(is_there("k"), made);
		CHECK(is_there("k.zst"));
		end();
	}
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_rename_beside_a_form_that_others_take_back_is_done),
		CHECK_TEST(test_a_rename_after_which_something_is_to_be_tried_again_is_done),
		CHECK_TEST(test_a_superseded_form_that_others_remove_fails_no_sync),
		CHECK_TEST(
			test_a_replacement_beside_which_a_program_puts_a_file_does_not_stay_pending),
		CHECK_TEST(test_a_new_value_beside_one_that_came_takes_nothing_of_others_with_it),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
