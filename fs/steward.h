/* SPDX-License-Identifier: MIT */
/*
 * steward.h - a process beside the daemon, for the few things that a confined one may not do.
 *
 * The daemon reads what others have written into the store, so once it has mounted it can neither
 * unmount nor start programs (confine.h). Both are needed at its end, and by max_size= and max_age=.
 * So before that it forks the steward, which has no file open but one end of a socket, reads
 * nothing but single bytes from it, and knows a handful of errands, whose every word was fixed when it was
 * forked. It ends when the daemon has, however that came.
 *
 *   daemon (confined)  --- one byte: which errand --->  steward (as mount found it)
 *                      <-- one int: the result  ------
 *
 * With sandbox=no there is no such process: the daemon does the errands itself.
 */
#ifndef FS_STEWARD_H
#define FS_STEWARD_H

#include "core/error.h"

#include <stdbool.h>

struct fs_steward;

enum fs_errand {
	FS_ERRAND_UNMOUNT,
	FS_ERRAND_UNMOUNT_LAZY,
	FS_ERRAND_GC,	   /* starts `diskvfs gc`; -EBUSY: it is at work */
	FS_ERRAND_GC_LOOK, /* -EAGAIN: it is at work; 0: it has ended well, or is none; -EIO: badly */
	FS_ERRAND_GC_END, /* kills it, does not wait for it */
};

/*
 * mountpoint, gc (an argument list that ends with NULL; NULL: none): lent until the steward is
 * freed. apart: as a process of its own; there are no threads yet, and nothing is open that it may
 * not keep. -> 0 or -errno.
 */
DV_CHECK dv_err fs_steward_new(const char *mountpoint, char *const *gc, bool apart,
			       struct fs_steward **out);
/* One at a time, from any thread. Blocks as long as the errand takes. -ECHILD: the process is gone. */
DV_CHECK dv_err fs_steward_do(struct fs_steward *s, enum fs_errand errand);
/* After the connection to the kernel is gone: waits for the process. *slot may be NULL. */
void fs_steward_free(struct fs_steward **slot);

#endif
