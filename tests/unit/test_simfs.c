/* SPDX-License-Identifier: MIT */
/*
 * test_simfs.c - the laws of tests/support/simfs.h that the kernel can not be asked about:
 * durability, power cuts, kill -9, failing calls, counters. That it answers as Linux is
 * test_backing.c's matter.
 */
#include "core/backing.h"
#include "core/cleanup.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

#include <sys/file.h>
#include <sys/xattr.h>

#define BLOCK 4096
#define SEEDS 200

static struct simfs *fs;
static struct dv_backing b;
static int root;

#define DO(op, ...) b.ops->op(b.self, __VA_ARGS__)

/* ---- helpers ---- */

static void use(struct simfs *other)
{
	fs = other;
	b = simfs_backing(fs);
	root = b.ops->open_root(b.self, "/");
	CHECK(root >= 0);
}

static void start(void)
{
	use(simfs_new());
}

static void finish(void)
{
	DO(close, root);
	CHECK_EQ(simfs_open_fds(fs), 0);
	CHECK_EQ(simfs_bad_fds(fs), 0);
	simfs_free(fs);
}

static int open_ok(const char *name, int flags)
{
	int fd = DO(open, root, name, flags, 0644);
	CHECK(fd >= 0);
	return fd;
}

static void write_text(int fd, const char *text)
{
	CHECK_EQ(DO(pwrite, fd, text, strlen(text), 0), strlen(text));
}

/* A file that is durable with its name. */
static void put_durable(const char *name, const char *text)
{
	int fd = open_ok(name, O_CREAT | O_TRUNC | O_RDWR);
	write_text(fd, text);
	CHECK_EQ(DO(syncfs, fd), 0);
	DO(close, fd);
}

static void put_fsynced(const char *name, const char *text)
{
	int fd = open_ok(name, O_CREAT | O_TRUNC | O_RDWR);
	write_text(fd, text);
	CHECK_EQ(DO(fsync, fd), 0);
	DO(close, fd);
}

/* The text of a file of any filesystem; NULL where it is not. Valid until the next call. */
static const char *text_in(struct simfs *where, const char *name)
{
	static char buf[256];
	struct dv_backing w = simfs_backing(where);
	int top = w.ops->open_root(w.self, "/");
	int fd = w.ops->open(w.self, top, name, O_RDONLY, 0);
	w.ops->close(w.self, top);
	if (fd == -ENOENT)
		return NULL;
	CHECK(fd >= 0);
	ssize_t n = w.ops->pread(w.self, fd, buf, sizeof(buf) - 1, 0);
	CHECK(n >= 0);
	buf[n] = '\0';
	w.ops->close(w.self, fd);
	return buf;
}

static struct dv_stat stat_in(struct simfs *where, const char *name)
{
	struct dv_backing w = simfs_backing(where);
	struct dv_stat st;
	int top = w.ops->open_root(w.self, "/");
	CHECK_EQ(w.ops->stat(w.self, top, name, &st), 0);
	w.ops->close(w.self, top);
	return st;
}

static bool is_text(struct simfs *where, const char *name, const char *text)
{
	const char *got = text_in(where, name);
	return got != NULL && strcmp(got, text) == 0;
}

/* After a cut with this seed the file has this text; NULL: it is not there. */
static void expect_after(uint64_t seed, const char *name, const char *text)
{
	struct simfs *disk = simfs_after_cut(fs, seed);
	const char *got = text_in(disk, name);
	CHECK_STR(got != NULL ? got : "(none)", text != NULL ? text : "(none)");
	simfs_free(disk);
}

static void dump_to(struct simfs *where, char *buf, size_t size)
{
	FILE *out = fmemopen(buf, size, "w");
	CHECK(out != NULL);
	simfs_dump(where, out);
	fclose(out);
}

/* ---- data ---- */

static void test_nothing_unsynced_survives_seed_0_and_everything_seed_1(void)
{
	start();
	put_durable("old", "old");
	int fd = open_ok("old", O_RDWR);
	write_text(fd, "new text");
	DO(close, fd);
	fd = open_ok("made", O_CREAT | O_RDWR);
	write_text(fd, "made");
	DO(close, fd);
	expect_after(0, "old", "old");
	expect_after(0, "made", NULL);
	expect_after(1, "old", "new text");
	expect_after(1, "made", "made");
	finish();
}

