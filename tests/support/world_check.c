/* SPDX-License-Identifier: MIT */
/* world_check.c - what must hold of a store, by the model and by itself. See world.h. */
#include "core/deflate.h"
#include "tests/support/check.h"
#include "tests/support/world.h"

#include <dirent.h>
#include <zstd.h>

#define READ_STEP   30000 /* not a multiple of anything */
#define DEPTH	    16
#define READDIR_BUF 8192

static const struct dv_call call = {.uid = 0, .gid = 0};

/* ---- what is seen ---- */

static bool read_value(struct world *w, struct dv_node *n, const char *path, size_t size,
		       struct model_seen *out)
{
	out->exists = true;
	out->data = malloc(size + READ_STEP);
	CHECK(out->data != NULL);
	out->len = 0;
	for (;;) {
		ssize_t got = dv_store_read(w->s, &call, n, out->data + out->len,
					    (struct dv_range){out->len, READ_STEP});
		if (got < 0)
			return world_wrong(w, "%s can not be read: %s", path, strerror((int)-got));
		if (got == 0)
			break;
		out->len += (size_t)got;
		if (out->len > size)
			return world_wrong(w, "%s is longer than its size, %zu", path, size);
	}
	return out->len == size
		       ? true
		       : world_wrong(w, "%s has size %zu, but %zu bytes", path, size, out->len);
}

static bool see(struct world *w, const char *path, struct model_seen *out)
{
	struct dv_node *dir = dv_store_root(w->s), *n = NULL;
	struct dv_stat st = {0};
	dv_err err = 0;
	char copy[MODEL_PATH], *save = NULL;
	*out = (struct model_seen){0};
	strcpy(copy, path);
	for (char *name = strtok_r(copy, "/", &save); name && !err;
	     name = strtok_r(NULL, "/", &save)) {
		err = dv_store_lookup(w->s, &call, dir, name, &n, &st);
		dv_node_unref(w->s, dir);
		dir = err ? NULL : n;
	}
	bool ok = true;
	if (!err && S_ISREG(st.mode))
		ok = read_value(w, dir, path, st.size, out);
	else if (!err)
		ok = world_wrong(w, "%s is not a value: mode %o", path, st.mode);
	else if (err != -ENOENT)
		ok = world_wrong(w, "%s: %s", path, strerror(-err));
	dv_node_unref(w->s, dir);
	return ok;
}

static void release_all(struct model_seen *seen)
{
	for (size_t k = 0; k < MODEL_KEYS; k++)
		free(seen[k].data);
}

static bool not_explained(struct world *w, size_t key, const struct model_seen *seen)
{
	const struct model_key *k = &w->m.keys[key];
	char text[2048];
	size_t at = (size_t)snprintf(text, sizeof(text), "%s ", k->path);
	if (seen->exists)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "holds %zu bytes \"%.23s\"",
				       seen->len, seen->len ? (char *)seen->data : "");
	else
		at += (size_t)snprintf(text + at, sizeof(text) - at, "is missing");
	at += (size_t)snprintf(text + at, sizeof(text) - at, "; possible are:");
	for (size_t i = 0; i < k->count && at < sizeof(text) - 80; i++) {
		const struct model_bytes *b = k->states[i].bytes;
		if (b)
			at += (size_t)snprintf(text + at, sizeof(text) - at, " [%u] %zu \"%.23s\"",
					       k->states[i].segment, b->len,
					       b->len ? (const char *)b->data : "");
		else
			at += (size_t)snprintf(text + at, sizeof(text) - at, " none");
	}
	return world_wrong(w, "%s%s", text, k->hidden ? " (the last segment is a stage)" : "");
}

static bool explain_all(struct world *w, struct model_seen *seen)
{
	bool hidden_too = w->mode == WORLD_PROCESS;
	for (size_t k = 0; k < w->m.count; k++) {
		if (!see(w, w->m.keys[k].path, &seen[k]))
			return false;
		if (!model_explain(&w->m, k, hidden_too, &seen[k]))
			return not_explained(w, k, &seen[k]);
	}
	int torn = model_torn_pair(&w->m, seen);
	if (torn < 0)
		return true;
	const struct model_pair *p = &w->m.pairs[torn];
	const struct model_seen *a = &seen[p->key[0]], *b = &seen[p->key[1]];
	return world_wrong(
		w,
		"a rename is half done: %s is in states %zu to %zu, renamed as %zu; %s in %zu "
		"to %zu, as %zu",
		w->m.keys[p->key[0]].path, a->first, a->last, p->state[0],
		w->m.keys[p->key[1]].path, b->first, b->last, p->state[1]);
}

