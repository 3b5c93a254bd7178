/* SPDX-License-Identifier: MIT */
/* args.c - see args.h. */
#include "fs/args.h"

#include "fs/cmd.h"

#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Long options have these values; letters are below. */
#define FIRST_LONG 256

static bool quiet;

bool fs_args_quiet(void)
{
	return quiet;
}

static bool find_name(const struct fs_args *a, const char *name)
{
	for (size_t i = 0; i < a->count; i++)
		if (!strcmp(a->args[i].name, name))
			return true;
	return false;
}

void fs_args_set_quiet(bool on)
{
	quiet = on;
}

static void print_help(const struct fs_args *a)
{
	printf("usage: diskvfs %s\n%s", a->usage, a->about);
	for (size_t i = 0; i < a->count; i++) {
		const struct fs_arg *arg = &a->args[i];
		char head[64];

		snprintf(head, sizeof(head), "--%s%s%s", arg->name, arg->value ? " " : "",
			 arg->value ? arg->value : "");
		if (arg->letter)
			printf("  -%c, %-20s %s\n", arg->letter, head, arg->help);
		else
			printf("      %-20s %s\n", head, arg->help);
	}
	if (!find_name(a, "transform"))
		printf("      %-20s %s\n", "--transform FILE.so[:ARGS]",
		       "the shared object that the store's transform is");
	printf("  -q, %-20s %s\n", "--quiet",
	       "no progress, no counts, no message about a missing key");
	printf("  -h, %-20s %s\n", "--help", "this text");
}

/* A number with one of the letters behind it, each standing for a factor. */
static bool parse_number(const char *text, const char *letters, const uint64_t *factors,
			 uint64_t *out)
{
	size_t digits = strspn(text, "0123456789");
	uint64_t value, factor = 1;

	if (!digits || digits > 18)
		return false;
	value = strtoull(text, NULL, 10);
	if (text[digits]) {
		const char *at = strchr(letters, text[digits]);

		if (!at || text[digits + 1])
			return false;
		factor = factors[at - letters];
	}
	return !__builtin_mul_overflow(value, factor, out);
}

static bool take_number(const struct fs_arg *arg, const char *text)
{
	static const uint64_t bytes[] = {1ull << 10, 1ull << 20, 1ull << 30, 1ull << 40,
					 1ull << 10, 1ull << 20, 1ull << 30, 1ull << 40};
	static const uint64_t ages[] = {1, 60, 3600, 86400, 7 * 86400};

	switch (arg->type) {
	case FS_ARG_BYTES:
		return parse_number(text, "KMGTkmgt", bytes, arg->to);
	case FS_ARG_AGE:
		return parse_number(text, "smhdw", ages, arg->to);
	default:
		return parse_number(text, "", NULL, arg->to) && *(uint64_t *)arg->to > 0;
	}
}

/* -> false: told. */
static bool take(const struct fs_arg *arg, const char *value)
{
	static const char *const kinds[] = {
		[FS_ARG_COUNT] = "a number from 1 on",
		[FS_ARG_BYTES] = "a number of bytes, such as 65536, 64K, 10G",
		[FS_ARG_AGE] = "an age, such as 90s, 15m, 12h, 30d, 4w",
	};

	if (arg->type == FS_ARG_SET) {
		*(bool *)arg->to = true;
	} else if (arg->type == FS_ARG_TEXT) {
		*(const char **)arg->to = value;
	} else if (!take_number(arg, value)) {
		fs_cmd_fail(2, "option --%s: '%s' is not %s", arg->name, value, kinds[arg->type]);
		return false;
	}
	return true;
}

static const struct fs_arg *find(const struct fs_args *a, int c)
{
	if (c >= FIRST_LONG)
		return &a->args[c - FIRST_LONG];
	for (size_t i = 0; i < a->count; i++)
		if (a->args[i].letter == c)
			return &a->args[i];
	return NULL;
}

static void make_tables(const struct fs_args *a, char *letters, struct option *longs)
{
	size_t n = 0;

	*letters++ = ':'; /* tells a missing value from an unknown option */
	*letters++ = 'h';
	*letters++ = 'q';
	for (; n < a->count; n++) {
		const struct fs_arg *arg = &a->args[n];
		int needs = arg->type != FS_ARG_SET;

		longs[n] = (struct option){arg->name, needs, NULL, FIRST_LONG + (int)n};
		if (arg->letter)
			*letters++ = arg->letter;
		if (arg->letter && needs)
			*letters++ = ':';
	}
	*letters = '\0';
	longs[n++] = (struct option){"help", no_argument, NULL, 'h'};
	longs[n++] = (struct option){"quiet", no_argument, NULL, 'q'};
	longs[n] = (struct option){NULL, 0, NULL, 0};
}

/* getopt names a letter, and goes on in its word: what lies before optind is that word only if it was the last. */
const char *fs_args_wrong(char **argv, char text[64])
{
	const char *word = argv[optind - 1];
	bool is_letter = optopt > 0 && optopt < FIRST_LONG && optopt != 'h' && optopt != 'q';

	if (optopt < 0 || (is_letter && !isgraph(optopt))) /* of a longer character, say */
		snprintf(text, 64, "unknown option; a key that begins with - comes behind --");
	else if (is_letter)
		snprintf(text, 64, "unknown option -%c; a key that begins with - comes behind --",
			 optopt);
	else
		snprintf(text, 64, optopt ? "option %.40s takes no value" : "unknown option %.40s",
			 word);
	return text;
}

int fs_args_parse(const struct fs_args *a, int argc, char **argv, char ***operands, int *status)
{
	char letters[3 + 2 * FS_ARGS_MAX + 1], text[64];
	struct option longs[FS_ARGS_MAX + 3];
	int c, n;

	make_tables(a, letters, longs);
	quiet = false;
	optind = 0;
	opterr = 0;
	*status = 2;
	while ((c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		if (c == 'h') {
			print_help(a);
			*status = 0;
			return -1;
		}
		if (c == '?') {
			fs_cmd_fail(2, "%s; %s --help lists them all", fs_args_wrong(argv, text),
				    argv[0]);
			return -1;
		}
		if (c == ':') {
			fs_cmd_fail(2, "option %s needs a value; %s --help tells which",
				    argv[optind - 1], argv[0]);
			return -1;
		}
		if (c == 'q')
			quiet = true;
		else if (!take(find(a, c), optarg))
			return -1;
	}
	n = argc - optind;
	if (n < a->min || n > a->max) {
		fs_cmd_fail(2, "usage: diskvfs %s", a->usage);
		return -1;
	}
	*operands = argv + optind;
	return n;
}
