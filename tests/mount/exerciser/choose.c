/* SPDX-License-Identifier: MIT */
/*
 * choose.c - a step from the seed and its number: few, odd names, so that steps meet.
 */
#include "tests/mount/exerciser/exerciser.h"

#include <linux/falloc.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

typedef struct test_random rnd;

static uint64_t below(rnd *r, uint64_t limit)
{
	return test_random_below(r, limit);
}

static bool chance(rnd *r, unsigned percent)
{
	return below(r, 100) < percent;
}

static void put_name(rnd *r, char *to)
{
	static const char *const common[] = {"a", "a",	   "b",	    "b",	 "c",
					     "c", "a.zst", "a.zst", "a.zst.raw", "b.raw",
					     "d", "d.zst", "e.gz",  "e.gz.zst",	 "a.zst.zst"};
	static const char *const rare[] = {"@251",
					   "@252",
					   "@253",
					   "@254",
					   "@255",
					   "@256",
					   "@1",
					   "%252e",
					   "%25252e",
					   "...",
					   ".x",
					   ".diskvfsx",
					   "%20",
					   "%0A",
					   "%ff%fe",
					   "%01",
					   "*",
					   "[a]",
					   "-",
					   "%5c",
					   "..a",
					   "a.ZST",
					   ".zst",
					   ".zst.raw",
					   ".raw",
					   "%c3%a9.zst",
					   "a.zst.raw.raw",
					   "a%25zst",
					   "stage",
					   "a.zst.tmp",
					   "%252ediskvfs",
					   "%40251"};
	static const char *const wrong[] = {".", "d/..", "a/", "d/", "d/.", "b/."};

	if (chance(r, 82))
		strcpy(to, common[below(r, LEN(common))]);
	else if (chance(r, 90))
		strcpy(to, rare[below(r, LEN(rare))]);
	else
		strcpy(to, wrong[below(r, LEN(wrong))]);
}

/* Mostly near the root, so that steps meet. */
static void put_path(rnd *r, char *to)
{
	static const char *const dirs[] = {"",	       "",	   "",	 "",	   "",	     "",
					   "d/",       "d/",	   "d/", "d.zst/", "d.zst/", "d/d/",
					   "d/d.zst/", "d.zst/a/", "c/", "d/../",  "d//",    "a/"};
	static const char *const rare[] = {"@DEEP/",   "@DEEP/", "@255/",     "d/.diskvfs/",
					   "@DEEP/d/", "@256/",	 "d.zst/%25/"};

	if (chance(r, 1)) {
		strcpy(to, ".");
		return;
	}
	if (chance(r, 1)) {
		strcpy(to, "d/.diskvfs");
		return;
	}
	strcpy(to, chance(r, 2) ? rare[below(r, LEN(rare))] : dirs[below(r, LEN(dirs))]);
	put_name(r, to + strlen(to));
}

/* At frames of 4, 16 and 128 KiB, at pages, and anywhere. */
static uint64_t pick_offset(rnd *r)
{
	static const uint64_t edges[] = {0,	0,     0,     1,     4095,   4096,   4097,  16383,
					 16384, 16385, 32768, 65536, 131071, 131072, 131073};

	if (chance(r, 1) && chance(r, 50))
		return EX_STREAM_BYTES - 100 + below(r, 200);
	if (chance(r, 25))
		return below(r, 150000);
	return edges[below(r, LEN(edges))];
}

static uint64_t pick_length(rnd *r)
{
	static const uint64_t edges[] = {0,    1,     2,     100,   4095,  4096,   4097,
					 8192, 16384, 16385, 20000, 40000, 131072, 140000};

	if (chance(r, 25))
		return below(r, 70000);
	return edges[below(r, LEN(edges))];
}

static unsigned pick_open_flags(rnd *r)
{
	static const int access[] = {O_RDONLY, O_RDONLY, O_WRONLY, O_RDWR,
				     O_RDWR,   O_RDWR,	 O_RDWR,   O_ACCMODE};
	static const struct {
		int flag;
		unsigned percent;
	} flags[] = {{O_CREAT, 70},   {O_EXCL, 12},	{O_TRUNC, 25}, {O_APPEND, 15},
		     {O_NOFOLLOW, 8}, {O_DIRECTORY, 5}, {O_DIRECT, 6}, {O_SYNC, 4},
		     {O_DSYNC, 4},    {O_PATH, 4},	{O_NOATIME, 2}};
	int f = access[below(r, chance(r, 90) ? 7 : 8)] | O_NONBLOCK;

	if (chance(r, 1))
		return (unsigned)(f | O_TMPFILE);
	if (chance(r, 12)) /* a directory, to work from */
		return O_RDONLY | O_DIRECTORY | (chance(r, 20) ? (unsigned)O_PATH : 0);
	for (size_t i = 0; i < LEN(flags); i++)
		if (chance(r, flags[i].percent))
			f |= flags[i].flag;
	if (!(f & O_CREAT))
		f &= ~O_EXCL; /* undefined */
	return (unsigned)f;
}

