/* SPDX-License-Identifier: MIT */
/*
 * test_library_keys.c - which keys there are: order, prefixes, where a walk goes on, its end, what it
 * reads.
 */
#include "tests/support/lib.h"

#include <fcntl.h>

static void fill(struct lib *l, const char *const *keys, size_t count)
{
	for (size_t i = 0; i < count; i++)
		lib_write(l, keys[i], keys[i]);
}

static void test_keys_come_in_order(void)
{
	static const char *const keys[] = {"b",	  "a",	   "abcabc", "abc",  "a.b",
					   "abd", "abcab", "Z",	     "z.zst"};
	static const char *const transforms[] = {"path", "flat", "split:3", "split:2x2",
						 "path:.txt"};
	for (size_t i = 0; i < LEN(transforms); i++) {
		struct lib l;
		lib_begin(&l, transforms[i]);
		CHECK_EQ(dvfs_keys_in_order(l.s), 1);
		lib_keys_are(&l, NULL, "");
		fill(&l, keys, LEN(keys));
		lib_keys_are(&l, NULL, "Z\na\na.b\nabc\nabcab\nabcabc\nabd\nb\nz.zst\n");
		lib_keys_are(&l, &(struct dvfs_range){.prefix = "abc"}, "abc\nabcab\nabcabc\n");
		lib_keys_are(&l, &(struct dvfs_range){.after = "abc"},
			     "abcab\nabcabc\nabd\nb\nz.zst\n");
		lib_keys_are(&l, &(struct dvfs_range){.after = "abca"},
			     "abcab\nabcabc\nabd\nb\nz.zst\n");
		lib_keys_are(&l, &(struct dvfs_range){.prefix = "ab", .after = "abcab", .limit = 1},
			     "abcabc\n");
		lib_keys_are(&l, &(struct dvfs_range){.prefix = "x"}, "");
		lib_keys_are(&l, &(struct dvfs_range){.prefix = "b", .after = "c"}, "");
		lib_keys_are(&l, &(struct dvfs_range){.limit = 2, .sorted = 1}, "Z\na\n");
		lib_end(&l);
	}
}

/* What lies below a directory comes where its name and a slash do. */
static void test_keys_of_a_tree_come_in_order(void)
{
	static const char *const keys[] = {"a/b/c", "a/b.d", "a/b-",  "a",
					   "a0",    "b/x",   "b/y/z", "b.c"};
	struct lib l;
	lib_begin(&l, "path");
	fill(&l, keys + 4, LEN(keys) - 4);
	fill(&l, keys, 3);
	lib_keys_are(&l, NULL, "a/b-\na/b.d\na/b/c\na0\nb.c\nb/x\nb/y/z\n");
	lib_keys_are(&l, &(struct dvfs_range){.prefix = "a/b"}, "a/b-\na/b.d\na/b/c\n");
	lib_keys_are(&l, &(struct dvfs_range){.prefix = "a/b/"}, "a/b/c\n");
	lib_keys_are(&l, &(struct dvfs_range){.prefix = "a/b/c"}, "a/b/c\n");
	lib_keys_are(&l, &(struct dvfs_range){.prefix = "a/b/c/"}, "");
	lib_keys_are(&l, &(struct dvfs_range){.prefix = "a//"}, "");
	lib_keys_are(&l, &(struct dvfs_range){.after = "a/b.d"}, "a/b/c\na0\nb.c\nb/x\nb/y/z\n");
	lib_keys_are(&l, &(struct dvfs_range){.after = "b/x"}, "b/y/z\n");
	lib_keys_are(&l, &(struct dvfs_range){.after = "b/y"}, "b/y/z\n");
	lib_keys_are(&l, &(struct dvfs_range){.after = "b/y/z"}, "");
	lib_keys_are(&l, &(struct dvfs_range){.prefix = "b/", .after = "a"}, "b/x\nb/y/z\n");
	/* Packed, replaced: each key once. */
	char *text = lib_text(50000, 1);
	lib_write(&l, "b/x", text);
	CHECK_EQ(dvfs_pack(l.s, NULL), 0);
	lib_write(&l, "b/x", text);
	lib_keys_are(&l, &(struct dvfs_range){.prefix = "b/"}, "b/x\nb/y/z\n");
	lib_end(&l);
	free(text);
}

static int by_strcmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

#define MANY 700u

