/* SPDX-License-Identifier: MIT */
/* told.c - see told.h. */
#include "fs/told.h"

#include <stdatomic.h>
#include <time.h>

#define SLOT_BITS  11u
#define DOUBTS_MAX 32u

/* When something was answered last, and when another mtime was; 0: never. A time that comes again when the
 * clock has wrapped makes what lies there less believed, for once. */
static struct {
	atomic_uint any, other;
	atomic_uint doubts; /* answers in a row that do not count */
} slots[1u << SLOT_BITS];

static unsigned slot_of(const void *value)
{
	return (unsigned)(((uint64_t)(uintptr_t)value * 0x9E3779B97F4A7C15u) >> (64 - SLOT_BITS));
}

static bool is_recent(unsigned then_ms, uint32_t now_ms)
{
	return then_ms && now_ms - then_ms < FS_TOLD_MS;
}

uint32_t fs_told_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint32_t)((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000) | 1;
}

bool fs_told_answer(const void *value, enum fs_told_kind kind, uint32_t now_ms)
{
	unsigned at = slot_of(value);
	/* Of two at once one sees the other. */
	unsigned before = atomic_exchange(&slots[at].any, now_ms);

	if (kind != FS_TOLD_OTHER || !is_recent(before, now_ms))
		atomic_store(&slots[at].doubts, 0);
	if (kind != FS_TOLD_OTHER)
		return true;
	if (is_recent(before, now_ms)) {
		atomic_fetch_add(&slots[at].doubts, 1);
		return false;
	}
	atomic_store(&slots[at].other, now_ms);
	return true;
}

bool fs_told_often(const void *value)
{
	return atomic_load(&slots[slot_of(value)].doubts) >= DOUBTS_MAX;
}

void fs_told_change(const void *value, uint32_t now_ms)
{
	atomic_store(&slots[slot_of(value)].any, now_ms);
}

bool fs_told_is_under_way(const void *value, uint32_t now_ms)
{
	return is_recent(atomic_load(&slots[slot_of(value)].other), now_ms);
}
