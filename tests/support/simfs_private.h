/* SPDX-License-Identifier: MIT */
/*
 * simfs_private.h - how the filesystem in memory of simfs.h is made, and what its files share.
 *
 *   simfs.c         a call's begin and end, knobs, dumps, the table
 *   simfs_state.c   blocks, images, names, inodes, changes
 *   simfs_open.c    descriptors, opening, looking        simfs_data.c    data, durability
 *   simfs_names.c   creating, linking, renaming          simfs_attrs.c   attributes, locks, leases
 *   simfs_crash.c   what is left after a kill and after a power cut
 *
 * Each inode has two images of its data and attributes, and each directory two lists of names:
 * `now` is what programs see, `disk` what is durable. Blocks of data are shared between images and
 * copied when written, so an fsync costs one pointer for each block.
 *
 *              now                              disk
 *   inode      image, names      --fsync-->     image
 *   directory  names             <-- changes -- disk_names
 *
 * Changes of names that are not durable stand in one list in the order they were made (struct
 * change). fsync(dir) takes from the list what touches dir, and what that depends on, and applies
 * it to disk_names; a power cut does the same with a subset that the seed chooses. sim_depends() is
 * the whole law of order (D5 of simfs.h).
 *
 * An inode stays in memory while a name, a descriptor, a durable name or a listed change mentions
 * it; sim_sweep() frees the others now and then.
 *
 * The mutex of the filesystem is held through every function of the table: sim_enter() takes it,
 * sim_leave() gives it back. Functions below the table need it held.
 */
#ifndef TESTS_SIMFS_PRIVATE_H
#define TESTS_SIMFS_PRIVATE_H

#include "tests/support/simfs.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define BLOCK_SIZE  4096u
#define SECTOR_SIZE 512u
#define FD_BASE	    (1 << 20)
/* A sparse file costs 8 bytes for each block of its length: 32 MiB at most. */
#define FILE_SIZE_MAX	(UINT64_C(16) << 30)
#define LINKS_MAX	65000u
#define XATTR_VALUE_MAX 65536u
#define ROOT_INO	2
#define FIRST_INO	11
#define CLOCK_START_S	INT64_C(1700000000)
#define WAIT_MAX_S	5
/* Inodes without name and descriptor that wait for a sweep. */
#define DEAD_MAX	    256u
#define FREE_BLOCKS_DEFAULT (UINT64_C(1) << 28)
#define EXT4_MAGIC	    0xef53
#define FNV_START	    UINT64_C(0xcbf29ce484222325)

struct block {
	int refs; /* atomic: clones of a filesystem share blocks, each under its own mutex */
	unsigned char bytes[BLOCK_SIZE];
};

struct xattr {
	char *name;
	void *value;
	size_t size;
};

/* Data and attributes. blocks[] may end before size: what follows is a hole, as NULL is. Bytes of a
 * block behind size are zero. */
struct image {
	mode_t mode;
	uid_t uid;
	gid_t gid;
	struct timespec atime, mtime, ctime;
	uint64_t size;
	struct block **blocks;
	size_t nblocks;
	struct xattr *xattrs;
	size_t nxattrs;
};

struct inode;

struct entry {
	char *name;
	uint32_t hash;
	int64_t cookie; /* ascending in a list */
	struct inode *inode;
};

struct names {
	struct entry *entries;
	size_t count, capacity;
	int64_t last_cookie;
};

struct inode {
	struct inode *next;
	uint64_t id; /* never reused */
	uint64_t ino;
	uint64_t reused_id; /* the inode that had this number before, or 0 */
	dev_t rdev;
	char *target; /* of a symbolic link */
	struct timespec btime;
	struct image now, disk;
	struct names names, disk_names;
	uint64_t size_low;    /* the smallest size since data was last durable */
	struct inode *parent; /* of a directory */
	uint32_t nlink;
	unsigned fds, writers;
	struct file *files; /* open descriptions */
	bool dead;	    /* no name, no descriptor: ino was given back */
	bool mark;
	struct inode *clone;
};

/* An open file description. */
struct file {
	struct inode *inode;
	struct file *next; /* of the inode */
	int flags;
	int lock; /* LOCK_UN LOCK_SH LOCK_EX */
	bool lease, lease_breaking;
};

struct edit {
	struct inode *dir;
	char *name;
	struct inode *was, *is; /* NULL: no entry */
};

/* A change of names that is not durable: one step, all of it or nothing. */
struct change {
	struct edit edits[2];
	size_t count;
	struct inode *moved; /* a directory that got another parent */
	bool mark;
};

struct free_ino {
	uint64_t ino, id;
};

struct simfs {
	pthread_mutex_t mutex;
	pthread_cond_t released; /* a lock or lease went, or the power */

