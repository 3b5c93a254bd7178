/* SPDX-License-Identifier: MIT */
/*
 * test_store_corners.c - the store in corners that everyday use does not reach: names of one value
 * coming and going while it changes its form, deep trees, files of other makers, errors in the
 * middle. On simfs, through store.h alone.
 */
#include "core/cleanup.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/resource.h>
#include <zstd.h>

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
	CHECK_EQ(dv_store_write(w->s, &root_call, n, buf, (struct dv_range){0, len}, 0),
		 (ssize_t)len);
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

/* Deeper than a recursion of a kilobyte a level goes on a small stack, and than the files kept
 * open. In memory: simfs takes its time with so many changes of names. */
static void climb_a_deep_tree(void)
{
	enum { DEPTH = 8000 };
	char path[] = "/dev/shm/diskvfs-deep-XXXXXX", why[256], command[64];
	struct world w = {.b = dv_backing_posix()};
	struct dv_store_options o = {.threads = 1};
	struct dv_node *child = NULL, *deep;
	struct dv_stat st;
	if (!mkdtemp(path))
		return;
	CHECK_EQ(dv_store_init(w.b, path, &(struct dv_init_options){0}, why, sizeof(why)), 0);
	CHECK_EQ(dv_store_open(w.b, path, &o, &w.s, why, sizeof(why)), 0);
	w.root = dv_store_root(w.s);
	struct dv_node *dir = dv_node_ref(w.root);
	for (int i = 0; i < DEPTH; i++) {
		CHECK_EQ(dv_store_mkdir(w.s, &root_call, dir, "d", 0755, &child, &st), 0);
		dv_node_unref(w.s, dir);
		dir = child;
	}
	CHECK_EQ(dv_store_mknod(w.s, &root_call, dir, "v", S_IFREG | 0644, 0, &deep, &st), 0);
	CHECK_EQ(dv_store_fsync(w.s, &root_call, deep, false), 0);
	for (int i = 0; i < 5000; i++) { /* others take the place of the open directories */
		char name[32];
		snprintf(name, sizeof(name), "n%d", i);
		dv_node_unref(w.s, create(&w, name));
	}
	CHECK_EQ(dv_store_getattr(w.s, &root_call, deep, &st), 0);
	dv_node_unref(w.s, dir);
	dv_node_unref(w.s, deep);
	close_store(&w);
	snprintf(command, sizeof(command), "rm -rf %s", path);
	CHECK_EQ(system(command), 0);
}

static void *deep_thread(void *arg)
{
	(void)arg;
	climb_a_deep_tree();
	return NULL;
}