/* As random as the digits of a hash. */
static void test_prefix_and_after_agree_with_a_filter(void)
{
	static const char *const transforms[] = {"path", "split:2x2", "hash:md5:2x1", "split:1"};
	for (size_t t = 0; t < LEN(transforms); t++) {
		struct lib l;
		char *keys[MANY], key[64];
		unsigned x = 12345;
		size_t count = 0;
		lib_begin(&l, transforms[t]);
		for (unsigned i = 0; i < MANY; i++) {
			x = x * 1664525u + 1013904223u;
			snprintf(key, sizeof(key), "%x%s%c", x >> 20, t ? "" : "/", "abc"[i % 3]);
			if (dvfs_has(l.s, key) == 0)
				CHECK((keys[count++] = strdup(key)) != NULL);
			lib_write(&l, key, "");
		}
		qsort(keys, count, sizeof(char *), by_strcmp);
		for (unsigned i = 0; i < 60; i++) {
			const char *after = i % 3 ? keys[(i * 7919u) % count] : "";
			char prefix[8];
			snprintf(prefix, sizeof(prefix), "%.*s", (int)(i % 4),
				 keys[(i * 31u) % count]);
			struct dvfs_range range = {.prefix = prefix, .after = after, .sorted = 1};
			struct dvfs_iter *it;
			const char *got;
			CHECK_EQ(dvfs_iter_open(l.s, &range, &it), 0);
			for (size_t k = 0; k < count; k++) {
				if (strncmp(keys[k], prefix, strlen(prefix)) ||
				    strcmp(keys[k], after) <= 0)
					continue;
				CHECK_EQ(dvfs_iter_next(it, &got), 1);
				CHECK_STR(got, keys[k]);
			}
			CHECK_EQ(dvfs_iter_next(it, &got), 0);
			CHECK_EQ(dvfs_iter_next(it, &got), 0);
			dvfs_iter_close(&it);
		}
		for (size_t k = 0; k < count; k++)
			free(keys[k]);
		lib_end(&l);
	}
}

static void test_hash_has_no_order_but_gives_one(void)
{
	static const char *const keys[] = {"b", "a", "abc", "d", "c"};
	struct lib l;
	lib_begin(&l, "hash:sha256:2x2");
	fill(&l, keys, LEN(keys));
	CHECK_EQ(dvfs_keys_in_order(l.s), 0);
	lib_keys_are(&l, &(struct dvfs_range){.sorted = 1}, "a\nabc\nb\nc\nd\n");
	lib_keys_are(&l, &(struct dvfs_range){.after = "abc", .limit = 2}, "b\nc\n");
	char *all = lib_list(&l, NULL);
	CHECK_EQ(strlen(all), 12);
	lib_keys_are(&l, &(struct dvfs_range){.prefix = "ab"}, "abc\n");
	free(all);
	lib_end(&l);
}

static int stop_at_three(void *ctx, const char *key)
{
	(void)key;
	return ++*(int *)ctx == 3 ? 77 : 0;
}

static void test_a_walk_ends_when_its_caller_says_so(void)
{
	struct lib l;
	int calls = 0;
	char key[16];
	lib_begin(&l, "path");
	for (int i = 0; i < 500; i++) {
		snprintf(key, sizeof(key), "%d/%d", i % 7, i);
		lib_write(&l, key, "");
	}
	CHECK_EQ(dvfs_keys(l.s, NULL, stop_at_three, &calls), 77);
	CHECK_EQ(calls, 3);
	struct dvfs_iter *it;
	const char *got;
	CHECK_EQ(dvfs_iter_open(l.s, NULL, &it), 0);
	CHECK_EQ(dvfs_iter_next(it, &got), 1);
	CHECK_EQ(dvfs_close(&l.s), -EBUSY);
	dvfs_iter_close(&it);
	CHECK_EQ(dvfs_keys(l.s, NULL, NULL, NULL), -EINVAL);
	lib_end(&l);
}

/* Keys that come and go meanwhile do not disturb the others. */
static void test_a_walk_gives_each_key_once_while_others_change(void)
{
	struct lib l;
	struct dvfs_iter *it;
	const char *got;
	char key[16], other[32], last[16] = "";
	unsigned seen = 0;
	lib_begin(&l, "path");
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof(key), "%03d/k", i);
		lib_write(&l, key, "");
	}
	CHECK_EQ(dvfs_iter_open(l.s, NULL, &it), 0);
	while (dvfs_iter_next(it, &got) == 1) {
		if (strlen(got) != 5)
			continue;
		CHECK(strcmp(got, last) > 0);
		strcpy(last, got);
		snprintf(other, sizeof(other), "%.3s/other", got);
		lib_write(&l, other, "");
		snprintf(other, sizeof(other), "%.3s/before", got);
		lib_write(&l, other, "");
		if (seen % 2)
			CHECK_EQ(dvfs_erase(l.s, last), 0);
		seen++;
	}
	dvfs_iter_close(&it);
	CHECK_EQ(seen, 300);
	lib_end(&l);
}

