/* SPDX-License-Identifier: MIT */
/* simfs_open.c - descriptors and names, opening, looking; see simfs_private.h. */
#include "tests/support/simfs_private.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

/* ---- descriptors and names ---- */

struct file *sim_get_file(struct simfs *fs, int fd)
{
	size_t index = (size_t)fd - FD_BASE;
	if (fd < FD_BASE || index >= fs->nfiles || fs->files[index] == NULL) {
		fs->bad_fds++;
		return NULL;
	}
	return fs->files[index];
}

struct file *sim_get_open_file(struct simfs *fs, int fd)
{
	struct file *file = sim_get_file(fs, fd);
	return file != NULL && (file->flags & O_PATH) == 0 ? file : NULL;
}

bool sim_can_write(const struct file *file)
{
	return (file->flags & O_PATH) == 0 && (file->flags & O_ACCMODE) != O_RDONLY;
}

bool sim_can_read(const struct file *file)
{
	return (file->flags & O_PATH) == 0 && (file->flags & O_ACCMODE) != O_WRONLY;
}

static int add_file(struct simfs *fs, struct inode *in, int flags)
{
	struct file *file = sim_zalloc(sizeof(*file));
	file->inode = in;
	file->flags = flags;
	file->lock = LOCK_UN;
	file->next = in->files;
	in->files = file;
	in->fds++;
	in->writers += sim_can_write(file);
	fs->files = sim_grow(fs->files, fs->nfiles, &fs->files_capacity, sizeof(struct file *));
	fs->files[fs->nfiles] = file;
	fs->open_fds++;
	return FD_BASE + (int)fs->nfiles++;
}

static bool has_dotdot(const char *name)
{
	const char *p = name;
	while (p != NULL) {
		if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == '\0'))
			return true;
		p = strchr(p, '/');
		if (p != NULL)
			p++;
	}
	return false;
}

int sim_step(struct inode *dir, const char *name, size_t len, struct inode **out)
{
	char part[NAME_MAX + 1];
	if (!sim_is_dir(dir))
		return sim_is_symlink(dir) ? -ELOOP : -ENOTDIR;
	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(part, name, len);
	part[len] = '\0';
	if (len == 0 || strcmp(part, ".") == 0) {
		*out = dir;
		return 0;
	}
	struct entry *e = sim_names_find(&dir->names, part);
	if (e == NULL)
		return -ENOENT;
	*out = e->inode;
	return 0;
}

int sim_find_place(struct simfs *fs, int dirfd, const char *name, struct inode **dir,
		   const char **last)
{
	struct file *file = sim_get_file(fs, dirfd);
	if (file == NULL)
		return -EBADF;
	if (name[0] == '/' || has_dotdot(name))
		return -EXDEV;
	if (strlen(name) >= PATH_MAX)
		return -ENAMETOOLONG;
	struct inode *at = file->inode;
	const char *part = name;
	for (const char *slash; (slash = strchr(part, '/')) != NULL; part = slash + 1) {
		int err = sim_step(at, part, (size_t)(slash - part), &at);
		if (err < 0)
			return err;
	}
	if (!sim_is_dir(at))
		return sim_is_symlink(at) && part != name ? -ELOOP : -ENOTDIR;
	if (strlen(part) > NAME_MAX)
		return -ENAMETOOLONG;
	*dir = at;
	*last = part;
	return 0;
}

int sim_find_inode(struct simfs *fs, int dirfd, const char *name, struct inode **out)
{
	struct inode *dir;
	const char *last;
	if (name[0] == '\0') {
		struct file *file = sim_get_file(fs, dirfd);
		if (file == NULL)
			return -EBADF;
		*out = file->inode;
		return 0;
	}
	int err = sim_find_place(fs, dirfd, name, &dir, &last);
	return err < 0 ? err : sim_step(dir, last, strlen(last), out);
}

int sim_find_free_place(struct simfs *fs, int dirfd, const char *name, struct inode **dir,
			const char **last)
{
	struct inode *there;
	if (name[0] == '\0')
		return -ENOENT;
	int err = sim_find_place(fs, dirfd, name, dir, last);
	if (err < 0)
		return err;
	if (sim_step(*dir, *last, strlen(*last), &there) == 0)
		return -EEXIST;
	return (*dir)->nlink == 0 ? -ENOENT : 0;
}

/* ---- opening ---- */

