/* SPDX-License-Identifier: MIT */
/*
 * daemon.c - fork, the ready pipe, the signal thread.
 */
#include "fs/daemon.h"

#include "core/log.h"
#include "fs/session.h"
#include "fs/steward.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A probe of ours may hold a file open for a moment: umount is tried this often before it counts as
 * in use. */
#define UNMOUNT_TRIES	 10
#define UNMOUNT_PAUSE_NS 50000000
#define WAKE_PAUSE_NS	 20000000

static struct {
	int pipe_fd; /* to the parent, -1: none (any more) */
	bool foreground;
	struct fs_session *fs;
	pthread_t serving, watching;
	bool watched;
} d = {.pipe_fd = -1, .foreground = true};

/* The parent: exits as the child says. */
static void wait_for_child(int fd, pid_t child)
{
	char text[1024];
	unsigned char status;
	ssize_t n;
	int code;

	do
		n = read(fd, &status, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1) {
		if (waitpid(child, &code, 0) == child && WIFSIGNALED(code))
			fprintf(stderr,
				"diskvfs: the daemon was killed by signal %d at its start\n",
				WTERMSIG(code));
		else
			fprintf(stderr, "diskvfs: the daemon ended before the mount was ready\n");
		_exit(FS_EXIT_INTERNAL);
	}
	while ((n = read(fd, text, sizeof(text))) > 0)
		if (fwrite(text, 1, (size_t)n, stderr) != (size_t)n)
			break;
	fflush(stderr);
	_exit(status);
}

void fs_daemon_start(bool foreground)
{
	int fds[2];
	pid_t child;

	d.foreground = foreground;
	if (foreground)
		return;
	if (pipe2(fds, O_CLOEXEC) < 0 || (fflush(NULL), child = fork()) < 0) {
		fprintf(stderr, "diskvfs: can not start the daemon: %s\n", strerror(errno));
		exit(FS_EXIT_SYSTEM);
	}
	if (child > 0) {
		close(fds[1]);
		wait_for_child(fds[0], child);
	}
	close(fds[0]);
	d.pipe_fd = fds[1];
	setsid();
	if (chdir("/") < 0)
		dv_warn("chdir /: %s", strerror(errno));
}

static void tell_parent(int status, const char *text)
{
	unsigned char byte = (unsigned char)status;

	if (d.pipe_fd < 0)
		return;
	/* A parent that was killed is nobody to tell. */
	if (write(d.pipe_fd, &byte, 1) == 1 && *text)
		dv_ignore(write(d.pipe_fd, text, strlen(text)));
	close(d.pipe_fd);
	d.pipe_fd = -1;
}

void fs_daemon_ready(void)
{
	int null;

	if (d.foreground)
		return;
	dv_log_use_syslog("diskvfs");
	null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			close(null);
	}
	tell_parent(FS_EXIT_OK, "");
}

int fs_daemon_fail(int status, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	size_t len = (size_t)snprintf(line, sizeof(line), "diskvfs: ");

	va_start(ap, fmt);
	vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
	va_end(ap);
	strcat(line, "\n");
	if (d.pipe_fd >= 0)
		tell_parent(status, line);
	else
		fputs(line, stderr);
	return status;
}

/* ---- signals ---- */

static void signal_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

static void wake(int sig)
{
	(void)sig; /* its arrival ends a blocked read */
}

void fs_daemon_block_signals(void)
{
	struct sigaction action;
	sigset_t set;

	signal_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	memset(&action, 0, sizeof(action));
	action.sa_handler = wake; /* no SA_RESTART */
	sigaction(SIGUSR1, &action, NULL);
	sigemptyset(&set); /* who starts it may have blocked it */
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
}

static void pause_ns(long ns)
{
	const struct timespec ts = {.tv_nsec = ns};

	nanosleep(&ts, NULL);
}

static void finish_and_unmount(struct fs_session *fs)
{
	dv_err err = dv_store_finish(fs->store);

	if (err < 0)
		dv_error("not everything could be finished: %s", strerror(-err));
	for (int i = 0; i < UNMOUNT_TRIES; i++) {
		if (atomic_load(&fs->ending))
			return;
		err = fs_steward_do(fs->steward, FS_ERRAND_UNMOUNT);
		if (err != -EBUSY)
			break;
		pause_ns(UNMOUNT_PAUSE_NS);
	}
	if (err == -EBUSY) {
		dv_warn("%s is in use: unmounted for new users only; a second signal ends it at "
			"once",
			fs->mountpoint);
		err = fs_steward_do(fs->steward, FS_ERRAND_UNMOUNT_LAZY);
	}
	if (err == 0)
		atomic_store(&fs->unmounted, true);
	else
		dv_error("can not unmount %s: %s", fs->mountpoint, strerror(-err));
}

static void *watch_thread(void *arg)
{
	struct fs_session *fs = arg;
	unsigned signals = 0;
	sigset_t set;
	int sig;

	signal_set(&set);
	while (sigwait(&set, &sig) == 0 && !atomic_load(&fs->ending)) {
		signals++;
		if (signals == 1) {
			dv_info("ending on signal %d", sig);
			finish_and_unmount(fs);
			continue;
		}
		fs_session_stop(fs);
		/* Again until it is seen: the signal may come just before the read. */
		while (!atomic_load(&fs->ending)) {
			pthread_kill(d.serving, SIGUSR1);
			pause_ns(WAKE_PAUSE_NS);
		}
	}
	return NULL;
}

dv_err fs_daemon_watch_signals(struct fs_session *fs)
{
	int err;

	d.serving = pthread_self();
	err = pthread_create(&d.watching, NULL, watch_thread, fs);
	d.watched = err == 0;
	return -err;
}

void fs_daemon_unwatch_signals(void)
{
	if (!d.watched)
		return;
	pthread_kill(d.watching, SIGTERM); /* blocked there, taken by sigwait */
	pthread_join(d.watching, NULL);
	d.watched = false;
}
