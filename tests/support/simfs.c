/* SPDX-License-Identifier: MIT */
/*
 * simfs.c - the filesystem in memory of simfs.h.
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
 * it to disk_names; a power cut does the same with a subset that the seed chooses. depends() is the
 * whole law of order (D5 of simfs.h).
 *
 * An inode stays in memory while a name, a descriptor, a durable name or a listed change mentions
 * it; sweep() frees the others now and then.
 *
 * The mutex of the filesystem is held through every function of the table: enter() takes it,
 * leave() gives it back. Functions below the table need it held.
 */
#include "tests/support/simfs.h"

#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/xattr.h>
#include <unistd.h>

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

	unsigned long calls, change_calls, fsync_calls, bad_fds;
	unsigned long fail_left, cut_left, ignore_fsync_left, tear_rename_left; /* 0: not armed */
	const char *fail_ops;
	int fail_error;
	bool fail_for_good, fail_short, failed;
	bool short_now; /* the call that runs does half */
	bool cut;
};

/* Whom the calling thread acts as, in every simfs. */
static __thread struct {
	bool set;
	uid_t uid;
	gid_t gid;
} acting;

/* ---- memory ---- */

static void *must(void *p)
{
	if (p == NULL) {
		fputs("simfs: out of memory\n", stderr);
		abort();
	}
	return p;
}

static void *zalloc(size_t size)
{
	return must(calloc(1, size));
}

static void *copy_bytes(const void *bytes, size_t size)
{
	void *copy = must(malloc(size + 1));
	if (size > 0)
		memcpy(copy, bytes, size);
	return copy;
}

/* Makes room for one more element; returns the array, perhaps moved. */
static void *grow(void *array, size_t count, size_t *capacity, size_t element_size)
{
	if (count < *capacity)
		return array;
	*capacity = *capacity < 8 ? 8 : *capacity * 2;
	return must(realloc(array, *capacity * element_size));
}

/* ---- blocks and images ---- */

static struct block *block_new(void)
{
	struct block *b = zalloc(sizeof(*b));
	b->refs = 1;
	return b;
}

static struct block *block_ref(struct block *b)
{
	if (b != NULL)
		__atomic_add_fetch(&b->refs, 1, __ATOMIC_RELAXED);
	return b;
}

static void block_unref(struct block *b)
{
	if (b != NULL && __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(b);
}

static struct block *image_block(const struct image *im, size_t index)
{
	return index < im->nblocks ? im->blocks[index] : NULL;
}

/* Takes the caller's reference to b. */
static void image_set_block(struct image *im, size_t index, struct block *b)
{
	if (index >= im->nblocks) {
		if (b == NULL)
			return;
		im->blocks = must(realloc(im->blocks, (index + 1) * sizeof(*im->blocks)));
		while (im->nblocks <= index)
			im->blocks[im->nblocks++] = NULL;
	}
	block_unref(im->blocks[index]);
	im->blocks[index] = b;
}

/* A block of im that no other image shares; NULL where there is none. */
static struct block *image_own_block(struct image *im, size_t index)
{
	struct block *b = image_block(im, index);
	if (b == NULL || __atomic_load_n(&b->refs, __ATOMIC_ACQUIRE) == 1)
		return b;
	struct block *own = block_new();
	memcpy(own->bytes, b->bytes, BLOCK_SIZE);
	image_set_block(im, index, own);
	return own;
}

/* Keeps the law that bytes behind the size are zero. */
static void image_zero_tail(struct image *im)
{
	size_t used = (size_t)(im->size % BLOCK_SIZE);
	size_t index = (size_t)(im->size / BLOCK_SIZE);
	struct block *b = used > 0 ? image_own_block(im, index) : NULL;
	if (b != NULL)
		memset(b->bytes + used, 0, BLOCK_SIZE - used);
}

static size_t image_count_blocks(const struct image *im)
{
	size_t count = 0;
	for (size_t i = 0; i < im->nblocks; i++)
		count += im->blocks[i] != NULL;
	return count;
}

static void image_drop_data(struct image *im)
{
	for (size_t i = 0; i < im->nblocks; i++)
		block_unref(im->blocks[i]);
	free(im->blocks);
	im->blocks = NULL;
	im->nblocks = 0;
}

static void image_copy_data(struct image *to, const struct image *from)
{
	image_drop_data(to);
	to->size = from->size;
	if (from->nblocks == 0)
		return;
	to->blocks = must(malloc(from->nblocks * sizeof(*to->blocks)));
	to->nblocks = from->nblocks;
	for (size_t i = 0; i < from->nblocks; i++)
		to->blocks[i] = block_ref(from->blocks[i]);
}

static struct xattr *image_find_xattr(const struct image *im, const char *name)
{
	for (size_t i = 0; i < im->nxattrs; i++) {
		if (strcmp(im->xattrs[i].name, name) == 0)
			return &im->xattrs[i];
	}
	return NULL;
}

static void image_set_xattr(struct image *im, const char *name, const void *value, size_t size)
{
	struct xattr *x = image_find_xattr(im, name);
	if (x == NULL) {
		im->xattrs = must(realloc(im->xattrs, (im->nxattrs + 1) * sizeof(*x)));
		x = &im->xattrs[im->nxattrs++];
		x->name = must(strdup(name));
		x->value = NULL;
	}
	free(x->value);
	x->value = copy_bytes(value, size);
	x->size = size;
}

static bool image_remove_xattr(struct image *im, const char *name)
{
	struct xattr *x = image_find_xattr(im, name);
	if (x == NULL)
		return false;
	free(x->name);
	free(x->value);
	size_t behind = im->nxattrs - (size_t)(x - im->xattrs) - 1;
	memmove(x, x + 1, behind * sizeof(*x));
	im->nxattrs--;
	return true;
}

static void image_drop_xattrs(struct image *im)
{
	for (size_t i = 0; i < im->nxattrs; i++) {
		free(im->xattrs[i].name);
		free(im->xattrs[i].value);
	}
	free(im->xattrs);
	im->xattrs = NULL;
	im->nxattrs = 0;
}

static void image_copy_attributes(struct image *to, const struct image *from)
{
	to->mode = from->mode;
	to->uid = from->uid;
	to->gid = from->gid;
	to->atime = from->atime;
	to->mtime = from->mtime;
	to->ctime = from->ctime;
	image_drop_xattrs(to);
	for (size_t i = 0; i < from->nxattrs; i++)
		image_set_xattr(to, from->xattrs[i].name, from->xattrs[i].value,
				from->xattrs[i].size);
}

static void image_release(struct image *im)
{
	image_drop_data(im);
	image_drop_xattrs(im);
}

/* ---- lists of names ---- */

static uint64_t fnv1a(const void *bytes, size_t size, uint64_t hash)
{
	const unsigned char *p = bytes;
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
	return hash;
}
#define FNV_START UINT64_C(0xcbf29ce484222325)

static uint32_t name_hash(const char *name)
{
	return (uint32_t)fnv1a(name, strlen(name), FNV_START);
}

static struct entry *names_find(const struct names *names, const char *name)
{
	uint32_t hash = name_hash(name);
	for (size_t i = 0; i < names->count; i++) {
		struct entry *e = &names->entries[i];
		if (e->hash == hash && strcmp(e->name, name) == 0)
			return e;
	}
	return NULL;
}

/* inode NULL: removes the name. */
static void names_set(struct names *names, const char *name, struct inode *inode)
{
	struct entry *e = names_find(names, name);
	if (inode == NULL) {
		if (e == NULL)
			return;
		free(e->name);
		size_t behind = names->count - (size_t)(e - names->entries) - 1;
		memmove(e, e + 1, behind * sizeof(*e));
		names->count--;
		return;
	}
	if (e == NULL) {
		names->entries = grow(names->entries, names->count, &names->capacity, sizeof(*e));
		e = &names->entries[names->count++];
		e->name = must(strdup(name));
		e->hash = name_hash(name);
		e->cookie = ++names->last_cookie;
	}
	e->inode = inode;
}

static void names_release(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->entries[i].name);
	free(names->entries);
	*names = (struct names){0};
}

static void names_copy(struct names *to, const struct names *from)
{
	names_release(to);
	for (size_t i = 0; i < from->count; i++) {
		names_set(to, from->entries[i].name, from->entries[i].inode);
		to->entries[i].cookie = from->entries[i].cookie;
	}
	to->last_cookie = from->last_cookie;
}

/* ---- inodes ---- */

static bool is_dir(const struct inode *in)
{
	return S_ISDIR(in->now.mode);
}

static bool is_regular(const struct inode *in)
{
	return S_ISREG(in->now.mode);
}

static bool is_symlink(const struct inode *in)
{
	return S_ISLNK(in->now.mode);
}

static struct timespec tick(struct simfs *fs)
{
	fs->clock_ns += fs->clock_step_ns;
	return (struct timespec){
		.tv_sec = (time_t)(fs->clock_ns / 1000000000u),
		.tv_nsec = (long)(fs->clock_ns % 1000000000u),
	};
}

static void touch_ctime(struct simfs *fs, struct inode *in)
{
	in->now.ctime = tick(fs);
}

static void touch_mtime(struct simfs *fs, struct inode *in)
{
	in->now.mtime = in->now.ctime = tick(fs);
}

static void inode_free(struct inode *in)
{
	image_release(&in->now);
	image_release(&in->disk);
	names_release(&in->names);
	names_release(&in->disk_names);
	free(in->target);
	free(in);
}

/* The lowest number that is free; *reused_id the inode that had it, or 0. */
static uint64_t take_ino(struct simfs *fs, uint64_t *reused_id)
{
	size_t best = fs->nfree_inos;
	*reused_id = 0;
	for (size_t i = 0; i < fs->nfree_inos; i++) {
		if (best == fs->nfree_inos || fs->free_inos[i].ino < fs->free_inos[best].ino)
			best = i;
	}
	if (best == fs->nfree_inos)
		return ++fs->last_ino;
	struct free_ino found = fs->free_inos[best];
	fs->free_inos[best] = fs->free_inos[--fs->nfree_inos];
	*reused_id = found.id;
	return found.ino;
}

static void give_ino(struct simfs *fs, uint64_t ino, uint64_t id)
{
	fs->free_inos = grow(fs->free_inos, fs->nfree_inos, &fs->free_inos_capacity,
			     sizeof(*fs->free_inos));
	fs->free_inos[fs->nfree_inos++] = (struct free_ino){.ino = ino, .id = id};
}

