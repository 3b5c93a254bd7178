/* SPDX-License-Identifier: MIT */
/* simfs_attrs.c - attributes, locks, leases, identity; see simfs_private.h. */
#include "tests/support/simfs_private.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/xattr.h>

__thread struct sim_identity sim_acting;

/* ---- attributes ---- */

int sim_chmod(void *self, int fd, mode_t mode)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "chmod", CHANGE);
	if (err == 0) {
		struct file *file = sim_get_file(fs, fd);
		if (file == NULL) {
			err = -EBADF;
		} else if (sim_is_symlink(file->inode)) {
			err = -EOPNOTSUPP;
		} else {
			struct image *im = &file->inode->now;
			im->mode = (im->mode & S_IFMT) | (mode & 07777);
			sim_touch_ctime(fs, file->inode);
		}
	}
	return sim_leave(fs, err);
}

int sim_chown(void *self, int fd, uid_t uid, gid_t gid)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "chown", CHANGE);
	if (err == 0) {
		struct file *file = sim_get_file(fs, fd);
		if (file == NULL) {
			err = -EBADF;
		} else {
			struct image *im = &file->inode->now;
			im->uid = uid == (uid_t)-1 ? im->uid : uid;
			im->gid = gid == (gid_t)-1 ? im->gid : gid;
			if (!S_ISDIR(im->mode)) {
				im->mode &= ~(mode_t)S_ISUID;
				if (im->mode & S_IXGRP)
					im->mode &= ~(mode_t)S_ISGID;
			}
			sim_touch_ctime(fs, file->inode);
		}
	}
	return sim_leave(fs, err);
}

static bool time_is_valid(const struct timespec *t)
{
	return t->tv_nsec == UTIME_NOW || t->tv_nsec == UTIME_OMIT ||
	       (t->tv_nsec >= 0 && t->tv_nsec < 1000000000);
}

static void set_time(struct timespec *to, const struct timespec *t, struct timespec now)
{
	if (t->tv_nsec == UTIME_NOW)
		*to = now;
	else if (t->tv_nsec != UTIME_OMIT)
		*to = *t;
}

int sim_utimens(void *self, int fd, const struct timespec times[2])
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "utimens", CHANGE);
	if (err == 0) {
		struct file *file = sim_get_file(fs, fd);
		bool omit = times[0].tv_nsec == UTIME_OMIT && times[1].tv_nsec == UTIME_OMIT;
		if (file == NULL) {
			err = -EBADF;
		} else if (!time_is_valid(&times[0]) || !time_is_valid(&times[1])) {
			err = -EINVAL;
		} else if (!omit) {
			struct image *im = &file->inode->now;
			struct timespec now = sim_tick(fs);
			set_time(&im->atime, &times[0], now);
			set_time(&im->mtime, &times[1], now);
			im->ctime = now;
		}
	}
	return sim_leave(fs, err);
}

/* 0, or the error that a name has before anything is looked at. */
static int xattr_name_check(const char *attr)
{
	static const char *const spaces[] = {"user.", "trusted.", "security.", "system.posix_acl_"};
	size_t len = strlen(attr);
	if (len == 0 || len > XATTR_NAME_MAX)
		return -ERANGE;
	for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
		if (strncmp(attr, spaces[i], strlen(spaces[i])) == 0)
			return 0;
	}
	return -EOPNOTSUPP;
}

/* Attributes of users are for files and directories. */
static bool xattr_is_barred(const struct inode *in, const char *attr)
{
	return strncmp(attr, "user.", 5) == 0 && !sim_is_regular(in) && !sim_is_dir(in);
}

static ssize_t read_xattr(const struct inode *in, const char *attr, void *buf, size_t size)
{
	int err = xattr_name_check(attr);
	if (err < 0)
		return err;
	if (xattr_is_barred(in, attr))
		return -ENODATA;
	const struct xattr *x = sim_image_find_xattr(&in->now, attr);
	if (x == NULL)
		return -ENODATA;
	if (size > 0 && x->size > size)
		return -ERANGE;
	if (size > 0 && x->size > 0)
		memcpy(buf, x->value, x->size);
	return (ssize_t)x->size;
}

ssize_t sim_getxattr(void *self, int fd, const char *attr, void *buf, size_t size)
{
	struct simfs *fs = self;
	ssize_t n = sim_enter(fs, "getxattr", LOOK);
	if (n == 0) {
		struct file *file = sim_get_file(fs, fd);
		n = file == NULL ? -EBADF : read_xattr(file->inode, attr, buf, size);
	}
	return sim_leave_count(fs, n);
}

ssize_t sim_getxattr_at(void *self, int dirfd, const char *name, const char *attr, void *buf,
			size_t size)
{
	struct simfs *fs = self;
	struct inode *in;
	ssize_t n = sim_enter(fs, "getxattr_at", LOOK);
	if (n == 0)
		n = sim_find_inode(fs, dirfd, name, &in);
	if (n == 0)
		n = read_xattr(in, attr, buf, size);
	return sim_leave_count(fs, n);
}

static int write_xattr(struct simfs *fs, struct inode *in, const char *attr, const void *buf,
		       size_t size, int flags)
{
	if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) != 0)
		return -EINVAL;
	int err = xattr_name_check(attr);
	if (err == -ERANGE)
		return err;
	if (size > XATTR_VALUE_MAX)
		return -E2BIG;
	if (err < 0)
		return err;
	if (xattr_is_barred(in, attr))
		return -EPERM;
	bool there = sim_image_find_xattr(&in->now, attr) != NULL;
	if (there && (flags & XATTR_CREATE))
		return -EEXIST;
	if (!there && (flags & XATTR_REPLACE))
		return -ENODATA;
	sim_image_set_xattr(&in->now, attr, buf, size);
	sim_touch_ctime(fs, in);
	return 0;
}

