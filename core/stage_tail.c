/* SPDX-License-Identifier: MIT */
/*
 * stage_tail.c - stages in two parts: what streams and appends have in common. See stage.h, tail.h.
 *
 * Frames are made by those who write, as soon as a batch of them waits: so what waits is bounded, and a
 * writer that is faster than the processors is slowed down to them. They do it without the gate, but to
 * copy the bytes and to add the frames.
 */
#include "core/cleanup.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/packed.h"
#include "core/stage_private.h"
#include "core/value.h"

#include <stdio.h>
#include <string.h>

bool dv_stage_in_parts(const struct dv_stage *st)
{
	return st && st->tail;
}

bool dv_stage_appends(const struct dv_stage *st)
{
	return st && st->appends;
}

int64_t dv_stage_began(const struct dv_stage *st)
{
	return st->began_ns;
}

uint64_t dv_stage_backlog(const struct dv_stage *st)
{
	return st && st->tail ? st->tail->size - dv_tail_plain(st->tail) : 0;
}

uint64_t dv_stage_size(const struct dv_stage *st)
{
	return st->tail->size;
}

bool dv_stage_has_room(const struct dv_store *s, const struct dv_stage *st, uint64_t len)
{
	const struct dv_tail *t = st->tail;
	uint64_t frame = s->config.frame_size, left = t->size - dv_tail_plain(t) + len;
	return t->frames.count + (left + frame - 1) / frame <= s->limits.frames_max;
}

ssize_t dv_stage_add(struct dv_store *s, struct dv_node *n, const void *buf, size_t len)
{
	return dv_tail_append(s, n->stage->tail, buf, len);
}

ssize_t dv_stage_read(struct dv_store *s, struct dv_node *n, void *buf, struct dv_range range,
		      bool nowait)
{
	return dv_tail_read(s, n->stage->tail, buf, range, nowait);
}

dv_err dv_stage_set_times(struct dv_store *s, struct dv_node *n, const struct timespec times[2])
{
	struct dv_tail *t = dv_stage_tail(n);
	if (t)
		dv_stream_raw_is(s, n);
	return t && t->last ? DV_B(s, utimens, t->last->file->fd, times) : 0;
}

dv_err dv_stage_mtime_first(struct dv_store *s, const struct dv_node *n, struct timespec *mtime,
			    struct timespec *was)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, *mtime};
	int fd = dv_stage_written_fd(n->stage);
	struct dv_stat st;
	dv_err err = DV_B(s, stat, fd, "", &st);
	if (err)
		return err;
	*was = st.mtime;
	err = DV_B(s, utimens, fd, times);
	if (!err)
		err = DV_B(s, stat, fd, "", &st);
	if (!err)
		*mtime = st.mtime;
	return err;
}

void dv_stage_mtime_set(struct dv_store *s, struct dv_node *n, int old_fd)
{
	struct dv_stat st;
	if (!n->stage->named || DV_B(s, stat, old_fd, "", &st))
		return;
	n->stage->over = dv_version_of(&st);
	dv_ignore(dv_stage_write_record(s, n, n->stage)); /* then the times have to tell */
}

void dv_stage_attrs_set(struct dv_store *s, const struct dv_node *n)
{
	struct dv_tail *t = dv_stage_tail(n);
	if (t && t->last)
		dv_ignore(DV_B(s, chown, t->last->file->fd, (uid_t)-1, (gid_t)-1));
}

/* ---- frames ---- */

/* The tag's sizes and its ctime do not outlive a change; that the end is open does. */
static dv_err before_change(struct dv_store *s, const struct dv_node *n)
{
	const struct dv_stage *stage = n->stage;
	struct dv_stat st;
	if (!stage->appends || stage->tail->touched)
		return 0;
	dv_err err = DV_B(s, stat, stage->file->fd, "", &st);
	if (err)
		return err;
	struct dv_ident id = dv_ident_of(&st);
	struct dv_tag tag = {.st_ino = n->ino, .generation = n->generation, .open_end = true};
	dv_tag_store(s, stage->file->fd, &id, &tag);
	return 0;
}

/* The file of what an append overwrites, or NULL. */
static struct dv_file *overwritten(const struct dv_tail *t)
{
	return t->first && t->first->kept ? t->first->file : NULL;
}

struct pump {
	struct dv_store *s;
	struct dv_node *n;
	struct dv_tail_batch *batch; /* the store's, frames_lock */
	uint64_t below;
	size_t count;	       /* frames of this step; 0: done */
	struct dv_file *file;  /* the packed one, a reference */
	struct dv_file *first; /* of an append that is not ready: what it overwrites; a reference */
	bool make_ready;
	uint64_t serial;
	uint64_t
		drop; /* segments that end here or before wait for the frames to be durable; 0: none */
};

