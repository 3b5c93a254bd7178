/* SPDX-License-Identifier: MIT */
/*
 * node.c - the table of node ids.
 *
 * An id is a slot of the table and how often that slot was used before: id = uses << 32 | slot + 1.
 * So an id is found without a search, and an old id of a slot that has a new node is seen as
 * unknown. Slots live in chunks that never move. The slots in use stand in one list, looked up last
 * at its end; idle ones in another, forgotten last at its end; free ones in a third.
 *
 * dv_node_cookie(node) holds slot + 1, so that a second lookup of the same dv_node finds its id.
 * Why a lookup racing with a forget is right: both run under the mutex. Either the lookup comes
 * first, then the count is not zero when the forget is through; or the forget comes first, then
 * the cookie is 0 and the lookup makes a new id. The caller of fs_nodes_enter() holds a reference
 * of its own, so the dv_node lives in both cases.
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

/* As many as there are nodes: 24 bytes. */
struct fs_node {
	struct dv_node *node; /* one reference; NULL: free */
	uint32_t nlookup;     /* lookups that the kernel was told of and has not forgotten, 0: it is
				 idle; at LOOKUPS_MAX nobody counts any more, and it stays */
	uint32_t uses;	      /* constant while in use */
	uint32_t prev, next;  /* slots of the list it is in */
};
_Static_assert(sizeof(struct fs_node) == 24, "the kernel may know millions of nodes");
#ifndef LOOKUPS_MAX /* a test sets it */
#define LOOKUPS_MAX UINT32_MAX
#endif

struct slots {
	uint32_t first, last; /* NONE, NONE: empty */
};

struct fs_nodes {
	struct dv_store *store;
	uint32_t idle_max;
	pthread_mutex_t lock; /* all below */
	struct fs_node **chunks;
	uint32_t chunk_count, chunk_room;
	uint32_t free_first; /* free slots, by next */
	struct slots used;   /* looked up longest ago first; without the root */
	struct slots idle;   /* forgotten longest ago first */
	struct fs_nodes_numbers numbers;
};

static struct fs_node *at_locked(struct fs_nodes *nodes, uint32_t slot)
{
	return &nodes->chunks[slot / CHUNK_SLOTS][slot % CHUNK_SLOTS];
}

static uint64_t id_locked(struct fs_nodes *nodes, uint32_t slot)
{
	return (uint64_t)at_locked(nodes, slot)->uses << 32 | (slot + 1);
}

#define ROOT_SLOT (FS_ROOT_ID - 1u)

/* -> its slot, NONE: unknown. */
static uint32_t find_locked(struct fs_nodes *nodes, uint64_t id)
{
	uint32_t slot = (uint32_t)id - 1;

	if ((uint32_t)id == 0 || slot / CHUNK_SLOTS >= nodes->chunk_count)
		return NONE;
	return at_locked(nodes, slot)->node && id_locked(nodes, slot) == id ? slot : NONE;
}

static uint32_t slot_of_locked(struct dv_node *node)
{
	return *dv_node_cookie(node) - 1; /* NONE where it is 0 */
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
		uint32_t slot = nodes->chunk_count * CHUNK_SLOTS + i;

		chunk[i].next = i + 1 < CHUNK_SLOTS ? slot + 1 : nodes->free_first;
	}
	nodes->free_first = nodes->chunk_count * CHUNK_SLOTS;
	nodes->chunks[nodes->chunk_count++] = chunk;
	return true;
}

static void unlink_locked(struct fs_nodes *nodes, struct slots *list, uint32_t slot)
{
	struct fs_node *n = at_locked(nodes, slot);

	if (n->prev == NONE)
		list->first = n->next;
	else
		at_locked(nodes, n->prev)->next = n->next;
	if (n->next == NONE)
		list->last = n->prev;
	else
		at_locked(nodes, n->next)->prev = n->prev;
}

