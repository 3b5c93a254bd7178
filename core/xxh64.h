/* SPDX-License-Identifier: MIT */
/*
 * xxh64.h - XXH64 with seed 0, in pieces: the checksum of zstd's frames and of seek tables, for
 * frames that carry none themselves. Pure, no I/O.
 *
 * Source: the xxHash specification, version 0.1.1, by Yann Collet. dv_codec_decode() checks the
 * checksums that frames do carry.
 */
#ifndef DV_XXH64_H
#define DV_XXH64_H

#include <stddef.h>
#include <stdint.h>

/* A plain value type; belongs to one thread at a time. */
struct dv_xxh64 {
	uint64_t lanes[4], total;
	uint8_t rest[32]; /* total % 32 bytes that make no stripe yet */
};

void dv_xxh64_init(struct dv_xxh64 *x);
void dv_xxh64_add(struct dv_xxh64 *x, const void *bytes, size_t len);
uint64_t dv_xxh64_end(const struct dv_xxh64 *x);

#endif
