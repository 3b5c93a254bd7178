/* SPDX-License-Identifier: MIT */
/*
 * spares.h - a few blocks of memory that were given back, for the next one of the same size.
 *
 * Frames in the cache are mostly of one size, and a new one pushes out an old one. A block that
 * goes back to the kernel each time costs 32 page faults for 128 KiB; a few that are kept do not.
 *
 * Bounds    DV_SPARES_MAX blocks of at most DV_SPARE_BYTES_MAX bytes; others are freed at once.
 * Threads   all functions but init and release may be called from any thread at once.
 */
#ifndef DV_SPARES_H
#define DV_SPARES_H

#include <pthread.h>
#include <stddef.h>

#define DV_SPARES_MAX	   4u
#define DV_SPARE_BYTES_MIN (64u << 10) /* smaller ones are malloc's business */
#define DV_SPARE_BYTES_MAX (256u << 10)

struct dv_spares {
	pthread_mutex_t lock; /* a leaf */
	/* under lock */
	void *blocks[DV_SPARES_MAX];
	size_t lens[DV_SPARES_MAX]; /* 0: none */
	unsigned next;		    /* the place that is taken next */
};

void dv_spares_init(struct dv_spares *s);
void dv_spares_release(struct dv_spares *s);

/* len bytes, aligned as malloc does; what is in them is undefined. NULL: no memory. */
void *dv_spares_get(struct dv_spares *s, size_t len);
/* block: of dv_spares_get(), for the same len. NULL is ignored. */
void dv_spares_put(struct dv_spares *s, void *block, size_t len);

#endif
