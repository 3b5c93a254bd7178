/* SPDX-License-Identifier: MIT */
/*
 * check.h - the test harness: a test is a function whose name is a claim.
 *
 *   static void test_a_key_is_its_own_inverse(void) { CHECK(x == y); CHECK_EQ(a, b); CHECK_STR(s,
 * "t"); } int main(int argc, char **argv) { static const struct check_test tests[] = {
 * CHECK_TEST(test_a_...), }; return check_main(argc, argv, tests, DV_ARRAY_LEN(tests)); }
 *
 * A failed check prints file, line and both values, and ends the process with 1. With arguments
 * only the tests whose name contains one of them run.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check_test {
	const char *name;
	void (*run)(void);
};
#define CHECK_TEST(f)                                                                              \
	{                                                                                          \
#f, f                                                                              \
	}

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);         \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

#define CHECK_EQ(a, b)                                                                             \
	do {                                                                                       \
		long long check_a = (long long)(a), check_b = (long long)(b);                      \
		if (check_a != check_b) {                                                          \
			fprintf(stderr, "%s:%d: %s = %lld, but %s = %lld\n", __FILE__, __LINE__,   \
				#a, check_a, #b, check_b);                                         \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

#define CHECK_STR(a, b)                                                                            \
	do {                                                                                       \
		const char *check_a = (a), *check_b = (b);                                         \
		if (strcmp(check_a, check_b) != 0) {                                               \
			fprintf(stderr, "%s:%d: %s = \"%s\", but %s = \"%s\"\n", __FILE__,         \
				__LINE__, #a, check_a, #b, check_b);                               \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static inline int check_main(int argc, char **argv, const struct check_test *tests, size_t count)
{
	size_t ran = 0;
	for (size_t i = 0; i < count; i++) {
		int wanted = argc < 2;
		for (int a = 1; a < argc; a++)
			wanted |= strstr(tests[i].name, argv[a]) != NULL;
		if (!wanted)
			continue;
		printf("%s\n", tests[i].name);
		fflush(stdout);
		tests[i].run();
		ran++;
	}
	printf("%zu passed\n", ran);
	return ran == 0;
}

#endif