void sim_set_size(struct simfs *fs, struct inode *in, uint64_t size)
{
	struct image *im = &in->now;
	size_t keep = (size_t)((size + BLOCK_SIZE - 1) / BLOCK_SIZE);
	for (size_t i = keep; i < im->nblocks; i++) {
		fs->free_blocks += im->blocks[i] != NULL;
		sim_block_unref(im->blocks[i]);
	}
	if (im->nblocks > keep)
		im->nblocks = keep;
	im->size = size;
	sim_image_zero_tail(im);
	if (size < in->size_low)
		in->size_low = size;
}

static bool break_leases(struct inode *in)
{
	bool any = false;
	for (struct file *f = in->files; f != NULL; f = f->next) {
		f->lease_breaking |= f->lease;
		any |= f->lease;
	}
	return any;
}

/* Waits until no lease is in the way of a writer. The caller keeps in alive. */
static int wait_for_leases(struct simfs *fs, struct inode *in, int flags)
{
	struct timespec until = sim_wait_limit();
	while (break_leases(in)) {
		if (flags & O_NONBLOCK)
			return -EAGAIN;
		if (!sim_wait_released(fs, &until)) {
			for (struct file *f = in->files; f != NULL; f = f->next)
				f->lease = f->lease_breaking = false;
		}
		if (fs->cut)
			return -EIO;
	}
	return 0;
}

static int open_check(const struct inode *in, int flags)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
	if (sim_is_symlink(in)) {
		if ((flags & O_DIRECTORY) && (flags & O_NOFOLLOW))
			return -ENOTDIR;
		return (flags & O_PATH) && (flags & O_NOFOLLOW) ? 0 : -ELOOP;
	}
	if ((flags & O_DIRECTORY) && !sim_is_dir(in))
		return -ENOTDIR;
	if (flags & O_PATH)
		return 0;
	if (sim_is_dir(in))
		return writes || (flags & O_CREAT) ? -EISDIR : 0;
	return sim_is_regular(in) ? 0 : -ENXIO;
}

static int open_inode(struct simfs *fs, struct inode *in, int flags)
{
	int err = open_check(in, flags);
	if (err < 0)
		return err;
	bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
	if (writes && !(flags & O_PATH)) {
		in->fds++;
		in->writers++;
		err = wait_for_leases(fs, in, flags);
		in->fds--;
		in->writers--;
	}
	if (err < 0) {
		sim_inode_let_go(fs, in);
		return err;
	}
	int fd = add_file(fs, in, flags);
	if ((flags & O_TRUNC) && !(flags & O_PATH)) {
		sim_set_size(fs, in, 0);
		sim_touch_mtime(fs, in);
	}
	return fd;
}

static int open_name(struct simfs *fs, int dirfd, const char *name, int flags, mode_t mode)
{
	struct inode *dir, *in;
	const char *last;
	if ((flags & O_CREAT) && (flags & O_DIRECTORY))
		return -EINVAL;
	int err = sim_find_place(fs, dirfd, name, &dir, &last);
	if (err < 0)
		return err;
	err = sim_step(dir, last, strlen(last), &in);
	if (err == 0 && (flags & O_CREAT) && (flags & O_EXCL))
		return in == dir ? -EISDIR : -EEXIST;
	if (err == 0)
		return open_inode(fs, in, flags);
	if (err != -ENOENT || (flags & O_CREAT) == 0 || dir->nlink == 0)
		return err;
	in = sim_create(fs, dir, last, S_IFREG | (mode & 07777));
	return add_file(fs, in, flags);
}

static int open_again(struct simfs *fs, int fd, int flags)
{
	struct file *file = sim_get_file(fs, fd);
	if (file == NULL)
		return -EBADF;
	flags &= ~(O_CREAT | O_EXCL);
	/* A link's own descriptor can be had again with O_PATH only. */
	if (sim_is_symlink(file->inode) && (flags & O_PATH))
		flags |= O_NOFOLLOW;
	else
		flags &= ~O_NOFOLLOW;
	return open_inode(fs, file->inode, flags);
}

int sim_open(void *self, int dirfd, const char *name, int flags, mode_t mode)
{
	struct simfs *fs = self;
	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW;
	int fd = sim_enter(fs, "open", flags & (O_CREAT | O_TRUNC) ? CHANGE : LOOK);
	if (fd == 0 && (flags & O_TMPFILE) == O_TMPFILE)
		fd = -EOPNOTSUPP;
	if (fd == 0 && name[0] == '\0')
		fd = open_again(fs, dirfd, flags);
	else if (fd == 0)
		fd = open_name(fs, dirfd, name, flags, mode);
	return sim_leave(fs, fd);
}

