/* SPDX-License-Identifier: MIT */
/* test_transform.c - specs, shard directories, and the spelling of a component. */
#include "core/transform.h"

#include "core/cleanup.h"
#include "tests/support/check.h"

static struct dv_transform *make(const char *spec)
{
	char why[256] = "";
	struct dv_transform *t = NULL;
	if (dv_transform_new(spec, &t, why, sizeof(why)) != 0) {
		fprintf(stderr, "%s: %s\n", spec, why);
		exit(1);
	}
	return t;
}

static const char *shard_of(const char *spec, const char *name)
{
	static char out[DV_SHARD_MAX];
	struct dv_transform *t = make(spec);
	CHECK_EQ(dv_transform_shard(t, name, out), 0);
	dv_transform_free(&t);
	CHECK(t == NULL);
	return out;
}

static void test_specs_have_one_normal_form(void)
{
	static const char *const specs[][2] = {
		{"path", "path"},
		{"flat", "flat"},
		{"path:.txt", "path:.txt"},
		{"path:_v", "path:_v"},
		{"split:3", "split:3"},
		{"split:03x02", "split:3x2"},
		{"split:255x64", "split:255x64"},
		{"hash:sha256:16x4", "hash:sha256:16x4"},
		{"hash:sha1:05x8", "hash:sha1:5x8"},
		{"hash:md5:4x8", "hash:md5:4x8"},
	};
	for (size_t i = 0; i < DV_ARRAY_LEN(specs); i++) {
		struct dv_transform *t = make(specs[i][0]);
		CHECK_STR(dv_transform_spec(t), specs[i][1]);
		dv_transform_free(&t);
	}
}

static void test_wrong_specs_are_refused_with_a_sentence(void)
{
	static const char *const specs[] = {
		"",
		"paths",
		"path:",
		"path:/x",
		"path:a b",
		"path:a\n",
		"path:.zst",
		"path:t",
		"path:.raw",
		"path:aw.raw",
		"path:.raw.raw",
		"path:.x.zst",
		"path:.zst.raw",
		"path:zst.raw.raw",
		"flat:",
		"split",
		"split:",
		"split:0",
		"split:256",
		"split:x",
		"split:3x",
		"split:3x0",
		"split:3x65",
		"split:-1",
		"split:+3",
		"split: 3",
		"split:3x2 ",
		"split:00003",
		"split:99999999999",
		"hash",
		"hash:md5",
		"hash:md5:2",
		"hash:md5:2x",
		"hash:md5:0x2",
		"hash:md5:17x1",
		"hash:md5:1x9",
		"hash:md5:8x8",
		"hash:sha1:16x4",
		"hash:sha256:16x8",
		"hash:md4:2x2",
		"hash:sha256x:2x2",
		"hash:SHA256:2x2",
		"PATH",
		"path:12345678901234567890123456789012345678901234567890123456789012345"};
	for (size_t i = 0; i < DV_ARRAY_LEN(specs); i++) {
		char why[256] = "";
		struct dv_transform *t = NULL;
		if (dv_transform_new(specs[i], &t, why, sizeof(why)) != -EINVAL || !why[0] || t) {
			fprintf(stderr, "not refused, or without a sentence: %s\n", specs[i]);
			exit(1);
		}
		CHECK_EQ(dv_transform_new(specs[i], &t, why, 0), -EINVAL);
	}
}

static void test_what_a_transform_is(void)
{
	static const struct {
		const char *spec;
		bool dirs, shards, order;
		unsigned depth;
	} want[] = {
		{"path", true, false, true, 0},		 {"path:.v", true, false, true, 0},
		{"flat", false, false, true, 0},	 {"split:3", false, true, true, 85},
		{"split:3x2", false, true, true, 2},	 {"split:200x2", false, true, true, 1},
		{"hash:md5:2x3", false, true, false, 3},
	};
	for (size_t i = 0; i < DV_ARRAY_LEN(want); i++) {
		struct dv_transform *t = make(want[i].spec);
		CHECK_EQ(dv_transform_has_dirs(t), want[i].dirs);
		CHECK_EQ(dv_transform_has_shards(t), want[i].shards);
		CHECK_EQ(dv_transform_keeps_order(t), want[i].order);
		CHECK_EQ(dv_transform_shard_depth(t), want[i].depth);
		CHECK_STR(dv_transform_suffix(t), i == 1 ? ".v" : "");
		dv_transform_free(&t);
	}
}

