/* SPDX-License-Identifier: MIT */
/*
 * packed.h - packed files: their sizes, their frames, and reading them through the cache.
 *
 * Calls need the node's gate, at least shared; f is an open file of the node's object.
 */
#ifndef DV_PACKED_H
#define DV_PACKED_H

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

/* To a reader a file past our limits, or made with a dictionary, is as good as damaged. */
dv_err dv_as_corrupt(dv_err err);

#endif
