/* SPDX-License-Identifier: MIT */
/*
 * store.h - the store: keys, values and directories as a filesystem sees them, without FUSE.
 *
 * This is the public door of core/: fs/ and the command line use this header, error.h, log.h and
 * backing.h's dv_stat, nothing else. It orders calls of the layers below; what a value is (raw,
 * packed, being replaced) never shows here.
 *
 * Nodes       A dv_node is one object of the store that somebody uses: a value, directory, symbolic
 *             link or special file, however many names it has. Functions that return a node lend a
 *             reference that the caller gives back with dv_node_unref(). A node stays usable after
 *             its last name is gone (unlinked, renamed over).
 * Threads     Every function may be called from any thread at once.
 * Waiting     A call with nowait set never waits for a disk, a codec or another thread where it can
 *             know: it answers -EAGAIN with nothing changed, and is made again without nowait by a
 *             thread that may wait.
 * Errors      0 or -errno; -EBADMSG where stored bytes are corrupt.
 * Lock order  the keeper's round and batch < gates of directories < gates of values < a list,
 *             a directory descriptor being listed < the journal < short locks (names, descriptors,
 *             facts, queue, hooks). Gates are per node and held across I/O; short locks are not.
 */
#ifndef DV_STORE_H
#define DV_STORE_H

#include "core/backing.h"
#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dv_plugin;
struct dv_store;
struct dv_node;

/* Who calls, and whether the call may wait. Borrowed for the call. */
struct dv_call {
	uid_t uid;
	gid_t gid;
	mode_t umask; /* applied to modes of new objects unless the directory has a default ACL */
	bool nowait;
	/*
	 * With parks a call does not wait for what may take seconds (space, a large value being
	 * unpacked) either: it answers -EINPROGRESS and is made again, whole, when the hook `retry`
	 * was called, or after a second. Bytes of a write may be there already, as after any that
	 * is cut short. waited_ns: since it was first made.
	 */
	bool parks;
	int64_t waited_ns;
	/*
	 * Of a read: the caller (the kernel) asks for no bytes past the size that it knows. Where there are none,
	 * since the value was just emptied, it has not heard of that yet, and would put zeros in their place: it
	 * gets those of before.
	 */
	bool before_emptied;
	/* Is the caller a member of gid by a supplementary group? NULL: of none. */
	bool (*in_group)(const struct dv_call *call, gid_t gid);
	const void *self; /* the driver's, for in_group */
};

struct dv_range {
	uint64_t off, len;
};

/* ---- making and opening ---- */

struct dv_init_options {
	const char *transform;		/* NULL: path */
	const struct dv_plugin *plugin; /* in place of transform (transform.h); NULL: none */
	const char *compress;		/* NULL: zstd:3 */
	uint32_t frame_size;		/* 0: 128 KiB */
	const char *nopack;		/* patterns of keys that stay raw (globs.h); NULL: none */
	const char *layout;		/* "diskv..." (coding.h); NULL: our own */
	const void *dict;		/* of diskv:zlib; NULL: none */
	size_t dict_len;
	bool adopt;	 /* files are in it already */
	bool decode_zst; /* with adopt: each *.zst is served as its content */
	bool keep_zst;	 /* with adopt: each *.zst is renamed, and served as the file it is */
};

/*
 * Makes path a store. The folder is created where it is missing. why[] gets one sentence that says
 * what is wrong and what to do. -EEXIST it is a store already; -ENOTEMPTY it holds files and adopt
 * is not set; -EINVAL an option.
 */
DV_CHECK dv_err dv_store_init(struct dv_backing backing, const char *path,
			      const struct dv_init_options *options, char *why, size_t why_size);

/*
 * Gives a store that nobody has open another transform: renames its files (reshard.h). An interrupted one is
 * gone on with. *out_count gets how many values there are. -EINVAL: refused or undone, why[] says what can
 * not be; -EBUSY. On other errors it is to be run again.
 */
struct dv_store_options;
struct dv_reshard_request {
	const char *transform;		/* the new one */
	const struct dv_plugin *plugin; /* in place of that; NULL: none */
	/* How the store is opened first, with the plugin that it has so far; NULL: as it is. */
	const struct dv_store_options *options;
};
DV_CHECK dv_err dv_store_reshard(struct dv_backing backing, const char *path,
				 const struct dv_reshard_request *request, uint64_t *out_count,
				 char *why, size_t why_size);

