/* SPDX-License-Identifier: MIT */
/*
 * test_library.c - what diskvfs.h promises, through the shared library alone: values, streams,
 * refusals, errors, forms, attributes. Keys: test_library_keys.c; imports, codecs and transforms:
 * test_library_extras.c; threads and processes: test_library_many.c.
 */
#include "tests/support/lib.h"

#include <sys/resource.h>

static const char *const transforms[] = {"path", "flat", "path:.txt", "split:2x2",
					 "hash:sha256:2x2"};

static void test_what_was_written_is_read_under_every_transform(void)
{
	for (size_t i = 0; i < LEN(transforms); i++) {
		struct lib l;
		lib_begin(&l, transforms[i]);
		lib_write(&l, "alpha", "one");
		lib_write(&l, "beta", "");
		lib_write(&l, "[*] \n\xff", "odd");
		lib_write(&l, "alpha", "another");
		lib_is(&l, "alpha", "another");
		lib_is(&l, "beta", "");
		lib_is(&l, "[*] \n\xff", "odd");
		CHECK_EQ(dvfs_has(l.s, "alpha"), 1);
		lib_is_not(&l, "gamma");
		lib_reopen(&l);
		lib_is(&l, "alpha", "another");
		CHECK_EQ(dvfs_erase(l.s, "alpha"), 0);
		CHECK_EQ(dvfs_erase(l.s, "alpha"), -ENOENT);
		lib_is_not(&l, "alpha");
		lib_is(&l, "beta", "");
		lib_end(&l);
	}
}

static void test_keys_that_can_not_be_are_refused(void)
{
	static const struct {
		const char *key;
		int path, flat;
	} keys[] = {
		{NULL, -EINVAL, -EINVAL},
		{"", -EINVAL, -EINVAL},
		{"..", -EINVAL, -EINVAL},
		{".", -EINVAL, -EINVAL},
		{"a/../b", -EINVAL, -EINVAL},
		{"a//b", -EINVAL, -EINVAL},
		{"/a", -EINVAL, -EINVAL},
		{"a/", -EINVAL, -EINVAL},
		{"a/b", 0, -EINVAL},
		{".diskvfs", -EINVAL, -EINVAL},
		{".diskvfs/x", -EINVAL, -EINVAL},
		{"...", 0, 0},
	};
	char long_key[300], text[1024];
	memset(long_key, 'x', sizeof(long_key));
	long_key[256] = '\0';
	for (int flat = 0; flat < 2; flat++) {
		struct lib l;
		void *buf;
		size_t len;
		lib_begin(&l, flat ? "flat" : "path");
		for (size_t i = 0; i < LEN(keys); i++) {
			int want = flat ? keys[i].flat : keys[i].path;
			CHECK_EQ(dvfs_write(l.s, keys[i].key, "v", 1, 0), want);
			if (!want)
				continue;
			CHECK_EQ(dvfs_read(l.s, keys[i].key, &buf, &len), want);
			CHECK_EQ(dvfs_has(l.s, keys[i].key), want);
			CHECK_EQ(dvfs_erase(l.s, keys[i].key), want);
		}
		long_key[256] = '\0';
		CHECK_EQ(dvfs_write(l.s, long_key, "v", 1, 0), -ENAMETOOLONG);
		CHECK(strstr(dvfs_explain(l.s, "a//b", -EINVAL, text, sizeof(text)),
			     "a//b: is no key"));
		CHECK(strstr(dvfs_explain(l.s, long_key, -ENAMETOOLONG, text, sizeof(text)),
			     "255"));
		CHECK(strstr(dvfs_explain(l.s, "", -EINVAL, text, sizeof(text)), "'': is no key"));
		CHECK(strstr(dvfs_explain(l.s, ".diskvfs", -EINVAL, text, sizeof(text)),
			     ".diskvfs: is no key: .diskvfs is the store's own"));
		CHECK(strstr(dvfs_explain(l.s, NULL, -ENOSPC, text, sizeof(text)),
			     "no room left on its filesystem"));
		lib_end(&l);
	}
}

