/* SPDX-License-Identifier: MIT */
/*
 * semantics.c - the same calls on the mount and on a plain directory; results, errnos, attributes
 * and contents must be the same.
 *
 *   semantics PROGRAM STORE MOUNTPOINT PLAIN OUT [-v]
 *
 * Each check is a list of calls. What they return is written, a line each, into a transcript; the
 * transcripts of the two sides are compared. All checks run three times, on files that are
 *
 *   raw        just made
 *   packed     after `pack`
 *   remounted  packed, then mounted anew
 *
 * Where the mount may differ, `known` says why. Two processes, two users and mappings take part.
 */
#include "tests/mount/semantics.h"
#include "tests/mount/mounted.h"
#include "tests/support/check.h"
#include "tests/support/random.h"

#include <dirent.h>
#include <grp.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/xattr.h>

#define TICK_NS	       12000000 /* more than the grain of file times */
#define LINE_MAX_BYTES 600

static FILE *out; /* the transcript */
static const char *check_name;

/* ---- notes ---- */

void note(const char *format, ...)
{
	va_list args;

	fprintf(out, "%s: ", check_name);
	va_start(args, format);
	vfprintf(out, format, args);
	va_end(args);
	fputc('\n', out);
}

void note_result(const char *call, long result)
{
	if (result < 0)
		note("%s = %ld %s", call, result, strerrorname_np(errno));
	else
		note("%s = %ld", call, result);
}
void tick(void)
{
	nanosleep(&(struct timespec){.tv_nsec = TICK_NS}, NULL);
}

static uint64_t sum(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint64_t s = 1469598103934665603u;

	for (size_t i = 0; i < len; i++)
		s = (s ^ p[i]) * 1099511628211u;
	return s;
}

/* Size and a sum of what a read from the start gives. */
static void note_bytes(const char *what, int fd)
{
	char *buf = malloc(LARGE_BYTES * 2);
	ssize_t n = buf ? pread(fd, buf, LARGE_BYTES * 2, 0) : -1;

	if (n < 0)
		note("bytes of %s: %s", what, strerrorname_np(errno));
	else
		note("bytes of %s: %zd, %016llx", what, n, (unsigned long long)sum(buf, (size_t)n));
	free(buf);
}

static void note_stat(const char *what, const struct stat *st)
{
	note("%s: mode %o nlink %lu uid %u gid %u size %lld rdev %lx", what, st->st_mode,
	     (unsigned long)st->st_nlink, st->st_uid, st->st_gid,
	     S_ISDIR(st->st_mode) ? 0ll : (long long)st->st_size, (unsigned long)st->st_rdev);
}

void show_fd(const char *what, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		note("%s: %s", what, strerrorname_np(errno));
	else
		note_stat(what, &st);
	note_bytes(what, fd);
}

void show(const char *path)
{
	struct stat st;
	int fd;

	if (lstat(path, &st)) {
		note("%s: %s", path, strerrorname_np(errno));
		return;
	}
	note_stat(path, &st);
	if (!S_ISREG(st.st_mode))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		note("open %s: %s", path, strerrorname_np(errno));
		return;
	}
	note_bytes(path, fd);
	close(fd);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void list(const char *path)
{
	char *names[1024];
	size_t count = 0;
	DIR *d = opendir(path);

	if (!d) {
		note("opendir %s: %s", path, strerrorname_np(errno));
		return;
	}
	for (struct dirent *e; count < LEN(names) && (e = readdir(d));) {
		char text[300];
		snprintf(text, sizeof(text), "%s %d", e->d_name, e->d_type);
		names[count++] = strdup(text);
	}
	closedir(d);
	qsort(names, count, sizeof(*names), by_name);
	for (size_t i = 0; i < count; i++) {
		note("in %s: %s", path, names[i]);
		free(names[i]);
	}
}

/* Which of the times differ from before? */
void note_times(const char *path, const struct stat *before)
{
	struct stat now;

	if (lstat(path, &now)) {
		note("times of %s: %s", path, strerrorname_np(errno));
		return;
	}
#define SAME(field)                                                                                \
	(now.field.tv_sec == before->field.tv_sec && now.field.tv_nsec == before->field.tv_nsec)
	note("times of %s: mtime %s, ctime %s", path, SAME(st_mtim) ? "kept" : "moved",
	     SAME(st_ctim) ? "kept" : "moved");
}

struct stat before_of(const char *path)
{
	struct stat st;

	memset(&st, 0, sizeof(st));
	if (lstat(path, &st))
		note("lstat %s: %s", path, strerrorname_np(errno));
	tick();
	return st;
}

/* ---- users and processes ---- */

void become(uid_t uid, gid_t gid, gid_t supplementary)
{
	if (seteuid(0) || setgroups(supplementary ? 1 : 0, &supplementary) || setegid(gid) ||
	    seteuid(uid))
		note("become %u: %s", uid, strerrorname_np(errno));
}

void become_root(void)
{
	if (seteuid(0) || setegid(0) || setgroups(0, NULL))
		note("become root: %s", strerrorname_np(errno));
}

