/* SPDX-License-Identifier: MIT */
/*
 * pending.h - the open records of an owner's log: what it has begun and not ended.
 */
#ifndef DV_PENDING_H
#define DV_PENDING_H

#include "core/hash.h"
#include "core/internal.h"
#include "core/record.h"

struct dv_open_record {
	struct dv_record r;	       /* its path points into the log */
	struct dv_open_record *before; /* as it was written before, with another path */
	int64_t changed_ns; /* ctime of its file before recovery renamed that; 0: it did not */
	UT_hash_handle hh;
};

struct dv_pending {
	struct dv_open_record *open; /* in the order in which they were begun */
	uint8_t *log;
	size_t len;
};

/* Reads the log of the owner folder dirfd. To be released after an error too. -EFBIG: it is longer
 * than DV_LOG_MAX. */
DV_CHECK dv_err dv_pending_read(struct dv_store *s, int dirfd, struct dv_pending *out);
void dv_pending_release(struct dv_pending *p);

/* Of a stage in the owner folder dirfd: a write of it failed, so its bytes are not put in place (stage.h). */
bool dv_pending_is_failed(struct dv_store *s, int dirfd, const struct dv_record *r);

/*
 * Read only nothing is finished, but the user is to know that there is more than is shown: counts
 * the values with newer bytes that dead owners have left (s->left_pending), and logs it. Changes
 * nothing.
 */
void dv_pending_tell(struct dv_store *s);

#endif