static void test_nothing_is_seen_before_the_commit(void)
{
	struct lib l;
	struct dvfs_writer *w;
	lib_begin(&l, "path");
	CHECK_EQ(dvfs_writer_open(l.s, "d/new", 0, &w), 0);
	CHECK_EQ(dvfs_writer_write(w, "half", 4), 0);
	lib_is_not(&l, "d/new");
	CHECK(!lib_file(&l, "d"));
	CHECK_EQ(dvfs_close(&l.s), -EBUSY);
	CHECK_EQ(dvfs_writer_write(w, " and half", 9), 0);
	CHECK_EQ(dvfs_writer_commit(&w), 0);
	CHECK(w == NULL);
	lib_is(&l, "d/new", "half and half");

	CHECK_EQ(dvfs_writer_open(l.s, "d/new", DVFS_SYNC, &w), 0);
	CHECK_EQ(dvfs_writer_write(w, "other", 5), 0);
	lib_is(&l, "d/new", "half and half");
	dvfs_writer_abort(&w);
	lib_is(&l, "d/new", "half and half");
	CHECK_EQ(dvfs_writer_open(l.s, "d/new", DVFS_SYNC, &w), 0);
	CHECK_EQ(dvfs_writer_commit(&w), 0);
	lib_is(&l, "d/new", "");
	lib_end(&l);
}

static void test_the_key_may_be_told_at_the_end(void)
{
	struct lib l;
	struct dvfs_writer *w;
	lib_begin(&l, "path");
	CHECK_EQ(dvfs_writer_open(l.s, "unknown", 0, &w), 0);
	CHECK_EQ(dvfs_writer_write(w, "bytes", 5), 0);
	CHECK_EQ(dvfs_writer_set_key(w, "a//b"), -EINVAL);
	CHECK_EQ(dvfs_writer_set_key(w, "d/known"), 0);
	CHECK_EQ(dvfs_writer_commit(&w), 0);
	lib_keys_are(&l, NULL, "d/known\n");
	lib_end(&l);
}

static void test_new_refuses_what_is_there(void)
{
	struct lib l;
	lib_begin(&l, "path");
	CHECK_EQ(dvfs_write(l.s, "a", "1", 1, DVFS_NEW), 0);
	CHECK_EQ(dvfs_write(l.s, "a", "2", 1, DVFS_NEW), -EEXIST);
	lib_is(&l, "a", "1");
	CHECK_EQ(dvfs_pack(l.s, NULL), 0);
	CHECK_EQ(dvfs_write(l.s, "a", "2", 1, DVFS_NEW), -EEXIST);
	CHECK_EQ(dvfs_write(l.s, "a", "2", 1, 64), -EINVAL);
	lib_end(&l);
}

static void test_a_value_and_a_directory_do_not_share_a_name(void)
{
	struct lib l;
	lib_begin(&l, "path");
	lib_write(&l, "a/b", "v");
	CHECK_EQ(dvfs_write(l.s, "a", "v", 1, 0), -EISDIR);
	CHECK_EQ(dvfs_write(l.s, "a/b/c", "v", 1, 0), -ENOTDIR);
	lib_is_not(&l, "a");
	lib_is_not(&l, "a/b/c");
	CHECK_EQ(dvfs_erase(l.s, "a"), -ENOENT);
	CHECK_EQ(dvfs_erase(l.s, "a/b/c"), -ENOENT);
	lib_is(&l, "a/b", "v");
	lib_end(&l);
}

static void test_both_live_together_under_split(void)
{
	struct lib l;
	lib_begin(&l, "split:3");
	lib_write(&l, "abc", "1");
	lib_write(&l, "abcabc", "2");
	lib_write(&l, "abcabcabc", "3");
	lib_is(&l, "abc", "1");
	lib_is(&l, "abcabc", "2");
	lib_write(&l, "abc", "4");
	lib_is(&l, "abc", "4");
	CHECK_EQ(dvfs_erase(l.s, "abcabcabc"), 0);
	lib_is(&l, "abcabc", "2");
	lib_end(&l);
}

static void test_empty_directories_go_with_their_last_key(void)
{
	struct lib l;
	lib_begin(&l, "path");
	lib_write(&l, "a/b/c/d", "1");
	lib_write(&l, "a/e", "2");
	CHECK_EQ(dvfs_erase(l.s, "a/b/c/d"), 0);
	CHECK(!lib_file(&l, "a/b") && lib_file(&l, "a"));
	l.o.keep_dirs = 1;
	lib_reopen(&l);
	CHECK_EQ(dvfs_erase(l.s, "a/e"), 0);
	CHECK(lib_file(&l, "a"));
	lib_end(&l);
}

