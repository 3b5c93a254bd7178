/* SPDX-License-Identifier: MIT */
/*
 * test_moves.c - records beneath directories that are renamed while other directories are: a kill
 * afterwards finds each value with the bytes that it was told of.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define FRAME	 4096u
#define OLD	 (9 * FRAME + 10)
#define ADDED	 100u
#define DIRS	 4u
#define ALL	 0xfu
#define LINE	 32u
#define WAITS_MS 300 /* for the other thread, which may have to wait for this one */

static const struct dv_call call;
static const char *const names[DIRS] = {"a", "b", "c", "d"};

/* p/a/x to p/d/x are packed values; what is added to them lies in segments, for which a record is. */
struct fix {
	struct simfs *fs;
	struct dv_store *s;
	struct dv_node *root, *parent, *dirs[DIRS], *values[DIRS];
	/* What is done by another thread when this one comes to the call `at`. */
	const char *at;
	void (*act)(struct fix *f);
	pthread_t self, other;
	atomic_bool ended;
	bool begun;
};

static struct fix *now; /* the hook of simfs has no argument */

static void no_log(enum dv_log_level level, const char *line)
{
	if (getenv("TEST_LOG"))
		fprintf(stderr, "%d %s\n", level, line);
}

static int no_writer(void *self, struct dv_node *n)
{
	(void)self;
	(void)n;
	return 0;
}

static void *act(void *arg)
{
	struct fix *f = arg;
	f->act(f);
	atomic_store(&f->ended, true);
	return NULL;
}

static void before_call(const char *op)
{
	struct fix *f = now;
	if (!f->at || !pthread_equal(f->self, pthread_self()) || f->begun || strcmp(op, f->at) != 0)
		return;
	f->begun = true;
	CHECK_EQ(pthread_create(&f->other, NULL, act, f), 0);
	for (int i = 0; i < WAITS_MS && !atomic_load(&f->ended); i++)
		usleep(1000);
}

static void open_store(struct fix *f)
{
	char why[512];
	struct dv_store_options o = {.threads = 1,
				     .settle_ms = 50,
				     .append_bytes = 2 * FRAME,
				     .segment_bytes = 8 * FRAME,
				     .boot_id = "one boot",
				     .hooks = {.has_writer = no_writer}};
	dv_err err = dv_store_open(simfs_backing(f->fs), "/", &o, &f->s, why, sizeof(why));
	if (err)
		fprintf(stderr, "open: %s\n", why);
	CHECK_EQ(err, 0);
	f->root = dv_store_root(f->s);
}

/* Of the value that was made in directory d. */
static void fill(uint8_t *bytes, size_t len, unsigned d)
{
	char line[64];
	for (size_t i = 0; i < len; i++) {
		if (i % LINE == 0)
			snprintf(line, sizeof(line), "value %s, at %010zu, some text\n", names[d],
				 i);
		bytes[i] = (uint8_t)line[i % LINE];
	}
}

static void add(struct fix *f, unsigned d)
{
	uint8_t bytes[OLD + ADDED];
	fill(bytes, sizeof(bytes), d);
	CHECK_EQ(dv_store_write(f->s, &call, f->values[d], bytes + OLD,
				(struct dv_range){OLD, ADDED}, 0),
		 ADDED);
}

/* added: a bit for each value that something is added to. */
static void setup(struct fix *f, unsigned added)
{
	uint8_t bytes[OLD];
	char why[512];
	struct dv_stat st;
	struct dv_init_options init = {.frame_size = FRAME};
	*f = (struct fix){.fs = simfs_new(), .self = pthread_self()};
	now = f;
	CHECK_EQ(dv_store_init(simfs_backing(f->fs), "/", &init, why, sizeof(why)), 0);
	open_store(f);
	CHECK_EQ(dv_store_mkdir(f->s, &call, f->root, "p", 0755, &f->parent, &st), 0);
	for (unsigned d = 0; d < DIRS; d++) {
		CHECK_EQ(dv_store_mkdir(f->s, &call, f->parent, names[d], 0755, &f->dirs[d], &st),
			 0);
		CHECK_EQ(dv_store_mknod(f->s, &call, f->dirs[d], "x", S_IFREG | 0644, 0,
					&f->values[d], &st),
			 0);
		fill(bytes, sizeof(bytes), d);
		CHECK_EQ(dv_store_write(f->s, &call, f->values[d], bytes, (struct dv_range){0, OLD},
					0),
			 OLD);
	}
	(void)dv_store_run(f->s, true);
	(void)dv_store_run(f->s, true);
	for (unsigned d = 0; d < DIRS; d++)
		if (added & 1u << d)
			add(f, d);
	simfs_set_before_call(f->fs, before_call);
}

static void close_store(struct fix *f)
{
	for (unsigned d = 0; d < DIRS; d++) {
		dv_node_unref(f->s, f->values[d]);
		dv_node_unref(f->s, f->dirs[d]);
	}
	dv_node_unref(f->s, f->parent);
	dv_node_unref(f->s, f->root);
	CHECK_EQ(dv_store_close(&f->s, NULL), 0);
}

static void rename_in(struct fix *f, const char *from, const char *to, unsigned flags)
{
	CHECK_EQ(dv_store_rename(f->s, &call, f->parent, from, f->parent, to, flags), 0);
}

