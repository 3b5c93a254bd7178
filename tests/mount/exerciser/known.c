/* SPDX-License-Identifier: MIT */
/*
 * known.c - where the mount may differ from a plain directory: one table, each row with its reason.
 *
 * A row says of a step that it is left out, or taken on the mount alone, where it has to fail; of
 * an other result that it is right; or which times are not compared. README's caveats say the same
 * to users.
 */
#include "tests/mount/exerciser/exerciser.h"
#include "tests/mount/exerciser/mapped.h"

#include <linux/falloc.h>
#include <linux/magic.h>
#include <sys/statfs.h>

#define MOVES	    (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)
#define WHITEOUT    4u
#define TICKS_NS    100000000	   /* a few ticks, on a busy machine */
#define PACKED_NAME (NAME_MAX - 4) /* longest name whose packed form exists */

/* ---- what the plain side says before the step; the working directory is its base ---- */

static bool several_links(int dir, const char *token, bool follow)
{
	char path[EX_PATH_BYTES];
	struct stat st;

	ex_path(token, path);
	return fstatat(dir, path, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) == 0 &&
	       !S_ISDIR(st.st_mode) && st.st_nlink > 1;
}

static size_t name_bytes(const char *token)
{
	char path[EX_PATH_BYTES];
	const char *slash;

	ex_path(token, path);
	slash = strrchr(path, '/');
	return strlen(slash ? slash + 1 : path);
}

static bool is_long(const char *token)
{
	return name_bytes(token) > PACKED_NAME - ex.suffix_bytes;
}

static int dir_of(const struct ex_step *s, unsigned slot)
{
	return s->kind == EX_RENAMEAT ? ex.side[PLAIN].fds[slot] : AT_FDCWD;
}

static bool renames(const struct ex_step *s)
{
	return s->kind == EX_RENAME || s->kind == EX_RENAMEAT;
}

static enum ex_how exchange_of_links(const struct ex_step *s)
{
	if (!renames(s) || s->flags != RENAME_EXCHANGE)
		return EX_BOTH;
	return several_links(dir_of(s, s->slot), s->a, false) ||
			       several_links(dir_of(s, s->slot2), s->b, false)
		       ? EX_NEITHER
		       : EX_BOTH;
}

/* Values have the suffix in their names, all else has not. */
static enum ex_how beside_suffix(const struct ex_step *s)
{
	char path[EX_PATH_BYTES];
	struct stat a, b;
	int from = dir_of(s, s->slot), to = dir_of(s, s->slot2);

	if (!ex.suffix_bytes)
		return EX_BOTH;
	if (name_bytes(s->a) > NAME_MAX - ex.suffix_bytes ||
	    name_bytes(s->b) > NAME_MAX - ex.suffix_bytes)
		return EX_NEITHER;
	if (!renames(s) || s->flags != RENAME_EXCHANGE)
		return EX_BOTH;
	ex_path(s->a, path);
	if (fstatat(from, path, &a, AT_SYMLINK_NOFOLLOW))
		return EX_BOTH;
	ex_path(s->b, path);
	if (fstatat(to, path, &b, AT_SYMLINK_NOFOLLOW))
		return EX_BOTH;
	return S_ISREG(a.st_mode) == S_ISREG(b.st_mode) ? EX_BOTH : EX_NEITHER;
}

static enum ex_how long_name_of_links(const struct ex_step *s)
{
	struct stat st;

	if (s->kind == EX_SAVE)
		return is_long(s->a) && several_links(AT_FDCWD, s->b, false) ? EX_NEITHER : EX_BOTH;
	if (s->kind == EX_LINK_FD)
		return is_long(s->b) && fstat(ex.side[PLAIN].fds[s->slot], &st) == 0 &&
				       st.st_nlink > 1
			       ? EX_NEITHER
			       : EX_BOTH;
	if (!renames(s) && s->kind != EX_LINK)
		return EX_BOTH;
	return is_long(s->b) && several_links(dir_of(s, s->slot), s->a,
					      s->kind == EX_LINK && (s->flags & 1))
		       ? EX_NEITHER
		       : EX_BOTH;
}

/* Renamed to itself: done without asking the filesystem. */
static bool one_object(const char *a, const char *b)
{
	char path[EX_PATH_BYTES];
	struct stat of_a, of_b;

	ex_path(a, path);
	if (lstat(path, &of_a))
		return false;
	ex_path(b, path);
	return lstat(path, &of_b) == 0 && of_a.st_ino == of_b.st_ino;
}

static enum ex_how whiteout(const struct ex_step *s)
{
	if (!renames(s) || s->flags != WHITEOUT)
		return EX_BOTH;
	return s->kind == EX_RENAMEAT || one_object(s->a, s->b) ? EX_NEITHER : EX_MOUNT_ALONE;
}

static enum ex_how chown_nothing(const struct ex_step *s)
{
	bool chowns = s->kind == EX_CHOWN || s->kind == EX_FCHOWN;

