/* SPDX-License-Identifier: MIT */
/* stage.c - see stage.h. How a stage takes the place of the old form: stage_commit.c. */
#include "core/stage_private.h"

#include "core/cleanup.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/packed.h"
#include "core/sealed.h"
#include "core/value.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>

int dv_stage_fd(const struct dv_stage *st)
{
	return st->file->fd;
}

bool dv_stage_had_bytes(const struct dv_stage *st)
{
	return st->had_bytes;
}

bool dv_stage_is_replacement(const struct dv_stage *st)
{
	return st->replacement || st->waits;
}

/* Of the stage's file, or of the packed part of one in two parts. */
void dv_stage_file_name(const struct dv_stage *st, bool hidden, char out[DV_STAGE_FILE_NAME])
{
	if (st->tail)
		dv_tail_packed_name(st->id, out);
	else
		dv_journal_stage_name(st->id, out);
	if (hidden)
		strcat(out, ".failed");
	if (!st->sealed_id)
		strcat(out, st->ending);
}

dv_err dv_stage_unmark(struct dv_store *s, struct dv_stage *st)
{
	char from[DV_STAGE_FILE_NAME], to[DV_STAGE_FILE_NAME];
	int dirfd = dv_journal_dirfd(s->journal);
	if (!st->ending[0] || st->astray)
		return 0;
	if (st->sealed_id) {
		dv_tail_packed_name(st->id, from);
		strcat(from, st->ending);
	} else {
		dv_stage_file_name(st, st->hidden, from);
	}
	snprintf(to, sizeof(to), "%.*s", (int)(strlen(from) - strlen(st->ending)), from);
	dv_err err = DV_B(s, rename, dirfd, from, dirfd, to, RENAME_NOREPLACE);
	if (err && err != -ENOENT)
		return err;
	st->ending[0] = '\0';
	return 0;
}

/*
 * Where the daemon is killed a stage is put in place by its record. One of which a write has failed
 * is not to be: it gets another name for as long, and is swept with it. A renaming, since on a full
 * disk nothing can be appended to the log.
 */
void dv_stage_hide_failed(struct dv_store *s, struct dv_stage *st)
{
	char from[DV_STAGE_FILE_NAME], to[DV_STAGE_FILE_NAME];
	bool hidden = st->replacement && st->failed;
	int dirfd = dv_journal_dirfd(s->journal);
	if (!st->named || hidden == st->hidden || dv_stage_unmark(s, st))
		return;
	dv_stage_file_name(st, st->hidden, from);
	dv_stage_file_name(st, hidden, to);
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
	dv_stage_hide_failed(s, st);
}

void dv_stage_is_empty(struct dv_store *s, struct dv_stage *st)
{
	st->failed = 0;
	dv_stage_hide_failed(s, st);
}

void dv_stage_emptied(struct dv_store *s, struct dv_stage *st)
{
	st->had_bytes = true;
	dv_stage_is_empty(s, st);
}

void dv_stage_changed(struct dv_stage *st)
{
	clock_gettime(CLOCK_REALTIME, &st->changed.here);
}

/* Before the stage's ctime moves by a doing of ours. */
void dv_stage_note_change(struct dv_node *n, const struct dv_stat *own)
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
	return st->in_place || st->astray;
}

/* Another mount that replaces the same value chooses another one. */
static uint16_t next_generation(const struct dv_node *n)
{
	uint16_t random = 0;
	dv_ignore(getrandom(&random, sizeof(random), 0)); /* then both count from the same */
	return (uint16_t)(n->generation + 1 + random % UINT16_MAX);
}

void dv_stage_write_tag(struct dv_store *s, const struct dv_node *n, const struct dv_stage *stage,
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
		dv_stage_write_tag(s, n, stage, &own);
	}
	stage->replacement = true;
	if (n->form ==
	    DV_FORM_RAW) /* it was a stream: its writer may take long, nobody waits for him */
		dv_rival_unlock(s, &stage->locked);
}

#define CONFLICT                                                                                   \
	"the value was replaced in the store while it was being rewritten through the mount"

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

/* A file that was made within one tick of the clock of files may have the time that was seen of
 * the one that it empties. */
