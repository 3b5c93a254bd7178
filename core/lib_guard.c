/* SPDX-License-Identifier: MIT */
/*
 * lib_guard.c - calls that may not be made: in the child of a fork(), which has a copy of the store's
 * memory and files but none of its threads, and from the log's sink, which may be called with locks
 * held; and who is in a call, since nobody may close the store then.
 */
#include "core/lib.h"

#include <pthread.h>

static atomic_uint forks; /* of this process's ancestors, since they loaded the library */
static pthread_once_t forks_once = PTHREAD_ONCE_INIT;
static _Thread_local bool in_sink;

static void count_fork(void)
{
	atomic_fetch_add(&forks, 1);
}

static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, count_fork);
}

void lib_guard_begin(struct dvfs *s)
{
	pthread_once(&forks_once, watch_forks);
	s->forks = atomic_load(&forks);
}

void lib_guard_sink(bool in)
{
	in_sink = in;
}

dv_err lib_may(const struct dvfs *s)
{
	if (!s)
		return -EINVAL;
	if (s->forks != atomic_load(&forks))
		return -ECHILD;
	return in_sink ? -EDEADLK : 0;
}

dv_err lib_enter(struct dvfs *s)
{
	dv_err err = lib_may(s);
	if (!err)
		atomic_fetch_add(&s->handles, 1);
	return err;
}

void lib_leave(struct dvfs *s)
{
	atomic_fetch_sub(&s->handles, 1);
}
