/* SPDX-License-Identifier: MIT */
/*
 * pack_request.h - which values are packed, as a command for the daemon of a mount (control.h):
 *
 *   pack level=N older=SECONDS match=GLOB     each may be left out, and the last one takes the rest
 */
#ifndef FS_PACK_REQUEST_H
#define FS_PACK_REQUEST_H

#include "core/store.h"

/* -ENAMETOOLONG. */
DV_CHECK dv_err fs_pack_request_write(const struct dv_pack_request *r, char *buf, size_t size);
/* Of text, which out->match points into. -EINVAL. */
DV_CHECK dv_err fs_pack_request_parse(const char *text, struct dv_pack_request *out);
/* "-7" to "19". */
DV_CHECK dv_err fs_pack_level_parse(const char *text, int *out);

#endif
