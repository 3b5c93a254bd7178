/* SPDX-License-Identifier: MIT */
/*
 * exerciser.c - random operations on the mount and on a plain directory, in lockstep.
 *
 *   exerciser PROGRAM STORE MOUNTPOINT PLAIN SEED STEPS [-v] [-s] [-k STEPS-TO-KEEP]
 *
 * After each step the results, errnos, attributes and contents of what was touched are compared;
 * after each pack, remount and kill -9 of the daemon the whole trees are, and inode numbers must
 * have stayed. Names are few and odd, so that steps meet. A step depends on the seed and its number
 * only: leaving others out does not change it. -s shrinks a failing run to the steps that matter,
 * -k replays those.
 */
#include "tests/mount/mounted.h"
#include "tests/support/random.h"

#include <dirent.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define SLOTS	      6
#define STEPS_MAX     2000000u
#define DATA_MAX      (200u << 10)
#define OLD_TIMES_END 1500000000 /* mtimes before it were set, not made */
#define HANG_SECONDS  60
#define LIST_MAX      4096

enum { MOUNT, PLAIN };

enum kind {
	OPEN,
	CLOSE,
	PWRITE,
	APPEND,
	PREAD,
	FTRUNCATE,
	TRUNCATE,
	UNLINK,
	MKDIR,
	RMDIR,
	RENAME,
	LINK,
	SYMLINK,
	MKNOD,
	CHMOD,
	CHOWN,
	UTIMENS,
	SETXATTR,
	REMOVEXATTR,
	LISTXATTR,
	FSYNC,
	FALLOCATE,
	STORE,
	COPY,
	LIST,
	ACCESS,
	FCHMOD,
	FCHOWN,
	FUTIMENS,
	READLINK,
	PAUSE,
	PACK,
	REMOUNT,
	KILL,
	KINDS
};

static const struct {
	const char *name;
	unsigned weight;
} kinds[KINDS] = {
	[OPEN] = {"open", 160},
	[CLOSE] = {"close", 60},
	[PWRITE] = {"pwrite", 120},
	[APPEND] = {"append", 30},
	[PREAD] = {"pread", 40},
	[FTRUNCATE] = {"ftruncate", 30},
	[TRUNCATE] = {"truncate", 30},
	[UNLINK] = {"unlink", 50},
	[MKDIR] = {"mkdir", 40},
	[RMDIR] = {"rmdir", 15},
	[RENAME] = {"rename", 120},
	[LINK] = {"link", 60},
	[SYMLINK] = {"symlink", 20},
	[MKNOD] = {"mknod", 20},
	[CHMOD] = {"chmod", 25},
	[CHOWN] = {"chown", 20},
	[UTIMENS] = {"utimens", 40},
	[SETXATTR] = {"setxattr", 25},
	[REMOVEXATTR] = {"removexattr", 8},
	[LISTXATTR] = {"listxattr", 10},
	[FSYNC] = {"fsync", 15},
	[FALLOCATE] = {"fallocate", 20},
	[STORE] = {"mmap-store", 25},
	[COPY] = {"copy_file_range", 10},
	[LIST] = {"list", 15},
	[ACCESS] = {"access", 15},
	[FCHMOD] = {"fchmod", 10},
	[FCHOWN] = {"fchown", 10},
	[FUTIMENS] = {"futimens", 10},
	[READLINK] = {"readlink", 10},
	[PAUSE] = {"pause", 10},
	[PACK] = {"pack", 40},
	[REMOUNT] = {"remount", 4},
	[KILL] = {"kill", 4},
};

struct step {
	unsigned number;
	enum kind kind;
	char a[PATH_MAX / 4], b[PATH_MAX / 4]; /* below the base */
	unsigned slot, slot2, who;
	int flags, umask;
	mode_t mode;
	off_t off;
	size_t len;
	uint64_t fill;
	uid_t uid;
	gid_t gid;
	struct timespec times[2];
};

struct result {
	long ret;
	int err;
	uint64_t sum; /* of bytes that came back */
};

static struct mounted mounted;
static const char *base[2];
static int fds[2][SLOTS];
static bool verbose;
static char *data;
static struct step step;

/* ---- choosing ---- */

static const char *const names[] = {
	"a",	     "a",     "a", "b",	    "b",    "b",   "c",	      "c",	 "a.zst",   "a.zst",
	"a.zst.raw", "a.raw", "d", "d.zst", "e.gz", "%2e", "LONG251", "LONG252", "LONG255",
};

static void put_name(struct test_random *r, char *to)
{
	const char *name = names[test_random_below(r, sizeof(names) / sizeof(*names))];
	size_t len = 0;

	if (sscanf(name, "LONG%zu", &len) == 1) {
		memset(to, 'n', len);
		to[len] = '\0';
	} else {
		strcpy(to, name);
	}
}

