/* SPDX-License-Identifier: MIT */
/* stage.c - see stage.h. */
#include "core/stage.h"

#include "core/cleanup.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/packed.h"
#include "core/rival.h"
#include "core/value.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>

struct dv_stage {
	uint64_t id;
	bool replacement;
	bool in_place;	 /* several links, or owner and mode can not be kept: committed by copying
			  over the old object */
	bool named;	 /* a record and a name in the owner folder exist */
	bool durable;	 /* it is left to the next owner, its bytes are on the disk */
	bool hidden;	 /* its name in the owner folder is one that no record speaks of */
	uint8_t unpacks; /* of an edit: how often the value had to be unpacked, this time too */
	dv_err failed;	 /* of the last write that failed and was not made good; 0: none */
	uint64_t failed_at; /* the first byte that it left unwritten */
	struct dv_file *file;
	struct dv_file *locked; /* an edit: the old object, whose lock keeps other mounts' edits
				   away; NULL: none */
	uint16_t generation;	/* of the value once this is it */
	struct dv_changed_at changed; /* by a caller */
	uint64_t changed_writes;      /* n->writes when changed.backing was looked at */
	uint64_t swap_id;	      /* its SWAP record, 0: none yet */
	uint64_t copy_id;	      /* COPY record of a commit that was cut short, 0: none */
	atomic_ullong synced_writes; /* n->writes when the bytes were last made durable; UINT64_MAX:
					never */
};

int dv_stage_fd(const struct dv_stage *st)
{
	return st->file->fd;
}

bool dv_stage_is_replacement(const struct dv_stage *st)
{
	return st->replacement;
}

#define HIDDEN_NAME (DV_STAGE_NAME + 7)

static void name_of(uint64_t id, bool hidden, char out[HIDDEN_NAME])
{
	dv_journal_stage_name(id, out);
	if (hidden)
		strcat(out, ".failed");
}

/*
 * Where the daemon is killed a stage is put in place by its record. One of which a write has failed
 * is not to be: it gets another name for as long, and is swept with it. A renaming, since on a full
 * disk nothing can be appended to the log.
 */
static void hide_failed(struct dv_store *s, struct dv_stage *st)
{
	char from[HIDDEN_NAME], to[HIDDEN_NAME];
	bool hidden = st->replacement && st->failed;
	int dirfd = dv_journal_dirfd(s->journal);
	if (!st->named || hidden == st->hidden)
		return;
	name_of(st->id, st->hidden, from);
	name_of(st->id, hidden, to);
	if (DV_B(s, rename, dirfd, from, dirfd, to, RENAME_NOREPLACE) == 0)
		st->hidden = hidden;
}

void dv_stage_wrote(struct dv_store *s, struct dv_stage *st, struct dv_range range, dv_err err)
{
	if (st->failed && st->failed_at >= range.off && st->failed_at - range.off < range.len)
		st->failed = 0; /* it has been written after all */
	if (err && !st->failed) {
		st->failed = err;
		st->failed_at = range.off + range.len;
	}
	hide_failed(s, st);
}

void dv_stage_emptied(struct dv_store *s, struct dv_stage *st)
{
	st->failed = 0;
	hide_failed(s, st);
}

void dv_stage_changed(struct dv_stage *st)
{
	clock_gettime(CLOCK_REALTIME, &st->changed.here);
}

/* Before the stage's ctime moves by a doing of ours. */
static void note_change(struct dv_node *n, const struct dv_stat *own)
{
	if (n->stage->changed_writes == n->writes)
		return;
	n->stage->changed.backing = own->ctime;
	n->stage->changed_writes = n->writes;
}

dv_err dv_stage_error(const struct dv_stage *st)
{
	return st->replacement ? st->failed : 0;
}

bool dv_stage_is_in_place(const struct dv_stage *st)
{
	return st->in_place;
}

/* Another mount that replaces the same value chooses another one. */
static uint16_t next_generation(const struct dv_node *n)
{
	uint16_t random = 0;
	dv_ignore(getrandom(&random, sizeof(random), 0)); /* then both count from the same */
	return (uint16_t)(n->generation + 1 + random % UINT16_MAX);
}

static void write_tag(struct dv_store *s, const struct dv_node *n, const struct dv_stage *stage,
		      const struct dv_stat *own)
{
	struct dv_ident id = dv_ident_of(own);
	struct dv_tag tag = {.st_ino = n->ino,
			     .generation = stage->generation,
			     .unpacks = stage->unpacks,
			     .swapped = stage->changed.here};
	dv_tag_store(s, stage->file->fd, &id, &tag);
}

