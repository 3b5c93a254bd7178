/* SPDX-License-Identifier: MIT */
/*
 * verify_frames.c - see verify_frames.h.
 *
 * What the end of a file says of a seek table is believed as far as it agrees with itself: entries
 * that add up to where the table begins tell where frames are, one by one, and a frame that is whole
 * but other than its entry says ends that. A file may end in the table's magic by chance, so what can
 * not be a table is a fault only where frames do not fill the file to its last byte.
 *
 *   [ frame ][ frame ] ... [ seek table: head, entries, footer ]
 *                          ^ frames_end
 *
 * Nothing of a table is kept in memory but a piece of 60 KiB.
 */
#include "core/verify_frames.h"

#include "core/cleanup.h"
#include "core/codec.h"
#include "core/io.h"
#include "core/verify_table.h"
#include "core/walk.h"
#include "core/xxh64.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define OUT_BYTES    (128u << 10)
#define WIDE_WINDOW  (UINT64_C(8) << 20)
#define ZSTD_MAGIC   0xFD2FB528u
#define ATTEMPTS_MAX 65536u /* beginnings of frames that are tried behind damage */

struct dv_scan {
	struct dv_decoder *decoder; /* NULL: none, or the last one has failed */
	uint64_t off;		    /* of in[0] */
	size_t len;
	uint8_t in[DV_SCAN_BYTES], out[OUT_BYTES];
};

struct pass {
	struct dv_store *s;
	struct dv_scan *scan;
	const struct dv_scan_ops *ops;
	struct dv_scan_result *r;
	pthread_mutex_t *wide;
	struct dv_table_cursor *table; /* NULL: none that is believed */
	uint64_t size, end, plain_off;
	uint64_t unexpected; /* plain bytes that no table has told of */
	uint64_t index;
	unsigned attempts;
	int fd;
	bool own, placed, claims_table, ended_short, wide_held;
	dv_err fatal; /* ends the scan */
	char why[160];
};

