/* SPDX-License-Identifier: MIT */
/*
 * mapped.c - files with bytes in a mapping. One actor acts at a time, so nothing is locked.
 */
#include "tests/mount/exerciser/mapped.h"

#include <stdlib.h>
#include <sys/mman.h>

#define MAPPED_MAX 4096 /* of one time between two mounts; more are not told apart from others */

static struct mapped {
	unsigned count;
	ino_t ino[MAPPED_MAX];
} * mapped;

void ex_mapped_init(void)
{
	mapped = mmap(NULL, sizeof(*mapped), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (mapped == MAP_FAILED)
		abort();
}

bool ex_is_mapped(ino_t plain)
{
	for (unsigned i = 0; i < mapped->count; i++)
		if (mapped->ino[i] == plain)
			return true;
	return false;
}

bool ex_any_mapped(void)
{
	return mapped->count > 0;
}

void ex_mapped_add(ino_t plain)
{
	if (!ex_is_mapped(plain) && mapped->count < MAPPED_MAX)
		mapped->ino[mapped->count++] = plain;
}

void ex_mapped_clear(void)
{
	mapped->count = 0;
}
