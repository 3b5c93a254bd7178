/* SPDX-License-Identifier: MIT */
/*
 * backing.c - the table of backing.h over the kernel, and its functions for descriptors, data,
 * locks and leases; backing_private.h says where the others are.
 *
 * This module is the only one of core/ with system calls about files of a store. Every function is
 * one call of the table and, but for cases that are told where they are, one system call: short
 * counts go back to the caller.
 */
#include "core/backing_private.h"

#include "core/cleanup.h"

#include <linux/magic.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

/* What openat2 accepts beside O_PATH; openat ignores the others. */
#define PATH_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW)

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
	int err = dv_posix_check_name(name);
	if (err < 0)
		return err;
	int fd = dv_posix_open_beneath(dirfd, name, flags, mode);
	if (fd != -ENOSYS)
		return fd;

	struct dv_posix_at at;
	err = dv_posix_at_init(&at, dirfd, name);
	if (err < 0)
		return err;
	fd = dv_posix_open_component(at.fd, at.last, flags, mode);
	dv_posix_at_release(&at);
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

/* Of a filesystem whose attributes are always at hand. One is remembered, the store's. */
static bool is_local(int dirfd, dev_t dev)
{
	static _Atomic uint64_t local_dev;
	struct statfs st;
	if (dev == atomic_load_explicit(&local_dev, memory_order_relaxed))
		return true; /* that it is a disk says nothing: FUSE may be on one (fuseblk) */
	if (fstatfs(dirfd, &st) || is_network_type((uint32_t)st.f_type) ||
	    st.f_type == OVERLAYFS_SUPER_MAGIC) /* it asks what lies below */
		return false;
	atomic_store_explicit(&local_dev, dev, memory_order_relaxed);
	return true;
}

/*
 * By name whatever is mounted there is reached, and its server may never answer. So what is at hand is
 * asked for first, which asks no server: on a local filesystem that is all there is.
 */
static int stat_name(const struct dv_posix_at *at, struct statx *x)
{
	const int flags = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT;
	const unsigned mask = STATX_BASIC_STATS | STATX_BTIME;
	int err = result(RETRY(statx(at->fd, at->last, flags | AT_STATX_DONT_SYNC, mask, x)));
	if (err < 0)
		return err;
	if (x->stx_attributes & STATX_ATTR_MOUNT_ROOT)
		return -EXDEV; /* neither in the store nor to be waited for */
	if (is_local(at->fd, makedev(x->stx_dev_major, x->stx_dev_minor)))
		return 0;
	return result(RETRY(statx(at->fd, at->last, flags, mask, x)));
}

static int posix_stat(void *self, int dirfd, const char *name, struct dv_stat *out)
{
	(void)self;
	struct statx x;
	struct dv_posix_at at;
	int err = dv_posix_at_init(&at, dirfd, name);
	if (err < 0)
		return err;
	if (name[0])
		err = stat_name(&at, &x);
	else
		err = result(RETRY(
			statx(dirfd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &x)));
	dv_posix_at_release(&at);
	if (err == 0)
		from_statx(&x, out);
	return err;
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
/* ---- locks and leases ---- */

static int posix_flock(void *self, int fd, int operation)
{
	(void)self;
	return result(RETRY(flock(fd, operation)));
}

/* Where others break the lease the kernel sends a signal. SIGIO, which it is by itself, ends a process
 * that does not ignore it; SIGURG is ignored unless somebody wants it. */
static int posix_set_lease(void *self, int fd, int type)
{
	(void)self;
	if (type != F_UNLCK && fcntl(fd, F_SETSIG, SIGURG))
		return -errno;
	return result(RETRY(fcntl(fd, F_SETLEASE, type)));
}

static int posix_get_lease(void *self, int fd)
{
	(void)self;
	return result(RETRY(fcntl(fd, F_GETLEASE)));
}

static int posix_set_noatime(void *self, int fd)
{
	(void)self;
	int flags = fcntl(fd, F_GETFL);
	return flags < 0 ? -errno : result(fcntl(fd, F_SETFL, flags | O_NOATIME));
}
/* ---- the table ---- */

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
		.mkdir = dv_posix_mkdir,
		.mknod = dv_posix_mknod,
		.symlink = dv_posix_symlink,
		.readlink = dv_posix_readlink,
		.link = dv_posix_link,
		.link_fd = dv_posix_link_fd,
		.unlink = dv_posix_unlink,
		.rmdir = dv_posix_rmdir,
		.rename = dv_posix_rename,
		.chmod = dv_posix_chmod,
		.chown = dv_posix_chown,
		.utimens = dv_posix_utimens,
		.getxattr = dv_posix_getxattr,
		.getxattr_at = dv_posix_getxattr_at,
		.setxattr = dv_posix_setxattr,
		.listxattr = dv_posix_listxattr,
		.listxattr_at = dv_posix_listxattr_at,
		.removexattr = dv_posix_removexattr,
		.readdir = dv_posix_readdir,
		.flock = posix_flock,
		.set_lease = posix_set_lease,
		.get_lease = posix_get_lease,
		.set_noatime = posix_set_noatime,
		.copy_range = posix_copy_range,
		.act_as = dv_posix_act_as,
	};
	return (struct dv_backing){.ops = &ops, .self = NULL};
}