static void append_locked(struct fs_nodes *nodes, struct slots *list, uint32_t slot)
{
	struct fs_node *n = at_locked(nodes, slot);

	n->prev = list->last;
	n->next = NONE;
	if (list->last == NONE)
		list->first = slot;
	else
		at_locked(nodes, list->last)->next = slot;
	list->last = slot;
}

static void count_used_locked(struct fs_nodes *nodes)
{
	if (++nodes->numbers.count > nodes->numbers.peak)
		nodes->numbers.peak = nodes->numbers.count;
}

/* -> its slot, NONE: no memory. */
static uint32_t add_locked(struct fs_nodes *nodes, struct dv_node *node)
{
	uint32_t slot;
	struct fs_node *n;

	if (nodes->free_first == NONE && !grow_locked(nodes))
		return NONE;
	slot = nodes->free_first;
	n = at_locked(nodes, slot);
	nodes->free_first = n->next;
	n->node = node;
	n->nlookup = 1;
	if (slot != ROOT_SLOT) /* the root is never forgotten */
		append_locked(nodes, &nodes->used, slot);
	*dv_node_cookie(node) = slot + 1;
	count_used_locked(nodes);
	return slot;
}

/* The kernel has forgotten it. */
static void make_idle_locked(struct fs_nodes *nodes, uint32_t slot)
{
	unlink_locked(nodes, &nodes->used, slot);
	append_locked(nodes, &nodes->idle, slot);
	nodes->numbers.count--;
	nodes->numbers.idle++;
	nodes->numbers.forgotten++;
}

/* Of an idle one. -> its dv_node, whose reference is the caller's now. */
static struct dv_node *remove_locked(struct fs_nodes *nodes, uint32_t slot)
{
	struct fs_node *n = at_locked(nodes, slot);
	struct dv_node *node = n->node;

	*dv_node_cookie(node) = 0;
	unlink_locked(nodes, &nodes->idle, slot);
	n->node = NULL;
	n->uses = n->uses == USES_MAX ? 0 : n->uses + 1;
	n->next = nodes->free_first;
	nodes->free_first = slot;
	nodes->numbers.idle--;
	return node;
}

dv_err fs_nodes_new(struct dv_store *store, uint32_t idle_max, struct fs_nodes **out)
{
	struct fs_nodes *nodes = calloc(1, sizeof(*nodes));

	if (!nodes)
		return -ENOMEM;
	nodes->store = store;
	nodes->idle_max = idle_max;
	nodes->free_first = NONE;
	nodes->used = nodes->idle = (struct slots){NONE, NONE};
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
			*dv_node_cookie(node) = 0;
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
	uint32_t slot;

	pthread_mutex_lock(&nodes->lock);
	slot = find_locked(nodes, id);
	if (slot != NONE)
		node = dv_node_ref(at_locked(nodes, slot)->node);
	pthread_mutex_unlock(&nodes->lock);
	return node;
}

static void count_lookup_locked(struct fs_nodes *nodes, uint32_t slot)
{
	struct fs_node *n = at_locked(nodes, slot);
	bool was_idle = n->nlookup == 0;

	if (n->nlookup != LOOKUPS_MAX)
		n->nlookup++;
	if (slot == ROOT_SLOT)
		return;
	unlink_locked(nodes, was_idle ? &nodes->idle : &nodes->used, slot);
	append_locked(nodes, &nodes->used, slot);
	if (was_idle) {
		nodes->numbers.idle--;
		count_used_locked(nodes);
	}
}

uint64_t fs_nodes_enter_first(struct fs_nodes *nodes, struct dv_node *node, bool *first)
{
	uint32_t slot;
	uint64_t id = 0;
	bool spare = true; /* is the caller's reference one too many? */

	pthread_mutex_lock(&nodes->lock);
	slot = slot_of_locked(node);
	*first = slot == NONE || at_locked(nodes, slot)->nlookup == 0;
	if (slot != NONE) {
		count_lookup_locked(nodes, slot);
	} else {
		slot = add_locked(nodes, node);
		spare = slot == NONE;
	}
	if (slot != NONE)
		id = id_locked(nodes, slot);
	pthread_mutex_unlock(&nodes->lock);
	if (spare)
		dv_node_unref(nodes->store, node);
	return id;
}

