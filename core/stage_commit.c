/* SPDX-License-Identifier: MIT */
/* stage_commit.c - how a stage takes the place of the old form, and that goes. See stage.h. */
#include "core/cleanup.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/sealed.h"
#include "core/stage_private.h"
#include "core/value.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define COMMIT_TRIES 16 /* others may put something under the name at the moment of the swap */

static dv_err sync_gated(struct dv_store *s, struct dv_node *n)
{
	dv_err err = DV_B(s, fsync, n->stage->file->fd);
	if (!err)
		atomic_store(&n->stage->synced_writes, n->writes);
	return err;
}

/* -ESTALE: others have put another one there since that was looked at. */
static dv_err is_file(struct dv_store *s, int fd, const struct dv_ident *id)
{
	struct dv_stat st;
	dv_err err = DV_B(s, stat, fd, "", &st);
	if (err)
		return err;
	struct dv_ident now = dv_ident_of(&st);
	return dv_ident_equal(&now, id) ? 0 : -ESTALE;
}

/* Writes the stage over the old object, which keeps its links and attributes. */
static dv_err commit_in_place(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
			      const char *stored)
{
	dv_err err = 0;
	struct dv_loose_at at = dv_place_at(p);
	if (atomic_load(&n->unsynced) &
	    DV_NAMES_MADE) /* I4: the record finds its object by this name */
		err = dv_loose_sync(s, &at, p->dirfd);
	if (!err)
		err = dv_settle_move(s, p, stored);
	if (err)
		return err;
	int target = DV_B(s, open, p->dirfd, stored, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
	struct dv_rewrite w = {.from = n->stage->file->fd,
			       .to = target,
			       .packed = n->form == DV_FORM_PACKED,
			       .locked = n->stage->locked,
			       .object = n->id,
			       .st_ino = n->ino,
			       .node = n,
			       .failed = &n->stage->copy_id};
	err = target == -ENOENT ? -ESTALE : target < 0 ? target : is_file(s, target, &n->id);
	if (!err)
		err = dv_rewrite_in_place(s, &w);
	if (target >= 0)
		DV_B(s, close, target);
	if (!err) {
		dv_stage_forget(s, n->stage);
		dv_stage_end(s, n);
	}
	return err;
}

/* I4: the record that lets recovery drop the packed form. */
static dv_err record_swap(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	struct dv_stat st;
	dv_err err = DV_B(s, stat, stage->file->fd, "", &st);
	if (err)
		return err;
	if (stage->replacement)
		dv_stage_note_change(n, &st);
	uint64_t id = dv_journal_new_id(s->journal);
	struct dv_record r = {.id = id,
			      .type = DV_RECORD_SWAP,
			      .raw = dv_ident_of(&st),
			      .raw_version.ctime_ns =
				      stage->replacement ? dv_time_ns(stage->changed.backing) : 0,
			      .packed = n->id,
			      .st_ino = n->ino};
	err = dv_record_append(s, n, &r);
	if (!err)
		stage->swap_id = id;
	return err;
}

dv_err dv_stage_record(struct dv_store *s, struct dv_node *n, bool *recorded)
{
	dv_err err = dv_gate_exclusive(n, false);
	if (err)
		return err;
	struct dv_stage *stage = n->stage;
	if (stage && !stage->tail && n->form == DV_FORM_PACKED && !dv_is_sealed(s) &&
	    !stage->in_place && !stage->swap_id && dv_node_has_name(s, n)) {
		err = record_swap(s, n);
		*recorded |= !err;
	}
	dv_gate_open(n);
	return err;
}

static dv_err commit_swap(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
			  uint8_t slot)
{
	struct dv_stage *stage = n->stage;
	struct dv_stat st;
	bool was_packed = n->form == DV_FORM_PACKED;
	struct dv_ident old = n->id;
	if (atomic_load(&stage->synced_writes) != n->writes) { /* I2 */
		dv_err err = sync_gated(s, n);
		if (err)
			return err;
	}
	dv_err err = DV_B(s, stat, stage->file->fd, "", &st);
	struct dv_ident id = dv_ident_of(&st);
	if (!err && was_packed)
		err = dv_node_reserve_loser(s, n);
	if (!err && stage->replacement) { /* so that other mounts know when it was written */
		dv_stage_note_change(n, &st);
		dv_stage_write_tag(s, n, stage, &st);
	}
	if (!err && was_packed && !stage->swap_id)
		err = record_swap(s, n);
	if (!err && was_packed) /* costs nothing where it was synced with others */
		err = dv_journal_sync(s);
	/* A packed form that comes back beside another raw one of the value is known by its record
	 * and the tag. */
	if (!err && (was_packed || !s->has_xattrs))
		err = dv_settle_move(s, p, dv_place_stored(p, DV_FORM_RAW, slot));
	if (!err) {
		uint8_t now = slot;
		err = dv_stage_publish(s, n, p, &now);
		if (!err && now != slot)
			err = dv_node_add_name(s, n, p->dir, p->name, now);
	}
	if (err)
		return err;
	dv_node_set_object(s, n, &id, DV_FORM_RAW);
	n->generation = stage->generation;
	n->loser = false;
	if (was_packed)
		dv_node_set_loser(s, n, &old, stage->swap_id);
	dv_names_changed(n);
	/* Keeps other mounts' packers away while it is written on. */
	dv_ignore(DV_B(s, flock, stage->file->fd, LOCK_SH | LOCK_NB));
	dv_node_set_file(s, n, stage->file, false);
	dv_journal_end(s, stage->id);
	dv_count(s, replaced, stage->replacement);
	dv_stage_end(s, n);
	return 0;
}

/* The replacement failed while it was written: the old value is the value. */
static void discard(struct dv_store *s, struct dv_node *n)
{
	char path[4096], text[1024];
	dv_node_path(s, n, path, sizeof(path));
	dv_warn("%s could not be replaced and keeps its old value: %s",
		dv_log_key(text, sizeof(text), path), strerror(-n->stage->failed));
	dv_stage_forget(s, n->stage);
	dv_stage_end(s, n);
	n->writes++;
	dv_tell_changed(s, n);
}

/*
 * Others have put another object under the name. Where it is the same value in another form, or came
 * before the last bytes of the replacement, the replacement is what was written last: that object is the
 * old one now. A name that is gone was removed, and an edit is of what is gone.
 */
static bool supersede(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
		      struct dv_stat *st, uint8_t *slot)
{
	struct dv_stage *stage = n->stage;
	struct dv_found f;
	struct dv_stat own;
	if (DV_B(s, stat, dv_stage_written_fd(stage), "", &own))
		return false;
	dv_stage_note_change(n, &own);
	if (!stage->replacement || stage->in_place || !stage->named ||
	    dv_place_find_known(s, p, &f) || !S_ISREG(f.st.mode) || f.st.nlink > 1 ||
	    !dv_rival_is_older(s, n, p, &f, &stage->changed))
		return false;
	if (dv_node_add_name(s, n, p->dir, p->name, f.slot))
		return false;
	struct dv_ident id = dv_ident_of(&f.st);
	stage->over = dv_version_of(&f.st);
	dv_node_set_object(s, n, &id, f.form);
	dv_node_drop_file(s, n); /* of the object that was there before */
	if (stage->swap_id)	 /* of the object that was there before */
		dv_journal_end(s, stage->swap_id);
	stage->swap_id = 0;
	/* Recovery is to know what is exchanged with the stage; the others write theirs at the commit. */
	if (!stage->tail && !dv_is_sealed(s) && dv_stage_write_record(s, n, stage))
		return false;
	*st = f.st;
	*slot = f.slot;
	return true;
}

/* Of a stream: may its packed part have that name? Others may have put a file there meanwhile, a twin of
 * the raw one: then raw is what it goes on to be. */
static bool is_packed_name_free(struct dv_store *s, const struct dv_node *n,
				const struct dv_place *p)
{
	struct dv_stat st;
	if (!p->names.packed[0])
		return false;
	return n->form == DV_FORM_PACKED || n->stage->astray ||
	       DV_B(s, stat, p->dirfd, p->names.packed, &st) == -ENOENT;
}

/* Somebody else writes to the raw object of a stream, or is about to: it stays the value's, and gets the
 * bytes. Another mount waits for the lock meanwhile; a program in the store for nothing, as beside any
 * other writer. */
static dv_err join_in_place(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	if (stage->leased) /* else it could not be opened for writing */
		dv_ignore(DV_B(s, set_lease, stage->locked->fd, F_UNLCK));
	stage->leased = false;
	stage->in_place = true;
	dv_err err = dv_stage_join(s, n, false);
	if (err)
		stage->in_place = false;
	return err;
}

/* Has an earlier commit brought the stage to one of the value's names, or to the owner folder what had it? */
static bool is_half_way(struct dv_store *s, const struct dv_node *n, const struct dv_place *p,
			const char *stored, struct dv_stat *st)
{
	const struct dv_file *f = n->stage->sealed ? n->stage->sealed : n->stage->file;
	bool beside = n->form == DV_FORM_PACKED && !n->stage->tail && !n->stage->sealed;
	bool stream = n->form == DV_FORM_RAW && n->stage->tail;
	const char *const names[] = {stored, beside ? p->names.raw : "",
				     beside ? p->names.aside : "", stream ? p->names.packed : ""};
	struct dv_stat at;
	if (!n->stage->astray || DV_B(s, stat, f->fd, "", st))
		return false;
	if (!n->stage->named)
		return true;
	struct dv_ident own = dv_ident_of(st);
	for (size_t i = 0; i < DV_ARRAY_LEN(names); i++) {
		if (!names[i][0] || DV_B(s, stat, p->dirfd, names[i], &at))
			continue;
		struct dv_ident id = dv_ident_of(&at);
		if (dv_ident_equal(&own, &id))
			return true;
	}
	return false;
}

/* A raw form that another mount, or a program, has put beside n's packed object is the value, as that is not any
 * more. A stream takes the packed name, and would be hidden by it; any other stage is refused the raw name, and
 * comes again. */
static bool is_hidden(struct dv_store *s, const struct dv_node *n, const struct dv_place *p,
		      bool again)
{
	struct dv_found f;
	bool looks = dv_stage_streams(n->stage) || (again && !n->stage->tail);
	return n->form == DV_FORM_PACKED && looks && !n->stage->astray &&
	       dv_place_find(s, p, &f) == 0 && f.form == DV_FORM_RAW && S_ISREG(f.st.mode);
}

/* -ESTALE: others have changed what is under the name meanwhile; again: it said so before. */
static dv_err commit_once(struct dv_store *s, struct dv_node *n, bool settle, bool again)
{
	struct dv_place p;
	const char *stored;
	struct dv_stat st;
	struct dv_node *dir = NULL;
	uint8_t slot = 0;
	char name[DV_NAME_MAX + 1];
	if (!dv_node_has_name(s, n)) /* others took it away; where we did, the stage went with it */
		return n->stage->named ? dv_stage_conflict(s, n) : 0;
	if (dv_stage_error(n->stage)) {
		discard(s, n);
		return 0;
	}
	if (n->loser) {
		dv_err err = dv_stage_settle(s, n);
		if (err)
			return err;
	}
	dv_err err = dv_stage_unmark(s, n->stage);
	if (!err)
		err = dv_node_name(s, n, 0, &dir, name, &slot);
	if (err)
		return err;
	dv_node_unref(s, dir);
	err = dv_place_of(s, n, 0, &p, &stored);
	if (err)
		return err == -ESTALE ? dv_stage_conflict(s, n) : err;
	err = DV_B(s, stat, p.dirfd, stored, &st);
	struct dv_ident id = dv_ident_of(&st);
	bool other = err == -ENOENT || (!err && !dv_ident_equal(&id, &n->id)) ||
		     (!err && is_hidden(s, n, &p, again));
	bool half_way = other && is_half_way(s, n, &p, stored, &st);
	if (half_way) {
		other = false;
		err = 0;
	}
	if (other && supersede(s, n, &p, &st, &slot)) {
		other = false;
		err = 0;
		stored = dv_place_stored(&p, n->form, slot);
	}
	bool shared = dv_node_links(n, st.nlink) > 1;
	/* One with other names is not replaced by a file of its own. */
	bool streams = !err && !other && !half_way && dv_stage_streams(n->stage);
	if (streams && dv_stream_is_disturbed(s, n->stage, &st))
		err = join_in_place(s, n);
	else if (streams && (shared || !is_packed_name_free(s, n, &p)))
		err = dv_stage_join(s, n, false);
	if (other)
		err = dv_stage_conflict(s, n);
	else if (!err && n->stage->tail)
		err = n->stage->appends ? dv_append_commit(s, n)
					: dv_stream_commit(s, n, &p, stored);
	else if (!err && (n->stage->in_place || shared))
		err = commit_in_place(s, n, &p, stored);
	else if (!err && dv_is_sealed(s))
		err = dv_sealed_commit(s, n, &p, stored);
	else if (!err) {
		err = commit_swap(s, n, &p, slot);
		if (!err && settle)
			err = dv_stage_settle(s, n);
	}
	dv_place_of_close(s, &p);
	return err;
}

dv_err dv_stage_commit(struct dv_store *s, struct dv_node *n, bool settle)
{
	dv_err err = n->stage ? -ESTALE : 0;
	for (unsigned tries = 0; err == -ESTALE && n->stage && tries < COMMIT_TRIES; tries++)
		err = commit_once(s, n, settle, tries > 0);
	return err == -ESTALE && n->stage ? -EAGAIN : err;
}

static void end_loser(struct dv_store *s, struct dv_node *n)
{
	struct dv_loser was = *n->beside;
	dv_node_end_loser(s, n);
	dv_node_superseded_gone(s, &was.id);
	dv_journal_end(s, was.record);
}

dv_err dv_stage_drop_loser(struct dv_store *s, struct dv_node *n, const struct dv_place *p)
{
	struct dv_stat st;
	struct dv_dir_times times;
	if (!n->loser || !p->names.packed[0])
		return 0;
	dv_err err = DV_B(s, stat, p->dirfd, p->names.packed, &st);
	if (err)
		return err == -ENOENT ? 0 : err;
	struct dv_ident id = dv_ident_of(&st);
	if (!dv_ident_equal(&id, &n->beside->id)) /* I5 */
		return 0;
	dv_dir_times_keep(s, p, &times);
	err = dv_unlink_form(s, p, p->names.packed, &id, false);
	dv_dir_times_restore(s, &times);
	if (!err)
		end_loser(s, n);
	return err == DV_IS_ANOTHER ? 0 : err;
}

dv_err dv_stage_settle(struct dv_store *s, struct dv_node *n)
{
	dv_err err = dv_sync_names(s, n); /* I3 */
	bool none = false;
	/* It lies beside the name that was swapped, which need not be the first any more. */
	for (unsigned skip = 0; !err && n->loser; skip++) {
		struct dv_place p;
		const char *stored;
		err = dv_place_of(s, n, skip, &p, &stored);
		if (err == -ESTALE && !dv_node_has_names(s, n, skip + 1))
			none = true;
		if (err)
			break;
		err = dv_stage_drop_loser(s, n, &p);
		dv_place_of_close(s, &p);
	}
	if (!none)
		return err;
	end_loser(s, n); /* under none of them: others removed it, or took the name away */
	return 0;
}