/* ---- what is listed ---- */

struct listing {
	struct world *w;
	const struct model_seen *seen;
	const char *prefix;
	bool listed[MODEL_KEYS];
	char dirs[WORLD_DIRS * 2][2 * MODEL_PATH];
	size_t dir_count;
	bool ok;
};

static bool take(void *ctx, const struct dv_list_entry *e)
{
	struct listing *l = ctx;
	char path[2 * MODEL_PATH + 256];
	snprintf(path, sizeof(path), "%s%s", l->prefix, e->name);
	if (e->type == S_IFDIR && l->dir_count < WORLD_DIRS * 2) {
		snprintf(l->dirs[l->dir_count++], sizeof(l->dirs[0]), "%.*s", 2 * MODEL_PATH - 1,
			 path);
		return true;
	}
	for (size_t k = 0; k < l->w->m.count; k++)
		if (!strcmp(l->w->m.keys[k].path, path)) {
			if (l->listed[k])
				l->ok = world_wrong(l->w, "%s is listed twice", path);
			if (!l->seen[k].exists)
				l->ok = world_wrong(l->w, "%s is listed, but not there", path);
			l->listed[k] = true;
			return true;
		}
	l->ok = world_wrong(l->w, "a stray is listed: %s", path);
	return true;
}

static dv_err list_dir(struct world *w, const char *path, struct listing *l)
{
	struct dv_list *list = NULL;
	struct dv_node *dir = dv_store_root(w->s), *n = NULL;
	struct dv_stat st;
	char copy[2 * MODEL_PATH], prefix[2 * MODEL_PATH + 2] = "", *save = NULL;
	dv_err err = 0;
	strcpy(copy, path);
	for (char *name = strtok_r(copy, "/", &save); name && !err;
	     name = strtok_r(NULL, "/", &save)) {
		err = dv_store_lookup(w->s, &call, dir, name, &n, &st);
		dv_node_unref(w->s, dir);
		dir = err ? NULL : n;
	}
	if (path[0])
		snprintf(prefix, sizeof(prefix), "%s/", path);
	l->prefix = prefix;
	if (!err)
		err = dv_list_open(w->s, dir, &list);
	if (!err)
		err = dv_store_list(w->s, &call, dir, list, 0, take, l);
	dv_list_close(w->s, &list);
	dv_node_unref(w->s, dir);
	return err;
}

static bool check_listing(struct world *w, const struct model_seen *seen)
{
	struct listing l = {.w = w, .seen = seen, .ok = true};
	dv_err err = list_dir(w, "", &l);
	for (size_t i = 0; i < l.dir_count && !err; i++) {
		char path[2 * MODEL_PATH];
		strcpy(path, l.dirs[i]);
		err = list_dir(w, path, &l);
	}
	if (err)
		return world_wrong(w, "listing: %s", strerror(-err));
	for (size_t k = 0; k < w->m.count && l.ok; k++)
		if (seen[k].exists && !l.listed[k])
			return world_wrong(w, "%s is there, but not listed", w->m.keys[k].path);
	return l.ok;
}

bool world_verify(struct world *w, bool settle)
{
	struct model_seen seen[MODEL_KEYS] = {0};
	bool ok = explain_all(w, seen) && check_listing(w, seen);
	for (size_t k = 0; k < w->m.count && ok && settle; k++) {
		struct model_bytes *b = NULL;
		if (seen[k].exists) {
			b = model_bytes_new(seen[k].len);
			memcpy(b->data, seen[k].data, seen[k].len);
		}
		struct model_bytes *now = model_now(&w->m, k);
		bool same =
			now ? b && b->len == now->len && !memcmp(b->data, now->data, b->len) : !b;
		if (same)
			model_bytes_unref(b);
		else
			model_push(&w->m, k, b, false);
		model_settle(&w->m, k);
	}
	release_all(seen);
	return ok;
}

