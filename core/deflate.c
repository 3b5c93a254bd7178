/* SPDX-License-Identifier: MIT */
/* deflate.c - see deflate.h. Layer 1. */
#include "core/deflate.h"

#include "core/cleanup.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>

#define WINDOW_BITS 15
#define AS_GZIP	    16 /* to windowBits: a gzip wrapper */
#define MEM_LEVEL   8
/* An inflater's window and tables. */
#define INFLATER_BYTES (48u << 10)

struct dv_inflater {
	z_stream z;
	const struct dv_coding *coding;
	bool between; /* a member has ended, the next has not begun */
	dv_err failed;
};

struct dv_deflater {
	z_stream z;
};

static dv_err translate(int result)
{
	return result == Z_MEM_ERROR ? -ENOMEM : result == Z_NEED_DICT ? -EOPNOTSUPP : -EBADMSG;
}

static int window_bits(const struct dv_coding *c)
{
	return WINDOW_BITS + (c->kind == DV_CODING_GZIP ? AS_GZIP : 0);
}

static uInt clip(size_t len)
{
	return len < UINT_MAX ? (uInt)len : UINT_MAX;
}

/* ---- reading ---- */

dv_err dv_inflater_new(const struct dv_coding *c, struct dv_inflater **out)
{
	DV_AUTO_FREE struct dv_inflater *i = calloc(1, sizeof(*i));
	if (!i || inflateInit2(&i->z, window_bits(c)) != Z_OK)
		return -ENOMEM;
	i->coding = c;
	*out = dv_take_ptr(&i);
	return 0;
}

void dv_inflater_free(struct dv_inflater **i)
{
	if (*i)
		inflateEnd(&(*i)->z);
	free(*i);
	*i = NULL;
}

size_t dv_inflater_bytes(void)
{
	return INFLATER_BYTES;
}

/* More follows a member that has ended. */
static dv_err next_member(struct dv_inflater *i)
{
	if (i->coding->kind != DV_CODING_GZIP)
		return -EBADMSG;
	i->between = false;
	return inflateReset(&i->z) == Z_OK ? 0 : -ENOMEM;
}

static int run(struct dv_inflater *i)
{
	int result = inflate(&i->z, Z_NO_FLUSH);
	if (result != Z_NEED_DICT || !i->coding->dict)
		return result;
	result = inflateSetDictionary(&i->z, i->coding->dict, (uInt)i->coding->dict_len);
	return result == Z_OK ? inflate(&i->z, Z_NO_FLUSH) : Z_NEED_DICT;
}

ssize_t dv_inflater_step(struct dv_inflater *i, const void *in, size_t in_len, size_t *in_pos,
			 void *out, size_t room, int *done)
{
	*done = 0;
	if (i->failed)
		return i->failed;
	if (i->between && *in_pos == in_len) {
		*done = 1;
		return 0;
	}
	if (i->between)
		i->failed = next_member(i);
	if (i->failed)
		return i->failed;
	const uInt have = clip(in_len - *in_pos), want = clip(room < SSIZE_MAX ? room : SSIZE_MAX);
	i->z.next_in = (z_const Bytef *)in + *in_pos;
	i->z.avail_in = have;
	i->z.next_out = out;
	i->z.avail_out = want;
	int result = run(i);
	*in_pos += have - i->z.avail_in;
	/* Z_BUF_ERROR: no input left, or no room; both are the caller's to give. */
	if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
		i->failed = translate(result);
	if (i->failed)
		return i->failed;
	i->between = result == Z_STREAM_END;
	*done = i->between;
	return (ssize_t)(want - i->z.avail_out);
}

dv_err dv_inflate(const struct dv_coding *c, const void *stored, size_t len, void *out,
		  size_t plain_len)
{
	struct dv_inflater *i = NULL;
	size_t pos = 0, have = 0;
	int done = 0;
	uint8_t more;
	dv_err err = dv_inflater_new(c, &i);
	while (!err && !(done && pos == len)) {
		bool full = have == plain_len; /* what is left makes no bytes more */
		size_t before = pos;
		ssize_t n =
			dv_inflater_step(i, stored, len, &pos, full ? &more : (uint8_t *)out + have,
					 full ? 1 : plain_len - have, &done);
		if (n < 0)
			err = (dv_err)n;
		else if ((n && full) || (!n && !done && pos == before))
			err = -EBADMSG;
		else
			have += (size_t)n;
	}
	dv_inflater_free(&i);
	return !err && have != plain_len ? -EBADMSG : err;
}

/* ---- writing ---- */

dv_err dv_deflater_new(const struct dv_coding *c, struct dv_deflater **out)
{
	bool huffman = c->level == -2;
	DV_AUTO_FREE struct dv_deflater *d = calloc(1, sizeof(*d));
	if (!d || deflateInit2(&d->z, huffman ? Z_DEFAULT_COMPRESSION : c->level, Z_DEFLATED,
			       window_bits(c), MEM_LEVEL,
			       huffman ? Z_HUFFMAN_ONLY : Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	if (c->dict && c->kind == DV_CODING_ZLIB &&
	    deflateSetDictionary(&d->z, c->dict, (uInt)c->dict_len) != Z_OK) {
		deflateEnd(&d->z);
		return -ENOMEM;
	}
	*out = dv_take_ptr(&d);
	return 0;
}

void dv_deflater_free(struct dv_deflater **d)
{
	if (*d)
		deflateEnd(&(*d)->z);
	free(*d);
	*d = NULL;
}

ssize_t dv_deflater_step(struct dv_deflater *d, const void *in, size_t in_len, size_t *in_pos,
			 bool last, void *out, size_t room, int *done)
{
	const uInt have = clip(in_len - *in_pos), want = clip(room < SSIZE_MAX ? room : SSIZE_MAX);
	d->z.next_in = (z_const Bytef *)in + *in_pos;
	d->z.avail_in = have;
	d->z.next_out = out;
	d->z.avail_out = want;
	last = last && have == in_len - *in_pos;
	int result = deflate(&d->z, last ? Z_FINISH : Z_NO_FLUSH);
	*in_pos += have - d->z.avail_in;
	*done = result == Z_STREAM_END;
	if (result == Z_STREAM_ERROR)
		return -EINVAL;
	return (ssize_t)(want - d->z.avail_out);
}

ssize_t dv_deflate_empty(const struct dv_coding *c, void *out, size_t room)
{
	struct dv_deflater *d = NULL;
	size_t pos = 0;
	int done = 0;
	dv_err err = dv_deflater_new(c, &d);
	ssize_t n = err ? err : dv_deflater_step(d, "", 0, &pos, true, out, room, &done);
	dv_deflater_free(&d);
	return n < 0 || done ? n : -ENOBUFS;
}

bool dv_deflate_is_unmade(const struct dv_coding *c, const void *stored, size_t len)
{
	const uint8_t *bytes = stored;
	uint8_t made[DV_EMPTY_MAX];
	ssize_t n = dv_deflate_empty(c, made, sizeof(made));
	if (n < 0 || len > (size_t)n)
		return false;
	size_t zeros = 0;
	for (size_t i = 0; i < len; i++) {
		zeros += bytes[i] != made[i];
		if (bytes[i] && bytes[i] != made[i])
			return false;
	}
	return zeros || len < (size_t)n;
}
