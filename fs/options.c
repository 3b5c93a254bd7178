/* SPDX-License-Identifier: MIT */
/* options.c - values of options: a word, the words of -o, what only all together tell. */
#include "fs/options_private.h"

#include "core/cleanup.h"
#include "core/config.h"
#include "core/globs.h"
#include "core/transform.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void fs_options_init(struct fs_options *o)
{
	char why[256];

	memset(o, 0, sizeof(*o));
	/* Where NULL and 0 mean "the store's own", the default belongs to the store. */
	for (size_t i = 0; i < fs_option_count; i++) {
		const struct fs_option *opt = &fs_option_table[i];
		bool number = opt->type == FS_OPT_BYTES || opt->type == FS_OPT_COUNT ||
			      opt->type == FS_OPT_SECONDS || opt->type == FS_OPT_SWITCH;

		if (number && opt->default_value && opt->commands == FS_FOR_MOUNT)
			dv_ignore(fs_option_set(o, FS_FOR_MOUNT, opt->name, opt->default_value, why,
						sizeof(why))); /* the table is right */
	}
}

void fs_options_release(struct fs_options *o)
{
	free(o->compress);
	free(o->layout);
	free(o->dict);
	free(o->nopack);
	free(o->transform);
	free(o->fsname);
	free(o->subtype);
	free(o->passed);
	memset(o, 0, sizeof(*o));
}

void fs_option_format(char *buf, size_t size, const struct fs_option *opt, double value)
{
	if (opt->type == FS_OPT_BYTES && value >= GIB && fmod(value, GIB) == 0.0)
		snprintf(buf, size, "%.0fG", value / GIB);
	else if (opt->type == FS_OPT_BYTES && value >= MIB && fmod(value, MIB) == 0.0)
		snprintf(buf, size, "%.0fM", value / MIB);
	else if (opt->type == FS_OPT_BYTES && value >= KIB && fmod(value, KIB) == 0.0)
		snprintf(buf, size, "%.0fK", value / KIB);
	else
		snprintf(buf, size, "%.0f", value);
}

/* What a letter behind a number stands for; 0: nothing. */
static double bytes_of(char letter)
{
	switch (toupper((unsigned char)letter)) {
	case 'K':
		return KIB;
	case 'M':
		return MIB;
	case 'G':
		return GIB;
	case 'T':
		return KIB * GIB;
	}
	return 0;
}

static double seconds_of(char letter)
{
	switch (letter) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return 86400;
	case 'w':
		return 7 * 86400;
	}
	return 0;
}

/* Digits, a fraction only for seconds, and for bytes one letter K, M or G. */
/* Digits, a fraction only for seconds, and behind all but a count one letter. */
static bool parse_number(const struct fs_option *opt, const char *text, double *out)
{
	const char *allowed = opt->type == FS_OPT_SECONDS ? "0123456789." : "0123456789";
	size_t digits = strspn(text, allowed);
	char *end;
	double value;

	if (digits == 0 || digits > 18 || !isdigit((unsigned char)text[0]))
		return false;
	value = strtod(text, &end);
	if (end != text + digits)
		return false;
	if (opt->type != FS_OPT_COUNT && *end) {
		double factor = opt->type == FS_OPT_BYTES ? bytes_of(*end++) : seconds_of(*end++);

		if (factor == 0)
			return false;
		value *= factor;
	}
	*out = value;
	return *end == '\0';
}

static const char *kind_of(const struct fs_option *opt)
{
	switch (opt->type) {
	case FS_OPT_COUNT:
		return "a number of this option";
	case FS_OPT_BYTES:
		return "a number of bytes (such as 65536, 64K, 1M)";
	default:
		return "a number of seconds (such as 90, 90s, 15m, 12h, 30d, 4w)";
	}
}

static dv_err set_number(void *field, const struct fs_option *opt, const char *text, char *why,
			 size_t why_size)
{
	char low[32], high[32];
	double value;

	fs_option_format(low, sizeof(low), opt, opt->min);
	fs_option_format(high, sizeof(high), opt, opt->max);
	if (!parse_number(opt, text, &value)) {
		snprintf(why, why_size, "option %s: '%s' is not %s", opt->name, text, kind_of(opt));
		return -EINVAL;
	}
	if (value < opt->min || value > opt->max) {
		snprintf(why, why_size, "option %s: %s is out of range, allowed is %s to %s",
			 opt->name, text, low, high);
		return -EINVAL;
	}
	if (opt->type == FS_OPT_BYTES)
		*(uint64_t *)field = (uint64_t)value;
	else if (opt->type == FS_OPT_COUNT)
		*(unsigned *)field = (unsigned)value;
	else
		*(double *)field = value;
	return 0;
}

/* Appends one word for libfuse; commas and backslashes of the value are escaped. */
static dv_err pass_on(struct fs_options *o, const char *name, const char *value)
{
	size_t old = o->passed ? strlen(o->passed) : 0;
	size_t room = old + strlen(name) + (value ? 2 * strlen(value) : 0) + 3;
	char *p, *grown = realloc(o->passed, room);

	if (!grown)
		return -ENOMEM;
	o->passed = grown;
	p = grown + old;
	if (old)
		*p++ = ',';
	p = stpcpy(p, name);
	if (value)
		*p++ = '=';
	for (; value && *value; value++) {
		if (*value == ',' || *value == '\\')
			*p++ = '\\';
		*p++ = *value;
	}
	*p = '\0';
	return 0;
}

