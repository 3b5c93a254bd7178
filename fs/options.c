/* SPDX-License-Identifier: MIT */
/*
 * options.c - the table of options, its parser and its texts.
 *
 * Words that mount(8) and fstab know but that say nothing to a FUSE filesystem (the kernel never
 * updates atimes of one, so relatime and its kin have no effect) are accepted and dropped.
 */
#include "fs/options.h"

#include "core/cleanup.h"
#include "core/config.h"
#include "core/globs.h"
#include "core/transform.h"

#include <ctype.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct fs_options, field)
#define BOTH	  (FS_FOR_MOUNT | FS_FOR_INIT)
#define IGNORED(word)                                                                              \
	{                                                                                          \
		word, FS_OPT_IGNORE, NULL, 0, 0, NULL, 0, FS_FOR_MOUNT, NULL                       \
	}
#define PASSED(word)                                                                               \
	{                                                                                          \
		word, FS_OPT_PASS, NULL, 0, 0, NULL, 0, FS_FOR_MOUNT, NULL                         \
	}
#define KIB 1024.0
#define MIB (1024.0 * KIB)
#define GIB (1024.0 * MIB)

/* Long options start behind the characters of short ones. */
#define LONG_BASE	 256
#define LONG_MAX_OPTIONS 64

static const struct fs_option table[] = {
	{"compress", FS_OPT_STRING, "zstd[:LEVEL]|none", 0, 0, "zstd:3", AT(compress), BOTH,
	 "how values at rest are compressed"},
	{"frame_size", FS_OPT_BYTES, "BYTES", DV_FRAME_SIZE_MIN, DV_FRAME_SIZE_MAX, "128K",
	 AT(frame_bytes), BOTH, "plain bytes of one frame of a packed value, a power of two"},
	{"nopack", FS_OPT_LIST, "GLOB[:GLOB...]", 0, 0, NULL, AT(nopack), BOTH,
	 "values whose last component, or with a slash in the pattern whose whole key, matches are "
	 "not packed; may be given again, a mount's are added to the store's"},
	{"transform", FS_OPT_STRING, "SPEC", 0, 0, "path", AT(transform), BOTH,
	 "where a value lies: path, flat, path:SUFFIX, split:W, split:WxD, hash:ALG:WxD; "
	 "fixed when the store is made"},
	{"adopt", FS_OPT_SET, NULL, 0, 0, NULL, AT(adopt), FS_FOR_INIT,
	 "take over a folder that holds files already"},
	{"decode_zst", FS_OPT_SET, NULL, 0, 0, NULL, AT(decode_zst), FS_FOR_INIT,
	 "with adopt: every *.zst is served as its content"},
	{"keep_zst", FS_OPT_SET, NULL, 0, 0, NULL, AT(keep_zst), FS_FOR_INIT,
	 "with adopt: every *.zst is renamed to *.zst.raw, and served as the file it is"},
	{"cache_size", FS_OPT_BYTES, "BYTES", MIB, 1024 * GIB, "64M", AT(cache_bytes), FS_FOR_MOUNT,
	 "memory for decoded frames and seek tables"},
	{"settle", FS_OPT_SECONDS, "SECONDS", 0, 86400, "5", AT(settle_s), FS_FOR_MOUNT,
	 "a value is packed when it was quiet that long"},
	{"coherence", FS_OPT_SECONDS, "SECONDS", 0, 86400, "1", AT(coherence_s), FS_FOR_MOUNT,
	 "changes made in the store by others are seen within that time; 0 looks every time"},
	{"max_nodes", FS_OPT_COUNT, "N", 1024, 1u << 31, "262144", AT(max_nodes), FS_FOR_MOUNT,
	 "files that the kernel may hold on to, about 300 bytes of memory each"},
	{"threads", FS_OPT_COUNT, "N", 0, 64, "0", AT(threads), FS_FOR_MOUNT,
	 "threads for packing, decoding and work that waits; 0: one for each processor"},
	{"noacl", FS_OPT_SET, NULL, 0, 0, NULL, AT(noacl), FS_FOR_MOUNT,
	 "no POSIX ACLs; saves a message for each path that starts at a root directory of another "
	 "user"},
	{"acl", FS_OPT_CLEAR, NULL, 0, 0, NULL, AT(noacl), FS_FOR_MOUNT, NULL},
	{"shared", FS_OPT_SET, NULL, 0, 0, NULL, AT(shared), FS_FOR_MOUNT,
	 "other hosts may mount the store at the same time, with this option too; nothing is "
	 "packed"},
	{"ro", FS_OPT_SET, NULL, 0, 0, NULL, AT(read_only), FS_FOR_MOUNT, "write nothing at all"},
	{"rw", FS_OPT_CLEAR, NULL, 0, 0, NULL, AT(read_only), FS_FOR_MOUNT, NULL},
	{"noatime", FS_OPT_SET, NULL, 0, 0, NULL, AT(noatime), FS_FOR_MOUNT,
	 "reading moves no time of access"},
	{"atime", FS_OPT_CLEAR, NULL, 0, 0, NULL, AT(noatime), FS_FOR_MOUNT, NULL},
	{"remount", FS_OPT_SET, NULL, 0, 0, NULL, AT(remount), FS_FOR_MOUNT,
	 "with ro or rw: a mount that is there takes no writes any more, or takes them again"},
	{"allow_other", FS_OPT_SET, NULL, 0, 0, NULL, AT(allow_other), FS_FOR_MOUNT,
	 "other users may use the mount (always so when root mounts)"},
	{"noallow_other", FS_OPT_SET, NULL, 0, 0, NULL, AT(noallow_other), FS_FOR_MOUNT,
	 "only the user who mounts may use the mount"},
	{"allow_root", FS_OPT_SET, NULL, 0, 0, NULL, AT(allow_root), FS_FOR_MOUNT,
	 "root may use the mount, other users not"},
	{"suid", FS_OPT_SET, NULL, 0, 0, NULL, AT(suid), FS_FOR_MOUNT,
	 "honour set-user-id bits (root only)"},
	{"nosuid", FS_OPT_CLEAR, NULL, 0, 0, NULL, AT(suid), FS_FOR_MOUNT, NULL},
	{"dev", FS_OPT_SET, NULL, 0, 0, NULL, AT(dev), FS_FOR_MOUNT,
	 "honour device nodes (root only)"},
	{"nodev", FS_OPT_CLEAR, NULL, 0, 0, NULL, AT(dev), FS_FOR_MOUNT, NULL},
	{"max_read", FS_OPT_COUNT, "BYTES", 4096, MIB, NULL, AT(max_read_bytes), FS_FOR_MOUNT,
	 "largest read request of the kernel"},
	{"fsname", FS_OPT_STRING, "NAME", 0, 0, "STORE", AT(fsname), FS_FOR_MOUNT,
	 "the source that mount(8) shows"},
	{"subtype", FS_OPT_STRING, "diskvfs", 0, 0, NULL, AT(subtype), FS_FOR_MOUNT, NULL},
	PASSED("exec"),
	PASSED("noexec"),
	PASSED("sync"),
	PASSED("async"),
	PASSED("dirsync"),
	PASSED("context="),
	PASSED("fscontext="),
	PASSED("defcontext="),
	PASSED("rootcontext="),
	IGNORED("nofail"),
	IGNORED("noauto"),
	IGNORED("auto"),
	IGNORED("_netdev"),
	IGNORED("defaults"),
	IGNORED("default_permissions"),
	IGNORED("user"),
	IGNORED("user="),
	IGNORED("users"),
	IGNORED("nouser"),
	IGNORED("nousers"),
	IGNORED("owner"),
	IGNORED("noowner"),
	IGNORED("group"),
	IGNORED("nogroup"),
	IGNORED("relatime"),
	IGNORED("norelatime"),
	IGNORED("strictatime"),
	IGNORED("nostrictatime"),
	IGNORED("lazytime"),
	IGNORED("nolazytime"),
	IGNORED("diratime"),
	IGNORED("nodiratime"),
	IGNORED("iversion"),
	IGNORED("noiversion"),
	IGNORED("silent"),
	IGNORED("loud"),
	IGNORED("x-*"),
	IGNORED("X-*"),
	IGNORED("comment="),
	/* As mountinfo shows them, which mount(8) gives back with remount. */
	IGNORED("user_id="),
	IGNORED("group_id="),
	IGNORED("blksize="),
	IGNORED("uhelper="),
	IGNORED("helper="),
};

