/* SPDX-License-Identifier: MIT */
/* info.c - see info.h. */
#include "core/info.h"

#include "core/cleanup.h"
#include "core/hash.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/list.h"
#include "core/ops.h"
#include "core/owner.h"
#include "core/pending.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 2048 /* as PATH_MAX allows */
#define QUIET	  (O_RDONLY | O_NOFOLLOW | O_NONBLOCK)

static const struct dv_call call;

struct seen_object {
	uint64_t key[2]; /* dev, ino */
	UT_hash_handle hh;
};

struct busy_key {
	UT_hash_handle hh;
	char key[];
};

struct look {
	struct dv_store *s;
	const struct dv_info_ops *ops;
	struct dv_info *out;
	struct seen_object *seen; /* of several links */
	struct busy_key *busy;	  /* both of their forms are there for a while */
	char path[PATH_MAX];
};

/* ---- owners and what they are at ---- */

/* Both forms of the record's key are there. */
static bool has_both_forms(struct look *k, const char *key)
{
	struct dv_store *s = k->s;
	struct dv_node *dir = dv_store_root(s), *child;
	struct dv_place p;
	struct dv_found f;
	struct dv_stat st;
	dv_err err = 0;
	char name[DV_NAME_MAX + 1];
	for (const char *slash; !err && (slash = strchr(key, '/')); key = slash + 1) {
		if (slash - key > DV_NAME_MAX)
			err = -ENAMETOOLONG;
		snprintf(name, sizeof(name), "%.*s", (int)(slash - key), key);
		if (!err)
			err = dv_find(s, &call, dir, name, &child);
		if (!err) {
			dv_node_unref(s, dir);
			dir = child;
		}
	}
	bool both = false;
	if (!err && strlen(key) <= DV_NAME_MAX && dv_place_open(s, dir, key, false, &p) == 0) {
		both = dv_place_find(s, &p, &f) == 0 && f.form == DV_FORM_RAW &&
		       p.names.packed[0] && DV_B(s, stat, p.dirfd, p.names.packed, &st) == 0;
		dv_place_close(s, &p);
	}
	dv_node_unref(s, dir);
	return both;
}

static dv_err remember_busy(struct look *k, const char *key)
{
	struct busy_key *b = NULL;
	size_t len = strlen(key);
	HASH_FIND(hh, k->busy, key, (unsigned)len, b);
	if (b)
		return 0;
	b = malloc(sizeof(*b) + len + 1);
	if (!b)
		return -ENOMEM;
	memcpy(b->key, key, len + 1);
	HASH_ADD_KEYPTR(hh, k->busy, b->key, (unsigned)len, b);
	if (DV_HASHED(b))
		return 0;
	free(b);
	return -ENOMEM;
}

static dv_err tell_record(struct look *k, const struct dv_info_owner *o, int dirfd,
			  const struct dv_record *r)
{
	DV_AUTO_FREE char *key = calloc(1, (size_t)r->path_len + 1); /* path ends without a NUL */
	enum dv_info_fate fate = DV_FATE_FINISHED;
	if (!key)
		return -ENOMEM;
	memcpy(key, r->path, r->path_len);
	if (r->type == DV_RECORD_SWAP) { /* most are done: their end is not written */
		if (!has_both_forms(k, key))
			return 0;
		fate = DV_FATE_ONE_FORM;
	} else if ((r->type == DV_RECORD_STAGE || r->type == DV_RECORD_STREAM) && !o->same_boot &&
		   !(r->flags & DV_RECORD_DURABLE)) {
		fate = DV_FATE_DROPPED;
	} else if (dv_pending_is_failed(k->s, dirfd, r)) {
		fate = DV_FATE_FAILED;
	}
	if (o->alive)
		fate = DV_FATE_UNDER_WAY;
	if (k->ops->pending)
		k->ops->pending(k->ops->self, o, key, fate);
	return remember_busy(k, key);
}

static dv_err tell_folder(struct look *k, int dirfd, const struct dv_info_owner *o)
{
	struct dv_pending pending;
	struct dv_open_record *p;
	if (k->ops->owner)
		k->ops->owner(k->ops->self, o);
	dv_err err = dv_pending_read(k->s, dirfd, &pending);
	for (p = pending.open; !err && p; p = p->hh.next)
		err = tell_record(k, o, dirfd, &p->r);
	dv_pending_release(&pending);
	return err;
}

