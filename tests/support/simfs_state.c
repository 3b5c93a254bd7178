/* SPDX-License-Identifier: MIT */
/* simfs_state.c - blocks and images, lists of names, inodes, changes. See simfs_private.h. */
#include "tests/support/simfs_private.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- memory ---- */

void *sim_must(void *p)
{
	if (p == NULL) {
		fputs("simfs: out of memory\n", stderr);
		abort();
	}
	return p;
}

void *sim_zalloc(size_t size)
{
	return sim_must(calloc(1, size));
}

void *sim_copy_bytes(const void *bytes, size_t size)
{
	void *copy = sim_must(malloc(size + 1));
	if (size > 0)
		memcpy(copy, bytes, size);
	return copy;
}

void *sim_grow(void *array, size_t count, size_t *capacity, size_t element_size)
{
	if (count < *capacity)
		return array;
	*capacity = *capacity < 8 ? 8 : *capacity * 2;
	return sim_must(realloc(array, *capacity * element_size));
}

/* ---- blocks and images ---- */

struct block *sim_block_new(void)
{
	struct block *b = sim_zalloc(sizeof(*b));
	b->refs = 1;
	return b;
}

struct block *sim_block_ref(struct block *b)
{
	if (b != NULL)
		__atomic_add_fetch(&b->refs, 1, __ATOMIC_RELAXED);
	return b;
}

