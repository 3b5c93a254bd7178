/* SPDX-License-Identifier: MIT */
/*
 * twin.h - a packed file K.zst beside K that is no form of K's value: another program made it
 * (zstd -k), or a store was restored over itself.
 *
 * K is served, both are kept, packing leaves them alone. When K loses its name through the mount
 * (unlink, rename, rmdir) the name must be free, for programs make it anew; so K.zst is renamed to
 * K.zst.raw, by which the mount shows it as the file K.zst that it is. It is never unlinked or
 * written to for what happens to K.
 *
 * What tells it from a superseded or a coming form of K itself: those bear K's inode number in a
 * tag that is not a copy's, or are in an open record of some owner (what a rename took K's name
 * from).
 */
#ifndef DV_TWIN_H
#define DV_TWIN_H

#include "core/internal.h"
#include "core/place.h"

#define DV_TWINS_MAX 3072u /* are told and counted, each once */

DV_CHECK dv_err dv_twins_new(struct dv_twins **out);
void dv_twins_free(struct dv_twins **t);
uint64_t dv_twins_count(struct dv_twins *t);

/* Is (dirfd, packed) a regular file, and no form of the value or object that shows ino? */
bool dv_twin_is_foreign(struct dv_store *s, int dirfd, const char *packed, uint64_t ino);
/* What (dirfd, stored), which is st, shows as its inode number where no node is known. */
uint64_t dv_twin_ino(struct dv_store *s, int dirfd, const char *stored, const struct dv_stat *st);

/*
 * Does an open record of some owner speak of the packed object, but for one that says only that it was packed?
 * raw: one that says that this took its place. Where logs can not be read: no, if raw is given; else yes.
 */
bool dv_twin_is_recorded(struct dv_store *s, const struct dv_ident *packed,
			 const struct dv_ident *raw);

/* Logs and counts it, once: (dirfd, packed) beside name in dir. Not what an open record of some owner
 * speaks of. */
void dv_twin_tell(struct dv_store *s, struct dv_node *dir, const char *name, int dirfd,
		  const char *packed);

/* The name at p, of what showed ino and was not packed, is gone: its twin, which was the object `packed`
 * before that, gives it up. Where that can not be, which is logged, the twin shows under the name. */
void dv_twin_release(struct dv_store *s, const struct dv_place *p, uint64_t ino,
		     const struct dv_ident *packed);

#endif
