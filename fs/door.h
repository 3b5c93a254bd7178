/* SPDX-License-Identifier: MIT */
/*
 * door.h - the way to the values of a store, for a command: through its mount where it has one, beside
 * it by the library, or by the library alone.
 *
 *   reading, erasing   through the mount, whose daemon knows what it has not put in place yet; else by
 *                      the library
 *   writing            by the library, in both cases: a value is put in its place whole, and a command
 *                      that is ended halfway leaves nothing. What the kernel remembers of the name is
 *                      then made stale, so that the mount shows the new value at once
 *   names              by the library, in order; a value has its name in the store before it is
 *                      written
 *
 * A user who may use the mount but not the store's folder writes through the mount, to a name of its
 * own that is then renamed.
 */
#ifndef FS_DOOR_H
#define FS_DOOR_H

#include "core/diskvfs.h"
#include "core/error.h"

#include <limits.h>
#include <stdbool.h>

struct fs_door {
	char given[PATH_MAX]; /* as the user named it */
	char store[PATH_MAX];
	char mount[PATH_MAX]; /* "": it is not mounted */
	struct dvfs *lib;     /* NULL as long as it was not needed */
	bool writable;	      /* lib */
	bool read_only;	      /* the user named a mount that takes no writes */
	bool looks;	      /* reading moves no time of access: set before lib is there */
};

/* operand: STORE|MOUNTPOINT. d NULL: there was no memory for it. -> exit status, what is wrong having been
 * told. */
int fs_door_open(struct fs_door *d, const char *operand);
/* The same, and no mount that is read only: its store would be written to beside it. */
int fs_door_open_to_write(struct fs_door *d, const char *operand);
/* -> status, or what is wrong with the end of the work. d may be NULL. */
int fs_door_close(struct fs_door *d, int status);

/* The library, for reading or for writing. Reading finishes first what a dead process left, where it
 * may. -> exit status, what is wrong having been told; -1: it may not be written by this user, but is
 * mounted (nothing is told then). */
int fs_door_library(struct fs_door *d, bool write);

/* MOUNT/KEY. -EINVAL, -ENAMETOOLONG: it is no key. */
DV_CHECK dv_err fs_door_path(const struct fs_door *d, const char *key, char out[PATH_MAX]);

/* The mount looks the key up anew. Does nothing where there is none. */
void fs_door_changed(const struct fs_door *d, const char *key);

/* Tells what err means for the key. -> exit status: 1 for a key that is missing, which is not told
 * with -q, else 2. */
int fs_door_fail(struct fs_door *d, const char *key, dv_err err);

#endif