/* Mostly near the root, so that steps meet. Directories are d and d.zst. */
static void put_path(struct test_random *r, char *to)
{
	static const char *const dirs[] = {"",	 "",	   "",	     "",     "",	"d/",
					   "d/", "d.zst/", "d.zst/", "d/d/", "d/d.zst/"};

	strcpy(to, dirs[test_random_below(r, sizeof(dirs) / sizeof(*dirs))]);
	put_name(r, to + strlen(to));
}

static off_t pick_offset(struct test_random *r)
{
	static const off_t edges[] = {0,     0,	    0,	   1,	  4095,	 4096,	4097,
				      16383, 16384, 16385, 32768, 65536, 100000};

	if (test_random_below(r, 4) == 0)
		return (off_t)test_random_below(r, 120000);
	return edges[test_random_below(r, sizeof(edges) / sizeof(*edges))];
}

static size_t pick_length(struct test_random *r)
{
	static const size_t edges[] = {0, 1, 100, 4096, 4097, 8192, 16384, 20000, 40000, 70000};

	if (test_random_below(r, 4) == 0)
		return (size_t)test_random_below(r, 70000);
	return edges[test_random_below(r, sizeof(edges) / sizeof(*edges))];
}

static int pick_open_flags(struct test_random *r)
{
	static const int access[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR, O_RDWR};
	int flags = access[test_random_below(r, 5)] | O_NONBLOCK;

	if (test_random_below(r, 100) < 70)
		flags |= O_CREAT;
	if (test_random_below(r, 100) < 15)
		flags |= O_EXCL;
	if (test_random_below(r, 100) < 30)
		flags |= O_TRUNC;
	if (test_random_below(r, 100) < 15)
		flags |= O_APPEND;
	if (test_random_below(r, 100) < 10)
		flags |= O_NOFOLLOW;
	if (test_random_below(r, 100) < 4)
		flags |= O_DIRECTORY;
	if (!(flags & O_CREAT))
		flags &= ~O_EXCL; /* undefined */
	if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY))
		flags &= ~O_CREAT;
	return flags;
}

static mode_t pick_mode(struct test_random *r)
{
	static const mode_t modes[] = {0644,  0644,  0600,  0666,  0755,  0755,	 0700,
				       0777,  01777, 02755, 02777, 02775, 04755, 06755,
				       06711, 02644, 0,	    0400,  0040};

	return modes[test_random_below(r, sizeof(modes) / sizeof(*modes))];
}

static struct timespec pick_time(struct test_random *r)
{
	static const long special[] = {UTIME_NOW, UTIME_OMIT};

	if (test_random_below(r, 6) == 0)
		return (struct timespec){.tv_nsec = special[test_random_below(r, 2)]};
	return (struct timespec){.tv_sec = (time_t)test_random_below(r, OLD_TIMES_END),
				 .tv_nsec = (long)test_random_below(r, 1000000000)};
}

static int pick_flags(struct test_random *r, enum kind kind)
{
	static const int renames[] = {0, 0, 0, 0, 0, 1, 2, 2};
	static const int allocs[] = {0,
				     FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				     FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				     FALLOC_FL_ZERO_RANGE,
				     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};

	switch (kind) {
	case OPEN:
		return pick_open_flags(r);
	case RENAME:
		return renames[test_random_below(r, 8)];
	case FALLOCATE:
		return allocs[test_random_below(r, 6)];
	case SETXATTR:
		return (int)test_random_below(r, 3);
	default:
		return (int)test_random_below(r, 4);
	}
}

static void choose(uint64_t seed, unsigned number, struct step *s)
{
	static const uid_t ids[] = {0, 0, 1001, 1002, 1003, (uid_t)-1};
	static const int umasks[] = {022, 022, 022, 0, 077, 027};
	struct test_random r = {(seed + 1) * 0x9e3779b97f4a7c15u ^
				(number + 1) * 0xd1342543de82ef95u};
	unsigned total = 0, at;

	if (r.state == 0)
		r.state = 1;
	for (int i = 0; i < 8; i++)
		test_random_next(&r);
	for (int i = 0; i < KINDS; i++)
		total += kinds[i].weight;
	at = (unsigned)test_random_below(&r, total);
	memset(s, 0, sizeof(*s));
	s->number = number;
	while (at >= kinds[s->kind].weight)
		at -= kinds[s->kind++].weight;
	put_path(&r, s->a);
	put_path(&r, s->b);
	s->slot = (unsigned)test_random_below(&r, SLOTS);
	s->slot2 = (unsigned)test_random_below(&r, SLOTS);
	s->who = test_random_below(&r, 100) < 80 ? 0 : 1 + (unsigned)test_random_below(&r, 3);
	s->flags = pick_flags(&r, s->kind);
	s->umask = umasks[test_random_below(&r, 6)];
	s->mode = pick_mode(&r);
	s->off = pick_offset(&r);
	s->len = pick_length(&r);
	s->fill = test_random_next(&r) | 1;
	s->uid = ids[test_random_below(&r, 6)];
	s->gid = (gid_t)ids[test_random_below(&r, 6)];
	if (s->uid == (uid_t)-1 && s->gid == (gid_t)-1)
		s->uid = 0; /* of a chown that changes nothing the kernel does not tell */
	s->times[0] = pick_time(&r);
	s->times[1] = pick_time(&r);
}

