/* SPDX-License-Identifier: MIT */
/*
 * lookup.c - from names to nodes, and the attributes of nodes.
 *
 * A name that is known is compared with what lies in the store each time; the kernel asks once in
 * each coherence interval.
 */
#include "core/edit.h"
#include "core/keeper.h"
#include "core/meta.h"
#include "core/ops.h"
#include "core/pack.h"
#include "core/rival.h"
#include "core/value.h"

#include <string.h>

bool dv_is_busy(const struct dv_node *n)
{
	return n->stage || n->loser || dv_pack_is_active(n);
}

void dv_changed(struct dv_store *s, struct dv_node *n)
{
	dv_pack_cancel(s, n);
	n->writes++;
	dv_told_ends(n);
	if (n->stage)
		dv_stage_changed(n->stage);
	atomic_store(&n->dirty, true);
	if (dv_node_has_name(s, n))
		dv_keeper_touch(s, n);
}

void dv_touch_dir(struct dv_store *s, struct dv_node *dir)
{
	struct timespec now;
	if (!dv_transform_has_shards(s->transform))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	pthread_mutex_lock(&s->names_lock);
	dir->touched_ns = dv_time_ns(now);
	pthread_mutex_unlock(&s->names_lock);
}

void dv_wait_for_others(void)
{
	nanosleep(&(struct timespec){.tv_nsec = DV_WAIT_STEP_MS * 1000000}, NULL);
}

/* A count of tries: how often others were waited for, and above that how often it was another object. So one
 * who has waited for long still looks again when those have come to their end. */
#define ONE_STALE 0x10000u
_Static_assert(DV_WAIT_PACKER_MS / DV_WAIT_STEP_MS < ONE_STALE, "waits are counted below it");

static unsigned waits_of(unsigned tries)
{
	return tries % ONE_STALE;
}

static bool may_be_stale_again(unsigned *tries)
{
	*tries += ONE_STALE;
	return *tries / ONE_STALE < DV_TRIES;
}

/*
 * Another mount, or a program, has locked what is to be changed. Waited for here a moment, then without a
 * thread, and not for ever: a lock that is held for long is told to the caller.
 */
static bool waits_for_others(const struct dv_call *call, dv_err *err, unsigned *tries)
{
	bool ends = *err == DV_ENDS_SOON;
	if (ends)
		*err = -EAGAIN;
	if (*err != -EAGAIN || call->nowait)
		return false;
	int64_t waited_ms = call->waited_ns / 1000000 + (int64_t)waits_of(*tries) * DV_WAIT_STEP_MS;
	bool enough = waited_ms >= (ends ? DV_WAIT_PACKER_MS : DV_WAIT_MS);
	if (waits_of(*tries) >= DV_WAITS_HERE && (enough || call->parks)) {
		*err = enough ? -EBUSY : -EINPROGRESS;
		return false;
	}
	++*tries;
	dv_wait_for_others();
	*err = 0;
	return true;
}

bool dv_goes_on(const struct dv_call *call, dv_err *err, unsigned *tries)
{
	if (waits_for_others(call, err, tries))
		return true;
	return *err == -ESTALE && may_be_stale_again(tries);
}

bool dv_is_patient(const struct dv_call *call, unsigned tries)
{
	return waits_of(tries) < DV_PATIENCE &&
	       call->waited_ns < DV_PATIENCE * DV_WAIT_STEP_MS * 1000000ll;
}

bool dv_try_again(struct dv_store *s, const struct dv_call *call, struct dv_node *n, dv_err *err,
		  unsigned *tries)
{
	if (*err == -EAGAIN && !call->nowait && s->inherit && s->inherit(s))
		*err = DV_ENDS_SOON;
	if (waits_for_others(call, err, tries))
		return true;
	if (*err != -ESTALE || !may_be_stale_again(tries))
		return false;
	if (call->nowait) {
		*err = -EAGAIN;
		return false;
	}
	*err = dv_value_refresh(s, n);
	return *err == 0;
}

