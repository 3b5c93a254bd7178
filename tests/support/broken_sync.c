/* SPDX-License-Identifier: MIT */
/*
 * broken_sync.c - LD_PRELOAD: a daemon that forgets one of its syncs, or tears one kind of rename.
 * tests/crash/device.sh must find each.
 *
 * BROKEN, one of:
 *   stage    the bytes of a stage are not synced before they take the name of a value
 *   record   the log's records are not synced before what they tell of is done
 *   value    fsync of a value in its place does nothing
 *   names    fsync of a directory does nothing
 *   swap     two names are exchanged in two steps, between which the power may go
 */
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool broken(const char *what)
{
	const char *is = getenv("BROKEN");
	return is && !strcmp(is, what);
}

static bool is_void(int fd)
{
	char link[64], path[PATH_MAX];
	struct stat st;
	if (fstat(fd, &st))
		return false;
	if (S_ISDIR(st.st_mode))
		return broken("names");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	if (!strstr(path, "/.diskvfs/stage/"))
		return broken("value");
	return broken(!strcmp(strrchr(path, '/'), "/log") ? "record" : "stage");
}

int fsync(int fd)
{
	return is_void(fd) ? 0 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	return is_void(fd) ? 0 : (int)syscall(SYS_fdatasync, fd);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	if (flags != RENAME_EXCHANGE || !broken("swap"))
		return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
	char aside[NAME_MAX + 1];
	if (snprintf(aside, sizeof(aside), "%s.aside", from) >= (int)sizeof(aside))
		return -1;
	if (renameat(to_dir, to, from_dir, aside))
		return -1;
	int between = openat(to_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (between >= 0) { /* what is done so far reaches the disk */
		syncfs(between);
		close(between);
	}
	int done = renameat(from_dir, from, to_dir, to) ? -1 : 0;
	return done ? done : renameat(from_dir, aside, from_dir, from);
}
