/* SPDX-License-Identifier: MIT */
/*
 * evict.c - the thread that invalidates names.
 *
 * A thread of its own: the notification takes the directory's lock, which the kernel holds during a
 * LOOKUP in it.
 */
#include "fs/evict.h"

#include "core/log.h"
#include "fs/session.h"

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 64u
/* Goes on to this share of the maximum, so that it does not wake for each one. */
#define LOW(max) ((max) - (max) / 16)
/* What is in use can not go: after a round that freed nothing it rests. */
#define REST_NS 100000000

struct fs_evict {
	struct fs_session *fs;
	uint64_t max;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool needed;
	bool ending; /* lock */
};

static void evict_one(struct fs_session *fs, struct dv_node *node)
{
	struct dv_node *dir = NULL;
	char name[256];

	if (!S_ISDIR(dv_node_type(node)) && dv_node_parent(fs->store, node, &dir, name) == 0) {
		uint64_t parent = fs_nodes_id_of(fs->nodes, dir);

		if (parent) /* -ENOENT: not in the kernel's cache any more */
			dv_ignore(fuse_lowlevel_notify_inval_entry(fs->se, parent, name,
								   strlen(name)));
		dv_node_unref(fs->store, dir);
	}
	dv_node_unref(fs->store, node);
}

/* One pass: at most as many as there are. */
static void evict_some(struct fs_evict *e)
{
	struct dv_node *batch[BATCH];
	uint64_t count = fs_nodes_count(e->fs->nodes), tried = 0;
	size_t n = 1;

	while (n && tried < count && !atomic_load(&e->fs->ending) &&
	       fs_nodes_count(e->fs->nodes) > LOW(e->max)) {
		n = fs_nodes_oldest(e->fs->nodes, batch, BATCH);
		for (size_t i = 0; i < n; i++)
			evict_one(e->fs, batch[i]);
		tried += n;
	}
}

static void *evict_thread(void *arg)
{
	struct fs_evict *e = arg;

	fs_stats_own_thread(&e->fs->stats);
	pthread_mutex_lock(&e->lock);
	while (!e->ending) {
		struct timespec until;

		if (!atomic_load(&e->needed)) {
			pthread_cond_wait(&e->wake, &e->lock);
			continue;
		}
		pthread_mutex_unlock(&e->lock);
		evict_some(e);
		atomic_store(&e->needed, false);
		pthread_mutex_lock(&e->lock);
		if (fs_nodes_count(e->fs->nodes) <= e->max || e->ending)
			continue;
		/* FORGETs are on their way, or all are in use. */
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += REST_NS;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		pthread_cond_timedwait(&e->wake, &e->lock, &until);
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

void fs_evict_check(struct fs_evict *e, uint64_t count)
{
	if (!e || count <= e->max || atomic_exchange(&e->needed, true))
		return;
	pthread_mutex_lock(&e->lock);
	pthread_cond_signal(&e->wake);
	pthread_mutex_unlock(&e->lock);
}