dv_err dv_node_parent(struct dv_store *s, struct dv_node *n, struct dv_node **out_dir,
		      char name[256])
{
	return dv_node_name(s, n, 0, out_dir, name, NULL);
}

/* ---- coming to rest ---- */

/* Nothing pending, and one form, where `one` says so. Swap gates held. */
static dv_err rest_gated(struct dv_store *s, struct dv_node *n, bool one)
{
	dv_err err = n->stage ? dv_stage_commit(s, n, one) : 0;
	return !err && n->loser && one ? dv_stage_settle(s, n) : err;
}

dv_err dv_bring_to_rest(struct dv_store *s, struct dv_node *n, bool nowait)
{
	struct dv_node *dir = NULL;
	dv_err err = dv_gate_shared(n, nowait);
	if (err)
		return err;
	bool busy = dv_is_busy(n);
	dv_gate_open(n);
	if (!busy)
		return 0;
	if (nowait)
		return -EAGAIN;
	err = dv_swap_gates(s, n, false, &dir);
	if (err)
		return err;
	if (n->job)
		err = dv_pack_retract(s, n);
	if (!err)
		err = rest_gated(s, n, true);
	dv_swap_gates_open(s, n, dir);
	return err == -EBUSY ? -ESTALE : err; /* put aside: another value has the name */
}

static dv_err make_raw_once(struct dv_store *s, struct dv_node *n, bool one)
{
	static const struct dv_call call = {0};
	struct dv_node *dir = NULL;
	bool begun;
	dv_err err = dv_edit_prepare(s, &call, n, &begun);
	if (begun)
		dv_keeper_touch(s, n);
	if (!err)
		err = dv_swap_gates(s, n, false, &dir);
	if (err)
		return err;
	if (!dir)
		err = -ENOENT;
	if (!err && n->job)
		err = dv_pack_retract(s, n);
	if (!err && dv_stage_in_parts(n->stage)) /* it becomes a packed one */
		err = rest_gated(s, n, true);
	if (!err && !n->stage && n->form == DV_FORM_PACKED) {
		err = dv_stage_begin(s, n, false);
		if (!err)
			dv_keeper_touch(s, n); /* where the commit fails it is made later */
	}
	bool listed = !err && !one && dv_node_is_listed(dir);
	if (!err && !(listed && n->stage && n->loser)) /* a commit would take that away first */
		err = rest_gated(s, n, !listed);
	dv_swap_gates_open(s, n, dir);
	return err == -EBUSY ? -ESTALE : err;
}

static dv_err make_raw(struct dv_store *s, struct dv_node *n, bool nowait, bool one)
{
	dv_err err = -EAGAIN;
	bool inherited = false; /* by another thread, just now */
	for (unsigned tries = 0; err == -EAGAIN && !nowait && tries < DV_WAITS_HERE; tries++) {
		inherited = tries && s->inherit && s->inherit(s);
		if (tries) /* another mount edits it: not under a gate, which its end may need */
			dv_wait_for_others();
		err = make_raw_once(s, n, one);
	}
	return err == -EAGAIN && inherited ? DV_ENDS_SOON : err;
}

dv_err dv_make_raw(struct dv_store *s, struct dv_node *n, bool nowait)
{
	return make_raw(s, n, nowait, true);
}

dv_err dv_unpack_value(struct dv_store *s, struct dv_node *n)
{
	return make_raw(s, n, false, false);
}

void dv_keep_open(struct dv_store *s, struct dv_node *n, uint32_t nlink)
{
	struct dv_file *f = NULL;
	/* A stage is its own file. Names that were never looked up keep the object, but do not lead
	 * to it from here. */
	if (n->stage || (nlink > 1 && dv_node_has_names(s, n, 2)))
		return;
	dv_err err = -EINVAL;
	if (S_ISREG(n->type) && n->form == DV_FORM_RAW)
		err = dv_value_file(s, n, true, &f);
	if (err && S_ISREG(n->type))
		err = dv_value_file(s, n, false, &f);
	if (err)
		err = dv_value_handle(s, n, &f);
	if (err)
		return; /* those who have it open get ESTALE from now on */
	dv_node_set_file(s, n, f, true);
	dv_file_unref(s, f);
}

