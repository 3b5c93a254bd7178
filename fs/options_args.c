/* SPDX-License-Identifier: MIT */
/* options_args.c - the arguments of a command line, from the table of options. */
#include "fs/options_private.h"

#include "core/cleanup.h"

#include <getopt.h>
#include <string.h>

/* Long options start behind the characters of short ones. */
#define LONG_BASE	 256
#define LONG_MAX_OPTIONS 64

/* --cache-size for cache_size; the array ends with zeros, names live in names[]. */
static void long_options(unsigned command, struct option out[LONG_MAX_OPTIONS],
			 char names[LONG_MAX_OPTIONS][32])
{
	static const struct option fixed[] = {
		{"help", no_argument, NULL, 'h'},
		{"foreground", no_argument, NULL, 'f'},
		{"debug", no_argument, NULL, 'd'},
		{"quiet", no_argument, NULL, 'q'},
	};
	size_t n = 0;

	for (; n < DV_ARRAY_LEN(fixed); n++)
		out[n] = fixed[n];
	for (size_t i = 0; i < fs_option_count && n < LONG_MAX_OPTIONS - 1; i++) {
		if (!fs_option_table[i].help || !(fs_option_table[i].commands & command))
			continue;
		snprintf(names[n], sizeof(names[n]), "%s", fs_option_table[i].name);
		for (char *p = names[n]; *p; p++)
			if (*p == '_')
				*p = '-';
		out[n].name = names[n];
		out[n].has_arg = fs_option_table[i].unit ? required_argument : no_argument;
		out[n].flag = NULL;
		out[n].val = LONG_BASE + (int)i;
		n++;
	}
	memset(&out[n], 0, sizeof(out[n]));
}

/* One option of getopt_long(). */
static dv_err take_option(struct fs_options *o, unsigned command, int c, char **argv, bool *help,
			  char *why, size_t why_size)
{
	const char *arg = argv[optind - 1];

	switch (c) {
	case 'h':
		*help = true;
		return 0;
	case 'q': /* as of all commands; nothing is printed in any case */
		return 0;
	case 'f':
		o->foreground = true;
		return 0;
	case 'd':
		o->debug = o->foreground = true;
		return 0;
	case 'r':
		o->read_only = true;
		return 0;
	case 'o':
		return fs_options_parse(o, command, optarg, why, why_size);
	case ':':
		snprintf(why, why_size, "option %s needs a value", arg);
		return -EINVAL;
	case '?':
		if (optopt && optopt < LONG_BASE)
			snprintf(why, why_size, "unknown option -%c; --help lists them all",
				 optopt);
		else
			snprintf(why, why_size, "unknown option %s; --help lists them all", arg);
		return -EINVAL;
	default:
		return fs_option_set(o, command, fs_option_table[c - LONG_BASE].name, optarg, why,
				     why_size);
	}
}

int fs_options_parse_args(struct fs_options *o, unsigned command, int argc, char **argv,
			  const char **operands, int max_operands, bool *help, char *why,
			  size_t why_size)
{
	struct option longs[LONG_MAX_OPTIONS];
	char names[LONG_MAX_OPTIONS][32];
	const char *shorts = command == FS_FOR_MOUNT ? ":hqfdro:" : ":hqo:";
	int c, n;
	dv_err err = 0;

	long_options(command, longs, names);
	optind = 0; /* glibc: starts anew, also when called twice */
	opterr = 0;
	*help = false;
	while (err == 0 && (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1)
		err = take_option(o, command, c, argv, help, why, why_size);
	if (err < 0)
		return err;
	n = argc - optind;
	if (n > max_operands) {
		snprintf(why, why_size, "too many arguments: '%s'", argv[optind + max_operands]);
		return -EINVAL;
	}
	for (int i = 0; i < n; i++)
		operands[i] = argv[optind + i];
	return n;
}
