/* SPDX-License-Identifier: MIT */
/*
 * test_library_large.c - the keys of a directory of many names: how much of it is read before the first
 * one, and how much memory that takes. KEYS: how many (10000).
 *
 * Linked with --wrap=dv_backing_posix, so that reads of directories are counted.
 */
#include "core/backing.h"
#include "tests/support/lib.h"

#include <fcntl.h>

#define LINKS	  30000u /* of one file; ext4 has 65000 at most */
#define PER_READ  300u	 /* names that a read of 32 KiB gives at least */
#define HWM_KB	  65536u
#define SMALL_BUF 64u /* names that a walk without an order reads at once, at most */

struct dv_backing __wrap_dv_backing_posix(void);
struct dv_backing __real_dv_backing_posix(void);

static unsigned reads;
static const struct dv_backing_ops *real;

static ssize_t counted(void *self, int fd, int64_t cookie, void *buf, size_t size,
		       struct dv_dirent *out, size_t max)
{
	__atomic_add_fetch(&reads, 1, __ATOMIC_RELAXED);
	return real->readdir(self, fd, cookie, buf, size, out, max);
}

struct dv_backing __wrap_dv_backing_posix(void)
{
	static struct dv_backing_ops ops;
	struct dv_backing b = __real_dv_backing_posix();
	real = b.ops;
	ops = *b.ops;
	ops.readdir = counted;
	return (struct dv_backing){&ops, b.self};
}

static unsigned keys_wanted(void)
{
	const char *text = getenv("KEYS");
	return text ? (unsigned)strtoul(text, NULL, 10) : 10000;
}

/* Raw values, as links of a few files, which take little of a filesystem in memory. */
static void make_keys(struct lib *l, unsigned count, const char *folder)
{
	char path[128], first[128] = "";
	if (folder[0]) {
		snprintf(path, sizeof(path), "%s/%s", l->path, folder);
		CHECK_EQ(mkdir(path, 0700), 0);
	}
	for (unsigned i = 0; i < count; i++) {
		/* Not in the order in which they are made. */
		snprintf(path, sizeof(path), "%s/%s/key%09u", l->path, folder,
			 (unsigned)(i * 7919ull % count));
		if (i % LINKS) {
			CHECK_EQ(link(first, path), 0);
			continue;
		}
		strcpy(first, path);
		int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
		CHECK(fd >= 0);
		close(fd);
	}
}

/* -> reads before the first key. Each key comes once: they are as many, and so is the sum. */
static unsigned read_keys(struct lib *l, const struct dvfs_range *range, unsigned count)
{
	struct dvfs_iter *it;
	const char *key;
	char last[64] = "";
	unsigned first = 0, seen = 0;
	uint64_t sum = 0;
	reads = 0;
	CHECK_EQ(dvfs_iter_open(l->s, range, &it), 0);
	while (dvfs_iter_next(it, &key) == 1) {
		if (!seen++)
			first = reads;
		const char *digits = strstr(key, "key");
		CHECK(digits != NULL);
		sum += strtoul(digits + 3, NULL, 10);
		CHECK(range->unsorted || strcmp(key, last) > 0);
		snprintf(last, sizeof(last), "%s", key);
	}
	dvfs_iter_close(&it);
	CHECK_EQ(seen, count);
	CHECK(sum == (uint64_t)count * (count - 1) / 2);
	return first;
}

static void test_unsorted_keys_come_after_one_read_of_a_large_directory(void)
{
	static const char *const folders[] = {"", "d"};
	unsigned count = keys_wanted();
	struct lib l;
	lib_begin(&l, "path");
	for (size_t i = 0; i < LEN(folders); i++) {
		struct dvfs_range range = {.unsorted = 1, .prefix = i ? "d/" : "k"};
		make_keys(&l, count, folders[i]);
		CHECK(read_keys(&l, &range, count) <= 2);
		CHECK(reads <= count / 20 + 10); /* names of 32 bytes, 4 KiB at a time */
		range.limit = SMALL_BUF / 2;
		free(lib_list(&l, &range));
	}
	lib_end(&l);
}

static void test_sorted_keys_come_after_one_pass_in_bounded_memory(void)
{
	unsigned count = keys_wanted();
	struct lib l;
	lib_begin(&l, "flat");
	make_keys(&l, count, "");
	unsigned first = read_keys(&l, &(struct dvfs_range){0}, count);
	printf("%u reads before the first key, %u in all, VmHWM %u KiB\n", first, reads,
	       lib_hwm_kb());
	CHECK(first <= count / PER_READ + 2);
	CHECK(!MEMORY_IS_OURS || lib_hwm_kb() < HWM_KB);
	lib_end(&l);
}

static void test_unsorted_walks_keep_their_bounds(void)
{
	static const char *const transforms[] = {"path",    "flat",	    "split:2x2",
						 "split:1", "hash:md5:2x1", "path:.txt"};
	static const char *const keys[] = {"a",	  "ab",	  "abc", "abcd", "abd",
					   "b.c", "bcde", "z",	 "ac"};
	static const char *const prefixes[] = {"", "a", "ab", "abc", "abcd", "b", "x"};
	for (size_t t = 0; t < LEN(transforms); t++) {
		struct lib l;
		lib_begin(&l, transforms[t]);
		for (size_t i = 0; i < LEN(keys); i++)
			lib_write(&l, keys[i], "");
		for (size_t p = 0; p < LEN(prefixes); p++) {
			const char *prefix = prefixes[p];
			char *got =
				lib_list(&l, &(struct dvfs_range){.unsorted = 1, .prefix = prefix});
			size_t want = 0, count = 0;
			for (size_t i = 0; i < LEN(keys); i++)
				want += !strncmp(keys[i], prefix, strlen(prefix));
			for (const char *at = got; *at; at = strchr(at, '\n') + 1) {
				CHECK(!strncmp(at, prefix, strlen(prefix)));
				count++;
			}
			CHECK_EQ(count, want);
			free(got);
		}
		struct dvfs_iter *it;
		CHECK_EQ(dvfs_iter_open(l.s, &(struct dvfs_range){.unsorted = 1, .sorted = 1}, &it),
			 -EINVAL);
		CHECK_EQ(
			dvfs_iter_open(l.s, &(struct dvfs_range){.unsorted = 1, .after = "a"}, &it),
			-EINVAL);
		lib_end(&l);
	}
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_unsorted_keys_come_after_one_read_of_a_large_directory),
		CHECK_TEST(test_sorted_keys_come_after_one_pass_in_bounded_memory),
		CHECK_TEST(test_unsorted_walks_keep_their_bounds),
	};
	return check_main(argc, argv, tests, LEN(tests));
}
