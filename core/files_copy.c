/* SPDX-License-Identifier: MIT */
/*
 * files_copy.c - a packed value is copied as it is stored.
 */
#include "core/cleanup.h"
#include "core/keeper.h"
#include "core/ops.h"
#include "core/packed.h"
#include "core/value.h"

#include <limits.h>

/* The packed file of n, where n is at rest and has so many bytes, and the state that it is in. */
static dv_err open_source(struct dv_store *s, struct dv_node *n, uint64_t size,
			  struct dv_file **out, struct dv_version *out_version)
{
	struct dv_facts facts;
	struct dv_stat st;
	dv_err err = dv_gate_shared(n, false);
	if (err)
		return err;
	err = n->stage || n->form != DV_FORM_PACKED ? -EOPNOTSUPP : 0;
	if (!err)
		err = dv_value_file(s, n, false, out);
	if (!err)
		err = DV_B(s, stat, (*out)->fd, "", &st);
	if (!err)
		err = dv_packed_facts(s, n, *out, false, &facts);
	dv_gate_open(n);
	if (!err && (facts.err || facts.stream || facts.plain_size != size))
		err = -EOPNOTSUPP;
	if (!err)
		*out_version = dv_version_of(&st);
	return err;
}

static bool is_unchanged(struct dv_store *s, struct dv_file *f, const struct dv_version *version)
{
	struct dv_stat st;
	if (DV_B(s, stat, f->fd, "", &st))
		return false;
	struct dv_version now = dv_version_of(&st);
	return dv_version_equal(&now, version);
}

/* A look, so that nothing is copied in vain. */
static dv_err look_at_target(struct dv_store *s, struct dv_node *n)
{
	struct dv_stat st;
	dv_err err = dv_gate_shared(n, false);
	if (err)
		return err;
	err = dv_stage_may_copy(s, n) ? dv_value_stat(s, n, false, &st) : -EOPNOTSUPP;
	if (!err && st.size)
		err = -EOPNOTSUPP;
	dv_gate_open(n);
	return err;
}

static dv_err copy_packed(struct dv_store *s, struct dv_node *from, struct dv_node *to,
			  uint64_t size)
{
	struct dv_file *f = NULL;
	struct dv_version version;
	struct dv_stage_copy *copy = NULL;
	dv_err err = look_at_target(s, to);
	if (!err)
		err = open_source(s, from, size, &f, &version);
	if (!err)
		err = dv_stage_copy_prepare(s, f, &copy);
	if (!err && !is_unchanged(s, f, &version))
		err = -EOPNOTSUPP;
	if (!err)
		err = dv_gate_exclusive(to, false);
	if (!err) {
		err = dv_stage_copy_begin(s, to, &copy);
		if (!err)
			dv_changed(s, to);
		dv_gate_open(to);
	}
	dv_stage_copy_discard(s, &copy);
	dv_file_unref(s, f);
	return err;
}

ssize_t dv_store_copy(struct dv_store *s, const struct dv_call *call, struct dv_node *from,
		      struct dv_range range, struct dv_node *to, uint64_t to_off)
{
	if (s->options.read_only)
		return -EROFS;
	if (!S_ISREG(from->type) || !S_ISREG(to->type) || from == to || range.off || to_off ||
	    range.len <= s->config.frame_size || range.len > SSIZE_MAX)
		return -EOPNOTSUPP;
	if (call->nowait)
		return -EAGAIN;
	/* Whatever is in the way, the caller's own way of copying meets it too, or does not. */
	if (copy_packed(s, from, to, range.len))
		return -EOPNOTSUPP;
	dv_count(s, copied, 1);
	return (ssize_t)range.len;
}
