/* SPDX-License-Identifier: MIT */
/*
 * test_verify_crafted.c - verify and files that were not made here: those of other makers, mutations of
 * them, and such as are made to take time or memory. On simfs.
 */
#include "core/cleanup.h"
#include "core/xxh64.h"
#include "tests/support/random.h"
#include "tests/unit/foreign_kinds.h"
#include "tests/unit/verify_fixture.h"

#include <zstd.h>

#define BIG 15000u /* 3 frames of 4 KiB, and a part */

static void begin_one(struct vt *t, const char *key, size_t len)
{
	vt_begin(t, "path");
	vt_put(t, key, len);
	vt_put(t, "good", 6000);
	vt_pack(t);
}

static void test_xxh64_is_what_zstd_says(void)
{
	static uint8_t plain[1000], file[2000];
	ZSTD_CCtx *c = ZSTD_createCCtx();
	CHECK(c != NULL);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	for (size_t len = 0; len < sizeof(plain); len++) {
		struct dv_xxh64 x;
		plain[len] = (uint8_t)(len * 7 + 3);
		size_t n = ZSTD_compress2(c, file, sizeof(file), plain, len);
		CHECK(!ZSTD_isError(n));
		dv_xxh64_init(&x);
		dv_xxh64_add(&x, plain, len / 3);
		dv_xxh64_add(&x, plain + len / 3, len - len / 3);
		uint32_t sum = (uint32_t)dv_xxh64_end(&x);
		for (int i = 0; i < 4; i++)
			CHECK_EQ(file[n - 4 + (size_t)i], sum >> (8 * i) & 0xff);
	}
	ZSTD_freeCCtx(c);
}

/* What a mount reads is clean, and what it gives EIO for is an error. */
static void test_files_of_other_makers_are_what_a_mount_says_they_are(void)
{
	char name[256];
	for (const struct kind *k = foreign_kinds(); k->name; k++) {
		struct vt t;
		vt_begin(&t, "path");
		snprintf(name, sizeof(name), "%.200s.zst", k->name);
		vt_write(&t, name, k->bytes, k->len);
		vt_verify(&t, false);
		if ((t.r.errors == 0) != !!k->good)
			fprintf(stderr, "%s: %llu errors\n", k->name,
				(unsigned long long)t.r.errors);
		CHECK_EQ(t.err, 0);
		CHECK_EQ(t.r.errors == 0, !!k->good);
		if (k->good)
			CHECK_EQ(t.r.plain_bytes, k->plain_len);
		vt_end(&t);
	}
}

/* Frames of `each` plain bytes and a shorter one, with checksums, as programs make them that write a frame at a time. */
static void write_frames(struct vt *t, const char *name, size_t each, unsigned count, int sized)
{
	size_t room = (ZSTD_compressBound(each) + 64) * (count + 1), len = 0;
	DV_AUTO_FREE uint8_t *plain = malloc(each), *file = malloc(room);
	ZSTD_CCtx *c = ZSTD_createCCtx();
	struct test_random r = {each};
	CHECK(c && plain && file);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, sized);
	for (size_t i = 0; i < each; i++)
		plain[i] = (uint8_t)test_random_below(&r, 256);
	for (unsigned i = 0; i <= count; i++) {
		size_t n = ZSTD_compress2(c, file + len, room - len, plain,
					  i < count ? each : each / 2);
		CHECK(!ZSTD_isError(n));
		len += n;
	}
	vt_write(t, name, file, len);
	ZSTD_freeCCtx(c);
}

/* What was much work to find is in its tag, which does not make it a file of ours that has lost its table. */
static void test_frames_of_other_makers_which_a_mount_has_tagged_are_clean(void)
{
	struct vt t;
	vt_begin(&t, "path");
	write_frames(&t, "unsized.zst", 4096, 3, 0);
	write_frames(&t, "long.zst", 1 << 20, 16, 1);
	CHECK(vt_is(&t, "unsized", 14336) >= 0);
	CHECK(vt_is(&t, "long", 6144) >= 0);
	vt_clean(&t);
	CHECK_EQ(t.count, 0);
	CHECK_EQ(t.r.frames, 21);
	write_frames(&t, "unsized.zst", 4096, 1, 0); /* the same file, written over by its maker */
	vt_clean(&t);
	CHECK_EQ(t.r.frames, 19);
	vt_end(&t);
}

static bool has_kind(const struct vt *t, enum dv_finding_kind kind)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->at[i].kind == kind)
			return true;
	return false;
}

/* A decoder of its own takes what is clean, and not what is damaged. */
static void check_mutation(struct vt *t, const char *kind, const uint8_t *bytes, size_t len)
{
	uint8_t *plain = NULL;
	size_t plain_len = 0;
	vt_write(t, "m.zst", bytes, len);
	vt_verify(t, false);
	CHECK_EQ(t->err, 0);
	int good = foreign_decode(bytes, len, 64 << 20, &plain, &plain_len);
	bool damaged = has_kind(t, DV_FINDING_FRAME);
	if (good >= 0 && (t->r.errors == 0 || damaged) && good == damaged) {
		fprintf(stderr, "%s: a decoder says %d\n", kind, good);
		vt_told(t, good ? "clean" : "damaged", "m.zst", "");
	}
	if (good == 1 && t->r.errors == 0)
		CHECK_EQ(t->r.plain_bytes, plain_len);
	free(plain);
}

