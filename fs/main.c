/* SPDX-License-Identifier: MIT */
/*
 * main.c - the table of commands, --help, --version, and the manual page (--man).
 *
 * `diskvfs STORE MOUNTPOINT`, as mount(8) calls it, is `diskvfs mount`; so a store whose name is a
 * command's is written ./NAME. Called as umount.fuse.diskvfs it unmounts.
 */
#include "fs/cmd.h"
#include "fs/options.h"

#include "core/cleanup.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct command {
	const char *name, *synopsis, *help;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"init", "init STORE [OPTIONS]", "make a folder a store", fs_cmd_init},
	{"mount", "[mount] STORE MOUNTPOINT [-f] [-d] [-o OPTIONS]", "mount a store", fs_cmd_mount},
	{"unmount", "unmount MOUNTPOINT", "finish what is pending, unmount, wait for the daemon",
	 fs_cmd_unmount},
	{"pack", "pack STORE|MOUNTPOINT [--level N] [--older-than AGE] [--match GLOB]",
	 "pack now what is eligible", fs_cmd_pack},
	{"unpack", "unpack STORE|MOUNTPOINT [KEY]...", "make packed values plain files",
	 fs_cmd_unpack},
	{"reshard", "reshard STORE --transform SPEC", "give a store another transform",
	 fs_cmd_reshard},
	{"info", "info [--quick] [--json] STORE|MOUNTPOINT", "tell what a store is and holds",
	 fs_cmd_info},
	{"path", "path STORE KEY", "print where the value of a key lies", fs_cmd_path},
	{"keys", "keys STORE|MOUNTPOINT [OPTIONS]", "list keys, in order, by prefix", fs_cmd_keys},
	{"get", "get STORE|MOUNTPOINT KEY...", "write values to standard output", fs_cmd_get},
	{"put", "put STORE|MOUNTPOINT KEY [--sync] [--new]",
	 "make standard input the value of a key", fs_cmd_put},
	{"has", "has STORE|MOUNTPOINT KEY...", "tell by the exit status whether keys have values",
	 fs_cmd_has},
	{"rm", "rm STORE|MOUNTPOINT KEY...", "erase values", fs_cmd_rm},
	{"import", "import STORE|MOUNTPOINT PATH... [--move] [--prefix P]",
	 "make files and trees values", fs_cmd_import},
	{"gc", "gc STORE|MOUNTPOINT [--max-size N] [--max-age AGE]",
	 "erase what was used longest ago", fs_cmd_gc},
	{"cas", "cas put STORE|MOUNTPOINT [FILE...]; cas verify STORE|MOUNTPOINT",
	 "values whose keys are their digests", fs_cmd_cas},
	{"export", "export STORE|MOUNTPOINT DIR", "make all values plain files in a folder",
	 fs_cmd_export},
};

int fs_cmd_fail(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("diskvfs: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

int fs_cmd_operands(int argc, char **argv, const char *usage, int min, int max,
		    const char **operands, int *status)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c, n;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			*status = 0;
		} else {
			*status = fs_cmd_fail(1, "unknown option %s", argv[optind - 1]);
		}
		return -1;
	}
	n = argc - optind;
	if (n < min || n > max) {
		fputs(usage, stderr);
		*status = 1;
		return -1;
	}
	for (int i = 0; i < n; i++)
		operands[i] = argv[optind + i];
	return n;
}

static int print_help(FILE *out)
{
	fputs("usage:\n", out);
	for (size_t i = 0; i < DV_ARRAY_LEN(commands); i++)
		fprintf(out, "  diskvfs %-55s %s\n", commands[i].synopsis, commands[i].help);
	fputs("`diskvfs COMMAND --help` tells more; so does the manual, diskvfs(8).\n", out);
	return out == stdout ? 0 : 1;
}

static const char manual_caveats[] =
	".SH CAVEATS\n"
	"Truncating a value and writing it anew replaces it in the store when the last writer is\n"
	"gone, or at the first\n.BR fsync (2),\nwhich is also what\n.BR msync (2)\n"
	"and writes with O_SYNC are. Renaming it puts the new bytes in place too, and so does the\n"
	"mount that follows after the daemon was killed, as far as they were written.\n"
	".PP\n"
	"What was copied into the store directly, or was raw when a daemon was killed, stays raw\n"
	"until it changes or\n.B diskvfs pack\nis run.\n"
	".PP\n"
	"Reading a large frame of another maker backwards decodes it anew from its start.\n"
	".PP\n"
	"Several hosts on one store need\n.B -o shared\non each; nothing is packed meanwhile.";

static int print_manual(void)
{
	puts(".TH DISKVFS 8 \"\" \"diskvfs " DISKVFS_VERSION "\"\n"
	     ".SH NAME\n"
	     "diskvfs \\- a store of compressed plain files, mounted as a filesystem\n"
	     ".SH SYNOPSIS");
	for (size_t i = 0; i < DV_ARRAY_LEN(commands); i++)
		printf(".B diskvfs\n%s\n.br\n", commands[i].synopsis);
	puts(".SH DESCRIPTION\n"
	     "Every file of the mount is one plain file of the store, raw or a standard zstd file\n"
	     "that\n.BR zstdcat (1)\nprints. Values are written raw and packed when nobody writes "
	     "them.\n"
	     ".SH COMMANDS");
	for (size_t i = 0; i < DV_ARRAY_LEN(commands); i++)
		printf(".TP\n.B %s\n%s.\n", commands[i].name, commands[i].help);
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
	     ".TP\n.I MOUNTPOINT/.diskvfs/control\nTakes the commands\n.BR pack ,\n.BR commit ,\n.BR finish ,\n"
	     ".B unpack\nand\n.B unpack\n.IR KEY .\n"
	     ".TP\n.I STORE/.diskvfs/\nControl files of the store;\n.I lost/\nholds bytes that "
	     "recovery could not place.\n"
	     ".SH EXIT STATUS\n"
	     "0 success. 1 wrong usage;\n.B path\nalso uses it for a key that does not exist.\n"
	     "2 error.\n"
	     ".BR get ,\n.BR has ,\n.BR rm ,\n.BR put ,\n.BR keys :\n"
	     "1 a key that is missing, 2 an error or wrong usage, as of\n.BR grep (1).\n"
	     ".B mount\nfollows\n.BR mount (8):\n"
	     "1 usage or permission, 2 system error, 4 internal error, 32 mount failure.\n"
	     ".SH SEE ALSO\n.BR zstd (1),\n.BR mount (8),\n.BR fusermount3 (1)");
	return 0;
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	const char *self = slash ? slash + 1 : argv[0];

	if (!strcmp(self, "umount.fuse.diskvfs"))
		return fs_cmd_umount_helper(argc, argv);
	if (argc < 2)
		return print_help(stderr);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return print_help(stdout);
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))
		return printf("diskvfs %s\n", DISKVFS_VERSION) < 0;
	if (!strcmp(argv[1], "--man"))
		return print_manual();
	for (size_t i = 0; i < DV_ARRAY_LEN(commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	return fs_cmd_mount(argc, argv);
}
