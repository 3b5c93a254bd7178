/* SPDX-License-Identifier: MIT */
/* tail.c - see tail.h. The frames are made in tail_frames.c. */
#include "core/tail_private.h"

#include "core/cleanup.h"
#include "core/fnv.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/packed.h"

#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>

#define COPY_BYTES (256u << 10)
#define MARK_BYTES 4096u

void dv_tail_packed_name(uint64_t id, char out[DV_TAIL_NAME])
{
	snprintf(out, DV_TAIL_NAME, "%" PRIx64 ".z", id);
}

void dv_tail_segment_name(uint64_t id, uint64_t start, char out[DV_TAIL_NAME])
{
	snprintf(out, DV_TAIL_NAME, "%" PRIx64 ".%" PRIx64, id, start);
}

dv_err dv_tail_new(struct dv_store *s, struct dv_file *packed, int dirfd, uint64_t id,
		   struct dv_tail **out)
{
	struct dv_tail *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->packed = packed;
	atomic_fetch_add(&packed->refs, 1);
	dv_layout_init(&t->frames);
	t->dirfd = dirfd;
	t->id = id;
	t->serial = atomic_fetch_add(&s->tails, 1);
	*out = t;
	return 0;
}

static void free_segment(struct dv_store *s, struct dv_segment *g)
{
	dv_file_unref(s, g->file);
	free(g);
}

void dv_tail_free(struct dv_store *s, struct dv_tail *t)
{
	if (!t)
		return;
	while (t->first) {
		struct dv_segment *g = t->first;
		t->first = g->next;
		free_segment(s, g);
	}
	dv_file_unref(s, t->packed);
	dv_layout_release(&t->frames);
	free(t->checksums);
	free(t);
}

uint64_t dv_tail_plain(const struct dv_tail *t)
{
	return dv_layout_plain_size(&t->frames);
}

uint64_t dv_tail_stored(const struct dv_tail *t)
{
	return dv_layout_stored_size(&t->frames);
}

