/* SPDX-License-Identifier: MIT */
/*
 * test_adopt.c - a folder with .zst files becomes a store that keeps them as files: all or nothing
 * of it is refused, a run that was cut off at any call is gone on with, nothing is lost.
 */
#include "core/cleanup.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

#include <errno.h>

static const char *const files[] = {
	"a.zst",       "plain", "sub/b.zst", "sub/c.txt", "sub/deeper/d.zst",
	"e.zst/f.zst", ".zst",	"sub/x.zst"};
static const char *const dirs[] = {"sub", "sub/deeper", "e.zst"};

static char why[512];

static void put(struct dv_backing b, int root, const char *name)
{
	int fd = b.ops->open(b.self, root, name, O_RDWR | O_CREAT | O_EXCL, 0644);
	CHECK(fd >= 0);
	CHECK_EQ(b.ops->pwrite(b.self, fd, name, strlen(name), 0), strlen(name));
	b.ops->close(b.self, fd);
}

static struct simfs *make_folder(void)
{
	struct simfs *fs = simfs_new();
	struct dv_backing b = simfs_backing(fs);
	int root = b.ops->open_root(b.self, "/");
	for (size_t i = 0; i < DV_ARRAY_LEN(dirs); i++)
		CHECK_EQ(b.ops->mkdir(b.self, root, dirs[i], 0755), 0);
	for (size_t i = 0; i < DV_ARRAY_LEN(files); i++)
		put(b, root, files[i]);
	CHECK_EQ(b.ops->symlink(b.self, "a.zst", root, "link.zst"), 0);
	CHECK_EQ(b.ops->syncfs(b.self, root), 0);
	b.ops->close(b.self, root);
	return fs;
}

static dv_err adopt(struct simfs *fs)
{
	struct dv_init_options o = {.adopt = true, .keep_zst = true};
	return dv_store_init(simfs_backing(fs), "/", &o, why, sizeof(why));
}

/* Is the file `name` at `stored`, whole? */
static bool is_at(struct dv_backing b, int root, const char *name, const char *stored)
{
	char text[300] = "";
	int fd = b.ops->open(b.self, root, stored, O_RDONLY, 0);
	if (fd < 0)
		return false;
	CHECK_EQ(b.ops->pread(b.self, fd, text, sizeof(text), 0), strlen(name));
	b.ops->close(b.self, fd);
	CHECK(!memcmp(text, name, strlen(name)));
	return true;
}

/* done: each .zst has its new name. Else it has one of the two, never both. */
static bool names_hold(struct simfs *fs, bool done)
{
	bool hold = true;
	struct dv_backing b = simfs_backing(fs);
	int root = b.ops->open_root(b.self, "/");
	for (size_t i = 0; i < DV_ARRAY_LEN(files); i++) {
		char raw[64];
		size_t len = strlen(files[i]);
		bool zst = len >= 4 && !strcmp(files[i] + len - 4, ".zst");
		snprintf(raw, sizeof(raw), "%s.raw", files[i]);
		bool here = is_at(b, root, files[i], files[i]);
		bool there = is_at(b, root, files[i], raw);
		hold &= here + there == 1 && (!there || zst) && (!done || there == zst);
	}
	char target[16];
	CHECK_EQ(b.ops->readlink(b.self, root, "link.zst", target, sizeof(target)), 5);
	b.ops->close(b.self, root);
	return hold;
}

static void check_names(struct simfs *fs, bool done)
{
	CHECK(names_hold(fs, done));
}

