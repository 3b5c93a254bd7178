/* SPDX-License-Identifier: MIT */
/*
 * test_parts_others.c - values in two parts (test_parts.c), and who else has them open, or puts files beside
 * them.
 */
#include "tests/unit/parts_fixture.h"

#include "core/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
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

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_an_append_begins_while_the_last_one_is_still_open),
	};
	dv_log_set_sink(no_log);
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
