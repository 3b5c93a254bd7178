/* SPDX-License-Identifier: MIT */
/* sealed.c - see sealed.h. */
#include "core/sealed.h"

#include "core/cleanup.h"
#include "core/deflate.h"
#include "core/io.h"

#include <stdio.h>
#include <string.h>

#define IN_BYTES   (64u << 10)
#define OUT_BYTES  (128u << 10)
#define STOP_BYTES (1u << 20) /* plain bytes between two questions whether it is still wanted */

/* ---- finding the size ---- */

struct scan {
	struct dv_store *s;
	int fd;
	uint64_t size, at, plain;
	struct dv_inflater *inflater;
	uint8_t in[IN_BYTES], out[OUT_BYTES];
};

/* Decodes what is in c->in; *done as dv_inflater_step(). */
static dv_err scan_some(struct scan *c, size_t len, int *done)
{
	const uint64_t most = DV_WALK_DECODED_MAX + c->size * DV_WALK_GAIN_MAX;
	size_t pos = 0;
	for (;;) {
		size_t before = pos;
		ssize_t n =
			dv_inflater_step(c->inflater, c->in, len, &pos, c->out, OUT_BYTES, done);
		if (n < 0)
			return (dv_err)n;
		c->plain += (uint64_t)n;
		if (c->plain > most)
			return -EFBIG;
		if (pos == len && (*done || n < (ssize_t)OUT_BYTES))
			return 0;
		if (!n && pos == before && !*done)
			return -EBADMSG;
	}
}

static dv_err scan_all(struct scan *c)
{
	int done = 0;
	dv_err err = 0;
	if (c->size <= DV_EMPTY_MAX) {
		err = dv_read_full(c->s, c->fd, c->in, (size_t)c->size, 0);
		if (err || dv_deflate_is_unmade(&c->s->coding, c->in, (size_t)c->size))
			return err;
	}
	while (!err && c->at < c->size) {
		uint64_t left = c->size - c->at;
		size_t len = left < IN_BYTES ? (size_t)left : IN_BYTES;
		err = dv_read_full(c->s, c->fd, c->in, len, c->at);
		c->at += len;
		if (!err)
			err = scan_some(c, len, &done);
	}
	return !err && !done ? -EBADMSG : err;
}

dv_err dv_sealed_walk(struct dv_store *s, int fd, uint64_t size, bool nowait, struct dv_walk *out)
{
	*out = (struct dv_walk){.frames = 1, .decoded = true};
	if (nowait)
		return -EAGAIN;
	DV_AUTO_FREE struct scan *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct scan){.s = s, .fd = fd, .size = size};
	dv_err err = dv_inflater_new(&s->coding, &c->inflater);
	if (!err)
		err = scan_all(c);
	dv_inflater_free(&c->inflater);
	out->plain_size = c->plain;
	const char *form = s->coding.kind == DV_CODING_GZIP ? "gzip" : "zlib";
	if (err == -EBADMSG)
		snprintf(out->why, sizeof(out->why),
			 "it is not %s, from its first byte to its last", form);
	else if (err == -EOPNOTSUPP)
		snprintf(out->why, sizeof(out->why), "it needs another dictionary");
	else if (err == -EFBIG)
		snprintf(out->why, sizeof(out->why), "it makes too many bytes of too few");
	return err;
}

/* ---- writing ---- */

struct writer {
	struct dv_store *s;
	int to;
	uint64_t off;
	struct dv_deflater *deflater;
	uint8_t in[IN_BYTES], out[OUT_BYTES];
};

static dv_err write_some(struct writer *w, size_t len, bool last, int *done)
{
	size_t pos = 0;
	*done = 0;
	for (;;) {
		ssize_t n = dv_deflater_step(w->deflater, w->in, len, &pos, last, w->out, OUT_BYTES,
					     done);
		dv_err err =
			n < 0 ? (dv_err)n : dv_write_full(w->s, w->to, w->out, (size_t)n, w->off);
		if (err)
			return err;
		w->off += (uint64_t)n;
		if (*done || (!last && pos == len && n < (ssize_t)OUT_BYTES))
			return 0;
	}
}

static dv_err encode(struct dv_store *s, const struct dv_sealing *how, uint64_t plain_size, int to,
		     uint64_t *out_stored)
{
	DV_AUTO_FREE struct writer *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct writer){.s = s, .to = to};
	int done = 0;
	dv_err err = dv_deflater_new(&s->coding, &w->deflater);
	for (uint64_t at = 0; !err && !done;) {
		size_t len = plain_size - at < IN_BYTES ? (size_t)(plain_size - at) : IN_BYTES;
		if (how->stop && at % STOP_BYTES == 0 && how->stop(how->ctx))
			err = -ECANCELED;
		if (!err)
			err = dv_read_full(s, how->from, w->in, len, at);
		at += len;
		if (!err)
			err = write_some(w, len, at == plain_size, &done);
	}
	dv_deflater_free(&w->deflater);
	dv_count(s, frames_encoded, !err);
	if (out_stored)
		*out_stored = w->off;
	return err == -EBADMSG ? -ECANCELED : err; /* it shrank: someone writes */
}

dv_err dv_sealed_encode(struct dv_store *s, int from, uint64_t plain_size, int to,
			uint64_t *out_stored)
{
	struct dv_sealing how = {.from = from};
	return encode(s, &how, plain_size, to, out_stored);
}

/* Owner, mode, times and the rest of `from`, and the tag. */
static dv_err dress(struct dv_store *s, int from, const struct dv_stat *st, int fd,
		    struct dv_tag *tag)
{
	struct timespec times[2] = {st->atime, st->mtime};
	struct dv_stat own;
	dv_err err = dv_meta_copy(s, from, st, fd);
	if (!err)
		err = DV_B(s, utimens, fd, times);
	if (!err)
		err = DV_B(s, stat, fd, "", &own);
	if (err)
		return err;
	struct dv_ident id = dv_ident_of(&own);
	tag->has_size = tag->single = true;
	tag->plain_size = st->size;
	tag->stored_size = own.size;
	tag->mtime = own.mtime;
	dv_tag_store(s, fd, &id, tag);
	return 0;
}

dv_err dv_sealed_make_unless(struct dv_store *s, const struct dv_sealing *how, struct dv_tag *tag,
			     int *out_fd)
{
	struct dv_stat st;
	dv_err err = DV_B(s, stat, how->from, "", &st);
	if (err)
		return err;
	int fd =
		DV_B(s, open, how->dirfd, how->name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	err = encode(s, how, st.size, fd, NULL);
	if (!err)
		err = dress(s, how->from, &st, fd, tag);
	if (!err)
		err = DV_B(s, fsync, fd);
	if (err) {
		DV_B(s, close, fd);
		dv_ignore(DV_B(s, unlink, how->dirfd, how->name));
		return err;
	}
	*out_fd = fd;
	return 0;
}

dv_err dv_sealed_make(struct dv_store *s, int from, int dirfd, const char *name, struct dv_tag *tag,
		      int *out_fd)
{
	struct dv_sealing how = {.from = from, .dirfd = dirfd, .name = name};
	return dv_sealed_make_unless(s, &how, tag, out_fd);
}

dv_err dv_sealed_make_empty(struct dv_store *s, int fd)
{
	uint8_t bytes[DV_EMPTY_MAX];
	ssize_t n = dv_deflate_empty(&s->coding, bytes, sizeof(bytes));
	return n < 0 ? (dv_err)n : dv_write_full(s, fd, bytes, (size_t)n, 0);
}
