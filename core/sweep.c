/* SPDX-License-Identifier: MIT */
/*
 * sweep.c - goes over all values of a store, or of a part of it: to pack them, to unpack them.
 *
 * Values are collected while directories are listed, up to a batch, and then worked on together.
 * What is packed or unpacked meanwhile may be listed again under its other name, and is left then.
 *
 * Unpacked values stay as they are until they change: the node knows (pack.h), and for the walk
 * that a mount makes after an unclean end, their tag does.
 */
#include "core/sweep_private.h"

#include "core/cleanup.h"
#include "core/globs.h"
#include "core/io.h"
#include "core/keeper.h"
#include "core/list.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/ops.h"
#include "core/pack.h"
#include "core/sealed.h"
#include "core/value.h"

#include <string.h>

#define DEPTH_MAX 2048u /* as PATH_MAX allows */

static const struct dv_call call;

struct sweep {
	struct dv_store *s;
	struct dv_pack_result *result;
	enum dv_form takes;
	bool asked;			       /* by the command, and not by the store itself */
	const struct dv_pack_request *request; /* NULL: all, as the store packs */
	struct dv_anew anew;		       /* where request->leveled */
	struct dv_pack_item items[DV_PACK_BATCH_MAX];
	size_t fill;
	uint64_t bytes;
	dv_err first;
};

/* ---- packing ---- */

/* Values that were only waiting for the keeper, not for a writer, get a second try. */
static void pack_again(struct sweep *w)
{
	struct dv_pack_item again[DV_PACK_BATCH_MAX];
	size_t which[DV_PACK_BATCH_MAX], count = 0;
	for (size_t i = 0; i < w->fill; i++) {
		struct dv_node *n = w->items[i].node;
		if (w->items[i].outcome != DV_PACK_BUSY || dv_has_writer(w->s, n) ||
		    !dv_keeper_commit(w->s, n))
			continue;
		which[count] = i;
		again[count] = w->items[i];
		again[count++].job = NULL;
	}
	if (!count)
		return;
	dv_err err = dv_pack_batch(w->s, again, count);
	w->first = w->first ? w->first : err;
	for (size_t i = 0; i < count; i++)
		w->items[which[i]] = again[i];
}

static void pack_batch(struct sweep *w)
{
	dv_err err = dv_pack_batch(w->s, w->items, w->fill);
	w->first = w->first ? w->first : err;
	pack_again(w);
	for (size_t i = 0; i < w->fill; i++) {
		struct dv_pack_item *item = &w->items[i];
		if (item->anew && item->outcome != DV_PACK_DONE)
			dv_anew_give_up(w->s, item->node);
		switch (item->outcome) {
		case DV_PACK_DONE:
			w->result->packed++;
			w->result->plain_bytes += item->plain_size;
			w->result->stored_bytes += item->stored_size;
			w->result->anew += item->anew;
			w->result->bytes_before += item->anew ? item->before : item->plain_size;
			break;
		case DV_PACK_NO_GAIN:
			w->result->left_raw++;
			break;
		case DV_PACK_BUSY:
			w->result->busy++;
			if (item->node->loser) /* a form that could not be removed: the keeper goes
						  on */
				dv_keeper_touch(w->s, item->node);
			break;
		case DV_PACK_NO_ROOM:
		case DV_PACK_FAILED:
			w->result->failed++;
			break;
		}
	}
}

/* ---- unpacking ---- */

dv_err dv_sweep_begin_unpacking(struct dv_store *s, struct dv_node *n, bool *several,
				struct dv_refusal_before *before)
{
	struct dv_stat st;
	*several = false;
	before->packed = false;
	dv_err err = dv_gate_exclusive(n, false);
	if (err)
		return err;
	if (n->form == DV_FORM_PACKED)
		err = dv_value_stat(s, n, false, &st);
	*several = !err && n->form == DV_FORM_PACKED && st.nlink > 1;
	if (!err && n->form == DV_FORM_PACKED && !*several) {
		dv_refusal_expect(n, &st);
		*before = (struct dv_refusal_before){
			.packed = !n->stage, .writes = n->writes, .ctime = st.ctime};
	}
	dv_gate_open(n);
	return err;
}

static void tell_failure(struct dv_store *s, struct dv_node *n, dv_err err)
{
	char path[4096], text[1024];
	dv_node_path(s, n, path, sizeof(path));
	dv_warn("%s could not be unpacked and stays packed: %s",
		dv_log_key(text, sizeof(text), path), strerror(err == -EBADMSG ? EIO : -err));
	dv_count_error(s, err);
}

