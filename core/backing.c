/* SPDX-License-Identifier: MIT */
/*
 * backing.c - the table of backing.h over the kernel.
 *
 * The only file of core/ with system calls about files of a store. Every function is one call of
 * the table and, but for the cases below, one system call: short counts go back to the caller.
 *
 * Names     A name with one component goes to the *at call as it is: those that work on a directory
 *           entry never follow a symbolic link there. In a name with several components the folder
 *           is opened first, beneath dirfd, by openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), or
 *           component by component where the kernel or a seccomp filter has no openat2.
 *           ".." is refused everywhere, which makes both ways agree.
 * O_PATH    fchmod, fchown, futimens and f*xattr refuse such descriptors with EBADF. The plain call
 *           is tried first, being the common case; then AT_EMPTY_PATH or /proc/self/fd/N is used.
 * Identity  setfsuid and setfsgid are per thread in the kernel, and glibc keeps no process-wide
 *           state for them. Each thread remembers whom it acts as, so that a repeated call costs
 *           nothing.
 */
#include "core/backing.h"

#include "core/cleanup.h"
#include "core/log.h"

#include <dirent.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <linux/securebits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The 16 bit calls of old 32 bit machines cut user ids. */
#ifdef SYS_setfsuid32
#define SYS_FSUID SYS_setfsuid32
#define SYS_FSGID SYS_setfsgid32
#else
#define SYS_FSUID SYS_setfsuid
#define SYS_FSGID SYS_setfsgid
#endif

/* "/proc/self/fd/" and a descriptor. */
#define PROC_FD_MAX 32
/* One that also names an entry of that folder. */
#define PROC_ENTRY_MAX (PROC_FD_MAX + 1 + NAME_MAX)

/* What openat2 accepts beside O_PATH; openat ignores the others. */
#define PATH_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW)

#define RETRY(call)                                                                                \
	({                                                                                         \
		__typeof__(call) dv_result;                                                        \
		do                                                                                 \
			dv_result = (call);                                                        \
		while (dv_result < 0 && errno == EINTR);                                           \
		dv_result;                                                                         \
	})

static int result(int rc)
{
	return rc < 0 ? -errno : rc;
}

static ssize_t result_count(ssize_t rc)
{
	return rc < 0 ? -errno : rc;
}

static const char *proc_fd(char *buf, int fd)
{
	snprintf(buf, PROC_FD_MAX, "/proc/self/fd/%d", fd);
	return buf;
}

/* A magic link is missing only where the descriptor is not open (or /proc is not mounted). */
static int proc_error(int error)
{
	return error == ENOENT ? -EBADF : -error;
}

/* ---- names ---- */

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

static int check_name(const char *name)
{
	return name[0] == '/' || has_dotdot(name) ? -EXDEV : 0;
}

