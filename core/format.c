/* SPDX-License-Identifier: MIT */
/*
 * format.c - seek tables to layouts and back.
 *
 * Place: value reads tables and finds frames here, pack and append write tables.
 *
 * Invariants of a layout
 *   I1  stored_end and plain_end never fall, and their last elements are at most 2^63.
 *   I2  it holds at most DV_FRAMES_MAX frames.
 * and of a layout that dv_table_parse() or dv_table_end() took
 *   I3  its last stored_end plus the table is the size of the file.
 *   I4  a frame has at least FRAME_STORED_MIN stored bytes and at most PLAIN_PER_STORED_MAX times
 *       as many plain ones. So count, memory and plain size are bounded by the size of the file.
 *
 * States: empty [dv_layout_init] -> built [dv_layout_add, dv_table_add] -> empty
 * [dv_layout_release]; a failed call leaves what was there before, a failed parse an empty one.
 *
 * It decodes nothing: that a frame holds what its entry says is found by whoever decodes it.
 */
#include "core/format.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SKIPPABLE_MAGIC	     0x184D2A5Eu
#define SEEKABLE_MAGIC	     0x8F92EAB1u
#define ENTRY_BYTES	     8u
#define ENTRY_CHECKSUM_BYTES 4u
#define DESCRIPTOR_CHECKSUMS 0x80u
#define DESCRIPTOR_RESERVED  0x7Cu /* bits 6-2: a reader refuses what sets them */

/* The smallest frame of any kind is an empty skippable one. */
#define FRAME_STORED_MIN 8u
/* A block is at least four bytes (RLE) and makes at most 128 KiB (RFC 8878, 3.1.1.2.4). */
#define PLAIN_PER_STORED_MAX ((128u << 10) / 4)

#define SIZE_LIMIT ((uint64_t)INT64_MAX)
#define FIRST_ROOM 8u

_Static_assert((uint64_t)DV_FRAMES_MAX *(ENTRY_BYTES + ENTRY_CHECKSUM_BYTES) +
			       DV_TABLE_FOOTER_BYTES <=
		       UINT32_MAX,
	       "the table's own size must fit in its head");

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint8_t *put_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
	return p + 4;
}

void dv_layout_init(struct dv_layout *l)
{
	*l = (struct dv_layout){0};
}

void dv_layout_release(struct dv_layout *l)
{
	free(l->stored_end);
	free(l->plain_end);
	dv_layout_init(l);
}

static dv_err layout_reserve(struct dv_layout *l, uint32_t room)
{
	if (room <= l->room)
		return 0;
	size_t bytes = (size_t)room * sizeof(uint64_t);
	uint64_t *stored_end = realloc(l->stored_end, bytes);
	if (!stored_end)
		return -ENOMEM;
	l->stored_end = stored_end;
	uint64_t *plain_end = realloc(l->plain_end, bytes);
	if (!plain_end)
		return -ENOMEM; /* room stays: it tells the smaller of the two */
	l->plain_end = plain_end;
	l->room = room;
	return 0;
}

dv_err dv_layout_add(struct dv_layout *l, uint64_t stored_len, uint64_t plain_len)
{
	if (l->count >= DV_FRAMES_MAX) /* I2 */
		return -EFBIG;
	uint64_t stored = dv_layout_stored_size(l), plain = dv_layout_plain_size(l);
	if (stored_len > SIZE_LIMIT - stored || plain_len > SIZE_LIMIT - plain) /* I1 */
		return -EFBIG;
	if (l->count == l->room) {
		uint32_t room = l->room ? l->room * 2 : FIRST_ROOM;
		dv_err err = layout_reserve(l, room < DV_FRAMES_MAX ? room : DV_FRAMES_MAX);
		if (err)
			return err;
	}
	l->stored_end[l->count] = stored + stored_len;
	l->plain_end[l->count] = plain + plain_len;
	l->count++;
	return 0;
}

uint64_t dv_layout_plain_size(const struct dv_layout *l)
{
	return l->count ? l->plain_end[l->count - 1] : 0;
}

