/* SPDX-License-Identifier: MIT */
/*
 * test_key.c - the two laws of the names: inverse(transform(k)) = k, and no two keys share a file.
 *
 * Besides examples, every transform is given all short strings over the tokens that the spelling is
 * made of, and long odd ones from a seeded generator. Everything that is stored for them (values,
 * directories, shard directories) is put in one list, sorted by path, and neighbours are compared.
 */
#include "core/key.h"

#include "core/cleanup.h"
#include "tests/support/check.h"

#include <stdint.h>

static const char *const specs[] = {
	"path",		"path:.txt",	"path:vfs",	 "path:.x.raw",	    "path:.",
	"path:%2e",	"path:e",	"flat",		 "split:1",	    "split:2",
	"split:3",	"split:4",	"split:5",	 "split:6",	    "split:8",
	"split:9",	"split:12",	"split:1x1",	 "split:2x2",	    "split:4x2",
	"split:5x2",	"split:7x1",	"split:60x3",	 "split:126",	    "split:255x64",
	"hash:md5:1x1", "hash:md5:2x2", "hash:sha1:2x3", "hash:sha256:1x2",
};

static struct dv_transform *make(const char *spec)
{
	char why[256] = "";
	struct dv_transform *t = NULL;
	if (dv_transform_new(spec, &t, why, sizeof(why)) != 0) {
		fprintf(stderr, "%s: %s\n", spec, why);
		exit(1);
	}
	return t;
}

/* ---- odd names ---- */

static const char *const tokens[] = {".", "%", "25", "2e", "a", ".zst", ".raw", "diskvfs"};
#define TOKENS		 DV_ARRAY_LEN(tokens)
#define TOKENS_OF_A_NAME 4u

static uint64_t seed;

/* splitmix64 (Steele, Lea, Flood, 2014) */
static uint64_t next_random(void)
{
	uint64_t z = (seed += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static size_t pick(size_t below)
{
	return (size_t)(next_random() % below);
}

/* 1 to 255 bytes, no slash, no NUL */
static void random_name(const char *suffix, char out[DV_NAME_MAX + 1])
{
	static const char *const parts[] = {".",    "%",    "2",	"e",	   "5",	 "r",
					    "a",    "w",    "z",	"s",	   "t",	 ".zst",
					    ".raw", "%2e",  ".diskvfs", "%252e",   "..", "abcde",
					    "%25",  "x.tx", "vfs",	"diskvfs", "\n", "\xff"};
	const size_t want = pick(8) ? 1 + pick(24) : 1 + pick(DV_NAME_MAX);
	size_t len = 0;
	while (len < want) {
		char odd[2] = {(char)(1 + pick(255)), '\0'};
		size_t which = pick(DV_ARRAY_LEN(parts) + 2);
		const char *part = which < DV_ARRAY_LEN(parts)	  ? parts[which]
				   : which == DV_ARRAY_LEN(parts) ? suffix
								  : odd;
		size_t part_len = strlen(part);
		if (part[0] == '/' || part_len > DV_NAME_MAX - len)
			continue;
		memcpy(out + len, part, part_len);
		len += part_len;
	}
	out[len] = '\0';
	/* A good part differs from an earlier shape in its end only. */
	if (pick(4) == 0 && len <= DV_NAME_MAX - 4)
		memcpy(out + len, pick(2) ? ".raw" : ".zst", 5);
}

/* The index-th string of up to TOKENS_OF_A_NAME tokens; false: there are no more. */
static bool token_name(size_t index, char out[DV_NAME_MAX + 1])
{
	size_t count = TOKENS;
	unsigned len = 1;
	while (index >= count) {
		index -= count;
		count *= TOKENS;
		if (++len > TOKENS_OF_A_NAME)
			return false;
	}
	out[0] = '\0';
	for (unsigned i = 0; i < len; i++) {
		strcat(out, tokens[index % TOKENS]);
		index /= TOKENS;
	}
	return true;
}

/* ---- the list of what is stored ---- */

enum what { WHAT_RAW, WHAT_PACKED, WHAT_OTHER, WHAT_ASIDE, WHAT_SHARD };

struct stored {
	char *path;
	char *name; /* of a shard directory: its path */
	enum what what;
	bool has_aside;
};

static struct stored *list;
static size_t list_len, list_room;

static void add(const char *shard, const char *stored, const char *name, enum what what,
		bool has_aside)
{
	if (!stored[0])
		return;
	if (list_len == list_room) {
		list_room = list_room ? 2 * list_room : 1024;
		list = realloc(list, list_room * sizeof(*list));
		CHECK(list);
	}
	struct stored *s = &list[list_len++];
	*s = (struct stored){.what = what, .has_aside = has_aside};
	CHECK(asprintf(&s->path, "%s%s%s", shard, shard[0] ? "/" : "", stored) >= 0);
	s->name = strdup(what == WHAT_SHARD ? s->path : name);
	CHECK(s->name);
}

static void clear_list(void)
{
	for (size_t i = 0; i < list_len; i++) {
		free(list[i].path);
		free(list[i].name);
	}
	list_len = 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct stored *)a)->path, ((const struct stored *)b)->path);
}

