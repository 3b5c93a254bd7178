/* SPDX-License-Identifier: MIT */
/*
 * test_store_review.c - the store in corners that everyday use does not reach: names of one value coming and going while it changes
 * its form, deep trees, files of other makers, errors in the middle. On simfs, through store.h alone.
 */
#include "core/cleanup.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

#include <stdint.h>

static const struct dv_call root_call = {0};

struct world {
	struct simfs *fs;
	struct dv_backing b;
	struct dv_store *s;
	struct dv_node *root;
};

static void open_store(struct world *w, const struct dv_store_options *options)
{
	char why[256];
	struct dv_store_options o = options ? *options : (struct dv_store_options){0};
	o.threads = o.threads ? o.threads : 1;
	o.boot_id = o.boot_id ? o.boot_id : "boot-a";
	dv_err err = dv_store_open(w->b, "/", &o, &w->s, why, sizeof(why));
	if (err)
		fprintf(stderr, "%s\n", why);
	CHECK_EQ(err, 0);
	w->root = dv_store_root(w->s);
}

static struct world make_world(const char *transform, uint32_t frame_size)
{
	char why[256];
	struct world w = {.fs = simfs_new()};
	w.b = simfs_backing(w.fs);
	struct dv_init_options o = {.transform = transform, .frame_size = frame_size};
	CHECK_EQ(dv_store_init(w.b, "/", &o, why, sizeof(why)), 0);
	open_store(&w, NULL);
	return w;
}

static void close_store(struct world *w)
{
	dv_node_unref(w->s, w->root);
	CHECK_EQ(dv_store_close(&w->s, NULL), 0);
}

static void end_world(struct world *w)
{
	if (w->s)
		close_store(w);
	CHECK_EQ(simfs_open_fds(w->fs), 0);
	CHECK_EQ(simfs_bad_fds(w->fs), 0);
	simfs_free(w->fs);
}

static struct dv_node *find(struct world *w, const char *name)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	return dv_store_lookup(w->s, &root_call, w->root, name, &n, &st) ? NULL : n;
}

static struct dv_node *create(struct world *w, const char *name)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	CHECK_EQ(dv_store_mknod(w->s, &root_call, w->root, name, S_IFREG | 0644, 0, &n, &st), 0);
	return n;
}

/* len bytes that depend on seed, and compress. */
static void fill(char *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (char)('a' + (seed + i / 64) % 23);
}

static void put_bytes(struct world *w, struct dv_node *n, size_t len, unsigned seed)
{
	DV_AUTO_FREE char *buf = malloc(len);
	CHECK(buf != NULL);
	fill(buf, len, seed);
	CHECK_EQ(dv_store_write(w->s, &root_call, n, buf, (struct dv_range){0, len}, 0), (ssize_t)len);
}

static bool holds(struct world *w, struct dv_node *n, size_t len, unsigned seed)
{
	DV_AUTO_FREE char *want = malloc(len);
	DV_AUTO_FREE char *got = malloc(len + 1);
	CHECK(want && got);
	fill(want, len, seed);
	ssize_t n_read = dv_store_read(w->s, &root_call, n, got, (struct dv_range){0, len + 1});
	return n_read == (ssize_t)len && memcmp(want, got, len) == 0;
}

static bool name_holds(struct world *w, const char *name, size_t len, unsigned seed)
{
	struct dv_node *n = find(w, name);
	bool good = n && holds(w, n, len, seed);
	dv_node_unref(w->s, n);
	return good;
}

static void put(struct world *w, const char *name, size_t len, unsigned seed)
{
	struct dv_node *n = find(w, name);
	if (!n)
		n = create(w, name);
	put_bytes(w, n, len, seed);
	dv_node_unref(w->s, n);
}

static void pack_all(struct world *w)
{
	struct dv_pack_result r;
	CHECK_EQ(dv_store_pack_all(w->s, &r), 0);
}

static bool is_stored(struct world *w, const char *path)
{
	struct dv_stat st;
	int fd = w->b.ops->open_root(w->b.self, "/");
	int err = w->b.ops->stat(w->b.self, fd, path, &st);
	w->b.ops->close(w->b.self, fd);
	return err == 0;
}

/* ---- names ---- */

