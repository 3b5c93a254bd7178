/* SPDX-License-Identifier: MIT */
/*
 * test_verify_repair.c - what verify mends and puts aside, on simfs: nothing is lost of what was there, whatever
 * call fails, and wherever the process is killed or the power goes; the next run goes on.
 */
#include "core/cleanup.h"
#include "core/deflate.h"
#include "tests/unit/verify_fixture.h"

#define BIG 15000u /* 3 frames of 4 KiB, and a part */
#define RUN ".diskvfs/lost/verify-1/"

#define GOOD	"abc/goo/abcgood.zst"
#define TABLE	"tab/let/tablet.zst"
#define DAMAGED "dam/age/damaged.zst"
#define TWIN	"twi/nss/twinss"

/* A store in which something of each kind is wrong. */
static void begin_bad(struct vt *t)
{
	static uint8_t file[BIG];
	static char text[BIG];
	vt_begin(t, "split:3");
	vt_put(t, "abcgood", BIG);
	vt_put(t, "tablet", BIG);
	vt_put(t, "damaged", BIG);
	vt_put(t, "twinss", BIG);
	vt_put(t, "elsewhere", BIG);
	vt_pack(t);
	size_t len = vt_read(t, TABLE, file, sizeof(file));
	vt_flip(t, TABLE, len - 9 - 12);
	vt_flip(t, DAMAGED, 50);
	vt_text("twinss", text, sizeof(text));
	vt_write(t, TWIN, text, sizeof(text));
	vt_rename(t, "els/ewh/ere/elsewhere.zst", "els/elsewhere.zst");
	vt_rmdir(t, "els/ewh/ere");
	vt_rmdir(t, "els/ewh");
	vt_write(t, ".diskvfs/stage/junk", "x", 1);
	vt_sync(t);
}

static void check_repaired(struct vt *t)
{
	vt_clean(t);
	CHECK_EQ(vt_is(t, "abcgood", BIG), 1);
	CHECK_EQ(vt_is(t, "tablet", BIG), 1);
	CHECK_EQ(vt_is(t, "twinss", BIG), 1);
	CHECK_EQ(vt_is(t, "elsewhere", BIG), 1);
	CHECK_EQ(vt_is(t, "damaged", BIG), -ENOENT);
}

static void test_each_kind_is_mended_or_put_aside_and_told(void)
{
	struct vt t;
	begin_bad(&t);
	vt_verify(&t, false);
	CHECK_EQ(t.r.errors, 5);
	vt_verify(&t, true);
	CHECK_EQ(t.err, 0);
	CHECK_EQ(t.r.errors, 0);
	CHECK_EQ(t.r.fixed, 5);
	CHECK(strstr(vt_told(&t, "table", TABLE, "")->done, RUN TABLE));
	CHECK(strstr(vt_told(&t, "damaged", DAMAGED, "")->done, "3 whole frames"));
	CHECK(strstr(vt_told(&t, "twin", TWIN ".zst", "")->done, RUN TWIN ".zst"));
	CHECK(strstr(vt_told(&t, "misplaced", "els/elsewhere.zst", "")->done, "els/ewh/ere/"));
	vt_told(&t, "leftover", ".diskvfs/stage/junk", "");
	CHECK(vt_exists(&t, RUN TABLE) && vt_exists(&t, RUN DAMAGED));
	CHECK(vt_exists(&t, RUN DAMAGED ".frames.txt"));
	CHECK(vt_exists(&t, RUN TWIN ".zst") && vt_exists(&t, RUN ".diskvfs/stage/junk"));
	check_repaired(&t);
	vt_verify(&t, true);
	CHECK_EQ(t.r.fixed, 0);
	CHECK(!vt_exists(&t, ".diskvfs/lost/verify-2"));
	vt_end(&t);
}