static void test_fsync_of_a_file_keeps_its_data_but_not_its_name(void)
{
	start();
	put_fsynced("file", "data");
	expect_after(0, "file", NULL);
	CHECK_EQ(DO(fsync, root), 0);
	for (uint64_t seed = 0; seed < SEEDS; seed++)
		expect_after(seed, "file", "data");
	finish();
}

static void test_a_durable_name_of_an_unsynced_file_is_an_empty_file(void)
{
	start();
	int fd = open_ok("file", O_CREAT | O_RDWR);
	CHECK_EQ(DO(chmod, fd, 0600), 0);
	write_text(fd, "data");
	CHECK_EQ(DO(fsync, root), 0);
	expect_after(0, "file", "");
	struct simfs *disk = simfs_after_cut(fs, 0);
	CHECK_EQ(stat_in(disk, "file").mode, S_IFREG | 0644);
	simfs_free(disk);
	DO(close, fd);
	finish();
}

static void test_fdatasync_keeps_data_and_size_but_no_attributes(void)
{
	char buf[8];
	start();
	put_durable("file", "x");
	int fd = open_ok("file", O_RDWR);
	write_text(fd, "longer");
	CHECK_EQ(DO(chmod, fd, 0600), 0);
	CHECK_EQ(DO(setxattr, fd, "user.a", "v", 1, 0), 0);
	CHECK_EQ(DO(fdatasync, fd), 0);
	struct simfs *disk = simfs_after_cut(fs, 0);
	CHECK(is_text(disk, "file", "longer"));
	CHECK_EQ(stat_in(disk, "file").mode, S_IFREG | 0644);
	simfs_free(disk);

	CHECK_EQ(DO(fsync, fd), 0);
	DO(close, fd);
	disk = simfs_after_cut(fs, 0);
	CHECK_EQ(stat_in(disk, "file").mode, S_IFREG | 0600);
	struct dv_backing d = simfs_backing(disk);
	int top = d.ops->open_root(d.self, "/");
	CHECK_EQ(d.ops->getxattr_at(d.self, top, "file", "user.a", buf, sizeof(buf)), 1);
	d.ops->close(d.self, top);
	simfs_free(disk);
	finish();
}

/* Four blocks of 'a', durable; then blocks 1 and 2 become 'b'. */
static int make_half_written(void)
{
	static char bytes[4 * BLOCK];
	memset(bytes, 'a', sizeof(bytes));
	int fd = open_ok("file", O_CREAT | O_RDWR);
	CHECK_EQ(DO(pwrite, fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	CHECK_EQ(DO(syncfs, fd), 0);
	memset(bytes, 'b', sizeof(bytes));
	CHECK_EQ(DO(pwrite, fd, bytes, 2 * BLOCK, BLOCK), 2 * BLOCK);
	return fd;
}

/* 'a': old, 'b': new, 't': new up to a sector, then old. */
static char kind_of_block(const char *block)
{
	size_t fresh = 0;
	while (fresh < BLOCK && block[fresh] == 'b')
		fresh++;
	for (size_t i = fresh; i < BLOCK; i++)
		CHECK_EQ(block[i], 'a');
	CHECK_EQ(fresh % 512, 0);
	return fresh == 0 ? 'a' : fresh == BLOCK ? 'b' : 't';
}

static void test_unsynced_blocks_are_old_new_or_torn_each_by_itself(void)
{
	static char bytes[4 * BLOCK];
	bool seen['t' + 1]['t' + 1] = {{false}};
	start();
	int fd = make_half_written();
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simfs *disk = simfs_after_cut(fs, seed);
		struct dv_backing d = simfs_backing(disk);
		int top = d.ops->open_root(d.self, "/");
		int file = d.ops->open(d.self, top, "file", O_RDONLY, 0);
		CHECK_EQ(d.ops->pread(d.self, file, bytes, sizeof(bytes), 0), sizeof(bytes));
		CHECK_EQ(kind_of_block(bytes), 'a');
		CHECK_EQ(kind_of_block(bytes + 3 * BLOCK), 'a');
		int one = kind_of_block(bytes + BLOCK), two = kind_of_block(bytes + 2 * BLOCK);
		seen[one][two] = true;
		simfs_free(disk);
	}
	for (const char *one = "abt"; *one != '\0'; one++) {
		for (const char *two = "abt"; *two != '\0'; two++)
			CHECK(seen[(int)*one][(int)*two]);
	}
	DO(close, fd);
	finish();
}

static void test_an_unsynced_truncation_and_rewrite_leaves_any_size_between(void)
{
	bool old = false, empty = false, fresh = false;
	start();
	put_durable("file", "old value");
	int fd = open_ok("file", O_RDWR | O_TRUNC);
	write_text(fd, "new");
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simfs *disk = simfs_after_cut(fs, seed);
		const char *text = text_in(disk, "file");
		CHECK(text != NULL);
		old |= strcmp(text, "old value") == 0;
		empty |= stat_in(disk, "file").size == 0;
		fresh |= strcmp(text, "new") == 0;
		CHECK(stat_in(disk, "file").size <= 9);
		simfs_free(disk);
	}
	CHECK(old && empty && fresh);
	CHECK_EQ(DO(fdatasync, fd), 0);
	for (uint64_t seed = 0; seed < SEEDS; seed++)
		expect_after(seed, "file", "new");
	DO(close, fd);
	finish();
}

