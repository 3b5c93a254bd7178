/* SPDX-License-Identifier: MIT */
/*
 * test_inherit.c - a mount dies while another one of the store lives (recover_beside.c): what it had pending is
 * finished before the other one changes the value, and whatever else lies in the stage folder.
 */
#include "tests/unit/parts_fixture.h"

#include "core/cleanup.h"
#include "core/internal.h"
#include "core/owner.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_until(struct fix *f, size_t len)
{
	while (f->len < len)
		add(f, len - f->len < 2000 ? len - f->len : 2000);
}

static void look_up_in(struct fix *f, const char *dir)
{
	struct dv_node *n;
	CHECK_EQ(dv_store_lookup(f->s, &call, f->root, dir, &n, &f->st), 0);
	dv_node_unref(f->s, f->root);
	f->root = n;
	look_up(f, "a");
}

/* Another mount, beside this one, writes bytes that were filled in, and dies with them pending. */
static void others_die_writing_in(struct fix *f, const char *dir, size_t off, size_t len, bool sync)
{
	fill(f, off, len, false);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		f->n = NULL;
		open_store(f);
		if (dir)
			look_up_in(f, dir);
		else
			look_up(f, "a");
		CHECK_EQ(dv_store_write(f->s, &call, f->n, f->bytes + off,
					(struct dv_range){off, len}, 0),
			 (ssize_t)len);
		CHECK(!sync || dv_store_fsync(f->s, &call, f->n, false) == 0);
		_exit(0);
	}
	int status = -1;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	if (off + len > f->len)
		f->len = off + len;
}

static void others_die_writing(struct fix *f, size_t off, size_t len, bool sync)
{
	others_die_writing_in(f, NULL, off, len, sync);
}

static void make_packed(struct fix *f, size_t len)
{
	setup(f);
	make(f, "a");
	write_until(f, len);
	(void)dv_store_run(f->s, true);
	(void)dv_store_run(f->s, true);
	CHECK_STR(form(f), "packed");
}

static void test_what_a_dead_mount_has_added_comes_before_what_is_added_then(void)
{
	for (int i = 0; i < 4; i++) {
		struct fix f;
		make_packed(&f, 20 * FRAME + 7);
		others_die_writing(&f, f.len, i & 1 ? 100 : 9 * FRAME + 5, i & 2);
		/* Where the kernel of this mount still takes the old size for the end, too. */
		write_at(&f, f.len, 300, DV_WRITE_APPEND);
		CHECK_STR(form(&f), "appending");
		CHECK_EQ(stats(&f).recovered, 1);
		check_bytes(&f);
		(void)dv_store_run(f.s, true);
		check_stored(&f, "a.zst");
		close_store(&f);
		open_store(&f);
		CHECK_EQ(stats(&f).recovered, 0);
		look_up(&f, "a");
		check_bytes(&f);
		teardown(&f);
	}
}

static void test_what_a_dead_mount_has_added_comes_before_an_edit(void)
{
	struct fix f;
	make_packed(&f, 20 * FRAME + 7);
	others_die_writing(&f, f.len, 9 * FRAME, true);
	write_at(&f, 100, 300, 0);
	check_bytes(&f);
	CHECK_EQ(stats(&f).put_aside, 0);
	teardown(&f);
}

static void test_a_dead_mount_s_edit_comes_before_the_next_one(void)
{
	struct fix f;
	make_packed(&f, 20 * FRAME + 7);
	others_die_writing(&f, 5 * FRAME, 300, false);
	write_at(&f, 100, 300, 0);
	CHECK_EQ(stats(&f).recovered, 1);
	check_bytes(&f);
	CHECK_EQ(stats(&f).put_aside, 0);
	(void)dv_store_run(f.s, true);
	check_bytes(&f);
	teardown(&f);
}

static void test_what_can_not_be_finished_is_waited_for_once(void)
{
	struct fix f;
	char path[160];
	make_packed(&f, 20 * FRAME + 7);
	snprintf(path, sizeof(path), "%s/.diskvfs/stage/dead", f.path);
	CHECK_EQ(mkdir(path, 0700), 0);
	strcat(path, "/owner"); /* that is no file: who it is can not be read */
	CHECK_EQ(mkdir(path, 0700), 0);
	write_at(&f, f.len, 300, DV_WRITE_APPEND); /* else EBUSY, as for a lock that is kept */
	write_at(&f, 100, 300, 0);
	check_bytes(&f);
	CHECK_EQ(rmdir(path), 0);
	*strrchr(path, '/') = '\0';
	CHECK_EQ(rmdir(path), 0);
	teardown(&f);
}

