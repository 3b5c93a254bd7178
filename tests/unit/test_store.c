/* SPDX-License-Identifier: MIT */
/*
 * test_store.c - the store over the kernel: names and forms of every transform, packing, inode
 * numbers and times, links, twins, odd names, damage, hidden attributes.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/folder.h"
#include "tests/support/random.h"

#include <errno.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <zstd.h>

#define FRAME	      (128u << 10)
#define DV_STORE_NAME 256

static const struct dv_call call;

struct fix {
	char path[64];
	struct dv_store *s;
	struct dv_node *root;
};

static void no_log(enum dv_log_level level, const char *line)
{
	(void)level;
	(void)line;
}

static void open_store(struct fix *f)
{
	char why[512];
	struct dv_store_options o = {.threads = 2};
	dv_err err = dv_store_open(dv_backing_posix(), f->path, &o, &f->s, why, sizeof(why));
	if (err)
		fprintf(stderr, "open: %s\n", why);
	CHECK_EQ(err, 0);
	f->root = dv_store_root(f->s);
}

static void setup(struct fix *f, const char *transform)
{
	char why[512];
	struct dv_init_options init = {.transform = transform};
	folder_make(f->path, "store");
	CHECK_EQ(dv_store_init(dv_backing_posix(), f->path, &init, why, sizeof(why)), 0);
	open_store(f);
}

static void close_store(struct fix *f)
{
	dv_node_unref(f->s, f->root);
	CHECK_EQ(dv_store_close(&f->s, NULL), 0);
}

static void teardown(struct fix *f)
{
	close_store(f);
	folder_remove(f->path);
}

/* ---- helpers on keys of one directory ---- */

static struct dv_node *find(struct fix *f, struct dv_node *dir, const char *name,
			    struct dv_stat *st)
{
	struct dv_node *n = NULL;
	CHECK_EQ(dv_store_lookup(f->s, &call, dir, name, &n, st), 0);
	return n;
}

/* Old enough to be packed at once. */
static void age(struct fix *f, struct dv_node *n)
{
	struct dv_stat st;
	struct dv_setattr set = {.valid = DV_SET_MTIME,
				 .mtime = {.tv_sec = 1234567890, .tv_nsec = 123456789}};
	CHECK_EQ(dv_store_setattr(f->s, &call, n, &set, &st), 0);
}

static void put(struct fix *f, struct dv_node *dir, const char *name, const void *bytes, size_t len)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	CHECK_EQ(dv_store_mknod(f->s, &call, dir, name, S_IFREG | 0644, 0, &n, &st), 0);
	CHECK_EQ(dv_store_write(f->s, &call, n, bytes, (struct dv_range){0, len}, 0), (ssize_t)len);
	age(f, n);
	dv_node_unref(f->s, n);
}

static void check_is(struct fix *f, struct dv_node *dir, const char *name, const void *bytes,
		     size_t len)
{
	struct dv_stat st;
	struct dv_node *n = find(f, dir, name, &st);
	char *buf = malloc(len + 100);
	CHECK(buf != NULL);
	CHECK_EQ(st.size, len);
	CHECK(st.blocks > 0 || len == 0);
	CHECK_EQ(dv_store_read(f->s, &call, n, buf, (struct dv_range){0, len + 100}), (ssize_t)len);
	CHECK(len == 0 || !memcmp(buf, bytes, len));
	free(buf);
	dv_node_unref(f->s, n);
}

static void check_xattr(struct fix *f, struct dv_node *dir, const char *name, const char *attr,
			const char *want)
{
	char buf[512];
	struct dv_stat st;
	struct dv_node *n = find(f, dir, name, &st);
	ssize_t len = dv_store_getxattr(f->s, &call, n, attr, buf, sizeof(buf) - 1);
	CHECK(len >= 0);
	buf[len] = '\0';
	CHECK_STR(buf, want);
	dv_node_unref(f->s, n);
}

#define check_form(f, dir, name, form) check_xattr(f, dir, name, "user.diskvfs.form", form)

static dv_err unlink_name(struct fix *f, struct dv_node *dir, const char *name)
{
	return dv_store_unlink(f->s, &call, dir, name);
}

static void pack(struct fix *f, struct dv_pack_result *r)
{
	struct dv_pack_result mine;
	CHECK_EQ(dv_store_pack_all(f->s, r ? r : &mine), 0);
}

static char *stored(const struct fix *f, const char *path)
{
	static char buf[8192];
	snprintf(buf, sizeof(buf), "%s/%s", f->path, path);
	return buf;
}

static bool is_there(const struct fix *f, const char *path)
{
	return access(stored(f, path), F_OK) == 0;
}

static void write_file(const struct fix *f, const char *path, const void *bytes, size_t len)
{
	FILE *file = fopen(stored(f, path), "w");
	CHECK(file != NULL);
	CHECK_EQ(fwrite(bytes, 1, len, file), len);
	CHECK_EQ(fclose(file), 0);
}

