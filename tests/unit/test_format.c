/* SPDX-License-Identifier: MIT */
/*
 * test_format.c - layouts and seek tables. Run under address,undefined: a read beyond the
 * bytes given is a failure too.
 */
#include "core/format.h"

#include "core/cleanup.h"
#include "tests/support/check.h"
#include "tests/support/random.h"

static void put_u32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void fill_layout(struct dv_layout *l, struct test_random *r, uint32_t count)
{
	dv_layout_init(l);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t stored = 9 + test_random_below(r, 1u << 20);
		uint64_t plain = test_random_below(r, 4) ? test_random_below(r, 1u << 17) : 0;
		CHECK_EQ(dv_layout_add(l, stored, plain), 0);
	}
}

static void check_equal(const struct dv_layout *a, const struct dv_layout *b)
{
	CHECK_EQ(a->count, b->count);
	for (uint32_t i = 0; i < a->count; i++) {
		CHECK_EQ(a->stored_end[i], b->stored_end[i]);
		CHECK_EQ(a->plain_end[i], b->plain_end[i]);
	}
}

/* What must hold of everything that a parse accepts. */
static void check_sums(const struct dv_layout *l, size_t table_len, uint64_t file_size)
{
	uint64_t stored = 0, plain = 0;

	CHECK_EQ(dv_layout_stored_size(l), file_size - table_len);
	for (uint32_t i = 0; i < l->count; i++) {
		struct dv_frame f = dv_layout_frame(l, i);
		CHECK_EQ(f.stored_off, stored);
		CHECK_EQ(f.plain_off, plain);
		stored += f.stored_len;
		plain += f.plain_len;
		CHECK(stored <= file_size - table_len);
	}
	CHECK_EQ(plain, dv_layout_plain_size(l));
	CHECK(dv_layout_bytes(l) <= 2 * table_len);
}

static uint8_t *write_table(const struct dv_layout *l, bool checksums, size_t *out_len)
{
	uint32_t *sums = calloc(l->count + 1, sizeof(*sums));
	*out_len = dv_table_bytes(l->count, checksums);
	uint8_t *table = malloc(*out_len);
	CHECK(sums && table);
	for (uint32_t i = 0; i < l->count; i++)
		sums[i] = i * 2654435761u;
	dv_table_write(l, checksums ? sums : NULL, table);
	free(sums);
	return table;
}

static void test_table_is_what_the_specification_says(void)
{
	static const uint8_t wanted[] = {
		0x5E, 0x2A, 0x4D, 0x18, /* Skippable_Magic_Number 0x184D2A5E */
		0x21, 0x00, 0x00, 0x00, /* Frame_Size 33 = 2 * 12 + 9 */
		0x34, 0x12, 0x00, 0x00, /* Compressed_Size 0x1234 */
		0x00, 0x00, 0x02, 0x00, /* Decompressed_Size 131072 */
		0xEF, 0xBE, 0xAD, 0xDE, /* Checksum */
		0x0A, 0x00, 0x00, 0x00, /* 10 */
		0x01, 0x00, 0x00, 0x00, /* 1 */
		0x04, 0x03, 0x02, 0x01, /* Checksum */
		0x02, 0x00, 0x00, 0x00, /* Number_Of_Frames */
		0x80,			/* Seek_Table_Descriptor: Checksum_Flag */
		0xB1, 0xEA, 0x92, 0x8F, /* Seekable_Magic_Number 0x8F92EAB1 */
	};
	static const uint32_t sums[] = {0xDEADBEEF, 0x01020304};
	uint8_t table[sizeof(wanted)];
	struct dv_layout l;
	uint32_t sum;

	dv_layout_init(&l);
	CHECK_EQ(dv_layout_add(&l, 0x1234, 131072), 0);
	CHECK_EQ(dv_layout_add(&l, 10, 1), 0);
	CHECK_EQ(dv_table_bytes(2, true), sizeof(wanted));
	dv_table_write(&l, sums, table);
	CHECK(memcmp(table, wanted, sizeof(wanted)) == 0);
	CHECK(dv_table_checksum(table, sizeof(table), 1, &sum));
	CHECK_EQ(sum, 0x01020304);
	dv_layout_release(&l);
}

