/* SPDX-License-Identifier: MIT */
/*
 * test_verify.c - verify finds each damage that is made on purpose, names it, and finds nothing in a
 * store that is whole; nothing is written meanwhile. On simfs.
 */
#include "core/cleanup.h"
#include "tests/unit/foreign_kinds.h"
#include "tests/unit/verify_fixture.h"

#define BIG    15000u /* 3 frames of 4 KiB, and a part */
#define SINGLE 9000u

static void fill(struct vt *t)
{
	vt_put(t, "one", 3000);
	vt_put(t, "several", BIG);
	vt_put(t, "tiny", 3);
	vt_put(t, "empty", 0);
	vt_put(t, "abc", 5000);
	vt_put(t, "abcabc", 5000);
	vt_put(t, "x.zst", 9000);
	vt_put(t, "%2e", 100);
	vt_pack(t);
}

static void test_a_whole_store_of_every_transform_is_clean(void)
{
	static const char *const specs[] = {"path",    "path:.txt", "flat",
					    "split:3", "split:1x2", "hash:sha256:2x2"};
	for (size_t i = 0; i < DV_ARRAY_LEN(specs); i++) {
		struct vt t;
		vt_begin(&t, specs[i]);
		fill(&t);
		vt_clean(&t);
		CHECK_EQ(t.count, 0);
		CHECK_EQ(t.r.raw + t.r.packed, 8);
		CHECK(t.r.packed >= 4);
		CHECK(t.r.frames >= 4 + 2 + 2 + 3);
		vt_end(&t);
	}
}

static void test_a_whole_store_of_every_layout_is_clean(void)
{
	static const char *const layouts[] = {"diskv", "diskv:gzip", "diskv:zlib"};
	for (size_t i = 0; i < DV_ARRAY_LEN(layouts); i++) {
		struct vt t;
		vt_begin_as(&t,
			    (struct dv_init_options){.transform = "split:3", .layout = layouts[i]});
		vt_put(&t, "defghi", 9000);
		vt_put(&t, "none", 0);
		vt_put(&t, "ghi", 40);
		vt_clean(&t);
		CHECK_EQ(t.count, 0);
		CHECK_EQ(i ? t.r.packed : t.r.raw, 3);
		if (i) {
			vt_flip(&t, "def/ghi/defghi", 60);
			vt_verify(&t, false);
			CHECK_EQ(t.r.errors, 1);
			vt_told(&t, "damaged", "def/ghi/defghi", "first byte to its last");
		}
		vt_end(&t);
	}
}

static void test_directories_and_odd_names_are_clean(void)
{
	struct vt t;
	vt_begin(&t, "path");
	vt_put(&t, "a/b/c/d", 5000);
	vt_put(&t, "a/.diskvfs", 5000);
	vt_put(&t, "a/n\nl", 5000);
	vt_put(&t, "a.zst/k", 5000);
	vt_pack(&t);
	vt_mkdir(&t, "d.zst");
	vt_clean(&t);
	CHECK_EQ(t.count, 0);
	CHECK_EQ(t.r.packed, 4);
	CHECK_EQ(t.r.directories, 5);
	vt_end(&t);
}

static void test_nothing_is_written(void)
{
	struct vt t;
	vt_begin(&t, "split:3");
	fill(&t);
	vt_flip(&t, "sev/era/several.zst", 700);
	vt_write(&t, "stray", "x", 1);
	unsigned long before = simfs_changes(t.fs);
	vt_verify(&t, false);
	CHECK_EQ(t.r.errors, 2);
	CHECK_EQ(simfs_changes(t.fs), before);
	vt_end(&t);
}

/* ---- damage ---- */

static void begin_one(struct vt *t, const char *key, size_t len)
{
	vt_begin(t, "path");
	vt_put(t, key, len);
	vt_put(t, "good", 6000);
	vt_pack(t);
}

/* The same in one frame. */
static void begin_single(struct vt *t, const char *key, size_t len)
{
	vt_begin_as(t, (struct dv_init_options){.frame_size = 65536});
	vt_put(t, key, len);
	vt_pack(t);
}