dv_err dv_scan_new(struct dv_scan **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void dv_scan_free(struct dv_scan **scan)
{
	if (*scan)
		dv_decoder_free(&(*scan)->decoder);
	free(*scan);
	*scan = NULL;
}

uint8_t *dv_scan_buffer(struct dv_scan *scan)
{
	scan->len = 0; /* what was read ahead is gone */
	return scan->in;
}

static void fault(struct pass *p, enum dv_finding_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void fault(struct pass *p, enum dv_finding_kind kind, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (p->ops->fault)
		p->ops->fault(p->ops->self, kind, text);
}

/* Why the frame that is tried is none; remembered until it is told. */
static dv_err bad(struct pass *p, dv_err err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static dv_err bad(struct pass *p, dv_err err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
	return err;
}

static dv_err fatal(struct pass *p, dv_err err)
{
	p->fatal = err;
	return err;
}

static uint32_t get_u32(const uint8_t *b)
{
	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* What there is at off, `want` bytes at least where the frames go so far. -> how many. */
static ssize_t look_at(struct pass *p, uint64_t off, size_t want, const uint8_t **out)
{
	struct dv_scan *c = p->scan;
	uint64_t left = off < p->end ? p->end - off : 0;
	if (want > left)
		want = (size_t)left;
	if (off < c->off || off + want > c->off + c->len || (want == left && !want)) {
		size_t len = left < sizeof(c->in) ? (size_t)left : sizeof(c->in);
		c->len = 0;
		dv_err err = dv_read_full(p->s, p->fd, c->in, len, off);
		if (err == -EBADMSG) /* it was cut off meanwhile */
			return fatal(p, -EAGAIN);
		if (err)
			return bad(p, err, "it can not be read: %s", strerror(-err));
		c->off = off;
		c->len = len;
		if (p->ops->read)
			p->ops->read(p->ops->self, len);
	}
	uint64_t have = c->off + c->len - off;
	*out = c->in + (off - c->off);
	return (ssize_t)(have < left ? have : left);
}

/* ---- one frame ---- */

/* An entry of the table, or NULL. */
struct expected {
	uint64_t stored, plain;
	uint32_t sum;
};

static uint64_t unexpected_max(const struct pass *p)
{
	const uint64_t gain_from = UINT64_C(1) << 56; /* as in walk.c */
	return DV_WALK_DECODED_MAX + (p->size < gain_from ? p->size : gain_from) * DV_WALK_GAIN_MAX;
}

static dv_err take_plain(struct pass *p, const struct expected *e, struct dv_scan_frame *f,
			 size_t n)
{
	if (!e || f->plain_len + n > e->plain)
		p->unexpected += n;
	if (p->unexpected > unexpected_max(p))
		return bad(p, -EFBIG, "it decodes to more than %" PRIu64 " bytes",
			   unexpected_max(p));
	if (n && f->placed && p->ops->bytes) {
		dv_err err =
			p->ops->bytes(p->ops->self, p->scan->out, n, f->plain_off + f->plain_len);
		if (err)
			return fatal(p, err);
	}
	f->plain_len += n;
	return 0;
}

static dv_err decode(struct pass *p, const struct expected *e, struct dv_scan_frame *f,
		     struct dv_xxh64 *sum)
{
	struct dv_scan *c = p->scan;
	uint64_t at = f->off;
	int done = 0;
	while (!done) {
		const uint8_t *in = NULL;
		size_t pos = 0;
		ssize_t have = look_at(p, at, 1, &in);
		if (have < 0)
			return (dv_err)have;
		ssize_t n = dv_decoder_step(c->decoder, in, (size_t)have, &pos, c->out, OUT_BYTES,
					    &done);
		if (n == -EBADMSG || (!n && !pos && !done))
			return bad(p, -EBADMSG, have ? "it is damaged" : "it is cut off");
		if (n < 0)
			return n == -ENOMEM ? fatal(p, -ENOMEM)
					    : bad(p, (dv_err)n, "%s", strerror((int)-n));
		at += pos;
		if (sum)
			dv_xxh64_add(sum, c->out, (size_t)n);
		dv_err err = take_plain(p, e, f, (size_t)n);
		if (err)
			return err;
	}
	f->len = at - f->off;
	return 0;
}

/* A large window: one at a time, and its memory is not kept. */
static dv_err decode_bounded(struct pass *p, const struct dv_frame_head *head,
			     const struct expected *e, struct dv_scan_frame *f,
			     struct dv_xxh64 *sum)
{
	struct dv_scan *c = p->scan;
	bool wide = head->window > WIDE_WINDOW;
	if (wide)
		pthread_mutex_lock(p->wide);
	dv_err err = c->decoder ? 0 : dv_decoder_new(&c->decoder);
	if (err)
		fatal(p, err);
	else
		err = decode(p, e, f, sum);
	if (err || wide) /* after an error it answers that for ever */
		dv_decoder_free(&c->decoder);
	if (wide)
		pthread_mutex_unlock(p->wide);
	return err;
}

static dv_err refuse(struct pass *p, const struct dv_frame_head *head)
{
	/* Made here none needs one: then its head is damaged. */
	if (head->dictionary && !p->own)
		return bad(p, -EOPNOTSUPP, "it needs the zstd dictionary %" PRIu32,
			   head->dictionary);
	if (head->dictionary)
		return bad(p, -EBADMSG, "its head is damaged");
	if (head->window > DV_WINDOW_MAX)
		return bad(p, p->own ? -EBADMSG : -EFBIG,
			   "its window of %" PRIu64 " bytes is over %" PRIu64, head->window,
			   (uint64_t)DV_WINDOW_MAX);
	return 0;
}

static dv_err read_sum(struct pass *p, struct dv_scan_frame *f)
{
	const uint8_t *b = NULL;
	ssize_t have = look_at(p, f->off + f->len - 4, 4, &b);
	if (have < 0)
		return (dv_err)have;
	f->sum = get_u32(b);
	return 0;
}

/* Is a whole frame at off? *f gets it. */
static dv_err try_frame(struct pass *p, uint64_t off, const struct expected *e,
			struct dv_scan_frame *f)
{
	struct dv_frame_head head;
	struct dv_xxh64 sum;
	const uint8_t *b = NULL;
	*f = (struct dv_scan_frame){.off = off, .plain_off = p->plain_off, .placed = p->placed};
	ssize_t have = look_at(p, off, DV_FRAME_HEAD_MAX, &b);
	if (have < 0)
		return (dv_err)have;
	size_t len = (size_t)have < DV_FRAME_HEAD_MAX ? (size_t)have : DV_FRAME_HEAD_MAX;
	dv_err err = dv_codec_head(b, len, &head);
	if (err == -EAGAIN)
		return bad(p, -EBADMSG, "it is cut off");
	if (err)
		return bad(p, -EBADMSG, "no zstd frame begins there");
	if (head.skip_len) {
		f->skippable = true;
		f->len = head.skip_len;
		return head.skip_len > p->end - off ? bad(p, -EBADMSG, "it is cut off") : 0;
	}
	err = refuse(p, &head);
	if (err)
		return err;
	f->has_sum = head.has_checksum;
	f->tells_size = head.plain_len != DV_PLAIN_UNKNOWN;
	bool summed = !f->has_sum && e && p->table && p->table->t.checksums;
	dv_xxh64_init(&sum);
	err = decode_bounded(p, &head, e, f, summed ? &sum : NULL);
	if (!err && f->has_sum)
		err = read_sum(p, f);
	if (!err && summed && (uint32_t)dv_xxh64_end(&sum) != e->sum)
		err = bad(p, -EBADMSG, "its bytes do not have the checksum of the seek table");
	p->r->unsummed += !err && !f->has_sum && !summed;
	return err;
}

/* ---- what comes of it ---- */

static bool could_be_ours(uint64_t frame_size)
{
	return frame_size >= DV_FRAME_SIZE_MIN && frame_size <= DV_FRAME_SIZE_MAX &&
	       !(frame_size & (frame_size - 1));
}

static void judge_shape(struct pass *p, const struct dv_scan_frame *f)
{
	struct dv_scan_result *r = p->r;
	if (r->frames == 0)
		r->frame_size = f->plain_len;
	else if (r->frames == 1 && !could_be_ours(r->frame_size))
		r->like_ours = false;
	if (f->skippable || !f->has_sum || !f->tells_size || !f->plain_len ||
	    f->plain_len > r->frame_size || p->ended_short || f->plain_len > DV_FRAME_SIZE_MAX)
		r->like_ours = false;
	p->ended_short |= f->plain_len < r->frame_size;
}

static dv_err take_frame(struct pass *p, const struct dv_scan_frame *f)
{
	judge_shape(p, f);
	p->index++;
	p->plain_off += f->plain_len;
	p->r->frames += !f->skippable;
	p->r->plain += f->plain_len;
	return p->ops->frame ? p->ops->frame(p->ops->self, f) : 0;
}

static enum dv_finding_kind kind_of(dv_err err)
{
	switch (err) {
	case -EBADMSG:
		return DV_FINDING_FRAME;
	case -EOPNOTSUPP:
		return DV_FINDING_DICTIONARY;
	case -EFBIG:
		return DV_FINDING_LIMIT;
	default:
		return DV_FINDING_READ;
	}
}

static void tell_bad_frame(struct pass *p, uint64_t off, dv_err err, const struct expected *e)
{
	p->r->bad++;
	p->r->like_ours &= err == -EBADMSG;
	if (e)
		fault(p, kind_of(err),
		      "frame %" PRIu64 " at byte %" PRIu64 ", plain bytes %" PRIu64 " to %" PRIu64
		      ": %s",
		      p->index, off, p->plain_off, p->plain_off + e->plain, p->why);
	else
		fault(p, kind_of(err), "frame %" PRIu64 " at byte %" PRIu64 ": %s", p->index, off,
		      p->why);
}

static void distrust(struct pass *p, const char *why)
{
	fault(p, DV_FINDING_TABLE, "the seek table is wrong: %s", why);
	p->r->table = DV_SCAN_TABLE_BAD;
	p->table = NULL;
}

/* A frame that the table tells of, which is believed until a whole frame says otherwise. */
static dv_err pass_expected(struct pass *p, uint64_t *off)
{
	struct dv_scan_frame f;
	struct expected e;
	char why[96];
	dv_err err = dv_table_cursor_next(p->s, p->table, &e.stored, &e.plain, &e.sum);
	if (err)
		return fatal(p, err == -EBADMSG ? -EAGAIN : err);
	uint64_t index = p->index;
	err = try_frame(p, *off, &e, &f);
	if (p->fatal)
		return p->fatal;
	if (err) {
		tell_bad_frame(p, *off, err, &e);
		p->index++;
		p->plain_off += e.plain;
		*off += e.stored;
		return 0;
	}
	bool fits = f.len == e.stored && f.plain_len == e.plain;
	bool sums = !p->table->t.checksums || !f.has_sum || f.sum == e.sum;
	err = take_frame(p, &f);
	*off += f.len;
	if (err)
		return fatal(p, err);
	if (fits && sums)
		return 0;
	snprintf(why, sizeof(why), "the %s of frame %" PRIu64, fits ? "checksum" : "sizes", index);
	distrust(p, why);
	return 0;
}

/* Where the seek table begins, or what is left of it: not a frame of anybody's else. */
static bool is_table_at(struct pass *p, uint64_t off)
{
	static const uint8_t magic[] = {0x5e, 0x2a, 0x4d, 0x18};
	const uint8_t *b = NULL;
	ssize_t have = look_at(p, off, DV_TABLE_HEAD_BYTES, &b);
	if (have <= 0 || memcmp(b, magic, have < 4 ? (size_t)have : 4) != 0)
		return false;
	if (have < (ssize_t)DV_TABLE_HEAD_BYTES) /* cut off */
		return p->index > 0;
	uint64_t len = (uint64_t)get_u32(b + 4) + DV_TABLE_HEAD_BYTES;
	if (len != p->end - off)
		return len > p->end - off || p->claims_table;
	/* Other programs may have frames of that magic, which are whole, of their own. */
	return p->claims_table || (p->index && p->index <= DV_FRAMES_MAX &&
				   (len == dv_table_bytes((uint32_t)p->index, true) ||
				    len == dv_table_bytes((uint32_t)p->index, false)));
}

/* No frame begins in a hole, which may be as large as a file can be. */
static uint64_t next_data(struct pass *p, uint64_t at)
{
	uint64_t data = at;
	dv_err err = DV_B(p->s, seek, p->fd, at, SEEK_DATA, &data);
	return err == -ENXIO ? p->end : err ? at : data;
}

/* Goes from a damaged frame to the next whole one, or to the end. */
static dv_err find_next(struct pass *p, uint64_t *off, struct dv_scan_frame *f)
{
	const uint8_t *b = NULL;
	p->placed = false;
	for (uint64_t at = *off + 1; at < p->end;) {
		ssize_t have = look_at(p, at, 4, &b);
		if (p->fatal)
			return p->fatal;
		if (have < 4 || p->attempts >= ATTEMPTS_MAX)
			break;
		const uint8_t *hit = memchr(b, (int)(ZSTD_MAGIC & 0xff), (size_t)have - 3);
		if (!hit) {
			at = next_data(p, at + (uint64_t)have - 3);
			continue;
		}
		at += (uint64_t)(hit - b);
		if (get_u32(hit) == ZSTD_MAGIC) {
			p->attempts++;
			if (try_frame(p, at, NULL, f) == 0 && (f->has_sum || p->r->unsummed)) {
				*off = at;
				return 0;
			}
			if (p->fatal || p->unexpected > unexpected_max(p))
				break;
		}
		at++;
	}
	*off = p->end;
	return p->fatal ? p->fatal : -ENOENT;
}

/* The rest of the file is, or was, a seek table. */
static void end_in_table(struct pass *p, uint64_t off, const char *what)
{
	fault(p, DV_FINDING_TABLE, "the seek table %s, from byte %" PRIu64, what, off);
	p->r->table = DV_SCAN_TABLE_BAD;
	p->r->frames_end = off;
}

/* A frame of which nothing but its own bytes tells. *off is the end: nothing more. */
static dv_err pass_frame(struct pass *p, uint64_t *off)
{
	struct dv_scan_frame f;
	bool had_table = p->r->table == DV_SCAN_TABLE_BAD;
	if (!had_table && is_table_at(p, *off)) {
		end_in_table(p, *off, "is damaged");
		*off = p->end;
		return 0;
	}
	dv_err err = p->fatal ? p->fatal : try_frame(p, *off, NULL, &f);
	if (p->fatal)
		return p->fatal;
	if (err && p->claims_table && !had_table && p->index) {
		end_in_table(p, *off, "is damaged, its head too");
		*off = p->end;
		return 0;
	}
	if (err) {
		tell_bad_frame(p, *off, err, NULL);
		p->index++;
		if (err == -EOPNOTSUPP || err == -EFBIG || err == -EIO) {
			*off = p->end; /* what follows would say the same */
			return 0;
		}
		err = find_next(p, off, &f);
		if (err)
			return p->fatal;
	}
	*off += f.len;
	err = take_frame(p, &f);
	return err ? fatal(p, err) : 0;
}

/* What the end of the file says. */
static dv_err open_table(struct pass *p, struct dv_table_cursor *t)
{
	char why[96];
	dv_err err = dv_table_cursor_open(p->s, p->fd, p->size, t, why, sizeof(why));
	switch (err) {
	case 0:
		p->table = t;
		p->end = p->size - t->t.bytes;
		p->r->table = DV_SCAN_TABLE_GOOD;
		return 0;
	case -ENOENT:
		return 0;
	case -ESTALE: /* its place is known, and no more */
		p->end = p->size - t->t.bytes;
		distrust(p, why);
		return 0;
	case -EBADMSG:
		p->claims_table = true;
		return 0;
	case -EFBIG:
		p->r->bad++;
		fault(p, DV_FINDING_LIMIT, "%s", why);
		p->claims_table = true;
		return 0;
	case -EIO:
		p->r->bad++;
		fault(p, DV_FINDING_READ, "the end of the file can not be read: %s",
		      strerror(-err));
		return 0;
	default:
		return err;
	}
}

dv_err dv_scan_frames(struct dv_store *s, struct dv_scan *scan, const struct dv_scan_file *file,
		      const struct dv_scan_ops *ops, struct dv_scan_result *out)
{
	struct pass p = {
		.s = s, .scan = scan, .ops = ops, .r = out, .wide = file->wide, .size = file->size};
	struct dv_table_cursor *t = calloc(1, sizeof(*t));
	*out = (struct dv_scan_result){.like_ours = true};
	if (!t)
		return -ENOMEM;
	p.fd = file->fd;
	p.end = file->size;
	p.own = file->own;
	p.placed = true;
	scan->len = 0; /* of another file */
	uint64_t off = 0, steps = 0;
	if (!file->size) {
		out->bad++;
		fault(&p, DV_FINDING_FRAME, "an empty file is not a zstd file");
	}
	dv_err err = file->size ? open_table(&p, t) : 0;
	out->frames_end = p.end;
	while (!err && off < p.end) {
		err = p.table ? pass_expected(&p, &off) : pass_frame(&p, &off);
		if (!err && ++steps > DV_WALK_STEPS_MAX) {
			fault(&p, DV_FINDING_LIMIT, "more than %" PRIu64 " frames",
			      (uint64_t)DV_WALK_STEPS_MAX);
			out->bad++;
			break;
		}
	}
	free(t);
	return err;
}