static void exchange_c_and_d(struct fix *f)
{
	rename_in(f, "c", "d", RENAME_EXCHANGE);
}

static void rename_parent(struct fix *f)
{
	CHECK_EQ(dv_store_rename(f->s, &call, f->root, "p", f->root, "q", 0), 0);
}

static void add_to_a(struct fix *f)
{
	add(f, 0);
}

static void add_to_b(struct fix *f)
{
	add(f, 1);
}

static void check_value(struct fix *f, struct dv_node *parent, const char *dir, unsigned d)
{
	uint8_t is[OLD + ADDED + 1], expected[OLD + ADDED];
	struct dv_node *n = NULL, *value = NULL;
	struct dv_stat st;
	CHECK_EQ(dv_store_lookup(f->s, &call, parent, dir, &n, &st), 0);
	CHECK_EQ(dv_store_lookup(f->s, &call, n, "x", &value, &st), 0);
	fill(expected, sizeof(expected), d);
	CHECK_EQ(st.size, sizeof(expected));
	CHECK_EQ(dv_store_read(f->s, &call, value, is, (struct dv_range){0, sizeof(is)}),
		 (ssize_t)sizeof(expected));
	CHECK(memcmp(is, expected, sizeof(expected)) == 0);
	dv_node_unref(f->s, value);
	dv_node_unref(f->s, n);
}

/* kill -9 now: in directory i of parent lies the value that was made in directory lies[i], whole. */
static void check_after_kill(struct fix *f, const char *parent, const char *dirs, const char *lies)
{
	struct dv_node *p = NULL;
	struct dv_stat st;
	CHECK(f->begun);
	CHECK_EQ(pthread_join(f->other, NULL), 0);
	struct simfs *killed = simfs_after_kill(f->fs);
	f->at = NULL;
	close_store(f);
	simfs_free(f->fs);

	struct fix after = {.fs = killed};
	open_store(&after);
	CHECK_EQ(dv_store_lookup(after.s, &call, after.root, parent, &p, &st), 0);
	for (unsigned i = 0; dirs[i]; i++) {
		const char dir[2] = {dirs[i], '\0'};
		check_value(&after, p, dir, (unsigned)(lies[i] - 'a'));
	}
	dv_node_unref(after.s, p);
	close_store(&after);
	simfs_free(killed);
}

static void test_two_exchanges_at_once_lose_nothing(void)
{
	struct fix f;
	setup(&f, ALL);
	f.at = "fdatasync"; /* of the log: records have got new paths */
	f.act = exchange_c_and_d;
	rename_in(&f, "a", "b", RENAME_EXCHANGE);
	check_after_kill(&f, "p", "abcd", "badc");
}

static void test_an_exchange_in_a_directory_that_is_renamed_loses_nothing(void)
{
	struct fix f;
	setup(&f, ALL);
	f.at = "fdatasync";
	f.act = rename_parent;
	rename_in(&f, "a", "b", RENAME_EXCHANGE);
	check_after_kill(&f, "q", "abcd", "bacd");
}

static void test_a_renaming_in_a_directory_that_is_renamed_loses_nothing(void)
{
	struct fix f;
	setup(&f, ALL);
	f.at = "fdatasync";
	f.act = rename_parent;
	rename_in(&f, "a", "e", 0);
	check_after_kill(&f, "q", "ebcd", "abcd");
}

static void test_what_is_added_during_an_exchange_is_not_lost(void)
{
	static void (*const acts[])(struct fix *) = {add_to_a, add_to_b};
	for (unsigned i = 0; i < DV_ARRAY_LEN(acts); i++) {
		struct fix f;
		setup(&f, ALL & ~(1u << i));
		f.at = "rename";
		f.act = acts[i];
		rename_in(&f, "a", "b", RENAME_EXCHANGE);
		check_after_kill(&f, "p", "abcd", "bacd");
	}
}

static void test_what_is_added_during_a_renaming_is_not_lost(void)
{
	struct fix f;
	setup(&f, ALL & ~1u);
	f.at = "rename";
	f.act = add_to_a;
	rename_in(&f, "a", "e", 0);
	check_after_kill(&f, "p", "ebcd", "abcd");
}

static void test_a_renaming_that_fails_leaves_records_where_they_are(void)
{
	struct fix f;
	setup(&f, ALL);
	simfs_fail_op(f.fs, "rename");
	simfs_fail_nth(f.fs, 1, EIO, false);
	CHECK_EQ(dv_store_rename(f.s, &call, f.parent, "a", f.parent, "b", RENAME_EXCHANGE), -EIO);
	f.at = "fdatasync";
	f.act = exchange_c_and_d;
	rename_in(&f, "b", "e", 0);
	check_after_kill(&f, "p", "aecd", "abdc");
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_two_exchanges_at_once_lose_nothing),
		CHECK_TEST(test_an_exchange_in_a_directory_that_is_renamed_loses_nothing),
		CHECK_TEST(test_a_renaming_in_a_directory_that_is_renamed_loses_nothing),
		CHECK_TEST(test_what_is_added_during_an_exchange_is_not_lost),
		CHECK_TEST(test_what_is_added_during_a_renaming_is_not_lost),
		CHECK_TEST(test_a_renaming_that_fails_leaves_records_where_they_are),
	};
	dv_log_set_sink(no_log);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