static _Noreturn void fail(const struct dv_transform *t, const struct stored *a,
			   const struct stored *b)
{
	fprintf(stderr, "%s: \"%s\" is form %d of \"%s\" and form %d of \"%s\"\n",
		dv_transform_spec(t), a->path, a->what, a->name, b->what, b->name);
	exit(1);
}

/* May both exist, or is one of them in the place of the other by contract? */
static bool may_share(const struct stored *a, const struct stored *b)
{
	if (a->what > b->what)
		return may_share(b, a);
	if (b->what == WHAT_SHARD)
		return a->what == WHAT_SHARD || (a->what == WHAT_RAW && a->has_aside);
	/* The same key, as another type of file; or the same name generated twice. */
	return strcmp(a->name, b->name) == 0 &&
	       (a->what == b->what || (a->what == WHAT_RAW && b->what == WHAT_OTHER));
}

static void check_list(const struct dv_transform *t)
{
	qsort(list, list_len, sizeof(*list), compare);
	for (size_t i = 0; i < list_len; i++)
		for (size_t j = i + 1; j < list_len && compare(&list[i], &list[j]) == 0; j++)
			if (!may_share(&list[i], &list[j]))
				fail(t, &list[i], &list[j]);
	clear_list();
}

/* ---- the laws ---- */

static void check_inverse(const struct dv_transform *t, const char *stored, bool regular,
			  const char *shard, const char *name, enum dv_form form)
{
	char back[DV_NAME_MAX + 1] = "";
	enum dv_form back_form = DV_FORM_OTHER;
	if (!stored[0])
		return;
	CHECK(strlen(stored) <= DV_NAME_MAX && strncmp(stored, ".diskvfs", 8) != 0);
	CHECK(strcmp(stored, ".") != 0 && strcmp(stored, "..") != 0 && !strchr(stored, '/'));
	if (dv_names_parse(t, stored, regular, shard, back, &back_form) != 0 || back_form != form ||
	    strcmp(back, name) != 0) {
		fprintf(stderr,
			"%s: \"%s\" in \"%s\" is form %d of \"%s\", not form %d of \"%s\"\n",
			dv_transform_spec(t), stored, shard, back_form, back, form, name);
		exit(1);
	}
}

static void add_shards(const struct dv_transform *t, const char *shard)
{
	char path[DV_SHARD_MAX];
	unsigned level = 0;
	snprintf(path, sizeof(path), "%s", shard);
	for (char *dir = path; *dir; level++) {
		char *end = strchrnul(dir, '/');
		bool last = !*end;
		*end = '\0';
		CHECK(dv_transform_is_shard(t, level, dir));
		add("", path, "", WHAT_SHARD, false);
		*end = last ? '\0' : '/';
		dir = last ? end : end + 1;
	}
	CHECK(level <= dv_transform_shard_depth(t));
}

