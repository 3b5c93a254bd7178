/* SPDX-License-Identifier: MIT */
/*
 * test_library_extras.c - imports, and what a program brings along: transforms, orders, codecs.
 */
#include "tests/support/lib.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <strings.h>
#include <sys/xattr.h>

/* ---- imports ---- */

static void make_file(char path[100], const struct lib *l, const char *name, const char *text)
{
	snprintf(path, 100, "%s-%s", l->path, name);
	FILE *f = fopen(path, "w");
	CHECK(f != NULL);
	CHECK(fputs(text, f) >= 0);
	CHECK_EQ(fclose(f), 0);
}

static void test_an_import_copies_or_moves_and_keeps_what_the_file_had(void)
{
	const struct timespec times[2] = {{.tv_sec = 1111}, {.tv_sec = 2222, .tv_nsec = 333}};
	for (int move = 0; move < 2; move++) {
		struct lib l;
		struct dvfs_value v;
		char path[100], attr[16], stored[100];
		lib_begin(&l, "path");
		make_file(path, &l, "file", "text");
		CHECK_EQ(chmod(path, 0751), 0);
		bool attrs = setxattr(path, "user.note", "yes", 3, 0) == 0;
		CHECK_EQ(utimensat(AT_FDCWD, path, times, 0), 0);
		CHECK_EQ(dvfs_import(l.s, "a/b", path, move ? DVFS_MOVE : 0), 0);
		CHECK_EQ(access(path, F_OK), move ? -1 : 0);
		lib_is(&l, "a/b", "text");
		CHECK_EQ(dvfs_stat(l.s, "a/b", &v), 0);
		CHECK_EQ(v.mode, 0751);
		CHECK_EQ(v.mtime.tv_sec, 2222);
		CHECK_EQ(v.mtime.tv_nsec, 333);
		CHECK_EQ(v.links, 1);
		snprintf(stored, sizeof(stored), "%s/a/b", l.path);
		if (attrs)
			CHECK_EQ(getxattr(stored, "user.note", attr, sizeof(attr)), 3);
		/* It has its place at once, and what it replaces is gone. */
		make_file(path, &l, "file", "another");
		CHECK_EQ(dvfs_import(l.s, "a/b", path, DVFS_NEW), -EEXIST);
		CHECK_EQ(dvfs_import(l.s, "a/b", path, DVFS_SYNC | (move ? DVFS_MOVE : 0)), 0);
		lib_is(&l, "a/b", "another");
		unlink(path);
		lib_end(&l);
	}
}

static void test_a_moved_file_is_packed_as_any_other(void)
{
	struct lib l;
	struct dvfs_value v;
	char path[100], *text = lib_text(300000, 1);
	lib_begin(&l, "path");
	make_file(path, &l, "file", text);
	CHECK_EQ(dvfs_import(l.s, "a.zst", path, DVFS_MOVE), 0);
	CHECK_EQ(dvfs_pack(l.s, NULL), 0);
	CHECK_EQ(dvfs_stat(l.s, "a.zst", &v), 0);
	CHECK_EQ(v.packed, 1);
	lib_is(&l, "a.zst", text);
	lib_end(&l);
	free(text);
}

/* In diskv a moved file lies in the store as it was, which its compression can not read. */
static void test_a_file_moved_into_a_compressed_layout_is_compressed(void)
{
	char path[100], stored[128], *text = lib_text(300000, 1);
	struct dvfs_value v;
	struct lib l;
	lib_begin(&l, "path");
	lib_end(&l);
	l.o.layout = "diskv:gzip";
	l.o.transform = "flat";
	lib_open(&l);
	make_file(path, &l, "file", text);
	CHECK_EQ(dvfs_import(l.s, "a", path, DVFS_MOVE), 0);
	CHECK_EQ(access(path, F_OK), -1);
	snprintf(stored, sizeof(stored), "%s/a", l.path);
	FILE *f = fopen(stored, "r");
	CHECK(f != NULL);
	CHECK_EQ(fgetc(f), 0x1f);
	CHECK_EQ(fgetc(f), 0x8b);
	fclose(f);
	CHECK_EQ(dvfs_stat(l.s, "a", &v), 0);
	CHECK(v.packed && v.size == 300000 && v.stored_bytes < 150000);
	lib_is(&l, "a", text);
	lib_end(&l);
	free(text);
}

