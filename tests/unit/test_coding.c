/* SPDX-License-Identifier: MIT */
/*
 * test_coding.c - the layouts of diskv: their texts, names that are stored as they are, and gzip and
 * zlib streams, cut anywhere and flipped anywhere.
 */
#include "core/cleanup.h"
#include "core/config.h"
#include "core/deflate.h"
#include "core/key.h"
#include "tests/support/check.h"

#include <stdint.h>

static char why[256];

static struct dv_coding coding(const char *text)
{
	struct dv_coding c;
	CHECK_EQ(dv_coding_parse(text, &c, why, sizeof(why)), 0);
	return c;
}

static void test_layouts_are_read_and_written(void)
{
	static const char *const good[] = {"diskv",	   "diskv:gzip",   "diskv:zlib",
					   "diskv:gzip:9", "diskv:zlib:0", "diskv:gzip:-2"};
	static const char *const bad[] = {"",
					  "disk",
					  "diskv:",
					  "diskv:zstd",
					  "diskv:gzip:",
					  "diskv:gzip:10",
					  "diskv:gzip:-3",
					  "diskv:gzip:1x",
					  "diskv:gzipx",
					  "diskv:5"};
	for (size_t i = 0; i < DV_ARRAY_LEN(good); i++) {
		struct dv_coding c = coding(good[i]);
		char text[DV_CODING_TEXT];
		dv_coding_write(&c, text);
		CHECK_STR(text, good[i]);
	}
	for (size_t i = 0; i < DV_ARRAY_LEN(bad); i++) {
		struct dv_coding c;
		CHECK_EQ(dv_coding_parse(bad[i], &c, why, sizeof(why)), -EINVAL);
		CHECK(strstr(why, "layout=") == why);
	}
	CHECK(coding("diskv:gzip:-1").level == -1);
	CHECK(!dv_coding_is_sealed(&(struct dv_coding){.kind = DV_CODING_PLAIN}));
}

static void test_a_layout_is_kept_in_the_config_under_a_format_of_its_own(void)
{
	static const char digest[] =
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	struct dv_config c, again;
	DV_AUTO_FREE char *text = NULL;
	dv_config_init(&c);
	dv_config_init(&again);
	c.coding = coding("diskv:zlib:3");
	c.format = DV_FORMAT_MAX;
	strcpy(c.dict, digest);
	CHECK_EQ(dv_config_write(&c, &text), 0);
	CHECK(strstr(text, "format=2\n") == text && strstr(text, "\nlayout=diskv:zlib:3\n"));
	CHECK_EQ(dv_config_parse(&again, text, strlen(text), why, sizeof(why)), 0);
	CHECK(again.coding.kind == DV_CODING_ZLIB && again.coding.level == 3);
	CHECK_STR(again.dict, digest);
	static const char *const bad[] = {"format=2\ntransform=flat\nlayout=lz4\n",
					  "format=2\ntransform=flat\ndict=0123\n",
					  "format=3\ntransform=flat\n"};
	for (size_t i = 0; i < DV_ARRAY_LEN(bad); i++)
		CHECK(dv_config_parse(&again, bad[i], strlen(bad[i]), why, sizeof(why)) < 0);
	dv_config_release(&c);
	dv_config_release(&again);
}

/* ---- names ---- */

static struct dv_transform *transform(const char *spec, enum dv_spelling spelling)
{
	struct dv_transform *t = NULL;
	CHECK_EQ(dv_transform_new(spec, &t, why, sizeof(why)), 0);
	dv_transform_set_spelling(t, spelling);
	return t;
}

static void test_a_key_has_one_file_under_its_own_name(void)
{
	static const char *const specs[] = {"path",    "path:.txt", "flat",	   "split:1",
					    "split:3", "split:2x2", "hash:md5:2x2"};
	static const char *const keys[] = {"a",		"ab",	"abc",	 "abcabc", "a.zst",
					   "x.zst.raw", ".zst", "%2e",	 "%252e",  "a.txt",
					   "...",	"a\nb", ".raw.", "[*?]",   "abcdefg"};
	for (size_t s = 0; s < DV_ARRAY_LEN(specs); s++)
		for (int sealed = 0; sealed < 2; sealed++) {
			struct dv_transform *t =
				transform(specs[s], sealed ? DV_SPELL_SEALED : DV_SPELL_PLAIN);
			for (size_t k = 0; k < DV_ARRAY_LEN(keys); k++) {
				char shard[DV_SHARD_MAX], name[DV_NAME_MAX + 1], want[300];
				struct dv_names n;
				enum dv_form form;
				if (dv_transform_shard(t, keys[k], shard)) /* ".": not to be had */
					continue;
				CHECK_EQ(dv_names_of(t, keys[k], &n), 0);
				snprintf(want, sizeof(want), "%s%s", keys[k],
					 dv_transform_suffix(t));
				CHECK_STR(sealed ? n.packed : n.raw, want);
				CHECK_STR(sealed ? n.raw : n.packed, "");
				CHECK_STR(n.aside, "");
				CHECK_EQ(dv_names_parse(t, want, true, shard, name, &form), 0);
				CHECK_STR(name, keys[k]);
				CHECK_EQ(form, sealed ? DV_FORM_PACKED : DV_FORM_RAW);
			}
			dv_transform_free(&t);
		}
}