static void test_a_packed_value_is_replaced_and_read(void)
{
	struct lib l;
	struct dvfs_packed p;
	struct dvfs_value v;
	char *text = lib_text(300000, 1), *other = lib_text(200000, 2);
	lib_begin(&l, "path");
	lib_write(&l, "a", text);
	CHECK_EQ(dvfs_pack(l.s, &p), 0);
	CHECK_EQ(p.packed, 1);
	CHECK_EQ(p.plain_bytes, 300000);
	CHECK_EQ(dvfs_stat(l.s, "a", &v), 0);
	CHECK(v.packed && v.size == 300000 && v.stored_bytes < 150000);
	CHECK(lib_file(&l, "a.zst") && !lib_file(&l, "a"));
	lib_is(&l, "a", text);
	lib_write(&l, "a", other);
	lib_is(&l, "a", other);
	CHECK(lib_file(&l, "a"));
	lib_reopen(&l);
	CHECK(!lib_file(&l, "a") && lib_file(&l, "a.zst")); /* closing packs */
	lib_is(&l, "a", other);
	CHECK_EQ(dvfs_pack(l.s, &p), 0);
	lib_is(&l, "a", other);
	CHECK_EQ(dvfs_write(l.s, "a", "x", 1, DVFS_SYNC), 0);
	CHECK_EQ(dvfs_erase(l.s, "a"), 0);
	lib_is_not(&l, "a");
	lib_end(&l);
	free(text);
	free(other);
}

static void check_rest(struct dvfs_reader *r, const char *text, size_t from, size_t len)
{
	char buf[5000];
	ssize_t got;
	while ((got = dvfs_reader_read(r, buf, sizeof(buf))) > 0) {
		CHECK(memcmp(buf, text + from, (size_t)got) == 0);
		from += (size_t)got;
	}
	CHECK_EQ(got, 0);
	CHECK_EQ(from, len);
}

/* Equal sizes, packed each time, and read by two stores that have the frames of the last one. */
static void test_no_cache_gives_what_was_there_before_a_write(void)
{
	struct lib l, other;
	lib_begin(&l, "path");
	other = l;
	lib_open(&other);
	for (unsigned round = 0; round < 20; round++) {
		struct dvfs *s = round % 2 ? l.s : other.s;
		char *text = lib_text(300000, round);
		CHECK_EQ(dvfs_write(s, "a", text, strlen(text), 0), 0);
		lib_is(&l, "a", text);
		lib_is(&other, "a", text);
		CHECK_EQ(dvfs_pack(s, NULL), 0);
		CHECK(lib_file(&l, "a.zst") && !lib_file(&l, "a"));
		for (int again = 0; again < 2; again++) {
			lib_is(&l, "a", text);
			lib_is(&other, "a", text);
		}
		free(text);
	}
	struct dvfs_stats st;
	dvfs_stats(l.s, &st);
	CHECK(st.cache_hits > 0); /* or nothing was shown */
	CHECK_EQ(dvfs_close(&other.s), 0);
	lib_end(&l);
}

static void test_a_reader_keeps_its_version(void)
{
	char *text = lib_text(700000, 1), buf[100];
	for (int packed = 0; packed < 2; packed++)
		for (int erased = 0; erased < 2; erased++) {
			struct lib l;
			struct dvfs_reader *r;
			lib_begin(&l, "path");
			lib_write(&l, "a", text);
			if (packed)
				CHECK_EQ(dvfs_pack(l.s, NULL), 0);
			CHECK_EQ(dvfs_reader_open(l.s, "a", 0, &r), 0);
			CHECK_EQ(dvfs_reader_read(r, buf, 100), 100);
			lib_write(&l, "a", "another");
			if (erased)
				CHECK_EQ(dvfs_erase(l.s, "a"), 0);
			CHECK_EQ(dvfs_pack(l.s, NULL), 0);
			check_rest(r, text, 100, 700000);
			CHECK_EQ(dvfs_reader_pread(r, buf, 100, 699950), 50);
			CHECK(memcmp(buf, text + 699950, 50) == 0);
			dvfs_reader_close(&r);
			CHECK(r == NULL);
			lib_end(&l);
		}
	free(text);
}

