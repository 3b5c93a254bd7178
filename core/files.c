/* SPDX-License-Identifier: MIT */
/*
 * files.c - bytes and attributes of nodes: read, write, setattr, fallocate, seek.
 *
 * A change of a raw value goes into its file; of any other, into its stage. Both are found by
 * writable().
 */
#include "core/files_private.h"

#include "core/cleanup.h"
#include "core/edit.h"
#include "core/io.h"
#include "core/keeper.h"
#include "core/meta.h"
#include "core/ops.h"
#include "core/owner.h"
#include "core/pack.h"
#include "core/packed.h"
#include "core/space.h"
#include "core/tail.h"
#include "core/value.h"

#include <limits.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#define STAGES_MAX_FRACTION                                                                        \
	2 /* of the descriptors that are kept for reuse, which is half of what the process may     \
	     have */

/* ---- reading ---- */

ssize_t dv_store_read(struct dv_store *s, const struct dv_call *call, struct dv_node *n, void *buf,
		      struct dv_range range)
{
	unsigned tries = 0;
	ssize_t got;
	dv_err err;
	if (!S_ISREG(n->type))
		return S_ISDIR(n->type) ? -EISDIR : -EINVAL;
	if (range.off > INT64_MAX || range.len > SSIZE_MAX)
		return -EINVAL;
	do {
		err = dv_gate_shared(n, call->nowait);
		if (err)
			return err;
		got = dv_value_read(s, n, buf, range, call->nowait);
		if (got == 0 && range.len && call->before_emptied)
			got = dv_value_read_before(s, n, buf, range, call->nowait);
		dv_gate_open(n);
		err = got < 0 ? (dv_err)got : 0;
	} while (dv_try_again(s, call, n, &err, &tries));
	if (err && err != -EAGAIN && err != -EINPROGRESS)
		return dv_count_error(s, err);
	if (!err)
		dv_count(s, bytes_read, (uint64_t)got);
	return err ? err : got;
}

ssize_t dv_store_readlink(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			  char *buf, size_t size)
{
	if (!S_ISLNK(n->type))
		return -EINVAL;
	unsigned tries = 0;
	ssize_t len;
	dv_err err;
	do {
		struct dv_place p;
		const char *stored;
		err = dv_gate_shared(n, call->nowait);
		if (err)
			return err;
		err = dv_place_of(s, n, 0, &p, &stored);
		len = err ? err : DV_B(s, readlink, p.dirfd, stored, buf, size);
		if (!err)
			dv_place_of_close(s, &p);
		dv_gate_open(n);
		err = len == -ENOENT ? -ESTALE : len < 0 ? (dv_err)len : 0;
	} while (dv_try_again(s, call, n, &err, &tries));
	return err ? err : len;
}

dv_err dv_store_seek(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
		     uint64_t off, int whence, uint64_t *out)
{
	struct dv_stat st;
	struct dv_file *f = NULL;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	dv_err err = dv_store_getattr(s, call, n, &st);
	if (err)
		return err;
	if (off >= st.size)
		return -ENXIO;
	err = dv_gate_shared(n, call->nowait);
	if (err)
		return err;
	if (dv_stage_in_parts(n->stage)) { /* as a packed one */
		*out = whence == SEEK_DATA ? off : st.size;
	} else if (n->stage) {
		err = DV_B(s, seek, dv_stage_fd(n->stage), off, whence, out);
	} else if (n->form ==
		   DV_FORM_PACKED) { /* sparse values are not packed: all of it is data */
		*out = whence == SEEK_DATA ? off : st.size;
	} else {
		err = dv_value_file(s, n, false, &f);
		if (!err)
			err = DV_B(s, seek, f->fd, off, whence, out);
		dv_file_unref(s, f);
	}
	dv_gate_open(n);
	return err;
}

/* ---- writing ---- */

/*
 * n's raw file. Opened by the first change, who asks whether a mount has died with bytes pending that are to come
 * before that: once it is locked, since who streams has it locked.
 */
