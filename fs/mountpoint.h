/* SPDX-License-Identifier: MIT */
/*
 * mountpoint.h - what is mounted where, read from /proc/self/mountinfo, and mounts taken away.
 *
 * Looking into mountinfo sends no request to any filesystem, so it never hangs on a dead daemon and
 * may be done by the serving thread.
 */
#ifndef FS_MOUNTPOINT_H
#define FS_MOUNTPOINT_H

#include "core/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define FS_TYPE	     "fuse.diskvfs"
#define FS_FUSE_CONF "/etc/fuse.conf" /* of fusermount3 */

/* The topmost mount at a path. A plain value type. */
struct fs_mount {
	char source[PATH_MAX];
	char type[64];
	unsigned major, minor; /* its device number */
};

/* path: absolute, normal. -ENOENT: nothing is mounted exactly there. */
DV_CHECK dv_err fs_mountpoint_find(const char *path, struct fs_mount *out);

/* Is the filesystem m mounted at another place, by a bind mount, or in another namespace? *pid: a
 * process that sees it there, 0: this one too. Processes of others are looked at as root only. */
bool fs_mountpoint_elsewhere(const struct fs_mount *m, pid_t *pid, char path[PATH_MAX]);

/*
 * The absolute path of a mountpoint, symbolic links followed, also where a dead daemon left a mount
 * there (the last component is then not looked at). -ENOENT...
 */
DV_CHECK dv_err fs_mountpoint_resolve(const char *path, char out[PATH_MAX]);

/* Does a killed daemon's mount answer ENOTCONN there? */
bool fs_mountpoint_is_stale(const char *path);

/* umount2() as root, fusermount3 otherwise. lazy: take it out of the tree though it is in use.
 * -EBUSY in use; -EINVAL nothing mounted (root). */
DV_CHECK dv_err fs_mountpoint_unmount(const char *path, bool lazy);

/* As root: the mount at path takes writes or not from now on; its other flags stay. -EBUSY: files
 * are open for writing. */
DV_CHECK dv_err fs_mountpoint_remount(const char *path, bool read_only);

/* As root: the kernel reads this much ahead on the filesystem mounted at path. */
DV_CHECK dv_err fs_mountpoint_read_ahead(const char *path, unsigned kib);

/* Is inner the same as outer or beneath it? Both absolute and normal. */
bool fs_path_is_within(const char *inner, const char *outer);

/* May users let others use their mounts (user_allow_other in fusermount3's configuration)? */
bool fs_mountpoint_users_may_share(void);

#endif
