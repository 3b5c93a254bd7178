/* SPDX-License-Identifier: MIT */
/*
 * tail_frames.c - frames of what lies in a tail's segments, and the seek table. See tail.h.
 *
 *   take (gate shared) -> encode (no gate, all cores) -> put (gate exclusive): one write to the
 *   packed file
 */
#include "core/cleanup.h"
#include "core/codec.h"
#include "core/encode.h"
#include "core/io.h"
#include "core/meta.h"
#include "core/space.h"
#include "core/tail_private.h"

#include <string.h>

#define FRAMES_PER_THREAD 16
#define PAGE_BYTES	  4096u
#define SAMPLE_BYTES	  (1u << 20)
#define SAMPLE_SAVING	  20 /* one part in so many is saved, at least */

struct dv_tail_batch {
	struct dv_store *s;
	uint64_t serial, plain; /* of the tail; T */
	size_t slots, count;
	ssize_t bytes;		 /* of the frames, moved together; 0: they are not yet */
	size_t frame_size, room; /* plain; stored */
	char *plain_bytes, *stored_bytes;
	size_t *plain_len;
	ssize_t *stored_len; /* or -errno */
};

/* So many that threads which are done with theirs do not wait long for the last one, and no more
 * than a segment holds. */
static size_t slots_of(const struct dv_store *s)
{
	size_t slots = (size_t)dv_pool_width(s->pool) * FRAMES_PER_THREAD;
	size_t max = DV_ENCODE_BYTES_MAX / (2 * (size_t)s->config.frame_size);
	uint64_t segment = s->limits.segment_bytes / s->config.frame_size;
	if (segment && max > segment)
		max = (size_t)segment;
	return slots < max ? slots : max;
}

size_t dv_tail_batch_bytes(const struct dv_store *s)
{
	return slots_of(s) * s->config.frame_size;
}

dv_err dv_tail_batch_new(struct dv_store *s, struct dv_tail_batch **out)
{
	struct dv_tail_batch *b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->s = s;
	b->slots = slots_of(s);
	b->frame_size = s->config.frame_size;
	b->room = dv_codec_bound(b->frame_size);
	b->plain_bytes = malloc(b->slots * b->frame_size);
	b->stored_bytes = malloc(b->slots * b->room);
	b->plain_len = calloc(b->slots, sizeof(*b->plain_len));
	b->stored_len = calloc(b->slots, sizeof(*b->stored_len));
	if (!b->plain_bytes || !b->stored_bytes || !b->plain_len || !b->stored_len) {
		dv_tail_batch_free(b);
		return -ENOMEM;
	}
	*out = b;
	return 0;
}

void dv_tail_batch_free(struct dv_tail_batch *b)
{
	if (!b)
		return;
	free(b->plain_bytes);
	free(b->stored_bytes);
	free(b->plain_len);
	free(b->stored_len);
	free(b);
}

dv_err dv_tail_take(struct dv_store *s, struct dv_tail *t, bool rest, struct dv_tail_batch *b,
		    size_t *out_count)
{
	uint64_t left = t->size - dv_tail_plain(t);
	size_t bytes = b->slots * b->frame_size;
	if (left < bytes)
		bytes = (size_t)left;
	if (!rest)
		bytes -= bytes % b->frame_size;
	b->serial = t->serial;
	b->plain = dv_tail_plain(t);
	b->count = (bytes + b->frame_size - 1) / b->frame_size;
	b->bytes = 0;
	*out_count = b->count;
	for (size_t i = 0; i < b->count; i++)
		b->plain_len[i] = i + 1 < b->count ? b->frame_size : bytes - i * b->frame_size;
	return bytes ? dv_tail_read_plain(s, t, b->plain_bytes, bytes, b->plain) : 0;
}

static void encode_step(void *ctx, size_t i)
{
	struct dv_tail_batch *b = ctx;
	b->stored_len[i] = dv_codec_encode(b->s->config.level, b->plain_bytes + i * b->frame_size,
					   b->plain_len[i], b->stored_bytes + i * b->room, b->room);
}

void dv_tail_encode(struct dv_store *s, struct dv_tail_batch *b)
{
	dv_pool_map(s->pool, encode_step, b, b->count);
	dv_count(s, frames_encoded, b->count);
}

/* Moves the frames together. -> bytes in all, or -errno. */
static ssize_t close_up(struct dv_tail_batch *b)
{
	size_t at = 0;
	for (size_t i = 0; i < b->count && !b->bytes; i++) {
		if (b->stored_len[i] < 0)
			return b->stored_len[i];
		memmove(b->stored_bytes + at, b->stored_bytes + i * b->room,
			(size_t)b->stored_len[i]);
		at += (size_t)b->stored_len[i];
	}
	if (!b->bytes)
		b->bytes = (ssize_t)at;
	return b->bytes;
}

/* So that a sync finds little left to do. The last page will get more: a disk is not to see it twice. */
static void start_writing_out(struct dv_store *s, int fd, uint64_t off, uint64_t len)
{
	uint64_t from = off - off % PAGE_BYTES, to = off + len - (off + len) % PAGE_BYTES;
	if (to > from)
		DV_B(s, advise, fd, from, to - from, DV_ADVISE_WRITEOUT);
}