/* Another store replaces and erases it; of files that it does not hold a store keeps so many open as half
 * of the limit. */
static void test_a_reader_keeps_its_version_whatever_else_is_opened(void)
{
	char *text = lib_text(700000, 1), buf[100], key[16];
	struct rlimit before, few;
	struct dvfs_reader *r;
	struct lib l, other;
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){before.rlim_max < 128 ? before.rlim_max : 128, before.rlim_max};
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	lib_begin(&l, "path");
	other = l;
	lib_open(&other);
	lib_write(&l, "a", text);
	CHECK_EQ(dvfs_pack(l.s, NULL), 0);
	CHECK_EQ(dvfs_reader_open(l.s, "a", 0, &r), 0);
	CHECK_EQ(dvfs_reader_read(r, buf, 100), 100);
	lib_write(&other, "a", "another");
	CHECK_EQ(dvfs_erase(other.s, "a"), 0);
	for (int i = 0; i < 300; i++) {
		sprintf(key, "other%d", i);
		lib_write(&l, key, key);
		lib_is(&l, key, key);
	}
	check_rest(r, text, 100, 700000);
	dvfs_reader_close(&r);
	CHECK_EQ(dvfs_close(&other.s), 0);
	lib_end(&l);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
	free(text);
}

static void test_a_direct_reader_leaves_the_cache_alone(void)
{
	struct lib l;
	struct dvfs_reader *r;
	struct dvfs_stats before, after;
	char *text = lib_text(100000, 1), *large = lib_text(5000000, 2);
	lib_begin(&l, "path");
	lib_write(&l, "small", text);
	lib_write(&l, "large", large);
	CHECK_EQ(dvfs_pack(l.s, NULL), 0);
	for (int direct = 1; direct >= 0; direct--) {
		dvfs_stats(l.s, &before);
		CHECK_EQ(dvfs_reader_open(l.s, "small", direct ? DVFS_DIRECT : 0, &r), 0);
		check_rest(r, text, 0, 100000);
		dvfs_reader_close(&r);
		CHECK_EQ(dvfs_reader_open(l.s, "large", direct ? DVFS_DIRECT : 0, &r), 0);
		check_rest(r, large, 0, 5000000);
		dvfs_reader_close(&r);
		dvfs_stats(l.s, &after);
		CHECK(after.frames_decoded > before.frames_decoded);
		if (direct) /* layouts alone, of 16 bytes a frame */
			CHECK(after.cache_bytes < before.cache_bytes + 10000);
		else
			CHECK(after.cache_bytes > before.cache_bytes + 4000000);
	}
	lib_end(&l);
	free(text);
	free(large);
}

static void test_what_is_replaced_keeps_mode_and_attributes(void)
{
	struct lib l;
	struct dvfs_value v;
	char path[100];
	mode_t mask = umask(027);
	lib_begin(&l, "path");
	lib_write(&l, "a/b", "1");
	CHECK_EQ(dvfs_stat(l.s, "a/b", &v), 0);
	CHECK_EQ(v.mode, 0640);
	snprintf(path, sizeof(path), "%s/a/b", l.path);
	CHECK_EQ(chmod(path, 0604), 0);
	lib_write(&l, "a/b", "2");
	CHECK_EQ(dvfs_stat(l.s, "a/b", &v), 0);
	CHECK_EQ(v.mode, 0604);
	l.o.file_mode = 0600;
	l.o.dir_mode = 0700;
	lib_reopen(&l);
	lib_write(&l, "c/d", "3");
	CHECK_EQ(dvfs_stat(l.s, "c/d", &v), 0);
	CHECK_EQ(v.mode, 0600);
	struct stat st;
	snprintf(path, sizeof(path), "%s/c", l.path);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0700);
	CHECK_EQ(v.size, 1);
	CHECK_EQ(v.links, 1);
	lib_end(&l);
	umask(mask);
}

