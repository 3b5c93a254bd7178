/* SPDX-License-Identifier: MIT */
/*
 * backing_names.c - names beneath a directory, and the functions of the table that work on
 * directory entries.
 *
 * A name with one component goes to the *at call as it is: those that work on a directory entry
 * never follow a symbolic link there. In a name with several components the folder is opened first,
 * beneath dirfd, by openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV), or component by
 * component where the kernel or a seccomp filter has no openat2. ".." is refused everywhere, which makes
 * both ways agree but for what is mounted in the store: the second enters it.
 */
#include "core/backing_private.h"

#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Kernels before 5.6 and old seccomp filters. Benign race: every thread finds the same. */
static bool no_openat2;

static bool has_dotdot(const char *name)
{
	for (const char *p = name; (p = strstr(p, "..")) != NULL; p += 2) {
		if ((p == name || p[-1] == '/') && (p[2] == '\0' || p[2] == '/'))
			return true;
		if (p[2] == '.')
			p--; /* "...": the next pair overlaps */
	}
	return false;
}

int dv_posix_check_name(const char *name)
{
	return name[0] == '/' || has_dotdot(name) ? -EXDEV : 0;
}

int dv_posix_open_beneath(int dirfd, const char *name, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags,
		.mode = flags & O_CREAT ? mode & 07777 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
			   RESOLVE_NO_XDEV,
	};
	if (__atomic_load_n(&no_openat2, __ATOMIC_RELAXED))
		return -ENOSYS;
	int fd = (int)RETRY(syscall(SYS_openat2, dirfd, name, &how, sizeof(how)));
	if (fd >= 0)
		return fd;
	if (errno == ENOSYS)
		__atomic_store_n(&no_openat2, true, __ATOMIC_RELAXED);
	return -errno;
}

int dv_posix_open_component(int dirfd, const char *name, int flags, mode_t mode)
{
	int fd = RETRY(openat(dirfd, name, flags | O_NOFOLLOW, mode));
	if (fd >= 0 && (flags & O_PATH) && !(flags & O_NOFOLLOW)) {
		struct stat st;
		if (fstat(fd, &st) == 0 && S_ISLNK(st.st_mode)) {
			close(fd);
			return -ELOOP;
		}
	}
	if (fd < 0 && errno == ENOTDIR && !(flags & O_NOFOLLOW)) {
		struct stat st;
		if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
			return -ELOOP;
		return -ENOTDIR;
	}
	return result(fd);
}

/* Walks the folders of path (len bytes) by hand, where openat2 is missing. */
static int walk_folders(int dirfd, const char *path, size_t len)
{
	int at = dirfd;
	size_t pos = 0;
	while (pos < len) {
		const char *slash = memchr(path + pos, '/', len - pos);
		size_t part = slash != NULL ? (size_t)(slash - path) - pos : len - pos;
		char name[NAME_MAX + 1];
		int next = -ENAMETOOLONG;
		if (part == 0) {
			pos++;
			continue;
		}
		if (part <= NAME_MAX) {
			memcpy(name, path + pos, part);
			name[part] = '\0';
			next = dv_posix_open_component(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC,
						       0);
		}
		if (at != dirfd)
			close(at);
		if (next < 0)
			return next;
		at = next;
		pos += part;
	}
	return at;
}

int dv_posix_at_init(struct dv_posix_at *place, int dirfd, const char *name)
{
	const char *slash = strrchr(name, '/');
	*place = (struct dv_posix_at){.fd = dirfd, .last = name};
	int err = dv_posix_check_name(name);
	if (err < 0 || slash == NULL)
		return err;

	char folder[PATH_MAX];
	size_t len = (size_t)(slash - name);
	if (len >= sizeof(folder))
		return -ENAMETOOLONG;
	memcpy(folder, name, len);
	folder[len] = '\0';
	int fd = dv_posix_open_beneath(dirfd, folder, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd == -ENOSYS)
		fd = walk_folders(dirfd, folder, len);
	if (fd < 0)
		return fd;
	place->fd = fd;
	place->owned = fd != dirfd;
	place->last = slash + 1;
	return 0;
}

void dv_posix_at_release(struct dv_posix_at *place)
{
	if (place->owned)
		close(place->fd);
	place->owned = false;
}

/* ---- directory entries ---- */

int dv_posix_mkdir(void *self, int dirfd, const char *name, mode_t mode)
{
	(void)self;
	IN_PLACE(dirfd, name, at, RETRY(mkdirat(at.fd, at.last, mode)));
}