static void test_whole_frames_are_saved_with_their_places(void)
{
	static uint8_t file[BIG], saved[BIG], rest[BIG];
	static char text[4096];
	struct vt t;
	vt_begin(&t, "path");
	vt_put(&t, "k", BIG);
	vt_pack(&t);
	size_t len = vt_read(&t, "k.zst", file, sizeof(file));
	unsigned first = file[len - 9 - 48] | (unsigned)file[len - 9 - 47] << 8;
	unsigned second = file[len - 9 - 36] | (unsigned)file[len - 9 - 35] << 8;
	vt_flip(&t, "k.zst", first + 50);
	vt_verify(&t, true);
	CHECK_EQ(t.r.fixed, 1);
	size_t n = vt_read(&t, RUN "k.zst.frames.zst", saved, sizeof(saved));
	CHECK_EQ(n, len - 65 - second);
	CHECK_EQ(memcmp(saved, file, first), 0);
	CHECK_EQ(memcmp(saved + first, file + first + second, n - first), 0);
	text[vt_read(&t, RUN "k.zst.frames.txt", text, sizeof(text) - 1)] = '\0';
	CHECK(strstr(text, "bytes of the value: 0 to 4096;"));
	CHECK(!strstr(text, "bytes of the value: 4096 to"));
	CHECK(strstr(text, "bytes of the value: 12288 to 15000;"));
	/* The damaged one is as it was. */
	CHECK_EQ(vt_read(&t, RUN "k.zst", rest, sizeof(rest)), (long long)len);
	rest[first + 50] ^= 0x10;
	CHECK_EQ(memcmp(rest, file, len), 0);
	vt_end(&t);
}

/* A gzip member of the first len bytes of text, behind file[at..). -> its end */
static size_t add_member(uint8_t *file, size_t at, const void *text, size_t len)
{
	const struct dv_coding gzip = {.kind = DV_CODING_GZIP, .level = 6};
	struct dv_deflater *d = NULL;
	size_t pos = 0;
	int done = 0;
	CHECK_EQ(dv_deflater_new(&gzip, &d), 0);
	ssize_t n = dv_deflater_step(d, text, len, &pos, true, file + at, BIG, &done);
	CHECK(n > 0 && done);
	dv_deflater_free(&d);
	return at + (size_t)n;
}

static void begin_layout(struct vt *t, const char *layout)
{
	vt_begin_as(t, (struct dv_init_options){.transform = "path", .layout = layout});
}

static void test_whole_members_of_a_gzip_file_are_saved(void)
{
	static uint8_t file[3 * BIG], saved[3 * BIG], rest[3 * BIG];
	static char text[BIG], list[4096];
	struct vt t;
	begin_layout(&t, "diskv:gzip");
	vt_text("k", text, sizeof(text));
	const size_t first = add_member(file, 0, text, 5000);
	const size_t second = add_member(file, first, text + 5000, 6000);
	const size_t len = add_member(file, second, text + 11000, 4000);
	vt_write(&t, "k", file, len);
	CHECK_EQ(vt_is(&t, "k", BIG), 1);
	vt_clean(&t);
	/* The first bytes of a member lie in the damage too. */
	for (size_t i = 0; i + 4 < 40; i += 4)
		memcpy(file + first + 60 + i, "\x1f\x8b\x08\x00", 4);
	vt_write(&t, "k", file, len);
	CHECK_EQ(vt_is(&t, "k", BIG), -EBADMSG);
	vt_verify(&t, true);
	CHECK_EQ(t.r.fixed, 1);
	CHECK(strstr(vt_told(&t, "damaged", "k", "")->done,
		     "2 whole members saved in k.frames.gz"));
	CHECK_EQ(vt_read(&t, RUN "k.frames.gz", saved, sizeof(saved)), first + len - second);
	CHECK_EQ(memcmp(saved, file, first), 0);
	CHECK_EQ(memcmp(saved + first, file + second, len - second), 0);
	list[vt_read(&t, RUN "k.frames.txt", list, sizeof(list) - 1)] = '\0';
	CHECK(strstr(list, "Whole gzip members"));
	CHECK(strstr(list, "bytes of the value: 0 to 5000;"));
	CHECK(strstr(list, "bytes of the value: not known;"));
	CHECK_EQ(vt_read(&t, RUN "k", rest, sizeof(rest)), len);
	CHECK_EQ(memcmp(rest, file, len), 0);
	CHECK(!vt_exists(&t, "k"));
	vt_clean(&t);
	vt_end(&t);
}

/* Whose checksum is wrong, or which ends too early, is not whole: what comes before the damage gzip -dc
 * prints of the file in lost/. */
