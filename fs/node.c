/* SPDX-License-Identifier: MIT */
/*
 * node.c - the table of node ids.
 *
 * An id is a slot of the table and how often that slot was used before: id = uses << 32 | slot + 1.
 * So an id is found without a search, and an old id of a slot that has a new node is seen as
 * unknown. Slots live in chunks that never move. The slots in use stand in one list, looked up last
 * at its end; free ones in another.
 *
 * dv_node_cookie(node) points back to the slot, so that a second lookup of the same dv_node finds
 * its id. Why a lookup racing with a forget is right: both run under the mutex. Either the lookup
 * comes first, then the count is not zero when the forget is through; or the forget comes first,
 * then the cookie is NULL and the lookup makes a new id. The caller of fs_nodes_enter() holds a
 * reference of its own, so the dv_node lives in both cases.
 */
#include "fs/node.h"

#include "core/log.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SLOTS 1024u
#define USES_MAX                                                                                   \
	((1u << 30) -                                                                              \
	 1) /* ids stay below 2^62, which the virtual folder has; then from 0 again   \
			  */
#define NONE UINT32_MAX

struct fs_node {
	struct dv_node *node; /* one reference; NULL: free */
	uint64_t nlookup;     /* lookups that the kernel was told of and has not forgotten */
	uint32_t slot, uses;  /* constant while in use */
	uint32_t prev, next;  /* slots of the list it is in */
};

struct fs_nodes {
	struct dv_store *store;
	pthread_mutex_t lock; /* all below */
	struct fs_node **chunks;
	uint32_t chunk_count, chunk_room;
	uint32_t free_first;		/* free slots, by next */
	uint32_t used_first, used_last; /* looked up longest ago first; without the root */
	uint64_t count;
};

static struct fs_node *at_locked(struct fs_nodes *nodes, uint32_t slot)
{
	return &nodes->chunks[slot / CHUNK_SLOTS][slot % CHUNK_SLOTS];
}

static uint64_t id_of(const struct fs_node *n)
{
	return (uint64_t)n->uses << 32 | (n->slot + 1);
}

static struct fs_node *find_locked(struct fs_nodes *nodes, uint64_t id)
{
	uint32_t slot = (uint32_t)id - 1;
	struct fs_node *n;

	if ((uint32_t)id == 0 || slot / CHUNK_SLOTS >= nodes->chunk_count)
		return NULL;
	n = at_locked(nodes, slot);
	return n->node && id_of(n) == id ? n : NULL;
}

/* One more chunk of free slots. */
static bool grow_locked(struct fs_nodes *nodes)
{
	struct fs_node *chunk;

	if (nodes->chunk_count == NONE / CHUNK_SLOTS)
		return false;
	if (nodes->chunk_count == nodes->chunk_room) {
		uint32_t room = nodes->chunk_room ? nodes->chunk_room * 2 : 16;
		struct fs_node **grown = realloc(nodes->chunks, room * sizeof(*grown));

		if (!grown)
			return false;
		nodes->chunks = grown;
		nodes->chunk_room = room;
	}
	chunk = calloc(CHUNK_SLOTS, sizeof(*chunk));
	if (!chunk)
		return false;
	for (uint32_t i = 0; i < CHUNK_SLOTS; i++) {
		chunk[i].slot = nodes->chunk_count * CHUNK_SLOTS + i;
		chunk[i].next = i + 1 < CHUNK_SLOTS ? chunk[i].slot + 1 : nodes->free_first;
	}
	nodes->free_first = chunk[0].slot;
	nodes->chunks[nodes->chunk_count++] = chunk;
	return true;
}

static void unlink_locked(struct fs_nodes *nodes, struct fs_node *n)
{
	if (n->prev == NONE)
		nodes->used_first = n->next;
	else
		at_locked(nodes, n->prev)->next = n->next;
	if (n->next == NONE)
		nodes->used_last = n->prev;
	else
		at_locked(nodes, n->next)->prev = n->prev;
}

static void append_locked(struct fs_nodes *nodes, struct fs_node *n)
{
	n->prev = nodes->used_last;
	n->next = NONE;
	if (nodes->used_last == NONE)
		nodes->used_first = n->slot;
	else
		at_locked(nodes, nodes->used_last)->next = n->slot;
	nodes->used_last = n->slot;
}

