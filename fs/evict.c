/* SPDX-License-Identifier: MIT */
/*
 * evict.c - the thread that asks the kernel to let go.
 *
 * A thread of its own: to invalidate a name takes the directory's lock, which the kernel holds
 * during a LOOKUP in it.
 */
#include "fs/evict.h"

#include "core/log.h"
#include "fs/session.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64u
/* From so many on, down to so many, so that it does not wake for each one. */
#define START(max) ((max) - (max) / 16)
#define LOW(max)   ((max) - (max) / 8)
/* Past the maximum the serving thread sleeps as long as an invalidation takes, for each node. It
 * does not wait for one: the other thread may wait for a LOOKUP, in whose directory it is to be. */
#define PAUSE_NS     20000
#define PAUSE_MAX_NS 2000000
/* After a round the FORGETs are on their way. What is in use can not go: after rounds that freed
 * little it rests longer, unless a sixteenth of the maximum comes meanwhile. */
#define REST_MIN_NS   500000
#define REST_MAX_NS   1000000000
#define REST_STUCK_NS 16000000

struct fs_evict {
	struct fs_session *fs;
	uint64_t max;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool needed;
	atomic_bool stuck;     /* hardly anything can go: all is in use */
	_Atomic uint64_t left; /* nodes after the last round */
	uint64_t entered;      /* serving thread: nodes ever entered when it last looked */
	bool by_name;	       /* the thread's: the kernel can not prune */
	bool ending;	       /* lock */
};

/* Linux 6.18 (FUSE 7.45) drops nodes by their ids, of directories too, but for those in use. */
#define NOTIFY_PRUNE 9
struct notify_prune {
	struct fuse_out_header head; /* unique 0: a notification, error is its code */
	uint32_t count, padding;
	uint64_t spare;
	uint64_t ids[BATCH];
};

/* -> false: this kernel does not know how. */
static bool prune(struct fs_evict *e, const uint64_t *ids, size_t count)
{
	struct notify_prune m = {.head = {.error = NOTIFY_PRUNE}, .count = (uint32_t)count};

	m.head.len = (uint32_t)(offsetof(struct notify_prune, ids) + count * sizeof(*ids));
	memcpy(m.ids, ids, count * sizeof(*ids));
	if (write(fuse_session_fd(e->fs->se), &m, m.head.len) < 0)
		return errno != EINVAL;
	atomic_fetch_add_explicit(&e->fs->stats.pruned, count, memory_order_relaxed);
	return true;
}

static void invalidate(struct fs_session *fs, uint64_t id)
{
	struct dv_node *node = fs_nodes_get(fs->nodes, id), *dir = NULL;
	char name[256];

	if (node && !S_ISDIR(dv_node_type(node)) &&
	    dv_node_parent(fs->store, node, &dir, name) == 0) {
		uint64_t parent = fs_nodes_id_of(fs->nodes, dir);

		if (parent) /* -ENOENT: not in the kernel's cache any more */
			dv_ignore(fuse_lowlevel_notify_inval_entry(fs->se, parent, name,
								   strlen(name)));
		dv_node_unref(fs->store, dir);
	}
	dv_node_unref(fs->store, node);
}

/* Asks for as many to go as there are too many: those that were looked up longest ago, and next
 * time the ones after them. -> how many were asked for. */
static uint64_t evict_some(struct fs_evict *e)
{
	uint64_t batch[BATCH];
	uint64_t count = fs_nodes_count(e->fs->nodes), asked = 0, n = 1;
	uint64_t want = count > LOW(e->max) ? count - LOW(e->max) : 0;

	while (n && asked < want && !atomic_load(&e->fs->ending)) {
		n = fs_nodes_oldest(e->fs->nodes, batch,
				    want - asked < BATCH ? (size_t)(want - asked) : BATCH);
		e->by_name = e->by_name || !prune(e, batch, (size_t)n);
		for (size_t i = 0; e->by_name && i < n; i++)
			invalidate(e->fs, batch[i]);
		asked += n;
	}
	return asked;
}

/* Waits with the lock given up. */
static void rest_locked(struct fs_evict *e, long ns)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (until.tv_nsec + ns) / 1000000000;
	until.tv_nsec = (until.tv_nsec + ns) % 1000000000;
	if (!e->ending)
		pthread_cond_timedwait(&e->wake, &e->lock, &until);
}

static void *evict_thread(void *arg)
{
	struct fs_evict *e = arg;
	long rest_ns = REST_MIN_NS;

	fs_stats_own_thread(&e->fs->stats);
	pthread_mutex_lock(&e->lock);
	while (!e->ending) {
		struct fs_nodes_numbers before, after;
		uint64_t asked;

		if (!atomic_load(&e->needed)) {
			pthread_cond_wait(&e->wake, &e->lock);
			continue;
		}
		pthread_mutex_unlock(&e->lock);
		fs_nodes_tell(e->fs->nodes, &before);
		asked = evict_some(e);
		pthread_mutex_lock(&e->lock);
		rest_locked(e, rest_ns);
		fs_nodes_tell(e->fs->nodes, &after);
		if (after.forgotten - before.forgotten >= asked / 4)
			rest_ns = REST_MIN_NS;
		else
			rest_ns = rest_ns * 2 < REST_MAX_NS ? rest_ns * 2 : REST_MAX_NS;
		atomic_store(&e->left, after.count);
		atomic_store(&e->stuck, rest_ns >= REST_STUCK_NS);
		if (after.count <= START(e->max))
			atomic_store(&e->needed, false);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

dv_err fs_evict_new(struct fs_session *fs, uint64_t max, struct fs_evict **out)
{
	struct fs_evict *e = calloc(1, sizeof(*e));
	pthread_condattr_t attr;
	int err;

	if (!e)
		return -ENOMEM;
	e->fs = fs;
	e->max = max;
	pthread_mutex_init(&e->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&e->wake, &attr);
	pthread_condattr_destroy(&attr);
	err = pthread_create(&e->thread, NULL, evict_thread, e);
	if (err) {
		free(e);
		return -err;
	}
	*out = e;
	return 0;
}

void fs_evict_free(struct fs_evict **slot)
{
	struct fs_evict *e = *slot;

	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->ending = true;
	pthread_cond_signal(&e->wake);
	pthread_mutex_unlock(&e->lock);
	pthread_join(e->thread, NULL);
	pthread_cond_destroy(&e->wake);
	pthread_mutex_destroy(&e->lock);
	free(e);
	*slot = NULL;
}

void fs_evict_check(struct fs_evict *e)
{
	struct fs_nodes_numbers now;
	uint64_t entered, pause;

	if (!e)
		return;
	fs_nodes_tell(e->fs->nodes, &now);
	if (now.count <= START(e->max))
		return;
	if (!atomic_exchange(&e->needed, true) || now.count > atomic_load(&e->left) + e->max / 16) {
		pthread_mutex_lock(&e->lock);
		pthread_cond_signal(&e->wake);
		pthread_mutex_unlock(&e->lock);
	}
	entered = now.count + now.forgotten;
	pause = (entered - e->entered) * PAUSE_NS;
	e->entered = entered;
	if (now.count > e->max && pause && !atomic_load(&e->stuck))
		nanosleep(&(struct timespec){.tv_nsec = pause < PAUSE_MAX_NS ? (long)pause
									     : PAUSE_MAX_NS},
			  NULL);
}

bool fs_evict_is_full(struct fs_evict *e)
{
	return e && fs_nodes_count(e->fs->nodes) > e->max;
}
