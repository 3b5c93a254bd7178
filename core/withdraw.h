/* SPDX-License-Identifier: MIT */
/*
 * withdraw.h - a raw file is taken away that was packed, if it is that very file and nobody wants
 * it.
 *
 * To look and then to unlink would take away what another mount, or a program in the store, has put
 * there in between, or has opened for writing. So the file is moved to the owner folder first, as
 * IDr, ID being that of its SWAP record; it is looked at there, and unlinked or put back. Whoever
 * dies in between leaves a record, and recovery does the same (dv_withdraw_again).
 *
 *   K, K.zst  --rename-->  IDr, K.zst  --it is the file, unchanged, no writer-->  K.zst
 *                                     --else-->  K, K.zst, and the job gives K.zst up
 */
#ifndef DV_WITHDRAW_H
#define DV_WITHDRAW_H

#include "core/internal.h"
#include "core/place.h"
#include "core/record.h"

struct dv_withdrawal {
	int dirfd;   /* of the owner folder */
	uint64_t id; /* of the SWAP record, which is durable */
	struct dv_ident object;
	struct dv_ident packed;	   /* the form that was made of it */
	struct dv_version version; /* its ctime does not count: the move changes it */
	bool any_version; /* after a power cut, which leaves of bytes that were not synced what it
			     likes; the packed form was durable before */
	bool (*wanted)(void *ctx); /* by a writer; NULL: nobody is there to ask */
	void *ctx;
};

/*
 * Takes the file away from (p, stored). *gone: it is. Else it was another one, or wanted, and is
 * there again, or another one is; or others have replaced the value meanwhile, and it is in lost/.
 * After an error it may lie in the owner folder still: *kept, the record must stay open. Directory
 * times are the caller's.
 */
DV_CHECK dv_err dv_withdraw(struct dv_store *s, const struct dv_place *p, const char *stored,
			    const struct dv_withdrawal *w, bool *gone, bool *kept);

/* What lies in the owner folder under w's id, if a withdrawal was cut short: the same again. 0
 * where nothing does. */
DV_CHECK dv_err dv_withdraw_again(struct dv_store *s, const struct dv_place *p, const char *stored,
				  const struct dv_withdrawal *w);

#endif
