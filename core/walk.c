/* SPDX-License-Identifier: MIT */
/*
 * walk.c - see walk.h.
 *
 *   zstd frame    head | block | block | ... | [u32 checksum]
 *   block         u24: bit 0 last, bits 1-2 type (0 raw, 1 RLE, 2 compressed), bits 3-23 size;
 *                 RLE stores one byte
 */
#include "core/walk.h"

#include "core/cleanup.h"
#include "core/codec.h"
#include "core/io.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WINDOW_BYTES (16u << 10)
#define FAR_BYTES    512u /* read where the next header lies far from the last */
#define DECODE_IN    (64u << 10)
#define DECODE_OUT   (128u << 10)
#define DECODER_KEPT                                                                               \
	(4u                                                                                        \
	 << 20) /* bytes of one that is kept without the lock; a window of 2 MiB is what zstd takes in a pipe */
#define BLOCK_RLE      1
#define BLOCK_RESERVED 3
#define BLOCK_PLAIN    (128u << 10) /* at most */
#define LEGACY_FIRST   0xFD2FB522u  /* zstd 0.2; 0.7 is the last */
#define LEGACY_LAST    0xFD2FB527u
#define LEGACY_0_1     0xFD2FB51Eu

struct window {
	struct dv_store *s;
	int fd;
	struct dv_walk *out;
	uint64_t size, off; /* of the file; of bytes[0] */
	uint64_t decoded;   /* plain bytes, to find sizes */
	uint64_t steps;
	bool nowait;
	struct dv_decoder *decoder; /* NULL: none yet */
	char *buf;		    /* what it is given, and gives */
	size_t len;
	uint8_t bytes[WINDOW_BYTES];
};

/* At least `want` bytes at off where the file has them. -> bytes there are. */
static ssize_t look_at(struct window *w, uint64_t off, size_t want, const uint8_t **out)
{
	if (off >= w->size)
		return 0;
	if (want > w->size - off)
		want = (size_t)(w->size - off);
	if (off < w->off || off + want > w->off + w->len) {
		uint64_t left = w->size - off;
		bool far = off < w->off || off - w->off > 2 * (uint64_t)WINDOW_BYTES;
		uint64_t most = far ? FAR_BYTES : WINDOW_BYTES;
		w->len = (size_t)(left < most ? left : most);
		w->off = off;
		dv_err err = dv_read_full(w->s, w->fd, w->bytes, w->len, off);
		if (err) {
			w->len = 0;
			return err;
		}
	}
	*out = w->bytes + (off - w->off);
	return (ssize_t)(w->off + w->len - off);
}

