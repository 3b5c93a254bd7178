/* SPDX-License-Identifier: MIT */
/* simfs_crash.c - what is left after a kill and after a power cut; see simfs_private.h. */
#include "tests/support/simfs_private.h"

#include <stdlib.h>
#include <string.h>

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
	struct inode *copy = sim_zalloc(sizeof(*copy));
	copy->id = in->id;
	copy->ino = in->ino;
	copy->reused_id = in->reused_id;
	copy->rdev = in->rdev;
	copy->target = in->target != NULL ? sim_must(strdup(in->target)) : NULL;
	copy->btime = in->btime;
	sim_image_copy_data(&copy->now, &in->now);
	sim_image_copy_attributes(&copy->now, &in->now);
	sim_image_copy_data(&copy->disk, &in->disk);
	sim_image_copy_attributes(&copy->disk, &in->disk);
	sim_names_copy(&copy->names, &in->names);
	sim_names_copy(&copy->disk_names, &in->disk_names);
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
	sim_sweep(fs);
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
		struct change *to = sim_change_add(copy);
		*to = *from;
		to->moved = clone_of(from->moved);
		for (size_t e = 0; e < from->count; e++) {
			to->edits[e] = (struct edit){
				.dir = clone_of(from->edits[e].dir),
				.name = sim_must(strdup(from->edits[e].name)),
				.was = clone_of(from->edits[e].was),
				.is = clone_of(from->edits[e].is),
			};
		}
	}
}

/* The same files, without descriptors and with nothing armed. */
static struct simfs *fs_clone(struct simfs *fs)
{
	struct simfs *copy = sim_fs_alloc();
	clone_inodes(fs, copy);
	clone_changes(fs, copy);
	for (size_t i = 0; i < fs->nfree_inos; i++)
		sim_give_ino(copy, fs->free_inos[i].ino, fs->free_inos[i].id);
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
		copy->free_blocks += sim_image_count_blocks(&in->now);
		sim_give_ino(copy, in->ino, in->id);
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
				  !(fs->ordered || sim_depends(c, &fs->changes[j]));
		if (c->mark)
			sim_change_apply(c);
	}
	sim_changes_clear(fs);
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
	struct block *was = sim_image_block(&in->disk, index),
		     *is = sim_image_block(&in->now, index);
	bool cut_off = in->size_low <= index * (uint64_t)BLOCK_SIZE;
	if (was == is)
		return sim_block_ref(is);
	if (cut_off && fate_next(fate, 2) == 0)
		was = NULL;
	switch (fate_next(fate, 4)) {
	case 0:
		return sim_block_ref(was);
	case 1: {
		struct block *torn = sim_block_new();
		size_t at = (size_t)(1 + fate_next(fate, BLOCK_SIZE / SECTOR_SIZE - 1));
		at *= SECTOR_SIZE;
		if (is != NULL)
			memcpy(torn->bytes, is->bytes, at);
		if (was != NULL)
			memcpy(torn->bytes + at, was->bytes + at, BLOCK_SIZE - at);
		return torn;
	}
	default:
		return sim_block_ref(is);
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
		sim_image_set_block(out, i, settle_block(in, i, fate));
	sim_image_zero_tail(out);
}

static void settle_xattrs(const struct inode *in, struct image *out, struct fate *fate)
{
	const struct image *both[] = {&in->disk, &in->now};
	for (size_t b = 0; b < 2; b++) {
		for (size_t i = 0; i < both[b]->nxattrs; i++) {
			const char *name = both[b]->xattrs[i].name;
			/* One choice for each name: those of both are met in the first round. */
			if (b == 1 && sim_image_find_xattr(&in->disk, name) != NULL)
				continue;
			const struct image *from = both[fate_next(fate, 2)];
			const struct xattr *x = sim_image_find_xattr(from, name);
			if (x != NULL)
				sim_image_set_xattr(out, name, x->value, x->size);
		}
	}
}

/* Chooses the state of one inode; both of its images become it. */
static void settle_inode(struct inode *in, struct fate *fate)
{
	struct image out = {0};
	if (fate->kind != CHOOSE) {
		const struct image *from = fate_keeps(fate) ? &in->now : &in->disk;
		sim_image_copy_data(&out, from);
		sim_image_copy_attributes(&out, from);
	} else {
		const struct image *from = fate_keeps(fate) ? &in->now : &in->disk;
		sim_image_copy_attributes(&out, from);
		sim_image_drop_xattrs(&out);
		from = fate_keeps(fate) ? &in->now : &in->disk;
		out.atime = from->atime;
		out.mtime = from->mtime;
		out.ctime = from->ctime;
		settle_xattrs(in, &out, fate);
		settle_data(in, &out, fate);
	}
	sim_image_release(&in->now);
	sim_image_release(&in->disk);
	in->now = out;
	sim_image_copy_data(&in->disk, &out);
	sim_image_copy_attributes(&in->disk, &out);
	in->size_low = out.size;
	sim_names_copy(&in->names, &in->disk_names);
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
		if (!sim_is_dir(in)) {
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
		used += in->dead ? 0 : sim_image_count_blocks(&in->now);
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
	sim_free_unmarked(disk);
	uint64_t used = used_blocks(disk);
	disk->free_blocks = space > used ? space - used : 0;
	disk->nfree_inos = 0;
	for (uint64_t ino = FIRST_INO; ino <= disk->last_ino; ino++) {
		if (!ino_in_use(disk, ino))
			sim_give_ino(disk, ino, 0);
	}
	return disk;
}
