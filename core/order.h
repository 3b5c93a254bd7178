/* SPDX-License-Identifier: MIT */
/*
 * order.h - the entries of one directory of the store in an order of the caller's, in bounded
 * memory.
 *
 * The directory is read once for each window of entries: the smallest that fit are kept and given,
 * then the smallest of those behind them. What is there from the first read to the last is given
 * once, whatever comes and goes meanwhile.
 *
 * Threads      one at a time.
 */
#ifndef DV_ORDER_H
#define DV_ORDER_H

#include "core/internal.h"

/* Bytes of a window: one read for directories of some 150,000 names of 20 bytes. */
#define DV_ORDER_WINDOW (8u << 20)

/* What an entry is sorted by, bytewise; of two that are the same, what is no directory comes first.
 * Up to DV_NAME_MAX bytes and one. -ENOENT: it is left out. */
#define DV_ORDER_TEXT (DV_NAME_MAX + 2)
typedef dv_err dv_order_text_fn(void *ctx, const struct dv_dirent *e, char out[DV_ORDER_TEXT]);

struct dv_order;

/* window: bytes, at least 1 KiB (DV_ORDER_WINDOW). NULL: no memory. */
struct dv_order *dv_order_new(size_t window, dv_order_text_fn *text, void *ctx);
void dv_order_free(struct dv_order **o);

/* The first entry that was not taken: borrowed until it is, cookie and ino are 0; NULL: the end.
 * fd: the directory, always the same one. Errors of readdir and of text; -ENOMEM. */
DV_CHECK dv_err dv_order_peek(struct dv_store *s, struct dv_order *o, int fd,
			      const struct dv_dirent **out);
void dv_order_take(struct dv_order *o);

#endif