static void add_key(const struct dv_transform *t, const char *name)
{
	struct dv_names n;
	char shard[DV_SHARD_MAX];
	dv_err err = dv_names_of(t, name, &n);
	if (err || dv_transform_shard(t, name, shard)) {
		CHECK(strlen(name) >= 240);
		return;
	}
	CHECK(dv_transform_has_dirs(t) || !n.other[0]);
	CHECK(n.raw[0] || !n.packed[0]);
	check_inverse(t, n.raw, true, shard, name, DV_FORM_RAW);
	check_inverse(t, n.packed, true, shard, name, DV_FORM_PACKED);
	check_inverse(t, n.aside, true, shard, name, DV_FORM_RAW);
	check_inverse(t, n.other, false, shard, name, DV_FORM_OTHER);
	add(shard, n.raw, name, WHAT_RAW, n.aside[0]);
	add(shard, n.packed, name, WHAT_PACKED, false);
	add(shard, n.other, name, WHAT_OTHER, false);
	add(shard, n.aside, name, WHAT_ASIDE, false);
	add_shards(t, shard);
}

static void test_laws_hold_for_all_short_names_of_odd_tokens(void)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(specs); i++) {
		struct dv_transform *t = make(specs[i]);
		char name[DV_NAME_MAX + 1];
		for (size_t n = 0; token_name(n, name); n++)
			add_key(t, name);
		check_list(t);
		dv_transform_free(&t);
	}
}

static void test_laws_hold_for_random_names(void)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(specs); i++) {
		struct dv_transform *t = make(specs[i]);
		char name[DV_NAME_MAX + 1];
		seed = 1 + i;
		for (unsigned n = 0; n < 1500; n++) {
			random_name(dv_transform_suffix(t), name);
			add_key(t, name);
			/* Neighbours, and what a stored name of this one could be taken for. */
			struct dv_names names;
			char near[2 * DV_NAME_MAX + 1];
			int near_len =
				snprintf(near, sizeof(near), "%s%s", name, dv_transform_suffix(t));
			if (near_len <= DV_NAME_MAX)
				add_key(t, near);
			for (size_t cut = 1; cut <= 4 && cut < strlen(name); cut++) {
				snprintf(near, strlen(name) - cut + 1, "%s", name);
				add_key(t, near);
			}
			if (dv_names_of(t, name, &names) == 0) {
				if (names.raw[0])
					add_key(t, names.raw);
				if (names.packed[0])
					add_key(t, names.packed);
				if (names.aside[0])
					add_key(t, names.aside);
				if (names.other[0])
					add_key(t, names.other);
			}
		}
		check_list(t);
		dv_transform_free(&t);
	}
}

/* What parse accepts is what names_of gives: a key has no further names. */
static void check_no_alias(const struct dv_transform *t, const char *stored, const char *shard)
{
	char name[DV_NAME_MAX + 1];
	enum dv_form form;
	struct dv_names n;
	if (dv_names_parse(t, stored, true, shard, name, &form) == 0) {
		char home[DV_SHARD_MAX];
		CHECK_EQ(dv_names_of(t, name, &n), 0);
		CHECK_EQ(dv_transform_shard(t, name, home), 0);
		CHECK_STR(home, shard);
		CHECK(form != DV_FORM_OTHER);
		if (form == DV_FORM_PACKED || strcmp(n.aside, stored) != 0)
			CHECK_STR(form == DV_FORM_PACKED ? n.packed : n.raw, stored);
	}
	if (dv_names_parse(t, stored, false, shard, name, &form) == 0) {
		CHECK(dv_transform_has_dirs(t) && form == DV_FORM_OTHER);
		CHECK_EQ(dv_names_of(t, name, &n), 0);
		if (strcmp(n.other, stored) != 0) {
			CHECK_STR(name, stored);
			CHECK(strncmp(n.other, name, strlen(name)) == 0);
			CHECK_STR(n.other + strlen(name), ".raw");
		}
	}
}

