/* SPDX-License-Identifier: MIT */
/*
 * test_reshard.c - a store gets another transform, on simfs: every value is there with its bytes and its
 * inode number; killed, or cut off with the power, at every call that changes something, and gone on with;
 * what can not be is refused, or undone.
 */
#include "core/cleanup.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

#include <sys/stat.h>

static const struct dv_call call;
static const char *const keys[] = {"a",	  "ab",	    "abc",   "abcabc", "abcdefgh",
				   "xyz", "xyzxyz", "x.zst", "x.raw",  "%2e"};
#define KEYS DV_ARRAY_LEN(keys)
/* The same number of them, in folders, with names that are others' under path:.txt. */
static const char *const in_folders[KEYS] = {"a",	  "a.txt", "a.txt.txt", "d/a",
					     "d/a.zst",	  "d/e/f", "d.zst/abc", "d/e-txt/last",
					     "x.raw/%2e", "d/e/.x"};
static const char *const *scene = keys;

static char why[1024];

static struct dv_store_options options(const char *boot)
{
	return (struct dv_store_options){.threads = 1, .boot_id = boot};
}

static struct dv_store *open_store(struct simfs *fs, const char *boot)
{
	struct dv_store_options o = options(boot);
	struct dv_store *s = NULL;
	dv_err err = dv_store_open(simfs_backing(fs), "/store", &o, &s, why, sizeof(why));
	if (err)
		fprintf(stderr, "open: %s\n", why);
	CHECK_EQ(err, 0);
	return s;
}

static dv_err reshard(struct simfs *fs, const char *boot, const char *transform, uint64_t *count)
{
	struct dv_store_options o = options(boot);
	const struct dv_reshard_request request = {.transform = transform, .options = &o};
	return dv_store_reshard(simfs_backing(fs), "/store", &request, count, why, sizeof(why));
}

static size_t size_of(size_t key)
{
	return 3 + key * 1700;
}

/* The folder of a key, made where it is missing; *name is the key's last component. */
static struct dv_node *folder_of(struct dv_store *s, const char *key, const char **name)
{
	struct dv_node *dir = dv_store_root(s), *next = NULL;
	struct dv_stat st;
	char component[256];
	for (const char *slash; (slash = strchr(key, '/')); key = slash + 1) {
		snprintf(component, sizeof(component), "%.*s", (int)(slash - key), key);
		dv_err err = dv_store_lookup(s, &call, dir, component, &next, &st);
		if (err == -ENOENT)
			err = dv_store_mkdir(s, &call, dir, component, 0750, &next, &st);
		CHECK_EQ(err, 0);
		CHECK_EQ(st.mode & 07777, 0750);
		dv_node_unref(s, dir);
		dir = next;
	}
	*name = key;
	return dir;
}

static void fill(struct dv_store *s, uint64_t inos[KEYS])
{
	static char text[64 << 10];
	memset(text, 'v', sizeof(text));
	for (size_t k = 0; k < KEYS; k++) {
		struct dv_node *n = NULL;
		struct dv_stat st;
		const char *name;
		struct dv_node *dir = folder_of(s, scene[k], &name);
		CHECK_EQ(dv_store_mknod(s, &call, dir, name, S_IFREG | 0640, 0, &n, &st), 0);
		text[0] = (char)('A' + k);
		CHECK_EQ(dv_store_write(s, &call, n, text, (struct dv_range){0, size_of(k)}, 0),
			 (long)size_of(k));
		CHECK_EQ(dv_store_fsync(s, &call, n, false), 0);
		inos[k] = dv_node_ino(n);
		dv_node_unref(s, n);
		dv_node_unref(s, dir);
	}
	/* Some packed, some raw. */
	struct dv_pack_result r;
	CHECK_EQ(dv_store_pack_all(s, &r), 0);
	CHECK(r.packed > 3);
}