static dv_err pump_take(struct pump *p)
{
	dv_err err = dv_gate_shared(p->n, false);
	if (err)
		return err;
	struct dv_tail *t = dv_stage_tail(p->n);
	struct dv_stage *stage = p->n->stage;
	p->count = 0;
	p->make_ready = false;
	if (t && dv_stage_backlog(stage) >= p->below)
		err = dv_tail_take(p->s, t, false, p->batch, &p->count);
	if (!err && p->count) {
		p->serial = t->serial;
		p->file = t->packed;
		atomic_fetch_add(&p->file->refs, 1);
		p->make_ready = stage->appends && !atomic_load(&stage->ready);
		p->first = p->make_ready ? overwritten(t) : NULL;
		if (p->first)
			atomic_fetch_add(&p->first->refs, 1);
	}
	dv_gate_open(p->n);
	return err;
}

static bool is_same(const struct pump *p)
{
	struct dv_tail *t = dv_stage_tail(p->n);
	return t && t->serial == p->serial;
}

static dv_err pump_put(struct pump *p)
{
	dv_err err = dv_gate_exclusive(p->n, false);
	if (err)
		return err;
	struct dv_tail *t = dv_stage_tail(p->n);
	p->drop = 0;
	if (is_same(p)) {
		if (p->make_ready)
			atomic_store(&p->n->stage->ready, true);
		err = before_change(p->s, p->n);
		if (!err)
			err = dv_tail_put(p->s, t, p->batch);
		if (err == -ESTALE) /* put in place meanwhile, and begun again */
			err = 0;
		if (!err && dv_tail_drop(p->s, t, dv_tail_plain(t), false))
			p->drop = dv_tail_plain(t);
	}
	dv_gate_open(p->n);
	return err;
}

/* What fsync has told of goes only when the frames made of it are durable. */
static dv_err pump_drop(struct pump *p)
{
	dv_err err = DV_B(p->s, fdatasync, p->file->fd);
	if (!err)
		err = dv_gate_exclusive(p->n, false);
	if (err)
		return err;
	if (is_same(p))
		(void)dv_tail_drop(p->s, dv_stage_tail(p->n), p->drop, true);
	dv_gate_open(p->n);
	return 0;
}

/*
 * I4: the name by which the record finds the object is durable, and no other form of the value comes
 * back beside it. No gate needed.
 */
static dv_err settle_names(struct dv_store *s, struct dv_node *n)
{
	struct dv_node *dir = NULL;
	struct dv_place p;
	char name[DV_NAME_MAX + 1];
	dv_err err = dv_node_name(s, n, 0, &dir, name, NULL);
	if (!err)
		err = dv_place_open(s, dir, name, false, &p);
	if (!err) {
		err = dv_settle_move(s, &p, p.names.packed);
		dv_place_close(s, &p);
	}
	dv_node_unref(s, dir);
	if (err)
		return err == -ESTALE ? 0 : err; /* removed meanwhile */
	return dv_sync_names(s, n);
}

/* What the record of an append needs, before anything is changed or promised. */
static dv_err make_ready(struct dv_store *s, struct dv_node *n, struct dv_file *first)
{
	dv_err err = settle_names(s, n);
	if (!err && first)
		err = DV_B(s, fsync, first->fd);
	return err ? err : dv_journal_sync(s);
}

static dv_err pump_step(struct pump *p)
{
	struct dv_store *s = p->s;
	pthread_mutex_lock(&s->frames_lock);
	dv_err err = s->frames ? 0 : dv_tail_batch_new(s, &s->frames);
	p->count = 0;
	p->batch = s->frames;
	if (!err)
		err = pump_take(p);
	if (!err && p->count) {
		dv_tail_encode(s, p->batch);
		if (p->make_ready)
			err = make_ready(s, p->n, p->first);
		if (!err)
			err = pump_put(p);
	}
	pthread_mutex_unlock(&s->frames_lock);
	if (!err && p->count && p->drop)
		err = pump_drop(p);
	dv_file_unref(s, p->file);
	dv_file_unref(s, p->first);
	p->file = p->first = NULL;
	return err;
}

static bool is_full(dv_err err)
{
	return err == -ENOSPC || err == -EDQUOT;
}

