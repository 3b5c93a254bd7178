/* SPDX-License-Identifier: MIT */
/*
 * pool.c - two bounded queues, one mutex, n + 1 threads; and those that are parked.
 */
#include "fs/pool.h"

#include "core/log.h"
#include "fs/session.h"

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct item {
	struct item *next;
	struct fuse_buf buf;
	size_t bytes;	  /* of memory */
	int64_t since_ns; /* first parked then, 0: never */
	bool taken;	  /* buf.mem was the serving thread's, not a copy */
};

struct queue {
	struct item *first, **last;
	unsigned items;
	size_t bytes;
	pthread_cond_t filled;
};

struct fs_pool {
	struct fs_pool_ops ops;
	pthread_mutex_t lock;
	struct queue requests, commands; /* lock */
	struct queue parked;		 /* lock; its condition is unused */
	unsigned retries;		 /* lock: calls of fs_pool_retry() */
	pthread_cond_t drained;		 /* there is room in requests again */
	bool ending;			 /* lock */
	void *spares[FS_POOL_SPARES];	 /* lock */
	unsigned nspares;		 /* lock */
	unsigned nthreads;
	pthread_t threads[];
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void queue_init(struct queue *q)
{
	pthread_condattr_t attr;

	memset(q, 0, sizeof(*q));
	q->last = &q->first;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->filled, &attr);
	pthread_condattr_destroy(&attr);
}

static void append_locked(struct queue *q, struct item *it)
{
	it->next = NULL;
	*q->last = it;
	q->last = &it->next;
	q->items++;
	q->bytes += it->bytes;
	pthread_cond_signal(&q->filled);
}

static struct item *remove_first_locked(struct queue *q)
{
	struct item *it = q->first;

	q->first = it->next;
	if (!q->first)
		q->last = &q->first;
	q->items--;
	q->bytes -= it->bytes;
	return it;
}

static void unpark_locked(struct fs_pool *pool)
{
	while (pool->parked.first)
		append_locked(&pool->requests, remove_first_locked(&pool->parked));
}

/* Until there is something in q; what is parked gets its turn by itself at last. */
static void wait_locked(struct fs_pool *pool, struct queue *q)
{
	int64_t end = now_ns() + FS_POOL_PARK_NS;
	const struct timespec ts = {.tv_sec = (time_t)(end / 1000000000),
				    .tv_nsec = (long)(end % 1000000000)};

	if (q != &pool->requests || !pool->parked.first)
		pthread_cond_wait(&q->filled, &pool->lock);
	else if (pthread_cond_timedwait(&q->filled, &pool->lock, &ts) == ETIMEDOUT)
		unpark_locked(pool);
}

/* -> NULL: the pool ends and the queue is empty. */
static struct item *take_locked(struct fs_pool *pool, struct queue *q)
{
	while (!q->first && !pool->ending)
		wait_locked(pool, q);
	if (!q->first)
		return NULL;
	pthread_cond_signal(&pool->drained);
	return remove_first_locked(q);
}

/* -1: it may not park. */
static int64_t waited_locked(const struct fs_pool *pool, const struct queue *q,
			     const struct item *it)
{
	if (pool->ending || q != &pool->requests || pool->parked.items >= FS_POOL_ITEMS ||
	    pool->parked.bytes >= FS_POOL_BYTES)
		return -1;
	return it->since_ns ? now_ns() - it->since_ns : 0;
}

/* retries: as they were before it was run; what was told since then was told to it. */
static void park_locked(struct fs_pool *pool, struct item *it, unsigned retries)
{
	bool again = pool->ending || pool->retries != retries;

	if (!it->since_ns)
		it->since_ns = now_ns();
	append_locked(again ? &pool->requests : &pool->parked, it);
}

static void put_back_locked(struct fs_pool *pool, struct item *it)
{
	if (!it->taken || pool->nspares == FS_POOL_SPARES)
		return;
	pool->spares[pool->nspares++] = it->buf.mem;
	it->buf.mem = NULL;
}

