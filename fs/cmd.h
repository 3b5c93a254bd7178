/* SPDX-License-Identifier: MIT */
/*
 * cmd.h - the commands. Each gets its own name as argv[0] and returns an exit status.
 */
#ifndef FS_CMD_H
#define FS_CMD_H

#include <stdio.h>

int fs_cmd_init(int argc, char **argv);
int fs_cmd_mount(int argc, char **argv);
int fs_cmd_unmount(int argc, char **argv);
int fs_cmd_pack(int argc, char **argv);
int fs_cmd_unpack(int argc, char **argv);
int fs_cmd_info(int argc, char **argv);
int fs_cmd_path(int argc, char **argv);
/* umount.fuse.diskvfs, as umount(8) calls it. */
int fs_cmd_umount_helper(int argc, char **argv);

/* "diskvfs: ..." and a newline on stderr. -> status */
int fs_cmd_fail(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Operands of a command that has no options but --help. -> their number, at least min; -1: *status
 * is what to exit with (the usage was printed).
 */
int fs_cmd_operands(int argc, char **argv, const char *usage, int min, int max,
		    const char **operands, int *status);

#endif