/* ---- what lies in the store ---- */

static bool decodes(struct dv_backing b, int dirfd, const char *name, uint64_t size)
{
	static uint8_t out[1u << 16];
	int fd = b.ops->open(b.self, dirfd, name, O_RDONLY, 0);
	if (fd < 0)
		return false;
	uint8_t *bytes = malloc(size + 1);
	ZSTD_DCtx *ctx = ZSTD_createDCtx();
	CHECK(bytes && ctx);
	size_t done = 0, left = 1;
	for (ssize_t got = 1; done < size && got > 0; done += (size_t)(got > 0 ? got : 0))
		got = b.ops->pread(b.self, fd, bytes + done, size - done, done);
	ZSTD_inBuffer in = {bytes, done, 0};
	while (in.pos < in.size) {
		ZSTD_outBuffer o = {out, sizeof(out), 0};
		left = ZSTD_decompressStream(ctx, &o, &in);
		if (ZSTD_isError(left))
			break;
	}
	ZSTD_freeDCtx(ctx);
	free(bytes);
	b.ops->close(b.self, fd);
	return left == 0;
}

/* All of it, in a layout whose values are compressed in their one file. */
static bool inflates(const struct dv_coding *c, struct dv_backing b, int dirfd, const char *name,
		     uint64_t size)
{
	static uint8_t out[1u << 16];
	struct dv_inflater *i = NULL;
	int fd = b.ops->open(b.self, dirfd, name, O_RDONLY, 0), done = 0;
	uint8_t *bytes = malloc(size + 1);
	size_t pos = 0, len = 0;
	CHECK(fd >= 0 && bytes);
	CHECK_EQ(dv_inflater_new(c, &i), 0);
	for (ssize_t got = 1; len < size && got > 0; len += (size_t)(got > 0 ? got : 0))
		got = b.ops->pread(b.self, fd, bytes + len, size - len, len);
	bool good = dv_deflate_is_unmade(c, bytes, len), unmade = good;
	for (ssize_t n = 0; !unmade && n >= 0 && !(done && pos == len);) {
		size_t before = pos;
		n = dv_inflater_step(i, bytes, len, &pos, out, sizeof(out), &done);
		good = done && pos == len;
		if (n == 0 && pos == before && !done)
			break;
	}
	dv_inflater_free(&i);
	b.ops->close(b.self, fd);
	free(bytes);
	return good;
}

static bool ends_with(const char *name, const char *ending)
{
	size_t n = strlen(name), e = strlen(ending);
	return n >= e && !strcmp(name + n - e, ending);
}

static bool is_regular(struct dv_backing b, int dirfd, const char *name)
{
	struct dv_stat st;
	return b.ops->stat(b.self, dirfd, name, &st) == 0 && S_ISREG(st.mode);
}

/* Is the raw form of the packed file there too? */
static bool has_twin(struct world *w, struct dv_backing b, int dirfd, const char *packed)
{
	char raw[MODEL_PATH], aside[MODEL_PATH + 8];
	snprintf(raw, sizeof(raw), "%.*s", (int)(strlen(packed) - 4), packed);
	snprintf(aside, sizeof(aside), "%s.raw", raw);
	if (ends_with(raw, ".zst") || ends_with(raw, ".zst.raw"))
		return is_regular(b, dirfd, aside);
	return is_regular(b, dirfd, raw) ||
	       (!strncmp(w->transform, "split", 5) && is_regular(b, dirfd, aside));
}

/* Every *.zst beneath dirfd must decode and be the only form; only_count: counts files instead.
 * Closes dirfd. */
