/* SPDX-License-Identifier: MIT */
/*
 * compare.c - what a step touched, before and after it, on both sides.
 *
 * Looked at are the objects that its operands name, the directories that these lie in, and the
 * descriptors. All attributes are compared; of times that were not set, whether they moved.
 */
#include "tests/mount/exerciser/exerciser.h"
#include "tests/mount/exerciser/mapped.h"

#define ATIME_TRIES 3

void ex_fail(const char *what, const char *where)
{
	fprintf(stderr, "DIFFERENT: %s: %.200s\n  at step ", what, where);
	ex_step_print(&ex.now, stderr);
	fflush(stderr);
	_exit(1);
}

void ex_fail_values(const char *what, const char *where, long long mount, long long plain)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: mount %lld (%#llo), plain %lld (%#llo)", what, mount,
		 (unsigned long long)mount, plain, (unsigned long long)plain);
	ex_fail(text, where);
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

void ex_compare_stat(const struct stat *m, const struct stat *p, const char *where)
{
	bool base = !strcmp(where, ".");

	if (m->st_mode != p->st_mode)
		ex_fail_values("mode", where, m->st_mode, p->st_mode);
	if (m->st_uid != p->st_uid)
		ex_fail_values("uid", where, m->st_uid, p->st_uid);
	if (m->st_gid != p->st_gid)
		ex_fail_values("gid", where, m->st_gid, p->st_gid);
	if (m->st_nlink != p->st_nlink && !base) /* the store's root has one folder more */
		ex_fail_values("nlink", where, (long long)m->st_nlink, (long long)p->st_nlink);
	if (m->st_rdev != p->st_rdev)
		ex_fail_values("rdev", where, (long long)m->st_rdev, (long long)p->st_rdev);
	if (!S_ISDIR(m->st_mode) && m->st_size != p->st_size)
		ex_fail_values("size", where, m->st_size, p->st_size);
	if ((m->st_mtim.tv_sec < EX_OLD_TIMES_END || p->st_mtim.tv_sec < EX_OLD_TIMES_END) &&
	    !same_time(m->st_mtim, p->st_mtim) && !ex_times_are_apart(p->st_ino) &&
	    !S_ISFIFO(p->st_mode))
		ex_fail_values("mtime", where, m->st_mtim.tv_sec, p->st_mtim.tv_sec);
	if (S_ISREG(m->st_mode) && p->st_blocks && !m->st_blocks)
		ex_fail_values("blocks", where, m->st_blocks, p->st_blocks);
}

/* ---- bytes ---- */

static void compare_piece(int mount_fd, int plain_fd, uint64_t off, const char *where)
{
	ssize_t m = pread(mount_fd, ex.data, EX_COMPARED_ALL, (off_t)off);
	int m_errno = errno;
	ssize_t p = pread(plain_fd, ex.other, EX_COMPARED_ALL, (off_t)off);

	if (m < 0 && p >= 0)
		ex_fail(strerror(m_errno), where);
	if (m != p)
		ex_fail_values("bytes read", where, m, p);
	if (m <= 0 || memcmp(ex.data, ex.other, (size_t)m) == 0)
		return;
	for (ssize_t i = 0; i < m; i++)
		if (ex.data[i] != ex.other[i])
			ex_fail_values("first different byte", where, (long long)off + i,
				       (uint8_t)ex.data[i] << 8 | (uint8_t)ex.other[i]);
}

void ex_compare_bytes(int mount_fd, int plain_fd, uint64_t off, bool all, const char *where)
{
	struct stat st;
	uint64_t size;

	if (fstat(plain_fd, &st))
		ex_fail("fstat", where);
	size = (uint64_t)st.st_size;
	if (size <= EX_COMPARED_ALL || all) {
		for (uint64_t at = 0; at < size || at == 0; at += EX_COMPARED_ALL)
			compare_piece(mount_fd, plain_fd, at, where);
		return;
	}
	compare_piece(mount_fd, plain_fd, 0, where);
	compare_piece(mount_fd, plain_fd, size - EX_COMPARED_ALL / 2, where);
	compare_piece(mount_fd, plain_fd, off < 4096 ? off : off - 4096, where);
}

/* ---- names ---- */