/* Runs f in another process; its notes are part of the transcript. */
void elsewhere(void (*f)(void))
{
	int status = 0;
	pid_t pid;

	fflush(out);
	pid = fork();
	if (pid == 0) {
		f();
		fflush(out);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		note("the other process ended with %#x", (unsigned)status);
}

/* ---- the files that every check finds ---- */

void put_file(const char *path, size_t len, bool compressible)
{
	struct test_random r = {len + 12345};
	char *buf = malloc(len + 1);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (!buf || fd < 0) {
		note("put %s: %s", path, strerrorname_np(errno));
		free(buf);
		return;
	}
	for (size_t i = 0; i < len; i++)
		buf[i] = compressible ? (char)('a' + i / 7 % 23) : (char)test_random_next(&r);
	R(write(fd, buf, len) == (ssize_t)len);
	R(close(fd));
	free(buf);
}

static void make_files(void)
{
	put_file("text", TEXT_BYTES, true);
	put_file("large", LARGE_BYTES, true);
	put_file("noise", 50000, false);
	put_file("small", 100, true);
	put_file("empty", 0, true);
	put_file("text.zst", TEXT_BYTES + 1, true);
	put_file("linked", TEXT_BYTES + 2, true);
	R(link("linked", "linked2"));
	R(mkdir("dir", 0755));
	put_file("dir/inner", TEXT_BYTES + 3, true);
	R(symlink("text", "sym"));
	R(mkfifo("fifo", 0644));
}

/* ---- checks: opening ---- */

static void check_open_flags(void)
{
	static const int flags[] = {O_RDONLY,
				    O_WRONLY,
				    O_RDWR,
				    O_RDONLY | O_CREAT,
				    O_RDWR | O_CREAT | O_EXCL,
				    O_RDONLY | O_DIRECTORY,
				    O_RDONLY | O_NOFOLLOW,
				    O_PATH,
				    O_PATH | O_NOFOLLOW,
				    O_RDWR | O_APPEND,
				    O_RDONLY | O_NOATIME,
				    O_WRONLY | O_SYNC};
	static const char *const paths[] = {"text",   "sym",	    "dir",   "missing/x",
					    "text/x", "dir/inner/", "linked"};

	for (size_t i = 0; i < LEN(flags); i++)
		for (size_t j = 0; j < LEN(paths); j++) {
			int fd = open(paths[j], flags[i] | O_CLOEXEC, 0600);
			note("open %s %#x: %s", paths[j], (unsigned)flags[i],
			     fd < 0 ? strerrorname_np(errno) : "ok");
			if (fd >= 0)
				close(fd);
		}
}

static void check_trunc(void)
{
	int fd = open("text", O_RDONLY), w;
	struct stat st = before_of("text");

	w = open("text", O_WRONLY | O_TRUNC);
	show_fd("text, opened before", fd);
	note_times("text", &st);
	R(write(w, "new", 3));
	show("text");
	R(close(w));
	show_fd("text, opened before", fd);
	R(close(fd));
	R(open("linked", O_WRONLY | O_TRUNC));
	show("linked2");
	R(open("sym", O_WRONLY | O_TRUNC | O_NOFOLLOW));
	R(open("dir", O_WRONLY | O_TRUNC));
	R(open("fresh", O_WRONLY | O_TRUNC | O_CREAT | O_EXCL, 0640));
	show("fresh");
	R(open("empty", O_RDONLY | O_TRUNC));
}

static void append_forty(void)
{
	int fd = open("large", O_WRONLY | O_APPEND);
	char line[16];

	for (int i = 0; i < 40; i++) {
		snprintf(line, sizeof(line), "line %07d\n", i);
		if (write(fd, line, 13) != 13)
			note("append: %s", strerrorname_np(errno));
	}
	close(fd);
}

static void check_append(void)
{
	int a = open("text", O_RDWR | O_APPEND), b = open("text", O_WRONLY | O_APPEND),
	    c = open("text", O_RDWR);

	R(write(a, "aaaa", 4));
	R(write(b, "bb", 2));
	R(pwrite(a, "at the end", 10, 0));
	R(lseek(a, 0, SEEK_CUR));
	R(pwrite(c, "front", 5, 0));
	R(ftruncate(c, 100));
	R(write(b, "after", 5));
	show("text");
	elsewhere(append_forty);
	append_forty();
	elsewhere(append_forty);
	show("large");
}

static void check_direct_io(void)
{
	char *buf = aligned_alloc(4096, 8192);
	int fd = open("large", O_RDWR | O_DIRECT);

	note("O_DIRECT %s", fd < 0 ? "refused" : "taken");
	if (fd >= 0 && buf) {
		R(pread(fd, buf, 8192, 4096));
		note("sum %llx", (unsigned long long)sum(buf, 8192));
		R(pwrite(fd, buf, 4096, 0));
	}
	show("large");
	free(buf);
}

static void check_tmpfile(void)
{
	int fd = open(".", O_TMPFILE | O_RDWR, 0600);

	note("O_TMPFILE %s", fd < 0 ? strerrorname_np(errno) : "ok");
}

/* ---- checks: names ---- */

static void check_unlink_open(void)
{
	int fd = open("text", O_RDWR), l = open("linked", O_RDWR);

	R(unlink("text"));
	show_fd("unlinked", fd);
	R(pwrite(fd, "xyz", 3, 5));
	R(ftruncate(fd, 30000));
	R(fchmod(fd, 0600));
	R(fsync(fd));
	R(fsetxattr(fd, "user.a", "1", 1, 0));
	show_fd("unlinked", fd);
	R(ftruncate(fd, 0));
	R(write(fd, "again", 5));
	show_fd("unlinked", fd);
	R(open("text", O_RDWR | O_CREAT | O_EXCL, 0644));
	show("text");
	show_fd("unlinked", fd);
	R(linkat(AT_FDCWD, "/proc/self/fd/5", AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
	R(unlink("linked"));
	show_fd("one of two names", l);
	R(unlink("linked2"));
	show_fd("none of two names", l);
	R(unlink("dir"));
	R(unlink("missing"));
	R(unlink("text/x"));
	R(unlinkat(AT_FDCWD, "text", AT_REMOVEDIR));
}

static void check_rename(void)
{
	int over = open("large", O_RDWR), moved = open("text", O_RDWR);
	struct stat st = before_of("text"), dir = before_of(".");

	R(rename("text", "large"));
	note_times("large", &st);
	note_times(".", &dir);
	show_fd("overwritten", over);
	R(pwrite(over, "still here", 10, 0));
	show_fd("overwritten", over);
	R(pwrite(moved, "written after", 13, 7));
	show("large");
	R(rename("large", "large"));
	R(rename("linked", "linked2"));
	show("linked");
	R(rename("dir", "small"));
	R(rename("small", "dir"));
	R(rename("dir", "dir/sub"));
	R(rename("missing", "x"));
	R(rename("small", "dir/inner"));
	show("dir/inner");
	R(mkdir("into", 0700));
	R(rename("dir", "into"));
	list("into");
	R(mkdir("full", 0700));
	R(rename("full", "into"));
	R(rename("into", "full"));
	list(".");
	R(rename("noise", "text.zst"));
	show("text.zst");
	R(rename("text.zst", "plain"));
	show("plain");
	R(rename("fifo", "plain"));
	show("plain");
	R(rename("sym", "full/sym"));
	R(rename("full", "full.zst"));
	show("full.zst/inner");
	R(rename("empty", "linked2"));
	show("linked");
}

static void check_rename_flags(void)
{
	R(renameat2(AT_FDCWD, "text", AT_FDCWD, "large", RENAME_NOREPLACE));
	R(renameat2(AT_FDCWD, "text", AT_FDCWD, "fresh", RENAME_NOREPLACE));
	R(renameat2(AT_FDCWD, "fresh", AT_FDCWD, "large", RENAME_EXCHANGE));
	show("fresh");
	show("large");
	R(renameat2(AT_FDCWD, "noise", AT_FDCWD, "large", RENAME_EXCHANGE));
	show("noise");
	show("large");
	R(renameat2(AT_FDCWD, "dir", AT_FDCWD, "small", RENAME_EXCHANGE));
	show("small");
	show("dir");
	R(renameat2(AT_FDCWD, "small", AT_FDCWD, "missing", RENAME_EXCHANGE));
	R(renameat2(AT_FDCWD, "sym", AT_FDCWD, "text.zst", RENAME_EXCHANGE));
	R(renameat2(AT_FDCWD, "small", AT_FDCWD, "small/inner", RENAME_EXCHANGE));
	R(renameat2(AT_FDCWD, "large", AT_FDCWD, "linked", RENAME_EXCHANGE | RENAME_NOREPLACE));
	R(renameat2(AT_FDCWD, "large", AT_FDCWD, "linked", 64));
	list(".");
}

static void check_links(void)
{
	struct stat st = before_of("linked2");

	R(link("linked", "third"));
	note_times("linked2", &st);
	show("linked");
	show("linked2");
	show("third");
	st = before_of("third");
	R(unlink("linked"));
	note_times("third", &st);
	R(rename("linked2", "dir/far"));
	st = before_of("third");
	R(chmod("third", 0600));
	note_times("dir/far", &st);
	R(truncate("dir/far", 3000));
	show("third");
	int fd = open("third", O_WRONLY | O_TRUNC);
	R(write(fd, "short", 5));
	show("dir/far");
	R(setxattr("third", "user.k", "v", 1, 0));
	char v[8];
	R(getxattr("dir/far", "user.k", v, sizeof(v)));
	R(link("text", "large"));
	R(link("dir", "dirlink"));
	R(link("missing", "x"));
	R(link("sym", "symlink2"));
	R(linkat(AT_FDCWD, "sym", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
	show("symlink2");
	show("followed");
	R(link("fifo", "fifo.zst"));
	show("fifo.zst");
	R(link("large", "large.zst"));
	R(link("large.zst", "large.zst.raw"));
	R(link("large.zst.raw", "large.raw"));
	show("large.zst.raw");
	R(unlink("large"));
	R(truncate("large.raw", LARGE_BYTES + 5));
	show("large.zst");
	list(".");
}

static void check_symlinks(void)
{
	static char target[PATH_MAX + 10], got[PATH_MAX + 10];

	memset(target, 'x', sizeof(target));
	target[PATH_MAX - 1] = '\0';
	R(symlink(target, "longest"));
	R(readlink("longest", got, sizeof(got)));
	note("same target %d", memcmp(got, target, PATH_MAX - 1) == 0);
	R(lstat("longest", &(struct stat){0}));
	target[PATH_MAX - 1] = 'x';
	target[PATH_MAX] = '\0';
	R(symlink(target, "too long"));
	R(symlink("", "nothing"));
	R(symlink("\xff\x01 \n", "odd"));
	R(readlink("odd", got, sizeof(got)));
	R(readlink("odd", got, 2));
	R(symlink("loop", "loop"));
	R(open("loop", O_RDONLY));
	R(symlink("text", "sym.zst"));
	R(readlink("sym.zst", got, sizeof(got)));
	show("sym.zst");
	R(open("sym.zst", O_RDONLY));
	R(readlink("text", got, sizeof(got)));
	R(symlink("a", "sym"));
	R(symlink("../nowhere", "dangling"));
	R(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0644));
	R(lchown("sym.zst", 1001, 1001));
	show("sym.zst");
	R(utimensat(AT_FDCWD, "sym.zst", (struct timespec[]){{1, 2}, {3, 4}}, AT_SYMLINK_NOFOLLOW));
	struct stat st = before_of("sym.zst");
	note("mtime %ld.%ld", (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void check_special(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "socket.zst"};
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	R(bind(s, (struct sockaddr *)&at, sizeof(at)));
	R(listen(s, 1));
	R(connect(c, (struct sockaddr *)&at, sizeof(at)));
	show("socket.zst");
	R(open("socket.zst", O_RDWR));
	R(mkfifo("fifo.zst", 0666));
	R(mkfifo("fifo.zst", 0666));
	int fd = open("fifo.zst", O_RDWR | O_NONBLOCK);
	R(write(fd, "through", 7));
	char buf[8];
	R(read(fd, buf, 7));
	R(open("fifo", O_WRONLY | O_NONBLOCK));
	R(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	show("null");
	R(mknod("block.raw", S_IFBLK | 0600, makedev(7, 99)));
	show("block.raw");
	R(mknod("plain", S_IFREG | 0640, 0));
	show("plain");
	R(mknod("bad", S_IFDIR | 0640, 0));
	R(truncate("fifo", 0));
	R(unlink("fifo.zst"));
	R(unlink("socket.zst"));
	list(".");
}

static void check_directories(void)
{
	struct stat st = before_of("dir");

	R(rmdir("dir"));
	R(mkdir("dir", 0700));
	R(mkdir("dir/sub", 0711));
	note_times("dir", &st);
	show("dir");
	R(mkdir("dir/sub.zst", 0711));
	show("dir");
	R(rmdir("dir/sub"));
	show("dir");
	R(rmdir("text"));
	R(rmdir("missing"));
	R(rmdir("dir/sub.zst/."));
	R(rmdir("dir/sub.zst/.."));
	R(mkdir("missing/x", 0700));
	R(mkdir("sym", 0700));
	R(mkdir("slash/", 0700));
	show("slash");
	int fd = open("slash", O_RDONLY | O_DIRECTORY);
	R(rmdir("slash"));
	show_fd("removed", fd);
	R(openat(fd, "x", O_CREAT | O_RDWR, 0644));
	R(mkdirat(fd, "x", 0755));
	R(unlink("dir/inner"));
	R(rmdir("dir/sub.zst"));
	R(rmdir("dir"));
	list(".");
}

static void check_long_names(void)
{
	static const size_t lens[] = {247, 250, 251, 252, 254, 255, 256};
	char name[300], other[300];

	for (size_t i = 0; i < LEN(lens); i++) {
		memset(name, 'n', lens[i]);
		name[lens[i]] = '\0';
		int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);
		note("name of %zu: %s", lens[i], fd < 0 ? strerrorname_np(errno) : "ok");
		if (fd < 0)
			continue;
		R(ftruncate(fd, 9000));
		R(close(fd));
		strcpy(other, name);
		other[0] = 'o';
		R(rename(name, other));
		R(mkdir(name, 0755));
		R(link(other, "short"));
		R(unlink("short"));
	}
	R(rename("text", other));
	show(other);
	list(".");
}

static void check_suffixes(void)
{
	static const char *const names[] = {"a.zst",	     "a",	 "a.zst.raw", "a.raw",
					    "a.zst.raw.raw", ".zst",	 ".raw",      "a.zst.zst",
					    "%2e",	     "%",	 "..a",	      ".diskvf",
					    "a b",	     "\xff\xfe", "a\nb",      "x.ZST"};

	for (size_t i = 0; i < LEN(names); i++) {
		put_file(names[i], 5000 + i, true);
		show(names[i]);
	}
	list(".");
	for (size_t i = 0; i < LEN(names); i += 2)
		R(unlink(names[i]));
	list(".");
	for (size_t i = 0; i < LEN(names); i += 2) {
		R(mkdir(names[i], 0755));
		show(names[i]);
	}
	for (size_t i = 1; i < LEN(names); i += 2)
		R(mkdir(names[i], 0755));
	list(".");
	R(rename("a.zst", "b.zst"));
	R(rename("a", "a.zst"));
	list(".");
}

static void check_deep_tree(void)
{
	static char path[PATH_MAX + 300];
	char name[] = "a-directory-of-some-length-to-get-there-sooner.zst";
	int at = open(".", O_RDONLY | O_DIRECTORY), depth = 0;

	for (; depth < 100; depth++) {
		if (mkdirat(at, name, 0755))
			break;
		int next = openat(at, name, O_RDONLY | O_DIRECTORY);
		close(at);
		at = next;
		if (strlen(path) + sizeof(name) + 1 < sizeof(path))
			strcat(strcat(path, name), "/");
	}
	note("depth %d", depth);
	R(openat(at, "leaf", O_RDWR | O_CREAT, 0644) >= 0);
	close(at);
	path[strlen(path) - 1] = '\0';
	R(open(path, O_RDONLY | O_DIRECTORY));
	path[3900] = '\0';
	*(strrchr(path, '/')) = '\0';
	R(rename(path, "moved"));
	R(open(path, O_RDONLY | O_DIRECTORY));
	list("moved");
}

/* ---- checks: attributes ---- */

static void check_modes(void)
{
	static const mode_t modes[] = {0, 07777, 04755, 02755, 01777, 0644};
	static const char *const paths[] = {"text", "dir", "sym", "fifo", "linked"};

	for (size_t i = 0; i < LEN(modes); i++)
		for (size_t j = 0; j < LEN(paths); j++) {
			struct stat st = before_of(paths[j]);
			R(chmod(paths[j], modes[i]));
			note_times(paths[j], &st);
			show(paths[j]);
		}
	for (mode_t mask = 0; mask < 0100; mask += 027) {
		umask(mask);
		unlink("made");
		R(open("made", O_CREAT | O_RDWR, 0777));
		show("made");
		unlink("made");
		R(mknod("made", S_IFIFO | 0777, 0));
		show("made");
		rmdir("made.d");
		R(mkdir("made.d", 0777));
		show("made.d");
	}
	umask(022);
	R(fchmodat(AT_FDCWD, "text", 0600, AT_SYMLINK_NOFOLLOW));
	R(chmod("missing", 0600));
}

static void suid_after(const char *path, void (*f)(const char *))
{
	static const mode_t modes[] = {06755, 06711, 02745, 02705, 04644};

	for (size_t i = 0; i < LEN(modes); i++) {
		R(chmod(path, modes[i] | 0022));
		f(path);
		show(path);
	}
}

static void write_as_other(const char *path)
{
	become(1001, 1001, 0);
	int fd = open(path, O_WRONLY);
	R(pwrite(fd, "x", 1, 3) == 1);
	close(fd);
	become_root();
}

static void truncate_as_member(const char *path)
{
	become(1001, 1001, 1005);
	R(truncate(path, 50));
	become_root();
}

static void allocate_as_other(const char *path)
{
	become(1002, 1002, 0);
	int fd = open(path, O_WRONLY);
	R(fallocate(fd, 0, 0, 60000));
	close(fd);
	become_root();
}

static void chown_as_root(const char *path)
{
	R(chown(path, 1003, (gid_t)-1));
}

static void check_suid(void)
{
	R(chown("text", 0, 1005));
	R(chown("linked", 0, 1005));
	suid_after("text", write_as_other);
	suid_after("linked", write_as_other);
	suid_after("linked2", truncate_as_member);
	suid_after("text.zst", allocate_as_other);
	suid_after("large", chown_as_root);
	suid_after("dir", chown_as_root);
	suid_after("small", write_as_other); /* raw and not moved by it: no swap tells the kernel */
	suid_after("small", allocate_as_other);
	R(chmod("small", 06777));
	int fd = open("small", O_WRONLY | O_TRUNC);
	R(write(fd, "root keeps them", 15));
	show("small");
}

static void check_owners(void)
{
	R(chown("text", 1001, 1002));
	R(chown("dir", 1001, 1002));
	R(lchown("sym", 1001, 1002));
	show("text");
	become(1001, 1001, 1005);
	R(chown("text", 1001, 1005)); /* by a supplementary group */
	R(chown("text", 1001, 1001));
	R(chown("text", 1001, 1002));
	R(chown("text", 1002, (gid_t)-1));
	R(chmod("text", 0640));
	R(chmod("large", 0640));
	R(open("large", O_WRONLY));
	R(open("large", O_RDONLY));
	R(open("dir/mine", O_CREAT | O_RDWR, 0644));
	R(open("notmine", O_CREAT | O_RDWR, 0644));
	R(utimensat(AT_FDCWD, "large", NULL, 0));
	R(utimensat(AT_FDCWD, "text", (struct timespec[]){{5, 6}, {7, 8}}, 0));
	R(setxattr("large", "user.x", "1", 1, 0));
	R(truncate("large", 5));
	R(unlink("large"));
	R(link("large", "dir/large"));
	become_root();
	show("text");
	show("dir/mine");
	R(chown("linked", 1001, 1002));
	become(1002, 1002, 0);
	R(open("linked2", O_RDONLY));
	R(open("linked2", O_WRONLY));
	become_root();
	R(chmod("linked", 0060));
	become(1003, 1003, 1002);
	R(open("linked2", O_RDWR));
	become(1001, 1001, 0);
	R(open("linked2", O_RDWR));
	R(access("linked2", R_OK));
	become_root();
	show("linked");
}

static void check_setgid_and_sticky(void)
{
	R(mkdir("setgid", 0777));
	R(chown("setgid", 1001, 1005));
	R(chmod("setgid", 02777));
	become(1002, 1002, 0);
	umask(0);
	R(open("setgid/f", O_CREAT | O_RDWR, 02775));
	R(mkdir("setgid/d", 0755));
	R(mkfifo("setgid/fifo", 0644));
	R(symlink("x", "setgid/s"));
	R(mknod("setgid/reg", S_IFREG | 02775, 0));
	umask(022);
	become_root();
	show("setgid/f");
	show("setgid/d");
	show("setgid/fifo");
	show("setgid/s");
	show("setgid/reg");
	R(mkdir("sticky", 0777));
	R(chmod("sticky", 01777));
	put_file("sticky/roots", 6000, true);
	become(1002, 1002, 0);
	R(unlink("sticky/roots"));
	R(rename("sticky/roots", "sticky/x"));
	R(open("sticky/own", O_CREAT | O_RDWR, 0644));
	R(rename("sticky/own", "sticky/roots"));
	become(1003, 1003, 0);
	R(unlink("sticky/own"));
	become_root();
	R(unlink("sticky/own"));
	list("sticky");
}

static void note_mtime(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		note("%s: %s", path, strerrorname_np(errno));
	else if (st.st_mtim.tv_sec < 1500000000)
		note("%s: mtime %ld.%09ld atime %ld.%09ld", path, (long)st.st_mtim.tv_sec,
		     st.st_mtim.tv_nsec,
		     st.st_atim.tv_sec < 1500000000 ? (long)st.st_atim.tv_sec : -1,
		     st.st_atim.tv_sec < 1500000000 ? st.st_atim.tv_nsec : -1);
	else
		note("%s: mtime now", path);
}

static void check_times(void)
{
	static const char *const paths[] = {"text", "large", "linked", "dir", "fifo", "small"};

	for (size_t i = 0; i < LEN(paths); i++) {
		const char *p = paths[i];
		struct stat st = before_of(p);
		R(utimensat(AT_FDCWD, p,
			    (struct timespec[]){{1000000000, 123456789}, {1100000000, 987654321}},
			    0));
		note_mtime(p);
		note_times(p, &st);
		R(utimensat(AT_FDCWD, p, (struct timespec[]){{0, UTIME_OMIT}, {900000000, 1}}, 0));
		note_mtime(p);
		R(utimensat(AT_FDCWD, p, (struct timespec[]){{0, UTIME_OMIT}, {0, UTIME_OMIT}}, 0));
		note_mtime(p);
		R(utimensat(AT_FDCWD, p, (struct timespec[]){{7, 7}, {0, UTIME_NOW}}, 0));
		note_mtime(p);
		R(utimensat(AT_FDCWD, p, (struct timespec[]){{1, 1}, {-5, 5}}, 0));
		note_mtime(p);
		R(utimensat(AT_FDCWD, p, (struct timespec[]){{1, 1}, {5, 1000000000}}, 0));
		R(utimensat(AT_FDCWD, p, (struct timespec[]){{1, 1}, {0x100000000, 5}}, 0));
		note_mtime(p);
	}
	int fd = open("text", O_RDWR);
	R(write(fd, "x", 1));
	R(futimens(fd, (struct timespec[]){{11, 12}, {13, 14}}));
	note_mtime("text");
	R(fsync(fd));
	note_mtime("text");
	R(close(fd));
	note_mtime("text");
	R(chmod("text", 0600));
	note_mtime("text");
	struct stat st = before_of("dir");
	R(rename("small", "dir/small"));
	note_times("dir", &st);
	st = before_of("dir");
	fd = open("dir/small", O_WRONLY | O_TRUNC);
	R(write(fd, "y", 1));
	R(fsync(fd));
	note_times("dir", &st);
	become(1001, 1001, 0);
	R(utimensat(AT_FDCWD, "noise", (struct timespec[]){{0, UTIME_NOW}, {0, UTIME_NOW}}, 0));
	R(utimensat(AT_FDCWD, "noise", (struct timespec[]){{0, UTIME_OMIT}, {0, UTIME_OMIT}}, 0));
	become_root();
}

static void check_what_moves_times(void)
{
	char buf[100];
	struct stat st = before_of("text");
	int fd = open("text", O_RDWR);

	R(read(fd, buf, 100));
	note_times("text", &st);
	R(write(fd, buf, 0));
	note_times("text", &st);
	R(write(fd, buf, 10));
	note_times("text", &st);
	st = before_of("large");
	R(truncate("large", 77));
	note_times("large", &st);
	st = before_of("noise");
	R(rename("noise", "noise2"));
	note_times("noise2", &st);
	st = before_of("noise2");
	R(setxattr("noise2", "user.a", "b", 1, 0));
	note_times("noise2", &st);
	st = before_of("noise2");
	R(chown("noise2", -1, 1001));
	note_times("noise2", &st);
	st = before_of("text.zst");
	fd = open("text.zst", O_RDWR);
	R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100));
	R(fsync(fd));
	R(close(fd));
	st = before_of(".");
	R(chmod("linked", 0600));
	note_times(".", &st);
	st = before_of("linked");
	R(open("linked", O_RDWR) >= 0);
	note_times("linked", &st);
}

/* ---- checks: bytes ---- */

static void check_truncate(void)
{
	static const off_t sizes[] = {0, 1, 4095, 4096, 16384, 20000, 100000, 16383, 500000, 5};
	static const char *const paths[] = {"text", "large", "small", "noise", "linked"};

	for (size_t i = 0; i < LEN(sizes); i++)
		for (size_t j = 0; j < LEN(paths); j++) {
			R(truncate(paths[j], sizes[i]));
			show(paths[j]);
		}
	int fd = open("text.zst", O_RDWR), ro = open("text.zst", O_RDONLY);
	R(ftruncate(fd, 7000));
	R(ftruncate(ro, 7000));
	R(ftruncate(fd, -1));
	R(truncate("text.zst", -1));
	R(truncate("dir", 0));
	R(truncate("missing", 0));
	show("text.zst");
	R(ftruncate(fd, 1ll << 40));
	R(pwrite(fd, "end", 3, (1ll << 40) - 3));
	char buf[4] = "";
	R(pread(fd, buf, 3, (1ll << 40) - 3));
	note("%s", buf);
	R(ftruncate(fd, 10));
	show("text.zst");
}

static void check_writes(void)
{
	static const off_t offs[] = {0, 1, 4095, 16384, 19999, 20000, 70000};
	int fd = open("text", O_RDWR), l = open("large", O_RDWR);

	for (size_t i = 0; i < LEN(offs); i++) {
		R(pwrite(fd, "some bytes", 10, offs[i]));
		show("text");
		R(pwrite(l, "some bytes", 10, offs[i] * 5));
		show("large");
	}
	R(pwrite(fd, "x", 1, -1));
	R(pwrite(fd, "x", 0, 1000000));
	R(pread(fd, (char[8]){0}, 8, 1000000));
	R(write(open("text", O_RDONLY), "x", 1));
	R(read(open("text", O_WRONLY), (char[8]){0}, 8));
	R(read(open("dir", O_RDONLY), (char[8]){0}, 8));
	struct iovec v[2] = {{"one", 3}, {"two", 3}};
	R(pwritev(fd, v, 2, 100));
	R(lseek(fd, 0, SEEK_END));
	R(write(fd, "tail", 4));
	show("text");
	int a = open("linked", O_RDWR), b = open("linked2", O_RDWR);
	R(pwrite(a, "by one name", 11, 0));
	show_fd("by the other", b);
	R(pwrite(b, "by the other", 12, 30000));
	show_fd("by one", a);
	show("linked");
}

static void check_fallocate(void)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_PUNCH_HOLE};
	static const char *const paths[] = {"text", "large", "linked", "empty"};

	for (size_t j = 0; j < LEN(paths); j++) {
		int fd = open(paths[j], O_RDWR);
		for (size_t i = 0; i < LEN(modes); i++) {
			R(fallocate(fd, modes[i], 5000, 9000));
			show(paths[j]);
			R(fallocate(fd, modes[i], 300000, 200000));
			show(paths[j]);
		}
		R(fallocate(fd, 0, -1, 10));
		R(fallocate(fd, 0, 0, 0));
		R(fallocate(fd, 0, LLONG_MAX - 5, 10));
		close(fd);
	}
	R(fallocate(open("text", O_RDONLY), 0, 0, 10));
	R(fallocate(open("fifo", O_RDWR), 0, 0, 10));
	R(posix_fallocate(open("small", O_RDWR), 0, 50000));
	show("small");
}

static void check_holes(void)
{
	int fd = open("sparse", O_RDWR | O_CREAT, 0644);

	R(pwrite(fd, "data", 4, 1 << 20));
	R(ftruncate(fd, 4 << 20));
	R(fsync(fd));
	R(lseek(fd, 0, SEEK_DATA));
	R(lseek(fd, 1 << 20, SEEK_HOLE));
	R(lseek(fd, (1 << 20) + 5000, SEEK_DATA));
	R(lseek(fd, (4 << 20) - 1, SEEK_HOLE));
	R(lseek(fd, 4 << 20, SEEK_DATA));
	R(lseek(fd, 5 << 20, SEEK_HOLE));
	R(lseek(fd, -1, SEEK_DATA));
	struct stat st;
	R(fstat(fd, &st));
	note("sparse %d", st.st_blocks * 512 < 100000);
	fd = open("text", O_RDWR);
	R(lseek(fd, 0, SEEK_DATA));
	R(lseek(fd, 0, SEEK_HOLE));
	R(lseek(fd, TEXT_BYTES - 1, SEEK_HOLE));
	R(lseek(fd, TEXT_BYTES, SEEK_HOLE));
	R(lseek(fd, 0, 77));
	R(lseek(fd, -5, SEEK_SET));
}

static void check_mappings(void)
{
	int fd = open("large", O_RDWR), t = open("text", O_RDWR);
	char *shared = mmap(NULL, LARGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, LARGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *text = mmap(NULL, TEXT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, t, 0);

	if (shared == MAP_FAILED || private == MAP_FAILED || text == MAP_FAILED) {
		note("mmap: %s", strerrorname_np(errno));
		return;
	}
	memcpy(shared + 100000, "into the mapping", 16);
	show("large");
	note("seen in the private one %d", memcmp(private + 100000, "into", 4) == 0);
	memcpy(private, "mine alone", 10);
	show("large");
	R(pwrite(fd, "by write", 8, 200000));
	note("seen in the mapping %d", memcmp(shared + 200000, "by write", 8) == 0);
	R(msync(shared, LARGE_BYTES, MS_SYNC));
	R(close(fd));
	memcpy(shared + 300000, "after close", 11);
	R(munmap(shared, LARGE_BYTES));
	show("large");
	R(ftruncate(t, 4096));
	text[10] = 'X';
	R(ftruncate(t, 10000));
	note("zeros %d", text[4096] == 0 && text[9999] == 0);
	R(unlink("text"));
	text[20] = 'Y';
	R(msync(text, 4096, MS_SYNC));
	show_fd("unlinked", t);
	R(mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, open("small", O_RDONLY), 0) ==
	  MAP_FAILED);
	R(mmap(NULL, 10, PROT_READ, MAP_SHARED, open("dir", O_RDONLY), 0) == MAP_FAILED);
}

static void check_copies(void)
{
	int from = open("large", O_RDONLY), to = open("text", O_RDWR),
	    fresh = open("fresh", O_RDWR | O_CREAT, 0644);
	off_t in = 1000, at = 500;

	R(copy_file_range(from, &in, to, &at, 30000, 0));
	show("text");
	R(copy_file_range(from, &(off_t){0}, fresh, NULL, LARGE_BYTES, 0));
	show("fresh");
	R(copy_file_range(to, &(off_t){0}, to, &(off_t){100}, 1000, 0));
	R(copy_file_range(from, &(off_t){LARGE_BYTES}, to, NULL, 1000, 0));
	R(copy_file_range(from, NULL, from, NULL, 10, 0));
	R(sendfile(fresh, from, &(off_t){70}, 5000));
	show("fresh");
}

static void check_exec(void)
{
	int fd = open("script.zst", O_WRONLY | O_CREAT, 0755), status;

	R(write(fd, "#!/bin/sh\nexit 7\n", 17));
	R(close(fd));
	pid_t pid = fork();
	if (pid == 0) {
		execl("./script.zst", "script", (char *)NULL);
		_exit(100);
	}
	R(waitpid(pid, &status, 0) == pid);
	note("status %#x", (unsigned)status);
	R(execl("./text", "text", (char *)NULL));
}

/* ---- checks: locks ---- */

static void try_locks(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_start = 10, .l_len = 20};
	int a = open("text", O_RDWR), b = open("linked2", O_RDWR), c = open("large", O_RDWR);

	R(fcntl(a, F_SETLK, &l));
	l.l_start = 100;
	R(fcntl(a, F_SETLK, &l));
	l.l_start = 0;
	l.l_len = 0;
	R(fcntl(a, F_GETLK, &l));
	note("held %d from %lld for %lld", l.l_type, (long long)l.l_start, (long long)l.l_len);
	R(flock(b, LOCK_EX | LOCK_NB));
	R(flock(b, LOCK_SH | LOCK_NB));
	l = (struct flock){.l_type = F_RDLCK};
	R(fcntl(c, F_OFD_SETLK, &l));
}

static void check_locks(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_start = 0, .l_len = 50};
	int a = open("text", O_RDWR), b = open("linked", O_RDWR), c = open("large", O_RDWR),
	    d = open("large", O_RDWR);

	R(fcntl(a, F_SETLK, &l));
	R(flock(b, LOCK_SH));
	l = (struct flock){.l_type = F_WRLCK};
	R(fcntl(c, F_OFD_SETLK, &l));
	R(fcntl(d, F_OFD_SETLK, &l));
	elsewhere(try_locks);
	R(pwrite(a, "x", 1, 1));
	R(chmod("text", 0600));
	R(rename("large", "larger"));
	R(link("larger", "large"));
	elsewhere(try_locks);
	R(flock(b, LOCK_UN));
	R(close(c));
	l = (struct flock){.l_type = F_UNLCK};
	R(fcntl(a, F_SETLK, &l));
	elsewhere(try_locks);
	R(fcntl(a, F_SETLEASE, F_WRLCK));
	R(fcntl(a, F_GETLEASE));
	R(fcntl(a, F_SETLEASE, F_UNLCK));
}