static void test_a_stored_name_that_parses_is_one_of_its_key(void)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(specs); i++) {
		struct dv_transform *t = make(specs[i]);
		char stored[DV_NAME_MAX + 1], shard[DV_SHARD_MAX];
		seed = 1000 + i;
		for (unsigned n = 0; n < 4000; n++) {
			random_name(dv_transform_suffix(t), stored);
			check_no_alias(t, stored, "");
			if (dv_transform_shard(t, stored, shard) == 0)
				check_no_alias(t, stored, shard);
		}
		for (size_t n = 0; token_name(n, stored); n++)
			check_no_alias(t, stored, "");
		dv_transform_free(&t);
	}
}

/* ---- examples ---- */

static void check_names(const char *spec, const char *name, const char *raw, const char *packed,
			const char *other, const char *aside)
{
	struct dv_transform *t = make(spec);
	struct dv_names n;
	CHECK_EQ(dv_names_of(t, name, &n), 0);
	CHECK_STR(n.raw, raw);
	CHECK_STR(n.packed, packed);
	CHECK_STR(n.other, other);
	CHECK_STR(n.aside, aside);
	dv_transform_free(&t);
}

static void test_names_are_those_of_the_manual(void)
{
	check_names("path", "k", "k", "k.zst", "k", "");
	check_names("path", "k.zst", "k.zst.raw", "k.zst.zst", "k.zst.raw", "");
	check_names("path", "k.raw", "k.raw", "k.raw.zst", "k.raw", "");
	check_names("path", ".zst.raw", ".zst.raw.raw", ".zst.raw.zst", ".zst.raw.raw", "");
	check_names("path", ".diskvfs", "%2ediskvfs", "%2ediskvfs.zst", "%2ediskvfs", "");
	check_names("path:.txt", "x", "x.txt", "x.txt.zst", "x", "");
	check_names("path:.txt", "x.txt", "x.txt.txt", "x.txt.txt.zst", "x.txt.raw", "");
	check_names("path:vfs", ".disk", "%2ediskvfs", "%2ediskvfs.zst", ".disk", "");
	check_names("flat", "k", "k", "k.zst", "", "");
	check_names("split:3", "abc", "abc", "abc.zst", "", "abc.raw");
	check_names("split:3", "abcd", "abcd", "abcd.zst", "", "");
	check_names("split:3x1", "abc", "abc", "abc.zst", "", "");
	check_names("split:5", "abcde", "abcde", "abcde.zst", "", "abcde.raw.raw");
	check_names("hash:md5:1x2", "a", "a", "a.zst", "", "");
}

static void test_a_value_aside_is_not_the_key_that_it_looks_like(void)
{
	struct dv_transform *t = make("split:5");
	char name[DV_NAME_MAX + 1];
	enum dv_form form;
	CHECK_EQ(dv_names_parse(t, "abcde.raw", true, "abcde", name, &form), 0);
	CHECK_STR(name, "abcde.raw");
	CHECK_EQ(dv_names_parse(t, "abcde.raw.raw", true, "abcde", name, &form), 0);
	CHECK_STR(name, "abcde");
	CHECK_EQ(form, DV_FORM_RAW);
	CHECK_EQ(dv_names_parse(t, "abcde.raw.raw", true, "abcde/.raw.", name, &form), 0);
	CHECK_STR(name, "abcde.raw.raw");
	dv_transform_free(&t);
}

