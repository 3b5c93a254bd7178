/* SPDX-License-Identifier: MIT */
/*
 * gate.c - see gate.h.
 *
 * No wake-up is lost: who waits says so in the word with the place's mutex held, and finds the gate
 * taken in a later look at the word; who gives it back changes the word first, sees there that
 * somebody waits, and takes the mutex before it wakes. So it comes either before that look, or
 * after the wait has begun.
 */
#include "core/gate.h"

#include <assert.h>
#include <pthread.h>
#include <stdint.h>

#define WRITER		 0x80000000u
#define READERS_WAIT	 0x40000000u
#define WRITERS_WAIT	 0x3fff0000u
#define ONE_WRITER_WAITS 0x00010000u
#define READERS		 0x0000ffffu

/* The thread sanitizer is told what is a lock, so that it knows of orders that could deadlock. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GATE_TSAN
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define GATE_TSAN
#endif
#ifdef GATE_TSAN
#include <sanitizer/tsan_interface.h>
#define TSAN(call) call
#else
#define TSAN(call)                                                                                 \
	do {                                                                                       \
	} while (0)
#endif

/* Where threads wait for the gates whose addresses lead here. A line of the processor's cache. */
struct place {
	_Alignas(128) pthread_mutex_t lock;
	pthread_cond_t changed;
};
#define PLACES 64
static struct place places[PLACES] = {
	[0 ... PLACES - 1] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER},
};

static struct place *place_of(const struct dv_gate *g)
{
	uint64_t at = (uint64_t)(uintptr_t)g >> 4;
	return &places[(at * 0x9e3779b97f4a7c15u) >> 58]; /* the upper 6 bits: 64 places */
}

/* The gate itself may be gone already. */
static void wake(struct place *p)
{
	pthread_mutex_lock(&p->lock);
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

void dv_gate_init(struct dv_gate *g)
{
	atomic_init(&g->word, 0);
	TSAN(__tsan_mutex_create(g, __tsan_mutex_not_static));
}

void dv_gate_release(struct dv_gate *g)
{
	assert(atomic_load_explicit(&g->word, memory_order_relaxed) == 0);
	TSAN(__tsan_mutex_destroy(g, __tsan_mutex_not_static));
}

static bool enter_shared(struct dv_gate *g)
{
	unsigned w = atomic_load_explicit(&g->word, memory_order_relaxed);
	while (!(w & (WRITER | WRITERS_WAIT)))
		if (atomic_compare_exchange_weak_explicit(&g->word, &w, w + 1, memory_order_acquire,
							  memory_order_relaxed))
			return true;
	return false;
}

/* waited: how the caller stands in the word, 0 or ONE_WRITER_WAITS. */
static bool enter_exclusive(struct dv_gate *g, unsigned waited)
{
	unsigned w = atomic_load_explicit(&g->word, memory_order_relaxed);
	while (!(w & (WRITER | READERS)))
		if (atomic_compare_exchange_weak_explicit(&g->word, &w, (w - waited) | WRITER,
							  memory_order_acquire,
							  memory_order_relaxed))
			return true;
	return false;
}

static void wait_shared(struct dv_gate *g)
{
	struct place *p = place_of(g);
	pthread_mutex_lock(&p->lock);
	while (!enter_shared(g)) {
		unsigned w = atomic_load_explicit(&g->word, memory_order_relaxed);
		if (!(w & (WRITER | WRITERS_WAIT)))
			continue;
		if (atomic_compare_exchange_strong(&g->word, &w, w | READERS_WAIT))
			pthread_cond_wait(&p->changed, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}

static void wait_exclusive(struct dv_gate *g)
{
	struct place *p = place_of(g);
	pthread_mutex_lock(&p->lock);
	atomic_fetch_add(&g->word, ONE_WRITER_WAITS);
	while (!enter_exclusive(g, ONE_WRITER_WAITS))
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

void dv_gate_take_shared(struct dv_gate *g)
{
	TSAN(__tsan_mutex_pre_lock(g, __tsan_mutex_read_lock));
	if (!enter_shared(g)) {
		TSAN(__tsan_mutex_pre_divert(g, 0));
		wait_shared(g);
		TSAN(__tsan_mutex_post_divert(g, 0));
	}
	TSAN(__tsan_mutex_post_lock(g, __tsan_mutex_read_lock, 0));
}

void dv_gate_take_exclusive(struct dv_gate *g)
{
	TSAN(__tsan_mutex_pre_lock(g, 0));
	if (!enter_exclusive(g, 0)) {
		TSAN(__tsan_mutex_pre_divert(g, 0));
		wait_exclusive(g);
		TSAN(__tsan_mutex_post_divert(g, 0));
	}
	TSAN(__tsan_mutex_post_lock(g, 0, 0));
}

#define TRY_FAILED(got) ((got) ? 0u : (unsigned)__tsan_mutex_try_lock_failed)

bool dv_gate_try_shared(struct dv_gate *g)
{
	TSAN(__tsan_mutex_pre_lock(g, __tsan_mutex_try_read_lock));
	bool got = enter_shared(g);
	TSAN(__tsan_mutex_post_lock(g, __tsan_mutex_try_read_lock | TRY_FAILED(got), 0));
	return got;
}

bool dv_gate_try_exclusive(struct dv_gate *g)
{
	TSAN(__tsan_mutex_pre_lock(g, __tsan_mutex_try_lock));
	bool got = enter_exclusive(g, 0);
	TSAN(__tsan_mutex_post_lock(g, __tsan_mutex_try_lock | TRY_FAILED(got), 0));
	return got;
}

void dv_gate_give(struct dv_gate *g)
{
	struct place *p = place_of(g);
	unsigned was = atomic_load_explicit(&g->word, memory_order_relaxed);
	assert(was & (WRITER | READERS));
	if (was & WRITER) {
		TSAN(__tsan_mutex_pre_unlock(g, 0));
		was = atomic_fetch_and_explicit(&g->word, ~(WRITER | READERS_WAIT),
						memory_order_release);
		TSAN(__tsan_mutex_post_unlock(g, 0));
		if (was & (READERS_WAIT | WRITERS_WAIT))
			wake(p);
	} else {
		TSAN(__tsan_mutex_pre_unlock(g, __tsan_mutex_read_lock));
		was = atomic_fetch_sub_explicit(&g->word, 1, memory_order_release);
		TSAN(__tsan_mutex_post_unlock(g, __tsan_mutex_read_lock));
		if ((was & READERS) == 1 && (was & WRITERS_WAIT))
			wake(p);
	}
}