static void check_values(struct dv_store *s, const uint64_t inos[KEYS])
{
	for (size_t k = 0; k < KEYS; k++) {
		struct dv_node *n = NULL;
		struct dv_stat st;
		char first = 0;
		const char *name;
		struct dv_node *dir = folder_of(s, scene[k], &name);
		dv_err err = dv_store_lookup(s, &call, dir, name, &n, &st);
		if (err)
			fprintf(stderr, "%s is missing\n", scene[k]);
		CHECK_EQ(err, 0);
		CHECK_EQ(st.size, size_of(k));
		CHECK_EQ(st.mode & 07777, 0640);
		CHECK_EQ(dv_node_ino(n), inos[k]);
		CHECK_EQ(dv_store_read(s, &call, n, &first, (struct dv_range){0, 1}), 1);
		CHECK_EQ(first, 'A' + (int)k);
		dv_node_unref(s, n);
		dv_node_unref(s, dir);
	}
}

static struct simfs *make(const char *transform, uint64_t inos[KEYS])
{
	struct simfs *fs = simfs_new();
	struct dv_init_options io = {.transform = transform};
	CHECK_EQ(dv_store_init(simfs_backing(fs), "/store", &io, why, sizeof(why)), 0);
	struct dv_store *s = open_store(fs, "boot");
	fill(s, inos);
	CHECK_EQ(dv_store_close(&s, NULL), 0);
	return fs;
}

static void check_store(struct simfs *fs, const char *boot, const uint64_t inos[KEYS])
{
	struct dv_store *s = open_store(fs, boot);
	check_values(s, inos);
	CHECK_EQ(dv_store_close(&s, NULL), 0);
	CHECK_EQ(simfs_open_fds(fs), 0);
}

static const char *const specs[] = {"path", "flat", "split:3", "split:1x2", "hash:sha256:2x2"};

static void test_each_transform_becomes_each_other_one(void)
{
	for (size_t from = 0; from < DV_ARRAY_LEN(specs); from++) {
		uint64_t inos[KEYS], count = 0;
		struct simfs *fs = make(specs[from], inos);
		for (size_t to = 0; to < DV_ARRAY_LEN(specs); to++) {
			if (to == from)
				continue;
			CHECK_EQ(reshard(fs, "boot", specs[to], &count), 0);
			CHECK_EQ(count, KEYS);
			check_store(fs, "boot", inos);
			CHECK_EQ(reshard(fs, "boot", specs[to], &count), -EINVAL);
			CHECK(strstr(why, "already"));
			CHECK_EQ(reshard(fs, "boot", specs[from], &count), 0);
		}
		check_store(fs, "boot", inos);
		simfs_free(fs);
	}
}

/* A name aside is needed on both ways; and keys in folders. */
static const struct change {
	const char *from, *to;
	const char *const *keys;
} changes[] = {{"hash:md5:1x1", "split:3", keys}, {"path", "path:.txt", in_folders}};

static void test_keys_stay_in_their_folders(void)
{
	uint64_t inos[KEYS], count = 0;
	scene = in_folders;
	struct simfs *fs = make("path", inos);
	struct dv_backing b = simfs_backing(fs);
	struct dv_stat before, after;
	int root = b.ops->open_root(b.self, "/store");
	CHECK_EQ(b.ops->mkdir(b.self, root, "empty", 0700), 0);
	CHECK_EQ(b.ops->symlink(b.self, "d/a", root, "link"), 0);
	CHECK_EQ(b.ops->stat(b.self, root, "d", &before), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(reshard(fs, "boot", "path:.txt", &count), 0);
		CHECK_EQ(count, KEYS);
		CHECK_EQ(b.ops->stat(b.self, root, "d", &after), 0);
		CHECK(before.ino == after.ino && before.mode == after.mode);
		CHECK_EQ(b.ops->stat(b.self, root, "link", &after), 0);
		CHECK_EQ(b.ops->stat(b.self, root, "empty", &after), 0);
		CHECK_EQ(b.ops->stat(b.self, root, "d/e/.x.txt.zst", &after), 0);
		CHECK_EQ(b.ops->stat(b.self, root, ".diskvfs/reshard", &after), -ENOENT);
		b.ops->close(b.self, root);
		check_store(fs, "boot", inos);
		CHECK_EQ(reshard(fs, "boot", "path", &count), 0);
		check_store(fs, "boot", inos);
		root = b.ops->open_root(b.self, "/store");
	}
	/* They have no place elsewhere. */
	CHECK_EQ(reshard(fs, "boot", "split:2", &count), -EINVAL);
	CHECK(strstr(why, "folder"));
	/* A folder that would need another name; what stays has the name that a value is to get. */
	CHECK_EQ(b.ops->mkdir(b.self, root, "empty/x.txt", 0700), 0);
	CHECK_EQ(reshard(fs, "boot", "path:.txt", &count), -EINVAL);
	CHECK(strstr(why, "empty/x.txt has no such name"));
	CHECK_EQ(b.ops->rmdir(b.self, root, "empty/x.txt"), 0);
	CHECK_EQ(b.ops->symlink(b.self, "d/a", root, "a.txt.txt.txt"), 0);
	CHECK_EQ(reshard(fs, "boot", "path:.txt", &count), -EINVAL);
	CHECK(strstr(why, "a.txt.txt.txt"));
	b.ops->close(b.self, root);
	check_store(fs, "boot", inos);
	simfs_free(fs);
	scene = keys;
}

