/* SPDX-License-Identifier: MIT */
/* test_config.c - .diskvfs/config as text: round trips, and every line that can be wrong. */
#include "core/config.h"

#include "core/cleanup.h"
#include "tests/support/check.h"

#define HEAD "format=1\ntransform=path\n"

static dv_err parse(struct dv_config *c, const char *text, char why[256])
{
	return dv_config_parse(c, text, strlen(text), why, 256);
}

static void check_refused(const char *text, dv_err want, const char *why_has)
{
	char why[256] = "";
	struct dv_config c;
	dv_config_init(&c);
	c.unknown = strdup("mine\n");
	dv_err err = parse(&c, text, why);
	if (err != want || !strstr(why, why_has)) {
		fprintf(stderr, "%s-> %d: %s\n", text, err, why);
		exit(1);
	}
	CHECK_STR(c.unknown, "mine\n"); /* untouched */
	CHECK_EQ(dv_config_parse(&c, text, strlen(text), why, 0), want);
	dv_config_release(&c);
}

static void test_defaults_are_written_and_read_back(void)
{
	char why[256];
	struct dv_config c, d;
	DV_AUTO_FREE char *text = NULL;
	dv_config_init(&c);
	CHECK_EQ(dv_config_write(&c, &text), 0);
	CHECK_STR(text, "format=1\ntransform=path\ncompress=zstd:3\nframe_size=131072\n");
	dv_config_init(&d);
	CHECK_EQ(parse(&d, text, why), 0);
	CHECK(d.format == 1 && d.compress == 1 && d.level == 3 && d.frame_size == 131072);
	CHECK(d.unknown == NULL);
	dv_config_release(&c);
	dv_config_release(&d);
}

static void test_values_are_read(void)
{
	char why[256];
	struct dv_config c;
	dv_config_init(&c);
	CHECK_EQ(parse(&c,
		       " format = 1 \r\n\n\ttransform=split:02x3\ncompress=none\nframe_size=4096",
		       why),
		 0);
	CHECK_STR(c.transform, "split:2x3");
	CHECK_EQ(c.compress, 0);
	CHECK_EQ(c.frame_size, 4096);
	CHECK_EQ(parse(&c, HEAD "compress=zstd:-7\nframe_size=4194304\n", why), 0);
	CHECK(c.compress == 1 && c.level == -7 && c.frame_size == 4u << 20);
	CHECK_STR(c.transform, "path");
	dv_config_release(&c);
}

static void test_patterns_are_kept_and_left_out_where_there_are_none(void)
{
	static const char text[] = HEAD "nopack=*.db:/cache/*\n";
	char why[256];
	struct dv_config c;
	DV_AUTO_FREE char *out = NULL;
	DV_AUTO_FREE char *again = NULL;
	dv_config_init(&c);
	CHECK_EQ(parse(&c, text, why), 0);
	CHECK_STR(c.nopack, "*.db:/cache/*");
	CHECK_EQ(dv_config_write(&c, &out), 0);
	CHECK(strstr(out, "\nnopack=*.db:/cache/*\n") != NULL);
	CHECK_EQ(parse(&c, HEAD "nopack=\n", why), 0);
	CHECK_EQ(dv_config_write(&c, &again), 0);
	CHECK(strstr(again, "nopack") == NULL);
	dv_config_release(&c);
}

static void test_unknown_lines_and_comments_are_kept(void)
{
	static const char text[] = "# mine\n" HEAD "color=blue=green\ncompress=none\n  later = 1";
	char why[256];
	struct dv_config c;
	DV_AUTO_FREE char *out = NULL;
	DV_AUTO_FREE char *again = NULL;
	dv_config_init(&c);
	CHECK_EQ(parse(&c, text, why), 0);
	CHECK_STR(c.unknown, "# mine\ncolor=blue=green\n  later = 1\n");
	CHECK_EQ(dv_config_write(&c, &out), 0);
	CHECK_STR(out, "format=1\ntransform=path\ncompress=none\nframe_size=131072\n"
		       "# mine\ncolor=blue=green\n  later = 1\n");
	CHECK_EQ(parse(&c, out, why), 0);
	CHECK_EQ(dv_config_write(&c, &again), 0);
	CHECK_STR(again, out);
	dv_config_release(&c);
}