static void describe(const struct step *s, FILE *out)
{
	fprintf(out,
		"%u %s a=%.30s b=%.30s slot=%u/%u who=%u flags=%#o mode=%#o off=%lld len=%zu "
		"uid=%d gid=%d "
		"umask=%#o mtime=%lld.%ld\n",
		s->number, kinds[s->kind].name, s->a, s->b, s->slot, s->slot2, s->who,
		(unsigned)s->flags, (unsigned)s->mode, (long long)s->off, s->len, (int)s->uid,
		(int)s->gid, (unsigned)s->umask, (long long)s->times[1].tv_sec,
		s->times[1].tv_nsec);
}

/* ---- failing ---- */

static void fail(const char *what, const char *where)
{
	fprintf(stderr, "DIFFERENT: %s: %s\n  at step ", what, where);
	describe(&step, stderr);
	exit(1);
}

static void fail_values(const char *what, const char *where, long long mount, long long plain)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: mount %lld (%#llo), plain %lld (%#llo)", what, mount,
		 (unsigned long long)mount, plain, (unsigned long long)plain);
	fail(text, where);
}

static void on_alarm(int signal_number)
{
	static const char text[] = "HANGS\n";

	(void)signal_number;
	if (write(2, text, sizeof(text) - 1) < 0)
		_exit(4);
	describe(&step, stderr); /* not safe in a handler, but the process ends */
	_exit(3);
}

/* ---- doing ---- */

static void become(unsigned who)
{
	static const gid_t supplementary[] = {1001, 1002};

	if (who == 0) {
		if (seteuid(0) || setegid(0) || setgroups(0, NULL))
			fail("become root", strerror(errno));
		return;
	}
	if (setgroups(who == 3 ? 2 : 0, supplementary) || setegid(1000 + who) ||
	    seteuid(1000 + who))
		fail("become another user", strerror(errno));
}

static void full_path(int side, const char *below, char *out)
{
	snprintf(out, PATH_MAX, "%s/%s", base[side], below);
}

static uint64_t sum_bytes(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint64_t sum = 1469598103934665603u;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * 1099511628211u;
	return sum;
}

static void fill_data(const struct step *s)
{
	struct test_random r = {s->fill};

	if (s->fill & 2)
		test_random_fill(&r, data, s->len);
	else
		memset(data, (int)(s->fill >> 8), s->len);
}

