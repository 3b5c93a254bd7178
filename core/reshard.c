/* SPDX-License-Identifier: MIT */
/* reshard.c - the phases of giving a store another transform. See reshard.h. */
#include "core/reshard_private.h"

#include "core/cleanup.h"
#include "core/dict.h"
#include "core/io.h"
#include "core/ops.h"
#include "core/owner.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define STATE_TEMP  DV_RESHARD_DIR "/state.new"
#define TREE_DIR    DV_RESHARD_DIR "/tree"
#define LOCK_FILE   DV_RESHARD_DIR "/lock"
#define STATE_BYTES 1024

enum phase { PHASE_CHECK, PHASE_MOVE, PHASE_UP, PHASE_BACK, PHASES };

static const char *const phase_names[PHASES] = {"check", "move", "up", "back"};

struct state {
	enum phase phase;
	char to[DV_SPEC_MAX];
	struct dv_tally tally;
};

struct reshard {
	struct dv_store *s;
	struct dv_transform *to;
	struct state state;
	int lockfd, treefd; /* -1: none */
	const char *path;
	const struct dv_reshard_request *request;
	char *why;
	size_t why_size;
};

static dv_err tell(struct reshard *r, dv_err err, const char *text)
{
	snprintf(r->why, r->why_size, "%s: %s", r->path, text);
	return err;
}

/* ---- the state ---- */