static void test_a_damaged_stream_alone_is_put_aside(void)
{
	static uint8_t file[BIG], rest[BIG];
	static char text[BIG];
	for (int i = 0; i < 4; i++) {
		struct vt t;
		begin_layout(&t, i < 3 ? "diskv:gzip" : "diskv:zlib");
		vt_text("k", text, sizeof(text));
		size_t len = add_member(file, 0, text, BIG);
		if (i == 0)
			file[len - 5] ^= 1; /* of the CRC */
		else if (i == 1)
			len -= 20;
		else if (i == 2)
			memset(file, 0, 10); /* no member begins */
		vt_write(&t, "k", file, len);
		vt_verify(&t, true);
		CHECK_EQ(t.r.fixed, 1);
		CHECK_EQ(vt_read(&t, RUN "k", rest, sizeof(rest)), len);
		CHECK_EQ(memcmp(rest, file, len), 0);
		CHECK(!vt_exists(&t, RUN "k.frames.gz") && !vt_exists(&t, RUN "k.frames.zst"));
		vt_clean(&t);
		vt_end(&t);
	}
}

/* Places that look like members, without end, each of which decodes for long: bounded work. */
static void test_crafted_gzip_files_are_put_aside_in_bounded_time(void)
{
	const size_t len = 4u << 20;
	struct vt t;
	uint8_t *file = malloc(len);
	CHECK(file);
	begin_layout(&t, "diskv:gzip");
	/* Each a member's head and stored blocks that hold all heads behind it. */
	for (size_t i = 0; i + 16 <= len; i += 16)
		memcpy(file + i, "\x1f\x8b\x08\0\0\0\0\0\0\3\0\xff\xff\0\0\0", 16);
	vt_write(&t, "k", file, len);
	unsigned long before = simfs_calls(t.fs);
	vt_verify(&t, true);
	CHECK_EQ(t.r.fixed, 1);
	CHECK(vt_exists(&t, RUN "k"));
	CHECK(simfs_calls(t.fs) - before < 200000);
	vt_end(&t);
	free(file);
}

static void test_a_mended_file_is_as_it_was_packed(void)
{
	static uint8_t before[BIG], after[BIG];
	struct vt t;
	for (size_t cut = 1; cut <= 65; cut += 8) {
		vt_begin(&t, "path");
		vt_put(&t, "k", BIG);
		vt_pack(&t);
		size_t len = vt_read(&t, "k.zst", before, sizeof(before));
		vt_truncate(&t, "k.zst", len - cut);
		vt_verify(&t, true);
		CHECK_EQ(t.r.fixed, 1);
		CHECK_EQ(vt_read(&t, "k.zst", after, sizeof(after)), (long long)len);
		CHECK_EQ(memcmp(before, after, len), 0);
		CHECK(vt_exists(&t, RUN "k.zst"));
		vt_clean(&t);
		vt_end(&t);
	}
}

static void test_what_can_not_be_helped_is_left(void)
{
	static uint8_t file[BIG];
	struct vt t;
	vt_begin(&t, "split:3");
	vt_put(&t, "abcdef", BIG);
	vt_put(&t, "ghijkl", BIG);
	vt_put(&t, "shorts", BIG);
	vt_pack(&t);
	vt_write(&t, "ghi/jkl/ghijkl", "other bytes", 11); /* a twin */
	vt_rename(&t, "abc/def/abcdef.zst", "abc/abcdef.zst");
	vt_write(&t, "abc/def/abcdef", "its place is taken", 18);
	size_t len = vt_read(&t, "sho/rts/shorts.zst", file, sizeof(file));
	unsigned first = file[len - 9 - 48] | (unsigned)file[len - 9 - 47] << 8;
	vt_truncate(&t, "sho/rts/shorts.zst", first);
	vt_verify(&t, true);
	CHECK_EQ(t.r.fixed, 0);
	CHECK_EQ(t.r.errors, 3);
	CHECK(strstr(vt_told(&t, "twin", "ghi/jkl/ghijkl.zst", "other")->done, "both are kept"));
	CHECK(strstr(vt_told(&t, "misplaced", "abc/abcdef.zst", "")->done, "taken"));
	CHECK(strstr(vt_told(&t, "cut", "sho/rts/shorts.zst", "")->done, "left"));
	CHECK(!vt_exists(&t, ".diskvfs/lost"));
	vt_end(&t);
}

static void test_what_is_moved_to_its_place_is_looked_at_there(void)
{
	struct vt t;
	vt_begin(&t, "split:3");
	vt_put(&t, "abcdef", BIG);
	vt_put(&t, "xyzabc", BIG);
	vt_pack(&t);
	/* Whatever order the directories come in, one of the two goes to one that was read. */
	vt_rename(&t, "abc/def/abcdef.zst", "xyz/abcdef.zst");
	vt_rename(&t, "xyz/abc/xyzabc.zst", "abc/xyzabc.zst");
	vt_flip(&t, "xyz/abcdef.zst", 100);
	vt_flip(&t, "abc/xyzabc.zst", 100);
	vt_verify(&t, true);
	CHECK_EQ(t.err, 0);
	CHECK_EQ(t.r.fixed, 4);
	CHECK(vt_exists(&t, RUN "abc/def/abcdef.zst") && vt_exists(&t, RUN "xyz/abc/xyzabc.zst"));
	vt_clean(&t);
	vt_end(&t);
}

