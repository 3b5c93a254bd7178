/* SPDX-License-Identifier: MIT */
/* keeper.c - see keeper.h. */
#include "core/keeper_private.h"

#include "core/cleanup.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/space.h"
#include "core/stage.h"
#include "core/value.h"

#include <string.h>
#include <unistd.h>
#include <utlist.h>

#define SCAN_MAX   (2u * DV_QUEUE_MAX) /* past DV_QUEUE_MAX all are due */
#define ROUNDED_MS 50	/* dues fall together, so that values share a round and its durability */
#define PROBES_MAX 5	/* by then the wait has come to DV_PROBE_LAST_MS */
#define ROUND_MAX  1024 /* values looked at in one round, so that new ones get their turn */

int64_t dv_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Stages stand in front, raw values behind in the order of their last change: what is due is near
 * the front. */
static void enqueue_locked(struct dv_store *s, struct dv_node *n, bool staged)
{
	if (staged)
		DL_PREPEND2(s->queue, n, queue_prev, queue_next);
	else
		DL_APPEND2(s->queue, n, queue_prev, queue_next);
	n->queued = true;
	s->queue_len++;
	if (n->due_ns < s->keeper_wake_ns)
		pthread_cond_signal(&s->queue_cond);
}

static void dequeue_locked(struct dv_store *s, struct dv_node *n)
{
	DL_DELETE2(s->queue, n, queue_prev, queue_next);
	n->queued = false;
	s->queue_len--;
}

static int64_t settle_ns(const struct dv_store *s, const struct dv_node *n)
{
	int64_t ms = s->options.settle_ms;
	unsigned unpacks = atomic_load(&n->unpacks);
	for (unsigned i = 0; i < unpacks && ms < DV_SETTLE_MAX_MS; i++)
		ms *= 2;
	return (ms < DV_SETTLE_MAX_MS ? ms : DV_SETTLE_MAX_MS) * MS;
}

static int64_t rounded(int64_t due_ns)
{
	return (due_ns / (ROUNDED_MS * MS) + 1) * (ROUNDED_MS * MS);
}

void dv_keeper_touch(struct dv_store *s, struct dv_node *n)
{
	int64_t now = dv_now_ns();
	if (!s->journal)
		return;
	bool staged = n->stage || n->loser;
	int64_t due = rounded(now + (staged ? DV_PROBE_FIRST_MS * MS : settle_ns(s, n)));
	pthread_mutex_lock(&s->queue_lock);
	n->changed_ns = now;
	if (n->queued && due < n->due_ns) /* it was raw, and settling */
		dequeue_locked(s, n);
	else if (!n->queued)
		dv_node_ref(n);
	if (!n->queued) {
		n->probes = 0;
		n->due_ns = due;
		enqueue_locked(s, n, staged);
	}
	pthread_mutex_unlock(&s->queue_lock);
}

void dv_keeper_forget(struct dv_store *s, struct dv_node *n)
{
	pthread_mutex_lock(&s->queue_lock);
	bool was = n->queued;
	if (was)
		dequeue_locked(s, n);
	pthread_mutex_unlock(&s->queue_lock);
	if (was)
		dv_node_unref(s, n);
}

/* ---- one value ---- */

static bool listed(struct dv_store *s, struct dv_node *n)
{
	struct dv_node *dir = NULL;
	char name[DV_NAME_MAX + 1];
	if (dv_node_name(s, n, 0, &dir, name, NULL))
		return false;
	bool is = dv_node_is_listed(dir);
	dv_node_unref(s, dir);
	return is;
}

enum verdict { V_DONE, V_LATER, V_PACK };

static enum verdict judge(struct dv_store *s, struct dv_node *n, bool now)
{
	struct dv_keeper_look l = dv_keeper_look(n);
	if (l.staged || l.loser)
		return V_LATER;
	if (!l.raw || !dv_node_has_name(s, n))
		return V_DONE;
	pthread_mutex_lock(&s->queue_lock);
	bool quiet = now || dv_now_ns() - n->changed_ns >= settle_ns(s, n) ||
		     s->queue_len > DV_QUEUE_MAX;
	pthread_mutex_unlock(&s->queue_lock);
	return !quiet || listed(s, n) ? V_LATER : V_PACK;
}