/* A file of a directory with setgid has its group, as any that is made there. */
static void test_a_new_value_takes_the_group_of_a_setgid_directory(void)
{
	struct lib l;
	struct dvfs_value v;
	char path[100];
	if (geteuid() != 0)
		return;
	lib_begin(&l, "path");
	lib_write(&l, "d/x", "1");
	snprintf(path, sizeof(path), "%s/d", l.path);
	CHECK_EQ(chown(path, 0, 4711), 0);
	CHECK_EQ(chmod(path, 02755), 0);
	lib_write(&l, "d/y", "1");
	CHECK_EQ(dvfs_stat(l.s, "d/y", &v), 0);
	CHECK_EQ(v.gid, 4711);
	lib_end(&l);
}

static void test_a_store_for_reading_takes_no_writes(void)
{
	struct lib l;
	struct dvfs_writer *w;
	lib_begin(&l, "path");
	lib_write(&l, "a", "1");
	l.o.read_only = 1;
	lib_reopen(&l);
	lib_is(&l, "a", "1");
	CHECK_EQ(dvfs_write(l.s, "a", "2", 1, 0), -EROFS);
	CHECK_EQ(dvfs_writer_open(l.s, "b", 0, &w), -EROFS);
	CHECK(w == NULL);
	CHECK_EQ(dvfs_erase(l.s, "a"), -EROFS);
	CHECK_EQ(dvfs_sync(l.s), 0);
	lib_end(&l);
}

static void test_damage_is_told(void)
{
	struct lib l;
	void *buf;
	size_t len;
	char path[100], *text = lib_text(100000, 1);
	lib_begin(&l, "path");
	lib_write(&l, "a", text);
	lib_write(&l, "b", text);
	CHECK_EQ(dvfs_pack(l.s, NULL), 0);
	snprintf(path, sizeof(path), "%s/a.zst", l.path);
	FILE *f = fopen(path, "r+");
	CHECK(f != NULL);
	CHECK_EQ(fseek(f, 2000, SEEK_SET), 0);
	fputs("damage", f);
	fclose(f);
	CHECK_EQ(dvfs_read(l.s, "a", &buf, &len), -EBADMSG);
	CHECK(buf == NULL);
	lib_is(&l, "b", text);
	lib_end(&l);
	free(text);
}

/* gzip's magic number, zlib's first byte (RFC 1952, RFC 1950), the bytes themselves. */
static void test_stores_of_diskv_are_written_as_diskv_writes_them(void)
{
	static const struct {
		const char *layout, *begins;
	} layouts[] = {{"diskv:gzip", "\x1f\x8b"}, {"diskv:zlib", "\x78"}, {"diskv", "12"}};
	char *text = lib_text(300000, 12);
	memcpy(text, "12", 2);
	for (size_t i = 0; i < LEN(layouts); i++) {
		struct lib l;
		char path[100], begins[8] = "";
		dvfs_set_log(lib_print);
		strcpy(l.path, "/tmp/dvfs-XXXXXX");
		CHECK(mkdtemp(l.path) != NULL);
		dvfs_options_init(&l.o, sizeof(l.o));
		l.o.create = 1;
		l.o.layout = layouts[i].layout;
		lib_open(&l);
		lib_write(&l, "d/a", "old");
		lib_write(&l, "d/a", text);
		lib_is(&l, "d/a", text);
		snprintf(path, sizeof(path), "%s/d/a", l.path);
		FILE *f = fopen(path, "r");
		CHECK(f != NULL);
		CHECK(fread(begins, 1, strlen(layouts[i].begins), f) > 0);
		fclose(f);
		CHECK_STR(begins, layouts[i].begins);
		lib_write(&l, "empty", "");
		snprintf(path, sizeof(path), "%s-file", l.path);
		f = fopen(path, "w");
		CHECK(f != NULL && fputs("moved", f) >= 0 && fclose(f) == 0);
		CHECK_EQ(dvfs_import(l.s, "moved", path, DVFS_MOVE), 0);
		lib_reopen(&l);
		lib_is(&l, "d/a", text);
		lib_is(&l, "empty", "");
		lib_is(&l, "moved", "moved");
		lib_keys_are(&l, NULL, "d/a\nempty\nmoved\n");
		CHECK_EQ(dvfs_erase_all(l.s, NULL), 0);
		lib_end(&l);
	}
	free(text);
}

