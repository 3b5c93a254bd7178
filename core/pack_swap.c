/* SPDX-License-Identifier: MIT */
/*
 * pack_swap.c - steps 3 and 5 of packing (pack.h): the packed file gets its name beside the raw
 * one, which is the value until the packed name is durable, and goes then if it is still what was
 * packed. And what a caller does who changes the value in between.
 */
#include "core/pack_private.h"

#include "core/io.h"
#include "core/journal.h"
#include "core/meta.h"
#include "core/stage.h"
#include "core/value.h"
#include "core/withdraw.h"

#include <stdio.h>
#include <string.h>
#include <sys/file.h>

/* Is the raw file still what was encoded? Gates held. */
static bool unchanged(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
		      const char *stored, struct dv_pack_job *j)
{
	struct dv_stat st;
	if (dv_pack_is_wanted(s, j) || n->writes != j->writes || n->stage || n->form != DV_FORM_RAW)
		return false;
	if (DV_B(s, stat, p->dirfd, stored, &st))
		return false;
	struct dv_ident a = dv_ident_of(&st), b = dv_ident_of(&j->raw);
	struct dv_version va = dv_version_of(&st), vb = dv_version_of(&j->raw);
	return dv_ident_equal(&a, &b) && dv_version_equal(&va, &vb) && st.nlink == 1;
}

/* Unlinks the packed form if it is the one this job made. */
static dv_err unlink_packed(struct dv_store *s, const struct dv_place *p, struct dv_pack_job *j)
{
	struct dv_stat st;
	dv_err err = DV_B(s, stat, p->dirfd, p->names.packed, &st);
	struct dv_ident a = dv_ident_of(&st), b = dv_ident_of(&j->packed);
	if (err || !dv_ident_equal(&a, &b)) /* I5 */
		return err == -ENOENT ? 0 : err;
	err = dv_unlink_form(s, p, p->names.packed, &b, false);
	return err == DV_IS_ANOTHER ? 0 : err;
}

dv_err dv_pack_publish(struct dv_store *s, struct dv_pack_item *item, struct dv_node *dir,
		       bool *published)
{
	struct dv_pack_job *j = item->job;
	struct dv_node *n = item->node;
	struct dv_place p;
	const char *stored;
	struct dv_dir_times times;
	char name[DV_STAGE_NAME];
	*published = false;
	if (!dir || dv_node_is_listed(dir) || dv_place_of(s, n, 0, &p, &stored))
		return 0;
	dv_err err = dv_node_reserve_loser(s, n); /* leave_loser() can not fail */
	if (!err && unchanged(s, n, &p, stored, j)) {
		/* Another mount that comes to edit it waits until it is known which form stays. */
		dv_ignore(DV_B(s, flock, j->fd, LOCK_EX | LOCK_NB));
		dv_journal_stage_name(j->id, name);
		dv_dir_times_keep(s, &p, &times);
		err = DV_B(s, rename, dv_journal_dirfd(s->journal), name, p.dirfd, p.names.packed,
			   RENAME_NOREPLACE);
		dv_dir_times_restore(s, &times);
		j->published = *published = !err;
		if (!err) {
			j->dir = dv_node_ref(dir);
			strcpy(j->name, p.name);
		}
		/* Renamed or removed by others at this moment: no second value is to be left. */
		if (!err && !unchanged(s, n, &p, stored, j) && unlink_packed(s, &p, j) == 0)
			j->published = *published = false;
		if (err == -EEXIST)
			err = 0;
	}
	dv_place_of_close(s, &p);
	return err;
}

/* n's value is the packed file now. */
static void become_packed(struct dv_store *s, struct dv_node *n, struct dv_pack_job *j)
{
	struct dv_ident id = dv_ident_of(&j->packed);
	struct dv_stat st;
	dv_node_set_object(s, n, &id, DV_FORM_PACKED);
	dv_node_drop_file(s, n);
	if (DV_B(s, stat, j->fd, "", &st) == 0) {
		n->real_ctime_ns = dv_time_ns(st.ctime);
		n->kept_ctime_ns = dv_time_ns(j->ctime);
		pthread_mutex_lock(&s->facts_lock);
		n->facts = (struct dv_facts){.version = dv_version_of(&st),
					     .plain_size = j->enc.plain_size,
					     .frames = j->enc.frames,
					     .single = j->enc.single,
					     .known = true};
		pthread_mutex_unlock(&s->facts_lock);
	}
	atomic_store(&n->dirty, false);
	atomic_fetch_add(&s->swaps, 1);
	dv_count(s, packed, 1);
}

