/* SPDX-License-Identifier: MIT */
/* packed_private.h - what packed.c and packed_frames.c share. */
#ifndef DV_PACKED_PRIVATE_H
#define DV_PACKED_PRIVATE_H

#include "core/packed.h"
#include "core/walk.h"

/* Reads where the frames of fd lie: the seek table, else the frames themselves. *walked: the
 * latter. *torn: something else follows them. */
DV_CHECK dv_err dv_load_layout(struct dv_store *s, int fd, uint64_t size, bool nowait,
			       struct dv_walk *out, bool *walked, bool *torn);

/*
 * The same, into memory of the caller's: given has room for as many frames as the file is believed
 * to have. -ESTALE: it has others; -EBADMSG too. What it holds after an error is undefined.
 */
DV_CHECK dv_err dv_fill_layout(struct dv_store *s, int fd, uint64_t size, struct dv_layout *given);

/* The checksums of the seek table of `count` frames. -ENOENT: there is no such table, or it has
 * none. */
DV_CHECK dv_err dv_load_checksums(struct dv_store *s, int fd, uint64_t size, uint32_t count,
				  uint32_t *out);

/* fr is none of a unit's (foreign.h). */
DV_CHECK dv_err dv_decode_frame(struct dv_store *s, int fd, const struct dv_frame *fr, void *out,
				bool nowait);

#endif
