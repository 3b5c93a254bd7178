/* SPDX-License-Identifier: MIT */
/*
 * verify_members.c - see verify_members.h.
 *
 *   | member | member | damage ... 1f 8b 08 ... | member |
 *     decoded  decoded  searched: each place with a member's first bytes is decoded in vain, or whole
 *
 * A crafted file can have such places without end: what is decoded in vain is bounded by the size of
 * the file (VAIN_GAIN), a place counts as VAIN_LEAST bytes at least.
 */
#include "core/verify_members.h"

#include "core/cleanup.h"
#include "core/deflate.h"
#include "core/io.h"
#include "core/walk.h"

#include <string.h>

#define IN_BYTES   (64u << 10)
#define OUT_BYTES  (128u << 10)
#define VAIN_GAIN  16u
#define VAIN_BYTES (16u << 20) /* of a small file */
#define VAIN_LEAST 4096u       /* what is read first of a place */
#define HEAD_BYTES 4u	       /* two of magic, deflate, flags of which three bits are none */
#define NO_FLAGS   0xe0u

struct members {
	struct dv_store *s;
	const struct dv_scan_file *file;
	uint64_t off;	      /* of the place that is looked at */
	uint64_t len, plain;  /* of the member that is there */
	uint64_t plain_at;    /* before off, as long as .. */
	bool placed;	      /* ..nothing is missing before it */
	uint64_t vain, found; /* plain and stored bytes decoded: in vain, and of whole ones */
	struct dv_range held; /* what of the file search() has in the scan's buffer */
	uint8_t in[IN_BYTES], out[OUT_BYTES];
};

static bool is_used_up(const struct members *m)
{
	return m->vain > m->file->size * VAIN_GAIN + VAIN_BYTES ||
	       m->found > DV_WALK_DECODED_MAX + m->file->size * DV_WALK_GAIN_MAX;
}

/* Decodes in m->in[0..len), which lies at m->off + m->len, and stops behind the member. */
static dv_err decode_some(struct members *m, struct dv_inflater *i, size_t len, int *done)
{
	size_t pos = 0;
	while (!*done) {
		size_t before = pos;
		ssize_t n = dv_inflater_step(i, m->in, len, &pos, m->out, OUT_BYTES, done);
		if (n < 0)
			return (dv_err)n;
		m->plain += (uint64_t)n;
		m->len += pos - before;
		if (m->plain > DV_WALK_DECODED_MAX + m->file->size * DV_WALK_GAIN_MAX)
			return -EFBIG;
		if (!*done && pos == len && n < (ssize_t)OUT_BYTES)
			return 0;
		if (!*done && !n && pos == before)
			return -EBADMSG;
	}
	return 0;
}

/* Is a whole member at m->off? -EBADMSG: no. Sets len and plain. */
static dv_err look_at(struct members *m)
{
	struct dv_inflater *i = NULL;
	dv_err err = dv_inflater_new(&m->s->coding, &i);
	int done = 0;
	m->len = m->plain = 0;
	while (!err && !done && m->off + m->len < m->file->size) {
		uint64_t left = m->file->size - m->off - m->len;
		size_t most = m->len ? IN_BYTES : VAIN_LEAST;
		size_t len = left < most ? (size_t)left : most;
		err = dv_read_full(m->s, m->file->fd, m->in, len, m->off + m->len);
		if (!err)
			err = decode_some(m, i, len, &done);
	}
	dv_inflater_free(&i);
	if (err == -EOPNOTSUPP || err == -EFBIG || (!err && !done))
		err = -EBADMSG;
	if (err == -EBADMSG)
		m->vain += m->len + m->plain + VAIN_LEAST;
	else
		m->found += m->plain;
	return err;
}

static bool is_head(const uint8_t *p)
{
	return p[0] == 0x1f && p[1] == 0x8b && p[2] == 8 && !(p[3] & NO_FLAGS);
}

/* The bytes of the file from m->off on, some HEAD_BYTES at least. */
static dv_err hold(struct members *m, uint8_t *buf)
{
	uint64_t left = m->file->size - m->off;
	if (m->off >= m->held.off && m->off + HEAD_BYTES <= m->held.off + m->held.len)
		return 0;
	m->held = (struct dv_range){m->off, left < DV_SCAN_BYTES ? left : DV_SCAN_BYTES};
	dv_err err = dv_read_full(m->s, m->file->fd, buf, (size_t)m->held.len, m->off);
	if (err)
		m->held.len = 0;
	return err;
}

/* Moves m->off on to the next place that has the first bytes of a member, or to the end. */
static dv_err search(struct members *m, struct dv_scan *scan)
{
	uint8_t *buf = dv_scan_buffer(scan);
	while (m->off + HEAD_BYTES <= m->file->size) {
		dv_err err = hold(m, buf);
		if (err)
			return err;
		const uint8_t *at = buf + (m->off - m->held.off);
		const uint8_t *end = buf + m->held.len - HEAD_BYTES + 1;
		while ((at = memchr(at, 0x1f, (size_t)(end - at))) && !is_head(at))
			at++;
		m->off = m->held.off + (uint64_t)((at ? at : end) - buf);
		if (at)
			return 0;
	}
	m->off = m->file->size;
	return 0;
}

static dv_err take(struct members *m, const struct dv_scan_ops *ops, struct dv_scan_result *out)
{
	const struct dv_scan_frame f = {.off = m->off,
					.len = m->len,
					.plain_off = m->plain_at,
					.plain_len = m->plain,
					.placed = m->placed};
	out->frames++;
	out->plain += m->plain;
	m->plain_at += m->plain;
	m->off += m->len;
	return ops->frame ? ops->frame(ops->self, &f) : 0;
}

dv_err dv_scan_members(struct dv_store *s, struct dv_scan *scan, const struct dv_scan_file *file,
		       const struct dv_scan_ops *ops, struct dv_scan_result *out)
{
	*out = (struct dv_scan_result){.frames_end = file->size};
	if (s->coding.kind != DV_CODING_GZIP)
		return 0;
	DV_AUTO_FREE struct members *m = malloc(sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct members){.s = s, .file = file, .placed = true};
	dv_err err = 0;
	while (!err && m->off < file->size && !is_used_up(m)) {
		err = look_at(m);
		if (!err) {
			err = take(m, ops, out);
		} else if (err == -EBADMSG) {
			m->placed = false;
			m->off++;
			err = search(m, scan);
		}
	}
	return err;
}
