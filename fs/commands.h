/* SPDX-License-Identifier: MIT */
/* commands.h - the table of commands (main.c), from which come --help and the manual. */
#ifndef FS_COMMANDS_H
#define FS_COMMANDS_H

#include <stddef.h>

struct fs_command {
	const char *name, *synopsis, *help;
	int (*run)(int argc, char **argv);
	/* Of one that takes --transform for stores that are of a shared object: its exit status where
	 * it is used wrongly. 0: it does not, or reads that option itself. */
	int plugin_usage;
};
extern const struct fs_command fs_commands[];
extern const size_t fs_command_count;

/* Prints diskvfs(1) as roff, made of the tables of commands and options and of what each command's --help
 * prints. -> exit status */
int fs_print_manual(void);

#endif
