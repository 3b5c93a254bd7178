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

#include <string.h>

#define WINDOW_BYTES   (16u << 10)
#define BLOCK_RLE      1
#define BLOCK_RESERVED 3

struct window {
	struct dv_store *s;
	int fd;
	uint64_t size, off; /* of the file; of bytes[0] */
	uint64_t decoded;   /* plain bytes, to find sizes */
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
		w->len = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
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

/* The end of the zstd frame whose blocks begin at off. */
static dv_err walk_blocks(struct window *w, uint64_t off, bool checksum, uint64_t *out_end)
{
	for (;;) {
		const uint8_t *b;
		ssize_t have = look_at(w, off, 3, &b);
		if (have < 0)
			return (dv_err)have;
		if (have < 3)
			return -EBADMSG;
		uint32_t head = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16;
		unsigned type = head >> 1 & 3;
		if (type == BLOCK_RESERVED)
			return -EBADMSG;
		off += 3 + (type == BLOCK_RLE ? 1 : head >> 3);
		if (off > w->size)
			return -EBADMSG;
		if (head & 1)
			break;
	}
	off += checksum ? 4 : 0;
	if (off > w->size)
		return -EBADMSG;
	*out_end = off;
	return 0;
}

/* Plain bytes of the frame [off, end), by decoding it. */
static dv_err count_plain(struct window *w, uint64_t off, uint64_t end, uint64_t *out)
{
	enum { IN = 64 << 10, OUT = 128 << 10 };
	struct dv_decoder *d = NULL;
	DV_AUTO_FREE char *buf = malloc(IN + OUT);
	dv_err err = buf ? dv_decoder_new(&d) : -ENOMEM;
	*out = 0;
	while (!err && off < end) {
		size_t len = end - off < IN ? (size_t)(end - off) : IN, pos = 0;
		err = dv_read_full(w->s, w->fd, buf, len, off);
		while (!err) {
			int done = 0;
			ssize_t n = dv_decoder_step(d, buf, len, &pos, buf + IN, OUT, &done);
			if (n < 0)
				err = (dv_err)n;
			else
				*out += (uint64_t)n, w->decoded += (uint64_t)n;
			if (n <= 0 && pos == len)
				break;
			if (*out > UINT32_MAX ||
			    w->decoded >
				    DV_WALK_DECODED_MAX) /* no layout holds more in one frame */
				err = err ? err : -EFBIG;
		}
		off += len;
	}
	dv_decoder_free(&d);
	return err;
}

static dv_err walk_frame(struct window *w, uint64_t *off, struct dv_layout *out)
{
	struct dv_frame_head head;
	const uint8_t *b;
	ssize_t have = look_at(w, *off, DV_FRAME_HEAD_MAX, &b);
	if (have < 0)
		return (dv_err)have;
	dv_err err = dv_codec_head(
		b, (size_t)have < DV_FRAME_HEAD_MAX ? (size_t)have : DV_FRAME_HEAD_MAX, &head);
	if (err)
		return err == -EAGAIN ? -EBADMSG : err;
	uint64_t end = 0;
	if (head.skip_len) {
		if (head.skip_len > w->size - *off)
			return -EBADMSG;
		end = *off + head.skip_len;
		head.plain_len = 0;
	} else {
		if (head.dictionary)
			return -EOPNOTSUPP;
		err = walk_blocks(w, *off + head.head_len, head.has_checksum, &end);
		if (!err && head.plain_len == DV_PLAIN_UNKNOWN)
			err = count_plain(w, *off, end, &head.plain_len);
	}
	if (!err)
		err = dv_layout_add(out, end - *off, head.plain_len);
	*off = end;
	return err;
}

dv_err dv_walk_frames(struct dv_store *s, int fd, uint64_t size, uint64_t bytes_max,
		      struct dv_layout *out)
{
	DV_AUTO_FREE struct window *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->s = s;
	w->fd = fd;
	w->size = size;
	uint64_t off = 0;
	dv_err err = size ? 0 : -EBADMSG; /* an empty file is not a frame */
	while (!err && off < size) {
		err = walk_frame(w, &off, out);
		if (!err && dv_layout_bytes(out) > bytes_max)
			err = -EFBIG;
	}
	return err;
}
