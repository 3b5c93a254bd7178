/* SPDX-License-Identifier: MIT */
/*
 * expire.h - the options max_size= and max_age=: now and then a child, `diskvfs gc MOUNTPOINT`, erases
 * what was used longest ago (gc.h).
 *
 * A child of the steward, since it works through the mount, as any program, and looks over the whole store:
 * it takes no memory of the daemon, may do what a confined daemon may not, and can be ended. It runs every
 * FS_EXPIRE_S seconds, or ten times within max_age, but so that it works a twentieth of the time at most.
 */
#ifndef FS_EXPIRE_H
#define FS_EXPIRE_H

#include "core/error.h"

#define FS_EXPIRE_S	10
#define FS_EXPIRE_SHARE 20

struct fs_options;
struct fs_steward;
struct fs_expire; /* opaque */

/* The child's arguments; argv[0] is NULL where the options ask for nothing. Not to be moved. */
struct fs_expire_gc {
	char size[32], age[32];
	char *argv[10];
};
/* plugin: what --transform is to be given, "": nothing. mountpoint, plugin: borrowed by *out. */
void fs_expire_gc_args(const struct fs_options *o, const char *mountpoint, const char *plugin,
		       struct fs_expire_gc *out);

/* mountpoint, steward: borrowed. *out stays NULL where the options ask for nothing. */
DV_CHECK dv_err fs_expire_new(const struct fs_options *o, const char *mountpoint,
			      struct fs_steward *steward, struct fs_expire **out);
/* Ends the child, without waiting for it: it may wait for the daemon. NULL is allowed. */
void fs_expire_stop(struct fs_expire *e);
/* After the connection to the kernel is gone: waits for it. */
void fs_expire_free(struct fs_expire **e);

#endif