static void test_files_that_are_no_keys_are_neither_listed_nor_erased(void)
{
	struct lib l;
	char path[100];
	uint64_t erased;
	lib_begin(&l, "split:2x2");
	lib_write(&l, "abcdef", "1");
	lib_write(&l, "xyzxyz", "2");
	snprintf(path, sizeof(path), "%s/ab/foreign", l.path);
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	CHECK(fd >= 0);
	close(fd);
	snprintf(path, sizeof(path), "%s/ab/cd/link", l.path);
	CHECK_EQ(symlink("abcdef", path), 0);
	lib_keys_are(&l, NULL, "abcdef\nxyzxyz\n");
	CHECK_EQ(dvfs_erase_all(l.s, &erased), 0);
	CHECK_EQ(erased, 2);
	lib_keys_are(&l, NULL, "");
	CHECK(lib_file(&l, "ab/foreign") && !lib_file(&l, "xy"));
	CHECK(lib_file(&l, ".diskvfs/config"));
	lib_end(&l);
}

/* ---- what is read ---- */

static const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000000}};

/* Directories below the store's folder whose time of access is not that any more. */
static unsigned dirs_read;

static int touch_dir(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)ftw;
	if ((type == FTW_D || type == FTW_DP) && !strstr(path, ".diskvfs"))
		CHECK_EQ(utimensat(AT_FDCWD, path, long_ago, 0), 0);
	return 0;
}

static int count_dir(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if ((type == FTW_D || type == FTW_DP) && !strstr(path, ".diskvfs"))
		dirs_read += st->st_atim.tv_sec != 1000;
	return 0;
}

/* Deepest first: what is counted has been looked at before nftw() reads it. */
static unsigned read_by(struct lib *l, const struct dvfs_range *range)
{
	dirs_read = 0;
	CHECK_EQ(nftw(l->path, touch_dir, 16, FTW_DEPTH | FTW_PHYS), 0);
	CHECK_EQ(nftw(l->path, touch_dir, 16, FTW_DEPTH | FTW_PHYS), 0);
	free(lib_list(l, range));
	/* nftw() reads a directory after it has been told of it. */
	CHECK_EQ(nftw(l->path, count_dir, 16, FTW_PHYS), 0);
	return dirs_read;
}

static void test_a_prefix_reads_what_it_matches(void)
{
	struct lib l;
	char key[32];
	lib_begin(&l, "path");
	for (int i = 0; i < 400; i++) {
		snprintf(key, sizeof(key), "%02d/%02d/k", i % 20, i / 20);
		lib_write(&l, key, "");
	}
	if (read_by(&l, NULL) != 421) { /* times of access are not kept here */
		printf("skipped: the filesystem keeps no times of access\n");
		lib_end(&l);
		return;
	}
	CHECK_EQ(read_by(&l, &(struct dvfs_range){.prefix = "03/07/"}), 1);
	CHECK_EQ(read_by(&l, &(struct dvfs_range){.prefix = "03/07"}), 2);
	CHECK_EQ(read_by(&l, &(struct dvfs_range){.prefix = "03/0"}), 11);
	CHECK_EQ(read_by(&l, &(struct dvfs_range){.prefix = "1"}), 1 + 10 * 21);
	CHECK_EQ(read_by(&l, &(struct dvfs_range){.after = "19/18/x"}), 1 + 1 + 2);
	CHECK_EQ(read_by(&l, &(struct dvfs_range){.limit = 1}), 3);
	lib_end(&l);

	lib_begin(&l, "split:2x2");
	for (int i = 0; i < 400; i++) {
		snprintf(key, sizeof(key), "%02d%02dk", i % 20, i / 20);
		lib_write(&l, key, "");
	}
	CHECK_EQ(read_by(&l, NULL), 421);
	CHECK_EQ(read_by(&l, &(struct dvfs_range){.prefix = "0307"}), 3);
	CHECK_EQ(read_by(&l, &(struct dvfs_range){.prefix = "030"}), 1 + 1 + 10);
	CHECK_EQ(read_by(&l, &(struct dvfs_range){.after = "1918x"}), 1 + 1 + 2);
	CHECK_EQ(read_by(&l, &(struct dvfs_range){.prefix = "xx"}), 1);
	lib_end(&l);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_keys_come_in_order),
		CHECK_TEST(test_keys_of_a_tree_come_in_order),
		CHECK_TEST(test_prefix_and_after_agree_with_a_filter),
		CHECK_TEST(test_hash_has_no_order_but_gives_one),
		CHECK_TEST(test_a_walk_ends_when_its_caller_says_so),
		CHECK_TEST(test_a_walk_gives_each_key_once_while_others_change),
		CHECK_TEST(test_files_that_are_no_keys_are_neither_listed_nor_erased),
		CHECK_TEST(test_a_prefix_reads_what_it_matches),
	};
	return check_main(argc, argv, tests, LEN(tests));
}