static struct inode *inode_new(struct simfs *fs, mode_t mode, const struct inode *dir)
{
	struct inode *in = zalloc(sizeof(*in));
	in->id = ++fs->last_id;
	in->ino = take_ino(fs, &in->reused_id);
	in->now.mode = mode;
	in->now.uid = acting.set ? acting.uid : geteuid();
	in->now.gid = acting.set ? acting.gid : getegid();
	if (dir != NULL && (dir->now.mode & S_ISGID)) {
		in->now.gid = dir->now.gid;
		if (S_ISDIR(mode))
			in->now.mode |= S_ISGID;
	}
	in->btime = in->now.atime = in->now.mtime = in->now.ctime = tick(fs);
	image_copy_attributes(&in->disk, &in->now); /* D6 */
	in->next = fs->inodes;
	fs->inodes = in;
	return in;
}

static void mark_durable_tree(struct inode *in)
{
	if (in == NULL || in->mark)
		return;
	in->mark = true;
	for (size_t i = 0; i < in->disk_names.count; i++)
		mark_durable_tree(in->disk_names.entries[i].inode);
}

static void free_unmarked(struct simfs *fs)
{
	struct inode **slot = &fs->inodes;
	while (*slot != NULL) {
		struct inode *in = *slot;
		if (in->mark) {
			slot = &in->next;
			continue;
		}
		*slot = in->next;
		inode_free(in);
	}
}

/* Frees inodes that nothing mentions. */
static void sweep(struct simfs *fs)
{
	for (struct inode *in = fs->inodes; in != NULL; in = in->next)
		in->mark = false;
	for (struct inode *in = fs->inodes; in != NULL; in = in->next) {
		if (!in->dead)
			mark_durable_tree(in);
	}
	for (size_t i = 0; i < fs->nchanges; i++) {
		const struct change *c = &fs->changes[i];
		for (size_t e = 0; e < c->count; e++) {
			mark_durable_tree(c->edits[e].dir);
			mark_durable_tree(c->edits[e].was);
			mark_durable_tree(c->edits[e].is);
		}
	}
	free_unmarked(fs);
	fs->dead_count = 0;
}

/* To be called where a name or a descriptor went. in may be freed. */
static void inode_let_go(struct simfs *fs, struct inode *in)
{
	if (in->nlink > 0 || in->fds > 0 || in->dead)
		return;
	in->dead = true;
	fs->free_blocks += image_count_blocks(&in->now);
	give_ino(fs, in->ino, in->id);
	if (++fs->dead_count > DEAD_MAX)
		sweep(fs);
}

/* ---- changes of names ---- */

static struct change *change_add(struct simfs *fs)
{
	fs->changes = grow(fs->changes, fs->nchanges, &fs->changes_capacity, sizeof(*fs->changes));
	struct change *c = &fs->changes[fs->nchanges++];
	*c = (struct change){.count = 0};
	return c;
}

/* Makes one edit visible to programs and notes it as a part of c. */
static void change_edit(struct change *c, struct inode *dir, const char *name, struct inode *is)
{
	struct entry *e = names_find(&dir->names, name);
	c->edits[c->count++] = (struct edit){
		.dir = dir,
		.name = must(strdup(name)),
		.was = e != NULL ? e->inode : NULL,
		.is = is,
	};
	names_set(&dir->names, name, is);
}

static void change_release(struct change *c)
{
	for (size_t e = 0; e < c->count; e++)
		free(c->edits[e].name);
}

static void change_apply(const struct change *c)
{
	for (size_t e = 0; e < c->count; e++)
		names_set(&c->edits[e].dir->disk_names, c->edits[e].name, c->edits[e].is);
}

static bool change_touches(const struct change *c, const struct inode *dir)
{
	for (size_t e = 0; e < c->count; e++) {
		if (c->edits[e].dir == dir)
			return true;
	}
	return false;
}

/* D5: whether later can not be on the disk without earlier. */
static bool depends(const struct change *later, const struct change *earlier)
{
	if (earlier->moved != NULL && change_touches(later, earlier->moved))
		return true;
	for (size_t a = 0; a < earlier->count; a++) {
		const struct edit *first = &earlier->edits[a];
		for (size_t b = 0; b < later->count; b++) {
			const struct edit *second = &later->edits[b];
			if (first->was != NULL && second->is != NULL &&
			    first->was->id == second->is->reused_id)
				return true;
			if (first->dir == second->dir && strcmp(first->name, second->name) == 0)
				return true;
		}
	}
	return false;
}

/* Makes durable what touches dir (NULL: everything), and what that depends on. */
static void changes_sync(struct simfs *fs, const struct inode *dir)
{
	for (size_t i = fs->nchanges; i-- > 0;) {
		struct change *c = &fs->changes[i];
		c->mark = dir == NULL || change_touches(c, dir);
		for (size_t j = i + 1; j < fs->nchanges && !c->mark; j++)
			c->mark =
				fs->changes[j].mark && (fs->ordered || depends(&fs->changes[j], c));
	}
	size_t kept = 0;
	for (size_t i = 0; i < fs->nchanges; i++) {
		if (fs->changes[i].mark) {
			change_apply(&fs->changes[i]);
			change_release(&fs->changes[i]);
		} else {
			fs->changes[kept++] = fs->changes[i];
		}
	}
	fs->nchanges = kept;
}

/* ---- entering and leaving the table ---- */

/* What a call is to the counters. */
enum kind { LOOK = 0, CHANGE = 1, TRANSFER = 2 };

static bool op_counts(const struct simfs *fs, const char *op)
{
	size_t len = strlen(op);
	if (fs->fail_ops == NULL)
		return true;
	for (const char *p = fs->fail_ops; (p = strstr(p, op)) != NULL; p += len) {
		bool starts = p == fs->fail_ops || p[-1] == ',';
		if (starts && (p[len] == ',' || p[len] == '\0'))
			return true;
	}
	return false;
}

/* Whether simfs_fail_nth picks this call. */
static bool picked(struct simfs *fs, const char *op)
{
	if (!op_counts(fs, op))
		return false;
	if (fs->failed && fs->fail_for_good)
		return true;
	if (fs->fail_left == 0 || --fs->fail_left > 0)
		return false;
	fs->failed = true;
	return true;
}

/* Locks fs, also where it fails: leave() follows in any case. */
static int enter(struct simfs *fs, const char *op, unsigned kind)
{
	pthread_mutex_lock(&fs->mutex);
	if (fs->cut)
		return -EIO;
	fs->calls++;
	fs->short_now = false;
	if (kind & CHANGE) {
		fs->change_calls++;
		if (fs->cut_left > 0 && --fs->cut_left == 0) {
			fs->cut = true;
			pthread_cond_broadcast(&fs->released);
			return -EIO;
		}
	}
	if (!picked(fs, op))
		return 0;
	if (fs->fail_short && (kind & TRANSFER)) {
		fs->short_now = true;
		return 0;
	}
	return -fs->fail_error;
}

static int leave(struct simfs *fs, int result)
{
	pthread_mutex_unlock(&fs->mutex);
	return result;
}

static ssize_t leave_count(struct simfs *fs, ssize_t result)
{
	pthread_mutex_unlock(&fs->mutex);
	return result;
}

/* How much of len the running call does. */
static size_t transfer_len(const struct simfs *fs, size_t len)
{
	return fs->short_now && len > 1 ? len / 2 : len;
}

/* Waits for `released` until the time given; false once it is over. */
static bool wait_released(struct simfs *fs, const struct timespec *until)
{
	return pthread_cond_timedwait(&fs->released, &fs->mutex, until) == 0;
}

static struct timespec wait_limit(void)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_MAX_S;
	return until;
}

/* ---- descriptors and names ---- */

static struct file *get_file(struct simfs *fs, int fd)
{
	size_t index = (size_t)fd - FD_BASE;
	if (fd < FD_BASE || index >= fs->nfiles || fs->files[index] == NULL) {
		fs->bad_fds++;
		return NULL;
	}
	return fs->files[index];
}

/* One that is not O_PATH. */
static struct file *get_open_file(struct simfs *fs, int fd)
{
	struct file *file = get_file(fs, fd);
	return file != NULL && (file->flags & O_PATH) == 0 ? file : NULL;
}

static bool can_write(const struct file *file)
{
	return (file->flags & O_PATH) == 0 && (file->flags & O_ACCMODE) != O_RDONLY;
}

static bool can_read(const struct file *file)
{
	return (file->flags & O_PATH) == 0 && (file->flags & O_ACCMODE) != O_WRONLY;
}

static int add_file(struct simfs *fs, struct inode *in, int flags)
{
	struct file *file = zalloc(sizeof(*file));
	file->inode = in;
	file->flags = flags;
	file->lock = LOCK_UN;
	file->next = in->files;
	in->files = file;
	in->fds++;
	in->writers += can_write(file);
	fs->files = grow(fs->files, fs->nfiles, &fs->files_capacity, sizeof(struct file *));
	fs->files[fs->nfiles] = file;
	fs->open_fds++;
	return FD_BASE + (int)fs->nfiles++;
}

static bool has_dotdot(const char *name)
{
	const char *p = name;
	while (p != NULL) {
		if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == '\0'))
			return true;
		p = strchr(p, '/');
		if (p != NULL)
			p++;
	}
	return false;
}

/* One step down: the directory's entry of this name, of len bytes. */
static int step(struct inode *dir, const char *name, size_t len, struct inode **out)
{
	char part[NAME_MAX + 1];
	if (!is_dir(dir))
		return is_symlink(dir) ? -ELOOP : -ENOTDIR;
	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(part, name, len);
	part[len] = '\0';
	if (len == 0 || strcmp(part, ".") == 0) {
		*out = dir;
		return 0;
	}
	struct entry *e = names_find(&dir->names, part);
	if (e == NULL)
		return -ENOENT;
	*out = e->inode;
	return 0;
}