static void test_our_own_folder_is_no_key(void)
{
	static const char *const keys[] = {".diskvfs", ".diskvfs-x", ".", ".."};
	struct dv_transform *t = transform("path", DV_SPELL_PLAIN);
	struct dv_names n;
	char name[DV_NAME_MAX + 1];
	enum dv_form form;
	for (size_t i = 0; i < DV_ARRAY_LEN(keys); i++) {
		CHECK_EQ(dv_names_of(t, keys[i], &n), -EINVAL);
		CHECK_EQ(dv_names_parse(t, keys[i], true, "", name, &form), -ENOENT);
		CHECK_EQ(dv_names_parse(t, keys[i], false, "", name, &form), -ENOENT);
	}
	dv_transform_free(&t);
	t = transform("split:2", DV_SPELL_SEALED);
	char shard[DV_SHARD_MAX];
	CHECK_EQ(dv_transform_shard(t, "a...b", shard), -EINVAL); /* diskv would leave the store */
	CHECK_EQ(dv_transform_shard(t, "ab.cd", shard), 0);
	CHECK_STR(shard, "ab/.c");
	/* A file in a directory that is not its own is none of its keys. */
	CHECK_EQ(dv_names_parse(t, "abcd", true, "ab", name, &form), -ENOENT);
	dv_transform_free(&t);
}

/* ---- streams ---- */

#define PLAIN 70000u

static uint8_t *plain_bytes(void)
{
	uint8_t *p = malloc(PLAIN);
	CHECK(p != NULL);
	for (unsigned i = 0; i < PLAIN; i++)
		p[i] = (uint8_t)(i % 251 ^ i >> 9);
	return p;
}

/* In pieces of `step` bytes, each way. */
static size_t deflate_all(const struct dv_coding *c, const uint8_t *in, size_t len, uint8_t *out,
			  size_t room, size_t step)
{
	struct dv_deflater *d = NULL;
	size_t at = 0;
	int done = 0;
	CHECK_EQ(dv_deflater_new(c, &d), 0);
	for (size_t from = 0; !done;) {
		size_t n = len - from < step ? len - from : step, pos = 0;
		bool last = from + n == len;
		do {
			ssize_t made = dv_deflater_step(d, in + from, n, &pos, last, out + at,
							room - at < step ? room - at : step, &done);
			CHECK(made >= 0);
			at += (size_t)made;
			if (!made && pos == n && !last)
				break;
		} while (!done);
		from += n;
	}
	dv_deflater_free(&d);
	return at;
}

static dv_err inflate_all(const struct dv_coding *c, const uint8_t *in, size_t len, uint8_t *out,
			  size_t room, size_t step, size_t *out_len)
{
	struct dv_inflater *i = NULL;
	size_t pos = 0, at = 0;
	int done = 0;
	dv_err err = 0;
	CHECK_EQ(dv_inflater_new(c, &i), 0);
	while (!err && !(done && pos == len)) {
		size_t until = len - pos < step ? len : pos + step, before = pos;
		uint8_t over;
		bool full = at == room;
		ssize_t n = dv_inflater_step(i, in, until, &pos, full ? &over : out + at,
					     full		? 1
					     : room - at < step ? room - at
								: step,
					     &done);
		err = n < 0 ? (dv_err)n : n && full ? -EBADMSG : 0;
		at += n > 0 && !full ? (size_t)n : 0;
		if (!n && pos == before && !done && until == len)
			err = -EBADMSG;
	}
	dv_inflater_free(&i);
	*out_len = at;
	return err;
}

static void test_streams_come_back_in_pieces_of_any_size(void)
{
	static const char *const layouts[] = {"diskv:gzip", "diskv:gzip:9", "diskv:gzip:0",
					      "diskv:zlib:1", "diskv:zlib:-2"};
	static const size_t steps[] = {1, 7, 4096, PLAIN * 2};
	DV_AUTO_FREE uint8_t *plain = plain_bytes();
	DV_AUTO_FREE uint8_t *stored = malloc(2 * PLAIN);
	DV_AUTO_FREE uint8_t *back = malloc(PLAIN);
	CHECK(stored && back);
	for (size_t l = 0; l < DV_ARRAY_LEN(layouts); l++)
		for (size_t s = 0; s < DV_ARRAY_LEN(steps); s++)
			for (size_t len = 0; len <= PLAIN; len += PLAIN / 2) {
				struct dv_coding c = coding(layouts[l]);
				size_t n = deflate_all(&c, plain, len, stored, 2 * PLAIN, steps[s]);
				size_t got = 0;
				CHECK_EQ(inflate_all(&c, stored, n, back, PLAIN, steps[s], &got),
					 0);
				CHECK_EQ(got, len);
				CHECK(memcmp(back, plain, len) == 0);
				CHECK_EQ(dv_inflate(&c, stored, n, back, len), 0);
				CHECK_EQ(dv_inflate(&c, stored, n, back, len + 1), -EBADMSG);
				if (len)
					CHECK_EQ(dv_inflate(&c, stored, n, back, len - 1),
						 -EBADMSG);
			}
}

