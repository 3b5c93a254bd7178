/* SPDX-License-Identifier: MIT */
/*
 * tree.c - everything on both sides: names, attributes, contents, and which names are one object.
 *
 * Goes by descriptors and names relative to them: trees may be deeper than a path can tell.
 */
#include "tests/mount/exerciser/exerciser.h"

#include <dirent.h>

#define TREE_MAX  16384
#define DEPTH_MAX 200

struct seen {
	char *path;
	ino_t ino[SIDES];
};

static struct tree {
	struct seen *seen;
	size_t count;
} now, last;

static void forget(struct tree *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->seen[i].path);
	free(t->seen);
	*t = (struct tree){NULL, 0};
}

static void fail_names(const int dirs[SIDES], const char *where)
{
	for (int side = 0; side < SIDES; side++) {
		int fd = openat(dirs[side], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		DIR *d = fd < 0 ? NULL : fdopendir(fd);
		fprintf(stderr, "%s lists", side == MOUNT ? "mount" : "plain");
		for (struct dirent *e; d && (e = readdir(d));)
			fprintf(stderr, " %.40s/%d", e->d_name, e->d_type);
		fprintf(stderr, "\n");
	}
	ex_fail("names", where);
}

static void add(const char *path, const ino_t ino[SIDES])
{
	struct seen *s;

	if (now.count == TREE_MAX)
		ex_fail("too many files", path);
	if (now.count % 256 == 0) {
		now.seen = realloc(now.seen, (now.count + 256) * sizeof(*now.seen));
		if (!now.seen)
			ex_fail("memory", "tree");
	}
	s = &now.seen[now.count++];
	*s = (struct seen){strdup(path), {ino[MOUNT], ino[PLAIN]}};
	if (!s->path)
		ex_fail("memory", "tree");
}

/* Both sides act in the directories dirs while this lies on the stack. */
static void act_in(const int dirs[SIDES])
{
	for (int side = 0; side < SIDES; side++)
		ex.side[side].base = dirs[side];
}

static void walk(const int dirs[SIDES], const char *where, unsigned depth, bool light);

static void visit(const int dirs[SIDES], const char *name, const char *where, unsigned depth,
		  bool light)
{
	char *path = NULL;
	struct stat st[SIDES];
	int below[SIDES];
	ino_t ino[SIDES];

	if (asprintf(&path, "%s/%s", where, name) < 0)
		ex_fail("memory", where);
	act_in(dirs);
	if (!light)
		ex_compare_name(name, path, 0, true);
	for (int side = 0; side < SIDES; side++) {
		if (fstatat(dirs[side], name, &st[side], AT_SYMLINK_NOFOLLOW))
			ex_fail(strerror(errno), path);
		ino[side] = st[side].st_ino;
	}
	add(path, ino);
	if (S_ISDIR(st[PLAIN].st_mode) && depth < DEPTH_MAX) {
		for (int side = 0; side < SIDES; side++) {
			below[side] = openat(dirs[side], name,
					     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (below[side] < 0)
				ex_fail(strerror(errno), path);
		}
		walk(below, path, depth + 1, light);
		close(below[MOUNT]);
		close(below[PLAIN]);
	}
	free(path);
}

static void walk(const int dirs[SIDES], const char *where, unsigned depth, bool light)
{
	uint64_t sums[SIDES] = {0};
	long n[SIDES];
	int fd;
	DIR *d;

	for (int side = 0; side < SIDES; side++)
		n[side] = ex_list(dirs[side], &sums[side]);
	if (n[MOUNT] != n[PLAIN] || sums[MOUNT] != sums[PLAIN])
		fail_names(dirs, where);
	fd = openat(dirs[PLAIN], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		ex_fail(strerror(errno), where);
	for (struct dirent *e; (e = readdir(d));)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			visit(dirs, e->d_name, where, depth, light);
	closedir(d);
}

static void compare_objects(void)
{
	for (size_t i = 0; i < now.count; i++)
		for (size_t j = i + 1; j < now.count; j++)
			if ((now.seen[i].ino[MOUNT] == now.seen[j].ino[MOUNT]) !=
			    (now.seen[i].ino[PLAIN] == now.seen[j].ino[PLAIN]))
				ex_fail("names of one object", now.seen[i].path);
}

void ex_tree_compare(bool light)
{
	int dirs[SIDES] = {ex_base(MOUNT), ex_base(PLAIN)};

	forget(&last);
	last = now;
	now = (struct tree){NULL, 0};
	if (!light)
		ex_compare_name(".", ".", UINT64_MAX, false);
	walk(dirs, ".", 0, light);
	act_in(dirs);
	compare_objects();
}

/* The walks come in one order, that of the plain side, which nobody has changed in between. */
void ex_tree_same_numbers(void)
{
	if (now.count != last.count)
		ex_fail_values("files after it", "tree", (long long)now.count,
			       (long long)last.count);
	for (size_t i = 0; i < now.count; i++) {
		if (strcmp(now.seen[i].path, last.seen[i].path) != 0)
			ex_fail("other order of names", now.seen[i].path);
		if (now.seen[i].ino[MOUNT] != last.seen[i].ino[MOUNT])
			ex_fail("inode number moved", now.seen[i].path);
	}
}

/* ---- clearing ---- */

static void clear_in(int dir, unsigned depth)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	for (struct dirent *e; d && (e = readdir(d));) {
		int below;
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		below = openat(dir, e->d_name,
			       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (below >= 0 && depth < DEPTH_MAX)
			clear_in(below, depth + 1);
		if (unlinkat(dir, e->d_name, below >= 0 ? AT_REMOVEDIR : 0))
			ex_fail(strerror(errno), e->d_name);
		if (below >= 0)
			close(below);
	}
	if (d)
		closedir(d);
}

void ex_tree_clear(void)
{
	for (int side = 0; side < SIDES; side++)
		clear_in(ex_base(side), 0);
}
