/* SPDX-License-Identifier: MIT */
/*
 * node.c - the table of node ids.
 *
 * dv_node_cookie(node) points back to the entry, so that a second lookup of the same dv_node finds
 * its id. Why a lookup racing with a forget is right: both run under the mutex. Either the lookup
 * comes first, then the count is not zero when the forget is through; or the forget comes
 * first, then the cookie is NULL and the lookup makes a new id. The caller of fs_nodes_enter()
 * holds a reference of its own, so the dv_node lives in both cases.
 */
#include "fs/node.h"

#include "core/log.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM	   1
#define uthash_nonfatal_oom(entry) ((entry)->id = 0)
/* uthash's arithmetic mixes widths on purpose. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include <uthash.h>

struct fs_node {
	uint64_t id;
	uint64_t nlookup;     /* lookups that the kernel was told of and has not forgotten */
	struct dv_node *node; /* one reference */
	UT_hash_handle hh;
};

struct fs_nodes {
	struct dv_store *store;
	pthread_mutex_t lock;
	struct fs_node *by_id; /* lock */
	uint64_t last_id;      /* lock */
};

static struct fs_node *find_locked(struct fs_nodes *nodes, uint64_t id)
{
	struct fs_node *n;

	HASH_FIND(hh, nodes->by_id, &id, sizeof(id), n);
	return n;
}

static bool add_locked(struct fs_nodes *nodes, struct fs_node *n)
{
	HASH_ADD(hh, nodes->by_id, id, sizeof(n->id), n);
	return n->id != 0;
}

static void remove_locked(struct fs_nodes *nodes, struct fs_node *n)
{
	HASH_DEL(nodes->by_id, n);
	*dv_node_cookie(n->node) = NULL;
}
#pragma GCC diagnostic pop

dv_err fs_nodes_new(struct dv_store *store, struct fs_nodes **out)
{
	struct fs_nodes *nodes = calloc(1, sizeof(*nodes));

	if (!nodes)
		return -ENOMEM;
	nodes->store = store;
	nodes->last_id = FS_ROOT_ID - 1;
	pthread_mutex_init(&nodes->lock, NULL);
	if (fs_nodes_enter(nodes, dv_store_root(store)) != FS_ROOT_ID) {
		pthread_mutex_destroy(&nodes->lock);
		free(nodes);
		return -ENOMEM;
	}
	*out = nodes;
	return 0;
}

void fs_nodes_free(struct fs_nodes **slot)
{
	struct fs_nodes *nodes = *slot;

	if (!nodes)
		return;
	while (nodes->by_id) {
		struct fs_node *n = nodes->by_id;

		remove_locked(nodes, n); /* the last thread: needs no lock */
		dv_node_unref(nodes->store, n->node);
		free(n);
	}
	pthread_mutex_destroy(&nodes->lock);
	free(nodes);
	*slot = NULL;
}

struct dv_node *fs_nodes_get(struct fs_nodes *nodes, uint64_t id)
{
	struct dv_node *node = NULL;
	struct fs_node *n;

	pthread_mutex_lock(&nodes->lock);
	n = find_locked(nodes, id);
	if (n)
		node = dv_node_ref(n->node);
	pthread_mutex_unlock(&nodes->lock);
	return node;
}

uint64_t fs_nodes_enter(struct fs_nodes *nodes, struct dv_node *node)
{
	struct fs_node *fresh = calloc(1, sizeof(*fresh)); /* before the lock; rarely in vain */
	struct fs_node *n;
	uint64_t id = 0;
	bool spare = true; /* is the caller's reference one too many? */

	pthread_mutex_lock(&nodes->lock);
	n = *dv_node_cookie(node);
	if (n) {
		n->nlookup++;
		id = n->id;
	} else if (fresh) {
		fresh->id = ++nodes->last_id;
		fresh->nlookup = 1;
		fresh->node = node;
		if (add_locked(nodes, fresh)) {
			*dv_node_cookie(node) = fresh;
			id = fresh->id;
			spare = false;
			fresh = NULL;
		}
	}
	pthread_mutex_unlock(&nodes->lock);
	free(fresh);
	if (spare)
		dv_node_unref(nodes->store, node);
	return id;
}

void fs_nodes_forget(struct fs_nodes *nodes, uint64_t id, uint64_t count)
{
	struct dv_node *node = NULL;
	struct fs_node *n;
	bool odd = false;

	if (id == FS_ROOT_ID)
		return;
	pthread_mutex_lock(&nodes->lock);
	n = find_locked(nodes, id);
	if (n) {
		odd = count > n->nlookup;
		n->nlookup -= odd ? n->nlookup : count;
		if (n->nlookup == 0) {
			remove_locked(nodes, n);
			node = n->node;
		}
	}
	pthread_mutex_unlock(&nodes->lock);
	if (odd || !n)
		dv_warn("FORGET of %" PRIu64 " lookups of node %" PRIu64 ": more than were given",
			count, id);
	if (node) {
		free(n);
		dv_node_unref(nodes->store, node);
	}
}

uint64_t fs_nodes_id_of(struct fs_nodes *nodes, struct dv_node *node)
{
	struct fs_node *n;
	uint64_t id;

	pthread_mutex_lock(&nodes->lock);
	n = *dv_node_cookie(node);
	id = n ? n->id : 0;
	pthread_mutex_unlock(&nodes->lock);
	return id;
}

uint64_t fs_nodes_count(struct fs_nodes *nodes)
{
	uint64_t count;

	pthread_mutex_lock(&nodes->lock);
	count = HASH_COUNT(nodes->by_id);
	pthread_mutex_unlock(&nodes->lock);
	return count;
}