dv_err dv_tail_put(struct dv_store *s, struct dv_tail *t, struct dv_tail_batch *b)
{
	if (t->serial != b->serial || dv_tail_plain(t) != b->plain)
		return -ESTALE;
	ssize_t bytes = close_up(b);
	if (bytes < 0)
		return (dv_err)bytes;
	if (((uint64_t)t->frames.count + b->count) * 16 > DV_LAYOUT_BYTES_MAX)
		return -EFBIG;
	t->touched = true;
	dv_err err =
		dv_write_full(s, t->packed->fd, b->stored_bytes, (size_t)bytes, dv_tail_stored(t));
	/* What was there behind: to others who read it, frames are followed by nothing else. */
	if (!err && t->beyond)
		err = DV_B(s, truncate, t->packed->fd, dv_tail_stored(t) + (uint64_t)bytes);
	t->beyond &= err != 0;
	if (!err) {
		dv_space_rests(s, (uint64_t)bytes);
		start_writing_out(s, t->packed->fd, dv_tail_stored(t), (uint64_t)bytes);
	}
	size_t at = 0;
	for (size_t i = 0; i < b->count && !err; i++) {
		size_t len = (size_t)b->stored_len[i];
		err = dv_tail_add_frame(t, len, b->plain_len[i],
					dv_codec_checksum(b->stored_bytes + at, len));
		at += len;
	}
	return err;
}

bool dv_tail_is_single(const struct dv_store *s, const struct dv_tail *t)
{
	return t->frames.count == 1 && t->size <= s->config.frame_size;
}

static dv_err write_table(struct dv_store *s, struct dv_tail *t)
{
	uint64_t end = dv_tail_stored(t);
	if (!dv_tail_is_single(s, t)) {
		dv_err err = dv_write_table(s, t->packed->fd, &t->frames, t->checksums, end);
		if (err)
			return err;
		end += dv_table_bytes(t->frames.count, true);
		t->beyond = true;
	}
	return DV_B(s, truncate, t->packed->fd, end);
}

/* Segments hold bytes before `plain` no more: they are in frames, or in memory to become some. What a
 * journalling filesystem frees may be had only after a commit. */
static void give_back(struct dv_store *s, struct dv_tail *t, uint64_t plain)
{
	(void)dv_tail_drop(s, t, plain, true);
	dv_tail_punch(s, t, plain);
	dv_ignore(DV_B(s, fsync, t->packed->fd));
}

/* Puts b, or without b the table; where there is no room for it, in that of what it is made of. */
static dv_err put_in_its_place(struct dv_store *s, struct dv_tail *t, struct dv_tail_batch *b)
{
	uint64_t plain = b ? b->plain : t->size;
	dv_err err = b ? dv_tail_put(s, t, b) : write_table(s, t);
	if (!t->nameless || !dv_space_is_short(err))
		return err;
	for (size_t i = 0; b && i < b->count; i++)
		plain += b->plain_len[i];
	give_back(s, t, plain);
	return b ? dv_tail_put(s, t, b) : write_table(s, t);
}

dv_err dv_tail_finish(struct dv_store *s, struct dv_tail *t)
{
	struct dv_tail_batch *b = NULL;
	size_t count = 1;
	dv_err err = dv_tail_batch_new(s, &b);
	t->touched = true;
	while (!err && (dv_tail_plain(t) < t->size || !t->frames.count)) {
		err = dv_tail_take(s, t, true, b, &count);
		if (!count) /* nothing is an empty frame */
			b->count = 1, b->plain_len[0] = 0;
		if (err)
			break;
		dv_tail_encode(s, b);
		err = put_in_its_place(s, t, b);
	}
	dv_tail_batch_free(b);
	return err ? err : put_in_its_place(s, t, NULL);
}

dv_err dv_tail_complete(struct dv_store *s, struct dv_tail *t)
{
	struct dv_stat shown;
	int fd = t->packed->fd;
	dv_err err = dv_tail_finish(s, t);
	if (!err)
		err = DV_B(s, stat, fd, "", &shown);
	if (!err)
		err = dv_tail_stat(s, t, &shown);
	if (err)
		return err;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, shown.mtime};
	dv_ignore(DV_B(s, utimens, fd, times)); /* not the owner: it moves to now */
	return 0;
}

void dv_tail_tag(struct dv_store *s, const struct dv_tail *t, const struct dv_tag *of)
{
	struct dv_tag tag = *of;
	struct dv_stat st;
	if (DV_B(s, stat, t->packed->fd, "", &st))
		return; /* without it sizes come from the frames */
	struct dv_ident id = dv_ident_of(&st);
	tag.has_size = true;
	tag.plain_size = t->size;
	tag.stored_size = st.size;
	tag.single = dv_tail_is_single(s, t);
	tag.mtime = st.mtime;
	dv_tag_store(s, t->packed->fd, &id, &tag);
}

dv_err dv_tail_sample(struct dv_store *s, int fd, uint64_t size, bool *out)
{
	size_t frame = s->config.frame_size, room = dv_codec_bound(frame);
	uint64_t end = size < SAMPLE_BYTES ? size : SAMPLE_BYTES, stored = 0;
	DV_AUTO_FREE char *buf = malloc(frame + room);
	*out = false;
	if (!buf)
		return -ENOMEM;
	if (end > frame) /* whole frames are what is asked about */
		end -= end % frame;
	for (uint64_t at = 0; at < end;) {
		size_t len = end - at < frame ? (size_t)(end - at) : frame;
		dv_err err = dv_read_full(s, fd, buf, len, at);
		if (err)
			return err;
		ssize_t n = dv_codec_encode(s->config.level, buf, len, buf + frame, room);
		if (n < 0)
			return (dv_err)n;
		stored += (uint64_t)n;
		at += len;
	}
	*out = end && stored <= end - end / SAMPLE_SAVING;
	return 0;
}
