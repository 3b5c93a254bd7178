/* SPDX-License-Identifier: MIT */
/* test_loose.c - the table of names that the power may undo, by itself. */
#include "core/cleanup.h"
#include "core/loose.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

static struct simfs *fs;
static struct dv_store s;
static struct dv_node root, dir;

static void begin(void)
{
	fs = simfs_new();
	s = (struct dv_store){.b = simfs_backing(fs), .root = &root};
	root = (struct dv_node){.id = {.dev = 1, .ino = 2}};
	dir = (struct dv_node){.id = {.dev = 1, .ino = 3}};
	s.rootfd = s.b.ops->open_root(s.b.self, "/");
	CHECK(s.rootfd >= 0);
	CHECK_EQ(dv_loose_new(&s.loose), 0);
}

static void end(void)
{
	dv_loose_free(&s.loose);
	CHECK(s.loose == NULL);
	s.b.ops->close(s.b.self, s.rootfd);
	simfs_free(fs);
}

static struct dv_loose_at at(const struct dv_node *in, const char *shard, const char *name)
{
	return (struct dv_loose_at){.dir = in, .shard = shard, .name = name};
}

static void add(const struct dv_node *in, const char *name, unsigned what)
{
	struct dv_loose_at a = at(in, NULL, name);
	dv_loose_add(&s, &a, what, 0);
}

static unsigned get(const struct dv_node *in, const char *name)
{
	struct dv_loose_at a = at(in, NULL, name);
	return dv_loose_get(&s, &a);
}

static void test_a_key_is_loose_until_its_own_directory_is_synced(void)
{
	begin();
	CHECK(dv_loose_is_empty(&s));
	add(&root, "a", DV_LOOSE_RAW);
	add(&root, "a", DV_LOOSE_MOVED);
	add(&dir, "a", DV_LOOSE_PACKED);
	CHECK_EQ(get(&root, "a"), DV_LOOSE_RAW | DV_LOOSE_MOVED);
	CHECK_EQ(get(&dir, "a"), DV_LOOSE_PACKED);
	CHECK_EQ(get(&dir, "b"), 0);
	struct dv_loose_at in_root = at(&root, NULL, "other"), in_dir = at(&dir, NULL, "");
	CHECK_EQ(dv_loose_sync(&s, &in_root, s.rootfd), 0);
	CHECK_EQ(get(&root, "a"), 0);
	CHECK_EQ(get(&dir, "a"), DV_LOOSE_PACKED);
	CHECK_EQ(dv_loose_sync(&s, &in_dir, s.rootfd), 0);
	CHECK(dv_loose_is_empty(&s));
	end();
}

static void test_settling_syncs_only_where_it_is_needed(void)
{
	begin();
	struct dv_loose_at a = at(&dir, NULL, "a");
	dv_loose_add(&s, &a, DV_LOOSE_PACKED, 7);
	unsigned long before = simfs_fsync_calls(fs);
	CHECK_EQ(dv_loose_settle(&s, &a, s.rootfd, DV_LOOSE_RAW, false), 0);
	CHECK_EQ(simfs_fsync_calls(fs), before);
	CHECK_EQ(dv_loose_settle(&s, &a, s.rootfd, DV_LOOSE_PACKED, true), -EAGAIN);
	CHECK_EQ(dv_loose_settle(&s, &a, s.rootfd, DV_LOOSE_PACKED, false), 0);
	CHECK_EQ(simfs_fsync_calls(fs), before + 1);
	CHECK_EQ(dv_loose_settle(&s, &a, s.rootfd, DV_LOOSE_PACKED, false), 0);
	CHECK_EQ(simfs_fsync_calls(fs), before + 1);
	end();
}

static void test_what_could_not_be_synced_stays_loose(void)
{
	begin();
	struct dv_loose_at a = at(&dir, NULL, "a");
	dv_loose_add(&s, &a, DV_LOOSE_PACKED, 0);
	simfs_fail_op(fs, "fsync,syncfs");
	simfs_fail_nth(fs, 1, EIO, true);
	CHECK_EQ(dv_loose_sync(&s, &a, s.rootfd), -EIO);
	CHECK_EQ(dv_loose_sync_all(&s), -EIO);
	CHECK_EQ(dv_loose_get(&s, &a), DV_LOOSE_PACKED);
	end();
}

static void test_a_via_is_for_one_use_and_goes_with_the_form_it_is_of(void)
{
	begin();
	struct dv_loose_at a = at(&dir, NULL, "a");
	dv_loose_add(&s, &a, DV_LOOSE_PACKED, 7);
	CHECK_EQ(dv_loose_take_via(&s, &a), 7);
	CHECK_EQ(dv_loose_take_via(&s, &a), 0);
	CHECK_EQ(dv_loose_get(&s, &a), DV_LOOSE_PACKED); /* still loose */
	dv_loose_add(&s, &a, DV_LOOSE_PACKED, 8);
	dv_loose_drop(&s, &a, DV_LOOSE_PACKED, UINT64_MAX);
	dv_loose_add(&s, &a, DV_LOOSE_RAW, 0);
	CHECK_EQ(dv_loose_take_via(&s, &a), 0);
	end();
}

