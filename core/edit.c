/* SPDX-License-Identifier: MIT */
/* edit.c - see edit.h. */
#include "core/edit.h"

#include "core/cleanup.h"
#include "core/io.h"
#include "core/packed.h"
#include "core/rival.h"
#include "core/space.h"
#include "core/stage.h"
#include "core/value.h"

#define TRIES 4 /* then the gate is kept: who changes it all the time waits for once */

bool dv_edit_is_quick(struct dv_store *s, struct dv_node *n)
{
	struct dv_stat st;
	struct dv_facts facts;
	struct dv_file *f = NULL;
	if (dv_value_file(s, n, false, &f))
		return false;
	bool quick = DV_B(s, stat, f->fd, "", &st) == 0 && st.size <= DV_EDIT_INLINE_STORED_MAX &&
		     (dv_facts_get(s, n, &st, &facts) ||
		      (st.size <= DV_INLINE_STORED_MAX &&
		       dv_packed_facts(s, n, f, true, &facts) == 0)) &&
		     facts.plain_size <= DV_EDIT_INLINE_PLAIN_MAX;
	dv_file_unref(s, f);
	return quick;
}

/* A large packed value, as it is now. */
struct subject {
	struct dv_file *file, *locked; /* locked: nobody else edits it, NULL: not asked for */
	struct dv_stat st;
	bool large;
};

static void forget(struct dv_store *s, struct subject *it)
{
	dv_rival_unlock(s, &it->locked);
	dv_file_unref(s, it->file);
}

static dv_err look(struct dv_store *s, struct dv_node *n, bool lock, struct subject *out)
{
	struct dv_facts facts;
	uint64_t gated = s->options.gated_bytes ? s->options.gated_bytes : DV_EDIT_GATED_MAX;
	*out = (struct subject){0};
	dv_err err = dv_gate_shared(n, false);
	if (err)
		return err;
	if (!n->stage && n->form == DV_FORM_PACKED && dv_node_has_name(s, n)) {
		err = dv_value_file(s, n, false, &out->file);
		if (!err && lock)
			err = dv_rival_lock(s, n, out->file, &out->locked);
		if (!err)
			err = DV_B(s, stat, out->file->fd, "", &out->st);
		if (!err)
			err = dv_packed_facts(s, n, out->file, false, &facts);
		out->large = !err && facts.plain_size > gated;
	}
	dv_gate_open(n);
	return err;
}

/* Takes the gate; *changed: n is not what was unpacked. */
static dv_err begin(struct dv_store *s, struct dv_node *n, const struct subject *was,
		    struct dv_stage **stage, bool *changed)
{
	struct dv_stat st;
	struct dv_ident id = dv_ident_of(&was->st);
	struct dv_version before = dv_version_of(&was->st);
	dv_err err = dv_gate_exclusive(n, false);
	if (err)
		return err;
	err = DV_B(s, stat, was->file->fd, "", &st);
	struct dv_version now = dv_version_of(&st);
	*changed = err || n->stage || n->form != DV_FORM_PACKED || !dv_ident_equal(&id, &n->id) ||
		   !dv_version_equal(&before, &now) || !dv_node_has_name(s, n);
	err = *changed ? 0 : dv_stage_begin_with(s, n, stage);
	dv_gate_open(n);
	return err;
}

static bool same_state(struct dv_store *s, const struct subject *was)
{
	struct dv_stat st;
	struct dv_version before = dv_version_of(&was->st);
	if (DV_B(s, stat, was->file->fd, "", &st))
		return true;
	struct dv_version now = dv_version_of(&st);
	return dv_version_equal(&before, &now);
}

static dv_err try_once(struct dv_store *s, struct dv_node *n, bool *changed)
{
	struct subject it;
	struct dv_stage *stage = NULL;
	*changed = false;
	dv_err err = look(s, n, true, &it);
	if (!err && it.large) {
		err = dv_stage_unpack(s, n, it.file, &it.locked, &stage);
		if (err && !same_state(s, &it)) { /* written over while it was read */
			*changed = true;
			err = 0;
		} else if (!err) {
			err = begin(s, n, &it, &stage, changed);
		}
		dv_stage_discard(s, &stage);
	}
	forget(s, &it);
	return err;
}

/* A place for n among those that are being unpacked; NULL: none is free, or n has one. */
static const struct dv_node **place_locked(struct dv_store *s, const struct dv_node *n)
{
	const struct dv_node **free = NULL;
	for (size_t i = 0; i < DV_ARRAY_LEN(s->space.unpacking); i++) {
		if (s->space.unpacking[i] == n)
			return NULL;
		if (!s->space.unpacking[i])
			free = &s->space.unpacking[i];
	}
	return free;
}

/* One at a time for each value, and few in all: each takes a thread that serves. */
static dv_err enter(struct dv_store *s, const struct dv_call *call, const struct dv_node *n)
{
	const struct dv_node **place;
	pthread_mutex_lock(&s->space.lock);
	while (!(place = place_locked(s, n)) && !call->parks)
		pthread_cond_wait(&s->space.cond, &s->space.lock);
	if (place)
		*place = n;
	pthread_mutex_unlock(&s->space.lock);
	return place ? 0 : -EINPROGRESS;
}

static void leave(struct dv_store *s, const struct dv_node *n)
{
	pthread_mutex_lock(&s->space.lock);
	for (size_t i = 0; i < DV_ARRAY_LEN(s->space.unpacking); i++)
		if (s->space.unpacking[i] == n)
			s->space.unpacking[i] = NULL;
	pthread_cond_broadcast(&s->space.cond);
	pthread_mutex_unlock(&s->space.lock);
	dv_space_tell(s);
}

dv_err dv_edit_prepare(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
		       bool *begun)
{
	struct subject it;
	*begun = false;
	if (s->options.read_only || dv_node_form(s, n) != DV_FORM_PACKED)
		return 0;
	dv_err err = look(s, n, false, &it);
	forget(s, &it);
	if (err || !it.large)
		return 0; /* an error is met again where it is changed, and told from there */
	err = enter(s, call, n);
	if (err)
		return err;
	bool changed = true;
	for (unsigned tries = 0; !err && changed && tries < TRIES; tries++)
		err = try_once(s, n, &changed);
	*begun = !err && !changed;
	leave(s, n);
	return err == -ESTALE || err == -EAGAIN ? 0 : err; /* it is met again under the gate */
}
