/* SPDX-License-Identifier: MIT */
/* test_told.c - which of the mtimes that were told the kernel is believed to know. */
#include "core/cleanup.h"
#include "fs/told.h"
#include "tests/support/check.h"

/* Each test has a value of its own; these share no entry of the table. */
static const void *value(uintptr_t i)
{
	return (const void *)((i + 1) * 4096); /* nobody looks at what is there */
}

static void test_an_answer_with_another_mtime_counts_where_nothing_else_was_answered(void)
{
	CHECK(fs_told_answer(value(0), FS_TOLD_OTHER, 10001));
	CHECK(fs_told_answer(value(0), FS_TOLD_OTHER, 10001 + FS_TOLD_MS));
}

static void test_one_that_the_kernel_may_drop_does_not_count(void)
{
	CHECK(fs_told_answer(value(1), FS_TOLD_SAME, 10001));
	CHECK(!fs_told_answer(value(1), FS_TOLD_OTHER, 10003)); /* beside another answer */
	CHECK(fs_told_answer(value(1), FS_TOLD_OTHER, 10003 + FS_TOLD_MS));
	fs_told_change(value(1), 20001);
	CHECK(!fs_told_answer(value(1), FS_TOLD_OTHER, 20001)); /* beside a write */
	CHECK(fs_told_answer(value(1), FS_TOLD_SAME, 20003));
}

static void test_one_that_counts_is_not_believed_while_it_may_be_on_its_way(void)
{
	CHECK(!fs_told_is_under_way(value(2), 10001));
	CHECK(fs_told_answer(value(2), FS_TOLD_OTHER, 10001));
	CHECK(fs_told_is_under_way(value(2), 10001));
	CHECK(fs_told_is_under_way(value(2), 10000 + FS_TOLD_MS));
	CHECK(!fs_told_is_under_way(value(2), 10001 + FS_TOLD_MS));
	/* The same mtime again changes nothing. */
	CHECK(fs_told_answer(value(2), FS_TOLD_SAME, 20001));
	CHECK(!fs_told_is_under_way(value(2), 20001));
}

static void test_a_value_that_the_kernel_does_not_know_is_believed_at_once(void)
{
	fs_told_change(value(3), 10001);
	CHECK(fs_told_answer(value(3), FS_TOLD_FRESH, 10001));
	CHECK(!fs_told_is_under_way(value(3), 10001));
}

static void test_a_clock_that_wraps_is_no_matter(void)
{
	CHECK(fs_told_answer(value(4), FS_TOLD_OTHER, UINT32_MAX - 100));
	CHECK(fs_told_is_under_way(value(4), 101));
	CHECK(!fs_told_answer(value(4), FS_TOLD_OTHER, 101));
	CHECK(!fs_told_is_under_way(value(4), FS_TOLD_MS));
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(
			test_an_answer_with_another_mtime_counts_where_nothing_else_was_answered),
		CHECK_TEST(test_one_that_the_kernel_may_drop_does_not_count),
		CHECK_TEST(test_one_that_counts_is_not_believed_while_it_may_be_on_its_way),
		CHECK_TEST(test_a_value_that_the_kernel_does_not_know_is_believed_at_once),
		CHECK_TEST(test_a_clock_that_wraps_is_no_matter),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
