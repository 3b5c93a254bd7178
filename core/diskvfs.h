/* SPDX-License-Identifier: MIT */
/*
 * diskvfs.h - libdiskvfs: a store of keys and values as a library, without a mount.
 *
 * A store is a folder (see diskvfs(1)): each value one plain file, raw or a standard .zst, where the
 * store's transform puts it. The library is one more user of that folder: other processes, and a
 * mount, may use it at the same time.
 *
 *	struct dvfs_options o;
 *	struct dvfs *store;
 *	char why[256];
 *
 *	dvfs_options_init(&o, sizeof(o));
 *	o.create = 1;
 *	if (dvfs_open("/srv/store", &o, &store, why, sizeof(why)) < 0)
 *		errx(1, "%s", why);
 *	dvfs_write(store, "alpha", "1 2 3", 5, 0);
 *	dvfs_read(store, "alpha", &bytes, &len);	// free(bytes)
 *	dvfs_close(&store);
 *
 * Keys        NUL terminated, not empty, any other byte. Components (all of a key under flat, split
 *             and hash; what is between slashes under path) are 1 to 255 bytes, not "." or "..".
 *             Slashes of path are directories: they are made when they are needed, and removed with
 *             the last key in them.
 * Values      What is written replaces the whole value at once: a reader sees the old one or the new
 *             one, and who has the old one open goes on with it. Values are packed in the background
 *             once they have been quiet, and by dvfs_pack().
 * Errors      0 (or what is said) or a negative errno; nothing is set or printed. -EINVAL: NULL or
 *             empty key, or one that the transform can not hold; -ENAMETOOLONG; -ENOENT: no such
 *             key; -EBADMSG: stored bytes are damaged; -EROFS. dvfs_explain() makes a sentence.
 * Threads     A store may be used by any number of threads at once. A reader, writer or iterator
 *             belongs to one thread at a time.
 * Callbacks   of transforms, codecs and dvfs_keys() may use the library; the log's sink may not:
 *             -EDEADLK.
 * Processes   Any number. In the child of a fork() calls on the parent's store are refused, -ECHILD, and
 *             leave it alone, dvfs_close() and the ends of readers and writers too, which free nothing
 *             there; it opens its own. As long as a child lives that execs nothing it keeps the
 *             parent's store in use.
 * Signals     None are taken, and the library's threads have them blocked. Calls are not interrupted by
 *             them. SIGURG, which is ignored by itself, comes where another program opens a file that
 *             is being packed for writing.
 * ABI         Until 1.0 it may change with each release (SOVERSION 0). Structs that the caller fills
 *             begin with their size; those that the library fills have room to grow.
 */
#ifndef DISKVFS_H
#define DISKVFS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dvfs;
struct dvfs_reader;
struct dvfs_writer;
struct dvfs_iter;

/* ---- what a program may bring along ---- */

/*
 * Where keys lie, and in which order they come, in a store whose own transform is path.
 *
 * Laws, checked at dvfs_open() on `samples` and some keys of the library's own that to_path takes:
 * to_key(to_path(k)) is k, no two keys have one path, and none lies beneath another's. compare is an
 * order. Any thread may call them at any time.
 */
struct dvfs_transform {
	size_t struct_size;
	void *self;
	/* The path of a key, components as above, NUL terminated, into size bytes. 0 or -errno: the
	 * key can not be held. NULL (then to_key too): the store's own transform. */
	int (*to_path)(void *self, const char *key, char *path, size_t size);
	/* The inverse. -ENOENT: the path is no key's; it is not listed. */
	int (*to_key)(void *self, const char *path, char *key, size_t size);
	/* The order of keys: less than, equal to or greater than 0. Keys that are equal by it come
	 * in the order of their bytes, as all do where it is NULL. */
	int (*compare)(void *self, const char *a, const char *b);
	const char *const *samples; /* ends with NULL; NULL: none */
};

/* Takes what a codec made. 0 or -errno, which ends the work. */
typedef int dvfs_sink(void *ctx, const void *buf, size_t len);

/*
 * How the bytes of values are written to their files, beside or instead of the store's own zstd
 * (compress "none"). A value then is one plain file with what the codec made of it: that is what a
 * mount and other programs see, and dvfs_value.size is its length. Nothing in the store says which
 * codec that was.
 */
struct dvfs_codec {
	size_t struct_size;
	void *self;
	/* Begins to encode, or to decode. NULL: no memory. */
	void *(*begin)(void *self, int decode);
	/* More bytes, the last ones with end set (len may be 0). What becomes of them goes to sink,
	 * now or later. 0 or -errno; -EBADMSG: can not be decoded. Up to 16 KiB at a time. */
	int (*run)(void *stream, const void *buf, size_t len, int end, dvfs_sink *sink, void *ctx);
	void (*end)(void *stream);
};

