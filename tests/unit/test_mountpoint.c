/* SPDX-License-Identifier: MIT */
/*
 * test_mountpoint.c - paths within paths, mountinfo, resolving.
 */
#include "fs/mountpoint.h"

#include "core/cleanup.h"
#include "tests/support/check.h"

#include <sys/stat.h>
#include <unistd.h>

static void test_a_path_is_within_itself_and_what_holds_it(void)
{
	CHECK(fs_path_is_within("/a/b", "/a/b"));
	CHECK(fs_path_is_within("/a/b/c", "/a/b"));
	CHECK(fs_path_is_within("/a", "/"));
	CHECK(!fs_path_is_within("/a/bc", "/a/b"));
	CHECK(!fs_path_is_within("/a", "/a/b"));
}

static void test_proc_is_found_as_what_it_is(void)
{
	struct fs_mount m;

	CHECK_EQ(fs_mountpoint_find("/proc", &m), 0);
	CHECK_STR(m.type, "proc");
	CHECK_EQ(fs_mountpoint_find("/proc/self", &m), -ENOENT);
	CHECK(!fs_mountpoint_is_stale("/proc"));
}

static void test_a_mountpoint_is_resolved_through_links(void)
{
	char dir[] = "/tmp/test_mountpoint.XXXXXX", link[64], real[PATH_MAX], got[PATH_MAX];

	CHECK(mkdtemp(dir) != NULL && realpath(dir, real));
	snprintf(link, sizeof(link), "%s.link", dir);
	CHECK_EQ(symlink(dir, link), 0);
	CHECK_EQ(fs_mountpoint_resolve(link, got), 0);
	CHECK_STR(got, real);
	CHECK_EQ(unlink(link), 0);
	CHECK_EQ(rmdir(dir), 0);
	CHECK_EQ(fs_mountpoint_resolve(dir, got), -ENOENT);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_path_is_within_itself_and_what_holds_it),
		CHECK_TEST(test_proc_is_found_as_what_it_is),
		CHECK_TEST(test_a_mountpoint_is_resolved_through_links),
	};

	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
