/* SPDX-License-Identifier: MIT */
/*
 * test_several.c - two stores open on one folder, as two mounts of one machine are: what was closed in
 * one is not lost by the other. On simfs, through store.h alone; the keepers run when they are told to.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "core/owner.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

#include <stdint.h>
#include <time.h>

static const struct dv_call root_call = {0};

struct mount {
	struct dv_store *s;
	struct dv_node *root;
	int writers; /* what the kernel would say */
};

static struct simfs *fs;
static struct mount a, b;
static const char *boot = "boot-a";

static int has_writer(void *self, struct dv_node *n)
{
	(void)n;
	return ((struct mount *)self)->writers;
}

/* ---- at one moment of one mount the other one, or a program, does something ---- */

static struct dv_backing_ops ops; /* simfs', but for rename and chmod */
static void (*before_rename)(const char *oldname, const char *newname);
static void (*after_rename)(const char *oldname, const char *newname);

static int watched_rename(void *self, int olddir, const char *oldname, int newdir,
			  const char *newname, unsigned flags)
{
	struct dv_backing k = simfs_backing(self);
	if (before_rename)
		before_rename(oldname, newname);
	int err = k.ops->rename(self, olddir, oldname, newdir, newname, flags);
	if (after_rename && !err)
		after_rename(oldname, newname);
	return err;
}

static void (*before_chmod)(void);

static int watched_chmod(void *self, int fd, mode_t mode)
{
	struct dv_backing k = simfs_backing(self);
	if (before_chmod)
		before_chmod();
	return k.ops->chmod(self, fd, mode);
}

static struct dv_backing watched(void)
{
	struct dv_backing k = simfs_backing(fs);
	ops = *k.ops;
	ops.rename = watched_rename;
	ops.chmod = watched_chmod;
	return (struct dv_backing){.ops = &ops, .self = fs};
}

static void open_mount(struct mount *m)
{
	char why[256];
	struct dv_store_options o = {.threads = 1, .boot_id = boot};
	m->writers = 0;
	o.hooks = (struct dv_store_hooks){.self = m, .has_writer = has_writer};
	CHECK_EQ(dv_store_open(m == &a ? watched() : simfs_backing(fs), "/", &o, &m->s, why,
			       sizeof(why)),
		 0);
	m->root = dv_store_root(m->s);
}

static void begin(void)
{
	char why[256];
	struct dv_init_options o = {0};
	fs = simfs_new();
	CHECK_EQ(dv_store_init(simfs_backing(fs), "/", &o, why, sizeof(why)), 0);
	open_mount(&a);
	open_mount(&b);
}

static void close_mount(struct mount *m)
{
	unsigned left = 0;
	dv_node_unref(m->s, m->root);
	CHECK_EQ(dv_store_close(&m->s, &left), 0);
	CHECK_EQ(left, 0);
}

static void end(void)
{
	close_mount(&a);
	close_mount(&b);
	CHECK_EQ(simfs_open_fds(fs), 0);
	simfs_free(fs);
}

static struct dv_node *find(struct mount *m, const char *name)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	return dv_store_lookup(m->s, &root_call, m->root, name, &n, &st) ? NULL : n;
}

static struct dv_node *create(struct mount *m, const char *name)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	CHECK_EQ(dv_store_mknod(m->s, &root_call, m->root, name, S_IFREG | 0644, 0, &n, &st), 0);
	return n;
}

/* LEN bytes of one letter. */
enum { LEN = 20000 };

static void write_letter(struct mount *m, struct dv_node *n, char letter)
{
	DV_AUTO_FREE char *buf = malloc(LEN);
	CHECK(buf != NULL);
	memset(buf, letter, LEN);
	CHECK_EQ(dv_store_write(m->s, &root_call, n, buf, (struct dv_range){0, LEN}, 0), LEN);
}

static ssize_t write_at(struct mount *m, struct dv_node *n, const char *text, uint64_t off,
			unsigned flags, bool nowait)
{
	struct dv_call call = {.nowait = nowait};
	return dv_store_write(m->s, &call, n, text, (struct dv_range){off, strlen(text)}, flags);
}

static dv_err truncate_it(struct mount *m, struct dv_node *n, unsigned flags)
{
	struct dv_stat st;
	struct dv_setattr set = {.valid = DV_SET_SIZE | flags};
	return dv_store_setattr(m->s, &root_call, n, &set, &st);
}

