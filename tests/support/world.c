/* SPDX-License-Identifier: MIT */
/* world.c - see world.h. The checks of what is found are in world_check.c. */
#include "tests/support/world.h"

#include "core/put.h"

#include "core/cleanup.h"
#include "tests/support/check.h"

#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

#define FRAME	  4096
#define WRITE_MAX (4u << 20)
#define STREAM	  (3 * FRAME) /* with small limits */
#define APPEND	  (2 * FRAME)
#define SEGMENT	  (2 * FRAME)

static const struct dv_call call = {.uid = 0, .gid = 0};

/* ---- telling ---- */

static char context[8192];
static const char *context_step = "";

void world_context(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(context, sizeof(context), fmt, args);
	va_end(args);
}

const char *world_context_text(void)
{
	return context;
}

static void on_abort(int sig)
{
	(void)sig;
	fprintf(stderr, "aborted in \"%s\"; %s\n", context_step, context);
}

/* ---- opening ---- */

static void make_store(struct world *w)
{
	char why[512];
	char transform[64];
	const char *at = strchrnul(w->transform, '@');
	snprintf(transform, sizeof(transform), "%.*s", (int)(at - w->transform), w->transform);
	struct dv_init_options init = {
		.transform = transform, .frame_size = FRAME, .layout = *at ? at + 1 : NULL};
	w->fs = simfs_new();
	struct dv_backing b = simfs_backing(w->fs);
	dv_err err = dv_store_init(b, "/store", &init, why, sizeof(why));
	if (err) {
		fprintf(stderr, "init: %s\n", why);
		exit(1);
	}
}

static bool small;

void world_small_limits(bool on)
{
	small = on;
}

static int64_t clock_step_s;

void world_clock_steps(int64_t seconds)
{
	clock_step_s = seconds;
}

dv_err world_open(struct world *w, struct simfs *fs, const char *boot)
{
	char why[512];
	/* Values of 9000 bytes are unpacked under the gate, those of 20000 beside the value. */
	struct dv_store_options o = {.threads = 1,
				     .cache_bytes = 1u << 20,
				     .boot_id = boot,
				     .gated_bytes = 15000,
				     .stream_bytes = small ? STREAM : 0,
				     .append_bytes = small ? APPEND : 0,
				     .segment_bytes = small ? SEGMENT : 0};
	return dv_store_open(simfs_backing(fs), "/store", &o, &w->s, why, sizeof(why));
}

void world_init(struct world *w, enum world_mode mode, const char *transform)
{
	*w = (struct world){.mode = mode, .transform = transform};
	context_step = w->step;
	signal(SIGABRT, on_abort);
	make_store(w);
	CHECK_EQ(world_open(w, w->fs, WORLD_BOOT), 0);
}

dv_err world_close(struct world *w)
{
	for (size_t i = 0; i < WORLD_HOLDS; i++) {
		if (w->s)
			dv_node_unref(w->s, w->holds[i].node);
		w->holds[i].node = NULL;
	}
	for (size_t i = 0; i < w->kept_count && w->s; i++)
		dv_node_unref(w->s, w->kept[i]);
	w->kept_count = 0;
	return dv_store_close(&w->s, NULL);
}

void world_release(struct world *w)
{
	(void)world_close(w);
	model_release(&w->m);
	simfs_free(w->fs);
	w->fs = NULL;
	context_step = "";
}

/* ---- small things ---- */

bool world_wrong(struct world *w, const char *fmt, ...)
{
	va_list args;
	if (w->why[0])
		return false;
	va_start(args, fmt);
	vsnprintf(w->why, sizeof(w->why), fmt, args);
	va_end(args);
	return false;
}

struct simfs *world_kill(struct world *w, struct dv_store **dead)
{
	*dead = w->s;
	w->s = NULL;
	return simfs_after_kill(w->fs);
}

static void begin(struct world *w)
{
	w->skipped = false;
	if (w->before)
		w->before(w);
}

static void end(struct world *w, dv_err err)
{
	w->err = err;
	if (w->after)
		w->after(w);
}

static bool acknowledged(const struct world *w)
{
	return w->err >= 0 && !simfs_is_cut(w->fs);
}

static void keep(struct world *w, struct dv_node *n)
{
	for (size_t i = 0; i < w->kept_count; i++)
		if (w->kept[i] == n)
			return;
	if (w->keep && n && w->kept_count < WORLD_KEPT)
		w->kept[w->kept_count++] = dv_node_ref(n);
}

