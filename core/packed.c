/* SPDX-License-Identifier: MIT */
/*
 * packed.c - see packed.h.
 *
 * The cache is keyed by (dev, ino, birth, ctime, stored size) of the file that was read, and the
 * frame's number.
 *
 * A packed value's plain size is found once for each state of its file: from the tag, else from the
 * seek table or the frames. Where that was much work, the tag keeps it.
 */
#include "core/packed_private.h"

#include "core/cleanup.h"
#include "core/codec.h"
#include "core/deflate.h"
#include "core/foreign.h"
#include "core/format.h"
#include "core/io.h"
#include "core/log.h"
#include "core/place.h"
#include "core/sealed.h"
#include "core/walk.h"
#include "core/walk_own.h"

#include <inttypes.h>
#include <string.h>

#define STREAM_BYTES (512u << 10) /* a read this long is part of a stream */
#define BAD_AGE_S    2
#define READ_TRIES   16
#define SEALED_TAG   (32u << 10) /* ..of a sealed one: less is decoded soon */
#define LONG_WALK    (16u << 20) /* stored bytes of a file whose walk is worth a tag */

/* ---- sizes ---- */

bool dv_facts_get(struct dv_store *s, struct dv_node *n, const struct dv_stat *st,
		  struct dv_facts *out)
{
	struct dv_version v = dv_version_of(st);
	pthread_mutex_lock(&s->facts_lock);
	*out = n->facts;
	pthread_mutex_unlock(&s->facts_lock);
	return out->known && dv_version_equal(&v, &out->version);
}

void dv_facts_set(struct dv_store *s, struct dv_node *n, const struct dv_facts *facts)
{
	pthread_mutex_lock(&s->facts_lock);
	n->facts = *facts;
	pthread_mutex_unlock(&s->facts_lock);
}

bool dv_facts_from_tag(const struct dv_tag *tag, const struct dv_stat *st, struct dv_facts *out)
{
	/* Of several frames the number is not in it. What a tag says is never trusted: whoever
	 * decodes finds out. */
	if (!tag->has_size || (!tag->single && !tag->stream))
		return false;
	*out = (struct dv_facts){.version = dv_version_of(st),
				 .plain_size = tag->plain_size,
				 .frames = 1,
				 .single = tag->single,
				 .stream = tag->stream,
				 .known = true};
	return true;
}

bool dv_facts_are_bad(dv_err err)
{
	return err == -EBADMSG || err == -EFBIG || err == -EOPNOTSUPP;
}

/* Damage is told once and remembered, so that it is not looked for at every stat; not where the
 * file may be being written. */
static void tell_bad(struct dv_store *s, struct dv_node *n, const struct dv_stat *st, dv_err err,
		     const char *why)
{
	char path[512], text[1024];
	const char *reason = why[0] ? why : strerror(-err);
	dv_node_path(s, n, path, sizeof(path));
	dv_warn("%s can not be read, its packed file is damaged or not supported: %s",
		dv_log_key(text, sizeof(text), path), reason);
	dv_log_note("%s", reason);
	dv_count_error(s, err);
	if (dv_is_within(st->ctime, BAD_AGE_S))
		return;
	/* Not 0: reading is to tell EIO, not an early end. */
	struct dv_facts facts = {.version = dv_version_of(st),
				 .plain_size = st->size ? st->size : 1,
				 .err = (int16_t)err,
				 .known = true};
	dv_facts_set(s, n, &facts);
}

/* What was much work to find is kept in the tag, and the ctime that this moves is shown as it
 * was. */
static void keep_in_tag(struct dv_store *s, struct dv_node *n, int fd, const struct dv_stat *st,
			struct dv_facts *facts)
{
	struct dv_stat now;
	struct dv_ident id = dv_ident_of(st);
	bool kept = dv_time_ns(st->ctime) == n->real_ctime_ns;
	struct dv_tag tag = {.st_ino = n->ino,
			     .generation = n->generation,
			     .has_size = true,
			     .plain_size = facts->plain_size,
			     .stored_size = st->size,
			     .single = facts->single,
			     .stream = facts->stream,
			     .mtime = st->mtime,
			     .has_ctime = true,
			     .ctime = kept ? dv_time_of_ns(n->kept_ctime_ns) : st->ctime};
	if (s->options.read_only || !s->has_xattrs)
		return;
	clock_gettime(CLOCK_REALTIME, &tag.swapped);
	dv_tag_store(s, fd, &id, &tag);
	if (DV_B(s, stat, fd, "", &now) || now.size != st->size ||
	    now.mtime.tv_sec != st->mtime.tv_sec || now.mtime.tv_nsec != st->mtime.tv_nsec)
		return; /* written by others meanwhile: what was found is not for this state */
	facts->version = dv_version_of(&now);
	n->kept_ctime_ns = dv_time_ns(tag.ctime);
	n->real_ctime_ns = dv_time_ns(now.ctime);
}