/* The directory that the last component of a name lies in; *last points into name. */
static int find_place(struct simfs *fs, int dirfd, const char *name, struct inode **dir,
		      const char **last)
{
	struct file *file = get_file(fs, dirfd);
	if (file == NULL)
		return -EBADF;
	if (name[0] == '/' || has_dotdot(name))
		return -EXDEV;
	if (strlen(name) >= PATH_MAX)
		return -ENAMETOOLONG;
	struct inode *at = file->inode;
	const char *part = name;
	for (const char *slash; (slash = strchr(part, '/')) != NULL; part = slash + 1) {
		int err = step(at, part, (size_t)(slash - part), &at);
		if (err < 0)
			return err;
	}
	if (!is_dir(at))
		return is_symlink(at) && part != name ? -ELOOP : -ENOTDIR;
	if (strlen(part) > NAME_MAX)
		return -ENAMETOOLONG;
	*dir = at;
	*last = part;
	return 0;
}

/* The inode behind a name; "" is dirfd's own. */
static int find_inode(struct simfs *fs, int dirfd, const char *name, struct inode **out)
{
	struct inode *dir;
	const char *last;
	if (name[0] == '\0') {
		struct file *file = get_file(fs, dirfd);
		if (file == NULL)
			return -EBADF;
		*out = file->inode;
		return 0;
	}
	int err = find_place(fs, dirfd, name, &dir, &last);
	return err < 0 ? err : step(dir, last, strlen(last), out);
}

/* A place where a new name can be made. */
static int find_free_place(struct simfs *fs, int dirfd, const char *name, struct inode **dir,
			   const char **last)
{
	struct inode *there;
	if (name[0] == '\0')
		return -ENOENT;
	int err = find_place(fs, dirfd, name, dir, last);
	if (err < 0)
		return err;
	if (step(*dir, *last, strlen(*last), &there) == 0)
		return -EEXIST;
	return (*dir)->nlink == 0 ? -ENOENT : 0;
}

/* ---- creating ---- */

/* Makes an inode and its name. */
static struct inode *create(struct simfs *fs, struct inode *dir, const char *last, mode_t mode)
{
	struct inode *in = inode_new(fs, mode, dir);
	change_edit(change_add(fs), dir, last, in);
	in->nlink = 1;
	if (S_ISDIR(mode)) {
		in->nlink = 2;
		in->parent = dir;
		dir->nlink++;
	}
	touch_mtime(fs, dir);
	return in;
}

static int sim_mkdir(void *self, int dirfd, const char *name, mode_t mode)
{
	struct simfs *fs = self;
	struct inode *dir;
	const char *last;
	int err = enter(fs, "mkdir", CHANGE);
	if (err == 0)
		err = find_free_place(fs, dirfd, name, &dir, &last);
	if (err == 0)
		create(fs, dir, last, S_IFDIR | (mode & 01777));
	return leave(fs, err);
}

static int mknod_check(mode_t mode)
{
	switch (mode & S_IFMT) {
	case 0:
	case S_IFREG:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return 0;
	case S_IFDIR:
		return -EPERM;
	default:
		return -EINVAL;
	}
}

static int sim_mknod(void *self, int dirfd, const char *name, mode_t mode, dev_t rdev)
{
	struct simfs *fs = self;
	struct inode *dir;
	const char *last;
	int err = enter(fs, "mknod", CHANGE);
	if (err == 0)
		err = mknod_check(mode);
	if (err == 0)
		err = find_free_place(fs, dirfd, name, &dir, &last);
	if (err == 0) {
		mode_t type = mode & S_IFMT ? mode & S_IFMT : S_IFREG;
		struct inode *in = create(fs, dir, last, type | (mode & 07777));
		if (S_ISCHR(type) || S_ISBLK(type))
			in->rdev = rdev;
	}
	return leave(fs, err);
}

static int sim_symlink(void *self, const char *target, int dirfd, const char *name)
{
	struct simfs *fs = self;
	struct inode *dir;
	const char *last;
	int err = enter(fs, "symlink", CHANGE);
	if (err == 0 && target[0] == '\0')
		err = -ENOENT;
	if (err == 0 && strlen(target) >= PATH_MAX)
		err = -ENAMETOOLONG;
	if (err == 0)
		err = find_free_place(fs, dirfd, name, &dir, &last);
	if (err == 0) {
		struct inode *in = create(fs, dir, last, S_IFLNK | 0777);
		in->target = must(strdup(target));
		in->now.size = in->disk.size = in->size_low = strlen(target);
	}
	return leave(fs, err);
}

static ssize_t sim_readlink(void *self, int dirfd, const char *name, char *buf, size_t size)
{
	struct simfs *fs = self;
	struct inode *in;
	ssize_t n = enter(fs, "readlink", LOOK);
	if (n == 0)
		n = find_inode(fs, dirfd, name, &in);
	if (n == 0 && !is_symlink(in))
		n = name[0] == '\0' ? -ENOENT : -EINVAL;
	if (n == 0 && size == 0)
		n = -EINVAL;
	if (n == 0) {
		size_t len = strlen(in->target);
		len = len < size ? len : size;
		memcpy(buf, in->target, len);
		n = (ssize_t)len;
	}
	return leave_count(fs, n);
}

/* ---- opening ---- */

static void set_size(struct simfs *fs, struct inode *in, uint64_t size)
{
	struct image *im = &in->now;
	size_t keep = (size_t)((size + BLOCK_SIZE - 1) / BLOCK_SIZE);
	for (size_t i = keep; i < im->nblocks; i++) {
		fs->free_blocks += im->blocks[i] != NULL;
		block_unref(im->blocks[i]);
	}
	if (im->nblocks > keep)
		im->nblocks = keep;
	im->size = size;
	image_zero_tail(im);
	if (size < in->size_low)
		in->size_low = size;
}

static bool break_leases(struct inode *in)
{
	bool any = false;
	for (struct file *f = in->files; f != NULL; f = f->next) {
		f->lease_breaking |= f->lease;
		any |= f->lease;
	}
	return any;
}

/* Waits until no lease is in the way of a writer. The caller keeps in alive. */
static int wait_for_leases(struct simfs *fs, struct inode *in, int flags)
{
	struct timespec until = wait_limit();
	while (break_leases(in)) {
		if (flags & O_NONBLOCK)
			return -EAGAIN;
		if (!wait_released(fs, &until)) {
			for (struct file *f = in->files; f != NULL; f = f->next)
				f->lease = f->lease_breaking = false;
		}
		if (fs->cut)
			return -EIO;
	}
	return 0;
}

static int open_check(const struct inode *in, int flags)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
	if (is_symlink(in)) {
		if ((flags & O_DIRECTORY) && (flags & O_NOFOLLOW))
			return -ENOTDIR;
		return (flags & O_PATH) && (flags & O_NOFOLLOW) ? 0 : -ELOOP;
	}
	if ((flags & O_DIRECTORY) && !is_dir(in))
		return -ENOTDIR;
	if (flags & O_PATH)
		return 0;
	if (is_dir(in))
		return writes || (flags & O_CREAT) ? -EISDIR : 0;
	return is_regular(in) ? 0 : -ENXIO;
}

static int open_inode(struct simfs *fs, struct inode *in, int flags)
{
	int err = open_check(in, flags);
	if (err < 0)
		return err;
	bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
	if (writes && !(flags & O_PATH)) {
		in->fds++;
		in->writers++;
		err = wait_for_leases(fs, in, flags);
		in->fds--;
		in->writers--;
	}
	if (err < 0) {
		inode_let_go(fs, in);
		return err;
	}
	int fd = add_file(fs, in, flags);
	if ((flags & O_TRUNC) && !(flags & O_PATH)) {
		set_size(fs, in, 0);
		touch_mtime(fs, in);
	}
	return fd;
}

static int open_name(struct simfs *fs, int dirfd, const char *name, int flags, mode_t mode)
{
	struct inode *dir, *in;
	const char *last;
	if ((flags & O_CREAT) && (flags & O_DIRECTORY))
		return -EINVAL;
	int err = find_place(fs, dirfd, name, &dir, &last);
	if (err < 0)
		return err;
	err = step(dir, last, strlen(last), &in);
	if (err == 0 && (flags & O_CREAT) && (flags & O_EXCL))
		return in == dir ? -EISDIR : -EEXIST;
	if (err == 0)
		return open_inode(fs, in, flags);
	if (err != -ENOENT || (flags & O_CREAT) == 0 || dir->nlink == 0)
		return err;
	in = create(fs, dir, last, S_IFREG | (mode & 07777));
	return add_file(fs, in, flags);
}

static int open_again(struct simfs *fs, int fd, int flags)
{
	struct file *file = get_file(fs, fd);
	if (file == NULL)
		return -EBADF;
	flags &= ~(O_CREAT | O_EXCL);
	/* A link's own descriptor can be had again with O_PATH only. */
	if (is_symlink(file->inode) && (flags & O_PATH))
		flags |= O_NOFOLLOW;
	else
		flags &= ~O_NOFOLLOW;
	return open_inode(fs, file->inode, flags);
}

static int sim_open(void *self, int dirfd, const char *name, int flags, mode_t mode)
{
	struct simfs *fs = self;
	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW;
	int fd = enter(fs, "open", flags & (O_CREAT | O_TRUNC) ? CHANGE : LOOK);
	if (fd == 0 && (flags & O_TMPFILE) == O_TMPFILE)
		fd = -EOPNOTSUPP;
	if (fd == 0 && name[0] == '\0')
		fd = open_again(fs, dirfd, flags);
	else if (fd == 0)
		fd = open_name(fs, dirfd, name, flags, mode);
	return leave(fs, fd);
}

static int sim_open_root(void *self, const char *path)
{
	struct simfs *fs = self;
	struct inode *at = fs->root;
	int err = enter(fs, "open_root", LOOK);
	while (err == 0 && *path != '\0') {
		size_t len = strcspn(path, "/");
		err = step(at, path, len, &at);
		path += len;
		path += *path == '/';
	}
	if (err == 0)
		err = open_inode(fs, at, O_RDONLY | O_DIRECTORY);
	return leave(fs, err);
}

static void sim_close(void *self, int fd)
{
	struct simfs *fs = self;
	pthread_mutex_lock(&fs->mutex);
	struct file *file = get_file(fs, fd);
	if (file != NULL) {
		struct inode *in = file->inode;
		struct file **slot = &in->files;
		while (*slot != file)
			slot = &(*slot)->next;
		*slot = file->next;
		in->fds--;
		in->writers -= can_write(file);
		fs->files[fd - FD_BASE] = NULL;
		fs->open_fds--;
		free(file);
		inode_let_go(fs, in);
		pthread_cond_broadcast(&fs->released);
	}
	pthread_mutex_unlock(&fs->mutex);
}

