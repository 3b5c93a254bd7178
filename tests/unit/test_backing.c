/* SPDX-License-Identifier: MIT */
/*
 * test_backing.c - one set of claims over both tables of core/backing.h: the kernel, in a folder
 * under $TMPDIR or /tmp, and the simulated filesystem. What holds on both shows that tests on simfs
 * tell something about the kernel.
 */
#include "core/backing.h"
#include "core/cleanup.h"
#include "tests/support/check.h"
#include "tests/support/folder.h"
#include "tests/support/simfs.h"

#include <dirent.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The world a claim runs in; b and root come as names of their own for short lines. */
static struct dv_backing b;
static int root;
static bool on_kernel;

#define DO(op, ...) b.ops->op(b.self, __VA_ARGS__)

static void run_on_kernel(void (*claim)(void))
{
	const char *tmp = getenv("TMPDIR");
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%s/test_backing.XXXXXX", tmp != NULL ? tmp : "/tmp");
	CHECK(mkdtemp(path) != NULL);
	on_kernel = true;
	b = dv_backing_posix();
	root = b.ops->open_root(b.self, path);
	CHECK(root >= 0);
	claim();
	b.ops->close(b.self, root);
	folder_remove(path);
}

static void run_on_simfs(void (*claim)(void))
{
	struct simfs *fs = simfs_new();
	on_kernel = false;
	b = simfs_backing(fs);
	root = b.ops->open_root(b.self, "/");
	CHECK(root >= 0);
	claim();
	CHECK_EQ(simfs_open_fds(fs), 1);
	simfs_free(fs);
}