static void tell_torn(struct dv_store *s, struct dv_node *n)
{
	char path[512], text[1024];
	dv_node_path(s, n, path, sizeof(path));
	dv_warn("%s ends in a frame that is not whole, which is left out: adding to it was cut "
		"short",
		dv_log_key(text, sizeof(text), path));
}

dv_err dv_packed_facts(struct dv_store *s, struct dv_node *n, struct dv_file *f, bool nowait,
		       struct dv_facts *out)
{
	struct dv_stat st;
	struct dv_tag tag;
	dv_err err = DV_B(s, stat, f->fd, "", &st);
	if (err)
		return err;
	if (dv_facts_get(s, n, &st, out))
		return out->err;
	if (dv_tag_load_fd(s, f->fd, &st, &tag) && dv_facts_from_tag(&tag, &st, out)) {
		dv_facts_set(s, n, out);
		return 0;
	}
	struct dv_walk w;
	bool walked, torn;
	err = dv_load_layout(s, f->fd, st.size, nowait, &w, &walked, &torn);
	if (!err) {
		*out = (struct dv_facts){.version = dv_version_of(&st),
					 .frames = w.stream ? 1 : (uint32_t)w.frames,
					 .single = walked && w.frames == 1 && !torn,
					 .stream = w.stream,
					 .plain_size = w.plain_size,
					 .known = true};
		if (torn)
			tell_torn(s, n);
		else if ((w.decoded && st.size >= (dv_is_sealed(s) ? SEALED_TAG : 0)) || w.stream ||
			 (walked && st.size >= LONG_WALK))
			keep_in_tag(s, n, f->fd, &st, out);
		dv_facts_set(s, n, out);
	} else if (dv_facts_are_bad(err)) {
		tell_bad(s, n, &st, err, w.why);
	}
	dv_layout_release(&w.layout);
	return err;
}

/* ---- frames ---- */

static struct dv_cache_key cache_key(const struct dv_stat *st)
{
	uint64_t version = dv_cache_version(dv_time_ns(st->btime), dv_time_ns(st->ctime), st->size);
	return (struct dv_cache_key){.dev = st->dev, .ino = st->ino, .version = version};
}

static dv_err decode(struct dv_store *s, int fd, const struct dv_frame *fr, void *out, bool nowait)
{
	DV_AUTO_FREE void *stored = malloc(fr->stored_len ? fr->stored_len : 1);
	if (!stored)
		return -ENOMEM;
	dv_err err;
	if (nowait) {
		ssize_t n = DV_B(s, pread_nowait, fd, stored, fr->stored_len, fr->stored_off);
		err = n == (ssize_t)fr->stored_len ? 0 : -EAGAIN;
	} else {
		err = dv_read_full(s, fd, stored, fr->stored_len, fr->stored_off);
	}
	if (!err)
		err = dv_is_sealed(s)
			      ? dv_inflate(&s->coding, stored, fr->stored_len, out, fr->plain_len)
			      : dv_codec_decode(stored, fr->stored_len, out, fr->plain_len);
	if (!err)
		dv_count(s, frames_decoded, 1);
	return err;
}

/* More stored than plain bytes, by far: a million blocks of nothing. No buffer is made for that; such a
 * frame is decoded as it is read (is_unit). */
static bool is_mostly_headers(const struct dv_frame *fr)
{
	return fr->stored_len > fr->plain_len * 2u + (1u << 20);
}