static dv_err set_switch(bool *field, const struct fs_option *opt, const char *value, char *why,
			 size_t why_size)
{
	if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0) {
		snprintf(why, why_size, "option %s: '%s' is not yes or no", opt->name, value);
		return -EINVAL;
	}
	*field = value[0] == 'y';
	return 0;
}

static dv_err set_string(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static dv_err add_to_list(char **field, const char *value)
{
	char *joined;

	if (!*field)
		return set_string(field, value);
	if (asprintf(&joined, "%s:%s", *field, value) < 0)
		return -ENOMEM;
	free(*field);
	*field = joined;
	return 0;
}

static dv_err unknown(unsigned command, const char *name, char *why, size_t why_size)
{
	if (!strcmp(name, "auto_unmount"))
		snprintf(why, why_size,
			 "option auto_unmount is not supported: a mount that a killed daemon left "
			 "is "
			 "cleaned up when diskvfs is mounted there again");
	else
		snprintf(why, why_size, "unknown option '%s'; `diskvfs %s --help` lists them all",
			 name, command == FS_FOR_INIT ? "init" : "mount");
	return -EINVAL;
}

dv_err fs_option_set(struct fs_options *o, unsigned command, const char *name, const char *value,
		     char *why, size_t why_size)
{
	const struct fs_option *opt = fs_option_find(command, name, value);
	void *field;

	if (!opt)
		return unknown(command, name, why, why_size);
	field = (char *)o + opt->offset;
	if (opt->unit && (!value || !*value)) {
		snprintf(why, why_size, "option %s needs a value: %s=%s", opt->name, opt->name,
			 opt->unit);
		return -EINVAL;
	}
	if (value && (opt->type == FS_OPT_SET || opt->type == FS_OPT_CLEAR)) {
		snprintf(why, why_size, "option %s takes no value", opt->name);
		return -EINVAL;
	}
	switch (opt->type) {
	case FS_OPT_SET:
	case FS_OPT_CLEAR:
		*(bool *)field = opt->type == FS_OPT_SET;
		return 0;
	case FS_OPT_SWITCH:
		return set_switch(field, opt, value, why, why_size);
	case FS_OPT_STRING:
		return set_string(field, value);
	case FS_OPT_LIST:
		return add_to_list(field, value);
	case FS_OPT_BYTES:
	case FS_OPT_COUNT:
	case FS_OPT_SECONDS:
		return set_number(field, opt, value, why, why_size);
	case FS_OPT_PASS:
		return pass_on(o, name, value);
	case FS_OPT_IGNORE:
		return 0;
	}
	return -EINVAL;
}

dv_err fs_options_parse(struct fs_options *o, unsigned command, const char *words, char *why,
			size_t why_size)
{
	DV_AUTO_FREE char *copy = malloc(strlen(words) + 1);

	if (!copy)
		return -ENOMEM;
	for (const char *p = words; *p;) {
		char *to = copy, *value;
		bool quoted = false;
		dv_err err;

		/* mount(8) quotes values that hold commas, libfuse escapes them. */
		for (; *p && (quoted || *p != ','); p++) {
			if (*p == '"') {
				quoted = !quoted;
				continue;
			}
			if (*p == '\\' && p[1])
				p++;
			*to++ = *p;
		}
		if (*p == ',')
			p++;
		*to = '\0';
		if (!*copy)
			continue;
		value = strchr(copy, '=');
		if (value)
			*value++ = '\0';
		err = fs_option_set(o, command, copy, value, why, why_size);
		if (err < 0)
			return err;
	}
	return 0;
}

dv_err fs_options_check(const struct fs_options *o, char *why, size_t why_size)
{
	struct dv_config config;
	struct dv_transform *transform = NULL;
	dv_err err = 0;

	if (o->transform && !dv_plugin_file_end(o->transform)) {
		err = dv_transform_new(o->transform, &transform, why, why_size);
		if (err < 0)
			return err;
		dv_transform_free(&transform);
	}
	if (o->compress) {
		dv_config_init(&config);
		err = dv_config_set_compress(&config, o->compress);
		dv_config_release(&config);
		if (err < 0)
			snprintf(why, why_size,
				 "option compress: '%s' is not one of zstd, zstd:LEVEL (-7 to 19), "
				 "none",
				 o->compress);
	}
	if (err == 0 && o->nopack) {
		char fault[256];

		err = dv_globs_check(o->nopack, fault, sizeof(fault));
		if (err < 0)
			snprintf(why, why_size, "option nopack: %s", fault);
	}
	if (err == 0 && (o->frame_bytes & (o->frame_bytes - 1)) != 0) {
		snprintf(why, why_size, "option frame_size: must be a power of two");
		err = -EINVAL;
	}
	if (err == 0 && o->subtype && strcmp(o->subtype, "diskvfs") != 0) {
		snprintf(why, why_size, "option subtype: can only be diskvfs");
		err = -EINVAL;
	}
	if (err == 0 && o->allow_root && (o->allow_other || o->noallow_other)) {
		snprintf(why, why_size, "option allow_root excludes allow_other and noallow_other");
		err = -EINVAL;
	}
	if (err == 0 && (o->decode_zst || o->keep_zst) && !o->adopt) {
		snprintf(why, why_size, "--%s is only meant with --adopt",
			 o->decode_zst ? "decode-zst" : "keep-zst");
		err = -EINVAL;
	}
	if (err == 0 && o->decode_zst && o->keep_zst) {
		snprintf(why, why_size, "--decode-zst excludes --keep-zst");
		err = -EINVAL;
	}
	return err;
}
