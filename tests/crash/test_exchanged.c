/* SPDX-License-Identifier: MIT */
/*
 * test_exchanged.c - a commit exchanges its stage with the value's file, and a program in the store
 * puts another file under the name just then (stage_publish.c): before each renaming of the commit, or
 * of a recovery that makes it after a kill. Then the power goes, at each change from there on. What the
 * program put there is durable and came last, so that it is under the name, or in lost/, whatever of
 * names and records the power has taken; and of what was superseded nothing is in lost/.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "core/meta.h"
#include "tests/support/check.h"
#include "tests/support/workloads.h"
#include "tests/support/world.h"

#include <dirent.h>
#include <fcntl.h>

#define DISKS	6
#define PROGRAM "by a program in the store"

struct kind {
	const char *transform, *stored; /* what the program puts in its place */
	bool parts;
	const char *before, *replace;
};

static const struct kind kinds[] = {
	{"path", "a", false, "put a 3000; fsync a", "put a 2000"},
	{"path", "a.zst", true, "put a 20000; fsync a; run", "put a 13000; append a 20000"},
	{"path@diskv:gzip", "a", false, "put a 3000; fsync a", "put a 2000"},
};

static struct {
	struct simfs *fs;
	const struct kind *kind;
	unsigned long at, calls; /* the program comes at this renaming */
	unsigned long cut;	 /* the power goes at this change from there on */
	bool came;
	struct dv_stat old; /* of the value's object at first */
} play;

static void no_log(enum dv_log_level level, const char *line)
{
	(void)level;
	(void)line;
}

static int open_in(const struct dv_backing *b, const char *folder)
{
	int root = b->ops->open_root(b->self, "/store");
	int fd = b->ops->open(b->self, root, folder, O_RDONLY | O_DIRECTORY, 0);
	b->ops->close(b->self, root);
	return fd;
}