int sim_open_root(void *self, const char *path)
{
	struct simfs *fs = self;
	struct inode *at = fs->root;
	int err = sim_enter(fs, "open_root", LOOK);
	while (err == 0 && *path != '\0') {
		size_t len = strcspn(path, "/");
		err = sim_step(at, path, len, &at);
		path += len;
		path += *path == '/';
	}
	if (err == 0)
		err = open_inode(fs, at, O_RDONLY | O_DIRECTORY);
	return sim_leave(fs, err);
}

void sim_close(void *self, int fd)
{
	struct simfs *fs = self;
	pthread_mutex_lock(&fs->mutex);
	struct file *file = sim_get_file(fs, fd);
	if (file != NULL) {
		struct inode *in = file->inode;
		struct file **slot = &in->files;
		while (*slot != file)
			slot = &(*slot)->next;
		*slot = file->next;
		in->fds--;
		in->writers -= sim_can_write(file);
		fs->files[fd - FD_BASE] = NULL;
		fs->open_fds--;
		free(file);
		sim_inode_let_go(fs, in);
		pthread_cond_broadcast(&fs->released);
	}
	pthread_mutex_unlock(&fs->mutex);
}

/* ---- looking ---- */

int sim_stat(void *self, int dirfd, const char *name, struct dv_stat *out)
{
	struct simfs *fs = self;
	struct inode *in;
	int err = sim_enter(fs, "stat", LOOK);
	if (err == 0)
		err = sim_find_inode(fs, dirfd, name, &in);
	if (err == 0) {
		const struct image *im = &in->now;
		*out = (struct dv_stat){
			.mode = im->mode,
			.nlink = in->nlink,
			.uid = im->uid,
			.gid = im->gid,
			.rdev = in->rdev,
			.dev = 1,
			.ino = in->ino,
			.size = sim_is_dir(in) ? BLOCK_SIZE : im->size,
			.blocks = sim_is_dir(in) ? 8 : sim_image_count_blocks(im) * 8,
			.blksize = BLOCK_SIZE,
			.atime = im->atime,
			.mtime = im->mtime,
			.ctime = im->ctime,
			.btime = in->btime,
		};
	}
	return sim_leave(fs, err);
}

int sim_fsinfo(void *self, int fd, struct dv_fsinfo *out)
{
	struct simfs *fs = self;
	int err = sim_enter(fs, "fsinfo", LOOK);
	if (err == 0 && sim_get_file(fs, fd) == NULL)
		err = -EBADF;
	if (err == 0) {
		*out = (struct dv_fsinfo){
			.type = fs->f_type,
			.bsize = BLOCK_SIZE,
			.blocks = FREE_BLOCKS_DEFAULT,
			.bfree = fs->free_blocks,
			.bavail = fs->free_blocks,
			.files = UINT32_MAX,
			.ffree = UINT32_MAX - fs->last_ino,
			.namelen = NAME_MAX,
			.frsize = BLOCK_SIZE,
			.network = fs->network,
		};
	}
	return sim_leave(fs, err);
}

unsigned char sim_entry_type(const struct inode *in)
{
	return (unsigned char)((in->now.mode & S_IFMT) >> 12);
}

static ssize_t list_entries(const struct inode *dir, int64_t cookie, char *buf, size_t buf_size,
			    struct dv_dirent *out, size_t max)
{
	size_t count = 0, used = 0;
	for (size_t i = 0; i < dir->names.count && count < max; i++) {
		const struct entry *e = &dir->names.entries[i];
		size_t size = strlen(e->name) + 1;
		if (e->cookie <= cookie)
			continue;
		if (size > buf_size - used)
			return count > 0 ? (ssize_t)count : -EINVAL;
		memcpy(buf + used, e->name, size);
		out[count++] = (struct dv_dirent){
			.ino = e->inode->ino,
			.cookie = e->cookie,
			.type = sim_entry_type(e->inode),
			.name = buf + used,
		};
		used += size;
	}
	return (ssize_t)count;
}

ssize_t sim_readdir(void *self, int fd, int64_t cookie, void *buf, size_t buf_size,
		    struct dv_dirent *out, size_t max)
{
	struct simfs *fs = self;
	ssize_t n = sim_enter(fs, "readdir", LOOK);
	if (n == 0) {
		struct file *file = sim_get_open_file(fs, fd);
		if (file == NULL)
			n = -EBADF;
		else if (!sim_is_dir(file->inode))
			n = -ENOTDIR;
		else if (max == 0)
			n = -EINVAL;
		else if (file->inode->nlink == 0)
			n = -ENOENT;
		else
			n = list_entries(file->inode, cookie, buf, buf_size, out, max);
	}
	return sim_leave_count(fs, n);
}