/* Whoever has the other name of a file must not write to the value. */
static void test_a_file_with_other_links_is_moved_by_copying(void)
{
	struct lib l;
	char path[100], other[110];
	lib_begin(&l, "path");
	make_file(path, &l, "file", "text");
	snprintf(other, sizeof(other), "%s.link", path);
	CHECK_EQ(link(path, other), 0);
	CHECK_EQ(dvfs_import(l.s, "a", path, DVFS_MOVE), 0);
	CHECK_EQ(access(path, F_OK), -1);
	FILE *f = fopen(other, "w");
	CHECK(f != NULL);
	fputs("mischief", f);
	fclose(f);
	lib_is(&l, "a", "text");
	CHECK_EQ(unlink(other), 0);
	lib_end(&l);
}

/* Known to the library under its key, or not. */
static void test_a_value_that_is_moved_to_itself_stays(void)
{
	for (int known = 0; known < 2; known++) {
		struct lib l;
		char path[200];
		lib_begin(&l, "path");
		CHECK_EQ(dvfs_write(l.s, "a", "text", 4, 0), 0);
		lib_is(&l, "a", "text");
		if (!known)
			lib_reopen(&l);
		snprintf(path, sizeof(path), "%s/a", l.path);
		CHECK_EQ(access(path, F_OK), 0);
		CHECK_EQ(dvfs_import(l.s, "a", path, DVFS_MOVE), -EEXIST);
		CHECK_EQ(access(path, F_OK), 0);
		lib_is(&l, "a", "text");
		lib_end(&l);
	}
}

/* What no keeper can pack yet is nothing to wait for: it would take hours. */
static void test_a_long_value_is_written_without_waiting(void)
{
	const size_t piece = 1u << 20;
	struct lib l;
	struct dvfs_writer *w = NULL;
	char *text = lib_text(piece, 1);
	lib_begin(&l, "path");
	CHECK_EQ(dvfs_writer_open(l.s, "a", 0, &w), 0);
	for (int i = 0; i < 280; i++) /* more than may wait for the keeper */
		CHECK_EQ(dvfs_writer_write(w, text, piece), 0);
	dvfs_writer_abort(&w);
	lib_end(&l);
	free(text);
}

static void test_a_file_of_another_filesystem_is_moved(void)
{
	struct lib l;
	struct stat a, b;
	char path[] = "/tmp/dvfs-move-XXXXXX";
	lib_begin(&l, "path");
	int fd = mkstemp(path);
	CHECK(fd >= 0);
	CHECK_EQ(write(fd, "text", 4), 4);
	close(fd);
	CHECK_EQ(stat(path, &a), 0);
	CHECK_EQ(stat(l.path, &b), 0);
	if (a.st_dev == b.st_dev)
		printf("the same filesystem\n");
	CHECK_EQ(dvfs_import(l.s, "a", path, DVFS_MOVE), 0);
	CHECK_EQ(access(path, F_OK), -1);
	lib_is(&l, "a", "text");
	lib_end(&l);
}

static void test_holes_stay_holes(void)
{
	struct lib l;
	struct dvfs_value v;
	char path[100], byte;
	struct dvfs_reader *r;
	lib_begin(&l, "path");
	make_file(path, &l, "file", "text");
	int fd = open(path, O_WRONLY);
	CHECK(fd >= 0);
	CHECK_EQ(pwrite(fd, "x", 1, 40 << 20), 1);
	CHECK_EQ(ftruncate(fd, 90 << 20), 0);
	close(fd);
	CHECK_EQ(dvfs_import(l.s, "a", path, 0), 0);
	CHECK_EQ(dvfs_stat(l.s, "a", &v), 0);
	CHECK_EQ(v.size, 90 << 20);
	CHECK(v.stored_bytes < 1 << 20);
	CHECK_EQ(dvfs_reader_open(l.s, "a", 0, &r), 0);
	CHECK_EQ(dvfs_reader_pread(r, &byte, 1, 40 << 20), 1);
	CHECK_EQ(byte, 'x');
	CHECK_EQ(dvfs_reader_pread(r, &byte, 1, (90 << 20) - 1), 1);
	CHECK_EQ(byte, 0);
	dvfs_reader_close(&r);
	unlink(path);
	lib_end(&l);
}

static void test_imports_refuse_what_is_no_file(void)
{
	struct lib l;
	char path[100], link_path[110];
	lib_begin(&l, "path");
	make_file(path, &l, "file", "text");
	snprintf(link_path, sizeof(link_path), "%s.link", path);
	CHECK_EQ(symlink(path, link_path), 0);
	CHECK_EQ(dvfs_import(l.s, "a", "/tmp", 0), -EISDIR);
	CHECK_EQ(dvfs_import(l.s, "a", "/tmp", DVFS_MOVE), -EISDIR);
	CHECK_EQ(dvfs_import(l.s, "a", "/dev/null", 0), -EINVAL);
	CHECK_EQ(dvfs_import(l.s, "a", link_path, DVFS_MOVE), -EINVAL);
	CHECK_EQ(dvfs_import(l.s, "a", "/nowhere/at/all", 0), -ENOENT);
	CHECK_EQ(dvfs_import(l.s, "a", NULL, 0), -EINVAL);
	CHECK_EQ(dvfs_import(l.s, "", path, 0), -EINVAL);
	CHECK_EQ(access(link_path, F_OK), 0);
	lib_is_not(&l, "a");
	unlink(link_path);
	unlink(path);
	lib_end(&l);
}