/* ---- looking ---- */

static int sim_stat(void *self, int dirfd, const char *name, struct dv_stat *out)
{
	struct simfs *fs = self;
	struct inode *in;
	int err = enter(fs, "stat", LOOK);
	if (err == 0)
		err = find_inode(fs, dirfd, name, &in);
	if (err == 0) {
		const struct image *im = &in->now;
		*out = (struct dv_stat){
			.mode = im->mode,
			.nlink = in->nlink,
			.uid = im->uid,
			.gid = im->gid,
			.rdev = in->rdev,
			.dev = 1,
			.ino = in->ino,
			.size = is_dir(in) ? BLOCK_SIZE : im->size,
			.blocks = is_dir(in) ? 8 : image_count_blocks(im) * 8,
			.blksize = BLOCK_SIZE,
			.atime = im->atime,
			.mtime = im->mtime,
			.ctime = im->ctime,
			.btime = in->btime,
		};
	}
	return leave(fs, err);
}

static int sim_fsinfo(void *self, int fd, struct dv_fsinfo *out)
{
	struct simfs *fs = self;
	int err = enter(fs, "fsinfo", LOOK);
	if (err == 0 && get_file(fs, fd) == NULL)
		err = -EBADF;
	if (err == 0) {
		*out = (struct dv_fsinfo){
			.type = fs->f_type,
			.bsize = BLOCK_SIZE,
			.blocks = FREE_BLOCKS_DEFAULT,
			.bfree = fs->free_blocks,
			.bavail = fs->free_blocks,
			.files = UINT32_MAX,
			.ffree = UINT32_MAX - fs->last_ino,
			.namelen = NAME_MAX,
			.frsize = BLOCK_SIZE,
			.network = fs->network,
		};
	}
	return leave(fs, err);
}

static unsigned char entry_type(const struct inode *in)
{
	return (unsigned char)((in->now.mode & S_IFMT) >> 12);
}

static ssize_t list_entries(const struct inode *dir, int64_t cookie, char *buf, size_t buf_size,
			    struct dv_dirent *out, size_t max)
{
	size_t count = 0, used = 0;
	for (size_t i = 0; i < dir->names.count && count < max; i++) {
		const struct entry *e = &dir->names.entries[i];
		size_t size = strlen(e->name) + 1;
		if (e->cookie <= cookie)
			continue;
		if (size > buf_size - used)
			return count > 0 ? (ssize_t)count : -EINVAL;
		memcpy(buf + used, e->name, size);
		out[count++] = (struct dv_dirent){
			.ino = e->inode->ino,
			.cookie = e->cookie,
			.type = entry_type(e->inode),
			.name = buf + used,
		};
		used += size;
	}
	return (ssize_t)count;
}

static ssize_t sim_readdir(void *self, int fd, int64_t cookie, void *buf, size_t buf_size,
			   struct dv_dirent *out, size_t max)
{
	struct simfs *fs = self;
	ssize_t n = enter(fs, "readdir", LOOK);
	if (n == 0) {
		struct file *file = get_open_file(fs, fd);
		if (file == NULL)
			n = -EBADF;
		else if (!is_dir(file->inode))
			n = -ENOTDIR;
		else if (max == 0)
			n = -EINVAL;
		else if (file->inode->nlink == 0)
			n = -ENOENT;
		else
			n = list_entries(file->inode, cookie, buf, buf_size, out, max);
	}
	return leave_count(fs, n);
}

/* ---- data ---- */

static ssize_t read_data(const struct image *im, void *buf, size_t len, uint64_t off)
{
	unsigned char *out = buf;
	if (off >= im->size)
		return 0;
	if (len > im->size - off)
		len = (size_t)(im->size - off);
	for (size_t done = 0; done < len;) {
		size_t at = (size_t)((off + done) % BLOCK_SIZE);
		size_t part = BLOCK_SIZE - at < len - done ? BLOCK_SIZE - at : len - done;
		const struct block *b = image_block(im, (size_t)((off + done) / BLOCK_SIZE));
		if (b != NULL)
			memcpy(out + done, b->bytes + at, part);
		else
			memset(out + done, 0, part);
		done += part;
	}
	return (ssize_t)len;
}

static ssize_t read_fd(struct simfs *fs, int fd, void *buf, size_t len, uint64_t off)
{
	struct file *file = get_file(fs, fd);
	if (file == NULL || !can_read(file))
		return -EBADF;
	if (off > INT64_MAX)
		return -EINVAL;
	if (is_dir(file->inode))
		return -EISDIR;
	return read_data(&file->inode->now, buf, transfer_len(fs, len), off);
}

static ssize_t sim_pread(void *self, int fd, void *buf, size_t len, uint64_t off)
{
	struct simfs *fs = self;
	ssize_t n = enter(fs, "pread", TRANSFER);
	if (n == 0)
		n = read_fd(fs, fd, buf, len, off);
	return leave_count(fs, n);
}

static ssize_t sim_pread_nowait(void *self, int fd, void *buf, size_t len, uint64_t off)
{
	struct simfs *fs = self;
	ssize_t n = enter(fs, "pread_nowait", TRANSFER);
	if (n == 0)
		n = fs->cold ? -EAGAIN : read_fd(fs, fd, buf, len, off);
	return leave_count(fs, n);
}

/* A block that may be written; NULL where space is out. */
static struct block *block_for_write(struct simfs *fs, struct image *im, size_t index)
{
	struct block *b = image_own_block(im, index);
	if (b != NULL || fs->free_blocks == 0)
		return b;
	fs->free_blocks--;
	b = block_new();
	image_set_block(im, index, b);
	return b;
}

static ssize_t write_data(struct simfs *fs, struct inode *in, const void *buf, size_t len,
			  uint64_t off)
{
	const unsigned char *from = buf;
	size_t done = 0;
	if (off > INT64_MAX)
		return -EINVAL;
	if (len == 0)
		return 0;
	if (off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off)
		return -EFBIG;
	while (done < len) {
		size_t at = (size_t)((off + done) % BLOCK_SIZE);
		size_t part = BLOCK_SIZE - at < len - done ? BLOCK_SIZE - at : len - done;
		struct block *b =
			block_for_write(fs, &in->now, (size_t)((off + done) / BLOCK_SIZE));
		if (b == NULL)
			break;
		memcpy(b->bytes + at, from + done, part);
		done += part;
	}
	if (done == 0)
		return -ENOSPC;
	if (off + done > in->now.size)
		in->now.size = off + done;
	touch_mtime(fs, in);
	return (ssize_t)done;
}

static ssize_t sim_pwrite(void *self, int fd, const void *buf, size_t len, uint64_t off)
{
	struct simfs *fs = self;
	ssize_t n = enter(fs, "pwrite", CHANGE | TRANSFER);
	if (n == 0) {
		struct file *file = get_file(fs, fd);
		if (file == NULL || !can_write(file)) {
			n = -EBADF;
		} else {
			if (file->flags & O_APPEND)
				off = file->inode->now.size;
			n = write_data(fs, file->inode, buf, transfer_len(fs, len), off);
		}
	}
	return leave_count(fs, n);
}

static ssize_t sim_append(void *self, int fd, const void *buf, size_t len)
{
	struct simfs *fs = self;
	ssize_t n = enter(fs, "pwrite", CHANGE | TRANSFER);
	if (n == 0) {
		struct file *file = get_file(fs, fd);
		n = file == NULL || !can_write(file)
			    ? -EBADF
			    : write_data(fs, file->inode, buf, transfer_len(fs, len),
					 file->inode->now.size);
	}
	return leave_count(fs, n);
}

static int sim_truncate(void *self, int fd, uint64_t size)
{
	struct simfs *fs = self;
	int err = enter(fs, "truncate", CHANGE);
	if (err == 0) {
		struct file *file = get_open_file(fs, fd);
		if (size > INT64_MAX)
			err = -EINVAL;
		else if (file == NULL)
			err = -EBADF;
		else if (!can_write(file))
			err = -EINVAL;
		else if (size > FILE_SIZE_MAX)
			err = -EFBIG;
		else {
			set_size(fs, file->inode, size);
			touch_mtime(fs, file->inode);
		}
	}
	return leave(fs, err);
}

/* Makes [off, end) zero; whole blocks become holes with punch, else blocks of zeros. */
static int zero_range(struct simfs *fs, struct inode *in, uint64_t off, uint64_t end, bool punch)
{
	struct image *im = &in->now;
	while (off < end) {
		size_t index = (size_t)(off / BLOCK_SIZE), at = (size_t)(off % BLOCK_SIZE);
		uint64_t left = end - off;
		size_t part = BLOCK_SIZE - at < left ? BLOCK_SIZE - at : (size_t)left;
		if (punch && part == BLOCK_SIZE) {
			fs->free_blocks += image_block(im, index) != NULL;
			image_set_block(im, index, NULL);
		} else {
			struct block *b =
				punch ? image_own_block(im, index) : block_for_write(fs, im, index);
			if (b == NULL && !punch)
				return -ENOSPC;
			if (b != NULL)
				memset(b->bytes + at, 0, part);
		}
		off += part;
	}
	return 0;
}

static int allocate_range(struct simfs *fs, struct inode *in, uint64_t off, uint64_t end)
{
	for (size_t i = (size_t)(off / BLOCK_SIZE); i * (uint64_t)BLOCK_SIZE < end; i++) {
		if (block_for_write(fs, &in->now, i) == NULL)
			return -ENOSPC;
	}
	return 0;
}

static int fallocate_inode(struct simfs *fs, struct inode *in, int mode, uint64_t off, uint64_t len)
{
	const int zero = FALLOC_FL_ZERO_RANGE, punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	int err;
	if (len == 0 || off > INT64_MAX || len > INT64_MAX)
		return -EINVAL;
	if (mode != punch && (mode & ~(FALLOC_FL_KEEP_SIZE | zero)) != 0)
		return -EOPNOTSUPP;
	if (off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off)
		return -EFBIG;
	uint64_t end = off + len;
	if (mode == punch)
		err = zero_range(fs, in, off, end, true);
	else if (mode & zero)
		err = zero_range(fs, in, off, end, false);
	else
		err = allocate_range(fs, in, off, end);
	if (err == 0 && (mode & FALLOC_FL_KEEP_SIZE) == 0 && end > in->now.size)
		in->now.size = end;
	if (err == 0)
		touch_mtime(fs, in);
	return err;
}

