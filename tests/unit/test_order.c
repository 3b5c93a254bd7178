/* SPDX-License-Identifier: MIT */
/*
 * test_order.c - a directory is given in order, each name once, whatever the window.
 */
#include "core/cleanup.h"
#include "core/order.h"
#include "tests/support/check.h"
#include "tests/support/random.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 3000u

struct fix {
	struct dv_store s;
	char path[64];
	int fd;
};

static void setup(struct fix *f)
{
	memset(&f->s, 0, sizeof(f->s));
	f->s.b = dv_backing_posix();
	strcpy(f->path, "/tmp/dv-order-XXXXXX");
	CHECK(mkdtemp(f->path) != NULL);
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY);
	CHECK(f->fd >= 0);
}

static void make(struct fix *f, const char *name)
{
	int fd = openat(f->fd, name, O_CREAT | O_WRONLY, 0600);
	CHECK(fd >= 0);
	close(fd);
}

static void teardown(struct fix *f)
{
	DIR *d = fdopendir(f->fd);
	rewinddir(d);
	struct dirent *e;
	while ((e = readdir(d))) {
		if (e->d_name[0] != '.')
			CHECK_EQ(unlinkat(f->fd, e->d_name, e->d_type == DT_DIR ? AT_REMOVEDIR : 0),
				 0);
	}
	closedir(d);
	CHECK_EQ(rmdir(f->path), 0);
}

static dv_err by_name(void *ctx, const struct dv_dirent *e, char out[DV_ORDER_TEXT])
{
	(void)ctx;
	strcpy(out, e->name);
	return 0;
}

/* Names are sorted by their last two bytes: many are the same. */
static dv_err by_end(void *ctx, const struct dv_dirent *e, char out[DV_ORDER_TEXT])
{
	(void)ctx;
	size_t len = strlen(e->name);
	strcpy(out, e->name + (len > 2 ? len - 2 : 0));
	return 0;
}

/* Names as a file is called: long and short ones, in no order. */
static void name_of(unsigned i, char out[DV_NAME_MAX + 1])
{
	struct test_random r = {.state = 77 + i};
	for (unsigned n = 0; n < 3; n++)
		test_random_next(&r);
	int pad = (int)test_random_below(&r, 200);
	snprintf(out, DV_NAME_MAX + 1, "%08x%0*u", (unsigned)test_random_next(&r), pad + 4, i);
}

static void check_all(size_t window, dv_order_text_fn *text)
{
	struct fix f;
	char name[DV_NAME_MAX + 1], last[DV_ORDER_TEXT] = "", now[DV_ORDER_TEXT];
	bool seen[FILES] = {false};
	const struct dv_dirent *e;
	setup(&f);
	for (unsigned i = 0; i < FILES; i++) {
		name_of(i, name);
		make(&f, name);
	}
	struct dv_order *o = dv_order_new(window, text, NULL);
	size_t count = 0;
	for (;;) {
		CHECK_EQ(dv_order_peek(&f.s, o, f.fd, &e), 0);
		if (!e)
			break;
		unsigned i = (unsigned)strtoul(e->name + strlen(e->name) - 4, NULL, 10);
		CHECK(i < FILES && !seen[i]);
		seen[i] = true;
		CHECK_EQ(text(NULL, e, now), 0);
		CHECK(strcmp(last, now) <= 0);
		strcpy(last, now);
		dv_order_take(o);
		count++;
	}
	CHECK_EQ(count, FILES);
	dv_order_free(&o);
	teardown(&f);
}

static void test_each_name_comes_once_and_in_order_whatever_the_window(void)
{
	check_all(DV_ORDER_WINDOW, by_name);
	check_all(64u << 10, by_name);
	check_all(2000, by_name);
	check_all(2000, by_end);
}

static void test_names_that_stay_are_given_once_while_others_come_and_go(void)
{
	struct fix f;
	char name[DV_NAME_MAX + 1];
	unsigned seen[FILES] = {0};
	const struct dv_dirent *e;
	setup(&f);
	for (unsigned i = 0; i < FILES; i++) {
		name_of(i, name);
		make(&f, name);
	}
	struct dv_order *o = dv_order_new(4096, by_name, NULL);
	for (unsigned step = 0;; step++) {
		CHECK_EQ(dv_order_peek(&f.s, o, f.fd, &e), 0);
		if (!e)
			break;
		if (e->name[0] != 'x' && e->name[0] != '+')
			seen[strtoul(e->name + strlen(e->name) - 4, NULL, 10) % FILES]++;
		dv_order_take(o);
		snprintf(name, sizeof(name), "%c%u", step % 2 ? 'x' : '+', step / 4);
		if (step % 4 < 2)
			make(&f, name);
		else if (unlinkat(f.fd, name, 0))
			CHECK_EQ(errno, ENOENT);
		if (step % 3 == 0) { /* the odd ones go */
			name_of(step / 3 * 2 + 1, name);
			if (step / 3 * 2 + 1 < FILES)
				CHECK_EQ(unlinkat(f.fd, name, 0), 0);
		}
	}
	for (unsigned i = 0; i < FILES; i += 2)
		CHECK_EQ(seen[i], 1);
	for (unsigned i = 1; i < FILES; i += 2)
		CHECK(seen[i] <= 1);
	dv_order_free(&o);
	teardown(&f);
}

static void test_of_two_with_one_text_the_directory_is_last(void)
{
	struct fix f;
	const struct dv_dirent *e;
	setup(&f);
	make(&f, "bxy");
	CHECK_EQ(mkdirat(f.fd, "axy", 0700), 0);
	make(&f, "cxy");
	struct dv_order *o = dv_order_new(0, by_end, NULL);
	for (const char *const *want = (const char *const[]){"bxy", "cxy", "axy", NULL}; *want;
	     want++) {
		CHECK_EQ(dv_order_peek(&f.s, o, f.fd, &e), 0);
		CHECK(e != NULL);
		CHECK_STR(e->name, *want);
		CHECK_EQ(e->type, **want == 'a' ? DT_DIR : DT_REG);
		dv_order_take(o);
	}
	CHECK_EQ(dv_order_peek(&f.s, o, f.fd, &e), 0);
	CHECK(e == NULL);
	CHECK_EQ(dv_order_peek(&f.s, o, f.fd, &e), 0); /* and again */
	CHECK(e == NULL);
	dv_order_free(&o);
	teardown(&f);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_each_name_comes_once_and_in_order_whatever_the_window),
		CHECK_TEST(test_names_that_stay_are_given_once_while_others_come_and_go),
		CHECK_TEST(test_of_two_with_one_text_the_directory_is_last),
	};
	return check_main(argc, argv, tests, DV_ARRAY_LEN(tests));
}