static void unpack_one(void *ctx, size_t i)
{
	struct sweep *w = ctx;
	struct dv_pack_item *item = &w->items[i];
	struct dv_node *n = item->node;
	struct dv_stat st;
	struct dv_refusal_before before;
	unsigned tries = 0;
	bool several = false;
	dv_err err;
	item->outcome = DV_PACK_FAILED;
	do {
		err = dv_sweep_begin_unpacking(w->s, n, &several, &before);
		if (!err && !several)
			err = dv_unpack_value(w->s, n);
	} while (dv_try_again(w->s, &call, n, &err, &tries));
	if (!err && !several)
		err = dv_refusal_keep_raw(w->s, n, &before);
	if (!err && !several && dv_store_getattr(w->s, &call, n, &st) == 0)
		item->plain_size = st.size;
	if (!err) /* whose owner could not be kept was rewritten where it is */
		item->outcome =
			dv_node_form(w->s, n) == DV_FORM_RAW ? DV_PACK_DONE : DV_PACK_NO_GAIN;
	else if (err == -ENOENT || err == -ESTALE)
		item->outcome = DV_PACK_BUSY; /* removed, or replaced, meanwhile */
	else
		tell_failure(w->s, n, err);
	if (item->outcome == DV_PACK_FAILED)
		item->error = err;
}

static void unpack_batch(struct sweep *w)
{
	/* Side by side: most of it is waiting for the disk. */
	dv_pool_map(w->s->pool, unpack_one, w, w->fill);
	for (size_t i = 0; i < w->fill; i++) {
		struct dv_pack_item *item = &w->items[i];
		w->result->packed += item->outcome == DV_PACK_DONE;
		w->result->left_raw += item->outcome == DV_PACK_NO_GAIN;
		w->result->busy += item->outcome == DV_PACK_BUSY;
		w->result->failed += item->outcome == DV_PACK_FAILED;
		w->result->plain_bytes += item->plain_size;
		if (item->outcome == DV_PACK_FAILED && item->error != -EBADMSG && !w->first)
			w->first = item->error;
	}
}

/* ---- the walk ---- */

static void flush(struct sweep *w)
{
	if (w->fill && w->takes == DV_FORM_RAW)
		pack_batch(w);
	else if (w->fill)
		unpack_batch(w);
	for (size_t i = 0; i < w->fill; i++)
		dv_node_unref(w->s, w->items[i].node);
	w->fill = 0;
	w->bytes = 0;
}

/* Values of no bytes wait for no age. */
static bool is_meant(struct sweep *w, struct dv_node *n, const struct dv_stat *st)
{
	const struct dv_pack_request *r = w->request;
	struct timespec now;
	if (!r)
		return true;
	clock_gettime(CLOCK_REALTIME, &now);
	if (r->older_s && (now.tv_sec < st->mtime.tv_sec ||
			   (uint64_t)(now.tv_sec - st->mtime.tv_sec) < r->older_s))
		return false;
	if (!r->match)
		return true;
	DV_AUTO_FREE char *path = malloc(DV_RECORD_PATH_MAX + 1);
	if (!path)
		return false;
	dv_node_path(w->s, n, path, DV_RECORD_PATH_MAX + 1);
	return dv_globs_match(r->match, path);
}

/* A packed value is unpacked to be packed anew. -> is it to be packed? */
static bool prepare_anew(struct sweep *w, struct dv_node *n, uint64_t *before)
{
	enum dv_anew_outcome outcome = DV_ANEW_NOT;
	unsigned tries = 0;
	dv_err err;
	do {
		err = dv_anew_unpack(w->s, n, &w->anew, before, &outcome);
	} while (dv_try_again(w->s, &call, n, &err, &tries));
	w->result->busy += !err && outcome == DV_ANEW_BUSY;
	if (err && err != -ENOENT && err != -ESTALE) {
		tell_failure(w->s, n, err);
		w->result->failed++;
		if (err != -EBADMSG && !w->first)
			w->first = err;
	}
	return !err && outcome == DV_ANEW_DONE;
}

/* Takes the reference. */
static void take(struct sweep *w, struct dv_node *n, uint64_t bytes)
{
	bool leveled = w->request && w->request->leveled, anew = false;
	uint64_t before = 0;
	w->result->seen++;
	if (leveled && dv_node_form(w->s, n) == DV_FORM_PACKED)
		anew = prepare_anew(w, n, &before);
	if (dv_node_form(w->s, n) != w->takes) {
		dv_node_unref(w->s, n);
		return;
	}
	if (w->bytes + bytes > DV_PACK_BATCH_BYTES)
		flush(w);
	w->items[w->fill++] =
		(struct dv_pack_item){.node = n,
				      .by = w->asked ? DV_PACK_BY_COMMAND : DV_PACK_BY_WALK,
				      .leveled = leveled,
				      .level = leveled ? w->request->level : 0,
				      .anew = anew,
				      .before = before};
	w->bytes += bytes;
	if (w->fill == DV_PACK_BATCH_MAX)
		flush(w);
}

