/* SPDX-License-Identifier: MIT */
/*
 * list_place.h - a place in a listing with a handle: which entry it is behind.
 *
 *   bit 62 ... 32   how many entries came up to it, from 1
 *   bit 31 ... 0    a hash of its key (FNV-1a)
 *
 * A handle that is asked for another place than its own walks from the start to the key that has the
 * hash, since names that came and went meanwhile have moved the count; to the count only where that
 * key is gone. So a place may be wrong by what came and went where its name went too, or where two
 * keys of a listing have one hash (among a million: one in 4000).
 */
#ifndef DV_LIST_PLACE_H
#define DV_LIST_PLACE_H

#include "core/fnv.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define DV_LIST_PLACE_COUNT_MAX 0x7ffffffell /* no place is INT64_MAX, nor near it */

static inline uint32_t dv_list_place_hash(const char *key)
{
	return (uint32_t)dv_fnv1a(DV_FNV1A, key, strlen(key));
}

static inline int64_t dv_list_place(int64_t count, const char *key)
{
	if (count > DV_LIST_PLACE_COUNT_MAX)
		count = DV_LIST_PLACE_COUNT_MAX;
	return count << 32 | dv_list_place_hash(key);
}

static inline int64_t dv_list_place_count(int64_t place)
{
	return place >> 32;
}

static inline bool dv_list_place_is(int64_t place, const char *key)
{
	return (uint32_t)place == dv_list_place_hash(key);
}

#endif
