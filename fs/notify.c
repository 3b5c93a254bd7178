/* SPDX-License-Identifier: MIT */
/* notify.c - see notify.h. */
#include "fs/notify.h"

#include "fs/session.h"

#include <fuse_lowlevel.h>

void fs_notify_changed(void *self, struct dv_node *node)
{
	struct fs_session *fs = self;
	uint64_t id;

	/* Counted first, so that fs_session_close() waits for it, or it sees the end. */
	atomic_fetch_add(&fs->notices, 1);
	if (!atomic_load(&fs->ending)) {
		id = fs_nodes_id_of(fs->nodes, node);
		if (id) /* -ENOENT: the kernel has forgotten it meanwhile */
			dv_ignore(fuse_lowlevel_notify_inval_inode(fs->se, id, -1, 0));
	}
	atomic_fetch_sub(&fs->notices, 1);
}
