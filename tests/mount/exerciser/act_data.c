/* SPDX-License-Identifier: MIT */
/*
 * act_data.c - descriptors, their bytes, mappings and locks.
 */
#include "tests/mount/exerciser/exerciser.h"
#include "tests/mount/exerciser/mapped.h"

#include <setjmp.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#define STREAM_PIECE (128u << 10)
#define MAP_PAGE     4096ul

static sigjmp_buf past_end;

static void on_bus_error(int signal_number)
{
	(void)signal_number;
	siglongjmp(past_end, 1);
}

/* ---- open and close ---- */

static long put_slot(int side, unsigned slot, int fd)
{
	int *to = &ex.side[side].fds[slot];

	if (fd < 0)
		return -1;
	if (*to >= 0)
		close(*to);
	*to = fd;
	return 0;
}

static long close_slot(int side, unsigned slot)
{
	int fd = ex.side[side].fds[slot];

	ex.side[side].fds[slot] = -1;
	return fd < 0 ? 0 : close(fd);
}

static long open_at(const struct ex_step *s, int side, int dir, const char *token, unsigned slot)
{
	char path[EX_PATH_BYTES];

	ex_path(token, path);
	return put_slot(side, slot, openat(dir, path, (int)s->flags | O_CLOEXEC, s->mode));
}

/* ---- reading and writing ---- */

/* A filesystem of the kernel wants offsets, lengths and memory of O_DIRECT in whole blocks. */
static bool is_direct(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_DIRECT);
}

static uint64_t direct_down(int fd, uint64_t n)
{
	return is_direct(fd) ? n / 4096 * 4096 : n;
}

static long came(ssize_t n, uint64_t *sum)
{
	if (n > 0)
		*sum = ex_sum(ex.data, (size_t)n);
	return n;
}

static bool is_append(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_APPEND);
}

static long write_at(const struct ex_step *s, int fd)
{
	if (is_direct(fd) && is_append(fd))
		return 0; /* at the end, which is not at a block's */
	return pwrite(fd, ex.data, direct_down(fd, s->len), (off_t)direct_down(fd, s->off));
}

static long write_pieces(const struct ex_step *s, int fd)
{
	size_t a = s->len / 3, b = s->len / 2;
	struct iovec iov[4] = {
		{ex.data, a}, {ex.data + a, 0}, {ex.data + a, b - a}, {ex.data + b, s->len - b}};

	return writev(fd, iov, 4);
}

/* ---- from one descriptor to another ---- */

static long splice_slots(const struct ex_step *s, int from, int to)
{
	int ends[2];
	ssize_t n, moved = 0;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		return -1;
	n = splice(from, NULL, ends[1], NULL, s->len < 65536 ? s->len : 65536, 0);
	int err = errno;
	for (ssize_t left = n; left > 0;) {
		ssize_t m = splice(ends[0], NULL, to, NULL, (size_t)left, SPLICE_F_NONBLOCK);
		if (m <= 0) {
			err = errno;
			moved = moved ? moved : m;
			break;
		}
		moved += m;
		left -= m;
	}
	close(ends[0]);
	close(ends[1]);
	errno = err;
	return n > 0 ? moved : n;
}

static long between_slots(const struct ex_step *s, int from, int to)
{
	off_t in = (off_t)s->off, out = (off_t)s->off / 2;

	if (is_direct(from) || is_direct(to))
		return 0;
	switch (s->kind) {
	case EX_COPY:
		return copy_file_range(from, &in, to, &out, s->len, 0);
	case EX_SENDFILE:
		return sendfile(to, from, &in, s->len);
	default:
		return splice_slots(s, from, to);
	}
}

/* ---- mappings ---- */

/* Copies to a mapping; what lies beyond the file's end gives SIGBUS. */
static long store(char *to, size_t len)
{
	struct sigaction action = {.sa_handler = on_bus_error}, before;
	long r = 0;

	sigaction(SIGBUS, &action, &before);
	if (sigsetjmp(past_end, 1) == 0)
		memcpy(to, ex.data, len);
	else
		r = -1;
	sigaction(SIGBUS, &before, NULL);
	if (r < 0)
		errno = EFAULT;
	return r;
}

