/* SPDX-License-Identifier: MIT */
/*
 * ops_lookup.c - names to nodes, and what nodes are: LOOKUP, FORGET, GETATTR, SETATTR, READLINK,
 * STATFS.
 *
 * fi is never looked at: OPEN is answered ENOSYS, so there are no file handles.
 */
#include "fs/ops.h"
#include "fs/reply.h"
#include "fs/taken.h"

#include <limits.h>
#include <string.h>

/*
 * A node itself, or the directory that it is in: the caller has a file handle (open_by_handle_at),
 * whose node the kernel may have forgotten. To a probe the answer is that the kernel had to ask.
 */
static void lookup_by_handle(fuse_req_t req, fuse_ino_t id, bool parent)
{
	struct fs_session *fs = fuse_req_userdata(req);
	bool probe = fs_stats_is_own(&fs->stats, fs_turn.in->pid);
	struct dv_node *node = probe ? NULL : fs_nodes_get(fs->nodes, id), *dir = NULL;
	char name[256];
	struct dv_stat st;
	struct fs_op op;
	dv_err err = 0;

	if (!node) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	if (fs_op_begin(&op, req, "LOOKUP", id)) {
		if (parent)
			err = dv_node_parent(fs->store, node, &dir, name);
		if (err == 0)
			err = dv_store_getattr(fs->store, &op.call, parent ? dir : node, &st);
		if (err == 0)
			err = fs_listing_check(&op, parent ? dir : node, &st);
		fs_reply_entry(&op, err, err < 0 ? NULL : dv_node_ref(parent ? dir : node), &st);
	}
	dv_node_unref(fs->store, dir);
	dv_node_unref(fs->store, node);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct dv_node *child = NULL;
	struct dv_stat st;
	struct fs_op op;
	dv_err err;

	if (!strcmp(name, ".") || !strcmp(name, "..")) {
		lookup_by_handle(req, parent, name[1] == '.');
		return;
	}
	if (fs_control_is(parent) || fs_control_is_folder_name(parent, name)) {
		fs_control_lookup(fuse_req_userdata(req), req, parent, name);
		return;
	}
	if (!fs_op_begin(&op, req, "LOOKUP", parent))
		return;
	err = dv_store_lookup(op.fs->store, &op.call, op.node, name, &child, &st);
	if (!err)
		fs_taken_end(&(struct fs_taken){fuse_req_ctx(req)->pid, parent, name});
	fs_reply_lookup(&op, err, child, &st);
}

static void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t nlookup)
{
	struct fs_session *fs = fuse_req_userdata(req);

	if (!fs_control_is(id))
		fs_nodes_forget(fs->nodes, id, nlookup);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct fs_session *fs = fuse_req_userdata(req);

	for (size_t i = 0; i < count; i++)
		if (!fs_control_is(forgets[i].ino))
			fs_nodes_forget(fs->nodes, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct dv_stat st;
	struct fs_op op;
	dv_err err;

	if (fs_control_is(id)) {
		fs_control_getattr(fuse_req_userdata(req), req, id, false);
		return;
	}
	if (!fs_op_begin(&op, req, "GETATTR", id))
		return;
	err = dv_store_getattr(op.fs->store, &op.call, op.node, &st);
	if (!err)
		err = fs_listing_check(&op, op.node, &st);
	fs_reply_attr(&op, err, &st, !fi); /* with a file it asks for its own sake, before a read */
}

static struct timespec time_or_now(struct timespec given, bool now)
{
	if (now)
		given.tv_nsec = UTIME_NOW;
	return given;
}

/* ctime, which the kernel sends along with a writeback cache only, is the backing's business. */
static void convert_setattr(const struct stat *attr, int to_set, struct dv_setattr *set)
{
	memset(set, 0, sizeof(*set));
	if (to_set & FUSE_SET_ATTR_MODE)
		set->valid |= DV_SET_MODE;
	if (to_set & FUSE_SET_ATTR_UID)
		set->valid |= DV_SET_UID;
	if (to_set & FUSE_SET_ATTR_GID)
		set->valid |= DV_SET_GID;
	if (to_set & FUSE_SET_ATTR_SIZE)
		set->valid |= DV_SET_SIZE;
	if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW))
		set->valid |= DV_SET_ATIME;
	if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
		set->valid |= DV_SET_MTIME;
	/* libfuse 3.14 has the protocol's FATTR_KILL_SUIDGID under this name and lets it through.
	 */
	_Static_assert(FUSE_SET_ATTR_KILL_SUID == FATTR_KILL_SUIDGID, "libfuse renumbered a flag");
	/* A request that sets nothing comes before a change of the bytes by a caller who may not
	 * keep them (file_remove_privs of Linux). Its answer is what stat shows afterwards: WRITE
	 * and FALLOCATE, which clear them too, bring no mode. */
	if (!to_set || (to_set & FUSE_SET_ATTR_KILL_SUID))
		set->valid |= DV_SET_KILL_SUIDGID;
	set->mode = attr->st_mode;
	set->uid = attr->st_uid;
	set->gid = attr->st_gid;
	set->size = (uint64_t)attr->st_size;
	set->atime = time_or_now(attr->st_atim, to_set & FUSE_SET_ATTR_ATIME_NOW);
	set->mtime = time_or_now(attr->st_mtim, to_set & FUSE_SET_ATTR_MTIME_NOW);
}