static void test_every_zst_file_is_a_key_of_that_name(void)
{
	static const struct dv_call call;
	struct simfs *fs = make_folder();
	struct dv_store *s = NULL;
	struct dv_store_options o = {.threads = 1, .boot_id = "boot"};
	struct dv_stat before, after, st;
	struct dv_backing b = simfs_backing(fs);
	int root = b.ops->open_root(b.self, "/");
	CHECK_EQ(b.ops->stat(b.self, root, "sub", &before), 0);
	CHECK_EQ(adopt(fs), 0);
	CHECK_EQ(b.ops->stat(b.self, root, "sub", &after), 0);
	CHECK(before.mtime.tv_sec == after.mtime.tv_sec &&
	      before.mtime.tv_nsec == after.mtime.tv_nsec);
	CHECK_EQ(b.ops->stat(b.self, root, ".diskvfs/keep-zst", &st), -ENOENT);
	b.ops->close(b.self, root);
	check_names(fs, true);
	CHECK_EQ(dv_store_open(b, "/", &o, &s, why, sizeof(why)), 0);
	for (size_t i = 0; i < DV_ARRAY_LEN(files); i++) {
		struct dv_node *dir = dv_store_root(s), *n = NULL;
		char path[64], text[64];
		strcpy(path, files[i]);
		for (char *at = path, *slash; at; at = slash ? slash + 1 : NULL) {
			slash = strchr(at, '/');
			if (slash)
				*slash = '\0';
			CHECK_EQ(dv_store_lookup(s, &call, dir, at, &n, &st), 0);
			dv_node_unref(s, dir);
			dir = n;
		}
		CHECK_EQ(dv_store_read(s, &call, n, text, (struct dv_range){0, sizeof(text)}),
			 strlen(files[i]));
		CHECK(!memcmp(text, files[i], strlen(files[i])));
		dv_node_unref(s, n);
	}
	CHECK_EQ(dv_store_close(&s, NULL), 0);
	CHECK_EQ(simfs_open_fds(fs), 0);
	simfs_free(fs);
}

static void test_a_run_that_was_cut_off_is_gone_on_with(void)
{
	unsigned long n = 1;
	for (bool more = true; more; n++) {
		struct simfs *fs = make_folder();
		simfs_power_cut_at(fs, n);
		more = adopt(fs) != 0;
		for (uint64_t seed = 0; more && seed < 6; seed++) {
			struct simfs *disk =
				seed == 5 ? simfs_after_kill(fs) : simfs_after_cut(fs, seed);
			check_names(disk, false);
			dv_err again = adopt(disk);
			CHECK(again == 0 || again == -EEXIST); /* the config was there */
			check_names(disk, true);
			simfs_free(disk);
		}
		simfs_free(fs);
	}
	CHECK(n > 15);
}

/* Is what a cut at call n leaves gone on with? *more: there is such a call. */
static bool cut_is_survived(unsigned long ignored, unsigned long torn, unsigned long n, bool *more)
{
	struct simfs *fs = make_folder();
	bool good = true;
	simfs_ignore_fsync(fs, ignored);
	simfs_tear_rename(fs, torn);
	simfs_power_cut_at(fs, n);
	*more = adopt(fs) != 0;
	if (!*more) { /* it was told that all is done: now the power may go */
		simfs_power_cut_at(fs, 1);
		CHECK(adopt(fs) != 0);
	}
	for (uint64_t seed = 0; good && seed < 24; seed++) {
		struct simfs *disk = simfs_after_cut(fs, seed);
		good = names_hold(disk, false);
		dv_err again = good ? adopt(disk) : 0;
		good = good && (again == 0 || again == -EEXIST) && names_hold(disk, true);
		simfs_free(disk);
	}
	simfs_free(fs);
	return good;
}

static bool is_missed(unsigned long ignored, unsigned long torn)
{
	bool good = true, more = true;
	for (unsigned long n = 1; good && more; n++)
		good = cut_is_survived(ignored, torn, n, &more);
	return !good;
}

static void test_every_sync_and_rename_that_matters_would_be_missed(void)
{
	struct simfs *fs = make_folder();
	unsigned long before = simfs_fsync_calls(fs), missed = 0;
	CHECK_EQ(adopt(fs), 0);
	unsigned long syncs = simfs_fsync_calls(fs) - before;
	simfs_free(fs);
	CHECK(!is_missed(0, 0));
	for (unsigned long i = 1; i <= syncs; i++)
		missed += is_missed(i, 0);
	/* the names in four directories, the mark's, the two folders above it */
	CHECK(missed >= 6);
	for (unsigned long i = 1; i <= 6; i++) /* each file, and the configuration at last */
		CHECK(is_missed(0, i));
}

