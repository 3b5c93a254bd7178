/* SPDX-License-Identifier: MIT */
/*
 * parts_fixture.h - a store over the kernel with small limits, one value of it, and the bytes that it is to
 * have: what test_parts.c and test_parts_others.c stand on.
 */
#ifndef PARTS_FIXTURE_H
#define PARTS_FIXTURE_H

#include "core/log.h"
#include "core/store.h"
#include "tests/support/check.h"

#define FRAME	4096u
#define STREAM	(4 * FRAME)
#define APPEND	(2 * FRAME)
#define SEGMENT (8 * FRAME)
#define MAX	(96 * FRAME)

extern const struct dv_call call;

struct fix {
	char path[64];
	struct dv_store *s;
	struct dv_node *root, *n;
	struct dv_stat st;
	uint8_t *bytes; /* what the value is to be */
	size_t len;
	unsigned seed;
	int writers;	 /* what the store is told of them */
	bool background; /* with the store's own threads */
	unsigned frames_max;
	bool read_only;
};

void no_log(enum dv_log_level level, const char *line);
void open_store(struct fix *f);
void setup(struct fix *f);
void close_store(struct fix *f);
void teardown(struct fix *f);
void make(struct fix *f, const char *name);
void look_up(struct fix *f, const char *name);
void fill(struct fix *f, size_t off, size_t len, bool noise);
void write_at(struct fix *f, size_t off, size_t len, unsigned flags);
void add(struct fix *f, size_t len);
void set_size(struct fix *f, size_t len);
const char *form(struct fix *f);
long frames(struct fix *f);
struct dv_store_stats stats(struct fix *f);
void check_bytes(struct fix *f);
void check_stored(struct fix *f, const char *stored);
bool is_there(struct fix *f, const char *stored);
void remove_stages(struct fix *f);

#endif