static void test_foreign_entries_are_not_listed(void)
{
	static const struct {
		const char *spec, *stored, *shard;
		bool regular;
	} foreign[] = {
		{"path", ".diskvfs", "", false},
		{"path", ".diskvfs.zst", "", true},
		{"path", ".zst", "", true},
		{"path", "..zst", "", true},
		{"path", "%2ediskvfs.zst", "", false},
		{"path", "...zst", "", true},
		{"path", ".", "", false},
		{"path:.txt", "x", "", true},
		{"path:.txt", ".txt", "", true},
		{"path:.txt", ".txt.zst", "", true},
		{"path:.txt", "x.zst", "", true},
		{"flat", "d", "", false},
		{"flat", ".diskvfs", "", false},
		{"split:3", "abc", "", true},
		{"split:3", "ab", "abc", true},
		{"split:3", "abc", "", false},
		{"split:3", "abc.raw", "", true},
		{"split:3", "abcd.raw", "abc", true},
		{"split:3x1", "abc.raw", "", true},
		{"hash:md5:1x1", "a", "", true},
	};
	for (size_t i = 0; i < DV_ARRAY_LEN(foreign); i++) {
		struct dv_transform *t = make(foreign[i].spec);
		char name[DV_NAME_MAX + 1];
		enum dv_form form;
		if (dv_names_parse(t, foreign[i].stored, foreign[i].regular, foreign[i].shard, name,
				   &form) != -ENOENT) {
			fprintf(stderr, "%s: \"%s\" is listed as \"%s\"\n", foreign[i].spec,
				foreign[i].stored, name);
			exit(1);
		}
		dv_transform_free(&t);
	}
}

static void test_directories_of_other_programs_are_served_as_they_are(void)
{
	static const char *const rows[][3] = {
		{"path", "d.zst", "d.zst"},
		{"path", "d.zst.raw", "d.zst"},
		{"path:.txt", "x.txt", "x.txt"},
		{"path:.txt", "x.txt.raw", "x.txt"},
		{"path:.txt", "x.txt.zst", "x.txt.zst"},
	};
	for (size_t i = 0; i < DV_ARRAY_LEN(rows); i++) {
		struct dv_transform *t = make(rows[i][0]);
		char name[DV_NAME_MAX + 1];
		enum dv_form form;
		CHECK_EQ(dv_names_parse(t, rows[i][1], false, "", name, &form), 0);
		CHECK_STR(name, rows[i][2]);
		CHECK_EQ(form, DV_FORM_OTHER);
		dv_transform_free(&t);
	}
}

static void test_long_names_lose_their_packed_name_first(void)
{
	char name[DV_NAME_MAX + 2];
	struct dv_names n;
	struct dv_transform *t = make("path"), *txt = make("path:.txt");
	memset(name, 'n', sizeof(name));
	for (size_t len = 251; len <= 256; len++) {
		name[len] = '\0';
		CHECK_EQ(dv_names_of(t, name, &n), len > 255 ? -ENAMETOOLONG : 0);
		CHECK_EQ(strlen(n.raw), len > 255 ? 0 : len);
		CHECK_EQ(strlen(n.packed), len == 251 ? 255 : 0);
		name[len] = 'n';
	}
	name[252] = '\0';
	CHECK_EQ(dv_names_of(txt, name, &n), 0);
	CHECK(!n.raw[0] && !n.packed[0] && strlen(n.other) == 252);
	memcpy(name + 248, ".zst", 4);
	CHECK_EQ(dv_names_of(t, name, &n), -ENAMETOOLONG);
	memcpy(name, ".diskvfs", 8);
	memset(name + 8, 'n', 246);
	name[254] = '\0';
	CHECK_EQ(dv_names_of(t, name, &n), -ENAMETOOLONG);
	CHECK_EQ(dv_names_of(t, "", &n), -EINVAL);
	CHECK_EQ(dv_names_of(t, "a/b", &n), -EINVAL);
	dv_transform_free(&t);
	dv_transform_free(&txt);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_names_are_those_of_the_manual),
		CHECK_TEST(test_a_value_aside_is_not_the_key_that_it_looks_like),
		CHECK_TEST(test_foreign_entries_are_not_listed),
		CHECK_TEST(test_directories_of_other_programs_are_served_as_they_are),
		CHECK_TEST(test_long_names_lose_their_packed_name_first),
		CHECK_TEST(test_laws_hold_for_all_short_names_of_odd_tokens),
		CHECK_TEST(test_laws_hold_for_random_names),
		CHECK_TEST(test_a_stored_name_that_parses_is_one_of_its_key),
	};
	int rc = check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
	free(list);
	return rc;
}