static void test_a_call_that_fails_leaves_a_folder_to_go_on_with(void)
{
	unsigned long n = 1;
	for (bool more = true; more; n++) {
		struct simfs *fs = make_folder();
		simfs_fail_nth(fs, n, EIO, false);
		dv_err err = adopt(fs);
		more = simfs_failed(fs);
		simfs_fail_nth(fs, 0, 0, false);
		CHECK_EQ(simfs_open_fds(fs), 0);
		check_names(fs, false);
		if (err) {
			CHECK(why[0]);
			dv_err again = adopt(fs);
			CHECK(again == 0 || again == -EEXIST); /* the config was there */
		}
		check_names(fs, true);
		simfs_free(fs);
	}
	CHECK(n > 30);
}

static void test_what_is_in_the_way_is_told_before_anything_is_renamed(void)
{
	char longest[256] = "";
	memset(longest, 'n', 251);
	strcpy(longest + 248, ".zst");
	const char *const names[] = {"sub/b.zst.raw", "sub/lone.zst.raw", longest};
	for (size_t i = 0; i < DV_ARRAY_LEN(names); i++) {
		struct simfs *fs = make_folder();
		struct dv_backing b = simfs_backing(fs);
		struct dv_stat st;
		int root = b.ops->open_root(b.self, "/");
		put(b, root, names[i]);
		CHECK(adopt(fs) != 0);
		CHECK(strstr(why, names[i]) != NULL);
		CHECK(is_at(b, root, "a.zst", "a.zst") && is_at(b, root, names[i], names[i]));
		CHECK_EQ(b.ops->stat(b.self, root, ".diskvfs", &st), -ENOENT);
		b.ops->close(b.self, root);
		simfs_free(fs);
	}
}

static void test_zst_files_ask_for_a_choice_wherever_they_are(void)
{
	struct simfs *fs = simfs_new();
	struct dv_backing b = simfs_backing(fs);
	struct dv_init_options o = {.adopt = true};
	int root = b.ops->open_root(b.self, "/");
	CHECK_EQ(b.ops->mkdir(b.self, root, "sub", 0755), 0);
	put(b, root, "sub/x.zst");
	CHECK_EQ(dv_store_init(b, "/", &o, why, sizeof(why)), -ENOTEMPTY);
	CHECK(strstr(why, "sub/x.zst") && strstr(why, "--decode-zst") && strstr(why, "--keep-zst"));
	o.decode_zst = true;
	CHECK_EQ(dv_store_init(b, "/", &o, why, sizeof(why)), 0);
	b.ops->close(b.self, root);
	simfs_free(fs);
}

static void test_keeping_that_was_begun_is_not_taken_for_something_else(void)
{
	struct simfs *fs = make_folder();
	struct dv_init_options o = {.adopt = true, .decode_zst = true};
	simfs_fail_op(fs, "rename");
	simfs_fail_nth(fs, 3, EIO, false);
	CHECK(adopt(fs) != 0);
	CHECK_EQ(dv_store_init(simfs_backing(fs), "/", &o, why, sizeof(why)), -ENOTEMPTY);
	CHECK(strstr(why, "--keep-zst"));
	CHECK_EQ(adopt(fs), 0);
	check_names(fs, true);
	simfs_free(fs);
}

static void test_only_path_and_flat_keep(void)
{
	struct simfs *fs = make_folder();
	struct dv_init_options o = {.adopt = true, .keep_zst = true, .transform = "split:3"};
	CHECK_EQ(dv_store_init(simfs_backing(fs), "/", &o, why, sizeof(why)), -EINVAL);
	CHECK(strstr(why, "split:3"));
	simfs_free(fs);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_every_zst_file_is_a_key_of_that_name),
		CHECK_TEST(test_a_run_that_was_cut_off_is_gone_on_with),
		CHECK_TEST(test_every_sync_and_rename_that_matters_would_be_missed),
		CHECK_TEST(test_a_call_that_fails_leaves_a_folder_to_go_on_with),
		CHECK_TEST(test_what_is_in_the_way_is_told_before_anything_is_renamed),
		CHECK_TEST(test_zst_files_ask_for_a_choice_wherever_they_are),
		CHECK_TEST(test_keeping_that_was_begun_is_not_taken_for_something_else),
		CHECK_TEST(test_only_path_and_flat_keep),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
