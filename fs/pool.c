/* SPDX-License-Identifier: MIT */
/*
 * pool.c - two bounded queues, one mutex, n + 1 threads.
 */
#include "fs/pool.h"

#include "core/log.h"

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct item {
	struct item *next;
	struct fuse_buf buf;
	bool taken; /* buf.mem was the serving thread's, not a copy */
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
	pthread_cond_t drained;		 /* there is room in requests again */
	bool ending;			 /* lock */
	void *spares[FS_POOL_SPARES];	 /* lock */
	unsigned nspares;		 /* lock */
	unsigned nthreads;
	pthread_t threads[];
};

static void queue_init(struct queue *q)
{
	memset(q, 0, sizeof(*q));
	q->last = &q->first;
	pthread_cond_init(&q->filled, NULL);
}

/* -> NULL: the pool ends and the queue is empty. */
static struct item *take_locked(struct fs_pool *pool, struct queue *q)
{
	struct item *it;

	while (!q->first && !pool->ending)
		pthread_cond_wait(&q->filled, &pool->lock);
	it = q->first;
	if (!it)
		return NULL;
	q->first = it->next;
	if (!q->first)
		q->last = &q->first;
	q->items--;
	q->bytes -= it->buf.size;
	pthread_cond_signal(&pool->drained);
	return it;
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
		pthread_mutex_unlock(&pool->lock);
		pool->ops.run(pool->ops.self, &it->buf);
		pthread_mutex_lock(&pool->lock);
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
	pthread_cond_broadcast(&pool->requests.filled);
	pthread_cond_broadcast(&pool->commands.filled);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->nthreads; i++)
		pthread_join(pool->threads[i], NULL);
	while (pool->nspares)
		free(pool->spares[--pool->nspares]);
	pthread_cond_destroy(&pool->requests.filled);
	pthread_cond_destroy(&pool->commands.filled);
	pthread_cond_destroy(&pool->drained);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
	*slot = NULL;
}

static void append_locked(struct queue *q, struct item *it)
{
	*q->last = it;
	q->last = &it->next;
	q->items++;
	q->bytes += it->buf.size;
	pthread_cond_signal(&q->filled);
}

dv_err fs_pool_put(struct fs_pool *pool, struct fuse_buf *request, bool command)
{
	struct queue *q = command ? &pool->commands : &pool->requests;
	struct item *it = calloc(1, sizeof(*it));

	if (!it)
		return -ENOMEM;
	it->buf = *request;
	it->taken = request->size > FS_POOL_COPY_MAX;
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
	       (q->items >= FS_POOL_ITEMS || q->bytes + it->buf.size > FS_POOL_BYTES))
		pthread_cond_wait(&pool->drained, &pool->lock);
	append_locked(q, it);
	if (it->taken)
		request->mem = pool->nspares ? pool->spares[--pool->nspares] : NULL;
	pthread_mutex_unlock(&pool->lock);
	return 0;
}
