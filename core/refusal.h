/* SPDX-License-Identifier: MIT */
/*
 * refusal.h - raw values that are to stay raw as they are: packing gains nothing, or they were
 * unpacked on purpose. Void as soon as they change.
 *
 * The node remembers both. The tag of the file keeps the latter for the walk that packs what an
 * unclean end has left raw; else a value is packed only after it has changed.
 */
#ifndef DV_REFUSAL_H
#define DV_REFUSAL_H

#include "core/internal.h"
#include "core/place.h"

enum dv_pack_by {
	DV_PACK_BY_KEEPER,  /* it has changed, and is quiet */
	DV_PACK_BY_WALK,    /* it was found raw */
	DV_PACK_BY_COMMAND, /* what was unpacked on purpose too */
};

/* For dv_node.refused: tells versions of a raw value apart; never 0. */
uint32_t dv_refusal_mark(const struct dv_stat *st);

/* Is n, which lies at (p, stored) and is st there, to stay raw? Gate at least shared. */
bool dv_refusal_holds(struct dv_store *s, const struct dv_node *n, enum dv_pack_by by,
		      const struct dv_place *p, const char *stored, const struct dv_stat *st);

/* A packed value before it is unpacked on purpose. */
struct dv_refusal_before {
	bool packed;
	uint64_t writes;       /* n->writes */
	struct timespec ctime; /* as shown */
};

/* n is about to be unpacked on purpose, to what st tells of size and mtime: nobody is to pack it
 * meanwhile. Gate exclusive. */
void dv_refusal_expect(struct dv_node *n, const struct dv_stat *st);
/* n was unpacked on purpose. Where that is all that happened to it since `before`, its ctime stays
 * as it was shown. Nothing where it is not raw any more. Takes the gate. */
DV_CHECK dv_err dv_refusal_keep_raw(struct dv_store *s, struct dv_node *n,
				    const struct dv_refusal_before *before);

#endif
