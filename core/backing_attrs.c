/* SPDX-License-Identifier: MIT */
/*
 * backing_attrs.c - the functions of the table that work on modes, owners, times and extended
 * attributes.
 *
 * fchmod, fchown, futimens and f*xattr refuse O_PATH descriptors with EBADF. The plain call is
 * tried first, being the common case; then AT_EMPTY_PATH or /proc/self/fd/N is used.
 */
#include "core/backing_private.h"

#include <limits.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

/* What PROC_FD_MAX holds, and the name of an entry of that folder. */
#define PROC_ENTRY_MAX (PROC_FD_MAX + 1 + NAME_MAX)

int dv_posix_chmod(void *self, int fd, mode_t mode)
{
	(void)self;
	char path[PROC_FD_MAX];
	int rc = RETRY(fchmod(fd, mode));
	if (rc == 0 || errno != EBADF)
		return result(rc);
	rc = RETRY(chmod(proc_fd(path, fd), mode));
	return rc == 0 ? 0 : proc_error(errno);
}

int dv_posix_chown(void *self, int fd, uid_t uid, gid_t gid)
{
	(void)self;
	int rc = RETRY(fchown(fd, uid, gid));
	if (rc == 0 || errno != EBADF)
		return result(rc);
	return result(RETRY(fchownat(fd, "", uid, gid, AT_EMPTY_PATH)));
}

/* utimensat(AT_EMPTY_PATH) came with 5.8 and says EINVAL before; a bad time says so too. */
int dv_posix_utimens(void *self, int fd, const struct timespec times[2])
{
	(void)self;
	char path[PROC_FD_MAX];
	int rc = RETRY(futimens(fd, times));
	if (rc == 0 || errno != EBADF)
		return result(rc);
	rc = RETRY(utimensat(fd, "", times, AT_EMPTY_PATH));
	if (rc == 0 || errno != EINVAL)
		return result(rc);
	rc = RETRY(utimensat(AT_FDCWD, proc_fd(path, fd), times, 0));
	return rc == 0 ? 0 : proc_error(errno);
}

ssize_t dv_posix_getxattr(void *self, int fd, const char *attr, void *buf, size_t size)
{
	(void)self;
	char path[PROC_FD_MAX];
	ssize_t n = RETRY(fgetxattr(fd, attr, buf, size));
	if (n >= 0 || errno != EBADF)
		return result_count(n);
	n = RETRY(getxattr(proc_fd(path, fd), attr, buf, size));
	return n >= 0 ? n : proc_error(errno);
}

/* The path of an entry without an l*xattrat(2); at is to be released. */
static int entry_path(int dirfd, const char *name, struct dv_posix_at *at,
		      char path[PROC_ENTRY_MAX])
{
	int err = dv_posix_at_init(at, dirfd, name);
	if (err < 0)
		return err;
	if (strlen(at->last) > NAME_MAX) {
		dv_posix_at_release(at);
		return -ENAMETOOLONG;
	}
	snprintf(path, PROC_ENTRY_MAX, "/proc/self/fd/%d/%s", at->fd, at->last);
	return 0;
}

ssize_t dv_posix_getxattr_at(void *self, int dirfd, const char *name, const char *attr, void *buf,
			     size_t size)
{
	struct dv_posix_at at;
	char path[PROC_ENTRY_MAX];
	if (name[0] == '\0')
		return dv_posix_getxattr(self, dirfd, attr, buf, size);
	int err = entry_path(dirfd, name, &at, path);
	if (err < 0)
		return err;
	ssize_t n = result_count(RETRY(lgetxattr(path, attr, buf, size)));
	dv_posix_at_release(&at);
	return n;
}

int dv_posix_setxattr(void *self, int fd, const char *attr, const void *buf, size_t size, int flags)
{
	(void)self;
	char path[PROC_FD_MAX];
	int rc = RETRY(fsetxattr(fd, attr, buf, size, flags));
	if (rc == 0 || errno != EBADF)
		return result(rc);
	rc = RETRY(setxattr(proc_fd(path, fd), attr, buf, size, flags));
	return rc == 0 ? 0 : proc_error(errno);
}

ssize_t dv_posix_listxattr(void *self, int fd, char *buf, size_t size)
{
	(void)self;
	char path[PROC_FD_MAX];
	ssize_t n = RETRY(flistxattr(fd, buf, size));
	if (n >= 0 || errno != EBADF)
		return result_count(n);
	n = RETRY(listxattr(proc_fd(path, fd), buf, size));
	return n >= 0 ? n : proc_error(errno);
}

ssize_t dv_posix_listxattr_at(void *self, int dirfd, const char *name, char *buf, size_t size)
{
	struct dv_posix_at at;
	char path[PROC_ENTRY_MAX];
	if (name[0] == '\0')
		return dv_posix_listxattr(self, dirfd, buf, size);
	int err = entry_path(dirfd, name, &at, path);
	if (err < 0)
		return err;
	ssize_t n = result_count(RETRY(llistxattr(path, buf, size)));
	dv_posix_at_release(&at);
	return n;
}

int dv_posix_removexattr(void *self, int fd, const char *attr)
{
	(void)self;
	char path[PROC_FD_MAX];
	int rc = RETRY(fremovexattr(fd, attr));
	if (rc == 0 || errno != EBADF)
		return result(rc);
	rc = RETRY(removexattr(proc_fd(path, fd), attr));
	return rc == 0 ? 0 : proc_error(errno);
}
