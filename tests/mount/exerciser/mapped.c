/* SPDX-License-Identifier: MIT */
/*
 * mapped.c - files with bytes in a mapping. One actor acts at a time, so nothing is locked.
 */
#include "tests/mount/exerciser/mapped.h"

#include <stdlib.h>
#include <sys/mman.h>

#define MAPPED_MAX 4096 /* of one time between two mounts; more are not told apart from others */

struct files {
	unsigned count;
	ino_t ino[MAPPED_MAX];
};

static struct mapped {
	struct files now, before; /* before: whose times the end of a mapping may have moved */
} * mapped;

void ex_mapped_init(void)
{
	mapped = mmap(NULL, sizeof(*mapped), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (mapped == MAP_FAILED)
		abort();
}

/* -> its place, or count */
static unsigned find(const struct files *f, ino_t plain)
{
	unsigned i = 0;

	while (i < f->count && f->ino[i] != plain)
		i++;
	return i;
}

static void add(struct files *f, ino_t plain)
{
	if (find(f, plain) == f->count && f->count < MAPPED_MAX)
		f->ino[f->count++] = plain;
}

bool ex_is_mapped(ino_t plain)
{
	return find(&mapped->now, plain) < mapped->now.count;
}

bool ex_times_are_apart(ino_t plain)
{
	return ex_is_mapped(plain) || find(&mapped->before, plain) < mapped->before.count;
}

bool ex_any_mapped(void)
{
	return mapped->now.count > 0;
}

void ex_mapped_add(ino_t plain)
{
	add(&mapped->now, plain);
}

void ex_mapped_clear(void)
{
	for (unsigned i = 0; i < mapped->now.count; i++)
		add(&mapped->before, mapped->now.ino[i]);
	mapped->now.count = 0;
}

void ex_times_are_set(ino_t plain)
{
	struct files *f = &mapped->before;
	unsigned i = find(f, plain);

	if (i < f->count)
		f->ino[i] = f->ino[--f->count];
}