static void test_bytes_behind_the_size_are_zero_after_a_cut(void)
{
	char buf[16];
	start();
	put_durable("file", "0123456789");
	int fd = open_ok("file", O_RDWR);
	CHECK_EQ(DO(truncate, fd, 3), 0);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simfs *disk = simfs_after_cut(fs, seed);
		uint64_t size = stat_in(disk, "file").size;
		struct dv_backing d = simfs_backing(disk);
		int top = d.ops->open_root(d.self, "/");
		int file = d.ops->open(d.self, top, "file", O_RDWR, 0);
		CHECK(size == 3 || size == 10);
		CHECK_EQ(d.ops->truncate(d.self, file, 16), 0);
		CHECK_EQ(d.ops->pread(d.self, file, buf, 16, 0), 16);
		for (uint64_t i = size; i < 16; i++)
			CHECK_EQ(buf[i], 0);
		simfs_free(disk);
	}
	DO(close, fd);
	finish();
}

/* ---- names ---- */

static void test_a_rename_survives_whole_or_not_at_all(void)
{
	bool before = false, after = false;
	start();
	put_durable("to", "old");
	put_fsynced("from", "new");
	CHECK_EQ(DO(fsync, root), 0);
	CHECK_EQ(DO(rename, root, "from", root, "to", 0), 0);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simfs *disk = simfs_after_cut(fs, seed);
		bool lost = is_text(disk, "to", "old") && is_text(disk, "from", "new");
		bool kept = is_text(disk, "to", "new") && text_in(disk, "from") == NULL;
		CHECK(lost != kept);
		before |= lost;
		after |= kept;
		simfs_free(disk);
	}
	CHECK(before && after);
	finish();
}

static void test_an_exchange_survives_whole_or_not_at_all(void)
{
	bool before = false, after = false;
	start();
	put_durable("a", "1");
	put_durable("b", "2");
	CHECK_EQ(DO(rename, root, "a", root, "b", RENAME_EXCHANGE), 0);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simfs *disk = simfs_after_cut(fs, seed);
		bool lost = is_text(disk, "a", "1") && is_text(disk, "b", "2");
		bool kept = is_text(disk, "a", "2") && is_text(disk, "b", "1");
		CHECK(lost != kept);
		before |= lost;
		after |= kept;
		simfs_free(disk);
	}
	CHECK(before && after);
	finish();
}