/* The packed form could not be removed, or nobody knows: raw is the value, and the keeper tries
 * again. The record stays until then. */
static void leave_loser(struct dv_store *s, struct dv_node *n, struct dv_pack_job *j, dv_err err)
{
	dv_pack_tell_failure(s, n, err);
	struct dv_ident id = dv_ident_of(&j->packed);
	dv_node_set_loser(s, n, &id, j->id);
	j->recorded = false;
}

/* Takes the raw form away; not where it is not ours to take. */
static dv_err withdraw(struct dv_store *s, const struct dv_place *p, const char *stored,
		       struct dv_pack_job *j, bool *gone)
{
	struct dv_pack_stop_ctx ctx = {s, j};
	struct dv_withdrawal w = {.dirfd = dv_journal_dirfd(s->journal),
				  .id = j->id,
				  .object = dv_ident_of(&j->raw),
				  .packed = dv_ident_of(&j->packed),
				  .version = dv_version_of(&j->raw),
				  .wanted = dv_pack_stop,
				  .ctx = &ctx};
	return dv_withdraw(s, p, stored, &w, gone, &j->kept);
}

/*
 * Others have taken the value's name: the packed form would be there for good beside what has it, or
 * be taken for a value. What was done to the name is durable before it goes (I3).
 */
static dv_err abandon(struct dv_store *s, struct dv_pack_job *j)
{
	struct dv_place p;
	dv_err err = dv_place_open(s, j->dir, j->name, false, &p);
	if (err) /* the directory is gone too, and nothing was left in it */
		return err == -ENOENT || err == -ESTALE ? 0 : err;
	struct dv_loose_at at = dv_place_at(&p);
	err = dv_loose_sync(s, &at, p.dirfd);
	if (!err)
		err = unlink_packed(s, &p, j);
	dv_place_close(s, &p);
	return err;
}

enum dv_pack_outcome dv_pack_finish(struct dv_store *s, struct dv_pack_item *item, bool durable)
{
	struct dv_pack_job *j = item->job;
	struct dv_node *n = item->node;
	struct dv_place p;
	const char *stored;
	struct dv_dir_times times;
	enum dv_pack_outcome outcome = DV_PACK_BUSY;
	dv_err err;
	if (!j->published)
		return outcome; /* retracted: the name went elsewhere */
	err = dv_place_of(s, n, 0, &p, &stored);
	if (err) {
		err = err == -ESTALE ? abandon(s, j) : err;
		if (err)
			leave_loser(s, n, j, err);
		return outcome;
	}
	/* A listing that gave the raw name must not come by the packed one alone. */
	durable = durable && !dv_node_is_listed(p.dir);
	dv_dir_times_keep(s, &p, &times);
	bool gone = false;
	err = 0;
	if (durable && unchanged(s, n, &p, stored, j))
		err = withdraw(s, &p, stored, j, &gone);
	if (j->kept) { /* the packed form has the name to itself; the record says the rest */
		dv_pack_tell_failure(s, n, err);
		err = 0;
	}
	if (gone || j->kept) {
		become_packed(s, n, j);
		outcome = DV_PACK_DONE;
	} else if (!err) {
		err = unlink_packed(s, &p, j);
	}
	dv_ignore(DV_B(s, flock, j->fd, LOCK_UN));
	dv_dir_times_restore(s, &times);
	dv_place_of_close(s, &p);
	if (err)
		leave_loser(s, n, j, err);
	return outcome;
}

bool dv_pack_is_active(const struct dv_node *n)
{
	return n->job && (n->job->published || !atomic_load(&n->job->cancelled));
}

void dv_pack_cancel(struct dv_store *s, struct dv_node *n)
{
	struct dv_pack_job *j = n->job;
	if (!j || atomic_exchange(&j->cancelled, true))
		return;
	/* The writer opens the file and locks it: both must be free for it. */
	if (j->leased)
		dv_ignore(DV_B(s, set_lease, j->rawfd, F_UNLCK));
	dv_ignore(DV_B(s, flock, j->rawfd, LOCK_UN));
}

dv_err dv_pack_retract(struct dv_store *s, struct dv_node *n)
{
	struct dv_pack_job *j = n->job;
	struct dv_place p;
	const char *stored;
	dv_pack_cancel(s, n);
	if (!j || !j->published)
		return 0;
	dv_err err = dv_place_of(s, n, 0, &p, &stored);
	if (err)
		return err;
	err = unlink_packed(s, &p, j);
	dv_place_of_close(s, &p);
	if (!err)
		j->published = false;
	return err;
}