/* Writes into a shared mapping of slot, within its size. */
static long store_mapped(const struct step *s, int fd)
{
	struct stat st;
	size_t len = s->len;
	char *map;

	if (fstat(fd, &st))
		return -1;
	if (!S_ISREG(st.st_mode) || s->off >= st.st_size || len == 0)
		return 0;
	if ((off_t)len > st.st_size - s->off)
		len = (size_t)(st.st_size - s->off);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -1;
	memcpy(map + s->off, data, len);
	if ((s->fill & 4) && msync(map, (size_t)st.st_size, MS_SYNC))
		return -1;
	return munmap(map, (size_t)st.st_size);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A sum over the sorted names. */
static long list_names(const char *path, uint64_t *sum)
{
	char *list[LIST_MAX];
	size_t count = 0;
	DIR *d = opendir(path);

	if (!d)
		return -1;
	for (struct dirent *e; count < LIST_MAX && (e = readdir(d));)
		list[count++] = strdup(e->d_name);
	closedir(d);
	qsort(list, count, sizeof(*list), by_name);
	for (size_t i = 0; i < count; i++) {
		*sum = *sum * 31 + sum_bytes(list[i], strlen(list[i]));
		free(list[i]);
	}
	return (long)count;
}

static void fail_names(const char *mount, const char *plain, const char *where)
{
	const char *paths[2] = {mount, plain};

	for (int side = 0; side < 2; side++) {
		DIR *d = opendir(paths[side]);
		fprintf(stderr, "%s lists", side == MOUNT ? "mount" : "plain");
		for (struct dirent *e; d && (e = readdir(d));)
			fprintf(stderr, " %.40s", e->d_name);
		fprintf(stderr, "\n");
		if (d)
			closedir(d);
	}
	DIR *d = opendir(mounted.store);
	fprintf(stderr, "the store's root holds");
	for (struct dirent *e; d && (e = readdir(d));)
		fprintf(stderr, " %.40s(%d)", e->d_name, e->d_type);
	fprintf(stderr, "\n");
	fail("names", where);
}

static long list_attributes(const char *path, uint64_t *sum)
{
	char list[LIST_MAX], value[LIST_MAX];
	ssize_t len = llistxattr(path, list, sizeof(list));

	for (char *at = list; len > 0 && at < list + len; at += strlen(at) + 1) {
		ssize_t n = lgetxattr(path, at, value, sizeof(value));
		if (n < 0)
			return -1;
		*sum += sum_bytes(at, strlen(at)) * 31 +
			sum_bytes(value, (size_t)n); /* in any order */
	}
	return len;
}

/* user::rwx, one user, one group, mask, other: valid; sometimes cut short, which is not. */
static long set_acl(const struct step *s, const char *path)
{
	struct __attribute__((packed)) {
		uint32_t version;
		struct __attribute__((packed)) {
			uint16_t tag, perm;
			uint32_t id;
		} e[6];
	} acl = {2,
		 {{1, 7, ~0u},
		  {2, s->len & 7, 1001},
		  {4, s->len >> 3 & 7, ~0u},
		  {8, 6, 1002},
		  {16, 7, ~0u},
		  {32, s->fill >> 20 & 7, ~0u}}};

	return setxattr(path, s->fill & 64 ? "system.posix_acl_default" : "system.posix_acl_access",
			&acl,
			s->fill & 128	? sizeof(acl)
			: s->fill & 256 ? 4
					: sizeof(acl) - 8,
			0);
}

static long set_attribute(const struct step *s, const char *path)
{
	static const char *const attrs[] = {"user.x", "user.y", "trusted.t", "user.diskvf",
					    "user."};

	if (s->fill & 8)
		return set_acl(s, path);
	return lsetxattr(path, attrs[s->fill / 16 % 5], data, s->len > 900 ? s->len % 900 : s->len,
			 s->flags);
}

static long make_node(const struct step *s, const char *path)
{
	static const mode_t types[] = {S_IFIFO, S_IFREG, S_IFSOCK, S_IFCHR};

	return mknod(path, types[s->flags & 3] | s->mode, (s->flags & 3) == 3 ? makedev(1, 3) : 0);
}

/* No target leads out of the base: modes of what it leads to are changed. */
static long make_symlink(const struct step *s, const char *path)
{
	static const char *const targets[] = {"a", "d.zst", "d/a.zst", "no such", ".", "d/"};
	char longest[PATH_MAX];

	if (s->fill % 7 < 6)
		return symlink(targets[s->fill % 7], path);
	memset(longest, 't', sizeof(longest));
	longest[s->fill & 16 ? PATH_MAX - 1 : 3000] = '\0';
	return symlink(longest, path);
}

/* Whether the mtime moves where the size stays is each filesystem's own. */
static long truncate_other(const char *path, off_t size)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == size)
		return 0;
	return truncate(path, size);
}

static long read_target(const char *path, uint64_t *sum)
{
	ssize_t n = readlink(path, data, PATH_MAX);

	if (n >= 0)
		*sum = sum_bytes(data, (size_t)n);
	return n;
}

static long append_slot(const struct step *s, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return -1;
	if (!S_ISREG(st.st_mode))
		return 0; /* a directory's end is each filesystem's own */
	if (lseek(fd, 0, SEEK_END) < 0)
		return -1;
	return write(fd, data, s->len);
}

static long read_slot(const struct step *s, int fd, uint64_t *sum)
{
	ssize_t n = pread(fd, data, s->len, s->off);

	if (n >= 0)
		*sum = sum_bytes(data, (size_t)n);
	return n;
}

static long open_slot(const struct step *s, int side, const char *path)
{
	int fd = open(path, s->flags | O_CLOEXEC, s->mode & 0777);

	if (fd < 0)
		return -1;
	if (fds[side][s->slot] >= 0)
		close(fds[side][s->slot]);
	fds[side][s->slot] = fd;
	return 0;
}

static long close_slot(int side, unsigned slot)
{
	int fd = fds[side][slot];

	fds[side][slot] = -1;
	return fd < 0 ? 0 : close(fd);
}

/* The kernel clears suid before it asks a FUSE filesystem whether it knows the mode. A refused call
 * clears it on both sides. */
