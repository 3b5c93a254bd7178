/* SPDX-License-Identifier: MIT */
/* walk_own.c - see walk_own.h. The format: walk.c. */
#include "core/walk_own.h"

#include "core/cleanup.h"
#include "core/codec.h"
#include "core/io.h"

#include <string.h>

#define WINDOW_BYTES (16u << 10)
#define BLOCK_RLE    1
#define BLOCK_MAX    (128u << 10)

struct window {
	struct dv_store *s;
	int fd;
	uint64_t size, off; /* of the file; of bytes[0] */
	size_t len;
	uint8_t bytes[WINDOW_BYTES];
};

enum { END, WHOLE, CUT };

/* `want` bytes at off, or as many as the file has. -> how many */
static ssize_t look_at(struct window *w, uint64_t off, size_t want, const uint8_t **out)
{
	uint64_t left = off < w->size ? w->size - off : 0;
	if (want > left)
		want = (size_t)left;
	if (off < w->off || off + want > w->off + w->len) {
		w->len = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
		w->off = off;
		dv_err err = dv_read_full(w->s, w->fd, w->bytes, w->len, off);
		if (err) {
			w->len = 0;
			return err;
		}
	}
	*out = w->bytes + (off - w->off);
	return (ssize_t)want;
}

/* The frame at off. -> END, WHOLE, CUT or an error. */
static int walk_frame(struct window *w, uint64_t off, uint64_t *end, uint64_t *plain_len)
{
	struct dv_frame_head head;
	const uint8_t *b;
	ssize_t have = look_at(w, off, DV_FRAME_HEAD_MAX, &b);
	if (have < 0)
		return (int)have;
	dv_err err = have ? dv_codec_head(b, (size_t)have, &head) : -EBADMSG;
	if (err)
		return err == -EAGAIN ? CUT : END;
	if (head.skip_len || head.dictionary || !head.has_checksum ||
	    head.plain_len == DV_PLAIN_UNKNOWN || head.plain_len > DV_FRAME_PLAIN_MAX)
		return END;
	*plain_len = head.plain_len;
	off += head.head_len;
	for (uint32_t block = 0; !(block & 1);) {
		have = look_at(w, off, 3, &b);
		if (have < 0)
			return (int)have;
		if (have < 3)
			return CUT;
		block = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16;
		unsigned type = block >> 1 & 3;
		if (type > 2 || block >> 3 > BLOCK_MAX)
			return END;
		off += 3 + (type == BLOCK_RLE ? 1 : block >> 3);
	}
	*end = off + 4; /* the checksum */
	return *end > w->size ? CUT : WHOLE;
}

dv_err dv_walk_own(struct dv_store *s, int fd, struct dv_range stored, struct dv_layout *out,
		   uint64_t *out_end, bool *out_cut)
{
	DV_AUTO_FREE struct window *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->s = s;
	w->fd = fd;
	w->size = stored.off + stored.len;
	int what = WHOLE;
	uint64_t off = stored.off;
	while (what == WHOLE && off < w->size) {
		uint64_t end = off, plain_len = 0;
		what = walk_frame(w, off, &end, &plain_len);
		if (what != WHOLE)
			break;
		dv_err err = dv_layout_add(out, end - off, plain_len);
		if (err)
			return err;
		if ((uint64_t)out->count * 16 > DV_LAYOUT_BYTES_MAX)
			return -EFBIG;
		off = end;
	}
	*out_end = off;
	*out_cut = what == CUT;
	return what < 0 ? what : 0;
}