static void op_setattr(fuse_req_t req, fuse_ino_t id, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct dv_setattr set;
	struct dv_stat st;
	struct fs_op op;
	dv_err err;

	convert_setattr(attr, to_set, &set);
	/* ESTALE makes open(2) and truncate(2) look the name up again. */
	if (!fi && (set.valid & DV_SET_SIZE))
		set.valid |= DV_SET_BY_NAME;
	if (fs_control_is(id)) {
		fs_control_getattr(fuse_req_userdata(req), req, id,
				   set.valid & ~(unsigned)(DV_SET_KILL_SUIDGID | DV_SET_BY_NAME));
		return;
	}
	if (!fs_op_begin(&op, req, "SETATTR", id))
		return;
	if ((set.valid & DV_SET_SIZE) && set.size > INT64_MAX)
		err = -EINVAL;
	else
		err = dv_store_setattr(op.fs->store, &op.call, op.node, &set, &st);
	fs_reply_set_attr(&op, err, &st);
}

static void op_readlink(fuse_req_t req, fuse_ino_t id)
{
	char target[PATH_MAX + 1];
	struct fs_op op;
	ssize_t len;

	if (!fs_op_begin(&op, req, "READLINK", id))
		return;
	len = dv_store_readlink(op.fs->store, &op.call, op.node, target, PATH_MAX);
	if (fs_op_failed(&op, (dv_err)(len < 0 ? len : 0)))
		return;
	target[len] = '\0';
	fs_op_end(&op);
	fuse_reply_readlink(req, target);
}

static void op_statfs(fuse_req_t req, fuse_ino_t id)
{
	struct fs_session *fs = fuse_req_userdata(req);
	struct dv_fsinfo info;
	struct statvfs st;
	dv_err err;

	(void)id; /* one store, one filesystem */
	err = dv_store_statfs(fs->store, &info);
	if (err < 0) {
		fuse_reply_err(req, err == -ENOSYS || err == -EAGAIN ? EIO : -err);
		return;
	}
	memset(&st, 0, sizeof(st));
	st.f_bsize = info.bsize;
	st.f_frsize = info.frsize ? info.frsize : info.bsize;
	st.f_blocks = info.blocks;
	st.f_bfree = info.bfree;
	st.f_bavail = info.bavail;
	st.f_files = info.files;
	st.f_ffree = st.f_favail = info.ffree;
	st.f_namemax = info.namelen;
	fuse_reply_statfs(req, &st);
}

void fs_ops_lookup_fill(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = op_lookup;
	ops->forget = op_forget;
	ops->forget_multi = op_forget_multi;
	ops->getattr = op_getattr;
	ops->setattr = op_setattr;
	ops->readlink = op_readlink;
	ops->statfs = op_statfs;
}
