/* SPDX-License-Identifier: MIT */
/*
 * plugin.h - a transform of your own, in a shared object. This header is all that one needs.
 *
 *   cc -shared -fPIC -o mine.so mine.c        (with #include <diskvfs/plugin.h>, as it is installed)
 *   diskvfs init STORE --transform ./mine.so:ARGS
 *   diskvfs mount STORE MOUNTPOINT -o transform=./mine.so:ARGS
 *
 * It is named on the command line each time, and never taken from the store, which remembers its
 * name, its arguments and the SHA-256 of the file, and is opened with no other one.
 *
 * Keys are names of 1 to 255 bytes without slash; folders of the mount are not to be had. A path is
 * folders and a file, as in "ab/cd/abcd", without a slash at either end:
 *
 *   - at most 64 folders; each component 1 to 255 bytes, not ".", "..", nor ".diskvfs..."
 *   - no folder ends in ".zst", ".zst.raw", ".zst.raw.raw"...
 *   - inverse(transform(key)) is key, and so no two keys share a file
 *   - the file of a key is no folder of another key's, if that can be
 *
 * The first three are checked for sample keys when it is loaded, which may all be refused but one,
 * and for each key that is used; one that breaks them is refused (EINVAL). Of two keys that break the
 * last one the second is refused (ENOTDIR, EISDIR). Files of the store that inverse() refuses, or
 * gives a key that lies elsewhere, are none of its values.
 *
 * All functions may be called from any thread at once, must give the same answer each time, and must not
 * wait. A crash in one is a crash of the daemon; so is a file that is written over while it is in use:
 * put a new one in its place by renaming.
 */
#ifndef DISKVFS_PLUGIN_H
#define DISKVFS_PLUGIN_H

#include <stddef.h>

#define DISKVFS_PLUGIN_ABI 2 /* 1 had no compare, and is taken too */

struct diskvfs_transform {
	unsigned abi; /* DISKVFS_PLUGIN_ABI */
	/* args: what follows the first colon, "" where there is none. why[] gets one sentence on an
	 * error. -> 0, or -1. NULL: there are no arguments, and *self is NULL. */
	int (*open)(const char *args, void **self, char *why, size_t why_size);
	void (*close)(void *self); /* NULL: nothing is to be done */
	/* Writes the path of key, with its NUL, into path[size]. -> 0; -1: there is none. */
	int (*transform)(void *self, const char *key, char *path, size_t size);
	/* The reverse; key[size], 256 bytes. */
	int (*inverse)(void *self, const char *path, char *key, size_t size);
	/* The order of `diskvfs keys --sorted`: less than, equal to or greater than 0. Keys that are
	 * equal by it come in the order of their bytes. NULL: all do. */
	int (*compare)(void *self, const char *a, const char *b);
};

/* What the shared object defines. */
extern const struct diskvfs_transform diskvfs_transform;

#endif