static unsigned pick_mode(rnd *r)
{
	static const unsigned modes[] = {0644,	0644,  0600,  0666,  0755,  0755,  0700,  0777,
					 0777,	01777, 02755, 02777, 02775, 04755, 06755, 06711,
					 02644, 0,     0400,  0040,  07777, 0222};

	return modes[below(r, LEN(modes))];
}

static struct timespec pick_time(rnd *r)
{
	static const long special[] = {UTIME_NOW, UTIME_OMIT, UTIME_OMIT, 1000000000, -1};

	if (chance(r, 20))
		return (struct timespec){.tv_nsec = special[below(r, chance(r, 90) ? 3 : 5)]};
	if (chance(r, 4))
		return (struct timespec){.tv_sec = -(time_t)below(r, 1000000), .tv_nsec = 5};
	return (struct timespec){.tv_sec = (time_t)below(r, EX_OLD_TIMES_END),
				 .tv_nsec = (long)below(r, 1000000000)};
}

static unsigned pick_fallocate(rnd *r)
{
	static const unsigned modes[] = {0,
					 0,
					 FALLOC_FL_KEEP_SIZE,
					 FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
					 FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
					 FALLOC_FL_ZERO_RANGE,
					 FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
					 FALLOC_FL_PUNCH_HOLE,
					 FALLOC_FL_COLLAPSE_RANGE,
					 FALLOC_FL_INSERT_RANGE,
					 FALLOC_FL_UNSHARE_RANGE,
					 0x800};

	return modes[below(r, LEN(modes))];
}

static unsigned pick_flags(rnd *r, enum ex_kind kind)
{
	static const unsigned renames[] = {0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 8};

	switch (kind) {
	case EX_OPEN:
	case EX_OPENAT:
		return pick_open_flags(r);
	case EX_RENAME:
	case EX_RENAMEAT:
		return renames[below(r, LEN(renames))];
	case EX_FALLOCATE:
		return pick_fallocate(r);
	case EX_LSEEK:
		return (unsigned)below(r, 6);
	case EX_LOCK:
		return (unsigned)below(r, 16);
	default:
		return (unsigned)below(r, 8);
	}
}

static void pick_ids(rnd *r, struct ex_step *s)
{
	static const int64_t ids[] = {0, 0, 1001, 1001, 1002, 1003, 1004, -1, -1};

	s->uid = ids[below(r, LEN(ids))];
	s->gid = ids[below(r, LEN(ids))];
	if (s->who != 0 && chance(r, 60))
		s->uid = -1; /* others may change the group alone */
}

static void pick_operands(rnd *r, struct ex_step *s)
{
	static const unsigned umasks[] = {022, 022, 022, 0, 077, 027, 0777};
	const char *fields = ex_kinds[s->kind].fields;

	for (const char *f = fields; *f; f++) {
		switch (*f) {
		case 'a':
			put_path(r, s->a);
			break;
		case 'b':
			put_path(r, s->b);
			break;
		case 's':
			s->slot = (unsigned)below(r, EX_SLOTS);
			break;
		case 't':
			s->slot2 = (unsigned)below(r, EX_SLOTS);
			break;
		case 'f':
			s->flags = pick_flags(r, s->kind);
			break;
		case 'm':
			s->mode = pick_mode(r);
			break;
		case 'u':
			s->umask = umasks[below(r, LEN(umasks))];
			break;
		case 'o':
			s->off = pick_offset(r);
			break;
		case 'l':
			s->len = pick_length(r);
			break;
		case 'd':
			s->fill = test_random_next(r) | 1;
			break;
		case 'i':
			pick_ids(r, s);
			break;
		default:
			s->times[0] = pick_time(r);
			s->times[1] = pick_time(r);
		}
	}
}

/* The same process takes some twenty steps in a row. */
static unsigned pick_proc(uint64_t seed, unsigned number)
{
	static const unsigned procs[] = {0, 0, 0, 1, 2};
	rnd r = {(seed + 7) * 0x9e3779b97f4a7c15u ^ (number / 20 + 1) * 0xd1342543de82ef95u};

	r.state |= 1;
	for (int i = 0; i < 8; i++)
		test_random_next(&r);
	return procs[below(&r, LEN(procs))];
}

void ex_choose(uint64_t seed, unsigned number, struct ex_step *s)
{
	rnd r = {(seed + 1) * 0x9e3779b97f4a7c15u ^ (number + 1) * 0xd1342543de82ef95u};
	unsigned total = 0, at;

	r.state |= 1;
	for (int i = 0; i < 8; i++)
		test_random_next(&r);
	for (int i = 0; i < EX_KINDS; i++)
		total += ex_kinds[i].weight;
	memset(s, 0, sizeof(*s));
	s->number = number;
	at = (unsigned)below(&r, total);
	while (at >= ex_kinds[s->kind].weight)
		at -= ex_kinds[s->kind++].weight;
	s->proc = pick_proc(seed, number);
	s->who = chance(&r, 65) ? 0 : 1 + (unsigned)below(&r, EX_USERS - 1);
	pick_operands(&r, s);
}
