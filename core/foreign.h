/* SPDX-License-Identifier: MIT */
/*
 * foreign.h - reading what can be decoded from its start only: a frame of more than
 * dv_whole_frame_max() plain bytes, or a file of several frames that do not tell their sizes.
 *
 * A unit is such a frame or file. It is read in pieces of 128 KiB (DV_PIECE_BYTES). Decoders stay
 * where they are, some megabytes behind them are kept, so that reading in sequence, by several
 * threads that are not in order too, decodes each byte once. A read before what is kept starts
 * again from the unit's beginning; one far ahead decodes all in between. Pieces of short reads go
 * through the cache.
 *
 * Memory of decoders is taken off the cache's (dv_cache_reserve): together they stay within half of
 * it, or DV_FOREIGN_BYTES_MIN, or one decoder whatever its window.
 *
 * A checksum is checked when the end of its frame is reached: of a damaged frame the pieces before
 * may have been read by then.
 */
#ifndef DV_FOREIGN_H
#define DV_FOREIGN_H

#include "core/format.h"
#include "core/internal.h"

#define DV_PIECE_BYTES	     (128u << 10)
#define DV_FOREIGN_MAX	     8u /* decoders at once */
#define DV_FOREIGN_BYTES_MIN (24u << 20)
/* Plain bytes that one read may decode to get where it is wanted, beside DV_WALK_GAIN_MAX times the
 * stored ones. */
#define DV_FOREIGN_SKIP_MAX (UINT64_C(32) << 30)

struct dv_foreign;

DV_CHECK dv_err dv_foreign_new(struct dv_foreign **out);
/* Nobody is inside. */
void dv_foreign_free(struct dv_foreign **f);

/* Memory that decoders which stay hold. */
size_t dv_foreign_bytes(struct dv_foreign *f);

/* Frames of more plain bytes than this are units. 4 MiB (frames of ours) to 16 MiB. */
uint64_t dv_whole_frame_max(const struct dv_store *s);

struct dv_unit {
	int fd;			 /* borrowed */
	struct dv_cache_key key; /* of the file; part is not looked at */
	struct dv_frame where;
};

/*
 * Reads range (of the file's plain bytes, within the unit) into buf. nowait: -EAGAIN where not all
 * is in the cache. -EBADMSG: damaged, or other than it told; comes again without decoding as long
 * as it is remembered. -EFBIG: too far ahead (DV_FOREIGN_SKIP_MAX). May wait for other readers.
 */
DV_CHECK dv_err dv_foreign_read(struct dv_store *s, const struct dv_unit *u, char *buf,
				struct dv_range range, bool nowait);

/* Writes the unit's plain bytes to fd `to`, at their place. One thread of the store at a time. */
DV_CHECK dv_err dv_foreign_decode(struct dv_store *s, const struct dv_unit *u, int to);

#endif