static void compare_target(const char *name, const char *where)
{
	static char target[SIDES][PATH_MAX];
	ssize_t n[SIDES];

	for (int side = 0; side < SIDES; side++) {
		ex_enter(side);
		n[side] = readlink(name, target[side], PATH_MAX);
	}
	if (n[0] != n[1] || n[0] < 0 || memcmp(target[0], target[1], (size_t)n[0]) != 0)
		ex_fail("link target", where);
}

static void compare_attributes(const char *name, const char *where)
{
	uint64_t sums[SIDES] = {0};
	long lens[SIDES];

	for (int side = 0; side < SIDES; side++) {
		ex_enter(side);
		lens[side] = ex_sum_attributes(name, &sums[side]);
	}
	if (lens[MOUNT] != lens[PLAIN] || sums[MOUNT] != sums[PLAIN])
		ex_fail_values("xattrs", where, lens[MOUNT], lens[PLAIN]);
}

void ex_compare_name(const char *name, const char *where, uint64_t off, bool all)
{
	struct stat st[SIDES];
	int err[SIDES], fd[SIDES];

	for (int side = 0; side < SIDES; side++) {
		ex_enter(side);
		err[side] = lstat(name, &st[side]) ? errno : 0;
	}
	if (err[MOUNT] != err[PLAIN])
		ex_fail_values("lstat errno", where, err[MOUNT], err[PLAIN]);
	if (err[MOUNT])
		return;
	ex_compare_stat(&st[MOUNT], &st[PLAIN], where);
	compare_attributes(name, where);
	if (S_ISLNK(st[MOUNT].st_mode))
		compare_target(name, where);
	if (!S_ISREG(st[MOUNT].st_mode) || !(all || off != UINT64_MAX))
		return;
	for (int side = 0; side < SIDES; side++) {
		ex_enter(side);
		fd[side] = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd[side] < 0)
			ex_fail(strerror(errno), where);
	}
	ex_compare_bytes(fd[MOUNT], fd[PLAIN], off, all, where);
	close(fd[MOUNT]);
	close(fd[PLAIN]);
}

/* ---- descriptors ---- */

static void compare_slot(unsigned slot, bool bytes)
{
	int m = ex.side[MOUNT].fds[slot], p = ex.side[PLAIN].fds[slot], flags;
	char where[32];
	struct stat st[SIDES];

	snprintf(where, sizeof(where), "descriptor %u", slot);
	if ((m < 0) != (p < 0))
		ex_fail("open on one side", where);
	if (m < 0)
		return;
	if (fstat(m, &st[MOUNT]) || fstat(p, &st[PLAIN]))
		ex_fail(strerror(errno), where);
	if (S_ISDIR(st[MOUNT].st_mode)) /* perhaps of the root */
		st[MOUNT].st_nlink = st[PLAIN].st_nlink;
	ex_compare_stat(&st[MOUNT], &st[PLAIN], where);
	flags = fcntl(p, F_GETFL);
	if (flags != fcntl(m, F_GETFL))
		ex_fail_values("flags", where, fcntl(m, F_GETFL), flags);
	if (S_ISREG(st[PLAIN].st_mode) && lseek(m, 0, SEEK_CUR) != lseek(p, 0, SEEK_CUR))
		ex_fail_values("position", where, lseek(m, 0, SEEK_CUR), lseek(p, 0, SEEK_CUR));
	if (bytes && S_ISREG(st[PLAIN].st_mode) && (flags & O_ACCMODE) != O_WRONLY &&
	    (flags & O_ACCMODE) != O_ACCMODE && !(flags & (O_PATH | O_DIRECT)))
		ex_compare_bytes(m, p, ex.now.off, false, where);
}

void ex_compare_slots(bool bytes)
{
	for (unsigned i = 0; i < EX_SLOTS; i++)
		compare_slot(i, bytes);
}

/* ---- before and after ---- */

enum { A, B, ABOVE_A, ABOVE_B, SLOT, SLOT2, OBJECTS };

static struct look {
	struct stat st;
	bool there;
} before[OBJECTS][SIDES], after[OBJECTS][SIDES];
static char paths[SLOT][EX_PATH_BYTES];

static bool has(const struct ex_step *s, char field)
{
	return strchr(ex_kinds[s->kind].fields, field) != NULL;
}

