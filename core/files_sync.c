/* SPDX-License-Identifier: MIT */
/* files_sync.c - fsync: what was written is durable, or that it could not be. */
#include "core/io.h"
#include "core/loose.h"
#include "core/ops.h"
#include "core/owner.h"
#include "core/place.h"
#include "core/space.h"
#include "core/value.h"

#define NAMES_MAX 16u /* of one value, that are looked at one by one */

static dv_err commit_for_fsync(struct dv_store *s, struct dv_node *n)
{
	struct dv_node *dir = NULL;
	if (!S_ISREG(n->type))
		return 0;
	dv_err err = dv_gate_shared(n, false);
	if (err)
		return err;
	bool staged = n->stage, appends = dv_stage_appends(n->stage);
	dv_gate_open(n);
	if (!staged) /* mostly: nobody in the directory is kept waiting */
		return 0;
	if (appends) /* recovery would put it in place */
		return dv_stage_promise(s, n);
	err = dv_stage_sync(s, n);
	if (err)
		return err;
	err = dv_swap_gates(s, n, false, &dir);
	if (err)
		return err;
	if (n->stage && dv_stage_error(n->stage))
		err = dv_stage_error(n->stage);
	else if (n->stage && !dir)
		err = DV_B(s, fsync, dv_stage_fd(n->stage));
	else
		err = dv_stage_commit(s, n, false);
	dv_swap_gates_open(s, n, dir);
	return err == -EBUSY
		       ? 0
		       : err; /* put aside: that file is synced, as one is that was replaced */
}

static dv_err sync_file(struct dv_store *s, struct dv_node *n, bool data_only)
{
	struct dv_file *f = NULL;
	dv_err err = dv_gate_shared(n, false);
	if (err)
		return err;
	err = S_ISDIR(n->type) ? dv_dir_file(s, n, &f) : dv_value_file(s, n, false, &f);
	uint64_t writes = n->writes;
	dv_gate_open(n);
	if (err)
		return err;
	struct dv_loose_at at = {.dir = n, .name = ""};
	if (S_ISDIR(n->type) && dv_transform_has_shards(s->transform))
		err = dv_loose_sync_all(s); /* its names are in any of the shard directories */
	else if (S_ISDIR(n->type))
		err = dv_loose_sync(s, &at, f->fd);
	else
		err = data_only ? DV_B(s, fdatasync, f->fd) : DV_B(s, fsync, f->fd);
	dv_file_unref(s, f);
	if (err || !atomic_load(&n->dirty))
		return err;
	/* Only now: who renames it over a good value must not find it clean before it is. */
	err = dv_gate_shared(n, false);
	if (err)
		return err;
	if (n->writes == writes)
		atomic_store(&n->dirty, false);
	dv_gate_open(n);
	return 0;
}

/* What lay under n's skip-th name, and was packed, is gone for good. -ESTALE: no such name. by_others: perhaps
 * another mount has packed it, and what that has removed is not known here. */
static dv_err settle_raw(struct dv_store *s, struct dv_node *n, unsigned skip, bool by_others)
{
	struct dv_node *dir = NULL;
	char name[DV_NAME_MAX + 1];
	struct dv_place p;
	dv_err err = dv_node_name(s, n, skip, &dir, name, NULL);
	if (err)
		return err;
	err = dv_place_open(s, dir, name, false, &p);
	if (!err) {
		struct dv_loose_at at = dv_place_at(&p);
		err = by_others ? dv_loose_sync(s, &at, p.dirfd)
				: dv_loose_settle(s, &at, p.dirfd, DV_LOOSE_RAW | DV_LOOSE_ASIDE,
						  false);
		dv_place_close(s, &p);
	}
	dv_node_unref(s, dir);
	return err;
}

/*
 * Of bytes that were written to a raw file and not synced the disk may have none, though the packed form has
 * them: the raw one, if the power brings it back, would be the value, as one that was changed after it was packed.
 */
static dv_err settle_packed(struct dv_store *s, struct dv_node *n)
{
	if (!S_ISREG(n->type))
		return 0;
	dv_err err = dv_gate_shared(n, false);
	if (err)
		return err;
	bool packed = n->form == DV_FORM_PACKED;
	dv_gate_open(n);
	bool by_others = packed && dv_owners_beside(s);
	if (!packed || (!by_others && dv_loose_is_empty(s)))
		return 0;
	for (unsigned skip = 0; !err && skip <= NAMES_MAX; skip++)
		err = skip < NAMES_MAX ? settle_raw(s, n, skip, by_others) : dv_loose_sync_all(s);
	return err == -ENOENT || err == -ESTALE ? 0 : err; /* those were all, or it was removed */
}

dv_err dv_store_fsync(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
		      bool data_only)
{
	unsigned tries = 0;
	int64_t since = 0;
	if (call->nowait)
		return -EAGAIN;
	dv_err err = atomic_exchange(&n->error, 0);
	if (err || s->options.read_only)
		return err;
	if (!S_ISREG(n->type) && !S_ISDIR(n->type))
		return 0; /* the kernel keeps those */
	do {
		err = commit_for_fsync(s, n);
		if (!err)
			err = sync_file(s, n, data_only);
		if (!err)
			err = dv_sync_names(s, n);
		if (!err)
			err = settle_packed(s, n);
	} while (dv_try_again(s, call, n, &err, &tries) || dv_space_wait(s, call, &err, &since));
	if (err == -EINPROGRESS)
		return err;
	return err ? dv_count_error(s, err) : 0;
}

dv_err dv_store_sync(struct dv_store *s)
{
	if (s->options.read_only)
		return 0;
	dv_err err = dv_loose_sync_all(s);
	return err ? dv_count_error(s, err) : 0;
}