static size_t read_file(const struct fix *f, const char *path, void *buf, size_t size)
{
	FILE *file = fopen(stored(f, path), "r");
	CHECK(file != NULL);
	size_t len = fread(buf, 1, size, file);
	fclose(file);
	return len;
}

struct names {
	size_t count;
	char name[64][DV_STORE_NAME];
	int64_t cookie[64];
};

static bool collect(void *ctx, const struct dv_list_entry *e)
{
	struct names *n = ctx;
	CHECK(n->count < DV_ARRAY_LEN(n->name));
	n->cookie[n->count] = e->cookie;
	strcpy(n->name[n->count++], e->name);
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The sorted names, with '|' between. */
static const char *list(struct fix *f, struct dv_node *dir)
{
	static char text[8192];
	struct names n = {0};
	struct dv_list *l = NULL;
	CHECK_EQ(dv_list_open(f->s, dir, &l), 0);
	CHECK_EQ(dv_store_list(f->s, &call, dir, l, 0, collect, &n), 0);
	dv_list_close(f->s, &l);
	qsort(n.name, n.count, sizeof(n.name[0]), by_name);
	text[0] = '\0';
	for (size_t i = 0; i < n.count; i++) {
		strcat(text, i ? "|" : "");
		strcat(text, n.name[i]);
	}
	return text;
}

/* Text that packs well. */
static char *text_of(size_t len, unsigned seed)
{
	char *t = malloc(len + 64);
	CHECK(t != NULL);
	for (size_t i = 0; i < len; i += 32)
		snprintf(t + i, 64, "value %06u at %09zu, words.\n   ", seed, i);
	return t;
}

/* ---- names and forms ---- */

static void test_each_transform_keeps_its_values_where_it_says(void)
{
	static const struct {
		const char *transform, *raw, *packed;
	} cases[] = {
		{"path", "abcdefgh", "abcdefgh.zst"},
		{"flat", "abcdefgh", "abcdefgh.zst"},
		{"path:.txt", "abcdefgh.txt", "abcdefgh.txt.zst"},
		{"split:3", "abc/def/abcdefgh", "abc/def/abcdefgh.zst"},
		{"split:2x1", "ab/abcdefgh", "ab/abcdefgh.zst"},
		{"hash:md5:2x2", "e8/dc/abcdefgh", "e8/dc/abcdefgh.zst"},
	};
	char *text = text_of(30000, 1);
	for (size_t i = 0; i < DV_ARRAY_LEN(cases); i++) {
		struct fix f;
		struct dv_pack_result r;
		char path[512];
		bool exists;
		setup(&f, cases[i].transform);
		put(&f, f.root, "abcdefgh", text, 30000);
		CHECK(is_there(&f, cases[i].raw));
		CHECK_EQ(dv_store_path(f.s, "abcdefgh", path, sizeof(path), &exists), 0);
		CHECK(exists);
		CHECK_STR(path, cases[i].raw);
		pack(&f, &r);
		CHECK_EQ(r.packed, 1);
		CHECK(!is_there(&f, cases[i].raw) && is_there(&f, cases[i].packed));
		check_is(&f, f.root, "abcdefgh", text, 30000);
		CHECK_STR(list(&f, f.root), "abcdefgh");
		CHECK_EQ(dv_store_rename(f.s, &call, f.root, "abcdefgh", f.root, "zyx", 0), 0);
		CHECK_STR(list(&f, f.root), "zyx");
		check_is(&f, f.root, "zyx", text, 30000);
		put(&f, f.root, "second", text, 10);
		CHECK_STR(list(&f, f.root), "second|zyx");
		CHECK_EQ(unlink_name(&f, f.root, "zyx"), 0);
		CHECK_EQ(unlink_name(&f, f.root, "zyx"), -ENOENT);
		CHECK_STR(list(&f, f.root), "second");
		CHECK_EQ(unlink_name(&f, f.root, "second"), 0);
		CHECK_EQ(dv_store_run(f.s, false), 0); /* one that a value was renamed from */
		CHECK(!is_there(&f, "abc") && !is_there(&f, "ab") && !is_there(&f, "e8"));
		teardown(&f);
	}
	free(text);
}

static void test_flat_namespaces_refuse_what_they_can_not_keep(void)
{
	static const char *const transforms[] = {"flat", "split:3", "hash:sha256:2x1"};
	for (size_t i = 0; i < DV_ARRAY_LEN(transforms); i++) {
		struct fix f;
		struct dv_node *n = NULL, *a;
		struct dv_stat st;
		setup(&f, transforms[i]);
		put(&f, f.root, "a", "x", 1);
		a = find(&f, f.root, "a", &st);
		CHECK_EQ(dv_store_mkdir(f.s, &call, f.root, "d", 0755, &n, &st), -EPERM);
		CHECK_EQ(dv_store_symlink(f.s, &call, "a", f.root, "l", &n, &st), -EPERM);
		CHECK_EQ(dv_store_link(f.s, &call, a, f.root, "b", &st), -EPERM);
		dv_node_unref(f.s, a);
		teardown(&f);
	}
}

/* The packed file decodes with the library alone to these bytes. */
static void check_decodes(const struct fix *f, const char *path, const char *want, size_t len)
{
	size_t room = len + 1000;
	char *packed = malloc(room), *plain = malloc(room);
	CHECK(packed && plain);
	ZSTD_inBuffer in = {packed, read_file(f, path, packed, room), 0};
	ZSTD_outBuffer out = {plain, room, 0};
	ZSTD_DCtx *ctx = ZSTD_createDCtx();
	size_t left = 1;
	while (in.pos < in.size) {
		left = ZSTD_decompressStream(ctx, &out, &in);
		CHECK(!ZSTD_isError(left));
	}
	CHECK_EQ(left, 0);
	CHECK_EQ(out.pos, len);
	CHECK(!memcmp(plain, want, len));
	ZSTD_freeDCtx(ctx);
	free(packed);
	free(plain);
}

static void test_the_form_follows_from_size_and_gain(void)
{
	static const struct {
		const char *name;
		size_t len;
		const char *form, *frames;
	} cases[] = {
		{"small", 4096, "raw", "0"},
		{"one", 8193, "packed", "1"},
		{"whole", FRAME, "packed", "1"},
		{"two", FRAME + 1, "packed", "2"},
		{"four", FRAME * 7 / 2, "packed", "4"},
	};
	struct fix f;
	struct dv_pack_result r;
	setup(&f, "path");
	char *text = text_of(FRAME * 4, 2);
	for (size_t i = 0; i < DV_ARRAY_LEN(cases); i++)
		put(&f, f.root, cases[i].name, text, cases[i].len);
	pack(&f, &r);
	CHECK_EQ(r.seen, 5);
	CHECK_EQ(r.packed, 4);
	CHECK_EQ(r.left_raw, 1);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < DV_ARRAY_LEN(cases); i++) {
			char packed[64];
			check_form(&f, f.root, cases[i].name, cases[i].form);
			check_xattr(&f, f.root, cases[i].name, "user.diskvfs.frames",
				    cases[i].frames);
			check_is(&f, f.root, cases[i].name, text, cases[i].len);
			snprintf(packed, sizeof(packed), "%s.zst", cases[i].name);
			if (i > 0)
				check_decodes(&f, packed, text, cases[i].len);
		}
		close_store(&f);
		open_store(&f);
	}
	free(text);
	teardown(&f);
}