static dv_err raw_file(struct dv_store *s, struct dv_node *n, struct dv_file **out)
{
	*out = dv_node_file(s, n, true);
	if (*out)
		return 0;
	dv_err err = dv_value_file(s, n, true, out);
	if (err)
		return err;
	err = dv_owners_dead_before(s, n);
	if (err != -EAGAIN) /* what can not be told keeps nobody away */
		return 0;
	dv_node_drop_file(s, n);
	dv_file_unref(s, *out);
	*out = NULL;
	return err;
}

/* The descriptor that changes of n's bytes go to. Gate exclusive. *file may be NULL (a stage). */
static dv_err writable(struct dv_store *s, struct dv_node *n, bool nowait, int *fd,
		       struct dv_file **file)
{
	*file = NULL;
	if (s->options.read_only)
		return -EROFS;
	dv_pack_cancel(s, n);
	if (dv_stage_in_parts(n->stage)) {
		dv_err err = dv_leave_parts(s, n, nowait, false);
		if (err)
			return err;
	}
	n->in_sequence = DV_NOT_IN_SEQUENCE;
	if (!n->stage && n->form == DV_FORM_PACKED) {
		if (nowait && !dv_edit_is_quick(s, n))
			return -EAGAIN;
		dv_err err = dv_stage_begin(s, n, false);
		if (err)
			return err;
		if (dv_node_has_name(s, n))
			dv_keeper_touch(s, n);
		else
			dv_stage_drop(s, n); /* nothing to be committed: the stage is its file */
	}
	if (n->stage) {
		*fd = dv_stage_fd(n->stage);
		return 0;
	}
	dv_err err = raw_file(s, n, file);
	if (!err)
		*fd = (*file)->fd;
	return err;
}

/* In what the bytes went to, and in the old object, whose attributes a value with several links
 * keeps. */
dv_err dv_kill_suid(struct dv_store *s, const struct dv_call *call, struct dv_node *n, int fd)
{
	struct dv_file *old = NULL;
	dv_err err = dv_meta_kill_suid(s, fd, call);
	if (err || !n->stage || !dv_node_has_name(s, n))
		return err;
	err = dv_value_handle(s, n, &old);
	if (!err)
		err = dv_meta_kill_suid(s, old->fd, call);
	dv_file_unref(s, old);
	return err == -ESTALE ? 0 : err; /* replaced by others: the commit will tell */
}

struct writing {
	const void *buf;
	struct dv_range range;
	unsigned flags;
	bool shared_end; /* an append to the store's own file: another mount may do it too */
	bool again;	 /* after an error of space it is made again: no part of it stays */
	size_t done;	 /* bytes of it that are written, whatever is returned */
};

static dv_err write_bytes(struct dv_store *s, int fd, struct writing *w)
{
	const char *buf = w->buf;
	struct dv_stat st = {.size = DV_STAGE_SOMEWHERE};
	dv_err err = 0;
	bool append = w->flags & DV_WRITE_APPEND, look = w->again && w->range.len > s->fsinfo.bsize;
	if (append || look)
		err = DV_B(s, stat, fd, "", &st);
	if (append)
		w->range.off = st.size;
	while (!err && w->done < w->range.len) {
		size_t len = w->range.len - w->done;
		ssize_t got = w->shared_end ? DV_B(s, append, fd, buf + w->done, len)
					    : DV_B(s, pwrite, fd, buf + w->done, len,
						   w->range.off + w->done);
		if (got <= 0)
			err = got ? (dv_err)got : -EIO;
		else
			w->done += (size_t)got;
	}
	/* To make room others are packed, which needs some: the part is given back. */
	if (dv_space_is_short(err) && w->done && look && !w->shared_end &&
	    w->range.off >= st.size && DV_B(s, truncate, fd, st.size) == 0)
		w->done = 0;
	return err;
}