void dv_forget_kept_ctime(struct dv_store *s, struct dv_node *n)
{
	struct dv_stat st;
	struct dv_tag tag;
	struct dv_file *f = NULL;
	if (n->kept_ctime_ns == 0)
		return;
	n->real_ctime_ns = n->kept_ctime_ns = 0;
	if (!S_ISREG(n->type)) /* a directory has no tag */
		return;
	if (dv_value_handle(s, n, &f))
		return; /* gone: nobody reads its tag */
	if (DV_B(s, stat, f->fd, "", &st) == 0 && dv_tag_load_fd(s, f->fd, &st, &tag) &&
	    tag.has_ctime) {
		struct dv_ident id = dv_ident_of(&st);
		tag.has_ctime = false;
		dv_tag_store(s, f->fd, &id, &tag);
	}
	dv_file_unref(s, f);
}

/* ---- lookup ---- */

/* The node of what was found, new or known. */
static dv_err enter_found(struct dv_store *s, struct dv_node *dir, const struct dv_place *p,
			  const struct dv_found *f, uint64_t moves, struct dv_node **out,
			  bool *again)
{
	struct dv_ident id = dv_ident_of(&f->st);
	struct dv_tag tag;
	bool tagged = S_ISREG(f->st.mode) && dv_tag_load(s, p->dirfd, f->stored, &f->st, &tag);
	struct dv_node *n =
		dv_node_new(f->st.mode, tagged ? tag.st_ino : dv_meta_ino(&id), p->name);
	if (!n)
		return -ENOMEM;
	atomic_fetch_add(&s->node_count, 1);
	n->id = id;
	n->form = f->form;
	n->generation = tagged ? tag.generation : 0;
	atomic_init(&n->dirty, f->form == DV_FORM_RAW);
	if (tagged) {
		n->real_ctime_ns = dv_time_ns(f->st.ctime);
		n->kept_ctime_ns = dv_time_ns(dv_tag_ctime(&tag, &f->st));
	}
	struct dv_entry e = {.dir = dir,
			     .name = p->name,
			     .slot = f->slot,
			     .moves = moves,
			     .alone = f->st.nlink == 1 || S_ISDIR(f->st.mode)};
	return dv_node_enter(s, n, &e, out, again);
}

/* n has the name: is it still n's? *again: look once more. */
static dv_err check_known(struct dv_store *s, const struct dv_call *call, const struct dv_place *p,
			  struct dv_node *n, struct dv_stat *out, bool *again)
{
	struct dv_found f;
	dv_err err = dv_gate_shared(n, call->nowait);
	if (err)
		return err;
	if (n->stage) {
		err = out ? dv_value_stat(s, n, call->nowait, out) : 0;
		dv_gate_open(n);
		return err;
	}
	err = dv_place_find(s, p, &f);
	struct dv_ident id = dv_ident_of(&f.st);
	if (!err && f.form == n->form && dv_ident_equal(&id, &n->id)) {
		if (out) {
			*out = f.st;
			err = dv_value_show(s, n, p, f.stored, call->nowait, out);
		}
		dv_gate_open(n);
		return err;
	}
	dv_gate_open(n);
	if (err && err != -ENOENT)
		return err;
	if (call->nowait)
		return -EAGAIN;
	*again = true;
	err = dv_value_refresh(s, n);
	return err == -ESTALE ? 0 : err;
}

