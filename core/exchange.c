/* SPDX-License-Identifier: MIT */
/* exchange.c - see exchange.h. */
#include "core/exchange.h"

#include "core/meta.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS	 16
#define MARK_LEN (DV_EXCHANGE_MARK - 1)

void dv_exchange_mark(const struct dv_ident *own, const struct dv_ident *old,
		      char out[DV_EXCHANGE_MARK])
{
	snprintf(out, DV_EXCHANGE_MARK, ".x%016" PRIx64 "%016" PRIx64, dv_meta_ino(own),
		 dv_meta_ino(old));
}

/* The number of len lower case digits. false: they are not. */
static bool parse_digits(const char *text, size_t len, uint64_t *out)
{
	char copy[DIGITS + 1] = "";
	if (len < 1 || len > DIGITS || strspn(text, "0123456789abcdef") < len)
		return false;
	memcpy(copy, text, len);
	*out = strtoull(copy, NULL, 16);
	return true;
}

bool dv_exchange_parse(const char *name, struct dv_exchanged *out)
{
	size_t len = strlen(name);
	if (len >= DV_EXCHANGE_NAME || len <= MARK_LEN)
		return false;
	size_t plain = len - MARK_LEN;
	const char *mark = name + plain;
	*out = (struct dv_exchanged){0};
	memcpy(out->plain, name, plain);
	size_t id_len = strcspn(out->plain, ".");
	return strncmp(mark, ".x", 2) == 0 && parse_digits(mark + 2, DIGITS, &out->own) &&
	       parse_digits(mark + 2 + DIGITS, DIGITS, &out->old) &&
	       parse_digits(name, id_len, &out->id) &&
	       (!out->plain[id_len] || strcmp(out->plain + id_len, ".z") == 0);
}