/* A reference on the directory of path, and where its last component begins. */
static dv_err parent_of(struct world *w, const char *path, struct dv_node **dir, const char **last)
{
	struct dv_stat st;
	dv_err err = 0;
	const char *at = path;
	*dir = dv_store_root(w->s);
	for (const char *slash; !err && (slash = strchr(at, '/')); at = slash + 1) {
		char name[MODEL_PATH];
		struct dv_node *child = NULL;
		snprintf(name, sizeof(name), "%.*s", (int)(slash - at), at);
		err = dv_store_lookup(w->s, &call, *dir, name, &child, &st);
		keep(w, child);
		dv_node_unref(w->s, *dir);
		*dir = child;
	}
	*last = at;
	return err;
}

static dv_err node_of(struct world *w, const char *path, struct dv_node **out)
{
	struct dv_node *dir;
	const char *last;
	struct dv_stat st;
	*out = NULL;
	if (!strcmp(path, ".")) {
		*out = dv_store_root(w->s);
		return 0;
	}
	dv_err err = parent_of(w, path, &dir, &last);
	if (!err)
		err = dv_store_lookup(w->s, &call, dir, last, out, &st);
	keep(w, *out);
	dv_node_unref(w->s, dir);
	return err;
}

static bool has_form(struct world *w, struct dv_node *n, const char *form)
{
	char text[32];
	ssize_t len = dv_store_getxattr(w->s, &call, n, "user.diskvfs.form", text, sizeof(text));
	return len == (ssize_t)strlen(form) && !memcmp(text, form, (size_t)len);
}

/* One that is appended to is changed in place, as long as that goes on. */
static bool is_packed(struct world *w, struct dv_node *n)
{
	return has_form(w, n, "packed") || has_form(w, n, "appending");
}

static bool is_appended(struct world *w, struct dv_node *n, const struct model_bytes *now,
			size_t off)
{
	return off == now->len && (has_form(w, n, "appending") ||
				   (small && has_form(w, n, "packed") && now->len > APPEND));
}

static size_t dir_find(const struct world *w, const char *dir)
{
	for (size_t i = 0; i < WORLD_DIRS; i++)
		if (!strcmp(w->dirs[i], dir))
			return i;
	return WORLD_DIRS;
}

static bool has_parent(const struct world *w, const char *path)
{
	char dir[MODEL_PATH];
	const char *slash = strrchr(path, '/');
	if (!slash)
		return true;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	return dir_find(w, dir) < WORLD_DIRS;
}

static bool lies_in(const char *path, const char *dir)
{
	size_t len = strlen(dir);
	return !strncmp(path, dir, len) && path[len] == '/';
}

static bool is_empty(const struct world *w, const char *dir)
{
	for (size_t k = 0; k < w->m.count; k++)
		if (lies_in(w->m.keys[k].path, dir) && model_now(&w->m, k))
			return false;
	for (size_t i = 0; i < WORLD_DIRS; i++)
		if (lies_in(w->dirs[i], dir))
			return false;
	return true;
}

static unsigned links_of(const struct world *w, size_t key)
{
	unsigned links = 0;
	for (size_t k = 0; k < w->m.count; k++)
		links += w->m.keys[k].group == w->m.keys[key].group && model_now(&w->m, k);
	return links;
}

/* Takes bytes: the new content of key and of all links to the same file. */
static void push_all(struct world *w, size_t key, struct model_bytes *bytes, bool as_whole,
		     bool hidden)
{
	unsigned group = w->m.keys[key].group;
	for (size_t k = 0; k < w->m.count; k++)
		if (w->m.keys[k].group == group && model_now(&w->m, k)) {
			model_push(&w->m, k, model_bytes_ref(bytes), as_whole);
			w->m.keys[k].hidden |= hidden;
		}
	model_bytes_unref(bytes);
}

static void settle_group(struct world *w, size_t key)
{
	unsigned group = w->m.keys[key].group;
	if (w->mode != WORLD_PROCESS || !acknowledged(w))
		return;
	for (size_t k = 0; k < w->m.count; k++)
		if (w->m.keys[k].group == group)
			model_settle(&w->m, k);
}

