/* SPDX-License-Identifier: MIT */
/*
 * test_kept.c - what a driver keeps bytes by: it is told an mtime, and keeps the bytes until it is told another one. Others
 * may write bytes and put the mtime back.
 */
#include "tests/unit/parts_fixture.h"

#include "core/cleanup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct timespec tick = {.tv_nsec = 20000000}; /* of the clock of files */

static void get(struct fix *f)
{
	CHECK_EQ(dv_store_getattr(f->s, &call, f->n, &f->st), 0);
}

/* A program in the store writes a byte of a, and puts the mtime back. */
static void write_and_put_back(struct fix *f)
{
	char path[128];
	struct stat st;
	snprintf(path, sizeof(path), "%s/a", f->path);
	(void)nanosleep(&tick, NULL);
	int fd = open(path, O_RDWR);
	CHECK(fd >= 0 && fstat(fd, &st) == 0);
	CHECK_EQ(pwrite(fd, "X", 1, 7), 1);
	const struct timespec times[2] = {st.st_atim, st.st_mtim};
	CHECK_EQ(futimens(fd, times), 0);
	close(fd);
}

static void begin(struct fix *f)
{
	setup(f);
	make(f, "a");
	write_at(f, 0, 3000, 0);
	get(f);
}

static void test_bytes_of_others_with_the_mtime_put_back_differ(void)
{
	struct fix f;
	begin(&f);
	dv_store_told(f.n, &f.st, false);
	CHECK(!dv_store_bytes_differ(f.n, &f.st));
	CHECK(dv_store_bytes_moved(f.n)); /* what was told need not have been taken */
	const struct timespec was = f.st.mtime;
	write_and_put_back(&f);
	get(&f);
	CHECK(f.st.mtime.tv_sec == was.tv_sec && f.st.mtime.tv_nsec == was.tv_nsec);
	CHECK(dv_store_bytes_differ(f.n, &f.st));
	dv_store_told(f.n, &f.st, false); /* as long as they were not dropped they do */
	CHECK(dv_store_bytes_differ(f.n, &f.st));
	dv_store_told(f.n, &f.st, true);
	CHECK(!dv_store_bytes_differ(f.n, &f.st) && !dv_store_bytes_moved(f.n));
	teardown(&f);
}

static void test_a_ctime_that_was_moved_here_makes_no_bytes_differ(void)
{
	struct dv_setattr set = {.valid = DV_SET_MODE, .mode = 0600};
	struct fix f;
	begin(&f);
	for (int i = 0; i < 6; i++) {
		get(&f);
		CHECK(!dv_store_bytes_differ(f.n, &f.st));
		dv_store_told(f.n, &f.st, true);
		(void)nanosleep(&tick, NULL);
		if (i == 0)
			CHECK_EQ(dv_store_setxattr(f.s, &call, f.n, "user.x", "1", 1, 0), 0);
		else if (i == 1)
			CHECK_EQ(dv_store_rename(f.s, &call, f.root, "a", f.root, "b", 0), 0);
		else if (i == 2)
			write_at(&f, 0, 20 * FRAME, 0);
		else if (i == 3)
			(void)dv_store_run(f.s, true); /* it is packed */
		else if (i == 4)
			CHECK_EQ(dv_store_setattr(f.s, &call, f.n, &set, &f.st), 0);
		if (i == 4) /* the driver tells that itself */
			dv_store_told(f.n, &f.st, true);
	}
	CHECK_EQ(dv_store_link(f.s, &call, f.n, f.root, "c", &f.st), 0);
	CHECK(!dv_store_bytes_differ(f.n, &f.st));
	dv_store_told(f.n, &f.st, true);
	(void)nanosleep(&tick, NULL);
	CHECK_EQ(dv_store_unlink(f.s, &call, f.root, "c"), 0);
	get(&f);
	CHECK(!dv_store_bytes_differ(f.n, &f.st));
	teardown(&f);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_bytes_of_others_with_the_mtime_put_back_differ),
		CHECK_TEST(test_a_ctime_that_was_moved_here_makes_no_bytes_differ),
	};
	dv_log_set_sink(no_log);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