static int sim_fallocate(void *self, int fd, int mode, uint64_t off, uint64_t len)
{
	struct simfs *fs = self;
	int err = enter(fs, "fallocate", CHANGE);
	if (err == 0) {
		struct file *file = get_file(fs, fd);
		if (file == NULL || !can_write(file))
			err = -EBADF;
		else
			err = fallocate_inode(fs, file->inode, mode, off, len);
	}
	return leave(fs, err);
}

static int seek_image(const struct image *im, uint64_t off, int whence, uint64_t *out)
{
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (off >= im->size)
		return -ENXIO;
	while (off < im->size) {
		bool data = image_block(im, (size_t)(off / BLOCK_SIZE)) != NULL;
		if (data == (whence == SEEK_DATA)) {
			*out = off;
			return 0;
		}
		off = (off / BLOCK_SIZE + 1) * BLOCK_SIZE;
	}
	*out = im->size;
	return whence == SEEK_HOLE ? 0 : -ENXIO;
}

static int sim_seek(void *self, int fd, uint64_t off, int whence, uint64_t *out)
{
	struct simfs *fs = self;
	int err = enter(fs, "seek", LOOK);
	if (err == 0) {
		struct file *file = get_open_file(fs, fd);
		err = file == NULL ? -EBADF : seek_image(&file->inode->now, off, whence, out);
	}
	return leave(fs, err);
}

static ssize_t copy_data(struct simfs *fs, struct file *from, uint64_t from_off, struct file *to,
			 uint64_t to_off, size_t len)
{
	unsigned char bytes[BLOCK_SIZE];
	size_t done = 0;
	if (is_dir(from->inode) || is_dir(to->inode))
		return -EISDIR;
	if (!can_read(from) || !can_write(to) || (to->flags & O_APPEND))
		return -EBADF;
	uint64_t size = from->inode->now.size;
	if (from_off >= size)
		return 0;
	if (len > size - from_off)
		len = (size_t)(size - from_off);
	if (from->inode == to->inode && from_off < to_off + len && to_off < from_off + len)
		return -EINVAL;
	while (done < len) {
		size_t part = len - done < sizeof(bytes) ? len - done : sizeof(bytes);
		read_data(&from->inode->now, bytes, part, from_off + done);
		ssize_t n = write_data(fs, to->inode, bytes, part, to_off + done);
		if (n < 0)
			return done > 0 ? (ssize_t)done : n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static ssize_t sim_copy_range(void *self, int from, uint64_t from_off, int to, uint64_t to_off,
			      size_t len)
{
	struct simfs *fs = self;
	ssize_t n = enter(fs, "copy_range", CHANGE | TRANSFER);
	if (n == 0) {
		struct file *in = get_open_file(fs, from), *out = get_open_file(fs, to);
		if (in == NULL || out == NULL)
			n = -EBADF;
		else
			n = copy_data(fs, in, from_off, out, to_off, transfer_len(fs, len));
	}
	return leave_count(fs, n);
}

static void sim_advise(void *self, int fd, uint64_t off, uint64_t len, int fadvice)
{
	(void)self, (void)fd, (void)off, (void)len, (void)fadvice;
}

/* ---- durability ---- */

static void sync_data(struct inode *in)
{
	image_copy_data(&in->disk, &in->now);
	in->size_low = in->now.size;
}

static void sync_inode(struct simfs *fs, struct inode *in, bool attributes)
{
	if (is_dir(in))
		changes_sync(fs, in);
	else
		sync_data(in);
	if (attributes || is_dir(in))
		image_copy_attributes(&in->disk, &in->now);
}

static void sync_all(struct simfs *fs)
{
	changes_sync(fs, NULL);
	for (struct inode *in = fs->inodes; in != NULL; in = in->next) {
		sync_data(in);
		image_copy_attributes(&in->disk, &in->now);
	}
}

/* Counts a sync; whether it is one that simfs_ignore_fsync makes void. */
static bool sync_ignored(struct simfs *fs)
{
	fs->fsync_calls++;
	return fs->ignore_fsync_left > 0 && --fs->ignore_fsync_left == 0;
}

static int sync_fd(struct simfs *fs, int fd, const char *op, bool attributes)
{
	int err = enter(fs, op, CHANGE);
	bool ignored = sync_ignored(fs);
	if (err == 0) {
		struct file *file = get_open_file(fs, fd);
		if (file == NULL)
			err = -EBADF;
		else if (!ignored)
			sync_inode(fs, file->inode, attributes);
	}
	return leave(fs, err);
}

static int sim_fsync(void *self, int fd)
{
	return sync_fd(self, fd, "fsync", true);
}

static int sim_fdatasync(void *self, int fd)
{
	return sync_fd(self, fd, "fdatasync", false);
}

static int sim_syncfs(void *self, int fd)
{
	struct simfs *fs = self;
	int err = enter(fs, "syncfs", CHANGE);
	bool ignored = sync_ignored(fs);
	if (err == 0) {
		if (get_open_file(fs, fd) == NULL)
			err = -EBADF;
		else if (!ignored)
			sync_all(fs);
	}
	return leave(fs, err);
}

/* ---- names ---- */

static int link_inode(struct simfs *fs, struct inode *in, int newdir, const char *newname)
{
	struct inode *dir;
	const char *last;
	int err = find_free_place(fs, newdir, newname, &dir, &last);
	if (err < 0)
		return err;
	if (is_dir(in))
		return -EPERM;
	if (in->nlink == 0)
		return -ENOENT;
	if (in->nlink >= LINKS_MAX)
		return -EMLINK;
	change_edit(change_add(fs), dir, last, in);
	in->nlink++;
	touch_ctime(fs, in);
	touch_mtime(fs, dir);
	return 0;
}

static int sim_link(void *self, int olddir, const char *oldname, int newdir, const char *newname)
{
	struct simfs *fs = self;
	struct inode *in;
	int err = enter(fs, "link", CHANGE);
	if (err == 0)
		err = find_inode(fs, olddir, oldname, &in);
	if (err == 0)
		err = link_inode(fs, in, newdir, newname);
	return leave(fs, err);
}

static int sim_link_fd(void *self, int fd, int newdir, const char *newname)
{
	struct simfs *fs = self;
	int err = enter(fs, "link_fd", CHANGE);
	if (err == 0) {
		struct file *file = get_file(fs, fd);
		err = file == NULL ? -EBADF : link_inode(fs, file->inode, newdir, newname);
	}
	return leave(fs, err);
}

/* in lost a name. It may be freed. */
static void drop_name(struct simfs *fs, struct inode *in)
{
	if (is_dir(in)) {
		in->nlink = 0;
		in->parent->nlink--;
		in->parent = NULL; /* it may be freed before a descriptor lets this one go */
	} else {
		in->nlink--;
	}
	touch_ctime(fs, in);
	inode_let_go(fs, in);
}

static int remove_name(struct simfs *fs, int dirfd, const char *name, bool directory)
{
	struct inode *dir, *in;
	const char *last;
	if (name[0] == '\0')
		return -ENOENT;
	int err = find_place(fs, dirfd, name, &dir, &last);
	if (err < 0)
		return err;
	err = step(dir, last, strlen(last), &in);
	if (err < 0)
		return err;
	if (in == dir)
		return directory ? -EINVAL : -EISDIR;
	if (directory && !is_dir(in))
		return -ENOTDIR;
	if (!directory && is_dir(in))
		return -EISDIR;
	if (directory && in->names.count > 0)
		return -ENOTEMPTY;
	change_edit(change_add(fs), dir, last, NULL);
	touch_mtime(fs, dir);
	drop_name(fs, in);
	return 0;
}

static int sim_unlink(void *self, int dirfd, const char *name)
{
	struct simfs *fs = self;
	int err = enter(fs, "unlink", CHANGE);
	if (err == 0)
		err = remove_name(fs, dirfd, name, false);
	return leave(fs, err);
}

static int sim_rmdir(void *self, int dirfd, const char *name)
{
	struct simfs *fs = self;
	int err = enter(fs, "rmdir", CHANGE);
	if (err == 0)
		err = remove_name(fs, dirfd, name, true);
	return leave(fs, err);
}

/* One side of a rename. */
struct side {
	struct inode *dir, *inode; /* inode NULL: no such name */
	const char *last;
};

static int find_side(struct simfs *fs, int dirfd, const char *name, struct side *side)
{
	if (name[0] == '\0')
		return -ENOENT;
	int err = find_place(fs, dirfd, name, &side->dir, &side->last);
	if (err < 0)
		return err;
	err = step(side->dir, side->last, strlen(side->last), &side->inode);
	if (err == -ENOENT)
		side->inode = NULL;
	else if (err < 0)
		return err;
	return 0;
}

/* Whether in is dir or lies above it. */
static bool is_above(const struct inode *in, const struct inode *dir)
{
	for (; dir != NULL; dir = dir->parent) {
		if (dir == in)
			return true;
	}
	return false;
}

static int rename_check(const struct side *from, const struct side *to, unsigned flags)
{
	bool exchange = flags & RENAME_EXCHANGE;
	if (from->inode == from->dir || to->inode == to->dir)
		return flags & RENAME_NOREPLACE && to->inode == to->dir ? -EEXIST : -EBUSY;
	if (from->inode == NULL)
		return -ENOENT;
	if ((flags & RENAME_NOREPLACE) && to->inode != NULL)
		return -EEXIST;
	if (exchange && to->inode == NULL)
		return -ENOENT;
	if (is_above(from->inode, to->dir))
		return -EINVAL;
	if (to->inode != NULL && is_above(to->inode, from->dir))
		return exchange ? -EINVAL : -ENOTEMPTY;
	if (to->dir->nlink == 0)
		return -ENOENT;
	if (to->inode == NULL || to->inode == from->inode || exchange)
		return 0;
	if (is_dir(from->inode) && !is_dir(to->inode))
		return -ENOTDIR;
	if (!is_dir(from->inode) && is_dir(to->inode))
		return -EISDIR;
	return to->inode->names.count > 0 ? -ENOTEMPTY : 0;
}

/* in has moved to dir. */
static void move_parent(struct change *c, struct inode *in, struct inode *dir)
{
	if (!is_dir(in) || in->parent == dir)
		return;
	in->parent->nlink--;
	dir->nlink++;
	in->parent = dir;
	c->moved = in;
}

static void rename_sides(struct simfs *fs, const struct side *from, const struct side *to,
			 bool exchange)
{
	struct change *c = change_add(fs);
	change_edit(c, from->dir, from->last, exchange ? to->inode : NULL);
	if (fs->tear_rename_left > 0 && --fs->tear_rename_left == 0)
		c = change_add(fs);
	change_edit(c, to->dir, to->last, from->inode);
	if (exchange)
		move_parent(c, to->inode, from->dir);
	move_parent(c, from->inode, to->dir);
	touch_mtime(fs, from->dir);
	touch_mtime(fs, to->dir);
	touch_ctime(fs, from->inode);
	if (exchange)
		touch_ctime(fs, to->inode);
	else if (to->inode != NULL)
		drop_name(fs, to->inode);
}

static int rename_names(struct simfs *fs, int olddir, const char *oldname, int newdir,
			const char *newname, unsigned flags)
{
	struct side from, to;
	if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	int err = find_side(fs, olddir, oldname, &from);
	if (err == 0)
		err = find_side(fs, newdir, newname, &to);
	if (err == 0)
		err = rename_check(&from, &to, flags);
	if (err == 0 && from.inode != to.inode)
		rename_sides(fs, &from, &to, flags & RENAME_EXCHANGE);
	return err;
}

static int sim_rename(void *self, int olddir, const char *oldname, int newdir, const char *newname,
		      unsigned flags)
{
	struct simfs *fs = self;
	int err = enter(fs, "rename", CHANGE);
	if (err == 0)
		err = rename_names(fs, olddir, oldname, newdir, newname, flags);
	return leave(fs, err);
}

/* ---- attributes ---- */

static int sim_chmod(void *self, int fd, mode_t mode)
{
	struct simfs *fs = self;
	int err = enter(fs, "chmod", CHANGE);
	if (err == 0) {
		struct file *file = get_file(fs, fd);
		if (file == NULL) {
			err = -EBADF;
		} else if (is_symlink(file->inode)) {
			err = -EOPNOTSUPP;
		} else {
			struct image *im = &file->inode->now;
			im->mode = (im->mode & S_IFMT) | (mode & 07777);
			touch_ctime(fs, file->inode);
		}
	}
	return leave(fs, err);
}

static int sim_chown(void *self, int fd, uid_t uid, gid_t gid)
{
	struct simfs *fs = self;
	int err = enter(fs, "chown", CHANGE);
	if (err == 0) {
		struct file *file = get_file(fs, fd);
		if (file == NULL) {
			err = -EBADF;
		} else {
			struct image *im = &file->inode->now;
			im->uid = uid == (uid_t)-1 ? im->uid : uid;
			im->gid = gid == (gid_t)-1 ? im->gid : gid;
			if (!S_ISDIR(im->mode)) {
				im->mode &= ~(mode_t)S_ISUID;
				if (im->mode & S_IXGRP)
					im->mode &= ~(mode_t)S_ISGID;
			}
			touch_ctime(fs, file->inode);
		}
	}
	return leave(fs, err);
}

static bool time_is_valid(const struct timespec *t)
{
	return t->tv_nsec == UTIME_NOW || t->tv_nsec == UTIME_OMIT ||
	       (t->tv_nsec >= 0 && t->tv_nsec < 1000000000);
}

static void set_time(struct timespec *to, const struct timespec *t, struct timespec now)
{
	if (t->tv_nsec == UTIME_NOW)
		*to = now;
	else if (t->tv_nsec != UTIME_OMIT)
		*to = *t;
}

static int sim_utimens(void *self, int fd, const struct timespec times[2])
{
	struct simfs *fs = self;
	int err = enter(fs, "utimens", CHANGE);
	if (err == 0) {
		struct file *file = get_file(fs, fd);
		bool omit = times[0].tv_nsec == UTIME_OMIT && times[1].tv_nsec == UTIME_OMIT;
		if (file == NULL) {
			err = -EBADF;
		} else if (!time_is_valid(&times[0]) || !time_is_valid(&times[1])) {
			err = -EINVAL;
		} else if (!omit) {
			struct image *im = &file->inode->now;
			struct timespec now = tick(fs);
			set_time(&im->atime, &times[0], now);
			set_time(&im->mtime, &times[1], now);
			im->ctime = now;
		}
	}
	return leave(fs, err);
}

/* 0, or the error that a name has before anything is looked at. */
static int xattr_name_check(const char *attr)
{
	static const char *const spaces[] = {"user.", "trusted.", "security.", "system.posix_acl_"};
	size_t len = strlen(attr);
	if (len == 0 || len > XATTR_NAME_MAX)
		return -ERANGE;
	for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
		if (strncmp(attr, spaces[i], strlen(spaces[i])) == 0)
			return 0;
	}
	return -EOPNOTSUPP;
}

/* Attributes of users are for files and directories. */
static bool xattr_is_barred(const struct inode *in, const char *attr)
{
	return strncmp(attr, "user.", 5) == 0 && !is_regular(in) && !is_dir(in);
}

static ssize_t read_xattr(const struct inode *in, const char *attr, void *buf, size_t size)
{
	int err = xattr_name_check(attr);
	if (err < 0)
		return err;
	if (xattr_is_barred(in, attr))
		return -ENODATA;
	const struct xattr *x = image_find_xattr(&in->now, attr);
	if (x == NULL)
		return -ENODATA;
	if (size > 0 && x->size > size)
		return -ERANGE;
	if (size > 0 && x->size > 0)
		memcpy(buf, x->value, x->size);
	return (ssize_t)x->size;
}

static ssize_t sim_getxattr(void *self, int fd, const char *attr, void *buf, size_t size)
{
	struct simfs *fs = self;
	ssize_t n = enter(fs, "getxattr", LOOK);
	if (n == 0) {
		struct file *file = get_file(fs, fd);
		n = file == NULL ? -EBADF : read_xattr(file->inode, attr, buf, size);
	}
	return leave_count(fs, n);
}

static ssize_t sim_getxattr_at(void *self, int dirfd, const char *name, const char *attr, void *buf,
			       size_t size)
{
	struct simfs *fs = self;
	struct inode *in;
	ssize_t n = enter(fs, "getxattr_at", LOOK);
	if (n == 0)
		n = find_inode(fs, dirfd, name, &in);
	if (n == 0)
		n = read_xattr(in, attr, buf, size);
	return leave_count(fs, n);
}

static int write_xattr(struct simfs *fs, struct inode *in, const char *attr, const void *buf,
		       size_t size, int flags)
{
	if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) != 0)
		return -EINVAL;
	int err = xattr_name_check(attr);
	if (err == -ERANGE)
		return err;
	if (size > XATTR_VALUE_MAX)
		return -E2BIG;
	if (err < 0)
		return err;
	if (xattr_is_barred(in, attr))
		return -EPERM;
	bool there = image_find_xattr(&in->now, attr) != NULL;
	if (there && (flags & XATTR_CREATE))
		return -EEXIST;
	if (!there && (flags & XATTR_REPLACE))
		return -ENODATA;
	image_set_xattr(&in->now, attr, buf, size);
	touch_ctime(fs, in);
	return 0;
}

