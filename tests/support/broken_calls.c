/* SPDX-License-Identifier: MIT */
/*
 * broken_calls.c - LD_PRELOAD: the N-th call of the process about files fails, is interrupted or does half
 * of its work. tests/mount/calls.py drives it.
 *
 *   CALLS_NTH      which call, 1 is the first
 *   CALLS_ERROR    the errno it has; 0: a transfer does half of its work, at least one byte
 *   CALLS_KINDS    which are counted, letters: l looks, c changes, t transfers
 *   CALLS_ALWAYS   set: all later ones too
 *   CALLS_TOLD     a file that is made when the call was reached; its name is in it
 *
 * What is written to standard output and error counts for nothing. A close that fails has closed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

static atomic_ulong made;
static unsigned long nth;
static int error;
static bool always;
static const char *kinds = "", *told;

__attribute__((constructor)) static void begin(void)
{
	const char *n = getenv("CALLS_NTH"), *e = getenv("CALLS_ERROR");

	kinds = getenv("CALLS_KINDS");
	told = getenv("CALLS_TOLD");
	always = getenv("CALLS_ALWAYS") != NULL;
	nth = n && kinds ? strtoul(n, NULL, 10) : 0;
	error = e ? atoi(e) : EIO;
}

static void tell(const char *name)
{
	int fd = told ? (int)syscall(SYS_openat, AT_FDCWD, told, O_WRONLY | O_CREAT | O_EXCL, 0600)
		      : -1;
	if (fd >= 0) {
		syscall(SYS_write, fd, name, strlen(name));
		syscall(SYS_close, fd);
	}
}

static bool picked(char kind, const char *name)
{
	if (!nth || !strchr(kinds, kind))
		return false;
	unsigned long n = atomic_fetch_add(&made, 1) + 1;
	if (n != nth && !(always && n > nth))
		return false;
	if (n == nth)
		tell(name);
	if (error)
		errno = error;
	return true;
}

static size_t part(size_t len)
{
	return len > 1 ? len / 2 : len;
}

/* What the dynamic linker finds behind this object. */
#define NEXT(name)                                                                                 \
	({                                                                                         \
		static __typeof__(&name) next;                                                     \
		if (!next)                                                                         \
			*(void **)&next = dlsym(RTLD_NEXT, #name);                                 \
		next;                                                                              \
	})

#define CALL(kind, name, params, args)                                                             \
	int name params                                                                            \
	{                                                                                          \
		return picked(kind, #name) ? -1 : NEXT(name) args;                                 \
	}

/* lesser: the arguments with part() of the length. */
#define TRANSFER(name, params, args, lesser)                                                       \
	ssize_t name params                                                                        \
	{                                                                                          \
		if (!picked('t', #name))                                                           \
			return NEXT(name) args;                                                    \
		return error ? -1 : NEXT(name) lesser;                                             \
	}

CALL('c', fsync, (int fd), (fd))
CALL('c', fdatasync, (int fd), (fd))
CALL('c', syncfs, (int fd), (fd))
CALL('c', ftruncate64, (int fd, off64_t size), (fd, size))
CALL('c', fallocate64, (int fd, int mode, off64_t off, off64_t len), (fd, mode, off, len))
CALL('c', mkdir, (const char *path, mode_t mode), (path, mode))
CALL('c', mkdirat, (int at, const char *path, mode_t mode), (at, path, mode))
CALL('c', mknodat, (int at, const char *path, mode_t mode, dev_t dev), (at, path, mode, dev))
CALL('c', symlinkat, (const char *target, int at, const char *path), (target, at, path))
CALL('c', linkat, (int from, const char *a, int to, const char *b, int flags),
     (from, a, to, b, flags))
CALL('c', unlinkat, (int at, const char *path, int flags), (at, path, flags))
CALL('c', renameat, (int from, const char *a, int to, const char *b), (from, a, to, b))
CALL('c', renameat2, (int from, const char *a, int to, const char *b, unsigned flags),
     (from, a, to, b, flags))
CALL('c', fchmod, (int fd, mode_t mode), (fd, mode))
CALL('c', fchmodat, (int at, const char *path, mode_t mode, int flags), (at, path, mode, flags))
CALL('c', fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid))
CALL('c', fchownat, (int at, const char *path, uid_t uid, gid_t gid, int flags),
     (at, path, uid, gid, flags))
CALL('c', futimens, (int fd, const struct timespec times[2]), (fd, times))
CALL('c', utimensat, (int at, const char *path, const struct timespec times[2], int flags),
     (at, path, times, flags))
CALL('c', fsetxattr, (int fd, const char *name, const void *value, size_t size, int flags),
     (fd, name, value, size, flags))
CALL('c', setxattr, (const char *path, const char *name, const void *value, size_t size, int flags),
     (path, name, value, size, flags))
CALL('c', fremovexattr, (int fd, const char *name), (fd, name))
CALL('l', flock, (int fd, int operation), (fd, operation))
CALL('l', fstat64, (int fd, struct stat64 *st), (fd, st))
CALL('l', stat64, (const char *path, struct stat64 *st), (path, st))
CALL('l', lstat64, (const char *path, struct stat64 *st), (path, st))
CALL('l', fstatat64, (int at, const char *path, struct stat64 *st, int flags),
     (at, path, st, flags))
CALL('l', statx, (int at, const char *path, int flags, unsigned mask, struct statx *st),
     (at, path, flags, mask, st))

TRANSFER(read, (int fd, void *buf, size_t len), (fd, buf, len), (fd, buf, part(len)))
TRANSFER(pread64, (int fd, void *buf, size_t len, off64_t off), (fd, buf, len, off),
	 (fd, buf, part(len), off))
TRANSFER(pwrite64, (int fd, const void *buf, size_t len, off64_t off), (fd, buf, len, off),
	 (fd, buf, part(len), off))
TRANSFER(copy_file_range, (int from, off64_t *a, int to, off64_t *b, size_t len, unsigned flags),
	 (from, a, to, b, len, flags), (from, a, to, b, part(len), flags))

/* Of one piece only, as the store has them. */
ssize_t pwritev64v2(int fd, const struct iovec *v, int count, off64_t off, int flags)
{
	struct iovec less = {v[0].iov_base, part(v[0].iov_len)};

	if (!picked('t', "pwritev2"))
		return NEXT(pwritev64v2)(fd, v, count, off, flags);
	return error ? -1 : NEXT(pwritev64v2)(fd, &less, 1, off, flags);
}

ssize_t write(int fd, const void *buf, size_t len)
{
	if (fd < 3 || !picked('t', "write"))
		return NEXT(write)(fd, buf, len);
	return error ? -1 : NEXT(write)(fd, buf, part(len));
}

ssize_t fgetxattr(int fd, const char *name, void *value, size_t size)
{
	return picked('l', "fgetxattr") ? -1 : NEXT(fgetxattr)(fd, name, value, size);
}

ssize_t flistxattr(int fd, char *list, size_t size)
{
	return picked('l', "flistxattr") ? -1 : NEXT(flistxattr)(fd, list, size);
}

ssize_t readlinkat(int at, const char *path, char *buf, size_t size)
{
	return picked('l', "readlinkat") ? -1 : NEXT(readlinkat)(at, path, buf, size);
}

int close(int fd)
{
	int rc = NEXT(close)(fd);

	return picked('c', "close") ? -1 : rc;
}

int openat64(int at, const char *path, int flags, ...)
{
	va_list list;
	va_start(list, flags);
	mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
	va_end(list);
	return picked('l', "openat") ? -1 : NEXT(openat64)(at, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list list;
	va_start(list, flags);
	mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
	va_end(list);
	return picked('l', "open") ? -1 : NEXT(open64)(path, flags, mode);
}

long syscall(long number, ...)
{
	long a[6];
	va_list list;
	va_start(list, number);
	for (unsigned i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if ((number == SYS_openat2 && picked('l', "openat2")) ||
	    (number == SYS_getdents64 && picked('l', "getdents64")))
		return -1;
	return NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
