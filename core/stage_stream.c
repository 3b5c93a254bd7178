/* SPDX-License-Identifier: MIT */
/*
 * stage_stream.c - a value that is packed while it is written. See stage.h.
 *
 *   begin    a new value is copied to a first segment and stays in the store as it is, until the commit,
 *            flocked exclusively: a mount that wants to write to it waits. The raw file of a replacement
 *            becomes the first segment
 *   commit   old form packed: ID.z is exchanged with it (stage_publish.c). Old form raw: a SWAP record, ID.z gets the packed
 *            name, that is durable (I3), the raw one goes
 *
 * Nothing is synced before the commit, and what was written raw is gone by then, so the disk sees frames.
 */
#include "core/cleanup.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/meta.h"
#include "core/nopack.h"
#include "core/space.h"
#include "core/stage_private.h"
#include "core/value.h"
#include "core/withdraw.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define COPY_BYTES  (256u << 10)
#define WRITES_BUSY 32 /* before a value that others have open is looked at again */

bool dv_stage_may_stream(const struct dv_store *s, struct dv_node *n)
{
	const struct dv_stage *st = n->stage;
	if (n->in_sequence < s->limits.stream_bytes || n->in_sequence == DV_NOT_IN_SEQUENCE)
		return false;
	if (!s->journal || !s->config.compress || s->options.shared)
		return false;
	if (n->stream_wait) {
		n->stream_wait--;
		return false;
	}
	return st ? !st->tail && !st->in_place && !st->failed && st->replacement
		  : n->form == DV_FORM_RAW && !n->loser && !n->job;
}

/* ---- begin ---- */

/* Is n, whose bytes are in f, such a value? */
static bool is_fit(struct dv_store *s, struct dv_node *n, struct dv_file *f)
{
	struct dv_place p;
	const char *stored;
	struct dv_stat st, twin;
	bool fit = false, good = false;
	if (dv_nopack_holds(s, n) || DV_B(s, stat, f->fd, "", &st) || st.size != n->in_sequence ||
	    st.nlink != 1 || dv_place_of(s, n, 0, &p, &stored))
		return false;
	good = p.names.packed[0] && (n->form == DV_FORM_PACKED ||
				     DV_B(s, stat, p.dirfd, p.names.packed, &twin) == -ENOENT);
	dv_place_of_close(s, &p);
	return good && dv_tail_sample(s, f->fd, st.size, &fit) == 0 && fit;
}

static dv_err copy_head(struct dv_store *s, struct dv_tail *t, int from, uint64_t size)
{
	DV_AUTO_FREE char *buf = malloc(COPY_BYTES);
	dv_err err = buf ? 0 : -ENOMEM;
	while (!err && t->size < size) {
		uint64_t left = size - t->size;
		size_t len = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
		err = dv_read_full(s, from, buf, len, t->size);
		ssize_t done = err ? err : dv_tail_append(s, t, buf, len);
		if (done < 0)
			err = (dv_err)done;
	}
	return err;
}

dv_err dv_stream_make_file(struct dv_store *s, uint64_t id, struct dv_file **out)
{
	char name[DV_TAIL_NAME];
	dv_tail_packed_name(id, name);
	return dv_journal_make_file(s, name, out);
}

dv_err dv_stream_dress(struct dv_store *s, int from, int packed, struct dv_stat *out_own)
{
	struct dv_stat st, own;
	dv_err err = DV_B(s, stat, from, "", &st);
	if (!err)
		err = dv_meta_copy(s, from, &st, packed);
	struct timespec times[2] = {st.atime, {.tv_nsec = UTIME_OMIT}};
	if (!err)
		err = DV_B(s, utimens, packed, times);
	if (!err)
		err = DV_B(s, stat, packed, "", &own);
	if (err)
		return err;
	*out_own = own;
	return 0;
}

