/* SPDX-License-Identifier: MIT */
/*
 * cleanup.h - owned locals are released when their scope ends.
 *
 * DV_AUTO_FREE char *p = malloc(n);  ... return dv_take_ptr(&p);   (leaving a scope: take)
 *
 * Locks are never released by scope exit: unlocking stays visible.
 */
#ifndef DV_CLEANUP_H
#define DV_CLEANUP_H

#include <stdlib.h>

static inline void dv_cleanup_free(void *slot)
{
	free(*(void **)slot);
}

#define DV_AUTO_FREE __attribute__((cleanup(dv_cleanup_free)))

/* Takes the pointer out of *slot, which becomes NULL. */
#define dv_take_ptr(slot)                                                                          \
	({                                                                                         \
		__typeof__(*(slot)) dv_taken = *(slot);                                            \
		*(slot) = NULL;                                                                    \
		dv_taken;                                                                          \
	})

#define DV_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