static void test_a_rename_between_directories_is_durable_with_either(void)
{
	for (int which = 0; which < 2; which++) {
		start();
		CHECK_EQ(DO(mkdir, root, "a", 0755), 0);
		CHECK_EQ(DO(mkdir, root, "b", 0755), 0);
		put_durable("a/x", "data");
		CHECK_EQ(DO(rename, root, "a/x", root, "b/y", 0), 0);
		expect_after(0, "a/x", "data");
		expect_after(0, "b/y", NULL);
		int dir = open_ok(which ? "a" : "b", O_RDONLY | O_DIRECTORY);
		CHECK_EQ(DO(fsync, dir), 0);
		DO(close, dir);
		for (uint64_t seed = 0; seed < SEEDS; seed++) {
			expect_after(seed, "a/x", NULL);
			expect_after(seed, "b/y", "data");
		}
		finish();
	}
}

static void test_a_file_renamed_to_a_synced_directory_takes_its_creation_along(void)
{
	start();
	CHECK_EQ(DO(mkdir, root, "stage", 0700), 0);
	CHECK_EQ(DO(syncfs, root), 0);
	put_fsynced("stage/x", "data");
	CHECK_EQ(DO(rename, root, "stage/x", root, "x", 0), 0);
	CHECK_EQ(DO(fsync, root), 0);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		expect_after(seed, "x", "data");
		expect_after(seed, "stage/x", NULL);
	}
	finish();
}

static void test_unsynced_names_survive_each_by_itself(void)
{
	bool seen[2][2] = {{false}};
	start();
	put_fsynced("a", "1");
	put_fsynced("b", "2");
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simfs *disk = simfs_after_cut(fs, seed);
		int has_a = text_in(disk, "a") != NULL, has_b = text_in(disk, "b") != NULL;
		seen[has_a][has_b] = true;
		simfs_free(disk);
	}
	CHECK(seen[0][0] && seen[0][1] && seen[1][0] && seen[1][1]);
	finish();
}

static void test_changes_of_one_name_survive_in_order(void)
{
	bool one = false, two = false, none = false;
	start();
	put_durable("x", "1");
	put_fsynced("other", "2");
	CHECK_EQ(DO(fsync, root), 0);
	CHECK_EQ(DO(unlink, root, "x"), 0);
	CHECK_EQ(DO(link, root, "other", root, "x"), 0);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simfs *disk = simfs_after_cut(fs, seed);
		const char *text = text_in(disk, "x");
		none |= text == NULL;
		one |= text != NULL && strcmp(text, "1") == 0;
		two |= text != NULL && strcmp(text, "2") == 0;
		CHECK_EQ(stat_in(disk, "other").nlink, text != NULL && text[0] == '2' ? 2 : 1);
		simfs_free(disk);
	}
	CHECK(none && one && two);
	finish();
}

static void test_a_lost_removal_brings_the_file_back(void)
{
	start();
	put_durable("file", "data");
	CHECK_EQ(DO(unlink, root, "file"), 0);
	expect_after(0, "file", "data");
	expect_after(1, "file", NULL);
	CHECK_EQ(DO(fsync, root), 0);
	for (uint64_t seed = 0; seed < SEEDS; seed++)
		expect_after(seed, "file", NULL);
	finish();
}

static void test_a_directory_whose_name_is_lost_takes_its_files_along(void)
{
	start();
	CHECK_EQ(DO(mkdir, root, "dir", 0755), 0);
	put_fsynced("dir/file", "data");
	int dir = open_ok("dir", O_RDONLY | O_DIRECTORY);
	CHECK_EQ(DO(fsync, dir), 0);
	DO(close, dir);
	expect_after(0, "dir/file", NULL);
	CHECK_EQ(DO(fsync, root), 0);
	expect_after(0, "dir/file", "data");
	finish();
}

