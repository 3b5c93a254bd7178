/* SPDX-License-Identifier: MIT */
/*
 * files_parts.c - writes that are added at the end of streams and packed values, see stage.h.
 */
#include "core/files_private.h"
#include "core/keeper.h"
#include "core/pack.h"
#include "core/tail.h"
#include "core/value.h"

dv_err dv_leave_parts(struct dv_store *s, struct dv_node *n, bool nowait, bool empty)
{
	if (nowait)
		return -EAGAIN;
	return dv_stage_appends(n->stage) ? dv_stage_commit(s, n, false)
					  : dv_stage_join(s, n, empty);
}

/* n becomes a stream, or is appended to from now on, where that may be. */
static dv_err begin_parts(struct dv_store *s, struct dv_node *n, bool nowait, bool streams)
{
	bool began = false;
	dv_err err = 0;
	if (nowait)
		return -EAGAIN;
	dv_pack_cancel(s, n);
	if (streams)
		dv_stage_stream(s, n);
	else
		err = dv_stage_extend(s, n, &began);
	if (!err && dv_stage_in_parts(n->stage))
		dv_keeper_touch(s, n); /* whatever fails from here on */
	return err;
}

dv_err dv_is_added(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
		   struct dv_range range, unsigned flags, bool *out_at_end)
{
	struct dv_stat st;
	bool append = flags & DV_WRITE_APPEND;
	dv_err err = 0;
	*out_at_end = false;
	if (s->options.read_only)
		return -EROFS;
	if (dv_stage_in_parts(n->stage)) {
		*out_at_end = (append || range.off == dv_stage_size(n->stage)) &&
			      dv_stage_has_room(s, n->stage, range.len);
		return 0;
	}
	if ((append || range.off == n->in_sequence) && dv_stage_may_stream(s, n)) {
		err = begin_parts(s, n, call->nowait, true);
	} else if (!n->stage && n->form == DV_FORM_PACKED && dv_node_has_name(s, n)) {
		err = dv_value_stat(s, n, call->nowait, &st);
		if (!err && st.size > s->limits.append_bytes && (append || range.off == st.size))
			err = begin_parts(s, n, call->nowait, false);
	}
	*out_at_end =
		!err && dv_stage_in_parts(n->stage) && dv_stage_has_room(s, n->stage, range.len);
	return err;
}

/* Takes the gate for a look, and for what is to be done before the bytes are unpacked beside the value. */
dv_err dv_before_write(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
		       struct dv_range range, unsigned flags, bool *out_added)
{
	*out_added = false;
	if (s->options.read_only)
		return -EROFS;
	dv_err err = dv_gate_exclusive(n, call->nowait);
	if (err)
		return err;
	err = dv_is_added(s, call, n, range, flags, out_added);
	if (!err && !*out_added && dv_stage_appends(n->stage))
		err = dv_leave_parts(s, n, call->nowait, false);
	dv_gate_open(n);
	return err == -ESTALE ? 0 : err; /* what comes next finds out */
}

dv_err dv_before_other(struct dv_store *s, const struct dv_call *call, struct dv_node *n)
{
	dv_err err = dv_gate_exclusive(n, call->nowait);
	if (err)
		return err;
	if (dv_stage_appends(n->stage))
		err = dv_leave_parts(s, n, call->nowait, false);
	dv_gate_open(n);
	return err == -ESTALE ? 0 : err;
}

ssize_t dv_add_gated(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
		     const void *buf, size_t len, unsigned flags)
{
	/* Who may not wait can not make the frames that are due after it. */
	if (call->nowait && dv_stage_backlog(n->stage) + len >= dv_stage_backlog_max(s))
		return -EAGAIN;
	dv_err err =
		flags & DV_WRITE_KILL_SUIDGID ? dv_kill_suid(s, call, n, dv_stage_fd(n->stage)) : 0;
	if (err)
		return err;
	uint64_t off = dv_stage_size(n->stage);
	ssize_t done = dv_stage_add(s, n, buf, len);
	size_t added = done > 0 ? (size_t)done : 0;
	dv_stage_wrote(s, n->stage, (struct dv_range){off, added},
		       done < 0	     ? (dv_err)done
		       : added < len ? -EIO
				     : 0);
	if (added == len && (flags & DV_WRITE_APPEND))
		dv_stage_wrote(s, n->stage, (struct dv_range){DV_STAGE_SOMEWHERE, 1}, 0);
	if (added)
		dv_changed(s, n);
	return done;
}
