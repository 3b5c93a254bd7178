/* SPDX-License-Identifier: MIT */
/*
 * packed_table.c - where the frames of a packed file lie: from its seek table, else from the frames
 * themselves. See packed.h.
 *
 * A table is read in pieces, and into the memory of whoever asked where that is given: that of a
 * value of 50 GiB has 5 MB.
 */
#include "core/cleanup.h"
#include "core/format.h"
#include "core/io.h"
#include "core/packed_private.h"
#include "core/sealed.h"
#include "core/walk_own.h"

#include <string.h>

#define TAIL_BYTES    4096u /* read first from a file's end: holds the table of 300 frames */
#define PIECE_ENTRIES 5120u

/* Entries [from, t->count) of the table at table_off. sums: NULL, or room for all. */
static dv_err add_pieces(struct dv_store *s, int fd, const struct dv_seek_table *t,
			 uint64_t table_off, struct dv_layout *out, uint32_t *sums)
{
	DV_AUTO_FREE uint8_t *piece = malloc((size_t)PIECE_ENTRIES * DV_TABLE_ENTRY_BYTES);
	dv_err err = piece ? 0 : -ENOMEM;
	while (!err && out->count < t->count) {
		uint32_t n = t->count - out->count, from = out->count;
		if (n > PIECE_ENTRIES)
			n = PIECE_ENTRIES;
		err = dv_read_full(s, fd, piece, (size_t)n * t->entry_bytes,
				   table_off + DV_TABLE_HEAD_BYTES +
					   (uint64_t)from * t->entry_bytes);
		if (!err)
			err = dv_table_add(t, piece, n, out, sums ? sums + from : NULL);
	}
	return err;
}

/*
 * The seek table of fd, into out, which is empty or has room of the caller's for `given` frames.
 * -ENOENT: none; -EBADMSG: one that is no good, or looks like one; -ESTALE: of other than `given`
 * frames. After an error what out holds is undefined, and the caller's.
 */
static dv_err load_table(struct dv_store *s, int fd, uint64_t size, uint32_t given,
			 struct dv_layout *out)
{
	uint8_t tail[TAIL_BYTES], head[DV_TABLE_HEAD_BYTES];
	size_t tail_len = size < TAIL_BYTES ? (size_t)size : TAIL_BYTES;
	struct dv_seek_table t;
	if (size < DV_TABLE_FOOTER_BYTES)
		return -ENOENT;
	dv_err err = dv_read_full(s, fd, tail, tail_len, size - tail_len);
	if (!err)
		err = dv_table_begin(tail + tail_len - DV_TABLE_FOOTER_BYTES, size, &t);
	if (err)
		return err;
	if ((uint64_t)t.count * 16 > DV_LAYOUT_BYTES_MAX)
		return -EFBIG;
	if (given && t.count != given)
		return -ESTALE;
	if (t.bytes <= tail_len) {
		const uint8_t *table = tail + tail_len - t.bytes;
		memcpy(head, table, sizeof(head));
		err = dv_table_add(&t, table + sizeof(head), t.count, out, NULL);
	} else {
		err = dv_read_full(s, fd, head, sizeof(head), size - t.bytes);
		if (!err)
			err = add_pieces(s, fd, &t, size - t.bytes, out, NULL);
	}
	return err ? err : dv_table_end(&t, head, size, out);
}

/* A frame that is said to hold nothing is never decoded, so nobody would find that it does. */
static bool has_empty_frame(const struct dv_layout *l)
{
	for (uint32_t i = 0; i < l->count; i++)
		if (dv_layout_frame(l, i).plain_len == 0)
			return true;
	return false;
}

/* Whoever added to it did not come to the end: whole frames are the value. */
static dv_err load_open_end(struct dv_store *s, int fd, uint64_t size, struct dv_walk *out)
{
	struct dv_stat st;
	struct dv_tag tag;
	uint64_t end;
	bool cut;
	if (DV_B(s, stat, fd, "", &st) || !dv_tag_load_fd(s, fd, &st, &tag) || !tag.open_end)
		return -EBADMSG;
	*out = (struct dv_walk){0};
	dv_err err = dv_walk_own(s, fd, (struct dv_range){0, size}, &out->layout, &end, &cut);
	if (err || !out->layout.count)
		return err ? err : -EBADMSG;
	out->plain_size = dv_layout_plain_size(&out->layout);
	out->frames = out->layout.count;
	return 0;
}

dv_err dv_load_layout(struct dv_store *s, int fd, uint64_t size, bool nowait, struct dv_walk *out,
		      bool *walked, bool *torn)
{
	*torn = false;
	*out = (struct dv_walk){0};
	*walked = true;
	if (dv_is_sealed(s))
		return dv_sealed_walk(s, fd, size, nowait, out);
	dv_err err = load_table(s, fd, size, 0, &out->layout);
	if (!err && has_empty_frame(&out->layout))
		err = -EBADMSG;
	if (err)
		dv_layout_release(&out->layout);
	*walked = err == -ENOENT || err == -EBADMSG;
	if (*walked) {
		err = dv_walk_frames(s, fd, size, nowait, out);
		*torn = err == -EBADMSG && load_open_end(s, fd, size, out) == 0;
		return *torn ? 0 : err;
	}
	out->plain_size = dv_layout_plain_size(&out->layout);
	out->frames = out->layout.count;
	return err;
}

dv_err dv_fill_layout(struct dv_store *s, int fd, uint64_t size, struct dv_layout *given)
{
	struct dv_walk w;
	bool walked, torn;
	dv_err err = dv_is_sealed(s) ? -ENOENT : load_table(s, fd, size, given->room, given);
	if (!err && has_empty_frame(given))
		err = -EBADMSG;
	if (err != -ENOENT && err != -EBADMSG && err != -ESTALE)
		return err;
	/* No table, or one that is not to be believed: then the frames were counted. */
	err = dv_load_layout(s, fd, size, false, &w, &walked, &torn);
	if (!err && w.layout.count != given->room)
		err = -ESTALE; /* changed since its facts were found */
	if (!err) {
		memcpy(given->stored_end, w.layout.stored_end, (size_t)given->room * 8);
		memcpy(given->plain_end, w.layout.plain_end, (size_t)given->room * 8);
		given->count = given->room;
	}
	dv_layout_release(&w.layout);
	return err;
}

dv_err dv_load_checksums(struct dv_store *s, int fd, uint64_t size, uint32_t count, uint32_t *out)
{
	uint8_t foot[DV_TABLE_FOOTER_BYTES];
	struct dv_seek_table t;
	struct dv_layout l;
	if (size < sizeof(foot))
		return -ENOENT;
	dv_err err = dv_read_full(s, fd, foot, sizeof(foot), size - sizeof(foot));
	if (!err)
		err = dv_table_begin(foot, size, &t);
	if (!err && (t.count != count || !t.checksums))
		err = -ENOENT;
	if (err)
		return err;
	dv_layout_init(&l);
	err = add_pieces(s, fd, &t, size - t.bytes, &l, out);
	dv_layout_release(&l);
	return err;
}
