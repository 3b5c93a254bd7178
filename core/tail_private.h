/* SPDX-License-Identifier: MIT */
/* tail_private.h - what tail.c and tail_frames.c share. */
#ifndef DV_TAIL_PRIVATE_H
#define DV_TAIL_PRIVATE_H

#include "core/tail.h"

/* len bytes of the segments from off on. -EBADMSG: they are not all there. */
DV_CHECK dv_err dv_tail_read_plain(struct dv_store *s, struct dv_tail *t, void *buf, size_t len,
				   uint64_t off);

#endif