	return chowns && s->uid == -1 && s->gid == -1 ? EX_NEITHER : EX_BOTH;
}

static enum ex_how moved_ranges(const struct ex_step *s)
{
	if (s->kind != EX_FALLOCATE || !(s->flags & MOVES))
		return EX_BOTH;
	return s->who == 0 ? EX_MOUNT_ALONE : EX_NEITHER; /* may clear suid first, see below */
}

static bool on_tmpfs(void)
{
	struct statfs st;

	return fstatfs(ex_base(PLAIN), &st) == 0 && st.f_type == TMPFS_MAGIC;
}

/* A range of zeros is refused by tmpfs. */
static enum ex_how refused_by_plain(const struct ex_step *s)
{
	if (s->kind != EX_FALLOCATE || s->who == 0 || !(s->flags & FALLOC_FL_ZERO_RANGE))
		return EX_BOTH;
	return on_tmpfs() ? EX_NEITHER : EX_BOTH;
}

static enum ex_how truncate_to_size(const struct ex_step *s)
{
	char path[EX_PATH_BYTES];
	struct stat st;

	ex_path(s->a, path);
	return s->kind == EX_TRUNCATE && stat(path, &st) == 0 && (uint64_t)st.st_size == s->off
		       ? EX_NEITHER
		       : EX_BOTH;
}

static enum ex_how place_in_directory(const struct ex_step *s)
{
	struct stat st;

	return s->kind == EX_LSEEK && fstat(ex.side[PLAIN].fds[s->slot], &st) == 0 &&
			       S_ISDIR(st.st_mode)
		       ? EX_NEITHER
		       : EX_BOTH;
}

static enum ex_how pipe_within_file(const struct ex_step *s)
{
	const int *fds = ex.side[PLAIN].fds;
	struct stat from, to;

	if (s->kind != EX_SENDFILE && s->kind != EX_SPLICE)
		return EX_BOTH;
	if (fstat(fds[s->slot], &from) || fstat(fds[s->slot2], &to))
		return EX_BOTH;
	return from.st_ino == to.st_ino ? EX_NEITHER : EX_BOTH;
}

static enum ex_how acl_removed_on_tmpfs(const struct ex_step *s)
{
	return s->kind == EX_SETACL && s->who != 0 && on_tmpfs() ? EX_NEITHER : EX_BOTH;
}

static enum ex_how acls_off(const struct ex_step *s)
{
	return s->kind == EX_SETACL && !ex.acls ? EX_NEITHER : EX_BOTH;
}

/* ---- other results ---- */

static bool tmpfile_refused(const struct ex_step *s, const struct ex_result r[SIDES])
{
	bool opens = s->kind == EX_OPEN || s->kind == EX_OPENAT;
	unsigned slot = s->kind == EX_OPEN ? s->slot : s->slot2;

	if (!opens || (s->flags & O_TMPFILE) != O_TMPFILE || r[MOUNT].ret >= 0 ||
	    r[MOUNT].err != EOPNOTSUPP)
		return false;
	for (int side = 0; side < SIDES; side++) {
		if (ex.side[side].fds[slot] >= 0)
			close(ex.side[side].fds[slot]);
		ex.side[side].fds[slot] = -1;
	}
	return true;
}

/* Data is a byte that is not zero at the latest, a hole holds zeros. */
static bool other_holes(const struct ex_step *s, const struct ex_result r[SIDES])
{
	int fd = ex.side[PLAIN].fds[s->slot];
	struct stat st;
	uint64_t end;

	if (s->kind != EX_LSEEK || (s->flags != SEEK_DATA && s->flags != SEEK_HOLE))
		return false;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || (off_t)s->off >= st.st_size)
		return false;
	if (ex_is_mapped(st.st_ino)) /* the kernel asks without writing dirty pages first */
		return true;
	if (r[MOUNT].ret < 0 && (r[MOUNT].err != ENXIO || s->flags == SEEK_HOLE))
		return false;
	end = r[MOUNT].ret < 0 ? (uint64_t)st.st_size : (uint64_t)r[MOUNT].ret;
	if (s->flags == SEEK_HOLE)
		return end >= s->off && end <= (uint64_t)st.st_size;
	for (uint64_t at = s->off; at < end; at += EX_DATA_BYTES) {
		uint64_t n = end - at < EX_DATA_BYTES ? end - at : EX_DATA_BYTES;
		ssize_t got = pread(fd, ex.other, n, (off_t)at);
		for (ssize_t i = 0; i < got; i++)
			if (ex.other[i])
				return false;
	}
	return true;
}

/* ---- times ---- */

static bool mtime_of_mapping(const struct ex_step *s, const struct stat *plain)
{
	return s->kind == EX_STORE || ex_is_mapped(plain->st_ino);
}

