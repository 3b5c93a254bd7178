/* SPDX-License-Identifier: MIT */
/*
 * keeper_commit.c - stages whose writers are gone are put in place, several at a time so that they
 * share their durability; superseded forms are removed.
 */
#include "core/keeper_private.h"
#include "core/owner.h"

#include "core/cleanup.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/stage.h"
#include "core/value.h"

#include <string.h>

struct dv_keeper_look dv_keeper_look(struct dv_node *n)
{
	struct dv_keeper_look l = {0};
	if (dv_gate_shared(n, false))
		return l;
	l.staged = n->stage != NULL;
	l.replacement = n->stage && dv_stage_is_replacement(n->stage);
	l.append_ns = dv_stage_appends(n->stage) ? dv_stage_began(n->stage) : 0;
	l.pays = l.append_ns && dv_stage_append_pays(n->stage);
	l.failed = n->stage && dv_stage_error(n->stage);
	l.loser = n->loser;
	l.raw = S_ISREG(n->type) && n->form == DV_FORM_RAW;
	l.writes = n->writes;
	dv_gate_open(n);
	return l;
}

static void failed(struct dv_store *s, struct dv_node *n, dv_err err)
{
	char path[4096], text[1024];
	dv_node_path(s, n, path, sizeof(path));
	dv_error("pending bytes of %s can not be put in place yet, they are kept and tried again: "
		 "%s",
		 dv_log_key(text, sizeof(text), path), strerror(-err));
	dv_count_error(s, err);
	atomic_store(&n->error, (short)err);
	atomic_store(&s->put_off, err);
}

struct commit {
	struct dv_node *node; /* borrowed */
	struct dv_keeper_look look;
	dv_err err;
	bool going; /* this one is being committed; else it is left as it is */
};

/* Each commit of an append writes a frame and the seek table anew: small ones wait for each other,
 * but not for long, since other mounts and programs see none of them before. Where much is added, a
 * machine is slow, and no other mount waits to see it, one a second would be a good part of what is
 * written. */
static bool is_settled_append(struct dv_store *s, struct dv_node *n, const struct dv_keeper_look *l)
{
	int64_t now = dv_now_ns();
	pthread_mutex_lock(&s->queue_lock);
	bool quiet = now - n->changed_ns >= DV_APPEND_QUIET_MS * MS;
	pthread_mutex_unlock(&s->queue_lock);
	int64_t age = now - l->append_ns;
	if (!l->append_ns || quiet || age >= DV_APPEND_BULK_MS * MS)
		return true;
	return age >= DV_APPEND_MAX_MS * MS && (l->pays || dv_owners_beside(s));
}

/* Ungated: who may be committed, and its bytes and record on the disk. */
static void prepare_commits(struct dv_store *s, struct commit *c, size_t count,
			    const struct dv_urgency *u)
{
	bool recorded = false;
	for (size_t i = 0; i < count; i++) {
		c[i].look =
			dv_keeper_look(c[i].node); /* before the probe: a writer that comes after it
						   changes `writes` */
		c[i].going = (c[i].look.staged || c[i].look.loser) &&
			     (!c[i].look.replacement || u->force || !dv_has_writer(s, c[i].node)) &&
			     !(u->room && c[i].look.failed) &&
			     (u->now || is_settled_append(s, c[i].node, &c[i].look));
		/* One that is to be dropped needs neither, and on a full disk gets no record. */
		if (c[i].look.failed)
			continue;
		if (c[i].going && c[i].look.staged)
			c[i].err = dv_stage_sync(s, c[i].node);
		if (c[i].going && !c[i].err)
			c[i].err = dv_stage_record(s, c[i].node, &recorded);
	}
	dv_err err = recorded ? dv_journal_sync(s) : 0;
	for (size_t i = 0; i < count; i++)
		if (c[i].going && !c[i].err)
			c[i].err = err;
}

static void publish_one(struct dv_store *s, struct commit *c, bool force)
{
	struct dv_node *n = c->node, *dir = NULL;
	c->err = dv_swap_gates(s, n, false, &dir);
	if (c->err)
		return;
	/* Whoever truncated or wrote it since it was probed may not be done. */
	if (n->stage && dv_stage_is_replacement(n->stage) && !force && n->writes != c->look.writes)
		c->going = false;
	/* One form takes the other's place at once, or a superseded one goes first: a listing must
	 * not come by both, or none. */
	else if ((n->loser || (dv_stage_in_parts(n->stage) && !dv_stage_appends(n->stage))) &&
		 !force && dv_node_is_listed(dir))
		c->going = false;
	else
		c->err = dv_stage_commit(s, n, false);
	dv_swap_gates_open(s, n, dir);
}

static void settle_one(struct dv_store *s, struct commit *c, bool force)
{
	struct dv_node *n = c->node, *dir = NULL;
	c->err = dv_sync_names(
		s, n); /* ungated; mostly the first of a directory syncs for the others */
	if (!c->err)
		c->err = dv_swap_gates(s, n, false, &dir);
	if (c->err)
		return;
	if (n->loser && (force || !dv_node_is_listed(dir)))
		c->err = dv_stage_settle(s, n);
	dv_swap_gates_open(s, n, dir);
}

/* Commits what may be. c[i].going on return: it is at rest, or has failed with c[i].err. */
static void commit_batch(struct dv_store *s, struct commit *c, size_t count,
			 const struct dv_urgency *u)
{
	bool force = u->force;
	prepare_commits(s, c, count, u);
	for (size_t i = 0; i < count; i++)
		if (c[i].going && !c[i].err)
			publish_one(s, &c[i], force);
	for (size_t i = 0; i < count; i++) {
		if (c[i].going && !c[i].err && dv_keeper_look(c[i].node).loser)
			settle_one(s, &c[i], force);
		/* Put aside, and logged; or another mount writes there: again next time. */
		if (c[i].err == -EBUSY || c[i].err == -EAGAIN)
			c[i].err = 0;
		else if (c[i].err)
			failed(s, c[i].node, c[i].err);
	}
}

bool dv_keeper_commit(struct dv_store *s, struct dv_node *n)
{
	struct commit c = {.node = n};
	commit_batch(s, &c, 1, &(struct dv_urgency){.now = true});
	struct dv_keeper_look l = dv_keeper_look(n);
	return !l.staged && !l.loser;
}

void dv_keeper_commit_some(struct dv_store *s, struct dv_node **taken, size_t count,
			   const struct dv_urgency *u)
{
	struct commit batch[DV_PACK_BATCH_MAX];
	size_t fill = 0;
	for (size_t i = 0; i <= count; i++) {
		if (fill == DV_ARRAY_LEN(batch) || (i == count && fill)) {
			commit_batch(s, batch, fill, u);
			fill = 0;
		}
		if (i == count)
			break;
		struct dv_keeper_look l = dv_keeper_look(taken[i]);
		if (l.staged || l.loser)
			batch[fill++] = (struct commit){.node = taken[i]};
	}
}
