/* SPDX-License-Identifier: MIT */
/*
 * put.h - a whole value takes its name at once: written where nobody sees it, then renamed there.
 *
 *   begin    a file of the owner folder, and a node without a name for it
 *   write    as to any raw value: space, limits and errors are those of dv_store_write()
 *   commit   renamed to the key's raw name, over whatever had it. The old value, if there was one,
 *            stays whole until then, and those who read it go on with its bytes
 *
 * The rename is that of rename.c, with its records and syncs: over a value the bytes are durable
 * before (I2); a new key has the guarantees of a plain file until it is synced. Nothing is recorded
 * before the commit: what a dead process leaves is swept with its owner folder.
 *
 * In the layouts gzip and zlib of diskv (sealed.h) what is renamed is the compressed file, which is
 * made of the written one by the first commit.
 *
 * Threads      one put by one thread at a time; any number of puts.
 */
#ifndef DV_PUT_H
#define DV_PUT_H

#include "core/store.h"

struct dv_put;

/*
 * mode: of a new value; the process's umask is applied by the kernel. A value that is replaced
 * keeps owner, mode, ACL and extended attributes, as one that is truncated and written anew; where
 * the process may not give its owner away, mode only. -EROFS; -ENOSPC and the like.
 */
DV_CHECK dv_err dv_put_begin(struct dv_store *s, mode_t mode, struct dv_put **out);

/*
 * The same of the file fd, which is linked there and not copied: fd is open for reading and writing
 * and outside the store. It keeps the attributes that it has. -EXDEV, -EPERM, -EOPNOTSUPP: it is to
 * be copied. Until the caller unlinks its other name both lead to the value. Takes fd in any case.
 */
DV_CHECK dv_err dv_put_begin_link(struct dv_store *s, int fd, struct dv_put **out);

/* -> bytes written, all, or an error. After one the put can not be committed. */
DV_CHECK ssize_t dv_put_write(struct dv_store *s, const struct dv_call *call, struct dv_put *p,
			      const void *buf, struct dv_range range);
/* Its length; what was not written is a hole. */
DV_CHECK dv_err dv_put_resize(struct dv_store *s, const struct dv_call *call, struct dv_put *p,
			      uint64_t size);

/* It gets owner, mode, ACL, extended attributes and times of fd, which is st and need not be of the
 * store: as far as they can be given. Then it keeps them. After the last write. */
DV_CHECK dv_err dv_put_dress(struct dv_store *s, struct dv_put *p, int fd,
			     const struct dv_stat *st);

enum {
	DV_PUT_NEW = 1,	 /* -EEXIST where the key has a value */
	DV_PUT_SYNC = 2, /* bytes and name are durable on return */
};
/*
 * Once. Errors leave the put uncommitted, to be tried again or ended: -EEXIST (or it is a link of the value's
 * own file), -EISDIR, -ENOENT (dir is gone), the error of an earlier write, those of dv_store_rename(). Where
 * only the sync failed the value is in its place, and the error is told.
 */
DV_CHECK dv_err dv_put_commit(struct dv_store *s, const struct dv_call *call, struct dv_put *p,
			      struct dv_node *dir, const char *name, unsigned flags);

/* Frees it; what was not committed is gone. NULL is allowed. *p is NULL afterwards. */
void dv_put_end(struct dv_store *s, struct dv_put **p);

/* Lends the node, as long as the put is there: for its attributes. */
struct dv_node *dv_put_node(struct dv_put *p);

#endif
