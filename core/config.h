/* SPDX-License-Identifier: MIT */
/*
 * config.h - .diskvfs/config as text: `name=value` lines, '#' comments. Pure, no I/O.
 *
 *   format=1
 *   transform=path
 *   compress=zstd:3
 *   frame_size=131072
 *   nopack=*.db:cache/x*        (globs.h; may be left out)
 *   layout=diskv:gzip           (coding.h; left out: our own), and then format=2
 *   dict=SHA256                 (of .diskvfs/dict, the dictionary of diskv:zlib)
 *
 * `format` and `transform` must be there, so that a torn or emptied file is never taken for a store
 * of the defaults; a known name stands once. Blanks around name and value do not count. Comments
 * and unknown names are kept and written back behind the known ones; a greater `format` is refused.
 */
#ifndef DV_CONFIG_H
#define DV_CONFIG_H

#include "core/coding.h"
#include "core/digest.h"
#include "core/error.h"
#include "core/transform.h"

#include <stdint.h>

#define DV_FORMAT_VERSION     1	    /* of our own layout */
#define DV_FORMAT_MAX	      2	    /* with a line that must not be passed over */
#define DV_CONFIG_MAX	      65536 /* bytes of the file */
#define DV_FRAME_SIZE_MIN     4096u
#define DV_FRAME_SIZE_MAX     (4u << 20)
#define DV_FRAME_SIZE_DEFAULT (128u << 10)
#define DV_LEVEL_DEFAULT      3

/* A plain value type but for `nopack` and `unknown`. */
struct dv_config {
	unsigned format;
	char transform[DV_SPEC_MAX]; /* in its normal form */
	int compress;		     /* 0: none, 1: zstd */
	int level;		     /* DV_LEVEL_MIN to DV_LEVEL_MAX of codec.h */
	uint32_t frame_size;	     /* bytes, a power of two */
	struct dv_coding coding;     /* without its dictionary */
	char dict[DV_DIGEST_TEXT];   /* "": none */
	char *nopack;		     /* patterns of keys that stay raw, owned; NULL: none */
	char *unknown;		     /* other lines, owned; NULL: none */
};

void dv_config_init(struct dv_config *c); /* defaults */
void dv_config_release(struct dv_config *c);
/*
 * *c is one that was initialised; what it held is replaced on success and untouched on an error.
 * why[] gets one sentence that names the line. -EINVAL; -EPROTONOSUPPORT: format newer than this
 * program; -EFBIG: more than DV_CONFIG_MAX bytes; -ENOMEM.
 */
DV_CHECK dv_err dv_config_parse(struct dv_config *c, const char *text, size_t len, char *why,
				size_t why_size);
/* *out is a NUL-terminated text owned by the caller. -EFBIG as above. */
DV_CHECK dv_err dv_config_write(const struct dv_config *c, char **out);
/* "none", "zstd", "zstd:LEVEL"; else -EINVAL and *c is untouched */
DV_CHECK dv_err dv_config_set_compress(struct dv_config *c, const char *value);

#endif
