/* SPDX-License-Identifier: MIT */
/* budget.c - see budget.h. */
#include "core/budget.h"

#include <assert.h>

void dv_budget_init(struct dv_budget *b, size_t max)
{
	*b = (struct dv_budget){.max = max};
	pthread_mutex_init(&b->lock, NULL); /* neither can fail on Linux with default attributes */
	pthread_cond_init(&b->given, NULL);
}

void dv_budget_release(struct dv_budget *b)
{
	assert(b->taken == 0);
	pthread_cond_destroy(&b->given);
	pthread_mutex_destroy(&b->lock);
}

void dv_budget_take(struct dv_budget *b, size_t bytes)
{
	pthread_mutex_lock(&b->lock);
	while (b->taken && (b->taken > b->max || bytes > b->max - b->taken))
		pthread_cond_wait(&b->given, &b->lock);
	b->taken += bytes;
	if (b->taken > b->peak)
		b->peak = b->taken;
	pthread_mutex_unlock(&b->lock);
}

void dv_budget_give(struct dv_budget *b, size_t bytes)
{
	pthread_mutex_lock(&b->lock);
	assert(bytes <= b->taken);
	b->taken -= bytes;
	pthread_cond_broadcast(&b->given);
	pthread_mutex_unlock(&b->lock);
}