/* The bytes so far: the stage's own file where there is a stage, else a copy. */
static dv_err make_first(struct dv_store *s, struct dv_node *n, struct dv_tail *t,
			 struct dv_file *f)
{
	char name[DV_STAGE_NAME];
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {0}};
	struct dv_stat st;
	if (n->stage) {
		dv_journal_stage_name(t->id, name);
		atomic_fetch_add(&f->refs, 1);
		return dv_tail_adopt_segment(s, t, name, f, (struct dv_range){0, n->in_sequence});
	}
	dv_err err = copy_head(s, t, f->fd, n->in_sequence);
	if (!err)
		err = DV_B(s, stat, f->fd, "", &st);
	times[1] = st.mtime;
	return err ? err : DV_B(s, utimens, t->last->file->fd, times);
}

static dv_err begin(struct dv_store *s, struct dv_node *n, struct dv_stage *stage,
		    struct dv_file *f)
{
	struct dv_file *packed = NULL;
	struct dv_tail *t = NULL;
	char name[DV_TAIL_NAME];
	struct dv_stat own;
	dv_err err = dv_stream_make_file(s, stage->id, &packed);
	if (!err)
		err = dv_stream_dress(s, f->fd, packed->fd, &own);
	if (!err)
		err = dv_tail_new(s, packed, dv_journal_dirfd(s->journal), stage->id, &t);
	if (!err)
		err = make_first(s, n, t, f);
	stage->tail = err ? NULL : t;
	if (!err)
		err = dv_stage_write_record(s, n, stage);
	if (!err) {
		dv_file_unref(s, stage->file);
		stage->file = packed;
		stage->named = true;
		dv_stage_write_tag(s, n, stage, &own);
		return 0;
	}
	stage->tail = NULL;
	dv_tail_packed_name(stage->id, name);
	dv_ignore(
		DV_B(s, unlink, dv_journal_dirfd(s->journal), name)); /* swept by the next owner */
	dv_journal_stage_name(stage->id, name);
	if (t)
		dv_tail_unlink(s, t, name);
	dv_tail_free(s, t);
	dv_file_unref(s, packed);
	return err;
}

/* Opens the raw object of n, for reading. -> 0 or the reason why it is not to be streamed */
static dv_err open_raw(struct dv_store *s, struct dv_node *n, struct dv_file **out,
		       struct dv_stat *st)
{
	struct dv_place p;
	const char *stored;
	dv_err err = dv_place_of(s, n, 0, &p, &stored);
	if (err)
		return err;
	int fd = dv_open_quiet(s, p.dirfd, stored, O_NOFOLLOW | O_NONBLOCK);
	dv_place_of_close(s, &p);
	if (fd < 0)
		return fd;
	*out = dv_file_new(s, fd, false);
	if (!*out)
		return -ENOMEM;
	err = DV_B(s, stat, fd, "", st);
	struct dv_ident id = dv_ident_of(st);
	return err ? err : dv_ident_equal(&id, &n->id) ? 0 : -ESTALE;
}

dv_err dv_stream_lock_raw(struct dv_store *s, struct dv_node *n, struct dv_stage *fresh,
			  struct dv_file **out)
{
	struct dv_stat st;
	dv_err err = open_raw(s, n, out, &st);
	if (err)
		return err;
	dv_node_drop_file(s, n); /* it is writable, and holds a shared lock */
	if (DV_B(s, flock, (*out)->fd, LOCK_EX | LOCK_NB) == -EWOULDBLOCK)
		return -EAGAIN;
	int lease = DV_B(s, set_lease, (*out)->fd, F_RDLCK);
	if (lease == -EAGAIN)
		return -EAGAIN;
	fresh->leased = lease >= 0;
	fresh->over = dv_version_of(&st);
	atomic_fetch_add(&(*out)->refs, 1);
	fresh->locked = *out;
	return 0;
}

bool dv_stream_is_disturbed(struct dv_store *s, const struct dv_stage *st,
			    const struct dv_stat *raw)
{
	if (!st->locked)
		return false;
	return raw->size != st->over.size || dv_time_ns(raw->mtime) != st->over.mtime_ns ||
	       (st->leased && DV_B(s, get_lease, st->locked->fd) != F_RDLCK);
}

void dv_stream_raw_is(struct dv_store *s, struct dv_node *n)
{
	struct dv_stat st;
	if (n->stage->locked && DV_B(s, stat, n->stage->locked->fd, "", &st) == 0)
		n->stage->over = dv_version_of(&st);
}