static void commit_all(struct world *w)
{
	for (size_t k = 0; k < w->m.count; k++)
		model_commit(&w->m, k);
}

static void commit_group(struct world *w, size_t key)
{
	unsigned group = w->m.keys[key].group;
	for (size_t k = 0; k < w->m.count; k++)
		if (w->m.keys[k].group == group)
			model_commit(&w->m, k);
}

/* ---- bytes ---- */

static void fill(struct world *w, uint8_t *at, size_t len, size_t off, bool noise)
{
	uint64_t x = 0x9e3779b97f4a7c15u * (w->writes * 7919ull + off + 1);
	char line[48];
	for (size_t i = 0; i < len; i++) {
		if (noise) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			at[i] = (uint8_t)(x >> 24);
		} else {
			if (i % 32 == 0)
				snprintf(line, sizeof(line), "write %06u at %08zx, text.\n",
					 w->writes, off + i);
			at[i] = (uint8_t)line[i % 32];
		}
	}
}

static bool do_write(struct world *w, const char *path, size_t off, size_t len, bool append,
		     bool noise)
{
	struct dv_node *n;
	size_t key = model_key(&w->m, path);
	struct model_bytes *now = model_now(&w->m, key);
	if (!now || !len || len > WRITE_MAX)
		return true;
	if (append)
		off = now->len;
	dv_err err = node_of(w, path, &n);
	if (err)
		return world_wrong(w, "%s: lookup: %s", path, strerror(-err));
	bool fresh_stage = is_packed(w, n) && !is_appended(w, n, now, off);
	struct model_bytes *next = model_bytes_new(off + len > now->len ? off + len : now->len);
	memcpy(next->data, now->data, now->len);
	w->writes++;
	fill(w, next->data + off, len, off, noise);
	model_bytes_ref(next);
	push_all(w, key, next, fresh_stage, fresh_stage);
	begin(w);
	ssize_t got = dv_store_write(w->s, &call, n, next->data + off, (struct dv_range){off, len},
				     append ? DV_WRITE_APPEND : 0);
	end(w, got < 0 ? (dv_err)got : 0);
	if (got >= 0 && (size_t)got != len && acknowledged(w))
		w->err = -EIO; /* a short count: some of it is there */
	settle_group(w, key);
	model_bytes_unref(next);
	dv_node_unref(w->s, n);
	return true;
}

static bool do_trunc(struct world *w, const char *path, size_t size)
{
	struct dv_node *n;
	struct dv_stat st;
	size_t key = model_key(&w->m, path);
	struct model_bytes *now = model_now(&w->m, key);
	if (!now || size > WRITE_MAX)
		return true;
	dv_err err = node_of(w, path, &n);
	if (err)
		return world_wrong(w, "%s: lookup: %s", path, strerror(-err));
	bool packed = is_packed(w, n), hidden = w->m.keys[key].hidden;
	bool stage = !hidden && (packed || (size == 0 && now->len && links_of(w, key) == 1));
	struct model_bytes *next = model_bytes_new(size);
	memcpy(next->data, now->data, now->len < size ? now->len : size);
	push_all(w, key, next, stage, stage);
	struct dv_setattr set = {.valid = DV_SET_SIZE, .size = size};
	begin(w);
	end(w, dv_store_setattr(w->s, &call, n, &set, &st));
	settle_group(w, key);
	dv_node_unref(w->s, n);
	return true;
}

/* A new shard directory under split may move a value aside, and bring it to rest before. */
static void commit_neighbours(struct world *w)
{
	if (!strncmp(w->transform, "split", 5))
		commit_all(w);
}

static bool do_create(struct world *w, const char *path)
{
	struct dv_node *dir, *n = NULL;
	const char *last;
	struct dv_stat st;
	size_t key = model_key(&w->m, path);
	if (model_now(&w->m, key) || !has_parent(w, path))
		return true;
	dv_err err = parent_of(w, path, &dir, &last);
	if (err)
		return world_wrong(w, "%s: parent: %s", path, strerror(-err));
	commit_neighbours(w);
	w->m.keys[key].group = ++w->m.groups;
	model_push(&w->m, key, model_bytes_new(0), true);
	begin(w);
	end(w, dv_store_mknod(w->s, &call, dir, last, S_IFREG | 0644, 0, &n, &st));
	keep(w, n);
	settle_group(w, key);
	dv_node_unref(w->s, n);
	dv_node_unref(w->s, dir);
	return true;
}

