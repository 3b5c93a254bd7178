/* SPDX-License-Identifier: MIT */
/*
 * verify_fixture.h - a store on simfs that is filled, damaged and verified.
 *
 *   struct vt t;
 *   vt_begin(&t, "path");  vt_put(&t, "k", 9000);  vt_pack(&t);
 *   vt_flip(&t, "k.zst", 100);
 *   vt_verify(&t, 0);  vt_told(&t, "damaged", "k.zst", "frame 0");
 */
#ifndef VERIFY_FIXTURE_H
#define VERIFY_FIXTURE_H

#include "core/store.h"
#include "core/verify.h"
#include "tests/support/check.h"
#include "tests/support/simfs.h"

#define VT_FOUND_MAX 512

struct vt_finding {
	enum dv_finding_kind kind;
	enum dv_finding_class class;
	char file[512], key[512], detail[256], done[512];
};

struct vt {
	struct simfs *fs;
	const char *boot; /* NULL: "boot" */
	unsigned jobs;	  /* 0: one */
	struct dv_verify_result r;
	dv_err err;
	char why[512];
	size_t count;
	struct vt_finding at[VT_FOUND_MAX];
};

void vt_begin(struct vt *t, const char *transform);
/* With any options; frames are of 4 KiB where they do not say. */
void vt_begin_as(struct vt *t, struct dv_init_options options);
void vt_end(struct vt *t); /* nothing has leaked */

/* A value of text that packs, other for each key. */
void vt_put(struct vt *t, const char *key, size_t len);
void vt_pack(struct vt *t);
/* "%06zu key" lines: what vt_put() writes. out: len bytes */
void vt_text(const char *key, char *out, size_t len);
/* Is the value what vt_put() wrote? 1; 0 other bytes; -errno */
int vt_is(struct vt *t, const char *key, size_t len);

/* Files of the store, by their path in it. */
void vt_write(struct vt *t, const char *path, const void *bytes, size_t len);
size_t vt_read(struct vt *t, const char *path, void *bytes, size_t room); /* -> size */
bool vt_exists(struct vt *t, const char *path);
void vt_mkdir(struct vt *t, const char *path);
void vt_rmdir(struct vt *t, const char *path);
void vt_rename(struct vt *t, const char *from, const char *to);
void vt_flip(struct vt *t, const char *path, size_t off);
void vt_truncate(struct vt *t, const char *path, size_t len);

void vt_sync(struct vt *t); /* all of it is durable */
/* The files outside of .diskvfs and in .diskvfs/lost, a line each: size and hash. On the heap. */
char *vt_contents(struct vt *t);

/* Fills t->r and t->at; findings are kept in the order in which they came. */
void vt_verify(struct vt *t, bool repair);
/* One of the findings is of this name and file, and its detail holds the text. -> it */
const struct vt_finding *vt_told(struct vt *t, const char *name, const char *file,
				 const char *detail);
/* Verifies: no error, no failure. */
void vt_clean(struct vt *t);

#endif