static int sim_setxattr(void *self, int fd, const char *attr, const void *buf, size_t size,
			int flags)
{
	struct simfs *fs = self;
	int err = enter(fs, "setxattr", CHANGE);
	if (err == 0) {
		struct file *file = get_file(fs, fd);
		err = file == NULL ? -EBADF : write_xattr(fs, file->inode, attr, buf, size, flags);
	}
	return leave(fs, err);
}

static ssize_t list_xattrs(const struct image *im, char *buf, size_t size)
{
	size_t need = 0;
	for (size_t i = 0; i < im->nxattrs; i++) {
		size_t len = strlen(im->xattrs[i].name) + 1;
		if (size > 0 && len > size - need)
			return -ERANGE;
		if (size > 0)
			memcpy(buf + need, im->xattrs[i].name, len);
		need += len;
	}
	return (ssize_t)need;
}

static ssize_t sim_listxattr(void *self, int fd, char *buf, size_t size)
{
	struct simfs *fs = self;
	ssize_t n = enter(fs, "listxattr", LOOK);
	if (n == 0) {
		struct file *file = get_file(fs, fd);
		n = file == NULL ? -EBADF : list_xattrs(&file->inode->now, buf, size);
	}
	return leave_count(fs, n);
}

static int sim_removexattr(void *self, int fd, const char *attr)
{
	struct simfs *fs = self;
	int err = enter(fs, "removexattr", CHANGE);
	if (err == 0) {
		struct file *file = get_file(fs, fd);
		if (file == NULL)
			err = -EBADF;
		else
			err = xattr_name_check(attr);
		if (err == 0 && xattr_is_barred(file->inode, attr))
			err = -EPERM;
		if (err == 0 && !image_remove_xattr(&file->inode->now, attr))
			err = -ENODATA;
		if (err == 0)
			touch_ctime(fs, file->inode);
	}
	return leave(fs, err);
}

/* ---- locks, leases, identity ---- */

static bool lock_conflicts(const struct file *file, int kind)
{
	for (const struct file *f = file->inode->files; f != NULL; f = f->next) {
		if (f != file && f->lock != LOCK_UN && (f->lock == LOCK_EX || kind == LOCK_EX))
			return true;
	}
	return false;
}

static int lock_file(struct simfs *fs, struct file *file, int operation)
{
	int kind = operation & ~LOCK_NB;
	struct timespec until = wait_limit();
	if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN)
		return -EINVAL;
	if (file->lock == kind)
		return 0;
	/* As in the kernel, a conversion lets go first, and does not get it back on failure. */
	file->lock = LOCK_UN;
	pthread_cond_broadcast(&fs->released);
	if (kind == LOCK_UN)
		return 0;
	while (lock_conflicts(file, kind)) {
		if (operation & LOCK_NB)
			return -EWOULDBLOCK;
		if (!wait_released(fs, &until)) {
			fprintf(stderr, "simfs: flock waits for ever\n");
			abort();
		}
		if (fs->cut)
			return -EIO;
	}
	file->lock = kind;
	return 0;
}

