/* SPDX-License-Identifier: MIT */
/* space_fixture.h - a store on simfs and what is done to it: for test_space.c and test_backlog.c. */
#ifndef SPACE_FIXTURE_H
#define SPACE_FIXTURE_H

#include "core/log.h"
#include "core/store.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

#define BLOCK 4096u
#define MIB   (1u << 20)

extern const struct dv_call call;

struct fix {
	struct simfs *fs;
	struct dv_store *s;
	struct dv_node *root;
};

void no_log(enum dv_log_level level, const char *line);
void open_store(struct fix *f, struct dv_store_options o);
void setup(struct fix *f, struct dv_store_options o, const char *nopack);
void close_store(struct fix *f);
void teardown(struct fix *f);
struct dv_node *find(struct fix *f, const char *name);
char *text_of(size_t len, unsigned seed);
struct dv_node *create(struct fix *f, const char *name);
ssize_t write_at(struct fix *f, struct dv_node *n, const char *text, struct dv_range range);
void put(struct fix *f, const char *name, const char *text, size_t len);
bool is(struct fix *f, const char *name, const char *text, size_t len);
bool is_packed(struct fix *f, const char *name);
void pack_all(struct fix *f);
struct dv_store_stats stats(struct fix *f);

#endif