uint64_t dv_layout_stored_size(const struct dv_layout *l)
{
	return l->count ? l->stored_end[l->count - 1] : 0;
}

size_t dv_layout_bytes(const struct dv_layout *l)
{
	return (size_t)l->room * 2 * sizeof(uint64_t);
}

uint32_t dv_layout_find(const struct dv_layout *l, uint64_t off)
{
	assert(off < dv_layout_plain_size(l));

	/* The first frame that ends behind off: an empty one ends where the one before it does. */
	uint32_t low = 0, high = l->count - 1;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (l->plain_end[middle] > off)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct dv_frame dv_layout_frame(const struct dv_layout *l, uint32_t index)
{
	assert(index < l->count);

	struct dv_frame f = {
		.stored_off = index ? l->stored_end[index - 1] : 0,
		.plain_off = index ? l->plain_end[index - 1] : 0,
	};
	f.stored_len = l->stored_end[index] - f.stored_off;
	f.plain_len = l->plain_end[index] - f.plain_off;
	return f;
}

static size_t entry_bytes(bool checksums)
{
	return ENTRY_BYTES + (checksums ? ENTRY_CHECKSUM_BYTES : 0);
}

size_t dv_table_bytes(uint32_t count, bool checksums)
{
	assert(count <= DV_FRAMES_MAX);
	return DV_TABLE_HEAD_BYTES + count * entry_bytes(checksums) + DV_TABLE_FOOTER_BYTES;
}

size_t dv_table_write_head(const struct dv_layout *l, bool checksums, uint8_t *out)
{
	uint8_t *p = put_u32(out, SKIPPABLE_MAGIC);

	put_u32(p, (uint32_t)(dv_table_bytes(l->count, checksums) - DV_TABLE_HEAD_BYTES));
	return DV_TABLE_HEAD_BYTES;
}

size_t dv_table_write_entries(const struct dv_layout *l, const uint32_t *checksums, uint32_t from,
			      uint32_t n, uint8_t *out)
{
	uint8_t *p = out;

	assert(from <= l->count && n <= l->count - from);
	for (uint32_t i = from; i < from + n; i++) {
		struct dv_frame f = dv_layout_frame(l, i);
		assert(f.stored_len <= UINT32_MAX && f.plain_len <= UINT32_MAX);
		p = put_u32(p, (uint32_t)f.stored_len);
		p = put_u32(p, (uint32_t)f.plain_len);
		if (checksums)
			p = put_u32(p, checksums[i]);
	}
	return (size_t)(p - out);
}

size_t dv_table_write_footer(const struct dv_layout *l, bool checksums, uint8_t *out)
{
	uint8_t *p = put_u32(out, l->count);

	*p++ = checksums ? DESCRIPTOR_CHECKSUMS : 0;
	put_u32(p, SEEKABLE_MAGIC);
	return DV_TABLE_FOOTER_BYTES;
}

void dv_table_write(const struct dv_layout *l, const uint32_t *checksums, uint8_t *out)
{
	bool summed = checksums != NULL;
	size_t at = dv_table_write_head(l, summed, out);

	at += dv_table_write_entries(l, checksums, 0, l->count, out + at);
	at += dv_table_write_footer(l, summed, out + at);
	assert(at == dv_table_bytes(l->count, summed));
}

dv_err dv_table_begin(const uint8_t footer[DV_TABLE_FOOTER_BYTES], uint64_t file_size,
		      struct dv_seek_table *out)
{
	const uint8_t *p = footer;

	if (file_size < DV_TABLE_FOOTER_BYTES || get_u32(p + 5) != SEEKABLE_MAGIC)
		return -ENOENT;
	if (p[4] & DESCRIPTOR_RESERVED)
		return -EBADMSG;
	struct dv_seek_table t = {.count = get_u32(p), .checksums = p[4] & DESCRIPTOR_CHECKSUMS};
	t.entry_bytes = (uint32_t)entry_bytes(t.checksums);
	/* 64 bits: a count of 2^32 - 1 does not wrap here. */
	t.bytes = DV_TABLE_HEAD_BYTES + (uint64_t)t.count * t.entry_bytes + DV_TABLE_FOOTER_BYTES;
	if (t.bytes > file_size)
		return -EBADMSG;
	if (t.count > (file_size - t.bytes) / FRAME_STORED_MIN) /* I4 */
		return -EBADMSG;
	if (t.count > DV_FRAMES_MAX)
		return -EFBIG;
	*out = t;
	return 0;
}

dv_err dv_table_add(const struct dv_seek_table *t, const uint8_t *entries, uint32_t n,
		    struct dv_layout *l, uint32_t *checksums)
{
	const uint8_t *p = entries;
	/* The entries are all in the file: no more memory than it has bytes. */
	dv_err err = n > t->count - l->count ? -EBADMSG : layout_reserve(l, t->count);

	for (uint32_t i = 0; !err && i < n; i++) {
		uint32_t stored_len = get_u32(p), plain_len = get_u32(p + 4);
		if (stored_len < FRAME_STORED_MIN ||
		    plain_len > (uint64_t)stored_len * PLAIN_PER_STORED_MAX) /* I4 */
			err = -EBADMSG;
		else
			err = dv_layout_add(l, stored_len, plain_len);
		if (checksums)
			checksums[i] = t->checksums ? get_u32(p + ENTRY_BYTES) : 0;
		p += t->entry_bytes;
	}
	return err;
}

dv_err dv_table_end(const struct dv_seek_table *t, const uint8_t head[DV_TABLE_HEAD_BYTES],
		    uint64_t file_size, const struct dv_layout *l)
{
	if (get_u32(head) != SKIPPABLE_MAGIC ||
	    get_u32(head + 4) != (uint32_t)(t->bytes - DV_TABLE_HEAD_BYTES))
		return -EBADMSG;
	if (l->count != t->count || dv_layout_stored_size(l) != file_size - t->bytes) /* I3 */
		return -EBADMSG;
	return 0;
}

dv_err dv_table_probe(const uint8_t *tail, size_t tail_len, uint64_t file_size, size_t *out_bytes)
{
	struct dv_seek_table t;

	if (tail_len < DV_TABLE_FOOTER_BYTES)
		return -ENOENT;
	dv_err err = dv_table_begin(tail + tail_len - DV_TABLE_FOOTER_BYTES, file_size, &t);
	if (err)
		return err;
	*out_bytes = (size_t)t.bytes; /* at most DV_FRAMES_MAX entries */
	return 0;
}

dv_err dv_table_parse(const uint8_t *table, size_t table_len, uint64_t file_size,
		      struct dv_layout *out)
{
	struct dv_seek_table t;
	dv_err err = -EBADMSG;

	dv_layout_init(out);
	if (table_len >= DV_TABLE_FOOTER_BYTES)
		err = dv_table_begin(table + table_len - DV_TABLE_FOOTER_BYTES, file_size, &t);
	if (err)
		return err == -ENOENT ? -EBADMSG : err;
	if (t.bytes != table_len)
		return -EBADMSG;
	err = dv_table_add(&t, table + DV_TABLE_HEAD_BYTES, t.count, out, NULL);
	if (!err)
		err = dv_table_end(&t, table, file_size, out);
	if (err)
		dv_layout_release(out);
	return err;
}

bool dv_table_checksum(const uint8_t *table, size_t table_len, uint32_t index, uint32_t *out)
{
	assert(table_len >= DV_TABLE_HEAD_BYTES + DV_TABLE_FOOTER_BYTES);

	const uint8_t *footer = table + table_len - DV_TABLE_FOOTER_BYTES;
	assert(index < get_u32(footer));
	if (!(footer[4] & DESCRIPTOR_CHECKSUMS))
		return false;
	*out = get_u32(table + DV_TABLE_HEAD_BYTES + index * entry_bytes(true) + ENTRY_BYTES);
	return true;
}
