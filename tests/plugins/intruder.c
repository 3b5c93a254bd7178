/* SPDX-License-Identifier: MIT */
/*
 * intruder.c - a transform that tries what it has no business with: key "try.WHAT" lies in the file
 * "try.WHAT=ERRNO", 0 where it could. A key without "try." lies where its name says.
 *
 * ARGS is a folder outside of the store, with files secret, victim and moved.
 */
#define _GNU_SOURCE /* unshare */
#include "core/plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TRY "try."

static char folder[4096];

static const char *outside(const char *name)
{
	static _Thread_local char paths[2][sizeof(folder) + 64];
	static _Thread_local unsigned turn;
	char *path = paths[turn++ % 2];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

/* 0 or -1 with errno, as system calls do. */
static int opened(int fd)
{
	return fd < 0 ? -1 : close(fd);
}

static int try_read(void)
{
	return opened(open(outside("secret"), O_RDONLY));
}
static int try_write(void)
{
	return opened(open(outside("secret"), O_WRONLY));
}
static int try_make(void)
{
	return opened(open(outside("made"), O_WRONLY | O_CREAT, 0600));
}
static int try_list(void)
{
	return opened(open(folder, O_RDONLY | O_DIRECTORY));
}
static int try_truncate(void)
{
	return truncate(outside("secret"), 1);
}
static int try_unlink(void)
{
	return unlink(outside("victim"));
}
static int try_link(void)
{
	return link(outside("secret"), outside("linked"));
}
static int try_mkdir(void)
{
	return mkdirat(AT_FDCWD, outside("folder"), 0700);
}

static int try_rename(void)
{
	return rename(outside("moved"), outside("away"));
}

static int try_exec(void)
{
	char *argv[] = {(char *)"true", NULL}, *env[] = {NULL};
	pid_t pid;

	errno = posix_spawn(&pid, "/bin/true", NULL, NULL, argv, env);
	return errno ? -1 : 0;
}

/* With a root of its own, as to leave the daemon's. */
static int try_namespace(void)
{
	return unshare(0);
}
static int try_unmount(void)
{
	return umount2(folder, 0);
}
static int try_mount(void)
{
	return mount(NULL, folder, NULL, MS_REMOUNT | MS_BIND, NULL);
}
static int try_inet(void)
{
	return opened(socket(AF_INET, SOCK_STREAM, 0));
}
static int try_netlink(void)
{
	return opened(socket(AF_NETLINK, SOCK_RAW, 0));
}
static int try_local(void)
{
	return opened(socket(AF_UNIX, SOCK_DGRAM, 0));
}
static int try_trace(void)
{
	return (int)ptrace(PTRACE_PEEKUSER, getpid(), 0, 0);
}
static int try_signal(void)
{
	return kill(getppid(), 0);
}
static int try_bpf(void)
{
	return (int)syscall(SYS_bpf, 9999, NULL, 0);
}
static int try_uring(void)
{
	return (int)syscall(SYS_io_uring_setup, 0, NULL);
}
static int try_module(void)
{
	return (int)syscall(SYS_delete_module, "", O_NONBLOCK);
}
static int try_clock(void)
{
	return (int)syscall(SYS_clock_settime, CLOCK_REALTIME, NULL);
}

static void *nothing(void *arg)
{
	return arg;
}

static int try_thread(void)
{
	pthread_t t;

	errno = pthread_create(&t, NULL, nothing, NULL);
	return errno ? -1 : pthread_join(t, NULL);
}

static const struct attempt {
	const char *what;
	int (*fn)(void);
} attempts[] = {
	{"read", try_read},   {"write", try_write},	    {"make", try_make},
	{"list", try_list},   {"truncate", try_truncate},   {"unlink", try_unlink},
	{"link", try_link},   {"mkdir", try_mkdir},	    {"rename", try_rename},
	{"exec", try_exec},   {"namespace", try_namespace}, {"unmount", try_unmount},
	{"mount", try_mount}, {"inet", try_inet},	    {"netlink", try_netlink},
	{"local", try_local}, {"trace", try_trace},	    {"signal", try_signal},
	{"bpf", try_bpf},     {"uring", try_uring},	    {"module", try_module},
	{"clock", try_clock}, {"thread", try_thread},
};
#define ATTEMPTS (sizeof(attempts) / sizeof(attempts[0]))

/* Once each: a key has one path. */
static int attempt(const char *what)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static int results[ATTEMPTS];
	int result = -1;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < ATTEMPTS; i++) {
		if (strcmp(attempts[i].what, what) != 0)
			continue;
		if (!results[i])
			results[i] = attempts[i].fn() < 0 ? errno : -1;
		result = results[i] < 0 ? 0 : results[i];
	}
	pthread_mutex_unlock(&lock);
	return result;
}

static int intruder_open(const char *args, void **self, char *why, size_t why_size)
{
	*self = NULL;
	if (snprintf(folder, sizeof(folder), "%s", args) < (int)sizeof(folder))
		return 0;
	snprintf(why, why_size, "the folder's name is too long");
	return -1;
}

static int intruder_transform(void *self, const char *key, char *path, size_t size)
{
	int result;
	(void)self;
	if (key[0] == '.' || strchr(key, '=') || strstr(key, ".zst"))
		return -1;
	if (strncmp(key, TRY, strlen(TRY)) != 0)
		return snprintf(path, size, "%s", key) >= (int)size ? -1 : 0;
	result = attempt(key + strlen(TRY));
	if (result < 0)
		return -1;
	return snprintf(path, size, "%s=%d", key, result) >= (int)size ? -1 : 0;
}

static int intruder_inverse(void *self, const char *path, char *key, size_t size)
{
	(void)self;
	if (snprintf(key, size, "%s", path) >= (int)size)
		return -1;
	key[strcspn(key, "=")] = '\0';
	return 0;
}

const struct diskvfs_transform diskvfs_transform = {
	.abi = DISKVFS_PLUGIN_ABI,
	.open = intruder_open,
	.transform = intruder_transform,
	.inverse = intruder_inverse,
};
