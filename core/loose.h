/* SPDX-License-Identifier: MIT */
/*
 * loose.h - which names have changed in a way that the power may still undo, and what must not be
 * done before it can not.
 *
 * A filesystem keeps the order of the changes of one name. Of two names, such as the raw and the
 * packed one of a key, it need not: POSIX promises nothing, and btrfs makes a new name durable by
 * the fsync of its file alone. So, where the power goes:
 *
 *   a form that was unlinked, or renamed away, could come back beside another form of the same key
 *   that was made or unlinked since: it would hide it, be taken for it, or stay there for good
 *
 *   a value that was renamed, and got another form since, could be there under both names
 *
 *   a shard directory could be gone with the value that was just renamed out of it or into it
 *
 * Who makes or removes one stored name of a key therefore asks whether another one is loose. Then
 * either the directory is synced first, or the change is made to follow the other one: through a
 * name in the owner folder that both have (the via, see dv_unlink_form in swap.h). So that, of
 * each key, what is not durable is at any time a history of one name, which the filesystem keeps
 * in order.
 *
 * Names are the store's, by directory and component: they outlive the nodes that the kernel has
 * forgotten. What another mount has changed is not known here.
 *
 * Threads   one short lock, a leaf. Bounded: past DV_LOOSE_MAX every name counts as loose until the
 * next syncfs, which the next one that asks makes; the keeper makes it before it comes to that.
 */
#ifndef DV_LOOSE_H
#define DV_LOOSE_H

#include "core/internal.h"

#define DV_LOOSE_MAX 16384u /* half of it names, half shard directories; some 300 bytes each */

enum { /* what has happened to a key */
       /* a stored name is gone (unlinked, or renamed away): which one */
       DV_LOOSE_RAW = 1,
       DV_LOOSE_PACKED = 2,
       DV_LOOSE_ASIDE = 4,
       DV_LOOSE_OTHER = 8,
       DV_LOOSE_GONE = 15,
       DV_LOOSE_MOVED = 16, /* its value came by renaming */
       DV_LOOSE_DIR = 32,   /* ..and is a directory: the paths of what is beneath it moved too */
       /* of the name "", a shard directory itself */
       DV_LOOSE_RENAMED = 64, /* a value went from it, or came to it, by renaming */
       DV_LOOSE_MADE = 128,   /* it was made */
       DV_LOOSE_PRUNED = 512, /* an earlier one of its name was removed */
       DV_LOOSE_PRUNE = 256,  /* it may be empty, and is to be removed then */
};

/* A key by its directory in the mount, the shard directory (NULL: none) and its component; "" is
 * the shard directory itself. Borrowed. */
struct dv_loose_at {
	const struct dv_node *dir;
	const char *shard;
	const char *name;
};

struct dv_loose;

DV_CHECK dv_err dv_loose_new(struct dv_loose **out);
void dv_loose_free(struct dv_loose **l);

/* `what` has happened to the key. via: the name in the owner folder that a packed form went
 * through, 0: none. Never fails: without memory every name counts as loose. */
void dv_loose_add(struct dv_store *s, const struct dv_loose_at *at, unsigned what, uint64_t via);
/* What of it the power may undo. */
unsigned dv_loose_get(struct dv_store *s, const struct dv_loose_at *at);
/* The via of the packed form that is gone, for the caller's one use; 0: none. */
uint64_t dv_loose_take_via(struct dv_store *s, const struct dv_loose_at *at);
/* `what` can not be undone any more without what followed it, or is durable; not where the key
 * changed after `until`, a number that dv_loose_changes() gave. */
void dv_loose_drop(struct dv_store *s, const struct dv_loose_at *at, unsigned what, uint64_t until);
/* How many changes there were so far. */
uint64_t dv_loose_changes(struct dv_store *s);
/* The directory was removed: its names go with it. */
void dv_loose_drop_dir(struct dv_store *s, const struct dv_node *dir, const char *shard);

/* Syncs the key's directory, whose descriptor is dirfd: what was loose in it is durable. A
 * directory that may be written but not read (O_PATH) costs a syncfs. */
DV_CHECK dv_err dv_loose_sync(struct dv_store *s, const struct dv_loose_at *at, int dirfd);
/* syncfs: nothing is loose. */
DV_CHECK dv_err dv_loose_sync_all(struct dv_store *s);
/* Syncs if any of `what` is loose. nowait: -EAGAIN then. */
DV_CHECK dv_err dv_loose_settle(struct dv_store *s, const struct dv_loose_at *at, int dirfd,
				unsigned what, bool nowait);

/* Was any directory renamed of late? */
bool dv_loose_dirs_moved(struct dv_store *s);
/* One shard directory that is to be looked at for pruning, on the heap; NULL: none. It is told
 * once. */
char *dv_loose_next_prune(struct dv_store *s);
bool dv_loose_is_empty(struct dv_store *s);
bool dv_loose_is_crowded(struct dv_store *s); /* half of the room for names is taken */

#endif
