/* SPDX-License-Identifier: MIT */
/*
 * pool.c - see pool.h. Jobs stand in a list; each worker takes the next step of the first job that
 * has one left. The caller works too and leaves when the last step of its own job has ended.
 */
#include "core/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICE 10
/* linux/ioprio.h: the lowest priority of the best-effort class; the idle class could wait for ever.
 */
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_LOWEST	   (2 << 13 | 7)

struct job {
	void (*fn)(void *ctx, size_t i);
	void *ctx;
	size_t count, next, done;
	struct job *below;
};

struct dv_pool {
	pthread_mutex_t lock; /* everything here and in the jobs */
	pthread_cond_t work, finished;
	struct job *jobs; /* those with steps left */
	bool ending, background;
	unsigned count;
	pthread_t threads[DV_POOL_THREADS_MAX];
};

/* Runs one step of j with the lock given up meanwhile. */
static void step_locked(struct dv_pool *p, struct job *j)
{
	size_t i = j->next++;
	if (j->next == j->count) { /* the last step is taken: out of the list */
		struct job **at = &p->jobs;
		while (*at != j)
			at = &(*at)->below;
		*at = j->below;
	}
	pthread_mutex_unlock(&p->lock);
	j->fn(j->ctx, i);
	pthread_mutex_lock(&p->lock);
	if (++j->done == j->count)
		pthread_cond_broadcast(&p->finished);
}

static void *worker(void *arg)
{
	struct dv_pool *p = arg;
	if (p->background)
		dv_pool_background();
	pthread_mutex_lock(&p->lock);
	for (;;) {
		if (p->jobs)
			step_locked(p, p->jobs);
		else if (p->ending)
			break;
		else
			pthread_cond_wait(&p->work, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

void dv_pool_background(void)
{
	/* Both are kept by thread on Linux. Refused: it works at the common priority. */
	dv_ignore(setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE));
	dv_ignore(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_LOWEST));
}

void dv_pool_foreground(int tid)
{
	dv_ignore(setpriority(PRIO_PROCESS, (id_t)tid, 0));
	dv_ignore(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, tid, 0));
}

dv_err dv_pool_new(unsigned threads, bool background, struct dv_pool **out)
{
	struct dv_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	if (threads > DV_POOL_THREADS_MAX)
		threads = DV_POOL_THREADS_MAX;
	p->background = background;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->finished, NULL);
	for (unsigned i = 0; i < threads; i++) {
		int err = pthread_create(&p->threads[i], NULL, worker, p);
		if (err) {
			dv_pool_free(&p);
			return -err;
		}
		p->count++;
	}
	*out = p;
	return 0;
}

void dv_pool_free(struct dv_pool **pool)
{
	struct dv_pool *p = *pool;
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->count; i++)
		pthread_join(p->threads[i], NULL);
	pthread_cond_destroy(&p->finished);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	free(p);
	*pool = NULL;
}

unsigned dv_pool_width(const struct dv_pool *p)
{
	return p->count + 1;
}

void dv_pool_map(struct dv_pool *p, void (*fn)(void *ctx, size_t i), void *ctx, size_t count)
{
	if (count == 0)
		return;
	struct job j = {.fn = fn, .ctx = ctx, .count = count};
	pthread_mutex_lock(&p->lock);
	j.below = p->jobs;
	p->jobs = &j;
	if (count > 1)
		pthread_cond_broadcast(&p->work);
	while (j.next < j.count)
		step_locked(p, &j);
	while (j.done < j.count)
		pthread_cond_wait(&p->finished, &p->lock);
	pthread_mutex_unlock(&p->lock);
}