/* ---- checks: extended attributes and ACLs ---- */

static void list_attributes(const char *path)
{
	char names[4096], value[4096], *sorted[64];
	ssize_t len = llistxattr(path, names, sizeof(names));
	size_t count = 0;

	if (len < 0)
		note("llistxattr %s: %s", path, strerrorname_np(errno));
	for (char *at = names; len > 0 && at < names + len; at += strlen(at) + 1)
		sorted[count++] = at;
	qsort(sorted, count, sizeof(*sorted), by_name);
	for (size_t i = 0; i < count; i++) {
		ssize_t n = lgetxattr(path, sorted[i], value, sizeof(value));
		note("%s has %s: %zd, %llx", path, sorted[i], n,
		     (unsigned long long)sum(value, n > 0 ? (size_t)n : 0));
	}
}

static void check_xattrs(void)
{
	static const char *const paths[] = {"text", "linked", "dir", "sym", "fifo", "large"};
	static const char *const attrs[] = {"user.a",	"trusted.b", "security.c",   "user.",
					    "nonsense", "system.x",  "user.diskvfsx"};
	char value[300];

	memset(value, 'v', sizeof(value));
	for (size_t i = 0; i < LEN(paths); i++) {
		for (size_t j = 0; j < LEN(attrs); j++) {
			note("%s of %s", attrs[j], paths[i]);
			R(lsetxattr(paths[i], attrs[j], value, 100 + j, 0));
			R(lsetxattr(paths[i], attrs[j], value, 50, XATTR_CREATE));
			R(lsetxattr(paths[i], attrs[j], value, 60, XATTR_REPLACE));
			R(lgetxattr(paths[i], attrs[j], value, 10));
			R(lgetxattr(paths[i], attrs[j], value, 0));
		}
		R(lsetxattr(paths[i], "user.empty", "", 0, 0));
		R(lsetxattr(paths[i], "user.new", "", 0, XATTR_REPLACE));
		R(lremovexattr(paths[i], "user.new"));
		list_attributes(paths[i]);
		R(llistxattr(paths[i], value, 2));
		R(lremovexattr(paths[i], "user.a"));
		list_attributes(paths[i]);
		become(1001, 1001, 0);
		list_attributes(paths[i]);
		R(lgetxattr(paths[i], "trusted.b", value, 300));
		R(lsetxattr(paths[i], "user.mine", "1", 1, 0));
		R(lsetxattr(paths[i], "trusted.mine", "1", 1, 0));
		become_root();
	}
	int fd = open("text", O_WRONLY | O_TRUNC);
	R(write(fd, "z", 1));
	R(fsync(fd));
	R(close(fd));
	list_attributes("text");
	list_attributes("linked2");
}