/* An owner's folder that nobody can finish, since it is another user's. */
static void leave_unfinishable(struct fix *f, char path[160])
{
	snprintf(path, 160, "%s/.diskvfs/stage/dead", f->path);
	CHECK_EQ(mkdir(path, 0700), 0);
	strcat(path, "/owner");
	CHECK_EQ(mkdir(path, 0700), 0);
}

static void remove_unfinishable(char path[160])
{
	CHECK_EQ(rmdir(path), 0);
	*strrchr(path, '/') = '\0';
	CHECK_EQ(rmdir(path), 0);
}

static void test_who_dies_beside_what_can_not_be_finished_is_seen(void)
{
	struct fix f;
	char path[160], go = 1;
	int there[2], on[2], status = -1;
	make_packed(&f, 20 * FRAME + 7);
	CHECK(pipe(there) == 0 && pipe(on) == 0);
	size_t off = f.len + 300, len = 9 * FRAME;
	fill(&f, off, len, false);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) { /* is there before, and dies after, it is known what can not be finished */
		f.n = NULL;
		open_store(&f);
		CHECK_EQ(write(there[1], &go, 1), 1);
		CHECK_EQ(read(on[0], &go, 1), 1);
		look_up(&f, "a");
		CHECK_EQ(dv_store_write(f.s, &call, f.n, f.bytes + off, (struct dv_range){off, len},
					0),
			 (ssize_t)len);
		CHECK_EQ(dv_store_fsync(f.s, &call, f.n, false), 0);
		_exit(0);
	}
	CHECK_EQ(read(there[0], &go, 1), 1);
	leave_unfinishable(&f, path);
	write_at(&f, f.len, 300, DV_WRITE_APPEND);
	(void)dv_store_run(f.s, true);
	CHECK_STR(form(&f), "packed");
	CHECK_EQ(write(on[1], &go, 1), 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	f.len = off + len;
	write_at(&f, f.len, 300, DV_WRITE_APPEND);
	CHECK_EQ(stats(&f).recovered, 1);
	check_bytes(&f);
	(void)dv_store_run(f.s, true);
	check_stored(&f, "a.zst");
	for (int i = 0; i < 2; i++)
		CHECK(close(there[i]) == 0 && close(on[i]) == 0);
	remove_unfinishable(path);
	teardown(&f);
}

/* Root has the store of a user open, too: that user may not look into root's folder. */
static void test_a_folder_that_may_not_be_looked_into_keeps_no_writer_away(void)
{
	struct fix f;
	char path[160];
	uid_t self = geteuid(), user = self ? self : 65534;
	CHECK_EQ(seteuid(user), 0);
	make_packed(&f, 20 * FRAME + 7);
	snprintf(path, sizeof(path), "%s/.diskvfs/stage/roots", f.path);
	CHECK(seteuid(self) == 0 && mkdir(path, 0) == 0 && seteuid(user) == 0);
	write_at(&f, f.len, 300, DV_WRITE_APPEND);
	write_at(&f, 100, 300, 0);
	check_bytes(&f);
	CHECK(seteuid(self) == 0 && rmdir(path) == 0 && seteuid(user) == 0);
	teardown(&f);
	CHECK_EQ(seteuid(self), 0);
}

#define LOOKS 2000

static void *look_often(void *arg)
{
	struct dv_store *s = arg;
	intptr_t seen = 0;
	for (int i = 0; i < LOOKS; i++)
		seen += dv_owners_dead(s, &(uint64_t){0}) == -EAGAIN;
	return (void *)seen;
}

static void test_threads_that_look_at_once_see_who_is_dead(void)
{
	struct fix f;
	char path[160];
	pthread_t threads[4];
	setup(&f);
	leave_unfinishable(&f, path);
	for (size_t i = 0; i < DV_ARRAY_LEN(threads); i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, look_often, f.s), 0);
	for (size_t i = 0; i < DV_ARRAY_LEN(threads); i++) {
		void *seen;
		CHECK_EQ(pthread_join(threads[i], &seen), 0);
		CHECK_EQ((intptr_t)seen, LOOKS);
	}
	remove_unfinishable(path);
	teardown(&f);
}