static void test_a_damaged_frame_is_told_with_its_place_and_the_others_are_read(void)
{
	struct vt t;
	static uint8_t file[BIG];
	begin_one(&t, "k", BIG);
	size_t len = vt_read(&t, "k.zst", file, sizeof(file));
	unsigned second = file[len - 9 - 48] | (unsigned)file[len - 9 - 47] << 8;
	vt_flip(&t, "k.zst", second + 50);
	vt_verify(&t, false);
	CHECK_EQ(t.r.errors, 1);
	char want[128];
	snprintf(want, sizeof(want), "frame 1 at byte %u, plain bytes 4096 to 8192", second);
	vt_told(&t, "damaged", "k.zst", want);
	CHECK_EQ(t.r.frames, 3 + 2);
	vt_end(&t);
}

static void test_a_frame_behind_damage_is_found_without_a_table(void)
{
	struct vt t;
	static uint8_t file[BIG];
	begin_one(&t, "k", BIG);
	size_t len = vt_read(&t, "k.zst", file, sizeof(file));
	vt_write(&t, "k.zst", file, len - 65); /* another object: no attribute, no table */
	vt_flip(&t, "k.zst", 50);
	vt_verify(&t, false);
	CHECK_EQ(t.r.errors, 1);
	vt_told(&t, "damaged", "k.zst", "frame 0 at byte 0");
	CHECK_EQ(t.r.frames, 3 + 2);
	vt_end(&t);
}

static void test_seek_tables_lost_cut_and_wrong(void)
{
	static const struct {
		int off; /* from the end; what is flipped */
		const char *detail;
	} flips[] = {
		{-1, "damaged"},
		{-5, ""},
		{-9, ""},
		{-9 - 12, "add up"},
		{-9 - 8, "sizes"},
		{-9 - 4, "checksum of frame"},
		{-65, "head is damaged"},
		{-61, "head is damaged"},
	};
	for (size_t i = 0; i < DV_ARRAY_LEN(flips); i++) {
		struct vt t;
		static uint8_t file[BIG];
		begin_one(&t, "k", BIG);
		size_t len = vt_read(&t, "k.zst", file, sizeof(file));
		vt_flip(&t, "k.zst", len - (size_t)-flips[i].off);
		vt_verify(&t, false);
		CHECK_EQ(t.r.errors, 1);
		vt_told(&t, "table", "k.zst", flips[i].detail);
		CHECK_EQ(t.r.frames, 4 + 2);
		vt_end(&t);
	}
	for (size_t cut = 1; cut <= 65; cut++) {
		struct vt t;
		static uint8_t file[BIG];
		begin_one(&t, "k", BIG);
		size_t len = vt_read(&t, "k.zst", file, sizeof(file));
		vt_truncate(&t, "k.zst", len - cut);
		vt_verify(&t, false);
		CHECK_EQ(t.r.errors, 1);
		vt_told(&t, "table", "k.zst", "");
		CHECK_EQ(t.r.frames, 4 + 2);
		vt_end(&t);
	}
}

static void test_a_file_that_is_cut_between_two_frames_is_told(void)
{
	struct vt t;
	static uint8_t file[BIG];
	begin_one(&t, "k", BIG);
	size_t len = vt_read(&t, "k.zst", file, sizeof(file));
	unsigned second = file[len - 9 - 48] | (unsigned)file[len - 9 - 47] << 8;
	unsigned third = second + (file[len - 9 - 36] | (unsigned)file[len - 9 - 35] << 8);
	vt_truncate(&t, "k.zst", third);
	vt_verify(&t, false);
	CHECK_EQ(t.r.errors, 1);
	vt_told(&t, "cut", "k.zst", "8192 of 15000");
	vt_end(&t);
}

/* A byte of the value's file is another: it is told, or its bytes are what they were. */
static void check_each_flip(const char *file_name, const uint8_t *file, size_t len,
			    const char *plain, size_t plain_len)
{
	struct vt t;
	vt_begin(&t, "path");
	vt_write(&t, file_name, file, len);
	for (size_t off = 0; off < len; off++) {
		static uint8_t copy[BIG];
		uint8_t *got = NULL;
		size_t got_len = 0;
		vt_flip(&t, file_name, off);
		vt_verify(&t, false);
		CHECK_EQ(t.err, 0);
		if (!t.r.errors) {
			CHECK_EQ(vt_read(&t, file_name, copy, sizeof(copy)), (long long)len);
			CHECK_EQ(foreign_decode(copy, len, 1 << 20, &got, &got_len), 1);
			CHECK_EQ(got_len, plain_len);
			CHECK_EQ(memcmp(got, plain, plain_len), 0);
			free(got);
		}
		vt_flip(&t, file_name, off);
	}
	vt_clean(&t);
	vt_end(&t);
}