void dv_stage_stream(struct dv_store *s, struct dv_node *n)
{
	struct dv_file *f = NULL;
	DV_AUTO_FREE struct dv_stage *fresh = NULL;
	struct dv_stage *stage = n->stage;
	dv_err err = stage ? dv_stage_unmark(s, stage) : 0;
	if (stage) {
		f = stage->file;
		atomic_fetch_add(&f->refs, 1);
	} else {
		stage = fresh = calloc(1, sizeof(*fresh));
		err = fresh ? dv_stream_lock_raw(s, n, fresh, &f) : -ENOMEM;
	}
	bool fit = !err && is_fit(s, n, f);
	if (fit && fresh) {
		fresh->id = dv_journal_new_id(s->journal);
		fresh->generation = n->generation;
		dv_stage_changed(fresh);
		atomic_init(&fresh->synced_writes, UINT64_MAX);
	}
	/* Where that fails it goes on raw, as it is. */
	if (!fit || begin(s, n, stage, f)) {
		if (err == -EAGAIN) /* they may close it */
			n->stream_wait = WRITES_BUSY;
		else
			n->in_sequence = DV_NOT_IN_SEQUENCE;
		if (fresh)
			dv_file_unref(s, fresh->locked);
	} else if (fresh) {
		fresh->began_ns = dv_now_ns();
		dv_space_seen(s, n->in_sequence);
		n->stage = dv_take_ptr(&fresh);
		dv_count(s, pending, 1);
	}
	dv_file_unref(s, f);
}

/* ---- join ---- */

/* Before what makes it whole moves the times of what callers wrote to. */
static dv_err note_change(struct dv_store *s, struct dv_node *n)
{
	struct dv_stat own;
	dv_err err = DV_B(s, stat, dv_stage_written_fd(n->stage), "", &own);
	if (!err)
		dv_stage_note_change(n, &own);
	return err;
}

/* Has the first segment all bytes from the value's beginning on? */
static bool holds_head(const struct dv_tail *t)
{
	return t->first->start == 0 && !t->first->punched;
}

/* The name ID is free for another file. */
static dv_err free_name(struct dv_store *s, struct dv_stage *stage)
{
	struct dv_segment *g = stage->tail->first;
	char name[DV_STAGE_NAME], other[DV_TAIL_NAME];
	dv_journal_stage_name(stage->id, name);
	dv_tail_segment_name(stage->id, g->start, other);
	if (strcmp(g->name, name) != 0)
		return 0;
	int dirfd = stage->tail->dirfd;
	dv_err err = DV_B(s, rename, dirfd, name, dirfd, other, RENAME_NOREPLACE);
	if (!err)
		strcpy(g->name, other);
	return err;
}

/* The raw file of the stage, with nothing in it. */
static dv_err make_empty(struct dv_store *s, struct dv_stage *stage, struct dv_file **out)
{
	dv_err err = free_name(s, stage);
	return err ? err : dv_stage_make_file(s, stage->id, out);
}

/* The raw file of the stage, with all bytes: the first segment, if it still has its own. */
static dv_err make_whole(struct dv_store *s, struct dv_stage *stage, struct dv_file **out)
{
	struct dv_tail *t = stage->tail;
	struct dv_segment *g = t->first;
	char name[DV_STAGE_NAME];
	dv_err err = 0;
	if (!holds_head(t)) {
		err = make_empty(s, stage, out);
		if (!err) /* or it is told before others lack what it takes */
			err = dv_reserve(s, (*out)->fd, t->size);
		return err ? err : dv_tail_decode(s, t, (*out)->fd);
	}
	dv_journal_stage_name(stage->id, name);
	if (strcmp(g->name, name) != 0)
		err = DV_B(s, rename, t->dirfd, g->name, t->dirfd, name, RENAME_NOREPLACE);
	if (err)
		return err;
	strcpy(g->name, name);
	*out = g->file;
	atomic_fetch_add(&g->file->refs, 1);
	return dv_tail_copy(s, t, g->start + g->len, (*out)->fd);
}

