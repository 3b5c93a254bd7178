/* SPDX-License-Identifier: MIT */
/*
 * broken_clock.c - LD_PRELOAD: a daemon whose wall clock is set while it runs, and nobody else's.
 *
 *   CLOCK_OFFSET   a file with a number of seconds that are added to CLOCK_REALTIME; read each time
 *
 * The kernel gives files its own time all the same, as the server of a network filesystem does.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long offset(void)
{
	const char *path = getenv("CLOCK_OFFSET");
	char text[32] = "";
	int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return 0;
	if (syscall(SYS_read, fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	syscall(SYS_close, fd);
	return atoll(text);
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
	int rc = (int)syscall(SYS_clock_gettime, clock, out);
	if (rc == 0 && clock == CLOCK_REALTIME)
		out->tv_sec += (time_t)offset();
	return rc;
}

time_t time(time_t *out)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	if (out)
		*out = t.tv_sec;
	return t.tv_sec;
}