static long allocate_slot(const struct step *s, int fd)
{
	struct stat st;
	long r = fallocate(fd, s->flags, s->off, (off_t)s->len);
	int err = errno;

	if (r < 0 && s->who != 0 && err == EOPNOTSUPP && fstat(fd, &st) == 0 &&
	    S_ISREG(st.st_mode)) {
		become(0);
		if (fchmod(fd, st.st_mode & 01777))
			err = errno;
		become(s->who);
	}
	errno = err;
	return r;
}

static long on_slot(const struct step *s, int side, uint64_t *sum)
{
	int fd = fds[side][s->slot];
	off_t from = s->off, to = s->off / 2;

	switch (s->kind) {
	case PWRITE:
		return pwrite(fd, data, s->len, s->off);
	case APPEND:
		return append_slot(s, fd);
	case PREAD:
		return read_slot(s, fd, sum);
	case FTRUNCATE:
		return ftruncate(fd, s->off);
	case FSYNC:
		return s->flags & 1 ? fdatasync(fd) : fsync(fd);
	case FALLOCATE:
		return allocate_slot(s, fd);
	case STORE:
		return store_mapped(s, fd);
	case COPY:
		return copy_file_range(fd, &from, fds[side][s->slot2], &to, s->len, 0);
	case FCHMOD:
		return fchmod(fd, s->mode);
	case FCHOWN:
		return fchown(fd, s->uid, s->gid);
	default:
		return futimens(fd, s->times);
	}
}

/* No packed name fits, and a packed value with several links can not be made raw: README. */
static bool is_long(const char *below)
{
	const char *slash = strrchr(below, '/');

	return strlen(slash ? slash + 1 : below) > NAME_MAX - 4;
}

/* A packed value with several links does not change places with one that is not packed: README. */
static bool has_links(const char *below)
{
	char path[PATH_MAX];
	struct stat st;

	full_path(PLAIN, below, path);
	return lstat(path, &st) == 0 && !S_ISDIR(st.st_mode) && st.st_nlink > 1;
}

static long on_paths(const struct step *s, int side, const char *a, const char *b, uint64_t *sum)
{
	switch (s->kind) {
	case OPEN:
		return open_slot(s, side, a);
	case CLOSE:
		return close_slot(side, s->slot);
	case TRUNCATE:
		return truncate_other(a, s->off);
	case UNLINK:
		return unlink(a);
	case MKDIR:
		return mkdir(a, s->mode | (s->fill & 2 ? 0700 : 0));
	case RMDIR:
		return rmdir(a);
	case RENAME:
		if (s->flags == RENAME_EXCHANGE && (has_links(s->a) || has_links(s->b)))
			return 0;
		if (has_links(s->a) && is_long(s->b))
			return 0;
		return renameat2(AT_FDCWD, a, AT_FDCWD, b, (unsigned)s->flags);
	case LINK:
		if (has_links(s->a) && is_long(s->b))
			return 0;
		return linkat(AT_FDCWD, a, AT_FDCWD, b, s->flags == 3 ? AT_SYMLINK_FOLLOW : 0);
	case SYMLINK:
		return make_symlink(s, a);
	case MKNOD:
		return make_node(s, a);
	case CHMOD:
		return chmod(a, s->mode);
	case CHOWN:
		return lchown(a, s->uid, s->gid);
	case UTIMENS:
		return utimensat(AT_FDCWD, a, s->times, s->flags & 1 ? AT_SYMLINK_NOFOLLOW : 0);
	case SETXATTR:
		return set_attribute(s, a);
	case REMOVEXATTR:
		return lremovexattr(a, s->fill & 8 ? "system.posix_acl_access" : "user.x");
	case LISTXATTR:
		return list_attributes(a, sum);
	case LIST:
		return list_names(a, sum);
	case ACCESS:
		return faccessat(AT_FDCWD, a, (int)(s->fill >> 8 & 7), AT_EACCESS);
	case READLINK:
		return read_target(a, sum);
	case PAUSE: /* what is quiet is packed meanwhile */
		return usleep(side == MOUNT ? (unsigned)s->off % 60000 + 1 : 1);
	default:
		if (fds[side][s->slot] < 0)
			fds[side][s->slot] =
				open(a, O_RDWR | O_CREAT | O_NONBLOCK | O_CLOEXEC, s->mode & 0777);
		return on_slot(s, side, sum);
	}
}

static struct result run_on(const struct step *s, int side)
{
	char a[PATH_MAX], b[PATH_MAX];
	struct result r = {0};

	full_path(side, s->a, a);
	full_path(side, s->b, b);
	fill_data(s);
	umask((mode_t)s->umask);
	become(s->who);
	errno = 0;
	r.ret = on_paths(s, side, a, b, &r.sum);
	r.err = r.ret < 0 ? errno : 0;
	become(0);
	umask(022);
	return r;
}

