/* SPDX-License-Identifier: MIT */
/*
 * semantics_calls.c - checks of semantics.c for the rarer calls: links by descriptor, holes and very
 * long files, ioctls, statx, mappings past the end, inotify, running programs, paths as long as
 * they may be.
 */
#include "tests/mount/semantics.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef FALLOC_FL_COLLAPSE_RANGE
#include <linux/falloc.h>
#endif

/* ---- links ---- */

static void note_links(const char *const *names, size_t count)
{
	struct stat first, st;

	for (size_t i = 0; i < count; i++) {
		if (lstat(names[i], &st)) {
			note("%s: %s", names[i], strerrorname_np(errno));
			continue;
		}
		if (i == 0)
			first = st;
		note("%s: nlink %lu, same number %d", names[i], (unsigned long)st.st_nlink,
		     st.st_ino == first.st_ino);
	}
}

/* No name shows an old count, however fresh what the kernel remembers of it. */
static void check_link_counts(void)
{
	static const char *const names[] = {"linked", "linked2", "dir/third", "dir/fourth"};
	int fd = open("linked", O_RDONLY);

	note_links(names, 4);
	R(link("linked2", "dir/third"));
	note_links(names, 4);
	R(rename("dir/third", "dir/fourth"));
	note_links(names, 4);
	R(link("dir/fourth", "dir/third"));
	R(unlink("linked2"));
	note_links(names, 4);
	R(rename("noise", "dir/third"));
	note_links(names, 4);
	R(renameat2(AT_FDCWD, "linked", AT_FDCWD, "text", RENAME_EXCHANGE));
	R(link("text", "linked2"));
	note_links(names, 4);
	R(unlink("text"));
	R(unlink("linked2"));
	show_fd("one name", fd);
	R(unlink("dir/fourth"));
	show_fd("no name", fd);
}

static void check_link_by_descriptor(void)
{
	int fd = open("text", O_RDONLY), path_fd = open("linked", O_PATH);

	R(linkat(fd, "", AT_FDCWD, "by fd", AT_EMPTY_PATH));
	show("by fd");
	R(linkat(path_fd, "", AT_FDCWD, "by path fd", AT_EMPTY_PATH));
	show("by path fd");
	R(unlink("text"));
	R(unlink("by fd"));
	R(linkat(fd, "", AT_FDCWD, "back", AT_EMPTY_PATH));
	R(linkat(fd, "", AT_FDCWD, "linked", AT_EMPTY_PATH));
	show_fd("unlinked", fd);
}

/* ---- bytes ---- */

static void seek_all(int fd)
{
	static const off_t at[] = {0,	  1,	  4095,	  4096,	   4097,
				   65536, 131072, 400000, 1 << 20, 1ll << 40};

	for (size_t i = 0; i < LEN(at); i++) {
		note("data from %lld", (long long)at[i]);
		R(lseek(fd, at[i], SEEK_DATA));
		R(lseek(fd, at[i], SEEK_HOLE));
	}
}

static void check_seeks(void)
{
	static const char *const paths[] = {"text",  "large",  "noise",
					    "empty", "linked", "text.zst"};

	for (size_t i = 0; i < LEN(paths); i++) {
		int fd = open(paths[i], O_RDWR);
		note("%s", paths[i]);
		seek_all(fd);
		R(ftruncate(fd, 1 << 20));
		R(fsync(fd));
		R(lseek(fd, 500000, SEEK_HOLE));
		R(lseek(fd, 500000, SEEK_DATA));
		R(pwrite(fd, "x", 1, (1 << 20) - 1) == 1);
		R(lseek(fd, 500000, SEEK_DATA));
		close(fd);
	}
}

static void check_very_long_files(void)
{
	static const off_t ends[] = {1ll << 31, 1ll << 32, 1ll << 40, (1ll << 43) - 4096};
	int fd = open("sparse", O_RDWR | O_CREAT, 0644);
	char byte = 0;
	struct stat st;

	for (size_t i = 0; i < LEN(ends); i++) {
		R(pwrite(fd, "end", 3, ends[i] - 3));
		R(fstat(fd, &st));
		note("size %lld, few blocks %d", (long long)st.st_size, st.st_blocks < 1000);
		R(pread(fd, &byte, 1, ends[i] - 1));
		note("%c", byte);
		R(pread(fd, &byte, 1, ends[i] / 2 + 1));
		note("%d", byte);
	}
	R(ftruncate(fd, 5));
	R(pread(fd, &byte, 1, 4));
	R(ftruncate(fd, (1ll << 43) - 4096));
	R(lseek(fd, 0, SEEK_END));
	R(unlink("sparse"));
}

