/* SPDX-License-Identifier: MIT */
/*
 * fnv.h - FNV-1a of 64 bits, for what is no secret and no large amount (the values are in record.h's format).
 * Source: draft-eastlake-fnv.
 */
#ifndef DV_FNV_H
#define DV_FNV_H

#include <stddef.h>
#include <stdint.h>

#define DV_FNV1A 0xcbf29ce484222325u /* of no bytes */

static inline uint64_t dv_fnv1a(uint64_t sum, const void *bytes, size_t len)
{
	for (const uint8_t *b = bytes; len--; b++)
		sum = (sum ^ *b) * 0x100000001b3u;
	return sum;
}

#endif