static void look(const struct ex_step *s, struct look to[OBJECTS][SIDES])
{
	for (int side = 0; side < SIDES; side++) {
		const int *fds = ex.side[side].fds;
		ex_enter(side);
		for (int i = A; i <= ABOVE_B; i++) {
			struct look *l = &to[i][side];
			l->there = has(s, i == A || i == ABOVE_A ? 'a' : 'b') &&
				   lstat(paths[i], &l->st) == 0;
		}
		to[SLOT][side].there = has(s, 's') && fstat(fds[s->slot], &to[SLOT][side].st) == 0;
		to[SLOT2][side].there =
			has(s, 't') && fstat(fds[s->slot2], &to[SLOT2][side].st) == 0;
	}
}

void ex_look_before(const struct ex_step *s)
{
	ex_path(s->a, paths[A]);
	ex_path(s->b, paths[B]);
	ex_parent(paths[A], paths[ABOVE_A]);
	ex_parent(paths[B], paths[ABOVE_B]);
	look(s, before);
}

static bool same_object(const struct look *b, const struct look *a)
{
	return b->there && a->there && b->st.st_ino == a->st.st_ino &&
	       (b->st.st_mode & S_IFMT) == (a->st.st_mode & S_IFMT);
}

/* An atime that was set shows; but the kernel may still be reading ahead for an earlier step, so
 * it is set once more before that is an error. */
static void compare_atime(const struct ex_step *s, int i, const char *where)
{
	const struct timespec *mount = &after[i][MOUNT].st.st_atim,
			      *plain = &after[i][PLAIN].st.st_atim;

	if (s->kind != EX_UTIMENS && s->kind != EX_FUTIMENS)
		return;
	if (plain->tv_sec >= EX_OLD_TIMES_END ||
	    same_time(before[i][PLAIN].st.st_atim, *plain)) /* it was not set, or not here */
		return;
	for (int tries = 0; tries < ATIME_TRIES && !same_time(*mount, *plain); tries++) {
		for (int side = 0; side < SIDES; side++)
			ex_act(s, side);
		look(s, after);
	}
	if (!same_time(*mount, *plain))
		ex_fail_values("atime", where, mount->tv_sec, plain->tv_sec);
}

static void compare_times(const struct ex_step *s, int i)
{
	static const char *const what[OBJECTS] = {"a", "b", "above a", "above b", "slot", "slot2"};
	bool mtime[SIDES], ctime[SIDES];
	const struct stat *plain = &after[i][PLAIN].st;

	for (int side = 0; side < SIDES; side++) {
		const struct look *b = &before[i][side], *a = &after[i][side];
		if (!same_object(b, a))
			return;
		mtime[side] = !same_time(b->st.st_mtim, a->st.st_mtim);
		ctime[side] = !same_time(b->st.st_ctim, a->st.st_ctim);
	}
	if ((s->kind == EX_UTIMENS || s->kind == EX_FUTIMENS) && mtime[PLAIN])
		ex_times_are_set(plain->st_ino);
	if (mtime[MOUNT] != mtime[PLAIN] && !ex_known_mtime(s, plain))
		ex_fail(mtime[MOUNT] ? "mtime moved on the mount" : "mtime did not move", what[i]);
	if (ctime[MOUNT] != ctime[PLAIN] && !ex_known_ctime(s, plain, ctime[MOUNT]))
		ex_fail(ctime[MOUNT] ? "ctime moved on the mount" : "ctime did not move", what[i]);
	compare_atime(s, i, what[i]);
}

/* Did anything move that bytes could have moved with? */
static bool is_touched(int i)
{
	for (int side = 0; side < SIDES; side++) {
		const struct look *b = &before[i][side], *a = &after[i][side];
		if (!same_object(b, a) || !same_time(b->st.st_ctim, a->st.st_ctim) ||
		    b->st.st_size != a->st.st_size)
			return true;
	}
	return false;
}

void ex_compare_after(const struct ex_step *s)
{
	bool turn = s->number % 8 == 0;

	look(s, after);
	for (int i = 0; i < OBJECTS; i++)
		compare_times(s, i);
	for (int i = A; i <= ABOVE_B; i++)
		if (has(s, i == A || i == ABOVE_A ? 'a' : 'b'))
			ex_compare_name(paths[i], paths[i],
					turn || is_touched(i) ? s->off : UINT64_MAX, false);
	if (has(s, 's'))
		compare_slot(s->slot, turn || is_touched(SLOT));
	if (has(s, 't'))
		compare_slot(s->slot2, turn || is_touched(SLOT2));
	if (s->number % 16 == 0)
		ex_compare_slots(true);
}
