/* SPDX-License-Identifier: MIT */
/* withdraw.c - see withdraw.h. */
#include "core/withdraw.h"

#include "core/journal.h"
#include "core/loose.h"
#include "core/swap.h"

#include <stdio.h>
#include <string.h>

#define NAME (DV_STAGE_NAME + 1)

static void name_of(uint64_t id, char out[NAME])
{
	dv_journal_stage_name(id, out);
	strcat(out, "r");
}

/* -EEXIST: another packed form has come since. This file would hide what came later. */
static dv_err is_free(struct dv_store *s, const struct dv_place *p, const struct dv_withdrawal *w)
{
	struct dv_stat st;
	dv_err err = DV_B(s, stat, p->dirfd, p->names.packed, &st);
	if (err)
		return err == -ENOENT ? 0 : err;
	struct dv_ident id = dv_ident_of(&st);
	id.dev = w->packed.dev;
	return dv_ident_equal(&id, &w->packed) ? 0 : -EEXIST;
}

/* Back to its name; to lost/ where another one has come there, which is newer. */
static dv_err put_back(struct dv_store *s, const struct dv_place *p, const char *stored,
		       const struct dv_withdrawal *w, const char *moved)
{
	dv_err err = is_free(s, p, w);
	if (!err)
		err = DV_B(s, rename, w->dirfd, moved, p->dirfd, stored, RENAME_NOREPLACE);
	if (err != -EEXIST)
		return err;
	return dv_put_aside(s, w->dirfd, moved, p->name,
			    "it was replaced in the store while it was being packed");
}

static bool is_the_file(const struct dv_stat *st, const struct dv_withdrawal *w)
{
	struct dv_ident id = dv_ident_of(st);
	struct dv_version now = dv_version_of(st);
	id.dev = w->object.dev; /* it changes over a reboot */
	now.ctime_ns = w->version.ctime_ns;
	return dv_ident_equal(&id, &w->object) && st->nlink == 1 &&
	       (w->any_version || dv_version_equal(&now, &w->version));
}

/* moved lies in the owner folder. */
static dv_err decide(struct dv_store *s, const struct dv_place *p, const char *stored,
		     const struct dv_withdrawal *w, const char *moved, bool *gone)
{
	struct dv_stat st;
	dv_err err = DV_B(s, stat, w->dirfd, moved, &st);
	if (err)
		return err;
	*gone = is_the_file(&st, w) && !(w->wanted && w->wanted(w->ctx));
	if (!*gone)
		return put_back(s, p, stored, w, moved);
	dv_ignore(DV_B(s, unlink, w->dirfd, moved)); /* recovery does it by the record */
	return 0;
}

dv_err dv_withdraw(struct dv_store *s, const struct dv_place *p, const char *stored,
		   const struct dv_withdrawal *w, bool *gone, bool *kept)
{
	struct dv_loose_at at = dv_place_at(p);
	char moved[NAME];
	*gone = *kept = false;
	name_of(w->id, moved);
	dv_err err = dv_loose_settle(s, &at, p->dirfd, DV_LOOSE_PACKED, false);
	if (!err)
		err = DV_B(s, rename, p->dirfd, stored, w->dirfd, moved, RENAME_NOREPLACE);
	if (err)
		return err == -ENOENT ? 0 : err; /* others have taken it away */
	err = decide(s, p, stored, w, moved, gone);
	if (*gone)
		dv_loose_add(s, &at, dv_place_kind(p, stored), 0);
	if (err) /* at least it is the value again */
		*kept = put_back(s, p, stored, w, moved) != 0;
	return err;
}

dv_err dv_withdraw_again(struct dv_store *s, const struct dv_place *p, const char *stored,
			 const struct dv_withdrawal *w)
{
	char moved[NAME];
	bool gone;
	name_of(w->id, moved);
	dv_err err = decide(s, p, stored, w, moved, &gone);
	return err == -ENOENT ? 0 : err;
}
