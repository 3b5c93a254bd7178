/* SPDX-License-Identifier: MIT */
/*
 * probe.c - the read lease.
 *
 * As root the file is opened by handle, which is (node id, generation): no name is looked up, and
 * -ESTALE tells that the kernel has no such inode in memory, so no descriptor and no mapping
 * either (it asks us for one then, and gets none: op_lookup()). Else it is opened by a path of it, and st_ino tells whether that is still the same file.
 */
#include "fs/probe.h"

#include "fs/session.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Kernel: include/linux/exportfs.h FILEID_INO64_GEN; fs/fuse/inode.c fuse_encode_fh(). */
#define HANDLE_TYPE  0x81
#define HANDLE_WORDS 3u

#define WAIT_STEP_NS 1000000

/* The mount's root. Once the mount is out of the tree (umount -l) the path leads elsewhere:
 * -ENOTCONN. */
static int open_mount(const struct fs_session *fs, int flags)
{
	int fd = open(fs->mountpoint, flags | O_DIRECTORY | O_CLOEXEC);
	struct statx stx;

	if (fd < 0)
		return -errno;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &stx) < 0 ||
	    stx.stx_dev_major != fs->dev_major || stx.stx_dev_minor != fs->dev_minor) {
		close(fd);
		return -ENOTCONN;
	}
	return fd;
}

static int open_by_id(const struct fs_session *fs, uint64_t id)
{
	union {
		struct file_handle head;
		char bytes[sizeof(struct file_handle) + HANDLE_WORDS * sizeof(uint32_t)];
	} h;
	const uint32_t words[HANDLE_WORDS] = {(uint32_t)(id >> 32), (uint32_t)id, fs->generation};
	int mount_fd, fd;

	memset(&h, 0, sizeof(h));
	h.head.handle_bytes = sizeof(words);
	h.head.handle_type = HANDLE_TYPE;
	memcpy(h.head.f_handle, words, sizeof(words));
	mount_fd = open_mount(fs, O_RDONLY); /* open_by_handle_at() refuses O_PATH: EBADF */
	if (mount_fd < 0)
		return mount_fd;
	fd = open_by_handle_at(mount_fd, &h.head, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	close(mount_fd);
	return fd;
}

static int open_by_path(const struct fs_session *fs, struct dv_node *node)
{
	char path[PATH_MAX];
	struct statx stx;
	int dir_fd, fd;

	path[0] = '\0';
	dv_node_path(fs->store, node, path, sizeof(path));
	if (!path[0])
		return -ENOENT;
	dir_fd = open_mount(fs, O_PATH);
	if (dir_fd < 0)
		return dir_fd;
	fd = openat(dir_fd, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	close(dir_fd);
	if (fd < 0)
		return fd;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &stx) < 0 ||
	    stx.stx_ino != dv_node_ino(node)) {
		close(fd);
		return -ENOENT;
	}
	return fd;
}

static int probe(struct fs_session *fs, struct dv_node *node)
{
	uint64_t id;
	int fd, answer;

	if (!atomic_load(&fs->serving) || atomic_load(&fs->ending))
		return -ENOTCONN;
	if (!S_ISREG(dv_node_type(node)))
		return 0;
	id = fs_nodes_id_of(fs->nodes, node);
	if (id == 0)
		return 0; /* the kernel does not know it */
	fs_stats_own_thread(&fs->stats);
	if (geteuid() == 0) {
		fd = open_by_id(fs, id);
		if (fd == -ESTALE)
			return 0;
	} else {
		fd = open_by_path(fs, node);
	}
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
		fcntl(fd, F_SETLEASE, F_UNLCK);
		answer = 0;
	} else {
		answer = errno == EAGAIN ? 1 : -errno;
	}
	close(fd);
	return answer;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int fs_probe_has_writer(void *self, struct dv_node *node)
{
	struct fs_session *fs = self;
	int answer;

	/* Counted first, so that fs_session_close() and fs_probe_pause() see either the count or
	 * are seen. */
	atomic_fetch_add(&fs->probes, 1);
	answer = now_ns() < atomic_load(&fs->probe_again_ns) ? 1 : probe(fs, node);
	atomic_fetch_sub(&fs->probes, 1);
	return answer;
}

void fs_probe_pause(struct fs_session *fs)
{
	int64_t again = now_ns() + FS_PROBE_PAUSE_NS;

	atomic_store(&fs->probe_again_ns, again);
	while (atomic_load(&fs->probes) > 0 && now_ns() < again)
		nanosleep(&(struct timespec){.tv_nsec = WAIT_STEP_NS}, NULL);
}
