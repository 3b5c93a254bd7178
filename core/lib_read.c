/* SPDX-License-Identifier: MIT */
/*
 * lib_read.c - reading values, and what is told of them. See diskvfs.h.
 *
 * A reader keeps the node that it found, and an open file of its object: a replacement makes another
 * node, so that it goes on with the version that it has.
 */
#include "core/lib.h"

#include "core/cleanup.h"
#include "core/value.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK	     16384u	/* what a codec is given at a time */
#define DIRECT_BYTES (1u << 20) /* read at once; from 512 KiB on frames are not kept (packed.c) */

struct dvfs_reader {
	struct dvfs *s;
	struct dv_node *node;
	uint64_t off; /* of the file */
	bool direct;
	bool ended; /* the codec had the last bytes */
	struct lib_filter *filter;
	char *buf; /* read ahead, or decoded: what is left of it */
	size_t room, from, fill;
	uint64_t buf_off; /* direct: of the file */
	dv_err err;
};

/* ---- a stream ---- */

/* The object stays open, whatever becomes of its name and however many others are opened. */
static dv_err hold(struct dvfs *s, struct dv_node *n)
{
	struct dv_file *f = NULL;
	dv_err err = dv_gate_shared(n, false);
	if (err)
		return err;
	err = dv_value_file(s->store, n, false, &f);
	if (!err)
		dv_node_set_file(s->store, n, f, true);
	dv_file_unref(s->store, f);
	dv_gate_open(n);
	return err;
}

static void let_go(struct dvfs *s, struct dv_node *n)
{
	if (dv_gate_exclusive(n, false) == 0) {
		if (dv_node_has_name(s->store, n))
			dv_node_unpin(s->store, n);
		dv_gate_open(n);
	}
	dv_node_unref(s->store, n);
}

/* The value of key, held. Others may replace it between the two steps. */
static dv_err find_held(struct dvfs *s, const char *key, struct dv_node **out, struct dv_stat *st)
{
	dv_err err = -ESTALE;
	for (unsigned tries = 0; err == -ESTALE && tries < LIB_TRIES; tries++) {
		err = lib_find(s, key, out, st);
		if (err)
			continue;
		err = hold(s, *out);
		if (err)
			dv_node_unref(s->store, *out);
	}
	return err;
}

int dvfs_reader_open(struct dvfs *s, const char *key, int flags, struct dvfs_reader **out)
{
	struct dv_stat st;
	if (!out)
		return -EINVAL;
	*out = NULL;
	if (flags & ~DVFS_DIRECT)
		return -EINVAL;
	dv_err err = lib_enter(s);
	if (err)
		return err;
	struct dvfs_reader *r = calloc(1, sizeof(*r));
	err = r ? find_held(s, key, &r->node, &st) : -ENOMEM;
	if (err) {
		free(r);
		lib_leave(s);
		return err;
	}
	r->s = s;
	r->direct = flags & DVFS_DIRECT;
	if (s->has_codec)
		err = lib_filter_new(s, true, &r->filter);
	if (!err && r->direct && !(r->buf = malloc(r->room = DIRECT_BYTES)))
		err = -ENOMEM;
	if (err)
		dvfs_reader_close(&r);
	*out = r;
	return err;
}

static ssize_t read_file(struct dvfs_reader *r, void *buf, size_t len, uint64_t off)
{
	return dv_store_read(r->s->store, &lib_call, r->node, buf, (struct dv_range){off, len});
}

/* Past the cache: long reads, of which the caller gets what it asked for. */
static ssize_t read_direct(struct dvfs_reader *r, char *buf, size_t len, uint64_t off)
{
	size_t done = 0;
	while (done < len) {
		uint64_t at = off + done;
		if (at < r->buf_off || at >= r->buf_off + r->fill) {
			ssize_t got = read_file(r, r->buf, r->room, at);
			if (got < 0)
				return got;
			r->buf_off = at;
			r->fill = (size_t)got;
			if (!got)
				break;
		}
		size_t from = (size_t)(at - r->buf_off), part = r->fill - from;
		if (part > len - done)
			part = len - done;
		memcpy(buf + done, r->buf + from, part);
		done += part;
	}
	return (ssize_t)done;
}

static int keep_decoded(void *ctx, const void *buf, size_t len)
{
	struct dvfs_reader *r = ctx;
	if (len > r->room - r->fill) {
		size_t room = r->fill + len > SIZE_MAX / 2 ? 0 : (r->fill + len) * 2;
		char *grown = room ? realloc(r->buf, room) : NULL;
		if (!grown)
			return -ENOMEM;
		r->buf = grown;
		r->room = room;
	}
	memcpy(r->buf + r->fill, buf, len);
	r->fill += len;
	return 0;
}

/* A piece of the file goes through the codec. */
static dv_err decode_more(struct dvfs_reader *r)
{
	char in[CHUNK];
	ssize_t got = read_file(r, in, sizeof(in), r->off);
	if (got < 0)
		return (dv_err)got;
	r->off += (uint64_t)got;
	r->from = r->fill = 0;
	r->ended = got == 0;
	return lib_filter_run(r->filter, in, (size_t)got, r->ended, keep_decoded, r);
}