static dv_err write_gated(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			  struct writing *w)
{
	int fd;
	struct dv_file *file;
	bool at_end;
	dv_err err = dv_is_added(s, call, n, w->range, w->flags, &at_end);
	if (err)
		return err;
	if (at_end) {
		ssize_t added = dv_add_gated(s, call, n, w->buf, (size_t)w->range.len, w->flags);
		w->done = added > 0 ? (size_t)added : 0;
		return added < 0 ? (dv_err)added : 0;
	}
	uint32_t in_sequence = n->in_sequence;
	err = writable(s, n, call->nowait, &fd, &file);
	if (err)
		return err;
	if (w->flags & DV_WRITE_KILL_SUIDGID)
		err = dv_kill_suid(s, call, n, fd);
	w->shared_end = (w->flags & DV_WRITE_APPEND) && !n->stage; /* a stage is ours */
	if (!err)
		err = write_bytes(s, fd, w);
	dv_file_unref(s, file);
	if (w->range.off == in_sequence && !err)
		n->in_sequence = dv_sequence(in_sequence, w->done);
	if (n->stage)
		dv_stage_wrote(s, n->stage, (struct dv_range){w->range.off, w->done}, err);
	if (n->stage && (w->flags & DV_WRITE_APPEND) && !err)
		dv_stage_wrote(s, n->stage, (struct dv_range){DV_STAGE_SOMEWHERE, 1}, 0);
	if (w->done) {
		dv_changed(s, n);
		dv_space_wrote(s, w->done);
	}
	return err;
}

/*
 * A stage holds a descriptor. Who begins them faster than the keeper commits, which waits for the
 * disk, helps it, before the process has no descriptor left. Those with a writer stay.
 *
 * One at a time: who commits asks the kernel for writers, which may ask this process for attributes first, so of
 * the threads that could answer no two wait for that. The others come again when he is done, or go on after all.
 */
static dv_err make_room_for_stage(struct dv_store *s, const struct dv_call *call)
{
	unsigned pending = (unsigned)atomic_load(&s->counters.pending);
	if (pending < s->file_max / STAGES_MAX_FRACTION)
		return 0;
	if (call->nowait)
		return -EAGAIN;
	if (pthread_mutex_trylock(&s->help_lock) == 0) {
		dv_keeper_commit_quiet(s);
		pthread_mutex_unlock(&s->help_lock);
		dv_space_tell(s);
	} else if (call->parks && !call->waited_ns) {
		return -EINPROGRESS;
	} else if (pending >= s->file_max) {
		dv_wait_for_others();
	}
	return 0;
}

/* Before a change of n's bytes, no gate held: what may take long is done without it. w: it is a write. */
static dv_err before_change(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			    const struct writing *w)
{
	bool begun, added;
	if (dv_node_form(s, n) != DV_FORM_PACKED)
		return 0;
	dv_err err = make_room_for_stage(s, call);
	if (!err)
		err = w ? dv_before_write(s, call, n, w->range, w->flags, &added)
			: dv_before_other(s, call, n);
	if (err || call->nowait || (w && added))
		return err;
	err = dv_edit_prepare(s, call, n, &begun);
	if (begun)
		dv_keeper_touch(s, n);
	return err;
}

/* A write failed before it came to its bytes: a replacement lacks them all the same. */
static void note_unwritten(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			   const struct writing *w, dv_err err)
{
	bool append = w->flags & DV_WRITE_APPEND;
	if (dv_gate_exclusive(n, call->nowait))
		return;
	if (n->stage)
		dv_stage_wrote(s, n->stage,
			       (struct dv_range){append ? DV_STAGE_SOMEWHERE : w->range.off, 0},
			       err);
	dv_gate_open(n);
}

ssize_t dv_store_write(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
		       const void *buf, struct dv_range range, unsigned flags)
{
	unsigned tries = 0;
	int64_t since = 0;
	struct writing w;
	dv_err err;
	if (!S_ISREG(n->type))
		return S_ISDIR(n->type) ? -EISDIR : -EINVAL;
	if (range.len > SSIZE_MAX || range.off > (uint64_t)INT64_MAX - range.len)
		return -EFBIG;
	do {
		w = (struct writing){.buf = buf, .range = range, .flags = flags};
		w.again = dv_space_may_help(s, call, &since);
		err = dv_space_admit(s, call, range.len, &since);
		if (!err)
			err = before_change(s, call, n, &w);
		if (!err)
			err = dv_gate_exclusive(n, call->nowait);
		if (!err) {
			err = write_gated(s, call, n, &w);
			uint64_t backlog = dv_stage_backlog(n->stage);
			dv_gate_open(n);
			dv_stage_relieve(s, n, backlog, call->nowait);
		}
		if (w.done && (flags & DV_WRITE_APPEND)) /* once more would append it twice */
			break;
	} while (dv_try_again(s, call, n, &err, &tries) || dv_space_wait(s, call, &err, &since));
	if (err == -EAGAIN || err == -EINPROGRESS)
		return err; /* it is made again, whole */
	if (err && !w.done) {
		note_unwritten(s, call, n, &w, err);
		return dv_count_error(s, err);
	}
	dv_count(s, bytes_written, w.done);
	return (ssize_t)w.done;
}

