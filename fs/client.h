/* SPDX-License-Identifier: MIT */
/*
 * client.h - talks to the daemon of a mount through its virtual folder.
 */
#ifndef FS_CLIENT_H
#define FS_CLIENT_H

#include "core/error.h"
#include "core/store.h"

#include <sys/types.h>

/* Is a diskvfs mounted exactly there? path: absolute, normal. */
bool fs_client_is_mount(const char *path);

/* Writes a command and waits until its work is done. result may be NULL. */
DV_CHECK dv_err fs_client_command(const char *mountpoint, const char *command,
				  struct dv_pack_result *result);

/* Was it mounted read only? */
DV_CHECK dv_err fs_client_is_read_only(const char *mountpoint, bool *out);

/* The folder whose store is mounted there. -ENOENT: the daemon does not tell. */
DV_CHECK dv_err fs_client_store(const char *mountpoint, char *buf, size_t size);

/* Values that the daemon has not put in place yet; 0 where it can not be told. */
uint64_t fs_client_pending(const char *mountpoint);

/* -> process id of the daemon, or -errno. */
DV_CHECK pid_t fs_client_pid(const char *mountpoint);

#endif
