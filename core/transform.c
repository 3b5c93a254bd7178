/* SPDX-License-Identifier: MIT */
/*
 * transform.c - where the value of a key lies: pure functions of the key, no I/O.
 *
 * Layer 1. key.c builds the stored names on top of it. The only file that includes OpenSSL, whose
 * digests name the directories of hash:ALG:WxD.
 *
 * A transform is one struct filled in when its spec is parsed and never changed afterwards, which
 * is why threads share it without a lock.
 */
#include "core/transform_private.h"

#include "core/cleanup.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SPLIT_WIDTH_MAX 255u /* a block is a file name */
#define SPLIT_DEPTH_MAX 64u
#define HASH_WIDTH_MAX	16u /* 2^64 directories */
#define HASH_DEPTH_MAX	8u

/* ---- the spelling of one component ---- */

/* Is s what follows the dot of a component that can not be stored as it is? */
static bool is_reserved_tail(const char *s, size_t len)
{
	if (len == 0 || (len == 1 && s[0] == '.'))
		return true;
	return len >= 7 && memcmp(s, "diskvfs", 7) == 0;
}

bool dv_component_is_reserved(const char *s, size_t len)
{
	return len > 0 && s[0] == '.' && is_reserved_tail(s + 1, len - 1);
}

/* How many times "25" stands in ^%(25)*2e of a component that looks escaped; -1: it does not. */
static int escape_count(const char *s, size_t len)
{
	if (len == 0 || s[0] != '%')
		return -1;
	size_t pos = 1;
	while (len - pos >= 2 && memcmp(s + pos, "25", 2) == 0)
		pos += 2;
	if (len - pos < 2 || memcmp(s + pos, "2e", 2) != 0)
		return -1;
	if (!is_reserved_tail(s + pos + 2, len - pos - 2))
		return -1;
	return (int)((pos - 1) / 2);
}

/* out = head, then len bytes of tail */
static dv_err join(const char *head, const char *tail, size_t len, char out[DV_NAME_MAX + 1])
{
	size_t head_len = strlen(head);
	if (len > DV_NAME_MAX - head_len)
		return -ENAMETOOLONG;
	memmove(out + head_len, tail, len);
	memcpy(out, head, head_len);
	out[head_len + len] = '\0';
	return 0;
}

dv_err dv_component_escape(const char *component, size_t len, char out[DV_NAME_MAX + 1])
{
	if (dv_component_is_reserved(component, len))
		return join("%2e", component + 1, len - 1, out);
	if (escape_count(component, len) >= 0)
		return join("%25", component + 1, len - 1, out);
	return join("", component, len, out);
}

dv_err dv_component_unescape(const char *stored, size_t len, char out[DV_NAME_MAX + 1])
{
	if (len == 0 || len > DV_NAME_MAX || dv_component_is_reserved(stored, len))
		return -ENOENT;
	int count = escape_count(stored, len);
	if (count < 0)
		return join("", stored, len, out);
	if (count == 0)
		return join(".", stored + 3, len - 3, out);
	return join("%", stored + 3, len - 3, out);
}

bool dv_component_has_ending(const char *component, size_t len, const char *ending)
{
	const size_t ending_len = strlen(ending);
	for (;;) {
		if (len >= ending_len &&
		    memcmp(component + len - ending_len, ending, ending_len) == 0)
			return true;
		if (len < 4 || memcmp(component + len - 4, ".raw", 4) != 0)
			return false;
		len -= 4;
	}
}

/* ---- parsing a spec ---- */