static void test_wrong_lines_are_named(void)
{
	check_refused("format=3\nwhatever\n", -EPROTONOSUPPORT, "line 1");
	check_refused("format=99999999999999999999\n", -EPROTONOSUPPORT, "line 1");
	check_refused("format=0\n", -EINVAL, "line 1");
	check_refused("format=1x\n", -EINVAL, "line 1");
	check_refused("format=\n", -EINVAL, "line 1");
	check_refused("format=1\nformat=1\n", -EINVAL, "line 2: format is given twice");
	check_refused("format=1\n\ntransform=split:0\n", -EINVAL, "line 3: the width of split");
	check_refused(HEAD "compress=lz4\n", -EINVAL, "line 3");
	check_refused(HEAD "frame_size=4095\n", -EINVAL, "line 3");
	check_refused(HEAD "frame_size=2048\n", -EINVAL, "line 3");
	check_refused(HEAD "frame_size=8388608\n", -EINVAL, "line 3");
	check_refused(HEAD "frame_size=4294971392\n", -EINVAL, "line 3");
	check_refused(HEAD "nopack=[a\n", -EINVAL, "line 3: nopack: the pattern '[a'");
	check_refused(HEAD "nopack=a:\n", -EINVAL, "line 3");
	check_refused(HEAD "nopack=a\nnopack=b\n", -EINVAL, "line 4: nopack is given twice");
	check_refused(HEAD "hello\n", -EINVAL, "line 3");
	check_refused(HEAD "=x\n", -EINVAL, "line 3");
}

static void test_a_torn_file_is_not_a_store_of_the_defaults(void)
{
	check_refused("", -EINVAL, "format");
	check_refused("format=1\n", -EINVAL, "transform");
	check_refused("transform=path\n", -EINVAL, "format");
	check_refused("# only\n", -EINVAL, "format");

	char why[256];
	struct dv_config c;
	dv_config_init(&c);
	static const char zeros[] = HEAD "x=\0\0\n";
	CHECK_EQ(dv_config_parse(&c, zeros, sizeof(zeros) - 1, why, sizeof(why)), -EINVAL);
	CHECK(strstr(why, "line 3"));
	dv_config_release(&c);
}

static void test_large_files_are_refused(void)
{
	char why[256];
	struct dv_config c;
	DV_AUTO_FREE char *text = malloc(DV_CONFIG_MAX + 2);
	DV_AUTO_FREE char *out = NULL;
	CHECK(text);
	memset(text, '#', DV_CONFIG_MAX + 1);
	memcpy(text, HEAD, strlen(HEAD));
	dv_config_init(&c);
	CHECK_EQ(dv_config_parse(&c, text, DV_CONFIG_MAX + 1, why, sizeof(why)), -EFBIG);
	CHECK_EQ(dv_config_parse(&c, text, DV_CONFIG_MAX, why, sizeof(why)), 0);
	CHECK_EQ(dv_config_write(&c, &out), -EFBIG); /* two lines longer */
	dv_config_release(&c);
}

static void test_compress_values(void)
{
	static const struct {
		const char *value;
		dv_err err;
		int compress, level;
	} want[] = {
		{"zstd", 0, 1, 3},
		{"zstd:19", 0, 1, 19},
		{"zstd:1", 0, 1, 1},
		{"zstd:-7", 0, 1, -7},
		{"none", 0, 0, 9},
		{"zstd:20", -EINVAL, 1, 9},
		{"zstd:-8", -EINVAL, 1, 9},
		{"zstd:", -EINVAL, 1, 9},
		{"zstd:-", -EINVAL, 1, 9},
		{"zstd:3x", -EINVAL, 1, 9},
		{"", -EINVAL, 1, 9},
		{"gzip", -EINVAL, 1, 9},
		{"zstd:99999999999", -EINVAL, 1, 9},
	};
	for (size_t i = 0; i < DV_ARRAY_LEN(want); i++) {
		struct dv_config c;
		dv_config_init(&c);
		c.level = 9;
		CHECK_EQ(dv_config_set_compress(&c, want[i].value), want[i].err);
		CHECK_EQ(c.compress, want[i].compress);
		CHECK_EQ(c.level, want[i].level);
		dv_config_release(&c);
	}
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_defaults_are_written_and_read_back),
		CHECK_TEST(test_values_are_read),
		CHECK_TEST(test_patterns_are_kept_and_left_out_where_there_are_none),
		CHECK_TEST(test_unknown_lines_and_comments_are_kept),
		CHECK_TEST(test_wrong_lines_are_named),
		CHECK_TEST(test_a_torn_file_is_not_a_store_of_the_defaults),
		CHECK_TEST(test_large_files_are_refused),
		CHECK_TEST(test_compress_values),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