static bool do_put(struct world *w, const char *path, size_t len)
{
	bool there = model_now(&w->m, model_key(&w->m, path)) != NULL;
	bool ok = there ? do_trunc(w, path, 0) : do_create(w, path);
	bool skipped = w->skipped;
	if (!ok || skipped || !acknowledged(w))
		return ok;
	return do_write(w, path, 0, len, false, false);
}

/* Its value is about to lose the name: a stage is dropped with it, but the one that other names
 * share is put in place before. */
static void lose_name(struct world *w, size_t key)
{
	if (links_of(w, key) > 1)
		commit_group(w, key);
	else if (w->mode == WORLD_POWER)
		model_drop_stage(&w->m, key);
}

static dv_err put_whole(struct world *w, struct dv_node *dir, const char *last,
			const struct model_bytes *bytes, bool sync)
{
	struct dv_put *put = NULL;
	dv_err err = dv_put_begin(w->s, 0644, &put);
	if (!err && bytes->len) {
		ssize_t got = dv_put_write(w->s, &call, put, bytes->data,
					   (struct dv_range){0, bytes->len});
		err = got < 0 ? (dv_err)got : 0;
	}
	if (!err)
		err = dv_put_commit(w->s, &call, put, dir, last, sync ? DV_PUT_SYNC : 0);
	dv_put_end(w->s, &put);
	return err;
}

/* As by a renaming of a file that has been nowhere: new bytes may be torn, what is replaced not. */
static bool do_whole(struct world *w, const char *path, size_t len, bool sync)
{
	struct dv_node *dir;
	const char *last;
	size_t key = model_key(&w->m, path);
	bool over = model_now(&w->m, key) != NULL;
	if (len > WRITE_MAX || !has_parent(w, path))
		return true;
	dv_err err = parent_of(w, path, &dir, &last);
	if (err)
		return world_wrong(w, "%s: parent: %s", path, strerror(-err));
	struct model_bytes *bytes = model_bytes_new(len);
	w->writes++;
	fill(w, bytes->data, len, 0, false);
	commit_neighbours(w);
	w->may_put_aside = over;
	if (over)
		lose_name(w, key);
	else
		model_push(&w->m, key, model_bytes_new(0), true);
	model_push(&w->m, key, model_bytes_ref(bytes), over);
	begin(w);
	end(w, put_whole(w, dir, last, bytes, sync));
	if (acknowledged(w)) {
		w->m.keys[key].hidden = w->may_put_aside = false;
		w->m.keys[key].group = ++w->m.groups;
		settle_group(w, key);
		if (sync)
			model_settle(&w->m, key);
	}
	model_bytes_unref(bytes);
	dv_node_unref(w->s, dir);
	return true;
}

/* As a program does that copies a file: what can not be copied as it is stored is written. */
static ssize_t copy_or_write(struct world *w, struct dv_node *from, struct dv_node *to,
			     const struct model_bytes *bytes)
{
	struct dv_range all = {0, bytes->len};
	ssize_t got = dv_store_copy(w->s, &call, from, all, to, 0);
	return got == -EOPNOTSUPP && !simfs_is_cut(w->fs)
		       ? dv_store_write(w->s, &call, to, bytes->data, all, 0)
		       : got;
}

static bool do_copy(struct world *w, const char *from, const char *to)
{
	struct dv_node *nf = NULL, *nt = NULL;
	size_t source = model_key(&w->m, from), key = model_key(&w->m, to);
	struct model_bytes *now = model_now(&w->m, source), *next;
	bool there = model_now(&w->m, key) != NULL;
	if (!now || !now->len || w->m.keys[source].group == w->m.keys[key].group)
		return true;
	next = model_bytes_ref(now);
	bool ok = there ? do_trunc(w, to, 0) : do_create(w, to);
	if (!ok || w->skipped || !acknowledged(w)) {
		model_bytes_unref(next);
		return ok;
	}
	dv_err err = node_of(w, from, &nf);
	if (!err)
		err = node_of(w, to, &nt);
	if (err) {
		model_bytes_unref(next);
		return world_wrong(w, "%s: lookup: %s", to, strerror(-err));
	}
	push_all(w, key, model_bytes_ref(next), false, false);
	begin(w);
	ssize_t got = copy_or_write(w, nf, nt, next);
	end(w, got < 0 ? (dv_err)got : 0);
	if (got >= 0 && (size_t)got != next->len && acknowledged(w))
		w->err = -EIO; /* a short count: some of it is there */
	settle_group(w, key);
	model_bytes_unref(next);
	dv_node_unref(w->s, nf);
	dv_node_unref(w->s, nt);
	return true;
}