/* The first letter, and the size. */
static char shown(struct mount *m, const char *name, uint64_t *size)
{
	struct dv_node *n = NULL;
	struct dv_stat st;
	char first = '?';
	if (dv_store_lookup(m->s, &root_call, m->root, name, &n, &st))
		return '-';
	*size = st.size;
	if (dv_store_read(m->s, &root_call, n, &first, (struct dv_range){0, 1}) != 1)
		first = '!';
	dv_node_unref(m->s, n);
	return first;
}

static bool both_show(const char *name, char letter, uint64_t size)
{
	uint64_t at_a = 0, at_b = 0;
	return shown(&a, name, &at_a) == letter && shown(&b, name, &at_b) == letter &&
	       at_a == size && at_b == size;
}

static void settle(struct mount *m)
{
	for (int i = 0; i < 4; i++)
		dv_store_run(m->s, true);
}

/* K holds 'o' in both mounts, packed or raw. */
static void make_value(const char *name, bool packed)
{
	struct dv_pack_result r;
	struct dv_node *n = create(&a, name);
	write_letter(&a, n, 'o');
	dv_node_unref(a.s, n);
	if (packed)
		CHECK_EQ(dv_store_pack_all(a.s, &r), 0);
	CHECK(both_show(name, 'o', LEN));
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static uint64_t put_aside(struct mount *m)
{
	struct dv_store_stats st;
	dv_store_stats(m->s, &st);
	return st.put_aside;
}

/* `late` begins to replace K before `early` has put its own in place, and writes after it. */
static void two_replace(struct mount *early, struct mount *late, bool packed)
{
	begin();
	make_value("k", packed);
	struct dv_node *ne = find(early, "k"), *nl = find(late, "k");
	CHECK_EQ(truncate_it(early, ne, 0), 0);
	write_letter(early, ne, 'e');
	pause_ms(2);
	CHECK_EQ(truncate_it(late, nl, 0), 0);
	write_letter(late, nl, 'l');
	settle(early);
	settle(late);
	CHECK(both_show("k", 'l', LEN));
	CHECK_EQ(put_aside(late), 0);
	dv_node_unref(early->s, ne);
	dv_node_unref(late->s, nl);
	end();
}

static void test_of_two_replacements_the_one_written_last_stands_although_it_is_committed_last(void)
{
	two_replace(&a, &b, false);
	two_replace(&b, &a, false);
	two_replace(&a, &b, true);
	two_replace(&b, &a, true);
}

static void
test_of_two_replacements_the_one_written_last_stands_although_it_is_committed_first(void)
{
	begin();
	make_value("k", false);
	struct dv_node *na = find(&a, "k"), *nb = find(&b, "k");
	CHECK_EQ(truncate_it(&a, na, 0), 0);
	write_letter(&a, na, 'a');
	pause_ms(2);
	CHECK_EQ(truncate_it(&b, nb, 0), 0);
	write_letter(&b, nb, 'b');
	settle(&b);
	settle(&a);
	CHECK(both_show("k", 'b', LEN));
	CHECK_EQ(put_aside(&a), 1); /* older, and not thrown away on a guess */
	dv_node_unref(a.s, na);
	dv_node_unref(b.s, nb);
	end();
}

static void test_what_was_renamed_over_a_value_after_its_replacement_was_written_stands(void)
{
	begin();
	make_value("k", true);
	struct dv_node *na = find(&a, "k"), *other = create(&b, "new");
	write_letter(&b, other, 'n');
	CHECK_EQ(truncate_it(&a, na, 0), 0);
	write_letter(&a, na, 'a');
	pause_ms(20); /* the clock of files moves in steps */
	CHECK_EQ(dv_store_rename(b.s, &root_call, b.root, "new", b.root, "k", 0), 0);
	settle(&b);
	settle(&a);
	CHECK(both_show("k", 'n', LEN));
	CHECK_EQ(put_aside(&a), 1);
	dv_node_unref(a.s, na);
	dv_node_unref(b.s, other);
	end();
}

static void test_a_value_packed_elsewhere_while_it_is_replaced_is_replaced(void)
{
	struct dv_pack_result r;
	begin();
	make_value("k", false);
	settle(&a); /* its file is written by nobody */
	struct dv_node *na = find(&a, "k");
	CHECK_EQ(truncate_it(&a, na, 0), 0);
	write_letter(&a, na, 'a');
	CHECK_EQ(dv_store_pack_all(b.s, &r), 0);
	settle(&a);
	CHECK(both_show("k", 'a', LEN));
	CHECK_EQ(put_aside(&a), 0);
	dv_node_unref(a.s, na);
	end();
}

static void test_edits_of_one_packed_value_wait_for_each_other(void)
{
	char got[4] = "";
	begin();
	make_value("k", true);
	struct dv_node *na = find(&a, "k"), *nb = find(&b, "k");
	CHECK_EQ(write_at(&a, na, "AA", 100, 0, false), 2);
	CHECK_EQ(write_at(&b, nb, "BB", 5000, 0, true), -EAGAIN);
	settle(&a);
	CHECK_EQ(write_at(&b, nb, "BB", 5000, 0, false), 2);
	settle(&b);
	CHECK(both_show("k", 'o', LEN));
	CHECK_EQ(dv_store_read(b.s, &root_call, nb, got, (struct dv_range){100, 2}), 2);
	CHECK_STR(got, "AA");
	CHECK_EQ(dv_store_read(a.s, &root_call, na, got, (struct dv_range){5000, 2}), 2);
	CHECK_STR(got, "BB");
	CHECK_EQ(put_aside(&a) + put_aside(&b), 0);
	dv_node_unref(a.s, na);
	dv_node_unref(b.s, nb);
	end();
}

/* What a packed value was made of does not come back without what was never synced. */
static void test_what_another_mount_has_packed_is_durable_once_it_is_synced(void)
{
	begin();
	struct dv_pack_result r;
	struct dv_node *na = create(&a, "k");
	write_letter(&a, na, 'o');
	struct dv_node *nb = find(&b, "k");
	CHECK_EQ(dv_store_fsync(b.s, &root_call, nb, false), 0); /* its name, too */
	CHECK_EQ(write_at(&a, na, "n", 0, 0, false), 1);
	CHECK_EQ(dv_store_pack_all(a.s, &r), 0);
	CHECK_EQ(r.packed, 1);
	struct dv_node *same = find(&b, "k"); /* in its new form */
	CHECK(same == nb);
	CHECK_EQ(dv_store_fsync(b.s, &root_call, nb, false), 0);
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct simfs *was = fs;
		struct mount before = a;
		uint64_t size;
		fs = simfs_after_cut(was, seed);
		boot = "boot-b";
		open_mount(&a);
		CHECK_EQ(shown(&a, "k", &size), 'n');
		close_mount(&a);
		simfs_free(fs);
		fs = was;
		boot = "boot-a";
		a = before;
	}
	dv_node_unref(a.s, na);
	dv_node_unref(b.s, same);
	dv_node_unref(b.s, nb);
	end();
}

