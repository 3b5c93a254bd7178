/* SPDX-License-Identifier: MIT */
/*
 * backing.h - every system call that touches a store passes through this table.
 *
 * Two tables exist: dv_backing_posix() here, and the simulated filesystem of tests/support/simfs.h,
 * which fails the N-th call and cuts the power. Nothing else in core/ may call the kernel about a
 * file of the store (files that are not of the store, such as /proc, are read by this module
 * alone).
 *
 * Errors      every function returns >= 0 or a negative errno. EINTR is retried inside.
 * Threads     all functions may be called from any thread at once.
 * Names       `name` is one component or a relative path that is resolved beneath dirfd, without
 *             following symbolic links (-ELOOP), absolute names or ".." (-EXDEV). What is
 *             mounted there is not entered (-EXDEV). "" means dirfd itself. NUL terminated, any
 *             other byte allowed.
 * Descriptors are close-on-exec. A descriptor opened with O_PATH is good for stat, chmod, chown,
 *             utimens, the xattr functions, as dirfd, and for link_fd.
 */
#ifndef DV_BACKING_H
#define DV_BACKING_H

#include "core/error.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

/* A word for dv_backing_ops.advise beside POSIX_FADV_*. */
#define DV_ADVISE_WRITEOUT (-1)

/* What statx(2) tells. A plain value type. */
struct dv_stat {
	mode_t mode;
	uint32_t nlink;
	uid_t uid;
	gid_t gid;
	dev_t rdev; /* of a device node */
	uint64_t dev;
	uint64_t ino;
	uint64_t size;	 /* bytes */
	uint64_t blocks; /* of 512 bytes */
	uint32_t blksize;
	struct timespec atime, mtime, ctime;
	struct timespec btime; /* zero where the filesystem keeps none */
	int64_t own_ctime_ns; /* where ctime may be one that a swap has kept: the object's; else 0 */
};

/* What statfs(2) tells, with one addition. */
struct dv_fsinfo {
	uint64_t type; /* f_type magic */
	uint64_t bsize, blocks, bfree, bavail, files, ffree;
	uint32_t namelen, frsize;
	bool network; /* FUSE, NFS, SMB, Ceph, AFS...: syncfs does nothing, flock may be remote */
};

/* One directory entry as getdents reports it. cookie resumes after it. */
struct dv_dirent {
	uint64_t ino;
	int64_t cookie;
	uint8_t type;	  /* DT_* */
	const char *name; /* borrowed from the buffer */
};

/* Lease and lock words, as fcntl(F_SETLEASE) and flock(2). */
struct dv_backing_ops {
	/* flags as open(2); O_CLOEXEC and O_NOCTTY are added. "" opens anew what dirfd stands for,
	 * an O_PATH descriptor too. -> descriptor */
	int (*open)(void *self, int dirfd, const char *name, int flags, mode_t mode);
	/* A store's root: an absolute or relative path of the process, symbolic links followed. */
	int (*open_root)(void *self, const char *path);
	void (*close)(void *self, int fd);

	int (*stat)(void *self, int dirfd, const char *name, struct dv_stat *out);
	int (*fsinfo)(void *self, int fd, struct dv_fsinfo *out);

	ssize_t (*pread)(void *self, int fd, void *buf, size_t len, uint64_t off);
	/* As pread, but -EAGAIN where the bytes are not in memory (RWF_NOWAIT) or nobody knows. */
	ssize_t (*pread_nowait)(void *self, int fd, void *buf, size_t len, uint64_t off);
	ssize_t (*pwrite)(void *self, int fd, const void *buf, size_t len, uint64_t off);
	/* At the end, wherever that is by now: whole writes of several processes do not overlap. */
	ssize_t (*append)(void *self, int fd, const void *buf, size_t len);
	int (*truncate)(void *self, int fd, uint64_t size);
	int (*fallocate)(void *self, int fd, int mode, uint64_t off, uint64_t len);
	/* SEEK_DATA or SEEK_HOLE -> *out; -ENXIO past the end */
	int (*seek)(void *self, int fd, uint64_t off, int whence, uint64_t *out);

	int (*fsync)(void *self, int fd); /* files and directories */
	int (*fdatasync)(void *self, int fd);
	int (*syncfs)(void *self, int fd);
	/* Hint: POSIX_FADV_* (DONTNEED starts the write-out first, then drops what is clean), or
	 * DV_ADVISE_WRITEOUT: start writing these bytes out and keep them. */
	void (*advise)(void *self, int fd, uint64_t off, uint64_t len, int fadvice);

