/* SPDX-License-Identifier: MIT */
/*
 * daemon.h - the process around a mount: into the background with a truthful exit status, and out
 * on signals.
 *
 *   parent            child
 *   fork ------------> session of its own, mounts, opens the store, serves
 *   waits on a pipe <- one byte, the exit status, and a line of text where it is not 0
 *   exits with it
 *
 * The fork comes before any thread is started. The child writes to stderr until it is ready, to
 * syslog afterwards.
 *
 * SIGTERM, SIGINT and SIGHUP finish what is pending, then unmount; the loop ends when the kernel
 * says so. Where the mount is in use it is taken out of the tree and goes on until the last user is
 * gone; the second signal ends it at once.
 */
#ifndef FS_DAEMON_H
#define FS_DAEMON_H

#include "core/error.h"

#include <stdbool.h>

struct fs_session;

/* Exit status of mount(8). */
enum {
	FS_EXIT_OK = 0,
	FS_EXIT_USAGE = 1,
	FS_EXIT_SYSTEM = 2,
	FS_EXIT_INTERNAL = 4,
	FS_EXIT_MOUNT = 32,
};

/* Returns in the child, and in the only process with foreground set; the parent exits here. */
void fs_daemon_start(bool foreground);

/* The mount works: the parent exits 0. */
void fs_daemon_ready(void);

/* One line for the user, with the program's name before it; the parent exits with status. -> status
 */
int fs_daemon_fail(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Blocks the signals in the calling thread and all that it will start. Before any thread. */
void fs_daemon_block_signals(void);
/* Called by the serving thread: starts the thread that waits for signals. */
DV_CHECK dv_err fs_daemon_watch_signals(struct fs_session *fs);
/* After the loop: ends that thread. */
void fs_daemon_unwatch_signals(void);

#endif