static void set_acl(const char *path, const char *attr, unsigned user_bits, unsigned mask_bits)
{
	struct __attribute__((packed)) {
		uint32_t version;
		struct __attribute__((packed)) {
			uint16_t tag, bits;
			uint32_t id;
		} e[5];
	} acl = {2,
		 {{1, 7, ~0u},
		  {2, (uint16_t)user_bits, 1001},
		  {4, 5, ~0u},
		  {16, (uint16_t)mask_bits, ~0u},
		  {32, 0, ~0u}}};

	R(setxattr(path, attr, &acl, sizeof(acl), 0));
}

static void check_acls(void)
{
	set_acl("text", "system.posix_acl_access", 6, 7);
	show("text");
	become(1001, 1001, 0);
	R(open("text", O_RDWR));
	become(1002, 1002, 0);
	R(open("text", O_RDONLY));
	become_root();
	R(chmod("text", 0740));
	list_attributes("text");
	become(1001, 1001, 0);
	R(open("text", O_RDWR));
	R(open("text", O_RDONLY));
	become_root();
	set_acl("dir", "system.posix_acl_default", 7, 7);
	set_acl("text", "system.posix_acl_default", 7, 7);
	set_acl("fifo", "system.posix_acl_access", 4, 4);
	umask(077);
	R(open("dir/f", O_CREAT | O_RDWR, 0666));
	R(mkdir("dir/d", 0777));
	R(mknod("dir/p", S_IFIFO | 0666, 0));
	R(symlink("x", "dir/s"));
	R(mknod("dir/r", S_IFREG | 0606, 0));
	umask(022);
	show("dir/f");
	list_attributes("dir/f");
	list_attributes("dir/d");
	list_attributes("dir/p");
	list_attributes("dir/s");
	list_attributes("dir/r");
	show("dir/d");
	show("dir/r");
	int fd = open("text", O_WRONLY | O_TRUNC);
	R(write(fd, "w", 1));
	R(close(fd));
	list_attributes("text");
	R(removexattr("text", "system.posix_acl_access"));
	show("text");
	R(removexattr("dir", "system.posix_acl_default"));
	R(open("dir/g", O_CREAT | O_RDWR, 0666));
	show("dir/g");
	R(setxattr("text", "system.posix_acl_access", "rubbish", 7, 0));
	list_attributes("dir");
	for (gid_t group = 1001; group <= 1002; group++) { /* a member keeps sgid, others do not */
		R(chown("small", 1001, group));
		R(chmod("small", 02755));
		become(1001, 1001, 0);
		set_acl("small", "system.posix_acl_access", 6, 7);
		become_root();
		show("small");
	}
}

