/* SPDX-License-Identifier: MIT */
/* names_remove.c - removing names: unlink, rmdir. Directory gates as in names.c. */
#include "core/keeper.h"
#include "core/ops.h"
#include "core/pack.h"
#include "core/rival.h"
#include "core/space.h"
#include "core/twin.h"

/* Unlinks every form of n's name; raw last, so that dying in between leaves the value whole. A
 * superseded form goes as it would later: once the value's name is durable. Gates held. */
static dv_err unlink_forms(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
			   bool nowait, bool patient, bool *more)
{
	struct dv_found f;
	if (n->loser && nowait)
		return -EAGAIN;
	dv_err err = n->job ? dv_pack_retract(s, n) : 0;
	if (!err && n->loser)
		err = dv_stage_settle(s, n);
	if (!err)
		err = dv_rival_packs(s, n, p, patient);
	if (!err)
		err = dv_place_find_known(s, p, &f);
	struct dv_ident id = dv_ident_of(&f.st);
	/* Beside newer bytes the store's object may have been removed or replaced by others: both
	 * go. */
	if (err == -ENOENT && n->stage)
		return 0;
	if (!err && !n->stage && (f.form != n->form || !dv_ident_equal(&id, &n->id)))
		return -ESTALE;
	if (err)
		return err;
	struct dv_beside twin = dv_rival_look(s, p, p->names.packed);
	dv_keep_open(s, n, f.st.nlink);
	err = dv_unlink_form(s, p, f.stored, NULL, nowait);
	if (err == -ENOENT) /* another mount has packed or unpacked it, or others were first */
		err = -ESTALE;
	if (err)
		dv_node_unpin(s, n);
	else if (f.form != DV_FORM_PACKED && twin.there) {
		dv_rival_drop_superseded(s, n, p, &twin);
		dv_twin_release(s, p, n->ino, &twin.id);
	} else if (f.form == DV_FORM_PACKED)
		*more = dv_rival_is_raw_too(s, p, n->ino);
	return err;
}

/* What there is no room to add does not keep a value from being removed that has no other name. */
static dv_err commit_other_names(struct dv_store *s, struct dv_node *n)
{
	struct dv_stat st;
	dv_err err = dv_stage_commit(s, n, false);
	if (!dv_space_is_short(err) || !dv_stage_appends(n->stage) || dv_stage_stat(s, n, &st))
		return err;
	return st.nlink == 1 ? 0 : err;
}

/* *more: another mount has made a raw form of it at this moment, which goes too. */
static dv_err unlink_known(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
			   const char *name, struct dv_node *n, bool patient, bool *more)
{
	struct dv_place p;
	if (S_ISDIR(n->type))
		return -EISDIR;
	dv_err err = dv_gate_exclusive(n, call->nowait);
	if (err)
		return err;
	if (n->stage &&
	    dv_stage_is_in_place(
		    n->stage)) /* its other names, known or not, show what was written */
		err = call->nowait ? -EAGAIN : commit_other_names(s, n);
	if (!err)
		err = dv_place_open(s, dir, name, false, &p);
	if (!err) {
		err = unlink_forms(s, n, &p, call->nowait, patient, more);
		dv_place_close(s, &p);
	}
	if (!err) {
		dv_node_drop_name(s, dir, name);
		if (!dv_node_has_name(s, n)) {
			if (n->stage)
				dv_stage_drop(s, n);
			dv_keeper_forget(s, n);
		}
		n->writes++;
		dv_told_ends(n);
		dv_touch_dir(s, dir);
		dv_place_prune(s, name);
	}
	dv_gate_open(n);
	return err;
}

dv_err dv_store_unlink(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
		       const char *name)
{
	if (s->options.read_only)
		return -EROFS;
	dv_err err = -ESTALE;
	bool removed = false;
	struct dv_call waits =
		*call; /* half of it can not be made again: the rest may take its time */
	waits.nowait = waits.parks = false;
	for (unsigned tries = 0; dv_goes_on(call, &err, &tries);) {
		struct dv_node *n = NULL;
		bool more = false;
		err = dv_find(s, call, dir, name,
			      &n); /* before the gate: it may take the child's */
		if (!err)
			err = dv_gate_shared(dir, call->nowait);
		if (!err) {
			err = unlink_known(s, call, dir, name, n, dv_is_patient(call, tries),
					   &more);
			dv_gate_open(dir);
		}
		dv_node_unref(s, n);
		removed |= !err;
		if (removed)
			call = &waits;
		if (err == -ENOENT && removed)
			err = 0;
		else if (!err && more)
			err = -ESTALE;
		if (err == -ESTALE && call->nowait)
			err = -EAGAIN;
	}
	return err;
}

/* Gate of dir shared. */
static dv_err remove_dir(struct dv_store *s, struct dv_node *dir, const char *name,
			 struct dv_node *n)
{
	struct dv_place p;
	struct dv_found f;
	dv_err err = dv_place_open(s, dir, name, false, &p);
	if (err)
		return err;
	err = dv_place_find_known(s, &p, &f);
	if (!err) {
		struct dv_beside twin = dv_rival_look(s, &p, p.names.packed);
		dv_keep_open(s, n, 1);
		err = DV_B(s, rmdir, p.dirfd, f.stored);
		if (err)
			dv_node_unpin(s, n);
		else if (twin.there)
			dv_twin_release(s, &p, n->ino, &twin.id);
	}
	if (!err) {
		struct dv_loose_at at = dv_place_at(&p);
		dv_loose_drop_dir(s, n, NULL);
		dv_loose_add(s, &at, dv_place_kind(&p, f.stored), 0);
	}
	dv_place_close(s, &p);
	if (!err)
		dv_node_drop_name(s, dir, name);
	return err;
}

dv_err dv_store_rmdir(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
		      const char *name)
{
	struct dv_node *n = NULL;
	if (s->options.read_only)
		return -EROFS;
	dv_err err = dv_find(s, call, dir, name, &n);
	if (!err && !S_ISDIR(n->type))
		err = -ENOTDIR;
	if (!err)
		err = dv_gate_shared(dir, call->nowait);
	if (!err) {
		err = remove_dir(s, dir, name, n);
		dv_gate_open(dir);
	}
	dv_node_unref(s, n);
	return err;
}
