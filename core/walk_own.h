/* SPDX-License-Identifier: MIT */
/*
 * walk_own.h - finds frames as this program makes them, one behind the other, as far as they go.
 */
#ifndef DV_WALK_OWN_H
#define DV_WALK_OWN_H

#include "core/format.h"
#include "core/internal.h"

/*
 * Appends each frame of fd between stored bytes `from` and `size` to the initialised layout *out,
 * until there is one that has no content size or no checksum, is no frame, is skippable, or is not
 * all there. *out_end: the stored byte behind the last one. *out_cut: what follows begins as such a
 * frame does, and the file ends in it. Nothing is decoded. -EFBIG: DV_LAYOUT_BYTES_MAX.
 */
DV_CHECK dv_err dv_walk_own(struct dv_store *s, int fd, struct dv_range stored,
			    struct dv_layout *out, uint64_t *out_end, bool *out_cut);

#endif
