/* SPDX-License-Identifier: MIT */
/*
 * stage_append.c - bytes are added to a packed value. See stage.h.
 *
 *   object   [ frame ] ... [ frame ][ last frame, less than whole ][ table ]
 *                                  S, T
 *   segment                        [ its plain bytes ]              kept until the commit
 *   segments                                          [ added bytes ] ...
 *
 * From S on the object is written anew: whole frames while bytes come in, at the commit the rest
 * and the table. Before the first byte changes, the segment of the last frame and the TAIL record
 * are durable (I4): recovery makes the same again of what is there. So a commit writes what was
 * added, one frame and the table, however large the value, and as many small additions as one likes
 * leave frames that are whole.
 *
 * The object is flocked exclusively meanwhile: another mount that wants to add to it unpacks it.
 */
#include "core/cleanup.h"
#include "core/codec.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/meta.h"
#include "core/nopack.h"
#include "core/owner.h"
#include "core/packed.h"
#include "core/stage_private.h"
#include "core/value.h"

#include <string.h>
#include <sys/file.h>

#define LOCK_SOON_MS 100 /* with the gate held */

/* Opens and locks the object. One of our own descriptors of it may be about to be closed, so the lock is
 * waited for a moment. -EOPNOTSUPP: it is not to be added to, or another mount is changing it. */
static dv_err open_object(struct dv_store *s, struct dv_node *n, struct dv_file **out)
{
	struct dv_place p;
	struct dv_found found;
	const char *stored;
	struct dv_stat st;
	dv_err err = dv_place_of(s, n, 0, &p, &stored);
	if (err)
		return err;
	int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK;
	int fd = DV_B(s, open, p.dirfd, stored, flags | O_NOATIME, 0);
	if (fd == -EPERM) /* the owner's right */
		fd = DV_B(s, open, p.dirfd, stored, flags, 0);
	err = fd < 0 || dv_lock_wait(s, fd, LOCK_EX, LOCK_SOON_MS) ? -EOPNOTSUPP : 0;
	if (!err)
		err = DV_B(s, stat, fd, "", &st);
	if (!err) /* who had it locked may have put another one in its place, or beside it */
		err = dv_place_find_known(s, &p, &found);
	dv_place_of_close(s, &p);
	if (!err) {
		struct dv_ident id = dv_ident_of(&st), now = dv_ident_of(&found.st);
		if (!dv_ident_equal(&id, &n->id) || !dv_ident_equal(&now, &n->id))
			err = -ESTALE;
	}
	if (!err)
		err = dv_owners_dead_before(s, n);
	if (err) {
		if (fd >= 0)
			DV_B(s, close, fd);
		return err == -ENOENT ? -ESTALE : err;
	}
	*out = dv_file_new(s, fd, false);
	return *out ? 0 : -ENOMEM;
}

/* All frames of the object but a last one that is less than whole, whose place *last tells. */
static dv_err load_frames(struct dv_store *s, struct dv_tail *t, struct dv_frame *last)
{
	struct dv_layout all;
	struct dv_stat st;
	DV_AUTO_FREE uint32_t *sums = NULL;
	*last = (struct dv_frame){0};
	dv_err err = DV_B(s, stat, t->packed->fd, "", &st);
	if (!err)
		err = dv_packed_layout(s, t->packed->fd, st.size, &all, &sums);
	if (err)
		return err;
	for (uint32_t i = 0; i < all.count && !err; i++) {
		struct dv_frame fr = dv_layout_frame(&all, i);
		if (i + 1 == all.count && fr.plain_len < s->config.frame_size)
			*last = fr;
		else
			err = dv_tail_add_frame(t, fr.stored_len, fr.plain_len, sums[i]);
	}
	dv_layout_release(&all);
	return err;
}

/* The plain bytes of the last frame become the first segment. */
static dv_err keep_last_frame(struct dv_store *s, struct dv_tail *t, const struct dv_frame *last)
{
	DV_AUTO_FREE char *stored = malloc(last->stored_len);
	DV_AUTO_FREE char *plain = malloc(last->plain_len);
	if (!stored || !plain)
		return -ENOMEM;
	dv_err err = dv_read_full(s, t->packed->fd, stored, last->stored_len, last->stored_off);
	if (!err)
		err = dv_codec_decode(stored, last->stored_len, plain, last->plain_len);
	if (!err)
		err = dv_tail_add_segment(s, t);
	if (err)
		return err;
	ssize_t done = dv_tail_append(s, t, plain, last->plain_len);
	t->last->kept = true;
	return done < 0 ? (dv_err)done : (size_t)done < last->plain_len ? -ENOSPC : 0;
}

