/* SPDX-License-Identifier: MIT */
/*
 * edit.h - the long part of an edit's beginning, without keeping anyone out.
 *
 * A packed value that is edited gets a stage with its plain bytes (stage.h). To decode 10 GiB takes
 * seconds: under the gate all requests for the value would wait for it, and one after the other
 * all threads that serve. Here it is decoded beside the value, which is read from its packed form
 * meanwhile; the gate is taken for the moment in which the stage becomes the value.
 *
 *   shared gate: which object, an open file of it
 *   no gate:     stage file, space for all of it, decode
 *   exclusive:   still that object in that state? begin : throw it away and look again
 */
#ifndef DV_EDIT_H
#define DV_EDIT_H

#include "core/internal.h"

/* A value of so many plain bytes is unpacked where it is edited: that takes some milliseconds. */
#define DV_EDIT_GATED_MAX (4u << 20)
/* For a caller who may not wait: stored and plain bytes. */
#define DV_EDIT_INLINE_STORED_MAX (64u << 10)
#define DV_EDIT_INLINE_PLAIN_MAX  (1u << 20)

/* May n be unpacked by a caller who may not wait? Gate held. */
bool dv_edit_is_quick(struct dv_store *s, struct dv_node *n);

/*
 * Before a change of n's bytes, no gate held: a large packed value has a stage on return, for the
 * caller to hand to the keeper (*begun). Of others, and of one that changes all the time, nothing
 * is done: then it is unpacked where it is changed. -EINPROGRESS with call->parks: as many as
 * may be are at it, or another thread unpacks this one.
 */
DV_CHECK dv_err dv_edit_prepare(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
				bool *begun);

#endif
