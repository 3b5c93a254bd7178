/* SPDX-License-Identifier: MIT */
/* rename_move.c - the step of a renaming (rename.c) by which the object gets its new name. */
#include "core/cleanup.h"
#include "core/journal.h"
#include "core/rename_private.h"
#include "core/twin.h"
#include "core/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

dv_err dv_rename_path_in(struct dv_store *s, struct dv_node *dir, const char *name, char **out)
{
	char *above = NULL;
	dv_err err = dir == s->root ? 0 : dv_node_path_alloc(s, dir, &above);
	if (!err && asprintf(out, "%s%s%s", above ? above : "", above ? "/" : "", name) < 0) {
		*out = NULL;
		err = -ENOMEM;
	}
	free(above);
	return err;
}

/* I4: the packed value that loses its name is recorded before the winner appears. */
static dv_err record_loser(struct dv_store *s, const struct renaming *r, bool packed_wins,
			   uint64_t *out_id)
{
	char *path = NULL;
	dv_journal_paths_hold(s);
	dv_err err = dv_rename_path_in(s, r->newdir, r->newname, &path);
	if (err) {
		dv_journal_paths_release(s);
		return err;
	}
	*out_id = dv_journal_new_id(s->journal);
	struct dv_ident over = dv_ident_of(&r->dst.st);
	struct dv_record rec = {.id = *out_id,
				.type = DV_RECORD_SWAP,
				.flags = packed_wins ? DV_RECORD_PACKED_WINS : 0,
				.raw = packed_wins ? over : r->n->id,
				.packed = packed_wins ? r->n->id : over,
				.st_ino = r->n->ino,
				.path = path,
				.path_len = strlen(path)};
	err = dv_journal_append(s, &rec);
	dv_journal_paths_release(s);
	free(path);
	return err ? err : dv_journal_sync(s);
}

bool dv_renames_over_other(const struct renaming *r)
{
	return r->dst_there && r->n->form == DV_FORM_PACKED && r->dst.form != DV_FORM_PACKED &&
	       strcmp(r->dst.stored, r->to.names.packed) != 0;
}

/* A packed value with several links takes the place of what is not packed. May wait. */
static dv_err move_over_other(struct dv_store *s, struct renaming *r)
{
	uint64_t record = 0;
	struct dv_ident over = dv_ident_of(&r->dst.st);
	if (!r->to.names.packed[0])
		return -ENAMETOOLONG;
	dv_err err = dv_settle_move(s, &r->to, r->to.names.packed);
	if (!err)
		err = record_loser(s, r, true, &record);
	if (err)
		return err;
	err = DV_B(s, rename, r->from.dirfd, r->src.stored, r->to.dirfd, r->to.names.packed,
		   RENAME_NOREPLACE);
	if (err) {
		dv_journal_end(s, record);
		return err == -EEXIST ? -ESTALE : err;
	}
	r->moved = true;
	struct dv_loose_at at = dv_place_at(&r->to);
	err = dv_loose_sync(s, &at, r->to.dirfd); /* I3 */
	if (!err)
		err = dv_unlink_form(s, &r->to, r->dst.stored, &over, false);
	if (err == DV_IS_ANOTHER) /* others have put another one there, after the packed one came */
		err = 0;
	atomic_fetch_add(&s->swaps, 1);
	if (!err) /* else recovery drops it */
		dv_journal_end(s, record);
	return err;
}

dv_err dv_rename_move(struct dv_store *s, struct renaming *r, uint8_t *slot, uint64_t *record,
		      bool *crossed)
{
	const char *as = dv_place_stored(&r->to, r->n->form, DV_SLOT_PLAIN);
	struct dv_stat st;
	*slot = DV_SLOT_PLAIN;
	if (dv_renames_over_other(r))
		return move_over_other(s, r);
	bool over_aside = r->dst_there && r->dst.slot == DV_SLOT_ASIDE; /* it stays there */
	if (r->n->form == DV_FORM_RAW && r->to.names.aside[0] &&
	    (over_aside || (DV_B(s, stat, r->to.dirfd, as, &st) == 0 && S_ISDIR(st.mode)))) {
		*slot = DV_SLOT_ASIDE;
		as = r->to.names.aside;
	}
	if (!as[0])
		return -ENAMETOOLONG;
	*crossed = r->dst_there && r->dst.form == DV_FORM_PACKED && r->n->form != DV_FORM_PACKED;
	if (*crossed) {
		dv_err err = dv_node_reserve_loser(s, r->n);
		if (!err)
			err = dv_settle_move(s, &r->to, as);
		if (!err)
			err = record_loser(s, r, false, record);
		if (err)
			return err;
	}
	unsigned flags = *crossed ? RENAME_NOREPLACE : r->flags & RENAME_NOREPLACE;
	dv_err err = DV_B(s, rename, r->from.dirfd, r->src.stored, r->to.dirfd, as, flags);
	if (err && *crossed) {
		dv_journal_end(s, *record);
		if (!r->n->loser)
			dv_node_end_loser(s, r->n);
	}
	if (err == -EEXIST && *crossed) /* another mount has put a raw value there meanwhile */
		err = -ESTALE;
	r->moved = !err;
	/* A target under another stored name (a link where files carry a suffix) is gone only now.
	 */
	if (!err && r->dst_there && !*crossed && strcmp(r->dst.stored, as) != 0)
		err = dv_unlink_form(s, &r->to, r->dst.stored, NULL, false);
	if (err == -ENOENT && r->moved) /* others were first */
		err = 0;
	atomic_fetch_add(&s->swaps, 1);
	return err;
}
