/* SPDX-License-Identifier: MIT */
/*
 * test_options.c - the table of options: values, ranges, words of fstab, what libfuse gets.
 */
#include "fs/options.h"

#include "core/cleanup.h"
#include "tests/support/check.h"

static struct fs_options o;
static char why[512];

static dv_err parse(const char *words)
{
	fs_options_release(&o);
	fs_options_init(&o);
	why[0] = '\0';
	return fs_options_parse(&o, FS_FOR_MOUNT, words, why, sizeof(why));
}

static void test_defaults_are_those_of_the_table(void)
{
	CHECK_EQ(parse(""), 0);
	CHECK_EQ(o.cache_bytes, 64 << 20);
	CHECK_EQ(o.frame_bytes, 0);
	CHECK_EQ(o.threads, 0);
	CHECK(o.settle_s == 5.0 && o.coherence_s == 1.0);
	CHECK(!o.compress && !o.transform && !o.passed && !o.suid && !o.dev);
}

static void test_patterns_are_gathered_and_checked(void)
{
	CHECK_EQ(parse("nopack=*.db:/a/*,nopack=x?"), 0);
	CHECK_STR(o.nopack, "*.db:/a/*:x?");
	CHECK_EQ(fs_options_check(&o, why, sizeof(why)), 0);
	CHECK_EQ(parse("nopack=*.db,nopack=[a"), 0);
	CHECK_EQ(fs_options_check(&o, why, sizeof(why)), -EINVAL);
	CHECK(strstr(why, "option nopack: the pattern '[a'") != NULL);
	CHECK_EQ(parse("nopack="), -EINVAL);
}

static void test_sizes_take_a_letter(void)
{
	CHECK_EQ(parse("cache_size=2G,frame_size=64k"), 0);
	CHECK_EQ(o.cache_bytes, 2ll << 30);
	CHECK_EQ(o.frame_bytes, 65536);
	CHECK_EQ(parse("cache_size=1048576"), 0);
	CHECK_EQ(o.cache_bytes, 1 << 20);
}

static void test_ages_take_a_letter(void)
{
	CHECK_EQ(parse("max_age=30d,settle=2m,max_size=1T"), 0);
	CHECK(o.max_age_s == 30 * 86400.0 && o.settle_s == 120.0);
	CHECK_EQ(o.max_size, 1ll << 40);
	CHECK_EQ(parse("max_age=4w"), 0);
	CHECK(o.max_age_s == 28 * 86400.0);
	CHECK_EQ(parse("max_age=90s,coherence=1h"), 0);
	CHECK(o.max_age_s == 90.0 && o.coherence_s == 3600.0);
	CHECK_EQ(parse("max_age=30D"), -EINVAL);
	CHECK_EQ(parse("max_age=30dd"), -EINVAL);
	CHECK_EQ(parse("max_age=3y"), -EINVAL);
	CHECK_EQ(parse("max_age=d"), -EINVAL);
}

static void test_values_that_are_no_numbers_are_refused(void)
{
	static const char *const bad[] = {
		"cache_size=",	   "cache_size",
		"cache_size=x",	   "cache_size=-1",
		"cache_size=1.5M", "cache_size=64MB",
		"threads=4K",	   "threads=0x4",
		"settle=1e3",	   "settle=.",
		"settle= 5",	   "coherence=nan",
		"coherence=1.2.3", "threads=99999999999999999999",
	};

	for (size_t i = 0; i < DV_ARRAY_LEN(bad); i++) {
		CHECK_EQ(parse(bad[i]), -EINVAL);
		CHECK(strncmp(why, "option ", 7) == 0);
	}
}

static void test_a_value_out_of_range_is_told_with_the_range(void)
{
	CHECK_EQ(parse("cache_size=7"), -EINVAL);
	CHECK_STR(why, "option cache_size: 7 is out of range, allowed is 1M to 1024G");
	CHECK_EQ(parse("threads=65"), -EINVAL);
	CHECK_EQ(parse("threads=64"), 0);
	CHECK_EQ(parse("frame_size=8M"), -EINVAL);
	CHECK_EQ(parse("coherence=0"), 0);
	CHECK(o.coherence_s == 0.0);
	CHECK_EQ(parse("settle=0.25"), 0);
	CHECK(o.settle_s == 0.25);
}

static void test_an_unknown_word_is_named(void)
{
	CHECK_EQ(parse("ro,frob,nofail"), -EINVAL);
	CHECK(strstr(why, "'frob'") != NULL);
	CHECK_EQ(parse("ro=1"), -EINVAL);
	CHECK_EQ(parse("adopt"), -EINVAL); /* an option of init */
	CHECK_EQ(parse("auto_unmount"), -EINVAL);
	CHECK_EQ(parse("context"), -EINVAL); /* takes a value */
}