static void check_allocation_modes(void)
{
	static const char *const paths[] = {"text", "large", "noise"};

	for (size_t i = 0; i < LEN(paths); i++) {
		int fd = open(paths[i], O_RDWR);
		R(fallocate(fd, FALLOC_FL_ZERO_RANGE, 4096, 8192));
		show(paths[i]);
		R(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 10000, 1000000));
		show(paths[i]);
		R(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4096, 4096));
		R(fallocate(fd, FALLOC_FL_INSERT_RANGE, 4096, 4096));
		R(fallocate(fd, FALLOC_FL_UNSHARE_RANGE, 0, 4096));
		R(fallocate(fd, 0x4000, 0, 4096));
		R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE, 0, 4096));
		R(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096));
		R(lseek(fd, 0, SEEK_END));
		close(fd);
	}
}

static void copy_whole(const char *from, const char *to, int flags)
{
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | flags, 0644);
	size_t total = 0;
	ssize_t n;

	while ((n = copy_file_range(in, NULL, out, NULL, 1 << 30, 0)) > 0)
		total += (size_t)n;
	note("%s to %s: %zu, then %zd", from, to, total, n);
	close(in);
	close(out);
	show(to);
}

static void check_whole_copies(void)
{
	static const char *const from[] = {"text", "large", "noise", "small", "empty", "text.zst"};

	for (size_t i = 0; i < LEN(from); i++) {
		copy_whole(from[i], "dir/new.zst", O_EXCL);
		copy_whole(from[i], "linked", O_TRUNC);
		copy_whole(from[i], "dir/inner", 0);
		R(unlink("dir/new.zst"));
		show("linked2");
	}
	int a = open("large", O_RDWR), b = open("copy", O_RDWR | O_CREAT | O_APPEND, 0644);
	R(copy_file_range(a, NULL, b, NULL, 100, 0));
	R(copy_file_range(b, NULL, a, NULL, 100, 0));
	R(copy_file_range(a, NULL, b, NULL, 100, 1));
	R(copy_file_range(open("dir", O_RDONLY), NULL, a, NULL, 100, 0));
	R(copy_file_range(open("fifo", O_RDWR), NULL, a, NULL, 100, 0));
	R(copy_file_range(open("text", O_WRONLY), NULL, a, NULL, 100, 0));
	R(copy_file_range(a, &(off_t){-1}, b, NULL, 100, 0));
}

static sigjmp_buf bus;

static void on_bus(int signal)
{
	(void)signal;
	siglongjmp(bus, 1);
}

static void touch_at(const char *what, volatile char *p, bool write)
{
	if (sigsetjmp(bus, 1)) {
		note("%s: SIGBUS", what);
		return;
	}
	if (write)
		*p = 'W';
	note("%s: %d", what, *p);
}

static void check_mappings_past_the_end(void)
{
	static const char *const paths[] = {"text", "large"};

	signal(SIGBUS, on_bus);
	for (size_t i = 0; i < LEN(paths); i++) {
		int fd = open(paths[i], O_RDWR);
		char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED) {
			note("mmap: %s", strerrorname_np(errno));
			return;
		}
		touch_at("in the file", p + 10, true);
		touch_at("a page behind the end", p + (1 << 20) - 4096, false);
		R(ftruncate(fd, 5000));
		touch_at("in the last page", p + 5001, false);
		touch_at("behind it", p + 8192, true);
		R(ftruncate(fd, 100000));
		touch_at("there again", p + 8192, true);
		touch_at("what was cut off", p + 5001, false);
		R(ftruncate(fd, 0));
		touch_at("nothing is left", p, false);
		R(pwrite(fd, "new", 3, 0));
		touch_at("new", p, false);
		R(munmap(p, 1 << 20));
		show(paths[i]);
	}
}

static void check_direct_io_edges(void)
{
	char *buf = aligned_alloc(4096, 65536);
	int fd = open("large", O_RDWR | O_DIRECT),
	    to = open("fresh", O_RDWR | O_CREAT | O_DIRECT, 0644);

	if (!buf)
		return;
	R(pread(fd, buf, 65536, 397312));
	R(pread(fd, buf, 65536, 1 << 20));
	memset(buf, 'd', 65536);
	R(pwrite(to, buf, 65536, 4096));
	R(pwrite(to, buf, 4096, 1 << 20));
	show("fresh");
	R(ftruncate(to, 4096));
	R(pread(to, buf, 4096, 0));
	show("fresh");
	free(buf);
}

/* ---- what a file is asked ---- */