/* A mapping for this one step; within the file's size. */
static long store_slot(const struct ex_step *s, int fd)
{
	struct stat st;
	size_t len = s->len;
	char *map;
	long r;

	if (fstat(fd, &st))
		return -1;
	if (!S_ISREG(st.st_mode) || (off_t)s->off >= st.st_size || len == 0)
		return 0;
	if (len > (uint64_t)st.st_size - s->off)
		len = (uint64_t)st.st_size - s->off;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -1;
	r = store(map + s->off, len);
	if (r == 0 && (s->fill & 16))
		r = msync(map, (size_t)st.st_size, MS_SYNC);
	return munmap(map, (size_t)st.st_size) ? -1 : r;
}

static long map_slot(const struct ex_step *s, int side, int fd)
{
	struct ex_map *m = &ex.side[side].maps[s->slot2 % EX_MAPS];
	int protection = s->flags & 1 ? PROT_READ : PROT_READ | PROT_WRITE;
	struct stat st;
	char *at;

	if (fstat(fd, &st))
		return -1;
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return 0;
	at = mmap(NULL, (size_t)st.st_size, protection, s->flags & 2 ? MAP_PRIVATE : MAP_SHARED, fd,
		  0);
	if (at == MAP_FAILED)
		return -1;
	if (m->at)
		munmap(m->at, m->len);
	*m = (struct ex_map){at, (size_t)st.st_size, st.st_ino};
	return 0;
}

/* How much of a store at s->off is to be made. The kernel zeroes what lies behind the end of the
 * file in its last page, when the file grows, but not for a FUSE filesystem while the page is
 * dirty: so no store goes there. One into a page behind the end gives SIGBUS. */
static size_t store_bytes(const struct ex_step *s, const struct ex_map *m)
{
	uint64_t len = s->len > m->len - s->off ? m->len - s->off : s->len, size, last;
	char path[64];
	struct stat st;
	int err;

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)m->at,
		 (unsigned long)m->at + ((m->len + MAP_PAGE - 1) & ~(MAP_PAGE - 1)));
	ex_become(0);
	err = stat(path, &st);
	ex_become(s->who);
	if (err)
		ex_fail("a file that is mapped", strerror(errno));
	size = (uint64_t)st.st_size;
	last = (size + MAP_PAGE - 1) & ~(uint64_t)(MAP_PAGE - 1);
	if (s->off >= last)
		return len;
	return s->off >= size ? 0 : len > size - s->off ? size - s->off : len;
}

static long on_map(const struct ex_step *s, int side)
{
	struct ex_map *m = &ex.side[side].maps[s->slot2 % EX_MAPS];
	size_t len;
	long r;

	if (!m->at)
		return 0;
	switch (s->kind) {
	case EX_MAP_WRITE:
		if (s->off >= m->len)
			return 0;
		len = store_bytes(s, m);
		if (side == PLAIN)
			ex_mapped_add(m->ino);
		if (mprotect(m->at, m->len, PROT_READ | PROT_WRITE))
			return -1;
		return store(m->at + s->off, len);
	case EX_MSYNC:
		return msync(m->at, m->len, s->flags & 1 ? MS_SYNC : MS_ASYNC);
	default:
		r = munmap(m->at, m->len);
		*m = (struct ex_map){NULL, 0, 0};
		return r;
	}
}

/* ---- the rest ---- */

static long lock_slot(const struct ex_step *s, int fd, uint64_t *sum)
{
	static const short types[] = {F_RDLCK, F_WRLCK, F_UNLCK, F_RDLCK};
	static const int flocks[] = {LOCK_SH, LOCK_EX, LOCK_UN, LOCK_EX};
	unsigned what = s->flags >> 2 & 3, how = s->flags & 3;
	struct flock lock = {.l_type = types[how],
			     .l_whence = SEEK_SET,
			     .l_start = (off_t)s->off % 100,
			     .l_len = (off_t)s->len % 100};

	if (what == 0)
		return flock(fd, flocks[how] | LOCK_NB);
	if (what < 3)
		return fcntl(fd, what == 1 ? F_SETLK : F_OFD_SETLK, &lock);
	lock.l_type = F_WRLCK;
	if (fcntl(fd, how & 1 ? F_GETLK : F_OFD_GETLK, &lock))
		return -1;
	*sum = (uint64_t)lock.l_type << 40 ^ (uint64_t)lock.l_start << 20 ^ (uint64_t)lock.l_len;
	return 0;
}

static long set_flags(const struct ex_step *s, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -1;
	return fcntl(fd, F_SETFL, (flags & ~O_APPEND) | (s->flags & 1 ? O_APPEND : 0) | O_NONBLOCK);
}

