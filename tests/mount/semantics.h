/* SPDX-License-Identifier: MIT */
/*
 * semantics.h - what the checks of semantics.c and semantics_calls.c are written with.
 *
 * A check runs in a directory of its own that holds the files of make_files() and writes what calls
 * return into the transcript. Nothing that differs by right may come into it: numbers of inodes,
 * times, places.
 */
#ifndef TEST_SEMANTICS_H
#define TEST_SEMANTICS_H

#include "tests/support/check.h"

#include <stdbool.h>
#include <sys/stat.h>

#define TEXT_BYTES  20000
#define LARGE_BYTES 400000

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* One line of the transcript. */
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);
/* The call, what it returned, and errno where that is below 0. */
void note_result(const char *call, long result);
#define R(call) note_result(#call, (long)(call))

/* Attributes, and size and a sum of the bytes. */
void show_fd(const char *what, int fd);
void show(const char *path);
/* The names of a directory and their types, sorted. */
void list(const char *path);

/* Which of the times differ from before? */
struct stat before_of(const char *path);
void note_times(const char *path, const struct stat *before);
/* Longer than the grain of file times. */
void tick(void);

void become(uid_t uid, gid_t gid, gid_t supplementary);
void become_root(void);
/* Runs f in another process; its notes are part of the transcript. */
void elsewhere(void (*f)(void));

/* A new file of so many bytes, the same each time. */
void put_file(const char *path, size_t len, bool compressible);

/* Of semantics_calls.c. */
extern const struct check_test semantics_calls[];
extern const size_t semantics_calls_count;

#endif