int sim_setxattr(void *self, int fd, const char *attr, const void *buf, size_t size, int flags)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "setxattr", CHANGE);
	if (err == 0) {
		struct file *file = sim_get_file(fs, fd);
		err = file == NULL ? -EBADF : write_xattr(fs, file->inode, attr, buf, size, flags);
	}
	return sim_leave(fs, err);
}

static ssize_t list_xattrs(const struct image *im, char *buf, size_t size)
{
	size_t need = 0;
	for (size_t i = 0; i < im->nxattrs; i++) {
		size_t len = strlen(im->xattrs[i].name) + 1;
		if (size > 0 && len > size - need)
			return -ERANGE;
		if (size > 0)
			memcpy(buf + need, im->xattrs[i].name, len);
		need += len;
	}
	return (ssize_t)need;
}

ssize_t sim_listxattr(void *self, int fd, char *buf, size_t size)
{
	struct simfs *fs = self;
	ssize_t n = sim_enter(fs, "listxattr", LOOK);
	if (n == 0) {
		struct file *file = sim_get_file(fs, fd);
		n = file == NULL ? -EBADF : list_xattrs(&file->inode->now, buf, size);
	}
	return sim_leave_count(fs, n);
}

ssize_t sim_listxattr_at(void *self, int dirfd, const char *name, char *buf, size_t size)
{
	struct simfs *fs = self;
	struct inode *in;
	ssize_t n = sim_enter(fs, "listxattr_at", LOOK);
	if (n == 0)
		n = sim_find_inode(fs, dirfd, name, &in);
	if (n == 0)
		n = list_xattrs(&in->now, buf, size);
	return sim_leave_count(fs, n);
}

int sim_removexattr(void *self, int fd, const char *attr)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "removexattr", CHANGE);
	if (err == 0) {
		struct file *file = sim_get_file(fs, fd);
		if (file == NULL)
			err = -EBADF;
		else
			err = xattr_name_check(attr);
		if (err == 0 && xattr_is_barred(file->inode, attr))
			err = -EPERM;
		if (err == 0 && !sim_image_remove_xattr(&file->inode->now, attr))
			err = -ENODATA;
		if (err == 0)
			sim_touch_ctime(fs, file->inode);
	}
	return sim_leave(fs, err);
}

/* ---- locks, leases, identity ---- */

static bool lock_conflicts(const struct file *file, int kind)
{
	for (const struct file *f = file->inode->files; f != NULL; f = f->next) {
		if (f != file && f->lock != LOCK_UN && (f->lock == LOCK_EX || kind == LOCK_EX))
			return true;
	}
	return false;
}

static int lock_file(struct simfs *fs, struct file *file, int operation)
{
	int kind = operation & ~LOCK_NB;
	struct timespec until = sim_wait_limit();
	if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN)
		return -EINVAL;
	if (file->lock == kind)
		return 0;
	/* As in the kernel, a conversion lets go first, and does not get it back on failure. */
	file->lock = LOCK_UN;
	pthread_cond_broadcast(&fs->released);
	if (kind == LOCK_UN)
		return 0;
	while (lock_conflicts(file, kind)) {
		if (operation & LOCK_NB)
			return -EWOULDBLOCK;
		if (!sim_wait_released(fs, &until)) {
			fprintf(stderr, "simfs: flock waits for ever\n");
			abort();
		}
		if (fs->cut)
			return -EIO;
	}
	file->lock = kind;
	return 0;
}

int sim_flock(void *self, int fd, int operation)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "flock", LOOK);
	if (err == 0) {
		struct file *file = sim_get_open_file(fs, fd);
		err = file == NULL ? -EBADF : lock_file(fs, file, operation);
	}
	return sim_leave(fs, err);
}

static int set_lease(struct simfs *fs, struct file *file, int type)
{
	if (type == F_UNLCK) {
		if (!file->lease)
			return -EAGAIN;
		file->lease = file->lease_breaking = false;
		pthread_cond_broadcast(&fs->released);
		return 0;
	}
	if (type != F_RDLCK || !sim_is_regular(file->inode))
		return -EINVAL;
	if (file->inode->writers > 0)
		return -EAGAIN;
	file->lease = true;
	return 0;
}

int sim_set_lease(void *self, int fd, int type)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "set_lease", LOOK);
	if (err == 0) {
		struct file *file = sim_get_open_file(fs, fd);
		err = file == NULL ? -EBADF : set_lease(fs, file, type);
	}
	return sim_leave(fs, err);
}

int sim_get_lease(void *self, int fd)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "get_lease", LOOK);
	if (err == 0) {
		struct file *file = sim_get_open_file(fs, fd);
		if (file == NULL)
			err = -EBADF;
		else
			err = file->lease && !file->lease_breaking ? F_RDLCK : F_UNLCK;
	}
	return sim_leave(fs, err);
}

/* Reading never moves a time of access here. */
int sim_set_noatime(void *self, int fd)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "set_noatime", LOOK);
	if (err == 0 && sim_get_open_file(fs, fd) == NULL)
		err = -EBADF;
	return sim_leave(fs, err);
}

void sim_act_as(void *self, uid_t uid, gid_t gid)
{
	(void)self;
	sim_acting.set = true;
	sim_acting.uid = uid;
	sim_acting.gid = gid;
}