static void set_access_time(const char *path)
{
	const struct timespec times[2] = {{.tv_sec = 981173106, .tv_nsec = 7},
					  {.tv_nsec = UTIME_OMIT}};

	R(utimensat(AT_FDCWD, path, times, 0));
}

static void note_access_time(const char *path)
{
	struct stat st;

	R(stat(path, &st));
	note("access time of %s %s", path,
	     st.st_atim.tv_sec == 981173106 && st.st_atim.tv_nsec == 7 ? "kept" : "moved");
}

/* To write is not to read, whatever becomes of the file. (Of "large" the daemon reads the table.) */
static void check_access_times(void)
{
	static const char *const paths[] = {"text", "noise", "small", "text.zst"};

	for (size_t i = 0; i < LEN(paths); i++) {
		set_access_time(paths[i]);
		int fd = open(paths[i], O_WRONLY | O_APPEND);
		R(write(fd, "end", 3));
		note_access_time(paths[i]);
		R(fsync(fd));
		note_access_time(paths[i]);
		R(close(fd));
		fd = open(paths[i], O_WRONLY);
		R(pwrite(fd, "start", 5, 1));
		note_access_time(paths[i]);
		R(fsync(fd));
		note_access_time(paths[i]);
		R(ftruncate(fd, 50));
		R(fsync(fd));
		note_access_time(paths[i]);
		R(close(fd));
		fd = open(paths[i], O_WRONLY | O_TRUNC);
		note_access_time(paths[i]);
		R(write(fd, "new", 3));
		R(fsync(fd));
		note_access_time(paths[i]);
		R(fchmod(fd, 0600));
		R(rename(paths[i], "moved"));
		note_access_time("moved");
		R(unlink("moved"));
	}
	put_file("stream", 9 << 20, true);
	set_access_time("stream");
	int fd = open("stream", O_WRONLY | O_APPEND);
	R(write(fd, "end", 3));
	R(fsync(fd));
	note_access_time("stream");
	R(pwrite(fd, "end", 3, 0));
	R(fsync(fd));
	note_access_time("stream");
	R(unlink("stream"));
}

static void check_statx(void)
{
	static const char *const paths[] = {"text", "large", "empty", "dir", "sym", "fifo"};
	struct statx st;

	for (size_t i = 0; i < LEN(paths); i++) {
		R(statx(AT_FDCWD, paths[i], AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME,
			&st));
		note("%s: mask %x, mode %o, attributes %llx", paths[i],
		     st.stx_mask & STATX_BASIC_STATS, st.stx_mode,
		     (unsigned long long)(st.stx_attributes &
					  (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)));
		note("birth time known %d", (st.stx_mask & STATX_BTIME) != 0);
	}
	R(statx(AT_FDCWD, "text", AT_STATX_FORCE_SYNC, STATX_ALL, &st));
	R(statx(AT_FDCWD, "text", AT_STATX_DONT_SYNC, STATX_ALL, &st));
	R(statx(AT_FDCWD, "text", AT_STATX_DONT_SYNC | AT_STATX_FORCE_SYNC, STATX_ALL, &st));
}

static void ioctls_of(const char *path)
{
	struct fiemap map = {.fm_length = FIEMAP_MAX_OFFSET};
	struct fsxattr x;
	int fd = open(path, O_RDONLY), to = open("fresh", O_RDWR | O_CREAT, 0644), number = 0;

	note("%s", path);
	R(ioctl(fd, FS_IOC_FIEMAP, &map));
	R(ioctl(fd, FS_IOC_GETFLAGS, &number));
	R(ioctl(fd, FS_IOC_FSGETXATTR, &x));
	R(ioctl(fd, FS_IOC_GETVERSION, &number));
	R(ioctl(to, FICLONE, fd));
	struct file_clone_range range = {.src_fd = fd, .src_length = 4096};
	R(ioctl(to, FICLONERANGE, &range));
	close(fd);
	close(to);
}

static void check_ioctls(void)
{
	ioctls_of("text");
	ioctls_of("large");
	ioctls_of("dir");
	R(renameat2(AT_FDCWD, "text", AT_FDCWD, "white", RENAME_WHITEOUT));
	R(renameat2(AT_FDCWD, "large", AT_FDCWD, "noise", RENAME_WHITEOUT | RENAME_EXCHANGE));
}

static void note_events(int fd)
{
	char buf[4096] __attribute__((aligned(8)));
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (char *p = buf; p < buf + n;) {
			struct inotify_event e;
			memcpy(&e, p, sizeof(e));
			note("event %x of '%s'", e.mask, e.len ? p + sizeof(e) : "");
			p += sizeof(e) + e.len;
		}
}

