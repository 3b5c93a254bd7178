/* SPDX-License-Identifier: MIT */
/*
 * test_twin.c - K beside a K.zst that another program made: K is served, both are kept, and what
 * happens to K loses neither.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

#include <errno.h>
#include <zstd.h>

#define PLAIN 30000u

static const struct dv_call call;
static struct simfs *fs;
static struct dv_backing b;
static struct dv_store *s;
static struct dv_node *root;
static int rootfd;
static char text[PLAIN], packed[PLAIN + 1000], why[512];
static size_t packed_len;
static unsigned told;

static void count_log(enum dv_log_level level, const char *line)
{
	(void)level;
	told += strstr(line, "are both in the store") != NULL;
}

static void open_store(void)
{
	struct dv_store_options o = {.threads = 1, .boot_id = "boot"};
	CHECK_EQ(dv_store_open(b, "/", &o, &s, why, sizeof(why)), 0);
	root = dv_store_root(s);
}

static void close_store(void)
{
	dv_node_unref(s, root);
	CHECK_EQ(dv_store_close(&s, NULL), 0);
}

static void put_file(const char *name, const void *bytes, size_t len)
{
	int fd = b.ops->open(b.self, rootfd, name, O_RDWR | O_CREAT | O_EXCL, 0644);
	CHECK(fd >= 0);
	CHECK_EQ(b.ops->pwrite(b.self, fd, bytes, len, 0), len);
	b.ops->close(b.self, fd);
}

static bool holds(const char *name, const void *bytes, size_t len)
{
	char buf[PLAIN + 1000];
	int fd = b.ops->open(b.self, rootfd, name, O_RDONLY, 0);
	if (fd < 0)
		return false;
	CHECK_EQ(b.ops->pread(b.self, fd, buf, sizeof(buf), 0), len);
	b.ops->close(b.self, fd);
	CHECK(!memcmp(buf, bytes, len));
	return true;
}

static bool is_there(const char *name)
{
	struct dv_stat st;
	return b.ops->stat(b.self, rootfd, name, &st) == 0;
}

/* K is "raw twin", K.zst holds text. */
static void setup(void)
{
	struct dv_init_options o = {0};
	fs = simfs_new();
	b = simfs_backing(fs);
	for (size_t i = 0; i < PLAIN; i++)
		text[i] = (char)('a' + i * i % 7);
	packed_len = ZSTD_compress(packed, sizeof(packed), text, PLAIN, 3);
	CHECK(!ZSTD_isError(packed_len));
	CHECK_EQ(dv_store_init(b, "/", &o, why, sizeof(why)), 0);
	rootfd = b.ops->open_root(b.self, "/");
	put_file("K", "raw twin", 8);
	put_file("K.zst", packed, packed_len);
	told = 0;
	dv_log_set_sink(count_log);
	open_store();
}

static void teardown(void)
{
	close_store();
	dv_log_set_sink(NULL);
	b.ops->close(b.self, rootfd);
	CHECK_EQ(simfs_open_fds(fs), 0);
	simfs_free(fs);
}

static dv_err look(const char *name, struct dv_stat *st)
{
	struct dv_node *n = NULL;
	dv_err err = dv_store_lookup(s, &call, root, name, &n, st);
	dv_node_unref(s, n);
	return err;
}

static void check_is(const char *name, const void *bytes, size_t len)
{
	char buf[PLAIN + 1000];
	struct dv_node *n = NULL;
	struct dv_stat st;
	CHECK_EQ(dv_store_lookup(s, &call, root, name, &n, &st), 0);
	CHECK_EQ(st.size, len);
	CHECK_EQ(dv_store_read(s, &call, n, buf, (struct dv_range){0, sizeof(buf)}), len);
	CHECK(!memcmp(buf, bytes, len));
	dv_node_unref(s, n);
}

static void make(const char *name, const char *bytes)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	CHECK_EQ(dv_store_mknod(s, &call, root, name, S_IFREG | 0644, 0, &n, &st), 0);
	CHECK_EQ(dv_store_write(s, &call, n, bytes, (struct dv_range){0, strlen(bytes)}, 0),
		 strlen(bytes));
	dv_node_unref(s, n);
}

static bool add_name(void *ctx, const struct dv_list_entry *e)
{
	strcat(ctx, e->name);
	strcat(ctx, "|");
	return true;
}