static void test_incompressible_and_sparse_values_stay_raw(void)
{
	struct fix f;
	struct dv_pack_result r;
	struct dv_node *n;
	struct dv_stat st;
	struct dv_setattr grow = {.valid = DV_SET_SIZE, .size = 1u << 20};
	struct test_random random = {.state = 99};
	static uint8_t noise[30000];
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)test_random_next(&random);
	setup(&f, "path");
	put(&f, f.root, "noise", noise, sizeof(noise));
	put(&f, f.root, "sparse", "x", 1);
	n = find(&f, f.root, "sparse", &st);
	CHECK_EQ(dv_store_setattr(f.s, &call, n, &grow, &st), 0);
	age(&f, n);
	dv_node_unref(f.s, n);
	pack(&f, &r);
	CHECK_EQ(r.packed, 0);
	CHECK_EQ(r.left_raw, 2);
	check_is(&f, f.root, "noise", noise, sizeof(noise));
	teardown(&f);
}

static void test_reads_at_frame_borders_are_exact(void)
{
	struct fix f;
	struct dv_stat st;
	size_t len = FRAME * 7 / 2;
	char *text = text_of(len, 3);
	static char buf[FRAME * 3];
	setup(&f, "path");
	put(&f, f.root, "a", text, len);
	pack(&f, NULL);
	struct dv_node *n = find(&f, f.root, "a", &st);
	for (size_t border = 0; border <= len; border += FRAME / 2)
		for (size_t before = 0; before <= 2; before++)
			for (size_t count = 1; count <= sizeof(buf); count = count * 8 + 1) {
				size_t off = border >= before ? border - before : 0;
				size_t want = off >= len	  ? 0
					      : len - off < count ? len - off
								  : count;
				CHECK_EQ(dv_store_read(f.s, &call, n, buf,
						       (struct dv_range){off, count}),
					 (ssize_t)want);
				CHECK(!want || !memcmp(buf, text + off, want));
			}
	dv_node_unref(f.s, n);
	free(text);
	teardown(&f);
}

/* ---- what packing does not move ---- */

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static void check_dir_times(struct fix *f, const struct dv_stat *want)
{
	struct dv_stat st;
	CHECK_EQ(dv_store_getattr(f->s, &call, f->root, &st), 0);
	CHECK(same_time(&st.mtime, &want->mtime));
	CHECK(same_time(&st.ctime, &want->ctime));
}