/* ---- comparing ---- */

static void compare_stat(const struct stat *m, const struct stat *p, const char *where)
{
	if (m->st_mode != p->st_mode)
		fail_values("mode", where, m->st_mode, p->st_mode);
	if (m->st_uid != p->st_uid)
		fail_values("uid", where, m->st_uid, p->st_uid);
	if (m->st_gid != p->st_gid)
		fail_values("gid", where, m->st_gid, p->st_gid);
	if (m->st_nlink != p->st_nlink && where[0])
		fail_values("nlink", where, (long long)m->st_nlink, (long long)p->st_nlink);
	if (m->st_rdev != p->st_rdev)
		fail_values("rdev", where, (long long)m->st_rdev, (long long)p->st_rdev);
	if (!S_ISDIR(m->st_mode) && m->st_size != p->st_size)
		fail_values("size", where, m->st_size, p->st_size);
	if ((m->st_mtim.tv_sec < OLD_TIMES_END || p->st_mtim.tv_sec < OLD_TIMES_END) &&
	    (m->st_mtim.tv_sec != p->st_mtim.tv_sec || m->st_mtim.tv_nsec != p->st_mtim.tv_nsec))
		fail_values("mtime", where, m->st_mtim.tv_sec, p->st_mtim.tv_sec);
	if (S_ISREG(m->st_mode) && p->st_blocks && !m->st_blocks)
		fail_values("blocks", where, m->st_blocks, p->st_blocks);
}

static void compare_bytes(int mount_fd, int plain_fd, const char *where)
{
	static char other[DATA_MAX];
	ssize_t m = pread(mount_fd, data, DATA_MAX, 0);
	int m_errno = errno;
	ssize_t p = pread(plain_fd, other, DATA_MAX, 0);

	if (m < 0 && p >= 0)
		fail(strerror(m_errno), where);
	if (m != p)
		fail_values("bytes read", where, m, p);
	for (ssize_t i = 0; i < m; i++)
		if (data[i] != other[i])
			fail_values("first different byte", where, i,
				    (uint8_t)data[i] << 8 | (uint8_t)other[i]);
}

static void compare_slots(void)
{
	char where[32];
	struct stat m, p;

	for (unsigned i = 0; i < SLOTS; i++) {
		int mode = fds[PLAIN][i] < 0 ? O_WRONLY : fcntl(fds[PLAIN][i], F_GETFL) & O_ACCMODE;
		if (fds[PLAIN][i] < 0)
			continue;
		snprintf(where, sizeof(where), "descriptor %u", i);
		if (fstat(fds[MOUNT][i], &m))
			fail(strerror(errno), where);
		if (fstat(fds[PLAIN][i], &p))
			fail(strerror(errno), where);
		compare_stat(&m, &p, where);
		if (S_ISREG(p.st_mode) && mode != O_WRONLY &&
		    (i == step.slot || step.number % 16 == 0))
			compare_bytes(fds[MOUNT][i], fds[PLAIN][i], where);
	}
}

static void compare_path(const char *below)
{
	char path[2][PATH_MAX], target[2][PATH_MAX];
	struct stat st[2];
	int got[2], err[2] = {0};

	for (int side = 0; side < 2; side++) {
		full_path(side, below, path[side]);
		got[side] = lstat(path[side], &st[side]);
		err[side] = got[side] ? errno : 0;
	}
	if (err[MOUNT] != err[PLAIN])
		fail_values("lstat errno", below, err[MOUNT], err[PLAIN]);
	if (err[MOUNT])
		return;
	compare_stat(&st[MOUNT], &st[PLAIN], below);
	uint64_t sums[2] = {0};
	long lens[2] = {list_attributes(path[0], &sums[0]), list_attributes(path[1], &sums[1])};
	if (lens[0] != lens[1] || sums[0] != sums[1])
		fail_values("xattrs", below, lens[0], lens[1]);
	if (S_ISLNK(st[MOUNT].st_mode)) {
		ssize_t n[2] = {readlink(path[0], target[0], PATH_MAX),
				readlink(path[1], target[1], PATH_MAX)};
		if (n[0] != n[1] || n[0] < 0 || memcmp(target[0], target[1], (size_t)n[0]) != 0)
			fail("link target", below);
	}
	if (!S_ISREG(st[MOUNT].st_mode))
		return;
	int m = open(path[MOUNT], O_RDONLY | O_CLOEXEC),
	    p = open(path[PLAIN], O_RDONLY | O_CLOEXEC);
	if (m < 0 || p < 0)
		fail("open", below);
	compare_bytes(m, p, below);
	close(m);
	close(p);
}

/* ---- the whole trees ---- */

