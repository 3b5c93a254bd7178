/* SPDX-License-Identifier: MIT */
/* test_log.c - levels, the rate limit of a site, escaping, and what reaches stderr. */
#include "core/log.h"

#include "core/cleanup.h"
#include "tests/support/check.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static char last_line[4096];
static unsigned lines; /* by one thread, or with __atomic */

static void catch_line(enum dv_log_level level, const char *line)
{
	(void)level;
	snprintf(last_line, sizeof(last_line), "%s", line);
	lines++;
}

static void count_line(enum dv_log_level level, const char *line)
{
	(void)level;
	(void)line;
	__atomic_add_fetch(&lines, 1, __ATOMIC_RELAXED);
}

static void start(void (*sink)(enum dv_log_level, const char *))
{
	lines = 0;
	last_line[0] = '\0';
	dv_log_set_level(DV_LOG_INFO);
	dv_log_set_sink(sink);
}

static void test_levels_above_the_set_one_are_dropped(void)
{
	start(catch_line);
	dv_debug("not seen");
	CHECK_EQ(lines, 0);
	dv_info("seen %d", 7);
	CHECK_STR(last_line, "seen 7");
	dv_log_set_level(DV_LOG_ERROR);
	dv_warn("not seen");
	CHECK_EQ(lines, 1);
	dv_log_set_level(DV_LOG_DEBUG);
	dv_debug("seen now");
	CHECK_STR(last_line, "seen now");
}

static void test_a_site_passes_a_burst_and_tells_what_it_held_back(void)
{
	struct dv_log_site site = {0}, other = {0};
	start(catch_line);
	for (int i = 0; i < DV_LOG_BURST + 32; i++)
		dv_log_at(&site, DV_LOG_ERROR, "line %d", i);
	CHECK_EQ(lines, DV_LOG_BURST);
	CHECK_EQ(site.held_back, 32);

	dv_log_at(&other, DV_LOG_ERROR, "another site is not held back");
	CHECK_EQ(lines, DV_LOG_BURST + 1);

	site.window_start_ns -= INT64_C(10000000000);
	dv_log_at(&site, DV_LOG_ERROR, "again");
	CHECK_STR(last_line, "again (32 like it held back)");
	dv_log_at(&site, DV_LOG_ERROR, "once more");
	CHECK_STR(last_line, "once more");
}

static void *log_a_lot(void *site)
{
	for (int i = 0; i < 1000; i++)
		dv_log_at(site, DV_LOG_WARN, "line %d", i);
	return NULL;
}

static void test_threads_share_the_limit_of_a_site(void)
{
	struct dv_log_site site = {0};
	pthread_t threads[4];
	start(count_line);
	for (size_t i = 0; i < DV_ARRAY_LEN(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, log_a_lot, &site) == 0);
	for (size_t i = 0; i < DV_ARRAY_LEN(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK_EQ(lines, DV_LOG_BURST);
	CHECK_EQ(site.held_back, 4 * 1000 - DV_LOG_BURST);
}

static void test_a_line_is_one_line_of_bounded_length(void)
{
	static char longer[8192];
	start(catch_line);
	dv_error("a\nb\033c");
	CHECK_STR(last_line, "a?b?c");
	memset(longer, 'x', sizeof(longer) - 1);
	dv_error("%s", longer);
	CHECK(strlen(last_line) > 2048 && strlen(last_line) < sizeof(last_line) - 1);
}

static void test_errno_survives_and_is_printed(void)
{
	start(catch_line);
	errno = ENOSPC;
	dv_error("write: %m");
	CHECK_EQ(errno, ENOSPC);
	CHECK_STR(last_line, "write: No space left on device");
}

static void test_keys_are_escaped_and_cut(void)
{
	char buf[64], tiny[8];
	CHECK_STR(dv_log_key(buf, sizeof(buf), "plain key"), "plain key");
	CHECK_STR(dv_log_key(buf, sizeof(buf), "a\n\\\xff"), "a\\x0a\\x5c\\xff");
	CHECK_STR(dv_log_key(tiny, sizeof(tiny), "1234567"), "1234567");
	CHECK_STR(dv_log_key(tiny, sizeof(tiny), "12345678"), "1234...");
	CHECK_STR(dv_log_key(tiny, sizeof(tiny), "123\n\n"), "123...");
	CHECK_STR(dv_log_key(tiny, 3, "\n"), "..");
	CHECK_STR(dv_log_key(tiny, 1, "abc"), "");
	CHECK_STR(dv_log_key(tiny, 0, "abc"), "");
}

static void test_without_a_sink_a_line_goes_to_stderr_in_one_write(void)
{
	int fds[2], saved = dup(STDERR_FILENO);
	char buf[256];
	start(NULL);
	CHECK(saved >= 0 && pipe(fds) == 0);
	CHECK(dup2(fds[1], STDERR_FILENO) >= 0);
	dv_warn("disk %s", "full");
	CHECK(dup2(saved, STDERR_FILENO) >= 0);
	ssize_t n = read(fds[0], buf, sizeof(buf) - 1);
	CHECK(n > 0);
	buf[n] = '\0';
	CHECK_STR(buf, "diskvfs: disk full\n");
	close(fds[0]);
	close(fds[1]);
	close(saved);
}

static void *takes_a_note(void *arg)
{
	(void)arg;
	CHECK_STR(dv_log_note_take(), "");
	return NULL;
}

static void test_a_note_is_given_once_and_to_its_thread(void)
{
	pthread_t thread;
	CHECK_STR(dv_log_note_take(), "");
	dv_log_note("the first");
	dv_log_note("byte %d", 7);
	CHECK_EQ(pthread_create(&thread, NULL, takes_a_note, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_STR(dv_log_note_take(), "byte 7");
	CHECK_STR(dv_log_note_take(), "");
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_levels_above_the_set_one_are_dropped),
		CHECK_TEST(test_a_site_passes_a_burst_and_tells_what_it_held_back),
		CHECK_TEST(test_threads_share_the_limit_of_a_site),
		CHECK_TEST(test_a_line_is_one_line_of_bounded_length),
		CHECK_TEST(test_errno_survives_and_is_printed),
		CHECK_TEST(test_keys_are_escaped_and_cut),
		CHECK_TEST(test_a_note_is_given_once_and_to_its_thread),
		CHECK_TEST(test_without_a_sink_a_line_goes_to_stderr_in_one_write),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