static void test_appends_of_both_are_kept(void)
{
	begin();
	struct dv_node *na = create(&a, "log"), *nb = find(&b, "log");
	for (int i = 0; i < 50; i++) {
		CHECK_EQ(write_at(&a, na, "a", 0, DV_WRITE_APPEND, false), 1);
		CHECK_EQ(write_at(&b, nb, "b", 0, DV_WRITE_APPEND, false), 1);
	}
	CHECK(both_show("log", 'a', 100));
	/* Each is to see soon what the other adds: their keepers do not wait for more. */
	CHECK(dv_owners_beside(a.s) && dv_owners_beside(b.s));
	dv_node_unref(a.s, na);
	dv_node_unref(b.s, nb);
	close_mount(&b);
	CHECK(!dv_owners_beside(a.s));
	open_mount(&b);
	end();
}

static void test_a_replaced_value_is_another_node_and_a_packed_one_is_not(void)
{
	struct dv_pack_result r;
	begin();
	make_value("k", false);
	settle(&a);
	struct dv_node *nb = find(&b, "k");
	CHECK_EQ(dv_store_pack_all(a.s, &r), 0);
	struct dv_node *same = find(&b, "k");
	CHECK(same == nb);
	struct dv_node *na = find(&a, "k");
	CHECK_EQ(truncate_it(&a, na, 0), 0);
	write_letter(&a, na, 'a');
	settle(&a);
	struct dv_node *other = find(&b, "k");
	CHECK(other != NULL && other != nb); /* the kernel keeps pages by node */
	CHECK_EQ(dv_node_ino(other), dv_node_ino(nb));
	dv_node_unref(b.s, nb);
	dv_node_unref(b.s, same);
	dv_node_unref(b.s, other);
	dv_node_unref(a.s, na);
	end();
}

static void test_truncating_by_name_what_others_replaced_asks_to_look_again(void)
{
	begin();
	make_value("k", false);
	struct dv_node *nb = find(&b, "k"), *na = find(&a, "k"), *other = create(&a, "new");
	write_at(&b, nb, "o", 0, 0, false); /* it is open there: the old object could be written */
	write_letter(&a, other, 'n');
	CHECK_EQ(dv_store_rename(a.s, &root_call, a.root, "new", a.root, "k", 0), 0);
	CHECK_EQ(truncate_it(&b, nb, DV_SET_BY_NAME), -ESTALE);
	struct dv_node *now = find(&b, "k");
	CHECK_EQ(truncate_it(&b, now, DV_SET_BY_NAME), 0);
	write_letter(&b, now, 'b');
	settle(&b);
	CHECK(both_show("k", 'b', LEN));
	dv_node_unref(b.s, nb);
	dv_node_unref(b.s, now);
	dv_node_unref(a.s, na);
	dv_node_unref(a.s, other);
	end();
}