/* ---- rounds ---- */

/* When to look at n again. */
static int64_t next_due_locked(struct dv_store *s, struct dv_node *n, bool staged)
{
	int64_t now = dv_now_ns();
	if (staged) {
		int64_t wait = (int64_t)DV_PROBE_FIRST_MS << n->probes;
		if (n->probes < PROBES_MAX)
			n->probes++;
		return rounded(now + (wait < DV_PROBE_LAST_MS ? wait : DV_PROBE_LAST_MS) * MS);
	}
	int64_t due = n->changed_ns + settle_ns(s, n);
	return rounded(due > now + 200 * MS ? due : now + 200 * MS);
}

static void put_back(struct dv_store *s, struct dv_node *n)
{
	struct dv_keeper_look l = dv_keeper_look(n);
	bool staged = l.staged || l.loser;
	pthread_mutex_lock(&s->queue_lock);
	bool again = !n->queued;
	if (again) {
		n->due_ns = next_due_locked(s, n, staged);
		enqueue_locked(s, n, staged);
	}
	pthread_mutex_unlock(&s->queue_lock);
	if (!again) /* touched meanwhile: the queue has its own reference */
		dv_node_unref(s, n);
}

/* n waits as if it had changed now: its next try costs as much as this one. */
static void put_off(struct dv_store *s, struct dv_node *n)
{
	int64_t wait = settle_ns(s, n), least = DV_ROOM_AGAIN_MS * MS;
	pthread_mutex_lock(&s->queue_lock);
	n->changed_ns = dv_now_ns() + (wait < least ? least - wait : 0);
	pthread_mutex_unlock(&s->queue_lock);
	put_back(s, n);
}

static void pack_some(struct dv_store *s, struct dv_pack_item *items, size_t count,
		      struct dv_space_round *r)
{
	dv_ignore(dv_pack_batch(s, items, count)); /* told by the outcomes, and logged */
	for (size_t i = 0; i < count; i++) {
		dv_space_round_saw(s, r, items[i].plain_size);
		if (items[i].outcome == DV_PACK_DONE)
			dv_space_rests(s, items[i].stored_size);
		else if (items[i].outcome == DV_PACK_NO_GAIN)
			dv_space_rests(s, items[i].plain_size);
		if (items[i].outcome == DV_PACK_NO_ROOM)
			put_off(s, items[i].node);
		else if (items[i].outcome == DV_PACK_BUSY)
			put_back(s, items[i].node);
		else
			dv_node_unref(s, items[i].node);
	}
}

/* Takes up to max nodes that are due out of the queue; their references are the caller's. *waiting:
 * how many were there; NULL is allowed. */
static size_t take_due(struct dv_store *s, bool now, struct dv_node **out, size_t max,
		       uint64_t *waiting)
{
	size_t count = 0, passed = 0;
	int64_t t = dv_now_ns();
	pthread_mutex_lock(&s->queue_lock);
	if (waiting)
		*waiting = s->queue_len;
	struct dv_node *n, *next;
	DL_FOREACH_SAFE2(s->queue, n, next, queue_next)
	{
		if (count == max || passed == SCAN_MAX)
			break;
		if (!now && n->due_ns > t && s->queue_len <= DV_QUEUE_MAX) {
			passed++;
			continue;
		}
		dequeue_locked(s, n);
		out[count++] = n;
	}
	pthread_mutex_unlock(&s->queue_lock);
	return count;
}

/* Of values: those that came to rest or were packed. */
static uint64_t gains(struct dv_store *s)
{
	return atomic_load(&s->counters.packed) + atomic_load(&s->counters.replaced);
}

