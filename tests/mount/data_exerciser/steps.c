/* SPDX-License-Identifier: MIT */
/*
 * steps.c - steps of the data exerciser: chosen from seed and number, as text, and back.
 */
#include "tests/mount/data_exerciser/data.h"

#include <inttypes.h>

const struct dx_kind_info dx_kinds[DX_KINDS] = {
	[DX_WRITE] = {"write", 500},
	[DX_APPEND] = {"append", 120},
	[DX_APPEND_MANY] = {"append-many", 30},
	[DX_APPEND_OTHERS] = {"append-others", 10},
	[DX_WRITE_DIRECT] = {"write-direct", 40},
	[DX_STREAM] = {"stream", 4},
	[DX_TRUNCATE] = {"truncate", 160},
	[DX_FALLOCATE] = {"fallocate", 120},
	[DX_MAP_WRITE] = {"map-write", 150},
	[DX_MAP_READ] = {"map-read", 80},
	[DX_MAP_PAST_END] = {"map-past-end", 20},
	[DX_REPLACE] = {"replace", 80},
	[DX_SAVE] = {"save", 30},
	[DX_COPY] = {"copy", 60},
	[DX_COPY_OUT] = {"copy-out", 15},
	[DX_LINK] = {"link", 30},
	[DX_RENAME] = {"rename", 20},
	[DX_SYNC] = {"sync", 60},
	[DX_REOPEN] = {"reopen", 80},
	[DX_READ] = {"read", 200},
	[DX_READ_DIRECT] = {"read-direct", 40},
	[DX_SEEK] = {"seek", 30},
	[DX_PAUSE] = {"pause", 8},
	[DX_PACK] = {"pack", 30},
	[DX_UNPACK] = {"unpack", 8},
	[DX_REMOUNT] = {"remount", 4},
	[DX_KILL] = {"kill", 4},
	[DX_KILL_WRITING] = {"kill-writing", 3},
};

/* At borders of pages and frames, one byte beside them, or anywhere. */
static uint64_t pick(struct test_random *r, uint64_t limit)
{
	static const uint64_t grid[] = {1, 512, 4096, 16384, 65536, 131072, 1 << 20};
	uint64_t n = test_random_below(r, limit + 1), g = grid[test_random_below(r, 7)];

	switch (test_random_below(r, 4)) {
	case 0:
		return n / g * g;
	case 1:
		return n / g * g + 1;
	case 2:
		n = n / g * g;
		return n ? n - 1 : 0;
	default:
		return n;
	}
}

void dx_choose(uint64_t seed, unsigned number, struct dx_step *s)
{
	struct test_random r = {(seed + 1) * 0x9e3779b97f4a7c15u ^
				(number + 1) * 0xd1342543de82ef95u};
	unsigned total = 0, at;
	bool large;

	r.state |= 1;
	for (int i = 0; i < 8; i++)
		test_random_next(&r);
	for (int i = 0; i < DX_KINDS; i++)
		total += dx_kinds[i].weight;
	memset(s, 0, sizeof(*s));
	s->number = number;
	at = (unsigned)test_random_below(&r, total);
	while (at >= dx_kinds[s->kind].weight)
		at -= dx_kinds[s->kind++].weight;
	/* Small values for long, then some that are large. */
	large = number / 150 % 8 == 7 && test_random_below(&r, 6) == 0;
	s->off = pick(&r, (large ? DX_LARGE_BYTES : DX_SIZE_BYTES) - 1);
	s->len = 1 + pick(&r, test_random_below(&r, 12) == 0 ? DX_PIECE_BYTES - 8 : 70000);
	if (s->kind == DX_STREAM)
		s->len = (8u << 20) - 70000 + pick(&r, 4u << 20);
	if (s->kind == DX_TRUNCATE && test_random_below(&r, 5) == 0)
		s->off = 0;
	s->fill = test_random_next(&r) | 1;
	s->flags = (unsigned)test_random_below(&r, 16);
}

void dx_print(const struct dx_step *s, FILE *out)
{
	fprintf(out, "%u %s off=%" PRIu64 " len=%" PRIu64 " fill=%#" PRIx64 " flags=%u\n",
		s->number, dx_kinds[s->kind].name, s->off, s->len, s->fill, s->flags);
}

bool dx_parse(const char *line, struct dx_step *s)
{
	char name[32];
	int kind = 0;

	memset(s, 0, sizeof(*s));
	if (sscanf(line, "%u %31s off=%" SCNu64 " len=%" SCNu64 " fill=%" SCNx64 " flags=%u",
		   &s->number, name, &s->off, &s->len, &s->fill, &s->flags) != 6)
		return false;
	while (kind < DX_KINDS && strcmp(name, dx_kinds[kind].name) != 0)
		kind++;
	s->kind = (enum dx_kind)kind;
	return kind < DX_KINDS && s->off < DX_LARGE_BYTES && s->len <= DX_LARGE_BYTES;
}
