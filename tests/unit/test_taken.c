/* SPDX-License-Identifier: MIT */
/* test_taken.c - what a thread is answered that makes a name which others have made. */
#include "core/cleanup.h"
#include "fs/taken.h"
#include "tests/support/check.h"

#include <errno.h>

static const struct fs_taken mine = {7, 1, "lock"}, same = {7, 1, "lock"};

static void test_the_kernel_looks_again_once_and_then_it_is_taken(void)
{
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(fs_taken_answer(&mine), ESTALE);
		CHECK_EQ(fs_taken_answer(&same), EEXIST);
	}
}

static void test_what_was_found_or_made_begins_anew(void)
{
	CHECK_EQ(fs_taken_answer(&mine), ESTALE);
	fs_taken_end(&same);
	CHECK_EQ(fs_taken_answer(&mine), ESTALE);
	fs_taken_end(&mine);
}

static void test_another_name_or_thread_is_another_matter(void)
{
	const struct fs_taken others[] = {{8, 1, "lock"}, {7, 2, "lock"}, {7, 1, "lock2"}};
	for (size_t i = 0; i < 3; i++) {
		CHECK_EQ(fs_taken_answer(&mine), ESTALE);
		fs_taken_end(&others[i]); /* a directory on the way to it, say */
		CHECK_EQ(fs_taken_answer(&others[i]), ESTALE);
		fs_taken_end(&others[i]);
		fs_taken_end(&mine);
	}
}

static void test_a_thread_that_is_not_seen_is_never_taken_for_another(void)
{
	const struct fs_taken unseen = {0, 1, "lock"};
	CHECK_EQ(fs_taken_answer(&unseen), ESTALE);
	CHECK_EQ(fs_taken_answer(&unseen), ESTALE);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_the_kernel_looks_again_once_and_then_it_is_taken),
		CHECK_TEST(test_what_was_found_or_made_begins_anew),
		CHECK_TEST(test_another_name_or_thread_is_another_matter),
		CHECK_TEST(test_a_thread_that_is_not_seen_is_never_taken_for_another),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