static void run_queue(struct fs_pool *pool, struct queue *q)
{
	struct item *it;

	pthread_mutex_lock(&pool->lock);
	while ((it = take_locked(pool, q))) {
		int64_t waited = waited_locked(pool, q, it);
		unsigned retries = pool->retries;
		bool park;

		pthread_mutex_unlock(&pool->lock);
		park = pool->ops.run(pool->ops.self, &it->buf, waited);
		pthread_mutex_lock(&pool->lock);
		if (park) {
			park_locked(pool, it, retries);
			continue;
		}
		put_back_locked(pool, it);
		free(it->buf.mem);
		free(it);
	}
	pthread_mutex_unlock(&pool->lock);
	pool->ops.leave(pool->ops.self);
}

static void *request_thread(void *arg)
{
	struct fs_pool *pool = arg;

	run_queue(pool, &pool->requests);
	return NULL;
}

static void *command_thread(void *arg)
{
	struct fs_pool *pool = arg;

	run_queue(pool, &pool->commands);
	return NULL;
}

dv_err fs_pool_new(const struct fs_pool_ops *ops, unsigned threads, struct fs_pool **out)
{
	struct fs_pool *pool = calloc(1, sizeof(*pool) + (threads + 1) * sizeof(pthread_t));

	if (!pool)
		return -ENOMEM;
	pool->ops = *ops;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->drained, NULL);
	queue_init(&pool->requests);
	queue_init(&pool->commands);
	queue_init(&pool->parked);
	while (pool->nthreads <= threads) {
		void *(*fn)(void *) = pool->nthreads == 0 ? command_thread : request_thread;
		int err = pthread_create(&pool->threads[pool->nthreads], NULL, fn, pool);

		if (err) {
			fs_pool_free(&pool);
			return -err;
		}
		pool->nthreads++;
	}
	*out = pool;
	return 0;
}

void fs_pool_free(struct fs_pool **slot)
{
	struct fs_pool *pool = *slot;

	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->ending = true;
	unpark_locked(pool);
	pthread_cond_broadcast(&pool->requests.filled);
	pthread_cond_broadcast(&pool->commands.filled);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->nthreads; i++)
		pthread_join(pool->threads[i], NULL);
	while (pool->nspares)
		free(pool->spares[--pool->nspares]);
	pthread_cond_destroy(&pool->requests.filled);
	pthread_cond_destroy(&pool->commands.filled);
	pthread_cond_destroy(&pool->parked.filled);
	pthread_cond_destroy(&pool->drained);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
	*slot = NULL;
}

void fs_pool_retry(struct fs_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->retries++;
	unpark_locked(pool);
	pthread_mutex_unlock(&pool->lock);
}

dv_err fs_pool_put(struct fs_pool *pool, struct fuse_buf *request, bool command)
{
	struct queue *q = command ? &pool->commands : &pool->requests;
	struct item *it = calloc(1, sizeof(*it));

	if (!it)
		return -ENOMEM;
	it->buf = *request;
	it->taken = request->size > FS_POOL_COPY_MAX;
	it->bytes = it->taken ? FS_MESSAGE_MAX : request->size;
	if (!it->taken) {
		it->buf.mem = malloc(request->size);
		if (!it->buf.mem) {
			free(it);
			return -ENOMEM;
		}
		memcpy(it->buf.mem, request->mem, request->size);
	}
	pthread_mutex_lock(&pool->lock);
	if (command && q->items >= FS_POOL_COMMANDS) {
		pthread_mutex_unlock(&pool->lock);
		if (!it->taken)
			free(it->buf.mem);
		free(it);
		return -EBUSY;
	}
	while (!command && q->items > 0 &&
	       (q->items >= FS_POOL_ITEMS || q->bytes + it->bytes > FS_POOL_BYTES))
		pthread_cond_wait(&pool->drained, &pool->lock);
	append_locked(q, it);
	if (it->taken)
		request->mem = pool->nspares ? pool->spares[--pool->nspares] : NULL;
	pthread_mutex_unlock(&pool->lock);
	return 0;
}
