/* SPDX-License-Identifier: MIT */
/*
 * verify_members.h - the whole members of a gzip file that is damaged (RFC 1952): those whose checksum
 * and length are what they say.
 *
 * Goes on behind damage at the next bytes that are the beginning of a whole member. A zlib file is one
 * stream, and has none.
 */
#ifndef DV_VERIFY_MEMBERS_H
#define DV_VERIFY_MEMBERS_H

#include "core/verify_frames.h"

/* As dv_scan_frames(), of ops frame alone; out->frames and out->plain are set. What lies behind a bound
 * of bytes decoded in vain is not looked for. */
DV_CHECK dv_err dv_scan_members(struct dv_store *s, struct dv_scan *scan,
				const struct dv_scan_file *file, const struct dv_scan_ops *ops,
				struct dv_scan_result *out);

#endif