/* As a program does that works in the store: a new file, renamed over k. */
static void replace_in_store(void)
{
	struct dv_backing k = simfs_backing(fs);
	int root = k.ops->open_root(k.self, "/");
	int fd = k.ops->open(k.self, root, "by-shell", O_RDWR | O_CREAT | O_EXCL, 0644);
	CHECK_EQ(k.ops->pwrite(k.self, fd, "shell", 5, 0), 5);
	CHECK_EQ(k.ops->rename(k.self, root, "by-shell", root, "k", 0), 0);
	k.ops->close(k.self, fd);
	k.ops->close(k.self, root);
}

static void replace_when_raw_is_taken_away(const char *oldname, const char *newname)
{
	(void)newname;
	if (strcmp(oldname, "k") != 0)
		return;
	before_rename = NULL;
	replace_in_store();
}

static void test_what_comes_when_a_packer_takes_the_raw_form_away_is_kept(void)
{
	struct dv_pack_result r;
	begin();
	make_value("k", false);
	settle(&b);
	before_rename = replace_when_raw_is_taken_away;
	CHECK_EQ(dv_store_pack_all(a.s, &r), 0);
	CHECK(before_rename == NULL);
	CHECK(both_show("k", 's', 5));
	end();
}

static bool put_back;

static void see_put_back(const char *oldname, const char *newname)
{
	(void)oldname;
	put_back |= strcmp(newname, "k") == 0;
}

static void open_when_raw_is_taken_away(const char *oldname, const char *newname)
{
	struct dv_backing k = simfs_backing(fs);
	(void)newname;
	if (strcmp(oldname, "k") != 0)
		return;
	before_rename = NULL;
	after_rename = see_put_back;
	int root = k.ops->open_root(k.self, "/");
	/* It would wait for the lease; asking breaks it. */
	CHECK_EQ(k.ops->open(k.self, root, "k", O_RDWR | O_NONBLOCK, 0), -EWOULDBLOCK);
	k.ops->close(k.self, root);
}

static void test_a_file_that_a_writer_wants_is_put_back_by_the_packer(void)
{
	struct dv_pack_result r;
	begin();
	make_value("k", false);
	settle(&b);
	before_rename = open_when_raw_is_taken_away;
	CHECK_EQ(dv_store_pack_all(a.s, &r), 0);
	CHECK(put_back);
	after_rename = NULL;
	CHECK(both_show("k", 'o', LEN));
	end();
}

static void change_names_when_packed(const char *oldname, const char *newname)
{
	const struct dv_call call = {.nowait = true};
	(void)oldname;
	if (strcmp(newname, "k.zst") != 0)
		return;
	after_rename = NULL;
	CHECK_EQ(dv_store_rename(b.s, &call, b.root, "k", b.root, "k2", 0), -EAGAIN);
	CHECK_EQ(dv_store_unlink(b.s, &call, b.root, "k"), -EAGAIN);
}

static void test_names_wait_for_another_mounts_packer(void)
{
	struct dv_pack_result r;
	uint64_t size;
	begin();
	make_value("k", false);
	settle(&b);
	after_rename = change_names_when_packed;
	CHECK_EQ(dv_store_pack_all(a.s, &r), 0);
	CHECK(after_rename == NULL);
	CHECK_EQ(r.packed, 1);
	CHECK_EQ(dv_store_rename(b.s, &root_call, b.root, "k", b.root, "k2", 0), 0);
	CHECK_EQ(shown(&b, "k", &size), '-');
	CHECK(both_show("k2", 'o', LEN));
	CHECK_EQ(dv_store_unlink(b.s, &root_call, b.root, "k2"), 0);
	CHECK_EQ(shown(&a, "k2", &size), '-');
	end();
}

static void rename_before_packed(const char *oldname, const char *newname)
{
	(void)oldname;
	if (strcmp(newname, "k.zst") != 0)
		return;
	before_rename = NULL;
	CHECK_EQ(dv_store_rename(b.s, &root_call, b.root, "k", b.root, "k2", 0), 0);
}