static struct fs_node *add_locked(struct fs_nodes *nodes, struct dv_node *node)
{
	struct fs_node *n;

	if (nodes->free_first == NONE && !grow_locked(nodes))
		return NULL;
	n = at_locked(nodes, nodes->free_first);
	nodes->free_first = n->next;
	n->node = node;
	n->nlookup = 1;
	if (id_of(n) != FS_ROOT_ID) /* the root is never forgotten */
		append_locked(nodes, n);
	*dv_node_cookie(node) = n;
	nodes->count++;
	return n;
}

/* -> its dv_node, whose reference is the caller's now. */
static struct dv_node *remove_locked(struct fs_nodes *nodes, struct fs_node *n)
{
	struct dv_node *node = n->node;

	*dv_node_cookie(node) = NULL;
	if (id_of(n) != FS_ROOT_ID)
		unlink_locked(nodes, n);
	n->node = NULL;
	n->uses = n->uses == USES_MAX ? 0 : n->uses + 1;
	n->next = nodes->free_first;
	nodes->free_first = n->slot;
	nodes->count--;
	return node;
}

dv_err fs_nodes_new(struct dv_store *store, struct fs_nodes **out)
{
	struct fs_nodes *nodes = calloc(1, sizeof(*nodes));

	if (!nodes)
		return -ENOMEM;
	nodes->store = store;
	nodes->free_first = nodes->used_first = nodes->used_last = NONE;
	pthread_mutex_init(&nodes->lock, NULL);
	if (fs_nodes_enter(nodes, dv_store_root(store)) != FS_ROOT_ID) {
		fs_nodes_free(&nodes);
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
	/* The last thread: needs no lock, and no list any more. */
	for (uint32_t c = 0; c < nodes->chunk_count; c++) {
		for (uint32_t i = 0; i < CHUNK_SLOTS; i++) {
			struct dv_node *node = nodes->chunks[c][i].node;

			if (!node)
				continue;
			*dv_node_cookie(node) = NULL;
			dv_node_unref(nodes->store, node);
		}
		free(nodes->chunks[c]);
	}
	pthread_mutex_destroy(&nodes->lock);
	free(nodes->chunks);
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
	struct fs_node *n;
	uint64_t id = 0;
	bool spare = true; /* is the caller's reference one too many? */

	pthread_mutex_lock(&nodes->lock);
	n = *dv_node_cookie(node);
	if (n) {
		n->nlookup++;
		if (id_of(n) != FS_ROOT_ID) {
			unlink_locked(nodes, n);
			append_locked(nodes, n);
		}
	} else {
		n = add_locked(nodes, node);
		spare = n == NULL;
	}
	id = n ? id_of(n) : 0;
	pthread_mutex_unlock(&nodes->lock);
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
		if (n->nlookup == 0)
			node = remove_locked(nodes, n);
	}
	pthread_mutex_unlock(&nodes->lock);
	if (odd || !n)
		dv_warn("FORGET of %" PRIu64 " lookups of node %" PRIu64 ": more than were given",
			count, id);
	if (node)
		dv_node_unref(nodes->store, node);
}

uint64_t fs_nodes_id_of(struct fs_nodes *nodes, struct dv_node *node)
{
	struct fs_node *n;
	uint64_t id;

	pthread_mutex_lock(&nodes->lock);
	n = *dv_node_cookie(node);
	id = n ? id_of(n) : 0;
	pthread_mutex_unlock(&nodes->lock);
	return id;
}

size_t fs_nodes_oldest(struct fs_nodes *nodes, struct dv_node **out, size_t max)
{
	size_t count = 0;

	pthread_mutex_lock(&nodes->lock);
	while (count < max && count < nodes->count - 1) {
		struct fs_node *n = at_locked(nodes, nodes->used_first);

		out[count++] = dv_node_ref(n->node);
		unlink_locked(nodes, n);
		append_locked(nodes,
			      n); /* if it is in use it is not tried again before all others */
	}
	pthread_mutex_unlock(&nodes->lock);
	return count;
}

uint64_t fs_nodes_count(struct fs_nodes *nodes)
{
	uint64_t count;

	pthread_mutex_lock(&nodes->lock);
	count = nodes->count;
	pthread_mutex_unlock(&nodes->lock);
	return count;
}