dv_err dv_tail_add_frame(struct dv_tail *t, uint64_t stored_len, uint64_t plain_len,
			 uint32_t checksum)
{
	if (((uint64_t)t->frames.count + 1) * 16 > DV_LAYOUT_BYTES_MAX)
		return -EFBIG;
	if (t->frames.count == t->checksums_room) {
		size_t room = t->checksums_room ? t->checksums_room * 2 : 64;
		uint32_t *grown = realloc(t->checksums, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		t->checksums = grown;
		t->checksums_room = room;
	}
	t->checksums[t->frames.count] = checksum;
	dv_err err = dv_layout_add(&t->frames, stored_len, plain_len);
	if (!err && dv_tail_plain(t) > t->size)
		t->size = dv_tail_plain(t);
	return err;
}

/* ---- segments ---- */

static void link_segment(struct dv_tail *t, struct dv_segment *g)
{
	if (t->last)
		t->last->next = g;
	else
		t->first = g;
	t->last = g;
	if (g->start + g->len > t->size)
		t->size = g->start + g->len;
}

dv_err dv_tail_adopt_segment(struct dv_store *s, struct dv_tail *t, const char *name,
			     struct dv_file *f, struct dv_range bytes)
{
	struct dv_segment *g = calloc(1, sizeof(*g));
	if (!g) {
		dv_file_unref(s, f);
		return -ENOMEM;
	}
	snprintf(g->name, sizeof(g->name), "%s", name);
	g->file = f;
	g->start = bytes.off;
	g->len = bytes.len;
	link_segment(t, g);
	return 0;
}

dv_err dv_tail_add_segment(struct dv_store *s, struct dv_tail *t)
{
	char name[DV_TAIL_NAME];
	dv_tail_segment_name(t->id, t->size, name);
	struct dv_file *f = NULL;
	struct dv_stat st;
	dv_err err = dv_journal_make_file(s, name, &f);
	if (err)
		return err;
	err = dv_tail_adopt_segment(s, t, name, f, (struct dv_range){t->size, 0});
	if (err)
		dv_ignore(DV_B(s, unlink, t->dirfd, name)); /* swept by the next owner */
	else /* whose ctime was looked at gets another one by the next write, even in the same tick */
		dv_ignore(DV_B(s, stat, f->fd, "", &st));
	t->named = true;
	return err;
}

static void unlink_segment(struct dv_store *s, struct dv_tail *t, const struct dv_segment *g)
{
	dv_ignore(DV_B(s, unlink, t->dirfd, g->name)); /* swept by the next owner */
}

bool dv_tail_drop(struct dv_store *s, struct dv_tail *t, uint64_t plain, bool promised)
{
	bool left = false;
	for (struct dv_segment **at = &t->first, *g; (g = *at) != t->last;) {
		if (g->start + g->len > plain)
			break;
		if (g->kept || (g->promised && !promised)) {
			left |= !g->kept;
			at = &g->next;
			continue;
		}
		*at = g->next;
		unlink_segment(s, t, g);
		free_segment(s, g);
	}
	return left;
}

void dv_tail_punch(struct dv_store *s, struct dv_tail *t, uint64_t plain)
{
	for (struct dv_segment *g = t->first; g && g->start < plain; g = g->next) {
		uint64_t end = g->start + g->len < plain ? g->start + g->len : plain;
		if (g->kept || end == g->start)
			continue;
		g->punched = true;
		dv_ignore(DV_B(s, fallocate, g->file->fd,
			       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			       end - dv_segment_base(g->start)));
	}
}

void dv_tail_unlink(struct dv_store *s, struct dv_tail *t, const char *except)
{
	for (struct dv_segment *g = t->first; g; g = g->next)
		if (!except || strcmp(g->name, except) != 0)
			unlink_segment(s, t, g);
}

/* Where a segment ends: at the end of a page, so that what lies in one sector of a raw file lies in
 * one here. */
static uint64_t segment_end(const struct dv_store *s, const struct dv_segment *g)
{
	return dv_segment_base(g->start + s->limits.segment_bytes + 4095);
}

/* As many of the bytes as the last segment takes. -> how many */
static ssize_t append_part(struct dv_store *s, struct dv_tail *t, const char *buf, size_t len)
{
	dv_err err = 0;
	if (!t->last || t->size >= segment_end(s, t->last))
		err = dv_tail_add_segment(s, t);
	if (err)
		return err;
	struct dv_segment *g = t->last;
	uint64_t room = segment_end(s, g) - t->size;
	ssize_t w = DV_B(s, pwrite, g->file->fd, buf, len < room ? len : (size_t)room,
			 t->size - dv_segment_base(g->start));
	if (w <= 0)
		return w ? w : -EIO;
	g->len += (size_t)w;
	t->size += (size_t)w;
	return w;
}

/* Cuts the value to a size that lies in segment g, or at its end. */
static dv_err cut_back(struct dv_store *s, struct dv_tail *t, struct dv_segment *g, uint64_t size)
{
	dv_err err = g ? DV_B(s, truncate, g->file->fd, size - dv_segment_base(g->start)) : -EINVAL;
	if (err)
		return err;
	while (g->next) {
		struct dv_segment *next = g->next;
		g->next = next->next;
		unlink_segment(s, t, next);
		free_segment(s, next);
	}
	t->last = g;
	t->size = size;
	g->len = size - g->start;
	return 0;
}

ssize_t dv_tail_append(struct dv_store *s, struct dv_tail *t, const void *buf, size_t len)
{
	struct dv_segment *before = t->last;
	uint64_t size = t->size;
	size_t done = 0;
	dv_err err = 0;
	while (!err && done < len) {
		ssize_t w = append_part(s, t, (const char *)buf + done, len - done);
		if (w < 0)
			err = (dv_err)w;
		else
			done += (size_t)w;
	}
	/* Who is to write it again once there is room does so from where it began. */
	if (err && done && cut_back(s, t, before, size) == 0)
		done = 0;
	return done ? (ssize_t)done : err;
}

/* ---- reading ---- */

/* From the segments; len bytes are there, and begin at or after the first segment. */
static dv_err read_segments(struct dv_store *s, struct dv_tail *t, char *buf, size_t len,
			    uint64_t off, bool nowait)
{
	struct dv_segment *g = t->first;
	while (len) {
		while (g && off >= g->start + g->len)
			g = g->next;
		if (!g || off < g->start)
			return -EBADMSG;
		uint64_t left = g->start + g->len - off;
		size_t part = left < len ? (size_t)left : len;
		dv_err err = 0;
		if (!nowait) {
			err = dv_read_full(s, g->file->fd, buf, part,
					   off - dv_segment_base(g->start));
		} else {
			ssize_t n = DV_B(s, pread_nowait, g->file->fd, buf, part,
					 off - dv_segment_base(g->start));
			err = n == (ssize_t)part ? 0 : -EAGAIN;
		}
		if (err)
			return err;
		buf += part;
		off += part;
		len -= part;
	}
	return 0;
}

dv_err dv_tail_read_plain(struct dv_store *s, struct dv_tail *t, void *buf, size_t len,
			  uint64_t off)
{
	return read_segments(s, t, buf, len, off, false);
}

static struct dv_frames frames_of(const struct dv_tail *t)
{
	return (struct dv_frames){.fd = t->packed->fd, .serial = t->serial, .layout = &t->frames};
}

ssize_t dv_tail_read(struct dv_store *s, struct dv_tail *t, void *buf, struct dv_range range,
		     bool nowait)
{
	struct dv_frames frames = frames_of(t);
	uint64_t plain = dv_tail_plain(t);
	if (range.off >= t->size)
		return 0;
	if (range.len > t->size - range.off)
		range.len = t->size - range.off;
	size_t done = 0;
	if (range.off < plain) {
		ssize_t got = dv_frames_read(s, &frames, buf, range, nowait);
		if (got < 0)
			return got;
		done = (size_t)got;
	}
	dv_err err = done < range.len
			     ? read_segments(s, t, (char *)buf + done, (size_t)range.len - done,
					     range.off + done, nowait)
			     : 0;
	return err ? err : (ssize_t)range.len;
}

dv_err dv_tail_copy(struct dv_store *s, struct dv_tail *t, uint64_t off, int fd)
{
	DV_AUTO_FREE char *buf = malloc(COPY_BYTES);
	dv_err err = buf ? 0 : -ENOMEM;
	while (!err && off < t->size) {
		size_t len = t->size - off < COPY_BYTES ? (size_t)(t->size - off) : COPY_BYTES;
		err = read_segments(s, t, buf, len, off, false);
		if (!err)
			err = dv_write_full(s, fd, buf, len, off);
		off += len;
	}
	return err;
}

dv_err dv_tail_decode(struct dv_store *s, struct dv_tail *t, int fd)
{
	struct dv_frames frames = frames_of(t);
	dv_err err = dv_frames_decode(s, &frames, fd);
	return err ? err : dv_tail_copy(s, t, dv_tail_plain(t), fd);
}

dv_err dv_tail_mark(struct dv_store *s, int fd, uint64_t end, uint64_t *out)
{
	uint8_t bytes[MARK_BYTES];
	size_t len = end < sizeof(bytes) ? (size_t)end : sizeof(bytes);
	dv_err err = dv_read_full(s, fd, bytes, len, end - len);
	*out = err ? 0 : dv_fnv1a(DV_FNV1A, bytes, len);
	return err;
}

static bool is_later(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

dv_err dv_tail_stat(struct dv_store *s, const struct dv_tail *t, struct dv_stat *st)
{
	st->size = t->size;
	for (const struct dv_segment *g = t->first; g; g = g->next) {
		struct dv_stat own;
		dv_err err = DV_B(s, stat, g->file->fd, "", &own);
		if (err)
			return err;
		st->blocks += own.blocks;
		if (g->next)
			continue;
		/* The last one is what was written last, or whose times were set. */
		st->mtime = own.mtime;
		if (is_later(&own.ctime, &st->ctime))
			st->ctime = own.ctime;
	}
	return 0;
}