	struct inode *inodes, *root;
	struct change *changes;
	size_t nchanges, changes_capacity;
	struct file **files; /* by descriptor - FD_BASE; NULL once closed */
	size_t nfiles, files_capacity, open_fds;
	struct free_ino *free_inos;
	size_t nfree_inos, free_inos_capacity;
	uint64_t last_ino, last_id;
	size_t dead_count;
	uint64_t free_blocks;
	uint64_t clock_ns, clock_step_ns;
	uint64_t f_type;
	bool network, cold;
	bool ordered; /* names */

	void (*before_call)(const char *op); /* NULL: none; set while no other thread calls */

	unsigned long calls, change_calls, fsync_calls, bad_fds;
	unsigned long fail_left, cut_left, ignore_fsync_left, tear_rename_left; /* 0: not armed */
	const char *fail_ops;
	int fail_error;
	bool fail_for_good, fail_short, failed;
	bool short_now; /* the call that runs does half */
	bool cut;
};

/* Whom the calling thread acts as, in every simfs. */
extern __thread struct sim_identity {
	bool set;
	uid_t uid;
	gid_t gid;
} sim_acting;

/* What a call is to the counters. */
enum kind { LOOK = 0, CHANGE = 1, TRANSFER = 2 };

/* ---- simfs.c: what a call begins and ends with ---- */

/* Locks fs, also where it fails: sim_leave() follows in any case. */
int sim_enter(struct simfs *fs, const char *op, unsigned kind);
int sim_leave(struct simfs *fs, int result);
ssize_t sim_leave_count(struct simfs *fs, ssize_t result);
/* How much of len the running call does. */
size_t sim_transfer_len(const struct simfs *fs, size_t len);
/* Waits for `released` until the time given; false once it is over. */
bool sim_wait_released(struct simfs *fs, const struct timespec *until);
struct timespec sim_wait_limit(void);
struct simfs *sim_fs_alloc(void);
void sim_changes_clear(struct simfs *fs);

/* ---- simfs_state.c: memory, images, names, inodes, changes; the mutex is held ---- */

void *sim_must(void *p);
void *sim_zalloc(size_t size);
void *sim_copy_bytes(const void *bytes, size_t size);
/* Makes room for one more element; returns the array, perhaps moved. */
void *sim_grow(void *array, size_t count, size_t *capacity, size_t element_size);
struct block *sim_block_new(void);
struct block *sim_block_ref(struct block *b);
void sim_block_unref(struct block *b);
struct block *sim_image_block(const struct image *im, size_t index);
/* Takes the caller's reference to b. */
void sim_image_set_block(struct image *im, size_t index, struct block *b);
/* A block of im that no other image shares; NULL where there is none. */
struct block *sim_image_own_block(struct image *im, size_t index);
/* Keeps the law that bytes behind the size are zero. */
void sim_image_zero_tail(struct image *im);
size_t sim_image_count_blocks(const struct image *im);
void sim_image_copy_data(struct image *to, const struct image *from);
struct xattr *sim_image_find_xattr(const struct image *im, const char *name);
void sim_image_set_xattr(struct image *im, const char *name, const void *value, size_t size);
bool sim_image_remove_xattr(struct image *im, const char *name);
void sim_image_drop_xattrs(struct image *im);
void sim_image_copy_attributes(struct image *to, const struct image *from);
void sim_image_release(struct image *im);
uint64_t sim_fnv1a(const void *bytes, size_t size, uint64_t hash);
struct entry *sim_names_find(const struct names *names, const char *name);
void sim_names_copy(struct names *to, const struct names *from);
bool sim_is_dir(const struct inode *in);
bool sim_is_regular(const struct inode *in);
bool sim_is_symlink(const struct inode *in);
struct timespec sim_tick(struct simfs *fs);
void sim_touch_ctime(struct simfs *fs, struct inode *in);
void sim_touch_mtime(struct simfs *fs, struct inode *in);
void sim_inode_free(struct inode *in);
void sim_give_ino(struct simfs *fs, uint64_t ino, uint64_t id);
struct inode *sim_inode_new(struct simfs *fs, mode_t mode, const struct inode *dir);
void sim_free_unmarked(struct simfs *fs);
/* Frees inodes that nothing mentions. */
void sim_sweep(struct simfs *fs);
/* To be called where a name or a descriptor went. in may be freed. */
void sim_inode_let_go(struct simfs *fs, struct inode *in);
struct change *sim_change_add(struct simfs *fs);
/* Makes one edit visible to programs and notes it as a part of c. */
void sim_change_edit(struct change *c, struct inode *dir, const char *name, struct inode *is);
void sim_change_release(struct change *c);
void sim_change_apply(const struct change *c);
/* D5: whether later can not be on the disk without earlier. */
bool sim_depends(const struct change *later, const struct change *earlier);
/* Makes durable what touches dir (NULL: everything), and what that depends on. */
void sim_changes_sync(struct simfs *fs, const struct inode *dir);