static void test_split_takes_whole_blocks(void)
{
	CHECK_STR(shard_of("split:3", "abcdefgh"), "abc/def");
	CHECK_STR(shard_of("split:3", "abcdef"), "abc/def");
	CHECK_STR(shard_of("split:3", "abc"), "abc");
	CHECK_STR(shard_of("split:3", "ab"), "");
	CHECK_STR(shard_of("split:3x1", "abcdefgh"), "abc");
	CHECK_STR(shard_of("split:2x3", "abcdefgh"), "ab/cd/ef");
	CHECK_STR(shard_of("path", "abcdefgh"), "");
	CHECK_STR(shard_of("flat", "abcdefgh"), "");
}

static void test_blocks_that_can_not_be_directories_are_spelled_otherwise(void)
{
	CHECK_STR(shard_of("split:1x3", ".a.."), "%2e/a/%2e");
	CHECK_STR(shard_of("split:2", "...a"), "%2e./.a");
	CHECK_STR(shard_of("split:8x1", ".diskvfs"), "%2ediskvfs");
	CHECK_STR(shard_of("split:3", "%2e"), "%252e");
	CHECK_STR(shard_of("split:6", "ab.zst"), "ab.zst.raw");
}

static void test_hash_is_what_the_command_line_prints(void)
{
	/* printf %s KEY | sha256sum, sha1sum, md5sum */
	CHECK_STR(shard_of("hash:md5:2x2", "KEY"), "3b/59");
	CHECK_STR(shard_of("hash:sha1:1x3", "abc"), "a/9/9");
	CHECK_STR(shard_of("hash:sha256:3x2", "abc"), "ba7/816");
	CHECK_STR(shard_of("hash:sha256:16x4", "abc"),
		  "ba7816bf8f01cfea/414140de5dae2223/b00361a396177a9c/b410ff61f20015ad");
}

static void test_names_that_are_no_component_have_no_shard(void)
{
	char name[DV_NAME_MAX + 2], out[DV_SHARD_MAX];
	static const char *const specs[] = {"path", "flat", "split:3", "hash:md5:1x1"};
	memset(name, '.', sizeof(name));
	name[DV_NAME_MAX + 1] = '\0';
	for (size_t i = 0; i < DV_ARRAY_LEN(specs); i++) {
		struct dv_transform *t = make(specs[i]);
		CHECK_EQ(dv_transform_shard(t, "", out), -EINVAL);
		CHECK_EQ(dv_transform_shard(t, "a/b", out), -EINVAL);
		CHECK_EQ(dv_transform_shard(t, name, out), -ENAMETOOLONG);
		dv_transform_free(&t);
	}
	/* The longest shard path there is fits. */
	name[DV_NAME_MAX] = '\0';
	CHECK_EQ(strlen(shard_of("split:1", name)), DV_NAME_MAX * 4 - 1);
	/* A block that is too long once it is spelled. */
	memcpy(name + DV_NAME_MAX - 4, ".zst", 4);
	struct dv_transform *t = make("split:255");
	CHECK_EQ(dv_transform_shard(t, name, out), -ENAMETOOLONG);
	dv_transform_free(&t);
}

