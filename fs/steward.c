/* SPDX-License-Identifier: MIT */
/* steward.c - see steward.h. */
#include "fs/steward.h"

#include "core/log.h"
#include "fs/mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKET_FD 3 /* of the process */

struct fs_steward {
	const char *mountpoint;
	char *const *gc;
	pthread_mutex_t lock; /* one errand at a time */
	int fd;		      /* to the process; -1: none, the errands are done here */
	pid_t process;
	pid_t child; /* lock, or the process; `diskvfs gc`; 0: none */
};

/* ---- the errands ---- */

static dv_err start_gc(struct fs_steward *s)
{
	char *const env[] = {NULL};
	posix_spawnattr_t attr;
	sigset_t none;
	int err;

	if (s->child)
		return -EBUSY;
	if (!s->gc)
		return -EINVAL;
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	err = posix_spawn(&s->child, "/proc/self/exe", NULL, &attr, s->gc, env);
	posix_spawnattr_destroy(&attr);
	if (err)
		s->child = 0;
	return -err;
}

static dv_err look_at_gc(struct fs_steward *s)
{
	int status = 0;
	pid_t pid;

	if (!s->child)
		return 0;
	pid = waitpid(s->child, &status, WNOHANG);
	if (pid == 0 || (pid < 0 && errno == EINTR))
		return -EAGAIN;
	s->child = 0;
	return pid > 0 && status == 0 ? 0 : -EIO;
}

/* It may wait for an answer of the daemon, so it is not waited for. */
static dv_err end_gc(struct fs_steward *s)
{
	return s->child && kill(s->child, SIGKILL) < 0 ? -errno : 0;
}

static void reap_gc(struct fs_steward *s)
{
	dv_ignore(end_gc(s));
	while (s->child && waitpid(s->child, NULL, 0) < 0 && errno == EINTR)
		;
	s->child = 0;
}

static dv_err perform(struct fs_steward *s, enum fs_errand errand)
{
	switch (errand) {
	case FS_ERRAND_UNMOUNT:
	case FS_ERRAND_UNMOUNT_LAZY:
		return fs_mountpoint_unmount(s->mountpoint, errand == FS_ERRAND_UNMOUNT_LAZY);
	case FS_ERRAND_GC:
		return start_gc(s);
	case FS_ERRAND_GC_LOOK:
		return look_at_gc(s);
	case FS_ERRAND_GC_END:
		return end_gc(s);
	}
	return -EINVAL;
}

/* ---- the process ---- */

/* Keeps nothing of the daemon's: a lock of the store, or the pipe of who waits for the mount. */
static void let_go(int fd)
{
	int null;

	if (fd != SOCKET_FD && dup2(fd, SOCKET_FD) < 0)
		_exit(1);
	closefrom(SOCKET_FD + 1);
	null = open("/dev/null", O_RDWR);
	for (int i = 0; i < SOCKET_FD; i++)
		dup2(null, i);
	if (null > SOCKET_FD)
		close(null);
	if (chdir("/") < 0)
		_exit(1);
}

/* The daemon decides when the mount ends, so a signal to both of them is none for this one. */
static void ignore_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void run_process(struct fs_steward *s, int fd)
{
	unsigned char byte;
	ssize_t n;

	ignore_signals();
	prctl(PR_SET_NAME, "diskvfs-steward");
	let_go(fd);
	for (;;) {
		dv_err result;

		n = recv(SOCKET_FD, &byte, 1, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != 1)
			break;
		result = perform(s, (enum fs_errand)byte);
		if (send(SOCKET_FD, &result, sizeof(result), MSG_NOSIGNAL) < 0)
			break;
	}
	reap_gc(s);
	_exit(0);
}

static dv_err start_process(struct fs_steward *s)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	s->process = fork();
	if (s->process == 0)
		run_process(s, fds[1]);
	close(fds[1]);
	if (s->process < 0) {
		dv_err err = -errno;

		close(fds[0]);
		return err;
	}
	s->fd = fds[0];
	return 0;
}

/* ---- the daemon's side ---- */

dv_err fs_steward_new(const char *mountpoint, char *const *gc, bool apart, struct fs_steward **out)
{
	struct fs_steward *s = calloc(1, sizeof(*s));
	dv_err err;

	if (!s)
		return -ENOMEM;
	s->mountpoint = mountpoint;
	s->gc = gc;
	s->fd = -1;
	err = apart ? start_process(s) : 0;
	if (err) {
		free(s);
		return err;
	}
	pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

/* lock held */
static dv_err ask(struct fs_steward *s, enum fs_errand errand)
{
	const unsigned char byte = (unsigned char)errand;
	dv_err result;
	ssize_t n;

	if (send(s->fd, &byte, 1, MSG_NOSIGNAL) != 1)
		return -ECHILD;
	do
		n = recv(s->fd, &result, sizeof(result), 0);
	while (n < 0 && errno == EINTR);
	return n == sizeof(result) ? result : -ECHILD;
}

dv_err fs_steward_do(struct fs_steward *s, enum fs_errand errand)
{
	dv_err err;

	pthread_mutex_lock(&s->lock);
	err = s->fd < 0 ? perform(s, errand) : ask(s, errand);
	pthread_mutex_unlock(&s->lock);
	return err;
}

void fs_steward_free(struct fs_steward **slot)
{
	struct fs_steward *s = *slot;

	if (!s)
		return;
	*slot = NULL;
	if (s->fd >= 0) {
		close(s->fd); /* which is its order to end */
		while (waitpid(s->process, NULL, 0) < 0 && errno == EINTR)
			;
	} else {
		reap_gc(s);
	}
	pthread_mutex_destroy(&s->lock);
	free(s);
}
