/* SPDX-License-Identifier: MIT */
/*
 * stage_sealed.c - how a stage takes its place where a value's one file is compressed (sealed.h).
 *
 *   seal     X.z of the owner folder: the stage's bytes in their stored form, with owner, mode, times
 *            and tag, durable (I2). Mostly without the gate; anew where the value changed meanwhile
 *   commit   1 X.z becomes ID.z   2 record STREAM   3 ID.z is exchanged with the old object, which goes
 *            (stage_publish.c)   4 the stage file goes, and then its record
 *
 * The old value stands until 3, which needs no record to be kept. That of 2 tells recovery that an
 * ID.z which is there no more has come by its place, so that what lies there is no other's.
 *
 * Every stage waits for its last writer, an edit too: each commit makes the whole file anew.
 */
#include "core/journal.h"
#include "core/meta.h"
#include "core/packed.h"
#include "core/sealed.h"
#include "core/stage_private.h"
#include "core/value.h"

#include <stdio.h>
#include <string.h>

/* X.z is of no use any more. What a commit may have brought there in its place is not ours. */
void dv_stage_unseal(struct dv_store *s, struct dv_stage *stage)
{
	char name[DV_STAGE_FILE_NAME];
	struct dv_stat own, st;
	int dirfd = dv_journal_dirfd(s->journal);
	if (!stage->sealed)
		return;
	dv_tail_packed_name(stage->sealed_id, name);
	strcat(name, stage->ending);
	stage->ending[0] = '\0';
	if (DV_B(s, stat, stage->sealed->fd, "", &own) == 0 &&
	    DV_B(s, stat, dirfd, name, &st) == 0) {
		struct dv_ident ours = dv_ident_of(&own), there = dv_ident_of(&st);
		if (dv_ident_equal(&ours, &there))
			dv_ignore(DV_B(s, unlink, dirfd, name)); /* swept by the next owner */
	}
	dv_file_unref(s, stage->sealed);
	stage->sealed = NULL;
}

/* What is to be sealed, and what was made of it. */
struct seal {
	struct dv_node *node; /* borrowed; NULL: its gate is held */
	struct dv_file *from;
	struct dv_tag tag;
	uint64_t stage_id, id, writes;
	struct dv_file *made;
};

static void look(const struct dv_node *n, struct seal *it)
{
	const struct dv_stage *stage = n->stage;
	*it = (struct seal){.from = stage->file,
			    .stage_id = stage->id,
			    .writes = n->writes,
			    .tag = {.st_ino = n->ino,
				    .generation = stage->generation,
				    .swapped = stage->changed.here}};
}

/* Was it changed, or sealed or put in place by another thread, meanwhile? While the gate is taken nobody
 * knows. */
static bool is_void(void *ctx)
{
	const struct seal *it = ctx;
	struct dv_node *n = it->node;
	if (dv_gate_shared(n, true))
		return false;
	const struct dv_stage *stage = n->stage;
	bool gone = !stage || stage->id != it->stage_id || n->writes != it->writes ||
		    (stage->sealed && stage->sealed_writes == it->writes);
	dv_gate_open(n);
	return gone;
}

static dv_err make(struct dv_store *s, struct seal *it)
{
	char name[DV_TAIL_NAME];
	int fd = -1;
	it->id = dv_journal_new_id(s->journal);
	dv_tail_packed_name(it->id, name);
	dv_act_as_self(s);
	struct dv_sealing how = {.from = it->from->fd,
				 .dirfd = dv_journal_dirfd(s->journal),
				 .name = name,
				 .stop = it->node ? is_void : NULL,
				 .ctx = it};
	dv_err err = dv_sealed_make_unless(s, &how, &it->tag, &fd);
	if (err)
		return err;
	it->made = dv_file_new(s, fd, false);
	if (!it->made)
		dv_ignore(DV_B(s, unlink, dv_journal_dirfd(s->journal), name));
	return it->made ? 0 : -ENOMEM;
}

static void take(struct dv_store *s, struct dv_stage *stage, struct seal *it)
{
	dv_stage_unseal(s, stage);
	stage->sealed = it->made;
	stage->sealed_id = it->id;
	stage->sealed_writes = it->writes;
}

