/* SPDX-License-Identifier: MIT */
/*
 * shrink.c - a failing run is made again with ever fewer steps, then with simpler ones.
 */
#include "tests/mount/exerciser/exerciser.h"
#include "tests/mount/shrink_list.h"

#include <sys/mount.h>

#define TRIES	       2 /* of a run that does not fail each time */
#define SIMPLIFIED_MAX 40

/* After a run that left it dead, or not mounted. */
static void revive(void)
{
	if (mounted_pid(&ex.mounted) > 1)
		return;
	umount2(ex.mounted.mountpoint, MNT_DETACH);
	ex.mounted.options = ex.options;
	mounted_up(&ex.mounted);
}

bool ex_fails(const struct ex_step *steps, unsigned count, bool quiet)
{
	int status = 0;
	pid_t pid;

	revive();
	fflush(stderr);
	pid = fork();
	if (pid == 0) {
		if (quiet && !freopen("/dev/null", "w", stderr))
			_exit(1);
		ex.steps = steps;
		ex.count = count;
		ex_run();
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && status != 0;
}

static bool still_fails(const void *steps, unsigned count)
{
	for (int i = 0; i < TRIES; i++)
		if (ex_fails(steps, count, true))
			return true;
	return false;
}

/* One process, root, short lengths: where the run still fails so. */
static void simplify(struct ex_step *steps, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct ex_step was = steps[i];
		for (int what = 0; what < 5; what++) {
			struct ex_step before = steps[i];
			if (what == 0)
				steps[i].proc = 0;
			else if (what == 1)
				steps[i].who = 0;
			else if (what == 2 && was.umask)
				steps[i].umask = 022;
			else if (what == 3 && was.len > 1)
				steps[i].len = 1;
			else if (what == 4)
				steps[i].off = 0;
			if (memcmp(&before, &steps[i], sizeof(before)) != 0 &&
			    !still_fails(steps, count))
				steps[i] = before;
		}
	}
}

unsigned ex_shrink(struct ex_step *steps, unsigned count)
{
	count = shrink_list(steps, count, sizeof(*steps), still_fails);
	if (count <= SIMPLIFIED_MAX)
		simplify(steps, count);
	return count;
}