/* After its call n the process, or the machine, is gone. -> false: it ended before. */
static bool cut_at(const struct change *c, unsigned long n, uint64_t disk, bool power)
{
	uint64_t inos[KEYS], count;
	scene = c->keys;
	struct simfs *fs = make(c->from, inos);
	simfs_power_cut_at(fs, n);
	(void)reshard(fs, "boot", c->to, &count);
	bool cut = simfs_is_cut(fs);
	struct simfs *after = power ? simfs_after_cut(fs, disk) : simfs_after_kill(fs);
	const char *boot = power ? "boot 2" : "boot";
	struct dv_store_options o = options(boot);
	struct dv_store *s = NULL;
	/* It is the old store, the new one, or opened by nobody. */
	dv_err err = dv_store_open(simfs_backing(after), "/store", &o, &s, why, sizeof(why));
	CHECK(err == 0 || err == -EBUSY);
	if (!err) {
		check_values(s, inos);
		CHECK_EQ(dv_store_close(&s, NULL), 0);
	} else {
		CHECK(strstr(why, "--transform ") && strstr(why, c->to));
		CHECK_EQ(reshard(after, boot, "flat", &count), -EINVAL); /* only that */
	}
	err = reshard(after, boot, c->to, &count);
	if (err && !strstr(why, "already"))
		fprintf(stderr, "cut at %lu, disk %llu: %s (%s)\n", n, (unsigned long long)disk,
			why, strerror(-err));
	CHECK(err == 0 || (err == -EINVAL && strstr(why, "already")));
	check_store(after, boot, inos);
	simfs_free(after);
	simfs_free(fs);
	scene = keys;
	return cut;
}

static void test_killed_at_any_step_it_is_gone_on_with(void)
{
	for (size_t c = 0; c < DV_ARRAY_LEN(changes); c++)
		for (unsigned long n = 1; cut_at(&changes[c], n, 0, false); n++)
			;
}

static void test_no_power_cut_loses_a_value(void)
{
	for (size_t c = 0; c < DV_ARRAY_LEN(changes); c++)
		for (uint64_t disk = 0; disk < 4; disk++)
			for (unsigned long n = 1; cut_at(&changes[c], n, disk, true); n++)
				;
}

static void fail_each_call(const struct change *c)
{
	scene = c->keys;
	for (unsigned long n = 1;; n++) {
		uint64_t inos[KEYS], count;
		struct simfs *fs = make(c->from, inos);
		simfs_fail_nth(fs, n, EIO, false);
		dv_err err = reshard(fs, "boot", c->to, &count);
		bool hit = simfs_failed(fs);
		simfs_fail_nth(fs, 0, 0, false);
		if (err)
			err = reshard(fs, "boot", c->to, &count);
		if (err == -EINVAL && strstr(why, "undone")) /* the first run put all back */
			err = reshard(fs, "boot", c->to, &count);
		CHECK(err == 0 || (err == -EINVAL && strstr(why, "already")));
		check_store(fs, "boot", inos);
		simfs_free(fs);
		if (!hit)
			break;
	}
	scene = keys;
}

