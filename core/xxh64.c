/* SPDX-License-Identifier: MIT */
/* xxh64.c - see xxh64.h. */
#include "core/xxh64.h"

#include <string.h>

#define P1 0x9E3779B185EBCA87u
#define P2 0xC2B2AE3D27D4EB4Fu
#define P3 0x165667B19E3779F9u
#define P4 0x85EBCA77C2B2AE63u
#define P5 0x27D4EB2F165667C5u

static uint64_t rotate(uint64_t v, unsigned by)
{
	return v << by | v >> (64 - by);
}

static uint64_t get(const uint8_t *at, unsigned bytes)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)at[i] << (8 * i);
	return v;
}

static uint64_t mix(uint64_t lane, uint64_t v)
{
	return rotate(lane + v * P2, 31) * P1;
}

static void stripe(struct dv_xxh64 *x, const uint8_t *at)
{
	for (unsigned i = 0; i < 4; i++)
		x->lanes[i] = mix(x->lanes[i], get(at + (size_t)8 * i, 8));
}

void dv_xxh64_init(struct dv_xxh64 *x)
{
	*x = (struct dv_xxh64){.lanes = {P1 + P2, P2, 0, 0 - P1}};
}

void dv_xxh64_add(struct dv_xxh64 *x, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	size_t have = x->total % sizeof(x->rest);
	x->total += len;
	if (have) {
		size_t take = sizeof(x->rest) - have;
		if (take > len)
			take = len;
		memcpy(x->rest + have, at, take);
		if (have + take < sizeof(x->rest))
			return;
		stripe(x, x->rest);
		at += take;
		len -= take;
	}
	for (; len >= sizeof(x->rest); at += sizeof(x->rest), len -= sizeof(x->rest))
		stripe(x, at);
	memcpy(x->rest, at, len);
}

static uint64_t merge_lanes(const struct dv_xxh64 *x)
{
	const uint64_t *l = x->lanes;
	uint64_t h = rotate(l[0], 1) + rotate(l[1], 7) + rotate(l[2], 12) + rotate(l[3], 18);
	for (unsigned i = 0; i < 4; i++)
		h = (h ^ mix(0, l[i])) * P1 + P4;
	return h;
}

uint64_t dv_xxh64_end(const struct dv_xxh64 *x)
{
	const uint8_t *at = x->rest;
	size_t left = x->total % sizeof(x->rest);
	uint64_t h = x->total < sizeof(x->rest) ? P5 : merge_lanes(x);
	h += x->total;
	for (; left >= 8; at += 8, left -= 8)
		h = rotate(h ^ mix(0, get(at, 8)), 27) * P1 + P4;
	if (left >= 4) {
		h = rotate(h ^ get(at, 4) * P1, 23) * P2 + P3;
		at += 4;
		left -= 4;
	}
	for (; left; at++, left--)
		h = rotate(h ^ *at * P5, 11) * P1;
	h = (h ^ h >> 33) * P2;
	h = (h ^ h >> 29) * P3;
	return h ^ h >> 32;
}