/* Random work on a small tree; a power cut after each few steps must give a sound tree. */
static void churn(unsigned *state, int steps)
{
	static const char *const names[] = {"a", "b", "d/a", "d/b", "e/a", "e/f/b", "d", "e/f"};
	for (int i = 0; i < steps; i++) {
		*state = *state * 1103515245u + 12345u;
		const char *one = names[(*state >> 16) % DV_ARRAY_LEN(names)];
		const char *two = names[(*state >> 20) % DV_ARRAY_LEN(names)];
		unsigned flags = (*state >> 24) % 3;
		int fd;
		switch ((*state >> 27) % 8) {
		case 0:
		case 1:
			fd = DO(open, root, one, O_CREAT | O_RDWR, 0644);
			if (fd >= 0) {
				write_text(fd, one);
				DO(close, fd);
			}
			break;
		case 2:
			dv_ignore(DO(unlink, root, one));
			break;
		case 3:
			dv_ignore(DO(mkdir, root, one, 0755));
			break;
		case 4:
			dv_ignore(DO(rmdir, root, one));
			break;
		case 5:
			dv_ignore(DO(link, root, one, root, two));
			break;
		case 6:
			dv_ignore(DO(rename, root, one, root, two, flags));
			break;
		default:
			fd = DO(open, root, one, O_RDONLY, 0);
			if (fd >= 0) {
				CHECK_EQ(DO(fsync, fd), 0);
				DO(close, fd);
			}
		}
	}
}

static void test_any_cut_of_any_work_gives_a_sound_tree(void)
{
	static char first[65536], second[65536];
	unsigned state = 1;
	start();
	CHECK_EQ(DO(mkdir, root, "d", 0755), 0);
	CHECK_EQ(DO(mkdir, root, "e", 0755), 0);
	CHECK_EQ(DO(mkdir, root, "e/f", 0755), 0);
	for (uint64_t seed = 0; seed < 3000; seed++) {
		churn(&state, 5);
		struct simfs *disk = simfs_after_cut(fs, seed);
		struct simfs *again = simfs_after_cut(fs, seed);
		dump_to(disk, first, sizeof(first));
		dump_to(again, second, sizeof(second));
		CHECK_STR(first, second);
		simfs_free(again);
		/* All that is on the disk after a cut is durable: another cut takes nothing. */
		again = simfs_after_cut(disk, 0);
		dump_to(again, second, sizeof(second));
		CHECK_STR(first, second);
		simfs_free(again);
		if (seed % 16 == 0) {
			DO(close, root);
			simfs_free(fs);
			use(disk);
		} else {
			simfs_free(disk);
		}
	}
	finish();
}

/* ---- inode numbers and times ---- */

static void test_a_freed_inode_number_is_given_again_with_another_birth(void)
{
	start();
	put_durable("a", "1");
	struct dv_stat old = stat_in(fs, "a");
	CHECK_EQ(DO(unlink, root, "a"), 0);
	put_fsynced("b", "2");
	struct dv_stat new = stat_in(fs, "b");
	CHECK_EQ(old.ino, new.ino);
	CHECK(old.btime.tv_nsec != new.btime.tv_nsec);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct simfs *disk = simfs_after_cut(fs, seed);
		CHECK(text_in(disk, "a") == NULL || text_in(disk, "b") == NULL);
		simfs_free(disk);
	}
	finish();
}

static void test_the_number_of_an_open_file_is_not_given_again(void)
{
	start();
	put_durable("a", "1");
	int fd = open_ok("a", O_RDONLY);
	uint64_t ino = stat_in(fs, "a").ino;
	CHECK_EQ(DO(unlink, root, "a"), 0);
	put_durable("b", "2");
	CHECK(stat_in(fs, "b").ino != ino);
	DO(close, fd);
	put_durable("c", "3");
	CHECK_EQ(stat_in(fs, "c").ino, ino);
	finish();
}

static void test_a_stopped_clock_gives_changes_one_time(void)
{
	start();
	put_durable("a", "1");
	struct dv_stat first = stat_in(fs, "a");
	simfs_set_clock_step(fs, 0);
	int fd = open_ok("a", O_RDWR);
	write_text(fd, "2");
	struct dv_stat second = stat_in(fs, "a");
	write_text(fd, "3");
	struct dv_stat third = stat_in(fs, "a");
	CHECK_EQ(second.mtime.tv_nsec, first.mtime.tv_nsec);
	CHECK_EQ(third.mtime.tv_nsec, first.mtime.tv_nsec);
	simfs_advance_clock(fs, 5);
	write_text(fd, "4");
	CHECK_EQ(stat_in(fs, "a").mtime.tv_nsec, third.mtime.tv_nsec + 5);
	DO(close, fd);
	finish();
}