static void check_inotify(void)
{
	int in = inotify_init1(IN_NONBLOCK);

	R(inotify_add_watch(in, ".", IN_ALL_EVENTS & ~(IN_ACCESS | IN_OPEN | IN_CLOSE_NOWRITE)));
	int fd = open("made.zst", O_WRONLY | O_CREAT | O_EXCL, 0644);
	R(write(fd, "some", 4));
	R(close(fd));
	fd = open("text", O_WRONLY | O_TRUNC);
	R(write(fd, "other", 5));
	R(close(fd));
	R(rename("made.zst", "large"));
	R(unlink("noise"));
	R(mkdir("made", 0755));
	R(link("text", "made.link"));
	R(chmod("text", 0600));
	note_events(in);
	R(inotify_add_watch(in, "large", IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF));
	R(truncate("large", 2));
	R(unlink("large"));
	note_events(in);
}

/* ---- running programs ---- */

static int run(const char *path)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		execl(path, path, "-c", "exit 3", (char *)NULL);
		_exit(100);
	}
	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WEXITSTATUS(status);
}

static void put_program(const char *path)
{
	static char buf[1 << 16];
	int in = open("/bin/sh", O_RDONLY), out = open(path, O_WRONLY | O_CREAT | O_EXCL, 0755);
	ssize_t n;

	while ((n = read(in, buf, sizeof(buf))) > 0)
		if (write(out, buf, (size_t)n) != n)
			note("write %s: %s", path, strerrorname_np(errno));
	close(in);
	close(out);
}

static void check_running_programs(void)
{
	int gate[2], status;

	put_program("prog");
	R(run("./prog"));
	int fd = open("prog", O_WRONLY);
	R(run("./prog"));
	close(fd);
	if (pipe2(gate, O_CLOEXEC))
		return;
	pid_t pid = fork();
	if (pid == 0) {
		dup2(gate[0], 0);
		do /* the parent may have it open for writing just now */
			execl("./prog", "prog", "-c", "echo; read line; exit 5", (char *)NULL);
		while (errno == ETXTBSY);
		_exit(100);
	}
	/* The program has begun when it can not be opened for writing any more. */
	for (int i = 0; i < 10000 && (fd = open("prog", O_WRONLY)) >= 0; i++) {
		close(fd);
		usleep(1000);
	}
	R(fd);
	R(open("prog", O_RDONLY) >= 0);
	R(truncate("prog", 0));
	R(chmod("prog", 0700));
	R(rename("prog", "prog2"));
	R(unlink("prog2"));
	R(write(gate[1], "\n", 1));
	R(waitpid(pid, &status, 0) == pid);
	note("status %#x", (unsigned)status);
}

/* ---- paths ---- */

static void check_longest_paths(void)
{
	static char path[PATH_MAX + 10];
	size_t len = 0;

	for (; len + 10 < PATH_MAX - 1; len += 9) {
		memcpy(path + len, "dir.zst/x", 9); /* the x is written over by the next one */
		path[len + 7] = '\0';
		if (mkdir(path, 0755)) {
			note("mkdir at %zu: %s", len, strerrorname_np(errno));
			return;
		}
		path[len + 7] = '/';
		len--;
	}
	for (int more = -1; more <= 1; more++) {
		/* PATH_MAX counts the NUL. */
		size_t name = PATH_MAX - 1 - len + (size_t)more;
		memset(path + len, 'f', name);
		path[len + name] = '\0';
		note("a path of PATH_MAX %+d", more);
		int fd = open(path, O_RDWR | O_CREAT, 0644);
		R(fd >= 0);
		R(write(fd, "at the end of a long path", 25));
		close(fd);
		show(path);
		R(rename(path, "short"));
		R(rename("short", path));
		R(link(path, "short"));
		R(setxattr(path, "user.x", "1", 1, 0));
		R(unlink(path));
		R(unlink("short"));
	}
}

#define CHECK_OF(f)                                                                                \
	{                                                                                          \
#f, f                                                                              \
	}
const struct check_test semantics_calls[] = {
	CHECK_OF(check_link_counts),
	CHECK_OF(check_link_by_descriptor),
	CHECK_OF(check_seeks),
	CHECK_OF(check_very_long_files),
	CHECK_OF(check_allocation_modes),
	CHECK_OF(check_whole_copies),
	CHECK_OF(check_mappings_past_the_end),
	CHECK_OF(check_direct_io_edges),
	CHECK_OF(check_access_times),
	CHECK_OF(check_statx),
	CHECK_OF(check_ioctls),
	CHECK_OF(check_inotify),
	CHECK_OF(check_running_programs),
	CHECK_OF(check_longest_paths),
};
const size_t semantics_calls_count = LEN(semantics_calls);
