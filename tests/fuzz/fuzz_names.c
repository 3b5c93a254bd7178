/* SPDX-License-Identifier: MIT */
/*
 * fuzz_names.c - any transform, and any two names in it.
 *
 *   input   three lines: the transform as it is given to init | a name | another name; the rest is
 *           passed over
 *
 * A spec is refused, or its normal form is a spec for the same. inverse(transform(k)) = k in each
 * form, and two names share no file. A stored name that is no key's is refused or is one that leads
 * back to it.
 */
#include "core/cleanup.h"
#include "core/key.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct place {
	char shard[DV_SHARD_MAX];
	struct dv_names names;
};

static void require(bool truth)
{
	if (!truth)
		abort();
}

/* The next line, with a NUL in place of its end. -> false: too long, or with a NUL of its own */
static bool line(const uint8_t **at, size_t *len, char *out, size_t size)
{
	const uint8_t *end = memchr(*at, '\n', *len);
	size_t n = end ? (size_t)(end - *at) : *len;
	if (n >= size || memchr(*at, '\0', n))
		return false;
	memcpy(out, *at, n);
	out[n] = '\0';
	*len -= end ? n + 1 : n;
	*at += end ? n + 1 : n;
	return true;
}

static void check_form(const struct dv_transform *t, const char *stored, bool regular,
		       const char *shard, const char *name)
{
	char back[DV_NAME_MAX + 1];
	enum dv_form form;
	if (!stored[0])
		return;
	require(strlen(stored) <= DV_NAME_MAX && !strchr(stored, '/'));
	require(dv_names_parse(t, stored, regular, shard, back, &form) == 0);
	require(strcmp(back, name) == 0);
}

/* -> false: no key of this transform */
static bool place(const struct dv_transform *t, const char *name, struct place *p)
{
	if (!name[0] || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	if (dv_transform_shard(t, name, p->shard) || dv_names_of(t, name, &p->names))
		return false;
	check_form(t, p->names.raw, true, p->shard, name);
	check_form(t, p->names.packed, true, p->shard, name);
	check_form(t, p->names.aside, true, p->shard, name);
	check_form(t, p->names.other, false, p->shard, name);
	return true;
}

static void check_apart(const struct place *a, const struct place *b)
{
	const char *const of_a[] = {a->names.raw, a->names.packed, a->names.aside, a->names.other};
	const char *const of_b[] = {b->names.raw, b->names.packed, b->names.aside, b->names.other};
	if (strcmp(a->shard, b->shard) != 0)
		return;
	for (size_t i = 0; i < 4; i++)
		for (size_t j = 0; j < 4; j++)
			require(!of_a[i][0] || strcmp(of_a[i], of_b[j]) != 0);
}

/* Any text as what lies in the store. */
static void check_stored(const struct dv_transform *t, const char *stored, const char *shard)
{
	char name[DV_NAME_MAX + 1];
	enum dv_form form;
	struct dv_names names;
	char own_shard[DV_SHARD_MAX];
	if (!stored[0] || strlen(stored) > DV_NAME_MAX || strchr(stored, '/') ||
	    !strcmp(stored, ".") || !strcmp(stored, ".."))
		return;
	if (dv_names_parse(t, stored, true, shard, name, &form) ||
	    dv_transform_shard(t, name, own_shard) || strcmp(own_shard, shard) != 0)
		return;
	require(dv_names_of(t, name, &names) == 0);
	require(!strcmp(stored, names.raw) || !strcmp(stored, names.packed) ||
		!strcmp(stored, names.aside));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct place a, b;
	char spec[400], first[600], second[600], why[256] = "";
	struct dv_transform *t = NULL, *again = NULL;
	if (!line(&data, &len, spec, sizeof(spec)) || !line(&data, &len, first, sizeof(first)) ||
	    !line(&data, &len, second, sizeof(second)))
		return 0;
	if (dv_plugin_file_end(spec))
		return 0;
	dv_err err = dv_transform_new(spec, &t, why, sizeof(why));
	if (err) {
		require((err == -EINVAL || err == -ENOMEM) && why[0] && !t);
		return 0;
	}
	require(dv_transform_new(dv_transform_spec(t), &again, why, sizeof(why)) == 0);
	require(strcmp(dv_transform_spec(t), dv_transform_spec(again)) == 0);
	bool have_a = place(t, first, &a), have_b = place(again, second, &b);
	if (have_a && have_b && strcmp(first, second) != 0)
		check_apart(&a, &b);
	if (have_a)
		check_stored(t, second, a.shard);
	dv_transform_free(&again);
	dv_transform_free(&t);
	return 0;
}