static void test_a_value_renamed_just_before_it_is_packed_is_there_once(void)
{
	struct dv_pack_result r;
	uint64_t size;
	begin();
	make_value("k", false);
	settle(&b);
	before_rename = rename_before_packed;
	CHECK_EQ(dv_store_pack_all(a.s, &r), 0);
	CHECK(before_rename == NULL);
	CHECK_EQ(shown(&b, "k", &size), '-');
	CHECK(both_show("k2", 'o', LEN));
	end();
}

/* ---- what a driver keeps bytes by ---- */

static void edit_before_chmod(void)
{
	before_chmod = NULL;
	struct dv_node *n = find(&b, "k");
	pause_ms(2); /* another mtime */
	write_letter(&b, n, 'x');
	dv_node_unref(b.s, n);
}

static void test_an_edit_in_the_middle_of_a_chmod_has_moved_the_bytes(void)
{
	struct dv_setattr set = {.valid = DV_SET_MODE, .mode = 0600};
	struct dv_stat st;
	begin();
	make_value("k", false);
	struct dv_node *n = find(&a, "k");
	CHECK_EQ(dv_store_getattr(a.s, &root_call, n, &st), 0);
	dv_store_told(n, &st, true);
	CHECK(dv_store_is_told(n, &st));
	CHECK_EQ(dv_store_setattr(a.s, &root_call, n, &set, &st), 0);
	CHECK(!dv_store_bytes_moved(n));
	dv_store_told(n, &st, true);
	before_chmod = edit_before_chmod;
	set.mode = 0640;
	CHECK_EQ(dv_store_setattr(a.s, &root_call, n, &set, &st), 0);
	CHECK(before_chmod == NULL);
	CHECK(dv_store_bytes_moved(n));
	dv_store_told(n, &st, true);
	CHECK(!dv_store_bytes_moved(n));
	dv_store_told_nothing(n);
	CHECK(dv_store_bytes_moved(n));
	dv_node_unref(a.s, n);
	end();
}

/* ---- mounts that come and go ---- */

static unsigned warned;
static bool disturbing;

static void count_warnings(enum dv_log_level level, const char *line)
{
	warned += level == DV_LOG_WARN && strstr(line, "diskvfs info") != NULL;
}

/* As one does that adopts, or makes, a folder there all the time. */
static void disturb(const char *op)
{
	if (disturbing || strcmp(op, "stat"))
		return;
	disturbing = true;
	struct dv_backing k = simfs_backing(fs);
	int root = k.ops->open_root(k.self, "/");
	CHECK_EQ(k.ops->mkdir(k.self, root, ".diskvfs/stage/x", 0700), 0);
	CHECK_EQ(k.ops->rmdir(k.self, root, ".diskvfs/stage/x"), 0);
	k.ops->close(k.self, root);
	disturbing = false;
}

static void test_who_gives_up_waiting_for_other_mounts_recovery_says_so(void)
{
	begin();
	close_mount(&b);
	dv_log_set_sink(count_warnings);
	open_mount(&b);
	CHECK_EQ(warned, 0);
	close_mount(&b);
	simfs_set_before_call(fs, disturb);
	open_mount(&b);
	simfs_set_before_call(fs, NULL);
	CHECK_EQ(warned, 1);
	dv_log_set_sink(NULL);
	end();
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(
			test_of_two_replacements_the_one_written_last_stands_although_it_is_committed_last),
		CHECK_TEST(
			test_of_two_replacements_the_one_written_last_stands_although_it_is_committed_first),
		CHECK_TEST(
			test_what_was_renamed_over_a_value_after_its_replacement_was_written_stands),
		CHECK_TEST(test_a_value_packed_elsewhere_while_it_is_replaced_is_replaced),
		CHECK_TEST(test_edits_of_one_packed_value_wait_for_each_other),
		CHECK_TEST(test_what_another_mount_has_packed_is_durable_once_it_is_synced),
		CHECK_TEST(test_appends_of_both_are_kept),
		CHECK_TEST(test_a_replaced_value_is_another_node_and_a_packed_one_is_not),
		CHECK_TEST(test_truncating_by_name_what_others_replaced_asks_to_look_again),
		CHECK_TEST(test_what_comes_when_a_packer_takes_the_raw_form_away_is_kept),
		CHECK_TEST(test_a_file_that_a_writer_wants_is_put_back_by_the_packer),
		CHECK_TEST(test_names_wait_for_another_mounts_packer),
		CHECK_TEST(test_a_value_renamed_just_before_it_is_packed_is_there_once),
		CHECK_TEST(test_an_edit_in_the_middle_of_a_chmod_has_moved_the_bytes),
		CHECK_TEST(test_who_gives_up_waiting_for_other_mounts_recovery_says_so),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
