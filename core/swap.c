/* SPDX-License-Identifier: MIT */
/* swap.c - see swap.h. */
#include "core/swap.h"

#include "core/cleanup.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COPY_BYTES (256u << 10)

void dv_dir_times_keep(struct dv_store *s, const struct dv_place *p, struct dv_dir_times *t)
{
	struct dv_stat st;
	t->dir = p->dir;
	t->fd = p->dirfd;
	/* Shard directories are nobody's directories: their times mean nothing. */
	t->kept = !dv_transform_has_shards(s->transform) && DV_B(s, stat, t->fd, "", &st) == 0;
	if (!t->kept)
		return;
	t->mtime = st.mtime;
	t->ctime = dv_shown_ctime(t->dir, &st);
}

void dv_dir_times_restore(struct dv_store *s, const struct dv_dir_times *t)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, t->mtime};
	struct dv_stat st;
	if (!t->kept || DV_B(s, utimens, t->fd, times))
		return; /* not ours to set in a directory of someone else: then both move */
	if (DV_B(s, stat, t->fd, "", &st))
		return;
	t->dir->kept_ctime_ns = dv_time_ns(t->ctime);
	t->dir->real_ctime_ns = dv_time_ns(st.ctime);
}

dv_err dv_record_append(struct dv_store *s, struct dv_node *n, struct dv_record *r)
{
	char *path = NULL, *now = NULL;
	dv_journal_paths_hold(s);
	dv_err err = dv_node_path_alloc(s, n, &path);
	while (!err) {
		r->path = path;
		r->path_len = strlen(path);
		err = dv_journal_append(s, r);
		if (err ||
		    dv_node_path_alloc(
			    s, n, &now)) /* without a name now: its records go with the stage */
			break;
		bool same = strcmp(path, now) == 0;
		free(path);
		path = now;
		if (same)
			break;
	}
	dv_journal_paths_release(s);
	free(path);
	return err;
}

dv_err dv_node_path_alloc(struct dv_store *s, struct dv_node *n, char **out)
{
	DV_AUTO_FREE char *path = malloc(DV_RECORD_PATH_MAX + 1);
	if (!path)
		return -ENOMEM;
	dv_node_path(s, n, path, DV_RECORD_PATH_MAX + 1);
	if (!path[0])
		return dv_node_has_name(s, n) ? -ENAMETOOLONG : -ESTALE;
	*out = strdup(path);
	return *out ? 0 : -ENOMEM;
}

dv_err dv_copy_over(struct dv_store *s, int from, int to)
{
	struct dv_stat st;
	DV_AUTO_FREE char *buf = malloc(COPY_BYTES);
	dv_err err = buf ? DV_B(s, stat, from, "", &st) : -ENOMEM;
	if (!err)
		err = dv_tag_strip(s, to);
	for (uint64_t off = 0; !err && off < st.size;) {
		size_t len = st.size - off < COPY_BYTES ? (size_t)(st.size - off) : COPY_BYTES;
		err = dv_read_full(s, from, buf, len, off);
		if (!err)
			err = dv_write_full(s, to, buf, len, off);
		off += len;
	}
	if (!err)
		err = DV_B(s, truncate, to, st.size);
	return err ? err : DV_B(s, fsync, to);
}

