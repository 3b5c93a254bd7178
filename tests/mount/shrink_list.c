/* SPDX-License-Identifier: MIT */
/* shrink_list.c - see shrink_list.h. */
#include "tests/mount/shrink_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned leave_out(char *steps, unsigned count, size_t bytes, shrink_fails *fails,
			  char *attempt)
{
	for (unsigned piece = count / 2; piece > 0; piece /= 2) {
		for (unsigned end = count; end > 0;) { /* the last ones first: they failed */
			unsigned at = end > piece ? end - piece : 0, rest = count - end;
			memcpy(attempt, steps, at * bytes);
			memcpy(attempt + at * bytes, steps + end * bytes, rest * bytes);
			if (fails(attempt, at + rest)) {
				memcpy(steps, attempt, (at + rest) * bytes);
				count = at + rest;
			}
			end = at;
		}
		fprintf(stderr, "shrinking: %u steps after pieces of %u\n", count, piece);
	}
	return count;
}

unsigned shrink_list(void *steps, unsigned count, size_t bytes, shrink_fails *fails)
{
	char *attempt = calloc(count ? count : 1, bytes);
	unsigned before = 0;

	while (attempt && count > 1 && count != before) {
		before = count;
		count = leave_out(steps, count, bytes, fails, attempt);
	}
	free(attempt);
	return count;
}
