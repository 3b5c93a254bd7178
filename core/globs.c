/* SPDX-License-Identifier: MIT */
/* globs.c - see globs.h. */
#include "core/globs.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

/* Takes the next pattern off *text into buf. -> false: that were all. */
static bool next_pattern(const char **text, char buf[DV_GLOBS_MAX + 1])
{
	size_t len = strcspn(*text, ":");
	if (!**text)
		return false;
	if (len > DV_GLOBS_MAX)
		len = DV_GLOBS_MAX;
	memcpy(buf, *text, len);
	buf[len] = '\0';
	*text += len;
	*text += **text == ':';
	return true;
}

/* -> what is wrong with it, NULL: nothing. fnmatch() takes a [ without end for itself, and would
 * never say so. */
static const char *fault_of(const char *p)
{
	if (!*p || !strcmp(p, "/"))
		return "is empty";
	for (; *p; p++) {
		if ((unsigned char)*p < ' ')
			return "has a control character";
		if (*p == '\\') {
			if (!*++p)
				return "ends in a backslash";
			continue;
		}
		if (*p != '[')
			continue;
		p++;
		p += *p == '!' || *p == '^';
		p += *p == ']'; /* at the front it is one of the set */
		p = strchr(p, ']');
		if (!p)
			return "has a [ without ]";
	}
	return NULL;
}

dv_err dv_globs_check(const char *text, char *why, size_t why_size)
{
	char pattern[DV_GLOBS_MAX + 1];
	size_t len = strlen(text);
	if (len > DV_GLOBS_MAX) {
		snprintf(why, why_size, "the patterns are longer than %d bytes", DV_GLOBS_MAX);
		return -EINVAL;
	}
	if (len && (text[0] == ':' || text[len - 1] == ':')) {
		snprintf(why, why_size, "'%s' begins or ends with a colon", text);
		return -EINVAL;
	}
	while (next_pattern(&text, pattern)) {
		const char *fault = fault_of(pattern);
		if (fault) {
			snprintf(why, why_size, "the pattern '%.100s' %s", pattern, fault);
			return -EINVAL;
		}
	}
	return 0;
}

bool dv_globs_match(const char *text, const char *key)
{
	char pattern[DV_GLOBS_MAX + 1];
	const char *last = strrchr(key, '/');
	last = last ? last + 1 : key;
	while (next_pattern(&text, pattern)) {
		const char *subject = strchr(pattern, '/') ? key : last;
		if (fnmatch(pattern + (*pattern == '/'), subject, 0) == 0)
			return true;
	}
	return false;
}