uint64_t fs_nodes_enter(struct fs_nodes *nodes, struct dv_node *node)
{
	bool first;

	return fs_nodes_enter_first(nodes, node, &first);
}

/* -> the lookups that are left. The kernel may not count as we do: *odd. */
static uint32_t forget_locked(struct fs_node *n, uint64_t count, bool *odd)
{
	*odd = count > n->nlookup && n->nlookup != LOOKUPS_MAX;
	if (n->nlookup != LOOKUPS_MAX)
		n->nlookup -= *odd ? n->nlookup : (uint32_t)count;
	return n->nlookup;
}

/* id is not to stay idle; where it was looked up meanwhile it is not. */
static void drop_idle(struct fs_nodes *nodes, uint64_t id)
{
	struct dv_node *node = NULL;
	uint32_t slot;

	pthread_mutex_lock(&nodes->lock);
	slot = find_locked(nodes, id);
	if (slot != NONE && at_locked(nodes, slot)->nlookup == 0)
		node = remove_locked(nodes, slot);
	pthread_mutex_unlock(&nodes->lock);
	dv_node_unref(nodes->store, node);
}

void fs_nodes_forget(struct fs_nodes *nodes, uint64_t id, uint64_t count)
{
	struct dv_node *idle = NULL, *oldest = NULL;
	uint32_t slot;
	bool odd = true;

	if (id == FS_ROOT_ID)
		return;
	pthread_mutex_lock(&nodes->lock);
	slot = find_locked(nodes, id);
	if (slot != NONE && at_locked(nodes, slot)->nlookup > 0 &&
	    forget_locked(at_locked(nodes, slot), count, &odd) == 0) {
		make_idle_locked(nodes, slot);
		idle = dv_node_ref(at_locked(nodes, slot)->node);
		if (nodes->numbers.idle > nodes->idle_max)
			oldest = remove_locked(nodes, nodes->idle.first);
	}
	pthread_mutex_unlock(&nodes->lock);
	if (odd)
		dv_warn("FORGET of %" PRIu64 " lookups of node %" PRIu64 ": more than were given",
			count, id);
	if (idle && !dv_node_rest(nodes->store, idle))
		drop_idle(nodes, id);
	dv_node_unref(nodes->store, idle);
	dv_node_unref(nodes->store, oldest);
}

uint64_t fs_nodes_id_of(struct fs_nodes *nodes, struct dv_node *node)
{
	uint32_t slot;
	uint64_t id;

	pthread_mutex_lock(&nodes->lock);
	slot = slot_of_locked(node);
	id = slot == NONE || at_locked(nodes, slot)->nlookup == 0 ? 0 : id_locked(nodes, slot);
	pthread_mutex_unlock(&nodes->lock);
	return id;
}

size_t fs_nodes_oldest(struct fs_nodes *nodes, uint64_t *out, size_t max)
{
	size_t count = 0;

	pthread_mutex_lock(&nodes->lock);
	while (count < max && count < nodes->numbers.count - 1) {
		uint32_t slot = nodes->used.first;

		out[count++] = id_locked(nodes, slot);
		/* If it is in use it is not tried again before all others. */
		unlink_locked(nodes, &nodes->used, slot);
		append_locked(nodes, &nodes->used, slot);
	}
	pthread_mutex_unlock(&nodes->lock);
	return count;
}

uint64_t fs_nodes_count(struct fs_nodes *nodes)
{
	struct fs_nodes_numbers numbers;

	fs_nodes_tell(nodes, &numbers);
	return numbers.count;
}

void fs_nodes_tell(struct fs_nodes *nodes, struct fs_nodes_numbers *out)
{
	pthread_mutex_lock(&nodes->lock);
	*out = nodes->numbers;
	pthread_mutex_unlock(&nodes->lock);
}
