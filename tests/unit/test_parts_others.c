/* SPDX-License-Identifier: MIT */
/*
 * test_parts_others.c - values in two parts (test_parts.c), and who else has them open, or puts files beside
 * them.
 */
#include "tests/unit/parts_fixture.h"

#include "core/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Another descriptor of what this process has open under the name, with the lock that is on it. -1: it has
 * not. */
static int share(struct fix *f, const char *stored)
{
	char path[128], link[64], to[256];
	int fd = -1;
	snprintf(path, sizeof(path), "%s/%s", f->path, stored);
	DIR *d = opendir("/proc/self/fd");
	CHECK(d != NULL);
	for (struct dirent *e; fd < 0 && (e = readdir(d));) {
		snprintf(link, sizeof(link), "/proc/self/fd/%.20s", e->d_name);
		ssize_t len = readlink(link, to, sizeof(to) - 1);
		if (len <= 0)
			continue;
		to[len] = '\0';
		int own = atoi(e->d_name), flags = fcntl(own, F_GETFL);
		if (strcmp(to, path) == 0 && (flags & O_ACCMODE) == O_RDWR)
			fd = dup(own);
	}
	closedir(d);
	return fd;
}

static void test_an_append_begins_while_the_last_one_is_still_open(void)
{
	struct fix f;
	setup(&f);
	make(&f, "a");
	while (f.len < 20 * FRAME)
		add(&f, 3000);
	(void)dv_store_run(f.s, true);
	CHECK_STR(form(&f), "packed");
	add(&f, 100);
	CHECK_STR(form(&f), "appending");
	int fd = share(&f, "a.zst"); /* as the thread has it that makes frames */
	CHECK(fd >= 0);
	(void)dv_store_run(f.s, true);
	CHECK_STR(form(&f), "packed");
	add(&f, 100);
	CHECK_STR(form(&f), "appending");
	CHECK_EQ(stats(&f).unpacked, 0);
	close(fd);
	check_bytes(&f);
	(void)dv_store_run(f.s, true);
	check_stored(&f, "a.zst");
	teardown(&f);
}

/* What a program in the store writes: a file of its own. */
static int open_stored(struct fix *f, const char *stored, int flags)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", f->path, stored);
	return open(path, flags, 0644);
}

static void write_until(struct fix *f, size_t len)
{
	while (f->len < len)
		add(f, len - f->len < 2000 ? len - f->len : 2000);
}

static void test_a_value_that_a_program_has_open_for_writing_is_not_streamed(void)
{
	struct fix f;
	struct stat own, now;
	setup(&f);
	make(&f, "a");
	add(&f, 1000);
	int fd = open_stored(&f, "a", O_RDWR);
	CHECK(fd >= 0 && fstat(fd, &own) == 0);
	write_until(&f, 20 * FRAME);
	CHECK_STR(form(&f), "raw");
	(void)dv_store_run(f.s, true);
	CHECK_STR(form(&f), "raw");
	CHECK_EQ(pwrite(fd, "HERE", 4, 10), 4);
	memcpy(f.bytes + 10, "HERE", 4);
	check_bytes(&f);
	fd = (close(fd), open_stored(&f, "a", O_RDONLY));
	CHECK(fd >= 0 && fstat(fd, &now) == 0);
	CHECK_EQ(now.st_ino, own.st_ino);
	close(fd);
	/* It has closed it: what comes after some more writes is. */
	for (int i = 0; i < 40; i++)
		add(&f, 1000);
	CHECK_STR(form(&f), "streaming");
	check_bytes(&f);
	(void)dv_store_run(f.s, true);
	CHECK_STR(form(&f), "packed");
	check_stored(&f, "a.zst");
	teardown(&f);
}