/* ---- opening ---- */

struct dvfs_options {
	size_t struct_size; /* dvfs_options_init() */
	int create;	    /* the folder becomes a store where it is none and empty, or missing */
	int read_only;	    /* nothing is written, not even to finish what a dead process left */
	int keep_dirs;	    /* directories stay when their last key is erased */
	mode_t file_mode;   /* of new values, 0666; the umask applies */
	mode_t dir_mode;    /* of new directories of path, 0777; the umask applies */
	uint64_t cache_bytes; /* for unpacked frames; 0: 64 MiB */
	unsigned settle_ms;   /* how long a value is quiet before it is packed; 0: 5000 */
	unsigned threads;     /* for packing and unpacking; 0: one for each processor */
	/* With create, how the store is made; of one that is there transform must be its own, the
	 * others hold for what is written here. NULL, 0: path, zstd:3, 128 KiB, none. */
	const char *transform, *compress;
	uint32_t frame_size;
	const char *nopack;
	const char *layout; /* "diskv", "diskv:gzip", "diskv:zlib": byte for byte diskv's files */
	const void *dict;   /* of diskv:zlib, dict_len bytes; NULL: none */
	size_t dict_len;
	const struct dvfs_transform *custom_transform; /* copied; self stays the caller's */
	const struct dvfs_codec *codec;		       /* the same */
	int noatime; /* reading moves no time of access, where the process may choose; implied by read_only */
};

/* Defaults. size: sizeof(struct dvfs_options) of the caller. */
void dvfs_options_init(struct dvfs_options *o, size_t size);

/*
 * options NULL: defaults. why (NULL: not wanted) gets one sentence that says what is wrong and what
 * to do. Finishes first what processes that died have left. -ENOENT missing; -EINVAL no path, no
 * store, an option, a law of the transform; -ENOTEMPTY with create: no store, and files are in it;
 * -EBUSY in use by another host; -EPROTONOSUPPORT a newer format.
 */
int dvfs_open(const char *path, const struct dvfs_options *options, struct dvfs **out, char *why,
	      size_t why_size);
/* Packs what is still to be packed, and finishes what is under way. *s is NULL afterwards, but for
 * -EBUSY: readers, writers or iterators are still open, or another thread is in a call, and nothing
 * was done. Any other error tells of work that stays recorded in the store for whoever opens it next.
 * Once it is called no thread may begin a call on it. */
int dvfs_close(struct dvfs **s);

/* ---- writing ---- */

enum {
	DVFS_SYNC = 1,	 /* bytes and name are durable on return */
	DVFS_NEW = 2,	 /* -EEXIST where the key has a value */
	DVFS_DIRECT = 4, /* of a reader: past the cache */
	DVFS_MOVE = 8	 /* of an import: the file is gone afterwards */
};

/*
 * Without DVFS_SYNC: a new key is, where the power goes, what a plain file would be; a value that is
 * replaced is the old one or the new one, whole. A killed process changes nothing of what was
 * written. Owner, mode and attributes of a value that is replaced stay.
 */
int dvfs_write(struct dvfs *s, const char *key, const void *buf, size_t len, int flags);

/*
 * A value of any size, in bounded memory. Nothing of it is seen before the commit; one that is
 * aborted, or whose process dies, leaves the old value. After an error of write only abort is left.
 * commit and abort end the writer, whatever they return; *w is NULL afterwards.
 */
int dvfs_writer_open(struct dvfs *s, const char *key, int flags, struct dvfs_writer **out);
int dvfs_writer_write(struct dvfs_writer *w, const void *buf, size_t len);
/* The value goes to another key than the writer was opened for: one that only its bytes tell. */
int dvfs_writer_set_key(struct dvfs_writer *w, const char *key);

int dvfs_writer_commit(struct dvfs_writer **w);
void dvfs_writer_abort(struct dvfs_writer **w); /* *w may be NULL */

/* All that was written, erased and moved before is durable on return. */
int dvfs_sync(struct dvfs *s);

/*
 * The file at path becomes the value of key: copied, or moved with DVFS_MOVE, also from another
 * filesystem. It keeps mode, times, and owner, ACL and extended attributes as far as they can be
 * given; holes stay holes. A moved file is raw at first, and packed later as any other. -EISDIR,
 * -EINVAL: not a regular file; -EEXIST: it is to be moved, and is the file of that very value; -ESTALE:
 * it was written to while it was copied, and stays, the value being what was read; -EXDEV never.
 */
int dvfs_import(struct dvfs *s, const char *key, const char *path, int flags);

/* ---- reading ---- */

/* The whole value. *buf is to be freed with free(), and has a NUL behind the value's bytes. -EFBIG:
 * more than memory can hold. */
int dvfs_read(struct dvfs *s, const char *key, void **buf, size_t *len);

