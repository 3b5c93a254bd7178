/* SPDX-License-Identifier: MIT */
/* nopack.h - values that are to stay raw by their key: the patterns of the store and of the
 * mount. */
#ifndef DV_NOPACK_H
#define DV_NOPACK_H

#include "core/internal.h"

/* Does a pattern say that n is not packed? Of several names the first counts. Any gate or none. */
bool dv_nopack_holds(struct dv_store *s, struct dv_node *n);

#endif
