/* SPDX-License-Identifier: MIT */
/*
 * probe.c - the read lease, and the thread that takes it.
 *
 * What that thread asks the kernel, the kernel may ask this daemon. When the daemon is killed just then, the
 * thread can not die before it has its answer: none comes before the connection is closed, and that is
 * open as long as a thread lives that shares its descriptor. The mount would hang for ever. So this one has a
 * table of descriptors of its own, with nothing in it but what a probe opens.
 *
 * As root the file is opened by handle, which is (node id, generation): no name is looked up, and -ESTALE
 * tells that the kernel has no such inode in memory, so no descriptor and no mapping either (it asks us for
 * one then, and gets none: op_lookup()). Else, and as a root without CAP_DAC_READ_SEARCH (in a container), it is
 * opened by a path of it, and st_ino tells whether that is still the same file.
 */
#include "fs/probe.h"

#include "fs/session.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
	int fd = -EPERM, answer;

	id = fs_nodes_id_of(fs->nodes, node);
	if (id == 0)
		return 0; /* the kernel does not know it */
	if (geteuid() == 0)
		fd = open_by_id(fs, id);
	if (fd == -ESTALE)
		return 0;
	if (fd == -EPERM)
		fd = open_by_path(fs, node);
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

/* ---- the thread ---- */

struct fs_probe {
	struct fs_session *fs;
	pthread_t thread;
	pthread_mutex_t asking; /* by one after the other; before lock */
	pthread_mutex_t lock;
	pthread_cond_t asked, answered;
	struct dv_node *node; /* lock; NULL: nobody asks */
	bool ending;	      /* lock */
	int answer;	      /* lock; of node */
};

/* The thread sanitizer takes one number for one descriptor, whatever table it is in. */
#if defined(__SANITIZE_THREAD__)
#define SHARES true
#elif defined(__has_feature)
#define SHARES __has_feature(thread_sanitizer)
#else
#define SHARES false
#endif

/*
 * Of the process everything is closed here, the three of its caller too: who reads what `mount` prints would wait
 * for this thread to close them. Nothing is to be opened here that another thread uses, so nothing is logged.
 */
static void leave_descriptors(void)
{
#ifdef SYS_close_range
	const unsigned unshare = 2; /* CLOSE_RANGE_UNSHARE */

	/* Before Linux 5.9 a daemon that is killed while it probes has to be unmounted with -f. */
	if (SHARES || syscall(SYS_close_range, 0u, ~0u, unshare))
		return;
	/* What a library writes to one of the three is not to come to a file of the mount. */
	for (int i = 0; i <= STDERR_FILENO; i++)
		dv_ignore(open("/dev/null", O_RDWR));
#endif
}

static void *probe_thread(void *arg)
{
	struct fs_probe *p = arg;

	leave_descriptors();
	fs_stats_own_thread(&p->fs->stats);
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct dv_node *node;
		int answer;

		while (!p->node && !p->ending)
			pthread_cond_wait(&p->asked, &p->lock);
		if (p->ending)
			break;
		node = p->node;
		pthread_mutex_unlock(&p->lock);
		answer = probe(p->fs, node);
		pthread_mutex_lock(&p->lock);
		p->answer = answer;
		p->node = NULL;
		pthread_cond_signal(&p->answered);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int ask(struct fs_probe *p, struct dv_node *node)
{
	int answer;

	pthread_mutex_lock(&p->asking);
	pthread_mutex_lock(&p->lock);
	p->node = node;
	pthread_cond_signal(&p->asked);
	while (p->node)
		pthread_cond_wait(&p->answered, &p->lock);
	answer = p->answer;
	pthread_mutex_unlock(&p->lock);
	pthread_mutex_unlock(&p->asking);
	return answer;
}

dv_err fs_probe_new(struct fs_session *fs, struct fs_probe **out)
{
	struct fs_probe *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->fs = fs;
	pthread_mutex_init(&p->asking, NULL);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->asked, NULL);
	pthread_cond_init(&p->answered, NULL);
	err = pthread_create(&p->thread, NULL, probe_thread, p);
	if (err) {
		free(p);
		return -err;
	}
	*out = p;
	return 0;
}

void fs_probe_free(struct fs_probe **slot)
{
	struct fs_probe *p = *slot;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_signal(&p->asked);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pthread_cond_destroy(&p->answered);
	pthread_cond_destroy(&p->asked);
	pthread_mutex_destroy(&p->lock);
	pthread_mutex_destroy(&p->asking);
	free(p);
	*slot = NULL;
}

/* ---- who asks ---- */

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
	if (!atomic_load(&fs->serving) || atomic_load(&fs->ending))
		answer = -ENOTCONN;
	else if (now_ns() < atomic_load(&fs->probe_again_ns))
		answer = 1;
	else
		answer = S_ISREG(dv_node_type(node)) ? ask(fs->probe, node) : 0;
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