/* One version of the value from its first byte to its last, whatever is written meanwhile. Changes
 * that a mount makes in place are seen. flags: 0, DVFS_DIRECT. */
int dvfs_reader_open(struct dvfs *s, const char *key, int flags, struct dvfs_reader **out);
/* -> bytes, as many as were asked for but at the end; 0: the end. */
ssize_t dvfs_reader_read(struct dvfs_reader *r, void *buf, size_t len);
/* The same from off on; the position stays. -EOPNOTSUPP with a codec. */
ssize_t dvfs_reader_pread(struct dvfs_reader *r, void *buf, size_t len, uint64_t off);
void dvfs_reader_close(struct dvfs_reader **r); /* *r may be NULL */

/* -> 1 there, 0 not there */
int dvfs_has(struct dvfs *s, const char *key);

struct dvfs_value {
	uint64_t size;	       /* bytes of the value; with a codec, of what that made */
	uint64_t stored_bytes; /* on the disk, in blocks */
	struct timespec mtime, atime;
	mode_t mode; /* permission bits */
	uid_t uid;
	gid_t gid;
	uint32_t links;
	uint64_t ino;
	int packed; /* 1: a .zst */
	uint64_t reserved[8];
};
int dvfs_stat(struct dvfs *s, const char *key, struct dvfs_value *out);

/* ---- erasing ---- */

/* Directories of path that it leaves empty go too, unless keep_dirs. */
int dvfs_erase(struct dvfs *s, const char *key);
/* All keys; files that are no keys stay. *erased may be NULL. */
int dvfs_erase_all(struct dvfs *s, uint64_t *erased);

/* ---- keys ---- */

/* Which keys; all 0 or NULL: all of them. Strings are copied. */
struct dvfs_range {
	const char *prefix; /* that begin with this */
	const char *after;  /* that come after this key, which need not be there */
	uint64_t limit;	    /* so many at most; 0: no limit */
	int sorted;	    /* in order, whatever it costs; `after` implies it */
	int unsorted;	    /* as they are found; not with the two above: -EINVAL */
};

/*
 * Keys come in their order (bytewise, or by compare) where the store keeps it: every transform but
 * hash, and no custom one. Else, with `sorted`, the store is walked once for each 8 MiB of keys. A
 * key that is there from the beginning to the end is given once. Under an order a prefix costs what
 * it matches: other directories are not read. Memory is bounded.
 *
 * In order the first key comes when its directory has been read, since the last name of it may be the
 * first key; with `unsorted`, and under hash, it comes at once. A value that another process packs
 * meanwhile may then be given twice, or not at all.
 */
int dvfs_keys_in_order(struct dvfs *s); /* -> 1: without `sorted` too */
int dvfs_iter_open(struct dvfs *s, const struct dvfs_range *range, struct dvfs_iter **out);
/* -> 1: *key is the next one, lent until the next call; 0: the end. */
int dvfs_iter_next(struct dvfs_iter *it, const char **key);
void dvfs_iter_close(struct dvfs_iter **it); /* *it may be NULL; at any time */

/* The same with a callback, which may use the store, and ends the walk with a value other than 0:
 * that is returned. range NULL: all keys. */
int dvfs_keys(struct dvfs *s, const struct dvfs_range *range,
	      int (*each)(void *ctx, const char *key), void *ctx);

/* ---- upkeep ---- */

struct dvfs_packed {
	uint64_t packed, left_raw, busy, failed; /* values */
	uint64_t plain_bytes, stored_bytes;	 /* of those packed */
	uint64_t reserved[8];
};
/* Packs now what is eligible. *out may be NULL. */
int dvfs_pack(struct dvfs *s, struct dvfs_packed *out);

struct dvfs_stats {
	uint64_t bytes_read, bytes_written;
	uint64_t frames_decoded, frames_encoded;
	uint64_t packed, unpacked, replaced, recovered, put_aside;
	uint64_t errors; /* of all kinds */
	uint64_t cache_hits, cache_misses, cache_bytes, cache_entries;
	uint64_t waiting;      /* values that are to be packed */
	uint64_t left_pending; /* read_only: what dead processes left, which is not seen */
	uint64_t open_files;
	uint64_t reserved[16];
};
void dvfs_stats(struct dvfs *s, struct dvfs_stats *out);

/* One line: key, what err means here, what to do. key NULL: none. -> buf */
const char *dvfs_explain(struct dvfs *s, const char *key, int err, char *buf, size_t size);

/* What happens behind the caller's back (a value that could not be packed, was put aside...), a line
 * at a time, from any thread; severity 0 error, 1 warning, 2 notice. NULL, the default: nobody.
 * For the whole process. */
void dvfs_set_log(void (*sink)(int severity, const char *line));

const char *dvfs_version(void);

#ifdef __cplusplus
}
#endif

#endif
