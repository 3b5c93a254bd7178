/* SPDX-License-Identifier: MIT */
/*
 * taken.h - MKNOD of a name that others have made since the kernel looked for it.
 *
 * The kernel asks for a new file where open(2) with O_CREAT is to open it, and where O_EXCL, or mknod(2), is
 * to fail; it does not say which. Told ESTALE it begins again, once, and looks the name up first: there it
 * knows. Where others have removed the name by then and made it anew before MKNOD comes again, nothing is
 * looked up any more, and the caller gets what is answered then. That is EEXIST: who makes lock files with
 * O_EXCL has competitors, and waits for them at no other error.
 *
 * Threads: all from any thread.
 */
#ifndef FS_TAKEN_H
#define FS_TAKEN_H

#include <stdint.h>
#include <sys/types.h>

/* The calling program's thread, and the name that it is about. */
struct fs_taken {
	pid_t thread;
	uint64_t parent;
	const char *name;
};

/* The name is there. -> the errno (positive) that MKNOD of a regular file is answered. */
int fs_taken_answer(const struct fs_taken *t);
/* It was found, made, or could not be for another reason: the next time is the first one. */
void fs_taken_end(const struct fs_taken *t);

#endif