/* ---- checks: listing ---- */

static void check_listing(void)
{
	char name[32];
	long at[3] = {0};
	size_t seen = 0, again = 0;

	R(mkdir("many", 0755));
	for (int i = 0; i < 700; i++) {
		snprintf(name, sizeof(name), "many/%d%s", i, i % 3 ? "" : ".zst");
		close(open(name, O_CREAT | O_WRONLY, 0644));
	}
	DIR *d = opendir("many");
	for (struct dirent *e; (e = readdir(d)); seen++)
		if (seen == 300)
			at[0] = telldir(d);
	note("seen %zu", seen);
	seekdir(d, at[0]);
	while (readdir(d))
		again++;
	note("after seekdir %zu", again);
	rewinddir(d);
	seen = 0;
	for (struct dirent *e; (e = readdir(d));) {
		seen++;
		snprintf(name, sizeof(name), "many/%.20s", e->d_name);
		if (e->d_name[0] != '.' && unlink(name))
			note("unlink %s: %s", name, strerrorname_np(errno));
	}
	note("removed while listing %zu", seen);
	rewinddir(d);
	for (seen = 0; readdir(d); seen++)
		;
	note("left %zu", seen);
	R(mknod("many/late", S_IFREG | 0644, 0));
	rewinddir(d);
	for (seen = 0; readdir(d); seen++)
		;
	note("with a late one %zu", seen);
	closedir(d);
	R(unlink("many/late"));
	R(rmdir("many"));
	list(".");
	R(opendir("text") == NULL);
	R(opendir("missing") == NULL);
	become(1001, 1001, 0);
	R(opendir("dir") != NULL);
	become_root();
	R(chmod("dir", 0711));
	become(1001, 1001, 0);
	R(opendir("dir") != NULL);
	R(open("dir/inner", O_RDONLY) >= 0);
	become_root();
}

