/* SPDX-License-Identifier: MIT */
/*
 * foreign.c - see foreign.h.
 *
 *            kept: RING - 1 pieces         next
 *   unit  ..[......................][......|.....................]..
 *            served by copying             the decoder stands here
 *
 * A reader wants one piece. It takes it out of the ring of a decoder that has just made it; else it
 * drives the nearest decoder before it, a piece at a time, for whoever waits beside it; else it
 * begins a new one. Each decoder is driven by one thread at a time (busy) without the lock, into
 * the one place of the ring that nobody may read.
 *
 * States of a slot: free (no decoder, no error) -> standing <-> busy -> ended (all is made: the
 * ring stays) or failed (the error stays, for the piece `next` and those behind it) -> free. Only
 * slots that are not busy are taken away.
 *
 * Locks: `lock`, under which the cache's are taken and no others. Not held across I/O or decoding.
 */
#include "core/foreign.h"

#include "core/cleanup.h"
#include "core/codec.h"
#include "core/config.h"
#include "core/deflate.h"
#include "core/io.h"
#include "core/sealed.h"
#include "core/walk.h"

#include <string.h>

#define RING	   64u /* 8 MiB: readahead has half of that under way at once (2 MiB twice) */
#define IN_BYTES   (64u << 10)
#define LONG_BYTES (512u << 10) /* a read this long is part of a stream, and not cached */
#define PIECE_PART (UINT64_C(1) << 63)

struct slot {
	struct dv_cache_key key;    /* part: plain_off of the unit */
	struct dv_decoder *decoder; /* one of the two, as the store's layout wants */
	struct dv_inflater *inflater;
	uint64_t next;	    /* piece that it makes next */
	uint64_t stored_at; /* bytes of the unit read */
	size_t in_pos, in_len;
	uint8_t *in;
	uint8_t *ring; /* NULL: the slot is free */
	size_t bytes;  /* memory, as far as it counts */
	bool busy;
	bool whole; /* what was read ends where a frame does */
	dv_err err; /* of the piece `next` */
	uint64_t last_use;
};

struct dv_foreign {
	pthread_mutex_t lock;
	pthread_cond_t moved; /* a slot is not busy any more, or has gone on */
	struct slot slots[DV_FOREIGN_MAX];
	uint64_t uses;
	size_t reserved; /* as the cache was told */
};

dv_err dv_foreign_new(struct dv_foreign **out)
{
	struct dv_foreign *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->moved, NULL);
	*out = f;
	return 0;
}

static void end_decoder(struct slot *t)
{
	dv_decoder_free(&t->decoder);
	dv_inflater_free(&t->inflater);
	free(t->in);
	t->in = NULL;
	t->bytes = t->ring ? RING * DV_PIECE_BYTES : 0;
}

static void free_slot(struct slot *t)
{
	free(t->ring);
	t->ring = NULL;
	end_decoder(t);
	*t = (struct slot){0};
}

void dv_foreign_free(struct dv_foreign **f)
{
	if (!*f)
		return;
	for (unsigned i = 0; i < DV_FOREIGN_MAX; i++)
		free_slot(&(*f)->slots[i]);
	pthread_cond_destroy(&(*f)->moved);
	pthread_mutex_destroy(&(*f)->lock);
	free(*f);
	*f = NULL;
}

uint64_t dv_whole_frame_max(const struct dv_store *s)
{
	uint64_t share = s->options.cache_bytes / 8;
	if (share > DV_FRAME_PLAIN_MAX)
		return DV_FRAME_PLAIN_MAX;
	return share < DV_FRAME_SIZE_MAX ? DV_FRAME_SIZE_MAX : share;
}

static size_t decoder_bytes(const struct slot *t)
{
	return t->inflater ? dv_inflater_bytes() : dv_decoder_bytes(t->decoder);
}

/* ---- decoding ---- */

