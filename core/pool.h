/* SPDX-License-Identifier: MIT */
/*
 * pool.h - a few threads that share out the steps of one job.
 *
 * dv_pool_map() runs fn(ctx, i) for i = 0 .. count-1, each once, on the pool's threads and the
 * calling one, and returns when all are done. Several callers may map at once; their jobs share the
 * threads. fn must not call dv_pool_map() on the same pool.
 */
#ifndef DV_POOL_H
#define DV_POOL_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

struct dv_pool;

#define DV_POOL_THREADS_MAX 64

/* threads: beside the caller's own; 0 makes dv_pool_map() a loop. background: they give way to
 * everybody else's work, on the processor and the disk; dv_pool_background() does that to the
 * calling thread. */
DV_CHECK dv_err dv_pool_new(unsigned threads, bool background, struct dv_pool **out);
void dv_pool_background(void);
/* Takes that back for a thread (gettid(2)) that somebody waits for, where the process has the
 * right: as root, or by RLIMIT_NICE. */
void dv_pool_foreground(int tid);
void dv_pool_free(struct dv_pool **pool);
unsigned
dv_pool_width(const struct dv_pool *pool); /* threads that can work at once, caller's included */
void dv_pool_map(struct dv_pool *pool, void (*fn)(void *ctx, size_t i), void *ctx, size_t count);

#endif