static void test_trees_deeper_than_the_stack_are_synced_reached_and_forgotten(void)
{
	pthread_t thread;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	CHECK_EQ(pthread_attr_setstacksize(&attr, 256 << 10), 0);
	CHECK_EQ(pthread_create(&thread, &attr, deep_thread, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
}

/* ---- descriptors ---- */

/* Of 64: the store looks at the limit when it is opened. */
static struct world make_world_of_few_descriptors(void)
{
	struct rlimit was, few;
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = (struct rlimit){.rlim_cur = 64, .rlim_max = was.rlim_max};
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	struct world w = make_world("path", 0);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
	return w;
}

/* `for f in *; do echo > $f; done` is faster than any disk. */
static void test_stages_do_not_use_up_the_descriptors(void)
{
	enum { KEYS = 200 };
	struct world w = make_world_of_few_descriptors();
	for (unsigned i = 0; i < KEYS; i++) {
		char name[16];
		snprintf(name, sizeof(name), "k%u", i);
		put(&w, name, 9000, i);
	}
	pack_all(&w);
	for (unsigned i = 0; i < KEYS; i++) {
		char name[16];
		struct dv_stat st;
		struct dv_store_stats stats;
		struct dv_setattr set = {.valid = DV_SET_SIZE};
		snprintf(name, sizeof(name), "k%u", i);
		struct dv_node *n = find(&w, name);
		if (i % 2)
			CHECK_EQ(dv_store_setattr(w.s, &root_call, n, &set, &st), 0);
		put_bytes(&w, n, 100, i);
		dv_node_unref(w.s, n);
		dv_store_stats(w.s, &stats);
		CHECK(stats.pending <= 16);
		CHECK(simfs_open_fds(w.fs) < 64);
	}
	end_world(&w);
}

struct asked {
	struct world w;
	struct dv_node *other;
	unsigned times;
};

/* What the kernel is asked comes back to the process, which has threads that answer. */
static int asks_back(void *self, struct dv_node *n)
{
	struct asked *a = self;
	struct dv_setattr set = {.valid = DV_SET_SIZE};
	struct dv_call parks = {.parks = true};
	struct dv_stat st;
	(void)n;
	if (!a->other || a->times++)
		return 0;
	CHECK_EQ(dv_store_setattr(a->w.s, &parks, a->other, &set, &st), -EINPROGRESS);
	parks.waited_ns = 1;
	CHECK_EQ(dv_store_setattr(a->w.s, &parks, a->other, &set, &st), 0);
	return 0;
}

static void test_one_caller_at_a_time_waits_for_what_the_kernel_knows_of_writers(void)
{
	enum { KEYS = 20 };
	struct asked a = {.times = 0};
	struct dv_node *nodes[KEYS];
	a.w = make_world_of_few_descriptors();
	for (unsigned i = 0; i < KEYS; i++) {
		char name[16];
		snprintf(name, sizeof(name), "k%u", i);
		put(&a.w, name, 9000, i);
		nodes[i] = find(&a.w, name);
	}
	dv_store_set_hooks(a.w.s, &(struct dv_store_hooks){.self = &a, .has_writer = asks_back});
	a.other = nodes[KEYS - 1];
	for (unsigned i = 0; i < KEYS - 1; i++) {
		struct dv_setattr set = {.valid = DV_SET_SIZE};
		struct dv_stat st;
		CHECK_EQ(dv_store_setattr(a.w.s, &root_call, nodes[i], &set, &st), 0);
	}
	CHECK(a.times > 0);
	for (unsigned i = 0; i < KEYS; i++)
		dv_node_unref(a.w.s, nodes[i]);
	end_world(&a.w);
}

/* ---- reads beside a truncation ---- */

static ssize_t read_as(struct world *w, struct dv_node *n, const struct dv_call *as, char *buf)
{
	return dv_store_read(w->s, as, n, buf, (struct dv_range){0, 9000});
}

/* It would show zeros up to the size that it knows. */
static void test_a_kernel_that_has_not_heard_of_a_truncation_gets_the_bytes_before(void)
{
	struct dv_call late = root_call, late_nowait = root_call;
	late.before_emptied = late_nowait.before_emptied = late_nowait.nowait = true;
	for (unsigned packed = 0; packed < 2; packed++) {
		struct world w = make_world("path", 0);
		struct dv_setattr set = {.valid = DV_SET_SIZE};
		struct dv_stat st;
		char old[9000], buf[9000];
		put(&w, "k", 9000, 1);
		if (packed)
			pack_all(&w);
		struct dv_node *n = find(&w, "k");
		CHECK_EQ(read_as(&w, n, &root_call, old), 9000);
		CHECK_EQ(dv_store_setattr(w.s, &root_call, n, &set, &st), 0);
		CHECK_EQ(read_as(&w, n, &root_call, buf), 0);
		CHECK_EQ(read_as(&w, n, &late, buf), 9000);
		CHECK(memcmp(buf, old, 9000) == 0);
		/* Once it is written to the kernel knows; and then those bytes are not the last ones. */
		put_bytes(&w, n, 100, 2);
		CHECK_EQ(read_as(&w, n, &late, buf), 100);
		CHECK_EQ(dv_store_setattr(w.s, &root_call, n, &set, &st), 0);
		CHECK_EQ(read_as(&w, n, &late, buf), 0);
		CHECK_EQ(read_as(&w, n, &late_nowait, buf), -EAGAIN);
		dv_node_unref(w.s, n);
		end_world(&w);
	}
}

/* Its caller is told of the failure, truncates it again, and is told that it is empty. */
static void test_truncating_what_has_no_bytes_makes_good_what_failed_before(void)
{
	for (unsigned told = 0; told < 3; told++) {
		struct world w = make_world("path", 0);
		struct dv_setattr set = {.valid = DV_SET_SIZE};
		struct dv_stat st;
		put(&w, "k", 9000, 1);
		struct dv_node *n = find(&w, "k");
		simfs_fail_op(w.fs, told == 2 ? "stat" : "pwrite");
		if (told == 2) { /* the truncation itself, of which the answer's stat fails */
			dv_err err = 0;
			for (unsigned long nth = 1; !err && nth < 30; nth++) {
				put_bytes(&w, n, 9000, 1);
				simfs_fail_nth(w.fs, nth, EIO, false);
				err = dv_store_setattr(w.s, &root_call, n, &set, &st);
				struct dv_stat now;
				simfs_fail_nth(w.fs, 0, 0, false);
				if (err && (dv_store_getattr(w.s, &root_call, n, &now) || now.size))
					err = 0; /* it was not emptied */
			}
			CHECK_EQ(err, -EIO);
		} else {
			CHECK_EQ(dv_store_setattr(w.s, &root_call, n, &set, &st), 0);
			simfs_fail_nth(w.fs, 1, EIO, false);
			CHECK(dv_store_write(w.s, &root_call, n, "x", (struct dv_range){0, 1},
					     told ? DV_WRITE_APPEND : 0) < 0);
		}
		CHECK_EQ(dv_store_setattr(w.s, &root_call, n, &set, &st), 0);
		CHECK_EQ(st.size, 0);
		dv_node_unref(w.s, n);
		(void)dv_store_run(w.s, true);
		close_store(&w);
		open_store(&w, NULL);
		n = find(&w, "k");
		CHECK(n && dv_store_getattr(w.s, &root_call, n, &st) == 0);
		CHECK_EQ(st.size, 0);
		dv_node_unref(w.s, n);
		end_world(&w);
	}
}

static void test_directories_that_can_not_be_removed_are_not_kept_open(void)
{
	enum { DIRS = 100 };
	struct world w = make_world_of_few_descriptors();
	struct dv_node *dirs[DIRS];
	struct dv_stat st;
	for (unsigned i = 0; i < DIRS; i++) {
		char name[16];
		struct dv_node *inner;
		snprintf(name, sizeof(name), "d%u", i);
		CHECK_EQ(dv_store_mkdir(w.s, &root_call, w.root, name, 0755, &dirs[i], &st), 0);
		CHECK_EQ(dv_store_mknod(w.s, &root_call, dirs[i], "v", S_IFREG | 0644, 0, &inner,
					&st),
			 0);
		dv_node_unref(w.s, inner);
		CHECK_EQ(dv_store_rmdir(w.s, &root_call, w.root, name), -ENOTEMPTY);
	}
	CHECK(simfs_open_fds(w.fs) < 48);
	for (unsigned i = 0; i < DIRS; i++)
		dv_node_unref(w.s, dirs[i]);
	end_world(&w);
}

/* ---- recovery ---- */

static void test_a_replacement_left_at_closing_outlives_a_reboot(void)
{
	struct world w = make_world("path", 0);
	unsigned left = 0;
	struct dv_stat st;
	put(&w, "k", 10000, 1);
	struct dv_node *n = find(&w, "k");
	CHECK_EQ(dv_store_fsync(w.s, &root_call, n, false), 0);
	struct dv_setattr set = {.valid = DV_SET_SIZE};
	CHECK_EQ(dv_store_setattr(w.s, &root_call, n, &set, &st), 0);
	put_bytes(&w, n, 7000, 2);
	dv_node_unref(w.s, n);
	dv_node_unref(w.s, w.root);
	simfs_fail_op(w.fs, "rename");
	simfs_fail_nth(w.fs, 1, EIO, true);
	CHECK(dv_store_close(&w.s, &left) != 0);
	CHECK_EQ(left, 1);
	simfs_fail_nth(w.fs, 0, 0, false);
	open_store(&w, &(struct dv_store_options){.boot_id = "boot-b"});
	CHECK(name_holds(&w, "k", 7000, 2));
	end_world(&w);
}

static void test_a_value_whose_owner_can_not_be_given_keeps_it_over_a_kill(void)
{
	struct world w = make_world("path", 0);
	struct dv_stat st;
	put(&w, "k", 20000, 1);
	pack_all(&w);
	struct dv_node *n = find(&w, "k");
	struct dv_setattr set = {.valid = DV_SET_UID | DV_SET_MODE, .uid = 5, .mode = 0640};
	CHECK_EQ(dv_store_setattr(w.s, &root_call, n, &set, &st), 0);
	simfs_fail_op(w.fs, "chown");
	simfs_fail_nth(w.fs, 1, EPERM, true);
	put_bytes(&w, n, 20000, 2);
	CHECK(simfs_failed(w.fs));
	struct world after = {.fs = simfs_after_kill(w.fs)};
	after.b = simfs_backing(after.fs);
	simfs_fail_nth(w.fs, 0, 0, false);
	dv_node_unref(w.s, n);
	end_world(&w);
	open_store(&after, NULL);
	n = find(&after, "k");
	CHECK(n && holds(&after, n, 20000, 2));
	CHECK_EQ(dv_store_getattr(after.s, &root_call, n, &st), 0);
	CHECK_EQ(st.uid, 5);
	CHECK_EQ(st.mode & 07777, 0640);
	dv_node_unref(after.s, n);
	end_world(&after);
}

/* Bytes that can not even be put aside are not swept away. */
static void test_pending_bytes_that_can_not_be_put_aside_are_kept(void)
{
	struct world w = make_world("path", 0);
	struct dv_stat st;
	char why[256];
	put(&w, "k", 10000, 1);
	struct dv_node *n = find(&w, "k");
	struct dv_setattr set = {.valid = DV_SET_SIZE};
	CHECK_EQ(dv_store_setattr(w.s, &root_call, n, &set, &st), 0);
	put_bytes(&w, n, 7000, 2);
	struct world after = {.fs = simfs_after_kill(w.fs)};
	after.b = simfs_backing(after.fs);
	dv_node_unref(w.s, n);
	end_world(&w);
	int fd = after.b.ops->open_root(after.b.self, "/"); /* another takes its place */
	CHECK_EQ(after.b.ops->unlink(after.b.self, fd, "k"), 0);
	simfs_fail_op(after.fs, "rename");
	simfs_fail_nth(after.fs, 2, EIO, true); /* the first one is the new owner folder's */
	struct dv_store_options o = {.threads = 1, .boot_id = "boot-a"};
	CHECK_EQ(dv_store_open(after.b, "/", &o, &after.s, why, sizeof(why)), 0);
	CHECK(simfs_failed(after.fs));
	simfs_fail_nth(after.fs, 0, 0, false);
	CHECK_EQ(dv_store_close(&after.s, NULL), 0);
	open_store(&after, NULL);
	struct dv_store_stats stats;
	dv_store_stats(after.s, &stats);
	CHECK_EQ(stats.put_aside, 1);
	after.b.ops->close(after.b.self, fd);
	end_world(&after);
}

/* ---- files of other makers ---- */

static void make_file(struct world *w, const char *path, const void *bytes, size_t len)
{
	int root = w->b.ops->open_root(w->b.self, "/");
	int fd = w->b.ops->open(w->b.self, root, path, O_RDWR | O_CREAT | O_EXCL, 0644);
	CHECK(fd >= 0);
	CHECK_EQ(w->b.ops->pwrite(w->b.self, fd, bytes, len, 0), (ssize_t)len);
	w->b.ops->close(w->b.self, fd);
	w->b.ops->close(w->b.self, root);
}

static void put_le(uint8_t *at, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

/* zstd lets frames of anything be skipped, anywhere. */
static void test_large_skippable_frames_do_not_stand_in_the_way(void)
{
	enum { PART = 1000, SKIP = 3 << 20 };
	struct world w = make_world("path", 0);
	char plain[2 * PART];
	DV_AUTO_FREE uint8_t *file = calloc(1, SKIP + 8192);
	CHECK(file != NULL);
	fill(plain, sizeof(plain), 3);
	size_t at = ZSTD_compress(file, 4096, plain, PART, 3);
	put_le(file + at, 0x184D2A50u, 4);
	put_le(file + at + 4, SKIP, 4);
	at += 8 + SKIP;
	at += ZSTD_compress(file + at, 4096, plain + PART, PART, 3);
	make_file(&w, "k.zst", file, at);
	CHECK(name_holds(&w, "k", sizeof(plain), 3));
	struct dv_node *n = find(&w, "k");
	CHECK_EQ(dv_store_write(w.s, &root_call, n, "x", (struct dv_range){sizeof(plain), 1}, 0),
		 1);
	dv_node_unref(w.s, n);
	end_world(&w);
}

/* The size in the tag, cut to 32 bits, is that of the frame: what lies past it must not be the
 * daemon's memory. */
static void test_a_tag_that_lies_about_the_size_shows_no_memory(void)
{
	struct world w = make_world("path", 0);
	uint8_t file[256], tag[64] = {1, 1 | 4};
	struct dv_stat st;
	char buf[64];
	size_t len = ZSTD_compress(file, sizeof(file), "hello", 5, 3);
	make_file(&w, "k.zst", file, len);
	int root = w.b.ops->open_root(w.b.self, "/");
	int fd = w.b.ops->open(w.b.self, root, "k.zst", O_RDWR, 0);
	CHECK_EQ(w.b.ops->stat(w.b.self, fd, "", &st), 0);
	put_le(tag + 8, 4711, 8);
	put_le(tag + 16, st.ino, 8);
	put_le(tag + 24, (UINT64_C(1) << 32) + 5, 8);
	put_le(tag + 32, len, 8);
	put_le(tag + 40, (uint64_t)st.btime.tv_sec * 1000000000u + (uint64_t)st.btime.tv_nsec, 8);
	CHECK_EQ(w.b.ops->setxattr(w.b.self, fd, "user.diskvfs", tag, sizeof(tag), 0), 0);
	w.b.ops->close(w.b.self, fd);
	w.b.ops->close(w.b.self, root);
	struct dv_node *n = find(&w, "k");
	CHECK(n != NULL);
	CHECK(dv_store_read(w.s, &root_call, n, buf, (struct dv_range){4096, sizeof(buf)}) <= 0);
	CHECK_EQ(dv_store_read(w.s, &root_call, n, buf, (struct dv_range){0, sizeof(buf)}), 5);
	dv_node_unref(w.s, n);
	end_world(&w);
}

static void test_damage_is_looked_for_once(void)
{
	struct world w = make_world("path", 0);
	struct dv_stat st;
	uint8_t file[256];
	size_t len = ZSTD_compress(file, sizeof(file), "hello", 5, 3);
	make_file(&w, "k.zst", file, len - 1);
	struct dv_node *n = find(&w, "k");
	CHECK(n != NULL);
	unsigned long before = simfs_calls(w.fs);
	CHECK_EQ(dv_store_getattr(w.s, &root_call, n, &st), 0);
	CHECK(st.size > 0);
	CHECK(simfs_calls(w.fs) - before <= 3);
	char c;
	CHECK_EQ(dv_store_read(w.s, &root_call, n, &c, (struct dv_range){0, 1}), -EBADMSG);
	dv_node_unref(w.s, n);
	end_world(&w);
}

/* ---- many at once ---- */

enum { BUSY_ROUNDS = 1500, BUSY_NAMES = 6 };

struct busy {
	struct world *w;
	unsigned seed;
};

static void one_busy_step(struct world *w, unsigned *seed)
{
	char a[16], b[16], text[3000];
	struct dv_stat st;
	struct dv_node *n = NULL;
	snprintf(a, sizeof(a), "k%u", rand_r(seed) % BUSY_NAMES);
	snprintf(b, sizeof(b), "k%u", rand_r(seed) % BUSY_NAMES);
	unsigned what = (unsigned)rand_r(seed) % 8;
	fill(text, sizeof(text), what);
	dv_err err = dv_store_lookup(w->s, &root_call, w->root, a, &n, &st);
	if (err)
		err = dv_store_mknod(w->s, &root_call, w->root, a, S_IFREG | 0644, 0, &n, &st);
	if (err)
		return; /* another one makes it, or has replaced it */
	struct dv_setattr set = {.valid = DV_SET_SIZE};
	if (what < 3)
		dv_ignore(dv_store_write(w->s, &root_call, n, text,
					 (struct dv_range){4096u * what, sizeof(text)}, 0));
	else if (what == 3)
		dv_ignore(dv_store_setattr(w->s, &root_call, n, &set, &st));
	else if (what == 4)
		dv_ignore(dv_store_rename(w->s, &root_call, w->root, a, w->root, b, 0));
	else if (what == 5)
		dv_ignore(dv_store_unlink(w->s, &root_call, w->root, a));
	else if (what == 6)
		dv_ignore(dv_store_link(w->s, &root_call, n, w->root, b, &st));
	else
		dv_ignore(dv_store_fsync(w->s, &root_call, n, false));
	dv_ignore(dv_store_read(w->s, &root_call, n, text, (struct dv_range){0, sizeof(text)}));
	dv_node_unref(w->s, n);
}

static void *busy_thread(void *arg)
{
	struct busy *b = arg;
	for (int i = 0; i < BUSY_ROUNDS; i++)
		one_busy_step(b->w, &b->seed);
	return NULL;
}

static bool count_entry(void *ctx, const struct dv_list_entry *e)
{
	(void)e;
	++*(unsigned *)ctx;
	return true;
}

/* No race, no deadlock, no leak (run under TSan and ASan), and everything comes to rest. */
static void test_names_and_bytes_change_while_all_is_packed_and_listed(void)
{
	struct world w = make_world("path", 0);
	struct busy busy[3];
	pthread_t threads[3];
	for (unsigned i = 0; i < 3; i++) {
		busy[i] = (struct busy){&w, 77 + i};
		CHECK_EQ(pthread_create(&threads[i], NULL, busy_thread, &busy[i]), 0);
	}
	for (int i = 0; i < 100; i++) {
		struct dv_pack_result r;
		unsigned count = 0;
		dv_ignore(dv_store_pack_all(w.s, &r));
		dv_store_run(w.s, true);
		CHECK_EQ(dv_store_list(w.s, &root_call, w.root, NULL, 0, count_entry, &count), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	end_world(&w);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_superseded_form_goes_although_its_value_has_other_names),
		CHECK_TEST(test_a_superseded_form_goes_although_another_name_was_unlinked),
		CHECK_TEST(
			test_an_open_value_outlives_one_name_where_the_others_were_never_looked_up),
		CHECK_TEST(test_trees_deeper_than_the_stack_are_synced_reached_and_forgotten),
		CHECK_TEST(test_stages_do_not_use_up_the_descriptors),
		CHECK_TEST(test_one_caller_at_a_time_waits_for_what_the_kernel_knows_of_writers),
		CHECK_TEST(test_a_kernel_that_has_not_heard_of_a_truncation_gets_the_bytes_before),
		CHECK_TEST(test_truncating_what_has_no_bytes_makes_good_what_failed_before),
		CHECK_TEST(test_directories_that_can_not_be_removed_are_not_kept_open),
		CHECK_TEST(test_a_replacement_left_at_closing_outlives_a_reboot),
		CHECK_TEST(test_a_value_whose_owner_can_not_be_given_keeps_it_over_a_kill),
		CHECK_TEST(test_pending_bytes_that_can_not_be_put_aside_are_kept),
		CHECK_TEST(test_large_skippable_frames_do_not_stand_in_the_way),
		CHECK_TEST(test_a_tag_that_lies_about_the_size_shows_no_memory),
		CHECK_TEST(test_damage_is_looked_for_once),
		CHECK_TEST(test_names_and_bytes_change_while_all_is_packed_and_listed),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