/* tar calls a directory whose ctime moves while it reads there changed, and fails. */
static void test_swaps_do_not_move_the_times_shown_of_a_directory(void)
{
	struct fix f;
	struct dv_stat dir, dir_before;
	struct dv_setattr mode = {.valid = DV_SET_MODE, .mode = 0711};
	char *text = text_of(300000, 4);
	setup(&f, "path");
	put(&f, f.root, "a", text, 300000);
	struct dv_node *n = find(&f, f.root, "a", NULL);
	CHECK_EQ(dv_store_getattr(f.s, &call, f.root, &dir_before), 0);
	pack(&f, NULL);
	check_form(&f, f.root, "a", "packed");
	check_dir_times(&f, &dir_before);
	/* an edit, which unpacks it, and another packing */
	CHECK_EQ(dv_store_write(f.s, &call, n, "!", (struct dv_range){5, 1}, 0), 1);
	CHECK_EQ(dv_store_fsync(f.s, &call, n, false), 0);
	check_form(&f, f.root, "a", "raw");
	check_dir_times(&f, &dir_before);
	pack(&f, NULL);
	check_dir_times(&f, &dir_before);
	/* what is no swap moves them, and a swap after that shows the new ones */
	put(&f, f.root, "b", text, 300000);
	CHECK_EQ(dv_store_getattr(f.s, &call, f.root, &dir), 0);
	CHECK(!same_time(&dir.ctime, &dir_before.ctime));
	CHECK(!same_time(&dir.mtime, &dir_before.mtime));
	pack(&f, NULL);
	check_dir_times(&f, &dir);
	CHECK_EQ(dv_store_setattr(f.s, &call, f.root, &mode, &dir_before), 0);
	CHECK(!same_time(&dir.ctime, &dir_before.ctime));
	CHECK(same_time(&dir.mtime, &dir_before.mtime));
	check_dir_times(&f, &dir_before);
	dv_node_unref(f.s, n);
	free(text);
	teardown(&f);
}

static void test_numbers_and_times_survive_packing_and_reopening(void)
{
	struct fix f;
	struct dv_stat before, after, dir_before, dir_after;
	char *text = text_of(300000, 4);
	setup(&f, "path");
	put(&f, f.root, "a", text, 300000);
	struct dv_node *n = find(&f, f.root, "a", &before);
	CHECK_EQ(dv_store_getattr(f.s, &call, f.root, &dir_before), 0);
	pack(&f, NULL);
	CHECK_EQ(dv_store_getattr(f.s, &call, n, &after), 0);
	CHECK_EQ(after.ino, before.ino);
	CHECK(same_time(&after.mtime, &before.mtime) && same_time(&after.ctime, &before.ctime));
	CHECK_EQ(dv_store_getattr(f.s, &call, f.root, &dir_after), 0);
	CHECK(same_time(&dir_before.ctime, &dir_after.ctime));
	dv_node_unref(f.s, n);
	close_store(&f);
	open_store(&f);
	check_form(&f, f.root, "a", "packed");
	n = find(&f, f.root, "a", &after);
	CHECK_EQ(after.ino, before.ino);
	CHECK(same_time(&after.mtime, &before.mtime) && same_time(&after.ctime, &before.ctime));
	CHECK_EQ(dv_store_getattr(f.s, &call, f.root, &dir_after), 0);
	CHECK(same_time(&dir_before.mtime, &dir_after.mtime));
	/* unpacked by an edit: the number stays, the times move */
	CHECK_EQ(dv_store_write(f.s, &call, n, "!", (struct dv_range){5, 1}, 0), 1);
	CHECK_EQ(dv_store_fsync(f.s, &call, n, false), 0);
	CHECK_EQ(dv_store_getattr(f.s, &call, n, &after), 0);
	CHECK_EQ(after.ino, before.ino);
	CHECK(!same_time(&after.mtime, &before.mtime));
	CHECK_EQ(dv_store_getattr(f.s, &call, f.root, &dir_after), 0);
	CHECK(same_time(&dir_before.mtime, &dir_after.mtime));
	dv_node_unref(f.s, n);
	close_store(&f);
	open_store(&f);
	n = find(&f, f.root, "a", &after);
	CHECK_EQ(after.ino, before.ino);
	dv_node_unref(f.s, n);
	free(text);
	teardown(&f);
}

/* Shows n as a store does that has just been opened. */
static void look_anew(struct fix *f, struct dv_stat *st)
{
	close_store(f);
	open_store(f);
	dv_node_unref(f->s, find(f, f->root, "a", st));
}

