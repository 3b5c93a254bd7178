/* SPDX-License-Identifier: MIT */
/*
 * recover_parts.c - stages in two parts (tail.h) that a dead owner has left.
 *
 * Both are made whole in the same way: the packed file is walked, its frames are decoded where they may
 * not have come to the disk, and what lies behind the last good one comes from the segments, as far as
 * they go without a gap.
 *
 *   STREAM   the packed file is ID.z. After a power cut nothing of it counts.
 *   TAIL     the packed file is the store's own. What is before the record's stored byte is as it was,
 *            or it is another file's content by now, and is left alone.
 */
#include "core/recover_private.h"

#include "core/cleanup.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/packed.h"
#include "core/swap.h"
#include "core/tail.h"
#include "core/walk.h"
#include "core/walk_own.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SEGMENTS_MAX 1024 /* more are not made: what waits for frames is bounded */

struct found_segment {
	uint64_t start, len;
	char name[DV_TAIL_NAME];
};

/* ---- segments ---- */

/* Is name a segment of id, and which? */
static bool parse_name(const char *name, uint64_t id, uint64_t *start)
{
	char own[DV_STAGE_NAME], *end;
	dv_journal_stage_name(id, own);
	size_t len = strlen(own);
	*start = 0;
	if (strncmp(name, own, len) != 0 || strlen(name) >= DV_TAIL_NAME)
		return false;
	if (!name[len]) /* the raw file that the stage was before */
		return true;
	if (name[len] != '.' || !name[len + 1] || name[len + 1] == 'z')
		return false;
	*start = strtoull(name + len + 1, &end, 16);
	return !*end;
}

static int by_start(const void *a, const void *b)
{
	const struct found_segment *x = a, *y = b;
	return x->start < y->start ? -1 : x->start > y->start;
}

/* The segments of record id in the folder, in order. -> how many */
static ssize_t find_segments(struct adoption *a, uint64_t id, struct found_segment *out)
{
	enum { BUF = 32768, MAX = 512 };
	struct dv_store *s = a->s;
	DV_AUTO_FREE char *buf = malloc(BUF);
	DV_AUTO_FREE struct dv_dirent *ents = malloc(MAX * sizeof(*ents));
	size_t count = 0;
	int64_t cookie = 0;
	if (!buf || !ents)
		return -ENOMEM;
	for (;;) {
		ssize_t n = DV_B(s, readdir, a->dirfd, cookie, buf, BUF, ents, MAX);
		if (n < 0)
			return n;
		if (n == 0)
			break;
		for (ssize_t i = 0; i < n && count < SEGMENTS_MAX; i++) {
			struct found_segment *g = &out[count];
			struct dv_stat st;
			if (!parse_name(ents[i].name, id, &g->start) ||
			    dv_recover_stat(a, a->dirfd, ents[i].name, &st) || !S_ISREG(st.mode))
				continue;
			snprintf(g->name, sizeof(g->name), "%s", ents[i].name);
			uint64_t head = g->start - dv_segment_base(g->start);
			g->len = st.size > head && st.size < INT64_MAX - g->start ? st.size - head
										  : 0;
			count++;
		}
		cookie = ents[n - 1].cookie;
	}
	qsort(out, count, sizeof(*out), by_start);
	return (ssize_t)count;
}

