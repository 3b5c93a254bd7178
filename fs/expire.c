/* SPDX-License-Identifier: MIT */
/* expire.c - see expire.h. */
#include "fs/expire.h"

#include "core/log.h"
#include "fs/options.h"
#include "fs/steward.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS 20 /* how often the child is looked after */

struct fs_expire {
	const char *mountpoint;
	struct fs_steward *steward;
	int64_t every_ms;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool ending; /* lock */
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

/* lock held, but for moments. */
static void run_child(struct fs_expire *e)
{
	const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000};
	dv_err err = fs_steward_do(e->steward, FS_ERRAND_GC);

	if (err < 0) {
		dv_warn("values that are too old, or too many, stay: no process for it: %s",
			strerror(-err));
		return;
	}
	while ((err = fs_steward_do(e->steward, FS_ERRAND_GC_LOOK)) == -EAGAIN) {
		if (e->ending) /* it was killed, and may wait for the end of the connection */
			nanosleep(&pause, NULL);
		else
			wait_ms(e, LOOK_MS);
	}
	if (!e->ending && err < 0)
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

static bool asks(const struct fs_options *o)
{
	return (o->max_size || o->max_age_s > 0) && !o->read_only;
}

void fs_expire_gc_args(const struct fs_options *o, const char *mountpoint, const char *plugin,
		       struct fs_expire_gc *out)
{
	int n = 0;

	memset(out, 0, sizeof(*out));
	if (!asks(o))
		return;
	out->argv[n++] = (char *)"diskvfs";
	out->argv[n++] = (char *)"gc";
	out->argv[n++] = (char *)"-q";
	if (o->max_size) {
		snprintf(out->size, sizeof(out->size), "--max-size=%" PRIu64, o->max_size);
		out->argv[n++] = out->size;
	}
	if (o->max_age_s > 0) {
		snprintf(out->age, sizeof(out->age), "--max-age=%" PRIu64, (uint64_t)o->max_age_s);
		out->argv[n++] = out->age;
	}
	if (plugin[0]) {
		out->argv[n++] = (char *)"--transform";
		out->argv[n++] = (char *)plugin;
	}
	out->argv[n++] = (char *)"--";
	out->argv[n] = (char *)mountpoint;
}

dv_err fs_expire_new(const struct fs_options *o, const char *mountpoint, struct fs_steward *steward,
		     struct fs_expire **out)
{
	struct fs_expire *e;
	pthread_condattr_t attr;
	double every = FS_EXPIRE_S;
	int err;

	if (!asks(o))
		return 0;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->mountpoint = mountpoint;
	e->steward = steward;
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
	dv_ignore(fs_steward_do(e->steward, FS_ERRAND_GC_END)); /* where there is one */
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
