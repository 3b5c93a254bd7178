/* SPDX-License-Identifier: MIT */
/*
 * config.c - .diskvfs/config as text. Pure, no I/O.
 *
 * Layer 1. The text is read from disk by the store and may hold anything: every line is checked,
 * and the first one that is wrong is named.
 */
#include "core/config.h"

#include "core/cleanup.h"
#include "core/codec.h" /* the range of levels */
#include "core/globs.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum field {
	FIELD_FORMAT,
	FIELD_TRANSFORM,
	FIELD_COMPRESS,
	FIELD_FRAME_SIZE,
	FIELD_NOPACK,
	FIELD_LAYOUT,
	FIELD_DICT,
	FIELD_COUNT
};

static const char *const field_names[FIELD_COUNT] = {
	[FIELD_FORMAT] = "format",     [FIELD_TRANSFORM] = "transform",
	[FIELD_COMPRESS] = "compress", [FIELD_FRAME_SIZE] = "frame_size",
	[FIELD_NOPACK] = "nopack",     [FIELD_LAYOUT] = "layout",
	[FIELD_DICT] = "dict",
};

/* One pass over the text. */
struct parser {
	struct dv_config config; /* owned until it succeeds */
	size_t unknown_len;
	bool seen[FIELD_COUNT];
	unsigned line; /* 1 first */
	char *why;
	size_t why_size;
};

void dv_config_init(struct dv_config *c)
{
	*c = (struct dv_config){
		.format = DV_FORMAT_VERSION,
		.transform = "path",
		.compress = 1,
		.level = DV_LEVEL_DEFAULT,
		.frame_size = DV_FRAME_SIZE_DEFAULT,
	};
}

void dv_config_release(struct dv_config *c)
{
	free(c->unknown);
	free(c->nopack);
	c->unknown = c->nopack = NULL;
}

static dv_err refuse(struct parser *p, dv_err err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static dv_err refuse(struct parser *p, dv_err err, const char *fmt, ...)
{
	char text[512];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (p->why_size > 0 && p->line > 0)
		snprintf(p->why, p->why_size, "line %u: %s", p->line, text);
	else if (p->why_size > 0)
		snprintf(p->why, p->why_size, "%s", text);
	return err;
}

/* Digits only; what does not fit becomes UINT_MAX, which is over every limit. */
static bool read_number(const char *s, unsigned *out)
{
	unsigned n = 0;
	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		unsigned digit = (unsigned)(*s - '0');
		n = n > (UINT_MAX - digit) / 10 ? UINT_MAX : n * 10 + digit;
	}
	*out = n;
	return true;
}

dv_err dv_config_set_compress(struct dv_config *c, const char *value)
{
	if (strcmp(value, "none") == 0) {
		c->compress = 0;
		return 0;
	}
	int level = DV_LEVEL_DEFAULT;
	if (strncmp(value, "zstd:", 5) == 0) {
		const char *digits = value + 5;
		bool negative = *digits == '-';
		unsigned n;
		if (!read_number(digits + negative, &n) || n > 1000)
			return -EINVAL;
		level = negative ? -(int)n : (int)n;
	} else if (strcmp(value, "zstd") != 0) {
		return -EINVAL;
	}
	if (level < DV_LEVEL_MIN || level > DV_LEVEL_MAX)
		return -EINVAL;
	c->compress = 1;
	c->level = level;
	return 0;
}

static dv_err set_transform(struct parser *p, const char *value)
{
	char why[256];
	struct dv_transform *t;
	dv_err err = dv_transform_new(value, &t, why, sizeof(why));
	if (err == -EINVAL)
		return refuse(p, err, "%s", why);
	if (err)
		return err;
	snprintf(p->config.transform, sizeof(p->config.transform), "%s", dv_transform_spec(t));
	dv_transform_free(&t);
	return 0;
}

