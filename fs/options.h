/* SPDX-License-Identifier: MIT */
/*
 * options.h - the one table of options: name, type, unit, range, default, place and help of each.
 *
 * From the table come the parser of `-o NAME=VALUE,...` and of `--name VALUE`, the text of --help,
 * the messages about unknown names and values out of range, and the OPTIONS part of the manual.
 *
 * An option of the table is a word of -o with underscores (cache_size) and a long option with
 * dashes (--cache-size).
 */
#ifndef FS_OPTIONS_H
#define FS_OPTIONS_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Which command takes an option: bits of fs_option.commands. */
enum { FS_FOR_MOUNT = 1, FS_FOR_INIT = 2 };

enum fs_option_type {
	FS_OPT_SET,	/* sets a bool */
	FS_OPT_CLEAR,	/* clears a bool */
	FS_OPT_SWITCH,	/* bool: yes or no */
	FS_OPT_STRING,	/* char *, owned */
	FS_OPT_LIST,	/* the same; given again it is joined by a colon */
	FS_OPT_BYTES,	/* uint64_t; K, M, G and T are accepted */
	FS_OPT_COUNT,	/* unsigned */
	FS_OPT_SECONDS, /* double; s, m, h, d and w are accepted */
	FS_OPT_PASS,	/* handed to libfuse as it is */
	FS_OPT_IGNORE,	/* a word of fstab that means nothing here */
};

struct fs_option {
	const char *name; /* a trailing '*' or '=' of an ignored or passed word matches any rest */
	enum fs_option_type type;
	const char *unit;	   /* NULL: takes no value */
	double min, max;	   /* of BYTES, COUNT, SECONDS */
	const char *default_value; /* as the user would write it; NULL: none */
	size_t offset;		   /* into struct fs_options */
	unsigned commands;
	const char *help; /* NULL: not shown */
};

struct fs_options {
	char *compress, *transform; /* NULL: the store's own */
	char *layout, *dict;	    /* init; NULL: none */
	char *nopack;		    /* NULL: none */
	uint64_t frame_bytes;	    /* 0: the store's own */
	uint64_t cache_bytes;
	double settle_s, coherence_s;
	uint64_t max_size; /* of all values, bytes on the disk; 0: any */
	double max_age_s;  /* not used for so long a value goes; 0: any */
	unsigned threads, max_nodes;
	unsigned max_read_bytes; /* 0: libfuse's */
	bool noacl;
	bool shared, read_only, noatime;
	bool remount; /* change the mount that is there */
	bool allow_other, allow_root, noallow_other;
	bool suid, dev;
	bool sandbox;			  /* the daemon confines itself */
	bool foreground, debug;		  /* -f, -d */
	bool adopt, decode_zst, keep_zst; /* init */
	char *fsname, *subtype;
	char *passed; /* words for libfuse, joined by commas; NULL: none */
};

void fs_options_init(struct fs_options *o);
void fs_options_release(struct fs_options *o);

/* One word or value. why[] gets one sentence on -EINVAL. command: one of the FS_FOR_ bits. */
DV_CHECK dv_err fs_option_set(struct fs_options *o, unsigned command, const char *name,
			      const char *value, char *why, size_t why_size);
/* The argument of -o: words joined by commas, "\," for a comma inside a value. */
DV_CHECK dv_err fs_options_parse(struct fs_options *o, unsigned command, const char *words,
				 char *why, size_t why_size);
/* What only all options together tell: transform, compress, frame size. */
DV_CHECK dv_err fs_options_check(const struct fs_options *o, char *why, size_t why_size);

/*
 * Arguments of a command line: options anywhere, at most max_operands others, which operands[]
 * borrows. *help is set where -h or --help was given. -> number of operands; -EINVAL with why[].
 */
DV_CHECK int fs_options_parse_args(struct fs_options *o, unsigned command, int argc, char **argv,
				   const char **operands, int max_operands, bool *help, char *why,
				   size_t why_size);

/* The options of a command, one a line. */
void fs_options_print_help(FILE *out, unsigned command);
/* The same as roff. */
void fs_options_print_roff(FILE *out, unsigned command);

#endif
