/* SPDX-License-Identifier: MIT */
/* owner_beat.c - tells other hosts that this owner lives. See owner.h. */
#include "core/owner.h"

#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define MS 1000000ll

static int64_t boottime_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / MS;
}

/* Touches the owner file, if it still has its name. */
static dv_err beat(struct dv_store *s)
{
	const struct timespec now[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
	char path[DV_OWNER_NAME_MAX + 8];
	struct dv_stat here, by_name;
	dv_err err = DV_B(s, stat, s->owner_fd, "", &here);
	snprintf(path, sizeof(path), "%s/owner", s->owner_folder);
	dv_err named = DV_B(s, stat, s->stage_fd, path, &by_name);
	if (named == -ENOENT || err == -ESTALE || (!err && !named && here.ino != by_name.ino)) {
		if (!atomic_exchange(&s->fenced, true))
			dv_error("another host took this mount for dead and has finished its work: "
				 "unmount, and mount again");
		return -EIO;
	}
	if (!err)
		err = DV_B(s, utimens, s->owner_fd, now);
	if (!err)
		atomic_store(&s->beat_at_ms, boottime_ms());
	return err;
}

dv_err dv_beat_check(struct dv_store *s)
{
	if (atomic_load(&s->fenced))
		return -EIO;
	if (!s->beating || boottime_ms() - atomic_load(&s->beat_at_ms) < s->options.beat_ms * 2)
		return 0;
	return beat(s) == -EIO ? -EIO : 0;
}

static void *beat_main(void *arg)
{
	struct dv_store *s = arg;
	pthread_mutex_lock(&s->beat_lock);
	while (!s->beat_ending) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		int64_t ns = until.tv_nsec + s->options.beat_ms % 1000 * MS;
		until.tv_sec += s->options.beat_ms / 1000 + ns / 1000000000;
		until.tv_nsec = (long)(ns % 1000000000);
		if (pthread_cond_timedwait(&s->beat_cond, &s->beat_lock, &until) == ETIMEDOUT) {
			pthread_mutex_unlock(&s->beat_lock);
			dv_ignore(beat(s)); /* the next one may reach the disk again */
			pthread_mutex_lock(&s->beat_lock);
		}
	}
	pthread_mutex_unlock(&s->beat_lock);
	return NULL;
}

dv_err dv_beat_start(struct dv_store *s)
{
	pthread_condattr_t attr;
	if (!s->options.beat_ms)
		return 0;
	atomic_store(&s->beat_at_ms, boottime_ms());
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->beat_lock, NULL);
	pthread_cond_init(&s->beat_cond, &attr);
	pthread_condattr_destroy(&attr);
	int err = pthread_create(&s->beater, NULL, beat_main, s);
	s->beating = err == 0;
	return -err;
}

void dv_beat_stop(struct dv_store *s)
{
	if (!s->beating)
		return;
	pthread_mutex_lock(&s->beat_lock);
	s->beat_ending = true;
	pthread_cond_signal(&s->beat_cond);
	pthread_mutex_unlock(&s->beat_lock);
	pthread_join(s->beater, NULL);
	pthread_cond_destroy(&s->beat_cond);
	pthread_mutex_destroy(&s->beat_lock);
	s->beating = false;
}
