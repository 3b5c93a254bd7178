/* SPDX-License-Identifier: MIT */
/*
 * walk.h - finds the frames of a zstd file that has no seek table, by their own headers (RFC
 * 8878, 3.1).
 */
#ifndef DV_WALK_H
#define DV_WALK_H

#include "core/format.h"
#include "core/internal.h"

/*
 * Plain bytes that are decoded to find the sizes of frames that do not tell: four bytes of a
 * crafted file make 128 KiB, and this is some seconds' work. A large file may make so many times
 * its own size beyond that, which no text passes.
 */
#define DV_WALK_DECODED_MAX (UINT64_C(32) << 30)
#define DV_WALK_GAIN_MAX    64u
/* Blocks and frames that are looked at: they need not take place on the disk in a file with
 * holes. */
#define DV_WALK_STEPS_MAX (UINT64_C(1) << 28)

/* What a walk finds. A plain value type. */
struct dv_walk {
	struct dv_layout layout; /* where each frame lies; to be released. Empty where `stream` */
	uint64_t plain_size, frames;
	bool decoded; /* a frame did not tell its plain size */
	/* Frames can not be found again at little cost, for several sizes were found by decoding,
	 * or they are more than a layout holds: to be read as one stream from its start. */
	bool stream;
	char why[120]; /* after -EBADMSG, -EFBIG and -EOPNOTSUPP: what is wrong with the file */
};

/*
 * Looks at each frame of fd, in order; skippable frames count as frames without plain bytes. A
 * frame that does not tell its plain size is decoded once to find it, by one thread of the store at
 * a time; with nowait that is left, with -EAGAIN. Memory of the layout stays within
 * DV_LAYOUT_BYTES_MAX. *out is set anew, and empty but for `why` after an error. -EBADMSG: not
 * frames from the first byte to the last. -EOPNOTSUPP: needs a dictionary. -EFBIG: a window over
 * DV_WINDOW_MAX, or a bound above is passed.
 */
DV_CHECK dv_err dv_walk_frames(struct dv_store *s, int fd, uint64_t size, bool nowait,
			       struct dv_walk *out);

#endif