	int (*mkdir)(void *self, int dirfd, const char *name, mode_t mode);
	int (*mknod)(void *self, int dirfd, const char *name, mode_t mode, dev_t rdev);
	int (*symlink)(void *self, const char *target, int dirfd, const char *name);
	/* -> length of the target; not NUL terminated */
	ssize_t (*readlink)(void *self, int dirfd, const char *name, char *buf, size_t size);
	int (*link)(void *self, int olddir, const char *oldname, int newdir, const char *newname);
	int (*link_fd)(void *self, int fd, int newdir, const char *newname);
	int (*unlink)(void *self, int dirfd, const char *name);
	int (*rmdir)(void *self, int dirfd, const char *name);
	/* flags: 0, RENAME_NOREPLACE, RENAME_EXCHANGE */
	int (*rename)(void *self, int olddir, const char *oldname, int newdir, const char *newname,
		      unsigned flags);

	int (*chmod)(void *self, int fd, mode_t mode);
	/* uid or gid -1: left alone */
	int (*chown)(void *self, int fd, uid_t uid, gid_t gid);
	/* times[0] atime, times[1] mtime, UTIME_NOW and UTIME_OMIT as utimensat(2) */
	int (*utimens)(void *self, int fd, const struct timespec times[2]);
	ssize_t (*getxattr)(void *self, int fd, const char *attr, void *buf, size_t size);
	/* By name, without opening; symbolic links not followed. */
	ssize_t (*getxattr_at)(void *self, int dirfd, const char *name, const char *attr, void *buf,
			       size_t size);
	int (*setxattr)(void *self, int fd, const char *attr, const void *buf, size_t size,
			int flags);
	ssize_t (*listxattr)(void *self, int fd, char *buf, size_t size);
	ssize_t (*listxattr_at)(void *self, int dirfd, const char *name, char *buf, size_t size);
	int (*removexattr)(void *self, int fd, const char *attr);

	/* Reads entries into buf from position cookie (0: the start). out[] is filled up to max,
	 * its names point into buf, which is aligned to 8. "." and ".." are left out. Callers of
	 * one descriptor take turns. -> number of entries, 0 at the end; -EINVAL: buf is too small
	 * for one entry. */
	ssize_t (*readdir)(void *self, int fd, int64_t cookie, void *buf, size_t buf_size,
			   struct dv_dirent *out, size_t max);

	int (*flock)(void *self, int fd, int operation);
	/* F_RDLCK, F_UNLCK; -EAGAIN a writer has it open, or nothing to unlock; -EACCES, -EINVAL
	 * not to be had here. */
	int (*set_lease)(void *self, int fd, int type);
	/* -> F_RDLCK while held and not being broken, F_UNLCK otherwise */
	int (*get_lease)(void *self, int fd);

	/* Reading through fd moves no time of access from now on; the owner's right. */
	int (*set_noatime)(void *self, int fd);

	/* Bytes copied inside the filesystem, -EXDEV, -EOPNOTSUPP where it can not. */
	ssize_t (*copy_range)(void *self, int from, uint64_t from_off, int to, uint64_t to_off,
			      size_t len);

	/* The calling thread makes files as this user until told otherwise; umask is not applied to
	 * modes by any function here. No-op where the process lacks the power. */
	void (*act_as)(void *self, uid_t uid, gid_t gid);
};

struct dv_backing {
	const struct dv_backing_ops *ops;
	void *self; /* borrowed by every call */
};

/* The kernel. Lives as long as the process. */
struct dv_backing dv_backing_posix(void);

/*
 * Once, before any thread starts: keeps capabilities over act_as (SECBIT_NO_SETUID_FIXUP), clears
 * the umask, ignores SIGIO (a broken lease), raises RLIMIT_NOFILE to its hard limit, and RLIMIT_FSIZE
 * as far as may be (past it writes fail with EFBIG, and SIGXFSZ is ignored), gives up the power to write past
 * quotas.
 */
void dv_backing_posix_prepare(void);

/* The id of this run of the kernel, which a record outlives only by a reboot or a power cut. ""
 * where it is not told. */
void dv_boot_id(char out[64]);

#endif