/* What segments hold of bytes that frames were made of is given back, once those are durable. */
static dv_err make_room(struct dv_store *s, struct dv_node *n)
{
	dv_err err = dv_gate_shared(n, false);
	if (err)
		return err;
	struct dv_tail *t = dv_stage_tail(n);
	struct dv_file *f = t ? t->packed : NULL;
	uint64_t serial = t ? t->serial : 0, plain = t ? dv_tail_plain(t) : 0;
	if (f)
		atomic_fetch_add(&f->refs, 1);
	dv_gate_open(n);
	if (!f)
		return 0;
	err = DV_B(s, fdatasync, f->fd);
	dv_file_unref(s, f);
	if (!err)
		err = dv_gate_exclusive(n, false);
	if (err)
		return err;
	t = dv_stage_tail(n);
	if (t && t->serial == serial) {
		(void)dv_tail_drop(s, t, plain, true);
		dv_tail_punch(s, t, plain);
	}
	dv_gate_open(n);
	return 0;
}

dv_err dv_stage_pump(struct dv_store *s, struct dv_node *n, uint64_t below)
{
	struct pump p = {.s = s, .n = n, .below = below};
	bool tried = false;
	dv_err err = 0;
	while (!err) {
		err = pump_step(&p);
		if (!err && !p.count)
			break;
		if (is_full(err) && !tried) {
			tried = true;
			err = make_room(s, n);
		}
	}
	return err;
}

/* ---- durability ---- */

dv_err dv_append_make_ready(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	dv_err err = atomic_load(&stage->ready) ? 0 : make_ready(s, n, overwritten(stage->tail));
	if (!err)
		atomic_store(&stage->ready, true);
	return err;
}

/* The commit that follows has little left to write. */
dv_err dv_stage_sync_tail(struct dv_store *s, struct dv_node *n)
{
	dv_err err = dv_stage_pump(s, n, s->config.frame_size);
	if (!err)
		err = dv_gate_shared(n, false);
	if (err)
		return err;
	struct dv_tail *t = dv_stage_tail(n);
	struct dv_file *f = t && t->touched ? t->packed : NULL;
	if (f)
		atomic_fetch_add(&f->refs, 1);
	dv_gate_open(n);
	if (f)
		err = DV_B(s, fdatasync, f->fd);
	dv_file_unref(s, f);
	return err;
}

#define PROMISED_MAX   64 /* segments that are synced at once */
#define PROMISE_FRAMES 4  /* so much that waits for frames is not synced raw */

dv_err dv_stage_promise(struct dv_store *s, struct dv_node *n)
{
	struct dv_file *files[PROMISED_MAX];
	size_t count = 0;
	/* Frames take less of the disk than what they are made of. */
	dv_err err = dv_stage_pump(s, n, PROMISE_FRAMES * (uint64_t)s->config.frame_size);
	if (!err) /* before a record tells of what is promised */
		err = settle_names(s, n);
	if (!err)
		err = dv_gate_exclusive(n, false);
	if (err)
		return err;
	struct dv_tail *t = dv_stage_tail(n);
	if (t && !n->stage->appends) { /* it was put in place, and replaced by a stream */
		dv_gate_open(n);
		return -EAGAIN;
	}
	if (t && !n->stage->durable) {
		n->stage->durable = true;
		err = dv_append_record(s, n, n->stage);
		n->stage->durable = !err;
	}
	int dirfd = t ? t->dirfd : -1;
	bool named = t && t->named;
	uint64_t serial = t ? t->serial : 0;
	for (struct dv_segment *g = t ? t->first : NULL; g; g = g->next) {
		if (count == PROMISED_MAX) {
			err = -EBUSY;
			break;
		}
		g->promised = true;
		files[count++] = g->file;
		atomic_fetch_add(&g->file->refs, 1);
	}
	dv_gate_open(n);
	for (size_t i = 0; i < count && !err; i++)
		err = DV_B(s, fsync, files[i]->fd);
	if (!err && count)
		err = dv_journal_sync(s);
	if (!err && named)
		err = DV_B(s, fsync, dirfd);
	if (!err)
		err = dv_gate_exclusive(n, false);
	if (!err) {
		t = dv_stage_tail(n);
		if (t && t->serial == serial) {
			atomic_store(&n->stage->ready, true);
			/* One made meanwhile may have come too late for the folder's sync. */
			if (named && t->last->file == files[count - 1])
				t->named = false;
		}
		dv_gate_open(n);
	}
	for (size_t i = 0; i < count; i++)
		dv_file_unref(s, files[i]);
	return err;
}

/* ---- the end ---- */