#define TREE_MAX 4096
struct seen {
	char path[PATH_MAX / 2];
	ino_t mount_ino, plain_ino;
	bool directory;
};
static struct seen *tree, *tree_before;
static size_t tree_count, tree_before_count;

static int see(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	struct stat m;
	char mount_path[PATH_MAX];
	const char *below = path + strlen(base[PLAIN]);

	(void)type;
	if (ftw->level == 0 || tree_count == TREE_MAX || strlen(below + 1) >= sizeof(tree->path))
		return 0;
	compare_path(below + 1);
	full_path(MOUNT, below + 1, mount_path);
	if (lstat(mount_path, &m))
		fail("lstat", below);
	struct seen *s = &tree[tree_count++];
	strcpy(s->path, below + 1);
	s->mount_ino = m.st_ino;
	s->plain_ino = st->st_ino;
	s->directory = S_ISDIR(m.st_mode);
	if (s->directory) {
		uint64_t sums[2] = {0};
		long n[2] = {list_names(mount_path, &sums[0]), list_names(path, &sums[1])};
		if (n[0] != n[1] || sums[0] != sums[1])
			fail_names(mount_path, path, below);
	}
	return 0;
}

/* Same names, attributes, contents; and names of one object here are names of one object there. */
static void compare_trees(bool same_inos)
{
	struct seen *spare = tree_before;
	uint64_t sums[2] = {0};

	tree_before = tree;
	tree_before_count = tree_count;
	tree = spare;
	tree_count = 0;
	long n[2] = {list_names(base[0], &sums[0]), list_names(base[1], &sums[1])};
	if (n[0] != n[1] || sums[0] != sums[1])
		fail_names(base[MOUNT], base[PLAIN], "the root");
	nftw(base[PLAIN], see, 32, FTW_PHYS);
	for (size_t i = 0; i < tree_count; i++)
		for (size_t j = i + 1; j < tree_count; j++)
			if ((tree[i].mount_ino == tree[j].mount_ino) !=
			    (tree[i].plain_ino == tree[j].plain_ino))
				fail("names of one object", tree[i].path);
	if (!same_inos)
		return;
	if (tree_count != tree_before_count)
		fail_values("files after it", "tree", (long long)tree_count,
			    (long long)tree_before_count);
	for (size_t i = 0; i < tree_count; i++)
		for (size_t j = 0; j < tree_count; j++)
			if (!strcmp(tree[i].path, tree_before[j].path) &&
			    tree[i].mount_ino != tree_before[j].mount_ino)
				fail("inode number moved", tree[i].path);
}

static void change_mount(enum kind kind, uint64_t fill)
{
	static const char *const options[] = {"dev,settle=0", "dev,settle=0.02", "dev,settle=1",
					      "dev,settle=5,coherence=0"};

	compare_trees(false);
	if (kind != PACK)
		for (unsigned i = 0; i < SLOTS; i++)
			for (int side = 0; side < 2; side++)
				close_slot(side, i);
	mounted.options = options[fill >> 8 & 3];
	if (kind == PACK) {
		mounted_pack(&mounted);
	} else if (kind == REMOUNT) {
		mounted_down(&mounted);
		mounted_up(&mounted);
	} else {
		mounted_kill(&mounted);
		mounted_up(&mounted);
	}
	compare_trees(true);
}

/* ---- running ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	if (ftw->level > 0 && remove(path))
		fail("remove", path);
	return 0;
}

static void clear_trees(void)
{
	static const struct timespec times[2];

	for (int side = 0; side < 2; side++) {
		nftw(base[side], remove_one, 32, FTW_PHYS | FTW_DEPTH);
		removexattr(base[side], "system.posix_acl_default");
		removexattr(base[side], "system.posix_acl_access");
		removexattr(base[side], "user.x");
		if (chown(base[side], 0, 0) || chmod(base[side], 0755) ||
		    utimensat(AT_FDCWD, base[side], times, 0))
			fail("the base", strerror(errno));
	}
}

static void make_directories(void)
{
	static const char *const dirs[] = {"d", "d.zst", "d/d", "d/d.zst"};
	char path[PATH_MAX];

	for (int side = 0; side < 2; side++)
		for (unsigned i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
			full_path(side, dirs[i], path);
			if (mkdir(path, 0777))
				fail("mkdir", strerror(errno));
		}
}

static void take_step(void)
{
	struct result r[2];

	alarm(HANG_SECONDS);
	if (verbose)
		describe(&step, stderr);
	if (step.kind >= PACK) {
		change_mount(step.kind, step.fill);
		return;
	}
	for (int side = 0; side < 2; side++)
		r[side] = run_on(&step, side);
	if (verbose)
		fprintf(stderr, "   -> %ld %s\n", r[PLAIN].ret,
			r[PLAIN].err ? strerror(r[PLAIN].err) : "");
	if (r[MOUNT].ret != r[PLAIN].ret || r[MOUNT].err != r[PLAIN].err)
		fail_values("result * 1000 + errno", kinds[step.kind].name,
			    r[MOUNT].ret * 1000 + r[MOUNT].err, r[PLAIN].ret * 1000 + r[PLAIN].err);
	if (r[MOUNT].sum != r[PLAIN].sum)
		fail("what came back", kinds[step.kind].name);
	compare_path(step.a);
	compare_path(step.b);
	compare_slots();
}

/* keep: NULL, or which steps to take. */
static void run(uint64_t seed, unsigned steps, const bool *keep)
{
	signal(SIGALRM, on_alarm);
	for (int side = 0; side < 2; side++)
		for (unsigned i = 0; i < SLOTS; i++)
			fds[side][i] = -1;
	clear_trees();
	make_directories();
	tree = calloc(TREE_MAX, sizeof(*tree));
	tree_before = calloc(TREE_MAX, sizeof(*tree));
	data = malloc(DATA_MAX);
	if (!tree || !tree_before || !data)
		fail("memory", "start");
	for (unsigned i = 0; i < steps; i++) {
		if (keep && !keep[i])
			continue;
		choose(seed, i, &step);
		take_step();
	}
	change_mount(REMOUNT, 0);
	alarm(0);
}

