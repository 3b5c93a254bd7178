/* SPDX-License-Identifier: MIT */
/* simfs_names.c - names are made, linked, removed, renamed; see simfs_private.h. */
#include "tests/support/simfs_private.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- creating ---- */

struct inode *sim_create(struct simfs *fs, struct inode *dir, const char *last, mode_t mode)
{
	struct inode *in = sim_inode_new(fs, mode, dir);
	sim_change_edit(sim_change_add(fs), dir, last, in);
	in->nlink = 1;
	if (S_ISDIR(mode)) {
		in->nlink = 2;
		in->parent = dir;
		dir->nlink++;
	}
	sim_touch_mtime(fs, dir);
	return in;
}

int sim_mkdir(void *self, int dirfd, const char *name, mode_t mode)
{
	struct simfs *fs = self;
	struct inode *dir;
	const char *last;
	int err = sim_enter(fs, "mkdir", CHANGE);
	if (err == 0)
		err = sim_find_free_place(fs, dirfd, name, &dir, &last);
	if (err == 0)
		sim_create(fs, dir, last, S_IFDIR | (mode & 01777));
	return sim_leave(fs, err);
}

static int mknod_check(mode_t mode)
{
	switch (mode & S_IFMT) {
	case 0:
	case S_IFREG:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return 0;
	case S_IFDIR:
		return -EPERM;
	default:
		return -EINVAL;
	}
}

int sim_mknod(void *self, int dirfd, const char *name, mode_t mode, dev_t rdev)
{
	struct simfs *fs = self;
	struct inode *dir;
	const char *last;
	int err = sim_enter(fs, "mknod", CHANGE);
	if (err == 0)
		err = mknod_check(mode);
	if (err == 0)
		err = sim_find_free_place(fs, dirfd, name, &dir, &last);
	if (err == 0) {
		mode_t type = mode & S_IFMT ? mode & S_IFMT : S_IFREG;
		struct inode *in = sim_create(fs, dir, last, type | (mode & 07777));
		if (S_ISCHR(type) || S_ISBLK(type))
			in->rdev = rdev;
	}
	return sim_leave(fs, err);
}

int sim_symlink(void *self, const char *target, int dirfd, const char *name)
{
	struct simfs *fs = self;
	struct inode *dir;
	const char *last;
	int err = sim_enter(fs, "symlink", CHANGE);
	if (err == 0 && target[0] == '\0')
		err = -ENOENT;
	if (err == 0 && strlen(target) >= PATH_MAX)
		err = -ENAMETOOLONG;
	if (err == 0)
		err = sim_find_free_place(fs, dirfd, name, &dir, &last);
	if (err == 0) {
		struct inode *in = sim_create(fs, dir, last, S_IFLNK | 0777);
		in->target = sim_must(strdup(target));
		in->now.size = in->disk.size = in->size_low = strlen(target);
	}
	return sim_leave(fs, err);
}

ssize_t sim_readlink(void *self, int dirfd, const char *name, char *buf, size_t size)
{
	struct simfs *fs = self;
	struct inode *in;
	ssize_t n = sim_enter(fs, "readlink", LOOK);
	if (n == 0)
		n = sim_find_inode(fs, dirfd, name, &in);
	if (n == 0 && !sim_is_symlink(in))
		n = name[0] == '\0' ? -ENOENT : -EINVAL;
	if (n == 0 && size == 0)
		n = -EINVAL;
	if (n == 0) {
		size_t len = strlen(in->target);
		len = len < size ? len : size;
		memcpy(buf, in->target, len);
		n = (ssize_t)len;
	}
	return sim_leave_count(fs, n);
}

/* ---- names ---- */

static int link_inode(struct simfs *fs, struct inode *in, int newdir, const char *newname)
{
	struct inode *dir;
	const char *last;
	int err = sim_find_free_place(fs, newdir, newname, &dir, &last);
	if (err < 0)
		return err;
	if (sim_is_dir(in))
		return -EPERM;
	if (in->nlink == 0)
		return -ENOENT;
	if (in->nlink >= LINKS_MAX)
		return -EMLINK;
	sim_change_edit(sim_change_add(fs), dir, last, in);
	in->nlink++;
	sim_touch_ctime(fs, in);
	sim_touch_mtime(fs, dir);
	return 0;
}

int sim_link(void *self, int olddir, const char *oldname, int newdir, const char *newname)
{
	struct simfs *fs = self;
	struct inode *in;
	int err = sim_enter(fs, "link", CHANGE);
	if (err == 0)
		err = sim_find_inode(fs, olddir, oldname, &in);
	if (err == 0)
		err = link_inode(fs, in, newdir, newname);
	return sim_leave(fs, err);
}

int sim_link_fd(void *self, int fd, int newdir, const char *newname)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "link_fd", CHANGE);
	if (err == 0) {
		struct file *file = sim_get_file(fs, fd);
		err = file == NULL ? -EBADF : link_inode(fs, file->inode, newdir, newname);
	}
	return sim_leave(fs, err);
}

/* in lost a name. It may be freed. */
static void drop_name(struct simfs *fs, struct inode *in)
{
	if (sim_is_dir(in)) {
		in->nlink = 0;
		in->parent->nlink--;
		in->parent = NULL; /* it may be freed before a descriptor lets this one go */
	} else {
		in->nlink--;
	}
	sim_touch_ctime(fs, in);
	sim_inode_let_go(fs, in);
}