/* ---- a transform: the key's length in front, as a directory ---- */

static int by_length_path(void *self, const char *key, char *path, size_t size)
{
	(void)self;
	if (strchr(key, '/'))
		return -EINVAL;
	int len = snprintf(path, size, "%zu/%s.val", strlen(key), key);
	return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : 0;
}

static int by_length_key(void *self, const char *path, char *key, size_t size)
{
	(void)self;
	const char *slash = strchr(path, '/');
	size_t len = slash ? strlen(slash + 1) : 0;
	if (len < 5 || strcmp(slash + 1 + len - 4, ".val") != 0 || len - 4 >= size)
		return -ENOENT;
	memcpy(key, slash + 1, len - 4);
	key[len - 4] = '\0';
	return strtoul(path, NULL, 10) == len - 4 ? 0 : -ENOENT;
}

static int backwards(void *self, const char *a, const char *b)
{
	(void)self;
	return strcmp(b, a);
}

static const char *const samples[] = {"one", "two", "three", NULL};

static void test_a_transform_of_ones_own_places_and_names_keys(void)
{
	struct dvfs_transform t = {.struct_size = sizeof(t),
				   .to_path = by_length_path,
				   .to_key = by_length_key,
				   .samples = samples};
	struct lib l;
	char path[100];
	lib_begin(&l, "path");
	l.o.custom_transform = &t;
	lib_reopen(&l);
	CHECK_EQ(dvfs_keys_in_order(l.s), 0);
	lib_write(&l, "b", "1");
	lib_write(&l, "aaa", "2");
	lib_write(&l, "c", "3");
	CHECK(lib_file(&l, "1/b.val") && lib_file(&l, "3/aaa.val"));
	snprintf(path, sizeof(path), "%s/1/foreign", l.path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	lib_is(&l, "aaa", "2");
	CHECK_EQ(dvfs_write(l.s, "a/b", "", 0, 0), -EINVAL);
	lib_keys_are(&l, &(struct dvfs_range){.sorted = 1}, "aaa\nb\nc\n");
	lib_keys_are(&l, &(struct dvfs_range){.after = "aaa", .limit = 1}, "b\n");
	lib_keys_are(&l, &(struct dvfs_range){.prefix = "a"}, "aaa\n");
	t.compare = backwards;
	lib_reopen(&l);
	lib_keys_are(&l, &(struct dvfs_range){.sorted = 1}, "c\nb\naaa\n");
	lib_keys_are(&l, &(struct dvfs_range){.after = "c"}, "b\naaa\n");
	CHECK_EQ(dvfs_erase(l.s, "aaa"), 0);
	CHECK(!lib_file(&l, "3"));
	CHECK_EQ(dvfs_erase_all(l.s, NULL), 0);
	CHECK(lib_file(&l, "1/foreign"));
	lib_end(&l);
}

static void test_an_order_of_ones_own_goes_with_any_transform(void)
{
	struct dvfs_transform t = {.struct_size = sizeof(t), .compare = backwards};
	struct lib l;
	char key[32];
	lib_begin(&l, "split:2");
	l.o.custom_transform = &t;
	lib_reopen(&l);
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof(key), "key%03d", i);
		lib_write(&l, key, "");
	}
	lib_keys_are(&l, &(struct dvfs_range){.sorted = 1, .limit = 3}, "key299\nkey298\nkey297\n");
	lib_keys_are(&l, &(struct dvfs_range){.after = "key002"}, "key001\nkey000\n");
	lib_end(&l);
}

static int without_case(void *self, const char *a, const char *b)
{
	(void)self;
	return strcasecmp(a, b);
}

