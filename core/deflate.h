/* SPDX-License-Identifier: MIT */
/*
 * deflate.h - gzip and zlib streams, in pieces. Only deflate.c includes zlib.
 *
 * Source: RFC 1950, 1951, 1952. A gzip file may have several members one behind the other, as Go's
 * reader takes it; a zlib file is one stream. Checksums (CRC-32, Adler-32) are checked.
 *
 * Threads   one of these belongs to one thread at a time. None blocks.
 */
#ifndef DV_DEFLATE_H
#define DV_DEFLATE_H

#include "core/coding.h"

#include <stdint.h>
#include <sys/types.h>

/* Most plain bytes that stored ones can make, and a part of them that is not used up. */
#define DV_INFLATE_GAIN_MAX 1032u

struct dv_inflater;

/* c is borrowed as long as it lives. -ENOMEM. */
DV_CHECK dv_err dv_inflater_new(const struct dv_coding *c, struct dv_inflater **out);
void dv_inflater_free(struct dv_inflater **i);
/* Memory that it holds, about. */
size_t dv_inflater_bytes(void);
/*
 * Consumes some of in[*in_pos..in_len), writes some of out (room > 0). *done: a member ended just
 * here, and all of it is written; the file is whole where its last byte was consumed then. -> bytes
 * written. -EBADMSG: damaged, or something else follows; -EOPNOTSUPP: another dictionary is needed;
 * -ENOMEM.
 */
DV_CHECK ssize_t dv_inflater_step(struct dv_inflater *i, const void *in, size_t in_len,
				  size_t *in_pos, void *out, size_t room, int *done);

/* A whole file of `len` bytes, whose plain bytes must be exactly plain_len. */
DV_CHECK dv_err dv_inflate(const struct dv_coding *c, const void *stored, size_t len, void *out,
			   size_t plain_len);

struct dv_deflater;

DV_CHECK dv_err dv_deflater_new(const struct dv_coding *c, struct dv_deflater **out);
void dv_deflater_free(struct dv_deflater **d);
/* As above; last: nothing comes behind in. *done: all of the stream is written. */
DV_CHECK ssize_t dv_deflater_step(struct dv_deflater *d, const void *in, size_t in_len,
				  size_t *in_pos, bool last, void *out, size_t room, int *done);

/* The stored form of a value of no bytes; room >= DV_EMPTY_MAX. -> bytes. */
#define DV_EMPTY_MAX 64u
DV_CHECK ssize_t dv_deflate_empty(const struct dv_coding *c, void *out, size_t room);
/* Is it what may be left of that where making it was cut short: fewer bytes, zeros among them? Such a
 * file is a value of no bytes too, and no stream of any other value. */
bool dv_deflate_is_unmade(const struct dv_coding *c, const void *stored, size_t len);

#endif
