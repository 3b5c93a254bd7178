/* SPDX-License-Identifier: MIT */
/* digest.c - see digest.h. Layer 1. */
#include "core/digest.h"

#include <openssl/evp.h>

dv_err dv_digest(const void *bytes, size_t len, char out[DV_DIGEST_TEXT])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned md_len = 0;
	if (EVP_Digest(bytes, len, md, &md_len, EVP_sha256(), NULL) != 1 ||
	    md_len * 2 + 1 > DV_DIGEST_TEXT)
		return -ENOMEM;
	for (unsigned i = 0; i < md_len; i++) {
		out[2 * i] = hex[md[i] >> 4];
		out[2 * i + 1] = hex[md[i] & 15];
	}
	out[2 * md_len] = '\0';
	return 0;
}