dv_err dv_append_record(struct dv_store *s, struct dv_node *n, struct dv_stage *stage)
{
	struct dv_record r = {.id = stage->id,
			      .type = DV_RECORD_TAIL,
			      .flags = stage->durable ? DV_RECORD_DURABLE : 0,
			      .packed = n->id,
			      .st_ino = n->ino,
			      .raw.ino = stage->mark,
			      .raw_version.size = stage->from.off,
			      .stored_from = stage->from.len};
	return dv_record_append(s, n, &r);
}

/* What of an append can not be begun is removed. */
static void undo(struct dv_store *s, struct dv_stage *stage)
{
	if (stage->tail)
		dv_tail_unlink(s, stage->tail, NULL);
	dv_tail_free(s, stage->tail);
	dv_file_unref(s, stage->file);
}

static bool is_not_for_us(dv_err err)
{
	return err == -EOPNOTSUPP || err == -EFBIG || err == -EBADMSG;
}

static dv_err begin(struct dv_store *s, struct dv_node *n, struct dv_stage *stage)
{
	struct dv_frame last;
	dv_err err = open_object(s, n, &stage->file);
	if (err)
		return err;
	stage->id = dv_journal_new_id(s->journal);
	err = dv_tail_new(s, stage->file, dv_journal_dirfd(s->journal), stage->id, &stage->tail);
	if (!err)
		err = load_frames(s, stage->tail, &last);
	if (!err)
		stage->tail->beyond = true;
	if (!err && last.plain_len)
		err = keep_last_frame(s, stage->tail, &last);
	if (!err)
		err = dv_tail_add_segment(s, stage->tail);
	/* A value that was not written since keeps its time until it is. */
	struct dv_stat st;
	if (!err)
		err = DV_B(s, stat, stage->file->fd, "", &st);
	if (!err) {
		struct timespec times[2] = {st.atime, st.mtime};
		err = DV_B(s, utimens, stage->tail->last->file->fd, times);
	}
	if (err)
		return err;
	stage->began_size = stage->tail->size;
	stage->from = (struct dv_range){dv_tail_plain(stage->tail), dv_tail_stored(stage->tail)};
	err = dv_tail_mark(s, stage->file->fd, stage->from.len, &stage->mark);
	return err ? err : dv_append_record(s, n, stage);
}

dv_err dv_stage_extend(struct dv_store *s, struct dv_node *n, bool *began)
{
	*began = false;
	if (!s->journal || !s->config.compress || s->options.shared || n->loser ||
	    dv_nopack_holds(s, n))
		return 0;
	DV_AUTO_FREE struct dv_stage *stage = calloc(1, sizeof(*stage));
	if (!stage)
		return -ENOMEM;
	stage->appends = stage->in_place = true;
	stage->began_ns = dv_now_ns();
	atomic_init(&stage->synced_writes, UINT64_MAX);
	dv_err err = begin(s, n, stage);
	if (err) {
		undo(s, stage);
		return is_not_for_us(err) ? 0 : err;
	}
	stage->named = true;
	n->stage = dv_take_ptr(&stage);
	n->writes++;
	dv_count(s, pending, 1);
	*began = true;
	return 0;
}

bool dv_stage_append_pays(const struct dv_stage *st)
{
	const struct dv_tail *t = st->tail;
	uint64_t cost = dv_table_bytes(t->frames.count, true) + DV_APPEND_COST;
	return t->size - st->began_size < DV_APPEND_LITTLE ||
	       (dv_tail_stored(t) - st->from.len) / DV_APPEND_SHARE >= cost;
}

static void end(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	dv_journal_end(s, stage->id);
	/* Else recovery would look for segments that are gone: it finds the object whole, too. */
	dv_ignore(dv_journal_sync(s));
	dv_tail_unlink(s, stage->tail, NULL);
	stage->named = false;
	dv_stage_end(s, n);
}

dv_err dv_append_commit(struct dv_store *s, struct dv_node *n)
{
	struct dv_stage *stage = n->stage;
	struct dv_tail *t = stage->tail;
	if (!t->touched && t->size == stage->began_size) { /* nothing came */
		end(s, n);
		return 0;
	}
	dv_err err = dv_append_make_ready(s, n); /* I4 */
	if (!err)
		err = dv_stage_finish(s, n);
	if (err)
		return err;
	dv_stage_became_packed(s, n);
	dv_node_drop_file(s, n); /* it may be one for reading only: the next one is like it */
	dv_count(s, appended, 1);
	end(s, n);
	dv_tell_changed(s, n);
	return 0;
}