/* What is wrong, for people; the first reason stays. */
static dv_err bad(struct window *w, dv_err err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static dv_err bad(struct window *w, dv_err err, const char *fmt, ...)
{
	va_list ap;
	if (w->out->why[0])
		return err;
	va_start(ap, fmt);
	vsnprintf(w->out->why, sizeof(w->out->why), fmt, ap);
	va_end(ap);
	return err;
}

static dv_err too_many_steps(struct window *w)
{
	if (++w->steps <= DV_WALK_STEPS_MAX)
		return 0;
	return bad(w, -EFBIG, "more than %" PRIu64 " blocks", (uint64_t)DV_WALK_STEPS_MAX);
}

/* The end of the zstd frame at start whose blocks begin at off, and how many those are. */
static dv_err walk_blocks(struct window *w, uint64_t start, uint64_t off, bool checksum,
			  uint64_t *out_end, uint64_t *out_blocks)
{
	for (*out_blocks = 1;; ++*out_blocks) {
		const uint8_t *b;
		ssize_t have = look_at(w, off, 3, &b);
		if (have < 0)
			return (dv_err)have;
		if (have < 3)
			return bad(w, -EBADMSG, "the frame at byte %" PRIu64 " is cut off", start);
		uint32_t head = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16;
		unsigned type = head >> 1 & 3;
		if (type == BLOCK_RESERVED)
			return bad(w, -EBADMSG, "no block at byte %" PRIu64, off);
		off += 3 + (type == BLOCK_RLE ? 1 : head >> 3);
		dv_err err = too_many_steps(w);
		if (err)
			return err;
		if (off > w->size)
			return bad(w, -EBADMSG, "the frame at byte %" PRIu64 " is cut off", start);
		if (head & 1)
			break;
	}
	off += checksum ? 4 : 0;
	if (off > w->size)
		return bad(w, -EBADMSG, "the frame at byte %" PRIu64 " is cut off", start);
	*out_end = off;
	return 0;
}

/* The most that may be decoded of this file to find sizes. */
static uint64_t decoded_max(const struct window *w)
{
	const uint64_t gain_from = UINT64_C(1)
				   << 56; /* no file is so large; keeps the sum in range */
	return DV_WALK_DECODED_MAX + (w->size < gain_from ? w->size : gain_from) * DV_WALK_GAIN_MAX;
}

/* One for all frames of the walk, for to make one takes longer than to decode a small frame. */
static dv_err have_decoder(struct window *w)
{
	if (!w->buf)
		w->buf = malloc(DECODE_IN + DECODE_OUT);
	return !w->buf ? -ENOMEM : w->decoder ? 0 : dv_decoder_new(&w->decoder);
}

static dv_err decode_to_count(struct window *w, uint64_t off, uint64_t end, uint64_t *out)
{
	uint64_t start = off;
	dv_err err = have_decoder(w);
	*out = 0;
	while (!err && off < end) {
		size_t len = end - off < DECODE_IN ? (size_t)(end - off) : DECODE_IN, pos = 0;
		err = dv_read_full(w->s, w->fd, w->buf, len, off);
		while (!err) {
			int done = 0;
			ssize_t n = dv_decoder_step(w->decoder, w->buf, len, &pos,
						    w->buf + DECODE_IN, DECODE_OUT, &done);
			if (n < 0)
				err = bad(w, (dv_err)n, "damaged near byte %" PRIu64, off + pos);
			else
				*out += (uint64_t)n, w->decoded += (uint64_t)n;
			if (n <= 0 && pos == len)
				break;
			if (!err && w->decoded > decoded_max(w))
				err = bad(w, -EFBIG,
					  "the frame at byte %" PRIu64
					  " tells no size and is too large to find it",
					  start);
		}
		off += len;
	}
	return err;
}

/* Plain bytes of the frame [off, end), by decoding it. Not by several threads: each takes a window
 * of memory. */
static dv_err count_plain(struct window *w, uint64_t off, uint64_t end, uint64_t *out)
{
	pthread_mutex_lock(&w->s->bulk_lock);
	dv_err err = decode_to_count(w, off, end, out);
	if (err || (w->decoder && dv_decoder_bytes(w->decoder) > DECODER_KEPT))
		dv_decoder_free(&w->decoder);
	pthread_mutex_unlock(&w->s->bulk_lock);
	return err;
}

static uint32_t get_u32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* No head of a frame at off. */
static dv_err not_a_frame(struct window *w, uint64_t off, const uint8_t *b, ssize_t have)
{
	uint32_t magic = have >= 4 ? get_u32(b) : 0;
	if (magic == LEGACY_0_1 || (magic >= LEGACY_FIRST && magic <= LEGACY_LAST))
		return bad(
			w, -EBADMSG,
			"format of zstd 0.%u, which is not read: unpack it with zstd and pack it "
			"again",
			magic == LEGACY_0_1 ? 1 : magic - LEGACY_FIRST + 2);
	if (off == 0)
		return bad(w, -EBADMSG, "not a zstd file");
	return bad(w, -EBADMSG, "what follows the frames, from byte %" PRIu64 ", is not zstd", off);
}

/* What can not be decoded though it may be good. */
static dv_err refuse_head(struct window *w, const struct dv_frame_head *head)
{
	if (head->dictionary)
		return bad(w, -EOPNOTSUPP, "it needs the dictionary %" PRIu32 " (0x%" PRIx32 ")",
			   head->dictionary, head->dictionary);
	if (head->window > DV_WINDOW_MAX)
		return bad(w, -EFBIG,
			   "its window of %" PRIu64 " bytes is over %" PRIu64 " (--long=27)",
			   head->window, (uint64_t)DV_WINDOW_MAX);
	return 0;
}

/* off: of the frame; then of what follows it. */
static dv_err walk_frame(struct window *w, uint64_t *off, uint64_t *plain_len)
{
	struct dv_frame_head head;
	const uint8_t *b = NULL;
	uint64_t end = 0, blocks = 0;
	ssize_t have = look_at(w, *off, DV_FRAME_HEAD_MAX, &b);
	if (have < 0)
		return (dv_err)have;
	dv_err err = dv_codec_head(
		b, (size_t)have < DV_FRAME_HEAD_MAX ? (size_t)have : DV_FRAME_HEAD_MAX, &head);
	if (err == -EBADMSG || (err && have < 4))
		return not_a_frame(w, *off, b, have);
	if (err)
		return bad(w, -EBADMSG, "the frame at byte %" PRIu64 " is cut off", *off);
	*plain_len = head.skip_len ? 0 : head.plain_len;
	if (head.skip_len) {
		if (head.skip_len > w->size - *off)
			return bad(w, -EBADMSG, "the frame at byte %" PRIu64 " is cut off", *off);
		*off += head.skip_len;
		return 0;
	}
	err = walk_blocks(w, *off, *off + head.head_len, head.has_checksum, &end, &blocks);
	if (!err && head.plain_len != DV_PLAIN_UNKNOWN && head.plain_len > blocks * BLOCK_PLAIN)
		err = bad(w, -EBADMSG,
			  "the frame at byte %" PRIu64 " claims %" PRIu64 " bytes in %" PRIu64
			  " blocks",
			  *off, head.plain_len, blocks);
	if (!err) /* after the blocks: a damaged head may well ask for anything */
		err = refuse_head(w, &head);
	/* A frame of no bytes is never read: that it has none is found here. */
	bool unknown = head.plain_len == DV_PLAIN_UNKNOWN, empty = head.plain_len == 0;
	if (!err && w->nowait && (unknown || (empty && blocks > 1)))
		err = -EAGAIN;
	else if (!err && (unknown || empty))
		err = count_plain(w, *off, end, plain_len);
	w->out->decoded |= unknown;
	*off = end;
	return err;
}

/* Enters a frame, unless there are too many for a layout. */
static dv_err add_frame(struct window *w, uint64_t stored_len, uint64_t plain_len)
{
	struct dv_walk *o = w->out;
	if (plain_len > (uint64_t)INT64_MAX - o->plain_size)
		return bad(w, -EFBIG, "more than 2^63 bytes");
	o->plain_size += plain_len;
	o->frames++;
	if (o->stream)
		return 0;
	dv_err err = dv_layout_add(&o->layout, stored_len, plain_len);
	if (err == -EFBIG || (!err && dv_layout_bytes(&o->layout) > DV_LAYOUT_BYTES_MAX)) {
		dv_layout_release(&o->layout);
		o->stream = true;
		return 0;
	}
	return err;
}

dv_err dv_walk_frames(struct dv_store *s, int fd, uint64_t size, bool nowait, struct dv_walk *out)
{
	*out = (struct dv_walk){0};
	DV_AUTO_FREE struct window *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->s = s;
	w->fd = fd;
	w->out = out;
	w->nowait = nowait;
	w->size = size;
	uint64_t off = 0;
	dv_err err = size ? 0 : bad(w, -EBADMSG, "an empty file is not a zstd file");
	while (!err && off < size) {
		uint64_t start = off, plain_len = 0;
		err = too_many_steps(w);
		if (!err)
			err = walk_frame(w, &off, &plain_len);
		if (!err)
			err = add_frame(w, off - start, plain_len);
	}
	if (!err && out->decoded && out->frames > 1) {
		dv_layout_release(&out->layout);
		out->stream = true;
	}
	if (err) {
		dv_layout_release(&out->layout);
		out->stream = out->decoded = false;
	}
	dv_decoder_free(&w->decoder);
	free(w->buf);
	return err;
}