static void test_times_survive_unpacking_on_purpose_and_move_with_changes_after_it(void)
{
	struct fix f;
	struct dv_stat before, after;
	struct dv_pack_result r;
	char *text = text_of(300000, 4);
	setup(&f, "path");
	put(&f, f.root, "a", text, 300000);
	pack(&f, NULL);
	look_anew(&f, &before);
	CHECK_EQ(dv_store_unpack(f.s, NULL, &r), 0);
	CHECK_EQ(r.packed, 1);
	check_form(&f, f.root, "a", "raw");
	dv_node_unref(f.s, find(&f, f.root, "a", &after));
	CHECK(same_time(&after.mtime, &before.mtime) && same_time(&after.ctime, &before.ctime));
	look_anew(&f, &after);
	CHECK_EQ(after.ino, before.ino);
	CHECK(same_time(&after.mtime, &before.mtime) && same_time(&after.ctime, &before.ctime));
	pack(&f, NULL);
	check_form(&f, f.root, "a", "packed");
	look_anew(&f, &after);
	CHECK(same_time(&after.mtime, &before.mtime) && same_time(&after.ctime, &before.ctime));
	CHECK_EQ(dv_store_unpack(f.s, NULL, &r), 0);
	/* changed, and given its size and mtime back: ctime alone tells */
	struct dv_node *n = find(&f, f.root, "a", &after);
	struct dv_setattr set = {.valid = DV_SET_MTIME, .mtime = before.mtime};
	CHECK_EQ(dv_store_write(f.s, &call, n, "!", (struct dv_range){5, 1}, 0), 1);
	dv_node_unref(f.s, n);
	look_anew(&f, &after);
	CHECK(!same_time(&after.mtime, &before.mtime) && !same_time(&after.ctime, &before.ctime));
	n = find(&f, f.root, "a", &after);
	CHECK_EQ(dv_store_setattr(f.s, &call, n, &set, &after), 0);
	dv_node_unref(f.s, n);
	look_anew(&f, &after);
	CHECK(same_time(&after.mtime, &before.mtime) && !same_time(&after.ctime, &before.ctime));
	free(text);
	teardown(&f);
}

static void test_xattrs_and_mode_survive_packing_and_the_own_ones_are_hidden(void)
{
	struct fix f;
	struct dv_stat st;
	struct dv_setattr set = {.valid = DV_SET_MODE, .mode = 0640};
	char buf[256];
	char *text = text_of(30000, 5);
	setup(&f, "path");
	put(&f, f.root, "a", text, 30000);
	struct dv_node *n = find(&f, f.root, "a", &st);
	CHECK_EQ(dv_store_setxattr(f.s, &call, n, "user.colour", "red", 3, 0), 0);
	CHECK_EQ(dv_store_setattr(f.s, &call, n, &set, &st), 0);
	CHECK_EQ(dv_store_setxattr(f.s, &call, n, "user.diskvfs", "x", 1, 0), -EPERM);
	CHECK_EQ(dv_store_setxattr(f.s, &call, n, "user.diskvfs.form", "x", 1, 0), -EPERM);
	age(&f, n);
	pack(&f, NULL);
	CHECK(getxattr(stored(&f, "a.zst"), "user.diskvfs", buf, sizeof(buf)) > 0);
	CHECK_EQ(dv_store_listxattr(f.s, &call, n, buf, sizeof(buf)), sizeof("user.colour"));
	CHECK_STR(buf, "user.colour");
	CHECK_EQ(dv_store_getxattr(f.s, &call, n, "user.diskvfs", buf, sizeof(buf)), -ENODATA);
	CHECK_EQ(dv_store_getattr(f.s, &call, n, &st), 0);
	CHECK_EQ(st.mode & 07777, 0640);
	dv_node_unref(f.s, n);
	check_xattr(&f, f.root, "a", "user.colour", "red");
	check_xattr(&f, f.root, "a", "user.diskvfs.path", "a.zst");
	free(text);
	teardown(&f);
}

/* ---- special names ---- */

static void test_a_value_and_values_beneath_its_name_live_together_under_split(void)
{
	struct fix f;
	char *text = text_of(30000, 6);
	setup(&f, "split:3");
	put(&f, f.root, "abc", text, 30000);
	pack(&f, NULL);
	check_form(&f, f.root, "abc", "packed");
	put(&f, f.root, "abcabc", text, 20000);
	check_is(&f, f.root, "abc", text, 30000);
	pack(&f, NULL);
	put(&f, f.root, "abcabcd", text, 100);
	CHECK_STR(list(&f, f.root), "abc|abcabc|abcabcd");
	check_is(&f, f.root, "abc", text, 30000);
	check_is(&f, f.root, "abcabc", text, 20000);
	close_store(&f);
	open_store(&f);
	check_is(&f, f.root, "abc", text, 30000);
	check_is(&f, f.root, "abcabc", text, 20000);
	CHECK_EQ(unlink_name(&f, f.root, "abc"), 0);
	CHECK_STR(list(&f, f.root), "abcabc|abcabcd");
	put(&f, f.root, "abc", text, 50);
	check_is(&f, f.root, "abc", text, 50);
	CHECK_EQ(unlink_name(&f, f.root, "abcabc"), 0);
	CHECK_EQ(unlink_name(&f, f.root, "abcabcd"), 0);
	check_is(&f, f.root, "abc", text, 50);
	CHECK_STR(list(&f, f.root), "abc");
	free(text);
	teardown(&f);
}

/* Whole keys in the order in which a walk with handles gives them; directories are entered where
 * they come. */