static int remove_name(struct simfs *fs, int dirfd, const char *name, bool directory)
{
	struct inode *dir, *in;
	const char *last;
	if (name[0] == '\0')
		return -ENOENT;
	int err = sim_find_place(fs, dirfd, name, &dir, &last);
	if (err < 0)
		return err;
	err = sim_step(dir, last, strlen(last), &in);
	if (err < 0)
		return err;
	if (in == dir)
		return directory ? -EINVAL : -EISDIR;
	if (directory && !sim_is_dir(in))
		return -ENOTDIR;
	if (!directory && sim_is_dir(in))
		return -EISDIR;
	if (directory && in->names.count > 0)
		return -ENOTEMPTY;
	sim_change_edit(sim_change_add(fs), dir, last, NULL);
	sim_touch_mtime(fs, dir);
	drop_name(fs, in);
	return 0;
}

int sim_unlink(void *self, int dirfd, const char *name)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "unlink", CHANGE);
	if (err == 0)
		err = remove_name(fs, dirfd, name, false);
	return sim_leave(fs, err);
}

int sim_rmdir(void *self, int dirfd, const char *name)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "rmdir", CHANGE);
	if (err == 0)
		err = remove_name(fs, dirfd, name, true);
	return sim_leave(fs, err);
}

/* One side of a rename. */
struct side {
	struct inode *dir, *inode; /* inode NULL: no such name */
	const char *last;
};

static int find_side(struct simfs *fs, int dirfd, const char *name, struct side *side)
{
	if (name[0] == '\0')
		return -ENOENT;
	int err = sim_find_place(fs, dirfd, name, &side->dir, &side->last);
	if (err < 0)
		return err;
	err = sim_step(side->dir, side->last, strlen(side->last), &side->inode);
	if (err == -ENOENT)
		side->inode = NULL;
	else if (err < 0)
		return err;
	return 0;
}

/* Whether in is dir or lies above it. */
static bool is_above(const struct inode *in, const struct inode *dir)
{
	for (; dir != NULL; dir = dir->parent) {
		if (dir == in)
			return true;
	}
	return false;
}

static int rename_check(const struct side *from, const struct side *to, unsigned flags)
{
	bool exchange = flags & RENAME_EXCHANGE;
	if (from->inode == from->dir || to->inode == to->dir)
		return flags & RENAME_NOREPLACE && to->inode == to->dir ? -EEXIST : -EBUSY;
	if (from->inode == NULL)
		return -ENOENT;
	if ((flags & RENAME_NOREPLACE) && to->inode != NULL)
		return -EEXIST;
	if (exchange && to->inode == NULL)
		return -ENOENT;
	if (is_above(from->inode, to->dir))
		return -EINVAL;
	if (to->inode != NULL && is_above(to->inode, from->dir))
		return exchange ? -EINVAL : -ENOTEMPTY;
	if (to->dir->nlink == 0)
		return -ENOENT;
	if (to->inode == NULL || to->inode == from->inode || exchange)
		return 0;
	if (sim_is_dir(from->inode) && !sim_is_dir(to->inode))
		return -ENOTDIR;
	if (!sim_is_dir(from->inode) && sim_is_dir(to->inode))
		return -EISDIR;
	return to->inode->names.count > 0 ? -ENOTEMPTY : 0;
}

/* in has moved to dir. */
static void move_parent(struct change *c, struct inode *in, struct inode *dir)
{
	if (!sim_is_dir(in) || in->parent == dir)
		return;
	in->parent->nlink--;
	dir->nlink++;
	in->parent = dir;
	c->moved = in;
}

static void rename_sides(struct simfs *fs, const struct side *from, const struct side *to,
			 bool exchange)
{
	struct change *c = sim_change_add(fs);
	sim_change_edit(c, from->dir, from->last, exchange ? to->inode : NULL);
	if (fs->tear_rename_left > 0 && --fs->tear_rename_left == 0)
		c = sim_change_add(fs);
	sim_change_edit(c, to->dir, to->last, from->inode);
	if (exchange)
		move_parent(c, to->inode, from->dir);
	move_parent(c, from->inode, to->dir);
	sim_touch_mtime(fs, from->dir);
	sim_touch_mtime(fs, to->dir);
	sim_touch_ctime(fs, from->inode);
	if (exchange)
		sim_touch_ctime(fs, to->inode);
	else if (to->inode != NULL)
		drop_name(fs, to->inode);
}

static int rename_names(struct simfs *fs, int olddir, const char *oldname, int newdir,
			const char *newname, unsigned flags)
{
	struct side from, to;
	if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	int err = find_side(fs, olddir, oldname, &from);
	if (err == 0)
		err = find_side(fs, newdir, newname, &to);
	if (err == 0)
		err = rename_check(&from, &to, flags);
	if (err == 0 && from.inode != to.inode)
		rename_sides(fs, &from, &to, flags & RENAME_EXCHANGE);
	return err;
}

int sim_rename(void *self, int olddir, const char *oldname, int newdir, const char *newname,
	       unsigned flags)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "rename", CHANGE);
	if (err == 0)
		err = rename_names(fs, olddir, oldname, newdir, newname, flags);
	return sim_leave(fs, err);
}