static bool do_fsync(struct world *w, const char *path)
{
	struct dv_node *n;
	size_t key = model_key(&w->m, path);
	if (!model_now(&w->m, key))
		return true;
	dv_err err = node_of(w, path, &n);
	if (err)
		return world_wrong(w, "%s: lookup: %s", path, strerror(-err));
	commit_group(w, key);
	begin(w);
	end(w, dv_store_fsync(w->s, &call, n, false));
	if (acknowledged(w))
		model_settle(&w->m, key);
	dv_node_unref(w->s, n);
	return true;
}

static bool do_fsyncdir(struct world *w, const char *dir)
{
	struct dv_node *n;
	if (strcmp(dir, ".") && dir_find(w, dir) == WORLD_DIRS)
		return true;
	dv_err err = node_of(w, dir, &n);
	if (err)
		return world_wrong(w, "%s: lookup: %s", dir, strerror(-err));
	begin(w);
	end(w, dv_store_fsync(w->s, &call, n, false));
	for (size_t k = 0; k < w->m.count && acknowledged(w); k++) {
		const char *path = w->m.keys[k].path;
		const char *slash = strrchr(path, '/');
		bool in = slash ? lies_in(path, dir) && slash == path + strlen(dir)
				: !strcmp(dir, ".");
		if (in && !model_now(&w->m, k))
			model_settle(&w->m, k);
	}
	dv_node_unref(w->s, n);
	return true;
}

/* ---- names ---- */

static bool do_unlink(struct world *w, const char *path)
{
	struct dv_node *dir;
	const char *last;
	size_t key = model_key(&w->m, path);
	if (!model_now(&w->m, key))
		return true;
	dv_err err = parent_of(w, path, &dir, &last);
	if (err)
		return world_wrong(w, "%s: parent: %s", path, strerror(-err));
	w->may_put_aside = true; /* of a stage whose value was removed, but not to the end */
	lose_name(w, key);
	model_push(&w->m, key, NULL, true);
	begin(w);
	end(w, dv_store_unlink(w->s, &call, dir, last));
	if (acknowledged(w)) {
		w->m.keys[key].hidden = w->may_put_aside = false;
		w->m.keys[key].group = ++w->m.groups;
		settle_group(w, key);
	}
	dv_node_unref(w->s, dir);
	return true;
}

/* Both parents. false: why is set. */
static bool two_parents(struct world *w, const char *a, const char *b, struct dv_node **da,
			const char **la, struct dv_node **db, const char **lb)
{
	dv_err err = parent_of(w, a, da, la);
	if (err)
		return world_wrong(w, "%s: parent: %s", a, strerror(-err));
	err = parent_of(w, b, db, lb);
	if (!err)
		return true;
	dv_node_unref(w->s, *da);
	return world_wrong(w, "%s: parent: %s", b, strerror(-err));
}

static bool do_rename(struct world *w, const char *from, const char *to, bool exchange)
{
	struct dv_node *da, *db;
	const char *la, *lb;
	size_t a = model_key(&w->m, from), b = model_key(&w->m, to);
	struct model_key *ka = &w->m.keys[a], *kb = &w->m.keys[b];
	struct model_bytes *now = model_now(&w->m, a);
	bool over = model_now(&w->m, b) != NULL;
	if (a == b || !now || (exchange && !over) || ka->group == kb->group || !has_parent(w, to))
		return true;
	if (exchange && (links_of(w, a) > 1 || links_of(w, b) > 1))
		return true; /* of a packed and a raw one it is refused (README) */
	if (!two_parents(w, from, to, &da, &la, &db, &lb))
		return false;
	commit_neighbours(w);
	commit_group(w, a);
	if (exchange)
		commit_group(w, b);
	w->may_put_aside = over;
	lose_name(w, b);
	model_pair(&w->m, a, b, false);
	if (exchange) {
		model_exchange(&w->m, a, b);
	} else {
		if (over)
			model_push_over(&w->m, a, b);
		else
			model_copy(&w->m, a, b, false);
		model_push(&w->m, a, NULL, true);
	}
	begin(w);
	end(w, dv_store_rename(w->s, &call, da, la, db, lb, exchange ? RENAME_EXCHANGE : 0));
	if (acknowledged(w)) {
		if (!exchange) {
			kb->group = ka->group;
			kb->hidden = false;
			ka->group = ++w->m.groups;
		}
		w->may_put_aside = false;
		settle_group(w, a);
		settle_group(w, b);
	}
	dv_node_unref(w->s, da);
	dv_node_unref(w->s, db);
	return true;
}