/* Runs in a child, so that a failing run can be repeated. -> did it fail? */
static bool fails(uint64_t seed, unsigned steps, const bool *keep, bool quiet)
{
	int status = 0;
	pid_t pid;
	struct stat st;
	char probe[PATH_MAX];

	snprintf(probe, sizeof(probe), "%s/.diskvfs", mounted.mountpoint);
	if (stat(probe, &st)) { /* died, or was not mounted again */
		umount2(mounted.mountpoint, MNT_DETACH);
		mounted.options = "dev,settle=1";
		mounted_up(&mounted);
	}
	pid = fork();
	if (pid == 0) {
		if (quiet && !freopen("/dev/null", "w", stderr))
			exit(1);
		run(seed, steps, keep);
		exit(0);
	}
	return waitpid(pid, &status, 0) == pid && status != 0;
}

/* Leaves out ever smaller pieces as long as the run fails without them. */
static void shrink(uint64_t seed, unsigned steps, bool *keep)
{
	bool *attempt = calloc(steps, sizeof(*attempt));

	for (unsigned piece = steps / 2; attempt && piece > 0; piece /= 2) {
		for (unsigned at = 0; at < steps; at += piece) {
			bool any = false;
			memcpy(attempt, keep, steps * sizeof(*keep));
			for (unsigned i = at; i < at + piece && i < steps; i++) {
				any |= attempt[i];
				attempt[i] = false;
			}
			if (any && fails(seed, steps, attempt, true))
				memcpy(keep, attempt, steps * sizeof(*keep));
		}
		fprintf(stderr, "shrinking: pieces of %u steps\n", piece);
	}
	free(attempt);
	fprintf(stderr, "the steps that matter: -k ");
	for (unsigned i = 0; i < steps; i++)
		if (keep[i])
			fprintf(stderr, "%u,", i);
	fprintf(stderr, "\n");
	verbose = true;
	fails(seed, steps, keep, false);
}

int main(int argc, char **argv)
{
	bool *keep, shrinking = false, given = false;
	int option;

	if (argc < 7) {
		fprintf(stderr, "see the top of exerciser.c\n");
		return 2;
	}
	mounted = (struct mounted){argv[1], argv[2], argv[3], "dev,settle=1"};
	base[MOUNT] = argv[3];
	base[PLAIN] = argv[4];
	uint64_t seed = strtoull(argv[5], NULL, 0);
	unsigned steps = (unsigned)strtoul(argv[6], NULL, 0);
	if (steps == 0 || steps > STEPS_MAX || !(keep = calloc(steps, sizeof(*keep))))
		return 2;
	optind = 7;
	while ((option = getopt(argc, argv, "vsk:")) != -1) {
		verbose |= option == 'v';
		shrinking |= option == 's';
		for (char *at = option == 'k' ? optarg : NULL; at && *at; at += *at == ',') {
			unsigned long n = strtoul(at, &at, 10);
			given = true;
			if (n < steps)
				keep[n] = true;
		}
	}
	for (unsigned i = 0; !given && i < steps; i++)
		keep[i] = true;
	bool failed = fails(seed, steps, keep, false);
	if (failed)
		fprintf(stderr, "seed %s, %u steps\n", argv[5], steps);
	if (failed && shrinking)
		shrink(seed, steps, keep);
	free(keep);
	return failed;
}