int dv_posix_mknod(void *self, int dirfd, const char *name, mode_t mode, dev_t rdev)
{
	(void)self;
	IN_PLACE(dirfd, name, at, RETRY(mknodat(at.fd, at.last, mode, rdev)));
}

int dv_posix_symlink(void *self, const char *target, int dirfd, const char *name)
{
	(void)self;
	IN_PLACE(dirfd, name, at, RETRY(symlinkat(target, at.fd, at.last)));
}

ssize_t dv_posix_readlink(void *self, int dirfd, const char *name, char *buf, size_t size)
{
	(void)self;
	IN_PLACE(dirfd, name, at, RETRY(readlinkat(at.fd, at.last, buf, size)));
}

int dv_posix_link_fd(void *self, int fd, int newdir, const char *newname)
{
	(void)self;
	char path[PROC_FD_MAX];
	proc_fd(path, fd);
	/* AT_EMPTY_PATH would do without /proc, but needs CAP_DAC_READ_SEARCH. */
	IN_PLACE(newdir, newname, at,
		 RETRY(linkat(AT_FDCWD, path, at.fd, at.last, AT_SYMLINK_FOLLOW)));
}

int dv_posix_link(void *self, int olddir, const char *oldname, int newdir, const char *newname)
{
	if (oldname[0] == '\0')
		return dv_posix_link_fd(self, olddir, newdir, newname);
	struct dv_posix_at from, to;
	int err = dv_posix_at_init(&from, olddir, oldname);
	if (err < 0)
		return err;
	err = dv_posix_at_init(&to, newdir, newname);
	if (err == 0) {
		err = result(RETRY(linkat(from.fd, from.last, to.fd, to.last, 0)));
		dv_posix_at_release(&to);
	}
	dv_posix_at_release(&from);
	return err;
}

int dv_posix_unlink(void *self, int dirfd, const char *name)
{
	(void)self;
	IN_PLACE(dirfd, name, at, RETRY(unlinkat(at.fd, at.last, 0)));
}

int dv_posix_rmdir(void *self, int dirfd, const char *name)
{
	(void)self;
	IN_PLACE(dirfd, name, at, RETRY(unlinkat(at.fd, at.last, AT_REMOVEDIR)));
}

int dv_posix_rename(void *self, int olddir, const char *oldname, int newdir, const char *newname,
		    unsigned flags)
{
	(void)self;
	struct dv_posix_at from, to;
	int err = dv_posix_at_init(&from, olddir, oldname);
	if (err < 0)
		return err;
	err = dv_posix_at_init(&to, newdir, newname);
	if (err == 0) {
		err = result(RETRY(renameat2(from.fd, from.last, to.fd, to.last, flags)));
		dv_posix_at_release(&to);
	}
	dv_posix_at_release(&from);
	return err;
}

/* As the kernel lays them out; glibc's readdir would need a DIR for each descriptor. */
struct linux_dirent64 {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

/* Fills out[] with what getdents64 left in buf, without "." and "..". */
static size_t parse_dirents(const char *buf, size_t len, struct dv_dirent *out, size_t max)
{
	size_t count = 0, pos = 0;
	while (pos < len && count < max) {
		const struct linux_dirent64 *d = (const void *)(buf + pos);
		pos += d->d_reclen;
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		out[count++] = (struct dv_dirent){
			.ino = d->d_ino,
			.cookie = d->d_off,
			.type = d->d_type,
			.name = d->d_name,
		};
	}
	return count;
}

ssize_t dv_posix_readdir(void *self, int fd, int64_t cookie, void *buf, size_t buf_size,
			 struct dv_dirent *out, size_t max)
{
	(void)self;
	if (max == 0)
		return -EINVAL;
	if (buf_size > INT_MAX)
		buf_size = INT_MAX;
	/* Position 0 is always sought: that makes the filesystem look at the directory anew. */
	if (cookie == 0 || lseek(fd, 0, SEEK_CUR) != cookie) {
		if (lseek(fd, cookie, SEEK_SET) < 0)
			return errno == ESPIPE ? -ENOTDIR : -errno;
	}
	for (;;) {
		long n = RETRY(syscall(SYS_getdents64, fd, buf, buf_size));
		if (n <= 0)
			return result_count(n);
		size_t count = parse_dirents(buf, (size_t)n, out, max);
		if (count > 0)
			return (ssize_t)count;
	}
}
