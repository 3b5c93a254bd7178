/* SPDX-License-Identifier: MIT */
/*
 * listed.h - that a directory is being listed, so that its values keep their forms (dv_node_is_listed).
 *
 * Nobody tells when a listing is given up, or closed where there is no handle: it counts for 30 s
 * after its last answer where more was to come, for 2 s where all was given, and until its end was
 * asked for. The caller has the directory's gate, shared.
 */
#ifndef DV_LISTED_H
#define DV_LISTED_H

#include "core/internal.h"

/* A call for what is behind cookie begins; 0: a listing does. */
void dv_listed_begin(struct dv_node *dir, int64_t cookie);
/* And ends. last: the cookie of the last entry that it gave, 0 where it gave none. cut: more is to
 * come. Else all was given: where something was just now, the end is still to be asked for. */
void dv_listed_pause(struct dv_node *dir, int64_t last, bool cut);

#endif
