/* SPDX-License-Identifier: MIT */
/*
 * main.c - the table of commands, --help, --version.
 *
 * `diskvfs STORE MOUNTPOINT`, as mount(8) calls it, is `diskvfs mount`; so a store whose name is a
 * command's is written ./NAME. Called as umount.fuse.diskvfs it unmounts.
 */
#include "fs/args.h"
#include "fs/cmd.h"
#include "fs/commands.h"
#include "fs/plugin.h"

#include "core/cleanup.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct fs_command fs_commands[] = {
	{"init", "init STORE [OPTIONS]", "make a folder a store", fs_cmd_init, 0},
	{"mount", "[mount] STORE MOUNTPOINT [-f] [-d] [-o OPTIONS]", "mount a store", fs_cmd_mount,
	 0},
	{"unmount", "unmount MOUNTPOINT", "finish what is pending, unmount, wait for the daemon",
	 fs_cmd_unmount, 0},
	{"pack", "pack STORE|MOUNTPOINT [--level N] [--older-than AGE] [--match GLOB]",
	 "pack now what is eligible", fs_cmd_pack, 1},
	{"unpack", "unpack STORE|MOUNTPOINT [KEY]...", "make packed values plain files",
	 fs_cmd_unpack, 1},
	{"reshard", "reshard STORE --transform SPEC", "give a store another transform",
	 fs_cmd_reshard, 0},
	{"info", "info [--quick] [--json] STORE|MOUNTPOINT [KEY]...",
	 "tell what a store is and holds, or of its values", fs_cmd_info, 1},
	{"verify", "verify STORE|MOUNTPOINT [--repair] [--json] [--jobs N]",
	 "check every file of a store, and mend it", fs_cmd_verify, 0},
	{"path", "path STORE KEY", "print where the value of a key lies", fs_cmd_path, 1},
	{"keys", "keys STORE|MOUNTPOINT [OPTIONS]", "list keys, in order, by prefix", fs_cmd_keys,
	 2},
	{"get", "get STORE|MOUNTPOINT KEY...", "write values to standard output", fs_cmd_get, 2},
	{"put", "put STORE|MOUNTPOINT KEY [--sync] [--new]",
	 "make standard input the value of a key", fs_cmd_put, 2},
	{"has", "has STORE|MOUNTPOINT KEY...", "tell by the exit status whether keys have values",
	 fs_cmd_has, 2},
	{"rm", "rm STORE|MOUNTPOINT KEY...", "erase values", fs_cmd_rm, 2},
	{"import", "import STORE|MOUNTPOINT PATH... [--move] [--prefix P]",
	 "make files and trees values", fs_cmd_import, 2},
	{"gc", "gc STORE|MOUNTPOINT [--max-size N] [--max-age AGE]",
	 "erase what was used longest ago", fs_cmd_gc, 2},
	{"cas", "cas put STORE|MOUNTPOINT [FILE...]; cas verify STORE|MOUNTPOINT",
	 "values whose keys are their digests", fs_cmd_cas, 2},
	{"export", "export STORE|MOUNTPOINT DIR", "make all values plain files in a folder",
	 fs_cmd_export, 2},
};

const size_t fs_command_count = DV_ARRAY_LEN(fs_commands);

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
		{"quiet", no_argument, NULL, 'q'},
		{NULL, 0, NULL, 0},
	};
	int c, n;

	optind = 0;
	opterr = 0;
	fs_args_set_quiet(false);
	while ((c = getopt_long(argc, argv, "hq", longs, NULL)) != -1) {
		if (c == 'q') {
			fs_args_set_quiet(true);
			continue;
		}
		if (c == 'h') {
			fputs(usage, stdout);
			*status = 0;
		} else {
			char text[64];

			*status = fs_cmd_fail(1, "%s", fs_args_wrong(argv, text));
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
	for (size_t i = 0; i < fs_command_count; i++)
		fprintf(out, "  diskvfs %-55s %s\n", fs_commands[i].synopsis, fs_commands[i].help);
	fputs("`diskvfs COMMAND --help` tells more; so does the manual, diskvfs(1).\n", out);
	return out == stdout ? 0 : 1;
}

/*
 * Where one of the three is closed the next file has its number: what is printed would be written to a
 * file of the store, and the daemon would lose what it keeps open there. Their use fails as it did.
 */
static int fill_standard_files(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return -1;
	return 0;
}

static int run_command(const struct fs_command *c, int argc, char **argv)
{
	int status = 0;

	if (c->plugin_usage)
		argc = fs_plugin_take(argc, argv, c->plugin_usage, &status);
	return argc < 0 ? status : c->run(argc, argv);
}

static int run(int argc, char **argv)
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
		return fs_print_manual();
	for (size_t i = 0; i < fs_command_count; i++)
		if (!strcmp(argv[1], fs_commands[i].name))
			return run_command(&fs_commands[i], argc - 1, argv + 1);
	return fs_cmd_mount(argc, argv);
}

int main(int argc, char **argv)
{
	int status;

	if (argc < 1 || fill_standard_files())
		return 2;
	/* Who starts it may ignore it, and nobody could wait for fusermount3. */
	signal(SIGCHLD, SIG_DFL);
	status = run(argc, argv);
	if ((fflush(stdout) || ferror(stdout)) && !status)
		return fs_cmd_fail(2, "standard output: not all could be written to it");
	return status;
}