struct dv_store_hooks {
	void *self;
	/* Does a process hold the node open for writing (descriptor or shared mapping)? 1 yes, 0
	 * no, -errno unknown: the store then goes by quiet time. Called without any gate held, from the
	 * store's own threads, and from one caller's at most, so that others can answer what it leads
	 * to. NULL: no other writer exists but callers in progress. */
	int (*has_writer)(void *self, struct dv_node *node);
	/* The node's attributes are others now, not by a caller's doing: st_blocks by packing; size
	 * and times where a failed replacement was dropped. May be called with the node's gate
	 * held. NULL: nobody wants to know. */
	void (*changed)(void *self, struct dv_node *node);
	/* Calls that were answered -EINPROGRESS may go on now. No gate is held. NULL: nobody parks
	 * any. */
	void (*retry)(void *self);
};

#define DV_BEAT_MS 20000 /* of a mount */

struct dv_store_options {
	uint64_t cache_bytes; /* 0: 64 MiB */
	unsigned settle_ms;   /* quiet time before packing */
	unsigned threads;     /* for packing; 0: as many as processors */
	bool read_only;
	bool noatime;	 /* reading moves no time of access, where the daemon may choose; implied by
			    read_only */
	bool background; /* start the thread that commits and packs; without it only dv_store_run()
			    and close do */
	const char *transform;		/* NULL, or must be the store's own: else -EINVAL */
	const struct dv_plugin *plugin; /* the store's, as long as it is open; NULL: none */
	const char *compress;		/* NULL: the store's own */
	uint32_t frame_size;		/* 0: the store's own */
	const char *nopack;		/* patterns (globs.h) beside the store's own; NULL: none */
	const char *mountpoint;		/* told to others in the owner file; NULL: none */
	uint64_t gated_bytes; /* a packed value of so many plain bytes is unpacked with its gate
				   held; 0: 4 MiB (edit.h) */
	const char *boot_id;  /* NULL: the kernel's own; for tests of recovery */
	const char *host_id;  /* NULL: the machine's own; for tests of several hosts */
	/* How often other hosts are told that this process lives; 0: never, for what ends soon.
	 * They take one for dead that they have not heard of for three beats, or for a minute. */
	unsigned beat_ms;
	bool resharding; /* by dv_store_reshard() alone */
	bool shared;	 /* other hosts may have the store open too; nothing is packed then */
	/* For tests, 0: as in stage.h. UINT64_MAX: never. */
	uint64_t stream_bytes, append_bytes, segment_bytes;
	uint64_t frames_max; /* for tests, 0: as many as a layout holds (internal.h) */
	struct dv_store_hooks hooks;
};

/* -ENOENT missing; -ENOTDIR; -EINVAL not a store, other transform; -EPROTONOSUPPORT newer format;
 * -EACCES; -EBUSY another host has it open. why[] as above. Recovers what dead owners left (unless
 * read_only). */
DV_CHECK dv_err dv_store_open(struct dv_backing backing, const char *path,
			      const struct dv_store_options *options, struct dv_store **out,
			      char *why, size_t why_size);

/* Commits everything pending and stops the threads, then frees the store, whatever it returns. All
 * node references must be given back before but the root's. The first error of what could not be
 * finished is returned; that work stays recorded in the store. *left gets how many (may be NULL).
 */
dv_err dv_store_close(struct dv_store **store, unsigned *left);

/* Without `background`: one round of what the background thread does. now: packs regardless of
 * settle. -> number of values still waiting. */
int dv_store_run(struct dv_store *s, bool now);

/* The hook may be set once nodes can be probed (after mounting). */
void dv_store_set_hooks(struct dv_store *s, const struct dv_store_hooks *hooks);

struct dv_pack_result {
	uint64_t seen, packed, left_raw, busy, failed;
	uint64_t plain_bytes, stored_bytes; /* of what was packed */
	uint64_t anew, bytes_before;	    /* of it: packed before, and what all of it took then */
};
/* Which values are packed, and how. */
struct dv_pack_request {
	bool leveled;	   /* packed ones too, with this level, and frames of ours */
	int level;	   /* DV_LEVEL_MIN to DV_LEVEL_MAX */
	uint64_t older_s;  /* whose mtime is so long ago; 0: all */
	const char *match; /* a pattern (globs.h) of keys; NULL: all */
};
/* As dv_store_pack_all(), of these. -EMEDIUMTYPE: leveled, in a layout where values have one form. One
 * that is interrupted is gone on with by the same request. */