static void test_a_program_that_opens_what_streams_for_writing_has_the_value(void)
{
	struct fix f;
	setup(&f);
	make(&f, "a");
	write_until(&f, 20 * FRAME + 7);
	CHECK_STR(form(&f), "streaming");
	/* It would wait for the lease. */
	CHECK_EQ(open_stored(&f, "a", O_RDWR | O_NONBLOCK), -1);
	CHECK_EQ(errno, EWOULDBLOCK);
	CHECK_EQ(dv_store_fsync(f.s, &call, f.n, false), 0);
	int fd = open_stored(&f, "a", O_RDWR | O_NONBLOCK);
	CHECK(fd >= 0);
	CHECK_STR(form(&f), "raw");
	check_bytes(&f);
	CHECK_EQ(pwrite(fd, "HERE", 4, 10), 4);
	memcpy(f.bytes + 10, "HERE", 4);
	add(&f, 500);
	check_bytes(&f);
	close(fd);
	(void)dv_store_run(f.s, true);
	CHECK_STR(form(&f), "packed");
	check_bytes(&f);
	check_stored(&f, "a.zst");
	CHECK_EQ(stats(&f).put_aside, 0);
	teardown(&f);
}

static void test_times_that_are_set_while_it_streams_are_no_change_of_others(void)
{
	struct fix f;
	struct dv_setattr set = {.valid = DV_SET_MTIME, .mtime = {.tv_sec = 1234567890}};
	setup(&f);
	make(&f, "a");
	write_until(&f, 20 * FRAME);
	CHECK_EQ(dv_store_setattr(f.s, &call, f.n, &set, &f.st), 0);
	(void)dv_store_run(f.s, true);
	CHECK_STR(form(&f), "packed");
	CHECK_EQ(stats(&f).joined, 0);
	CHECK_EQ(stats(&f).streamed, 1);
	teardown(&f);
}

/* Another process streams a value of so many bytes, and dies. */
static void die_while_streaming(struct fix *f, size_t len)
{
	close_store(f);
	f->len = 0;
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		open_store(f);
		make(f, "a");
		write_until(f, len);
		CHECK_STR(form(f), "streaming");
		_exit(0);
	}
	int status = -1;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	for (f->seed = 0; f->len < len;) { /* the same bytes here */
		size_t part = len - f->len < 2000 ? len - f->len : 2000;
		fill(f, f->len, part, false);
		f->len += part;
	}
}

static void add_to_stored(struct fix *f, const char *stored, const char *text)
{
	int fd = open_stored(f, stored, O_WRONLY | O_CREAT | O_APPEND);
	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void test_a_stream_that_died_beside_a_file_of_others_is_raw_beside_it(void)
{
	struct fix f;
	char text[32] = "";
	setup(&f);
	die_while_streaming(&f, 20 * FRAME + 7);
	add_to_stored(&f, "a.zst", "of others");
	open_store(&f);
	look_up(&f, "a");
	CHECK_STR(form(&f), "raw");
	check_bytes(&f);
	CHECK_EQ(f.st.mode & 07777, 0640);
	CHECK_EQ(stats(&f).put_aside, 0);
	int fd = open_stored(&f, "a.zst", O_RDONLY);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	CHECK_STR(text, "of others");
	close(fd);
	close_store(&f);
	open_store(&f);
	look_up(&f, "a");
	check_bytes(&f);
	teardown(&f);
}

static void test_what_a_program_added_to_a_stream_that_died_is_kept(void)
{
	struct fix f;
	struct stat st;
	char path[128];
	setup(&f);
	die_while_streaming(&f, 20 * FRAME + 7);
	add_to_stored(&f, "a", "of others");
	snprintf(path, sizeof(path), "%s/a", f.path);
	CHECK_EQ(stat(path, &st), 0);
	open_store(&f);
	look_up(&f, "a");
	CHECK_STR(form(&f), "raw");
	CHECK_EQ(f.st.size, st.st_size);
	CHECK_EQ(stats(&f).put_aside, 1); /* the stream */
	CHECK(!is_there(&f, "a.zst"));
	teardown(&f);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_an_append_begins_while_the_last_one_is_still_open),
		CHECK_TEST(test_a_value_that_a_program_has_open_for_writing_is_not_streamed),
		CHECK_TEST(test_a_program_that_opens_what_streams_for_writing_has_the_value),
		CHECK_TEST(test_a_stream_that_died_beside_a_file_of_others_is_raw_beside_it),
		CHECK_TEST(test_what_a_program_added_to_a_stream_that_died_is_kept),
		CHECK_TEST(test_times_that_are_set_while_it_streams_are_no_change_of_others),
	};
	dv_log_set_sink(no_log);
	signal(SIGIO, SIG_IGN); /* a lease that is broken, as in the daemon */
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
