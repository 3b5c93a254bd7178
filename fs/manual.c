/* SPDX-License-Identifier: MIT */
/*
 * manual.c - the manual page, diskvfs(1), for the build (diskvfs --man).
 *
 * What commands and options are is in their tables, and what a command takes in its own --help, which is
 * run and quoted: there is no second text that could differ.
 */
#include "fs/commands.h"

#include "fs/options.h"

#include "core/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char manual_caveats[] =
	".SH CAVEATS\n"
	"Truncating a value and writing it anew replaces it in the store when the last writer is\n"
	"gone, or at the first\n.BR fsync (2),\nwhich is also what\n.BR msync (2)\n"
	"and writes with O_SYNC are. Renaming it puts the new bytes in place too, and so does the\n"
	"mount that follows after the daemon was killed, as far as they were written.\n"
	".PP\n"
	"What was copied into the store directly stays raw until it changes or\n"
	".B diskvfs pack\nis run. What was raw when a daemon was killed is packed after the "
	"next\nmount.\n"
	".PP\n"
	"Reading a large frame of another maker backwards decodes it anew from its start.\n"
	".PP\n"
	"Several hosts on one store need\n.B -o shared\non each; nothing is packed meanwhile.";

/* Statuses that scripts may rely on. */
static const char manual_statuses[] =
	".SH EXIT STATUS\n"
	".TP\n.B 0\nDone.\n"
	".TP\n.B 1\n"
	"Used wrongly. Of\n.BR path :\nno such key; the place where it would lie is printed. "
	"Of\n.B info\nwith a key:\nno such key.\n"
	"Of\n.BR get ,\n.BR has ,\n.BR rm :\na key that is missing, as of\n"
	".BR grep (1).\n"
	"Of\n.BR \"cas verify\" :\na value that is not what its name says.\n"
	".TP\n.B 2\n"
	"An error, which one line tells; single values that could not be worked on are counted in\n"
	"what the command prints. Of\n.BR keys ,\n.BR get ,\n.BR has ,\n.BR rm ,\n.BR put ,\n"
	".BR import ,\n.BR export ,\n.B gc\nand\n.BR cas :\nused wrongly, too.\n"
	".PP\n"
	".B mount\nfollows\n.BR mount (8):\n1 usage or permission, 2 system error, 4 internal "
	"error, "
	"32 mount failure.\n"
	".PP\n"
	".B verify\nfollows\n.BR fsck (8),\nsince what it finds and what it could not do have to "
	"be\n"
	"told apart; the numbers are or-ed: 0 clean, 1 errors corrected, 4 errors left "
	"uncorrected,\n"
	"8 it could not be done, or not to the end, 16 used wrongly, 128 a shared object could "
	"not\n"
	"be loaded.\n"
	".PP\n"
	"These do not change.";

/* Preformatted: nothing in it is a request, and dashes are those that are typed. */
static void print_quoted(const char *text)
{
	bool start = true;

	for (; *text; text++) {
		if (start && (*text == '.' || *text == '\''))
			fputs("\\&", stdout);
		start = *text == '\n';
		if (*text == '\\')
			fputs("\\e", stdout);
		else if (*text == '-')
			fputs("\\-", stdout);
		else
			putchar(*text);
	}
	if (!start)
		putchar('\n');
}

/* What it prints, on the heap; NULL: nothing. */
static char *help_of(const struct fs_command *c)
{
	char name[32], option[] = "--help", *argv[] = {name, option, NULL}, *text = NULL;
	size_t len = 0;
	FILE *out = stdout, *memory = open_memstream(&text, &len);

	if (!memory)
		return NULL;
	snprintf(name, sizeof(name), "%s", c->name);
	fflush(out);
	stdout = memory;
	int status = c->run(2, argv);
	stdout = out;
	fclose(memory);
	if (status == 0)
		return text;
	free(text);
	return NULL;
}

static int print_command(const struct fs_command *c)
{
	DV_AUTO_FREE char *help = help_of(c);

	if (!help) {
		fprintf(stderr, "diskvfs: %s --help printed nothing\n", c->name);
		return 2;
	}
	printf(".SS %s\n%s.\n", c->name, c->help);
	/* Their options have sections of their own. */
	if (strcmp(c->name, "init") == 0 || strcmp(c->name, "mount") == 0)
		return 0;
	puts(".PP\n.nf");
	print_quoted(help);
	puts(".fi");
	return 0;
}

/* Of the build; SOURCE_DATE_EPOCH makes builds alike. */
static void print_title(void)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	time_t now = epoch ? (time_t)strtoll(epoch, NULL, 10) : time(NULL);
	char date[16] = "";
	struct tm tm;

	if (gmtime_r(&now, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d", &tm);
	printf(".TH DISKVFS 1 \"%s\" \"diskvfs " DISKVFS_VERSION "\" \"User Commands\"\n", date);
}

int fs_print_manual(void)
{
	int status = 0;

	print_title();
	puts(".SH NAME\n"
	     "diskvfs \\- a store of compressed plain files, mounted as a filesystem\n"
	     ".SH SYNOPSIS\n.nf");
	for (size_t i = 0; i < fs_command_count; i++) {
		fputs("\\fBdiskvfs\\fR ", stdout);
		print_quoted(fs_commands[i].synopsis);
	}
	puts(".fi\n"
	     ".SH DESCRIPTION\n"
	     "Every file of the mount is one plain file of the store, raw or a standard zstd file\n"
	     "that\n.BR zstdcat (1)\nprints. Values are written raw and packed when nobody writes "
	     "them.\n"
	     "In a layout of diskv (see\n.BR init )\nthey are what diskv makes of them.\n"
	     ".SH COMMANDS");
	for (size_t i = 0; i < fs_command_count && !status; i++)
		status = print_command(&fs_commands[i]);
	puts(".SH OPTIONS OF init\n"
	     "Given as long options with dashes:\n.BR \\-\\-frame\\-size .");
	fs_options_print_roff(stdout, FS_FOR_INIT);
	puts(".SH MOUNT OPTIONS\n"
	     "Given with\n.BR \\-o .\nWords of\n.BR fstab (5)\nthat say nothing to this filesystem "
	     "are "
	     "accepted.");
	fs_options_print_roff(stdout, FS_FOR_MOUNT);
	puts(manual_caveats);
	puts(".SH FILES\n"
	     ".TP\n.I MOUNTPOINT/.diskvfs/stats\nCounters as JSON. Not listed.\n"
	     ".TP\n.I MOUNTPOINT/.diskvfs/control\nTakes the commands\n.BR pack ,\n.BR commit "
	     ",\n.BR finish ,\n"
	     ".B unpack\nand\n.B unpack\n.IR KEY .\n"
	     ".TP\n.I STORE/.diskvfs/\nControl files of the store;\n.I lost/\nholds bytes that "
	     "recovery could not place, and in\n.I verify\\-N/\nwhat a repair took from its "
	     "place.");
	puts(manual_statuses);
	puts(".SH SEE ALSO\n.BR zstd (1),\n.BR mount (8),\n.BR fusermount3 (1)");
	return status;
}