static void walk(struct fix *f, struct dv_node *dir, const char *prefix, char *text)
{
	struct names n = {0};
	struct dv_list *l = NULL;
	CHECK_EQ(dv_list_open(f->s, dir, &l), 0);
	CHECK_EQ(dv_store_list(f->s, &call, dir, l, 0, collect, &n), 0);
	dv_list_close(f->s, &l);
	for (size_t i = 0; i < n.count; i++) {
		char key[2 * DV_STORE_NAME];
		struct dv_stat st;
		struct dv_node *child = find(f, dir, n.name[i], &st);
		snprintf(key, sizeof(key), "%s%s%s", prefix, n.name[i],
			 S_ISDIR(st.mode) ? "/" : "");
		if (S_ISDIR(st.mode))
			walk(f, child, key, text);
		else
			strcat(strcat(text, key), "|");
		dv_node_unref(f->s, child);
	}
}

static void test_keys_come_in_order_where_the_transform_keeps_it(void)
{
	static const char *const transforms[] = {"flat",    "path",	 "path:.v",
						 "split:1", "split:2x2", "split:4"};
	static const char *const keys[] = {
		"a", "a!",   "a.b",	 "aa",	  "aaa",   "aaaa",	 "aab",	 "ab",
		"b", "ba%2", ".zst.zst", "x.zst", "x.zsu", "xx.zst.raw", "\xff", "z z"};
	static const size_t count = DV_ARRAY_LEN(keys);
	for (size_t t = 0; t < DV_ARRAY_LEN(transforms); t++) {
		struct fix f;
		char text[4096] = "", last[256] = "";
		char *big = text_of(9000, 3);
		setup(&f, transforms[t]);
		for (size_t i = 0; i < count; i++)
			put(&f, f.root, keys[i], big, i % 2 ? 9000 : 10);
		size_t want = count;
		if (transforms[t][0] == 'p') {
			struct dv_node *dir = NULL;
			struct dv_stat st;
			CHECK_EQ(dv_store_mkdir(f.s, &call, f.root, "d", 0755, &dir, &st), 0);
			put(&f, dir, "one", big, 10);
			dv_node_unref(f.s, dir);
			put(&f, f.root, "d!", big, 10); /* before d/one, */
			put(&f, f.root, "d0", big, 10); /* and behind it */
			want += 3;
		}
		pack(&f, NULL);
		walk(&f, f.root, "", text);
		size_t seen = 0;
		for (char *save, *key = strtok_r(text, "|", &save); key;
		     key = strtok_r(NULL, "|", &save), seen++) {
			CHECK(strcmp(last, key) < 0);
			strcpy(last, key);
		}
		CHECK_EQ(seen, want);
		free(big);
		teardown(&f);
	}
}

/* The kernel keeps what one handle has listed, and asks another one for what it has lost of it. */
static void test_a_new_handle_goes_on_at_any_position(void)
{
	static const char *const transforms[] = {"split:1", "split:2x2", "hash:md5:1x2"};
	static const char *const keys[] = {"a", "aa", "aaa", "ab", "abab", "b", "ba", "c", "d"};
	static const size_t count = DV_ARRAY_LEN(keys);
	for (size_t t = 0; t < DV_ARRAY_LEN(transforms); t++) {
		struct fix f;
		struct names all = {0};
		setup(&f, transforms[t]);
		for (size_t i = 0; i < count; i++)
			put(&f, f.root, keys[i], keys[i], strlen(keys[i]));
		for (size_t from = 0; from <= count; from++) {
			struct names rest = {0};
			struct dv_list *l = NULL;
			int64_t cookie = from ? all.cookie[from - 1] : 0;
			CHECK_EQ(dv_list_open(f.s, f.root, &l), 0);
			CHECK_EQ(dv_store_list(f.s, &call, f.root, l, cookie, collect, &rest), 0);
			dv_list_close(f.s, &l);
			CHECK_EQ(rest.count, count - from);
			for (size_t i = 0; from && i < rest.count; i++)
				CHECK_STR(rest.name[i], all.name[from + i]);
			if (from == 0)
				all = rest;
		}
		teardown(&f);
	}
}

/* Where names came and went before it, too. */
static void test_a_position_stays_behind_its_key(void)
{
	static const char *const transforms[] = {"flat", "split:1", "split:2x2", "hash:md5:1x2"};
	static const char *const keys[] = {"a", "aa", "aaa", "ab", "abab", "b", "ba", "c", "d"};
	static const size_t count = DV_ARRAY_LEN(keys);
	for (size_t t = 0; t < DV_ARRAY_LEN(transforms); t++) {
		for (size_t from = 1; from <= count; from++) {
			struct fix f;
			struct names all = {0}, rest = {0};
			struct dv_list *l = NULL;
			setup(&f, transforms[t]);
			for (size_t i = 0; i < count; i++)
				put(&f, f.root, keys[i], keys[i], strlen(keys[i]));
			CHECK_EQ(dv_list_open(f.s, f.root, &l), 0);
			CHECK_EQ(dv_store_list(f.s, &call, f.root, l, 0, collect, &all), 0);
			for (size_t i = 0; i + 1 < from; i += 2)
				CHECK_EQ(unlink_name(&f, f.root, all.name[i]), 0);
			for (char new[] = "@0"; from % 3 && new[1] < '5'; new[1]++)
				put(&f, f.root, new, "new", 3);
			CHECK_EQ(dv_store_list(f.s, &call, f.root, l, all.cookie[from - 1], collect,
					       &rest),
				 0);
			dv_list_close(f.s, &l);
			size_t at = from;
			for (size_t i = 0; i < rest.count; i++)
				if (rest.name[i][0] != '@')
					CHECK_STR(rest.name[i], at < count ? all.name[at++] : "");
			CHECK_EQ(at, count);
			teardown(&f);
		}
	}
}