DV_CHECK dv_err dv_store_pack(struct dv_store *s, const struct dv_pack_request *request,
			      struct dv_pack_result *out);
/* Commits what is pending and has no writer, packs every eligible value of the store, returns when
 * that is durable. First error. */
DV_CHECK dv_err dv_store_pack_all(struct dv_store *s, struct dv_pack_result *out);

/*
 * Makes packed values raw, equal bytes, with their owner, mode, times and attributes; durable on
 * return. They stay so until they change or dv_store_pack_all(). key: a value, or a directory and
 * all below it; NULL: all. out: packed counts what was unpacked, left_raw what keeps its form
 * (several links, an owner that can not be kept), plain_bytes what was unpacked; -EBADMSG of single
 * values is counted in failed only. First error.
 */
DV_CHECK dv_err dv_store_unpack(struct dv_store *s, const char *key, struct dv_pack_result *out);

/* Commits what is pending and has no writer. */
void dv_store_commit(struct dv_store *s);
/* Commits everything pending, writers or not. */
DV_CHECK dv_err dv_store_finish(struct dv_store *s);

/* ---- facts ---- */

bool dv_store_has_dirs(
	const struct dv_store *s); /* may the mount have directories, links, special files? */
bool dv_store_lists_in_order_of_backing(
	const struct dv_store *s); /* list cookies survive without a list handle */
/* Does a list with a handle give keys in their order, bytewise? */
bool dv_store_keeps_order(const struct dv_store *s);
/* The order of its keys: bytewise, or a plugin's own. No two are equal. */
int dv_store_compare(const struct dv_store *s, const char *a, const char *b);
DV_CHECK dv_err dv_store_statfs(struct dv_store *s, struct dv_fsinfo *out);

/* Counters; monotonic but for the last group. */
struct dv_store_stats {
	uint64_t frames_decoded, frames_encoded;
	uint64_t pieces_decoded; /* of what can be decoded from its start only: 128 KiB each */
	uint64_t bytes_read, bytes_written;  /* plain, by callers */
	uint64_t packed, unpacked, replaced; /* values */
	uint64_t pack_refused;		     /* incompressible, sparse, several links */
	uint64_t streamed;		     /* values that were packed while they were written */
	uint64_t copied;		     /* values that were made of another one's frames */
	uint64_t appended;		     /* times bytes were added to a packed value */
	uint64_t joined; /* streams that went on raw, written elsewhere than at their end */
	uint64_t errors_corrupt, errors_io, errors_space, errors_other;
	uint64_t recovered, put_aside;
	uint64_t left_pending; /* by ended mounts, as it was when a read-only one was opened */
	uint64_t cache_hits, cache_misses, cache_evictions;
	uint64_t twins; /* K beside a foreign K.zst, as far as they were met: in listings, by
			   packing */
	uint64_t nodes, open_fds, pending, waiting, cache_bytes, cache_entries;
	uint64_t decoder_bytes; /* of decoders that stand in foreign files, taken off the cache's */
	bool read_only;
};
void dv_store_stats(struct dv_store *s, struct dv_store_stats *out);

/* ---- nodes ---- */

struct dv_node *dv_store_root(struct dv_store *s); /* lends a new reference */
struct dv_node *dv_node_ref(struct dv_node *n);
void dv_node_unref(struct dv_store *s, struct dv_node *n); /* NULL is allowed */
/* Nobody uses n for now, but may again: its descriptor is closed. -> false: no name leads to it, so
 * that its references alone keep what it was. */
bool dv_node_rest(struct dv_store *s, struct dv_node *n);
uint64_t dv_node_ino(const struct dv_node *n); /* st_ino: stable over packing and remounts */
mode_t dv_node_type(const struct dv_node *n);  /* S_IFMT part */
/* A number for the caller's use (the driver's own record), 0 at first; the caller's lock. */
uint32_t *dv_node_cookie(struct dv_node *n);
/* One of its paths in the mount, "" where none is known or it does not fit: for logs and the writer
 * probe. No leading slash. */
void dv_node_path(struct dv_store *s, struct dv_node *n, char *buf, size_t buf_size);

/* One of its names: *out_dir lends a reference. -ESTALE: it has none. */
DV_CHECK dv_err dv_node_parent(struct dv_store *s, struct dv_node *n, struct dv_node **out_dir,
			       char name[256]);

