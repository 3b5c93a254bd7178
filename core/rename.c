/* SPDX-License-Identifier: MIT */
/*
 * rename.c - renaming across directories and forms.
 *
 *   source   target             how
 *   raw      none, raw, other   one rename; over a value the source's bytes are durable first (I2)
 *   raw      packed             SWAP record (raw wins), rename; the keeper drops the packed form
 *                               once the new name is durable
 *   packed   none, packed       one rename
 *   packed   raw                the source is made raw first: where both forms exist raw is the
 *                               value (I1). With several links it stays packed: SWAP record (packed
 *                               wins), rename, the new name made durable, the raw form dropped
 *   other    packed             rename, then the packed form is dropped, with a record as above
 *
 * A source may be a file of the owner folder, whose node has no name yet (put.h): as raw.
 */
#include "core/cleanup.h"
#include "core/journal.h"
#include "core/keeper.h"
#include "core/ops.h"
#include "core/owner.h"
#include "core/pack.h"
#include "core/rename_private.h"
#include "core/rival.h"
#include "core/sealed.h"
#include "core/twin.h"
#include "core/value.h"

#include <stdio.h>
#include <string.h>

/*
 * The gates of what is renamed and what it replaces, in a fixed order. Directories among them are
 * left out: their gates guard their names, which stay, and a gate of a directory is never taken
 * under that of its parent.
 */
static dv_err gate_values(struct dv_node *a, struct dv_node *b, bool nowait)
{
	struct dv_node *first = b && b < a ? b : a, *second = first == a ? b : a;
	dv_err err = S_ISDIR(first->type) ? 0 : dv_gate_exclusive(first, nowait);
	if (!err && second && !S_ISDIR(second->type)) {
		err = dv_gate_exclusive(second, nowait);
		if (err && !S_ISDIR(first->type))
			dv_gate_open(first);
	}
	return err;
}

static void open_values(struct dv_node *a, struct dv_node *b)
{
	if (!S_ISDIR(a->type))
		dv_gate_open(a);
	if (b && !S_ISDIR(b->type))
		dv_gate_open(b);
}

static dv_err find_source(struct dv_store *s, struct renaming *r)
{
	if (r->in) {
		r->src = (struct dv_found){.form = r->n->form, .stored = r->in->stored};
		return DV_B(s, stat, r->from.dirfd, r->src.stored, &r->src.st);
	}
	dv_err err = dv_place_find_known(s, &r->from, &r->src);
	if (err)
		return err == -ENOENT ? -ESTALE : err;
	struct dv_ident id = dv_ident_of(&r->src.st);
	return r->src.form != r->n->form || !dv_ident_equal(&id, &r->n->id) ? -ESTALE : 0;
}

/* What lies under both names must be what the nodes say. */
static dv_err find_both(struct dv_store *s, struct renaming *r)
{
	dv_err err = find_source(s, r);
	if (err)
		return err;
	err = dv_place_find(s, &r->to, &r->dst);
	r->dst_there = !err;
	/* Beside newer bytes the store's object may have been replaced by others: both give way. */
	bool any = r->over && r->over->stage && !(r->flags & RENAME_EXCHANGE);
	if (err == -ENOENT)
		return r->over && !any ? -ESTALE : 0;
	if (err)
		return err;
	struct dv_ident id = dv_ident_of(&r->dst.st);
	if (r->in && dv_ident_equal(&id, &r->n->id))
		return -EEXIST;
	if (!r->over ||
	    (!any && (r->dst.form != r->over->form || !dv_ident_equal(&id, &r->over->id))))
		return -ESTALE;
	return 0;
}