static void test_members_follow_each_other_in_gzip_alone(void)
{
	DV_AUTO_FREE uint8_t *plain = plain_bytes();
	uint8_t stored[4096], back[2048];
	struct dv_coding c = coding("diskv:gzip");
	size_t n = deflate_all(&c, plain, 1000, stored, sizeof(stored), 4096);
	n += deflate_all(&c, plain + 1000, 500, stored + n, sizeof(stored) - n, 4096);
	CHECK_EQ(dv_inflate(&c, stored, n, back, 1500), 0);
	CHECK(memcmp(back, plain, 1500) == 0);
	stored[n] = 0; /* something else behind them */
	CHECK_EQ(dv_inflate(&c, stored, n + 1, back, 1500), -EBADMSG);
	c = coding("diskv:zlib");
	n = deflate_all(&c, plain, 1000, stored, sizeof(stored), 4096);
	n += deflate_all(&c, plain, 500, stored + n, sizeof(stored) - n, 4096);
	CHECK_EQ(dv_inflate(&c, stored, n, back, 1500), -EBADMSG);
}

/* Never other bytes; a flip that changes none (a name in the head, say) is none. */
static void test_damage_is_found(void)
{
	static const char *const layouts[] = {"diskv:gzip", "diskv:zlib"};
	DV_AUTO_FREE uint8_t *plain = plain_bytes();
	uint8_t stored[4096], back[2000];
	for (size_t l = 0; l < DV_ARRAY_LEN(layouts); l++) {
		struct dv_coding c = coding(layouts[l]);
		size_t n = deflate_all(&c, plain, sizeof(back), stored, sizeof(stored), 4096);
		for (size_t cut = 0; cut < n; cut++)
			CHECK_EQ(dv_inflate(&c, stored, cut, back, sizeof(back)), -EBADMSG);
		for (size_t bit = 0; bit < n * 8; bit++) {
			stored[bit / 8] ^= (uint8_t)(1u << bit % 8);
			dv_err err = dv_inflate(&c, stored, n, back, sizeof(back));
			CHECK(err || memcmp(back, plain, sizeof(back)) == 0);
			stored[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

static void test_a_dictionary_is_needed_where_it_was_used(void)
{
	DV_AUTO_FREE uint8_t *plain = plain_bytes();
	uint8_t stored[4096], back[500];
	struct dv_coding c = coding("diskv:zlib"), none = c, other = c;
	c.dict = plain;
	other.dict = plain + 1;
	c.dict_len = other.dict_len = 40000;
	size_t n = deflate_all(&c, plain + 20000, sizeof(back), stored, sizeof(stored), 4096);
	CHECK(n < 40);
	CHECK_EQ(dv_inflate(&c, stored, n, back, sizeof(back)), 0);
	CHECK(memcmp(back, plain + 20000, sizeof(back)) == 0);
	CHECK_EQ(dv_inflate(&none, stored, n, back, sizeof(back)), -EOPNOTSUPP);
	CHECK_EQ(dv_inflate(&other, stored, n, back, sizeof(back)), -EOPNOTSUPP);
	n = deflate_all(&none, plain, sizeof(back), stored, sizeof(stored), 4096);
	CHECK_EQ(dv_inflate(&c, stored, n, back, sizeof(back)), 0);
}

static void test_an_empty_value_that_was_cut_short_is_told_from_damage(void)
{
	struct dv_coding c = coding("diskv:gzip");
	uint8_t empty[DV_EMPTY_MAX];
	ssize_t n = dv_deflate_empty(&c, empty, sizeof(empty));
	CHECK(n > 0);
	CHECK_EQ(dv_inflate(&c, empty, (size_t)n, empty, 0), 0);
	for (size_t len = 0; len < (size_t)n; len++)
		CHECK(dv_deflate_is_unmade(&c, empty, len));
	CHECK(!dv_deflate_is_unmade(&c, empty, (size_t)n)); /* whole: for the decoder */
	empty[5] = 1;
	CHECK(!dv_deflate_is_unmade(&c, empty, (size_t)n));
	memset(empty, 0, sizeof(empty));
	CHECK(dv_deflate_is_unmade(&c, empty, (size_t)n));
	CHECK(!dv_deflate_is_unmade(&c, empty, (size_t)n + 1));
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_layouts_are_read_and_written),
		CHECK_TEST(test_a_layout_is_kept_in_the_config_under_a_format_of_its_own),
		CHECK_TEST(test_a_key_has_one_file_under_its_own_name),
		CHECK_TEST(test_our_own_folder_is_no_key),
		CHECK_TEST(test_streams_come_back_in_pieces_of_any_size),
		CHECK_TEST(test_members_follow_each_other_in_gzip_alone),
		CHECK_TEST(test_damage_is_found),
		CHECK_TEST(test_a_dictionary_is_needed_where_it_was_used),
		CHECK_TEST(test_an_empty_value_that_was_cut_short_is_told_from_damage),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