/* CLAIM(name) { ... }: test_name runs the body in both worlds. */
#define CLAIM(name)                                                                                \
	static void claim_##name(void);                                                            \
	static void test_##name(void)                                                              \
	{                                                                                          \
		run_on_kernel(claim_##name);                                                       \
		run_on_simfs(claim_##name);                                                        \
	}                                                                                          \
	static void claim_##name(void)

/* ---- helpers ---- */

static void put(const char *name, const char *text)
{
	int fd = DO(open, root, name, O_CREAT | O_TRUNC | O_RDWR, 0644);
	CHECK(fd >= 0);
	CHECK_EQ(DO(pwrite, fd, text, strlen(text), 0), strlen(text));
	DO(close, fd);
}

static void expect(const char *name, const char *text)
{
	char buf[256];
	int fd = DO(open, root, name, O_RDONLY, 0);
	CHECK(fd >= 0);
	ssize_t n = DO(pread, fd, buf, sizeof(buf) - 1, 0);
	CHECK(n >= 0);
	buf[n] = '\0';
	CHECK_STR(buf, text);
	DO(close, fd);
}

/* What opening answers: 0 or an error. */
static int try_open(int dirfd, const char *name, int flags)
{
	int fd = DO(open, dirfd, name, flags, 0644);
	if (fd >= 0)
		DO(close, fd);
	return fd < 0 ? fd : 0;
}

static int open_ok(const char *name, int flags)
{
	int fd = DO(open, root, name, flags, 0644);
	CHECK(fd >= 0);
	return fd;
}

static struct dv_stat stat_ok(int dirfd, const char *name)
{
	struct dv_stat st;
	CHECK_EQ(DO(stat, dirfd, name, &st), 0);
	return st;
}

static int exists(const char *name)
{
	struct dv_stat st;
	int err = DO(stat, root, name, &st);
	CHECK(err == 0 || err == -ENOENT);
	return err == 0;
}

/* An entry of every kind that the claims about errors need. */
static void plant(void)
{
	put("file", "data");
	CHECK_EQ(DO(mkdir, root, "dir", 0755), 0);
	CHECK_EQ(DO(mkdir, root, "full", 0755), 0);
	put("full/inner", "x");
	CHECK_EQ(DO(symlink, "file", root, "link"), 0);
	CHECK_EQ(DO(symlink, "full", root, "dirlink"), 0);
	CHECK_EQ(DO(mknod, root, "fifo", S_IFIFO | 0600, 0), 0);
}

static char long_name[NAME_MAX + 2];

/* ---- opening ---- */

CLAIM(open_answers_as_linux_for_every_kind_of_entry)
{
	plant();
	const struct {
		const char *name;
		int flags, expected;
	} cases[] = {
		{"file", O_RDONLY, 0},
		{"file", O_RDWR, 0},
		{"file", O_PATH, 0},
		{"file", O_PATH | O_NOFOLLOW, 0},
		{"file", O_CREAT | O_RDWR, 0},
		{"file", O_CREAT | O_EXCL | O_RDWR, -EEXIST},
		{"file", O_DIRECTORY, -ENOTDIR},
		{"file", O_DIRECTORY | O_PATH, -ENOTDIR},
		{"file/x", O_RDONLY, -ENOTDIR},
		{"file/x", O_CREAT | O_RDWR, -ENOTDIR},
		{"none", O_RDONLY, -ENOENT},
		{"none", O_PATH, -ENOENT},
		{"none/x", O_RDONLY, -ENOENT},
		{"none/x", O_CREAT | O_RDWR, -ENOENT},
		{"dir", O_RDONLY, 0},
		{"dir", O_RDONLY | O_DIRECTORY, 0},
		{"dir", O_RDWR, -EISDIR},
		{"dir", O_WRONLY, -EISDIR},
		{"dir", O_CREAT | O_RDWR, -EISDIR},
		{"dir", O_CREAT | O_RDONLY, -EISDIR},
		{"dir", O_CREAT | O_EXCL | O_RDWR, -EEXIST},
		{"dir", O_TRUNC | O_RDONLY, -EISDIR},
		{".", O_RDONLY | O_DIRECTORY, 0},
		{"link", O_RDONLY, -ELOOP},
		{"link", O_RDWR, -ELOOP},
		{"link", O_RDONLY | O_NOFOLLOW, -ELOOP},
		{"link", O_PATH, -ELOOP},
		{"link", O_PATH | O_NOFOLLOW, 0},
		{"link", O_PATH | O_NOFOLLOW | O_DIRECTORY, -ENOTDIR},
		{"link", O_CREAT | O_RDWR, -ELOOP},
		{"link", O_CREAT | O_EXCL | O_RDWR, -EEXIST},
		{"dirlink", O_DIRECTORY | O_RDONLY, -ELOOP},
		{"dirlink", O_DIRECTORY | O_RDONLY | O_NOFOLLOW, -ENOTDIR},
		{"dirlink/inner", O_RDONLY, -ELOOP},
		{"full/inner", O_RDONLY, 0},
		{"full/./inner", O_RDONLY, 0},
		{"full/../file", O_RDONLY, -EXDEV},
		{"..", O_RDONLY, -EXDEV},
		{"../x", O_CREAT | O_RDWR, -EXDEV},
		{"/file", O_RDONLY, -EXDEV},
		{"..x", O_RDONLY, -ENOENT},
		{"...", O_RDONLY, -ENOENT},
		{"full/x..", O_RDONLY, -ENOENT},
		{"fifo", O_PATH, 0},
		{long_name, O_RDONLY, -ENAMETOOLONG},
		{long_name, O_CREAT | O_RDWR, -ENAMETOOLONG},
		{"new", O_CREAT | O_DIRECTORY | O_RDONLY, -EINVAL},
		{"new", O_CREAT | O_EXCL | O_RDWR, 0},
	};
	for (size_t i = 0; i < DV_ARRAY_LEN(cases); i++) {
		int got = try_open(root, cases[i].name, cases[i].flags);
		if (got != cases[i].expected)
			fprintf(stderr, "%s: open \"%s\" 0%o\n", on_kernel ? "kernel" : "simfs",
				cases[i].name, (unsigned)cases[i].flags);
		CHECK_EQ(got, cases[i].expected);
	}
}

CLAIM(open_on_bad_descriptors_says_so)
{
	put("file", "");
	int fd = open_ok("file", O_RDONLY);
	CHECK_EQ(try_open(fd, "x", O_RDONLY), -ENOTDIR);
	DO(close, fd);
	CHECK_EQ(try_open(fd, "x", O_RDONLY), -EBADF);
	CHECK_EQ(try_open(fd, "", O_RDONLY), -EBADF);
}

CLAIM(the_empty_name_opens_the_descriptor_anew)
{
	plant();
	int path = open_ok("file", O_PATH | O_NOFOLLOW);
	int fd = DO(open, path, "", O_RDWR | O_NOFOLLOW, 0);
	CHECK(fd >= 0);
	CHECK_EQ(DO(pwrite, fd, "D", 1, 0), 1);
	expect("file", "Data");
	DO(close, fd);
	CHECK_EQ(try_open(path, "", O_RDONLY | O_DIRECTORY), -ENOTDIR);
	DO(close, path);
	path = open_ok("dir", O_PATH);
	CHECK_EQ(try_open(path, "", O_RDONLY | O_DIRECTORY), 0);
	DO(close, path);
	path = open_ok("link", O_PATH | O_NOFOLLOW);
	CHECK_EQ(try_open(path, "", O_RDONLY), -ELOOP);
	CHECK_EQ(try_open(path, "", O_PATH), 0);
	DO(close, path);
}

CLAIM(truncating_open_empties_and_keeps_the_file)
{
	put("file", "data");
	uint64_t ino = stat_ok(root, "file").ino;
	int fd = open_ok("file", O_RDWR | O_TRUNC);
	CHECK_EQ(stat_ok(fd, "").size, 0);
	CHECK_EQ(stat_ok(fd, "").ino, ino);
	DO(close, fd);
}

CLAIM(modes_are_made_as_asked)
{
	int fd = DO(open, root, "file", O_CREAT | O_RDWR, 0666);
	CHECK(fd >= 0);
	CHECK_EQ(stat_ok(fd, "").mode, S_IFREG | 0666);
	DO(close, fd);
	CHECK_EQ(DO(mkdir, root, "dir", 01777), 0);
	CHECK_EQ(stat_ok(root, "dir").mode, S_IFDIR | 01777);
	CHECK_EQ(DO(mknod, root, "fifo", S_IFIFO | 0622, 0), 0);
	CHECK_EQ(stat_ok(root, "fifo").mode, S_IFIFO | 0622);
	CHECK_EQ(DO(mknod, root, "plain", 0604, 0), 0);
	CHECK_EQ(stat_ok(root, "plain").mode, S_IFREG | 0604);
	CHECK_EQ(DO(mknod, root, "x", S_IFDIR | 0700, 0), -EPERM);
	CHECK_EQ(DO(mknod, root, "x", S_IFLNK | 0700, 0), -EINVAL);
	if (geteuid() == 0) {
		CHECK_EQ(DO(mknod, root, "null", S_IFCHR | 0600, makedev(1, 3)), 0);
		CHECK_EQ(stat_ok(root, "null").rdev, makedev(1, 3));
	}
}

CLAIM(a_descriptor_without_the_right_refuses)
{
	char c = 0;
	uint64_t at;
	plant();
	int ro = open_ok("file", O_RDONLY), wo = open_ok("file", O_WRONLY);
	int path = open_ok("file", O_PATH), dir = open_ok("dir", O_RDONLY);
	CHECK_EQ(DO(pwrite, ro, "x", 1, 0), -EBADF);
	CHECK_EQ(DO(pread, wo, &c, 1, 0), -EBADF);
	CHECK_EQ(DO(pread, path, &c, 1, 0), -EBADF);
	CHECK_EQ(DO(pwrite, path, "x", 1, 0), -EBADF);
	CHECK_EQ(DO(pread, dir, &c, 1, 0), -EISDIR);
	CHECK_EQ(DO(pwrite, dir, "x", 1, 0), -EBADF);
	CHECK_EQ(DO(truncate, ro, 0), -EINVAL);
	CHECK_EQ(DO(truncate, path, 0), -EBADF);
	CHECK_EQ(DO(truncate, wo, UINT64_MAX), -EINVAL);
	CHECK_EQ(DO(fallocate, ro, 0, 0, 1), -EBADF);
	CHECK_EQ(DO(fallocate, wo, 0, 0, 0), -EINVAL);
	CHECK_EQ(DO(fsync, path), -EBADF);
	CHECK_EQ(DO(fdatasync, path), -EBADF);
	CHECK_EQ(DO(syncfs, path), -EBADF);
	CHECK_EQ(DO(seek, path, 0, SEEK_DATA, &at), -EBADF);
	CHECK_EQ(DO(flock, path, LOCK_SH | LOCK_NB), -EBADF);
	CHECK_EQ(DO(set_lease, path, F_RDLCK), -EBADF);
	CHECK_EQ(DO(fsync, ro), 0);
	CHECK_EQ(DO(fsync, dir), 0);
	CHECK_EQ(DO(syncfs, dir), 0);
	DO(close, ro);
	DO(close, wo);
	DO(close, path);
	DO(close, dir);
}

/* ---- data ---- */

CLAIM(what_is_appended_stands_behind_what_another_descriptor_appended)
{
	char buf[8] = "";
	int fd = open_ok("file", O_CREAT | O_RDWR), other = open_ok("file", O_RDWR);
	int ro = open_ok("file", O_RDONLY);
	CHECK_EQ(DO(append, fd, "ab", 2), 2);
	CHECK_EQ(DO(append, other, "cd", 2), 2);
	CHECK_EQ(DO(append, fd, "ef", 2), 2);
	CHECK_EQ(DO(pread, ro, buf, 8, 0), 6);
	CHECK_EQ(memcmp(buf, "abcdef", 6), 0);
	CHECK_EQ(DO(append, ro, "x", 1), -EBADF);
	DO(close, fd);
	DO(close, other);
	DO(close, ro);
}

CLAIM(data_is_read_back_with_holes_as_zeros)
{
	char buf[8] = "xxxxxxx";
	uint64_t at;
	int fd = open_ok("file", O_CREAT | O_RDWR);
	CHECK_EQ(DO(pwrite, fd, "end", 3, 100000), 3);
	CHECK_EQ(stat_ok(fd, "").size, 100003);
	CHECK(stat_ok(fd, "").blocks <= 16);
	CHECK_EQ(DO(pread, fd, buf, 8, 99998), 5);
	CHECK_EQ(memcmp(buf, "\0\0end", 5), 0);
	CHECK_EQ(DO(pread, fd, buf, 8, 100003), 0);
	CHECK_EQ(DO(pread, fd, buf, 8, 200000), 0);
	CHECK_EQ(DO(pread, fd, buf, 8, UINT64_MAX), -EINVAL);
	CHECK_EQ(DO(pwrite, fd, buf, 8, UINT64_MAX), -EINVAL);
	CHECK_EQ(DO(seek, fd, 0, SEEK_DATA, &at), 0);
	CHECK_EQ(at, 98304);
	CHECK_EQ(DO(seek, fd, 0, SEEK_HOLE, &at), 0);
	CHECK_EQ(at, 0);
	CHECK_EQ(DO(seek, fd, 99000, SEEK_HOLE, &at), 0);
	CHECK_EQ(at, 100003);
	CHECK_EQ(DO(seek, fd, 100003, SEEK_DATA, &at), -ENXIO);
	CHECK_EQ(DO(seek, fd, 100003, SEEK_HOLE, &at), -ENXIO);
	CHECK_EQ(DO(seek, fd, 0, SEEK_SET, &at), -EINVAL);
	DO(close, fd);
}

CLAIM(truncated_bytes_come_back_as_zeros)
{
	char buf[6];
	put("file", "abcdef");
	int fd = open_ok("file", O_RDWR);
	CHECK_EQ(DO(truncate, fd, 2), 0);
	CHECK_EQ(DO(truncate, fd, 6), 0);
	CHECK_EQ(DO(pread, fd, buf, 6, 0), 6);
	CHECK_EQ(memcmp(buf, "ab\0\0\0\0", 6), 0);
	DO(close, fd);
}

CLAIM(punching_makes_a_hole_and_keeps_the_size)
{
	static char bytes[16384], got[16384];
	uint64_t at;
	memset(bytes, 'x', sizeof(bytes));
	int fd = open_ok("file", O_CREAT | O_RDWR);
	CHECK_EQ(DO(pwrite, fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	int err = DO(fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4000, 8288);
	if (err != -EOPNOTSUPP) {
		CHECK_EQ(err, 0);
		memset(bytes + 4000, 0, 8288);
		CHECK_EQ(DO(pread, fd, got, sizeof(got), 0), sizeof(got));
		CHECK_EQ(memcmp(bytes, got, sizeof(got)), 0);
		CHECK_EQ(DO(seek, fd, 0, SEEK_HOLE, &at), 0);
		CHECK_EQ(at, 4096);
	}
	CHECK_EQ(DO(fallocate, fd, FALLOC_FL_KEEP_SIZE, 0, 40000), 0);
	CHECK_EQ(stat_ok(fd, "").size, sizeof(bytes));
	CHECK_EQ(DO(fallocate, fd, 0, 0, 40000), 0);
	CHECK_EQ(stat_ok(fd, "").size, 40000);
	CHECK_EQ(DO(fallocate, fd, FALLOC_FL_PUNCH_HOLE, 0, 4096), -EOPNOTSUPP);
	DO(close, fd);
}

CLAIM(appending_descriptors_write_at_the_end)
{
	put("file", "abc");
	int fd = open_ok("file", O_WRONLY | O_APPEND);
	CHECK_EQ(DO(pwrite, fd, "d", 1, 0), 1);
	expect("file", "abcd");
	DO(close, fd);
}

CLAIM(reading_without_waiting_tells_bytes_or_again)
{
	char buf[8];
	put("file", "abc");
	int fd = open_ok("file", O_RDONLY);
	ssize_t n = DO(pread_nowait, fd, buf, sizeof(buf), 0);
	CHECK(n == 3 || n == -EAGAIN);
	DO(close, fd);
	CHECK_EQ(DO(pread_nowait, fd, buf, sizeof(buf), 0), -EBADF);
}

CLAIM(ranges_are_copied_inside_the_filesystem)
{
	put("from", "0123456789");
	put("to", "abc");
	int from = open_ok("from", O_RDONLY), to = open_ok("to", O_RDWR);
	int dir = open_ok(".", O_RDONLY), append = open_ok("to", O_WRONLY | O_APPEND);
	ssize_t n = DO(copy_range, from, 4, to, 1, 100);
	if (n != -EOPNOTSUPP && n != -EXDEV) {
		CHECK_EQ(n, 6);
		expect("to", "a456789");
		CHECK_EQ(DO(copy_range, from, 10, to, 0, 1), 0);
		CHECK_EQ(DO(copy_range, to, 0, from, 0, 1), -EBADF);
		CHECK_EQ(DO(copy_range, from, 0, append, 0, 1), -EBADF);
		CHECK_EQ(DO(copy_range, dir, 0, to, 0, 1), -EISDIR);
		CHECK_EQ(DO(copy_range, to, 0, to, 1, 4), -EINVAL);
		CHECK_EQ(DO(copy_range, to, 0, to, 7, 7), 7);
		expect("to", "a456789a456789");
	}
	DO(close, from);
	DO(close, to);
	DO(close, dir);
	DO(close, append);
}

CLAIM(advice_is_harmless)
{
	put("file", "abc");
	int fd = open_ok("file", O_RDWR);
	DO(advise, fd, 0, 3, DV_ADVISE_WRITEOUT);
	DO(advise, fd, 0, 0, POSIX_FADV_DONTNEED);
	expect("file", "abc");
	DO(close, fd);
}

/* ---- names ---- */

CLAIM(making_names_answers_as_linux)
{
	plant();
	CHECK_EQ(DO(mkdir, root, "dir", 0755), -EEXIST);
	CHECK_EQ(DO(mkdir, root, "file", 0755), -EEXIST);
	CHECK_EQ(DO(mkdir, root, "link", 0755), -EEXIST);
	CHECK_EQ(DO(mkdir, root, "none/x", 0755), -ENOENT);
	CHECK_EQ(DO(mkdir, root, "file/x", 0755), -ENOTDIR);
	CHECK_EQ(DO(mkdir, root, "dirlink/x", 0755), -ELOOP);
	CHECK_EQ(DO(mkdir, root, "../x", 0755), -EXDEV);
	CHECK_EQ(DO(mkdir, root, "", 0755), -ENOENT);
	CHECK_EQ(DO(mkdir, root, ".", 0755), -EEXIST);
	CHECK_EQ(DO(mkdir, root, long_name, 0755), -ENAMETOOLONG);
	CHECK_EQ(DO(mkdir, root, "full/deep", 0755), 0);
	CHECK_EQ(DO(symlink, "x", root, "file"), -EEXIST);
	CHECK_EQ(DO(symlink, "", root, "new"), -ENOENT);
	CHECK_EQ(DO(mknod, root, "file", S_IFREG | 0600, 0), -EEXIST);
	CHECK_EQ(DO(link, root, "file", root, "dir"), -EEXIST);
	CHECK_EQ(DO(link, root, "none", root, "new"), -ENOENT);
	CHECK_EQ(DO(link, root, "dir", root, "new"), -EPERM);
	CHECK_EQ(DO(link, root, "file", root, "none/new"), -ENOENT);
	CHECK_EQ(DO(link, root, "file", root, ""), -ENOENT);
	CHECK_EQ(DO(link, root, "link", root, "link2"), 0);
	CHECK(S_ISLNK(stat_ok(root, "link2").mode));
}

CLAIM(removing_names_answers_as_linux)
{
	plant();
	CHECK_EQ(DO(unlink, root, "none"), -ENOENT);
	CHECK_EQ(DO(unlink, root, "dir"), -EISDIR);
	CHECK_EQ(DO(unlink, root, ""), -ENOENT);
	CHECK_EQ(DO(unlink, root, "."), -EISDIR);
	CHECK_EQ(DO(unlink, root, "file/x"), -ENOTDIR);
	CHECK_EQ(DO(unlink, root, "dirlink/inner"), -ELOOP);
	CHECK_EQ(DO(unlink, root, "full/../file"), -EXDEV);
	CHECK_EQ(DO(rmdir, root, "none"), -ENOENT);
	CHECK_EQ(DO(rmdir, root, "file"), -ENOTDIR);
	CHECK_EQ(DO(rmdir, root, "dirlink"), -ENOTDIR);
	CHECK_EQ(DO(rmdir, root, "full"), -ENOTEMPTY);
	CHECK_EQ(DO(rmdir, root, "."), -EINVAL);
	CHECK_EQ(DO(unlink, root, "link"), 0);
	CHECK(exists("file"));
	CHECK_EQ(DO(unlink, root, "full/inner"), 0);
	CHECK_EQ(DO(rmdir, root, "full"), 0);
	CHECK(!exists("full"));
}

CLAIM(links_of_symbols_read_as_written)
{
	char buf[16];
	plant();
	CHECK_EQ(DO(readlink, root, "link", buf, sizeof(buf)), 4);
	CHECK_EQ(memcmp(buf, "file", 4), 0);
	CHECK_EQ(DO(readlink, root, "link", buf, 2), 2);
	CHECK_EQ(DO(readlink, root, "link", buf, 0), -EINVAL);
	CHECK_EQ(DO(readlink, root, "file", buf, sizeof(buf)), -EINVAL);
	CHECK_EQ(DO(readlink, root, "none", buf, sizeof(buf)), -ENOENT);
	int fd = open_ok("link", O_PATH | O_NOFOLLOW);
	CHECK_EQ(DO(readlink, fd, "", buf, sizeof(buf)), 4);
	CHECK_EQ(stat_ok(fd, "").size, 4);
	CHECK(S_ISLNK(stat_ok(root, "link").mode));
	DO(close, fd);
}

CLAIM(hard_links_share_one_file)
{
	put("a", "1");
	CHECK_EQ(DO(link, root, "a", root, "b"), 0);
	CHECK_EQ(stat_ok(root, "a").nlink, 2);
	CHECK_EQ(stat_ok(root, "a").ino, stat_ok(root, "b").ino);
	put("b", "22");
	expect("a", "22");
	CHECK_EQ(DO(unlink, root, "a"), 0);
	CHECK_EQ(stat_ok(root, "b").nlink, 1);
	expect("b", "22");
}

CLAIM(a_descriptor_can_be_given_another_name)
{
	plant();
	int fd = open_ok("file", O_RDWR), path = open_ok("file", O_PATH);
	int dir = open_ok("dir", O_PATH), link = open_ok("link", O_PATH | O_NOFOLLOW);
	CHECK_EQ(DO(link_fd, fd, root, "a"), 0);
	CHECK_EQ(DO(link_fd, path, dir, "b"), 0);
	CHECK_EQ(DO(link, path, "", root, "c"), 0);
	CHECK_EQ(stat_ok(fd, "").nlink, 4);
	CHECK_EQ(DO(link_fd, fd, root, "a"), -EEXIST);
	CHECK_EQ(DO(link_fd, dir, root, "d"), -EPERM);
	CHECK_EQ(DO(link_fd, link, root, "link2"), 0);
	CHECK(S_ISLNK(stat_ok(root, "link2").mode));
	CHECK_EQ(DO(unlink, root, "file"), 0);
	CHECK_EQ(DO(unlink, root, "a"), 0);
	CHECK_EQ(DO(unlink, root, "c"), 0);
	CHECK_EQ(DO(unlink, dir, "b"), 0);
	CHECK_EQ(stat_ok(fd, "").nlink, 0);
	CHECK_EQ(DO(link_fd, fd, root, "back"), -ENOENT);
	DO(close, fd);
	DO(close, path);
	DO(close, dir);
	DO(close, link);
}

CLAIM(an_unlinked_file_lives_while_it_is_open)
{
	char buf[4];
	put("file", "data");
	int fd = open_ok("file", O_RDWR);
	CHECK_EQ(DO(unlink, root, "file"), 0);
	CHECK(!exists("file"));
	CHECK_EQ(DO(pread, fd, buf, 4, 0), 4);
	CHECK_EQ(DO(pwrite, fd, "more", 4, 4), 4);
	CHECK_EQ(stat_ok(fd, "").size, 8);
	CHECK_EQ(stat_ok(fd, "").nlink, 0);
	put("file", "other");
	CHECK(stat_ok(fd, "").ino != stat_ok(root, "file").ino);
	DO(close, fd);
}

CLAIM(a_removed_directory_takes_no_names)
{
	char buf[1024];
	struct dv_dirent out[4];
	CHECK_EQ(DO(mkdir, root, "dir", 0755), 0);
	int dir = open_ok("dir", O_RDONLY | O_DIRECTORY);
	put("file", "");
	CHECK_EQ(DO(rmdir, root, "dir"), 0);
	CHECK_EQ(try_open(dir, "x", O_CREAT | O_RDWR), -ENOENT);
	CHECK_EQ(try_open(dir, "x", O_RDONLY), -ENOENT);
	CHECK_EQ(DO(mkdir, dir, "x", 0755), -ENOENT);
	CHECK_EQ(DO(link, root, "file", dir, "x"), -ENOENT);
	CHECK_EQ(DO(rename, root, "file", dir, "x", 0), -ENOENT);
	CHECK_EQ(DO(readdir, dir, 0, buf, sizeof(buf), out, 4), -ENOENT);
	CHECK_EQ(stat_ok(dir, "").nlink, 0);
	DO(close, dir);
}

CLAIM(rename_answers_as_linux)
{
	plant();
	CHECK_EQ(DO(mkdir, root, "full/deep", 0755), 0);
	const struct {
		const char *from, *to;
		unsigned flags;
		int expected;
	} cases[] = {
		{"none", "x", 0, -ENOENT},
		{"none", "file", 0, -ENOENT},
		{"", "x", 0, -ENOENT},
		{"file", "", 0, -ENOENT},
		{"file", "none/x", 0, -ENOENT},
		{"file", "fifo/x", 0, -ENOTDIR},
		{"file", "../x", 0, -EXDEV},
		{"file", "dirlink/x", 0, -ELOOP},
		{"file", long_name, 0, -ENAMETOOLONG},
		{"file", "dir", 0, -EISDIR},
		{"dir", "file", 0, -ENOTDIR},
		{"dir", "full", 0, -ENOTEMPTY},
		{"full", "full/deep/x", 0, -EINVAL},
		{"full", "full/deep", 0, -EINVAL},
		{"full/deep", "full", 0, -ENOTEMPTY},
		{"full/inner", "full", 0, -ENOTEMPTY},
		{".", "x", 0, -EBUSY},
		{"file", ".", 0, -EBUSY},
		{"file", "link", RENAME_NOREPLACE, -EEXIST},
		{"file", "file", RENAME_NOREPLACE, -EEXIST},
		{"file", "none", RENAME_EXCHANGE, -ENOENT},
		{"none", "file", RENAME_EXCHANGE, -ENOENT},
		{"full", "full/deep", RENAME_EXCHANGE, -EINVAL},
		{"full/deep", "full", RENAME_EXCHANGE, -EINVAL},
		{"file", "link", RENAME_EXCHANGE | RENAME_NOREPLACE, -EINVAL},
		{"file", "link", 1u << 7, -EINVAL},
		{"file", "file", 0, 0},
		{"file", "link", 0, 0},
		{"link", "new", RENAME_NOREPLACE, 0},
		{"full/deep", "dir", 0, 0},
		{"new", "full", RENAME_EXCHANGE, 0},
		{"full", "dir/moved", 0, 0},
	};
	for (size_t i = 0; i < DV_ARRAY_LEN(cases); i++) {
		int got = DO(rename, root, cases[i].from, root, cases[i].to, cases[i].flags);
		if (got != cases[i].expected)
			fprintf(stderr, "%s: rename \"%s\" \"%s\" %u\n",
				on_kernel ? "kernel" : "simfs", cases[i].from, cases[i].to,
				cases[i].flags);
		CHECK_EQ(got, cases[i].expected);
	}
	expect("dir/moved", "data");
	expect("new/inner", "x");
	CHECK_EQ(stat_ok(root, "new").nlink, 2);
}

CLAIM(rename_over_an_open_file_leaves_the_descriptor)
{
	char buf[4] = "";
	put("old", "old");
	put("new", "new");
	int fd = open_ok("old", O_RDONLY);
	CHECK_EQ(DO(rename, root, "new", root, "old", 0), 0);
	CHECK_EQ(DO(pread, fd, buf, 3, 0), 3);
	CHECK_STR(buf, "old");
	CHECK_EQ(stat_ok(fd, "").nlink, 0);
	expect("old", "new");
	CHECK(!exists("new"));
	DO(close, fd);
}

CLAIM(rename_between_links_of_one_file_does_nothing)
{
	put("a", "x");
	CHECK_EQ(DO(link, root, "a", root, "b"), 0);
	CHECK_EQ(DO(rename, root, "a", root, "b", 0), 0);
	CHECK(exists("a"));
	CHECK(exists("b"));
}

CLAIM(directories_count_their_folders_as_links)
{
	uint32_t before = stat_ok(root, "").nlink;
	if (before < 2)
		return; /* a filesystem that does not count, as btrfs */
	CHECK_EQ(DO(mkdir, root, "a", 0755), 0);
	CHECK_EQ(DO(mkdir, root, "b", 0755), 0);
	CHECK_EQ(stat_ok(root, "").nlink, before + 2);
	CHECK_EQ(DO(rename, root, "a", root, "b/a", 0), 0);
	CHECK_EQ(stat_ok(root, "").nlink, before + 1);
	CHECK_EQ(stat_ok(root, "b").nlink, 3);
	CHECK_EQ(DO(rmdir, root, "b/a"), 0);
	CHECK_EQ(stat_ok(root, "b").nlink, 2);
}

/* ---- listing ---- */

#define MANY 50

/* Lists root with the given buffer and max; seen[i] counts "n%i". */
static void list_all(size_t buf_size, size_t max, int seen[MANY], bool unlink_each)
{
	_Alignas(8) char buf[4096];
	struct dv_dirent out[64];
	int64_t cookie = 0;
	ssize_t n;
	CHECK(buf_size <= sizeof(buf) && max <= DV_ARRAY_LEN(out));
	while ((n = DO(readdir, root, cookie, buf, buf_size, out, max)) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			CHECK_EQ(out[i].name[0], 'n');
			CHECK_EQ(out[i].type, DT_REG);
			CHECK_EQ(out[i].ino, stat_ok(root, out[i].name).ino);
			seen[atoi(out[i].name + 1)]++;
			cookie = out[i].cookie;
			if (unlink_each)
				CHECK_EQ(DO(unlink, root, out[i].name), 0);
		}
	}
	CHECK_EQ(n, 0);
}

CLAIM(listing_tells_every_entry_once_from_any_cookie)
{
	static const struct {
		size_t buf_size, max;
	} sizes[] = {{4096, 64}, {4096, 1}, {128, 64}, {280, 3}};
	char name[16];
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		put(name, "");
	}
	for (size_t s = 0; s < DV_ARRAY_LEN(sizes); s++) {
		int seen[MANY] = {0};
		list_all(sizes[s].buf_size, sizes[s].max, seen, s == DV_ARRAY_LEN(sizes) - 1);
		for (int i = 0; i < MANY; i++)
			CHECK_EQ(seen[i], 1);
	}
	int seen[MANY] = {0};
	list_all(4096, 64, seen, false);
	CHECK_EQ(seen[0], 0);
}

CLAIM(listing_refuses_what_is_no_directory)
{
	_Alignas(8) char buf[512];
	struct dv_dirent out[2];
	put("file", "");
	int file = open_ok("file", O_RDONLY), path = open_ok(".", O_PATH | O_DIRECTORY);
	CHECK_EQ(DO(readdir, file, 0, buf, sizeof(buf), out, 2), -ENOTDIR);
	CHECK_EQ(DO(readdir, path, 0, buf, sizeof(buf), out, 2), -EBADF);
	CHECK_EQ(DO(readdir, root, 0, buf, sizeof(buf), out, 0), -EINVAL);
	CHECK_EQ(DO(readdir, root, 0, buf, 2, out, 2), -EINVAL);
	DO(close, file);
	DO(close, path);
}

/* ---- attributes ---- */

CLAIM(attributes_are_set_through_any_descriptor)
{
	static const int flags[] = {O_RDONLY, O_RDWR, O_PATH};
	struct timespec times[2] = {{1000000000, 123456789}, {1100000000, 987654321}};
	put("file", "");
	for (size_t i = 0; i < DV_ARRAY_LEN(flags); i++) {
		int fd = open_ok("file", flags[i]);
		mode_t mode = (mode_t)(0600 + i);
		CHECK_EQ(DO(chmod, fd, mode), 0);
		CHECK_EQ(stat_ok(fd, "").mode, S_IFREG | mode);
		CHECK_EQ(DO(utimens, fd, times), 0);
		struct dv_stat st = stat_ok(fd, "");
		CHECK_EQ(st.atime.tv_sec, times[0].tv_sec);
		CHECK_EQ(st.mtime.tv_sec, times[1].tv_sec);
		CHECK_EQ(st.mtime.tv_nsec, times[1].tv_nsec);
		CHECK_EQ(DO(chown, fd, (uid_t)-1, (gid_t)-1), 0);
		if (geteuid() == 0) {
			CHECK_EQ(DO(chown, fd, 12, 34 + (gid_t)i), 0);
			CHECK_EQ(stat_ok(fd, "").uid, 12);
			CHECK_EQ(stat_ok(fd, "").gid, 34 + i);
		}
		DO(close, fd);
		CHECK_EQ(DO(chmod, fd, 0600), -EBADF);
		CHECK_EQ(DO(chown, fd, 0, 0), -EBADF);
		CHECK_EQ(DO(utimens, fd, times), -EBADF);
	}
}

CLAIM(symbolic_links_have_attributes_of_their_own)
{
	struct timespec times[2] = {{5, 6}, {7, 8}};
	plant();
	int fd = open_ok("link", O_PATH | O_NOFOLLOW);
	CHECK_EQ(DO(chmod, fd, 0600), -EOPNOTSUPP);
	CHECK_EQ(DO(utimens, fd, times), 0);
	CHECK_EQ(stat_ok(root, "link").mtime.tv_sec, 7);
	CHECK(stat_ok(root, "file").mtime.tv_sec != 7);
	if (geteuid() == 0) {
		CHECK_EQ(DO(chown, fd, 12, 34), 0);
		CHECK_EQ(stat_ok(root, "link").uid, 12);
		CHECK_EQ(stat_ok(root, "file").uid, 0);
	}
	DO(close, fd);
}

CLAIM(changing_the_owner_drops_set_id_bits)
{
	put("file", "");
	int fd = open_ok("file", O_RDWR);
	CHECK_EQ(DO(chmod, fd, 06755), 0);
	CHECK_EQ(DO(chown, fd, geteuid(), (gid_t)-1), 0);
	CHECK_EQ(stat_ok(fd, "").mode, S_IFREG | 0755);
	DO(close, fd);
}

CLAIM(special_times_are_now_or_left_alone)
{
	struct timespec odd[2] = {{5, 6}, {7, 8}};
	struct timespec mixed[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
	struct timespec none[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
	struct timespec bad[2] = {{0, 1000000000}, {0, 0}};
	put("file", "");
	int fd = open_ok("file", O_RDWR);
	CHECK_EQ(DO(utimens, fd, odd), 0);
	CHECK_EQ(DO(utimens, fd, none), 0);
	CHECK_EQ(stat_ok(fd, "").mtime.tv_sec, 7);
	CHECK_EQ(DO(utimens, fd, mixed), 0);
	CHECK_EQ(stat_ok(fd, "").atime.tv_sec, 5);
	CHECK(stat_ok(fd, "").mtime.tv_sec > 1000000000);
	CHECK_EQ(DO(utimens, fd, bad), -EINVAL);
	int path = open_ok("file", O_PATH);
	CHECK_EQ(DO(utimens, path, bad), -EINVAL);
	DO(close, path);
	DO(close, fd);
}

static void check_xattrs_of(int fd)
{
	char buf[64];
	CHECK_EQ(DO(getxattr, fd, "user.a", buf, sizeof(buf)), -ENODATA);
	CHECK_EQ(DO(setxattr, fd, "user.a", "v", 1, XATTR_REPLACE), -ENODATA);
	CHECK_EQ(DO(setxattr, fd, "user.a", "value", 5, XATTR_CREATE), 0);
	CHECK_EQ(DO(setxattr, fd, "user.a", "value", 5, XATTR_CREATE), -EEXIST);
	CHECK_EQ(DO(getxattr, fd, "user.a", buf, sizeof(buf)), 5);
	CHECK_EQ(memcmp(buf, "value", 5), 0);
	CHECK_EQ(DO(getxattr, fd, "user.a", NULL, 0), 5);
	CHECK_EQ(DO(getxattr, fd, "user.a", buf, 4), -ERANGE);
	CHECK_EQ(DO(setxattr, fd, "user.b", "", 0, 0), 0);
	CHECK_EQ(DO(getxattr, fd, "user.b", buf, sizeof(buf)), 0);
	CHECK_EQ(DO(listxattr, fd, NULL, 0), 14);
	CHECK_EQ(DO(listxattr, fd, buf, sizeof(buf)), 14);
	CHECK_EQ(DO(listxattr, fd, buf, 13), -ERANGE);
	CHECK_EQ(DO(setxattr, fd, "strange.a", "v", 1, 0), -EOPNOTSUPP);
	CHECK_EQ(DO(setxattr, fd, "", "v", 1, 0), -ERANGE);
	CHECK_EQ(DO(getxattr, fd, "strange.a", buf, sizeof(buf)), -EOPNOTSUPP);
	CHECK_EQ(DO(removexattr, fd, "user.none"), -ENODATA);
	CHECK_EQ(DO(getxattr_at, root, "file", "user.a", buf, sizeof(buf)), 5);
	CHECK_EQ(DO(getxattr_at, fd, "", "user.a", buf, sizeof(buf)), 5);
	CHECK_EQ(DO(listxattr_at, root, "file", NULL, 0), 14);
	CHECK_EQ(DO(listxattr_at, root, "file", buf, sizeof(buf)), 14);
	CHECK_EQ(DO(listxattr_at, root, "file", buf, 13), -ERANGE);
	CHECK_EQ(DO(listxattr_at, fd, "", buf, sizeof(buf)), 14);
	CHECK_EQ(DO(removexattr, fd, "user.a"), 0);
	CHECK_EQ(DO(removexattr, fd, "user.b"), 0);
	CHECK_EQ(DO(listxattr, fd, buf, sizeof(buf)), 0);
}

static bool has_xattrs(void)
{
	put("probe", "");
	int fd = open_ok("probe", O_RDWR);
	int err = DO(setxattr, fd, "user.probe", "", 0, 0);
	DO(close, fd);
	return err != -EOPNOTSUPP;
}

CLAIM(xattrs_work_through_any_descriptor)
{
	static const int flags[] = {O_RDONLY, O_RDWR, O_PATH};
	char buf[8];
	plant();
	if (!has_xattrs())
		return;
	for (size_t i = 0; i < DV_ARRAY_LEN(flags); i++) {
		int fd = open_ok("file", flags[i]);
		check_xattrs_of(fd);
		DO(close, fd);
		CHECK_EQ(DO(getxattr, fd, "user.a", buf, sizeof(buf)), -EBADF);
		CHECK_EQ(DO(setxattr, fd, "user.a", buf, 1, 0), -EBADF);
		CHECK_EQ(DO(listxattr, fd, buf, sizeof(buf)), -EBADF);
		CHECK_EQ(DO(removexattr, fd, "user.a"), -EBADF);
	}
}

CLAIM(xattrs_by_name_do_not_follow_links)
{
	char buf[8];
	plant();
	if (!has_xattrs())
		return;
	int fd = open_ok("file", O_RDWR), link = open_ok("link", O_PATH | O_NOFOLLOW);
	CHECK_EQ(DO(setxattr, fd, "user.a", "v", 1, 0), 0);
	CHECK_EQ(DO(getxattr_at, root, "file", "user.a", buf, sizeof(buf)), 1);
	CHECK_EQ(DO(getxattr_at, root, "link", "user.a", buf, sizeof(buf)), -ENODATA);
	CHECK_EQ(DO(getxattr_at, root, "none", "user.a", buf, sizeof(buf)), -ENOENT);
	CHECK_EQ(DO(getxattr_at, root, "full/inner", "user.a", buf, sizeof(buf)), -ENODATA);
	CHECK_EQ(DO(getxattr_at, root, "dirlink/inner", "user.a", buf, sizeof(buf)), -ELOOP);
	CHECK_EQ(DO(getxattr_at, root, "../x", "user.a", buf, sizeof(buf)), -EXDEV);
	CHECK_EQ(DO(getxattr_at, root, long_name, "user.a", buf, sizeof(buf)), -ENAMETOOLONG);
	CHECK_EQ(DO(listxattr_at, root, "file", buf, sizeof(buf)), 7);
	CHECK_EQ(DO(listxattr_at, root, "link", buf, sizeof(buf)), 0);
	CHECK_EQ(DO(listxattr_at, root, "none", buf, sizeof(buf)), -ENOENT);
	CHECK_EQ(DO(listxattr_at, root, "full/inner", buf, sizeof(buf)), 0);
	CHECK_EQ(DO(listxattr_at, root, "dirlink/inner", buf, sizeof(buf)), -ELOOP);
	CHECK_EQ(DO(listxattr_at, root, "../x", buf, sizeof(buf)), -EXDEV);
	CHECK_EQ(DO(listxattr_at, root, long_name, buf, sizeof(buf)), -ENAMETOOLONG);
	CHECK_EQ(DO(getxattr, link, "user.a", buf, sizeof(buf)), -ENODATA);
	CHECK_EQ(DO(setxattr, link, "user.a", "v", 1, 0), -EPERM);
	DO(close, fd);
	DO(close, link);
}

static int64_t ns_of(struct timespec t)
{
	return t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Coarse clocks of kernels tick every 1 to 10 ms. */
static void pass_time(void)
{
	if (on_kernel)
		usleep(12000);
}

/* Whether ctime, or mtime too, of name moves between two calls. */
static struct dv_stat last_seen;

static void expect_moved(const char *name, bool mtime_too)
{
	struct dv_stat st = stat_ok(root, name);
	CHECK(ns_of(st.ctime) > ns_of(last_seen.ctime));
	CHECK_EQ(ns_of(st.mtime) > ns_of(last_seen.mtime), mtime_too);
	last_seen = st;
	pass_time();
}

CLAIM(every_change_moves_the_times_that_linux_moves)
{
	put("file", "data");
	int fd = open_ok("file", O_RDWR);
	last_seen = stat_ok(root, "file");
	CHECK(last_seen.btime.tv_sec == 0 || ns_of(last_seen.btime) <= ns_of(last_seen.ctime));
	pass_time();
	CHECK_EQ(DO(pwrite, fd, "x", 1, 0), 1);
	expect_moved("file", true);
	CHECK_EQ(DO(truncate, fd, 2), 0);
	expect_moved("file", true);
	CHECK_EQ(DO(chmod, fd, 0600), 0);
	expect_moved("file", false);
	CHECK_EQ(DO(link, root, "file", root, "other"), 0);
	expect_moved("file", false);
	CHECK_EQ(DO(unlink, root, "other"), 0);
	expect_moved("file", false);
	CHECK_EQ(DO(rename, root, "file", root, "renamed", 0), 0);
	expect_moved("renamed", false);
	DO(close, fd);
	fd = open_ok("renamed", O_RDWR | O_TRUNC);
	expect_moved("renamed", true);
	if (DO(setxattr, fd, "user.a", "v", 1, 0) == 0)
		expect_moved("renamed", false);
	DO(close, fd);

	last_seen = stat_ok(root, "");
	pass_time();
	CHECK_EQ(DO(mkdir, root, "dir", 0755), 0);
	expect_moved("", true);
	CHECK_EQ(DO(rename, root, "renamed", root, "dir/file", 0), 0);
	expect_moved("", true);
	CHECK_EQ(DO(unlink, root, "dir/file"), 0);
	CHECK_EQ(DO(rmdir, root, "dir"), 0);
	expect_moved("", true);
}

CLAIM(a_set_group_id_directory_hands_its_group_down)
{
	if (geteuid() != 0)
		return;
	CHECK_EQ(DO(mkdir, root, "dir", 0755), 0);
	int dir = open_ok("dir", O_RDONLY);
	CHECK_EQ(DO(chown, dir, 0, 77), 0);
	CHECK_EQ(DO(chmod, dir, 02755), 0);
	CHECK_EQ(DO(mkdir, dir, "sub", 0700), 0);
	CHECK_EQ(DO(mknod, dir, "file", S_IFREG | 0600, 0), 0);
	CHECK_EQ(stat_ok(dir, "sub").gid, 77);
	CHECK_EQ(stat_ok(dir, "sub").mode, S_IFDIR | 02700);
	CHECK_EQ(stat_ok(dir, "file").gid, 77);
	CHECK_EQ(stat_ok(dir, "file").mode, S_IFREG | 0600);
	DO(close, dir);
}

/* ---- identity ---- */

static void *make_as_a_thread_of_its_own(void *unused)
{
	(void)unused;
	CHECK_EQ(DO(mknod, root, "inherited", S_IFREG | 0600, 0), 0);
	DO(act_as, 56, 78);
	CHECK_EQ(DO(mknod, root, "thread", S_IFREG | 0600, 0), 0);
	return NULL;
}

CLAIM(a_thread_makes_files_as_whom_it_acts)
{
	pthread_t thread;
	if (geteuid() != 0)
		return;
	DO(act_as, 12, 34);
	DO(act_as, 12, 34);
	CHECK_EQ(DO(mkdir, root, "dir", 0700), 0);
	int fd = DO(open, root, "file", O_CREAT | O_RDWR, 0400);
	CHECK(fd >= 0);
	CHECK_EQ(stat_ok(fd, "").uid, 12);
	CHECK_EQ(stat_ok(fd, "").gid, 34);
	CHECK_EQ(stat_ok(root, "dir").uid, 12);
	/* The power over files of others stays. */
	CHECK_EQ(DO(chown, fd, 90, 91), 0);
	CHECK_EQ(try_open(root, "file", O_RDWR), 0);
	DO(close, fd);
	CHECK_EQ(pthread_create(&thread, NULL, make_as_a_thread_of_its_own, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(stat_ok(root, "thread").uid, 56);
	CHECK_EQ(stat_ok(root, "thread").gid, 78);
	CHECK_EQ(DO(mknod, root, "mine", S_IFREG | 0600, 0), 0);
	CHECK_EQ(stat_ok(root, "mine").uid, 12);
	DO(act_as, 0, 0);
	CHECK_EQ(DO(mknod, root, "roots", S_IFREG | 0600, 0), 0);
	CHECK_EQ(stat_ok(root, "roots").uid, 0);
	CHECK_EQ(stat_ok(root, "roots").gid, 0);
}

/* ---- locks and leases ---- */

CLAIM(locks_conflict_between_descriptors)
{
	put("file", "");
	int a = open_ok("file", O_RDONLY), c = open_ok("file", O_RDWR);
	CHECK_EQ(DO(flock, a, LOCK_SH | LOCK_NB), 0);
	CHECK_EQ(DO(flock, c, LOCK_SH | LOCK_NB), 0);
	CHECK_EQ(DO(flock, c, LOCK_EX | LOCK_NB), -EWOULDBLOCK);
	/* c's conversion failed and cost it the lock that it had */
	CHECK_EQ(DO(flock, a, LOCK_EX | LOCK_NB), 0);
	CHECK_EQ(DO(flock, a, LOCK_EX | LOCK_NB), 0);
	CHECK_EQ(DO(flock, c, LOCK_SH | LOCK_NB), -EWOULDBLOCK);
	CHECK_EQ(DO(flock, a, LOCK_UN), 0);
	CHECK_EQ(DO(flock, c, LOCK_EX), 0);
	DO(close, c);
	CHECK_EQ(DO(flock, a, LOCK_EX | LOCK_NB), 0);
	CHECK_EQ(DO(flock, a, 0), -EINVAL);
	DO(close, a);
}

CLAIM(a_lock_is_handed_to_who_waits)
{
	put("file", "");
	int a = open_ok("file", O_RDONLY), c = open_ok("file", O_RDWR);
	CHECK_EQ(DO(flock, a, LOCK_EX), 0);
	DO(close, a);
	CHECK_EQ(DO(flock, c, LOCK_EX), 0);
	DO(close, c);
}

CLAIM(a_lease_tells_whether_a_writer_is_left)
{
	put("file", "");
	int rd = open_ok("file", O_RDONLY), wr = open_ok("file", O_RDWR);
	int dir = open_ok(".", O_RDONLY);
	CHECK_EQ(DO(get_lease, rd), F_UNLCK);
	CHECK_EQ(DO(set_lease, rd, F_RDLCK), -EAGAIN);
	CHECK_EQ(DO(set_lease, rd, F_UNLCK), -EAGAIN);
	CHECK_EQ(DO(set_lease, dir, F_RDLCK), -EINVAL);
	DO(close, wr);
	CHECK_EQ(DO(set_lease, rd, F_RDLCK), 0);
	CHECK_EQ(DO(get_lease, rd), F_RDLCK);
	CHECK_EQ(try_open(root, "file", O_RDONLY | O_NONBLOCK), 0);
	CHECK_EQ(DO(get_lease, rd), F_RDLCK);
	CHECK_EQ(try_open(root, "file", O_RDWR | O_NONBLOCK), -EAGAIN);
	CHECK_EQ(DO(get_lease, rd), F_UNLCK);
	CHECK_EQ(DO(set_lease, rd, F_UNLCK), 0);
	CHECK_EQ(try_open(root, "file", O_RDWR | O_NONBLOCK), 0);
	CHECK_EQ(DO(set_lease, rd, F_RDLCK), 0);
	DO(close, rd);
	CHECK_EQ(try_open(root, "file", O_RDWR), 0);
	DO(close, dir);
}

/* A program that uses the library need not ignore SIGIO. */
CLAIM(a_broken_lease_ends_no_process)
{
	void (*was)(int) = signal(SIGIO, SIG_DFL);
	put("file", "");
	int rd = open_ok("file", O_RDONLY);
	CHECK_EQ(DO(set_lease, rd, F_RDLCK), 0);
	CHECK_EQ(try_open(root, "file", O_RDWR | O_NONBLOCK), -EAGAIN);
	CHECK_EQ(DO(set_lease, rd, F_UNLCK), 0);
	DO(close, rd);
	signal(SIGIO, was);
}

static void *open_for_writing(void *unused)
{
	(void)unused;
	CHECK_EQ(try_open(root, "file", O_RDWR), 0);
	return NULL;
}

CLAIM(a_writer_waits_until_the_lease_is_let_go)
{
	pthread_t thread;
	put("file", "");
	int rd = open_ok("file", O_RDONLY);
	CHECK_EQ(DO(set_lease, rd, F_RDLCK), 0);
	CHECK_EQ(pthread_create(&thread, NULL, open_for_writing, NULL), 0);
	while (DO(get_lease, rd) == F_RDLCK)
		sched_yield();
	CHECK_EQ(DO(set_lease, rd, F_UNLCK), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	DO(close, rd);
}

CLAIM(the_filesystem_describes_itself)
{
	struct dv_fsinfo info;
	CHECK_EQ(DO(fsinfo, root, &info), 0);
	CHECK(info.bsize >= 512);
	CHECK(info.blocks >= info.bfree);
	CHECK_EQ(info.namelen, 255);
	CHECK(on_kernel || !info.network);
	int path = open_ok(".", O_PATH);
	CHECK_EQ(DO(fsinfo, path, &info), 0);
	DO(close, path);
	CHECK_EQ(DO(fsinfo, path, &info), -EBADF);
}

/* ---- old kernels ---- */

/* From here on openat2 does not exist for this process. */
static void lose_openat2(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = DV_ARRAY_LEN(code), .filter = code};
	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	CHECK(syscall(SYS_openat2, -1, "", NULL, 0) < 0 && errno == ENOSYS);
}

static void test_names_resolve_the_same_without_openat2(void)
{
	int status;
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		lose_openat2();
		run_on_kernel(claim_open_answers_as_linux_for_every_kind_of_entry);
		run_on_kernel(claim_making_names_answers_as_linux);
		run_on_kernel(claim_removing_names_answers_as_linux);
		run_on_kernel(claim_rename_answers_as_linux);
		run_on_kernel(claim_xattrs_by_name_do_not_follow_links);
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
}

static void test_quotas_hold_for_the_process(void)
{
	char text[8192];
	FILE *f = fopen("/proc/self/status", "re");
	CHECK(f != NULL);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	const char *at = strstr(text, "\nCapEff:\t");
	CHECK(at != NULL);
	CHECK(!(strtoull(at + 9, NULL, 16) & 1ull << CAP_SYS_RESOURCE));
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_quotas_hold_for_the_process),
		CHECK_TEST(test_open_answers_as_linux_for_every_kind_of_entry),
		CHECK_TEST(test_open_on_bad_descriptors_says_so),
		CHECK_TEST(test_the_empty_name_opens_the_descriptor_anew),
		CHECK_TEST(test_truncating_open_empties_and_keeps_the_file),
		CHECK_TEST(test_modes_are_made_as_asked),
		CHECK_TEST(test_a_descriptor_without_the_right_refuses),
		CHECK_TEST(test_what_is_appended_stands_behind_what_another_descriptor_appended),
		CHECK_TEST(test_data_is_read_back_with_holes_as_zeros),
		CHECK_TEST(test_truncated_bytes_come_back_as_zeros),
		CHECK_TEST(test_punching_makes_a_hole_and_keeps_the_size),
		CHECK_TEST(test_appending_descriptors_write_at_the_end),
		CHECK_TEST(test_reading_without_waiting_tells_bytes_or_again),
		CHECK_TEST(test_ranges_are_copied_inside_the_filesystem),
		CHECK_TEST(test_advice_is_harmless),
		CHECK_TEST(test_making_names_answers_as_linux),
		CHECK_TEST(test_removing_names_answers_as_linux),
		CHECK_TEST(test_links_of_symbols_read_as_written),
		CHECK_TEST(test_hard_links_share_one_file),
		CHECK_TEST(test_a_descriptor_can_be_given_another_name),
		CHECK_TEST(test_an_unlinked_file_lives_while_it_is_open),
		CHECK_TEST(test_a_removed_directory_takes_no_names),
		CHECK_TEST(test_rename_answers_as_linux),
		CHECK_TEST(test_rename_over_an_open_file_leaves_the_descriptor),
		CHECK_TEST(test_rename_between_links_of_one_file_does_nothing),
		CHECK_TEST(test_directories_count_their_folders_as_links),
		CHECK_TEST(test_listing_tells_every_entry_once_from_any_cookie),
		CHECK_TEST(test_listing_refuses_what_is_no_directory),
		CHECK_TEST(test_attributes_are_set_through_any_descriptor),
		CHECK_TEST(test_symbolic_links_have_attributes_of_their_own),
		CHECK_TEST(test_changing_the_owner_drops_set_id_bits),
		CHECK_TEST(test_special_times_are_now_or_left_alone),
		CHECK_TEST(test_xattrs_work_through_any_descriptor),
		CHECK_TEST(test_xattrs_by_name_do_not_follow_links),
		CHECK_TEST(test_every_change_moves_the_times_that_linux_moves),
		CHECK_TEST(test_a_set_group_id_directory_hands_its_group_down),
		CHECK_TEST(test_a_thread_makes_files_as_whom_it_acts),
		CHECK_TEST(test_locks_conflict_between_descriptors),
		CHECK_TEST(test_a_lock_is_handed_to_who_waits),
		CHECK_TEST(test_a_lease_tells_whether_a_writer_is_left),
		CHECK_TEST(test_a_broken_lease_ends_no_process),
		CHECK_TEST(test_a_writer_waits_until_the_lease_is_let_go),
		CHECK_TEST(test_the_filesystem_describes_itself),
		CHECK_TEST(test_names_resolve_the_same_without_openat2),
	};
	memset(long_name, 'l', sizeof(long_name) - 1);
	dv_backing_posix_prepare();
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
