/* SPDX-License-Identifier: MIT */
/*
 * test_memory.c - what a store takes for each file that is known: P6 says about 300 bytes and the
 * name, of which the driver's table of node ids takes 24 (fs/node.c asserts it).
 *
 * Asserts what malloc has given out, not what the kernel has mapped. The sanitizers' malloc does
 * not tell; there the bytes asked for are held by the assertion in core/node.h alone.
 */
#include "core/cleanup.h"
#include "core/internal.h"
#include "tests/support/check.h"
#include "tests/support/folder.h"

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zstd.h>

enum { FILES = 20000, DRIVER_BYTES = 24, ALLOWED_BYTES = 300 };
#define NAME_BYTES 12 /* "file-0012345" */

static const struct dv_call call;
static char store_path[64];

static void name_of(char name[32], int i, const char *end)
{
	snprintf(name, 32, "file-%07d%s", i, end);
}

static void make_folder(void)
{
	folder_make(store_path, "mem");
}

static void remove_folder(void)
{
	folder_remove(store_path);
}

/* FILES values, put into the store by others. */
static void fill(const void *bytes, size_t len, const char *end)
{
	char path[128], name[32];
	for (int i = 0; i < FILES; i++) {
		name_of(name, i, end);
		snprintf(path, sizeof(path), "%s/%s", store_path, name);
		FILE *f = fopen(path, "w");
		CHECK(f);
		CHECK_EQ(fwrite(bytes, 1, len, f), len);
		CHECK_EQ(fclose(f), 0);
	}
}

static struct dv_store *open_store(void)
{
	char why[512];
	struct dv_init_options init = {.adopt = true, .decode_zst = true};
	struct dv_store_options o = {.threads = 1};
	struct dv_store *s = NULL;
	CHECK_EQ(dv_store_init(dv_backing_posix(), store_path, &init, why, sizeof(why)), 0);
	CHECK_EQ(dv_store_open(dv_backing_posix(), store_path, &o, &s, why, sizeof(why)), 0);
	return s;
}

static size_t given_out(void)
{
	struct mallinfo2 m = mallinfo2();
	return m.uordblks + m.hblkhd;
}

static struct dv_node *nodes[FILES];

static void look_up_all(struct dv_store *s, struct dv_node *root, uint64_t size)
{
	for (int i = 0; i < FILES; i++) {
		struct dv_stat st;
		char name[32];
		name_of(name, i, "");
		CHECK_EQ(dv_store_lookup(s, &call, root, name, &nodes[i], &st), 0);
		CHECK_EQ(st.size, size);
	}
}

static void forget_all(struct dv_store *s)
{
	for (int i = 0; i < FILES; i++)
		dv_node_unref(s, nodes[i]);
}

static void check_bytes(const char *what, size_t bytes)
{
	size_t each = bytes / FILES;
	printf("  %s: %zu bytes each, the name of %d among them\n", what, each, NAME_BYTES);
	CHECK(each + DRIVER_BYTES <= ALLOWED_BYTES + NAME_BYTES);
}

/* bytes, len: what is stored. */
static void check_values(const char *what, const void *bytes, size_t len, const char *end,
			 uint64_t size)
{
	folder_make(store_path, "mem");
	fill(bytes, len, end);
	struct dv_store *s = open_store();
	struct dv_node *root = dv_store_root(s);
	struct dv_stat st;
	struct dv_node *first = NULL;
	/* What is taken once, such as zstd's context. */
	CHECK_EQ(dv_store_lookup(s, &call, root, "file-0000000", &first, &st), 0);
	dv_node_unref(s, first);
	size_t before = given_out();
	look_up_all(s, root, size);
	check_bytes(what, given_out() - before);
	forget_all(s);
	/* Nothing of them stays. */
	CHECK(given_out() < before + 64 * 1024);
	dv_node_unref(s, root);
	CHECK_EQ(dv_store_close(&s, NULL), 0);
	remove_folder();
}

static void test_a_raw_value_that_is_known_takes_300_bytes_and_its_name(void)
{
	check_values("raw", "x", 1, "", 1);
}

static void test_a_packed_value_that_is_known_takes_300_bytes_and_its_name(void)
{
	char plain[1000] = "text", packed[200];
	size_t len = ZSTD_compress(packed, sizeof(packed), plain, sizeof(plain), 3);
	CHECK(!ZSTD_isError(len));
	check_values("packed", packed, len, ".zst", sizeof(plain));
}

/* What is needed while a value changes goes when it is at rest again. */
static void test_a_value_at_rest_holds_nothing_of_its_changes(void)
{
	static char text[100000];
	struct dv_pack_result result;
	struct dv_stat st;
	memset(text, 'a', sizeof(text));
	make_folder();
	struct dv_store *s = open_store();
	struct dv_node *root = dv_store_root(s), *n = NULL;
	CHECK_EQ(dv_store_mknod(s, &call, root, "value", S_IFREG | 0644, 0, &n, &st), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(dv_store_write(s, &call, n, text, (struct dv_range){0, sizeof(text)}, 0),
			 (ssize_t)sizeof(text));
		CHECK(n->queued);
		CHECK_EQ(n->stage != NULL, i > 0); /* then it is the edit of a packed value */
		CHECK_EQ(dv_store_fsync(s, &call, n, false), 0);
		CHECK_EQ(dv_store_pack_all(s, &result), 0);
		CHECK_EQ(result.packed, 1);
		CHECK_EQ(dv_store_run(s, true), 0);
		CHECK(!n->queued && !n->stage && !n->job && !n->loser && !n->beside);
	}
	dv_node_unref(s, n);
	dv_node_unref(s, root);
	CHECK_EQ(dv_store_close(&s, NULL), 0);
	remove_folder();
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_raw_value_that_is_known_takes_300_bytes_and_its_name),
		CHECK_TEST(test_a_packed_value_that_is_known_takes_300_bytes_and_its_name),
		CHECK_TEST(test_a_value_at_rest_holds_nothing_of_its_changes),
	};
	struct rlimit few = {256, 256}; /* descriptors have a bound of their own */
	dv_backing_posix_prepare();
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