static const char *list(void)
{
	static char names[512];
	names[0] = '\0';
	CHECK_EQ(dv_store_list(s, &call, root, NULL, 0, add_name, names), 0);
	return names;
}

static uint64_t twins(void)
{
	struct dv_store_stats st;
	dv_store_stats(s, &st);
	return st.twins;
}

static void test_raw_is_served_both_are_kept_and_it_is_told_once(void)
{
	struct dv_pack_result r;
	setup();
	check_is("K", "raw twin", 8);
	CHECK_STR(list(), "K|");
	CHECK_STR(list(), "K|");
	CHECK_EQ(dv_store_pack_all(s, &r), 0);
	CHECK_EQ(r.packed, 0);
	CHECK_EQ(told, 1);
	CHECK_EQ(twins(), 1);
	CHECK(holds("K", "raw twin", 8) && holds("K.zst", packed, packed_len));
	teardown();
}

static void test_packing_tells_of_it_too(void)
{
	struct dv_pack_result r;
	setup();
	put_file("L", text, PLAIN);
	put_file("L.zst", packed, packed_len);
	CHECK_EQ(dv_store_pack_all(s, &r), 0);
	CHECK_EQ(r.packed, 0);
	CHECK_EQ(twins(), 2);
	CHECK(holds("L", text, PLAIN) && holds("L.zst", packed, packed_len));
	teardown();
}

static void test_unlink_frees_the_name_and_the_other_shows_as_itself(void)
{
	struct dv_stat st;
	setup();
	CHECK_EQ(dv_store_unlink(s, &call, root, "K"), 0);
	CHECK_EQ(look("K", &st), -ENOENT);
	check_is("K.zst", packed, packed_len);
	CHECK_STR(list(), "K.zst|");
	make("K", "anew");
	check_is("K", "anew", 4);
	CHECK(holds("K.zst.raw", packed, packed_len));
	teardown();
}

static void test_an_editor_saves_as_if_there_were_no_twin(void)
{
	setup();
	CHECK_EQ(dv_store_rename(s, &call, root, "K", root, "K~", 0), 0);
	make("K", "edited");
	CHECK_EQ(dv_store_unlink(s, &call, root, "K~"), 0);
	check_is("K", "edited", 6);
	check_is("K.zst", packed, packed_len);
	/* And over it: the twin of what is replaced stays where it is. */
	put_file("L", "other", 5);
	put_file("L.zst", packed, packed_len);
	CHECK_EQ(dv_store_rename(s, &call, root, "K", root, "L", 0), 0);
	check_is("L", "edited", 6);
	CHECK(holds("L.zst", packed, packed_len));
	teardown();
}

static void test_truncation_and_writes_leave_it(void)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	struct dv_setattr set = {.valid = DV_SET_SIZE};
	setup();
	CHECK_EQ(dv_store_lookup(s, &call, root, "K", &n, &st), 0);
	CHECK_EQ(dv_store_setattr(s, &call, n, &set, &st), 0);
	CHECK_EQ(dv_store_write(s, &call, n, "new", (struct dv_range){0, 3}, 0), 3);
	CHECK_EQ(dv_store_fsync(s, &call, n, false), 0);
	dv_node_unref(s, n);
	CHECK_EQ(dv_store_finish(s), 0);
	close_store();
	open_store();
	check_is("K", "new", 3);
	CHECK(holds("K.zst", packed, packed_len));
	teardown();
}

static void test_what_is_in_the_way_is_not_overwritten(void)
{
	setup();
	put_file("K.zst.raw", "in the way", 10);
	CHECK_EQ(dv_store_unlink(s, &call, root, "K"), 0);
	CHECK(holds("K.zst", packed, packed_len) && holds("K.zst.raw", "in the way", 10));
	check_is("K", text, PLAIN); /* there is no other place for it */
	check_is("K.zst", "in the way", 10);
	teardown();
}

static void test_a_directory_beside_a_packed_file_is_listed_once(void)
{
	struct dv_stat st;
	setup();
	CHECK_EQ(b.ops->mkdir(b.self, rootfd, "D", 0755), 0);
	put_file("D.zst", packed, packed_len);
	CHECK_EQ(dv_store_unlink(s, &call, root, "K"), 0);
	CHECK_EQ(look("D", &st), 0);
	CHECK(S_ISDIR(st.mode));
	CHECK(!strcmp(list(), "D|K.zst|") || !strcmp(list(), "K.zst|D|"));
	CHECK_EQ(twins(), 1);
	CHECK_EQ(dv_store_rmdir(s, &call, root, "D"), 0);
	CHECK_EQ(look("D", &st), -ENOENT);
	check_is("D.zst", packed, packed_len);
	teardown();
}