/* What is moved there does not outlive the power without it. */
static void make_lost(struct dv_store *s)
{
	if (DV_B(s, mkdir, s->rootfd, DV_LOST_DIR, 0700))
		return; /* it is there mostly; else the rename tells */
	int fd = DV_B(s, open, s->rootfd, DV_CONTROL_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return;
	dv_ignore(DV_B(s, fsync, fd));
	DV_B(s, close, fd);
}

dv_err dv_put_aside(struct dv_store *s, int dirfd, const char *stage_name, const char *key,
		    const char *why)
{
	struct dv_stat st;
	char to[DV_NAME_MAX + 64], tail[128], text[1024];
	const char *base = strrchr(key, '/');
	base = base ? base + 1 : key;
	dv_err err = DV_B(s, stat, dirfd, stage_name, &st);
	if (err)
		return err == -ENOENT ? 0 : err;
	size_t n = 0;
	for (const char *c = base; *c && n < sizeof(tail) - 1; c++)
		tail[n++] = (*c < ' ' || *c == 0x7f) ? '?' : *c;
	tail[n] = '\0';
	make_lost(s);
	snprintf(to, sizeof(to), DV_LOST_DIR "/%" PRIu64 ".%ld.%s", st.ino, (long)st.mtime.tv_sec,
		 tail);
	err = DV_B(s, rename, dirfd, stage_name, s->rootfd, to, RENAME_NOREPLACE);
	dv_log_key(text, sizeof(text), key);
	if (err) {
		dv_error("pending bytes of %s (%s) could not be put aside: %s", text, why,
			 strerror(-err));
		return err;
	}
	dv_count(s, put_aside, 1);
	dv_warn("pending bytes of %s were put aside as %s: %s", text, to, why);
	return 0;
}

/* Syncs the shard directories on the way to `shard`, and the root. */
static dv_err sync_shards(struct dv_store *s, const char *shard)
{
	char path[DV_SHARD_MAX];
	struct dv_loose_at at = {.dir = s->root, .shard = path, .name = ""};
	uint64_t before = dv_loose_changes(s);
	dv_err err = 0;
	for (const char *end = shard; !err && *end; end += *end == '/') {
		end = strchrnul(end, '/');
		memcpy(path, shard, (size_t)(end - shard));
		path[end - shard] = '\0';
		int fd = DV_B(s, open, s->rootfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		if (fd == -EACCES)
			return dv_loose_sync_all(s);
		if (fd < 0)
			return fd;
		err = dv_loose_sync(s, &at, fd);
		DV_B(s, close, fd);
	}
	struct dv_loose_at root = {.dir = s->root, .name = ""};
	if (!err)
		err = dv_loose_sync(s, &root, s->rootfd);
	for (const char *end = shard; !err && *end; end += *end == '/') {
		end = strchrnul(end, '/');
		memcpy(path, shard, (size_t)(end - shard));
		path[end - shard] = '\0';
		dv_loose_drop(s, &at, DV_LOOSE_MADE | DV_LOOSE_PRUNED, before);
	}
	return err;
}

/* ---- names that are loose ---- */

/* The first directory above p, itself included, whose renaming is loose: *out_dir lends the
 * directory that it lies in. -ENOENT: none. */
static dv_err find_moved_above(struct dv_store *s, const struct dv_place *p,
			       struct dv_node **out_dir, char name[DV_NAME_MAX + 1])
{
	if (!dv_loose_dirs_moved(s))
		return -ENOENT;
	struct dv_node *dir = dv_node_ref(p->dir);
	while (dir != s->root) {
		struct dv_node *above = NULL;
		dv_err err = dv_node_name(s, dir, 0, &above, name, NULL);
		dv_node_unref(s, dir);
		if (err)
			return -ENOENT; /* removed meanwhile: nothing leads there */
		struct dv_loose_at at = {.dir = above, .name = name};
		if (dv_loose_get(s, &at) & DV_LOOSE_MOVED) {
			*out_dir = above;
			return 0;
		}
		dir = above;
	}
	dv_node_unref(s, dir);
	return -ENOENT;
}

static dv_err settle_above(struct dv_store *s, const struct dv_place *p)
{
	struct dv_node *dir = NULL;
	char name[DV_NAME_MAX + 1];
	dv_err err = find_moved_above(s, p, &dir, name);
	while (!err) {
		struct dv_place at;
		err = dv_place_open(s, dir, name, false, &at);
		if (!err) {
			err = dv_place_settle(s, &at, name, DV_LOOSE_MOVED, false);
			dv_place_close(s, &at);
		}
		dv_node_unref(s, dir);
		if (!err)
			err = find_moved_above(s, p, &dir, name);
	}
	return err == -ENOENT ? 0 : err;
}

dv_err dv_settle_move(struct dv_store *s, const struct dv_place *p, const char *stored)
{
	dv_err err = dv_place_settle(s, p, stored, DV_LOOSE_MOVED, false);
	return err ? err : settle_above(s, p);
}

/* The loose state of each shard directory on the way to `shard`, taken together. */
static unsigned shard_state(struct dv_store *s, const char *shard)
{
	char path[DV_SHARD_MAX];
	unsigned state = 0;
	for (const char *end = shard; *end; end += *end == '/') {
		end = strchrnul(end, '/');
		memcpy(path, shard, (size_t)(end - shard));
		path[end - shard] = '\0';
		struct dv_loose_at at = {.dir = s->root, .shard = path, .name = ""};
		state |= dv_loose_get(s, &at);
	}
	return state;
}

dv_err dv_settle_shard(struct dv_store *s, const struct dv_place *p, unsigned what, bool nowait)
{
	unsigned state = p->shard ? shard_state(s, p->shard) : 0;
	if (!(state & what))
		return 0;
	if (nowait)
		return -EAGAIN;
	return state == ~0u ? dv_loose_sync_all(s) : sync_shards(s, p->shard);
}

/* What was moved away is another object than was to be: it came there just now, and goes back; where yet
 * another one has come, which is newer, to lost/. */
static dv_err bring_back(struct dv_store *s, const struct dv_place *p, const char *stored,
			 int dirfd, const char *name)
{
	dv_err err = -EIO;
	for (int tries = 0; err && err != -EEXIST && tries < 2; tries++)
		err = DV_B(s, rename, dirfd, name, p->dirfd, stored, RENAME_NOREPLACE);
	if (err == -EEXIST)
		err = dv_put_aside(
			s, dirfd, name, p->name,
			"it was replaced in the store while another form of it was removed");
	return err ? err : DV_IS_ANOTHER; /* with an error the record stays: recovery tries again */
}

/* Who is killed with another object in the owner folder than he wanted leaves word where it belongs. Where the
 * log can not be written to, the disk being full, he does without: nothing else would make room. */
static bool note_via(struct dv_store *s, const struct dv_place *p, const char *stored, uint64_t via,
		     const struct dv_ident *only)
{
	bool packed = dv_place_kind(p, stored) == DV_LOOSE_PACKED;
	struct dv_record r = {.id = via, .type = DV_RECORD_VIA};
	DV_AUTO_FREE char *path = malloc(DV_RECORD_PATH_MAX + 1);
	if (!path)
		return false;
	dv_node_path(s, p->dir, path, DV_RECORD_PATH_MAX + 1);
	size_t len = strlen(path);
	int more =
		snprintf(path + len, DV_RECORD_PATH_MAX + 1 - len, "%s%s", len ? "/" : "", p->name);
	if (more < 0 || (size_t)more > DV_RECORD_PATH_MAX - len)
		return false;
	*(packed ? &r.packed : &r.raw) = *only;
	r.path = path;
	r.path_len = len + (size_t)more;
	return dv_journal_append(s, &r) == 0;
}

/* Moves `stored` to the name `via` in the owner folder and unlinks it there. */
static dv_err move_and_unlink(struct dv_store *s, const struct dv_place *p, const char *stored,
			      uint64_t via, const struct dv_ident *only)
{
	char name[DV_STAGE_NAME];
	struct dv_stat st;
	int dirfd = dv_journal_dirfd(s->journal);
	dv_journal_stage_name(via, name);
	dv_err err = DV_B(s, rename, p->dirfd, stored, dirfd, name, RENAME_NOREPLACE);
	if (!err && only) {
		err = DV_B(s, stat, dirfd, name, &st);
		struct dv_ident id = dv_ident_of(&st);
		if (err || !dv_ident_equal(&id, only)) {
			dv_err back = bring_back(s, p, stored, dirfd, name);
			return err && back == DV_IS_ANOTHER ? err : back;
		}
	}
	if (!err)
		dv_ignore(DV_B(s, unlink, dirfd, name)); /* swept by the next owner */
	return err;
}

static dv_err unlink_via(struct dv_store *s, const struct dv_place *p, const char *stored,
			 uint64_t via, const struct dv_ident *only)
{
	bool noted = only && note_via(s, p, stored, via, only);
	dv_err err = move_and_unlink(s, p, stored, via, only);
	if (noted && (!err || err == DV_IS_ANOTHER || err == -ENOENT))
		dv_journal_end(s, via);
	return err;
}

/* As far as can be told where it can not be moved first. */
static dv_err unlink_here(struct dv_store *s, const struct dv_place *p, const char *stored,
			  const struct dv_ident *only)
{
	struct dv_stat st;
	dv_err err = only ? DV_B(s, stat, p->dirfd, stored, &st) : 0;
	if (!err && only) {
		struct dv_ident id = dv_ident_of(&st);
		err = dv_ident_equal(&id, only) ? 0 : DV_IS_ANOTHER;
	}
	return err ? err : DV_B(s, unlink, p->dirfd, stored);
}

dv_err dv_unlink_form(struct dv_store *s, const struct dv_place *p, const char *stored,
		      const struct dv_ident *only, bool nowait)
{
	struct dv_loose_at at = dv_place_at(p);
	unsigned kind = dv_place_kind(p, stored);
	unsigned behind = kind == DV_LOOSE_PACKED ? 0 : dv_loose_get(s, &at) & DV_LOOSE_PACKED;
	uint64_t via = 0;
	dv_err err = -EXDEV;
	if (behind)
		via = dv_loose_take_via(s, &at);
	if (!via && (kind == DV_LOOSE_PACKED || only))
		via = dv_journal_new_id(s->journal);
	if (via)
		err = unlink_via(s, p, stored, via, only);
	if (err == DV_IS_ANOTHER)
		return err;
	if (err && kind == DV_LOOSE_PACKED) { /* another filesystem is mounted there, say */
		via = 0;
		err = unlink_here(s, p, stored, only);
	} else if (err) {
		err = dv_loose_settle(s, &at, p->dirfd, behind, nowait);
		if (!err)
			err = unlink_here(s, p, stored, only);
	} else if (behind) {
		dv_loose_drop(s, &at, DV_LOOSE_PACKED,
			      UINT64_MAX); /* it stays away where this one does */
	}
	if (!err)
		dv_loose_add(s, &at, kind, kind == DV_LOOSE_PACKED ? via : 0);
	return err == -ENOENT && only ? DV_IS_ANOTHER : err; /* others were first */
}

/* ---- durable names ---- */

/* Syncs what n's skip-th name lies in; lends the directory. -ESTALE: no such name. */
static dv_err sync_name(struct dv_store *s, struct dv_node *n, unsigned skip,
			struct dv_node **out_dir)
{
	char name[DV_NAME_MAX + 1];
	struct dv_place p;
	dv_err err = dv_node_name(s, n, skip, out_dir, name, NULL);
	if (err)
		return err;
	err = dv_place_open(s, *out_dir, name, false, &p);
	if (!err) {
		struct dv_loose_at at = dv_place_at(&p);
		err = p.shard ? sync_shards(s, p.shard) : dv_loose_sync(s, &at, p.dirfd);
		dv_place_close(s, &p);
	}
	if (err) {
		dv_node_unref(s, *out_dir);
		*out_dir = NULL;
	}
	return err;
}

/* Nodes whose names were synced: told when all above them were, since a synced name says that of
 * those too. */
struct synced {
	struct synced_node {
		struct dv_node *node; /* a reference */
		unsigned seen;
	} * at;
	size_t count, room;
};

/* Takes the reference where it returns 0. */
static dv_err synced_push(struct synced *y, struct dv_node *n, unsigned seen)
{
	if (y->count == y->room) {
		size_t room = y->room ? y->room * 2 : 16;
		struct synced_node *grown = realloc(y->at, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		y->at = grown;
		y->room = room;
	}
	y->at[y->count++] = (struct synced_node){n, seen};
	return 0;
}

static void synced_end(struct dv_store *s, struct synced *y, bool good)
{
	for (size_t i = 0; i < y->count; i++) {
		if (good)
			dv_names_synced(y->at[i].node, y->at[i].seen);
		dv_node_unref(s, y->at[i].node);
	}
	free(y->at);
}

/* Syncs the names of dir and of the directories above it, up to one whose names are durable. Takes
 * the reference. No recursion: a tree may be deeper than the stack. */
static dv_err sync_up(struct dv_store *s, struct dv_node *dir, struct synced *y)
{
	dv_err err = 0;
	while (!err && dir) {
		struct dv_node *above = NULL;
		unsigned seen = atomic_load(&dir->unsynced);
		if (dir == s->root || !(seen & DV_NAMES_MADE))
			break;
		err = sync_name(s, dir, 0, &above);
		if (!err)
			err = synced_push(y, dir, seen);
		if (err) {
			dv_node_unref(s, above);
			break;
		}
		dir = above;
	}
	dv_node_unref(s, dir);
	return err;
}

dv_err dv_sync_names(struct dv_store *s, struct dv_node *n)
{
	unsigned seen = atomic_load(&n->unsynced);
	if (n == s->root || !(seen & DV_NAMES_MADE))
		return 0;
	struct synced y = {0};
	dv_err err = 0;
	for (unsigned skip = 0; !err; skip++) {
		struct dv_node *dir = NULL;
		err = sync_name(s, n, skip, &dir);
		if (err == -ESTALE && !dv_node_has_names(s, n, skip + 1)) {
			err = 0;
			break; /* that were all */
		}
		if (!err)
			err = sync_up(s, dir, &y);
	}
	if (!err)
		dv_names_synced(n, seen);
	synced_end(s, &y, !err);
	return err == -ENOENT || err == -ESTALE ? 0
						: err; /* removed meanwhile: nothing leads to it */
}

/* ---- gates ---- */

dv_err dv_swap_gates(struct dv_store *s, struct dv_node *n, bool nowait, struct dv_node **out_dir)
{
	for (;;) {
		struct dv_node *dir = NULL, *now = NULL;
		char name[DV_NAME_MAX + 1];
		dv_err err = dv_node_name(s, n, 0, &dir, name, NULL);
		if (err && err != -ESTALE)
			return err;
		err = dir ? dv_gate_exclusive(dir, nowait) : 0;
		if (!err) {
			err = dv_gate_exclusive(n, nowait);
			if (err && dir)
				dv_gate_open(dir);
		}
		if (err) {
			dv_node_unref(s, dir);
			return err;
		}
		*out_dir = dir;
		dv_ignore(dv_node_name(s, n, 0, &now, name, NULL)); /* none: now stays NULL */
		dv_node_unref(s, now);
		if (now == dir)
			return 0;
		dv_swap_gates_open(s, n, dir); /* renamed while the gates were waited for */
	}
}

void dv_swap_gates_open(struct dv_store *s, struct dv_node *n, struct dv_node *dir)
{
	dv_gate_open(n);
	if (dir) {
		dv_gate_open(dir);
		dv_node_unref(s, dir);
	}
}

void dv_tell_changed(struct dv_store *s, struct dv_node *n)
{
	pthread_mutex_lock(&s->hooks_lock);
	struct dv_store_hooks hooks = s->hooks;
	pthread_mutex_unlock(&s->hooks_lock);
	if (hooks.changed)
		hooks.changed(hooks.self, n);
}
