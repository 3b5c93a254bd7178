/* SPDX-License-Identifier: MIT */
/* keeper.c - see keeper.h. */
#include "core/keeper.h"

#include "core/journal.h"
#include "core/log.h"
#include "core/stage.h"
#include "core/value.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utlist.h>

#define MS 1000000ll
#define ROUND_MAX 1024 /* values looked at in one round, so that new ones get their turn */
#define NICE 10

int64_t dv_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Stages stand in front, raw values behind in the order of their last change: what is due is near the front. */
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
	uint64_t ms = s->options.settle_ms;
	for (unsigned i = 0; i < n->unpacks && i < 30 && ms < DV_SETTLE_MAX_MS; i++)
		ms *= 2;
	return (int64_t)(ms < DV_SETTLE_MAX_MS ? ms : DV_SETTLE_MAX_MS) * MS;
}

void dv_keeper_touch(struct dv_store *s, struct dv_node *n)
{
	int64_t now = dv_now_ns();
	if (!s->journal)
		return;
	bool staged = n->stage || n->loser;
	int64_t due = now + (staged ? DV_PROBE_FIRST_MS * MS : settle_ns(s, n));
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

enum verdict { V_DONE, V_LATER, V_PACK };

static bool listed(struct dv_store *s, struct dv_node *n)
{
	struct dv_node *dir = NULL;
	char name[DV_NAME_MAX + 1];
	if (dv_node_name(s, n, 0, &dir, name, NULL))
		return false;
	bool is = atomic_load(&dir->listed_until_ns) > dv_now_ns();
	dv_node_unref(s, dir);
	return is;
}

static void failed(struct dv_store *s, struct dv_node *n, dv_err err)
{
	char path[4096], text[1024];
	dv_node_path(s, n, path, sizeof(path));
	dv_error("pending bytes of %s can not be put in place yet, they are kept and tried again: %s",
		 dv_log_key(text, sizeof(text), path), strerror(-err));
	dv_count_error(s, err);
	atomic_store(&n->error, err);
}

/* Commits n's stage if it may; settles a superseded form. */
static enum verdict commit_one(struct dv_store *s, struct dv_node *n, bool force)
{
	struct dv_node *dir = NULL;
	dv_err err;
	bool replacement = n->stage && dv_stage_is_replacement(n->stage);
	if (replacement && !force && dv_has_writer(s, n))
		return V_LATER;
	err = dv_stage_sync(s, n);
	if (!err)
		err = dv_swap_gates(s, n, false, &dir);
	if (!err) {
		err = dv_stage_commit(s, n, false);
		if (!err && n->loser && (force || !dir || atomic_load(&dir->listed_until_ns) <= dv_now_ns()))
			err = dv_stage_settle(s, n, false);
		dv_swap_gates_open(s, n, dir);
	}
	if (err == -EBUSY) /* put aside and logged */
		return V_DONE;
	if (err) {
		failed(s, n, err);
		return V_LATER;
	}
	return n->stage || n->loser ? V_LATER : V_DONE;
}

static enum verdict judge(struct dv_store *s, struct dv_node *n, bool now, bool force)
{
	/* Read without the gate: a stale answer is corrected on the next round. */
	if (n->stage || n->loser) {
		if (commit_one(s, n, force) == V_LATER)
			return V_LATER;
	}
	if (!S_ISREG(n->type) || n->form != DV_FORM_RAW || !dv_node_has_name(s, n))
		return V_DONE;
	if (!now) {
		pthread_mutex_lock(&s->queue_lock);
		bool quiet = dv_now_ns() - n->changed_ns >= settle_ns(s, n) || s->queue_len > DV_QUEUE_MAX;
		pthread_mutex_unlock(&s->queue_lock);
		if (!quiet)
			return V_LATER;
	}
	if (listed(s, n))
		return V_LATER;
	return V_PACK;
}

/* ---- rounds ---- */

/* When to look at n again. */
static int64_t next_due(struct dv_store *s, struct dv_node *n)
{
	int64_t now = dv_now_ns();
	if (n->stage || n->loser) {
		int64_t wait = (int64_t)DV_PROBE_FIRST_MS << (n->probes < 5 ? n->probes : 5);
		n->probes++;
		return now + (wait < DV_PROBE_LAST_MS ? wait : DV_PROBE_LAST_MS) * MS;
	}
	int64_t due = n->changed_ns + settle_ns(s, n);
	return due > now + 200 * MS ? due : now + 200 * MS;
}

static void put_back(struct dv_store *s, struct dv_node *n)
{
	pthread_mutex_lock(&s->queue_lock);
	bool again = !n->queued;
	if (again) {
		n->due_ns = next_due(s, n);
		enqueue_locked(s, n, n->stage || n->loser);
	}
	pthread_mutex_unlock(&s->queue_lock);
	if (!again) /* touched meanwhile: the queue has its own reference */
		dv_node_unref(s, n);
}

static void pack_some(struct dv_store *s, struct dv_pack_item *items, size_t count)
{
	dv_ignore(dv_pack_batch(s, items, count)); /* told by the outcomes, and logged */
	for (size_t i = 0; i < count; i++) {
		if (items[i].outcome == DV_PACK_BUSY)
			put_back(s, items[i].node);
		else
			dv_node_unref(s, items[i].node);
	}
}

/* Takes up to max nodes that are due out of the queue; their references are the caller's. */
static size_t take_due(struct dv_store *s, bool now, struct dv_node **out, size_t max)
{
	size_t count = 0, passed = 0;
	int64_t t = dv_now_ns();
	pthread_mutex_lock(&s->queue_lock);
	struct dv_node *n, *next;
	DL_FOREACH_SAFE2(s->queue, n, next, queue_next) {
		if (count == max || passed == ROUND_MAX)
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

int dv_keeper_run(struct dv_store *s, bool now, bool force)
{
	struct dv_node *taken[ROUND_MAX];
	struct dv_pack_item items[DV_PACK_BATCH_MAX];
	size_t count = take_due(s, now, taken, ROUND_MAX), fill = 0;
	for (size_t i = 0; i < count; i++) {
		switch (judge(s, taken[i], now, force)) {
		case V_DONE:
			dv_node_unref(s, taken[i]);
			break;
		case V_LATER:
			put_back(s, taken[i]);
			break;
		case V_PACK:
			items[fill++] = (struct dv_pack_item){.node = taken[i]};
			break;
		}
		if (fill == DV_PACK_BATCH_MAX) {
			pack_some(s, items, fill);
			fill = 0;
		}
	}
	if (fill)
		pack_some(s, items, fill);
	pthread_mutex_lock(&s->queue_lock);
	int left = (int)s->queue_len;
	pthread_mutex_unlock(&s->queue_lock);
	return left;
}

void dv_keeper_commit_quiet(struct dv_store *s)
{
	struct dv_node *taken[ROUND_MAX];
	size_t done;
	do { /* stages stand in front of the queue */
		size_t count = take_due(s, true, taken, ROUND_MAX);
		done = 0;
		for (size_t i = 0; i < count; i++) {
			if (taken[i]->stage || taken[i]->loser)
				done += commit_one(s, taken[i], false) == V_DONE;
			put_back(s, taken[i]);
		}
	} while (done);
}

void dv_keeper_drain(struct dv_store *s, unsigned *left)
{
	struct dv_node *n;
	*left = 0;
	while (take_due(s, true, &n, 1)) {
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
	DL_FOREACH2(s->queue, n, queue_next) {
		if (n->due_ns < due)
			due = n->due_ns;
		if (++seen == ROUND_MAX) /* the rest was queued later */
			break;
	}
	return due;
}

static void *keeper_main(void *arg)
{
	struct dv_store *s = arg;
	/* Packing gives way to whoever works in the mount. */
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
	pthread_mutex_lock(&s->queue_lock);
	while (!s->keeper_ending) {
		int64_t due = earliest_locked(s), now = dv_now_ns();
		s->keeper_wake_ns = due;
		if (due == INT64_MAX) {
			pthread_cond_wait(&s->queue_cond, &s->queue_lock);
		} else if (due > now && s->queue_len <= DV_QUEUE_MAX) {
			struct timespec until = {.tv_sec = (time_t)(due / 1000000000), .tv_nsec = (long)(due % 1000000000)};
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
