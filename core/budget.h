/* SPDX-License-Identifier: MIT */
/*
 * budget.h - how many bytes of memory some work may hold at once; who would pass it waits.
 *
 *   dv_budget_take(b, len);  p = malloc(len); ... free(p);  dv_budget_give(b, len);
 *
 * One request that is larger than all there is waits until it is alone. Who has taken must not take
 * again before it has given back: two could wait for each other. Nor may it wait for anything that
 * waits for the budget.
 */
#ifndef DV_BUDGET_H
#define DV_BUDGET_H

#include <pthread.h>
#include <stddef.h>

struct dv_budget {
	size_t max;
	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t given;
	/* under lock */
	size_t taken;
	size_t peak; /* the most there was */
};

void dv_budget_init(struct dv_budget *b, size_t max);
void dv_budget_release(struct dv_budget *b);

void dv_budget_take(struct dv_budget *b, size_t bytes);
void dv_budget_give(struct dv_budget *b, size_t bytes);

#endif
