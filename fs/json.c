/* SPDX-License-Identifier: MIT */
/* json.c - see json.h. */
#include "fs/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the character at s; 0: it is none. (RFC 3629, 4) */
static size_t utf8_length(const unsigned char *s)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

const char *fs_json_quote(char *buf, size_t size, const char *s)
{
	const unsigned char *from = (const unsigned char *)s;
	size_t at = 0;

	buf[at++] = '"';
	while (*from) {
		char one[8];
		size_t len = utf8_length(from), n;

		if (len == 0)
			n = (size_t)snprintf(one, sizeof(one), "\\udc%02x", *from);
		else if (*from == '"' || *from == '\\')
			n = (size_t)snprintf(one, sizeof(one), "\\%c", *from);
		else if (*from < ' ' || *from == 0x7f)
			n = (size_t)snprintf(one, sizeof(one), "\\u%04x", *from);
		else
			memcpy(one, from, n = len);
		if (at + n + 2 > size)
			break;
		memcpy(buf + at, one, n);
		at += n;
		from += len ? len : 1;
	}
	buf[at++] = '"';
	buf[at] = '\0';
	return buf;
}

bool fs_json_get(const char *text, const char *name, char *buf, size_t size)
{
	char quoted[64];
	const char *from;
	size_t at = 0;

	snprintf(quoted, sizeof(quoted), "\"%s\": \"", name);
	from = strstr(text, quoted);
	if (!from)
		return false;
	for (from += strlen(quoted); *from && *from != '"'; from++) {
		char hex[5] = "";

		if (at + 1 >= size)
			return false;
		if (*from != '\\') {
			buf[at++] = *from;
			continue;
		}
		from++;
		if (*from != 'u') {
			buf[at++] = *from;
			if (!*from)
				return false;
			continue;
		}
		snprintf(hex, sizeof(hex), "%.4s", from + 1);
		if (strlen(hex) != 4)
			return false;
		buf[at++] = (char)strtoul(hex, NULL, 16); /* the low byte is what it stood for */
		from += 4;
	}
	buf[at] = '\0';
	return *from == '"';
}
