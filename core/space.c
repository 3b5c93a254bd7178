/* SPDX-License-Identifier: MIT */
/* space.c - see space.h. */
#include "core/space.h"

#include <errno.h>

void dv_space_init(struct dv_store *s)
{
	pthread_condattr_t attr;
	pthread_mutex_init(&s->space.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->space.cond, &attr);
	pthread_condattr_destroy(&attr);
	atomic_store(&s->space.backlog_max, DV_SPACE_BACKLOG_MIN);
}

void dv_space_release(struct dv_store *s)
{
	pthread_mutex_destroy(&s->space.lock);
	pthread_cond_destroy(&s->space.cond);
}

void dv_space_tell(struct dv_store *s)
{
	pthread_mutex_lock(&s->hooks_lock);
	struct dv_store_hooks hooks = s->hooks;
	pthread_mutex_unlock(&s->hooks_lock);
	if (hooks.retry)
		hooks.retry(hooks.self);
}

bool dv_space_is_short(dv_err err)
{
	return err == -ENOSPC || err == -EDQUOT;
}

bool dv_space_is_wanted(struct dv_store *s)
{
	return atomic_load(&s->space.wanted);
}

void dv_space_round_ended(struct dv_store *s, bool gained)
{
	pthread_mutex_lock(&s->space.lock);
	atomic_store(&s->space.wanted, false);
	s->space.rounds++;
	atomic_store(&s->space.stuck_until_ns, gained ? 0 : dv_now_ns() + DV_SPACE_STUCK_NS);
	pthread_cond_broadcast(&s->space.cond);
	pthread_mutex_unlock(&s->space.lock);
	dv_space_tell(s);
}

static struct timespec as_timespec(int64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
				 .tv_nsec = (long)(ns % 1000000000)};
}

/* Until the round that is wanted has ended, or it is `until`. */
static void wait_for_round(struct dv_store *s, int64_t until)
{
	struct timespec end = as_timespec(until);
	pthread_mutex_lock(&s->space.lock);
	uint64_t rounds = s->space.rounds;
	while (atomic_load(&s->space.wanted) && s->space.rounds == rounds)
		if (pthread_cond_timedwait(&s->space.cond, &s->space.lock, &end) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&s->space.lock);
}

static void wake_keeper(struct dv_store *s)
{
	pthread_mutex_lock(&s->queue_lock);
	pthread_cond_signal(&s->queue_cond);
	pthread_mutex_unlock(&s->queue_lock);
}

bool dv_space_may_help(struct dv_store *s, const struct dv_call *call, int64_t *since)
{
	if (!s->space.round)
		return false;
	int64_t now = dv_now_ns();
	if (!*since)
		*since = call->waited_ns < now ? now - call->waited_ns : 1;
	/* What was written since the last round may be packed by now. */
	bool stuck = now < atomic_load(&s->space.stuck_until_ns) &&
		     atomic_load(&s->space.backlog) <= atomic_load(&s->space.backlog_max);
	return !stuck && now - *since < DV_SPACE_WAIT_NS;
}

bool dv_space_wait(struct dv_store *s, const struct dv_call *call, dv_err *err, int64_t *since)
{
	if (!dv_space_is_short(*err) || !dv_space_may_help(s, call, since))
		return false;
	if (!call->nowait)
		atomic_store(&s->space.wanted, true);
	if (call->nowait) {
		*err = -EAGAIN;
		return false;
	}
	if (!s->keeper_running) { /* nobody else does it */
		s->space.round(s);
		return true;
	}
	int tid = atomic_load(&s->keeper_tid);
	if (tid) /* else a busy machine keeps it from its work for longer than one waits */
		dv_pool_foreground(tid);
	wake_keeper(s);
	if (call->parks) {
		*err = -EINPROGRESS;
		return false;
	}
	wait_for_round(s, *since + DV_SPACE_WAIT_NS);
	return true;
}

/* ---- before it runs out ---- */

/* So much may wait for the keeper, if there is room for it. */
static uint64_t backlog_bound(struct dv_store *s, uint64_t used)
{
	uint64_t rests = atomic_load(&s->space.rests), most;
	if (rests > used) /* it was written over, or removed */
		rests = used;
	most = rests / DV_SPACE_REST_FRACTION;
	if (most < DV_SPACE_BACKLOG_MIN)
		return DV_SPACE_BACKLOG_MIN;
	return most < DV_SPACE_BACKLOG_MAX ? most : DV_SPACE_BACKLOG_MAX;
}