static bool do_link(struct world *w, const char *from, const char *to)
{
	struct dv_node *n, *dir;
	const char *last;
	struct dv_stat st;
	size_t a = model_key(&w->m, from), b = model_key(&w->m, to);
	if (!model_now(&w->m, a) || model_now(&w->m, b) || !has_parent(w, to) ||
	    !dv_store_has_dirs(w->s))
		return true;
	dv_err err = node_of(w, from, &n);
	if (err)
		return world_wrong(w, "%s: lookup: %s", from, strerror(-err));
	err = parent_of(w, to, &dir, &last);
	if (err) {
		dv_node_unref(w->s, n);
		return world_wrong(w, "%s: parent: %s", to, strerror(-err));
	}
	commit_group(w, a);
	model_copy(&w->m, a, b, false);
	begin(w);
	end(w, dv_store_link(w->s, &call, n, dir, last, &st));
	w->m.keys[b].group = w->m.keys[a].group; /* where it failed, too: it may be there */
	settle_group(w, b);
	dv_node_unref(w->s, dir);
	dv_node_unref(w->s, n);
	return true;
}

/* Whether the step was made: acknowledged, or failed after it was made. A step that failed may not
 * have been. */
static bool is_made(struct world *w, const char *path, bool exists)
{
	struct dv_node *n = NULL;
	if (acknowledged(w))
		return true;
	if (simfs_is_cut(w->fs))
		return false;
	bool found = node_of(w, path, &n) == 0;
	dv_node_unref(w->s, n);
	return found == exists;
}

static bool do_mkdir(struct world *w, const char *path, bool remove)
{
	struct dv_node *dir, *n = NULL;
	const char *last;
	struct dv_stat st;
	size_t at = dir_find(w, path), slot = dir_find(w, "");
	bool there = at < WORLD_DIRS;
	if (there != remove || !has_parent(w, path) || !dv_store_has_dirs(w->s) ||
	    slot == WORLD_DIRS || (remove && !is_empty(w, path)))
		return true;
	dv_err err = parent_of(w, path, &dir, &last);
	if (err)
		return world_wrong(w, "%s: parent: %s", path, strerror(-err));
	begin(w);
	end(w, remove ? dv_store_rmdir(w->s, &call, dir, last)
		      : dv_store_mkdir(w->s, &call, dir, last, 0755, &n, &st));
	if (is_made(w, path, !remove))
		strcpy(w->dirs[remove ? at : slot], remove ? "" : path);
	dv_node_unref(w->s, n);
	dv_node_unref(w->s, dir);
	return true;
}

/* The keys beneath the directory move with it: also those that are not there, but may come back, or
 * be made while the renaming is not durable. */
static void move_keys(struct world *w, const char *from, const char *to)
{
	for (size_t k = 0, count = w->m.count; k < count; k++) {
		char path[2 * MODEL_PATH];
		if (!lies_in(w->m.keys[k].path, from))
			continue;
		snprintf(path, sizeof(path), "%s%s", to, w->m.keys[k].path + strlen(from));
		size_t b = model_key(&w->m, path);
		model_pair(&w->m, k, b, true);
		model_copy(&w->m, k, b, true);
		w->m.keys[b].group = w->m.keys[k].group;
		if (w->mode == WORLD_POWER)
			model_drop_stage(&w->m, k);
		model_push(&w->m, k, NULL, true);
		w->m.keys[k].group = ++w->m.groups;
	}
}