static void test_mutations_of_files_of_other_makers_are_judged_as_a_decoder_does(void)
{
	enum { MUTATIONS = 12, LEN_MAX = 64 << 10 };
	static uint8_t copy[LEN_MAX];
	struct vt t;
	vt_begin(&t, "path");
	struct test_random r = {4711};
	for (const struct kind *k = foreign_kinds(); k->name; k++)
		for (int i = 0; k->len && k->len <= LEN_MAX && i < MUTATIONS; i++) {
			memcpy(copy, k->bytes, k->len);
			size_t off = test_random_below(&r, k->len);
			if (i % 3 == 0)
				check_mutation(&t, k->name, copy, off);
			copy[off] ^= (uint8_t)(1u << test_random_below(&r, 8));
			check_mutation(&t, k->name, copy, k->len);
		}
	vt_end(&t);
}

static void put32(uint8_t *at, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

static void test_crafted_files_are_told_in_bounded_time(void)
{
	static const uint8_t vast[] = {0x28,
				       0xb5,
				       0x2f,
				       0xfd,
				       0xc0,
				       0x50,
				       0,
				       0,
				       0,
				       0,
				       0,
				       1,
				       0,
				       0,
				       /* a last block of RLE */ 0x03,
				       0,
				       0,
				       'x'};
	static const uint8_t empty[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0, 0};
	enum { MANY = 400000 };
	DV_AUTO_FREE uint8_t *many = malloc((size_t)MANY * sizeof(empty));
	struct vt t;
	begin_one(&t, "k", 6000);
	vt_write(&t, "vast.zst", vast, sizeof(vast)); /* says 2^40 bytes */
	CHECK(many != NULL);
	for (size_t i = 0; i < MANY; i++)
		memcpy(many + i * sizeof(empty), empty, sizeof(empty));
	vt_write(&t, "many.zst", many, MANY * sizeof(empty));
	vt_verify(&t, false);
	CHECK_EQ(t.err, 0);
	vt_told(&t, "damaged", "vast.zst", "frame 0");
	CHECK_EQ(t.r.errors, 1);
	CHECK_EQ(t.r.frames, 4 + MANY);
	vt_end(&t);
}

static void test_tables_that_overlap_or_overflow_are_told(void)
{
	static const uint32_t entries[][2] = {
		{UINT32_MAX, UINT32_MAX}, {0, 4096}, {UINT32_MAX / 2, 1}, {9, UINT32_MAX}};
	static uint8_t file[BIG];
	for (size_t i = 0; i < DV_ARRAY_LEN(entries); i++) {
		struct vt t;
		begin_one(&t, "k", BIG);
		size_t len = vt_read(&t, "k.zst", file, sizeof(file));
		for (int e = 0; e < 4; e++) {
			put32(file + len - 9 - 48 + 12 * e, entries[i][0]);
			put32(file + len - 9 - 48 + 12 * e + 4, entries[i][1]);
		}
		vt_write(&t, "k.zst", file, len);
		put32(file + len - 9, UINT32_MAX); /* so many frames */
		vt_write(&t, "j.zst", file, len);
		vt_verify(&t, false);
		CHECK_EQ(t.err, 0);
		vt_told(&t, "table", "k.zst", "");
		CHECK(t.r.errors >= 2);
		CHECK(t.r.frames >= 8 + 2);
		vt_end(&t);
	}
}

static void test_checksums_of_a_table_are_checked_where_frames_have_none(void)
{
	static uint8_t file[BIG], plain[4096];
	struct vt t;
	memset(plain, 'p', sizeof(plain));
	size_t len = ZSTD_compress(file, sizeof(file), plain, sizeof(plain), 3);
	CHECK(!ZSTD_isError(len));
	struct dv_xxh64 x;
	dv_xxh64_init(&x);
	dv_xxh64_add(&x, plain, sizeof(plain));
	put32(file + len, 0x184D2A5E);
	put32(file + len + 4, 12 + 9);
	put32(file + len + 8, (uint32_t)len);
	put32(file + len + 12, sizeof(plain));
	put32(file + len + 16, (uint32_t)dv_xxh64_end(&x));
	put32(file + len + 20, 1);
	file[len + 24] = 0x80;
	put32(file + len + 25, 0x8F92EAB1);
	vt_begin(&t, "path");
	vt_write(&t, "k.zst", file, len + 29);
	vt_clean(&t);
	CHECK_EQ(t.r.unsummed, 0);
	file[len + 16] ^= 1;
	vt_write(&t, "k.zst", file, len + 29);
	vt_verify(&t, false);
	vt_told(&t, "damaged", "k.zst", "checksum of the seek table");
	vt_end(&t);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_xxh64_is_what_zstd_says),
		CHECK_TEST(test_files_of_other_makers_are_what_a_mount_says_they_are),
		CHECK_TEST(test_frames_of_other_makers_which_a_mount_has_tagged_are_clean),
		CHECK_TEST(test_mutations_of_files_of_other_makers_are_judged_as_a_decoder_does),
		CHECK_TEST(test_crafted_files_are_told_in_bounded_time),
		CHECK_TEST(test_tables_that_overlap_or_overflow_are_told),
		CHECK_TEST(test_checksums_of_a_table_are_checked_where_frames_have_none),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