static void check_filesystem(void)
{
	struct statfs s;

	R(statfs("text", &s));
	note("name length %ld, blocks %d, free %d, files %d", (long)s.f_namelen, s.f_blocks > 0,
	     s.f_bavail > 0, s.f_files > 0);
	R(pathconf(".", _PC_NAME_MAX));
	R(fsync(open("dir", O_RDONLY)));
	R(fsync(open("text", O_RDONLY)));
	R(fdatasync(open("large", O_RDWR)));
	R(syncfs(open(".", O_RDONLY)));
	R(ioctl(open("text", O_RDONLY), 0x12345678, 0));
	R(access("text", F_OK));
	R(access("text", X_OK));
	R(access("missing", F_OK));
	R(open("", O_RDONLY));
	R(stat("text/", &(struct stat){0}));
	R(stat("dir/./../text", &(struct stat){0}));
}

/* Whatever state they are in, the files have what was put into them. */
static void check_contents(void)
{
	static const char *const paths[] = {"text",  "large",	  "noise",  "small",
					    "empty", "text.zst",  "linked", "linked2",
					    "dir",   "dir/inner", "sym",    "fifo"};

	for (size_t i = 0; i < LEN(paths); i++)
		show(paths[i]);
	list(".");
	list("dir");
}

/* ---- running ---- */