static bool do_rendir(struct world *w, const char *from, const char *to)
{
	struct dv_node *da, *db;
	const char *la, *lb;
	size_t at = dir_find(w, from);
	if (at == WORLD_DIRS || dir_find(w, to) < WORLD_DIRS || !has_parent(w, to) ||
	    lies_in(to, from))
		return true;
	if (!two_parents(w, from, to, &da, &la, &db, &lb))
		return false;
	move_keys(w, from, to);
	begin(w);
	end(w, dv_store_rename(w->s, &call, da, la, db, lb, 0));
	if (is_made(w, to, true)) {
		strcpy(w->dirs[at], to);
		for (size_t k = 0; k < w->m.count; k++)
			if (lies_in(w->m.keys[k].path, from))
				w->m.keys[k].hidden = false;
		for (size_t k = 0; k < w->m.count; k++)
			settle_group(w, k);
	}
	dv_node_unref(w->s, da);
	dv_node_unref(w->s, db);
	return true;
}

/* ---- attributes, the store itself ---- */

static bool do_attr(struct world *w, const char *path, char what)
{
	struct dv_node *n;
	struct dv_stat st;
	struct dv_setattr set = {
		.valid = DV_SET_MODE | DV_SET_MTIME, .mode = 0600, .mtime = {.tv_sec = 1000}};
	if (what == 't')
		set = (struct dv_setattr){.valid = DV_SET_ATIME | DV_SET_MTIME,
					  .atime = {.tv_nsec = UTIME_NOW},
					  .mtime = {.tv_nsec = UTIME_NOW}};
	if (!model_now(&w->m, model_key(&w->m, path)))
		return true;
	dv_err err = node_of(w, path, &n);
	if (err)
		return world_wrong(w, "%s: lookup: %s", path, strerror(-err));
	begin(w);
	if (what == 's')
		end(w, dv_store_setxattr(w->s, &call, n, "user.test", "value", 5, 0));
	else
		end(w, dv_store_setattr(w->s, &call, n, &set, &st));
	dv_node_unref(w->s, n);
	return true;
}

static bool do_look(struct world *w, const char *path)
{
	struct dv_node *n;
	dv_err want = model_now(&w->m, model_key(&w->m, path)) ? 0 : -ENOENT;
	begin(w);
	dv_err err = node_of(w, path, &n);
	end(w, err == want ? 0 : err);
	dv_node_unref(w->s, n);
	return true;
}

static bool take_none(void *ctx, const struct dv_list_entry *e)
{
	(void)e;
	++*(unsigned *)ctx;
	return true;
}

static bool do_list(struct world *w)
{
	struct dv_list *list = NULL;
	unsigned seen = 0;
	struct dv_node *root = dv_store_root(w->s);
	begin(w);
	dv_err err = dv_list_open(w->s, root, &list);
	if (!err)
		err = dv_store_list(w->s, &call, root, list, 0, take_none, &seen);
	end(w, err);
	dv_list_close(w->s, &list);
	dv_node_unref(w->s, root);
	return true;
}

static bool do_run(struct world *w, const char *what)
{
	struct dv_pack_result result;
	commit_all(w);
	begin(w);
	if (!strcmp(what, "packall"))
		end(w, dv_store_pack_all(w->s, &result));
	else if (!strcmp(what, "unpack"))
		end(w, strchr(w->transform, '@') ? 0 : dv_store_unpack(w->s, NULL, &result));
	else
		end(w, dv_store_run(w->s, true) < 0 ? -EIO : 0);
	return true;
}

static bool do_reopen(struct world *w)
{
	commit_all(w);
	begin(w);
	dv_err err = world_close(w);
	dv_err again = world_open(w, w->fs, WORLD_BOOT);
	end(w, err ? err : again);
	return true;
}

static bool do_hold(struct world *w, const char *path, bool drop)
{
	for (size_t i = 0; i < WORLD_HOLDS; i++) {
		bool this = w->holds[i].node && !strcmp(w->holds[i].path, path);
		if (drop && this) {
			dv_node_unref(w->s, w->holds[i].node);
			w->holds[i].node = NULL;
			return true;
		}
		if (!drop && !w->holds[i].node) {
			if (node_of(w, path, &w->holds[i].node) == 0)
				strcpy(w->holds[i].path, path);
			return true;
		}
	}
	return true;
}

