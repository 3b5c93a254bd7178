/* SPDX-License-Identifier: MIT */
/*
 * encode.h - writes the packed form of a raw file: frames made on all cores, in bounded memory.
 */
#ifndef DV_ENCODE_H
#define DV_ENCODE_H

#include "core/format.h"
#include "core/internal.h"

struct dv_encoded {
	uint64_t plain_size, stored_size;
	uint32_t frames;
	bool single; /* one frame, no seek table */
};

/* Frames in memory at once, for each thread. */
#define DV_ENCODE_FRAMES_PER_THREAD 4u
/* And in bytes, plain and stored, where frames are large. */
#define DV_ENCODE_BYTES_MAX (18u << 20)

/*
 * Reads plain_size bytes of `from`, writes the packed form to `to` (empty). max_stored: gives up
 * with -E2BIG as soon as more would be stored (UINT64_MAX: never). stop: asked between batches;
 * true gives -ECANCELED. May be NULL.
 */
DV_CHECK dv_err dv_encode(struct dv_store *s, int from, uint64_t plain_size, int to,
			  uint64_t max_stored, bool (*stop)(void *ctx), void *ctx,
			  struct dv_encoded *out);
/* The same with another level than the store's. */
struct dv_encoding {
	int from, to, level;
	uint64_t plain_size, max_stored;
	bool (*stop)(void *ctx);
	void *ctx;
};
DV_CHECK dv_err dv_encode_at(struct dv_store *s, const struct dv_encoding *e,
			     struct dv_encoded *out);

/* Writes the seek table of l, with checksums, at off of fd; in pieces. */
DV_CHECK dv_err dv_write_table(struct dv_store *s, int fd, const struct dv_layout *l,
			       const uint32_t *checksums, uint64_t off);

#endif
