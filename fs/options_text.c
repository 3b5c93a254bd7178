/* SPDX-License-Identifier: MIT */
/* options_text.c - the texts of --help and of the manual, from the table of options. */
#include "fs/options_private.h"

/* " (4K to 4M, default 128K)"; of what the store remembers, a mount's default is the store's. */
static void print_range(FILE *out, const struct fs_option *opt, unsigned command)
{
	const char *fallback = opt->default_value;
	char low[32], high[32];

	if (command == FS_FOR_MOUNT && opt->commands == FS_FOR_BOTH)
		fallback = "the store's own";
	if (opt->max <= 0 && !fallback)
		return;
	fputs(" (", out);
	if (opt->max > 0) {
		fs_option_format(low, sizeof(low), opt, opt->min);
		fs_option_format(high, sizeof(high), opt, opt->max);
		fprintf(out, "%s to %s%s", low, high, fallback ? ", " : "");
	}
	if (fallback)
		fprintf(out, "default: %s", fallback);
	fputc(')', out);
}

void fs_options_print_help(FILE *out, unsigned command)
{
	for (size_t i = 0; i < fs_option_count; i++) {
		const struct fs_option *opt = &fs_option_table[i];
		bool words = command == FS_FOR_MOUNT;
		char left[64];

		if (!opt->help || !(opt->commands & command))
			continue;
		snprintf(left, sizeof(left), "%s%s%s%s", words ? "-o " : "--", opt->name,
			 !opt->unit ? ""
			 : words    ? "="
				    : " ",
			 opt->unit ? opt->unit : "");
		for (char *p = left; !words && *p && *p != ' '; p++)
			if (*p == '_')
				*p = '-';
		fprintf(out, "  %-30s %s", left, opt->help);
		print_range(out, opt, command);
		fputc('\n', out);
	}
}

void fs_options_print_roff(FILE *out, unsigned command)
{
	for (size_t i = 0; i < fs_option_count; i++) {
		const struct fs_option *opt = &fs_option_table[i];

		if (!opt->help || !(opt->commands & command))
			continue;
		fprintf(out, ".TP\n.B %s", opt->name);
		if (opt->unit)
			fprintf(out, "=\\fI%s\\fR", opt->unit);
		fprintf(out, "\n%s", opt->help);
		print_range(out, opt, command);
		fputs(".\n", out);
	}
}