static dv_err set_frame_size(struct parser *p, const char *value)
{
	unsigned n;
	if (!read_number(value, &n) || n < DV_FRAME_SIZE_MIN || n > DV_FRAME_SIZE_MAX ||
	    (n & (n - 1)) != 0)
		return refuse(p, -EINVAL, "frame_size is not a power of two from %u to %u",
			      DV_FRAME_SIZE_MIN, DV_FRAME_SIZE_MAX);
	p->config.frame_size = n;
	return 0;
}

static dv_err set_nopack(struct parser *p, const char *value)
{
	char why[256];
	dv_err err = dv_globs_check(value, why, sizeof(why));
	if (err)
		return refuse(p, err, "nopack: %s", why);
	p->config.nopack = strdup(value);
	return p->config.nopack ? 0 : -ENOMEM;
}

static dv_err set_format(struct parser *p, const char *value)
{
	unsigned n;
	if (!read_number(value, &n) || n == 0)
		return refuse(p, -EINVAL, "format is not a number from 1");
	if (n > DV_FORMAT_MAX)
		return refuse(p, -EPROTONOSUPPORT,
			      "the store has format %s, this program knows formats up to %d", value,
			      DV_FORMAT_MAX);
	p->config.format = n;
	return 0;
}

static dv_err set_layout(struct parser *p, const char *value)
{
	char why[256];
	dv_err err = dv_coding_parse(value, &p->config.coding, why, sizeof(why));
	return err ? refuse(p, err, "%s", why) : 0;
}

static dv_err set_dict(struct parser *p, const char *value)
{
	if (strlen(value) != DV_DIGEST_TEXT - 1 ||
	    strspn(value, "0123456789abcdef") != strlen(value))
		return refuse(p, -EINVAL, "dict is not the SHA-256 of a file");
	snprintf(p->config.dict, sizeof(p->config.dict), "%s", value);
	return 0;
}

static dv_err set_field(struct parser *p, enum field field, const char *value)
{
	if (p->seen[field])
		return refuse(p, -EINVAL, "%s is given twice", field_names[field]);
	p->seen[field] = true;
	switch (field) {
	case FIELD_FORMAT:
		return set_format(p, value);
	case FIELD_TRANSFORM:
		return set_transform(p, value);
	case FIELD_COMPRESS:
		if (dv_config_set_compress(&p->config, value))
			return refuse(p, -EINVAL,
				      "compress is none of none, zstd, zstd:LEVEL (%d to %d)",
				      DV_LEVEL_MIN, DV_LEVEL_MAX);
		return 0;
	case FIELD_FRAME_SIZE:
		return set_frame_size(p, value);
	case FIELD_NOPACK:
		return set_nopack(p, value);
	case FIELD_LAYOUT:
		return set_layout(p, value);
	case FIELD_DICT:
		return set_dict(p, value);
	case FIELD_COUNT:
		break;
	}
	return -EINVAL;
}

/* line: without its newline. The room was made for the whole text at once. */
static void keep_unknown(struct parser *p, const char *line, size_t len)
{
	memcpy(p->config.unknown + p->unknown_len, line, len);
	p->unknown_len += len;
	p->config.unknown[p->unknown_len++] = '\n';
	p->config.unknown[p->unknown_len] = '\0';
}

static void trim(const char **s, size_t *len)
{
	while (*len > 0 && strchr(" \t\r", (*s)[*len - 1]))
		--*len;
	while (*len > 0 && strchr(" \t", **s)) {
		++*s;
		--*len;
	}
}