void dv_stage_set_replacement(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	struct dv_stat own;
	if (!stage->replacement && DV_B(s, stat, stage->file->fd, "", &own) == 0) {
		stage->generation = next_generation(n);
		write_tag(s, n, stage, &own);
	}
	stage->replacement = true;
}

/* ---- begin ---- */

/*
 * How often n had to be unpacked, with the time that is now. The tag knows it where the node was
 * forgotten. A value that was left packed for as long as one may wait at most is counted anew: else
 * what is edited once a month would wait longest.
 */
static uint8_t count_unpacks(struct dv_store *s, struct dv_node *n, const struct dv_file *old,
			     const struct dv_stat *st, const struct dv_stat *now)
{
	struct dv_tag tag;
	unsigned unpacks = atomic_load(&n->unpacks);
	if (dv_tag_load_fd(s, old->fd, st, &tag)) {
		if (tag.unpacks > unpacks)
			unpacks = tag.unpacks;
		if (tag.swapped.tv_sec > 0 &&
		    now->ctime.tv_sec - tag.swapped.tv_sec >= DV_SETTLE_MAX_MS / 1000)
			unpacks = 0;
	}
	return (uint8_t)(unpacks < DV_UNPACKS_MAX ? unpacks + 1 : DV_UNPACKS_MAX);
}

/* Owner, mode and the rest of the old object on the stage. */
static dv_err dress(struct dv_store *s, struct dv_node *n, struct dv_file *old,
		    const struct dv_stat *st, struct dv_stage *stage, bool empty)
{
	struct dv_stat own;
	int fd = stage->file->fd;
	dv_err err = dv_meta_copy(s, old->fd, st, fd);
	if ((err == -EPERM || err == -EACCES) && n->form == DV_FORM_PACKED) {
		stage->in_place =
			true; /* the old object keeps its attributes, and gets the bytes */
		err = 0;
	}
	if (!err && !empty) {
		struct timespec times[2] = {st->atime, st->mtime};
		err = DV_B(s, utimens, fd, times);
	}
	if (!err)
		err = DV_B(s, stat, fd, "", &own);
	if (err)
		return err;
	if (!empty)
		stage->unpacks = count_unpacks(s, n, old, st, &own);
	write_tag(s, n, stage, &own);
	return 0;
}

static dv_err record_stage(struct dv_store *s, struct dv_node *n, struct dv_stage *stage)
{
	struct dv_record r = {.id = stage->id, .type = DV_RECORD_STAGE, .st_ino = n->ino};
	if (n->form == DV_FORM_PACKED) {
		r.flags = DV_RECORD_OLD_PACKED;
		r.packed = n->id;
	} else {
		r.raw = n->id;
	}
	r.flags |= (uint8_t)((stage->in_place ? DV_RECORD_IN_PLACE : 0) |
			     (stage->durable ? DV_RECORD_DURABLE : 0));
	return dv_record_append(s, n, &r);
}

