/* SPDX-License-Identifier: MIT */
/*
 * shrink_list.h - leaves out of a list of steps what a failure does not need (delta debugging:
 * Zeller and Hildebrandt, 2002).
 */
#ifndef TEST_SHRINK_LIST_H
#define TEST_SHRINK_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* Does a run with these steps fail? May be asked about the same steps again. */
typedef bool shrink_fails(const void *steps, unsigned count);

/* steps: count elements of bytes each, which fail. -> how many are left, in place. Tells on stderr
 * how far it is. */
unsigned shrink_list(void *steps, unsigned count, size_t bytes, shrink_fails *fails);

#endif
