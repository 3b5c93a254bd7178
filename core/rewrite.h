/* SPDX-License-Identifier: MIT */
/*
 * rewrite.h - new bytes written over an object that has to stay: it has several links, or its owner
 * and mode can not be given to another one.
 */
#ifndef DV_REWRITE_H
#define DV_REWRITE_H

#include "core/internal.h"

/*
 * Writes the bytes of `from` over the object `to`, which keeps its links, owner and mode: through a
 * copy and a durable COPY record that redoes it after a crash.
 */
struct dv_rewrite {
	int from, to;
	bool packed; /* to's form */
	bool locked; /* the caller has the lock */
	bool wait;   /* for it: no gate is held that another mount's end of work may need */
	struct dv_ident object;
	uint64_t st_ino;
	struct dv_node *node; /* ..or, of what recovery writes, NULL and the key's path */
	const char *path;
	uint64_t *failed; /* record of an earlier try that was cut short, 0: none; set and ended
			     here */
};
/* -EAGAIN: another mount is writing there. */
DV_CHECK dv_err dv_rewrite_in_place(struct dv_store *s, const struct dv_rewrite *w);

/* Ends a COPY record, which another one has taken the place of, or whose object is gone. */
void dv_rewrite_end(struct dv_store *s, uint64_t *id);

#endif