/* fr is none of a unit's (foreign.h). */
dv_err dv_decode_frame(struct dv_store *s, int fd, const struct dv_frame *fr, void *out,
		       bool nowait)
{
	if (is_mostly_headers(fr))
		return -EBADMSG;
	/* Large frames by many threads at once would be more memory than the cache. */
	size_t bytes = (size_t)(fr->stored_len + fr->plain_len);
	bool counts = bytes > DV_DECODE_BYTES_FROM;
	if (counts)
		dv_budget_take(&s->decoding, bytes);
	dv_err err = decode(s, fd, fr, out, nowait);
	if (counts)
		dv_budget_give(&s->decoding, bytes);
	return err;
}

struct packed {
	struct dv_store *s;
	int fd;
	struct dv_stat st;
	struct dv_cache_key key; /* of its parts; their numbers are put in */
	struct dv_facts facts;
	struct dv_cache_entry *layout_entry;
	struct dv_layout layout; /* a view of the entry; or of the two words below */
	uint64_t one_stored, one_plain;
	uint64_t bad_at; /* where the frame lies that could not be decoded */
};

/* Fills a cache entry with the layout. */
static dv_err fill_layout(struct packed *p, struct dv_cache_entry *e)
{
	uint64_t *ends = e->data;
	struct dv_layout l = {
		.room = p->facts.frames, .stored_end = ends, .plain_end = ends + p->facts.frames};
	return dv_fill_layout(p->s, p->fd, p->st.size, &l);
}

static dv_err packed_open(struct packed *p, struct dv_node *n, struct dv_file *f, bool nowait)
{
	struct dv_store *s = p->s;
	p->fd = f->fd;
	p->layout_entry = NULL;
	dv_err err = DV_B(s, stat, p->fd, "", &p->st);
	if (err)
		return err;
	p->key = cache_key(&p->st);
	if (!dv_facts_get(s, n, &p->st, &p->facts)) {
		if (nowait && p->st.size > DV_INLINE_STORED_MAX)
			return -EAGAIN;
		err = dv_packed_facts(s, n, f, nowait, &p->facts);
		if (err)
			return err;
	}
	if (p->facts.err) {
		dv_log_note("what is wrong was told when it was looked at first");
		return p->facts.err;
	}
	if (p->facts.single || p->facts.stream || p->facts.frames == 0) {
		p->one_stored = p->st.size;
		p->one_plain = p->facts.plain_size;
		p->layout = (struct dv_layout){.count = p->facts.frames,
					       .stored_end = &p->one_stored,
					       .plain_end = &p->one_plain};
		return 0;
	}
	struct dv_cache_key key = p->key;
	key.part = DV_CACHE_LAYOUT;
	int got = dv_cache_get(s->cache, &key, (size_t)p->facts.frames * 16, nowait,
			       &p->layout_entry);
	if (got == DV_CACHE_BUSY)
		return -EAGAIN;
	if (got < 0)
		return got;
	if (got == DV_CACHE_FILL) {
		err = fill_layout(p, p->layout_entry);
		if (err) {
			dv_cache_failed(s->cache, p->layout_entry, err);
			p->layout_entry = NULL;
			return err;
		}
		dv_cache_filled(s->cache, p->layout_entry);
	}
	uint64_t *ends = p->layout_entry->data;
	p->layout = (struct dv_layout){
		.count = p->facts.frames, .stored_end = ends, .plain_end = ends + p->facts.frames};
	return 0;
}

static struct dv_cache_key part_key(const struct packed *p, uint64_t part)
{
	struct dv_cache_key key = p->key;
	key.part = part;
	return key;
}

static void packed_close(struct packed *p)
{
	if (p->layout_entry)
		dv_cache_put(p->s->cache, p->layout_entry);
}

/* Is the frame to be decoded from its start in pieces? */
static bool is_unit(const struct packed *p, const struct dv_frame *fr, struct dv_unit *out)
{
	*out = (struct dv_unit){.fd = p->fd, .key = p->key, .where = *fr};
	return p->facts.stream || fr->plain_len > dv_whole_frame_max(p->s) || is_mostly_headers(fr);
}

/* The decoded frame; small ones that are in memory are decoded even by a caller that may not wait.
 */
