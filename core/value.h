/* SPDX-License-Identifier: MIT */
/*
 * value.h - what a node's bytes and attributes are now: stat, read, open files, decode.
 *
 * Calls need the node's gate, at least shared. -ESTALE: the store's object under the name is
 * another than the node's; the caller gives up the gate, calls dv_value_refresh() and tries again.
 */
#ifndef DV_VALUE_H
#define DV_VALUE_H

#include "core/internal.h"
#include "core/place.h"

/* What is shown for the ctime of n's object: a swap keeps the one before it. */
struct timespec dv_shown_ctime(const struct dv_node *n, const struct dv_stat *st);
/* Attributes as the mount shows them: plain size, kept ctime, own inode number. */
DV_CHECK dv_err dv_value_stat(struct dv_store *s, struct dv_node *n, bool nowait,
			      struct dv_stat *out);

/* Turns st, the stat of n's object in the store, into what is shown. at: where it lies, to find a
 * packed one's size (NULL: its file). */
DV_CHECK dv_err dv_value_show(struct dv_store *s, struct dv_node *n, const struct dv_place *at,
			      const char *stored, bool nowait, struct dv_stat *st);

/*
 * Takes the gate exclusively and looks what lies under n's names: another object that is the same
 * value (its tag says so: another mount packed it) is taken over; a name that leads elsewhere is
 * dropped. -ESTALE: no name is left and no file is open.
 */
DV_CHECK dv_err dv_value_refresh(struct dv_store *s, struct dv_node *n);
/* The same with the gate held exclusively already. */
DV_CHECK dv_err dv_value_refresh_locked(struct dv_store *s, struct dv_node *n);

/* An open file of n's object. writable: also locked shared against swaps by others; raw values
 * only; -EAGAIN: others have it locked, or on a lease that was asked back. */
DV_CHECK dv_err dv_value_file(struct dv_store *s, struct dv_node *n, bool writable,
			      struct dv_file **out);
/* A file good for attributes, of any type of object (O_PATH where there is no other). */
DV_CHECK dv_err dv_value_handle(struct dv_store *s, struct dv_node *n, struct dv_file **out);

/* Of a value that was emptied, and not written to since: bytes that it had before. Else 0. -EAGAIN: they are
 * gone; who may wait gives the kernel the time to hear of that. */
DV_CHECK ssize_t dv_value_read_before(struct dv_store *s, struct dv_node *n, void *buf,
				      struct dv_range range, bool nowait);
DV_CHECK ssize_t dv_value_read(struct dv_store *s, struct dv_node *n, void *buf,
			       struct dv_range range, bool nowait);

#endif
