/* SPDX-License-Identifier: MIT */
/* transform_private.h - what transform.c and transform_plugin.c share. */
#ifndef DV_TRANSFORM_PRIVATE_H
#define DV_TRANSFORM_PRIVATE_H

#include "core/plugin.h"
#include "core/transform.h"

#include <openssl/types.h>

#define SUFFIX_MAX 64u /* leaves most of a name to the key */

enum kind { KIND_PATH, KIND_FLAT, KIND_SPLIT, KIND_HASH, KIND_PLUGIN };

struct dv_transform {
	enum kind kind;
	enum dv_spelling spelling;
	unsigned width; /* bytes of a block, hexadecimal digits of a directory */
	unsigned depth; /* greatest number of shard directories */
	EVP_MD *digest; /* owned; hash only */
	const struct diskvfs_transform *ops; /* of a plugin, borrowed; NULL: not bound */
	void *self;			     /* its own, borrowed */
	char suffix[SUFFIX_MAX + 1];
	char spec[DV_SPEC_MAX];
};

/* Of a plugin: where name lies. -EINVAL: nowhere, or it breaks a law. */
DV_CHECK dv_err dv_plugin_place(const struct dv_transform *t, const char *name,
				char shard[DV_SHARD_MAX], char file[DV_NAME_MAX + 1]);
DV_CHECK dv_err dv_plugin_parse(struct dv_transform *t, const char *spec, char *why,
				size_t why_size);

#endif