/* Owner, mode and the rest of the packed part, and the value's times; of an empty one they move. */
static dv_err dress(struct dv_store *s, struct dv_node *n, struct dv_file *f, bool empty,
		    struct dv_stat *out_own)
{
	struct dv_stat st, own;
	dv_err err = DV_B(s, stat, n->stage->file->fd, "", &st);
	if (!err)
		err = dv_meta_copy(s, n->stage->file->fd, &st, f->fd);
	if (!err)
		err = dv_tail_stat(s, n->stage->tail, &st);
	if (!err) {
		struct timespec times[2] = {
			st.atime, empty ? (struct timespec){.tv_nsec = UTIME_OMIT} : st.mtime};
		err = DV_B(s, utimens, f->fd, times);
	}
	if (!err)
		err = DV_B(s, stat, f->fd, "", &own);
	if (!err && empty)
		err = dv_stage_move_mtime(s, f->fd, &own, &st);
	if (err)
		return err;
	*out_own = own;
	return 0;
}

dv_err dv_stage_join(struct dv_store *s, struct dv_node *n, bool empty)
{
	struct dv_stage *stage = n->stage;
	struct dv_tail *t = stage->tail;
	struct dv_file *f = NULL;
	struct dv_stat own;
	char name[DV_STAGE_FILE_NAME];
	bool fresh = empty || !holds_head(t);
	if (stage->astray)
		return -EBUSY;
	dv_err err = dv_stage_unmark(s, stage);
	if (!err)
		err = note_change(s, n);
	if (err)
		return err;
	err = empty ? make_empty(s, stage, &f) : make_whole(s, stage, &f);
	if (!err)
		err = dress(s, n, f, empty, &own);
	stage->tail = NULL; /* the record tells of a stage that is whole */
	if (!err)
		err = dv_stage_write_record(s, n, stage);
	if (err) {
		stage->tail = t;
		dv_journal_stage_name(stage->id, name);
		if (fresh && f)
			dv_ignore(DV_B(s, unlink, t->dirfd, name)); /* swept by the next owner */
		dv_file_unref(s, f);
		return err;
	}
	if (stage->swap_id)
		dv_journal_end(s, stage->swap_id);
	stage->swap_id = 0;
	stage->tail = t;
	dv_stage_file_name(stage, stage->hidden, name);
	stage->tail = NULL;
	dv_ignore(DV_B(s, unlink, t->dirfd, name)); /* swept by the next owner */
	dv_journal_stage_name(stage->id, name);
	dv_tail_unlink(s, t, name);
	dv_tail_free(s, t);
	dv_file_unref(s, stage->file);
	stage->file = f;
	stage->hidden = false;
	dv_stage_hide_failed(s, stage);
	dv_stage_write_tag(s, n, stage, &own);
	atomic_store(&stage->synced_writes, UINT64_MAX);
	n->in_sequence = DV_NOT_IN_SEQUENCE;
	dv_count(s, joined, 1);
	return 0;
}

/* ---- commit ---- */

/* I4: recovery takes the packed form for the value, should it find both. */
static dv_err record_swap(struct dv_store *s, struct dv_node *n, const struct dv_ident *packed)
{
	struct dv_stage *stage = n->stage;
	dv_err err = 0;
	if (!stage->swap_id) {
		uint64_t id = dv_journal_new_id(s->journal);
		struct dv_record r = {.id = id,
				      .type = DV_RECORD_SWAP,
				      .flags = DV_RECORD_PACKED_WINS,
				      .raw = n->id,
				      .packed = *packed,
				      .st_ino = n->ino};
		if (stage->locked) {
			r.flags |= DV_RECORD_RAW_IS_HEAD;
			r.raw_version = stage->over;
		}
		err = dv_record_append(s, n, &r);
		if (!err)
			stage->swap_id = id;
	}
	return err ? err : dv_journal_sync(s);
}

/* The packed part gets its name; it may have had it before. */
static dv_err take_name(struct dv_store *s, struct dv_stage *stage, const struct dv_place *p,
			const char *name)
{
	if (stage->astray)
		return 0;
	dv_err err = DV_B(s, rename, stage->tail->dirfd, name, p->dirfd, p->names.packed,
			  RENAME_NOREPLACE);
	stage->astray = !err;
	return err;
}

