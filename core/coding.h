/* SPDX-License-Identifier: MIT */
/*
 * coding.h - what the file of a value at rest is: pure, no I/O.
 *
 *   (none)             the name tells: K raw, K.zst packed (key.h)
 *   diskv              diskv's own layout: K is the value's bytes
 *   diskv:gzip[:LEVEL] K is gzip, always
 *   diskv:zlib[:LEVEL] K is zlib, always; with a preset dictionary where there is one
 *
 * In the layouts of diskv the option, and not the name, tells the form: a key has one name, and no
 * two forms beside each other.
 *
 * LEVEL is zlib's: 0 to 9, -1 its default, -2 Huffman coding alone.
 */
#ifndef DV_CODING_H
#define DV_CODING_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

enum dv_coding_kind { DV_CODING_OWN, DV_CODING_PLAIN, DV_CODING_GZIP, DV_CODING_ZLIB };

#define DV_CODING_LEVEL_MIN (-2)
#define DV_CODING_LEVEL_MAX 9
#define DV_CODING_TEXT	    24u
#define DV_DICT_MAX	    (1u << 20) /* bytes; zlib looks back over the last 32 KiB of it */

/* A plain value type; the dictionary is borrowed. */
struct dv_coding {
	enum dv_coding_kind kind;
	int level;
	const void *dict; /* NULL: none */
	size_t dict_len;
};

/* text: "diskv...", as above. why[] gets one sentence without a full stop on -EINVAL, and *out is
 * untouched then. */
DV_CHECK dv_err dv_coding_parse(const char *text, struct dv_coding *out, char *why,
				size_t why_size);
/* In its normal form, "" for DV_CODING_OWN. */
void dv_coding_write(const struct dv_coding *c, char out[DV_CODING_TEXT]);

/* One of diskv's layouts. */
static inline bool dv_coding_is_diskv(const struct dv_coding *c)
{
	return c->kind != DV_CODING_OWN;
}

/* Is every file of a value compressed, under the only name it has? */
static inline bool dv_coding_is_sealed(const struct dv_coding *c)
{
	return c->kind == DV_CODING_GZIP || c->kind == DV_CODING_ZLIB;
}

#endif