static void test_opening_tells_what_is_wrong(void)
{
	struct lib l;
	struct dvfs *s;
	char why[256], path[100];
	struct dvfs_options o;
	lib_begin(&l, "flat");
	dvfs_options_init(&o, sizeof(o));
	CHECK_EQ(dvfs_open(NULL, &o, &s, why, sizeof(why)), -EINVAL);
	CHECK_EQ(dvfs_open("/nowhere/at/all", &o, &s, why, sizeof(why)), -ENOENT);
	CHECK(strstr(why, "/nowhere/at/all"));
	o.transform = "path";
	CHECK_EQ(dvfs_open(l.path, &o, &s, why, sizeof(why)), -EINVAL);
	CHECK(strstr(why, "flat"));
	CHECK(s == NULL);
	snprintf(path, sizeof(path), "%s/sub", l.path);
	o.create = 1;
	o.transform = "nonsense";
	CHECK_EQ(dvfs_open(path, &o, &s, why, sizeof(why)), -EINVAL);
	o.transform = NULL;
	CHECK_EQ(dvfs_open("/nowhere/at/all", &o, &s, why, sizeof(why)), -ENOENT);
	CHECK(strstr(why, "/nowhere/at/all: "));
	CHECK_EQ(dvfs_open("/proc/self", &o, &s, why, sizeof(why)), -ENOTEMPTY);
	CHECK(strstr(why, "/proc/self holds files; diskvfs init --adopt"));
	o.struct_size = 3;
	CHECK_EQ(dvfs_open(path, &o, &s, why, sizeof(why)), -EINVAL);
	CHECK_EQ(dvfs_open(l.path, NULL, &s, NULL, 0), 0);
	CHECK_EQ(dvfs_close(&s), 0);
	CHECK_EQ(dvfs_close(&s), 0);
	lib_end(&l);
}

/* A program that was built with a later header sets what this library does not know. */
static void test_options_of_a_later_version_are_refused_where_they_are_set(void)
{
	struct {
		struct dvfs_options o;
		int later;
	} grown;
	struct lib l;
	struct dvfs *s;
	char why[256];
	lib_begin(&l, "path");
	dvfs_options_init(&grown.o, sizeof(grown));
	CHECK_EQ(dvfs_open(l.path, &grown.o, &s, why, sizeof(why)), 0);
	CHECK_EQ(dvfs_close(&s), 0);
	grown.later = 1;
	CHECK_EQ(dvfs_open(l.path, &grown.o, &s, why, sizeof(why)), -EINVAL);
	lib_end(&l);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_what_was_written_is_read_under_every_transform),
		CHECK_TEST(test_keys_that_can_not_be_are_refused),
		CHECK_TEST(test_nothing_is_seen_before_the_commit),
		CHECK_TEST(test_the_key_may_be_told_at_the_end),
		CHECK_TEST(test_new_refuses_what_is_there),
		CHECK_TEST(test_a_value_and_a_directory_do_not_share_a_name),
		CHECK_TEST(test_both_live_together_under_split),
		CHECK_TEST(test_empty_directories_go_with_their_last_key),
		CHECK_TEST(test_a_packed_value_is_replaced_and_read),
		CHECK_TEST(test_no_cache_gives_what_was_there_before_a_write),
		CHECK_TEST(test_a_reader_keeps_its_version),
		CHECK_TEST(test_a_reader_keeps_its_version_whatever_else_is_opened),
		CHECK_TEST(test_a_direct_reader_leaves_the_cache_alone),
		CHECK_TEST(test_what_is_replaced_keeps_mode_and_attributes),
		CHECK_TEST(test_a_new_value_takes_the_group_of_a_setgid_directory),
		CHECK_TEST(test_a_store_for_reading_takes_no_writes),
		CHECK_TEST(test_damage_is_told),
		CHECK_TEST(test_stores_of_diskv_are_written_as_diskv_writes_them),
		CHECK_TEST(test_opening_tells_what_is_wrong),
		CHECK_TEST(test_options_of_a_later_version_are_refused_where_they_are_set),
	};
	return check_main(argc, argv, tests, LEN(tests));
}