static void put64(uint8_t *at, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

/* As another mount's replacement has it: with the number of the value (meta.c tells the layout). */
static void tag_file(const struct dv_backing *b, int fd, const struct dv_stat *old)
{
	uint8_t tag[64] = {1, 0, 0x12, 0x34};
	struct dv_ident id = {.ino = old->ino, .btime_ns = dv_time_ns(old->btime)};
	struct dv_stat st;
	CHECK_EQ(b->ops->stat(b->self, fd, "", &st), 0);
	put64(tag + 8, dv_meta_ino(&id));
	put64(tag + 16, st.ino);
	put64(tag + 40, (uint64_t)dv_time_ns(st.btime));
	CHECK_EQ(b->ops->setxattr(b->self, fd, DV_TAG_NAME, tag, sizeof(tag), 0), 0);
}

/* Its file is ready, and durable. */
static void make_file(struct simfs *fs, const char *stored, bool tagged)
{
	struct dv_backing b = simfs_backing(fs);
	int root = open_in(&b, ".");
	int fd = b.ops->open(b.self, root, "ready", O_RDWR | O_CREAT | O_EXCL, 0644);
	CHECK_EQ(b.ops->pwrite(b.self, fd, PROGRAM, sizeof(PROGRAM), 0), sizeof(PROGRAM));
	CHECK_EQ(b.ops->stat(b.self, root, stored, &play.old), 0);
	if (tagged)
		tag_file(&b, fd, &play.old);
	CHECK_EQ(b.ops->fsync(b.self, fd), 0);
	CHECK_EQ(b.ops->fsync(b.self, root), 0);
	b.ops->close(b.self, fd);
	b.ops->close(b.self, root);
}

static void before_call(const char *op)
{
	if (play.came || strcmp(op, "rename") != 0 || ++play.calls != play.at)
		return;
	play.came = true;
	struct dv_backing b = simfs_backing(play.fs);
	int root = open_in(&b, ".");
	CHECK_EQ(b.ops->rename(b.self, root, "ready", root, play.kind->stored, 0), 0);
	CHECK_EQ(b.ops->fsync(b.self, root), 0);
	b.ops->close(b.self, root);
	simfs_power_cut_at(play.fs, play.cut);
}

/* -> how many files of the folder are the program's; *old: the old object is there, too. */
static unsigned count_in(struct simfs *fs, const char *folder, bool *old)
{
	char names[4096], bytes[sizeof(PROGRAM) + 1];
	struct dv_dirent ents[64];
	struct dv_backing b = simfs_backing(fs);
	unsigned found = 0;
	int dir = open_in(&b, folder);
	ssize_t n = dir < 0 ? 0 : b.ops->readdir(b.self, dir, 0, names, sizeof(names), ents, 64);
	*old = false;
	for (ssize_t i = 0; i < n; i++) {
		int fd = ents[i].type == DT_REG
				 ? b.ops->open(b.self, dir, ents[i].name, O_RDONLY, 0)
				 : -1;
		if (fd < 0)
			continue;
		ssize_t got = b.ops->pread(b.self, fd, bytes, sizeof(bytes), 0);
		found += got == sizeof(PROGRAM) && memcmp(bytes, PROGRAM, sizeof(PROGRAM)) == 0;
		struct dv_stat st;
		CHECK_EQ(b.ops->stat(b.self, fd, "", &st), 0);
		*old |= st.ino == play.old.ino && st.size == play.old.size;
		b.ops->close(b.self, fd);
	}
	if (dir >= 0)
		b.ops->close(b.self, dir);
	return found;
}

static void check_found(struct simfs *disk, const char *when, uint64_t seed)
{
	bool old;
	unsigned found = count_in(disk, ".", &old) + count_in(disk, ".diskvfs/lost", &old);
	if (found == 1 && !old)
		return;
	fprintf(stderr, "%s, %sdisk %u: found %u times%s\n", world_context_text(), when,
		(unsigned)seed, found, old ? ", and what was superseded is in lost/" : "");
	simfs_dump(disk, stderr);
	exit(1);
}

static void check_disk(struct world *w, uint64_t seed)
{
	struct simfs *disk = simfs_after_cut(play.fs, seed);
	struct dv_store *dead = w->s;
	w->s = NULL;
	CHECK_EQ(world_open(w, disk, WORLD_OTHER_BOOT), 0);
	CHECK_EQ(dv_store_close(&w->s, NULL), 0);
	w->s = dead;
	check_found(disk, "", seed);
	for (uint64_t other = 0; other < 4;
	     other++) { /* and once more, as soon as it has recovered */
		struct simfs *again = simfs_after_cut(disk, other);
		w->s = NULL;
		CHECK_EQ(world_open(w, again, WORLD_OTHER_BOOT), 0);
		CHECK_EQ(dv_store_close(&w->s, NULL), 0);
		w->s = dead;
		check_found(again, "then ", other);
		simfs_free(again);
	}
	simfs_free(disk);
}

/* The next mount, whose recovery meets the program. */
static void recover(struct world *w)
{
	struct dv_store *dead;
	play.fs = world_kill(w, &dead);
	simfs_set_before_call(play.fs, before_call);
	if (world_open(w, play.fs, WORLD_BOOT) == 0)
		(void)dv_store_close(&w->s, NULL);
	simfs_set_before_call(play.fs, NULL);
	w->s = dead;
}

static void commit(struct world *w)
{
	play.fs = w->fs;
	simfs_set_before_call(w->fs, before_call);
	(void)dv_store_run(w->s, true);
	simfs_set_before_call(w->fs, NULL);
}

/* -> did the power go? */
static bool cut_at(const struct kind *k, unsigned long at, unsigned long cut, unsigned how)
{
	struct world w;
	bool ordered = how & 1, killed = how & 2, tagged = how & 4;
	world_context(
		"%s over %s%s, a program at renaming %lu, the power at change %lu behind it, %s",
		k->replace, k->stored, killed ? ", killed" : "", at, cut,
		ordered ? "in order" : "in any order");
	world_small_limits(k->parts);
	world_init(&w, WORLD_POWER, k->transform);
	simfs_set_ordered(w.fs, ordered);
	CHECK(world_run(&w, k->before));
	CHECK(world_run(&w, k->replace));
	make_file(w.fs, k->stored, tagged);
	play.kind = k;
	play.at = at;
	play.cut = cut;
	play.calls = 0;
	play.came = false;
	(killed ? recover : commit)(&w);
	bool gone = simfs_is_cut(play.fs);
	for (uint64_t seed = 0; seed < (killed ? DISKS / 2 : DISKS) && gone; seed++)
		check_disk(&w, seed);
	if (killed)
		simfs_free(play.fs);
	world_release(&w);
	world_small_limits(false);
	return gone;
}

static void come_at_each_renaming(unsigned how)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(kinds); i++) {
		unsigned long at = 0;
		do {
			at++;
			for (unsigned long cut = 1; cut_at(&kinds[i], at, cut, how); cut++)
				;
		} while (play.came);
		CHECK(at > 1);
	}
}

