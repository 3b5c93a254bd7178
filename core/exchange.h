/* SPDX-License-Identifier: MIT */
/*
 * exchange.h - the names of files of the owner folder that are exchanged with an object of the store.
 *
 * A commit exchanges its file with the old object and then looks at what it got (stage_publish.c): others may have
 * put another one under the name. No record of that need be durable. So that recovery can tell what lies in the
 * folder after a power cut, the file gets a longer name first, which the exchange leaves where it is:
 *
 *   ID.xOWNOLD   or ID.z.xOWNOLD: OWN and OLD in 16 hexadecimal digits each are the hash that an object of that
 *                inode number and birth time shows (dv_meta_ino), of the file itself and of what it is to replace
 *
 * What lies there under such a name and is neither came from the store, and is somebody's value.
 */
#ifndef DV_EXCHANGE_H
#define DV_EXCHANGE_H

#include "core/internal.h"

#define DV_EXCHANGE_MARK 35			 /* with its NUL */
#define DV_EXCHANGE_NAME (40 + DV_EXCHANGE_MARK) /* the longest name, with its NUL */

/* What the name gets at its end. */
void dv_exchange_mark(const struct dv_ident *own, const struct dv_ident *old,
		      char out[DV_EXCHANGE_MARK]);

/* A name taken apart. */
struct dv_exchanged {
	uint64_t id;		      /* of its record */
	char plain[DV_EXCHANGE_NAME]; /* its name without the mark */
	uint64_t own, old;
};
/* false: it has no mark. */
bool dv_exchange_parse(const char *name, struct dv_exchanged *out);

#endif