static int sim_flock(void *self, int fd, int operation)
{
	struct simfs *fs = self;
	int err = enter(fs, "flock", LOOK);
	if (err == 0) {
		struct file *file = get_open_file(fs, fd);
		err = file == NULL ? -EBADF : lock_file(fs, file, operation);
	}
	return leave(fs, err);
}

static int set_lease(struct simfs *fs, struct file *file, int type)
{
	if (type == F_UNLCK) {
		if (!file->lease)
			return -EAGAIN;
		file->lease = file->lease_breaking = false;
		pthread_cond_broadcast(&fs->released);
		return 0;
	}
	if (type != F_RDLCK || !is_regular(file->inode))
		return -EINVAL;
	if (file->inode->writers > 0)
		return -EAGAIN;
	file->lease = true;
	return 0;
}

static int sim_set_lease(void *self, int fd, int type)
{
	struct simfs *fs = self;
	int err = enter(fs, "set_lease", LOOK);
	if (err == 0) {
		struct file *file = get_open_file(fs, fd);
		err = file == NULL ? -EBADF : set_lease(fs, file, type);
	}
	return leave(fs, err);
}

static int sim_get_lease(void *self, int fd)
{
	struct simfs *fs = self;
	int err = enter(fs, "get_lease", LOOK);
	if (err == 0) {
		struct file *file = get_open_file(fs, fd);
		if (file == NULL)
			err = -EBADF;
		else
			err = file->lease && !file->lease_breaking ? F_RDLCK : F_UNLCK;
	}
	return leave(fs, err);
}

static void sim_act_as(void *self, uid_t uid, gid_t gid)
{
	(void)self;
	acting.set = true;
	acting.uid = uid;
	acting.gid = gid;
}

/* ---- life ---- */

static struct simfs *fs_alloc(void)
{
	struct simfs *fs = zalloc(sizeof(*fs));
	pthread_mutex_init(&fs->mutex, NULL);
	pthread_cond_init(&fs->released, NULL);
	fs->clock_step_ns = 1;
	fs->f_type = EXT4_MAGIC;
	return fs;
}

struct simfs *simfs_new(void)
{
	struct simfs *fs = fs_alloc();
	fs->clock_ns = (uint64_t)CLOCK_START_S * 1000000000u;
	fs->free_blocks = FREE_BLOCKS_DEFAULT;
	fs->last_ino = ROOT_INO - 1;
	fs->root = inode_new(fs, S_IFDIR | 0755, NULL);
	fs->root->nlink = 2;
	fs->last_ino = FIRST_INO - 1;
	return fs;
}

static void changes_clear(struct simfs *fs)
{
	for (size_t i = 0; i < fs->nchanges; i++)
		change_release(&fs->changes[i]);
	fs->nchanges = 0;
}

void simfs_free(struct simfs *fs)
{
	if (fs == NULL)
		return;
	changes_clear(fs);
	free(fs->changes);
	for (size_t i = 0; i < fs->nfiles; i++)
		free(fs->files[i]);
	free(fs->files);
	for (struct inode *in = fs->inodes, *next; in != NULL; in = next) {
		next = in->next;
		inode_free(in);
	}
	free(fs->free_inos);
	pthread_cond_destroy(&fs->released);
	pthread_mutex_destroy(&fs->mutex);
	free(fs);
}

struct dv_backing simfs_backing(struct simfs *fs)
{
	static const struct dv_backing_ops ops = {
		.open = sim_open,
		.open_root = sim_open_root,
		.close = sim_close,
		.stat = sim_stat,
		.fsinfo = sim_fsinfo,
		.pread = sim_pread,
		.pread_nowait = sim_pread_nowait,
		.pwrite = sim_pwrite,
		.append = sim_append,
		.truncate = sim_truncate,
		.fallocate = sim_fallocate,
		.seek = sim_seek,
		.fsync = sim_fsync,
		.fdatasync = sim_fdatasync,
		.syncfs = sim_syncfs,
		.advise = sim_advise,
		.mkdir = sim_mkdir,
		.mknod = sim_mknod,
		.symlink = sim_symlink,
		.readlink = sim_readlink,
		.link = sim_link,
		.link_fd = sim_link_fd,
		.unlink = sim_unlink,
		.rmdir = sim_rmdir,
		.rename = sim_rename,
		.chmod = sim_chmod,
		.chown = sim_chown,
		.utimens = sim_utimens,
		.getxattr = sim_getxattr,
		.getxattr_at = sim_getxattr_at,
		.setxattr = sim_setxattr,
		.listxattr = sim_listxattr,
		.removexattr = sim_removexattr,
		.readdir = sim_readdir,
		.flock = sim_flock,
		.set_lease = sim_set_lease,
		.get_lease = sim_get_lease,
		.copy_range = sim_copy_range,
		.act_as = sim_act_as,
	};
	return (struct dv_backing){.ops = &ops, .self = fs};
}

/* ---- crashing ---- */