int dv_keeper_run(struct dv_store *s, bool now, bool force)
{
	struct dv_node *taken[ROUND_MAX];
	struct dv_pack_item items[DV_PACK_BATCH_MAX];
	pthread_mutex_lock(&s->round_lock);
	struct dv_space_round r;
	bool hurries = dv_space_hurries(s);
	uint64_t waiting, before = gains(s);
	size_t count = take_due(s, now || hurries, taken, ROUND_MAX, &waiting), fill = 0;
	dv_space_round_begin(s, &r, now || hurries ? waiting : 0, count);
	dv_keeper_commit_some(s, taken, count, &(struct dv_urgency){.now = now, .force = force});
	for (size_t i = 0; i < count; i++) {
		switch (judge(s, taken[i], now || hurries)) {
		case V_DONE:
			dv_space_round_saw(s, &r, 0);
			dv_node_unref(s, taken[i]);
			break;
		case V_LATER:
			dv_space_round_saw(s, &r, 0);
			put_back(s, taken[i]);
			break;
		case V_PACK:
			items[fill++] = (struct dv_pack_item){.node = taken[i]};
			break;
		}
		if (fill == DV_PACK_BATCH_MAX) {
			pack_some(s, items, fill, &r);
			fill = 0;
		}
	}
	if (fill)
		pack_some(s, items, fill, &r);
	dv_space_round_done(s, &r);
	if (hurries)
		dv_space_hurried(s, !r.all && gains(s) != before);
	dv_place_prune_due(s);
	if (dv_loose_is_crowded(s)) /* before others have to */
		dv_ignore(dv_loose_sync_all(s));
	pthread_mutex_unlock(&s->round_lock);
	pthread_mutex_lock(&s->queue_lock);
	int left = (int)s->queue_len;
	pthread_mutex_unlock(&s->queue_lock);
	return left;
}

/* ---- room ---- */

struct sized {
	struct dv_node *node; /* borrowed */
	uint64_t size;
};

static int smaller_first(const void *a, const void *b)
{
	const struct sized *x = a, *y = b;
	return x->size < y->size ? -1 : x->size > y->size;
}

static uint64_t size_of(struct dv_store *s, struct dv_node *n)
{
	struct dv_stat st;
	if (dv_gate_shared(n, false))
		return UINT64_MAX;
	dv_err err = dv_value_stat(s, n, false, &st);
	dv_gate_open(n);
	return err ? UINT64_MAX : st.size;
}

/* Packs them, few at a time: what one batch gives back makes room for the next, and for those who
 * wait. */
static void pack_small_first(struct dv_store *s, struct sized *by_size, size_t count,
			     struct dv_space_round *r)
{
	struct dv_pack_item items[DV_PACK_BATCH_MAX];
	qsort(by_size, count, sizeof(*by_size), smaller_first);
	for (size_t i = 0; i < count;) {
		size_t fill = 0;
		uint64_t bytes = 0;
		do {
			items[fill++] = (struct dv_pack_item){.node = by_size[i].node};
			bytes += by_size[i++].size;
		} while (i < count && fill < DV_PACK_BATCH_MAX &&
			 bytes + by_size[i].size <= DV_ROOM_BATCH_BYTES);
		pack_some(s, items, fill, r);
		if (i < count)
			dv_space_tell(s);
	}
}

void dv_keeper_make_room(struct dv_store *s)
{
	struct dv_node *taken[ROUND_MAX];
	struct sized by_size[ROUND_MAX];
	size_t fill = 0;
	pthread_mutex_lock(&s->round_lock);
	struct dv_space_round r;
	uint64_t before = gains(s), waiting;
	size_t count = take_due(s, true, taken, ROUND_MAX, &waiting);
	dv_space_round_begin(s, &r, waiting, count);
	if (dv_knows_writers(s)) /* else the caller who waits for room may be the writer of one */
		dv_keeper_commit_some(s, taken, count,
				      &(struct dv_urgency){.now = true, .room = true});
	for (size_t i = 0; i < count; i++) {
		enum verdict v = judge(s, taken[i], true);
		if (v == V_PACK) {
			by_size[fill++] = (struct sized){taken[i], size_of(s, taken[i])};
			continue;
		}
		dv_space_round_saw(s, &r, 0);
		if (v == V_LATER)
			put_back(s, taken[i]);
		else
			dv_node_unref(s, taken[i]);
	}
	pack_small_first(s, by_size, fill, &r);
	bool gained = gains(s) != before;
	dv_space_round_done(s, &r);
	pthread_mutex_unlock(&s->round_lock);
	dv_space_round_ended(s, gained);
}

