/* SPDX-License-Identifier: MIT */
/* digest.h - SHA-256 of bytes, as hexadecimal text: pure, no I/O. */
#ifndef DV_DIGEST_H
#define DV_DIGEST_H

#include "core/error.h"

#include <stddef.h>

#define DV_DIGEST_TEXT 65u /* 64 digits and NUL */

/* -ENOMEM. */
DV_CHECK dv_err dv_digest(const void *bytes, size_t len, char out[DV_DIGEST_TEXT]);

#endif