static int64_t age_ns(struct timespec t)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (now.tv_sec - t.tv_sec) * 1000000000 + now.tv_nsec - t.tv_nsec;
}

/* There a directory takes the time of what is unlinked or renamed in it, which is a tick's. */
static bool times_of_tmpfs(const struct ex_step *s, const struct stat *plain)
{
	(void)s;
	return S_ISDIR(plain->st_mode) && on_tmpfs() && age_ns(plain->st_mtim) < TICKS_NS;
}

static bool times_of_pipe(const struct ex_step *s, const struct stat *plain)
{
	(void)s;
	return S_ISFIFO(plain->st_mode);
}

static bool ctime_of_commit(const struct ex_step *s, const struct stat *plain, bool mount_moved)
{
	(void)s;
	return mount_moved && (S_ISREG(plain->st_mode) || S_ISDIR(plain->st_mode));
}

static const struct known {
	const char *name, *why;
	enum ex_how (*before)(const struct ex_step *s);
	bool (*result)(const struct ex_step *s, const struct ex_result r[SIDES]);
	bool (*mtime)(const struct ex_step *s, const struct stat *plain); /* ctime too */
	bool (*ctime)(const struct ex_step *s, const struct stat *plain, bool mount_moved);
} table[] = {
	{"exchange of a value with several links",
	 "a packed one can not change places with one that is not packed",
	 .before = exchange_of_links},
	{"a name of more than 251 bytes for a value with several links",
	 "it has no packed form, and a packed value with several links can not be made raw",
	 .before = long_name_of_links},
	{"path:SUFFIX: long names, exchange of a file with something else",
	 "files alone have the suffix in their stored names", .before = beside_suffix},
	{"RENAME_WHITEOUT", "refused", .before = whiteout},
	{"chown(-1, -1)", "the kernel does not tell a FUSE filesystem", .before = chown_nothing},
	{"FALLOC_FL_COLLAPSE_RANGE, _INSERT_RANGE", "the kernel refuses them for FUSE",
	 .before = moved_ranges},
	{"a refused fallocate of another user",
	 "the kernel clears suid and sgid before it asks a FUSE filesystem",
	 .before = refused_by_plain},
	{"truncate(2) to the size that is there",
	 "ftruncate(2) moves the mtime, truncate(2) does not, and the request does not tell which",
	 .before = truncate_to_size},
	{"positions in directories", "each filesystem's own", .before = place_in_directory},
	{"sendfile and splice within one file",
	 "whether pages in a pipe are copies is each filesystem's own", .before = pipe_within_file},
	{"an ACL that another user removes, on tmpfs",
	 "tmpfs alone clears setgid then, and not for the daemon", .before = acl_removed_on_tmpfs},
	{"ACLs with noacl", "turned off", .before = acls_off},
	{"O_TMPFILE", "refused; programs fall back to a name", .result = tmpfile_refused},
	{"SEEK_DATA, SEEK_HOLE",
	 "data may be told where a hole is; what a mapping put into a hole is not seen before "
	 "msync",
	 .result = other_holes},
	{"times of a file that is written through a mapping",
	 "they move when the pages reach the daemon, not when they are first touched",
	 .mtime = mtime_of_mapping},
	{"times of a directory on tmpfs", "they may stand still for a tick of the clock",
	 .mtime = times_of_tmpfs},
	{"times of a FIFO", "what goes through it the kernel keeps to itself",
	 .mtime = times_of_pipe},
	{"ctime that moves without a change",
	 "when a replacement or an edit is put in place, or a packing is taken back; and a "
	 "directory's when something in it is packed",
	 .ctime = ctime_of_commit},
};

#define ROWS (sizeof(table) / sizeof(*table))

enum ex_how ex_known_before(const struct ex_step *s)
{
	ex_enter(PLAIN);
	for (size_t i = 0; i < ROWS; i++) {
		enum ex_how how = table[i].before ? table[i].before(s) : EX_BOTH;
		if (how != EX_BOTH)
			return how;
	}
	return EX_BOTH;
}

bool ex_known_result(const struct ex_step *s, const struct ex_result r[SIDES])
{
	for (size_t i = 0; i < ROWS; i++)
		if (table[i].result && table[i].result(s, r))
			return true;
	return false;
}

bool ex_known_mtime(const struct ex_step *s, const struct stat *plain)
{
	for (size_t i = 0; i < ROWS; i++)
		if (table[i].mtime && table[i].mtime(s, plain))
			return true;
	return false;
}

bool ex_known_ctime(const struct ex_step *s, const struct stat *plain, bool mount_moved)
{
	for (size_t i = 0; i < ROWS; i++)
		if (table[i].ctime && table[i].ctime(s, plain, mount_moved))
			return true;
	return ex_known_mtime(s, plain);
}

void ex_known_print(FILE *out)
{
	for (size_t i = 0; i < ROWS; i++)
		fprintf(out, "%s: %s\n", table[i].name, table[i].why);
}