void dv_keeper_commit_quiet(struct dv_store *s)
{
	struct dv_node *taken[ROUND_MAX];
	size_t rounds = 0, count;
	do { /* stages stand in front of the queue */
		count = take_due(s, true, taken, ROUND_MAX, NULL);
		dv_keeper_commit_some(s, taken, count, &(struct dv_urgency){.now = true});
		for (size_t i = 0; i < count; i++)
			put_back(s, taken[i]);
	} while (count == ROUND_MAX && ++rounds < DV_QUEUE_MAX / ROUND_MAX);
}

void dv_keeper_drain(struct dv_store *s, unsigned *left)
{
	struct dv_node *n;
	*left = 0;
	while (take_due(s, true, &n, 1, NULL)) {
		*left += n->stage || n->loser;
		if (n->stage)
			dv_stage_abandon(s, n);
		n->loser = false; /* its record stays */
		dv_node_unref(s, n);
	}
}

static int64_t earliest_locked(struct dv_store *s)
{
	int64_t due = INT64_MAX;
	unsigned seen = 0;
	struct dv_node *n;
	DL_FOREACH2(s->queue, n, queue_next)
	{
		if (n->due_ns < due)
			due = n->due_ns;
		if (++seen == SCAN_MAX)
			break;
	}
	return due;
}

bool dv_keeper_is_ending(struct dv_store *s)
{
	pthread_mutex_lock(&s->queue_lock);
	bool ending = s->keeper_ending;
	pthread_mutex_unlock(&s->queue_lock);
	return ending;
}

static void *keeper_main(void *arg)
{
	struct dv_store *s = arg;
	int64_t leftovers_ns = INT64_MAX;
	/* Packing gives way to whoever works in the mount, but not to those who wait for it. */
	dv_pool_background();
	atomic_store(&s->keeper_tid, gettid());
	pthread_mutex_lock(&s->queue_lock);
	while (!s->keeper_ending) {
		int64_t due = earliest_locked(s), now = dv_now_ns();
		if (atomic_exchange(&s->adopted, false) && s->leftovers)
			leftovers_ns = now + (int64_t)s->options.settle_ms * MS;
		if (now >= leftovers_ns) {
			leftovers_ns = INT64_MAX;
			pthread_mutex_unlock(&s->queue_lock);
			s->leftovers(s);
			pthread_mutex_lock(&s->queue_lock);
			continue;
		}
		if (dv_space_is_wanted(s)) {
			s->keeper_wake_ns = 0;
			pthread_mutex_unlock(&s->queue_lock);
			dv_keeper_make_room(s);
			dv_pool_background();
			pthread_mutex_lock(&s->queue_lock);
			continue;
		}
		if (due > leftovers_ns)
			due = leftovers_ns;
		if (due > dv_space_hurry_ns(s))
			due = dv_space_hurry_ns(s);
		s->keeper_wake_ns = due;
		if (due == INT64_MAX) {
			pthread_cond_wait(&s->queue_cond, &s->queue_lock);
		} else if (due > now && s->queue_len <= DV_QUEUE_MAX) {
			struct timespec until = {.tv_sec = (time_t)(due / 1000000000),
						 .tv_nsec = (long)(due % 1000000000)};
			pthread_cond_timedwait(&s->queue_cond, &s->queue_lock, &until);
		} else {
			s->keeper_wake_ns = 0; /* it looks again before it sleeps */
			pthread_mutex_unlock(&s->queue_lock);
			dv_keeper_run(s, false, false);
			pthread_mutex_lock(&s->queue_lock);
		}
	}
	pthread_mutex_unlock(&s->queue_lock);
	return NULL;
}

dv_err dv_keeper_start(struct dv_store *s)
{
	int err = pthread_create(&s->keeper, NULL, keeper_main, s);
	s->keeper_running = err == 0;
	return -err;
}

void dv_keeper_stop(struct dv_store *s)
{
	if (!s->keeper_running)
		return;
	pthread_mutex_lock(&s->queue_lock);
	s->keeper_ending = true;
	pthread_cond_broadcast(&s->queue_cond);
	pthread_mutex_unlock(&s->queue_lock);
	pthread_join(s->keeper, NULL);
	s->keeper_running = false;
}
