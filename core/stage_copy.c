/* SPDX-License-Identifier: MIT */
/*
 * stage_copy.c - an empty value becomes a stream whose frames are those of a packed value. See
 * stage.h.
 *
 *   from     [ frame ] ... [ frame ][ last frame, less than whole ][ table ]
 *   ID.z     [ frame ] ... [ frame ]                                           copied as they are
 *   ID.T                            [ its plain bytes ]                        decoded
 *
 * Both are made under an id of their own, while nobody is kept from either value. They become the
 * stream under the gate of the value that gets them, by at most two renames in the owner folder: a
 * replacement has an id already, under which recovery knows it. From then on it is a stream as any
 * other: it may be added to, written elsewhere, and is put in place as such.
 */
#include "core/cleanup.h"
#include "core/codec.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/nopack.h"
#include "core/packed.h"
#include "core/sealed.h"
#include "core/stage_private.h"
#include "core/value.h"
#include "core/walk_own.h"

#include <stdio.h> /* RENAME_NOREPLACE */
#include <string.h>

#define COPY_BYTES (1u << 20)

struct dv_stage_copy {
	uint64_t id; /* names its files */
	struct dv_file *packed;
	struct dv_tail *tail;
};

/* ---- prepare ---- */

static dv_err copy_bytes(struct dv_store *s, int from, int to, uint64_t size)
{
	DV_AUTO_FREE char *buf = NULL;
	uint64_t at = 0;
	ssize_t n = 1;
	/* In the filesystem, which may let both have the same blocks. */
	while (at < size && n > 0) {
		uint64_t left = size - at;
		n = DV_B(s, copy_range, from, at, to, at,
			 left < INT32_MAX ? (size_t)left : INT32_MAX);
		if (n > 0)
			at += (uint64_t)n;
	}
	dv_err err = n < 0 && n != -EXDEV && n != -EOPNOTSUPP && n != -EINVAL ? (dv_err)n : 0;
	while (!err && at < size) {
		size_t len = size - at < COPY_BYTES ? (size_t)(size - at) : COPY_BYTES;
		if (!buf)
			buf = malloc(COPY_BYTES);
		err = buf ? dv_read_full(s, from, buf, len, at) : -ENOMEM;
		if (!err)
			err = dv_write_full(s, to, buf, len, at);
		at += len;
	}
	return err;
}

/* The frames of `from` that are whole become the tail's; *last is another one, or has no bytes. */
static dv_err take_frames(struct dv_store *s, int from, struct dv_tail *t, struct dv_frame *last)
{
	struct dv_layout all;
	struct dv_stat st;
	DV_AUTO_FREE uint32_t *sums = NULL;
	*last = (struct dv_frame){0};
	dv_err err = DV_B(s, stat, from, "", &st);
	if (!err)
		err = dv_packed_layout(s, from, st.size, &all, &sums);
	if (err)
		return err;
	for (uint32_t i = 0; i < all.count && !err; i++) {
		struct dv_frame fr = dv_layout_frame(&all, i);
		if (fr.plain_len == s->config.frame_size && fr.stored_off == dv_tail_stored(t))
			err = dv_tail_add_frame(t, fr.stored_len, fr.plain_len, sums[i]);
		else if (i + 1 == all.count && fr.plain_len < s->config.frame_size)
			*last = fr;
		else
			err = -EOPNOTSUPP;
	}
	if (!err && (!t->frames.count || t->frames.count >= s->limits.frames_max))
		err = -EOPNOTSUPP;
	dv_layout_release(&all);
	return err;
}

/* Recovery finds frames by their own heads. */
static dv_err check_frames(struct dv_store *s, const struct dv_tail *t)
{
	struct dv_layout own;
	uint64_t end;
	bool cut;
	dv_layout_init(&own);
	dv_err err = dv_walk_own(s, t->packed->fd, (struct dv_range){0, dv_tail_stored(t)}, &own,
				 &end, &cut);
	if (!err && (own.count != t->frames.count ||
		     dv_layout_plain_size(&own) != dv_tail_plain(t) || end != dv_tail_stored(t)))
		err = -EOPNOTSUPP;
	dv_layout_release(&own);
	return err;
}

/* The plain bytes of the last frame become the segment. */
static dv_err take_rest(struct dv_store *s, int from, struct dv_tail *t,
			const struct dv_frame *last)
{
	DV_AUTO_FREE char *stored = malloc(last->stored_len);
	DV_AUTO_FREE char *plain = malloc(last->plain_len);
	dv_err err = dv_tail_add_segment(s, t);
	if (err || !last->plain_len)
		return err;
	if (!stored || !plain)
		return -ENOMEM;
	err = dv_read_full(s, from, stored, last->stored_len, last->stored_off);
	if (!err)
		err = dv_codec_decode(stored, last->stored_len, plain, last->plain_len);
	if (err)
		return err;
	ssize_t done = dv_tail_append(s, t, plain, last->plain_len);
	return done < 0 ? (dv_err)done : (size_t)done < last->plain_len ? -ENOSPC : 0;
}

dv_err dv_stage_copy_prepare(struct dv_store *s, struct dv_file *from, struct dv_stage_copy **out)
{
	struct dv_frame last;
	struct dv_stage_copy *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->id = dv_journal_new_id(s->journal);
	dv_err err = dv_stream_make_file(s, c->id, &c->packed);
	if (!err)
		err = dv_tail_new(s, c->packed, dv_journal_dirfd(s->journal), c->id, &c->tail);
	if (!err)
		err = take_frames(s, from->fd, c->tail, &last);
	if (!err)
		err = copy_bytes(s, from->fd, c->packed->fd, dv_tail_stored(c->tail));
	if (!err)
		err = check_frames(s, c->tail);
	if (!err)
		err = take_rest(s, from->fd, c->tail, &last);
	if (err)
		dv_stage_copy_discard(s, &c);
	*out = c;
	return err;
}