/* ---- kill ---- */

static void test_kill_keeps_files_and_drops_descriptors_and_locks(void)
{
	start();
	int fd = open_ok("file", O_CREAT | O_RDWR), gone = open_ok("gone", O_CREAT | O_RDWR);
	write_text(fd, "data");
	CHECK_EQ(DO(flock, fd, LOCK_EX), 0);
	CHECK_EQ(DO(unlink, root, "gone"), 0);
	struct simfs *killed = simfs_after_kill(fs);
	DO(close, fd);
	DO(close, gone);
	finish();

	use(killed);
	CHECK_EQ(simfs_open_fds(fs), 1);
	CHECK(is_text(fs, "file", "data"));
	CHECK(text_in(fs, "gone") == NULL);
	fd = open_ok("file", O_RDWR);
	CHECK_EQ(DO(flock, fd, LOCK_EX | LOCK_NB), 0);
	/* What was not durable before the kill is not durable after it. */
	expect_after(0, "file", NULL);
	CHECK_EQ(DO(fsync, fd), 0);
	CHECK_EQ(DO(fsync, root), 0);
	expect_after(0, "file", "data");
	DO(close, fd);
	finish();
}

/* ---- failing ---- */

static void test_the_nth_call_fails_without_effect_and_only_it(void)
{
	start();
	simfs_fail_nth(fs, 3, ENOSPC, false);
	CHECK_EQ(DO(mkdir, root, "a", 0755), 0);
	CHECK_EQ(DO(mkdir, root, "b", 0755), 0);
	CHECK(!simfs_failed(fs));
	CHECK_EQ(DO(mkdir, root, "c", 0755), -ENOSPC);
	CHECK(simfs_failed(fs));
	CHECK(text_in(fs, "c") == NULL);
	CHECK_EQ(DO(mkdir, root, "c", 0755), 0);
	simfs_fail_nth(fs, 1, EIO, true);
	CHECK_EQ(DO(fsync, root), -EIO);
	CHECK_EQ(DO(mkdir, root, "d", 0755), -EIO);
	simfs_fail_nth(fs, 0, 0, false);
	CHECK_EQ(DO(mkdir, root, "d", 0755), 0);
	finish();
}

static void test_only_the_named_functions_are_failed(void)
{
	start();
	simfs_fail_op(fs, "fsync,rename");
	simfs_fail_nth(fs, 2, EIO, true);
	int fd = open_ok("file", O_CREAT | O_RDWR);
	CHECK_EQ(DO(fsync, fd), 0);
	CHECK_EQ(DO(fdatasync, fd), 0);
	CHECK_EQ(DO(rename, root, "file", root, "x", 0), -EIO);
	CHECK_EQ(DO(fsync, fd), -EIO);
	CHECK_EQ(DO(fdatasync, fd), 0);
	DO(close, fd);
	simfs_fail_nth(fs, 0, 0, false);
	finish();
}

static void test_a_short_write_does_half(void)
{
	start();
	int fd = open_ok("file", O_CREAT | O_RDWR);
	simfs_fail_op(fs, "pwrite");
	simfs_fail_short(fs, true);
	simfs_fail_nth(fs, 1, EIO, false);
	CHECK_EQ(DO(pwrite, fd, "abcdef", 6, 0), 3);
	CHECK(is_text(fs, "file", "abc"));
	CHECK_EQ(DO(pwrite, fd, "abcdef", 6, 0), 6);
	DO(close, fd);
	finish();
}