/* K has no name any more: nothing of it is in the model. */
static bool do_empty(struct world *w, const char *path)
{
	struct dv_setattr set = {.valid = DV_SET_SIZE, .size = 0};
	struct dv_stat st;
	for (size_t i = 0; i < WORLD_HOLDS; i++) {
		if (!w->holds[i].node || strcmp(w->holds[i].path, path))
			continue;
		begin(w);
		end(w, dv_store_setattr(w->s, &call, w->holds[i].node, &set, &st));
		if (!w->err && st.size)
			return world_wrong(w, "%s: emptied, it has %llu bytes", path,
					   (unsigned long long)st.size);
	}
	return true;
}

/* ---- the language ---- */

static bool step_bytes(struct world *w, const char *op, const char *a, const char *b, const char *c,
		       bool *known)
{
	size_t x = strtoul(b, NULL, 10), y = strtoul(c, NULL, 10);
	if (!strcmp(op, "create"))
		return do_create(w, a);
	if (!strcmp(op, "write"))
		return do_write(w, a, x, y, false, false);
	if (!strcmp(op, "noise"))
		return do_write(w, a, x, y, false, true);
	if (!strcmp(op, "append"))
		return do_write(w, a, 0, x, true, false);
	if (!strcmp(op, "trunc"))
		return do_trunc(w, a, x);
	if (!strcmp(op, "put"))
		return do_put(w, a, x);
	if (!strcmp(op, "whole") || !strcmp(op, "wholesync"))
		return do_whole(w, a, x, op[5]);
	if (!strcmp(op, "fsync"))
		return do_fsync(w, a);
	if (!strcmp(op, "fsyncdir"))
		return do_fsyncdir(w, a);
	*known = false;
	return true;
}

static bool step_names(struct world *w, const char *op, const char *a, const char *b, bool *known)
{
	*known = true;
	if (!strcmp(op, "unlink"))
		return do_unlink(w, a);
	if (!strcmp(op, "rename") || !strcmp(op, "exchange"))
		return do_rename(w, a, b, op[0] == 'e');
	if (!strcmp(op, "link"))
		return do_link(w, a, b);
	if (!strcmp(op, "copy"))
		return do_copy(w, a, b);
	if (!strcmp(op, "mkdir") || !strcmp(op, "rmdir"))
		return do_mkdir(w, a, op[0] == 'r');
	if (!strcmp(op, "rendir"))
		return do_rendir(w, a, b);
	if (!strcmp(op, "chmod") || !strcmp(op, "setx") || !strcmp(op, "touch"))
		return do_attr(w, a, op[0]);
	if (!strcmp(op, "look"))
		return do_look(w, a);
	if (!strcmp(op, "hold") || !strcmp(op, "drop"))
		return do_hold(w, a, op[0] == 'd');
	if (!strcmp(op, "empty"))
		return do_empty(w, a);
	if (!strcmp(op, "list"))
		return do_list(w);
	if (!strcmp(op, "run") || !strcmp(op, "packall") || !strcmp(op, "unpack"))
		return do_run(w, op);
	if (!strcmp(op, "reopen"))
		return do_reopen(w);
	if (!strcmp(op, "room")) {
		simfs_set_free_blocks(w->fs, strtoul(a, NULL, 10));
		return true;
	}
	*known = false;
	return true;
}

bool world_step(struct world *w, const char *step)
{
	char op[16] = "", a[MODEL_PATH] = "", b[MODEL_PATH] = "", c[16] = "";
	bool known = true;
	snprintf(w->step, sizeof(w->step), "%s", step);
	w->skipped = true;
	w->err = 0;
	w->may_put_aside = false;
	if (sscanf(step, "%15s %599s %599s %15s", op, a, b, c) < 1)
		return true;
	bool ok = step_bytes(w, op, a, b, c, &known);
	if (!known)
		ok = step_names(w, op, a, b, &known);
	if (!known) {
		fprintf(stderr, "no such step: %s\n", step);
		exit(1);
	}
	return ok && !simfs_is_cut(w->fs);
}

bool world_run(struct world *w, const char *script)
{
	char step[2 * MODEL_PATH];
	for (const char *at = script, *stop; *at; at = *stop ? stop + 1 : stop) {
		stop = at + strcspn(at, ";\n");
		snprintf(step, sizeof(step), "%.*s", (int)(stop - at), at);
		if (!world_step(w, step))
			return false;
		simfs_advance_clock(w->fs,
				    (uint64_t)clock_step_s * 1000000000u); /* back, by wrapping */
		if (w->err && !w->before)
			return world_wrong(w, "\"%s\": %s", step, strerror(-w->err));
	}
	return true;
}