DV_CHECK dv_err dv_store_lookup(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
				const char *name, struct dv_node **out, struct dv_stat *out_stat);
/* st_size is the plain size, st_blocks what is stored. */
DV_CHECK dv_err dv_store_getattr(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
				 struct dv_stat *out);

/*
 * May the names in directory n, of which st is told now, be others than when it was told last, while its
 * mtime is the same? A form that is swapped puts the mtime back (P4), over that of a name which others
 * make or take at that moment too. Who keeps listings by the mtime drops them; told: it does so now.
 */
bool dv_store_dir_moved(struct dv_node *n, const struct dv_stat *st, bool told);

/*
 * Who keeps bytes of values by their mtimes is told st; kept: and is known to have taken that, or keeps none. Others
 * may have written bytes and put the mtime back; the ctime then tells: before st is told the bytes are to go
 * where they may differ. After dv_store_setattr() the mtime says nothing of bytes that others changed
 * before: where that may be so, they have moved.
 */
void dv_store_told(struct dv_node *n, const struct dv_stat *st, bool kept);
bool dv_store_is_told(const struct dv_node *n, const struct dv_stat *st);
bool dv_store_bytes_differ(const struct dv_node *n, const struct dv_stat *st);
/* What was told was not taken: the bytes may have moved since any time before. */
void dv_store_told_nothing(struct dv_node *n);
bool dv_store_bytes_moved(const struct dv_node *n);

enum { /* dv_setattr.valid */
       DV_SET_MODE = 1,
       DV_SET_UID = 2,
       DV_SET_GID = 4,
       DV_SET_SIZE = 8,
       DV_SET_ATIME = 16,
       DV_SET_MTIME = 32,
       DV_SET_BY_NAME = 128,	 /* with DV_SET_SIZE: the caller came by name; -ESTALE where others
				    have replaced the value, so that it looks the name up again */
       DV_SET_KILL_SUIDGID = 64, /* with DV_SET_SIZE or alone: clears suid, and sgid where
				    group-executable; alone not for root, who keeps them */
};
struct dv_setattr {
	unsigned valid;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	uint64_t size;
	struct timespec atime, mtime; /* tv_nsec may be UTIME_NOW */
};
DV_CHECK dv_err dv_store_setattr(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
				 const struct dv_setattr *set, struct dv_stat *out);

/* ---- names ---- */

/* Regular and special files; mode carries the type. -EEXIST; -EPERM: this transform has no such
 * objects. */
DV_CHECK dv_err dv_store_mknod(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
			       const char *name, mode_t mode, dev_t rdev, struct dv_node **out,
			       struct dv_stat *out_stat);
DV_CHECK dv_err dv_store_mkdir(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
			       const char *name, mode_t mode, struct dv_node **out,
			       struct dv_stat *out_stat);
DV_CHECK dv_err dv_store_symlink(struct dv_store *s, const struct dv_call *call, const char *target,
				 struct dv_node *dir, const char *name, struct dv_node **out,
				 struct dv_stat *out_stat);
DV_CHECK dv_err dv_store_link(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			      struct dv_node *dir, const char *name, struct dv_stat *out_stat);
DV_CHECK dv_err dv_store_unlink(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
				const char *name);
DV_CHECK dv_err dv_store_rmdir(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
			       const char *name);
/* flags: 0, RENAME_NOREPLACE, RENAME_EXCHANGE; others -EINVAL. */
DV_CHECK dv_err dv_store_rename(struct dv_store *s, const struct dv_call *call,
				struct dv_node *olddir, const char *oldname, struct dv_node *newdir,
				const char *newname, unsigned flags);
/* -> length, not NUL terminated */
DV_CHECK ssize_t dv_store_readlink(struct dv_store *s, const struct dv_call *call,
				   struct dv_node *n, char *buf, size_t size);

/* ---- bytes ---- */

/* -> bytes read, 0 at the end. May read less than asked for only at the end. */
DV_CHECK ssize_t dv_store_read(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			       void *buf, struct dv_range range);

enum {
	DV_WRITE_APPEND = 1, /* at the true end; range.off is ignored */
	DV_WRITE_KILL_SUIDGID = 2,
};
/* -> bytes written, all of them or a shorter count before an error. */
DV_CHECK ssize_t dv_store_write(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
				const void *buf, struct dv_range range, unsigned flags);