static void test_what_a_dead_mount_has_added_goes_with_a_rename(void)
{
	for (int edit = 0; edit < 2; edit++) {
		struct fix f;
		make_packed(&f, 20 * FRAME + 7);
		others_die_writing(&f, edit ? 5 * FRAME : f.len, 9 * FRAME, true);
		CHECK_EQ(dv_store_rename(f.s, &call, f.root, "a", f.root, "b", 0), 0);
		look_up(&f, "b");
		check_bytes(&f);
		close_store(&f);
		open_store(&f);
		look_up(&f, "b");
		check_bytes(&f);
		CHECK_EQ(stats(&f).put_aside, 0);
		teardown(&f);
	}
}

static void test_what_a_dead_mount_has_added_goes_with_its_directory(void)
{
	struct fix f;
	struct dv_node *d;
	make_packed(&f, 20 * FRAME + 7);
	CHECK_EQ(dv_store_mkdir(f.s, &call, f.root, "d", 0755, &d, &f.st), 0);
	CHECK_EQ(dv_store_rename(f.s, &call, f.root, "a", d, "a", 0), 0);
	dv_node_unref(f.s, d);
	others_die_writing_in(&f, "d", f.len, 9 * FRAME, true);
	CHECK_EQ(dv_store_rename(f.s, &call, f.root, "d", f.root, "e", 0), 0);
	look_up_in(&f, "e");
	check_bytes(&f);
	CHECK_EQ(stats(&f).put_aside, 0);
	teardown(&f);
}

/* Another mount replaces f's value with bytes that were filled in, and dies before it has put them in place. */
static void others_die_replacing(struct fix *f, const char *name, size_t len)
{
	struct dv_setattr set = {.valid = DV_SET_SIZE, .size = 0};
	int status = -1;
	fill(f, 0, len, false);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		f->n = NULL;
		open_store(f);
		look_up(f, name);
		CHECK_EQ(dv_store_setattr(f->s, &call, f->n, &set, &f->st), 0);
		for (size_t off = 0; off < len; off += 1000) {
			size_t part = len - off < 1000 ? len - off : 1000;
			CHECK_EQ(dv_store_write(f->s, &call, f->n, f->bytes + off,
						(struct dv_range){off, part}, 0),
				 (ssize_t)part);
		}
		CHECK_STR(form(f), len < STREAM ? "replacing" : "streaming");
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	f->len = len;
}

static void make_raw(struct fix *f)
{
	setup(f);
	make(f, "other");
	write_at(f, 0, 100, 0);
	make(f, "b");
	write_until(f, 3000); /* which is not worth packing */
	close_store(f);	      /* so that nobody has it open */
	open_store(f);
	look_up(f, "b");
	CHECK_STR(form(f), "raw");
}

static void check_inherited(struct fix *f, const char *name)
{
	CHECK_EQ(stats(f).recovered, 1);
	CHECK_EQ(stats(f).put_aside, 0);
	CHECK_EQ(dv_store_getattr(f->s, &call, f->n, &f->st), 0);
	CHECK_EQ(f->st.size, f->len);
	check_bytes(f);
	close_store(f);
	open_store(f);
	look_up(f, name);
	check_bytes(f);
	CHECK_EQ(stats(f).put_aside, 0);
	teardown(f);
}

static void test_a_dead_mount_s_replacement_comes_before_a_write(void)
{
	for (int large = 0; large < 2; large++) {
		struct fix f;
		make_raw(&f);
		uint64_t ino = f.st.ino;
		others_die_replacing(&f, "b", large ? 9 * FRAME + 5 : 300);
		write_at(&f, 100, 500, 0); /* by one who has opened it: no ESTALE */
		check_inherited(&f, "b");
		CHECK_EQ(f.st.ino, ino);
	}
}

static void test_a_dead_mount_s_replacement_comes_before_a_truncation(void)
{
	struct fix f;
	make_raw(&f);
	others_die_replacing(&f, "b", 300);
	set_size(&f, 5000);
	check_inherited(&f, "b");
}

static void test_a_dead_mount_s_replacement_of_a_packed_value_comes_before_an_edit(void)
{
	for (int large = 0; large < 2; large++) {
		struct fix f;
		make_packed(&f, 20 * FRAME + 7);
		others_die_replacing(&f, "a", large ? 9 * FRAME + 5 : 300);
		write_at(&f, 100, 500, 0);
		check_inherited(&f, "a");
	}
}