static uint64_t piece_len(const struct dv_unit *u, uint64_t piece)
{
	uint64_t left = u->where.plain_len - piece * DV_PIECE_BYTES;
	return left < DV_PIECE_BYTES ? left : DV_PIECE_BYTES;
}

/* One step; reads on where the last bytes are used up. *made: bytes written. -EBADMSG: the unit
 * ends before its frames do. */
static dv_err step(struct dv_store *s, const struct dv_unit *u, struct slot *t, void *out,
		   size_t room, size_t *made)
{
	uint64_t left = u->where.stored_len - t->stored_at;
	if (t->in_pos == t->in_len && left) {
		t->in_len = left < IN_BYTES ? (size_t)left : IN_BYTES;
		t->in_pos = 0;
		dv_err err = dv_read_full(s, u->fd, t->in, t->in_len,
					  u->where.stored_off + t->stored_at);
		if (err)
			return err;
		t->stored_at += t->in_len;
		left -= t->in_len;
	}
	size_t before = t->in_pos;
	int done = 0;
	ssize_t n = t->inflater ? dv_inflater_step(t->inflater, t->in, t->in_len, &t->in_pos, out,
						   room, &done)
				: dv_decoder_step(t->decoder, t->in, t->in_len, &t->in_pos, out,
						  room, &done);
	if (n < 0)
		return (dv_err)n;
	if (done || n || t->in_pos != before)
		t->whole = done;
	*made = (size_t)n;
	return n == 0 && !done && t->in_pos == t->in_len && !left ? -EBADMSG : 0;
}

static bool used_up(const struct dv_unit *u, const struct slot *t)
{
	return t->in_pos == t->in_len && t->stored_at == u->where.stored_len;
}

/* The unit must end with its last plain byte: nothing more comes of what is left. */
static dv_err check_end(struct dv_store *s, const struct dv_unit *u, struct slot *t)
{
	dv_err err = 0;
	while (!err && !(used_up(u, t) && t->whole)) {
		uint8_t more;
		size_t made = 0;
		err = step(s, u, t, &more, 1, &made);
		if (!err && made)
			err = -EBADMSG;
	}
	return err;
}

/* Makes the piece t->next. */
static dv_err make_piece(struct dv_store *s, const struct dv_unit *u, struct slot *t, uint8_t *out)
{
	size_t want = (size_t)piece_len(u, t->next), have = 0;
	dv_err err = 0;
	while (!err && have < want) {
		size_t made = 0;
		err = step(s, u, t, out + have, want - have, &made);
		have += made;
	}
	if (!err && t->next * DV_PIECE_BYTES + want == u->where.plain_len)
		err = check_end(s, u, t);
	return err == -EFBIG || err == -EOPNOTSUPP ? -EBADMSG : err;
}

static dv_err open_decoder(struct dv_store *s, struct slot *t)
{
	t->in = malloc(IN_BYTES);
	dv_err err = !t->in	       ? -ENOMEM
		     : dv_is_sealed(s) ? dv_inflater_new(&s->coding, &t->inflater)
				       : dv_decoder_new(&t->decoder);
	if (err)
		end_decoder(t);
	return err;
}

dv_err dv_foreign_decode(struct dv_store *s, const struct dv_unit *u, int to)
{
	struct slot t = {0};
	DV_AUTO_FREE uint8_t *piece = malloc(DV_PIECE_BYTES);
	if (!piece)
		return -ENOMEM;
	pthread_mutex_lock(&s->bulk_lock);
	dv_err err = open_decoder(s, &t);
	while (!err && t.next * DV_PIECE_BYTES < u->where.plain_len) {
		uint64_t off = t.next * DV_PIECE_BYTES;
		err = make_piece(s, u, &t, piece);
		if (!err)
			err = dv_write_full(s, to, piece, (size_t)piece_len(u, t.next),
					    u->where.plain_off + off);
		t.next++;
	}
	end_decoder(&t);
	pthread_mutex_unlock(&s->bulk_lock);
	return err;
}

/* ---- slots; all with the lock held ---- */