static dv_err get_frame(struct packed *p, uint32_t index, bool nowait, struct dv_cache_entry **out)
{
	struct dv_store *s = p->s;
	struct dv_frame fr = dv_layout_frame(&p->layout, index);
	bool small = fr.stored_len <= DV_INLINE_STORED_MAX && fr.plain_len <= DV_FRAME_SIZE_DEFAULT;
	struct dv_cache_key key = part_key(p, index);
	int got = dv_cache_get(s->cache, &key, fr.plain_len, nowait && !small, out);
	if (got == DV_CACHE_BUSY)
		return -EAGAIN;
	if (got < 0)
		return got;
	if (got == DV_CACHE_FILL) {
		dv_err err = dv_decode_frame(s, p->fd, &fr, (*out)->data, nowait);
		if (err) {
			dv_cache_failed(s->cache, *out, err);
			return err;
		}
		dv_cache_filled(s->cache, *out);
	}
	return 0;
}

struct read_job {
	struct packed *p;
	char *buf;
	struct dv_range range; /* clipped */
	uint32_t first;
	bool stream; /* so long a read was asked for, whether or not there is as much */
	bool nowait;
	atomic_int err;
	atomic_ullong bad_at; /* where the frame lies that err is of */
};

static void failed(struct read_job *j, dv_err err, const struct dv_frame *fr)
{
	atomic_store(&j->bad_at, fr->stored_off);
	atomic_store(&j->err, err);
}

/*
 * A long read is a stream: whole frames of it are decoded to where they are wanted. The kernel
 * keeps those pages and does not ask for them again, so that to cache them here would only push out
 * what is asked for again.
 */
static bool streamed(struct read_job *j, uint32_t index, const struct dv_frame *fr)
{
	struct dv_store *s = j->p->s;
	struct dv_cache_key key = part_key(j->p, index);
	struct dv_cache_entry *e = NULL;
	if (j->nowait || !j->stream || fr->plain_off < j->range.off ||
	    fr->plain_off + fr->plain_len > j->range.off + j->range.len)
		return false;
	if (dv_cache_get(s->cache, &key, fr->plain_len, true, &e) == DV_CACHE_HIT) {
		dv_cache_put(s->cache, e);
		return false; /* at hand: to be copied */
	}
	dv_err err =
		dv_decode_frame(s, j->p->fd, fr, j->buf + (fr->plain_off - j->range.off), false);
	if (err)
		failed(j, err, fr);
	return true;
}

static void read_step(void *ctx, size_t i)
{
	struct read_job *j = ctx;
	uint32_t index = j->first + (uint32_t)i;
	struct dv_cache_entry *e = NULL;
	struct dv_frame fr = dv_layout_frame(&j->p->layout, index);
	uint64_t from = fr.plain_off > j->range.off ? fr.plain_off : j->range.off;
	uint64_t frame_end = fr.plain_off + fr.plain_len, range_end = j->range.off + j->range.len;
	uint64_t to = frame_end < range_end ? frame_end : range_end;
	struct dv_unit unit;
	if (from >= to) /* empty, or skippable, of any size */
		return;
	char *at = j->buf + (from - j->range.off);
	dv_err err = 0;
	if (is_unit(j->p, &fr, &unit)) {
		struct dv_range part = {from, to - from};
		err = dv_foreign_read(j->p->s, &unit, at, part, j->nowait);
	} else if (!streamed(j, index, &fr)) {
		err = get_frame(j->p, index, j->nowait, &e);
		if (!err) {
			memcpy(at, (char *)e->data + (from - fr.plain_off), (size_t)(to - from));
			dv_cache_put(j->p->s->cache, e);
		}
	}
	if (err)
		failed(j, err, &fr);
}

/* plain_size: of all frames. */
static ssize_t read_frames(struct packed *p, uint64_t plain_size, void *buf, struct dv_range range,
			   bool nowait)
{
	bool stream = range.len >= STREAM_BYTES;
	if (range.off >= plain_size || !range.len)
		return 0;
	if (range.len > plain_size - range.off)
		range.len = plain_size - range.off;
	struct read_job j = {.p = p,
			     .stream = stream,
			     .buf = buf,
			     .range = range,
			     .nowait = nowait,
			     .first = dv_layout_find(&p->layout, range.off)};
	uint32_t last = dv_layout_find(&p->layout, range.off + range.len - 1);
	size_t count = last - j.first + 1;
	if (nowait || count == 1)
		for (size_t i = 0; i < count && !atomic_load(&j.err); i++)
			read_step(&j, i);
	else
		dv_pool_map(p->s->pool, read_step, &j, count);
	dv_err err = atomic_load(&j.err);
	p->bad_at = atomic_load(&j.bad_at);
	return err ? err : (ssize_t)range.len;
}