static void test_foo_zst_is_a_name_like_any_other(void)
{
	struct fix f;
	struct dv_node *n = NULL, *d;
	struct dv_stat st;
	char buf[64];
	char *text = text_of(30000, 7);
	setup(&f, "path");
	put(&f, f.root, "foo", text, 30000);
	put(&f, f.root, "foo.zst", text, 20000);
	CHECK(is_there(&f, "foo.zst.raw"));
	CHECK_EQ(dv_store_mkdir(f.s, &call, f.root, "d.zst", 0755, &d, &st), 0);
	CHECK(is_there(&f, "d.zst.raw"));
	put(&f, d, "d.zst", text, 9000);
	put(&f, f.root, "d", text, 9000);
	CHECK_EQ(dv_store_symlink(f.s, &call, "foo.zst", f.root, "l.zst", &n, &st), 0);
	dv_node_unref(f.s, n);
	pack(&f, NULL);
	CHECK(is_there(&f, "foo.zst") && is_there(&f, "foo.zst.zst") &&
	      is_there(&f, "d.zst.raw/d.zst.zst"));
	for (int round = 0; round < 2; round++) {
		check_is(&f, f.root, "foo", text, 30000);
		check_is(&f, f.root, "foo.zst", text, 20000);
		check_is(&f, f.root, "d", text, 9000);
		check_is(&f, d, "d.zst", text, 9000);
		CHECK_STR(list(&f, f.root), "d|d.zst|foo|foo.zst|l.zst");
		n = find(&f, f.root, "l.zst", &st);
		CHECK_EQ(dv_store_readlink(f.s, &call, n, buf, sizeof(buf)), 7);
		dv_node_unref(f.s, n);
		dv_node_unref(f.s, d);
		close_store(&f);
		open_store(&f);
		d = find(&f, f.root, "d.zst", &st);
	}
	dv_node_unref(f.s, d);
	free(text);
	teardown(&f);
}

static void test_long_and_odd_names_are_kept(void)
{
	struct fix f;
	char *text = text_of(30000, 8);
	static const char *const odd[] = {" ",	 "\n",	     "\xff\xfe",  "a\tb",
					  "..x", ".diskvfs", ".diskvfsx", "%2e",
					  "-",	 "*",	     "a.raw",	  "\x01"};
	setup(&f, "path");
	for (size_t len = 250; len <= 255; len++) {
		char name[DV_STORE_NAME];
		memset(name, 'n', len);
		name[len] = '\0';
		put(&f, f.root, name, text, 30000);
	}
	for (size_t i = 0; i < DV_ARRAY_LEN(odd); i++)
		put(&f, f.root, odd[i], text + i, 20000);
	pack(&f, NULL);
	for (size_t len = 250; len <= 255; len++) {
		char name[DV_STORE_NAME];
		memset(name, 'n', len);
		name[len] = '\0';
		check_is(&f, f.root, name, text, 30000);
		check_form(&f, f.root, name, len <= 251 ? "packed" : "raw");
		CHECK_EQ(unlink_name(&f, f.root, name), 0);
	}
	for (size_t i = 0; i < DV_ARRAY_LEN(odd); i++) {
		check_is(&f, f.root, odd[i], text + i, 20000);
		check_form(&f, f.root, odd[i], "packed");
	}
	CHECK_STR(list(&f, f.root), "\x01|\n| |%2e|*|-|..x|.diskvfs|.diskvfsx|a\tb|a.raw|\xff\xfe");
	free(text);
	teardown(&f);
}

/* ---- links, twins ---- */