static void test_a_store_that_is_open_is_not_repaired(void)
{
	struct vt t;
	struct dv_store_options o = {.threads = 1, .boot_id = "boot"};
	struct dv_store *s = NULL;
	begin_bad(&t);
	CHECK_EQ(dv_store_open(simfs_backing(t.fs), "/store", &o, &s, t.why, sizeof(t.why)), 0);
	vt_verify(&t, true);
	CHECK_EQ(t.err, -EBUSY);
	CHECK(strstr(t.why, "is open"));
	CHECK_EQ(t.count, 0);
	vt_verify(&t, false);
	CHECK_EQ(t.err, 0);
	CHECK_EQ(dv_store_close(&s, NULL), 0);
	vt_end(&t);
}

static struct vt *meanwhile;
static const char *replaced; /* NULL: it is by now */
static uint8_t newer[BIG];
static size_t newer_len;

/* Just before it is moved. */
static void replace_it(const char *op)
{
	const char *name = replaced;
	if (strcmp(op, "rename") != 0 || !name || !vt_exists(meanwhile, RUN))
		return;
	replaced = NULL;
	vt_write(meanwhile, "new", newer, newer_len);
	vt_rename(meanwhile, "new", name);
}

static void test_what_is_replaced_meanwhile_stays_in_its_place(void)
{
	static uint8_t got[BIG];
	static char text[BIG];
	for (int kind = 0; kind < 3; kind++) {
		struct vt t;
		vt_begin(&t, "path");
		vt_put(&t, "k", BIG);
		vt_pack(&t);
		newer_len = vt_read(&t, "k.zst", newer, sizeof(newer));
		if (kind < 2)
			vt_flip(&t, "k.zst", kind ? 50 : newer_len - 1);
		vt_text("k", text, sizeof(text));
		if (kind == 2)
			vt_write(&t, "k", text, sizeof(text));
		meanwhile = &t;
		replaced = "k.zst";
		simfs_set_before_call(t.fs, replace_it);
		vt_verify(&t, true);
		simfs_set_before_call(t.fs, NULL);
		CHECK_EQ(t.err, 0);
		CHECK(replaced == NULL);
		CHECK(strstr(t.at[0].done, "in use"));
		/* A twin is equal again, and may be met again. */
		const char *at = vt_exists(&t, "k.zst") || kind < 2 ? "k.zst" : RUN "k.zst";
		CHECK_EQ(vt_read(&t, at, got, sizeof(got)), (long long)newer_len);
		CHECK_EQ(memcmp(got, newer, newer_len), 0);
		vt_end(&t);
	}
}

/* ---- cut short ---- */

/* Each line of before is one of after. */
static void check_kept(const char *before, const char *after, const char *what, unsigned long n)
{
	char line[128];
	for (const char *at = before; *at; at = strchr(at, '\n') + 1) {
		snprintf(line, sizeof(line), "%.*s", (int)(strchr(at, '\n') - at) + 1, at);
		if (!strstr(after, line))
			fprintf(stderr, "%s %lu: a file is gone: %s", what, n, line);
		CHECK(strstr(after, line) != NULL);
	}
}

/* Everything is there; another run comes to the end. */
static void check_after(struct vt *t, const char *before, const char *what, unsigned long n)
{
	DV_AUTO_FREE char *after = vt_contents(t);
	CHECK(strlen(before) > 100);
	check_kept(before, after, what, n);
	CHECK_EQ(vt_is(t, "abcgood", BIG), 1);
	CHECK_EQ(vt_is(t, "twinss", BIG), 1);
	vt_verify(t, true);
	CHECK_EQ(t->err, 0);
	CHECK_EQ(t->r.errors, 0);
	DV_AUTO_FREE char *later = vt_contents(t);
	check_kept(before, later, what, n);
	check_repaired(t);
	CHECK_EQ(simfs_open_fds(t->fs), 0);
}