static void test_a_call_that_fails_is_made_good_by_the_next_run(void)
{
	for (size_t c = 0; c < DV_ARRAY_LEN(changes); c++)
		fail_each_call(&changes[c]);
}

static void test_what_has_no_place_is_refused_and_nothing_is_changed(void)
{
	uint64_t inos[KEYS], count;
	struct simfs *fs = make("split:3", inos);
	struct dv_backing b = simfs_backing(fs);
	int root = b.ops->open_root(b.self, "/store");
	CHECK_EQ(b.ops->mkdir(b.self, root, "foreign", 0755), 0);
	CHECK_EQ(reshard(fs, "boot", "flat", &count), -EINVAL);
	CHECK(strstr(why, "foreign"));
	CHECK_EQ(b.ops->rmdir(b.self, root, "foreign"), 0);
	int fd = b.ops->open(b.self, root, "not-here", O_RDWR | O_CREAT, 0644);
	b.ops->close(b.self, fd);
	CHECK_EQ(reshard(fs, "boot", "flat", &count), -EINVAL);
	CHECK(strstr(why, "not-here"));
	CHECK_EQ(b.ops->unlink(b.self, root, "not-here"), 0);
	b.ops->close(b.self, root);
	check_store(fs, "boot", inos);
	CHECK_EQ(reshard(fs, "boot", "nonsense", &count), -EINVAL);
	CHECK_EQ(reshard(fs, "boot", "path:.txt", &count), 0); /* files get the suffix */
	check_store(fs, "boot", inos);

	struct dv_store *s = open_store(fs, "boot");
	CHECK_EQ(reshard(fs, "boot", "flat", &count), -EBUSY);
	check_values(s, inos);
	CHECK_EQ(dv_store_close(&s, NULL), 0);
	check_store(fs, "boot", inos);
	simfs_free(fs);
}

static void test_of_two_keys_in_each_other_s_way_none_is_lost(void)
{
	uint64_t count;
	struct simfs *fs = simfs_new();
	struct dv_init_options io = {.transform = "flat", .layout = "diskv"};
	CHECK_EQ(dv_store_init(simfs_backing(fs), "/store", &io, why, sizeof(why)), 0);
	struct dv_store *s = open_store(fs, "boot");
	struct dv_node *root = dv_store_root(s), *n = NULL;
	static const char *const two[] = {"abc", "abcabc", "z"};
	struct dv_stat st;
	for (size_t k = 0; k < DV_ARRAY_LEN(two); k++) {
		CHECK_EQ(dv_store_mknod(s, &call, root, two[k], S_IFREG | 0644, 0, &n, &st), 0);
		dv_node_unref(s, n);
	}
	dv_node_unref(s, root);
	CHECK_EQ(dv_store_close(&s, NULL), 0);
	CHECK_EQ(reshard(fs, "boot", "split:3", &count), -EINVAL); /* diskv could not either */
	CHECK(strstr(why, "abc"));
	s = open_store(fs, "boot");
	root = dv_store_root(s);
	for (size_t k = 0; k < DV_ARRAY_LEN(two); k++) {
		CHECK_EQ(dv_store_lookup(s, &call, root, two[k], &n, &st), 0);
		dv_node_unref(s, n);
	}
	dv_node_unref(s, root);
	CHECK_EQ(dv_store_close(&s, NULL), 0);
	CHECK_EQ(reshard(fs, "boot", "split:2", &count), 0);
	CHECK_EQ(count, 3);
	simfs_free(fs);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_each_transform_becomes_each_other_one),
		CHECK_TEST(test_keys_stay_in_their_folders),
		CHECK_TEST(test_killed_at_any_step_it_is_gone_on_with),
		CHECK_TEST(test_no_power_cut_loses_a_value),
		CHECK_TEST(test_a_call_that_fails_is_made_good_by_the_next_run),
		CHECK_TEST(test_what_has_no_place_is_refused_and_nothing_is_changed),
		CHECK_TEST(test_of_two_keys_in_each_other_s_way_none_is_lost),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
