/* SPDX-License-Identifier: MIT */
/*
 * cmd.h - the commands. Each gets its own name as argv[0] and returns an exit status.
 */
#ifndef FS_CMD_H
#define FS_CMD_H

#include "core/store.h"

#include <limits.h>
#include <stdio.h>

int fs_cmd_init(int argc, char **argv);
int fs_cmd_mount(int argc, char **argv);
int fs_cmd_unmount(int argc, char **argv);
int fs_cmd_pack(int argc, char **argv);
int fs_cmd_unpack(int argc, char **argv);
int fs_cmd_reshard(int argc, char **argv);
int fs_cmd_info(int argc, char **argv);
int fs_cmd_path(int argc, char **argv);
int fs_cmd_keys(int argc, char **argv);
int fs_cmd_get(int argc, char **argv);
int fs_cmd_put(int argc, char **argv);
int fs_cmd_has(int argc, char **argv);
int fs_cmd_rm(int argc, char **argv);
int fs_cmd_import(int argc, char **argv);
int fs_cmd_export(int argc, char **argv);
int fs_cmd_cas(int argc, char **argv);
int fs_cmd_gc(int argc, char **argv);
int fs_cmd_verify(int argc, char **argv);
/* umount.fuse.diskvfs, as umount(8) calls it. */
int fs_cmd_umount_helper(int argc, char **argv);

/* "diskvfs: ..." and a newline on stderr. -> status */
int fs_cmd_fail(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A status: nobody reads standard output any more. Then the process ends as one does that got
 * SIGPIPE; before that it has closed its store. Other statuses are returned. */
#define FS_PIPE_CLOSED 141
int fs_cmd_end(int status);

/*
 * Operands of a command that has no options but --help and -q (fs_args_quiet()). -> their number, at least
 * min; -1: *status is what to exit with (the usage was printed).
 */
int fs_cmd_operands(int argc, char **argv, const char *usage, int min, int max,
		    const char **operands, int *status);

/*
 * What the operand STORE|MOUNTPOINT of a command stands for, which works on every value: path, and
 * in mount where it is mounted; "": nowhere. -> exit status, what is wrong having been told.
 */
int fs_cmd_target(const char *operand, char path[PATH_MAX], char mount[PATH_MAX]);
/* Tells that the operand is a mount that a killed daemon has left. -> status */
int fs_cmd_stale(int status, const char *operand);
/* -EINVAL, -ENAMETOOLONG: no key is like that, whatever the transform; a path may be. */
DV_CHECK dv_err fs_cmd_check_key(const char *key);
/* Tells so. -> status */
int fs_cmd_no_key(int status, const char *key);
/* Opens a store that is not mounted for such work. */
DV_CHECK dv_err fs_cmd_open_store(const char *path, struct dv_store **out, char *why,
				  size_t why_size);

#endif
