/* SPDX-License-Identifier: MIT */
/* files_private.h - what files.c, files_parts.c and files_attrs.c share. Gates exclusive. */
#ifndef DV_FILES_PRIVATE_H
#define DV_FILES_PRIVATE_H

#include "core/ops.h"

/* In what the bytes went to, and in the old object, whose attributes a value with several links
 * keeps. */
DV_CHECK dv_err dv_kill_suid(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			     int fd);

/* A change that is not at the end: a stream becomes a raw stage (empty: with nothing in it), an append
 * is put in place first. */
DV_CHECK dv_err dv_leave_parts(struct dv_store *s, struct dv_node *n, bool nowait, bool empty);

/* Does a write of range, or at the end, go to the end of a value in two parts, which it may make one?
 * Then dv_add_gated() makes it. */
DV_CHECK dv_err dv_is_added(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			    struct dv_range range, unsigned flags, bool *out_at_end);
/* Before a write, or another change, of a packed value; no gate held: what is added to it is put in place
 * where the change is elsewhere. *out_added as above. */
DV_CHECK dv_err dv_before_write(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
				struct dv_range range, unsigned flags, bool *out_added);
DV_CHECK dv_err dv_before_other(struct dv_store *s, const struct dv_call *call, struct dv_node *n);
DV_CHECK ssize_t dv_add_gated(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			      const void *buf, size_t len, unsigned flags);

/* All but the size. -EAGAIN: nowait. */
DV_CHECK dv_err dv_set_others(struct dv_store *s, struct dv_node *n, const struct dv_setattr *set,
			      bool nowait);
/* st: after set. What others did while it was set: the mtime is not ours then, where we have set none. */
void dv_look_again(struct dv_node *n, const struct dv_setattr *set, const struct dv_stat *st);

#endif