static void test_table_without_checksums_has_entries_of_eight_bytes(void)
{
	static const uint8_t wanted[] = {
		0x5E, 0x2A, 0x4D, 0x18, 0x11, 0, 0, 0, 9,    0,	   0,	 0,    5,
		0,    0,    0,	  1,	0,    0, 0, 0, 0xB1, 0xEA, 0x92, 0x8F,
	};
	uint8_t table[sizeof(wanted)];
	struct dv_layout l;
	uint32_t sum;

	dv_layout_init(&l);
	CHECK_EQ(dv_layout_add(&l, 9, 5), 0);
	CHECK_EQ(dv_table_bytes(1, false), sizeof(wanted));
	dv_table_write(&l, NULL, table);
	CHECK(memcmp(table, wanted, sizeof(wanted)) == 0);
	CHECK(!dv_table_checksum(table, sizeof(table), 0, &sum));
	dv_layout_release(&l);
}

static void test_parse_gives_back_what_was_written(void)
{
	struct test_random r = {1};

	for (int round = 0; round < 400; round++) {
		struct dv_layout l, back;
		size_t len, probed;
		fill_layout(&l, &r, (uint32_t)test_random_below(&r, 200));
		uint8_t *table = write_table(&l, round & 1, &len);
		uint64_t file_size = dv_layout_stored_size(&l) + len;

		size_t tail = len < 64 ? len : DV_TABLE_FOOTER_BYTES + round % 50;
		CHECK_EQ(dv_table_probe(table + len - tail, tail, file_size, &probed), 0);
		CHECK_EQ(probed, len);
		CHECK_EQ(dv_table_parse(table, len, file_size, &back), 0);
		check_equal(&l, &back);
		check_sums(&back, len, file_size);
		free(table);
		dv_layout_release(&l);
		dv_layout_release(&back);
	}
}

/* As the store reads and writes large ones. */
static void test_a_table_in_pieces_is_the_table_as_a_whole(void)
{
	struct test_random r = {7};

	for (int round = 0; round < 200; round++) {
		struct dv_layout l, back;
		struct dv_seek_table t;
		size_t len;
		uint32_t sums[200], read_back[200] = {0};
		bool summed = round & 1;
		fill_layout(&l, &r, (uint32_t)test_random_below(&r, 200));
		uint8_t *table = write_table(&l, summed, &len), *pieces = malloc(len), *at = pieces;
		uint64_t file_size = dv_layout_stored_size(&l) + len;
		CHECK(pieces);
		for (uint32_t i = 0; i < l.count; i++)
			if (!dv_table_checksum(table, len, i, &sums[i]))
				sums[i] = 0;

		at += dv_table_write_head(&l, summed, at);
		for (uint32_t i = 0, n; i < l.count; i += n) {
			n = 1 + (uint32_t)test_random_below(&r, l.count - i);
			at += dv_table_write_entries(&l, summed ? sums : NULL, i, n, at);
		}
		at += dv_table_write_footer(&l, summed, at);
		CHECK_EQ(at - pieces, len);
		CHECK(memcmp(pieces, table, len) == 0);

		CHECK_EQ(dv_table_begin(table + len - DV_TABLE_FOOTER_BYTES, file_size, &t), 0);
		CHECK_EQ(t.count, l.count);
		CHECK_EQ(t.bytes, len);
		dv_layout_init(&back);
		while (back.count < t.count) {
			uint32_t n = 1 + (uint32_t)test_random_below(&r, t.count - back.count);
			const uint8_t *from =
				table + DV_TABLE_HEAD_BYTES + (size_t)back.count * t.entry_bytes;
			CHECK_EQ(dv_table_add(&t, from, n, &back, read_back + back.count), 0);
		}
		CHECK_EQ(dv_table_end(&t, table, file_size, &back), 0);
		check_equal(&l, &back);
		CHECK(memcmp(sums, read_back, l.count * sizeof(*sums)) == 0);
		if (t.count) { /* one entry too many, one too few */
			CHECK_EQ(dv_table_add(&t, table, 1, &back, NULL), -EBADMSG);
			back.count--;
			CHECK_EQ(dv_table_end(&t, table, file_size, &back), -EBADMSG);
		}
		free(table);
		free(pieces);
		dv_layout_release(&l);
		dv_layout_release(&back);
	}
}

