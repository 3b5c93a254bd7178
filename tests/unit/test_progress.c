/* SPDX-License-Identifier: MIT */
/* test_progress.c - what a long command shows: a bar on a terminal, lines in a log, nothing with -q. */
#include "fs/args.h"
#include "fs/progress.h"
#include "tests/support/check.h"

#include <fcntl.h>
#include <unistd.h>

static bool quiet;

bool fs_args_quiet(void)
{
	return quiet;
}

/* What half of a work of 4 MiB shows, when it is time to. */
static void show(char out[512], bool terminal)
{
	struct fs_progress p;
	char path[] = "/tmp/test-progress-XXXXXX";
	int fd = mkstemp(path), was = dup(STDERR_FILENO);
	CHECK(fd >= 0 && was >= 0);
	fs_progress_begin(&p, "import");
	p.terminal = terminal;
	p.total_files = 10;
	p.total_bytes = 4 << 20;
	p.began_ns -= 2000000000; /* two seconds ago */
	dup2(fd, STDERR_FILENO);
	fs_progress_add(&p, 1, 0); /* too soon */
	p.told_ns -= 3600000000000;
	fs_progress_add(&p, 4, 2 << 20);
	if (terminal)
		fs_progress_clear(&p);
	dup2(was, STDERR_FILENO);
	ssize_t len = pread(fd, out, 511, 0);
	CHECK(len >= 0);
	out[len] = '\0';
	close(fd);
	close(was);
	unlink(path);
}

static void test_a_terminal_gets_a_bar_with_rate_and_time_left(void)
{
	char out[512];
	show(out, true);
	CHECK(strstr(out, "\rimport") || strstr(out, "\033[Kimport"));
	CHECK(strstr(out, "[############            ] 50% 5 files, 2.0 MiB of 4.0 MiB, "));
	CHECK(strstr(out, "/s, 0:00:0"));
	CHECK(strstr(out, " left"));
	CHECK(!strchr(out, '\n'));
	CHECK(strcmp(out + strlen(out) - 4, "\r\033[K") == 0); /* it leaves nothing behind */
}

static void test_a_log_gets_a_line(void)
{
	char out[512];
	show(out, false);
	CHECK(strncmp(out, "diskvfs: import 50% 5 files, 2.0 MiB of 4.0 MiB, ", 49) == 0);
	CHECK(strchr(out, '\n') == out + strlen(out) - 1);
	CHECK(!strchr(out, '\r') && !strchr(out, '#'));
}

static void test_quiet_says_nothing(void)
{
	char out[512];
	quiet = true;
	show(out, true);
	CHECK_STR(out, "");
	show(out, false);
	CHECK_STR(out, "");
	quiet = false;
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_a_terminal_gets_a_bar_with_rate_and_time_left),
		CHECK_TEST(test_a_log_gets_a_line),
		CHECK_TEST(test_quiet_says_nothing),
	};
	return check_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
