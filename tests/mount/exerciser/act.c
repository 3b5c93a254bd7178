/* SPDX-License-Identifier: MIT */
/*
 * act.c - a step is taken on one side: as whom, where, and by which file's function.
 */
#include "tests/mount/exerciser/exerciser.h"

#include <grp.h>
#include <sys/mman.h>

/* 0 root; 1, 2, 3 have files and groups here, 3 is a member of the groups of 1 and 2; 4 is a
 * stranger, but for what chown gives to 1004. */
void ex_become(unsigned who)
{
	static const gid_t supplementary[] = {1001, 1002};

	if (who == 0) {
		if (seteuid(0) || setegid(0) || setgroups(0, NULL))
			ex_fail("become root", strerror(errno));
		return;
	}
	if (setgroups(who == 3 ? 2 : 0, supplementary) || setegid(1000 + who) ||
	    seteuid(1000 + who))
		ex_fail("become another user", strerror(errno));
}

int ex_base(int side)
{
	struct ex_side *s = &ex.side[side];

	if (s->base < 0)
		s->base = open(ex.base[side], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->base < 0)
		ex_fail("the base", strerror(errno));
	return s->base;
}

void ex_enter(int side)
{
	if (fchdir(ex_base(side)))
		ex_fail("fchdir", strerror(errno));
}

/* What would keep the mount busy. */
void ex_close_all(int side)
{
	struct ex_side *s = &ex.side[side];

	for (int i = 0; i < EX_SLOTS; i++) {
		if (s->fds[i] >= 0)
			close(s->fds[i]);
		s->fds[i] = -1;
	}
	for (int i = 0; i < EX_MAPS; i++) {
		if (s->maps[i].at)
			munmap(s->maps[i].at, s->maps[i].len);
		s->maps[i] = (struct ex_map){NULL, 0, 0};
	}
	if (s->base >= 0)
		close(s->base);
	s->base = -1;
	if (chdir("/"))
		ex_fail("chdir", strerror(errno));
}

uint64_t ex_sum(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint64_t sum = 1469598103934665603u;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * 1099511628211u;
	return sum;
}

/* The same bytes for both sides: one value, zeros too, or something that packs to a half. */
void ex_fill(const struct ex_step *s, size_t len)
{
	struct test_random r = {s->fill | 1};

	if (s->fill & 2)
		test_random_fill(&r, ex.data, len);
	else
		memset(ex.data, s->fill & 4 ? 0 : (int)(s->fill >> 8), len);
}

struct ex_result ex_act(const struct ex_step *s, int side)
{
	struct ex_result r = {0};

	ex_enter(side);
	if (strchr(ex_kinds[s->kind].fields, 'd'))
		ex_fill(s, s->len < EX_DATA_BYTES ? s->len : EX_DATA_BYTES);
	umask((mode_t)s->umask);
	ex_become(s->who);
	errno = 0;
	if (s->kind <= EX_STREAM)
		r.ret = ex_act_data(s, side, &r.sum);
	else if (s->kind < EX_CHMOD)
		r.ret = ex_act_names(s, side, &r.sum);
	else
		r.ret = ex_act_attrs(s, side, &r.sum);
	r.err = r.ret < 0 ? errno : 0;
	ex_become(0);
	umask(022);
	return r;
}
