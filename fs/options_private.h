/* SPDX-License-Identifier: MIT */
/*
 * options_private.h - what the files of the options share.
 *
 *   options_table.c   the table
 *   options.c         values: one word, the words of -o, what only all together tell
 *   options_args.c    the arguments of a command line
 *   options_text.c    --help and the manual
 */
#ifndef FS_OPTIONS_PRIVATE_H
#define FS_OPTIONS_PRIVATE_H

#include "fs/options.h"

#define FS_FOR_BOTH (FS_FOR_MOUNT | FS_FOR_INIT)

#define KIB 1024.0
#define MIB (1024.0 * KIB)
#define GIB (1024.0 * MIB)

extern const struct fs_option fs_option_table[];
extern const size_t fs_option_count;

/* NULL: the command has none of that name. */
const struct fs_option *fs_option_find(unsigned command, const char *name, const char *value);

/* A number as a user would write it: 64K. */
void fs_option_format(char *buf, size_t size, const struct fs_option *opt, double value);

#endif