static ssize_t read_decoded(struct dvfs_reader *r, char *buf, size_t len)
{
	size_t done = 0;
	while (done < len && !r->err) {
		size_t part = r->fill - r->from;
		if (!part && r->ended)
			break;
		if (!part) {
			r->err = decode_more(r);
			continue;
		}
		if (part > len - done)
			part = len - done;
		memcpy(buf + done, r->buf + r->from, part);
		r->from += part;
		done += part;
	}
	return done || !r->err ? (ssize_t)done : r->err;
}

ssize_t dvfs_reader_pread(struct dvfs_reader *r, void *buf, size_t len, uint64_t off)
{
	if (!r || (!buf && len) || len > SSIZE_MAX)
		return -EINVAL;
	dv_err err = lib_may(r->s);
	if (err || r->filter)
		return err ? err : -EOPNOTSUPP;
	return r->direct ? read_direct(r, buf, len, off) : read_file(r, buf, len, off);
}

ssize_t dvfs_reader_read(struct dvfs_reader *r, void *buf, size_t len)
{
	if (r && r->filter && !lib_may(r->s) && (buf || !len) && len <= SSIZE_MAX)
		return read_decoded(r, buf, len);
	ssize_t got = dvfs_reader_pread(r, buf, len, r ? r->off : 0);
	if (got > 0)
		r->off += (uint64_t)got;
	return got;
}

void dvfs_reader_close(struct dvfs_reader **reader)
{
	struct dvfs_reader *r = reader ? *reader : NULL;
	if (!r || lib_may(r->s) == -EDEADLK)
		return;
	*reader = NULL;
	if (lib_may(r->s))
		return;
	let_go(r->s, r->node);
	lib_filter_free(&r->filter);
	lib_leave(r->s);
	free(r->buf);
	free(r);
}

/* ---- at once ---- */

/* All that a codec makes of the value. */
static dv_err read_filtered(struct dvfs *s, const char *key, char **buf, size_t *len)
{
	struct dvfs_reader *r = NULL;
	size_t room = 0;
	ssize_t got = dvfs_reader_open(s, key, 0, &r);
	while (!got) {
		if (room - *len < CHUNK) {
			room = room ? room * 2 : 2 * CHUNK;
			char *grown = realloc(*buf, room + 1);
			if (!grown) {
				got = -ENOMEM;
				break;
			}
			*buf = grown;
		}
		got = dvfs_reader_read(r, *buf + *len, room - *len);
		if (got <= 0)
			break;
		*len += (size_t)got;
		got = 0;
	}
	dvfs_reader_close(&r);
	return (dv_err)got;
}

static dv_err read_once(struct dvfs *s, const char *key, char **buf, size_t *len)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	dv_err err = lib_find(s, key, &n, &st);
	if (err)
		return err;
	if (st.size >= SSIZE_MAX)
		err = -EFBIG;
	else if (!(*buf = malloc((size_t)st.size + 1)))
		err = -ENOMEM;
	ssize_t got =
		err ? err
		    : dv_store_read(s->store, &lib_call, n, *buf, (struct dv_range){0, st.size});
	dv_node_unref(s->store, n);
	if (got < 0)
		return (dv_err)got;
	*len = (size_t)got;
	return 0;
}

int dvfs_read(struct dvfs *s, const char *key, void **buf, size_t *len)
{
	DV_AUTO_FREE char *bytes = NULL;
	size_t got = 0;
	if (!buf || !len)
		return -EINVAL;
	*buf = NULL;
	*len = 0;
	dv_err err = lib_enter(s);
	if (err)
		return err;
	err = -ESTALE;
	for (unsigned tries = 0; err == -ESTALE && tries < LIB_TRIES; tries++) {
		free(dv_take_ptr(&bytes));
		got = 0;
		err = s->has_codec ? read_filtered(s, key, &bytes, &got)
				   : read_once(s, key, &bytes, &got);
	}
	lib_leave(s);
	if (err)
		return err;
	bytes[got] = '\0';
	*buf = dv_take_ptr(&bytes);
	*len = got;
	return 0;
}

/* ---- facts ---- */

int dvfs_has(struct dvfs *s, const char *key)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	dv_err err = lib_enter(s);
	if (err)
		return err;
	err = lib_find(s, key, &n, &st);
	if (!err)
		dv_node_unref(s->store, n);
	lib_leave(s);
	return err ? err == -ENOENT ? 0 : err : 1;
}

int dvfs_stat(struct dvfs *s, const char *key, struct dvfs_value *out)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	if (!out)
		return -EINVAL;
	dv_err err = lib_enter(s);
	if (err)
		return err;
	err = lib_find(s, key, &n, &st);
	if (err) {
		lib_leave(s);
		return err;
	}
	*out = (struct dvfs_value){
		.size = st.size,
		.stored_bytes = st.blocks * 512,
		.mtime = st.mtime,
		.atime = st.atime,
		.mode = st.mode & 07777,
		.uid = st.uid,
		.gid = st.gid,
		.links = st.nlink,
		.ino = st.ino,
		.packed = dv_node_form(s->store, n) == DV_FORM_PACKED,
	};
	dv_node_unref(s->store, n);
	lib_leave(s);
	return 0;
}
