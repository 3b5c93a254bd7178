/* SPDX-License-Identifier: MIT */
/*
 * key.c - the names under which one key component is stored: pure, no I/O.
 *
 * Layer 1, on top of transform.c. Names and stored names are in bijection, in four steps, each with
 * an inverse:
 *
 *   name --suffix--> name+SUFFIX --escape--> c --form--> c | c.raw | c.zst
 *
 *   escape   hits every string but ".", ".." and ".diskvfs...", which are thus never stored
 *   raw      hits every string that does not end in .zst: c.raw is the image of the c that match
 *            \.zst(\.raw)*$, all others are their own
 *   packed   hits every string that ends in .zst
 *
 * Non-regular entries have the raw step only. Under path:SUFFIX a regular c ends in SUFFIX, and c
 * is its own raw name (transform.c refuses the suffixes that could match above); the directory of
 * that name is moved out of its way by one .raw more, and so are those it would hit then.
 */
#include "core/key.h"

#include <string.h>

#define ZST	   ".zst"
#define RAW	   ".raw"
#define ENDING_LEN 4u

static bool ends_in(const char *s, size_t len, const char *ending)
{
	return len >= ENDING_LEN && memcmp(s + len - ENDING_LEN, ending, ENDING_LEN) == 0;
}

/* Must c, stored as it is, not be used for this kind of entry, but c.raw? */
static bool needs_raw_ending(const struct dv_transform *t, const char *c, size_t len, bool regular)
{
	if (dv_component_has_ending(c, len, ZST))
		return true;
	const char *suffix = dv_transform_suffix(t);
	return !regular && suffix[0] && dv_component_has_ending(c, len, suffix);
}

/* out = c + ending, "" where that is too long */
static void put_name(char out[DV_NAME_MAX + 1], const char *c, const char *ending)
{
	size_t len = strlen(c), ending_len = strlen(ending);
	out[0] = '\0';
	if (len + ending_len > DV_NAME_MAX)
		return;
	memcpy(out, c, len);
	memcpy(out + len, ending, ending_len + 1);
}

static void regular_names(const struct dv_transform *t, const char *name, struct dv_names *out)
{
	char whole[DV_NAME_MAX + 1], c[DV_NAME_MAX + 1];
	if (dv_transform_file(t, name, whole) || dv_component_escape(whole, strlen(whole), c))
		return;
	put_name(out->raw, c, needs_raw_ending(t, c, strlen(c), true) ? RAW : "");
	put_name(out->packed, c, ZST);
}

static void other_name(const struct dv_transform *t, const char *name, struct dv_names *out)
{
	char c[DV_NAME_MAX + 1];
	if (!dv_transform_has_dirs(t) || dv_component_escape(name, strlen(name), c))
		return;
	put_name(out->other, c, needs_raw_ending(t, c, strlen(c), false) ? RAW : "");
}

/*
 * A shard directory is spelled as raw names are, so it can take the raw name of one key only: that
 * of its own block, which lies in the directory of that block. A key of that directory has less
 * than two blocks: name + .raw + .raw..., grown to two blocks, is none of them, and no block.
 */
static void aside_name(const struct dv_transform *t, const char *name, struct dv_names *out)
{
	if (!dv_transform_has_shards(t) || dv_transform_is_plugin(t) || !out->raw[0] ||
	    !dv_transform_is_shard(t, 1, out->raw))
		return;
	char shard[DV_SHARD_MAX];
	if (dv_transform_shard(t, name, shard) || strcmp(shard, out->raw) != 0)
		return;

	const size_t width = strlen(name);
	put_name(out->aside, out->raw, RAW);
	for (size_t more = ENDING_LEN; more < width && out->aside[0]; more += ENDING_LEN) {
		char shorter[DV_NAME_MAX + 1];
		memcpy(shorter, out->aside, sizeof(shorter));
		put_name(out->aside, shorter, RAW);
	}
}

static dv_err no_name(const struct dv_transform *t)
{
	return dv_transform_is_plugin(t) ? -EINVAL : -ENAMETOOLONG;
}

/* ---- as diskv stores them ---- */

static dv_err names_of_diskv(const struct dv_transform *t, const char *name, struct dv_names *out)
{
	bool sealed = dv_transform_spelling(t) == DV_SPELL_SEALED;
	if (dv_component_is_reserved(name, strlen(name)))
		return -EINVAL;
	if (dv_transform_file(t, name, sealed ? out->packed : out->raw)) /* it has none */
		out->packed[0] = out->raw[0] = '\0';
	if (dv_transform_has_dirs(t))
		put_name(out->other, name, "");
	return out->raw[0] || out->packed[0] || out->other[0] ? 0 : no_name(t);
}

