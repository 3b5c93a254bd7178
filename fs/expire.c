/* SPDX-License-Identifier: MIT */
/* expire.c - see expire.h. */
#include "fs/expire.h"

#include "core/log.h"
#include "fs/options.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define LOOK_MS 20 /* how often the child is looked after */

struct fs_expire {
	const char *mountpoint, *plugin;
	char size[32], age[32]; /* arguments; "": none */
	int64_t every_ms;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool ending; /* lock */
	pid_t child; /* lock; 0: none */
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* lock held. -> false: it is to end */
static bool wait_ms(struct fs_expire *e, int64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (!e->ending && pthread_cond_timedwait(&e->ended, &e->lock, &until) == 0)
		;
	return !e->ending;
}

static pid_t spawn(struct fs_expire *e)
{
	char *argv[10] = {"diskvfs", "gc", "-q"};
	char *const env[] = {NULL};
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid = 0;
	int n = 3, err;

	if (e->size[0])
		argv[n++] = e->size;
	if (e->age[0])
		argv[n++] = e->age;
	if (e->plugin[0]) {
		argv[n++] = "--transform";
		argv[n++] = (char *)e->plugin;
	}
	argv[n++] = "--";
	argv[n] = (char *)e->mountpoint;
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	err = posix_spawn(&pid, "/proc/self/exe", NULL, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	if (err)
		dv_warn("values that are too old, or too many, stay: no process for it: %s",
			strerror(err));
	return err ? 0 : pid;
}

/* lock held, but for moments. */
static void run_child(struct fs_expire *e)
{
	int status = 0;

	e->child = spawn(e);
	if (!e->child)
		return;
	while (waitpid(e->child, &status, e->ending ? 0 : WNOHANG) == 0)
		wait_ms(e, LOOK_MS);
	e->child = 0;
	if (!e->ending && status)
		dv_warn("not all values that are too old, or too many, could be erased; "
			"`diskvfs gc %s` tells why",
			e->mountpoint);
}

static void *expire_thread(void *arg)
{
	struct fs_expire *e = arg;
	int64_t wait = e->every_ms;

	pthread_mutex_lock(&e->lock);
	while (wait_ms(e, wait)) {
		int64_t began = now_ms();

		run_child(e);
		wait = (now_ms() - began) * FS_EXPIRE_SHARE;
		if (wait < e->every_ms)
			wait = e->every_ms;
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

dv_err fs_expire_new(const struct fs_options *o, const char *mountpoint, const char *plugin,
		     struct fs_expire **out)
{
	struct fs_expire *e;
	pthread_condattr_t attr;
	double every = FS_EXPIRE_S;
	int err;

	if ((!o->max_size && o->max_age_s <= 0) || o->read_only)
		return 0;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->mountpoint = mountpoint;
	e->plugin = plugin;
	if (o->max_size)
		snprintf(e->size, sizeof(e->size), "--max-size=%" PRIu64, o->max_size);
	if (o->max_age_s > 0)
		snprintf(e->age, sizeof(e->age), "--max-age=%" PRIu64, (uint64_t)o->max_age_s);
	if (o->max_age_s > 0 && o->max_age_s / 10 < every)
		every = o->max_age_s / 10;
	e->every_ms = every < 1 ? 1000 : (int64_t)(every * 1000);
	pthread_mutex_init(&e->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&e->ended, &attr);
	pthread_condattr_destroy(&attr);
	err = pthread_create(&e->thread, NULL, expire_thread, e);
	if (err) {
		free(e);
		return -err;
	}
	*out = e;
	return 0;
}

void fs_expire_stop(struct fs_expire *e)
{
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->ending = true;
	if (e->child)
		kill(e->child, SIGKILL);
	pthread_cond_signal(&e->ended);
	pthread_mutex_unlock(&e->lock);
}

void fs_expire_free(struct fs_expire **slot)
{
	struct fs_expire *e = *slot;

	if (!e)
		return;
	fs_expire_stop(e);
	pthread_join(e->thread, NULL);
	pthread_cond_destroy(&e->ended);
	pthread_mutex_destroy(&e->lock);
	free(e);
	*slot = NULL;
}