void fs_options_init(struct fs_options *o)
{
	char why[256];

	memset(o, 0, sizeof(*o));
	/* Where NULL and 0 mean "the store's own", the default belongs to the store. */
	for (size_t i = 0; i < DV_ARRAY_LEN(table); i++) {
		const struct fs_option *opt = &table[i];
		bool number = opt->type == FS_OPT_BYTES || opt->type == FS_OPT_COUNT ||
			      opt->type == FS_OPT_SECONDS;

		if (number && opt->default_value && opt->commands == FS_FOR_MOUNT)
			dv_ignore(fs_option_set(o, FS_FOR_MOUNT, opt->name, opt->default_value, why,
						sizeof(why))); /* the table is right */
	}
}

void fs_options_release(struct fs_options *o)
{
	free(o->compress);
	free(o->nopack);
	free(o->transform);
	free(o->fsname);
	free(o->subtype);
	free(o->passed);
	memset(o, 0, sizeof(*o));
}

/* "x-*" and "context=" stand for every word that begins so; the rest must be equal. */
static bool name_matches(const struct fs_option *opt, const char *name, const char *value)
{
	size_t len = strlen(opt->name);
	char last = opt->name[len - 1];

	if (last == '*')
		return !strncmp(opt->name, name, len - 1);
	if (last == '=')
		return value && strlen(name) == len - 1 && !strncmp(opt->name, name, len - 1);
	return !strcmp(opt->name, name);
}

