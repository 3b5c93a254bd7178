/* SPDX-License-Identifier: MIT */
/* verify_table.c - see verify_table.h. The format: format.h. */
#include "core/verify_table.h"

#include "core/io.h"

#include <inttypes.h>
#include <stdio.h>

#define TABLE_MAGIC 0x184D2A5Eu

static uint32_t get_u32(const uint8_t *b)
{
	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

dv_err dv_table_cursor_next(struct dv_store *s, struct dv_table_cursor *t, uint64_t *stored,
			    uint64_t *plain, uint32_t *sum)
{
	const size_t entry = t->t.entry_bytes;
	if (t->next >= t->have_from + t->have) {
		uint32_t n = t->t.count - t->next;
		if (n > DV_CURSOR_ENTRIES)
			n = DV_CURSOR_ENTRIES;
		if (!n)
			return -EBADMSG;
		dv_err err = dv_read_full(s, t->fd, t->piece, n * entry,
					  t->off + DV_TABLE_HEAD_BYTES + t->next * entry);
		if (err)
			return err;
		t->have_from = t->next;
		t->have = n;
	}
	const uint8_t *at = t->piece + (t->next++ - t->have_from) * entry;
	*stored = get_u32(at);
	*plain = get_u32(at + 4);
	*sum = t->t.checksums ? get_u32(at + 8) : 0;
	return 0;
}

/* Do the stored bytes of the entries add up to where the table begins? */
static dv_err add_up(struct dv_store *s, struct dv_table_cursor *t, bool *out)
{
	uint64_t stored, plain, sum = 0;
	uint32_t unused;
	dv_err err = 0;
	*out = true;
	for (uint32_t i = 0; !err && i < t->t.count; i++) {
		err = dv_table_cursor_next(s, t, &stored, &plain, &unused);
		sum += stored;
		*out = *out && stored; /* a frame has bytes */
	}
	*out = *out && sum == t->off;
	t->next = t->have_from = t->have = 0;
	return err;
}

dv_err dv_table_cursor_open(struct dv_store *s, int fd, uint64_t size, struct dv_table_cursor *t,
			    char *why, size_t why_size)
{
	uint8_t footer[DV_TABLE_FOOTER_BYTES], head[DV_TABLE_HEAD_BYTES];
	bool adds_up = false;
	if (size < sizeof(footer))
		return -ENOENT;
	dv_err err = dv_read_full(s, fd, footer, sizeof(footer), size - sizeof(footer));
	if (!err)
		err = dv_table_begin(footer, size, &t->t);
	if (!err && (uint64_t)t->t.count * 16 > DV_LAYOUT_BYTES_MAX)
		err = -EFBIG;
	if (err == -EFBIG)
		snprintf(why, why_size, "its seek table tells of more than %u frames",
			 DV_LAYOUT_FRAMES_MAX);
	if (err)
		return err;
	t->fd = fd;
	t->off = size - t->t.bytes;
	t->next = t->have_from = t->have = 0;
	err = dv_read_full(s, fd, head, sizeof(head), t->off);
	if (!err)
		err = add_up(s, t, &adds_up);
	if (err)
		return err;
	bool is_head = get_u32(head) == TABLE_MAGIC &&
		       get_u32(head + 4) == t->t.bytes - DV_TABLE_HEAD_BYTES;
	if (is_head && adds_up)
		return 0;
	snprintf(why, why_size,
		 is_head ? "its entries do not add up to the frames" : "its head is damaged");
	return is_head || adds_up ? -ESTALE : -EBADMSG;
}
