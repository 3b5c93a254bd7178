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

bool dv_recover_beside(struct dv_store *s)
{
	char why[256] = "";
	uint64_t dead, left;
	if (dv_owners_dead(s, &dead) != -EAGAIN)
		return false;
	if (pthread_mutex_trylock(&s->inherit_lock))
		return true;
	if (dv_owners_dead(s, &dead) == -EAGAIN) {
		dv_err err = dv_recover(s, why, sizeof(why));
		if (err)
			dv_warn("work of a mount that has ended is still pending: %s",
				why[0] ? why : strerror(-err));
		/* Those that were there before it: who has died since is still to be seen to. */
		if (dv_owners_dead(s, &left) == -EAGAIN && left == dead)
			dv_owners_leave_dead(s, left);
	}
	pthread_mutex_unlock(&s->inherit_lock);
	return false;
}