/* Looks at what is free. -> is it little? */
static bool look_at_free(struct dv_store *s)
{
	struct dv_fsinfo fs;
	if (DV_B(s, fsinfo, s->rootfd, &fs) || !fs.bsize)
		return false;
	uint64_t unit = fs.bsize, low = fs.blocks / DV_SPACE_LOW_FRACTION * unit;
	uint64_t avail = fs.bavail < UINT64_MAX / unit ? fs.bavail * unit : UINT64_MAX;
	uint64_t used = fs.blocks > fs.bfree ? (fs.blocks - fs.bfree) * unit : 0;
	uint64_t most = backlog_bound(s, used);
	if (most > avail / 4)
		most = avail / 4;
	if (low > DV_SPACE_LOW_MAX)
		low = DV_SPACE_LOW_MAX;
	atomic_store(&s->space.backlog_max,
		     most > DV_SPACE_BACKLOG_LEAST ? most : DV_SPACE_BACKLOG_LEAST);
	/* Others fill it too: looked at again long before it could be gone. */
	uint64_t grace = avail > low ? (avail - low) / 4 : 0;
	atomic_store(&s->space.grace,
		     (long long)(grace < DV_SPACE_BACKLOG_MIN ? grace : DV_SPACE_BACKLOG_MIN));
	return avail <= low;
}

static bool is_tight(struct dv_store *s, uint64_t len)
{
	bool little = false;
	if (atomic_fetch_sub(&s->space.grace, (long long)len) <= (long long)len)
		little = look_at_free(s);
	return little || atomic_load(&s->space.backlog) > 4 * atomic_load(&s->space.backlog_max);
}

dv_err dv_space_admit(struct dv_store *s, const struct dv_call *call, uint64_t len, int64_t *since)
{
	if (!s->keeper_running)
		return 0;
	while (is_tight(s, len)) {
		dv_err err = -ENOSPC;
		if (!dv_space_wait(s, call, &err, since))
			return err == -ENOSPC ? 0 : err;
	}
	return 0;
}

void dv_space_wrote(struct dv_store *s, uint64_t len)
{
	if (atomic_fetch_add(&s->space.backlog, len) + len > atomic_load(&s->space.backlog_max) &&
	    s->keeper_running && !atomic_exchange(&s->space.pressed, true))
		wake_keeper(s);
}

void dv_space_seen(struct dv_store *s, uint64_t len)
{
	unsigned long long now = atomic_load(&s->space.backlog);
	while (!atomic_compare_exchange_weak(&s->space.backlog, &now, now > len ? now - len : 0))
		;
}

void dv_space_rests(struct dv_store *s, uint64_t stored)
{
	atomic_fetch_add(&s->space.rests, stored);
}

void dv_space_round_begin(struct dv_store *s, struct dv_space_round *r, uint64_t waiting,
			  uint64_t taken)
{
	r->left = atomic_load(&s->space.backlog);
	r->share = waiting ? r->left / waiting : 0;
	r->all = waiting && taken == waiting;
}

void dv_space_round_saw(struct dv_store *s, struct dv_space_round *r, uint64_t plain)
{
	uint64_t len = plain ? plain : r->share;
	if (len > r->left)
		len = r->left;
	r->left -= len;
	dv_space_seen(s, len);
}

void dv_space_round_done(struct dv_store *s, struct dv_space_round *r)
{
	if (r->all)
		dv_space_seen(s, r->left);
	r->left = 0;
}

int64_t dv_space_hurry_ns(struct dv_store *s)
{
	return atomic_load(&s->space.pressed) ? atomic_load(&s->space.hurry_ns) : INT64_MAX;
}

bool dv_space_hurries(struct dv_store *s)
{
	return dv_space_hurry_ns(s) <= dv_now_ns();
}

void dv_space_hurried(struct dv_store *s, bool more)
{
	atomic_store(&s->space.hurry_ns, dv_now_ns() + (more ? 0 : DV_SPACE_HURRY_NS));
	if (atomic_load(&s->space.backlog) <= atomic_load(&s->space.backlog_max))
		atomic_store(&s->space.pressed, false);
}