/* Of a live owner the text comes with the answer. */
static void read_owner(struct dv_store *s, int dirfd, char text[DV_OWNER_MAX + 1])
{
	int fd = dv_open_quiet(s, dirfd, "owner", QUIET);
	ssize_t n = fd < 0 ? fd : DV_B(s, pread, fd, text, DV_OWNER_MAX, 0);
	if (fd >= 0)
		DV_B(s, close, fd);
	text[n > 0 ? n : 0] = '\0';
}

static dv_err tell_owner(struct look *k, int stagefd, const struct dv_owner *owner)
{
	struct dv_store *s = k->s;
	char text[DV_OWNER_MAX + 1] = "", mount[PATH_MAX], number[32], boot[64];
	int dirfd = dv_open_quiet(s, stagefd, owner->folder, QUIET | O_DIRECTORY);
	if (dirfd < 0)
		return dirfd == -ENOENT || dirfd == -ENOTDIR || dirfd == -ELOOP ? 0 : dirfd;
	bool here = owner->state == DV_OWNER_LOCK_TELLS && dv_owner_is_here(s, dirfd, text);
	if (!here)
		read_owner(s, dirfd, text);
	if (dv_owner_field(text, "boot", boot, sizeof(boot)))
		boot[0] = '\0';
	if (dv_owner_field(text, "mountpoint", mount, sizeof(mount)))
		mount[0] = '\0';
	if (dv_owner_field(text, "pid", number, sizeof(number)))
		number[0] = '\0';
	struct dv_info_owner o = {.host = owner->state == DV_OWNER_ELSEWHERE ? owner->host : "",
				  .mountpoint = mount,
				  .pid = strtol(number, NULL, 10),
				  .alive = here || owner->state == DV_OWNER_ELSEWHERE,
				  .same_boot = strcmp(boot, s->boot_id) == 0};
	dv_err err = tell_folder(k, dirfd, &o);
	DV_B(s, close, dirfd);
	return err == -ENOENT ? 0 : err; /* it ended meanwhile */
}

static dv_err tell_owners(struct look *k)
{
	struct dv_store *s = k->s;
	struct dv_owners owners = {0};
	int fd = dv_open_quiet(s, s->rootfd, DV_STAGE_DIR, QUIET | O_DIRECTORY);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	dv_err err = dv_owners_find(s, fd, false, &owners);
	for (size_t i = 0; i < owners.count && !err; i++)
		err = tell_owner(k, fd, &owners.at[i]);
	dv_owners_release(&owners);
	DV_B(s, close, fd);
	return err;
}

static dv_err tell_lost_one(void *ctx, int fd, const struct dv_dirent *e)
{
	struct look *k = ctx;
	struct dv_store *s = k->s;
	struct dv_stat st;
	if (DV_B(s, stat, fd, e->name, &st) == 0 && k->ops->lost)
		k->ops->lost(k->ops->self, e->name, st.size);
	return 0;
}

static dv_err tell_lost(struct look *k)
{
	struct dv_store *s = k->s;
	int fd = dv_open_quiet(s, s->rootfd, DV_LOST_DIR, QUIET | O_DIRECTORY);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	dv_err err = dv_each_dirent(s, fd, tell_lost_one, k);
	DV_B(s, close, fd);
	return err;
}

/* ---- the walk ---- */

/* Of an object with several links: was it met under another name? */
static bool is_known(struct look *k, const struct dv_stat *st)
{
	const uint64_t key[2] = {st->dev, st->ino};
	struct seen_object *o = NULL;
	if (st->nlink < 2)
		return false;
	HASH_FIND(hh, k->seen, key, sizeof(key), o);
	if (o)
		return true;
	o = malloc(sizeof(*o));
	if (!o)
		return false; /* counted twice, then */
	memcpy(o->key, key, sizeof(key));
	HASH_ADD(hh, k->seen, key, sizeof(o->key), o);
	if (!DV_HASHED(o))
		free(o);
	return false;
}

static void count_value(struct look *k, const struct dv_found *f, const struct dv_stat *shown)
{
	struct dv_info *i = k->out;
	bool packed = f->form == DV_FORM_PACKED;
	*(packed ? &i->packed : &i->raw) += 1;
	if (is_known(k, &f->st))
		return;
	i->plain_bytes += shown->size;
	i->stored_bytes += f->st.size;
	i->disk_bytes += f->st.blocks * 512;
	i->packed_plain_bytes += packed ? shown->size : 0;
	i->packed_stored_bytes += packed ? f->st.size : 0;
}