static void test_shards_of_keys_are_recognised_and_others_are_not(void)
{
	struct dv_transform *t = make("split:3x2");
	CHECK(dv_transform_is_shard(t, 0, "abc") && dv_transform_is_shard(t, 1, "abc"));
	CHECK(!dv_transform_is_shard(t, 2, "abc"));
	CHECK(!dv_transform_is_shard(t, 0, "ab") && !dv_transform_is_shard(t, 0, "abcd"));
	CHECK(!dv_transform_is_shard(t, 0, "") && !dv_transform_is_shard(t, 0, "a/b"));
	CHECK(dv_transform_is_shard(t, 0, "%252e") && !dv_transform_is_shard(t, 0, "%2e"));
	CHECK(!dv_transform_is_shard(t, 0, ".diskvfs"));
	dv_transform_free(&t);
	t = make("split:8");
	CHECK(!dv_transform_is_shard(t, 0, ".diskvfs") &&
	      dv_transform_is_shard(t, 0, "%2ediskvfs"));
	CHECK(!dv_transform_is_shard(t, 0, "abcd.zst"));
	CHECK(dv_transform_is_shard(t, 0, "abcd.zst.raw"));
	CHECK(dv_transform_is_shard(t, 0, ".zst.raw.raw") &&
	      !dv_transform_is_shard(t, 0, ".zst.raw"));
	dv_transform_free(&t);
	t = make("hash:md5:2x2");
	CHECK(dv_transform_is_shard(t, 1, "0f") && !dv_transform_is_shard(t, 2, "0f"));
	CHECK(!dv_transform_is_shard(t, 0, "0F") && !dv_transform_is_shard(t, 0, "0"));
	dv_transform_free(&t);
	t = make("path");
	CHECK(!dv_transform_is_shard(t, 0, "abc"));
	dv_transform_free(&t);
}

static void test_escaping_is_one_to_one_and_reversible(void)
{
	static const char *const pairs[][2] = {
		{".", "%2e"},
		{"..", "%2e."},
		{"...", "..."},
		{".diskvfs", "%2ediskvfs"},
		{".diskvfs.d", "%2ediskvfs.d"},
		{".diskvf", ".diskvf"},
		{"%2e", "%252e"},
		{"%252e", "%25252e"},
		{"%2e.", "%252e."},
		{"%2e..", "%2e.."},
		{"%25", "%25"},
		{"%2E", "%2E"},
		{"%2edisk", "%2edisk"},
		{"%2ediskvfsX", "%252ediskvfsX"},
	};
	char out[DV_NAME_MAX + 1], back[DV_NAME_MAX + 1];
	for (size_t i = 0; i < DV_ARRAY_LEN(pairs); i++) {
		CHECK_EQ(dv_component_escape(pairs[i][0], strlen(pairs[i][0]), out), 0);
		CHECK_STR(out, pairs[i][1]);
		CHECK_EQ(dv_component_unescape(out, strlen(out), back), 0);
		CHECK_STR(back, pairs[i][0]);
	}
	static const char *const never[] = {"", ".", "..", ".diskvfs", ".diskvfs/x", ".diskvfsx"};
	for (size_t i = 0; i < DV_ARRAY_LEN(never); i++)
		CHECK_EQ(dv_component_unescape(never[i], strlen(never[i]), back), -ENOENT);
}

static void test_endings_may_be_followed_by_raw_only(void)
{
	CHECK(dv_component_has_ending("a.zst", 5, ".zst"));
	CHECK(dv_component_has_ending(".zst.raw.raw", 12, ".zst"));
	CHECK(!dv_component_has_ending("a.zst.ra", 8, ".zst"));
	CHECK(!dv_component_has_ending(".raw", 4, ".zst"));
	CHECK(!dv_component_has_ending("zst", 3, ".zst"));
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_specs_have_one_normal_form),
		CHECK_TEST(test_wrong_specs_are_refused_with_a_sentence),
		CHECK_TEST(test_what_a_transform_is),
		CHECK_TEST(test_split_takes_whole_blocks),
		CHECK_TEST(test_blocks_that_can_not_be_directories_are_spelled_otherwise),
		CHECK_TEST(test_hash_is_what_the_command_line_prints),
		CHECK_TEST(test_names_that_are_no_component_have_no_shard),
		CHECK_TEST(test_shards_of_keys_are_recognised_and_others_are_not),
		CHECK_TEST(test_escaping_is_one_to_one_and_reversible),
		CHECK_TEST(test_endings_may_be_followed_by_raw_only),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