static void test_every_truncation_is_refused(void)
{
	struct test_random r = {2};
	struct dv_layout l, back;
	size_t len, probed;

	fill_layout(&l, &r, 12);
	uint8_t *table = write_table(&l, true, &len);
	uint64_t frames = dv_layout_stored_size(&l);
	for (size_t cut = 0; cut < len; cut++) {
		/* A copy of the exact size: reading behind it is seen. */
		uint8_t *copy = malloc(cut + 1);
		CHECK(copy);
		/* The end is lost, with the file as short as that or not. */
		memcpy(copy, table, cut);
		CHECK_EQ(dv_table_parse(copy, cut, frames + cut, &back), -EBADMSG);
		CHECK_EQ(dv_table_parse(copy, cut, frames + len, &back), -EBADMSG);
		CHECK_EQ(dv_table_probe(copy, cut, frames + cut, &probed), -ENOENT);
		free(copy);
		copy = malloc(cut ? cut : 1);
		CHECK(copy);
		/* The start is lost. */
		memcpy(copy, table + len - cut, cut);
		CHECK_EQ(dv_table_parse(copy, cut, frames + cut, &back), -EBADMSG);
		CHECK_EQ(back.count, 0);
		free(copy);
	}
	free(table);
	dv_layout_release(&l);
}

static void try_mutation(const uint8_t *table, size_t len, uint64_t file_size)
{
	struct dv_layout back;
	size_t probed = 0;
	dv_err err = dv_table_probe(table, len, file_size, &probed);
	CHECK(err == 0 || err == -ENOENT || err == -EBADMSG);
	CHECK(probed <= file_size);
	err = dv_table_parse(table, len, file_size, &back);
	CHECK(err == 0 || err == -EBADMSG);
	if (!err)
		check_sums(&back, len, file_size);
	else
		CHECK(back.count == 0 && !back.stored_end);
	dv_layout_release(&back);
}

static void test_every_mutated_byte_is_refused_or_keeps_sums_within_the_file(void)
{
	struct test_random r = {3};

	for (int checksums = 0; checksums < 2; checksums++) {
		struct dv_layout l;
		size_t len;
		fill_layout(&l, &r, 7);
		uint8_t *table = write_table(&l, checksums, &len);
		uint64_t file_size = dv_layout_stored_size(&l) + len;
		for (size_t i = 0; i < len; i++) {
			uint8_t was = table[i];
			for (unsigned v = 0; v < 256; v++) {
				table[i] = (uint8_t)v;
				try_mutation(table, len, file_size);
			}
			table[i] = was;
		}
		free(table);
		dv_layout_release(&l);
	}
}

static void test_reserved_bits_are_refused_and_unused_bits_are_not(void)
{
	struct test_random r = {4};
	struct dv_layout l, back;
	size_t len, probed;

	fill_layout(&l, &r, 3);
	uint8_t *table = write_table(&l, true, &len);
	uint64_t file_size = dv_layout_stored_size(&l) + len;
	for (unsigned bit = 0; bit < 7; bit++) {
		table[len - 5] = (uint8_t)(0x80u | 1u << bit);
		int wanted = bit < 2 ? 0 : -EBADMSG;
		CHECK_EQ(dv_table_probe(table, len, file_size, &probed), wanted);
		CHECK_EQ(dv_table_parse(table, len, file_size, &back), wanted);
		dv_layout_release(&back);
	}
	free(table);
	dv_layout_release(&l);
}