static void test_forms_of_our_own_are_no_twins(void)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	setup();
	CHECK_EQ(dv_store_unlink(s, &call, root, "K"), 0);
	CHECK_EQ(dv_store_unlink(s, &call, root, "K.zst"), 0);
	/* Packed, then edited: the packed form is there until the raw name is durable. */
	CHECK_EQ(dv_store_mknod(s, &call, root, "O", S_IFREG | 0644, 0, &n, &st), 0);
	CHECK_EQ(dv_store_write(s, &call, n, text, (struct dv_range){0, PLAIN}, 0), PLAIN);
	dv_store_run(s, true);
	CHECK(is_there("O.zst"));
	CHECK_EQ(dv_store_write(s, &call, n, "x", (struct dv_range){0, 1}, 0), 1);
	CHECK_STR(list(), "O|");
	CHECK_EQ(dv_store_fsync(s, &call, n, false), 0);
	CHECK_STR(list(), "O|");
	CHECK_EQ(dv_store_unlink(s, &call, root, "O"), 0);
	dv_node_unref(s, n);
	CHECK_STR(list(), "");
	CHECK(!is_there("O.zst") && !is_there("O.zst.raw"));
	CHECK_EQ(twins(), 0);
	teardown();
}

static void test_raw_put_beside_what_was_packed_here_is_one(void)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	setup();
	CHECK_EQ(dv_store_mknod(s, &call, root, "O", S_IFREG | 0644, 0, &n, &st), 0);
	CHECK_EQ(dv_store_write(s, &call, n, text, (struct dv_range){0, PLAIN}, 0), PLAIN);
	dv_node_unref(s, n);
	dv_store_run(s, true);
	CHECK(is_there("O.zst") && !is_there("O"));
	put_file("O", "restored", 8);
	check_is("O", "restored", 8);
	CHECK_EQ(dv_store_unlink(s, &call, root, "O"), 0);
	CHECK_EQ(look("O", &st), -ENOENT);
	CHECK(is_there("O.zst.raw"));
	teardown();
}

static void test_what_another_mount_is_about_to_drop_is_no_twin(void)
{
	struct dv_store_options o = {.threads = 1, .boot_id = "boot"};
	struct dv_store *other = NULL;
	struct dv_node *n = NULL, *other_root;
	struct dv_stat st;
	setup();
	CHECK_EQ(dv_store_unlink(s, &call, root, "K"), 0);
	CHECK_EQ(dv_store_unlink(s, &call, root, "K.zst"), 0);
	CHECK_EQ(dv_store_mknod(s, &call, root, "O", S_IFREG | 0644, 0, &n, &st), 0);
	CHECK_EQ(dv_store_write(s, &call, n, text, (struct dv_range){0, PLAIN}, 0), PLAIN);
	dv_node_unref(s, n);
	dv_store_run(s, true);
	make("L", "raw, renamed over a packed one");
	CHECK_EQ(dv_store_rename(s, &call, root, "L", root, "O", 0), 0);
	CHECK(is_there("O") && is_there("O.zst"));
	CHECK_EQ(dv_store_open(b, "/", &o, &other, why, sizeof(why)), 0);
	other_root = dv_store_root(other);
	CHECK_EQ(dv_store_unlink(other, &call, other_root, "O"), 0);
	CHECK(!is_there("O.zst.raw"));
	dv_node_unref(other, other_root);
	CHECK_EQ(dv_store_close(&other, NULL), 0);
	teardown();
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_raw_is_served_both_are_kept_and_it_is_told_once),
		CHECK_TEST(test_packing_tells_of_it_too),
		CHECK_TEST(test_unlink_frees_the_name_and_the_other_shows_as_itself),
		CHECK_TEST(test_an_editor_saves_as_if_there_were_no_twin),
		CHECK_TEST(test_truncation_and_writes_leave_it),
		CHECK_TEST(test_what_is_in_the_way_is_not_overwritten),
		CHECK_TEST(test_a_directory_beside_a_packed_file_is_listed_once),
		CHECK_TEST(test_forms_of_our_own_are_no_twins),
		CHECK_TEST(test_raw_put_beside_what_was_packed_here_is_one),
		CHECK_TEST(test_what_another_mount_is_about_to_drop_is_no_twin),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