static dv_err refuse(char *why, size_t why_size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static dv_err refuse(char *why, size_t why_size, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	if (why_size > 0)
		vsnprintf(why, why_size, fmt, args);
	va_end(args);
	return -EINVAL;
}

/* Reads 1 to 4 digits; *s is moved behind them. */
static bool read_number(const char **s, unsigned *out)
{
	const char *p = *s;
	unsigned n = 0;
	while (*p >= '0' && *p <= '9' && p - *s < 4)
		n = n * 10 + (unsigned)(*p++ - '0');
	if (p == *s)
		return false;
	*s = p;
	*out = n;
	return true;
}

/*
 * Could a name that ends in suffix match \.zst(\.raw)*$, or could suffix(\.raw)+ end in suffix once
 * more? Either would give one stored name two meanings (see key.c).
 */
static bool suffix_is_ambiguous(const char *suffix)
{
	size_t len = strlen(suffix);
	while (len >= 4 && memcmp(suffix + len - 4, ".raw", 4) == 0)
		len -= 4;
	if (len >= 4)
		return memcmp(suffix + len - 4, ".zst", 4) == 0;
	return memcmp(suffix, &".zst"[4 - len], len) == 0 ||
	       memcmp(suffix, &".raw"[4 - len], len) == 0;
}

static dv_err parse_suffix(struct dv_transform *t, const char *suffix, char *why, size_t why_size)
{
	const size_t len = strlen(suffix);
	if (len == 0)
		return refuse(why, why_size, "path: needs a suffix, as in path:.txt");
	if (len > SUFFIX_MAX)
		return refuse(why, why_size, "the suffix is longer than %u bytes", SUFFIX_MAX);
	for (const char *p = suffix; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == '/')
			return refuse(why, why_size,
				      "the suffix holds a slash, a space or a control byte");
	if (suffix_is_ambiguous(suffix))
		return refuse(why, why_size,
			      "the suffix \"%s\" could be taken for .zst or .raw, which name the "
			      "form of a value",
			      suffix);
	memcpy(t->suffix, suffix, len + 1);
	snprintf(t->spec, sizeof(t->spec), "path:%s", suffix);
	return 0;
}

static dv_err parse_split(struct dv_transform *t, const char *s, char *why, size_t why_size)
{
	unsigned width, depth = 0;
	bool limited = false;
	bool well_formed = read_number(&s, &width);
	if (well_formed && *s == 'x') {
		s++;
		limited = true;
		well_formed = read_number(&s, &depth);
	}
	if (!well_formed || *s)
		return refuse(why, why_size, "split needs a width, as in split:3 or split:2x3");
	if (width < 1 || width > SPLIT_WIDTH_MAX)
		return refuse(why, why_size, "the width of split is not 1 to %u", SPLIT_WIDTH_MAX);
	if (limited && (depth < 1 || depth > SPLIT_DEPTH_MAX))
		return refuse(why, why_size, "the depth of split is not 1 to %u", SPLIT_DEPTH_MAX);

	/* No name has more whole blocks than this. */
	const unsigned most = DV_NAME_MAX / width;
	t->kind = KIND_SPLIT;
	t->width = width;
	t->depth = limited && depth < most ? depth : most;
	if (limited)
		snprintf(t->spec, sizeof(t->spec), "split:%ux%u", width, depth);
	else
		snprintf(t->spec, sizeof(t->spec), "split:%u", width);
	return 0;
}

static dv_err parse_hash(struct dv_transform *t, const char *s, char *why, size_t why_size)
{
	static const char *const algs[] = {"sha256", "sha1", "md5"};
	const char *alg = NULL;
	for (size_t i = 0; i < DV_ARRAY_LEN(algs) && !alg; i++) {
		size_t len = strlen(algs[i]);
		if (strncmp(s, algs[i], len) == 0 && s[len] == ':') {
			alg = algs[i];
			s += len + 1;
		}
	}
	if (!alg)
		return refuse(why, why_size,
			      "hash needs sha256, sha1 or md5, as in hash:sha256:2x2");

	unsigned width, depth;
	bool well_formed = read_number(&s, &width) && *s == 'x';
	if (well_formed) {
		s++;
		well_formed = read_number(&s, &depth);
	}
	if (!well_formed || *s)
		return refuse(why, why_size,
			      "hash needs a width and a depth, as in hash:sha256:2x2");
	if (width < 1 || width > HASH_WIDTH_MAX)
		return refuse(why, why_size, "the width of hash is not 1 to %u", HASH_WIDTH_MAX);
	if (depth < 1 || depth > HASH_DEPTH_MAX)
		return refuse(why, why_size, "the depth of hash is not 1 to %u", HASH_DEPTH_MAX);

	t->digest = EVP_MD_fetch(NULL, alg, NULL);
	if (!t->digest)
		return refuse(why, why_size, "OpenSSL on this machine does not offer %s", alg);
	const unsigned digits = 2 * (unsigned)EVP_MD_get_size(t->digest);
	if (width * depth > digits)
		return refuse(why, why_size, "%s has %u digits, not %u times %u", alg, digits,
			      depth, width);
	t->kind = KIND_HASH;
	t->width = width;
	t->depth = depth;
	snprintf(t->spec, sizeof(t->spec), "hash:%s:%ux%u", alg, width, depth);
	return 0;
}

static dv_err parse_spec(struct dv_transform *t, const char *spec, char *why, size_t why_size)
{
	if (strcmp(spec, "path") == 0 || strcmp(spec, "flat") == 0) {
		t->kind = spec[0] == 'p' ? KIND_PATH : KIND_FLAT;
		snprintf(t->spec, sizeof(t->spec), "%s", spec);
		return 0;
	}
	if (strncmp(spec, "path:", 5) == 0)
		return parse_suffix(t, spec + 5, why, why_size);
	if (strncmp(spec, "split:", 6) == 0)
		return parse_split(t, spec + 6, why, why_size);
	if (strncmp(spec, "hash:", 5) == 0)
		return parse_hash(t, spec + 5, why, why_size);
	if (strncmp(spec, "plugin:", 7) == 0)
		return dv_plugin_parse(t, spec, why, why_size);
	return refuse(why, why_size,
		      "the transform is none of path, path:SUFFIX, flat, split:W, split:WxD, "
		      "hash:ALG:WxD, FILE.so[:ARGS]");
}

dv_err dv_transform_new(const char *spec, struct dv_transform **out, char *why, size_t why_size)
{
	struct dv_transform *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	dv_err err = parse_spec(t, spec, why, why_size);
	if (err) {
		dv_transform_free(&t);
		return err;
	}
	*out = t;
	return 0;
}

void dv_transform_free(struct dv_transform **t)
{
	if (*t)
		EVP_MD_free((*t)->digest);
	free(*t);
	*t = NULL;
}

/* ---- what a transform is ---- */

void dv_transform_set_spelling(struct dv_transform *t, enum dv_spelling spelling)
{
	t->spelling = spelling;
}

enum dv_spelling dv_transform_spelling(const struct dv_transform *t)
{
	return t->spelling;
}

const char *dv_transform_spec(const struct dv_transform *t)
{
	return t->spec;
}

bool dv_transform_has_dirs(const struct dv_transform *t)
{
	return t->kind == KIND_PATH;
}

bool dv_transform_has_shards(const struct dv_transform *t)
{
	return t->kind == KIND_SPLIT || t->kind == KIND_HASH || t->kind == KIND_PLUGIN;
}

unsigned dv_transform_shard_depth(const struct dv_transform *t)
{
	return t->depth;
}

/*
 * Of split too: all keys below a shard directory begin with its blocks, and a key beside it is
 * shorter than they are, so it stands on the same side of all of them.
 */
bool dv_transform_keeps_order(const struct dv_transform *t)
{
	return t->kind != KIND_HASH && t->kind != KIND_PLUGIN;
}

const char *dv_transform_suffix(const struct dv_transform *t)
{
	return t->suffix;
}

/* ---- shard directories ---- */

/* The directory of a block: spelled as the mount's directories are, see key.h "other". */
static dv_err block_spell(const struct dv_transform *t, const char *block,
			  char out[DV_NAME_MAX + 1])
{
	const size_t width = t->width;
	if (t->spelling != DV_SPELL_OWN)
		return dv_component_is_reserved(block, width) ? -EINVAL
							      : join("", block, width, out);
	dv_err err = dv_component_escape(block, width, out);
	if (err)
		return err;
	size_t len = strlen(out);
	if (!dv_component_has_ending(out, len, ".zst"))
		return 0;
	if (len > DV_NAME_MAX - 4)
		return -ENAMETOOLONG;
	memcpy(out + len, ".raw", 5);
	return 0;
}

static dv_err split_shard(const struct dv_transform *t, const char *name, size_t len,
			  char out[DV_SHARD_MAX])
{
	size_t blocks = len / t->width;
	if (blocks > t->depth)
		blocks = t->depth;

	size_t pos = 0;
	for (size_t i = 0; i < blocks; i++) {
		char dir[DV_NAME_MAX + 1];
		dv_err err = block_spell(t, name + i * t->width, dir);
		if (err)
			return err;
		size_t dir_len = strlen(dir);
		if (dir_len + 2 > DV_SHARD_MAX - pos)
			return -ENAMETOOLONG;
		if (i > 0)
			out[pos++] = '/';
		memcpy(out + pos, dir, dir_len);
		pos += dir_len;
	}
	out[pos] = '\0';
	return 0;
}

static dv_err hash_shard(const struct dv_transform *t, const char *name, size_t len,
			 char out[DV_SHARD_MAX])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char md[EVP_MAX_MD_SIZE];
	/* With a fetched digest only memory can be missing. */
	if (EVP_Digest(name, len, md, NULL, t->digest, NULL) != 1)
		return -ENOMEM;

	size_t pos = 0;
	for (unsigned i = 0; i < t->width * t->depth; i++) {
		if (i > 0 && i % t->width == 0)
			out[pos++] = '/';
		out[pos++] = hex[i % 2 ? md[i / 2] & 15 : md[i / 2] >> 4];
	}
	out[pos] = '\0';
	return 0;
}

