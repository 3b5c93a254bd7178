/* SPDX-License-Identifier: MIT */
/*
 * mounted.h - a mount as a test program handles it: bring it up, pack it, take it down, kill it.
 *
 * Programs print what failed and end with 1. The daemon is told from its own .diskvfs/stats.
 */
#ifndef TEST_MOUNTED_H
#define TEST_MOUNTED_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct mounted {
	const char *program, *store, *mountpoint; /* borrowed */
	const char *options;			  /* of -o */
};

/* -> as of wait(2) */
static inline int mounted_status(const char *const argv[])
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	return pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : status;
}

static inline void mounted_failed(const char *const argv[], int status)
{
	fprintf(stderr, "%s %s failed: status %#x\n", argv[0], argv[1], (unsigned)status);
	exit(1);
}

static inline void mounted_run(const char *const argv[])
{
	int status = mounted_status(argv);

	if (status != 0)
		mounted_failed(argv, status);
}

static inline void mounted_up(const struct mounted *m)
{
	const char *argv[] = {m->program, "mount", m->store, m->mountpoint, "-o", m->options, NULL};

	mounted_run(argv);
}

/* -> 0 or an errno */
static inline int mounted_control(const struct mounted *m, const char *command)
{
	char path[4096];
	int err = 0, fd;

	snprintf(path, sizeof(path), "%s/.diskvfs/control", m->mountpoint);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (write(fd, command, strlen(command)) < 0)
		err = errno;
	close(fd);
	return err;
}

static inline void mounted_pack(const struct mounted *m)
{
	int err = mounted_control(m, "pack");

	if (err) {
		fprintf(stderr, "pack: %s\n", strerror(err));
		exit(1);
	}
}

static inline pid_t mounted_pid(const struct mounted *m)
{
	char path[4096], text[64] = "";
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/.diskvfs/stats", m->mountpoint);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	return n > 8 ? (pid_t)strtol(text + 7, NULL, 10) : 0; /* {"pid": N, */
}

/* The daemon is nobody's child here. A zombie has ended: it holds nothing any more. */
static inline int mounted_has_ended(pid_t pid)
{
	char path[64], text[512];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (f)
		fclose(f);
	text[n] = '\0';
	return n == 0 || strstr(text, ") Z") || strstr(text, ") X");
}

static inline int mounted_wait_end(pid_t pid, unsigned seconds)
{
	for (unsigned i = 0; i < seconds * 1000; i++) {
		if (mounted_has_ended(pid))
			return 1;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return 0;
}

/* Another test's namespace, that was made meanwhile, may have the mount too: unmount says so (2). */
static inline void mounted_down(const struct mounted *m)
{
	const char *argv[] = {m->program, "unmount", m->mountpoint, NULL};
	pid_t pid = mounted_pid(m);
	unsigned left = alarm(0); /* who waits for others does not hang */
	int status = mounted_status(argv);

	if (status != 0 && (pid <= 1 || mounted_pid(m) || !WIFEXITED(status) ||
			    WEXITSTATUS(status) != 2 || !mounted_wait_end(pid, 120)))
		mounted_failed(argv, status);
	alarm(left);
}

/* kill -9, and the mountpoint is free again. */
static inline void mounted_kill(const struct mounted *m)
{
	pid_t pid = mounted_pid(m);

	if (pid <= 1) {
		fprintf(stderr, "no daemon to kill\n");
		exit(1);
	}
	kill(pid, SIGKILL);
	(void)mounted_wait_end(pid, 5);
	umount2(m->mountpoint, MNT_DETACH);
}

#endif