struct raw_ctx {
	struct dv_store *s;
	struct dv_stage *stage;
};

static bool raw_is_wanted(void *ctx)
{
	struct raw_ctx *c = ctx;
	return c->stage->locked && c->stage->leased &&
	       DV_B(c->s, get_lease, c->stage->locked->fd) != F_RDLCK;
}

/* It gets its name, and the raw object, which is the node's, goes. */
static dv_err take_place_of_raw(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
				const char *stored, const struct dv_ident *packed)
{
	struct dv_stage *stage = n->stage;
	bool gone = false, kept = false;
	char name[DV_TAIL_NAME];
	struct raw_ctx ctx = {s, stage};
	struct dv_withdrawal w = {.dirfd = dv_journal_dirfd(s->journal),
				  .id = stage->swap_id,
				  .object = n->id,
				  .packed = *packed,
				  .version = stage->over,
				  .any_version = !stage->locked, /* a replacement */
				  .wanted = raw_is_wanted,
				  .ctx = &ctx};
	if (stage->astray && !stage->named) /* another's is where it was to lie */
		return dv_stage_give_back(s, n, p, p->names.packed, stage->file->fd);
	dv_tail_packed_name(stage->id, name);
	dv_err err = take_name(s, stage, p, name);
	if (err)
		return err;
	struct dv_loose_at at = dv_place_at(p);
	err = dv_loose_sync(s, &at, p->dirfd); /* I3 */
	if (!err)
		err = dv_withdraw(s, p, stored, &w, &gone, &kept);
	if (kept) /* nobody sees it any more; the record stays, and says what is to be done with it */
		stage->swap_id = 0;
	if (gone || kept)
		return 0;
	if (!err)
		err = -EAGAIN; /* a program in the store wants it, or has taken it away */
	/* Raw is the value still, or there is none: what it was to be goes back beside the store. */
	dv_err back = dv_stage_give_back(s, n, p, p->names.packed, stage->file->fd);
	if (back == -ESTALE && stage->named)
		dv_loose_add(s, &at, DV_LOOSE_PACKED, 0);
	return stage->named ? err : back;
}

static dv_err publish(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
		      const char *stored, const struct dv_ident *packed)
{
	struct dv_dir_times times;
	dv_err err = 0;
	if (n->form == DV_FORM_PACKED) {
		if (!n->stage->astray) /* the object to be replaced may be another than at first */
			err = dv_stage_write_record(s, n, n->stage);
		if (!err)
			err = dv_stage_publish_packed(s, n, p, stored, n->stage->file->fd);
	} else {
		dv_dir_times_keep(s, p, &times);
		err = take_place_of_raw(s, n, p, stored, packed);
		dv_dir_times_restore(s, &times);
	}
	atomic_fetch_add(&s->swaps, 1);
	return err;
}

dv_err dv_stream_commit(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
			const char *stored)
{
	struct dv_stage *stage = n->stage;
	struct dv_stat st;
	bool was_raw = n->form == DV_FORM_RAW;
	dv_err err = note_change(s, n);
	if (!err)
		err = dv_stage_finish(s, n);
	if (!err)
		err = DV_B(s, stat, stage->file->fd, "", &st);
	struct dv_ident id = dv_ident_of(&st);
	if (!err && was_raw)
		err = record_swap(s, n, &id);
	/* A raw form that was packed of late must not come back beside another one of the value. */
	if (!err)
		err = dv_settle_move(s, p, p->names.packed);
	if (!err)
		err = publish(s, n, p, stored, &id);
	if (err)
		return err == -EEXIST ? -ESTALE : err; /* it is looked at again */
	dv_node_set_object(s, n, &id, DV_FORM_PACKED);
	dv_node_drop_file(s, n);
	dv_stage_became_packed(s, n);
	n->generation = stage->generation;
	dv_names_changed(n);
	dv_count(s, replaced, stage->replacement);
	dv_count(s, streamed, 1);
	if (stage->swap_id)
		dv_journal_end(s, stage->swap_id);
	dv_journal_end(s, stage->id);
	dv_tail_unlink(s, stage->tail, NULL);
	dv_stage_end(s, n);
	dv_tell_changed(s, n);
	return 0;
}