static void test_killed_at_any_call_nothing_is_lost(void)
{
	struct vt base, t;
	begin_bad(&base);
	DV_AUTO_FREE char *before = vt_contents(&base);
	unsigned long n = 1;
	for (bool cut = true; cut; n++) {
		struct simfs *run = simfs_after_kill(base.fs);
		t = (struct vt){.fs = run};
		simfs_power_cut_at(run, n);
		vt_verify(&t, true);
		cut = simfs_is_cut(run);
		t.fs = simfs_after_kill(run);
		check_after(&t, before, "killed at", n);
		simfs_free(t.fs);
		simfs_free(run);
	}
	CHECK(n > 40);
	vt_end(&base);
}

static void test_without_power_at_any_call_nothing_is_lost(void)
{
	struct vt base, t;
	begin_bad(&base);
	DV_AUTO_FREE char *before = vt_contents(&base);
	unsigned long n = 1;
	for (bool cut = true; cut; n++) {
		struct simfs *run = simfs_after_kill(base.fs);
		t = (struct vt){.fs = run};
		simfs_power_cut_at(run, n);
		vt_verify(&t, true);
		cut = simfs_is_cut(run);
		for (uint64_t disk = 0; disk < 6; disk++) {
			t = (struct vt){.fs = simfs_after_cut(run, disk), .boot = "boot-b"};
			check_after(&t, before, "cut off at", n);
			simfs_free(t.fs);
		}
		simfs_free(run);
	}
	vt_end(&base);
}

/* The raw one, which stays, was never synced by whoever wrote it. */
static void test_a_packed_twin_goes_once_the_other_one_is_durable(void)
{
	static char text[BIG], got[BIG];
	struct vt base, t;
	vt_begin(&base, "path");
	vt_put(&base, "k", BIG);
	vt_pack(&base);
	vt_sync(&base);
	vt_text("k", text, sizeof(text));
	vt_write(&base, "k", text, sizeof(text));
	bool cut = true;
	for (unsigned long n = 1; cut; n++) {
		struct simfs *run = simfs_after_kill(base.fs);
		t = (struct vt){.fs = run};
		simfs_power_cut_at(run, n);
		vt_verify(&t, true);
		cut = simfs_is_cut(run);
		for (uint64_t disk = 0; disk < 6; disk++) {
			t.fs = simfs_after_cut(run, disk);
			if (!vt_exists(&t, "k.zst")) {
				CHECK_EQ(vt_read(&t, "k", got, sizeof(got)), BIG);
				CHECK_EQ(memcmp(got, text, BIG), 0);
			}
			simfs_free(t.fs);
		}
		simfs_free(run);
	}
	vt_end(&base);
}

static void test_whatever_call_fails_nothing_is_lost(void)
{
	static const int errors[] = {EIO, ENOSPC, EACCES};
	struct vt base, t;
	begin_bad(&base);
	DV_AUTO_FREE char *before = vt_contents(&base);
	for (size_t e = 0; e < DV_ARRAY_LEN(errors); e++) {
		bool hit = true;
		for (unsigned long n = 1; hit; n += 1 + e) { /* the first one with each call */
			t = (struct vt){.fs = simfs_after_kill(base.fs)};
			simfs_fail_nth(t.fs, n, errors[e], false);
			vt_verify(&t, true);
			hit = simfs_failed(t.fs);
			simfs_fail_nth(t.fs, 0, 0, false);
			CHECK_EQ(simfs_open_fds(t.fs), 0);
			check_after(&t, before, strerror(errors[e]), n);
			simfs_free(t.fs);
		}
	}
	vt_end(&base);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_each_kind_is_mended_or_put_aside_and_told),
		CHECK_TEST(test_whole_frames_are_saved_with_their_places),
		CHECK_TEST(test_whole_members_of_a_gzip_file_are_saved),
		CHECK_TEST(test_a_damaged_stream_alone_is_put_aside),
		CHECK_TEST(test_crafted_gzip_files_are_put_aside_in_bounded_time),
		CHECK_TEST(test_a_mended_file_is_as_it_was_packed),
		CHECK_TEST(test_what_can_not_be_helped_is_left),
		CHECK_TEST(test_what_is_moved_to_its_place_is_looked_at_there),
		CHECK_TEST(test_a_store_that_is_open_is_not_repaired),
		CHECK_TEST(test_what_is_replaced_meanwhile_stays_in_its_place),
		CHECK_TEST(test_killed_at_any_call_nothing_is_lost),
		CHECK_TEST(test_without_power_at_any_call_nothing_is_lost),
		CHECK_TEST(test_a_packed_twin_goes_once_the_other_one_is_durable),
		CHECK_TEST(test_whatever_call_fails_nothing_is_lost),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
