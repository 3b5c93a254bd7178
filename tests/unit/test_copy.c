/* SPDX-License-Identifier: MIT */
/*
 * test_copy.c - packed values that are copied as they are stored, over the kernel. Limits are small,
 * so that a few frames are much.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define FRAME 4096u
#define SIZE  (3 * FRAME + 2000)
#define MAX   (16 * FRAME)

static const struct dv_call call;

struct fix {
	char path[64];
	struct dv_store *s;
	struct dv_node *root;
	int writers; /* what the store is told of them */
};

static void no_log(enum dv_log_level level, const char *line)
{
	if (getenv("TEST_LOG"))
		fprintf(stderr, "%d %s\n", level, line);
}

static int has_writer(void *self, struct dv_node *n)
{
	(void)n;
	return ((struct fix *)self)->writers;
}

static void open_store(struct fix *f)
{
	char why[512];
	struct dv_store_options o = {.threads = 1,
				     .stream_bytes = 4 * FRAME,
				     .append_bytes = 2 * FRAME,
				     .segment_bytes = 8 * FRAME,
				     .nopack = "*.keep",
				     .hooks = {.self = f, .has_writer = has_writer}};
	CHECK_EQ(dv_store_open(dv_backing_posix(), f->path, &o, &f->s, why, sizeof(why)), 0);
	f->root = dv_store_root(f->s);
}

static void close_store(struct fix *f)
{
	dv_node_unref(f->s, f->root);
	CHECK_EQ(dv_store_close(&f->s, NULL), 0);
}

static void setup(struct fix *f)
{
	char why[512];
	struct dv_init_options init = {.frame_size = FRAME};
	*f = (struct fix){.writers = 0};
	folder_make(f->path, "copy");
	CHECK_EQ(dv_store_init(dv_backing_posix(), f->path, &init, why, sizeof(why)), 0);
	open_store(f);
}

static void teardown(struct fix *f)
{
	close_store(f);
	folder_remove(f->path);
}

/* The byte at off of the value that was made with seed. */
static char byte_of(unsigned seed, size_t off)
{
	return (char)('a' + (off / 16 + off * off / 4096 + seed) % 26);
}

static void write_at(struct fix *f, struct dv_node *n, unsigned seed, size_t off, size_t len)
{
	char buf[MAX];
	for (size_t i = 0; i < len; i++)
		buf[i] = byte_of(seed, off + i);
	CHECK_EQ(dv_store_write(f->s, &call, n, buf, (struct dv_range){off, len}, 0), (ssize_t)len);
}

static struct dv_node *make(struct fix *f, const char *name, unsigned seed, size_t len)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	CHECK_EQ(dv_store_mknod(f->s, &call, f->root, name, S_IFREG | 0640, 0, &n, &st), 0);
	if (len)
		write_at(f, n, seed, 0, len);
	return n;
}

/* A packed one. */
static struct dv_node *make_packed(struct fix *f, const char *name, unsigned seed, size_t len)
{
	struct dv_node *n = make(f, name, seed, len);
	(void)dv_store_run(f->s, true);
	return n;
}

static void set_size(struct fix *f, struct dv_node *n, size_t size)
{
	struct dv_setattr set = {.valid = DV_SET_SIZE, .size = size};
	struct dv_stat st;
	CHECK_EQ(dv_store_setattr(f->s, &call, n, &set, &st), 0);
}

static void check_bytes(struct fix *f, struct dv_node *n, unsigned seed, size_t len)
{
	char buf[MAX + 1];
	CHECK_EQ(dv_store_read(f->s, &call, n, buf, (struct dv_range){0, sizeof(buf)}),
		 (ssize_t)len);
	for (size_t i = 0; i < len; i++)
		CHECK_EQ(buf[i], byte_of(seed, i));
}

static const char *form(struct fix *f, struct dv_node *n)
{
	static char buf[32];
	ssize_t len = dv_store_getxattr(f->s, &call, n, "user.diskvfs.form", buf, sizeof(buf) - 1);
	CHECK(len >= 0);
	buf[len] = '\0';
	return buf;
}

static ssize_t copy(struct fix *f, struct dv_node *from, struct dv_node *to, size_t len)
{
	return dv_store_copy(f->s, &call, from, (struct dv_range){0, len}, to, 0);
}

static struct dv_store_stats stats(struct fix *f)
{
	struct dv_store_stats st;
	dv_store_stats(f->s, &st);
	return st;
}

static size_t load(struct fix *f, const char *stored, char *buf, size_t size)
{
	char path[200];
	snprintf(path, sizeof(path), "%s/%s", f->path, stored);
	FILE *file = fopen(path, "r");
	if (!file)
		return 0;
	size_t len = fread(buf, 1, size, file);
	fclose(file);
	return len;
}

