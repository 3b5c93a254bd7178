/* SPDX-License-Identifier: MIT */
/* taken.c - see taken.h. */
#include "fs/taken.h"

#include <errno.h>
#include <stdatomic.h>

/* Two threads that share one of them forget each other's: then ESTALE is answered again. */
#define SLOTS 256

static atomic_ullong told[SLOTS]; /* who was told ESTALE of what; 0: nobody */

static atomic_ullong *slot_of(const struct fs_taken *t)
{
	return &told[(unsigned)t->thread % SLOTS];
}

/* FNV-1a; never 0. */
static unsigned long long mark_of(const struct fs_taken *t)
{
	uint64_t h = 0xcbf29ce484222325u ^ t->parent;

	h = (h * 0x100000001b3u) ^ (unsigned)t->thread;
	for (const char *c = t->name; *c; c++)
		h = (h * 0x100000001b3u) ^ (unsigned char)*c;
	return h | 1;
}

int fs_taken_answer(const struct fs_taken *t)
{
	unsigned long long mark = mark_of(t);

	if (t->thread == 0) /* of another namespace: it could be anyone */
		return ESTALE;
	if (atomic_exchange(slot_of(t), mark) != mark)
		return ESTALE;
	fs_taken_end(t);
	return EEXIST;
}

void fs_taken_end(const struct fs_taken *t)
{
	unsigned long long mark;

	if (atomic_load_explicit(slot_of(t), memory_order_relaxed) == 0) /* mostly */
		return;
	mark = mark_of(t);
	atomic_compare_exchange_strong(slot_of(t), &mark, 0);
}