static dv_err parse_diskv(const struct dv_transform *t, const char *stored, bool regular,
			  const char *shard, char name[DV_NAME_MAX + 1], enum dv_form *out_form)
{
	const size_t len = strlen(stored);
	char home[DV_SHARD_MAX];
	if (len == 0 || len > DV_NAME_MAX || dv_component_is_reserved(stored, len))
		return -ENOENT;
	memcpy(name, stored, len + 1);
	*out_form = DV_FORM_OTHER;
	if (!regular)
		return dv_transform_has_dirs(t) ? 0 : -ENOENT;
	if (dv_transform_name(t, shard, stored, name))
		return -ENOENT;
	*out_form = dv_transform_spelling(t) == DV_SPELL_SEALED ? DV_FORM_PACKED : DV_FORM_RAW;
	dv_err err = dv_transform_shard(t, name, home);
	if (err == -ENOMEM)
		return err;
	return err || strcmp(home, shard) != 0 ? -ENOENT : 0;
}

/* ---- both ways ---- */

dv_err dv_names_of(const struct dv_transform *t, const char *name, struct dv_names *out)
{
	out->raw[0] = out->packed[0] = out->other[0] = out->aside[0] = '\0';
	const size_t len = strlen(name);
	if (len == 0 || strchr(name, '/'))
		return -EINVAL;
	if (len > DV_NAME_MAX)
		return -ENAMETOOLONG;
	if (dv_transform_spelling(t) != DV_SPELL_OWN)
		return names_of_diskv(t, name, out);

	regular_names(t, name, out);
	other_name(t, name, out);
	aside_name(t, name, out);
	return out->raw[0] || out->other[0] ? 0 : no_name(t);
}

/* c without its last .raw where that was added by needs_raw_ending(). */
static size_t without_raw_ending(const struct dv_transform *t, const char *c, size_t len,
				 bool regular)
{
	if (ends_in(c, len, RAW) && needs_raw_ending(t, c, len - ENDING_LEN, regular))
		return len - ENDING_LEN;
	return len;
}

static dv_err parse_other(const struct dv_transform *t, const char *stored, size_t len,
			  char name[DV_NAME_MAX + 1])
{
	if (!dv_transform_has_dirs(t))
		return -ENOENT;
	size_t c_len = without_raw_ending(t, stored, len, false);
	dv_err err = dv_component_unescape(stored, c_len, name);
	if (err || c_len < len || !needs_raw_ending(t, stored, len, false))
		return err;
	/* Not made here: a lookup finds it again where the name has an `other` name, name.raw. */
	return strcmp(name, stored) == 0 && len <= DV_NAME_MAX - ENDING_LEN ? 0 : -ENOENT;
}

static dv_err parse_regular(const struct dv_transform *t, const char *stored, size_t len,
			    const char *shard, char name[DV_NAME_MAX + 1], enum dv_form *out_form)
{
	const bool packed = ends_in(stored, len, ZST);
	size_t c_len = packed ? len - ENDING_LEN : without_raw_ending(t, stored, len, true);
	char whole[DV_NAME_MAX + 1];
	dv_err err = dv_component_unescape(stored, c_len, whole);
	if (!err)
		err = dv_transform_name(t, shard, whole, name);
	if (err)
		return err;
	*out_form = packed ? DV_FORM_PACKED : DV_FORM_RAW;
	return 0;
}

/* Is stored the name aside of the key whose block `shard` is? */
static dv_err parse_aside(const struct dv_transform *t, const char *stored, const char *shard,
			  char name[DV_NAME_MAX + 1])
{
	size_t len = strlen(shard);
	if (len == 0 || len > DV_NAME_MAX || strchr(shard, '/'))
		return -ENOENT;
	struct dv_names names;
	dv_err err = dv_component_unescape(shard, without_raw_ending(t, shard, len, true), name);
	if (err || dv_names_of(t, name, &names))
		return -ENOENT;
	return strcmp(names.aside, stored) == 0 ? 0 : -ENOENT;
}

dv_err dv_names_parse(const struct dv_transform *t, const char *stored, bool regular,
		      const char *shard, char name[DV_NAME_MAX + 1], enum dv_form *out_form)
{
	const size_t len = strlen(stored);
	char unused[DV_NAME_MAX + 1];
	if (strchr(stored, '/'))
		return -ENOENT;
	if (dv_transform_spelling(t) != DV_SPELL_OWN)
		return parse_diskv(t, stored, regular, shard, name, out_form);
	/* First of all, so that .diskvfs is no key in any form. */
	if (dv_component_unescape(stored, len, unused))
		return -ENOENT;
	if (!regular) {
		*out_form = DV_FORM_OTHER;
		return parse_other(t, stored, len, name);
	}

	char home[DV_SHARD_MAX];
	enum dv_form form = DV_FORM_RAW;
	dv_err err = parse_regular(t, stored, len, shard, name, &form);
	if (!err)
		err = dv_transform_shard(t, name, home);
	if (err == -ENOMEM)
		return err;
	if (err || strcmp(home, shard) != 0) {
		form = DV_FORM_RAW;
		if (parse_aside(t, stored, shard, name))
			return -ENOENT;
	}
	*out_form = form;
	return 0;
}