static void check_same_stored(struct fix *f, const char *a, const char *b)
{
	char x[MAX], y[MAX];
	size_t len = load(f, a, x, sizeof(x));
	CHECK(len > 0);
	CHECK_EQ(load(f, b, y, sizeof(y)), len);
	CHECK(!memcmp(x, y, len));
}

/* Files of the owner folder but its own two. */
static int strays(struct fix *f)
{
	char path[400];
	int count = 0;
	snprintf(path, sizeof(path), "%s/.diskvfs/stage", f->path);
	DIR *stage = opendir(path);
	CHECK(stage != NULL);
	for (struct dirent *o; (o = readdir(stage));) {
		if (o->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/.diskvfs/stage/%.200s", f->path, o->d_name);
		DIR *owner = opendir(path);
		for (struct dirent *e; owner && (e = readdir(owner));)
			count += e->d_name[0] != '.' && strcmp(e->d_name, "log") != 0 &&
				 strcmp(e->d_name, "owner") != 0;
		closedir(owner);
	}
	closedir(stage);
	return count;
}

/* ---- tests ---- */

static void test_a_copy_has_the_frames_of_the_original_and_decodes_none(void)
{
	static const size_t sizes[] = {SIZE, 2 * FRAME, FRAME + 1, 7 * FRAME - 1};
	for (size_t i = 0; i < DV_ARRAY_LEN(sizes); i++) {
		struct fix f;
		setup(&f);
		struct dv_node *a = make_packed(&f, "a", 1, sizes[i]), *b = make(&f, "b", 0, 0);
		CHECK_STR(form(&f, a), "packed");
		uint64_t decoded = stats(&f).frames_decoded;
		CHECK_EQ(copy(&f, a, b, sizes[i]), (ssize_t)sizes[i]);
		CHECK_STR(form(&f, b), "streaming");
		(void)dv_store_run(f.s, true);
		CHECK_STR(form(&f, b), "packed");
		CHECK_EQ(stats(&f).frames_decoded, decoded);
		CHECK_EQ(stats(&f).copied, 1);
		check_same_stored(&f, "a.zst", "b.zst");
		CHECK_EQ(strays(&f), 0);
		check_bytes(&f, b, 1, sizes[i]);
		CHECK(dv_node_ino(a) != dv_node_ino(b));
		dv_node_unref(f.s, a);
		dv_node_unref(f.s, b);
		close_store(&f);
		open_store(&f);
		struct dv_stat st;
		CHECK_EQ(dv_store_lookup(f.s, &call, f.root, "b", &b, &st), 0);
		check_bytes(&f, b, 1, sizes[i]);
		CHECK_EQ(st.mode & 07777, 0640);
		dv_node_unref(f.s, b);
		teardown(&f);
	}
}

static void test_a_copy_over_a_value_leaves_it_until_the_writer_is_gone(void)
{
	for (int packed = 0; packed < 2; packed++) {
		struct fix f;
		setup(&f);
		struct dv_node *a = make_packed(&f, "a", 1, SIZE), *b = make(&f, "b", 2, 2 * FRAME);
		if (packed)
			(void)dv_store_run(f.s, true);
		char was[MAX], now[MAX];
		const char *stored = packed ? "b.zst" : "b";
		size_t len = load(&f, stored, was, sizeof(was));
		f.writers = 1;
		set_size(&f, b, 0);
		CHECK_EQ(copy(&f, a, b, SIZE), SIZE);
		(void)dv_store_run(f.s, true);
		check_bytes(&f, b, 1, SIZE);
		CHECK_EQ(load(&f, stored, now, sizeof(now)), len);
		CHECK(!memcmp(was, now, len));
		f.writers = 0;
		(void)dv_store_run(f.s, true);
		check_same_stored(&f, "a.zst", "b.zst");
		CHECK_EQ(packed ? 0 : load(&f, "b", now, sizeof(now)), 0);
		CHECK_EQ(strays(&f), 0);
		dv_node_unref(f.s, a);
		dv_node_unref(f.s, b);
		teardown(&f);
	}
}

static void test_a_copy_is_a_value_as_any_other(void)
{
	struct fix f;
	setup(&f);
	struct dv_node *a = make_packed(&f, "a", 1, SIZE), *b = make(&f, "b", 0, 0);
	CHECK_EQ(copy(&f, a, b, SIZE), SIZE);
	check_bytes(&f, b, 1, SIZE);
	write_at(&f, b, 1, SIZE, 3 * FRAME); /* goes on */
	CHECK_STR(form(&f, b), "streaming");
	check_bytes(&f, b, 1, SIZE + 3 * FRAME);
	write_at(&f, b, 1, 100, 50); /* not at the end */
	check_bytes(&f, b, 1, SIZE + 3 * FRAME);
	set_size(&f, b, 5000);
	(void)dv_store_run(f.s, true);
	check_bytes(&f, b, 1, 5000);
	check_bytes(&f, a, 1, SIZE);
	set_size(&f, b, 0);
	CHECK_EQ(copy(&f, a, b, SIZE), SIZE);
	set_size(&f, b, 0);
	write_at(&f, b, 3, 0, 100);
	check_bytes(&f, b, 3, 100);
	set_size(&f, b, 0);
	CHECK_EQ(copy(&f, a, b, SIZE), SIZE);
	CHECK_EQ(dv_store_unlink(f.s, &call, f.root, "b"), 0);
	check_bytes(&f, b, 1, SIZE);
	dv_node_unref(f.s, b);
	CHECK_EQ(strays(&f), 0);
	dv_node_unref(f.s, a);
	teardown(&f);
}

static void test_what_can_not_be_copied_as_it_is_stored_is_left_to_the_caller(void)
{
	struct fix f;
	setup(&f);
	struct dv_node *a = make_packed(&f, "a", 1, SIZE), *b = make(&f, "b", 0, 0);
	struct dv_node *small = make_packed(&f, "small", 1, FRAME);
	struct dv_node *keep = make(&f, "b.keep", 0, 0), *raw = make(&f, "raw", 1, SIZE);
	struct dv_stat st;
	CHECK_EQ(copy(&f, a, b, SIZE - 1), -EOPNOTSUPP);
	CHECK_EQ(copy(&f, a, b, SIZE + 1), -EOPNOTSUPP);
	CHECK_EQ(copy(&f, a, a, SIZE), -EOPNOTSUPP);
	CHECK_EQ(dv_store_copy(f.s, &call, a, (struct dv_range){1, SIZE - 1}, b, 0), -EOPNOTSUPP);
	CHECK_EQ(dv_store_copy(f.s, &call, a, (struct dv_range){0, SIZE}, b, 1), -EOPNOTSUPP);
	CHECK_EQ(copy(&f, small, b, FRAME), -EOPNOTSUPP);
	CHECK_EQ(copy(&f, raw, b, SIZE), -EOPNOTSUPP);
	CHECK_EQ(copy(&f, a, raw, SIZE), -EOPNOTSUPP);
	CHECK_EQ(copy(&f, a, keep, SIZE), -EOPNOTSUPP);
	CHECK_EQ(copy(&f, a, f.root, SIZE), -EOPNOTSUPP);
	CHECK_EQ(dv_store_link(f.s, &call, b, f.root, "c", &st), 0);
	CHECK_EQ(copy(&f, a, b, SIZE), -EOPNOTSUPP);
	CHECK_EQ(dv_store_unlink(f.s, &call, f.root, "c"), 0);
	write_at(&f, a, 1, 100, 1); /* edited: not at rest */
	CHECK_EQ(copy(&f, a, b, SIZE), -EOPNOTSUPP);
	CHECK_EQ(stats(&f).copied, 0);
	check_bytes(&f, b, 0, 0);
	check_bytes(&f, keep, 0, 0);
	check_bytes(&f, raw, 1, SIZE);
	(void)dv_store_run(f.s, true);
	CHECK_EQ(strays(&f), 0);
	CHECK_EQ(copy(&f, a, b, SIZE), SIZE);
	check_bytes(&f, b, 1, SIZE);
	dv_node_unref(f.s, a);
	dv_node_unref(f.s, b);
	dv_node_unref(f.s, small);
	dv_node_unref(f.s, keep);
	dv_node_unref(f.s, raw);
	teardown(&f);
}

/* Bytes that are no frames any more are not taken over as such. */
static void test_a_file_whose_frames_are_damaged_is_not_copied(void)
{
	struct fix f;
	char path[200];
	setup(&f);
	struct dv_node *a = make_packed(&f, "a", 1, SIZE), *b = make(&f, "b", 0, 0);
	dv_node_unref(f.s, a);
	snprintf(path, sizeof(path), "%s/a.zst", f.path);
	int fd = open(path, O_RDWR);
	CHECK(fd >= 0);
	CHECK_EQ(pwrite(fd, "XXXX", 4, 0), 4);
	close(fd);
	struct dv_stat st;
	CHECK_EQ(dv_store_lookup(f.s, &call, f.root, "a", &a, &st), 0);
	CHECK_EQ(copy(&f, a, b, SIZE), -EOPNOTSUPP);
	check_bytes(&f, b, 0, 0);
	CHECK_EQ(strays(&f), 0);
	dv_node_unref(f.s, a);
	dv_node_unref(f.s, b);
	teardown(&f);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_copy_has_the_frames_of_the_original_and_decodes_none),
		CHECK_TEST(test_a_copy_over_a_value_leaves_it_until_the_writer_is_gone),
		CHECK_TEST(test_a_copy_is_a_value_as_any_other),
		CHECK_TEST(test_what_can_not_be_copied_as_it_is_stored_is_left_to_the_caller),
		CHECK_TEST(test_a_file_whose_frames_are_damaged_is_not_copied),
	};
	dv_log_set_sink(no_log);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
