/* SPDX-License-Identifier: MIT */
/*
 * progress.h - how far a long command has come: a bar with rate and time left on a terminal, a plain
 * line now and then elsewhere, both on standard error.
 *
 * The first line in a log comes after FS_PROGRESS_LOG_S, so that short work says nothing there.
 */
#ifndef FS_PROGRESS_H
#define FS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define FS_PROGRESS_LOG_S 10

struct fs_progress {
	const char *what;		   /* "import" */
	uint64_t files, bytes;		   /* so far */
	uint64_t total_files, total_bytes; /* 0: not known */
	/* the rest is progress.c's */
	int64_t began_ns, told_ns;
	bool terminal, silent, shown;
};

void fs_progress_begin(struct fs_progress *p, const char *what);
/* Adds, and shows where it is time. */
void fs_progress_add(struct fs_progress *p, uint64_t files, uint64_t bytes);
/* Takes the bar away: before a line that is to stay, and at the end. */
void fs_progress_clear(struct fs_progress *p);

/* Bytes as people read them. -> buf */
const char *fs_size_text(uint64_t bytes, char buf[32]);

#endif