static void test_what_a_program_puts_under_a_name_at_a_commit_outlives_a_power_cut(void)
{
	come_at_each_renaming(0);
	come_at_each_renaming(1);
}

static void test_what_a_program_puts_under_a_name_at_a_recovery_outlives_a_power_cut(void)
{
	come_at_each_renaming(2);
	come_at_each_renaming(3);
}

static void test_what_another_mount_puts_under_a_name_at_a_recovery_outlives_a_power_cut(void)
{
	come_at_each_renaming(6);
	come_at_each_renaming(7);
}

/* A program opens the value of a store without a mount, and writes to it. */
static void write_as_program(struct simfs *fs, const char *stored)
{
	struct dv_backing b = simfs_backing(fs);
	int root = open_in(&b, ".");
	int fd = b.ops->open(b.self, root, stored, O_RDWR, 0);
	CHECK_EQ(b.ops->pwrite(b.self, fd, PROGRAM, sizeof(PROGRAM), 0), sizeof(PROGRAM));
	b.ops->close(b.self, fd);
	b.ops->close(b.self, root);
}

static void check_is_program_s(struct simfs *fs, const char *stored)
{
	char bytes[sizeof(PROGRAM)];
	struct dv_backing b = simfs_backing(fs);
	int root = open_in(&b, ".");
	int fd = b.ops->open(b.self, root, stored, O_RDONLY, 0);
	CHECK_EQ(b.ops->pread(b.self, fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	if (memcmp(bytes, PROGRAM, sizeof(bytes)) != 0) {
		fprintf(stderr, "%s: it is not\n", world_context_text());
		simfs_dump(fs, stderr);
		exit(1);
	}
	b.ops->close(b.self, fd);
	b.ops->close(b.self, root);
}

/* -> was it killed? */
static bool killed_at(unsigned long change)
{
	const struct kind *k = &kinds[0];
	struct world w;
	struct dv_store *dead;
	world_context("%s, killed at change %lu of its commit", k->replace, change);
	world_init(&w, WORLD_PROCESS, k->transform);
	CHECK(world_run(&w, k->before));
	CHECK(world_run(&w, k->replace));
	simfs_power_cut_at(w.fs, change);
	(void)dv_store_run(w.s, true);
	bool killed = simfs_is_cut(w.fs);
	struct simfs *disk = world_kill(&w, &dead);
	write_as_program(disk, k->stored);
	CHECK_EQ(world_open(&w, disk, WORLD_BOOT), 0);
	CHECK_EQ(dv_store_close(&w.s, NULL), 0);
	check_is_program_s(disk, k->stored);
	w.s = dead;
	simfs_free(disk);
	world_release(&w);
	return killed;
}

static void test_what_a_program_writes_after_a_kill_in_a_commit_is_the_value(void)
{
	unsigned long change = 1;
	while (killed_at(change))
		change++;
	CHECK(change > 3);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_what_a_program_puts_under_a_name_at_a_commit_outlives_a_power_cut),
		CHECK_TEST(
			test_what_a_program_puts_under_a_name_at_a_recovery_outlives_a_power_cut),
		CHECK_TEST(
			test_what_another_mount_puts_under_a_name_at_a_recovery_outlives_a_power_cut),
		CHECK_TEST(test_what_a_program_writes_after_a_kill_in_a_commit_is_the_value),
	};
	dv_log_set_sink(no_log);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