/* Directories and others may not take each other's places; the kernel checks too. */
static dv_err check_types(const struct renaming *r)
{
	if (!r->dst_there || (r->flags & RENAME_EXCHANGE))
		return 0;
	if (r->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (S_ISDIR(r->n->type) != S_ISDIR(r->over->type))
		return S_ISDIR(r->n->type) ? -ENOTDIR : -EISDIR;
	return 0;
}

static bool moves_directories(const struct renaming *r)
{
	return S_ISDIR(r->n->type) || ((r->flags & RENAME_EXCHANGE) && S_ISDIR(r->over->type));
}

/* Records beneath directories that are about to move learn their new paths; back: the move failed. */
static dv_err repath(struct dv_store *s, const struct renaming *r, bool back)
{
	unsigned flags = (back ? DV_REPATH_BACK : 0u) |
			 (r->flags & RENAME_EXCHANGE ? DV_REPATH_EXCHANGE : 0u);
	if (dv_journal_open_records(s) == 0)
		return 0;
	DV_AUTO_FREE char *old = NULL;
	DV_AUTO_FREE char *new = NULL;
	dv_err err = dv_rename_path_in(s, r->olddir, r->oldname, &old);
	if (!err)
		err = dv_rename_path_in(s, r->newdir, r->newname, &new);
	return err ? err : dv_journal_repath(s, old, new, flags);
}

/* To be ended where it returns 0. Until the move is made, and durable, recovery finds records under
 * their old paths too. */
static dv_err begin_move(struct dv_store *s, const struct renaming *r, bool nowait)
{
	if (!moves_directories(r))
		return 0;
	dv_err err = dv_journal_move_begin(s, nowait);
	if (err)
		return err;
	err = repath(s, r, false);
	dv_journal_move_hold(s);
	if (!err)
		err = repath(s, r, false); /* what was appended meanwhile */
	if (err) {
		dv_ignore(repath(s, r, true)); /* recovery looks at both */
		dv_journal_move_end(s);
	}
	return err;
}

static void end_move(struct dv_store *s, const struct renaming *r, bool failed)
{
	if (!moves_directories(r))
		return;
	if (failed)
		dv_ignore(repath(s, r, true)); /* recovery looks at both */
	dv_journal_move_end(s);
}

/*
 * A form that was unlinked beside the value does not come back under a name that the value has
 * left, or that another one has taken, when the power goes; and a shard directory does not go with
 * the value that is renamed into it.
 */
static dv_err settle_names(struct dv_store *s, const struct renaming *r, bool nowait)
{
	bool exchange = r->flags & RENAME_EXCHANGE;
	const unsigned both = DV_LOOSE_MADE | DV_LOOSE_PRUNED;
	const char *as =
		exchange ? r->dst.stored : dv_place_stored(&r->to, r->n->form, DV_SLOT_PLAIN);
	if (r->in) /* it was under no name yet, and may be lost as any that is made there */
		return dv_place_settle(s, &r->to, as, 0, nowait);
	dv_err err = dv_settle_shard(s, &r->to, exchange ? both : DV_LOOSE_MADE, nowait);
	if (!err)
		err = dv_settle_shard(s, &r->from, exchange ? both : DV_LOOSE_PRUNED, nowait);
	if (!err)
		err = dv_place_settle(s, &r->from, r->src.stored, 0, nowait);
	return err ? err : dv_place_settle(s, &r->to, as, 0, nowait);
}

/* The renaming may be lost with the power. */
static void note_move(struct dv_store *s, const struct renaming *r)
{
	bool exchange = r->flags & RENAME_EXCHANGE;
	unsigned moved = DV_LOOSE_MOVED | (S_ISDIR(r->n->type) ? DV_LOOSE_DIR : 0);
	struct dv_loose_at from = dv_place_at(&r->from), to = dv_place_at(&r->to);
	struct dv_loose_at shard = {.dir = from.dir, .shard = from.shard, .name = ""};
	dv_names_changed(r->n);
	if (exchange)
		dv_names_changed(r->over);
	if (!r->in || r->dst_there) /* a new name is as one that was made there */
		dv_loose_add(s, &to, moved, 0);
	if (r->in)
		return;
	if (exchange)
		dv_loose_add(s, &from, DV_LOOSE_MOVED | (S_ISDIR(r->over->type) ? DV_LOOSE_DIR : 0),
			     0);
	else
		dv_loose_add(s, &from, dv_place_kind(&r->from, r->src.stored), 0);
	if (from.shard)
		dv_loose_add(s, &shard, DV_LOOSE_RENAMED, 0);
	shard.shard = to.shard;
	if (to.shard)
		dv_loose_add(s, &shard, DV_LOOSE_RENAMED, 0);
}

static bool is_there(struct dv_store *s, int dirfd, const char *stored)
{
	struct dv_stat st;
	return DV_B(s, stat, dirfd, stored, &st) == 0;
}

/* The value has its new name: another form may have come there at this moment, or to the old one. */
static dv_err settle_rivals(struct dv_store *s, struct renaming *r, uint8_t slot)
{
	bool packed = r->n->form == DV_FORM_PACKED;
	r->more = packed && !r->in && dv_rival_is_raw_too(s, &r->from, r->n->ino);
	return dv_rival_settle(s, &r->to, dv_place_stored(&r->to, r->n->form, slot), &r->n->id,
			       r->n->ino, packed ? r->to.names.raw : r->to.names.packed, &r->other);
}

/* Gates held, nodes at rest or about to be replaced. */
static dv_err rename_plain(struct dv_store *s, struct renaming *r, bool nowait)
{
	uint8_t slot;
	uint64_t record = 0;
	bool crossed = false;
	bool over_value = r->dst_there && S_ISREG(r->over->type);
	bool crossing = over_value && r->over->form == DV_FORM_PACKED && r->n->form == DV_FORM_RAW;
	if (nowait && dv_renames_over_other(r))
		return -EAGAIN;
	if (over_value && S_ISREG(r->n->type) && (crossing || atomic_load(&r->n->dirty))) { /* I2 */
		if (nowait)
			return -EAGAIN;
		struct dv_file *f = NULL;
		dv_err err = dv_value_file(s, r->n, false, &f);
		if (!err)
			err = DV_B(s, fdatasync, f->fd);
		dv_file_unref(s, f);
		if (err)
			return err;
		atomic_store(&r->n->dirty, false);
	}
	if (r->over)
		dv_keep_open(s, r->over, S_ISDIR(r->over->type) ? 1 : r->dst.st.nlink);
	dv_err err = begin_move(s, r, nowait);
	if (!err) {
		err = dv_rename_move(s, r, &slot, &record, &crossed);
		if (err)
			end_move(s, r, true);
	}
	if (err) {
		if (r->over)
			dv_node_unpin(s, r->over);
		return err == -ENOENT && !is_there(s, r->from.dirfd, r->src.stored) ? -ESTALE : err;
	}
	if (r->src.form != DV_FORM_PACKED && !r->in && r->twin.there)
		dv_rival_drop_superseded(s, r->n, &r->from, &r->twin);
	if (r->src.form != DV_FORM_PACKED && !r->in && r->twin.there)
		dv_twin_release(s, &r->from, r->n->ino, &r->twin.id);
	err = r->in ? dv_node_add_name(s, r->n, r->newdir, r->newname, slot)
		    : dv_node_move_name(s, r->olddir, r->oldname, r->newdir, r->newname, slot);
	end_move(s, r, false);
	dv_forget_kept_ctime(s, r->n);
	dv_told_ends(r->n);
	note_move(s, r);
	if (r->over && !dv_node_has_name(s, r->over)) {
		if (r->over->stage)
			dv_stage_drop(s, r->over);
		dv_keeper_forget(s, r->over);
	}
	if (crossed) {
		if (r->over->form == DV_FORM_PACKED) /* no stage was its value */
			atomic_fetch_add(&r->over->superseded, 1);
		struct dv_ident id = dv_ident_of(&r->dst.st); /* over's own may be its stage now */
		dv_node_set_loser(s, r->n, &id, record);
		dv_keeper_touch(s, r->n);
	}
	if (r->over) {
		r->over->writes++;
		dv_told_ends(r->over); /* which may have other names */
	}
	r->n->writes++;
	dv_err rivals = S_ISREG(r->n->type) ? settle_rivals(s, r, slot) : 0;
	return err ? err : rivals;
}

static dv_err rename_exchange(struct dv_store *s, struct renaming *r, bool nowait)
{
	if (!r->dst_there)
		return -ENOENT;
	const char *from_as = dv_place_stored(&r->to, r->n->form, r->src.slot);
	const char *to_as = dv_place_stored(&r->from, r->over->form, r->dst.slot);
	bool alike = r->n->form == DV_FORM_RAW &&
		     r->over->form == DV_FORM_RAW; /* aside of a shard directory or not */
	if (!alike && (strcmp(from_as, r->dst.stored) != 0 || strcmp(to_as, r->src.stored) != 0))
		return -EINVAL; /* a directory and a file that are stored in different ways */
	dv_err err = begin_move(s, r, nowait);
	if (err)
		return err;
	err = DV_B(s, rename, r->from.dirfd, r->src.stored, r->to.dirfd, r->dst.stored,
		   RENAME_EXCHANGE);
	bool failed = err;
	if (!err)
		err = dv_node_swap_names(s, r->olddir, r->oldname, r->newdir, r->newname);
	end_move(s, r, failed);
	if (!err)
		note_move(s, r);
	dv_told_ends(r->n);
	dv_told_ends(r->over);
	return err;
}

/* Is there more to a value that loses its name than its object, and a stage that goes with it? */
static bool is_unsettled(const struct dv_node *over)
{
	return dv_pack_is_active(over) || over->loser ||
	       (over->stage && dv_stage_is_in_place(over->stage));
}

/* Under n's gate, without which a job may be gone while it is looked at. n NULL: neither. */
static dv_err look_at(struct dv_node *n, bool nowait, bool *packed, bool *unsettled)
{
	*packed = *unsettled = false;
	dv_err err = n ? dv_gate_shared(n, nowait) : 0;
	if (err || !n)
		return err;
	*packed = n->form == DV_FORM_PACKED;
	*unsettled = is_unsettled(n);
	dv_gate_open(n);
	return 0;
}

/* A dead mount's records find what they speak of by its name: there may be work of it on n, or below. */
static bool may_be_pending(const struct dv_node *n, bool packed)
{
	return n && (packed || S_ISDIR(n->type));
}

/* Brings both to a state that one rename can move. No gate held. */
static dv_err prepare(struct dv_store *s, const struct dv_call *call, const struct renaming *r)
{
	struct dv_names names;
	struct dv_place to;
	bool nowait = call->nowait, packed, over_packed, unsettled;
	struct dv_stat st;
	dv_err err = dv_place_open(s, r->newdir, r->newname, true, &to);
	if (!err && dv_transform_is_plugin(s->transform) && to.names.raw[0] &&
	    DV_B(s, stat, to.dirfd, to.names.raw, &st) == 0 && S_ISDIR(st.mode)) {
		dv_place_close(s, &to); /* its raw form would have no name */
		return -EISDIR;
	}
	if (!err)
		dv_place_close(s, &to);
	else if (err == -ENOTDIR)
		err = dv_clear_way(s, call, r->newdir, r->newname);
	if (!err)
		err = dv_bring_to_rest(s, r->n, nowait);
	if (!err)
		err = look_at(r->over, nowait, &over_packed, &unsettled);
	if (!err && r->over && (unsettled || (r->flags & RENAME_EXCHANGE)))
		err = dv_bring_to_rest(s, r->over, nowait);
	if (!err)
		err = dv_names_of(s->transform, r->newname, &names);
	if (!err)
		err = look_at(r->over, nowait, &over_packed, &unsettled);
	if (!err)
		err = look_at(r->n, nowait, &packed, &unsettled);
	if (err)
		return err;
	if ((!r->in && may_be_pending(r->n, packed)) ||
	    ((r->flags & RENAME_EXCHANGE) && may_be_pending(r->over, over_packed)))
		err = dv_owners_dead(s, &(uint64_t){0});
	if (err == -EAGAIN && !nowait && s->inherit && s->inherit(s))
		err = DV_ENDS_SOON; /* it is looked up again */
	if (err)
		return err;
	if (packed && !r->in && !dv_is_sealed(s) && (!names.packed[0] || (r->over && !over_packed)))
		err = dv_make_raw(s, r->n, nowait);
	if (!err && (r->flags & RENAME_EXCHANGE) && over_packed && !packed)
		err = dv_make_raw(s, r->over, nowait);
	return err;
}

/* Gates of the nodes held. -EBUSY: one of them is not at rest, again. */
static dv_err rename_gated(struct dv_store *s, const struct dv_call *call, struct renaming *r)
{
	bool over_busy = r->over && (is_unsettled(r->over) ||
				     ((r->flags & RENAME_EXCHANGE) && r->over->stage));
	if (dv_is_busy(r->n) || over_busy)
		return -ESTALE;
	dv_err err = r->in ? 0 : dv_place_open(s, r->olddir, r->oldname, false, &r->from);
	if (r->in)
		r->from = (struct dv_place){.dirfd = dv_journal_dirfd(s->journal)};
	if (err)
		return err;
	err = dv_place_open(s, r->newdir, r->newname, true, &r->to);
	if (!err) {
		err = r->in ? 0 : dv_rival_packs(s, r->n, &r->from, r->patient);
		bool packed = r->n->form == DV_FORM_PACKED;
		if (!r->in && !packed)
			r->twin = dv_rival_look(s, &r->from, r->from.names.packed);
		r->other = dv_rival_look(s, &r->to, packed ? r->to.names.raw : r->to.names.packed);
		if (!err)
			err = find_both(s, r);
		if (!err && r->dst_there) /* else the form that it makes would be left */
			err = dv_rival_packs(s, r->over, &r->to, r->patient);
		if (!err && dv_renames_over_other(r) && !dv_is_sealed(s)) {
			if (dv_node_links(r->n, r->src.st.nlink) == 1)
				err = -ESTALE; /* it can be made raw */
			else if (r->flags & RENAME_EXCHANGE)
				err = -EINVAL; /* no rename brings both to their new names */
		}
		if (!err)
			err = check_types(r);
		if (!err && r->in)
			err = r->in->dress(s, r->in, &r->to, r->dst_there ? r->over : NULL);
		if (!err && call->nowait && moves_directories(r) && dv_journal_open_records(s))
			err = -EAGAIN; /* they are written anew, and synced */
		if (!err)
			err = settle_names(s, r, call->nowait);
		if (!err)
			err = r->flags & RENAME_EXCHANGE ? rename_exchange(s, r, call->nowait)
							 : rename_plain(s, r, call->nowait);
		dv_place_close(s, &r->to);
	}
	dv_place_close(s, &r->from);
	return err;
}

static dv_err rename_once(struct dv_store *s, const struct dv_call *call, struct renaming *r)
{
	dv_err err = r->in ? 0 : dv_find(s, call, r->olddir, r->oldname, &r->n);
	if (!err) {
		err = dv_find(s, call, r->newdir, r->newname, &r->over);
		if (err == -ENOENT)
			err = 0;
	}
	/* Not renamed yet, and the value already: rename(2) leaves two names of one file as they are, so
	 * it would lose its last one after it. */
	if (!err && r->in && r->n == r->over &&
	    is_there(s, dv_journal_dirfd(s->journal), r->in->stored))
		return -EEXIST;
	if (err || r->n == r->over) /* two names of one object: nothing to do */
		return err;
	if (r->over && (r->flags & RENAME_NOREPLACE))
		return -EEXIST;
	err = prepare(s, call, r);
	if (err)
		return err;
	struct dv_node *olddir = r->in ? r->newdir : r->olddir;
	err = dv_gates_shared(olddir, r->newdir, call->nowait);
	if (err)
		return err;
	err = gate_values(r->n, r->over, call->nowait);
	if (!err) {
		err = dv_node_reserve_names();
		if (!err)
			err = rename_gated(s, call, r);
		dv_node_release_names();
		open_values(r->n, r->over);
	}
	dv_gates_open(olddir, r->newdir);
	return err;
}

dv_err dv_store_rename(struct dv_store *s, const struct dv_call *call, struct dv_node *olddir,
		       const char *oldname, struct dv_node *newdir, const char *newname,
		       unsigned flags)
{
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (s->options.read_only)
		return -EROFS;
	dv_err err = -ESTALE;
	bool renamed = false;
	struct dv_call waits = *call; /* half of it is for good: the rest may take its time */
	waits.nowait = waits.parks = false;
	for (unsigned tries = 0; dv_goes_on(call, &err, &tries);) {
		struct renaming r = {.olddir = olddir,
				     .newdir = newdir,
				     .oldname = oldname,
				     .newname = newname,
				     .flags = flags,
				     .patient = dv_is_patient(call, tries)};
		err = rename_once(s, call, &r);
		if (!err && r.n && (s->nopack || s->config.nopack))
			dv_keeper_touch(s, r.n); /* its new name may let it be packed */
		dv_node_unref(s, r.n);
		dv_node_unref(s, r.over);
		if (err == -ESTALE && call->nowait)
			return -EAGAIN;
		renamed |= !err || r.moved;
		if (err == -ENOENT && renamed)
			err = 0;
		else if (!err && r.more)
			err = -ESTALE;
		if (renamed) {
			call = &waits;
			flags = 0;
		}
	}
	if (!err) {
		dv_touch_dir(s, olddir);
		dv_place_prune(s, oldname);
	}
	return err == -ESTALE ? -EBUSY : err;
}

dv_err dv_rename_in(struct dv_store *s, const struct dv_call *call, const struct dv_renamed_in *in,
		    struct dv_node *dir, const char *name, unsigned flags)
{
	dv_err err = -ESTALE;
	for (unsigned tries = 0; dv_goes_on(call, &err, &tries);) {
		struct renaming r = {.in = in,
				     .n = in->node,
				     .newdir = dir,
				     .newname = name,
				     .flags = flags,
				     .patient = dv_is_patient(call, tries)};
		err = rename_once(s, call, &r);
		dv_node_unref(s, r.over);
	}
	if (!err) {
		dv_touch_dir(s, dir);
		dv_keeper_touch(s, in->node);
	}
	return err == -ESTALE ? -EBUSY : err;
}
