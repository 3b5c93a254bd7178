/* SPDX-License-Identifier: MIT */
/* list.h - listing for the store's own walks; the public calls are in store.h. */
#ifndef DV_LIST_H
#define DV_LIST_H

#include "core/internal.h"

/* As dv_store_list, without keeping the keeper from moving values between forms meanwhile. */
DV_CHECK dv_err dv_list_quietly(struct dv_store *s, struct dv_node *dir, struct dv_list *list,
				int64_t cookie, dv_list_fn *fn, void *ctx);

#endif