static bool walk(struct world *w, struct dv_backing b, int dirfd, unsigned depth,
		 unsigned *only_count)
{
	_Alignas(8) char buf[READDIR_BUF];
	struct dv_dirent ents[64];
	int64_t cookie = 0;
	struct dv_coding coding = {0};
	char why[256];
	if (strchr(w->transform, '@'))
		CHECK_EQ(dv_coding_parse(strchr(w->transform, '@') + 1, &coding, why, sizeof(why)),
			 0);
	bool ok = dirfd >= 0 && depth < DEPTH;
	for (ssize_t n;
	     ok && (n = b.ops->readdir(b.self, dirfd, cookie, buf, sizeof(buf), ents, 64)) > 0;) {
		for (ssize_t i = 0; i < n && ok; i++) {
			struct dv_stat st;
			const char *name = ents[i].name;
			cookie = ents[i].cookie;
			if (depth == 0 && !only_count && !strcmp(name, ".diskvfs"))
				continue;
			if (b.ops->stat(b.self, dirfd, name, &st))
				ok = world_wrong(w, "stat of %s", name);
			else if (S_ISDIR(st.mode))
				ok = walk(
					w, b,
					b.ops->open(b.self, dirfd, name, O_RDONLY | O_DIRECTORY, 0),
					depth + 1, only_count);
			else if (only_count)
				++*only_count;
			else if (dv_coding_is_diskv(&coding))
				ok = !dv_coding_is_sealed(&coding) ||
				     inflates(&coding, b, dirfd, name, st.size) ||
				     world_wrong(w, "the file %s (%llu bytes) does not inflate",
						 name, (unsigned long long)st.size);
			else if (ends_with(name, ".zst") && !decodes(b, dirfd, name, st.size))
				ok = world_wrong(w,
						 "the packed file %s (%llu bytes) does not decode",
						 name, (unsigned long long)st.size);
			else if (ends_with(name, ".zst") && has_twin(w, b, dirfd, name))
				ok = world_wrong(w, "%s lies beside its raw form", name);
		}
	}
	if (dirfd >= 0)
		b.ops->close(b.self, dirfd);
	return ok;
}

static unsigned count_files(struct world *w, struct dv_backing b, const char *path)
{
	unsigned count = 0;
	int fd = b.ops->open_root(b.self, path);
	if (fd >= 0)
		(void)walk(w, b, fd, 0, &count);
	return count;
}

bool world_check_closed(struct world *w, struct simfs *disk)
{
	struct dv_backing b = simfs_backing(disk);
	bool ok = true;
	if (simfs_open_fds(disk))
		ok = world_wrong(w, "%zu descriptors leaked", simfs_open_fds(disk));
	else if (simfs_bad_fds(disk))
		ok = world_wrong(w, "%lu calls with descriptors that were not open",
				 simfs_bad_fds(disk));
	if (ok)
		ok = walk(w, b, b.ops->open_root(b.self, "/store"), 0, NULL);
	if (ok && count_files(w, b, "/store/.diskvfs/stage"))
		ok = world_wrong(w, "%u files are left in .diskvfs/stage",
				 count_files(w, b, "/store/.diskvfs/stage"));
	if (ok && !w->may_put_aside && count_files(w, b, "/store/.diskvfs/lost"))
		ok = world_wrong(w, "%u files were put aside",
				 count_files(w, b, "/store/.diskvfs/lost"));
	return ok;
}

static bool same(struct world *w, const struct model_seen *a, const struct model_seen *b)
{
	for (size_t k = 0; k < w->m.count; k++)
		if (a[k].exists != b[k].exists || a[k].len != b[k].len ||
		    (a[k].len && memcmp(a[k].data, b[k].data, a[k].len)))
			return world_wrong(
				w, "%s was changed by packing, closing or the next recovery",
				w->m.keys[k].path);
	return true;
}

bool world_check(struct world *w, struct simfs *disk, const char *boot)
{
	struct model_seen seen[2][MODEL_KEYS] = {0};
	struct dv_store *mine = w->s;
	bool ok = true;
	simfs_set_free_blocks(disk, 1u << 20); /* to open a store takes a few */
	for (int round = 0; round < 2 && ok; round++) {
		w->s = NULL;
		dv_err err = world_open(w, disk, boot);
		if (err) {
			ok = world_wrong(w, "the store can not be opened: %s", strerror(-err));
			break;
		}
		ok = explain_all(w, seen[round]) && check_listing(w, seen[round]);
		err = dv_store_close(&w->s, NULL);
		if (ok && err)
			ok = world_wrong(w, "closing: %s", strerror(-err));
		ok = ok && world_check_closed(w, disk);
	}
	ok = ok && same(w, seen[0], seen[1]);
	release_all(seen[0]);
	release_all(seen[1]);
	w->s = mine;
	return ok;
}