static void test_each_byte_flipped_is_told_or_harmless(void)
{
	static uint8_t file[BIG];
	static char plain[BIG];
	struct vt t;
	begin_single(&t, "k", SINGLE);
	size_t len = vt_read(&t, "k.zst", file, sizeof(file));
	vt_end(&t);
	vt_text("k", plain, SINGLE);
	check_each_flip("k.zst", file, len, plain, SINGLE);
	begin_one(&t, "k", BIG);
	len = vt_read(&t, "k.zst", file, sizeof(file));
	vt_end(&t);
	vt_text("k", plain, BIG);
	check_each_flip("k.zst", file, len, plain, BIG);
}

static void test_each_cut_is_told(void)
{
	static uint8_t file[BIG];
	struct vt t;
	begin_single(&t, "k", SINGLE);
	size_t len = vt_read(&t, "k.zst", file, sizeof(file));
	for (size_t n = 0; n < len; n++) {
		vt_write(&t, "k.zst", file, n);
		vt_verify(&t, false);
		CHECK_EQ(t.r.errors, 1);
		vt_told(&t, "damaged", "k.zst", "");
	}
	vt_end(&t);
}

static void test_many_threads_find_what_one_finds(void)
{
	enum { VALUES = 60 };
	char key[32], file[64];
	struct vt t;
	vt_begin(&t, "split:1x1");
	for (unsigned i = 0; i < VALUES; i++) {
		snprintf(key, sizeof(key), "%u-key", i);
		vt_put(&t, key, 5000 + 200 * i);
	}
	vt_pack(&t);
	for (unsigned i = 0; i < VALUES; i += 7) {
		snprintf(file, sizeof(file), "%c/%u-key.zst", '0' + (char)(i > 9 ? i / 10 : i), i);
		vt_flip(&t, file, 60);
	}
	vt_verify(&t, false);
	struct dv_verify_result one = t.r;
	CHECK_EQ(one.errors, 9);
	t.jobs = 8;
	vt_verify(&t, false);
	CHECK_EQ(t.err, 0);
	CHECK_EQ(memcmp(&one, &t.r, sizeof(one)), 0);
	CHECK_EQ(t.count, 9);
	t.jobs = 8;
	vt_verify(&t, true);
	CHECK_EQ(t.r.fixed, 9);
	CHECK_EQ(t.r.errors, 0);
	vt_clean(&t);
	vt_end(&t);
}

/* ---- names ---- */

static void test_two_files_of_one_key_are_compared(void)
{
	static char text[6000], other[6000];
	struct vt t;
	begin_one(&t, "k", 6000);
	vt_text("k", text, sizeof(text));
	vt_write(&t, "k", text, sizeof(text));
	vt_text("other", other, sizeof(other));
	vt_write(&t, "good", other, sizeof(other));
	vt_verify(&t, false);
	CHECK_EQ(t.r.errors, 2);
	vt_told(&t, "twin", "k.zst", "equal bytes");
	vt_told(&t, "twin", "good.zst", "other bytes");
	vt_write(&t, "k", text, sizeof(text) - 1);
	vt_verify(&t, false);
	vt_told(&t, "twin", "k.zst", "other bytes");
	vt_end(&t);
}

static void test_a_value_and_a_directory_of_one_name_are_told(void)
{
	struct vt t;
	vt_begin(&t, "path");
	vt_put(&t, "k", 9000);
	vt_pack(&t);
	vt_mkdir(&t, "k");
	vt_verify(&t, false);
	CHECK_EQ(t.r.errors, 1);
	vt_told(&t, "twin", "k.zst", "not served");
	vt_end(&t);
	vt_begin(&t, "path:.txt");
	vt_put(&t, "k", 9000);
	vt_pack(&t);
	vt_mkdir(&t, "k");
	vt_verify(&t, false);
	CHECK_EQ(t.r.errors, 1);
	vt_told(&t, "twin", "k", "not served");
	vt_end(&t);
}

