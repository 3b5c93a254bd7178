/* SPDX-License-Identifier: MIT */
/*
 * walk.h - finds the frames of a zstd file that has no seek table, by their own headers (RFC
 * 8878, 3.1).
 */
#ifndef DV_WALK_H
#define DV_WALK_H

#include "core/format.h"
#include "core/internal.h"

/* Plain bytes that are decoded to find the sizes of frames that do not tell: four bytes of a
 * crafted file make 128 KiB, and this is some seconds' work. */
#define DV_WALK_DECODED_MAX (UINT64_C(32) << 30)

/*
 * Appends each frame of fd, in order, to the initialised layout *out; skippable frames count as
 * frames without plain bytes. A frame that does not tell its plain size is decoded once to find it.
 * Memory of the layout stays within bytes_max, and what is decoded within DV_WALK_DECODED_MAX: else
 * -EFBIG. -EBADMSG: not frames from the first byte to the last.
 */
DV_CHECK dv_err dv_walk_frames(struct dv_store *s, int fd, uint64_t size, uint64_t bytes_max,
			       struct dv_layout *out);

#endif