static void test_space_runs_out_and_comes_back(void)
{
	static char bytes[3 * BLOCK];
	start();
	int fd = open_ok("file", O_CREAT | O_RDWR);
	simfs_set_free_blocks(fs, 2);
	CHECK_EQ(DO(pwrite, fd, bytes, sizeof(bytes), 0), 2 * BLOCK);
	CHECK_EQ(DO(pwrite, fd, bytes, 1, 2 * BLOCK), -ENOSPC);
	CHECK_EQ(DO(pwrite, fd, "x", 1, 0), 1);
	CHECK_EQ(DO(truncate, fd, BLOCK), 0);
	CHECK_EQ(DO(pwrite, fd, bytes, 1, 2 * BLOCK), 1);
	CHECK_EQ(DO(unlink, root, "file"), 0);
	int other = open_ok("other", O_CREAT | O_RDWR);
	CHECK_EQ(DO(pwrite, other, "x", 1, 0), -ENOSPC);
	DO(close, fd);
	CHECK_EQ(DO(pwrite, other, bytes, 2 * BLOCK, 0), 2 * BLOCK);
	DO(close, other);
	finish();
}

static void test_a_cold_cache_makes_reads_wait(void)
{
	char c;
	start();
	put_durable("file", "x");
	int fd = open_ok("file", O_RDONLY);
	CHECK_EQ(DO(pread_nowait, fd, &c, 1, 0), 1);
	simfs_set_cold(fs, true);
	CHECK_EQ(DO(pread_nowait, fd, &c, 1, 0), -EAGAIN);
	CHECK_EQ(DO(pread, fd, &c, 1, 0), 1);
	DO(close, fd);
	finish();
}

/* ---- cutting ---- */

/* Replaces "value" the right way. */
static void replace_value(void)
{
	int fd = DO(open, root, "tmp", O_CREAT | O_TRUNC | O_RDWR, 0644);
	if (fd < 0)
		return;
	ssize_t n = DO(pwrite, fd, "new", 3, 0);
	int err = n == 3 ? DO(fsync, fd) : -EIO;
	if (err == 0)
		err = DO(rename, root, "tmp", root, "value", 0);
	if (err == 0)
		dv_ignore(DO(fsync, root));
	DO(close, fd);
}

/* Whether some cut in a replacement leaves neither value; ignored: the sync that is left out. */
static bool replacement_can_break(unsigned long ignored)
{
	bool broken = false;
	for (unsigned long n = 1;; n++) {
		start();
		put_durable("value", "old");
		simfs_ignore_fsync(fs, ignored);
		simfs_power_cut_at(fs, n);
		replace_value();
		bool cut = simfs_is_cut(fs);
		for (uint64_t seed = 0; seed < SEEDS; seed++) {
			struct simfs *disk = simfs_after_cut(fs, seed);
			bool is_new = is_text(disk, "value", "new");
			broken |= !is_new && !is_text(disk, "value", "old");
			broken |= !cut && !is_new;
			simfs_free(disk);
		}
		simfs_power_cut_at(fs, 0);
		if (cut) {
			CHECK_EQ(DO(mkdir, root, "x", 0755), -EIO);
			CHECK_EQ(DO(readlink, root, "x", NULL, 0), -EIO);
		}
		DO(close, root);
		CHECK_EQ(simfs_open_fds(fs), 0);
		simfs_free(fs);
		if (!cut)
			return broken;
	}
}

static void test_a_replacement_is_whole_at_every_cut_with_its_syncs(void)
{
	CHECK(!replacement_can_break(0));
}

static void test_a_missing_sync_of_the_file_is_found(void)
{
	CHECK(replacement_can_break(1));
}

static void test_a_missing_sync_of_the_directory_is_found(void)
{
	CHECK(replacement_can_break(2));
}

/* ---- counting and looking ---- */

static void test_calls_changes_and_syncs_are_counted(void)
{
	start();
	unsigned long calls = simfs_calls(fs);
	int fd = open_ok("file", O_CREAT | O_RDWR);
	write_text(fd, "x");
	CHECK_EQ(DO(fsync, fd), 0);
	DO(close, fd);
	CHECK_EQ(simfs_calls(fs), calls + 3);
	CHECK_EQ(simfs_changes(fs), 3);
	CHECK_EQ(simfs_fsync_calls(fs), 1);
	fd = open_ok("file", O_RDONLY);
	CHECK_EQ(simfs_open_fds(fs), 2);
	DO(close, fd);
	CHECK_EQ(simfs_changes(fs), 3);
	CHECK_EQ(DO(fsync, fd), -EBADF);
	DO(close, fd);
	CHECK_EQ(simfs_bad_fds(fs), 2);
	DO(close, root);
	simfs_free(fs);
}