static dv_err sweep_dir(struct sweep *w, struct dv_node *dir, unsigned depth);

static dv_err sweep_name(void *ctx, struct dv_node *dir, const char *name, unsigned depth)
{
	struct sweep *w = ctx;
	struct dv_node *n = NULL;
	struct dv_stat st;
	if (dv_keeper_is_ending(w->s))
		return -ECANCELED;
	if (w->first == -ENOSPC || w->first == -EDQUOT)
		return w->first;
	dv_err err = dv_store_lookup(w->s, &call, dir, name, &n, &st);
	if (err) /* -EXDEV: something is mounted there */
		return err == -ENOENT || err == -EXDEV ? 0 : err;
	if (S_ISREG(n->type) && is_meant(w, n, &st)) {
		take(w, n, st.size);
		return 0;
	}
	if (S_ISDIR(n->type))
		err = sweep_dir(w, n, depth + 1);
	dv_node_unref(w->s, n);
	return err == -ENOENT || err == -ESTALE ? 0 : err; /* removed meanwhile */
}

static dv_err sweep_dir(struct sweep *w, struct dv_node *dir, unsigned depth)
{
	if (depth > DEPTH_MAX) /* what no path reaches is left to the keeper */
		return 0;
	return dv_list_each(w->s, dir, depth, sweep_name, w);
}

/* What lies at key, "" all. */
static dv_err sweep_key(struct sweep *w, const char *key)
{
	DV_AUTO_FREE char *path = strdup(key);
	struct dv_node *dir = dv_store_root(w->s), *n = NULL;
	dv_err err = path ? 0 : -ENOMEM;
	char *at = path;
	while (!err && at) {
		char *slash = strchr(at, '/');
		if (slash)
			*slash++ = '\0';
		if (*at)
			err = strlen(at) > DV_NAME_MAX ? -ENAMETOOLONG
						       : dv_find(w->s, &call, dir, at, &n);
		if (!err && *at) {
			dv_node_unref(w->s, dir);
			dir = n;
		}
		at = slash;
	}
	if (!err && S_ISREG(dir->type)) {
		take(w, dir, 0);
		return 0;
	}
	if (!err && S_ISDIR(dir->type))
		err = sweep_dir(w, dir, 0);
	dv_node_unref(w->s, dir);
	return err;
}

static dv_err sweep(struct dv_store *s, const char *key, enum dv_form takes, bool asked,
		    const struct dv_pack_request *request, struct dv_pack_result *out)
{
	*out = (struct dv_pack_result){0};
	if (s->options.read_only)
		return -EROFS;
	bool leveled = request && request->leveled;
	if ((takes == DV_FORM_PACKED && dv_is_sealed(s)) ||
	    (leveled && dv_coding_is_diskv(&s->coding)))
		return -EMEDIUMTYPE; /* a value has no other form */
	DV_AUTO_FREE struct sweep *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->s = s;
	w->result = out;
	w->takes = takes;
	w->asked = asked;
	w->request = request;
	if (leveled) {
		dv_err err = dv_anew_begin(s, request->level, &w->anew);
		if (err)
			return err;
	}
	/* Stages without a writer come first: they are values too. A round, for who finishes the store
	 * beside it must not take an empty queue for the end of the work. */
	pthread_mutex_lock(&s->round_lock);
	dv_keeper_commit_quiet(s);
	pthread_mutex_unlock(&s->round_lock);
	dv_err err = sweep_key(w, key);
	flush(w);
	err = err ? err : w->first;
	if (!err && leveled && !out->busy && !out->failed)
		dv_anew_end(s);
	return err;
}

dv_err dv_store_pack_all(struct dv_store *s, struct dv_pack_result *out)
{
	return sweep(s, "", DV_FORM_RAW, true, NULL, out);
}

dv_err dv_store_pack(struct dv_store *s, const struct dv_pack_request *request,
		     struct dv_pack_result *out)
{
	return sweep(s, "", DV_FORM_RAW, true, request, out);
}

dv_err dv_store_unpack(struct dv_store *s, const char *key, struct dv_pack_result *out)
{
	return sweep(s, key ? key : "", DV_FORM_PACKED, true, NULL, out);
}

/* Values that were raw when their daemon died are in nobody's queue. */
void dv_pack_leftovers(struct dv_store *s)
{
	struct dv_pack_result r;
	dv_err err = sweep(s, "", DV_FORM_RAW, false, NULL, &r);
	if (err && err != -ECANCELED)
		dv_warn("not all that an ended mount left raw could be packed: %s", strerror(-err));
}