/* ---- size ---- */

/* A good value is truncated to nothing: it stays in the store until the new one is whole. */
static dv_err truncate_to_nothing(struct dv_store *s, struct dv_node *n, bool nowait, bool *done)
{
	struct dv_stat st;
	*done = false;
	dv_err err = dv_value_stat(s, n, nowait, &st);
	if (err || st.size == 0)
		return err;
	if (dv_stage_in_parts(n->stage)) {
		bool was_stream = !dv_stage_appends(n->stage);
		err = dv_leave_parts(s, n, nowait, true);
		if (err)
			return err;
		if (was_stream) {
			dv_stage_set_replacement(s, n);
			dv_stage_emptied(s, n->stage);
			*done = true;
			return 0;
		}
	}
	if (n->stage) {
		err = DV_B(s, truncate, dv_stage_fd(n->stage), 0);
		dv_stage_set_replacement(s, n);
		dv_stage_emptied(s, n->stage);
		*done = !err;
		return err;
	}
	/* Several links, or one that is not known here: every name shows the truncation at once, as in any
	 * filesystem. One that has none left gets an object of its own: another mount may serve this one yet. */
	bool known = st.nlink == 0 || dv_node_has_name(s, n);
	if (n->form == DV_FORM_RAW && (st.nlink > 1 || !known))
		return 0;
	dv_pack_cancel(s, n);
	err = dv_stage_begin(s, n, true);
	if ((err == -EPERM || err == -EACCES) && n->form == DV_FORM_RAW)
		return 0; /* its owner can not be kept: in place */
	if ((err == -ENOSPC || err == -EDQUOT) && st.nlink == 0 && n->form == DV_FORM_RAW)
		return 0;
	*done = !err;
	if (!err && dv_node_has_name(s, n)) {
		dv_keeper_touch(s, n); /* whatever fails from here on */
	} else if (!err) {
		dv_stage_drop(s, n);
		*done = false;
	}
	return err;
}

/* Truncated to nothing it is not unpacked. */
static dv_err before_set_size(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			      uint64_t size)
{
	return size ? before_change(s, call, n, NULL) : make_room_for_stage(s, call);
}

static dv_err set_size(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
		       const struct dv_setattr *set)
{
	int fd;
	struct dv_file *file;
	bool done = false;
	if (set->size > INT64_MAX)
		return -EFBIG;
	if (s->options.read_only)
		return -EROFS;
	if ((set->valid & DV_SET_BY_NAME) && (atomic_load(&n->others) & DV_OTHERS_TOOK) &&
	    !dv_node_has_name(s, n))
		return -ESTALE;
	dv_err err = set->size == 0 ? truncate_to_nothing(s, n, call->nowait, &done) : 0;
	if (!err && done)
		fd = dv_stage_fd(n->stage), file = NULL;
	else if (!err)
		err = writable(s, n, call->nowait, &fd, &file);
	if (err)
		return err;
	if (!done)
		err = DV_B(s, truncate, fd, set->size);
	if (!err && (set->valid & DV_SET_KILL_SUIDGID))
		err = dv_kill_suid(s, call, n, fd);
	dv_file_unref(s, file);
	if (!err)
		dv_changed(s, n);
	if (!err && set->size == 0 && n->stage) /* also where it had no bytes */
		dv_stage_is_empty(s, n->stage);
	if (!err && set->size == 0)
		n->in_sequence = 0;
	else if (!err) /* bytes are left */
		dv_told_ends(n);
	return err;
}