static void test_huge_counts_are_refused_before_anything_is_allocated(void)
{
	static const uint32_t counts[] = {1,	      2,	  0x0FFFFFFF,
					  0x15555555, 0x1FFFFFFF, 0x20000000,
					  0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
	uint8_t table[17] = {0x5E, 0x2A, 0x4D, 0x18, 9};

	put_u32(table + 13, 0x8F92EAB1);
	for (size_t i = 0; i < DV_ARRAY_LEN(counts); i++) {
		for (int checksums = 0; checksums < 2; checksums++) {
			struct dv_layout l;
			size_t probed;
			put_u32(table + 8, counts[i]);
			table[12] = checksums ? 0x80 : 0;
			/* The frames part alone could not hold so many, whatever the table. */
			uint64_t entries = counts[i] * (checksums ? 12ull : 8ull);
			uint64_t sizes[] = {17,		  18,
					    24,		  17 + entries - 1,
					    17 + entries, 17 + entries + counts[i] * 8ull - 1};
			for (size_t k = 0; k < DV_ARRAY_LEN(sizes); k++) {
				CHECK_EQ(dv_table_probe(table, 17, sizes[k], &probed), -EBADMSG);
				CHECK_EQ(dv_table_parse(table, 17, sizes[k], &l), -EBADMSG);
				CHECK(!l.stored_end && !l.plain_end);
			}
		}
	}
	/* A file that is large enough: over our own limit. */
	size_t probed;
	struct dv_layout l;
	CHECK_EQ(dv_table_probe(table, 17, UINT64_MAX, &probed), -EFBIG);
	CHECK_EQ(dv_table_parse(table, 17, UINT64_MAX, &l), -EFBIG);
	put_u32(table + 8, DV_FRAMES_MAX);
	CHECK_EQ(dv_table_probe(table, 17, UINT64_MAX, &probed), 0);
	CHECK_EQ(probed, dv_table_bytes(DV_FRAMES_MAX, true));
	CHECK_EQ(dv_table_parse(table, 17, UINT64_MAX, &l), -EBADMSG);
}

/* A table of two frames with the sizes given, then parsed for a file of file_size bytes. */
static dv_err parse_two(const uint32_t sizes[4], uint64_t file_size, struct dv_layout *out)
{
	uint8_t table[33] = {0x5E, 0x2A, 0x4D, 0x18, 25};
	for (int i = 0; i < 4; i++)
		put_u32(table + 8 + 4 * i, sizes[i]);
	put_u32(table + 24, 2);
	put_u32(table + 29, 0x8F92EAB1);
	return dv_table_parse(table, sizeof(table), file_size, out);
}

static void test_sizes_do_not_wrap(void)
{
	const uint32_t top = UINT32_MAX;
	struct dv_layout l;

	/* As 32 bits the two stored sizes would make 9. */
	CHECK_EQ(parse_two((uint32_t[]){top, 1, 10, 1}, 33 + 9, &l), -EBADMSG);
	CHECK_EQ(parse_two((uint32_t[]){top, top, top, top}, 33 + (uint64_t)top - 1, &l), -EBADMSG);
	CHECK_EQ(parse_two((uint32_t[]){top, top, top, top}, 33 + 2 * (uint64_t)top, &l), 0);
	CHECK_EQ(dv_layout_plain_size(&l), 2 * (uint64_t)top);
	check_sums(&l, 33, 33 + 2 * (uint64_t)top);
	dv_layout_release(&l);
}

static void test_frames_that_can_not_be_are_refused(void)
{
	struct dv_layout l;

	CHECK_EQ(parse_two((uint32_t[]){0, 5, 20, 5}, 33 + 20, &l), -EBADMSG);
	CHECK_EQ(parse_two((uint32_t[]){7, 0, 13, 5}, 33 + 20, &l), -EBADMSG);
	CHECK_EQ(parse_two((uint32_t[]){8, 0, 12, 5}, 33 + 20, &l), 0);
	dv_layout_release(&l);
	/* More plain bytes than any 10 bytes of zstd can make. */
	CHECK_EQ(parse_two((uint32_t[]){10, 327681, 10, 5}, 33 + 20, &l), -EBADMSG);
	CHECK_EQ(parse_two((uint32_t[]){10, 327680, 10, 5}, 33 + 20, &l), 0);
	dv_layout_release(&l);
	/* Bytes between the last frame and the table, and the reverse. */
	CHECK_EQ(parse_two((uint32_t[]){10, 5, 10, 5}, 33 + 21, &l), -EBADMSG);
	CHECK_EQ(parse_two((uint32_t[]){10, 5, 10, 5}, 33 + 19, &l), -EBADMSG);
}

static void test_find_returns_the_frame_that_holds_the_offset(void)
{
	struct test_random r = {5};

	for (int round = 0; round < 50; round++) {
		struct dv_layout l;
		fill_layout(&l, &r, 1 + (uint32_t)test_random_below(&r, 60));
		for (uint32_t i = 0; i < l.count; i++) {
			struct dv_frame f = dv_layout_frame(&l, i);
			if (f.plain_len == 0)
				continue;
			CHECK_EQ(dv_layout_find(&l, f.plain_off), i);
			CHECK_EQ(dv_layout_find(&l, f.plain_off + f.plain_len - 1), i);
		}
		dv_layout_release(&l);
	}
}

static void test_add_refuses_what_a_layout_can_not_hold(void)
{
	struct dv_layout l;

	dv_layout_init(&l);
	CHECK_EQ(dv_layout_add(&l, UINT64_MAX, 1), -EFBIG);
	CHECK_EQ(dv_layout_add(&l, 10, UINT64_MAX), -EFBIG);
	CHECK_EQ(l.count, 0);
	/* One foreign frame may hold many GiB. */
	CHECK_EQ(dv_layout_add(&l, UINT64_C(5) << 30, UINT64_C(99) << 32), 0);
	CHECK_EQ(dv_layout_frame(&l, 0).stored_len, UINT64_C(5) << 30);
	CHECK_EQ(dv_layout_frame(&l, 0).plain_len, UINT64_C(99) << 32);

	/* Sums near 2^63, which only a caller's own mistakes could reach frame by frame. */
	l.stored_end[0] = INT64_MAX - 5;
	CHECK_EQ(dv_layout_add(&l, 6, 0), -EFBIG);
	CHECK_EQ(dv_layout_add(&l, 5, 0), 0);
	CHECK_EQ(l.count, 2);
	CHECK(dv_layout_bytes(&l) >= 32);

	uint32_t count = l.count;
	l.count = DV_FRAMES_MAX; /* decides before anything is read */
	CHECK_EQ(dv_layout_add(&l, 0, 0), -EFBIG);
	l.count = count;
	dv_layout_release(&l);
	CHECK_EQ(dv_layout_plain_size(&l), 0);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_table_is_what_the_specification_says),
		CHECK_TEST(test_table_without_checksums_has_entries_of_eight_bytes),
		CHECK_TEST(test_parse_gives_back_what_was_written),
		CHECK_TEST(test_a_table_in_pieces_is_the_table_as_a_whole),
		CHECK_TEST(test_every_truncation_is_refused),
		CHECK_TEST(test_every_mutated_byte_is_refused_or_keeps_sums_within_the_file),
		CHECK_TEST(test_reserved_bits_are_refused_and_unused_bits_are_not),
		CHECK_TEST(test_huge_counts_are_refused_before_anything_is_allocated),
		CHECK_TEST(test_sizes_do_not_wrap),
		CHECK_TEST(test_frames_that_can_not_be_are_refused),
		CHECK_TEST(test_find_returns_the_frame_that_holds_the_offset),
		CHECK_TEST(test_add_refuses_what_a_layout_can_not_hold),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
