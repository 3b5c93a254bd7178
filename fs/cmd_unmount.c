/* SPDX-License-Identifier: MIT */
/*
 * cmd_unmount.c - diskvfs unmount MOUNTPOINT: finish, unmount, wait for the daemon's end.
 *
 * umount(8) does not wait for a FUSE daemon, so a store could still be written to after it.
 * Installed as umount.fuse.diskvfs this is what umount(8) runs.
 */
#include "fs/cmd.h"

#include "core/error.h"
#include "fs/args.h"
#include "fs/client.h"
#include "fs/mountpoint.h"

#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The daemon's probes hold a file open for moments. */
#define BUSY_TRIES    60
#define BUSY_PAUSE_NS 50000000

/* A daemon that takes longer to end: it is looked at whether it serves another place. A namespace
 * that is there for moments only, as of a service that is being started, is waited for. */
#define LOOK_MS	  1000
#define LOOKS_MAX 3

struct flags {
	bool lazy, quiet;
	bool helper; /* of umount(8), which has done its work where others still see the mount */
};

/* A descriptor that becomes readable when the daemon has ended; -errno where it can not be told. */
static int watch_daemon(const char *mountpoint)
{
	pid_t pid = fs_client_pid(mountpoint);
	int fd;

	if (pid < 0)
		return pid;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	return fd < 0 ? -errno : fd;
}

/* -> status. mount: what was unmounted. */
static int wait_for(int fd, const struct fs_mount *mount, const char *given, int failed)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char path[PATH_MAX], whose[64] = "";
	pid_t pid;

	for (int looks = 0;;) {
		int n = poll(&p, 1, LOOK_MS);

		if (n > 0 || (n < 0 && errno != EINTR))
			return 0;
		if (n == 0 && mount->type[0] && fs_mountpoint_elsewhere(mount, &pid, path) &&
		    ++looks >= LOOKS_MAX)
			break;
	}
	if (pid)
		snprintf(whose, sizeof(whose), " for process %d", (int)pid);
	fs_cmd_fail(failed,
		    "%s: is unmounted, but still mounted at %s%s; its daemon ends when it is "
		    "unmounted there",
		    given, path, whose);
	return failed;
}

static dv_err unmount_busy(const char *mountpoint, bool lazy)
{
	const struct timespec pause = {.tv_nsec = BUSY_PAUSE_NS};
	dv_err err = fs_mountpoint_unmount(mountpoint, lazy);

	for (int i = 0; err == -EBUSY && i < BUSY_TRIES; i++) {
		nanosleep(&pause, NULL);
		err = fs_mountpoint_unmount(mountpoint, lazy);
	}
	return err;
}

/* The daemon tries once more when it ends. */
static int fail_unfinished(const char *path, const char *given, int failed, dv_err err)
{
	char store[PATH_MAX];

	if (fs_client_store(path, store, sizeof(store)) < 0)
		snprintf(store, sizeof(store), "STORE");
	return fs_cmd_fail(
		failed,
		"%s: %llu values could not be finished: %s; their new bytes are recorded in "
		"%s/.diskvfs/stage, the next mount puts them in place; `diskvfs info %s` "
		"lists what is left",
		given, (unsigned long long)fs_client_pending(path), strerror(-err), store, store);
}

static int unmount(const char *given, const struct flags *flags, int failed)
{
	char path[PATH_MAX];
	struct fs_mount mount;
	int watch = -1, status = 0;
	bool stale;
	dv_err err = fs_mountpoint_resolve(given, path);

	if (err < 0)
		return fs_cmd_fail(failed, "%s: %s", given, strerror(-err));
	if (!fs_client_is_mount(path))
		return fs_cmd_fail(failed, "%s: no diskvfs is mounted there", given);
	stale = fs_mountpoint_is_stale(path);
	if (!stale) {
		watch = watch_daemon(path);
		err = fs_client_command(path, "finish\n", NULL);
		/* A read-only mount has nothing to finish. */
		if (err < 0 && err != -EROFS && err != -EACCES)
			status = fail_unfinished(path, given, failed, err);
	}
	if (fs_mountpoint_find(path, &mount) < 0)
		mount.type[0] = '\0';
	err = unmount_busy(path, flags->lazy || stale);
	if (err < 0) {
		if (watch >= 0)
			close(watch);
		return fs_cmd_fail(failed, "%s: %s", given,
				   err == -EBUSY ? "is in use; `fuser -vm` tells by whom"
						 : strerror(-err));
	}
	if (watch >= 0) {
		if (!flags->lazy) { /* lazily it ends when its last user does */
			int still = wait_for(watch, &mount, given, failed);

			if (still && !flags->helper)
				status = still;
		}
		close(watch);
	} else if (!stale && !flags->quiet) {
		fprintf(stderr,
			"diskvfs: %s: is unmounted, but its daemon can not be waited for: %s\n",
			given, strerror(-watch));
	}
	return status;
}

int fs_cmd_unmount(int argc, char **argv)
{
	static const char usage[] =
		"usage: diskvfs unmount MOUNTPOINT [-q]\n"
		"Finishes what is pending, unmounts, and returns when the daemon has ended.\n";
	struct flags flags = {0};
	const char *operand;
	int status;

	if (fs_cmd_operands(argc, argv, usage, 1, 1, &operand, &status) < 0)
		return status;
	flags.quiet = fs_args_quiet();
	return unmount(operand, &flags, 2);
}

/* umount(8) calls: umount.SUFFIX MOUNTPOINT [-flnrv] [-N namespace] [-t type.subtype] */
int fs_cmd_umount_helper(int argc, char **argv)
{
	struct flags flags = {.helper = true};
	int c;

	opterr = 0;
	while ((c = getopt(argc, argv, "flnrvN:t:o:")) != -1)
		if (c == 'l')
			flags.lazy = true;
	if (optind + 1 != argc) {
		fputs("usage: umount.fuse.diskvfs MOUNTPOINT [-flnrv] [-t TYPE]\n", stderr);
		return 1;
	}
	return unmount(argv[optind], &flags, 32);
}