static void test_a_superseded_form_goes_although_its_value_has_other_names(void)
{
	struct world w = make_world("path", 0);
	struct dv_stat st;
	put(&w, "c", 20000, 1);
	pack_all(&w);
	CHECK(is_stored(&w, "c.zst"));
	put(&w, "a", 10000, 2);
	struct dv_node *a = find(&w, "a");
	CHECK_EQ(dv_store_link(w.s, &root_call, a, w.root, "b", &st), 0);
	dv_node_unref(w.s, a);
	close_store(&w);
	open_store(&w, NULL);
	CHECK_EQ(dv_store_rename(w.s, &root_call, w.root, "a", w.root, "c", 0), 0);
	struct dv_node *b = find(&w, "b"); /* known only now */
	dv_store_run(w.s, true);
	CHECK(!is_stored(&w, "c.zst"));
	CHECK(is_stored(&w, "c"));
	dv_node_unref(w.s, b);
	end_world(&w);
}

static void test_a_superseded_form_goes_although_another_name_was_unlinked(void)
{
	struct world w = make_world("path", 0);
	struct dv_stat st;
	put(&w, "c", 20000, 1);
	pack_all(&w);
	put(&w, "a", 10000, 2);
	struct dv_node *a = find(&w, "a");
	CHECK_EQ(dv_store_link(w.s, &root_call, a, w.root, "b", &st), 0);
	CHECK_EQ(dv_store_rename(w.s, &root_call, w.root, "a", w.root, "c", 0), 0);
	CHECK_EQ(dv_store_unlink(w.s, &root_call, w.root, "b"), 0);
	dv_store_run(w.s, true);
	dv_node_unref(w.s, a);
	CHECK_EQ(dv_store_unlink(w.s, &root_call, w.root, "c"), 0);
	CHECK(find(&w, "c") == NULL);
	end_world(&w);
}

static void test_an_open_value_outlives_one_name_where_the_others_were_never_looked_up(void)
{
	struct world w = make_world("path", 0);
	struct dv_stat st;
	put(&w, "a", 10000, 1);
	struct dv_node *a = find(&w, "a");
	CHECK_EQ(dv_store_link(w.s, &root_call, a, w.root, "b", &st), 0);
	dv_node_unref(w.s, a);
	close_store(&w);
	open_store(&w, NULL);
	a = find(&w, "a");
	CHECK_EQ(dv_store_unlink(w.s, &root_call, w.root, "a"), 0);
	CHECK(holds(&w, a, 10000, 1));
	dv_node_unref(w.s, a);
	a = find(&w, "b");
	put(&w, "d", 5000, 2);
	CHECK_EQ(dv_store_rename(w.s, &root_call, w.root, "d", w.root, "b", 0), 0);
	CHECK(holds(&w, a, 10000, 1));
	dv_node_unref(w.s, a);
	end_world(&w);
}

/* Deeper than a recursion of a few kilobytes a level goes on the stack of a thread, and than the files kept open. */
static void test_trees_deeper_than_the_stack_are_synced_reached_and_forgotten(void)
{
	enum { DEPTH = 12000 };
	struct world w = make_world("path", 0);
	struct dv_stat st;
	struct dv_node *dir = dv_node_ref(w.root), *child = NULL, *deep;
	for (int i = 0; i < DEPTH; i++) {
		CHECK_EQ(dv_store_mkdir(w.s, &root_call, dir, "d", 0755, &child, &st), 0);
		dv_node_unref(w.s, dir);
		dir = child;
	}
	CHECK_EQ(dv_store_mknod(w.s, &root_call, dir, "v", S_IFREG | 0644, 0, &deep, &st), 0);
	CHECK_EQ(dv_store_fsync(w.s, &root_call, deep, false), 0);
	/* Others take the place of the open directories. */
	for (int i = 0; i < 5000; i++) {
		char name[32];
		snprintf(name, sizeof(name), "n%d", i);
		dv_node_unref(w.s, create(&w, name));
	}
	CHECK_EQ(dv_store_getattr(w.s, &root_call, deep, &st), 0);
	dv_node_unref(w.s, dir);
	dv_node_unref(w.s, deep);
	end_world(&w);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_superseded_form_goes_although_its_value_has_other_names),
		CHECK_TEST(test_a_superseded_form_goes_although_another_name_was_unlinked),
		CHECK_TEST(test_an_open_value_outlives_one_name_where_the_others_were_never_looked_up),
		CHECK_TEST(test_trees_deeper_than_the_stack_are_synced_reached_and_forgotten),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