static void test_a_dead_mount_s_replacement_of_a_packed_value_comes_before_what_is_added(void)
{
	struct fix f;
	make_packed(&f, 20 * FRAME + 7);
	others_die_replacing(&f, "a", 9 * FRAME + 5);
	fill(&f, f.len, 500, false);
	CHECK_EQ(dv_store_write(f.s, &call, f.n, f.bytes + f.len,
				(struct dv_range){20 * FRAME + 7, 500}, DV_WRITE_APPEND),
		 500);
	f.len += 500;
	check_inherited(&f, "a");
}

/* Its times are later than those of the replacement, but nobody has written to it. */
static void test_a_value_with_a_time_to_come_is_replaced_by_what_was_pending(void)
{
	for (int large = 0; large < 2; large++) {
		const struct timespec times[2] = {{.tv_sec = 4000000000}, {.tv_sec = 4000000000}};
		struct fix f;
		char path[160];
		make_raw(&f);
		snprintf(path, sizeof(path), "%s/b", f.path);
		CHECK_EQ(utimensat(AT_FDCWD, path, times, 0), 0);
		others_die_replacing(&f, "b", large ? 9 * FRAME + 5 : 300);
		usleep(20000); /* ticks of the clock of files */
		CHECK_EQ(chmod(path, 0600), 0);
		close_store(&f);
		open_store(&f);
		look_up(&f, "b");
		check_inherited(&f, "b");
	}
}

/* What is replaced later, by a mount that lives, is another value, as it always is. */
static void test_a_value_that_a_dead_mount_had_nothing_of_is_told_from_what_replaces_it(void)
{
	struct fix f;
	struct dv_node *before;
	int status = -1;
	make_packed(&f, 20 * FRAME + 7);
	before = f.n;
	f.n = NULL;
	make(&f, "b"); /* pending when that mount dies */
	write_at(&f, 0, 100, 0);
	others_die_replacing(&f, "b", 300);
	CHECK_EQ(dv_store_write(f.s, &call, before, "x", (struct dv_range){5, 1}, 0), 1);
	CHECK_EQ(stats(&f).recovered, 1);
	(void)dv_store_run(f.s, true);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		struct dv_setattr set = {.valid = DV_SET_SIZE, .size = 0};
		f.n = NULL;
		open_store(&f);
		look_up(&f, "a");
		CHECK_EQ(dv_store_setattr(f.s, &call, f.n, &set, &f.st), 0);
		CHECK_EQ(dv_store_write(f.s, &call, f.n, "new", (struct dv_range){0, 3}, 0), 3);
		close_store(&f);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	look_up(&f, "a");
	CHECK(f.n != before);
	CHECK_EQ(f.st.size, 3);
	dv_node_unref(f.s, before);
	teardown(&f);
}

/* A change of another value, by which the work of the dead is found. */
static void write_other(struct fix *f)
{
	struct dv_node *n = NULL;
	CHECK_EQ(dv_store_lookup(f->s, &call, f->root, "other", &n, &f->st), 0);
	CHECK_EQ(dv_store_write(f->s, &call, n, "x", (struct dv_range){5, 1}, 0), 1);
	dv_node_unref(f->s, n);
}

/*
 * Of who has the value open for writing already nobody hears: the dead one's replacement is put aside, since it came
 * before.
 */
static void test_what_was_written_after_a_mount_died_is_not_replaced_by_it(void)
{
	for (int large = 0; large < 2; large++) {
		struct fix f, dead;
		make_raw(&f);
		write_at(&f, 50, 10, 0);
		dead = f;
		dead.bytes = calloc(1, MAX + 64);
		CHECK(dead.bytes != NULL);
		others_die_replacing(&dead, "b", large ? 9 * FRAME + 5 : 300);
		free(dead.bytes);
		usleep(20000); /* ticks of the clock of files */
		write_at(&f, 100, 300, 0);
		CHECK_EQ(dv_store_fsync(f.s, &call, f.n, false), 0);
		write_other(&f);
		CHECK_EQ(stats(&f).recovered, 1);
		CHECK_EQ(stats(&f).put_aside, 1);
		look_up(&f, "b");
		check_bytes(&f);
		teardown(&f);
	}
}

