/* SPDX-License-Identifier: MIT */
/*
 * data.h - what the parts of the data exerciser share: steps, the file, its shadow in memory.
 *
 *   main     options, runs      steps    a step chosen, printed, read
 *   act      a step is taken    check    the file is compared with the shadow
 */
#ifndef TEST_DATA_EXERCISER_H
#define TEST_DATA_EXERCISER_H

#include "tests/mount/mounted.h"
#include "tests/support/random.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define DX_SIZE_BYTES	(600u << 10) /* the file is mostly no longer than this */
#define DX_LARGE_BYTES	(24u << 20)  /* nor ever longer than this */
#define DX_PIECE_BYTES	(1u << 20)   /* one call */
#define DX_STEPS_MAX	2000000u
#define DX_HANG_SECONDS 120
#define DX_LINE_BYTES	256
#define DX_COMPARED_ALL (1u << 20) /* a longer file is compared in pieces after a step */
#define DX_APPENDERS	3
#define DX_RECORD_BYTES 24
#define DX_RECORDS	20 /* of one appender */

enum dx_kind {
	DX_WRITE,
	DX_APPEND,
	DX_APPEND_MANY,
	DX_APPEND_OTHERS,
	DX_WRITE_DIRECT,
	DX_STREAM,
	DX_TRUNCATE,
	DX_FALLOCATE,
	DX_MAP_WRITE,
	DX_MAP_READ,
	DX_MAP_PAST_END,
	DX_REPLACE,
	DX_SAVE,
	DX_COPY,
	DX_COPY_OUT,
	DX_LINK,
	DX_RENAME,
	DX_SYNC,
	DX_REOPEN,
	DX_READ,
	DX_READ_DIRECT,
	DX_SEEK,
	DX_PAUSE,
	DX_PACK,
	DX_UNPACK,
	DX_REMOUNT,
	DX_KILL,
	DX_KILL_WRITING,
	DX_KINDS
};

struct dx_step {
	unsigned number;
	enum dx_kind kind;
	uint64_t off, len, fill;
	unsigned flags;
};

struct dx_world {
	struct mounted mounted;
	char options[256];
	bool verbose;
	struct dx_step now;
	char path[4096], second[4096]; /* the file; a second name, or the first again */
	int fd, other;		       /* of path for writing, of second for reading; -1: closed */
	char *shadow, *buf;	       /* DX_LARGE_BYTES each */
	uint64_t size;
};
extern struct dx_world dx;

/* steps.c */
extern const struct dx_kind_info {
	const char *name;
	unsigned weight;
} dx_kinds[DX_KINDS];
void dx_choose(uint64_t seed, unsigned number, struct dx_step *out);
void dx_print(const struct dx_step *s, FILE *out);
bool dx_parse(const char *line, struct dx_step *out);

/* act.c, act_mount.c, act_kill.c */
void dx_act(const struct dx_step *s);
void dx_act_mount(const struct dx_step *s);
void dx_kill_writing(const struct dx_step *s);
void dx_open_files(void);
void dx_close_files(void);
void dx_mount_up(const struct dx_step *s);

/* check.c */
__attribute__((noreturn)) void dx_fail(const char *what);
void dx_compare(int fd, uint64_t off, uint64_t len);
void dx_check(const struct dx_step *s); /* after each step */
void dx_check_all(void);
void dx_check_holes(const struct dx_step *s);

#endif