static void test_links_show_one_value_and_packed_ones_stay_packed(void)
{
	struct fix f;
	struct dv_stat st;
	struct dv_pack_result r;
	char *text = text_of(40000, 9);
	setup(&f, "path");
	put(&f, f.root, "raw", text, 30000);
	struct dv_node *n = find(&f, f.root, "raw", &st);
	CHECK_EQ(dv_store_link(f.s, &call, n, f.root, "raw2", &st), 0);
	CHECK_EQ(st.nlink, 2);
	dv_node_unref(f.s, n);
	pack(&f, &r); /* several links made while raw: it stays raw */
	CHECK_EQ(r.packed, 0);
	put(&f, f.root, "a", text, 30000);
	pack(&f, &r);
	CHECK_EQ(r.packed, 1);
	n = find(&f, f.root, "a", &st);
	CHECK_EQ(dv_store_link(f.s, &call, n, f.root, "b", &st), 0);
	check_form(&f, f.root, "b", "packed");
	CHECK_EQ(dv_store_write(f.s, &call, n, text + 30000, (struct dv_range){30000, 10000}, 0),
		 10000);
	check_is(&f, f.root, "a", text, 40000);
	check_is(&f, f.root, "b", text, 40000);
	CHECK_EQ(dv_store_fsync(f.s, &call, n, false), 0);
	check_form(&f, f.root, "b", "packed");
	dv_node_unref(f.s, n);
	close_store(&f);
	open_store(&f);
	check_is(&f, f.root, "b", text, 40000);
	struct dv_node *b = find(&f, f.root, "b", &st);
	CHECK_EQ(st.nlink, 2);
	n = find(&f, f.root, "a", &st);
	CHECK(n == b);
	CHECK_EQ(dv_store_write(f.s, &call, n, "changed", (struct dv_range){0, 7}, 0), 7);
	CHECK_EQ(unlink_name(&f, f.root, "a"), 0);
	memcpy(text, "changed", 7);
	check_is(&f, f.root, "b", text, 40000);
	dv_node_unref(f.s, n);
	dv_node_unref(f.s, b);
	free(text);
	teardown(&f);
}

static void test_twins_are_never_touched(void)
{
	struct fix f;
	struct dv_pack_result r;
	char *text = text_of(30000, 10);
	setup(&f, "path");
	put(&f, f.root, "a", text, 30000);
	pack(&f, NULL);
	write_file(&f, "a", "raw twin", 8);
	check_is(&f, f.root, "a", "raw twin", 8);
	CHECK_STR(list(&f, f.root), "a");
	pack(&f, &r);
	CHECK_EQ(r.packed, 0);
	close_store(&f);
	open_store(&f);
	check_is(&f, f.root, "a", "raw twin", 8);
	CHECK(is_there(&f, "a") && is_there(&f, "a.zst"));
	check_decodes(&f, "a.zst", text, 30000);
	free(text);
	teardown(&f);
}

/* ---- damage ---- */

static void test_a_flipped_byte_gives_an_error_or_the_right_bytes(void)
{
	struct fix f;
	char *text = text_of(9000, 11);
	static char packed[9000], buf[9100];
	setup(&f, "path");
	put(&f, f.root, "a", text, 9000);
	put(&f, f.root, "good", text, 9000);
	pack(&f, NULL);
	size_t len = read_file(&f, "a.zst", packed, sizeof(packed)), errors = 0;
	CHECK(len > 20 && len < 5000);
	for (size_t i = 0; i < len; i++) {
		struct dv_stat st;
		packed[i] ^= 0x41;
		write_file(&f, "a.zst", packed, len);
		packed[i] ^= 0x41;
		struct dv_node *n = find(&f, f.root, "a", &st);
		ssize_t got = dv_store_read(f.s, &call, n, buf, (struct dv_range){0, sizeof(buf)});
		errors += got < 0;
		CHECK(got == -EBADMSG || got == -EFBIG || got == -EOPNOTSUPP || got == -EIO ||
		      (got == 9000 && !memcmp(buf, text, 9000)));
		dv_node_unref(f.s, n);
	}
	CHECK(errors > len / 2);
	write_file(&f, "a.zst", packed, len);
	check_is(&f, f.root, "a", text, 9000);
	check_is(&f, f.root, "good", text, 9000);
	free(text);
	teardown(&f);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_each_transform_keeps_its_values_where_it_says),
		CHECK_TEST(test_flat_namespaces_refuse_what_they_can_not_keep),
		CHECK_TEST(test_the_form_follows_from_size_and_gain),
		CHECK_TEST(test_incompressible_and_sparse_values_stay_raw),
		CHECK_TEST(test_reads_at_frame_borders_are_exact),
		CHECK_TEST(test_swaps_do_not_move_the_times_shown_of_a_directory),
		CHECK_TEST(test_numbers_and_times_survive_packing_and_reopening),
		CHECK_TEST(test_times_survive_unpacking_on_purpose_and_move_with_changes_after_it),
		CHECK_TEST(test_xattrs_and_mode_survive_packing_and_the_own_ones_are_hidden),
		CHECK_TEST(test_a_value_and_values_beneath_its_name_live_together_under_split),
		CHECK_TEST(test_keys_come_in_order_where_the_transform_keeps_it),
		CHECK_TEST(test_a_new_handle_goes_on_at_any_position),
		CHECK_TEST(test_a_position_stays_behind_its_key),
		CHECK_TEST(test_foo_zst_is_a_name_like_any_other),
		CHECK_TEST(test_long_and_odd_names_are_kept),
		CHECK_TEST(test_links_show_one_value_and_packed_ones_stay_packed),
		CHECK_TEST(test_twins_are_never_touched),
		CHECK_TEST(test_a_flipped_byte_gives_an_error_or_the_right_bytes),
	};
	dv_backing_posix_prepare();
	dv_log_set_sink(no_log);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