static void test_the_dump_is_sorted_and_tells_types_sizes_and_bytes(void)
{
	char text[4096];
	start();
	put_durable("z", "");
	put_durable("b c", "x");
	CHECK_EQ(DO(mkdir, root, "a", 0700), 0);
	CHECK_EQ(DO(symlink, "x", root, "a/l"), 0);
	dump_to(fs, text, sizeof(text));
	CHECK_STR(text, "d 0700 0 0000000000000000 a\n"
			"l 0777 1 af63f54c86021707 a/l\n"
			"- 0644 1 af63f54c86021707 b\\x20c\n"
			"- 0644 0 cbf29ce484222325 z\n");
	finish();
}

static void test_long_work_does_not_pile_up_dead_files(void)
{
	start();
	for (int i = 0; i < 5000; i++) {
		put_fsynced("file", "data");
		CHECK_EQ(DO(unlink, root, "file"), 0);
		if (i % 100 == 0)
			CHECK_EQ(DO(fsync, root), 0);
	}
	CHECK(stat_in(fs, "").ino == 2);
	put_durable("file", "data");
	CHECK_EQ(stat_in(fs, "file").ino, 11);
	finish();
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_nothing_unsynced_survives_seed_0_and_everything_seed_1),
		CHECK_TEST(test_fsync_of_a_file_keeps_its_data_but_not_its_name),
		CHECK_TEST(test_a_durable_name_of_an_unsynced_file_is_an_empty_file),
		CHECK_TEST(test_fdatasync_keeps_data_and_size_but_no_attributes),
		CHECK_TEST(test_unsynced_blocks_are_old_new_or_torn_each_by_itself),
		CHECK_TEST(test_an_unsynced_truncation_and_rewrite_leaves_any_size_between),
		CHECK_TEST(test_bytes_behind_the_size_are_zero_after_a_cut),
		CHECK_TEST(test_a_rename_survives_whole_or_not_at_all),
		CHECK_TEST(test_an_exchange_survives_whole_or_not_at_all),
		CHECK_TEST(test_a_rename_between_directories_is_durable_with_either),
		CHECK_TEST(test_a_file_renamed_to_a_synced_directory_takes_its_creation_along),
		CHECK_TEST(test_unsynced_names_survive_each_by_itself),
		CHECK_TEST(test_changes_of_one_name_survive_in_order),
		CHECK_TEST(test_a_lost_removal_brings_the_file_back),
		CHECK_TEST(test_a_directory_whose_name_is_lost_takes_its_files_along),
		CHECK_TEST(test_any_cut_of_any_work_gives_a_sound_tree),
		CHECK_TEST(test_a_freed_inode_number_is_given_again_with_another_birth),
		CHECK_TEST(test_the_number_of_an_open_file_is_not_given_again),
		CHECK_TEST(test_a_stopped_clock_gives_changes_one_time),
		CHECK_TEST(test_kill_keeps_files_and_drops_descriptors_and_locks),
		CHECK_TEST(test_the_nth_call_fails_without_effect_and_only_it),
		CHECK_TEST(test_only_the_named_functions_are_failed),
		CHECK_TEST(test_a_short_write_does_half),
		CHECK_TEST(test_space_runs_out_and_comes_back),
		CHECK_TEST(test_a_cold_cache_makes_reads_wait),
		CHECK_TEST(test_a_replacement_is_whole_at_every_cut_with_its_syncs),
		CHECK_TEST(test_a_missing_sync_of_the_file_is_found),
		CHECK_TEST(test_a_missing_sync_of_the_directory_is_found),
		CHECK_TEST(test_calls_changes_and_syncs_are_counted),
		CHECK_TEST(test_the_dump_is_sorted_and_tells_types_sizes_and_bytes),
		CHECK_TEST(test_long_work_does_not_pile_up_dead_files),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
