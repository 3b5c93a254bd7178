/* SPDX-License-Identifier: MIT */
/* folder.h - a folder in memory for a test, and its removal with all that is in it. */
#ifndef TESTS_SUPPORT_FOLDER_H
#define TESTS_SUPPORT_FOLDER_H

#include "tests/support/check.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FOLDER_PATH 64

static inline void folder_make(char path[FOLDER_PATH], const char *name)
{
	snprintf(path, FOLDER_PATH, "%s/dv-%s-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm", name);
	CHECK(mkdtemp(path) != NULL);
}

static inline int folder_remove_one(const char *path, const struct stat *st, int type,
				    struct FTW *where)
{
	(void)st, (void)type, (void)where;
	return remove(path);
}

static inline void folder_remove(const char *path)
{
	CHECK_EQ(nftw(path, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

#endif