void dv_stage_copy_discard(struct dv_store *s, struct dv_stage_copy **copy)
{
	struct dv_stage_copy *c = dv_take_ptr(copy);
	char name[DV_TAIL_NAME];
	if (!c)
		return;
	dv_tail_packed_name(c->id, name);
	dv_ignore(
		DV_B(s, unlink, dv_journal_dirfd(s->journal), name)); /* swept by the next owner */
	if (c->tail)
		dv_tail_unlink(s, c->tail, NULL);
	dv_tail_free(s, c->tail);
	dv_file_unref(s, c->packed);
	free(c);
}

/* ---- begin ---- */

bool dv_stage_may_copy(const struct dv_store *s, const struct dv_node *n)
{
	const struct dv_stage *st = n->stage;
	if (!s->journal || !s->config.compress || s->options.shared || dv_is_sealed(s))
		return false;
	return st ? !st->tail && !st->in_place && !st->failed && !st->hidden && !st->ending[0] &&
			       st->replacement
		  : n->form == DV_FORM_RAW && !n->loser && !n->job;
}

/* May n, whose bytes are in f, become it? */
static bool is_fit(struct dv_store *s, struct dv_node *n, struct dv_file *f)
{
	struct dv_place p;
	const char *stored;
	struct dv_stat st, twin;
	if (dv_nopack_holds(s, n) || DV_B(s, stat, f->fd, "", &st) || st.size || st.nlink != 1 ||
	    dv_place_of(s, n, 0, &p, &stored))
		return false;
	bool fit = p.names.packed[0] && (n->form == DV_FORM_PACKED ||
					 DV_B(s, stat, p.dirfd, p.names.packed, &twin) == -ENOENT);
	dv_place_of_close(s, &p);
	return fit;
}

/* The files get the names by which the stage's record finds them. */
static dv_err take_names(struct dv_store *s, struct dv_stage_copy *c, uint64_t id)
{
	struct dv_segment *g = c->tail->first;
	char from[DV_TAIL_NAME], to[DV_TAIL_NAME];
	int dirfd = c->tail->dirfd;
	dv_err err = 0;
	if (c->id == id)
		return 0;
	for (; g && !err; g = g->next) {
		dv_tail_segment_name(id, g->start, to);
		err = DV_B(s, rename, dirfd, g->name, dirfd, to, RENAME_NOREPLACE);
		if (!err)
			strcpy(g->name, to);
	}
	dv_tail_packed_name(c->id, from);
	dv_tail_packed_name(id, to);
	if (!err)
		err = DV_B(s, rename, dirfd, from, dirfd, to, RENAME_NOREPLACE);
	if (!err)
		c->id = c->tail->id = id;
	return err;
}

static dv_err begin(struct dv_store *s, struct dv_node *n, struct dv_stage *stage,
		    struct dv_file *f, struct dv_stage_copy *c)
{
	struct dv_stat own;
	char name[DV_STAGE_NAME];
	bool had_file = stage->file != NULL;
	dv_err err = dv_stream_dress(s, f->fd, c->packed->fd, &own);
	if (!err)
		err = take_names(s, c, stage->id);
	if (err)
		return err;
	stage->tail = c->tail;
	err = dv_stage_write_record(s, n, stage);
	if (err) {
		stage->tail = NULL;
		return err;
	}
	if (had_file) { /* empty */
		dv_journal_stage_name(stage->id, name);
		dv_ignore(DV_B(s, unlink, c->tail->dirfd, name)); /* swept by the next owner */
	}
	dv_file_unref(s, stage->file);
	stage->file = dv_take_ptr(&c->packed);
	stage->named = true;
	c->tail = NULL;
	dv_stage_write_tag(s, n, stage, &own);
	return 0;
}

dv_err dv_stage_copy_begin(struct dv_store *s, struct dv_node *n, struct dv_stage_copy **copy)
{
	struct dv_stage_copy *c = *copy;
	struct dv_file *f = NULL;
	DV_AUTO_FREE struct dv_stage *fresh = NULL;
	struct dv_stage *stage = n->stage;
	uint64_t size = c->tail->size;
	dv_err err = dv_stage_may_copy(s, n) ? 0 : -EOPNOTSUPP;
	if (!err && stage) {
		f = stage->file;
		atomic_fetch_add(&f->refs, 1);
	} else if (!err) {
		stage = fresh = calloc(1, sizeof(*fresh));
		err = fresh ? dv_stream_lock_raw(s, n, fresh, &f) : -ENOMEM;
	}
	if (err == -EAGAIN || err == -ESTALE || (!err && !is_fit(s, n, f)))
		err = -EOPNOTSUPP;
	if (!err && fresh) {
		fresh->id = c->id;
		fresh->generation = n->generation;
		dv_stage_changed(fresh);
		atomic_init(&fresh->synced_writes, UINT64_MAX);
	}
	if (!err)
		err = begin(s, n, stage, f, c);
	if (err && fresh)
		dv_file_unref(s, fresh->locked);
	if (!err && fresh) {
		fresh->began_ns = dv_now_ns();
		n->stage = dv_take_ptr(&fresh);
		dv_count(s, pending, 1);
	}
	dv_file_unref(s, f);
	if (err) {
		dv_stage_copy_discard(s, copy);
		return err;
	}
	n->in_sequence = dv_sequence(0, size < UINT32_MAX ? (size_t)size : UINT32_MAX);
	atomic_store(&n->stage->synced_writes, UINT64_MAX);
	free(c);
	*copy = NULL;
	return 0;
}
