/* SPDX-License-Identifier: MIT */
/*
 * packed.h - packed files: their sizes, their frames, and reading them through the cache.
 *
 * Calls need the node's gate, at least shared; f is an open file of the node's object.
 */
#ifndef DV_PACKED_H
#define DV_PACKED_H

#include "core/format.h"
#include "core/internal.h"
#include "core/meta.h"

/* A file of so many stored bytes is looked into even for a caller that may not wait, where it is in
 * memory. */
#define DV_INLINE_STORED_MAX (32u << 10)

/* What is known of n's file in the state st; false: nothing. */
bool dv_facts_get(struct dv_store *s, struct dv_node *n, const struct dv_stat *st,
		  struct dv_facts *out);
void dv_facts_set(struct dv_store *s, struct dv_node *n, const struct dv_facts *facts);
/* What its tag tells; false: not all. */
bool dv_facts_from_tag(const struct dv_tag *tag, const struct dv_stat *st, struct dv_facts *out);
/* Is err one of the bytes, which comes again, and not of the disk? */
bool dv_facts_are_bad(dv_err err);

/* Plain size and number of frames of f, from the tag, the seek table or the frames. nowait: -EAGAIN
 * where something would have to be decoded. */
DV_CHECK dv_err dv_packed_facts(struct dv_store *s, struct dv_node *n, struct dv_file *f,
				bool nowait, struct dv_facts *out);

/* -> bytes read. Several frames are decoded side by side. */
DV_CHECK ssize_t dv_packed_read(struct dv_store *s, struct dv_node *n, struct dv_file *f, void *buf,
				struct dv_range range, bool nowait);

/* Writes all plain bytes of f to fd, frame by frame in bounded memory. */
DV_CHECK dv_err dv_packed_decode(struct dv_store *s, struct dv_node *n, struct dv_file *f, int fd);

/* Frames of a file whose layout somebody has, and which does not change. */
struct dv_frames {
	int fd;
	uint64_t serial;		/* tells them apart in the cache: no two have the same */
	const struct dv_layout *layout; /* borrowed */
};
DV_CHECK ssize_t dv_frames_read(struct dv_store *s, const struct dv_frames *frames, void *buf,
				struct dv_range range, bool nowait);
/* As dv_packed_decode(). */
DV_CHECK dv_err dv_frames_decode(struct dv_store *s, const struct dv_frames *frames, int fd);
/* Decodes the frames from `from` on, until one is damaged. *out_good: its number, or how many there
 * are. */
DV_CHECK dv_err dv_frames_check(struct dv_store *s, const struct dv_frames *frames, uint32_t from,
				uint32_t *out_good);

/* The checksum that ends a frame of fd; -EOPNOTSUPP: it has none. */
DV_CHECK dv_err dv_frame_checksum(struct dv_store *s, int fd, const struct dv_frame *fr,
				  uint32_t *out);

/*
 * The frames of the packed file fd of `size` bytes and the checksum that ends each, both to be
 * released by the caller: from its seek table, else from the frames. -EOPNOTSUPP: one has none, does not
 * tell its plain size, or is none that diskvfs would make (empty, over DV_FRAME_SIZE_MAX plain).
 */
DV_CHECK dv_err dv_packed_layout(struct dv_store *s, int fd, uint64_t size, struct dv_layout *out,
				 uint32_t **out_checksums);

/* To a reader a file past our limits, or made with a dictionary, is as good as damaged. */
dv_err dv_as_corrupt(dv_err err);

#endif
