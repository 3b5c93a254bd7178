/* SPDX-License-Identifier: MIT */
/*
 * fuzz_table.c - any bytes as a seek table.
 *
 *   input   u64 little endian: bytes of the file in front of the rest | rest: the file's last bytes
 *
 * What a parse accepts keeps its sums within the file, finds every frame by its offsets, and is
 * the same after being written and parsed again.
 */
#include "core/format.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(int truth)
{
	if (!truth)
		abort();
}

static void check_frames(const struct dv_layout *l, uint64_t frames_size)
{
	uint64_t stored = 0, plain = 0;

	require(dv_layout_stored_size(l) == frames_size);
	for (uint32_t i = 0; i < l->count; i++) {
		struct dv_frame f = dv_layout_frame(l, i);
		require(f.stored_off == stored && f.plain_off == plain);
		require(f.stored_len > 0 && f.stored_len <= frames_size - stored);
		stored += f.stored_len;
		plain += f.plain_len;
		if (f.plain_len == 0)
			continue;
		require(dv_layout_find(l, f.plain_off) == i);
		require(dv_layout_find(l, plain - 1) == i);
	}
	require(plain == dv_layout_plain_size(l));
}

static void check_rewritten(const struct dv_layout *l, const uint8_t *table, size_t len)
{
	struct dv_layout back;
	uint32_t *sums = calloc(l->count + 1u, sizeof(*sums)), sum;
	uint8_t *written = malloc(dv_table_bytes(l->count, true));
	bool checked = false;

	require(sums && written);
	for (uint32_t i = 0; i < l->count; i++) {
		checked = dv_table_checksum(table, len, i, &sum);
		sums[i] = checked ? sum : 0;
	}
	/* The unused bits of the descriptor may differ, and its flag where there is no frame. */
	dv_table_write(l, checked ? sums : NULL, written);
	size_t written_len = dv_table_bytes(l->count, checked);
	require(written_len == len);
	require(memcmp(written, table, len - 5) == 0);
	require(dv_table_parse(written, len, dv_layout_stored_size(l) + len, &back) == 0);
	require(back.count == l->count);
	for (uint32_t i = 0; i < l->count; i++)
		require(back.stored_end[i] == l->stored_end[i] &&
			back.plain_end[i] == l->plain_end[i]);
	dv_layout_release(&back);
	free(written);
	free(sums);
}

static void parse(const uint8_t *table, size_t len, uint64_t file_size)
{
	struct dv_layout l;
	dv_err err = dv_table_parse(table, len, file_size, &l);
	if (err) {
		require(err == -EBADMSG || err == -EFBIG);
		require(l.count == 0 && !l.stored_end && !l.plain_end);
		return;
	}
	check_frames(&l, file_size - len);
	check_rewritten(&l, table, len);
	dv_layout_release(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint64_t front = 0;
	size_t bytes = 0;

	if (len < 8)
		return 0;
	for (int i = 8; i-- > 0;)
		front = front << 8 | data[i];
	data += 8;
	len -= 8;
	if (len > UINT64_MAX - front)
		return 0;
	uint64_t file_size = front + len;

	parse(data, len, file_size);
	dv_err err = dv_table_probe(data, len, file_size, &bytes);
	require(err == 0 || err == -ENOENT || err == -EBADMSG || err == -EFBIG);
	if (err)
		return 0;
	require(bytes >= DV_TABLE_FOOTER_BYTES && bytes <= file_size);
	if (bytes <= len)
		parse(data + len - bytes, bytes, file_size);
	return 0;
}