dv_err dv_stage_move_mtime(struct dv_store *s, int fd, const struct dv_stat *own,
			   const struct dv_stat *old)
{
	const struct timespec now[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
	bool moved = dv_time_ns(own->mtime) != dv_time_ns(old->mtime);
	return moved ? 0 : DV_B(s, utimens, fd, now);
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
	/* To write a value is not to read it. */
	struct timespec times[2] = {empty ? st->atime : stage->atime,
				    empty ? (struct timespec){.tv_nsec = UTIME_OMIT} : st->mtime};
	if (!err)
		err = DV_B(s, utimens, fd, times);
	if (!err)
		err = DV_B(s, stat, fd, "", &own);
	if (!err && empty)
		err = dv_stage_move_mtime(s, fd, &own, st);
	if (err)
		return err;
	if (!empty)
		stage->unpacks = count_unpacks(s, n, old, st, &own);
	dv_stage_write_tag(s, n, stage, &own);
	return 0;
}

dv_err dv_stage_write_record(struct dv_store *s, struct dv_node *n, struct dv_stage *stage)
{
	struct dv_record r = {.id = stage->id,
			      .type = stage->tail || stage->sealing ? DV_RECORD_STREAM
								    : DV_RECORD_STAGE,
			      .st_ino = n->ino};
	if (n->form == DV_FORM_PACKED) {
		r.flags = DV_RECORD_OLD_PACKED;
		r.packed = n->id;
	} else {
		r.raw = n->id;
	}
	if (n->form == DV_FORM_RAW)
		r.raw_version = stage->over;
	if (n->form == DV_FORM_RAW && stage->tail && stage->locked)
		r.flags |= DV_RECORD_RAW_IS_HEAD;
	/* What is exchanged with it: another mount's ID.z, or value, has the same number in its tag. */
	struct dv_stat st;
	if (r.type == DV_RECORD_STREAM && n->form == DV_FORM_PACKED &&
	    DV_B(s, stat, stage->tail ? stage->tail->packed->fd : stage->sealed->fd, "", &st) == 0)
		r.raw = dv_ident_of(&st);
	r.flags |= (uint8_t)((stage->in_place ? DV_RECORD_IN_PLACE : 0) |
			     (stage->durable ? DV_RECORD_DURABLE : 0));
	return dv_record_append(s, n, &r);
}

dv_err dv_stage_make_file(struct dv_store *s, uint64_t id, struct dv_file **out)
{
	char name[DV_STAGE_NAME];
	dv_journal_stage_name(id, name);
	return dv_journal_make_file(s, name, out);
}

static dv_err make_stage_file(struct dv_store *s, struct dv_stage *stage)
{
	stage->id = dv_journal_new_id(s->journal);
	dv_err err = dv_stage_make_file(s, stage->id, &stage->file);
	stage->named = !err || err == -ENOMEM;
	return err;
}

void dv_stage_forget(struct dv_store *s, struct dv_stage *stage)
{
	char name[DV_STAGE_FILE_NAME];
	dv_rewrite_end(s, &stage->copy_id);
	if (stage->named) {
		dv_stage_file_name(stage, stage->hidden, name);
		dv_ignore(DV_B(s, unlink, dv_journal_dirfd(s->journal),
			       name)); /* swept by the next owner */
		if (stage->tail)
			dv_tail_unlink(s, stage->tail, NULL);
		dv_journal_end(s, stage->id);
	}
	if (stage->swap_id)
		dv_journal_end(s, stage->swap_id);
	dv_stage_unseal(s, stage);
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
	dv_stage_forget(s, *stage);
	dv_file_unref(s, (*stage)->file);
	dv_rival_unlock(s, &(*stage)->locked);
	free(*stage);
	*stage = NULL;
}

dv_err dv_stage_unpack(struct dv_store *s, struct dv_node *n, struct dv_file *old,
		       struct dv_file **locked, struct dv_stage **out)
{
	struct dv_facts facts;
	struct dv_stat st;
	struct dv_stage *stage = new_stage(false);
	*out = NULL;
	if (!stage)
		return -ENOMEM;
	stage->locked = dv_take_ptr(locked);
	dv_err err = DV_B(s, stat, old->fd, "", &st);
	stage->atime = st.atime;
	if (!err)
		err = dv_as_corrupt(dv_packed_facts(s, n, old, false, &facts));
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
	dv_err err = dv_value_file(s, n, false, &old);
	if (!err)
		err = DV_B(s, stat, old->fd, "", &st);
	if (!err && !stage->file)
		err = make_stage_file(s, stage);
	if (!err) {
		stage->in_place = dv_node_links(n, st.nlink) > 1;
		stage->over = dv_version_of(&st);
		err = dress(s, n, old, &st, stage, empty);
	}
	if (!err && dv_node_has_name(s, n))
		err = dv_stage_write_record(s, n, stage);
	else if (!err)
		dv_stage_forget(s, stage);
	dv_file_unref(s, old);
	if (err) {
		dv_stage_forget(s, stage);
		dv_file_unref(s, stage->file);
		dv_rival_unlock(s, &stage->locked);
		return err;
	}
	if (!empty)
		atomic_store(&n->unpacks, stage->unpacks);
	n->in_sequence = empty ? 0 : DV_NOT_IN_SEQUENCE;
	stage->waits = dv_is_sealed(s); /* stage_sealed.c */
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
		err = dv_value_file(s, n, false, &old);
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
	if (stage->tail)
		err = dv_tail_stat(s, stage->tail, out);
	if (err)
		return err;
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
	bool in_parts = stage->tail, failed = dv_stage_error(stage);
	dv_gate_open(n);
	if (in_parts || dv_is_sealed(s)) {
		dv_file_unref(s, f);
		return failed ? 0 : in_parts ? dv_stage_sync_tail(s, n) : dv_stage_seal(s, n);
	}
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

/* ---- the end ---- */

void dv_stage_end(struct dv_store *s, struct dv_node *n)
{
	dv_rival_unlock(s, &n->stage->locked);
	dv_stage_unseal(s, n->stage);
	/* Who makes frames may have the object open for a while yet: the next append needs the lock now. */
	if (n->stage->appends)
		dv_ignore(DV_B(s, flock, n->stage->file->fd, LOCK_UN));
	dv_file_unref(s, n->stage->file);
	dv_tail_free(s, n->stage->tail);
	free(n->stage);
	n->stage = NULL;
	dv_told_ends(n); /* the object has a ctime of its own */
	atomic_fetch_sub(&s->counters.pending, 1);
}

void dv_stage_abandon(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	if (stage->tail) {
		dv_stage_abandon_tail(s, n);
		return;
	}
	/* It must outlive a reboot too. Where that fails it is as after a crash. */
	stage->durable = stage->named && DV_B(s, fsync, stage->file->fd) == 0;
	if (stage->durable && dv_stage_write_record(s, n, stage) == 0)
		dv_ignore(dv_journal_sync(s));
	dv_stage_end(s, n);
}

void dv_stage_drop(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	struct dv_stat st;
	if (stage->tail) {
		dv_stage_drop_tail(s, n);
		return;
	}
	dv_stage_forget(s, stage);
	if (DV_B(s, stat, stage->file->fd, "", &st) == 0) {
		struct dv_ident id = dv_ident_of(&st);
		dv_node_set_object(s, n, &id, DV_FORM_RAW);
	}
	dv_node_set_file(s, n, stage->file, true);
	dv_stage_end(s, n);
}

/* The old object was replaced or changed its place by another's doing. */
dv_err dv_stage_conflict(struct dv_store *s, struct dv_node *n)
{
	char name[DV_STAGE_FILE_NAME], path[4096];
	struct dv_stage *stage = n->stage;
	dv_node_path(s, n, path, sizeof(path));
	dv_stage_file_name(stage, stage->hidden, name);
	dv_err err = 0;
	if (stage->tail)
		err = dv_stage_put_tail_aside(s, n, path, CONFLICT);
	else if (stage->named ||
		 stage->astray) /* else it had come to the name, from where others took it */
		err = dv_put_aside(s, dv_journal_dirfd(s->journal), name, path, CONFLICT);
	if (err == -ENOENT)
		err = 0;
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