static const struct fs_option *find(unsigned command, const char *name, const char *value)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(table); i++)
		if ((table[i].commands & command) && name_matches(&table[i], name, value))
			return &table[i];
	return NULL;
}

static void format_number(char *buf, size_t size, const struct fs_option *opt, double value)
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

/* Digits, a fraction only for seconds, and for bytes one letter K, M or G. */
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
	if (opt->type == FS_OPT_BYTES && *end) {
		switch (toupper((unsigned char)*end++)) {
		case 'K':
			value *= KIB;
			break;
		case 'M':
			value *= MIB;
			break;
		case 'G':
			value *= GIB;
			break;
		default:
			return false;
		}
	}
	*out = value;
	return *end == '\0';
}

static dv_err set_number(void *field, const struct fs_option *opt, const char *text, char *why,
			 size_t why_size)
{
	char low[32], high[32];
	double value;

	format_number(low, sizeof(low), opt, opt->min);
	format_number(high, sizeof(high), opt, opt->max);
	if (!parse_number(opt, text, &value)) {
		snprintf(why, why_size, "option %s: '%s' is not a number of %s", opt->name, text,
			 opt->type == FS_OPT_COUNT   ? "this option"
			 : opt->type == FS_OPT_BYTES ? "bytes (such as 65536, 64K, 1M)"
						     : "seconds");
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
	const struct fs_option *opt = find(command, name, value);
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

	if (o->transform) {
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
				 "option compress: '%s' is not one of zstd, zstd:LEVEL, none",
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

/* --cache-size for cache_size; the array ends with zeros, names live in names[]. */
static void long_options(unsigned command, struct option out[LONG_MAX_OPTIONS],
			 char names[LONG_MAX_OPTIONS][32])
{
	static const struct option fixed[] = {
		{"help", no_argument, NULL, 'h'},
		{"foreground", no_argument, NULL, 'f'},
		{"debug", no_argument, NULL, 'd'},
	};
	size_t n = 0;

	for (; n < DV_ARRAY_LEN(fixed); n++)
		out[n] = fixed[n];
	for (size_t i = 0; i < DV_ARRAY_LEN(table) && n < LONG_MAX_OPTIONS - 1; i++) {
		if (!table[i].help || !(table[i].commands & command))
			continue;
		snprintf(names[n], sizeof(names[n]), "%s", table[i].name);
		for (char *p = names[n]; *p; p++)
			if (*p == '_')
				*p = '-';
		out[n].name = names[n];
		out[n].has_arg = table[i].unit ? required_argument : no_argument;
		out[n].flag = NULL;
		out[n].val = LONG_BASE + (int)i;
		n++;
	}
	memset(&out[n], 0, sizeof(out[n]));
}

/* One option of getopt_long(). */
static dv_err take_option(struct fs_options *o, unsigned command, int c, char **argv, bool *help,
			  char *why, size_t why_size)
{
	const char *arg = argv[optind - 1];

	switch (c) {
	case 'h':
		*help = true;
		return 0;
	case 'f':
		o->foreground = true;
		return 0;
	case 'd':
		o->debug = o->foreground = true;
		return 0;
	case 'r':
		o->read_only = true;
		return 0;
	case 'o':
		return fs_options_parse(o, command, optarg, why, why_size);
	case ':':
		snprintf(why, why_size, "option %s needs a value", arg);
		return -EINVAL;
	case '?':
		if (optopt && optopt < LONG_BASE)
			snprintf(why, why_size, "unknown option -%c; --help lists them all",
				 optopt);
		else
			snprintf(why, why_size, "unknown option %s; --help lists them all", arg);
		return -EINVAL;
	default:
		return fs_option_set(o, command, table[c - LONG_BASE].name, optarg, why, why_size);
	}
}

int fs_options_parse_args(struct fs_options *o, unsigned command, int argc, char **argv,
			  const char **operands, int max_operands, bool *help, char *why,
			  size_t why_size)
{
	struct option longs[LONG_MAX_OPTIONS];
	char names[LONG_MAX_OPTIONS][32];
	const char *shorts = command == FS_FOR_MOUNT ? ":hfdro:" : ":ho:";
	int c, n;
	dv_err err = 0;

	long_options(command, longs, names);
	optind = 0; /* glibc: starts anew, also when called twice */
	opterr = 0;
	*help = false;
	while (err == 0 && (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1)
		err = take_option(o, command, c, argv, help, why, why_size);
	if (err < 0)
		return err;
	n = argc - optind;
	if (n > max_operands) {
		snprintf(why, why_size, "too many arguments: '%s'", argv[optind + max_operands]);
		return -EINVAL;
	}
	for (int i = 0; i < n; i++)
		operands[i] = argv[optind + i];
	return n;
}

/* " (4K to 4M, default 128K)"; of what the store remembers, a mount's default is the store's. */
static void print_range(FILE *out, const struct fs_option *opt, unsigned command)
{
	const char *fallback = opt->default_value;
	char low[32], high[32];

	if (command == FS_FOR_MOUNT && opt->commands == BOTH)
		fallback = "the store's own";
	if (opt->max <= 0 && !fallback)
		return;
	fputs(" (", out);
	if (opt->max > 0) {
		format_number(low, sizeof(low), opt, opt->min);
		format_number(high, sizeof(high), opt, opt->max);
		fprintf(out, "%s to %s%s", low, high, fallback ? ", " : "");
	}
	if (fallback)
		fprintf(out, "default: %s", fallback);
	fputc(')', out);
}

void fs_options_print_help(FILE *out, unsigned command)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(table); i++) {
		const struct fs_option *opt = &table[i];
		bool words = command == FS_FOR_MOUNT;
		char left[64];

		if (!opt->help || !(opt->commands & command))
			continue;
		snprintf(left, sizeof(left), "%s%s%s%s", words ? "-o " : "--", opt->name,
			 !opt->unit ? ""
			 : words    ? "="
				    : " ",
			 opt->unit ? opt->unit : "");
		for (char *p = left; !words && *p && *p != ' '; p++)
			if (*p == '_')
				*p = '-';
		fprintf(out, "  %-30s %s", left, opt->help);
		print_range(out, opt, command);
		fputc('\n', out);
	}
}

void fs_options_print_roff(FILE *out, unsigned command)
{
	for (size_t i = 0; i < DV_ARRAY_LEN(table); i++) {
		const struct fs_option *opt = &table[i];

		if (!opt->help || !(opt->commands & command))
			continue;
		fprintf(out, ".TP\n.B %s", opt->name);
		if (opt->unit)
			fprintf(out, "=\\fI%s\\fR", opt->unit);
		fprintf(out, "\n%s", opt->help);
		print_range(out, opt, command);
		fputs(".\n", out);
	}
}
