/* SPDX-License-Identifier: MIT */
/* list.h - listing for the store's own walks; the public calls are in store.h. */
#ifndef DV_LIST_H
#define DV_LIST_H

#include "core/internal.h"

/*
 * Calls fn with each name of dir until it returns an error, which is passed on. Names are read some
 * at a time, so that fn may take gates and walk further down; values are not kept from being moved
 * between forms meanwhile, as those of a directory that a caller lists are.
 */
typedef dv_err dv_list_each_fn(void *ctx, struct dv_node *dir, const char *name, unsigned depth);
DV_CHECK dv_err dv_list_each(struct dv_store *s, struct dv_node *dir, unsigned depth,
			     dv_list_each_fn *fn, void *ctx);

#endif