static dv_err lookup_new(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
			 const struct dv_place *p, struct dv_node **out, struct dv_stat *st,
			 bool *again)
{
	struct dv_found f;
	struct dv_node *n = NULL;
	uint64_t moves = dv_node_moves(s);
	dv_err err = dv_place_find(s, p, &f);
	if (!err)
		err = enter_found(s, dir, p, &f, moves, &n, again);
	if (err || *again || !st) {
		if (err || *again)
			dv_node_unref(s, n);
		else
			*out = n;
		return err;
	}
	err = dv_gate_shared(n, call->nowait);
	if (!err) {
		struct dv_ident id = dv_ident_of(&f.st);
		if (n->stage || f.form != n->form || !dv_ident_equal(&id, &n->id)) {
			*again = true; /* known under another name, and swapped just now */
		} else {
			*st = f.st;
			err = dv_value_show(s, n, p, f.stored, call->nowait, st);
		}
		dv_gate_open(n);
	}
	if (err || *again)
		dv_node_unref(s, n);
	else
		*out = n;
	return err;
}

static dv_err look_up(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
		      const char *name, struct dv_node **out, struct dv_stat *st)
{
	struct dv_place p;
	dv_err err = dv_place_open(s, dir, name, false, &p);
	if (err)
		return err;
	bool again = true;
	for (unsigned tries = 0; again && !err; tries++) {
		again = false;
		struct dv_node *n = dv_node_find_name(s, dir, name);
		if (n) {
			err = check_known(s, call, &p, n, st, &again);
			if (err || again)
				dv_node_unref(s, n);
			else
				*out = n;
		} else {
			err = lookup_new(s, call, dir, &p, out, st, &again);
		}
		if (again && tries == DV_TRIES)
			err = -EBUSY; /* others replace it faster than it can be looked at */
	}
	dv_place_close(s, &p);
	return err;
}

dv_err dv_find(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
	       const char *name, struct dv_node **out)
{
	return look_up(s, call, dir, name, out, NULL);
}

dv_err dv_store_lookup(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
		       const char *name, struct dv_node **out, struct dv_stat *out_stat)
{
	return look_up(s, call, dir, name, out, out_stat);
}

dv_err dv_store_getattr(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			struct dv_stat *out)
{
	unsigned tries = 0;
	dv_err err;
	do {
		err = dv_gate_shared(n, call->nowait);
		if (err)
			return err;
		err = dv_value_stat(s, n, call->nowait, out);
		dv_gate_open(n);
	} while (dv_try_again(s, call, n, &err, &tries));
	return err;
}

bool dv_store_dir_moved(struct dv_node *n, const struct dv_stat *st, bool told)
{
	if (!S_ISDIR(n->type))
		return false;
	int64_t ctime = st->own_ctime_ns ? st->own_ctime_ns : dv_time_ns(st->ctime);
	int64_t before = atomic_load(&n->told_ctime_ns);
	/* A name that came or went moves both, and what is kept by the mtime goes by itself. */
	bool moved = before && before != ctime && dv_time_ns(st->mtime) != ctime;
	if (before != ctime && (told || !moved))
		atomic_store(&n->told_ctime_ns, ctime);
	return moved;
}

void dv_store_told(struct dv_node *n, const struct dv_stat *st, bool kept)
{
	if (!S_ISREG(n->type))
		return;
	unsigned before = atomic_load(&n->told), mark = dv_told_mark(st);
	if (kept)
		atomic_store(&n->told, mark | DV_TOLD_KEPT);
	else if (!before) /* changed here meanwhile: it stays so */
		atomic_compare_exchange_strong(&n->told, &before, mark);
}

bool dv_store_is_told(const struct dv_node *n, const struct dv_stat *st)
{
	return S_ISREG(n->type) && atomic_load(&n->told) == (dv_told_mark(st) | DV_TOLD_KEPT);
}

bool dv_store_bytes_differ(const struct dv_node *n, const struct dv_stat *st)
{
	unsigned told = atomic_load(&n->told);
	return S_ISREG(n->type) && told && ((told ^ dv_told_mark(st)) & ~DV_TOLD_KEPT);
}

void dv_store_told_nothing(struct dv_node *n)
{
	dv_told_ends(n);
}

bool dv_store_bytes_moved(const struct dv_node *n)
{
	return S_ISREG(n->type) && !(atomic_load(&n->told) & DV_TOLD_KEPT);
}
