/* SPDX-License-Identifier: MIT */
/* test_globs.c - patterns of keys: what they match, and which are refused. */
#include "core/globs.h"
#include "tests/support/check.h"

static void test_a_pattern_without_a_slash_is_compared_with_the_last_component(void)
{
	CHECK(dv_globs_match("*.db", "a.db"));
	CHECK(dv_globs_match("*.db", "x/y/a.db"));
	CHECK(dv_globs_match("*.db", ".db"));
	CHECK(!dv_globs_match("*.db", "a.db/b"));
	CHECK(!dv_globs_match("*.db", "a.dbx"));
	CHECK(dv_globs_match("[ab]?\\*", "d/ax*"));
	CHECK(!dv_globs_match("[!a]", "a"));
}

static void test_a_pattern_with_a_slash_is_compared_with_the_whole_key(void)
{
	CHECK(dv_globs_match("/a", "a"));
	CHECK(!dv_globs_match("/a", "b/a"));
	CHECK(dv_globs_match("db/*", "db/x/y"));
	CHECK(!dv_globs_match("db/*", "x/db/y"));
	CHECK(dv_globs_match("*/db/*", "x/db/y"));
	CHECK(!dv_globs_match("db/*", "db"));
}

static void test_one_of_a_list_is_enough_and_an_empty_list_matches_nothing(void)
{
	CHECK(dv_globs_match("*.a:*.b:/c/*", "x.b"));
	CHECK(dv_globs_match("*.a:*.b:/c/*", "c/d"));
	CHECK(!dv_globs_match("*.a:*.b:/c/*", "d"));
	CHECK(!dv_globs_match("", "d"));
	CHECK(!dv_globs_match("", ""));
}

static void test_what_can_not_be_a_pattern_is_refused_and_named(void)
{
	static const char *const bad[] = {"[a",	 "a:[b:c", ":a",    "a:", "a::b",
					  "a\\", "a\nb",   "x:/:y", "[]", "[!]"};
	char why[256], text[DV_GLOBS_MAX + 2];
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		why[0] = '\0';
		CHECK_EQ(dv_globs_check(bad[i], why, sizeof(why)), -EINVAL);
		CHECK(why[0] != '\0');
	}
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	CHECK_EQ(dv_globs_check(text, why, sizeof(why)), -EINVAL);
	text[DV_GLOBS_MAX] = '\0';
	CHECK_EQ(dv_globs_check(text, why, sizeof(why)), 0);
	CHECK(dv_globs_match(text, text));
	CHECK_EQ(dv_globs_check("", why, sizeof(why)), 0);
	CHECK_EQ(dv_globs_check("[]a]:[!]]:\\[:*", why, sizeof(why)), 0);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_pattern_without_a_slash_is_compared_with_the_last_component),
		CHECK_TEST(test_a_pattern_with_a_slash_is_compared_with_the_whole_key),
		CHECK_TEST(test_one_of_a_list_is_enough_and_an_empty_list_matches_nothing),
		CHECK_TEST(test_what_can_not_be_a_pattern_is_refused_and_named),
	};
	return check_main(argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