dv_err dv_transform_shard(const struct dv_transform *t, const char *name, char out[DV_SHARD_MAX])
{
	const size_t len = strlen(name);
	if (len == 0 || strchr(name, '/'))
		return -EINVAL;
	if (len > DV_NAME_MAX)
		return -ENAMETOOLONG;
	if (t->kind == KIND_SPLIT)
		return split_shard(t, name, len, out);
	if (t->kind == KIND_HASH)
		return hash_shard(t, name, len, out);
	if (t->kind == KIND_PLUGIN) {
		char file[DV_NAME_MAX + 1];
		return dv_plugin_place(t, name, out, file);
	}
	out[0] = '\0';
	return 0;
}

static bool is_split_shard(const struct dv_transform *t, const char *component)
{
	size_t len = strlen(component);
	if (t->spelling != DV_SPELL_OWN)
		return len == t->width && !dv_component_is_reserved(component, len);
	if (dv_component_has_ending(component, len, ".zst")) {
		if (memcmp(component + len - 4, ".raw", 4) != 0)
			return false;
		len -= 4;
	}
	char block[DV_NAME_MAX + 1], spelled[DV_NAME_MAX + 1];
	if (dv_component_unescape(component, len, block) || strlen(block) != t->width)
		return false;
	return !block_spell(t, block, spelled) && strcmp(spelled, component) == 0;
}

bool dv_transform_is_shard(const struct dv_transform *t, unsigned level, const char *component)
{
	if (level >= t->depth)
		return false;
	if (t->kind == KIND_SPLIT)
		return !strchr(component, '/') && is_split_shard(t, component);
	if (t->kind == KIND_PLUGIN) /* what lies in it tells */
		return !dv_component_is_reserved(component, strlen(component));
	return strlen(component) == t->width && strspn(component, "0123456789abcdef") == t->width;
}
