/* SPDX-License-Identifier: MIT */
/*
 * args.h - the arguments of a command that works on keys: one table gives the parser, --help, and the
 * messages about what is unknown or out of range.
 *
 * -h, --help and -q, --quiet are every command's. A single "--" ends the options, so that keys may
 * begin with a dash.
 */
#ifndef FS_ARGS_H
#define FS_ARGS_H

#include <stdbool.h>
#include <stddef.h>

enum fs_arg_type {
	FS_ARG_SET,   /* bool */
	FS_ARG_TEXT,  /* const char *, borrowed from argv */
	FS_ARG_COUNT, /* uint64_t, at least 1 */
	FS_ARG_BYTES, /* uint64_t; K, M, G, T are accepted */
	FS_ARG_AGE,   /* uint64_t, seconds; s, m, h, d, w are accepted */
};

struct fs_arg {
	const char *name; /* the long one, without dashes */
	char letter;	  /* 0: none */
	enum fs_arg_type type;
	void *to;	   /* where it goes */
	const char *value; /* what stands for it in --help; NULL: none */
	const char *help;
};

/* A command. usage: its operands; about: a sentence or more, lines that end with newlines. */
struct fs_args {
	const char *usage, *about;
	const struct fs_arg *args;
	size_t count;
	int min, max; /* operands */
};

#define FS_ARGS_MAX 16 /* options of a command */

/*
 * Operands are left in *operands, of argv. -> their number; -1: *status is what to exit with: help was
 * printed (0), or the call can not be right (2, after one line on stderr).
 */
int fs_args_parse(const struct fs_args *a, int argc, char **argv, char ***operands, int *status);

/* What is wrong where getopt_long() has just said '?': a word of it, in text. */
const char *fs_args_wrong(char **argv, char text[64]);

/* Was -q given? Of the last command that was parsed. */
bool fs_args_quiet(void);
/* Of a command that reads its arguments itself. */
void fs_args_set_quiet(bool on);

#endif
