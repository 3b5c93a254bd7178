/* SPDX-License-Identifier: MIT */
/*
 * notify.c - the thread that sends invalidations.
 */
#include "fs/notify.h"

#include "core/log.h"
#include "fs/session.h"

#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	uint64_t id, off;
};

struct fs_notify {
	struct fuse_session *se;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t filled;
	struct entry ring[FS_NOTIFY_MAX]; /* lock */
	unsigned first, count;		  /* lock */
	bool ending;			  /* lock */
};

static void *notify_thread(void *arg)
{
	struct fs_notify *n = arg;

	pthread_mutex_lock(&n->lock);
	for (;;) {
		struct entry e;

		while (!n->count && !n->ending)
			pthread_cond_wait(&n->filled, &n->lock);
		if (n->ending) /* nobody reads the cache of a mount that ends */
			break;
		e = n->ring[n->first];
		n->first = (n->first + 1) % FS_NOTIFY_MAX;
		n->count--;
		pthread_mutex_unlock(&n->lock);
		/* -ENOENT: the kernel has forgotten the node meanwhile. */
		dv_ignore(fuse_lowlevel_notify_inval_inode(n->se, e.id, (off_t)e.off, 0));
		pthread_mutex_lock(&n->lock);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

dv_err fs_notify_new(struct fuse_session *se, struct fs_notify **out)
{
	struct fs_notify *n = calloc(1, sizeof(*n));
	int err;

	if (!n)
		return -ENOMEM;
	n->se = se;
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->filled, NULL);
	err = pthread_create(&n->thread, NULL, notify_thread, n);
	if (err) {
		free(n);
		return -err;
	}
	*out = n;
	return 0;
}

void fs_notify_free(struct fs_notify **slot)
{
	struct fs_notify *n = *slot;

	if (!n)
		return;
	pthread_mutex_lock(&n->lock);
	n->ending = true;
	pthread_cond_signal(&n->filled);
	pthread_mutex_unlock(&n->lock);
	pthread_join(n->thread, NULL);
	pthread_cond_destroy(&n->filled);
	pthread_mutex_destroy(&n->lock);
	free(n);
	*slot = NULL;
}

void fs_notify_inval(struct fs_notify *n, uint64_t id, uint64_t off)
{
	bool dropped = false;

	pthread_mutex_lock(&n->lock);
	for (unsigned i = 0; i < n->count; i++) {
		struct entry *e = &n->ring[(n->first + i) % FS_NOTIFY_MAX];

		if (e->id == id) { /* one entry for a node is enough */
			e->off = off < e->off ? off : e->off;
			pthread_mutex_unlock(&n->lock);
			return;
		}
	}
	if (n->count == FS_NOTIFY_MAX) {
		dropped = true;
	} else {
		n->ring[(n->first + n->count) % FS_NOTIFY_MAX] = (struct entry){id, off};
		n->count++;
		pthread_cond_signal(&n->filled);
	}
	pthread_mutex_unlock(&n->lock);
	if (dropped)
		dv_debug("invalidation of node %" PRIu64 " left to the attribute timeout", id);
}

void fs_notify_changed(void *self, struct dv_node *node)
{
	struct fs_session *fs = self;
	uint64_t id;

	/* Counted first, so that fs_session_close() waits for it, or it sees the end. */
	atomic_fetch_add(&fs->notices, 1);
	if (!atomic_load(&fs->ending)) {
		id = fs_nodes_id_of(fs->nodes, node);
		if (id) /* -ENOENT: the kernel has forgotten it meanwhile */
			dv_ignore(fuse_lowlevel_notify_inval_inode(fs->se, id, -1, 0));
	}
	atomic_fetch_sub(&fs->notices, 1);
}
