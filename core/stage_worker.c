/* SPDX-License-Identifier: MIT */
/*
 * stage_worker.c - one thread that makes frames of streams and appends while their writers go on.
 * See stage.h.
 *
 * Writers offer it a value of which a batch waits, and go on. It takes one at a time; who finds it
 * with another one, and who is DV_BACKLOG_BATCHES ahead of it, makes frames itself.
 */
#include "core/stage_private.h"

static void *work(void *arg)
{
	struct dv_store *s = arg;
	struct dv_worker *w = &s->worker;
	pthread_mutex_lock(&w->lock);
	while (!w->ending) {
		struct dv_node *n = w->offered;
		if (!n) {
			pthread_cond_wait(&w->cond, &w->lock);
			continue;
		}
		w->offered = NULL;
		pthread_mutex_unlock(&w->lock);
		/* What is written stays as it is where that fails. */
		dv_ignore(dv_stage_pump(s, n, dv_tail_batch_bytes(s)));
		dv_node_unref(s, n);
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

dv_err dv_stage_worker_start(struct dv_store *s)
{
	int err = pthread_create(&s->worker.thread, NULL, work, s);
	s->worker.running = err == 0;
	return -err;
}

void dv_stage_worker_stop(struct dv_store *s)
{
	struct dv_worker *w = &s->worker;
	if (!w->running)
		return;
	pthread_mutex_lock(&w->lock);
	w->ending = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	w->running = false;
	dv_node_unref(s, w->offered);
	w->offered = NULL;
}

static bool offer(struct dv_store *s, struct dv_node *n)
{
	struct dv_worker *w = &s->worker;
	if (!w->running)
		return false;
	pthread_mutex_lock(&w->lock);
	bool taken = !w->offered || w->offered == n;
	if (!w->offered) {
		w->offered = dv_node_ref(n);
		pthread_cond_signal(&w->cond);
	}
	pthread_mutex_unlock(&w->lock);
	return taken;
}

uint64_t dv_stage_backlog_max(const struct dv_store *s)
{
	return dv_tail_batch_bytes(s) * (s->worker.running ? DV_BACKLOG_BATCHES : 1);
}

void dv_stage_relieve(struct dv_store *s, struct dv_node *n, uint64_t backlog, bool nowait)
{
	uint64_t batch = dv_tail_batch_bytes(s);
	if (backlog < batch)
		return;
	bool taken = offer(s, n);
	if (nowait)
		return;
	if (!taken || backlog >= dv_stage_backlog_max(s)) /* it stays as it is where that fails */
		dv_ignore(dv_stage_pump(s, n, taken ? dv_stage_backlog_max(s) : batch));
}