/* ---- simfs_open.c: descriptors and names, opening, looking ---- */

struct file *sim_get_file(struct simfs *fs, int fd);
/* One that is not O_PATH. */
struct file *sim_get_open_file(struct simfs *fs, int fd);
bool sim_can_write(const struct file *file);
bool sim_can_read(const struct file *file);
/* One step down: the directory's entry of this name, of len bytes. */
int sim_step(struct inode *dir, const char *name, size_t len, struct inode **out);
/* The directory that the last component of a name lies in; *last points into name. */
int sim_find_place(struct simfs *fs, int dirfd, const char *name, struct inode **dir,
		   const char **last);
/* The inode behind a name; "" is dirfd's own. */
int sim_find_inode(struct simfs *fs, int dirfd, const char *name, struct inode **out);
/* A place where a new name can be made. */
int sim_find_free_place(struct simfs *fs, int dirfd, const char *name, struct inode **dir,
			const char **last);
void sim_set_size(struct simfs *fs, struct inode *in, uint64_t size);
int sim_open(void *self, int dirfd, const char *name, int flags, mode_t mode);
int sim_open_root(void *self, const char *path);
void sim_close(void *self, int fd);
int sim_stat(void *self, int dirfd, const char *name, struct dv_stat *out);
int sim_fsinfo(void *self, int fd, struct dv_fsinfo *out);
unsigned char sim_entry_type(const struct inode *in);
ssize_t sim_readdir(void *self, int fd, int64_t cookie, void *buf, size_t buf_size,
		    struct dv_dirent *out, size_t max);

/* ---- simfs_names.c: creating, changing names ---- */

/* Makes an inode and its name. */
struct inode *sim_create(struct simfs *fs, struct inode *dir, const char *last, mode_t mode);
int sim_mkdir(void *self, int dirfd, const char *name, mode_t mode);
int sim_mknod(void *self, int dirfd, const char *name, mode_t mode, dev_t rdev);
int sim_symlink(void *self, const char *target, int dirfd, const char *name);
ssize_t sim_readlink(void *self, int dirfd, const char *name, char *buf, size_t size);
int sim_link(void *self, int olddir, const char *oldname, int newdir, const char *newname);
int sim_link_fd(void *self, int fd, int newdir, const char *newname);
int sim_unlink(void *self, int dirfd, const char *name);
int sim_rmdir(void *self, int dirfd, const char *name);
int sim_rename(void *self, int olddir, const char *oldname, int newdir, const char *newname,
	       unsigned flags);

/* ---- simfs_data.c: data, durability ---- */

ssize_t sim_read_data(const struct image *im, void *buf, size_t len, uint64_t off);
ssize_t sim_pread(void *self, int fd, void *buf, size_t len, uint64_t off);
ssize_t sim_pread_nowait(void *self, int fd, void *buf, size_t len, uint64_t off);
ssize_t sim_pwrite(void *self, int fd, const void *buf, size_t len, uint64_t off);
ssize_t sim_append(void *self, int fd, const void *buf, size_t len);
int sim_truncate(void *self, int fd, uint64_t size);
int sim_fallocate(void *self, int fd, int mode, uint64_t off, uint64_t len);
int sim_seek(void *self, int fd, uint64_t off, int whence, uint64_t *out);
ssize_t sim_copy_range(void *self, int from, uint64_t from_off, int to, uint64_t to_off,
		       size_t len);
void sim_advise(void *self, int fd, uint64_t off, uint64_t len, int fadvice);
int sim_fsync(void *self, int fd);
int sim_fdatasync(void *self, int fd);
int sim_syncfs(void *self, int fd);

/* ---- simfs_attrs.c: attributes, locks, leases, identity ---- */

int sim_chmod(void *self, int fd, mode_t mode);
int sim_chown(void *self, int fd, uid_t uid, gid_t gid);
int sim_utimens(void *self, int fd, const struct timespec times[2]);
ssize_t sim_getxattr(void *self, int fd, const char *attr, void *buf, size_t size);
ssize_t sim_getxattr_at(void *self, int dirfd, const char *name, const char *attr, void *buf,
			size_t size);
int sim_setxattr(void *self, int fd, const char *attr, const void *buf, size_t size, int flags);
ssize_t sim_listxattr(void *self, int fd, char *buf, size_t size);
ssize_t sim_listxattr_at(void *self, int dirfd, const char *name, char *buf, size_t size);
int sim_removexattr(void *self, int fd, const char *attr);
int sim_flock(void *self, int fd, int operation);
int sim_set_lease(void *self, int fd, int type);
int sim_get_lease(void *self, int fd);
int sim_set_noatime(void *self, int fd);
void sim_act_as(void *self, uid_t uid, gid_t gid);

#endif
