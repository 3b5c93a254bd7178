/* SPDX-License-Identifier: MIT */
/*
 * random.h - numbers that look random and are the same in every run (xorshift64*, Vigna 2016).
 */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct test_random {
	uint64_t state; /* not 0 */
};

static inline uint64_t test_random_next(struct test_random *r)
{
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;
	return r->state * 0x2545F4914F6CDD1Du;
}

/* 0 to limit - 1 */
static inline uint64_t test_random_below(struct test_random *r, uint64_t limit)
{
	return (test_random_next(r) >> 8) % limit;
}

/* Compressible to about half: runs of one byte between stretches of noise. */
static inline void test_random_fill(struct test_random *r, void *out, size_t len)
{
	uint8_t *p = out;
	for (size_t i = 0; i < len;) {
		size_t n = 1 + test_random_below(r, 40);
		uint64_t v = test_random_next(r);
		for (; n > 0 && i < len; n--, i++)
			p[i] = v & 1 ? (uint8_t)(v >> 32) : (uint8_t)test_random_next(r);
	}
}

#endif
