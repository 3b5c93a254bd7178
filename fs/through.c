/* SPDX-License-Identifier: MIT */
/* through.c - see through.h. */
#include "fs/through.h"

#include "core/cleanup.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PRUNE_TRIES 100 /* directories that others remove while they are needed */

/* Beneath the mount, no symbolic link on the way. */
static int open_beneath(int at, const char *path, uint64_t flags)
{
	struct open_how how = {.flags = flags | O_CLOEXEC | O_NOFOLLOW,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	long fd;

	do
		fd = syscall(SYS_openat2, at, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd < 0 ? -errno : (int)fd;
}

static int open_mount(const struct fs_door *d)
{
	int fd = open(d->mount, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int fs_through_open(const struct fs_door *d, const char *key)
{
	char path[PATH_MAX];
	struct stat st;
	int root, fd;
	dv_err err = fs_door_path(d, key, path);

	if (err)
		return err;
	root = open_mount(d);
	if (root < 0)
		return root;
	fd = open_beneath(root, key, O_RDONLY | O_NONBLOCK);
	close(root);
	if (fd == -ELOOP || fd == -ENOTDIR || fd == -ENXIO || fd == -EISDIR)
		return -ENOENT;
	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode))) {
		close(fd);
		return -ENOENT;
	}
	return fd;
}

/* The directory of the key. path: the key, cut at its last slash. */
static int open_parent(int root, char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash)
		return open_beneath(root, ".", O_PATH | O_DIRECTORY);
	*slash = '\0';
	return open_beneath(root, path, O_PATH | O_DIRECTORY);
}

static void prune(int root, char *path)
{
	while (*path) {
		char *slash = strrchr(path, '/');
		char *name = slash ? slash + 1 : path;
		int dirfd;
		bool removed;

		if (slash)
			*slash = '\0';
		dirfd = open_beneath(root, slash ? path : ".", O_PATH | O_DIRECTORY);
		if (dirfd < 0)
			return;
		removed = unlinkat(dirfd, name, AT_REMOVEDIR) == 0;
		close(dirfd);
		if (!removed || !slash)
			return;
	}
}

dv_err fs_through_erase(const struct fs_door *d, const char *key)
{
	char path[PATH_MAX], full[PATH_MAX];
	struct stat st;
	const char *slash = strrchr(key, '/'), *name = slash ? slash + 1 : key;
	int root, dirfd;
	dv_err err = fs_door_path(d, key, full);

	if (err)
		return err;
	root = open_mount(d);
	if (root < 0)
		return root;
	strcpy(path, key); /* shorter than full */
	dirfd = open_parent(root, path);
	if (dirfd < 0)
		err = dirfd == -ENOTDIR || dirfd == -ELOOP ? -ENOENT : dirfd;
	else if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		err = -ENOENT;
	else if (unlinkat(dirfd, name, 0))
		err = -errno;
	if (dirfd >= 0)
		close(dirfd);
	if (!err && slash)
		prune(root, path);
	close(root);
	return err;
}

/* ---- put ---- */

/* The key's directory, made where it is missing. path is cut. -ENOENT: removed meanwhile. */
static int make_parent(int root, char *path)
{
	int dirfd = open_parent(root, path);

	if (dirfd != -ENOENT)
		return dirfd;
	for (char *end = path; *end; end += *end == '/') {
		char saved;

		end = strchrnul(end, '/');
		saved = *end;
		*end = '\0';
		if (mkdirat(root, path, 0777) && errno != EEXIST)
			return -errno;
		*end = saved;
	}
	return open_beneath(root, path, O_PATH | O_DIRECTORY);
}

dv_err fs_through_put_begin(const struct fs_door *d, const char *key, struct fs_through_put *out)
{
	char path[PATH_MAX], full[PATH_MAX];
	const char *slash = strrchr(key, '/');
	int root;
	dv_err err = fs_door_path(d, key, full);

	if (err)
		return err;
	root = open_mount(d);
	if (root < 0)
		return root;
	snprintf(out->name, sizeof(out->name), "%s", slash ? slash + 1 : key);
	snprintf(out->temporary, sizeof(out->temporary), ".diskvfs-put.%ld", (long)getpid());
	out->dirfd = -ENOENT;
	for (int tries = 0; out->dirfd == -ENOENT && tries < PRUNE_TRIES; tries++) {
		strcpy(path, key);
		out->dirfd = make_parent(root, path);
	}
	close(root);
	if (out->dirfd < 0)
		return out->dirfd;
	out->fd = openat(out->dirfd, out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (out->fd < 0) {
		err = -errno;
		close(out->dirfd);
	}
	return err;
}

/* The name is durable once the directory is synced, which takes one that may be read. */
static dv_err sync_name(const struct fs_through_put *t)
{
	int fd = openat(t->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dv_err err = fd < 0 || fsync(fd) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return err;
}

dv_err fs_through_put_end(struct fs_through_put *t, dv_err err, bool sync, bool only_new)
{
	if (!err && sync && fsync(t->fd))
		err = -errno;
	if (close(t->fd) && !err)
		err = -errno;
	if (!err &&
	    renameat2(t->dirfd, t->temporary, t->dirfd, t->name, only_new ? RENAME_NOREPLACE : 0))
		err = -errno;
	if (err)
		unlinkat(t->dirfd, t->temporary, 0);
	else if (sync)
		err = sync_name(t);
	close(t->dirfd);
	return err;
}