static long sync_slot(const struct ex_step *s, int fd)
{
	switch (s->flags & 7) {
	case 0:
		return syncfs(fd);
	case 1:
		return sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	case 2:
	case 3:
		return fdatasync(fd);
	default:
		return fsync(fd);
	}
}

static long write_whole(const struct ex_step *s, const char *path, int flags)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC | flags, 0644);
	long r;

	if (fd < 0)
		return -1;
	r = write(fd, ex.data, s->len);
	if (r >= 0 && (s->flags & 1) && fsync(fd))
		r = -1;
	int err = errno;
	close(fd);
	errno = err;
	return r;
}

/* As editors save: to another name, then over the first. */
static long save(const struct ex_step *s, const char *a, const char *b)
{
	long r = write_whole(s, b, O_TRUNC | (s->flags & 2 ? O_EXCL : 0));

	return r < 0 ? r : rename(b, a);
}

static long stream(const struct ex_step *s, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC, 0644);
	uint64_t left = EX_STREAM_BYTES - 4096 + s->off % 8192;
	long r = 0;

	if (fd < 0)
		return -1;
	ex_fill(s, STREAM_PIECE);
	while (left > 0 && r >= 0) {
		uint64_t n = left < STREAM_PIECE ? left : STREAM_PIECE;
		memcpy(ex.data, &left, sizeof(left));
		r = write(fd, ex.data, n);
		left -= n;
	}
	if (r >= 0 && (s->flags & 1) && fsync(fd))
		r = -1;
	int err = errno;
	close(fd);
	errno = err;
	return r;
}

/* Where data and holes are told differently the position stays comparable. */
static long seek_slot(const struct ex_step *s, int fd)
{
	bool looks = s->flags == SEEK_DATA || s->flags == SEEK_HOLE;
	off_t was = looks ? lseek(fd, 0, SEEK_CUR) : 0, r = lseek(fd, (off_t)s->off, (int)s->flags);
	int err = errno;

	if (looks)
		lseek(fd, was, SEEK_SET);
	errno = err;
	return r;
}

static long on_slot(const struct ex_step *s, int side, uint64_t *sum)
{
	int fd = ex.side[side].fds[s->slot];

	switch (s->kind) {
	case EX_READ:
		return is_direct(fd) ? 0 : came(read(fd, ex.data, s->len), sum);
	case EX_PREAD:
		return came(
			pread(fd, ex.data, direct_down(fd, s->len), (off_t)direct_down(fd, s->off)),
			sum);
	case EX_WRITE:
		return is_direct(fd) ? 0 : write(fd, ex.data, s->len);
	case EX_PWRITE:
		return write_at(s, fd);
	case EX_WRITEV:
		return is_direct(fd) ? 0 : write_pieces(s, fd);
	case EX_LSEEK:
		return seek_slot(s, fd);
	case EX_FTRUNCATE:
		return ftruncate(fd, (off_t)s->off);
	case EX_FALLOCATE:
		return fallocate(fd, (int)s->flags, (off_t)s->off, (off_t)s->len);
	case EX_STORE:
		return store_slot(s, fd);
	case EX_FSYNC:
		return sync_slot(s, fd);
	case EX_SETFL:
		return set_flags(s, fd);
	case EX_LOCK:
		return lock_slot(s, fd, sum);
	default:
		return between_slots(s, fd, ex.side[side].fds[s->slot2]);
	}
}

long ex_act_data(const struct ex_step *s, int side, uint64_t *sum)
{
	char a[EX_PATH_BYTES], b[EX_PATH_BYTES];

	ex_path(s->a, a);
	ex_path(s->b, b);
	switch (s->kind) {
	case EX_OPEN:
		return open_at(s, side, AT_FDCWD, s->a, s->slot);
	case EX_OPENAT:
		return open_at(s, side, ex.side[side].fds[s->slot], s->b, s->slot2);
	case EX_CLOSE:
		return close_slot(side, s->slot);
	case EX_TRUNCATE:
		return truncate(a, (off_t)s->off);
	case EX_MAP:
		return map_slot(s, side, ex.side[side].fds[s->slot]);
	case EX_MAP_WRITE:
	case EX_MSYNC:
	case EX_MUNMAP:
		return on_map(s, side);
	case EX_REPLACE:
		return write_whole(s, a, O_TRUNC);
	case EX_SAVE:
		return save(s, a, b);
	case EX_STREAM:
		return stream(s, a);
	default:
		return on_slot(s, side, sum);
	}
}