/*
 * Copies range of `from` to offset to_off of `to`, where that is the whole of a packed value and `to`
 * is empty: as it is stored, but for what is less than a frame at its end. -EOPNOTSUPP: it is to be
 * read and written.
 */
DV_CHECK ssize_t dv_store_copy(struct dv_store *s, const struct dv_call *call, struct dv_node *from,
			       struct dv_range range, struct dv_node *to, uint64_t to_off);
/* Bytes (and, unless data_only, attributes) and the names that lead to it are durable. For
 * directories: their names. Also returns, once, an error of later work on this value. */
DV_CHECK dv_err dv_store_fsync(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			       bool data_only);
/* All bytes and names that were in place before are durable: one syncfs, which does nothing on some
 * network filesystems. */
DV_CHECK dv_err dv_store_sync(struct dv_store *s);
/* mode as fallocate(2); -EOPNOTSUPP for modes the backing does not know. */
DV_CHECK dv_err dv_store_fallocate(struct dv_store *s, const struct dv_call *call,
				   struct dv_node *n, int mode, struct dv_range range);
DV_CHECK dv_err dv_store_seek(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			      uint64_t off, int whence, uint64_t *out);

/* ---- listing ---- */

struct dv_list_entry {
	const char *name; /* borrowed for the callback */
	uint64_t ino;	  /* 0: not known */
	mode_t type;	  /* S_IFMT part, 0: not known */
	int64_t cookie;	  /* resumes after this entry */
};
/* false: stop, this entry was not taken. */
typedef bool dv_list_fn(void *ctx, const struct dv_list_entry *entry);

/*
 * The names of a directory, "." and ".." left out. cookie: 0 is the start.
 * list       a handle, opened for dir: in the order of the keys, bytewise, but for hash. A
 *            directory of path comes where the keys below it do (its name and '/'). Each name that
 *            is there from the first call to the last is given once.
 * NULL       path and flat only: in the order of the backing, every position a cookie alone.
 */
struct dv_list;
DV_CHECK dv_err dv_list_open(struct dv_store *s, struct dv_node *dir, struct dv_list **out);
/*
 * Before the first call: of a list in the order of the keys only those that begin with prefix and
 * come after `after`, and directories that may hold such: their name and '/' begins one of them, or
 * is begun by prefix, or comes after `after`. Shard directories that hold none are not opened. Both
 * relative to dir, "": no bound, borrowed as long as the list is open. Of hash all are given.
 */
void dv_list_bound(struct dv_list *list, const char *prefix, const char *after);
/* Before the first call: entries come as the backing has them, the first after one read of the
 * directory, within the bounds that were set. A value that another process packs meanwhile may be
 * given twice, or not at all. */
void dv_list_unsorted(struct dv_list *list);
void dv_list_close(struct dv_store *s, struct dv_list **list);
DV_CHECK dv_err dv_store_list(struct dv_store *s, const struct dv_call *call, struct dv_node *dir,
			      struct dv_list *list, int64_t cookie, dv_list_fn *fn, void *ctx);
/* What dv_store_list gave from the start is thrown away, to be asked for again. */
void dv_store_list_undone(struct dv_node *dir);

/* ---- extended attributes ---- */

/* Names user.diskvfs.form|stored_size|frames|path are answered by the store, not listed; -EPERM to
 * set. */
DV_CHECK ssize_t dv_store_getxattr(struct dv_store *s, const struct dv_call *call,
				   struct dv_node *n, const char *attr, void *buf, size_t size);
DV_CHECK ssize_t dv_store_listxattr(struct dv_store *s, const struct dv_call *call,
				    struct dv_node *n, char *buf, size_t size);
DV_CHECK dv_err dv_store_setxattr(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
				  const char *attr, const void *buf, size_t size, int flags);
DV_CHECK dv_err dv_store_removexattr(struct dv_store *s, const struct dv_call *call,
				     struct dv_node *n, const char *attr);

/* ---- tools ---- */

/* Where the value of key lies now, or would lie: a path relative to the store. key: a path in the
 * mount, no leading slash. *exists may be NULL. */
DV_CHECK dv_err dv_store_path(struct dv_store *s, const char *key, char *buf, size_t buf_size,
			      bool *exists);

/* Mountpoint of a live owner that has the store mounted, "" where there is none. Does not open the
 * store. */
DV_CHECK dv_err dv_store_find_mount(struct dv_backing backing, const char *path, char *buf,
				    size_t buf_size);

#endif