static void test_what_changed_after_a_number_is_not_dropped_by_it(void)
{
	begin();
	struct dv_loose_at a = at(&dir, NULL, "a");
	dv_loose_add(&s, &a, DV_LOOSE_RAW, 0);
	uint64_t until = dv_loose_changes(&s);
	dv_loose_add(&s, &a, DV_LOOSE_RAW, 0);
	dv_loose_drop(&s, &a, DV_LOOSE_RAW, until);
	CHECK_EQ(dv_loose_get(&s, &a), DV_LOOSE_RAW);
	dv_loose_drop(&s, &a, DV_LOOSE_RAW, dv_loose_changes(&s));
	CHECK(dv_loose_is_empty(&s));
	end();
}

static void test_a_removed_directory_takes_its_names_along(void)
{
	begin();
	add(&dir, "a", DV_LOOSE_RAW);
	add(&dir, "b", DV_LOOSE_RAW);
	add(&root, "a", DV_LOOSE_RAW);
	dv_loose_drop_dir(&s, &dir, NULL);
	CHECK_EQ(get(&dir, "a") | get(&dir, "b"), 0);
	CHECK_EQ(get(&root, "a"), DV_LOOSE_RAW);
	end();
}

static void test_directories_that_moved_are_known_until_they_are_durable(void)
{
	begin();
	CHECK(!dv_loose_dirs_moved(&s));
	add(&root, "d", DV_LOOSE_MOVED | DV_LOOSE_DIR);
	add(&root, "e", DV_LOOSE_MOVED);
	CHECK(dv_loose_dirs_moved(&s));
	struct dv_loose_at in_root = at(&root, NULL, "");
	CHECK_EQ(dv_loose_sync(&s, &in_root, s.rootfd), 0);
	CHECK(!dv_loose_dirs_moved(&s));
	end();
}

static void
test_a_shard_directory_to_be_pruned_is_told_once_and_its_making_outlives_its_own_sync(void)
{
	begin();
	struct dv_loose_at shard = at(&root, "ab/cd", ""), key = at(&root, "ab/cd", "abcde");
	dv_loose_add(&s, &shard, DV_LOOSE_MADE | DV_LOOSE_RENAMED, 0);
	dv_loose_add(&s, &shard, DV_LOOSE_PRUNE, 0);
	dv_loose_add(&s, &key, DV_LOOSE_RAW, 0);
	CHECK_EQ(dv_loose_sync(&s, &key, s.rootfd), 0);
	CHECK_EQ(dv_loose_get(&s, &key), 0);
	CHECK_EQ(dv_loose_get(&s, &shard), DV_LOOSE_MADE | DV_LOOSE_PRUNE);
	char *told = dv_loose_next_prune(&s);
	CHECK_STR(told, "ab/cd");
	free(told);
	CHECK(dv_loose_next_prune(&s) == NULL);
	CHECK_EQ(dv_loose_get(&s, &shard), DV_LOOSE_MADE);
	CHECK_EQ(dv_loose_sync_all(&s), 0);
	CHECK(dv_loose_is_empty(&s));
	end();
}

static void test_past_the_bound_every_name_counts_until_a_syncfs(void)
{
	char name[32];
	begin();
	for (unsigned i = 0; i < DV_LOOSE_MAX / 2; i++) {
		snprintf(name, sizeof(name), "%u", i);
		add(&root, name, DV_LOOSE_RAW);
		CHECK_EQ(dv_loose_is_crowded(&s), i + 1 > DV_LOOSE_MAX / 4);
	}
	CHECK_EQ(get(&root, "x"), 0);
	add(&root, "one more", DV_LOOSE_RAW);
	CHECK(get(&root, "x") & DV_LOOSE_PACKED);
	struct dv_loose_at x = at(&dir, NULL, "x"), shard = at(&root, "ab", "");
	CHECK_EQ(dv_loose_get(&s, &shard), 0); /* those have their own half */
	unsigned long before = simfs_fsync_calls(fs);
	CHECK_EQ(dv_loose_settle(&s, &x, s.rootfd, DV_LOOSE_PACKED, false), 0);
	CHECK_EQ(simfs_fsync_calls(fs), before + 1);
	CHECK(dv_loose_is_empty(&s));
	CHECK_EQ(get(&root, "x"), 0);
	end();
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_key_is_loose_until_its_own_directory_is_synced),
		CHECK_TEST(test_settling_syncs_only_where_it_is_needed),
		CHECK_TEST(test_what_could_not_be_synced_stays_loose),
		CHECK_TEST(test_a_via_is_for_one_use_and_goes_with_the_form_it_is_of),
		CHECK_TEST(test_what_changed_after_a_number_is_not_dropped_by_it),
		CHECK_TEST(test_a_removed_directory_takes_its_names_along),
		CHECK_TEST(test_directories_that_moved_are_known_until_they_are_durable),
		CHECK_TEST(
			test_a_shard_directory_to_be_pruned_is_told_once_and_its_making_outlives_its_own_sync),
		CHECK_TEST(test_past_the_bound_every_name_counts_until_a_syncfs),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
