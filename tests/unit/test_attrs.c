/* SPDX-License-Identifier: MIT */
/*
 * test_attrs.c - attributes as they are read: of the object that the node stands for, and of no other
 * one under its name; what that costs in calls; values of many names. On simfs.
 */
#include "core/cleanup.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const struct dv_call call = {0};
static struct simfs *fs;
static struct dv_backing b;
static struct dv_store *s;
static struct dv_node *root;
static int top; /* the store's folder, as another program sees it */

static void begin(void)
{
	char why[256];
	struct dv_init_options init = {0};
	struct dv_store_options o = {.threads = 1, .boot_id = "boot"};
	fs = simfs_new();
	b = simfs_backing(fs);
	CHECK_EQ(dv_store_init(b, "/", &init, why, sizeof(why)), 0);
	CHECK_EQ(dv_store_open(b, "/", &o, &s, why, sizeof(why)), 0);
	root = dv_store_root(s);
	top = b.ops->open_root(b.self, "/");
}

static void end(void)
{
	b.ops->close(b.self, top);
	dv_node_unref(s, root);
	CHECK_EQ(dv_store_close(&s, NULL), 0);
	CHECK_EQ(simfs_open_fds(fs), 0);
	simfs_free(fs);
}

/* Another program puts a file with an attribute into the store. */
static void put(const char *name, const char *value)
{
	int fd = b.ops->open(b.self, top, name, O_RDWR | O_CREAT | O_EXCL, 0644);
	CHECK(fd >= 0);
	CHECK_EQ(b.ops->setxattr(b.self, fd, "user.a", value, strlen(value), 0), 0);
	b.ops->close(b.self, fd);
}

static struct dv_node *find(const char *name)
{
	struct dv_node *n;
	struct dv_stat st;
	CHECK_EQ(dv_store_lookup(s, &call, root, name, &n, &st), 0);
	return n;
}

static ssize_t get(struct dv_node *n, char *buf, size_t size)
{
	return dv_store_getxattr(s, &call, n, "user.a", buf, size);
}

static void test_attributes_are_those_of_the_object_and_not_of_its_successor(void)
{
	char buf[64];
	begin();
	put("f", "old");
	struct dv_node *n = find("f");
	CHECK_EQ(get(n, buf, sizeof(buf)), 3);
	CHECK_EQ(memcmp(buf, "old", 3), 0);
	put("g", "newer");
	CHECK_EQ(b.ops->rename(b.self, top, "g", top, "f", 0), 0);
	CHECK_EQ(get(n, buf, sizeof(buf)), -ESTALE);
	CHECK_EQ(dv_store_listxattr(s, &call, n, buf, sizeof(buf)), -ESTALE);
	dv_node_unref(s, n);
	n = find("f");
	CHECK_EQ(get(n, buf, sizeof(buf)), 5);
	dv_node_unref(s, n);
	end();
}

static void test_attributes_are_found_by_a_name_that_is_left(void)
{
	char buf[64];
	begin();
	put("f", "one");
	CHECK_EQ(b.ops->link(b.self, top, "f", top, "g"), 0);
	struct dv_node *f = find("f"), *g = find("g");
	CHECK(f == g);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(b.ops->unlink(b.self, top, i ? "f" : "g"), 0);
		CHECK_EQ(get(f, buf, sizeof(buf)), i ? -ESTALE : 3);
		CHECK_EQ(dv_store_listxattr(s, &call, f, buf, sizeof(buf)), i ? -ESTALE : 7);
	}
	dv_node_unref(s, f);
	dv_node_unref(s, g);
	end();
}

/* A backup asks this of each file: no descriptor for it. */
static void test_a_file_that_nobody_has_open_is_asked_with_two_calls(void)
{
	char buf[64];
	begin();
	put("f", "one");
	struct dv_node *n = find("f");
	unsigned long before = simfs_calls(fs);
	CHECK_EQ(get(n, buf, sizeof(buf)), 3);
	CHECK_EQ(dv_store_listxattr(s, &call, n, buf, sizeof(buf)), 7);
	CHECK_EQ(simfs_calls(fs) - before, 4);
	dv_node_unref(s, n);
	end();
}

/* More than are looked at in one go. */
static void test_names_that_others_removed_are_forgotten_however_many_there_are(void)
{
	enum { NAMES = 2500 };
	char name[16];
	struct dv_stat st;
	begin();
	put("f", "one");
	struct dv_node *f = find("f"), *n;
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		CHECK_EQ(b.ops->link(b.self, top, "f", top, name), 0);
		n = find(name);
		CHECK(n == f);
		dv_node_unref(s, n);
	}
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		if (i % 5)
			CHECK_EQ(b.ops->unlink(b.self, top, name), 0);
	}
	CHECK_EQ(dv_store_lookup(s, &call, root, "n1", &n, &st), -ENOENT);
	unsigned long before = simfs_calls(fs);
	CHECK_EQ(dv_store_getattr(s, &call, f, &st), 0);
	CHECK(simfs_calls(fs) - before <= 2); /* by a name that is there: the others are gone */
	CHECK_EQ(st.nlink, NAMES / 5 + 1);
	for (int i = 0; i < NAMES; i += 5) {
		snprintf(name, sizeof(name), "n%d", i);
		n = find(name);
		CHECK(n == f);
		dv_node_unref(s, n);
	}
	dv_node_unref(s, f);
	end();
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_attributes_are_those_of_the_object_and_not_of_its_successor),
		CHECK_TEST(test_attributes_are_found_by_a_name_that_is_left),
		CHECK_TEST(test_a_file_that_nobody_has_open_is_asked_with_two_calls),
		CHECK_TEST(test_names_that_others_removed_are_forgotten_however_many_there_are),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