static bool same_unit(const struct slot *t, const struct dv_cache_key *key)
{
	return t->ring && t->key.dev == key->dev && t->key.ino == key->ino &&
	       t->key.version == key->version && t->key.part == key->part;
}

static bool in_ring(const struct slot *t, uint64_t piece)
{
	return piece < t->next && piece + RING > t->next;
}

/* The slot that has the piece, or is to make it; NULL: none. */
static struct slot *find_slot(struct dv_foreign *f, const struct dv_cache_key *key, uint64_t piece)
{
	struct slot *best = NULL;
	for (unsigned i = 0; i < DV_FOREIGN_MAX; i++) {
		struct slot *t = &f->slots[i];
		if (!same_unit(t, key))
			continue;
		if (in_ring(t, piece))
			return t;
		if (t->next <= piece && (!best || t->next > best->next))
			best = t;
	}
	return best;
}

static size_t total_bytes(const struct dv_foreign *f)
{
	size_t sum = 0;
	for (unsigned i = 0; i < DV_FOREIGN_MAX; i++)
		sum += f->slots[i].bytes;
	return sum;
}

size_t dv_foreign_bytes(struct dv_foreign *f)
{
	pthread_mutex_lock(&f->lock);
	size_t bytes = total_bytes(f);
	pthread_mutex_unlock(&f->lock);
	return bytes;
}

/* Of those that are not busy the one used longest ago, but for `keep`. NULL: none. */
static struct slot *oldest(struct dv_foreign *f, const struct slot *keep)
{
	struct slot *t = NULL;
	for (unsigned i = 0; i < DV_FOREIGN_MAX; i++) {
		struct slot *o = &f->slots[i];
		if (o->ring && !o->busy && o != keep && (!t || o->last_use < t->last_use))
			t = o;
	}
	return t;
}

/* Takes decoders away until all fit the bound, or all that are left are in use. */
static void stay_within(struct dv_store *s, size_t more, const struct slot *keep)
{
	struct dv_foreign *f = s->foreign;
	size_t bound = s->options.cache_bytes / 2;
	struct slot *t;
	if (bound < DV_FOREIGN_BYTES_MIN)
		bound = DV_FOREIGN_BYTES_MIN;
	while (total_bytes(f) + more > bound && (t = oldest(f, keep)))
		free_slot(t);
	size_t now = total_bytes(f);
	if (now != f->reserved)
		dv_cache_reserve(s->cache, now);
	f->reserved = now;
}

/* A slot for the unit, at its start. *out NULL: all are in use, one will be free. */
static dv_err begin(struct dv_store *s, const struct dv_cache_key *key, struct slot **out)
{
	struct dv_foreign *f = s->foreign;
	struct slot *t = NULL;
	stay_within(s, RING * DV_PIECE_BYTES + IN_BYTES, NULL);
	for (unsigned i = 0; i < DV_FOREIGN_MAX && !t; i++)
		if (!f->slots[i].ring)
			t = &f->slots[i];
	if (!t && (t = oldest(f, NULL)))
		free_slot(t);
	*out = t;
	if (!t)
		return 0;
	*t = (struct slot){.key = *key};
	t->ring = malloc((size_t)RING * DV_PIECE_BYTES);
	dv_err err = t->ring ? open_decoder(s, t) : -ENOMEM;
	if (err) {
		free_slot(t);
		*out = NULL;
		return err;
	}
	t->bytes = RING * DV_PIECE_BYTES + IN_BYTES + decoder_bytes(t);
	return 0;
}

/* Makes t's next piece, without the lock meanwhile. */
static void drive(struct dv_store *s, const struct dv_unit *u, struct slot *t)
{
	struct dv_foreign *f = s->foreign;
	t->busy = true;
	pthread_mutex_unlock(&f->lock);
	dv_err err = make_piece(s, u, t, t->ring + t->next % RING * DV_PIECE_BYTES);
	pthread_mutex_lock(&f->lock);
	t->busy = false;
	t->err = err;
	t->next += !err;
	t->bytes = RING * DV_PIECE_BYTES + IN_BYTES + decoder_bytes(t);
	if (err || t->next * DV_PIECE_BYTES >= u->where.plain_len)
		end_decoder(t);
	if (err && err != -EBADMSG) /* of the disk, or of memory: the next one tries again */
		t->key.part = UINT64_MAX;
	stay_within(s, 0, t);
	pthread_cond_broadcast(&f->moved);
	dv_count(s, pieces_decoded, !err);
}