static void check_twin(struct look *k, const struct dv_place *p, const struct dv_found *f)
{
	struct dv_store *s = k->s;
	struct dv_stat st;
	struct busy_key *b = NULL;
	if (f->form != DV_FORM_RAW || !p->names.packed[0] ||
	    DV_B(s, stat, p->dirfd, p->names.packed, &st) || !S_ISREG(st.mode))
		return;
	HASH_FIND(hh, k->busy, k->path, (unsigned)strlen(k->path), b);
	if (b)
		return;
	k->out->twins++;
	if (k->ops->twin)
		k->ops->twin(k->ops->self, k->path);
}

static dv_err look_in(struct look *k, struct dv_node *dir, unsigned depth);

static dv_err look_at(struct look *k, struct dv_node *dir, const char *name, unsigned depth)
{
	struct dv_store *s = k->s;
	struct dv_place p;
	struct dv_found f;
	struct dv_stat st;
	struct dv_node *n = NULL;
	dv_err err = dv_place_open(s, dir, name, false, &p);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = dv_place_find(s, &p, &f);
	if (!err)
		err = dv_store_lookup(s, &call, dir, name, &n, &st);
	if (!err && S_ISDIR(f.st.mode)) {
		k->out->directories++;
		err = look_in(k, n, depth + 1);
	} else if (!err && S_ISREG(f.st.mode)) {
		count_value(k, &f, &st);
		check_twin(k, &p, &f);
	} else if (!err) {
		k->out->others++;
	}
	dv_node_unref(s, n);
	dv_place_close(s, &p);
	if (err == -ENOENT || err == -ESTALE) /* gone meanwhile */
		return 0;
	if (err && err != -ENOMEM) {
		k->out->unreadable++;
		err = 0;
	}
	return err;
}

/* k->path is dir's, with the name added while it is looked at. */
static dv_err look_at_name(void *ctx, struct dv_node *dir, const char *name, unsigned depth)
{
	struct look *k = ctx;
	size_t len = strlen(k->path);
	snprintf(k->path + len, sizeof(k->path) - len, "%s%s", len ? "/" : "", name);
	dv_err err = look_at(k, dir, name, depth);
	k->path[len] = '\0';
	return err;
}

static dv_err look_in(struct look *k, struct dv_node *dir, unsigned depth)
{
	if (depth > DEPTH_MAX)
		return -ENAMETOOLONG;
	return dv_list_each(k->s, dir, depth, look_at_name, k);
}

/* ---- all of it ---- */

static void fill(struct dv_store *s, struct dv_info *out)
{
	const struct dv_config *c = &s->config;
	out->format = c->format;
	out->frame_size = c->frame_size;
	snprintf(out->transform, sizeof(out->transform), "%s", c->transform);
	snprintf(out->nopack, sizeof(out->nopack), "%s", c->nopack ? c->nopack : "");
	dv_coding_write(&c->coding, out->layout);
	if (c->compress)
		snprintf(out->compress, sizeof(out->compress), "zstd:%d", c->level);
	else
		snprintf(out->compress, sizeof(out->compress), "none");
}

static void forget(struct look *k)
{
	struct seen_object *o, *next;
	struct busy_key *b, *after;
	HASH_ITER(hh, k->seen, o, next)
	{
		HASH_DEL(k->seen, o);
		free(o);
	}
	HASH_ITER(hh, k->busy, b, after)
	{
		HASH_DEL(k->busy, b);
		free(b);
	}
}

dv_err dv_store_info(struct dv_backing backing, const char *path, const struct dv_plugin *plugin,
		     bool walk, const struct dv_info_ops *ops, struct dv_info *out, char *why,
		     size_t why_size)
{
	const struct dv_store_options o = {
		.read_only = true, .noatime = true, .threads = 1, .plugin = plugin};
	DV_AUTO_FREE struct look *k = calloc(1, sizeof(*k));
	const char *what = "";
	*out = (struct dv_info){0};
	if (!k)
		return -ENOMEM;
	dv_err err = dv_store_open(backing, path, &o, &k->s, why, why_size);
	if (err)
		return err;
	k->ops = ops;
	k->out = out;
	fill(k->s, out);
	err = dv_store_statfs(k->s, &out->backing);
	if (!err)
		err = tell_owners(k);
	what = err ? DV_STAGE_DIR : what;
	if (!err) {
		what = DV_LOST_DIR;
		err = tell_lost(k);
	}
	if (!err && walk) {
		what = "its keys";
		err = look_in(k, k->s->root, 0);
	}
	if (err)
		snprintf(why, why_size, "%s: %s can not be looked at: %s", path, what,
			 strerror(-err));
	forget(k);
	dv_ignore(dv_store_close(&k->s, NULL)); /* read only: nothing to finish */
	return err;
}