static int open_beneath(int dirfd, const char *name, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags,
		.mode = flags & O_CREAT ? mode & 07777 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
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

/* One component, without openat2. O_NOFOLLOW says ELOOP, or ENOTDIR with O_DIRECTORY. */
static int open_component(int dirfd, const char *name, int flags, mode_t mode)
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
			next = open_component(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
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

/*
 * The folder that the last component of a name lies in. Done with: place_release.
 */
struct place {
	int fd;
	bool owned;
	const char *last; /* points into the name */
};

static int place_init(struct place *place, int dirfd, const char *name)
{
	const char *slash = strrchr(name, '/');
	*place = (struct place){.fd = dirfd, .last = name};
	int err = check_name(name);
	if (err < 0 || slash == NULL)
		return err;

	char folder[PATH_MAX];
	size_t len = (size_t)(slash - name);
	if (len >= sizeof(folder))
		return -ENAMETOOLONG;
	memcpy(folder, name, len);
	folder[len] = '\0';
	int fd = open_beneath(dirfd, folder, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd == -ENOSYS)
		fd = walk_folders(dirfd, folder, len);
	if (fd < 0)
		return fd;
	place->fd = fd;
	place->owned = fd != dirfd;
	place->last = slash + 1;
	return 0;
}

static void place_release(struct place *place)
{
	if (place->owned)
		close(place->fd);
	place->owned = false;
}

/* Runs call with the place of (dirfd, name) as `at`; the function returns its result. */
#define IN_PLACE(dirfd, name, at, call)                                                            \
	do {                                                                                       \
		struct place at;                                                                   \
		int dv_place_err = place_init(&at, dirfd, name);                                   \
		if (dv_place_err < 0)                                                              \
			return dv_place_err;                                                       \
		__typeof__(call) dv_rc = (call);                                                   \
		if (dv_rc < 0)                                                                     \
			dv_rc = -errno;                                                            \
		place_release(&at);                                                                \
		return dv_rc;                                                                      \
	} while (0)

/* ---- descriptors ---- */

/* Opens anew what fd stands for. */
static int reopen(int fd, int flags)
{
	char path[PROC_FD_MAX];
	flags &= ~(O_NOFOLLOW | O_CREAT);
	int again = RETRY(open(proc_fd(path, fd), flags));
	return again >= 0 ? again : proc_error(errno);
}

static int posix_open(void *self, int dirfd, const char *name, int flags, mode_t mode)
{
	(void)self;
	if (flags & O_PATH)
		flags &= PATH_FLAGS;
	else
		flags |= O_NOCTTY | O_LARGEFILE;
	flags |= O_CLOEXEC;
	if (name[0] == '\0')
		return reopen(dirfd, flags);
	int err = check_name(name);
	if (err < 0)
		return err;
	int fd = open_beneath(dirfd, name, flags, mode);
	if (fd != -ENOSYS)
		return fd;

	struct place at;
	err = place_init(&at, dirfd, name);
	if (err < 0)
		return err;
	fd = open_component(at.fd, at.last, flags, mode);
	place_release(&at);
	return fd;
}

static int posix_open_root(void *self, const char *path)
{
	(void)self;
	return result(RETRY(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
}

static void posix_close(void *self, int fd)
{
	(void)self;
	/* Not retried: Linux gives the number back even where close is interrupted. */
	close(fd);
}

static struct timespec from_statx_time(struct statx_timestamp t)
{
	return (struct timespec){.tv_sec = (time_t)t.tv_sec, .tv_nsec = (long)t.tv_nsec};
}

static void from_statx(const struct statx *x, struct dv_stat *out)
{
	*out = (struct dv_stat){
		.mode = x->stx_mode,
		.nlink = x->stx_nlink,
		.uid = x->stx_uid,
		.gid = x->stx_gid,
		.rdev = makedev(x->stx_rdev_major, x->stx_rdev_minor),
		.dev = makedev(x->stx_dev_major, x->stx_dev_minor),
		.ino = x->stx_ino,
		.size = x->stx_size,
		.blocks = x->stx_blocks,
		.blksize = x->stx_blksize,
		.atime = from_statx_time(x->stx_atime),
		.mtime = from_statx_time(x->stx_mtime),
		.ctime = from_statx_time(x->stx_ctime),
	};
	if (x->stx_mask & STATX_BTIME)
		out->btime = from_statx_time(x->stx_btime);
}

static int posix_stat(void *self, int dirfd, const char *name, struct dv_stat *out)
{
	(void)self;
	const int flags = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT;
	struct statx x;
	struct place at;
	int err = place_init(&at, dirfd, name);
	if (err < 0)
		return err;
	err = result(RETRY(statx(at.fd, at.last, flags, STATX_BASIC_STATS | STATX_BTIME, &x)));
	place_release(&at);
	if (err == 0)
		from_statx(&x, out);
	return err;
}

/* f_type of filesystems whose files other machines change. Sources: statfs(2), linux/magic.h, and
 * for the out-of-tree ones (Lustre, GPFS) their own headers. */
static bool is_network_type(uint32_t type)
{
	static const uint32_t types[] = {
		0x65735546, /* FUSE: the daemon behind it can not be told from f_type */
		0x6969,	    /* NFS */
		0x517b,	    /* SMB */
		0xff534d42, /* CIFS */
		0xfe534d42, /* SMB2 */
		0x00c36400, /* Ceph */
		0x5346414f, /* AFS */
		0x6b414653, /* kAFS */
		0x01021997, /* 9P */
		0x73757245, /* Coda */
		0x564c,	    /* NCP */
		0x0bd00bd0, /* Lustre */
		0x47504653, /* GPFS */
		0x19830326, /* BeeGFS */
		0x786f4256, /* VirtualBox shared folder */
		0xbacbacbc, /* VMware shared folder */
	};
	for (size_t i = 0; i < DV_ARRAY_LEN(types); i++) {
		if (types[i] == type)
			return true;
	}
	return false;
}

static int posix_fsinfo(void *self, int fd, struct dv_fsinfo *out)
{
	(void)self;
	struct statfs s;
	if (RETRY(fstatfs(fd, &s)) < 0)
		return -errno;
	*out = (struct dv_fsinfo){
		.type = (uint32_t)s.f_type,
		.bsize = (uint64_t)s.f_bsize,
		.blocks = s.f_blocks,
		.bfree = s.f_bfree,
		.bavail = s.f_bavail,
		.files = s.f_files,
		.ffree = s.f_ffree,
		.namelen = (uint32_t)s.f_namelen,
		.frsize = (uint32_t)s.f_frsize,
		.network = is_network_type((uint32_t)s.f_type),
	};
	return 0;
}

/* ---- data ---- */

static ssize_t posix_pread(void *self, int fd, void *buf, size_t len, uint64_t off)
{
	(void)self;
	return result_count(RETRY(pread(fd, buf, len, (off_t)off)));
}

static ssize_t posix_pread_nowait(void *self, int fd, void *buf, size_t len, uint64_t off)
{
	(void)self;
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	ssize_t n = RETRY(preadv2(fd, &iov, 1, (off_t)off, RWF_NOWAIT));
	/* Some filesystems have no such reads, nor have kernels before 4.14. */
	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		return -EAGAIN;
	return result_count(n);
}

static ssize_t posix_pwrite(void *self, int fd, const void *buf, size_t len, uint64_t off)
{
	(void)self;
	return result_count(RETRY(pwrite(fd, buf, len, (off_t)off)));
}

static ssize_t posix_append(void *self, int fd, const void *buf, size_t len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	struct stat st;
	ssize_t n = RETRY(pwritev2(fd, &iov, 1, 0, RWF_APPEND));
	if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
		return result_count(n);
	/* Kernels before 4.16: others may append at the same moment. */
	return fstat(fd, &st) < 0 ? -errno : posix_pwrite(self, fd, buf, len, (uint64_t)st.st_size);
}

static int posix_truncate(void *self, int fd, uint64_t size)
{
	(void)self;
	return result(RETRY(ftruncate(fd, (off_t)size)));
}

static int posix_fallocate_range(void *self, int fd, int mode, uint64_t off, uint64_t len)
{
	(void)self;
	return result(RETRY(fallocate(fd, mode, (off_t)off, (off_t)len)));
}

static int posix_seek(void *self, int fd, uint64_t off, int whence, uint64_t *out)
{
	(void)self;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	off_t at = RETRY(lseek(fd, (off_t)off, whence));
	if (at < 0)
		return -errno;
	*out = (uint64_t)at;
	return 0;
}

static int posix_fsync(void *self, int fd)
{
	(void)self;
	return result(RETRY(fsync(fd)));
}

static int posix_fdatasync(void *self, int fd)
{
	(void)self;
	return result(RETRY(fdatasync(fd)));
}

static int posix_syncfs(void *self, int fd)
{
	(void)self;
	return result(RETRY(syncfs(fd)));
}

static void posix_advise(void *self, int fd, uint64_t off, uint64_t len, int fadvice)
{
	(void)self;
	/* Only clean pages can be dropped, so dropping starts the write-out first. */
	if (fadvice == DV_ADVISE_WRITEOUT || fadvice == POSIX_FADV_DONTNEED)
		dv_ignore(sync_file_range(fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE));
	if (fadvice != DV_ADVISE_WRITEOUT)
		(void)posix_fadvise(fd, (off_t)off, (off_t)len, fadvice);
}

static ssize_t posix_copy_range(void *self, int from, uint64_t from_off, int to, uint64_t to_off,
				size_t len)
{
	(void)self;
	off_t in = (off_t)from_off, out = (off_t)to_off;
	ssize_t n = RETRY(copy_file_range(from, &in, to, &out, len, 0));
	if (n < 0 && errno == ENOSYS)
		return -EOPNOTSUPP;
	return result_count(n);
}

/* ---- directory entries ---- */

static int posix_mkdir(void *self, int dirfd, const char *name, mode_t mode)
{
	(void)self;
	IN_PLACE(dirfd, name, at, RETRY(mkdirat(at.fd, at.last, mode)));
}

static int posix_mknod(void *self, int dirfd, const char *name, mode_t mode, dev_t rdev)
{
	(void)self;
	IN_PLACE(dirfd, name, at, RETRY(mknodat(at.fd, at.last, mode, rdev)));
}

static int posix_symlink(void *self, const char *target, int dirfd, const char *name)
{
	(void)self;
	IN_PLACE(dirfd, name, at, RETRY(symlinkat(target, at.fd, at.last)));
}

static ssize_t posix_readlink(void *self, int dirfd, const char *name, char *buf, size_t size)
{
	(void)self;
	IN_PLACE(dirfd, name, at, RETRY(readlinkat(at.fd, at.last, buf, size)));
}

static int posix_link_fd(void *self, int fd, int newdir, const char *newname)
{
	(void)self;
	char path[PROC_FD_MAX];
	proc_fd(path, fd);
	/* AT_EMPTY_PATH would do without /proc, but needs CAP_DAC_READ_SEARCH. */
	IN_PLACE(newdir, newname, at,
		 RETRY(linkat(AT_FDCWD, path, at.fd, at.last, AT_SYMLINK_FOLLOW)));
}

static int posix_link(void *self, int olddir, const char *oldname, int newdir, const char *newname)
{
	if (oldname[0] == '\0')
		return posix_link_fd(self, olddir, newdir, newname);
	struct place from, to;
	int err = place_init(&from, olddir, oldname);
	if (err < 0)
		return err;
	err = place_init(&to, newdir, newname);
	if (err == 0) {
		err = result(RETRY(linkat(from.fd, from.last, to.fd, to.last, 0)));
		place_release(&to);
	}
	place_release(&from);
	return err;
}

static int posix_unlink(void *self, int dirfd, const char *name)
{
	(void)self;
	IN_PLACE(dirfd, name, at, RETRY(unlinkat(at.fd, at.last, 0)));
}

static int posix_rmdir(void *self, int dirfd, const char *name)
{
	(void)self;
	IN_PLACE(dirfd, name, at, RETRY(unlinkat(at.fd, at.last, AT_REMOVEDIR)));
}

static int posix_rename(void *self, int olddir, const char *oldname, int newdir,
			const char *newname, unsigned flags)
{
	(void)self;
	struct place from, to;
	int err = place_init(&from, olddir, oldname);
	if (err < 0)
		return err;
	err = place_init(&to, newdir, newname);
	if (err == 0) {
		err = result(RETRY(renameat2(from.fd, from.last, to.fd, to.last, flags)));
		place_release(&to);
	}
	place_release(&from);
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

static ssize_t posix_readdir(void *self, int fd, int64_t cookie, void *buf, size_t buf_size,
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

/* ---- attributes ---- */

static int posix_chmod(void *self, int fd, mode_t mode)
{
	(void)self;
	char path[PROC_FD_MAX];
	int rc = RETRY(fchmod(fd, mode));
	if (rc == 0 || errno != EBADF)
		return result(rc);
	rc = RETRY(chmod(proc_fd(path, fd), mode));
	return rc == 0 ? 0 : proc_error(errno);
}

static int posix_chown(void *self, int fd, uid_t uid, gid_t gid)
{
	(void)self;
	int rc = RETRY(fchown(fd, uid, gid));
	if (rc == 0 || errno != EBADF)
		return result(rc);
	return result(RETRY(fchownat(fd, "", uid, gid, AT_EMPTY_PATH)));
}

/* utimensat(AT_EMPTY_PATH) came with 5.8 and says EINVAL before; a bad time says so too. */
static int posix_utimens(void *self, int fd, const struct timespec times[2])
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

static ssize_t posix_getxattr(void *self, int fd, const char *attr, void *buf, size_t size)
{
	(void)self;
	char path[PROC_FD_MAX];
	ssize_t n = RETRY(fgetxattr(fd, attr, buf, size));
	if (n >= 0 || errno != EBADF)
		return result_count(n);
	n = RETRY(getxattr(proc_fd(path, fd), attr, buf, size));
	return n >= 0 ? n : proc_error(errno);
}

static ssize_t posix_getxattr_at(void *self, int dirfd, const char *name, const char *attr,
				 void *buf, size_t size)
{
	struct place at;
	char path[PROC_ENTRY_MAX];
	if (name[0] == '\0')
		return posix_getxattr(self, dirfd, attr, buf, size);
	int err = place_init(&at, dirfd, name);
	if (err < 0)
		return err;
	ssize_t n = -ENAMETOOLONG;
	if (strlen(at.last) <= NAME_MAX) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", at.fd, at.last);
		n = result_count(RETRY(lgetxattr(path, attr, buf, size)));
	}
	place_release(&at);
	return n;
}

static int posix_setxattr(void *self, int fd, const char *attr, const void *buf, size_t size,
			  int flags)
{
	(void)self;
	char path[PROC_FD_MAX];
	int rc = RETRY(fsetxattr(fd, attr, buf, size, flags));
	if (rc == 0 || errno != EBADF)
		return result(rc);
	rc = RETRY(setxattr(proc_fd(path, fd), attr, buf, size, flags));
	return rc == 0 ? 0 : proc_error(errno);
}

static ssize_t posix_listxattr(void *self, int fd, char *buf, size_t size)
{
	(void)self;
	char path[PROC_FD_MAX];
	ssize_t n = RETRY(flistxattr(fd, buf, size));
	if (n >= 0 || errno != EBADF)
		return result_count(n);
	n = RETRY(listxattr(proc_fd(path, fd), buf, size));
	return n >= 0 ? n : proc_error(errno);
}

static int posix_removexattr(void *self, int fd, const char *attr)
{
	(void)self;
	char path[PROC_FD_MAX];
	int rc = RETRY(fremovexattr(fd, attr));
	if (rc == 0 || errno != EBADF)
		return result(rc);
	rc = RETRY(removexattr(proc_fd(path, fd), attr));
	return rc == 0 ? 0 : proc_error(errno);
}

/* ---- locks and leases ---- */

static int posix_flock(void *self, int fd, int operation)
{
	(void)self;
	return result(RETRY(flock(fd, operation)));
}

static int posix_set_lease(void *self, int fd, int type)
{
	(void)self;
	return result(RETRY(fcntl(fd, F_SETLEASE, type)));
}

static int posix_get_lease(void *self, int fd)
{
	(void)self;
	return result(RETRY(fcntl(fd, F_GETLEASE)));
}

/* ---- identity ---- */

/* Written by dv_backing_posix_prepare before any thread starts. */
static bool can_act = false;

static __thread struct {
	bool known;
	uid_t uid;
	gid_t gid;
} acting;

static void posix_act_as(void *self, uid_t uid, gid_t gid)
{
	(void)self;
	if (!can_act)
		return;
	if (!acting.known) {
		/* -1 changes nothing and tells: a thread inherits from the one that made it. */
		acting.gid = (gid_t)syscall(SYS_FSGID, -1);
		acting.uid = (uid_t)syscall(SYS_FSUID, -1);
		acting.known = true;
	}
	/* The group first: where the capabilities do go with the user, they are still there. */
	if (acting.gid != gid)
		syscall(SYS_FSGID, gid);
	if (acting.uid != uid)
		syscall(SYS_FSUID, uid);
	acting.uid = uid;
	acting.gid = gid;
}

/* Without this bit a thread that acts as a user loses its capabilities over files. */
static bool keep_capabilities(void)
{
	int bits = prctl(PR_GET_SECUREBITS);
	if (bits < 0)
		return false;
	return prctl(PR_SET_SECUREBITS, (unsigned long)bits | SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0;
}

/*
 * Whoever has CAP_SYS_RESOURCE writes past every quota and into the blocks that are kept for root, and
 * files of users are written by this process.
 */
static void obey_limits(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	if (syscall(SYS_capget, &header, data))
		return;
	data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective &= ~CAP_TO_MASK(CAP_SYS_RESOURCE);
	dv_ignore((dv_err)syscall(SYS_capset, &header, data)); /* to have less is always allowed */
}

void dv_backing_posix_prepare(void)
{
	struct rlimit files;
	if (geteuid() == 0) {
		can_act = keep_capabilities();
		if (!can_act)
			dv_warn("no CAP_SETPCAP: new files belong to the daemon's user");
	}
	umask(0);
	signal(SIGIO, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		dv_ignore(setrlimit(RLIMIT_NOFILE, &files));
	}
	obey_limits();
}

struct dv_backing dv_backing_posix(void)
{
	static const struct dv_backing_ops ops = {
		.open = posix_open,
		.open_root = posix_open_root,
		.close = posix_close,
		.stat = posix_stat,
		.fsinfo = posix_fsinfo,
		.pread = posix_pread,
		.pread_nowait = posix_pread_nowait,
		.pwrite = posix_pwrite,
		.append = posix_append,
		.truncate = posix_truncate,
		.fallocate = posix_fallocate_range,
		.seek = posix_seek,
		.fsync = posix_fsync,
		.fdatasync = posix_fdatasync,
		.syncfs = posix_syncfs,
		.advise = posix_advise,
		.mkdir = posix_mkdir,
		.mknod = posix_mknod,
		.symlink = posix_symlink,
		.readlink = posix_readlink,
		.link = posix_link,
		.link_fd = posix_link_fd,
		.unlink = posix_unlink,
		.rmdir = posix_rmdir,
		.rename = posix_rename,
		.chmod = posix_chmod,
		.chown = posix_chown,
		.utimens = posix_utimens,
		.getxattr = posix_getxattr,
		.getxattr_at = posix_getxattr_at,
		.setxattr = posix_setxattr,
		.listxattr = posix_listxattr,
		.removexattr = posix_removexattr,
		.readdir = posix_readdir,
		.flock = posix_flock,
		.set_lease = posix_set_lease,
		.get_lease = posix_get_lease,
		.copy_range = posix_copy_range,
		.act_as = posix_act_as,
	};
	return (struct dv_backing){.ops = &ops, .self = NULL};
}

void dv_boot_id(char out[64])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, out, 63);
	if (fd >= 0)
		close(fd);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}