dv_err dv_stage_seal(struct dv_store *s, struct dv_node *n)
{
	struct seal it;
	dv_err err = dv_gate_shared(n, false);
	if (err)
		return err;
	if (!n->stage || n->stage->in_place || n->stage->astray || !dv_node_has_name(s, n) ||
	    dv_stage_error(n->stage) ||
	    (n->stage->sealed && n->stage->sealed_writes == n->writes)) {
		dv_gate_open(n);
		return 0;
	}
	look(n, &it);
	it.node = n;
	atomic_fetch_add(&it.from->refs, 1);
	dv_gate_open(n);
	err = make(s, &it); /* long: without keeping anyone out */
	dv_file_unref(s, it.from);
	if (err == -ECANCELED) /* truncated meanwhile: the commit makes it, or a later look */
		return 0;
	if (err)
		return err;
	err = dv_gate_exclusive(n, false);
	if (!err && n->stage && n->stage->id == it.stage_id && !n->stage->astray)
		take(s, n->stage, &it);
	else {
		struct dv_stage none = {.sealed = it.made, .sealed_id = it.id};
		dv_stage_unseal(s, &none);
	}
	if (!err)
		dv_gate_open(n);
	return err;
}

static void became_sealed(struct dv_store *s, struct dv_node *n, const struct dv_file *f,
			  uint64_t plain_size)
{
	struct dv_stat st;
	struct dv_facts facts = {
		.plain_size = plain_size, .frames = 1, .single = true, .known = true};
	if (DV_B(s, stat, f->fd, "", &st) == 0) { /* the renaming has moved its ctime */
		facts.version = dv_version_of(&st);
		dv_facts_set(s, n, &facts);
	}
	n->real_ctime_ns = n->kept_ctime_ns = 0;
	atomic_store(&n->dirty, false);
}

/* Steps 1 and 2. */
static dv_err prepare(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	char x[DV_TAIL_NAME], name[DV_TAIL_NAME];
	int dirfd = dv_journal_dirfd(s->journal);
	dv_tail_packed_name(stage->sealed_id, x);
	dv_tail_packed_name(stage->id, name);
	dv_err err = DV_B(s, rename, dirfd, x, dirfd, name, 0);
	if (err)
		return err;
	stage->sealed_id = stage->id;
	stage->sealing = true;
	err = dv_stage_write_record(s, n, stage);
	stage->sealing = false;
	return err;
}

/* Steps 1 to 3: the value is what was sealed. */
static dv_err publish(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
		      const char *stored)
{
	struct dv_stage *stage = n->stage;
	struct dv_stat st, plain;
	dv_err err = DV_B(s, stat, stage->file->fd, "", &plain);
	if (!err)
		err = DV_B(s, stat, stage->sealed->fd, "", &st);
	if (!err)
		err = dv_settle_move(s, p, stored);
	if (!err && !stage->astray)
		err = prepare(s, n);
	if (!err)
		err = dv_stage_publish_packed(s, n, p, stored, stage->sealed->fd);
	if (err &&
	    !stage->astray) /* the record finds the stage file, and the old object, and no ID.z */
		dv_stage_unseal(s, stage);
	if (err)
		return err;
	struct dv_ident id = dv_ident_of(&st);
	dv_node_set_object(s, n, &id, DV_FORM_PACKED);
	became_sealed(s, n, stage->sealed, plain.size);
	dv_node_drop_file(s, n);
	dv_node_set_file(s, n, stage->sealed, false);
	dv_file_unref(s, stage->sealed);
	stage->sealed = NULL; /* its name is the value's */
	return 0;
}

dv_err dv_sealed_commit(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
			const char *stored)
{
	struct dv_stage *stage = n->stage;
	uint64_t published = UINT64_MAX;
	dv_err err = 0;
	if (stage->astray) { /* an earlier one was cut short; what lies in the owner folder is not ours */
		published = stage->sealed_writes;
		err = publish(s, n, p, stored);
	}
	if (!err && published != n->writes) {
		if (!stage->sealed || stage->sealed_writes != n->writes) {
			struct seal it;
			look(n, &it);
			err = make(s, &it);
			if (!err)
				take(s, stage, &it);
		}
		if (!err)
			err = publish(s, n, p, stored);
	}
	if (err)
		return err;
	n->generation = stage->generation;
	dv_names_changed(n);
	dv_count(s, replaced, stage->replacement);
	atomic_fetch_add(&s->swaps, 1);
	dv_stage_forget(s, stage);
	dv_stage_end(s, n);
	dv_tell_changed(s, n);
	return 0;
}