static void test_writers_wait_for_the_thread_that_finishes_a_dead_mount_s_work(void)
{
	struct fix f;
	struct dv_call waiting = {.parks = true, .waited_ns = 20000000000};
	make_packed(&f, 20 * FRAME + 7);
	others_die_writing(&f, f.len, 100, true);
	CHECK_EQ(pthread_mutex_lock(&f.s->inherit_lock), 0); /* it takes long */
	CHECK_EQ(dv_store_write(f.s, &waiting, f.n, "x", (struct dv_range){5, 1}, 0), -EINPROGRESS);
	CHECK_EQ(dv_store_rename(f.s, &waiting, f.root, "a", f.root, "b", 0), -EINPROGRESS);
	CHECK_EQ(pthread_mutex_unlock(&f.s->inherit_lock), 0);
	write_at(&f, 5, 1, 0);
	check_bytes(&f);
	teardown(&f);
}

static void test_what_a_dead_mount_left_raw_is_packed(void)
{
	struct fix f = {0};
	int status = -1;
	make_packed(&f, 20 * FRAME + 7);
	close_store(&f);
	f.background = true;
	open_store(&f);
	look_up(&f, "a");
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		static char text[20000];
		f.n = NULL;
		f.background = false;
		open_store(&f);
		CHECK_EQ(dv_store_mknod(f.s, &call, f.root, "b", S_IFREG | 0640, 0, &f.n, &f.st),
			 0);
		CHECK_EQ(dv_store_write(f.s, &call, f.n, text, (struct dv_range){0, sizeof(text)},
					0),
			 (ssize_t)sizeof(text));
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK(is_there(&f, "b") && !is_there(&f, "b.zst"));
	write_at(&f, f.len, 300, DV_WRITE_APPEND); /* by which it is found that one has died */
	for (int i = 0; i < 3000 && is_there(&f, "b"); i++)
		usleep(10000);
	CHECK(!is_there(&f, "b") && is_there(&f, "b.zst"));
	teardown(&f);
}

static void test_what_a_dead_mount_has_added_comes_before_a_rename_over_raw(void)
{
	struct fix f;
	struct dv_node *b = NULL;
	make_packed(&f, 20 * FRAME + 7);
	CHECK_EQ(dv_store_mknod(f.s, &call, f.root, "b", S_IFREG | 0640, 0, &b, &f.st), 0);
	others_die_writing(&f, f.len, 9 * FRAME, true);
	CHECK_EQ(dv_store_rename(f.s, &call, f.root, "a", f.root, "b", 0), 0);
	CHECK_EQ(stats(&f).recovered, 1);
	check_bytes(&f);
	dv_node_unref(f.s, b);
	teardown(&f);
}

/* A child has threads of its own, and touches nothing of its parent's. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_what_a_dead_mount_has_added_comes_before_what_is_added_then),
		CHECK_TEST(test_what_a_dead_mount_has_added_comes_before_an_edit),
		CHECK_TEST(test_a_dead_mount_s_edit_comes_before_the_next_one),
		CHECK_TEST(test_what_can_not_be_finished_is_waited_for_once),
		CHECK_TEST(test_who_dies_beside_what_can_not_be_finished_is_seen),
		CHECK_TEST(test_a_folder_that_may_not_be_looked_into_keeps_no_writer_away),
		CHECK_TEST(test_threads_that_look_at_once_see_who_is_dead),
		CHECK_TEST(test_what_a_dead_mount_has_added_goes_with_a_rename),
		CHECK_TEST(test_what_a_dead_mount_has_added_goes_with_its_directory),
		CHECK_TEST(test_a_dead_mount_s_replacement_comes_before_a_write),
		CHECK_TEST(test_a_dead_mount_s_replacement_comes_before_a_truncation),
		CHECK_TEST(test_a_dead_mount_s_replacement_of_a_packed_value_comes_before_an_edit),
		CHECK_TEST(
			test_a_dead_mount_s_replacement_of_a_packed_value_comes_before_what_is_added),
		CHECK_TEST(test_a_value_with_a_time_to_come_is_replaced_by_what_was_pending),
		CHECK_TEST(
			test_a_value_that_a_dead_mount_had_nothing_of_is_told_from_what_replaces_it),
		CHECK_TEST(test_what_was_written_after_a_mount_died_is_not_replaced_by_it),
		CHECK_TEST(test_writers_wait_for_the_thread_that_finishes_a_dead_mount_s_work),
		CHECK_TEST(test_what_a_dead_mount_left_raw_is_packed),
		CHECK_TEST(test_what_a_dead_mount_has_added_comes_before_a_rename_over_raw),
	};
	dv_log_set_sink(no_log);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
