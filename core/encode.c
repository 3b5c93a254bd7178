/* SPDX-License-Identifier: MIT */
/*
 * encode.c - see encode.h.
 *
 *   read a batch of frames -> encode each on the pool -> write them in order -> next batch ... ->
 * seek table
 */
#include "core/encode.h"

#include "core/cleanup.h"
#include "core/codec.h"
#include "core/io.h"

#include <string.h>

#define TABLE_ENTRIES 5120u /* written at once */

struct slot {
	size_t plain_len;
	ssize_t stored_len; /* or -errno */
	char *plain, *stored;
};

struct batch {
	struct dv_store *s;
	struct slot *slots;
	size_t room; /* bytes of each slot's stored buffer */
	int level;
};

static void encode_step(void *ctx, size_t i)
{
	struct batch *b = ctx;
	struct slot *slot = &b->slots[i];
	slot->stored_len =
		dv_codec_encode(b->level, slot->plain, slot->plain_len, slot->stored, b->room);
	if (slot->stored_len > 0)
		dv_count(b->s, frames_encoded, 1);
}

struct writer {
	struct dv_layout layout;
	uint32_t *checksums;
	size_t checksums_room;
	uint64_t off;
};

static dv_err add_frame(struct dv_store *s, struct writer *w, int to, const struct slot *slot)
{
	if (slot->stored_len < 0)
		return (dv_err)slot->stored_len;
	if (w->layout.count == w->checksums_room) {
		size_t room = w->checksums_room ? w->checksums_room * 2 : 64;
		uint32_t *grown = realloc(w->checksums, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		w->checksums = grown;
		w->checksums_room = room;
	}
	w->checksums[w->layout.count] = dv_codec_checksum(slot->stored, (size_t)slot->stored_len);
	dv_err err = dv_layout_add(&w->layout, (uint64_t)slot->stored_len, slot->plain_len);
	if (!err)
		err = dv_write_full(s, to, slot->stored, (size_t)slot->stored_len, w->off);
	w->off += (uint64_t)slot->stored_len;
	return err;
}

dv_err dv_write_table(struct dv_store *s, int fd, const struct dv_layout *l,
		      const uint32_t *checksums, uint64_t off)
{
	uint32_t most = l->count < TABLE_ENTRIES ? l->count : TABLE_ENTRIES;
	DV_AUTO_FREE uint8_t *piece = malloc(DV_TABLE_HEAD_BYTES + DV_TABLE_FOOTER_BYTES +
					     (size_t)most * DV_TABLE_ENTRY_BYTES);
	if (!piece)
		return -ENOMEM;
	size_t len = dv_table_write_head(l, true, piece);
	uint32_t done = 0;
	dv_err err;
	do {
		uint32_t n = l->count - done < most ? l->count - done : most;
		len += dv_table_write_entries(l, checksums, done, n, piece + len);
		done += n;
		if (done == l->count)
			len += dv_table_write_footer(l, true, piece + len);
		err = dv_write_full(s, fd, piece, len, off);
		off += len;
		len = 0;
	} while (!err && done < l->count);
	return err;
}

static dv_err encode_all(struct dv_store *s, int from, uint64_t plain_size, int to,
			 uint64_t max_stored, bool (*stop)(void *ctx), void *ctx, struct batch *b,
			 size_t slots, struct writer *w)
{
	uint32_t frame_size = s->config.frame_size;
	uint64_t at = 0;
	dv_err err = 0;
	while (!err && at < plain_size) {
		size_t count = 0;
		if (stop && stop(ctx))
			return -ECANCELED;
		for (; !err && count < slots && at < plain_size; count++) {
			struct slot *slot = &b->slots[count];
			slot->plain_len = plain_size - at < frame_size ? (size_t)(plain_size - at)
								       : frame_size;
			err = dv_read_full(s, from, slot->plain, slot->plain_len, at);
			at += slot->plain_len;
		}
		if (err)
			return err == -EBADMSG ? -ECANCELED : err; /* it shrank: someone writes */
		if (atomic_load(
			    &s->space.wanted)) /* in a hurry: those threads give way to everybody */
			for (size_t i = 0; i < count; i++)
				encode_step(b, i);
		else
			dv_pool_map(s->pack_pool, encode_step, b, count);
		for (size_t i = 0; !err && i < count; i++)
			err = add_frame(s, w, to, &b->slots[i]);
		if (!err && w->off > max_stored)
			err = -E2BIG;
	}
	if (!err && plain_size > frame_size)
		err = dv_write_table(s, to, &w->layout, w->checksums, w->off);
	if (!err && plain_size > frame_size)
		w->off += dv_table_bytes(w->layout.count, true);
	return !err && w->off > max_stored ? -E2BIG : err;
}

dv_err dv_encode_at(struct dv_store *s, const struct dv_encoding *e, struct dv_encoded *out)
{
	const uint64_t plain_size = e->plain_size;
	uint32_t frame_size = s->config.frame_size;
	size_t slots = (size_t)dv_pool_width(s->pack_pool) * DV_ENCODE_FRAMES_PER_THREAD;
	uint64_t frames = (plain_size + frame_size - 1) / frame_size;
	size_t plain_room = plain_size < frame_size ? (size_t)plain_size + 1 : frame_size;
	struct batch b = {.s = s, .room = dv_codec_bound(plain_room), .level = e->level};
	if (slots > DV_ENCODE_BYTES_MAX / (plain_room + b.room))
		slots = DV_ENCODE_BYTES_MAX / (plain_room + b.room);
	if (frames < slots || !slots)
		slots = frames && slots ? (size_t)frames : 1;
	struct writer w = {0};
	DV_AUTO_FREE struct slot *table = calloc(slots, sizeof(*table));
	DV_AUTO_FREE char *memory = malloc(slots * (plain_room + b.room));
	if (!table || !memory)
		return -ENOMEM;
	for (size_t i = 0; i < slots; i++) {
		table[i].plain = memory + i * (plain_room + b.room);
		table[i].stored = table[i].plain + plain_room;
	}
	b.slots = table;
	dv_layout_init(&w.layout);
	dv_err err;
	if (plain_size == 0) { /* an empty frame: what zstd makes of nothing */
		table[0].plain_len = 0;
		encode_step(&b, 0);
		err = add_frame(s, &w, e->to, &table[0]);
	} else {
		err = encode_all(s, e->from, plain_size, e->to, e->max_stored, e->stop, e->ctx, &b,
				 slots, &w);
	}
	*out = (struct dv_encoded){.plain_size = plain_size,
				   .stored_size = w.off,
				   .frames = w.layout.count,
				   .single = plain_size <= frame_size};
	dv_layout_release(&w.layout);
	free(w.checksums);
	return err;
}

dv_err dv_encode(struct dv_store *s, int from, uint64_t plain_size, int to, uint64_t max_stored,
		 bool (*stop)(void *ctx), void *ctx, struct dv_encoded *out)
{
	struct dv_encoding e = {.from = from,
				.to = to,
				.level = s->config.level,
				.plain_size = plain_size,
				.max_stored = max_stored,
				.stop = stop,
				.ctx = ctx};
	return dv_encode_at(s, &e, out);
}