/* May a decoder at `next` go on to piece in one read? */
static bool within_reach(const struct dv_unit *u, uint64_t next, uint64_t piece)
{
	uint64_t stored =
		u->where.stored_len < UINT64_C(1) << 56 ? u->where.stored_len : UINT64_C(1) << 56;
	return (piece - next) * DV_PIECE_BYTES <=
	       DV_FOREIGN_SKIP_MAX + stored * (uint64_t)DV_WALK_GAIN_MAX;
}

/* Copies [from, from + len) of the piece to out. */
static dv_err take(struct dv_store *s, const struct dv_unit *u, uint64_t piece, size_t from,
		   size_t len, void *out)
{
	struct dv_foreign *f = s->foreign;
	struct dv_cache_key key = u->key;
	dv_err err = 0;
	key.part = u->where.plain_off;
	pthread_mutex_lock(&f->lock);
	while (!err) {
		struct slot *t = find_slot(f, &key, piece);
		if (!t)
			err = begin(s, &key, &t);
		if (err)
			break;
		if (!t || (t->busy && !in_ring(t, piece))) {
			pthread_cond_wait(&f->moved, &f->lock);
			continue;
		}
		t->last_use = ++f->uses;
		if (in_ring(t, piece)) {
			memcpy(out, t->ring + piece % RING * DV_PIECE_BYTES + from, len);
			break;
		}
		if (!t->err && within_reach(u, t->next, piece))
			drive(s, u, t);
		else if (!t->err)
			err = -EFBIG;
		err = err ? err : t->err;
	}
	pthread_mutex_unlock(&f->lock);
	return err;
}

/* ---- reading ---- */

/* One piece through the cache. */
static dv_err take_cached(struct dv_store *s, const struct dv_unit *u, uint64_t piece, size_t from,
			  size_t len, void *out, bool nowait)
{
	struct dv_cache_key key = u->key;
	struct dv_cache_entry *e = NULL;
	size_t all = (size_t)piece_len(u, piece);
	key.part = PIECE_PART | (u->where.plain_off + piece * DV_PIECE_BYTES);
	int got = dv_cache_get(s->cache, &key, all, nowait, &e);
	if (got == DV_CACHE_BUSY)
		return -EAGAIN;
	if (got < 0)
		return got;
	if (got == DV_CACHE_FILL) {
		dv_err err = take(s, u, piece, 0, all, e->data);
		if (err) {
			dv_cache_failed(s->cache, e, err);
			return err;
		}
		dv_cache_filled(s->cache, e);
	}
	memcpy(out, (char *)e->data + from, len);
	dv_cache_put(s->cache, e);
	return 0;
}

dv_err dv_foreign_read(struct dv_store *s, const struct dv_unit *u, char *buf,
		       struct dv_range range, bool nowait)
{
	bool cached = nowait || range.len < LONG_BYTES;
	uint64_t off = range.off - u->where.plain_off;
	dv_err err = 0;
	for (uint64_t done = 0; !err && done < range.len;) {
		uint64_t piece = (off + done) / DV_PIECE_BYTES;
		size_t from = (size_t)((off + done) % DV_PIECE_BYTES);
		uint64_t len = piece_len(u, piece) - from;
		if (len > range.len - done)
			len = range.len - done;
		if (cached)
			err = take_cached(s, u, piece, from, (size_t)len, buf + done, nowait);
		else
			err = take(s, u, piece, from, (size_t)len, buf + done);
		done += len;
	}
	return err;
}