static void test_of_keys_that_an_order_calls_equal_none_is_left_out(void)
{
	struct dvfs_transform t = {.struct_size = sizeof(t), .compare = without_case};
	struct lib l;
	lib_begin(&l, "path");
	l.o.custom_transform = &t;
	lib_reopen(&l);
	static const char *const keys[] = {"b", "A", "aB", "a", "AB", "B", "Ab", "ab"};
	for (size_t i = 0; i < LEN(keys); i++)
		lib_write(&l, keys[i], "");
	lib_keys_are(&l, &(struct dvfs_range){.sorted = 1}, "A\na\nAB\nAb\naB\nab\nB\nb\n");
	char *all = lib_list(&l, &(struct dvfs_range){.sorted = 1});
	for (char *key = all, *end; (end = strchr(key, '\n')); key = end + 1) {
		*end = '\0';
		lib_keys_are(&l, &(struct dvfs_range){.after = key}, end + 1);
		*end = '\n';
	}
	free(all);
	lib_end(&l);
}

static int one_path(void *self, const char *key, char *path, size_t size)
{
	(void)self, (void)key;
	snprintf(path, size, "same");
	return 0;
}

static int one_key(void *self, const char *path, char *key, size_t size)
{
	(void)self, (void)path;
	snprintf(key, size, "one");
	return 0;
}

static int beneath_path(void *self, const char *key, char *path, size_t size)
{
	(void)self;
	snprintf(path, size, "%.1s%s%s", key, key[1] ? "/" : "", key + 1);
	return 0;
}

static int beneath_key(void *self, const char *path, char *key, size_t size)
{
	(void)self;
	snprintf(key, size, "%.1s%s", path, path[1] ? path + 2 : "");
	return 0;
}

static int dotted_path(void *self, const char *key, char *path, size_t size)
{
	(void)self;
	snprintf(path, size, "../%s", key);
	return 0;
}

static int no_order(void *self, const char *a, const char *b)
{
	(void)self, (void)a, (void)b;
	return 1;
}

static void test_laws_are_checked_at_opening(void)
{
	static const struct {
		struct dvfs_transform t;
		const char *why;
	} broken[] = {
		{{.to_path = one_path, .to_key = one_key},
		 "to_key does not give back the key: two"},
		{{.to_path = beneath_path, .to_key = beneath_key}, "beneath"},
		{{.to_path = dotted_path, .to_key = one_key}, "no path that can be"},
		{{.compare = no_order}, "no order"},
		{{.to_path = by_length_path}, "to_key is missing"},
	};
	struct lib l;
	struct dvfs *s;
	char why[256];
	lib_begin(&l, "path");
	for (size_t i = 0; i < LEN(broken); i++) {
		struct dvfs_transform t = broken[i].t;
		struct dvfs_options o = l.o;
		t.struct_size = sizeof(t);
		t.samples = samples;
		o.custom_transform = &t;
		CHECK_EQ(dvfs_open(l.path, &o, &s, why, sizeof(why)), -EINVAL);
		if (!strstr(why, broken[i].why))
			fprintf(stderr, "%s\n", why);
		CHECK(strstr(why, broken[i].why));
	}
	lib_end(&l);
	struct dvfs_transform t = {
		.struct_size = sizeof(t), .to_path = by_length_path, .to_key = by_length_key};
	lib_begin(&l, "flat");
	struct dvfs_options o = l.o;
	o.custom_transform = &t;
	CHECK_EQ(dvfs_open(l.path, &o, &s, why, sizeof(why)), -EINVAL);
	CHECK(strstr(why, "path"));
	lib_end(&l);
}

/* ---- a codec: hexadecimal digits, two bytes for one, and a line at the end ---- */

struct hex {
	int decode;
	int half; /* a digit that waits for the other one, or -1 */
	bool ended;
};

static unsigned hex_open;
static const char *written_late; /* a file that gets more at the end of an encoding */

static void *hex_begin(void *self, int decode)
{
	struct hex *h = calloc(1, sizeof(*h));
	CHECK(self == &hex_open);
	CHECK(h != NULL);
	h->decode = decode;
	h->half = -1;
	__atomic_add_fetch(&hex_open, 1, __ATOMIC_RELAXED);
	return h;
}

static int hex_run(void *stream, const void *buf, size_t len, int end, dvfs_sink *sink, void *ctx)
{
	struct hex *h = stream;
	const unsigned char *in = buf;
	static const char digits[] = "0123456789abcdef";
	CHECK(len <= 16384);
	for (size_t i = 0; i < len; i++) {
		char out[2] = {digits[in[i] >> 4], digits[in[i] & 15]};
		int err = 0;
		if (!h->decode) {
			err = sink(ctx, out, 2);
		} else if (in[i] == '\n') {
			h->ended = true;
		} else if (!isxdigit(in[i]) || h->ended) {
			err = -EBADMSG;
		} else {
			int digit = isdigit(in[i]) ? in[i] - '0' : in[i] - 'a' + 10;
			char byte = h->half < 0 ? 0 : (char)(h->half << 4 | digit);
			if (h->half >= 0)
				err = sink(ctx, &byte, 1);
			h->half = h->half >= 0 ? -1 : digit;
		}
		if (err)
			return err;
	}
	if (end && !h->decode && written_late) {
		FILE *f = fopen(written_late, "a");
		CHECK(f != NULL && fputs("late", f) >= 0 && fclose(f) == 0);
	}
	if (end && h->decode)
		return h->ended && h->half < 0 ? 0 : -EBADMSG;
	return end ? sink(ctx, "\n", 1) : 0;
}