/* What a seed chooses. */
struct fate {
	enum { LOSE_ALL, KEEP_ALL, CHOOSE } kind;
	uint64_t state;
	uint64_t names_kept; /* of 16 */
};

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t fate_next(struct fate *fate, uint64_t below)
{
	uint64_t z = (fate->state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % below;
}

static bool fate_keeps(struct fate *fate)
{
	return fate->kind == CHOOSE ? fate_next(fate, 2) == 0 : fate->kind == KEEP_ALL;
}

static struct inode *inode_clone(const struct inode *in)
{
	struct inode *copy = zalloc(sizeof(*copy));
	copy->id = in->id;
	copy->ino = in->ino;
	copy->reused_id = in->reused_id;
	copy->rdev = in->rdev;
	copy->target = in->target != NULL ? must(strdup(in->target)) : NULL;
	copy->btime = in->btime;
	image_copy_data(&copy->now, &in->now);
	image_copy_attributes(&copy->now, &in->now);
	image_copy_data(&copy->disk, &in->disk);
	image_copy_attributes(&copy->disk, &in->disk);
	names_copy(&copy->names, &in->names);
	names_copy(&copy->disk_names, &in->disk_names);
	copy->size_low = in->size_low;
	copy->parent = in->parent;
	copy->nlink = in->nlink;
	copy->dead = in->dead;
	return copy;
}

static struct inode *clone_of(const struct inode *in)
{
	return in != NULL ? in->clone : NULL;
}

static void names_to_clones(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		names->entries[i].inode = clone_of(names->entries[i].inode);
}

static void clone_inodes(struct simfs *fs, struct simfs *copy)
{
	struct inode **tail = &copy->inodes;
	sweep(fs);
	for (struct inode *in = fs->inodes; in != NULL; in = in->next) {
		in->clone = *tail = inode_clone(in);
		tail = &in->clone->next;
	}
	for (struct inode *in = copy->inodes; in != NULL; in = in->next) {
		names_to_clones(&in->names);
		names_to_clones(&in->disk_names);
		in->parent = clone_of(in->parent);
	}
	copy->root = clone_of(fs->root);
}

static void clone_changes(const struct simfs *fs, struct simfs *copy)
{
	for (size_t i = 0; i < fs->nchanges; i++) {
		const struct change *from = &fs->changes[i];
		struct change *to = change_add(copy);
		*to = *from;
		to->moved = clone_of(from->moved);
		for (size_t e = 0; e < from->count; e++) {
			to->edits[e] = (struct edit){
				.dir = clone_of(from->edits[e].dir),
				.name = must(strdup(from->edits[e].name)),
				.was = clone_of(from->edits[e].was),
				.is = clone_of(from->edits[e].is),
			};
		}
	}
}

/* The same files, without descriptors and with nothing armed. */
static struct simfs *fs_clone(struct simfs *fs)
{
	struct simfs *copy = fs_alloc();
	clone_inodes(fs, copy);
	clone_changes(fs, copy);
	for (size_t i = 0; i < fs->nfree_inos; i++)
		give_ino(copy, fs->free_inos[i].ino, fs->free_inos[i].id);
	copy->last_ino = fs->last_ino;
	copy->last_id = fs->last_id;
	copy->free_blocks = fs->free_blocks;
	copy->clock_ns = fs->clock_ns;
	copy->clock_step_ns = fs->clock_step_ns;
	copy->f_type = fs->f_type;
	copy->network = fs->network;
	copy->ordered = fs->ordered;
	return copy;
}

struct simfs *simfs_after_kill(struct simfs *fs)
{
	pthread_mutex_lock(&fs->mutex);
	struct simfs *copy = fs_clone(fs);
	pthread_mutex_unlock(&fs->mutex);
	for (struct inode *in = copy->inodes; in != NULL; in = in->next) {
		/* Files that only descriptors kept; not inode_let_go, which may sweep the list. */
		if (in->nlink > 0 || in->dead)
			continue;
		in->dead = true;
		copy->free_blocks += image_count_blocks(&in->now);
		give_ino(copy, in->ino, in->id);
	}
	return copy;
}

/* Chooses which changes of names are on the disk, and applies them. */
static void settle_names(struct simfs *fs, struct fate *fate)
{
	for (size_t i = 0; i < fs->nchanges; i++) {
		struct change *c = &fs->changes[i];
		c->mark = fate->kind == CHOOSE ? fate_next(fate, 16) < fate->names_kept
					       : fate->kind == KEEP_ALL;
		for (size_t j = 0; j < i && c->mark; j++)
			c->mark = fs->changes[j].mark ||
				  !(fs->ordered || depends(c, &fs->changes[j]));
		if (c->mark)
			change_apply(c);
	}
	changes_clear(fs);
}

/* A size that the file may have been seen with on its way from the durable one to the last. */
static uint64_t settle_size(const struct inode *in, struct fate *fate)
{
	uint64_t last = in->now.size, low = in->size_low;
	uint64_t steps = (last - low) / BLOCK_SIZE;
	if (last == in->disk.size && low == last)
		return last;
	switch (fate_next(fate, 4)) {
	case 0:
		return in->disk.size;
	case 1:
		return low;
	case 2:
		if (steps > 0)
			return (low / BLOCK_SIZE + fate_next(fate, steps) + 1) * BLOCK_SIZE;
		return last;
	default:
		return last;
	}
}

/* What a block that was written but not made durable may be. The caller owns the result. */
static struct block *settle_block(const struct inode *in, size_t index, struct fate *fate)
{
	struct block *was = image_block(&in->disk, index), *is = image_block(&in->now, index);
	bool cut_off = in->size_low <= index * (uint64_t)BLOCK_SIZE;
	if (was == is)
		return block_ref(is);
	if (cut_off && fate_next(fate, 2) == 0)
		was = NULL;
	switch (fate_next(fate, 4)) {
	case 0:
		return block_ref(was);
	case 1: {
		struct block *torn = block_new();
		size_t at = (size_t)(1 + fate_next(fate, BLOCK_SIZE / SECTOR_SIZE - 1));
		at *= SECTOR_SIZE;
		if (is != NULL)
			memcpy(torn->bytes, is->bytes, at);
		if (was != NULL)
			memcpy(torn->bytes + at, was->bytes + at, BLOCK_SIZE - at);
		return torn;
	}
	default:
		return block_ref(is);
	}
}

static void settle_data(const struct inode *in, struct image *out, struct fate *fate)
{
	out->size = settle_size(in, fate);
	size_t count = in->now.nblocks > in->disk.nblocks ? in->now.nblocks : in->disk.nblocks;
	size_t limit = (size_t)((out->size + BLOCK_SIZE - 1) / BLOCK_SIZE);
	if (count > limit)
		count = limit;
	for (size_t i = 0; i < count; i++)
		image_set_block(out, i, settle_block(in, i, fate));
	image_zero_tail(out);
}

static void settle_xattrs(const struct inode *in, struct image *out, struct fate *fate)
{
	const struct image *both[] = {&in->disk, &in->now};
	for (size_t b = 0; b < 2; b++) {
		for (size_t i = 0; i < both[b]->nxattrs; i++) {
			const char *name = both[b]->xattrs[i].name;
			/* One choice for each name: those of both are met in the first round. */
			if (b == 1 && image_find_xattr(&in->disk, name) != NULL)
				continue;
			const struct image *from = both[fate_next(fate, 2)];
			const struct xattr *x = image_find_xattr(from, name);
			if (x != NULL)
				image_set_xattr(out, name, x->value, x->size);
		}
	}
}

/* Chooses the state of one inode; both of its images become it. */
static void settle_inode(struct inode *in, struct fate *fate)
{
	struct image out = {0};
	if (fate->kind != CHOOSE) {
		const struct image *from = fate_keeps(fate) ? &in->now : &in->disk;
		image_copy_data(&out, from);
		image_copy_attributes(&out, from);
	} else {
		const struct image *from = fate_keeps(fate) ? &in->now : &in->disk;
		image_copy_attributes(&out, from);
		image_drop_xattrs(&out);
		from = fate_keeps(fate) ? &in->now : &in->disk;
		out.atime = from->atime;
		out.mtime = from->mtime;
		out.ctime = from->ctime;
		settle_xattrs(in, &out, fate);
		settle_data(in, &out, fate);
	}
	image_release(&in->now);
	image_release(&in->disk);
	in->now = out;
	image_copy_data(&in->disk, &out);
	image_copy_attributes(&in->disk, &out);
	in->size_low = out.size;
	names_copy(&in->names, &in->disk_names);
	in->nlink = 0;
	in->parent = NULL;
	in->dead = in->mark = false;
}

/* Counts links from the root down and marks what is reached. */
static void count_links(struct inode *dir)
{
	dir->mark = true;
	dir->nlink += 2;
	for (size_t i = 0; i < dir->names.count; i++) {
		struct inode *in = dir->names.entries[i].inode;
		if (!is_dir(in)) {
			in->mark = true;
			in->nlink++;
		} else if (!in->mark) {
			dir->nlink++;
			in->parent = dir;
			count_links(in);
		} else {
			fprintf(stderr, "simfs: a directory has two parents\n");
			abort();
		}
	}
}

static bool ino_in_use(const struct simfs *fs, uint64_t ino)
{
	size_t uses = 0;
	for (const struct inode *in = fs->inodes; in != NULL; in = in->next)
		uses += in->ino == ino;
	if (uses > 1) {
		fprintf(stderr, "simfs: two files have one inode number\n");
		abort();
	}
	return uses > 0;
}

static uint64_t used_blocks(const struct simfs *fs)
{
	uint64_t used = 0;
	for (const struct inode *in = fs->inodes; in != NULL; in = in->next)
		used += in->dead ? 0 : image_count_blocks(&in->now);
	return used;
}

struct simfs *simfs_after_cut(struct simfs *fs, uint64_t seed)
{
	struct fate fate = {
		.kind = seed == 0   ? LOSE_ALL
			: seed == 1 ? KEEP_ALL
				    : CHOOSE,
		.state = seed,
	};
	fate.names_kept = 1 + fate_next(&fate, 15);
	pthread_mutex_lock(&fs->mutex);
	struct simfs *disk = fs_clone(fs);
	pthread_mutex_unlock(&fs->mutex);

	uint64_t space = disk->free_blocks + used_blocks(disk);
	settle_names(disk, &fate);
	for (struct inode *in = disk->inodes; in != NULL; in = in->next)
		settle_inode(in, &fate);
	count_links(disk->root);
	free_unmarked(disk);
	uint64_t used = used_blocks(disk);
	disk->free_blocks = space > used ? space - used : 0;
	disk->nfree_inos = 0;
	for (uint64_t ino = FIRST_INO; ino <= disk->last_ino; ino++) {
		if (!ino_in_use(disk, ino))
			give_ino(disk, ino, 0);
	}
	return disk;
}

/* ---- knobs ---- */

#define LOCKED_GET(type, function, expression)                                                     \
	type function(struct simfs *fs)                                                            \
	{                                                                                          \
		pthread_mutex_lock(&fs->mutex);                                                    \
		type value = (expression);                                                         \
		pthread_mutex_unlock(&fs->mutex);                                                  \
		return value;                                                                      \
	}

LOCKED_GET(unsigned long, simfs_calls, fs->calls)
LOCKED_GET(unsigned long, simfs_changes, fs->change_calls)
LOCKED_GET(unsigned long, simfs_fsync_calls, fs->fsync_calls)
LOCKED_GET(unsigned long, simfs_bad_fds, fs->bad_fds)
LOCKED_GET(size_t, simfs_open_fds, fs->open_fds)
LOCKED_GET(bool, simfs_failed, fs->failed)
LOCKED_GET(bool, simfs_is_cut, fs->cut)

#define LOCKED_SET(statements)                                                                     \
	do {                                                                                       \
		pthread_mutex_lock(&fs->mutex);                                                    \
		statements;                                                                        \
		pthread_mutex_unlock(&fs->mutex);                                                  \
	} while (0)

void simfs_fail_nth(struct simfs *fs, unsigned long n, int error, bool for_good)
{
	LOCKED_SET(fs->fail_left = n; fs->fail_error = error; fs->fail_for_good = for_good;
		   fs->failed = false);
}

void simfs_fail_op(struct simfs *fs, const char *ops)
{
	LOCKED_SET(fs->fail_ops = ops);
}

void simfs_fail_short(struct simfs *fs, bool on)
{
	LOCKED_SET(fs->fail_short = on);
}

void simfs_set_cold(struct simfs *fs, bool on)
{
	LOCKED_SET(fs->cold = on);
}

void simfs_set_free_blocks(struct simfs *fs, uint64_t blocks)
{
	LOCKED_SET(fs->free_blocks = blocks);
}

void simfs_set_type(struct simfs *fs, uint64_t f_type, bool network)
{
	LOCKED_SET(fs->f_type = f_type; fs->network = network);
}

void simfs_set_clock_step(struct simfs *fs, uint64_t step_ns)
{
	LOCKED_SET(fs->clock_step_ns = step_ns);
}

void simfs_set_ordered(struct simfs *fs, bool on)
{
	LOCKED_SET(fs->ordered = on);
}

void simfs_advance_clock(struct simfs *fs, uint64_t ns)
{
	LOCKED_SET(fs->clock_ns += ns);
}

void simfs_power_cut_at(struct simfs *fs, unsigned long n)
{
	LOCKED_SET(fs->cut_left = n);
}

void simfs_ignore_fsync(struct simfs *fs, unsigned long n)
{
	LOCKED_SET(fs->ignore_fsync_left = n);
}

void simfs_tear_rename(struct simfs *fs, unsigned long n)
{
	LOCKED_SET(fs->tear_rename_left = n);
}

/* ---- dumping ---- */

static uint64_t hash_data(const struct inode *in)
{
	unsigned char bytes[BLOCK_SIZE];
	uint64_t hash = FNV_START;
	if (is_symlink(in))
		return fnv1a(in->target, strlen(in->target), hash);
	for (uint64_t off = 0; off < in->now.size; off += BLOCK_SIZE) {
		ssize_t n = read_data(&in->now, bytes, sizeof(bytes), off);
		hash = fnv1a(bytes, (size_t)n, hash);
	}
	return hash;
}

static void print_path(FILE *out, const char *path)
{
	for (; *path != '\0'; path++) {
		unsigned char c = (unsigned char)*path;
		if (c <= ' ' || c >= 0x7f || c == '\\')
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
	fputc('\n', out);
}

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	return strcmp(x->name, y->name);
}

static void dump_dir(const struct inode *dir, const char *path, FILE *out)
{
	static const char letters[16] = "?pc?d?b?-?l?s???";
	size_t count = dir->names.count;
	struct entry *sorted = copy_bytes(dir->names.entries, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_entries);
	for (size_t i = 0; i < count; i++) {
		const struct inode *in = sorted[i].inode;
		size_t size = strlen(path) + strlen(sorted[i].name) + 2;
		char *below = zalloc(size);
		snprintf(below, size, "%s%s%s", path, path[0] != '\0' ? "/" : "", sorted[i].name);
		fprintf(out, "%c %04o %llu %016llx ", letters[entry_type(in)],
			(unsigned)in->now.mode & 07777,
			is_dir(in) ? 0 : (unsigned long long)in->now.size,
			is_dir(in) ? 0 : (unsigned long long)hash_data(in));
		print_path(out, below);
		if (is_dir(in))
			dump_dir(in, below, out);
		free(below);
	}
	free(sorted);
}

void simfs_dump(struct simfs *fs, FILE *out)
{
	pthread_mutex_lock(&fs->mutex);
	dump_dir(fs->root, "", out);
	pthread_mutex_unlock(&fs->mutex);
}
