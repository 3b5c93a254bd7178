/* SPDX-License-Identifier: MIT */
/*
 * gc.h - a store as a cache: values that were not used for long are erased, those used longest ago first.
 *
 * Used is read or written: the later one of its times of access and of change, as the backing
 * filesystem keeps them (relatime: a reading may count once a day). A value that a program has open in
 * the mount, or that its daemon has not put in place yet, is never erased: the mount is asked for a
 * write lease (fcntl(2)), which it gives to who alone has the file open.
 *
 * Memory: what is known of FS_GC_WINDOW values; where more are to go the store is walked again.
 */
#ifndef FS_GC_H
#define FS_GC_H

#include "fs/door.h"

#include <stdint.h>

#define FS_GC_WINDOW 65536u

struct fs_gc {
	uint64_t max_bytes;					  /* on the disk; 0: any */
	uint64_t max_age_s;					  /* 0: any */
	bool dry;						  /* only counts, and tells */
	void (*tell)(void *ctx, const char *key, uint64_t bytes); /* what goes; NULL: nobody */
	void *ctx;
	/* results */
	uint64_t values, bytes;		       /* that there were */
	uint64_t erased, erased_bytes, in_use; /* of these */
};

/* The library of the door is open, for writing where it is not mounted. First error. */
DV_CHECK dv_err fs_gc_run(struct fs_door *d, struct fs_gc *gc);

#endif