static void test_misplaced_values_and_strays_are_told_apart(void)
{
	struct vt t;
	vt_begin(&t, "split:3");
	vt_put(&t, "abcdef", 6000);
	vt_put(&t, "xyz", 6000);
	vt_pack(&t);
	vt_rename(&t, "abc/def/abcdef.zst", "abc/abcdef.zst");
	vt_write(&t, "lonely", "x", 1);
	vt_mkdir(&t, "toolong");
	vt_verify(&t, false);
	CHECK_EQ(t.r.errors, 2);
	CHECK_STR(vt_told(&t, "misplaced", "abc/abcdef.zst", "abc/def/")->key, "abcdef");
	vt_told(&t, "misplaced", "lonely", "lon/ely/");
	CHECK_EQ(vt_told(&t, "stray", "toolong", "")->class, DV_CLASS_NOTE);
	vt_end(&t);
	vt_begin(&t, "path:.txt");
	vt_put(&t, "k", 6000);
	vt_write(&t, "picture.jpg", "x", 1);
	vt_clean(&t);
	vt_told(&t, "stray", "picture.jpg", "no key's");
	vt_end(&t);
	vt_begin(&t, "path");
	vt_put(&t, "k", 6000);
	vt_mkdir(&t, "%2ediskvfs");
	vt_mkdir(&t, "d");
	vt_mkdir(&t, "d/%2ediskvfs");
	vt_write(&t, "d/%2e", "x", 1);
	vt_clean(&t);
	vt_told(&t, "stray", "%2ediskvfs", "no key's");
	vt_told(&t, "stray", "d/%2e", "no key's");
	CHECK_EQ(t.count, 2);
	vt_end(&t);
}

static void test_leftovers_of_nobody_are_told(void)
{
	struct vt t;
	begin_one(&t, "k", 6000);
	vt_write(&t, ".diskvfs/config.new", "x", 1);
	vt_write(&t, ".diskvfs/stage/junk", "x", 1);
	vt_mkdir(&t, ".diskvfs/stage/new-1-2-3");
	vt_verify(&t, false);
	CHECK_EQ(t.r.errors, 3);
	vt_told(&t, "leftover", ".diskvfs/config.new", "");
	vt_told(&t, "leftover", ".diskvfs/stage/junk", "");
	vt_told(&t, "leftover", ".diskvfs/stage/new-1-2-3", "");
	vt_end(&t);
}

static void test_a_config_that_is_no_good_is_an_error_of_the_work(void)
{
	struct vt t;
	begin_one(&t, "k", 6000);
	vt_write(&t, ".diskvfs/config", "format=1\n", 9);
	vt_verify(&t, false);
	CHECK_EQ(t.err, -EINVAL);
	CHECK(t.why[0]);
	vt_write(&t, ".diskvfs/config", "format=99\ntransform=path\n", 25);
	vt_verify(&t, false);
	CHECK_EQ(t.err, -EPROTONOSUPPORT);
	vt_end(&t);
}

/* ---- errors of the disk ---- */

static void test_an_error_of_the_disk_is_never_called_damage(void)
{
	struct vt t;
	vt_begin(&t, "split:3");
	fill(&t);
	for (unsigned long n = 1;; n++) {
		simfs_fail_nth(t.fs, n, EIO, false);
		vt_verify(&t, false);
		bool hit = simfs_failed(t.fs);
		simfs_fail_nth(t.fs, 0, 0, false);
		if (!hit)
			break;
		for (size_t i = 0; i < t.count; i++)
			if (t.at[i].kind != DV_FINDING_READ && t.at[i].kind != DV_FINDING_ACCESS)
				vt_told(&t, "unreadable", t.at[i].file, "");
		CHECK_EQ(simfs_open_fds(t.fs), 0);
	}
	vt_clean(&t);
	vt_end(&t);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_whole_store_of_every_transform_is_clean),
		CHECK_TEST(test_a_whole_store_of_every_layout_is_clean),
		CHECK_TEST(test_directories_and_odd_names_are_clean),
		CHECK_TEST(test_nothing_is_written),
		CHECK_TEST(test_a_damaged_frame_is_told_with_its_place_and_the_others_are_read),
		CHECK_TEST(test_a_frame_behind_damage_is_found_without_a_table),
		CHECK_TEST(test_seek_tables_lost_cut_and_wrong),
		CHECK_TEST(test_a_file_that_is_cut_between_two_frames_is_told),
		CHECK_TEST(test_each_byte_flipped_is_told_or_harmless),
		CHECK_TEST(test_each_cut_is_told),
		CHECK_TEST(test_many_threads_find_what_one_finds),
		CHECK_TEST(test_two_files_of_one_key_are_compared),
		CHECK_TEST(test_a_value_and_a_directory_of_one_name_are_told),
		CHECK_TEST(test_misplaced_values_and_strays_are_told_apart),
		CHECK_TEST(test_leftovers_of_nobody_are_told),
		CHECK_TEST(test_a_config_that_is_no_good_is_an_error_of_the_work),
		CHECK_TEST(test_an_error_of_the_disk_is_never_called_damage),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
