/* SPDX-License-Identifier: MIT */
/*
 * recover_beside.c - what a mount has left that died while this one lives. See recover.h.
 *
 * It is what a mount that is opened does, and as that takes the dead one's folder first, so of several one
 * does it. Other threads of this process do not wait for the one that is at it: they have waits of their own.
 */
#include "core/log.h"
#include "core/owner.h"
#include "core/recover.h"

#include <string.h>

void dv_recover_beside(struct dv_store *s)
{
	char why[256] = "";
	if (dv_owners_dead(s) != -EAGAIN || pthread_mutex_trylock(&s->inherit_lock))
		return;
	if (dv_owners_dead(s) == -EAGAIN) {
		dv_err err = dv_recover(s, why, sizeof(why));
		if (err)
			dv_warn("work of a mount that has ended is still pending: %s",
				why[0] ? why : strerror(-err));
		if (dv_owners_dead(s) == -EAGAIN)
			dv_owners_leave_dead(s);
	}
	pthread_mutex_unlock(&s->inherit_lock);
}
