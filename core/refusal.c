/* SPDX-License-Identifier: MIT */
/* refusal.c - see refusal.h. */
#include "core/refusal.h"

#include "core/meta.h"
#include "core/value.h"

#define ON_PURPOSE 2u /* with a mark */

uint32_t dv_refusal_mark(const struct dv_stat *st)
{
	uint64_t v = (uint64_t)dv_time_ns(st->mtime) ^ st->size << 20;
	return ((uint32_t)(v ^ v >> 32) & ~ON_PURPOSE) | 1;
}

bool dv_refusal_holds(struct dv_store *s, const struct dv_node *n, enum dv_pack_by by,
		      const struct dv_place *p, const char *stored, const struct dv_stat *st)
{
	struct dv_tag tag;
	uint32_t mark = dv_refusal_mark(st);
	if (n->refused == mark)
		return true;
	if (by == DV_PACK_BY_COMMAND)
		return false;
	if (n->refused == (mark | ON_PURPOSE))
		return true;
	return by == DV_PACK_BY_WALK && dv_tag_load(s, p->dirfd, stored, st, &tag) && tag.unpacked;
}

void dv_refusal_expect(struct dv_node *n, const struct dv_stat *st)
{
	n->refused = dv_refusal_mark(st) | ON_PURPOSE;
}

/* The unpacking itself counts as one write. */
static bool is_untouched(const struct dv_node *n, const struct dv_refusal_before *before)
{
	return before->packed && n->writes == before->writes + 1;
}

/* Gate exclusive. */
static dv_err keep_raw(struct dv_store *s, struct dv_node *n,
		       const struct dv_refusal_before *before)
{
	struct dv_file *f = NULL;
	struct dv_stat st;
	dv_err err = dv_value_file(s, n, false, &f);
	if (!err)
		err = DV_B(s, stat, f->fd, "", &st);
	if (!err) {
		struct dv_ident id = dv_ident_of(&st);
		struct dv_tag tag;
		if (!dv_tag_load_fd(s, f->fd, &st, &tag))
			tag = (struct dv_tag){.st_ino = n->ino, .generation = n->generation};
		tag.unpacked = true;
		tag.stored_size = st.size;
		tag.mtime = st.mtime;
		tag.has_ctime = is_untouched(n, before);
		if (tag.has_ctime) {
			tag.ctime = before->ctime;
			tag.swapped = st.ctime;
		}
		dv_refusal_expect(n, &st);
		dv_tag_store(s, f->fd, &id, &tag);
		if (tag.has_ctime &&
		    DV_B(s, stat, f->fd, "", &st) == 0) { /* the tag has moved it */
			n->real_ctime_ns = dv_time_ns(st.ctime);
			n->kept_ctime_ns = dv_time_ns(before->ctime);
		}
	}
	dv_file_unref(s, f);
	return err;
}

dv_err dv_refusal_keep_raw(struct dv_store *s, struct dv_node *n,
			   const struct dv_refusal_before *before)
{
	dv_err err = dv_gate_exclusive(n, false);
	if (err)
		return err;
	if (n->form == DV_FORM_RAW && !n->stage)
		err = keep_raw(s, n, before);
	dv_gate_open(n);
	return err;
}