static void hex_end(void *stream)
{
	__atomic_sub_fetch(&hex_open, 1, __ATOMIC_RELAXED);
	free(stream);
}

static void test_a_codec_of_ones_own_writes_and_reads_plain_files(void)
{
	const struct dvfs_codec codec = {.struct_size = sizeof(codec),
					 .self = &hex_open,
					 .begin = hex_begin,
					 .run = hex_run,
					 .end = hex_end};
	struct lib l;
	struct dvfs_reader *r;
	struct dvfs_value v;
	void *buf;
	size_t len;
	char path[100], part[7], stored[16] = "", *text = lib_text(100000, 1);
	lib_begin(&l, "flat");
	l.o.codec = &codec;
	l.o.compress = "none";
	lib_reopen(&l);
	lib_write(&l, "a", "xyz");
	snprintf(path, sizeof(path), "%s/a", l.path);
	FILE *f = fopen(path, "r");
	CHECK(f != NULL && fgets(stored, sizeof(stored), f) != NULL);
	fclose(f);
	CHECK_STR(stored, "78797a\n");
	lib_is(&l, "a", "xyz");
	CHECK_EQ(dvfs_stat(l.s, "a", &v), 0);
	CHECK_EQ(v.size, 7);
	lib_write(&l, "empty", "");
	lib_is(&l, "empty", "");
	lib_write(&l, "large", text);
	lib_is(&l, "large", text);
	CHECK_EQ(dvfs_reader_open(l.s, "large", 0, &r), 0);
	CHECK_EQ(dvfs_reader_pread(r, part, 7, 0), -EOPNOTSUPP);
	size_t at = 0;
	for (ssize_t got; (got = dvfs_reader_read(r, part, 7)) > 0; at += (size_t)got)
		CHECK(memcmp(part, text + at, (size_t)got) == 0);
	CHECK_EQ(at, 100000);
	dvfs_reader_close(&r);
	make_file(path, &l, "import", "abc");
	CHECK_EQ(dvfs_import(l.s, "moved", path, DVFS_MOVE), 0);
	lib_is(&l, "moved", "abc");
	/* What was written to the source while it was copied is nowhere else. */
	make_file(path, &l, "import", "abc");
	written_late = path;
	CHECK_EQ(dvfs_import(l.s, "late", path, DVFS_MOVE), -ESTALE);
	written_late = NULL;
	CHECK_EQ(access(path, F_OK), 0);
	CHECK_EQ(dvfs_import(l.s, "late", path, DVFS_MOVE), 0);
	lib_is(&l, "late", "abclate");
	snprintf(path, sizeof(path), "%s/a", l.path);
	CHECK_EQ(truncate(path, 5), 0);
	CHECK_EQ(dvfs_read(l.s, "a", &buf, &len), -EBADMSG);
	CHECK_EQ(hex_open, 0);
	lib_end(&l);
	free(text);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_an_import_copies_or_moves_and_keeps_what_the_file_had),
		CHECK_TEST(test_a_moved_file_is_packed_as_any_other),
		CHECK_TEST(test_a_file_moved_into_a_compressed_layout_is_compressed),
		CHECK_TEST(test_a_file_with_other_links_is_moved_by_copying),
		CHECK_TEST(test_a_value_that_is_moved_to_itself_stays),
		CHECK_TEST(test_a_long_value_is_written_without_waiting),
		CHECK_TEST(test_a_file_of_another_filesystem_is_moved),
		CHECK_TEST(test_holes_stay_holes),
		CHECK_TEST(test_imports_refuse_what_is_no_file),
		CHECK_TEST(test_a_transform_of_ones_own_places_and_names_keys),
		CHECK_TEST(test_an_order_of_ones_own_goes_with_any_transform),
		CHECK_TEST(test_of_keys_that_an_order_calls_equal_none_is_left_out),
		CHECK_TEST(test_laws_are_checked_at_opening),
		CHECK_TEST(test_a_codec_of_ones_own_writes_and_reads_plain_files),
	};
	return check_main(argc, argv, tests, LEN(tests));
}
