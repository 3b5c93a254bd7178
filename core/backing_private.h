/* SPDX-License-Identifier: MIT */
/*
 * backing_private.h - what the files of the module backing share: the table over the kernel.
 *
 *   backing.c            the table; descriptors, data, locks and leases
 *   backing_names.c      names beneath a directory, directory entries
 *   backing_attrs.c      modes, owners, times, extended attributes
 *   backing_identity.c   whom threads act as, what the process may
 */
#ifndef DV_BACKING_PRIVATE_H
#define DV_BACKING_PRIVATE_H

#include "core/backing.h"

#include <errno.h>
#include <stdio.h>

/* "/proc/self/fd/" and a descriptor. */
#define PROC_FD_MAX 32

#define RETRY(call)                                                                                \
	({                                                                                         \
		__typeof__(call) dv_result;                                                        \
		do                                                                                 \
			dv_result = (call);                                                        \
		while (dv_result < 0 && errno == EINTR);                                           \
		dv_result;                                                                         \
	})

static inline int result(int rc)
{
	return rc < 0 ? -errno : rc;
}

static inline ssize_t result_count(ssize_t rc)
{
	return rc < 0 ? -errno : rc;
}

static inline const char *proc_fd(char *buf, int fd)
{
	snprintf(buf, PROC_FD_MAX, "/proc/self/fd/%d", fd);
	return buf;
}

/* A magic link is missing only where the descriptor is not open (or /proc is not mounted). */
static inline int proc_error(int error)
{
	return error == ENOENT ? -EBADF : -error;
}

/*
 * The folder that the last component of a name lies in. Done with: dv_posix_at_release.
 */
struct dv_posix_at {
	int fd;
	bool owned;
	const char *last; /* points into the name */
};

/* -EXDEV: an absolute name, or one with "..". */
int dv_posix_check_name(const char *name);
/* openat2; -ENOSYS where there is none. */
int dv_posix_open_beneath(int dirfd, const char *name, int flags, mode_t mode);
/* One component, without openat2. O_NOFOLLOW says ELOOP, or ENOTDIR with O_DIRECTORY. */
int dv_posix_open_component(int dirfd, const char *name, int flags, mode_t mode);
int dv_posix_at_init(struct dv_posix_at *place, int dirfd, const char *name);
void dv_posix_at_release(struct dv_posix_at *place);

/* Runs call with the place of (dirfd, name) as `at`; the function returns its result. */
#define IN_PLACE(dirfd, name, at, call)                                                            \
	do {                                                                                       \
		struct dv_posix_at at;                                                             \
		int dv_place_err = dv_posix_at_init(&at, dirfd, name);                             \
		if (dv_place_err < 0)                                                              \
			return dv_place_err;                                                       \
		__typeof__(call) dv_rc = (call);                                                   \
		if (dv_rc < 0)                                                                     \
			dv_rc = -errno;                                                            \
		dv_posix_at_release(&at);                                                          \
		return dv_rc;                                                                      \
	} while (0)

/* Functions of the table. */
int dv_posix_mkdir(void *self, int dirfd, const char *name, mode_t mode);
int dv_posix_mknod(void *self, int dirfd, const char *name, mode_t mode, dev_t rdev);
int dv_posix_symlink(void *self, const char *target, int dirfd, const char *name);
ssize_t dv_posix_readlink(void *self, int dirfd, const char *name, char *buf, size_t size);
int dv_posix_link_fd(void *self, int fd, int newdir, const char *newname);
int dv_posix_link(void *self, int olddir, const char *oldname, int newdir, const char *newname);
int dv_posix_unlink(void *self, int dirfd, const char *name);
int dv_posix_rmdir(void *self, int dirfd, const char *name);
int dv_posix_rename(void *self, int olddir, const char *oldname, int newdir, const char *newname,
		    unsigned flags);
ssize_t dv_posix_readdir(void *self, int fd, int64_t cookie, void *buf, size_t buf_size,
			 struct dv_dirent *out, size_t max);
int dv_posix_chmod(void *self, int fd, mode_t mode);
int dv_posix_chown(void *self, int fd, uid_t uid, gid_t gid);
int dv_posix_utimens(void *self, int fd, const struct timespec times[2]);
ssize_t dv_posix_getxattr(void *self, int fd, const char *attr, void *buf, size_t size);
ssize_t dv_posix_getxattr_at(void *self, int dirfd, const char *name, const char *attr, void *buf,
			     size_t size);
int dv_posix_setxattr(void *self, int fd, const char *attr, const void *buf, size_t size,
		      int flags);
ssize_t dv_posix_listxattr(void *self, int fd, char *buf, size_t size);
ssize_t dv_posix_listxattr_at(void *self, int dirfd, const char *name, char *buf, size_t size);
int dv_posix_removexattr(void *self, int fd, const char *attr);
void dv_posix_act_as(void *self, uid_t uid, gid_t gid);

#endif