void sim_block_unref(struct block *b)
{
	if (b != NULL && __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(b);
}

struct block *sim_image_block(const struct image *im, size_t index)
{
	return index < im->nblocks ? im->blocks[index] : NULL;
}

void sim_image_set_block(struct image *im, size_t index, struct block *b)
{
	if (index >= im->nblocks) {
		if (b == NULL)
			return;
		im->blocks = sim_must(realloc(im->blocks, (index + 1) * sizeof(*im->blocks)));
		while (im->nblocks <= index)
			im->blocks[im->nblocks++] = NULL;
	}
	sim_block_unref(im->blocks[index]);
	im->blocks[index] = b;
}

struct block *sim_image_own_block(struct image *im, size_t index)
{
	struct block *b = sim_image_block(im, index);
	if (b == NULL || __atomic_load_n(&b->refs, __ATOMIC_ACQUIRE) == 1)
		return b;
	struct block *own = sim_block_new();
	memcpy(own->bytes, b->bytes, BLOCK_SIZE);
	sim_image_set_block(im, index, own);
	return own;
}

void sim_image_zero_tail(struct image *im)
{
	size_t used = (size_t)(im->size % BLOCK_SIZE);
	size_t index = (size_t)(im->size / BLOCK_SIZE);
	struct block *b = used > 0 ? sim_image_own_block(im, index) : NULL;
	if (b != NULL)
		memset(b->bytes + used, 0, BLOCK_SIZE - used);
}

size_t sim_image_count_blocks(const struct image *im)
{
	size_t count = 0;
	for (size_t i = 0; i < im->nblocks; i++)
		count += im->blocks[i] != NULL;
	return count;
}

static void image_drop_data(struct image *im)
{
	for (size_t i = 0; i < im->nblocks; i++)
		sim_block_unref(im->blocks[i]);
	free(im->blocks);
	im->blocks = NULL;
	im->nblocks = 0;
}

void sim_image_copy_data(struct image *to, const struct image *from)
{
	image_drop_data(to);
	to->size = from->size;
	if (from->nblocks == 0)
		return;
	to->blocks = sim_must(malloc(from->nblocks * sizeof(*to->blocks)));
	to->nblocks = from->nblocks;
	for (size_t i = 0; i < from->nblocks; i++)
		to->blocks[i] = sim_block_ref(from->blocks[i]);
}

struct xattr *sim_image_find_xattr(const struct image *im, const char *name)
{
	for (size_t i = 0; i < im->nxattrs; i++) {
		if (strcmp(im->xattrs[i].name, name) == 0)
			return &im->xattrs[i];
	}
	return NULL;
}

void sim_image_set_xattr(struct image *im, const char *name, const void *value, size_t size)
{
	struct xattr *x = sim_image_find_xattr(im, name);
	if (x == NULL) {
		im->xattrs = sim_must(realloc(im->xattrs, (im->nxattrs + 1) * sizeof(*x)));
		x = &im->xattrs[im->nxattrs++];
		x->name = sim_must(strdup(name));
		x->value = NULL;
	}
	free(x->value);
	x->value = sim_copy_bytes(value, size);
	x->size = size;
}

bool sim_image_remove_xattr(struct image *im, const char *name)
{
	struct xattr *x = sim_image_find_xattr(im, name);
	if (x == NULL)
		return false;
	free(x->name);
	free(x->value);
	size_t behind = im->nxattrs - (size_t)(x - im->xattrs) - 1;
	memmove(x, x + 1, behind * sizeof(*x));
	im->nxattrs--;
	return true;
}

void sim_image_drop_xattrs(struct image *im)
{
	for (size_t i = 0; i < im->nxattrs; i++) {
		free(im->xattrs[i].name);
		free(im->xattrs[i].value);
	}
	free(im->xattrs);
	im->xattrs = NULL;
	im->nxattrs = 0;
}

void sim_image_copy_attributes(struct image *to, const struct image *from)
{
	to->mode = from->mode;
	to->uid = from->uid;
	to->gid = from->gid;
	to->atime = from->atime;
	to->mtime = from->mtime;
	to->ctime = from->ctime;
	sim_image_drop_xattrs(to);
	for (size_t i = 0; i < from->nxattrs; i++)
		sim_image_set_xattr(to, from->xattrs[i].name, from->xattrs[i].value,
				    from->xattrs[i].size);
}

void sim_image_release(struct image *im)
{
	image_drop_data(im);
	sim_image_drop_xattrs(im);
}

/* ---- lists of names ---- */

uint64_t sim_fnv1a(const void *bytes, size_t size, uint64_t hash)
{
	const unsigned char *p = bytes;
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static uint32_t name_hash(const char *name)
{
	return (uint32_t)sim_fnv1a(name, strlen(name), FNV_START);
}

struct entry *sim_names_find(const struct names *names, const char *name)
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
	struct entry *e = sim_names_find(names, name);
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
		names->entries =
			sim_grow(names->entries, names->count, &names->capacity, sizeof(*e));
		e = &names->entries[names->count++];
		e->name = sim_must(strdup(name));
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

void sim_names_copy(struct names *to, const struct names *from)
{
	names_release(to);
	for (size_t i = 0; i < from->count; i++) {
		names_set(to, from->entries[i].name, from->entries[i].inode);
		to->entries[i].cookie = from->entries[i].cookie;
	}
	to->last_cookie = from->last_cookie;
}

/* ---- inodes ---- */

bool sim_is_dir(const struct inode *in)
{
	return S_ISDIR(in->now.mode);
}

bool sim_is_regular(const struct inode *in)
{
	return S_ISREG(in->now.mode);
}

bool sim_is_symlink(const struct inode *in)
{
	return S_ISLNK(in->now.mode);
}

struct timespec sim_tick(struct simfs *fs)
{
	fs->clock_ns += fs->clock_step_ns;
	return (struct timespec){
		.tv_sec = (time_t)(fs->clock_ns / 1000000000u),
		.tv_nsec = (long)(fs->clock_ns % 1000000000u),
	};
}

void sim_touch_ctime(struct simfs *fs, struct inode *in)
{
	in->now.ctime = sim_tick(fs);
}

void sim_touch_mtime(struct simfs *fs, struct inode *in)
{
	in->now.mtime = in->now.ctime = sim_tick(fs);
}

void sim_inode_free(struct inode *in)
{
	sim_image_release(&in->now);
	sim_image_release(&in->disk);
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

void sim_give_ino(struct simfs *fs, uint64_t ino, uint64_t id)
{
	fs->free_inos = sim_grow(fs->free_inos, fs->nfree_inos, &fs->free_inos_capacity,
				 sizeof(*fs->free_inos));
	fs->free_inos[fs->nfree_inos++] = (struct free_ino){.ino = ino, .id = id};
}

struct inode *sim_inode_new(struct simfs *fs, mode_t mode, const struct inode *dir)
{
	struct inode *in = sim_zalloc(sizeof(*in));
	in->id = ++fs->last_id;
	in->ino = take_ino(fs, &in->reused_id);
	in->now.mode = mode;
	in->now.uid = sim_acting.set ? sim_acting.uid : geteuid();
	in->now.gid = sim_acting.set ? sim_acting.gid : getegid();
	if (dir != NULL && (dir->now.mode & S_ISGID)) {
		in->now.gid = dir->now.gid;
		if (S_ISDIR(mode))
			in->now.mode |= S_ISGID;
	}
	in->btime = in->now.atime = in->now.mtime = in->now.ctime = sim_tick(fs);
	sim_image_copy_attributes(&in->disk, &in->now); /* D6 */
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

void sim_free_unmarked(struct simfs *fs)
{
	struct inode **slot = &fs->inodes;
	while (*slot != NULL) {
		struct inode *in = *slot;
		if (in->mark) {
			slot = &in->next;
			continue;
		}
		*slot = in->next;
		sim_inode_free(in);
	}
}

void sim_sweep(struct simfs *fs)
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
	sim_free_unmarked(fs);
	fs->dead_count = 0;
}

void sim_inode_let_go(struct simfs *fs, struct inode *in)
{
	if (in->nlink > 0 || in->fds > 0 || in->dead)
		return;
	in->dead = true;
	fs->free_blocks += sim_image_count_blocks(&in->now);
	sim_give_ino(fs, in->ino, in->id);
	if (++fs->dead_count > DEAD_MAX)
		sim_sweep(fs);
}

/* ---- changes of names ---- */

struct change *sim_change_add(struct simfs *fs)
{
	fs->changes =
		sim_grow(fs->changes, fs->nchanges, &fs->changes_capacity, sizeof(*fs->changes));
	struct change *c = &fs->changes[fs->nchanges++];
	*c = (struct change){.count = 0};
	return c;
}

void sim_change_edit(struct change *c, struct inode *dir, const char *name, struct inode *is)
{
	struct entry *e = sim_names_find(&dir->names, name);
	c->edits[c->count++] = (struct edit){
		.dir = dir,
		.name = sim_must(strdup(name)),
		.was = e != NULL ? e->inode : NULL,
		.is = is,
	};
	names_set(&dir->names, name, is);
}

void sim_change_release(struct change *c)
{
	for (size_t e = 0; e < c->count; e++)
		free(c->edits[e].name);
}

void sim_change_apply(const struct change *c)
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

bool sim_depends(const struct change *later, const struct change *earlier)
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

void sim_changes_sync(struct simfs *fs, const struct inode *dir)
{
	for (size_t i = fs->nchanges; i-- > 0;) {
		struct change *c = &fs->changes[i];
		c->mark = dir == NULL || change_touches(c, dir);
		for (size_t j = i + 1; j < fs->nchanges && !c->mark; j++)
			c->mark = fs->changes[j].mark &&
				  (fs->ordered || sim_depends(&fs->changes[j], c));
	}
	size_t kept = 0;
	for (size_t i = 0; i < fs->nchanges; i++) {
		if (fs->changes[i].mark) {
			sim_change_apply(&fs->changes[i]);
			sim_change_release(&fs->changes[i]);
		} else {
			fs->changes[kept++] = fs->changes[i];
		}
	}
	fs->nchanges = kept;
}