/* Adds those that go on without a gap from what is there. */
static dv_err add_segments(struct adoption *a, struct dv_tail *t, const struct found_segment *found,
			   size_t count)
{
	struct dv_store *s = a->s;
	dv_err err = 0;
	for (size_t i = 0; i < count && !err && found[i].start <= t->size; i++) {
		const struct found_segment *g = &found[i];
		if (g->start + g->len < t->size) /* all of it is there */
			continue;
		int fd = DV_B(s, open, a->dirfd, g->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
		if (fd < 0)
			return fd;
		struct dv_file *f = dv_file_new(s, fd, false);
		err = f ? dv_tail_adopt_segment(s, t, g->name, f,
						(struct dv_range){g->start, g->len})
			: -ENOMEM;
	}
	return err;
}

static void unlink_all(struct adoption *a, const struct found_segment *found, size_t count)
{
	for (size_t i = 0; i < count; i++)
		dv_ignore(dv_recover_unlink(a, a->dirfd, found[i].name)); /* swept else */
}

dv_err dv_recover_put_parts_aside(struct adoption *a, const struct dv_record *r, const char *key,
				  const char *why)
{
	char name[DV_TAIL_NAME], packed[4096 + 8];
	DV_AUTO_FREE struct found_segment *found = calloc(SEGMENTS_MAX, sizeof(*found));
	if (!found)
		return -ENOMEM;
	struct dv_stat st;
	dv_tail_packed_name(r->id, name);
	/* It has its place, or is not to have one: its segments tell nothing more. */
	if (!dv_recover_is_whole(a, r) ||
	    (r->type == DV_RECORD_STREAM && dv_recover_stat(a, a->dirfd, name, &st) == -ENOENT))
		return 0;
	ssize_t count = find_segments(a, r->id, found);
	dv_err err = count < 0 ? (dv_err)count : 0;
	for (ssize_t i = 0; i < count && !err; i++)
		if (found[i].len)
			err = dv_recover_put_aside(a, a->dirfd, found[i].name, key, why);
	snprintf(packed, sizeof(packed), "%.4000s.zst", key);
	return err ? err : dv_recover_put_aside(a, a->dirfd, name, packed, why);
}

/* ---- frames ---- */

/* The frame, from the first of whose plain bytes on there are segments, must be looked at. */
static uint32_t first_doubtful(const struct dv_layout *all, uint64_t plain)
{
	uint32_t i = 0;
	while (i < all->count && all->plain_end[i] <= plain)
		i++;
	return i;
}

/* All frames of fd before stored byte `from`, which are as they were, and those of ours behind it.
 * -EEXIST: the file is not what it was. */
static dv_err walk_all(struct dv_store *s, int fd, struct dv_range from, struct dv_layout *all)
{
	struct dv_walk w = {0};
	struct dv_stat st;
	uint64_t end = 0;
	bool cut;
	dv_err err = DV_B(s, stat, fd, "", &st);
	if (!err && from.len)
		err = dv_walk_frames(s, fd, from.len, false, &w);
	*all = w.layout;
	if (dv_facts_are_bad(err) || (!err && (w.stream || w.plain_size != from.off)))
		return -EEXIST;
	struct dv_range rest = {from.len, st.size > from.len ? st.size - from.len : 0};
	return err ? err : dv_walk_own(s, fd, rest, all, &end, &cut);
}

/*
 * Adds the good frames of the tail's packed file: those before `from` (plain and stored byte) are, behind
 * it they are decoded where they hold plain bytes from `doubt` on.
 */
static dv_err add_frames(struct adoption *a, struct dv_tail *t, struct dv_range from,
			 uint64_t doubt)
{
	struct dv_store *s = a->s;
	struct dv_layout all;
	int fd = t->packed->fd;
	dv_layout_init(&all);
	dv_err err = walk_all(s, fd, from, &all);
	uint32_t good = all.count;
	struct dv_frames frames = {.fd = fd, .layout = &all};
	if (!err)
		err = dv_frames_check(s, &frames, first_doubtful(&all, doubt), &good);
	for (uint32_t i = 0; !err && i < good; i++) {
		struct dv_frame fr = dv_layout_frame(&all, i);
		uint32_t sum = 0;
		err = dv_frame_checksum(s, fd, &fr, &sum);
		if (!err)
			err = dv_tail_add_frame(t, fr.stored_len, fr.plain_len, sum);
	}
	t->beyond = true;
	dv_layout_release(&all);
	return err;
}

/* The tail of record r, whose packed file is fd (taken). */
static dv_err open_tail(struct adoption *a, const struct dv_record *r, int fd,
			const struct found_segment *found, size_t count, struct dv_tail **out)
{
	struct dv_store *s = a->s;
	bool stream = r->type == DV_RECORD_STREAM;
	struct dv_file *f = dv_file_new(s, fd, true);
	dv_err err = f ? dv_tail_new(s, f, a->dirfd, r->id, out) : -ENOMEM;
	dv_file_unref(s, f);
	if (!err && stream)
		err = add_frames(a, *out, (struct dv_range){0, 0}, count ? found[0].start : 0);
	else if (!err)
		err = add_frames(a, *out, (struct dv_range){r->raw_version.size, r->stored_from},
				 r->raw_version.size);
	if (!err)
		err = add_segments(a, *out, found, count);
	return err;
}

/* Number and generation stay what they are. */
static void tag_again(struct dv_store *s, const struct dv_tail *tail, const struct dv_record *r)
{
	struct dv_stat st;
	struct dv_tag old, tag = {.st_ino = r->st_ino};
	if (DV_B(s, stat, tail->packed->fd, "", &st) == 0 &&
	    dv_tag_load_fd(s, tail->packed->fd, &st, &old)) {
		tag.generation = old.generation;
		tag.swapped = old.swapped;
	}
	dv_tail_tag(s, tail, &tag);
}

/* ---- streams ---- */

static bool is_raw_there(struct adoption *a, const struct target *t)
{
	const char *const names[] = {t->p.names.raw, t->p.names.aside};
	struct dv_stat st;
	for (size_t i = 0; i < DV_ARRAY_LEN(names); i++)
		if (names[i][0] && dv_recover_stat(a, t->p.dirfd, names[i], &st) == 0 &&
		    S_ISREG(st.mode))
			return true;
	return false;
}

/* ID.z is whole and durable: it takes the place of the old object, at stored. */
static dv_err publish(struct adoption *a, const struct dv_record *r, const struct target *t,
		      const char *name, const char *stored, const struct dv_ident *packed)
{
	struct dv_store *s = a->s;
	struct dv_dir_times times;
	struct dv_record swap = {.type = DV_RECORD_SWAP,
				 .flags = DV_RECORD_PACKED_WINS,
				 .raw = r->raw,
				 .packed = *packed,
				 .st_ino = r->st_ino,
				 .path = r->path,
				 .path_len = r->path_len};
	bool was_packed = r->flags & DV_RECORD_OLD_PACKED;
	struct dv_loose_at at = dv_place_at(&t->p);
	/* A raw form that was packed of late must not come back beside another one of the value. */
	dv_err err = was_packed ? dv_loose_sync(s, &at, t->p.dirfd) : 0;
	if (!was_packed) { /* I4 */
		swap.id = dv_journal_new_id(s->journal);
		err = dv_journal_append(s, &swap);
		if (!err)
			err = dv_journal_sync(s);
	}
	dv_dir_times_keep(s, &t->p, &times);
	if (!err && was_packed && is_raw_there(a, t))
		return -EEXIST; /* it is the value */
	if (!err)
		err = was_packed ? dv_recover_take_place(a, name, t->p.dirfd, t->p.names.packed,
							 &r->packed)
				 : dv_recover_rename(a, a->dirfd, name, t->p.dirfd,
						     t->p.names.packed, RENAME_NOREPLACE);
	if (!err)
		err = dv_loose_sync(s, &at, t->p.dirfd); /* I3 */
	if (!err && !was_packed) {
		err = dv_unlink_form(s, &t->p, stored, NULL, false);
		err = err == -ENOENT ? 0 : err; /* others were first */
	}
	dv_dir_times_restore(s, &times);
	if (!err && !was_packed)
		dv_journal_end(s, swap.id);
	return err;
}

/* All of it as a raw file, with what the packed one has of attributes. */
static dv_err write_raw(struct adoption *a, const struct dv_record *r, struct dv_tail *tail, int fd)
{
	struct dv_store *s = a->s;
	struct dv_stat st, own;
	struct dv_tag old, tag = {.st_ino = r->st_ino};
	dv_err err = dv_reserve(s, fd, tail->size);
	if (!err)
		err = dv_tail_decode(s, tail, fd);
	if (!err)
		err = dv_recover_stat(a, tail->packed->fd, "", &st);
	if (!err)
		err = dv_meta_copy(s, tail->packed->fd, &st, fd);
	if (!err) {
		struct timespec times[2] = {st.atime, st.mtime};
		err = DV_B(s, utimens, fd, times);
	}
	if (!err)
		err = dv_recover_stat(a, fd, "", &own);
	if (err)
		return err;
	if (dv_tag_load_fd(s, tail->packed->fd, &st, &old))
		tag.generation = old.generation;
	struct dv_ident id = dv_ident_of(&own);
	dv_tag_store(s, fd, &id, &tag);
	return DV_B(s, fsync, fd); /* I2 */
}

/* Others have put a file where the packed form would lie: the value goes on raw, beside it. */
static dv_err publish_raw(struct adoption *a, const struct dv_record *r, const struct target *t,
			  struct dv_tail *tail, const char *stored)
{
	struct dv_store *s = a->s;
	struct dv_dir_times times;
	struct dv_loose_at at = dv_place_at(&t->p);
	char name[DV_TAIL_NAME], packed[DV_TAIL_NAME];
	dv_tail_packed_name(r->id, packed);
	snprintf(name, sizeof(name), "%.28s.raw", packed); /* no segment */
	dv_ignore(dv_recover_unlink(a, a->dirfd, name));   /* of a recovery that was cut short */
	dv_act_as_self(s);
	int fd = DV_B(s, open, a->dirfd, name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	dv_err err = write_raw(a, r, tail, fd);
	DV_B(s, close, fd);
	dv_dir_times_keep(s, &t->p, &times);
	if (!err)
		err = dv_recover_rename(a, a->dirfd, name, t->p.dirfd, stored, 0);
	if (!err)
		err = dv_loose_sync(s, &at, t->p.dirfd);
	dv_dir_times_restore(s, &times);
	return err ? err : dv_recover_unlink(a, a->dirfd, packed);
}

/*
 * As in recover_stage.c: has a living mount, or a program, written to the raw object since the last byte came to the
 * stream? That came to a segment; ID.z tells of those only where none is left, since recovery writes to it too.
 */
static bool written_since(struct adoption *a, const struct dv_record *r,
			  const struct found_segment *found, size_t count,
			  const struct dv_stat *old)
{
	int64_t mtime = INT64_MIN, ctime = INT64_MIN;
	char packed[DV_TAIL_NAME];
	struct dv_stat st;
	if (dv_recover_is_as_begun(r, old))
		return false;
	dv_tail_packed_name(r->id, packed);
	for (size_t i = 0; i < (count ? count : 1); i++) {
		if (dv_recover_stat(a, a->dirfd, count ? found[i].name : packed, &st))
			return false;
		mtime = dv_time_ns(st.mtime) > mtime ? dv_time_ns(st.mtime) : mtime;
		ctime = dv_time_ns(st.ctime) > ctime ? dv_time_ns(st.ctime) : ctime;
	}
	return dv_time_ns(old->ctime) > ctime && dv_time_ns(old->mtime) > mtime;
}

/* Where the object lies that the stream began with, as it was then, or NULL. */
static const char *find_old(struct adoption *a, const struct dv_record *r, const struct target *t,
			    const struct found_segment *found, size_t count)
{
	struct dv_stat old;
	if (r->flags & DV_RECORD_OLD_PACKED)
		return dv_recover_is_object(a, &t->p, t->p.names.packed, &r->packed, &old)
			       ? t->p.names.packed
			       : NULL;
	const char *raw = dv_recover_find_raw(a, &t->p, &r->raw, &old);
	/* Of a new value it has the first bytes. After a power cut they may not be there, and times say nothing. */
	if (!raw || !a->same_boot)
		return raw;
	bool head = r->flags & DV_RECORD_RAW_IS_HEAD;
	bool changed = (head && old.size != r->raw_version.size) ||
		       written_since(a, r, found, count, &old);
	return changed ? NULL : raw;
}

static dv_err finish_stream(struct adoption *a, const struct dv_record *r, const struct target *t,
			    struct dv_tail *tail, const char *stored)
{
	struct dv_store *s = a->s;
	struct dv_stat st, twin;
	char name[DV_TAIL_NAME], key[DV_NAME_MAX + 8];
	bool was_packed = r->flags & DV_RECORD_OLD_PACKED;
	if (stored && !was_packed &&
	    (!t->p.names.packed[0] ||
	     dv_recover_stat(a, t->p.dirfd, t->p.names.packed, &twin) == 0))
		return publish_raw(a, r, t, tail, stored);
	dv_err err = dv_tail_complete(s, tail);
	if (!err)
		tag_again(s, tail, r);
	if (!err)
		err = DV_B(s, fsync, tail->packed->fd); /* I2 */
	if (!err)
		err = dv_recover_stat(a, tail->packed->fd, "", &st);
	if (err)
		return err;
	struct dv_ident packed = dv_ident_of(&st);
	dv_tail_packed_name(r->id, name);
	err = stored ? publish(a, r, t, name, stored, &packed) : -EEXIST;
	if (err != -EEXIST)
		return err;
	snprintf(key, sizeof(key), "%s.zst", t->name);
	return dv_recover_put_aside(a, a->dirfd, name, key,
				    "the value was replaced while no mount was there");
}

dv_err dv_recover_stream(struct adoption *a, const struct dv_record *r, const struct target *t)
{
	struct dv_store *s = a->s;
	struct dv_tail *tail = NULL;
	char name[DV_TAIL_NAME];
	DV_AUTO_FREE struct found_segment *found = calloc(SEGMENTS_MAX, sizeof(*found));
	if (!found)
		return -ENOMEM;
	dv_tail_packed_name(r->id, name);
	/* A raw object is not exchanged, but goes once the packed one has its name. */
	enum dv_stage_file what = r->flags & DV_RECORD_OLD_PACKED
					  ? dv_recover_what_lies(a, r, t, name)
					  : DV_STAGE_FILE;
	if (what == DV_STAGE_OF_OTHERS)
		return dv_recover_put_aside(a, a->dirfd, name, t->p.names.packed,
					    "it came while the value was replaced here too");
	if (what == DV_STAGE_OLD_OBJECT || !dv_recover_is_whole(a, r)) /* I6: its files are swept */
		return 0;
	ssize_t count = find_segments(a, r->id, found);
	if (count < 0)
		return (dv_err)count;
	const char *stored =
		find_old(a, r, t, found, (size_t)count); /* before ID.z is written to */
	int fd = DV_B(s, open, a->dirfd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd == -ENOENT) /* it has its place; the record of the swap tells of the old one */
		return 0;
	if (fd < 0)
		return fd;
	dv_err err = open_tail(a, r, fd, found, (size_t)count, &tail);
	if (!err && count && found[0].start > dv_tail_plain(tail)) /* bytes between are not there */
		err = dv_recover_put_parts_aside(a, r, t->name, "it is not whole");
	else if (!err)
		err = finish_stream(a, r, t, tail, stored);
	dv_tail_free(s, tail);
	if (!err)
		unlink_all(a, found, (size_t)count);
	return err;
}

/* ---- appends ---- */

/* What was added is in the object. */
static dv_err finish_tail(struct adoption *a, const struct dv_record *r, int fd,
			  const struct found_segment *found, size_t count)
{
	struct dv_store *s = a->s;
	struct dv_tail *tail = NULL;
	dv_err err = open_tail(a, r, fd, found, count, &tail);
	if (!err)
		err = dv_tail_complete(s, tail);
	if (!err)
		err = DV_B(s, fsync, tail->packed->fd);
	if (!err)
		tag_again(s, tail, r);
	dv_tail_free(s, tail);
	return err;
}

dv_err dv_recover_tail(struct adoption *a, const struct dv_record *r, const struct target *t)
{
	struct dv_store *s = a->s;
	struct dv_stat st;
	uint64_t mark = 0;
	DV_AUTO_FREE struct found_segment *found = calloc(SEGMENTS_MAX, sizeof(*found));
	if (!found)
		return -ENOMEM;
	ssize_t count = find_segments(a, r->id, found);
	if (count < 0)
		return (dv_err)count;
	if (!dv_recover_is_object(a, &t->p, t->p.names.packed, &r->packed, &st))
		return dv_recover_put_parts_aside(
			a, r, t->name, "the value was replaced while no mount was there");
	int fd = DV_B(s, open, t->p.dirfd, t->p.names.packed, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	dv_err err =
		st.size < r->stored_from ? -EEXIST : dv_tail_mark(s, fd, r->stored_from, &mark);
	if (err || mark != r->raw.ino) {
		DV_B(s, close, fd);
		return err && err != -EEXIST
			       ? err
			       : dv_recover_put_parts_aside(a, r, t->name,
							    "the value was changed while no mount "
							    "was there");
	}
	err = finish_tail(a, r, fd, found, (size_t)count);
	if (err == -EEXIST)
		return dv_recover_put_parts_aside(a, r, t->name,
						  "the value was changed while no mount was there");
	if (!err)
		unlink_all(a, found, (size_t)count);
	return err;
}