static dv_err make_stage_file(struct dv_store *s, struct dv_stage *stage)
{
	char name[DV_STAGE_NAME];
	stage->id = dv_journal_new_id(s->journal);
	dv_journal_stage_name(stage->id, name);
	dv_act_as_self(s);
	int fd = DV_B(s, open, dv_journal_dirfd(s->journal), name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	stage->named = true;
	stage->file = dv_file_new(s, fd, true);
	return stage->file ? 0 : -ENOMEM;
}

static void forget_stage(struct dv_store *s, struct dv_stage *stage)
{
	char name[HIDDEN_NAME];
	dv_rewrite_end(s, &stage->copy_id);
	if (stage->named) {
		name_of(stage->id, stage->hidden, name);
		dv_ignore(DV_B(s, unlink, dv_journal_dirfd(s->journal),
			       name)); /* swept by the next owner */
		dv_journal_end(s, stage->id);
	}
	if (stage->swap_id)
		dv_journal_end(s, stage->swap_id);
	stage->swap_id = 0;
	stage->named = false;
}

static struct dv_stage *new_stage(bool empty)
{
	struct dv_stage *stage = calloc(1, sizeof(*stage));
	if (stage)
		atomic_init(&stage->synced_writes, UINT64_MAX);
	if (stage)
		stage->replacement = empty;
	return stage;
}

void dv_stage_discard(struct dv_store *s, struct dv_stage **stage)
{
	if (!*stage)
		return;
	forget_stage(s, *stage);
	dv_file_unref(s, (*stage)->file);
	dv_rival_unlock(s, &(*stage)->locked);
	free(*stage);
	*stage = NULL;
}

dv_err dv_stage_unpack(struct dv_store *s, struct dv_node *n, struct dv_file *old,
		       struct dv_file **locked, struct dv_stage **out)
{
	struct dv_facts facts;
	struct dv_stage *stage = new_stage(false);
	*out = NULL;
	if (!stage)
		return -ENOMEM;
	stage->locked = dv_take_ptr(locked);
	dv_err err = dv_as_corrupt(dv_packed_facts(s, n, old, false, &facts));
	if (!err)
		err = make_stage_file(s, stage);
	if (!err)
		err = dv_reserve(s, stage->file->fd, facts.plain_size);
	if (!err)
		err = dv_packed_decode(s, n, old, stage->file->fd);
	if (err)
		dv_stage_discard(s, &stage);
	*out = stage;
	return err;
}

dv_err dv_stage_begin_with(struct dv_store *s, struct dv_node *n, struct dv_stage **unpacked)
{
	struct dv_stat st;
	struct dv_file *old = NULL;
	DV_AUTO_FREE struct dv_stage *stage = dv_take_ptr(unpacked);
	bool empty = stage->replacement;
	dv_stage_changed(stage);
	stage->generation = empty ? next_generation(n) : n->generation;
	dv_err err = dv_value_file(s, n, false, false, &old);
	if (!err)
		err = DV_B(s, stat, old->fd, "", &st);
	if (!err && !stage->file)
		err = make_stage_file(s, stage);
	if (!err) {
		stage->in_place = dv_node_links(n, st.nlink) > 1;
		err = dress(s, n, old, &st, stage, empty);
	}
	if (!err && dv_node_has_name(s, n))
		err = record_stage(s, n, stage);
	else if (!err)
		forget_stage(s, stage);
	dv_file_unref(s, old);
	if (err) {
		forget_stage(s, stage);
		dv_file_unref(s, stage->file);
		dv_rival_unlock(s, &stage->locked);
		return err;
	}
	if (!empty)
		atomic_store(&n->unpacks, stage->unpacks);
	dv_count(s, pending, 1);
	dv_count(s, unpacked, !empty);
	n->stage = dv_take_ptr(&stage);
	n->writes++;
	return 0;
}

dv_err dv_stage_begin(struct dv_store *s, struct dv_node *n, bool empty)
{
	struct dv_stage *stage = NULL;
	struct dv_file *old = NULL, *locked = NULL;
	dv_err err = s->journal ? 0 : -EROFS;
	if (!err && empty) {
		stage = new_stage(true);
		err = stage ? 0 : -ENOMEM;
	} else if (!err) {
		err = dv_value_file(s, n, false, false, &old);
		if (!err)
			err = dv_rival_lock(s, n, old, &locked);
		if (!err)
			err = dv_stage_unpack(s, n, old, &locked, &stage);
		dv_rival_unlock(s, &locked);
		dv_file_unref(s, old);
	}
	return err ? err : dv_stage_begin_with(s, n, &stage);
}

dv_err dv_stage_stat(struct dv_store *s, struct dv_node *n, struct dv_stat *out)
{
	struct dv_stage *stage = n->stage;
	dv_err err = DV_B(s, stat, stage->file->fd, "", out);
	if (err)
		return err;
	out->ino = n->ino;
	out->nlink = dv_node_has_name(s, n) ? 1 : 0;
	if (out->blocks == 0 && out->size > 0)
		out->blocks = 1;
	if (stage->in_place && out->nlink) { /* attributes and links are those of the old object */
		struct dv_place p;
		const char *stored;
		struct dv_stat old;
		if (dv_place_of(s, n, 0, &p, &stored) == 0) {
			if (DV_B(s, stat, p.dirfd, stored, &old) == 0) {
				out->nlink = dv_node_links(n, old.nlink);
				out->mode = old.mode;
				out->uid = old.uid;
				out->gid = old.gid;
			}
			dv_place_of_close(s, &p);
		}
	}
	return 0;
}

static dv_err sync_gated(struct dv_store *s, struct dv_node *n)
{
	dv_err err = DV_B(s, fsync, n->stage->file->fd);
	if (!err)
		atomic_store(&n->stage->synced_writes, n->writes);
	return err;
}

dv_err dv_stage_sync(struct dv_store *s, struct dv_node *n)
{
	dv_err err = dv_gate_shared(n, false);
	if (err)
		return err;
	struct dv_stage *stage = n->stage;
	if (!stage) {
		dv_gate_open(n);
		return 0;
	}
	struct dv_file *f = stage->file;
	uint64_t id = stage->id, writes = n->writes;
	atomic_fetch_add(&f->refs, 1);
	dv_gate_open(n);
	err = DV_B(s, fsync, f->fd); /* long: without keeping anyone out */
	dv_file_unref(s, f);
	if (err)
		return err;
	err = dv_gate_shared(n, false);
	if (err)
		return err;
	if (n->stage && n->stage->id == id)
		atomic_store(&n->stage->synced_writes, writes);
	dv_gate_open(n);
	return 0;
}

/* ---- commit ---- */

static void end_stage(struct dv_store *s, struct dv_node *n)
{
	dv_rival_unlock(s, &n->stage->locked);
	dv_file_unref(s, n->stage->file);
	free(n->stage);
	n->stage = NULL;
	atomic_fetch_sub(&s->counters.pending, 1);
}

void dv_stage_abandon(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	/* It must outlive a reboot too. Where that fails it is as after a crash. */
	stage->durable = stage->named && DV_B(s, fsync, stage->file->fd) == 0;
	if (stage->durable && record_stage(s, n, stage) == 0)
		dv_ignore(dv_journal_sync(s));
	end_stage(s, n);
}

void dv_stage_drop(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	struct dv_stat st;
	forget_stage(s, stage);
	if (DV_B(s, stat, stage->file->fd, "", &st) == 0) {
		struct dv_ident id = dv_ident_of(&st);
		dv_node_set_object(s, n, &id, DV_FORM_RAW);
	}
	dv_node_set_file(s, n, stage->file, true);
	end_stage(s, n);
}

/* The old object was replaced or changed its place by another's doing. */
static dv_err commit_conflict(struct dv_store *s, struct dv_node *n)
{
	char name[HIDDEN_NAME], path[4096];
	struct dv_stage *stage = n->stage;
	dv_node_path(s, n, path, sizeof(path));
	name_of(stage->id, stage->hidden, name);
	dv_err err = dv_put_aside(s, dv_journal_dirfd(s->journal), name, path,
				  "the value was replaced in the store while it was being "
				  "rewritten through the mount");
	if (err)
		return err;
	stage->named = false;
	dv_journal_end(s, stage->id);
	/* Those who have it open go on with what they wrote; the name is another's. */
	struct dv_node *dir = NULL;
	char key[DV_NAME_MAX + 1];
	while (dv_node_name(s, n, 0, &dir, key, NULL) == 0) {
		dv_node_drop_name(s, dir, key);
		dv_node_unref(s, dir);
	}
	dv_stage_drop(s, n);
	return -EBUSY;
}

/* Writes the stage over the old object, which keeps its links and attributes. */
static dv_err commit_in_place(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
			      const char *stored)
{
	char *path = NULL;
	dv_err err = dv_node_path_alloc(s, n, &path);
	if (err)
		return err;
	struct dv_loose_at at = dv_place_at(p);
	if (atomic_load(&n->unsynced) &
	    DV_NAMES_MADE) /* I4: the record finds its object by this name */
		err = dv_loose_sync(s, &at, p->dirfd);
	if (!err)
		err = dv_settle_move(s, p, stored);
	if (err) {
		free(path);
		return err;
	}
	int target = DV_B(s, open, p->dirfd, stored, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
	struct dv_rewrite w = {.from = n->stage->file->fd,
			       .to = target,
			       .packed = n->form == DV_FORM_PACKED,
			       .locked = n->stage->locked,
			       .object = n->id,
			       .st_ino = n->ino,
			       .path = path,
			       .failed = &n->stage->copy_id};
	err = target < 0 ? target : dv_rewrite_in_place(s, &w);
	if (target >= 0)
		DV_B(s, close, target);
	free(path);
	if (!err) {
		forget_stage(s, n->stage);
		end_stage(s, n);
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
	uint64_t id = dv_journal_new_id(s->journal);
	struct dv_record r = {.id = id,
			      .type = DV_RECORD_SWAP,
			      .raw = dv_ident_of(&st),
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
	if (stage && n->form == DV_FORM_PACKED && !stage->in_place && !stage->swap_id &&
	    dv_node_has_name(s, n)) {
		err = record_swap(s, n);
		*recorded |= !err;
	}
	dv_gate_open(n);
	return err;
}

/* Renames the stage to the value's raw name; where a shard directory has that, aside. */
static dv_err publish(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
		      uint8_t *slot)
{
	char name[HIDDEN_NAME];
	struct dv_dir_times times;
	unsigned flags = n->form == DV_FORM_PACKED ? RENAME_NOREPLACE : 0;
	int dirfd = dv_journal_dirfd(s->journal);
	name_of(n->stage->id, n->stage->hidden, name);
	dv_dir_times_keep(s, p->dirfd, &times);
	const char *raw = dv_place_stored(p, DV_FORM_RAW, *slot);
	dv_err err = DV_B(s, rename, dirfd, name, p->dirfd, raw, flags);
	if ((err == -EEXIST || err == -EISDIR || err == -ENOTEMPTY) && p->names.aside[0] &&
	    *slot == DV_SLOT_PLAIN) {
		struct dv_stat st;
		if (DV_B(s, stat, p->dirfd, raw, &st) == 0 && S_ISDIR(st.mode)) {
			*slot = DV_SLOT_ASIDE;
			err = DV_B(s, rename, dirfd, name, p->dirfd, p->names.aside, flags);
		}
	}
	dv_dir_times_restore(s, &times);
	atomic_fetch_add(&s->swaps, 1);
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
		note_change(n, &st);
		write_tag(s, n, stage, &st);
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
		err = publish(s, n, p, &now);
		if (!err && now != slot)
			err = dv_node_add_name(s, n, p->dir, p->name, now);
	}
	if (err)
		return err == -EEXIST ? commit_conflict(s, n) : err;
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
	end_stage(s, n);
	return 0;
}

/* The replacement failed while it was written: the old value is the value. */
static void discard(struct dv_store *s, struct dv_node *n)
{
	char path[4096], text[1024];
	dv_node_path(s, n, path, sizeof(path));
	dv_warn("%s could not be replaced and keeps its old value: %s",
		dv_log_key(text, sizeof(text), path), strerror(-n->stage->failed));
	forget_stage(s, n->stage);
	end_stage(s, n);
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
	if (DV_B(s, stat, stage->file->fd, "", &own))
		return false;
	note_change(n, &own);
	if (!stage->replacement || stage->in_place || dv_place_find(s, p, &f) ||
	    !S_ISREG(f.st.mode) || f.st.nlink > 1 ||
	    !dv_rival_is_older(s, n, p, &f, &stage->changed))
		return false;
	if (dv_node_add_name(s, n, p->dir, p->name, f.slot))
		return false;
	struct dv_ident id = dv_ident_of(&f.st);
	dv_node_set_object(s, n, &id, f.form);
	if (stage->swap_id) /* of the object that was there before */
		dv_journal_end(s, stage->swap_id);
	stage->swap_id = 0;
	*st = f.st;
	*slot = f.slot;
	return true;
}

dv_err dv_stage_commit(struct dv_store *s, struct dv_node *n, bool settle)
{
	struct dv_place p;
	const char *stored;
	struct dv_stat st;
	struct dv_node *dir = NULL;
	uint8_t slot = 0;
	char name[DV_NAME_MAX + 1];
	if (!n->stage)
		return 0;
	if (!dv_node_has_name(s, n)) /* others took it away; where we did, the stage went with it */
		return n->stage->named ? commit_conflict(s, n) : 0;
	if (dv_stage_error(n->stage)) {
		discard(s, n);
		return 0;
	}
	if (n->loser) {
		dv_err err = dv_stage_settle(s, n);
		if (err)
			return err;
	}
	dv_err err = dv_node_name(s, n, 0, &dir, name, &slot);
	if (err)
		return err;
	dv_node_unref(s, dir);
	err = dv_place_of(s, n, 0, &p, &stored);
	if (err)
		return err == -ESTALE ? commit_conflict(s, n) : err;
	err = DV_B(s, stat, p.dirfd, stored, &st);
	struct dv_ident id = dv_ident_of(&st);
	bool other = err == -ENOENT || (!err && !dv_ident_equal(&id, &n->id));
	if (other && supersede(s, n, &p, &st, &slot)) {
		other = false;
		err = 0;
		stored = dv_place_stored(&p, n->form, slot);
	}
	if (other)
		err = commit_conflict(s, n);
	else if (!err && (n->stage->in_place || dv_node_links(n, st.nlink) > 1))
		err = commit_in_place(s, n, &p, stored);
	else if (!err) {
		err = commit_swap(s, n, &p, slot);
		if (!err && settle)
			err = dv_stage_settle(s, n);
	}
	dv_place_of_close(s, &p);
	return err;
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
	dv_dir_times_keep(s, p->dirfd, &times);
	err = dv_unlink_form(s, p, p->names.packed, false);
	dv_dir_times_restore(s, &times);
	if (!err)
		end_loser(s, n);
	return err;
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