dv_err dv_stage_finish(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	struct dv_stat own;
	dv_err err = before_change(s, n);
	if (!err && stage->replacement) /* so that other mounts know when it was written */
		err = DV_B(s, stat, dv_stage_written_fd(stage), "", &own);
	if (!err && stage->replacement)
		dv_stage_note_change(n, &own);
	if (!err)
		err = dv_tail_complete(s, stage->tail);
	if (!err && stage->appends)
		err = DV_B(s, fsync, stage->file->fd); /* I2 */
	if (err)
		return err;
	struct dv_tag tag = {.st_ino = n->ino,
			     .generation = stage->appends ? n->generation : stage->generation,
			     .swapped = stage->changed.here};
	dv_tail_tag(s, stage->tail, &tag);
	return stage->appends ? 0 : DV_B(s, fsync, stage->file->fd); /* I2 */
}

static void became_packed(struct dv_store *s, struct dv_node *n, dv_err unreadable)
{
	struct dv_tail *t = n->stage->tail;
	struct dv_stat st;
	if (DV_B(s, stat, n->stage->file->fd, "", &st) == 0) {
		struct dv_facts facts = {.version = dv_version_of(&st),
					 .plain_size = t->size,
					 .frames = t->frames.count,
					 .err = (int16_t)unreadable,
					 .single = dv_tail_is_single(s, t),
					 .known = true};
		dv_facts_set(s, n, &facts);
	}
	n->real_ctime_ns = n->kept_ctime_ns = 0;
	atomic_store(&n->dirty, false);
}

void dv_stage_became_packed(struct dv_store *s, struct dv_node *n)
{
	became_packed(s, n, 0);
}

void dv_stage_drop_tail(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	struct dv_stat st;
	stage->tail->nameless = true;
	dv_err err = dv_tail_complete(s, stage->tail); /* nobody asks for it to be durable */
	if (err)
		dv_error("a removed value can not be read any more by those who have it open: %s",
			 strerror(-err));
	if (DV_B(s, stat, stage->file->fd, "", &st) == 0) {
		struct dv_ident id = dv_ident_of(&st);
		dv_node_set_object(s, n, &id, DV_FORM_PACKED);
	}
	became_packed(s, n, err ? -EIO : 0);
	dv_stage_forget(s, stage);
	dv_node_set_file(s, n, stage->file, true);
	dv_stage_end(s, n);
}

void dv_stage_abandon_tail(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	dv_err err = stage->named ? DV_B(s, fsync, stage->file->fd) : -ENOENT;
	for (struct dv_segment *g = stage->tail->first; g && !err; g = g->next)
		err = DV_B(s, fsync, g->file->fd);
	/* It must outlive a reboot too. Where that fails it is as after a crash. */
	stage->durable = !err;
	if (!err && !stage->appends)
		err = dv_stage_write_record(s, n, stage);
	if (!err)
		err = dv_journal_sync(s);
	if (!err)
		dv_ignore(DV_B(s, fsync, stage->tail->dirfd));
	dv_stage_end(s, n);
}

/* All of the value, raw, is what is put aside, where its object is in the store no more. */
static dv_err write_whole(struct dv_store *s, struct dv_stage *stage)
{
	struct dv_file *f = NULL;
	dv_err err = dv_stage_make_file(s, stage->id, &f);
	if (!err)
		err = dv_tail_decode(s, stage->tail, f->fd);
	if (!err)
		err = DV_B(s, fsync, f->fd);
	dv_file_unref(s, f);
	return err;
}

dv_err dv_stage_put_tail_aside(struct dv_store *s, struct dv_node *n, const char *path,
			       const char *why)
{
	struct dv_stage *stage = n->stage;
	struct dv_stat st;
	char name[DV_STAGE_FILE_NAME], key[4096 + 8];
	dv_err err = stage->appends ? dv_append_make_ready(s, n) : 0;
	if (!err)
		err = dv_stage_finish(s, n);
	if (!err)
		err = DV_B(s, stat, stage->file->fd, "", &st);
	if (err)
		return err;
	dv_stage_file_name(stage, stage->hidden, name);
	snprintf(key, sizeof(key), "%s%s", path, stage->appends ? "" : ".zst");
	bool elsewhere = stage->appends && st.nlink; /* under another name, and has got its bytes */
	if (stage->appends && !elsewhere) {
		dv_journal_stage_name(stage->id, name);
		err = write_whole(s, stage);
	}
	if (!err && !elsewhere)
		err = dv_put_aside(s, stage->tail->dirfd, name, key, why);
	if (!err)
		dv_tail_unlink(s, stage->tail, NULL);
	return err;
}