/* ---- attributes ---- */

/* The bytes are about to be changed by a caller who may not keep suid. */
static dv_err kill_suid_before(struct dv_store *s, const struct dv_call *call, struct dv_node *n)
{
	struct dv_file *f = NULL;
	if (call->uid == 0 || !S_ISREG(n->type))
		return 0;
	dv_err err = n->stage ? 0 : dv_value_handle(s, n, &f);
	if (!err)
		err = dv_kill_suid(s, call, n, n->stage ? dv_stage_fd(n->stage) : f->fd);
	dv_file_unref(s, f);
	return err;
}

dv_err dv_store_setattr(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			const struct dv_setattr *set, struct dv_stat *out)
{
	unsigned tries = 0;
	int64_t since = 0;
	dv_err err;
	if (s->options.read_only)
		return -EROFS;
	if ((set->valid & DV_SET_SIZE) && !S_ISREG(n->type))
		return S_ISDIR(n->type) ? -EISDIR : -EINVAL;
	do {
		err = set->valid & DV_SET_SIZE ? before_set_size(s, call, n, set->size) : 0;
		if (err)
			continue;
		err = dv_gate_exclusive(n, call->nowait);
		if (err)
			return err;
		err = set->valid & DV_SET_SIZE ? set_size(s, call, n, set) : 0;
		bool emptied = !err && (set->valid & DV_SET_SIZE) && set->size == 0;
		if (!err &&
		    (set->valid & (DV_SET_UID | DV_SET_GID))) /* the daemon's would keep it */
			err = kill_suid_before(s, call, n);
		if (!err &&
		    (set->valid & ~(unsigned)(DV_SET_SIZE | DV_SET_KILL_SUIDGID | DV_SET_BY_NAME)))
			err = dv_set_others(s, n, set, call->nowait);
		else if (!err && set->valid == DV_SET_KILL_SUIDGID)
			err = kill_suid_before(s, call, n);
		if (!err)
			err = dv_value_stat(s, n, call->nowait, out);
		if (!err)
			dv_look_again(n, set, out);
		else if (emptied &&
			 n->stage) /* an error is told: as if the bytes that follow failed */
			dv_stage_wrote(s, n->stage, (struct dv_range){0}, err);
		dv_gate_open(n);
	} while (dv_try_again(s, call, n, &err, &tries) || dv_space_wait(s, call, &err, &since));
	return err && err != -EAGAIN && err != -EINPROGRESS ? dv_count_error(s, err) : err;
}

/* ---- allocation ---- */

dv_err dv_store_fallocate(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			  int mode, struct dv_range range)
{
	const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
	unsigned tries = 0;
	int64_t since = 0;
	dv_err err;
	if (!S_ISREG(n->type))
		return S_ISDIR(n->type) ? -EISDIR : -ENODEV;
	if (mode & ~known)
		return -EOPNOTSUPP;
	if (range.len == 0)
		return -EINVAL;
	if (range.off > (uint64_t)INT64_MAX - range.len)
		return -EFBIG;
	do {
		int fd;
		struct dv_file *file;
		err = before_change(s, call, n, NULL);
		if (err)
			continue;
		err = dv_gate_exclusive(n, call->nowait);
		if (err)
			return err;
		err = writable(s, n, call->nowait, &fd, &file);
		if (!err) {
			err = DV_B(s, fallocate, fd, mode, range.off, range.len);
			if (!err && call->uid != 0) /* FALLOCATE has no flag that would tell */
				err = dv_kill_suid(s, call, n, fd);
			dv_file_unref(s, file);
			dv_changed(s, n);
		}
		dv_gate_open(n);
	} while (dv_try_again(s, call, n, &err, &tries) || dv_space_wait(s, call, &err, &since));
	return err && err != -EAGAIN && err != -EINPROGRESS ? dv_count_error(s, err) : err;
}

dv_err dv_store_statfs(struct dv_store *s, struct dv_fsinfo *out)
{
	dv_err err = DV_B(s, fsinfo, s->rootfd, out);
	if (!err)
		out->namelen = DV_NAME_MAX;
	return err;
}