/* What was found is not to be explained by one state of the file: was there another one
 * meanwhile? */
static bool changed_meanwhile(struct packed *p, ssize_t got)
{
	struct dv_stat st;
	if (!dv_facts_are_bad((dv_err)got) && got != -ESTALE)
		return false;
	struct dv_version was = dv_version_of(&p->st);
	if (DV_B(p->s, stat, p->fd, "", &st))
		return false;
	struct dv_version now = dv_version_of(&st);
	return !dv_version_equal(&was, &now);
}

/* For whoever logs it: the file, and where in it. */
static void note_damage(struct dv_store *s, struct dv_node *n, uint64_t at)
{
	struct dv_place p;
	const char *stored;
	char shown[256];
	if (dv_place_of(s, n, 0, &p, &stored))
		return;
	dv_log_note("%s: the frame at byte %" PRIu64 " is damaged, or made with bytes that the "
		    "file does not hold (zstd -D, --patch-from)",
		    dv_log_key(shown, sizeof(shown), stored), at);
	dv_place_of_close(s, &p);
}

ssize_t dv_packed_read(struct dv_store *s, struct dv_node *n, struct dv_file *f, void *buf,
		       struct dv_range range, bool nowait)
{
	ssize_t got = 0;
	/* Another mount may add to the file while it is read here. */
	for (unsigned tries = 0; tries < READ_TRIES; tries++) {
		struct packed p = {.s = s};
		bool decoded = false;
		got = packed_open(&p, n, f, nowait);
		if (!got) {
			got = read_frames(&p, p.facts.plain_size, buf, range, nowait);
			packed_close(&p);
			decoded = true;
		}
		if (!changed_meanwhile(&p, got)) {
			if (got == -EBADMSG && decoded)
				note_damage(s, n, p.bad_at);
			break;
		}
	}
	return got;
}

ssize_t dv_frames_read(struct dv_store *s, const struct dv_frames *frames, void *buf,
		       struct dv_range range, bool nowait)
{
	struct packed p = {.s = s,
			   .fd = frames->fd,
			   .key = {.dev = UINT64_MAX, .ino = frames->serial},
			   .layout = *frames->layout};
	return read_frames(&p, dv_layout_plain_size(frames->layout), buf, range, nowait);
}

/* To a reader a file past our limits, or made with a dictionary, is as good as damaged. */
dv_err dv_as_corrupt(dv_err err)
{
	return err == -EFBIG || err == -EOPNOTSUPP ? -EBADMSG : err;
}

dv_err dv_packed_decode(struct dv_store *s, struct dv_node *n, struct dv_file *f, int fd)
{
	struct packed p = {.s = s};
	dv_err err = packed_open(&p, n, f, false);
	if (err)
		return dv_as_corrupt(err);
	uint64_t largest = 0;
	struct dv_unit unit;
	for (uint32_t i = 0; i < p.layout.count; i++) {
		struct dv_frame fr = dv_layout_frame(&p.layout, i);
		if (fr.plain_len > largest && !is_unit(&p, &fr, &unit))
			largest = fr.plain_len;
	}
	DV_AUTO_FREE void *plain = malloc(largest ? (size_t)largest : 1);
	if (!plain)
		err = -ENOMEM;
	for (uint32_t i = 0; !err && i < p.layout.count; i++) {
		struct dv_frame fr = dv_layout_frame(&p.layout, i);
		if (fr.plain_len == 0)
			continue;
		if (is_unit(&p, &fr, &unit)) {
			err = dv_foreign_decode(s, &unit, fd);
			continue;
		}
		err = dv_decode_frame(s, p.fd, &fr, plain, false);
		if (err == -EBADMSG)
			note_damage(s, n, fr.stored_off);
		if (!err)
			err = dv_write_full(s, fd, plain, (size_t)fr.plain_len, fr.plain_off);
	}
	packed_close(&p);
	return dv_as_corrupt(err);
}