static void test_a_switch_is_yes_or_no(void)
{
	CHECK_EQ(parse(""), 0);
	CHECK(o.sandbox);
	CHECK_EQ(parse("sandbox=no"), 0);
	CHECK(!o.sandbox);
	CHECK_EQ(parse("sandbox=yes"), 0);
	CHECK(o.sandbox);
	CHECK_EQ(parse("sandbox=off"), -EINVAL);
	CHECK_EQ(parse("sandbox"), -EINVAL);
}

static void test_words_of_fstab_are_accepted_and_dropped(void)
{
	CHECK_EQ(parse("defaults,nofail,noauto,auto,_netdev,user,user=bob,users,nouser,owner,group,"
		       "x-systemd.automount,x-systemd.requires=foo.mount,comment=a b,relatime,"
		       "strictatime,lazytime,rw,,"),
		 0);
	CHECK(!o.passed && !o.read_only);
}

static void test_the_last_of_two_opposites_wins(void)
{
	CHECK_EQ(parse("ro,rw"), 0);
	CHECK(!o.read_only);
	CHECK_EQ(parse("nosuid,suid,dev,nodev"), 0);
	CHECK(o.suid && !o.dev);
}

static void test_words_for_libfuse_are_escaped_again(void)
{
	CHECK_EQ(parse("noexec,context=\"a:b,c\",sync"), 0);
	CHECK_STR(o.passed, "noexec,context=a:b\\,c,sync");
	CHECK_EQ(parse("fsname=a\\,b\\\\c,ro"), 0);
	CHECK_STR(o.fsname, "a,b\\c");
	CHECK(o.read_only);
}

static void test_options_that_exclude_each_other_are_refused(void)
{
	CHECK_EQ(parse("allow_root,allow_other"), 0);
	CHECK_EQ(fs_options_check(&o, why, sizeof(why)), -EINVAL);
	CHECK_EQ(parse("subtype=other"), 0);
	CHECK_EQ(fs_options_check(&o, why, sizeof(why)), -EINVAL);
	CHECK_EQ(parse("frame_size=12K"), 0);
	CHECK_EQ(fs_options_check(&o, why, sizeof(why)), -EINVAL);
	CHECK_EQ(parse("transform=split"), 0);
	CHECK_EQ(fs_options_check(&o, why, sizeof(why)), -EINVAL);
	CHECK_EQ(parse("compress=lzma"), 0);
	CHECK_EQ(fs_options_check(&o, why, sizeof(why)), -EINVAL);
	CHECK_EQ(parse("compress=zstd:19,transform=split:2x3,subtype=diskvfs,frame_size=64K"), 0);
	CHECK_EQ(fs_options_check(&o, why, sizeof(why)), 0);
}

static int args(const char **operands, int argc, char **argv, bool *help)
{
	fs_options_release(&o);
	fs_options_init(&o);
	return fs_options_parse_args(&o, FS_FOR_MOUNT, argc, argv, operands, 2, help, why,
				     sizeof(why));
}

static void test_options_may_stand_before_between_and_behind(void)
{
	char *argv[] = {"mount", "-o", "ro", "S", "--cache-size", "1M", "M", "-f", "-othreads=2"};
	char *too_many[] = {"mount", "S", "M", "X"};
	char *ask[] = {"mount", "--help"};
	const char *operands[2];
	bool help;

	CHECK_EQ(args(operands, DV_ARRAY_LEN(argv), argv, &help), 2);
	CHECK_STR(operands[0], "S");
	CHECK_STR(operands[1], "M");
	CHECK(o.read_only && o.foreground && !o.debug && !help);
	CHECK_EQ(o.cache_bytes, 1 << 20);
	CHECK_EQ(o.threads, 2);
	CHECK_EQ(args(operands, DV_ARRAY_LEN(too_many), too_many, &help), -EINVAL);
	CHECK_EQ(args(operands, DV_ARRAY_LEN(ask), ask, &help), 0);
	CHECK(help);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_defaults_are_those_of_the_table),
		CHECK_TEST(test_patterns_are_gathered_and_checked),
		CHECK_TEST(test_sizes_take_a_letter),
		CHECK_TEST(test_ages_take_a_letter),
		CHECK_TEST(test_values_that_are_no_numbers_are_refused),
		CHECK_TEST(test_a_value_out_of_range_is_told_with_the_range),
		CHECK_TEST(test_an_unknown_word_is_named),
		CHECK_TEST(test_a_switch_is_yes_or_no),
		CHECK_TEST(test_words_of_fstab_are_accepted_and_dropped),
		CHECK_TEST(test_the_last_of_two_opposites_wins),
		CHECK_TEST(test_words_for_libfuse_are_escaped_again),
		CHECK_TEST(test_options_that_exclude_each_other_are_refused),
		CHECK_TEST(test_options_may_stand_before_between_and_behind),
	};
	int status;

	fs_options_init(&o);
	status = check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
	fs_options_release(&o);
	return status;
}