#define CHECK_OF(f)                                                                                \
	{                                                                                          \
#f, f                                                                              \
	}
static const struct check_test checks[] = {
	CHECK_OF(check_contents),     CHECK_OF(check_open_flags),
	CHECK_OF(check_trunc),	      CHECK_OF(check_append),
	CHECK_OF(check_direct_io),    CHECK_OF(check_tmpfile),
	CHECK_OF(check_unlink_open),  CHECK_OF(check_rename),
	CHECK_OF(check_rename_flags), CHECK_OF(check_links),
	CHECK_OF(check_symlinks),     CHECK_OF(check_special),
	CHECK_OF(check_directories),  CHECK_OF(check_long_names),
	CHECK_OF(check_suffixes),     CHECK_OF(check_deep_tree),
	CHECK_OF(check_modes),	      CHECK_OF(check_suid),
	CHECK_OF(check_owners),	      CHECK_OF(check_setgid_and_sticky),
	CHECK_OF(check_times),	      CHECK_OF(check_what_moves_times),
	CHECK_OF(check_truncate),     CHECK_OF(check_writes),
	CHECK_OF(check_fallocate),    CHECK_OF(check_holes),
	CHECK_OF(check_mappings),     CHECK_OF(check_copies),
	CHECK_OF(check_exec),	      CHECK_OF(check_locks),
	CHECK_OF(check_xattrs),	      CHECK_OF(check_acls),
	CHECK_OF(check_listing),      CHECK_OF(check_filesystem),
};