static dv_err parse_line(struct parser *p, const char *line, size_t len)
{
	const char *name = line;
	size_t name_len = len;
	if (memchr(line, '\0', len))
		return refuse(p, -EINVAL, "there is a NUL byte");
	trim(&name, &name_len);
	if (name_len == 0)
		return 0;
	if (*name == '#') {
		keep_unknown(p, line, len);
		return 0;
	}
	const char *equals = memchr(name, '=', name_len);
	if (!equals)
		return refuse(p, -EINVAL, "this is not name=value");

	const char *value = equals + 1;
	size_t value_len = (size_t)(name + name_len - value);
	name_len = (size_t)(equals - name);
	trim(&name, &name_len);
	trim(&value, &value_len);
	if (name_len == 0)
		return refuse(p, -EINVAL, "there is no name before the =");
	for (int i = 0; i < FIELD_COUNT; i++) {
		if (strlen(field_names[i]) != name_len || memcmp(field_names[i], name, name_len))
			continue;
		DV_AUTO_FREE char *copy = calloc(1, value_len + 1); /* text ends without a NUL */
		if (!copy)
			return -ENOMEM;
		memcpy(copy, value, value_len);
		return set_field(p, (enum field)i, copy);
	}
	keep_unknown(p, line, len);
	return 0;
}

static dv_err parse_text(struct parser *p, const char *text, size_t len)
{
	if (len > DV_CONFIG_MAX)
		return refuse(p, -EFBIG, "the file is larger than %d bytes", DV_CONFIG_MAX);
	p->config.unknown = calloc(1, len + 2);
	if (!p->config.unknown)
		return -ENOMEM;

	for (size_t pos = 0; pos < len;) {
		const char *end = memchr(text + pos, '\n', len - pos);
		size_t line_len = end ? (size_t)(end - text) - pos : len - pos;
		p->line++;
		dv_err err = parse_line(p, text + pos, line_len);
		if (err)
			return err;
		pos += line_len + 1;
	}

	p->line = 0;
	if (!p->seen[FIELD_FORMAT] || !p->seen[FIELD_TRANSFORM])
		return refuse(p, -EINVAL, "there is no line %s=",
			      field_names[p->seen[FIELD_FORMAT] ? FIELD_TRANSFORM : FIELD_FORMAT]);
	if (p->unknown_len == 0) {
		free(p->config.unknown);
		p->config.unknown = NULL;
	}
	return 0;
}

dv_err dv_config_parse(struct dv_config *c, const char *text, size_t len, char *why,
		       size_t why_size)
{
	struct parser p = {.why = why, .why_size = why_size};
	if (why_size > 0)
		why[0] = '\0';
	dv_config_init(&p.config);
	dv_err err = parse_text(&p, text, len);
	if (err) {
		dv_config_release(&p.config);
		return err;
	}
	dv_config_release(c);
	*c = p.config;
	return 0;
}

dv_err dv_config_write(const struct dv_config *c, char **out)
{
	char compress[32] = "none";
	if (c->compress)
		snprintf(compress, sizeof(compress), "zstd:%d", c->level);

	char layout[DV_CODING_TEXT];
	dv_coding_write(&c->coding, layout);
	bool nopack = c->nopack && c->nopack[0];
	DV_AUTO_FREE char *text = NULL;
	int len = asprintf(&text, "%s=%u\n%s=%s\n%s=%s\n%s=%u\n%s%s%s%s%s%s%s%s%s%s",
			   field_names[FIELD_FORMAT], c->format, field_names[FIELD_TRANSFORM],
			   c->transform, field_names[FIELD_COMPRESS], compress,
			   field_names[FIELD_FRAME_SIZE], c->frame_size, nopack ? "nopack=" : "",
			   nopack ? c->nopack : "", nopack ? "\n" : "", layout[0] ? "layout=" : "",
			   layout, layout[0] ? "\n" : "", c->dict[0] ? "dict=" : "", c->dict,
			   c->dict[0] ? "\n" : "", c->unknown ? c->unknown : "");
	if (len < 0) {
		text = NULL; /* asprintf leaves it undefined */
		return -ENOMEM;
	}
	if (len > DV_CONFIG_MAX)
		return -EFBIG;
	*out = dv_take_ptr(&text);
	return 0;
}