static dv_err read_state(struct dv_store *s, struct state *out)
{
	char text[STATE_BYTES + 1] = "", phase[16] = "", sum[32] = "", count[32] = "";
	int fd = dv_open_quiet(s, s->rootfd, DV_RESHARD_STATE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return fd;
	ssize_t n = DV_B(s, pread, fd, text, STATE_BYTES, 0);
	DV_B(s, close, fd);
	if (n < 0)
		return (dv_err)n;
	text[n] = '\0';
	if (dv_owner_field(text, "to", out->to, sizeof(out->to)) ||
	    dv_owner_field(text, "phase", phase, sizeof(phase)) ||
	    dv_owner_field(text, "count", count, sizeof(count)) ||
	    dv_owner_field(text, "sum", sum, sizeof(sum)))
		return -EINVAL;
	out->tally = (struct dv_tally){strtoull(count, NULL, 10), strtoull(sum, NULL, 16)};
	for (out->phase = 0; out->phase < PHASES; out->phase++)
		if (strcmp(phase, phase_names[out->phase]) == 0)
			return 0;
	return -EINVAL;
}

static dv_err sync_dir(struct dv_store *s, const char *name)
{
	int fd = DV_B(s, open, s->rootfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	dv_err err = DV_B(s, fsync, fd);
	DV_B(s, close, fd);
	return err;
}

/* Durable on return. What was done before is made so first. */
static dv_err write_state(struct reshard *r, enum phase phase)
{
	struct dv_store *s = r->s;
	char text[STATE_BYTES];
	r->state.phase = phase;
	int len = snprintf(
		text, sizeof(text), "phase=%s\nto=%s\ncount=%" PRIu64 "\nsum=%" PRIx64 "\n",
		phase_names[phase], r->state.to, r->state.tally.count, r->state.tally.sum);
	dv_err err = DV_B(s, syncfs, s->rootfd);
	int fd = err ? err
		     : DV_B(s, open, s->rootfd, STATE_TEMP, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW,
			    0600);
	if (fd < 0)
		return fd;
	err = dv_write_full(s, fd, text, (size_t)len, 0);
	if (!err)
		err = DV_B(s, fsync, fd);
	DV_B(s, close, fd);
	if (!err)
		err = DV_B(s, rename, s->rootfd, STATE_TEMP, s->rootfd, DV_RESHARD_STATE, 0);
	if (!err)
		err = sync_dir(s, DV_RESHARD_DIR);
	return err ? err : sync_dir(s, DV_CONTROL_DIR);
}

/* The store may be opened again. */
static dv_err end_state(struct reshard *r)
{
	struct dv_store *s = r->s;
	dv_err err = DV_B(s, syncfs, s->rootfd);
	if (!err)
		err = DV_B(s, unlink, s->rootfd, DV_RESHARD_STATE);
	if (!err)
		err = sync_dir(s, DV_RESHARD_DIR);
	if (err)
		return err;
	dv_ignore(DV_B(s, rmdir, s->rootfd, TREE_DIR));
	dv_ignore(DV_B(s, unlink, s->rootfd, STATE_TEMP));
	dv_ignore(DV_B(s, unlink, s->rootfd, LOCK_FILE));
	dv_ignore(DV_B(s, rmdir, s->rootfd, DV_RESHARD_DIR));
	return 0;
}

dv_err dv_reshard_check(struct dv_store *s, const char *path, char *why, size_t why_size)
{
	struct state state;
	dv_err err = read_state(s, &state);
	if (err == -ENOENT || err == -ENOTDIR)
		return 0;
	if (err && err != -EINVAL)
		return err;
	bool is_plugin = !err && strncmp(state.to, "plugin:", 7) == 0;
	snprintf(why, why_size,
		 "%s is being given another transform, or that was interrupted: run diskvfs "
		 "reshard %s --transform %s%s",
		 path, path, is_plugin ? "FILE.so[:ARGS], which is " : "", err ? "SPEC" : state.to);
	return -EBUSY;
}

/* ---- phases ---- */

static struct dv_tree root_of(const struct reshard *r, const struct dv_transform *t)
{
	return (struct dv_tree){.fd = r->s->rootfd, .transform = t, .is_root = true};
}

static struct dv_moving moving(struct reshard *r, bool up)
{
	struct dv_tree tree = {.fd = r->treefd, .transform = r->to};
	struct dv_tree root = root_of(r, r->s->transform);
	return (struct dv_moving){.s = r->s,
				  .from = up ? tree : root,
				  .to = up ? root : tree,
				  .folders = dv_transform_has_dirs(r->to) &&
					     dv_transform_has_dirs(r->s->transform),
				  .why = r->why,
				  .why_size = r->why_size};
}

/* What a dead mount left is finished first; and nobody else has it open. */
static dv_err come_to_rest(struct reshard *r)
{
	const struct dv_store_options *given = r->request->options;
	struct dv_store_options o = given ? *given : (struct dv_store_options){0};
	struct dv_store *s = NULL;
	char buf[1024];
	struct dv_dirent ents[4];
	o.resharding = true;
	dv_err err = dv_store_open(r->s->b, r->path, &o, &s, r->why, r->why_size);
	if (err)
		return err;
	err = dv_store_close(&s, NULL);
	if (err)
		return err;
	int fd = DV_B(r->s, open, r->s->rootfd, DV_STAGE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
		      0);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	ssize_t n = DV_B(r->s, readdir, fd, 0, buf, sizeof(buf), ents, 4);
	DV_B(r->s, close, fd);
	if (n <= 0)
		return (dv_err)n;
	return tell(r, -EBUSY,
		    "somebody has it open, or work is pending in it: unmount it, and run "
		    "diskvfs info");
}

static dv_err check(struct reshard *r)
{
	dv_err err = come_to_rest(r);
	struct dv_moving m = moving(r, false);
	if (!err)
		err = dv_reshard_walk(&m);
	r->state.tally = m.tally;
	if (!err)
		return write_state(r, PHASE_MOVE);
	dv_ignore(end_state(r)); /* nothing was done; else it is tried again */
	return err;
}

static dv_err open_tree(struct reshard *r)
{
	struct dv_store *s = r->s;
	struct dv_stat root;
	dv_err err = DV_B(s, stat, s->rootfd, "", &root);
	if (!err)
		err = DV_B(s, mkdir, s->rootfd, TREE_DIR, root.mode & 07777);
	if (err && err != -EEXIST)
		return err;
	r->treefd = DV_B(s, open, s->rootfd, TREE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return r->treefd < 0 ? r->treefd : 0;
}

static dv_err move_to_tree(struct reshard *r)
{
	struct dv_moving m = moving(r, false);
	dv_err err = dv_reshard_move(&m);
	if (err == -ENOTUNIQ || err == -EINVAL || err == -ENAMETOOLONG)
		return write_state(r, PHASE_BACK);
	struct dv_tree root = root_of(r, r->s->transform);
	if (!err && !m.folders)
		err = dv_reshard_prune(r->s, &root);
	/* What is in the tree now is all that was there. */
	m = moving(r, true);
	m.to.transform = r->s->transform;
	if (!err)
		err = dv_reshard_walk(&m);
	if (!err && (m.tally.count != r->state.tally.count || m.tally.sum != r->state.tally.sum)) {
		snprintf(r->why, r->why_size,
			 "%s: values were changed meanwhile: there were %" PRIu64
			 ", and are %" PRIu64 "; they are put back",
			 r->path, r->state.tally.count, m.tally.count);
		return write_state(r, PHASE_BACK);
	}
	return err ? err : write_state(r, PHASE_UP);
}

static dv_err move_up(struct reshard *r)
{
	struct dv_moving m = moving(r, true);
	m.to.transform = r->to;
	dv_err err = m.folders ? dv_reshard_move(&m) : dv_reshard_lift(&m);
	if (!err && m.folders)
		err = dv_reshard_prune(r->s, &m.from);
	if (!err)
		err = DV_B(r->s, syncfs, r->s->rootfd);
	snprintf(r->s->config.transform, sizeof(r->s->config.transform), "%s",
		 dv_transform_spec(r->to));
	if (!err)
		err = dv_write_config(r->s);
	return err ? err : end_state(r);
}

static dv_err move_back(struct reshard *r)
{
	struct dv_moving m = moving(r, true);
	dv_err err = dv_reshard_move(&m);
	struct dv_tree tree = {.fd = r->treefd, .transform = r->to};
	if (!err)
		err = dv_reshard_prune(r->s, &tree);
	if (!err)
		err = end_state(r);
	if (!err && !r->why[0])
		tell(r, 0, "an earlier change of its transform could not be made, and is undone");
	return err ? err : -EINVAL;
}

static dv_err go_on(struct reshard *r)
{
	dv_err err = 0;
	if (r->state.phase == PHASE_CHECK)
		err = check(r);
	if (!err)
		err = open_tree(r);
	if (!err && r->state.phase == PHASE_MOVE)
		err = move_to_tree(r);
	if (!err && r->state.phase == PHASE_BACK)
		return move_back(r);
	return err ? err : move_up(r);
}

/* ---- beginning ---- */

/* Nothing was begun. The lock is held. */
static void remove_lock(struct reshard *r)
{
	dv_ignore(DV_B(r->s, unlink, r->s->rootfd, LOCK_FILE));
	dv_ignore(DV_B(r->s, rmdir, r->s->rootfd, DV_RESHARD_DIR));
}

static dv_err take_lock(struct reshard *r)
{
	struct dv_store *s = r->s;
	struct dv_stat mine, now;
	dv_err err = DV_B(s, mkdir, s->rootfd, DV_RESHARD_DIR, 0700);
	if (err && err != -EEXIST)
		return err;
	r->lockfd = DV_B(s, open, s->rootfd, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (r->lockfd < 0)
		return r->lockfd;
	err = DV_B(s, flock, r->lockfd, LOCK_EX | LOCK_NB);
	if (!err)
		err = DV_B(s, stat, r->lockfd, "", &mine);
	/* One that has just ended has removed the file: another may lock a new one. */
	if (!err && (DV_B(s, stat, s->rootfd, LOCK_FILE, &now) || now.ino != mine.ino))
		err = -EWOULDBLOCK;
	if (err == -EWOULDBLOCK)
		return tell(r, -EBUSY, "another process is giving it another transform");
	/* And the config, which was read before. A change that was cut short after it has a state. */
	if (err)
		return err;
	err = dv_config_stands(s, r->path, r->why, r->why_size);
	if (err)
		remove_lock(r);
	return err;
}

static bool is_of(const struct dv_transform *t, const struct dv_plugin *plugin)
{
	return plugin && strcmp(dv_transform_spec(t), plugin->spec) == 0;
}

/* The store's own, and the new one: which the store may have already, where only the end is missing. */
static dv_err bind_plugins(struct reshard *r)
{
	const struct dv_store_options *o = r->request->options;
	const struct dv_plugin *from = o ? o->plugin : NULL, *to = r->request->plugin;
	struct dv_transform *t = r->s->transform;
	if (is_of(t, from) || is_of(t, to)) {
		dv_transform_bind(t, is_of(t, from) ? from : to);
	} else if (from || dv_transform_is_plugin(t)) {
		snprintf(r->why, r->why_size,
			 "%s: the store's transform is %s: %s --from FILE.so[:ARGS]", r->path,
			 dv_transform_spec(t),
			 dv_transform_is_plugin(t) ? "name that shared object with" : "leave out");
		return -EINVAL;
	}
	if (to)
		dv_transform_bind(r->to, to);
	else if (dv_transform_is_plugin(r->to))
		return tell(r, -EINVAL, "a shared object is named as FILE.so[:ARGS]");
	dv_err err =
		dv_transform_is_plugin(t) ? dv_transform_check_laws(t, r->why, r->why_size) : 0;
	return err || !to ? err : dv_transform_check_laws(r->to, r->why, r->why_size);
}

static dv_err choose(struct reshard *r)
{
	struct dv_store *s = r->s;
	const struct dv_plugin *plugin = r->request->plugin;
	const char *spec = plugin ? plugin->spec : r->request->transform;
	dv_err err = dv_read_config(s, &s->config, r->path, r->why, r->why_size);
	if (!err)
		err = dv_transform_new(s->config.transform, &s->transform, r->why, r->why_size);
	if (!err)
		err = dv_transform_new(spec, &r->to, r->why, r->why_size);
	if (!err)
		err = dv_dict_load(s, r->path, r->why, r->why_size);
	if (err)
		return err;
	dv_transform_set_spelling(r->to, dv_transform_spelling(s->transform));
	return bind_plugins(r);
}

static dv_err begin(struct reshard *r)
{
	const char *spec = dv_transform_spec(r->to);
	bool same = strcmp(spec, dv_transform_spec(r->s->transform)) == 0;
	dv_err err = read_state(r->s, &r->state);
	/* The config is written before the state goes. */
	if (!err && strcmp(r->state.to, spec) == 0)
		return 0;
	if (!err) {
		snprintf(
			r->why, r->why_size,
			"%s is being given the transform %s, which was interrupted: run that again",
			r->path, r->state.to);
		return -EINVAL;
	}
	if (err != -ENOENT)
		return err;
	if (same) {
		remove_lock(r);
		return tell(r, -EINVAL, "that is the store's transform already");
	}
	snprintf(r->state.to, sizeof(r->state.to), "%s", spec);
	return write_state(r, PHASE_CHECK);
}

dv_err dv_store_reshard(struct dv_backing backing, const char *path,
			const struct dv_reshard_request *request, uint64_t *out_count, char *why,
			size_t why_size)
{
	DV_AUTO_FREE struct dv_store *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	struct reshard r = {.s = s,
			    .lockfd = -1,
			    .treefd = -1,
			    .path = path,
			    .request = request,
			    .why = why,
			    .why_size = why_size};
	why[0] = '\0';
	s->b = backing;
	dv_config_init(&s->config);
	s->rootfd = DV_B(s, open_root, path);
	dv_err err = s->rootfd < 0 ? s->rootfd : choose(&r);
	if (!err)
		err = take_lock(&r);
	if (!err)
		err = begin(&r);
	if (!err)
		err = go_on(&r);
	*out_count = r.state.tally.count;
	if (r.treefd >= 0)
		DV_B(s, close, r.treefd);
	if (r.lockfd >= 0)
		DV_B(s, close, r.lockfd);
	if (s->rootfd >= 0)
		DV_B(s, close, s->rootfd);
	dv_transform_free(&r.to);
	dv_transform_free(&s->transform);
	dv_dict_release(s);
	dv_config_release(&s->config);
	return err;
}