/* Where the mount may differ: how its line begins, and why. */
static const struct {
	const char *line, *reason;
} known[] = {
	{"check_tmpfile: O_TMPFILE EOPNOTSUPP", "libfuse 3.14 has no handler; programs fall back"},
	{"check_allocation_modes: fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4096, 4096) = -1 EOPNO",
	 "the kernel's FUSE refuses it"},
	{"check_allocation_modes: fallocate(fd, FALLOC_FL_INSERT_RANGE, 4096, 4096) = -1 EOPNOTSU",
	 "the kernel's FUSE refuses it"},
	{"check_statx: birth time known 0", "it would be that of the last swap"},
	{"check_ioctls: ioctl(fd, FS_IOC_FIEMAP, &map) = -1 EOPNOTSUPP", "no places to tell"},
	{"check_ioctls: ioctl(fd, FS_IOC_GETFLAGS, &number) = -1 ENOTTY", "no such flags"},
	{"check_ioctls: ioctl(fd, FS_IOC_FSGETXATTR, &x) = -1 ENOTTY", "no such flags"},
	{"check_ioctls: ioctl(fd, FS_IOC_GETVERSION, &number) = -1 ENOTTY", "no such number"},
	{"check_ioctls: renameat2(AT_FDCWD, \"text\", AT_FDCWD, \"white\", RENAME_WHITEOUT) = -1 "
	 "EINV",
	 "overlayfs needs it for an upper layer, which FUSE can not be"},
};

/* The checks of this file, then those of semantics_calls.c; NULL behind the last. */
static const struct check_test *check_at(size_t i)
{
	if (i < LEN(checks))
		return &checks[i];
	i -= LEN(checks);
	return i < semantics_calls_count ? &semantics_calls[i] : NULL;
}

static const char *const states[] = {"raw", "packed", "remounted"};

/* One phase of all checks in one base, in a process of its own: nothing is left open behind it. */
static void run_phase(const char *base, const char *state, FILE *transcript, bool making)
{
	const struct check_test *check;
	char path[PATH_MAX];
	int status = 0;
	pid_t pid;

	for (size_t i = 0; (check = check_at(i)); i++) {
		snprintf(path, sizeof(path), "%s/%s.%s", base, state, check->name);
		if (making && mkdir(path, 0777)) {
			fprintf(stderr, "mkdir %s: %s\n", path, strerror(errno));
			exit(1);
		}
		fflush(transcript);
		pid = fork();
		if (pid == 0) {
			out = transcript;
			check_name = check->name;
			umask(022);
			alarm(60);
			if (chdir(path))
				_exit(1);
			if (making)
				make_files();
			else
				check->run();
			fflush(out);
			_exit(0);
		}
		if (waitpid(pid, &status, 0) != pid || status) {
			fprintf(stderr, "%s in %s: ended with %#x\n", check->name, path,
				(unsigned)status);
			exit(1);
		}
	}
}

static bool is_known(const char *line, bool verbose)
{
	for (size_t i = 0; i < LEN(known); i++)
		if (strncmp(line, known[i].line, strlen(known[i].line)) == 0) {
			if (verbose)
				printf("known: %s (%s)\n", known[i].line, known[i].reason);
			return true;
		}
	return false;
}

/* -> how many lines differ; *out_lines: how many there are. */
static unsigned compare(const char *state, FILE *mount, FILE *plain, bool verbose,
			unsigned *out_lines)
{
	char m[LINE_MAX_BYTES], p[LINE_MAX_BYTES];
	unsigned different = 0, lines = 0;

	rewind(mount);
	rewind(plain);
	for (;;) {
		char *a = fgets(m, sizeof(m), mount), *b = fgets(p, sizeof(p), plain);
		if (!a && !b)
			break;
		lines++;
		if (a && b && strcmp(m, p) == 0)
			continue;
		if (a && b && is_known(m, verbose))
			continue;
		different++;
		fprintf(stderr, "%s, line %u\n  mount: %s  plain: %s", state, lines,
			a ? m : "(ended)\n", b ? p : "(ended)\n");
		if (!a || !b)
			break;
	}
	*out_lines = lines;
	return different;
}

int main(int argc, char **argv)
{
	struct mounted m;
	unsigned different = 0, lines = 0, all = 0;
	char path[PATH_MAX];

	if (argc < 6) {
		fprintf(stderr, "see the top of semantics.c\n");
		return 2;
	}
	m = (struct mounted){argv[1], argv[2], argv[3], "dev,suid,settle=3600"};
	for (size_t i = 0; i < LEN(states); i++) {
		FILE *transcript[2];
		for (int side = 0; side < 2; side++) {
			snprintf(path, sizeof(path), "%s/%s.%s", argv[5], states[i],
				 side ? "plain" : "mount");
			transcript[side] = fopen(path, "w+");
			if (!transcript[side])
				return 2;
			run_phase(argv[3 + side], states[i], transcript[side], true);
		}
		if (i > 0)
			mounted_pack(&m);
		if (i > 1) {
			mounted_down(&m);
			mounted_up(&m);
		}
		for (int side = 0; side < 2; side++)
			run_phase(argv[3 + side], states[i], transcript[side], false);
		different += compare(states[i], transcript[0], transcript[1], argc > 6, &lines);
		all += lines;
		fclose(transcript[0]);
		fclose(transcript[1]);
	}
	printf("%u lines, %u different\n", all, different);
	return different != 0;
}
