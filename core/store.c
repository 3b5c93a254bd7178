/* SPDX-License-Identifier: MIT */
/*
 * store.c - opening and closing a store, and what concerns all of it: finish, count. (Making one:
 * init.c; going over its values: sweep.c)
 */
#include "core/store.h"

#include "core/cleanup.h"
#include "core/codec.h"
#include "core/dict.h"
#include "core/foreign.h"
#include "core/globs.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/keeper.h"
#include "core/list.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/ops.h"
#include "core/owner.h"
#include "core/pending.h"
#include "core/recover.h"
#include "core/reshard.h"
#include "core/space.h"
#include "core/tail.h"
#include "core/twin.h"
#include "core/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define CACHE_DEFAULT (64u << 20)
#define CACHE_SHARDS  2 /* an entry must fit a shard's share: a layout or a large frame */
#define FINISH_ROUNDS 50
#define CONFIG_PATH   DV_CONTROL_DIR "/config"

static dv_err say(char *why, size_t size, dv_err err, const char *text)
{
	snprintf(why, size, "%s", text);
	return err;
}

/* ---- opening ---- */

dv_err dv_read_config(struct dv_store *s, struct dv_config *out, const char *path, char *why,
		      size_t why_size)
{
	DV_AUTO_FREE char *text = malloc(DV_CONFIG_MAX + 1);
	if (!text)
		return -ENOMEM;
	int fd = dv_open_quiet(s, s->rootfd, CONFIG_PATH, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (fd == -ENOENT || fd == -ENOTDIR) {
		snprintf(why, why_size, "%s is not a store; make it one with: diskvfs init %s",
			 path, path);
		return -EINVAL;
	}
	if (fd < 0) {
		snprintf(why, why_size, "%s/%s can not be read: %s%s", path, CONFIG_PATH,
			 strerror(-fd),
			 fd == -EACCES ? "; the store is another user's, who alone mounts it" : "");
		return fd;
	}
	ssize_t len = DV_B(s, pread, fd, text, DV_CONFIG_MAX, 0);
	DV_B(s, close, fd);
	if (len < 0) {
		snprintf(why, why_size, "%s/%s can not be read: %s", path, CONFIG_PATH,
			 strerror((int)-len));
		return (dv_err)len;
	}
	return dv_config_parse(out, text, (size_t)len, why, why_size);
}

dv_err dv_config_stands(struct dv_store *s, const char *path, char *why, size_t why_size)
{
	struct dv_config now;
	dv_config_init(&now);
	dv_err err = dv_read_config(s, &now, path, why, why_size);
	if (!err && strcmp(now.transform, s->config.transform) != 0) {
		snprintf(why, why_size, "%s was given another transform meanwhile; try again",
			 path);
		err = -EBUSY;
	}
	dv_config_release(&now);
	return err;
}

/* A plugin is never taken from the store, which only remembers which one it is. */
static dv_err bind_plugin(struct dv_store *s, const struct dv_plugin *plugin, char *why,
			  size_t why_size)
{
	const char *spec = dv_transform_spec(s->transform);
	if (!plugin && !dv_transform_is_plugin(s->transform))
		return 0;
	if (!plugin || strcmp(spec, plugin->spec) != 0) {
		snprintf(why, why_size, "the store's transform is %s%s%s; %s", spec,
			 plugin ? ", not " : "", plugin ? plugin->spec : "",
			 dv_transform_is_plugin(s->transform)
				 ? "name that shared object: --transform FILE.so[:ARGS], of a "
				   "mount -o transform=FILE.so[:ARGS]"
				 : "leave the option out");
		return -EINVAL;
	}
	dv_transform_bind(s->transform, plugin);
	return dv_transform_check_laws(s->transform, why, why_size);
}

static dv_err check_transform(struct dv_store *s, const struct dv_store_options *o, char *why,
			      size_t why_size)
{
	struct dv_transform *other = NULL;
	dv_err err = dv_transform_new(s->config.transform, &s->transform, why, why_size);
	if (!err)
		err = bind_plugin(s, o->plugin, why, why_size);
	if (err || !o->transform)
		return err;
	err = dv_transform_new(o->transform, &other, why, why_size);
	if (!err && strcmp(dv_transform_spec(other), dv_transform_spec(s->transform)) != 0) {
		snprintf(why, why_size, "the store's transform is %s, not %s; leave the option out",
			 dv_transform_spec(s->transform), dv_transform_spec(other));
		err = -EINVAL;
	}
	dv_transform_free(&other);
	return err;
}

static dv_err apply_options(struct dv_store *s, const struct dv_store_options *o, char *why,
			    size_t why_size)
{
	s->options = *o;
	s->options.noatime = o->noatime || o->read_only;
	if (!s->options.cache_bytes)
		s->options.cache_bytes = CACHE_DEFAULT;
	if (o->compress && dv_coding_is_diskv(&s->config.coding))
		return say(why, why_size, -EINVAL,
			   "a store in diskv's layout is compressed as its layout says; leave "
			   "compress out");
	if (o->compress && dv_config_set_compress(&s->config, o->compress))
		return say(why, why_size, -EINVAL, "compress is none, zstd or zstd:LEVEL");
	if (o->frame_size)
		s->config.frame_size = o->frame_size;
	if (s->config.frame_size < DV_FRAME_SIZE_MIN || s->config.frame_size > DV_FRAME_SIZE_MAX ||
	    (s->config.frame_size & (s->config.frame_size - 1)))
		return say(why, why_size, -EINVAL, "frame_size is a power of two from 4K to 4M");
	char fault[256];
	if (o->nopack && dv_globs_check(o->nopack, fault, sizeof(fault))) {
		snprintf(why, why_size, "nopack: %s", fault);
		return -EINVAL;
	}
	if (o->nopack && !(s->nopack = strdup(o->nopack)))
		return -ENOMEM;
	if (o->mountpoint && !(s->mountpoint = strdup(o->mountpoint)))
		return -ENOMEM;
	dv_owner_identify(s);
	s->limits = (struct dv_limits){
		.stream_bytes = o->stream_bytes ? o->stream_bytes : DV_STREAM_BYTES,
		.append_bytes = o->append_bytes ? o->append_bytes : DV_APPEND_BYTES,
		.segment_bytes = o->segment_bytes ? o->segment_bytes : DV_SEGMENT_BYTES,
		.frames_max = o->frames_max ? o->frames_max : DV_LAYOUT_FRAMES_MAX};
	return check_transform(s, o, why, why_size);
}

static dv_err open_root_node(struct dv_store *s)
{
	struct dv_stat st;
	dv_err err = DV_B(s, stat, s->rootfd, "", &st);
	if (err)
		return err;
	s->root = dv_node_new(S_IFDIR, 1, "");
	if (!s->root)
		return -ENOMEM;
	atomic_fetch_add(&s->node_count, 1);
	s->root->id = dv_ident_of(&st);
	s->root->form = DV_FORM_OTHER;
	int fd = dv_open_quiet(s, s->rootfd, "", O_RDONLY | O_DIRECTORY);
	struct dv_file *f = fd < 0 ? NULL : dv_file_new(s, fd, false);
	if (!f)
		return fd < 0 ? fd : -ENOMEM;
	dv_node_set_file(s, s->root, f, true);
	dv_file_unref(s, f);
	return 0;
}

static dv_err open_parts(struct dv_store *s)
{
	unsigned threads = s->options.threads;
	if (!threads) {
		long online = sysconf(_SC_NPROCESSORS_ONLN);
		threads = online > 0 ? (unsigned)online : 1;
	}
	dv_err err = DV_B(s, fsinfo, s->rootfd, &s->fsinfo);
	if (!err)
		err = dv_cache_new(s->options.cache_bytes, CACHE_SHARDS, &s->cache);
	if (!err)
		err = dv_foreign_new(&s->foreign);
	if (!err)
		err = dv_twins_new(&s->twins);
	if (!err)
		err = dv_pool_new(threads - 1, false, &s->pool);
	if (!err)
		err = dv_pool_new(threads - 1, true, &s->pack_pool);
	if (!err)
		err = open_root_node(s);
	if (err)
		return err;
	s->has_xattrs = DV_B(s, getxattr, s->rootfd, DV_TAG_NAME, NULL, 0) != -EOPNOTSUPP;
	s->has_acls =
		DV_B(s, getxattr, s->rootfd, "system.posix_acl_access", NULL, 0) != -EOPNOTSUPP;
	return 0;
}

static void init_locks(struct dv_store *s)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->queue_cond, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&s->queue_lock, NULL);
	pthread_mutex_init(&s->round_lock, NULL);
	pthread_mutex_init(&s->batch_lock, NULL);
	pthread_mutex_init(&s->inherit_lock, NULL);
	pthread_mutex_init(&s->help_lock, NULL);
	pthread_mutex_init(&s->bulk_lock, NULL);
	pthread_mutex_init(&s->frames_lock, NULL);
	dv_budget_init(&s->decoding, DV_DECODE_BYTES_MAX);
	pthread_mutex_init(&s->worker.lock, NULL);
	pthread_cond_init(&s->worker.cond, NULL);
	pthread_mutex_init(&s->hooks_lock, NULL);
	dv_space_init(s);
	for (size_t i = 0; i < DV_ARRAY_LEN(s->list_locks); i++)
		pthread_mutex_init(&s->list_locks[i], NULL);
}

static void free_store(struct dv_store *s)
{
	dv_stage_worker_stop(s);
	if (s->root)
		dv_node_unref(s, s->root);
	dv_beat_stop(s);
	dv_journal_close(s, &s->journal);
	dv_loose_free(&s->loose);
	dv_foreign_free(&s->foreign);
	dv_twins_free(&s->twins);
	dv_cache_free(&s->cache);
	dv_pool_free(&s->pool);
	dv_pool_free(&s->pack_pool);
	dv_tail_batch_free(s->frames);
	dv_transform_free(&s->transform);
	dv_dict_release(s);
	dv_config_release(&s->config);
	if (s->rootfd >= 0)
		DV_B(s, close, s->rootfd);
	for (size_t i = 0; i < DV_ARRAY_LEN(s->list_locks); i++)
		pthread_mutex_destroy(&s->list_locks[i]);
	pthread_mutex_destroy(&s->hooks_lock);
	dv_space_release(s);
	pthread_mutex_destroy(&s->round_lock);
	pthread_mutex_destroy(&s->batch_lock);
	pthread_mutex_destroy(&s->inherit_lock);
	pthread_mutex_destroy(&s->help_lock);
	pthread_mutex_destroy(&s->bulk_lock);
	pthread_mutex_destroy(&s->frames_lock);
	dv_budget_release(&s->decoding);
	pthread_mutex_destroy(&s->worker.lock);
	pthread_cond_destroy(&s->worker.cond);
	pthread_mutex_destroy(&s->queue_lock);
	pthread_cond_destroy(&s->queue_cond);
	dv_nodes_release(s);
	free(s->mountpoint);
	free(s->nopack);
	free(s);
	dv_codec_thread_release();
}

static dv_err start(struct dv_store *s, char *why, size_t why_size)
{
	if (s->options.read_only) {
		dv_pending_tell(s);
		return 0;
	}
	dv_err err = dv_loose_new(&s->loose);
	if (!err)
		err = dv_journal_open(s, &s->journal);
	if (err) {
		snprintf(why, why_size,
			 "%s can not be written: %s (mount it with -o ro to read only)",
			 DV_STAGE_DIR, strerror(-err));
		return err;
	}
	err = dv_recover(s, why, why_size);
	if (err == -EBUSY)
		return err;
	if (err) {
		/* Logged one by one. What could not be finished is kept and touches nothing. */
		dv_warn("work of an earlier mount is still pending: %s", strerror(-err));
	}
	s->leftovers = dv_pack_leftovers;
	s->space.round = dv_keeper_make_room;
	s->inherit = dv_recover_beside;
	err = dv_beat_start(s);
	if (err)
		return err;
	if (s->options.background)
		err = dv_stage_worker_start(s);
	return err || !s->options.background ? err : dv_keeper_start(s);
}

dv_err dv_store_open(struct dv_backing backing, const char *path,
		     const struct dv_store_options *options, struct dv_store **out, char *why,
		     size_t why_size)
{
	struct dv_store *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	why[0] = '\0';
	s->b = backing;
	s->hooks = options->hooks;
	s->options.read_only =
		options->read_only; /* the rest waits for the store's own configuration */
	s->options.noatime = options->noatime || options->read_only;
	s->self_uid = geteuid();
	s->self_gid = getegid();
	init_locks(s);
	s->owner_fd = s->stage_fd = -1;
	dv_config_init(&s->config);
	dv_err err = dv_nodes_init(s);
	s->rootfd = DV_B(s, open_root, path);
	if (!err && s->rootfd < 0) {
		err = s->rootfd;
		snprintf(why, why_size, "%s can not be opened: %s", path, strerror(-err));
	}
	if (!err)
		err = dv_read_config(s, &s->config, path, why, why_size);
	if (!err && !options->resharding)
		err = dv_reshard_check(s, path, why, why_size);
	if (!err)
		err = apply_options(s, options, why, why_size);
	if (!err)
		err = dv_dict_load(s, path, why, why_size);
	if (!err)
		err = open_parts(s);
	if (!err)
		err = start(s, why, why_size);
	/* Who begins to reshard looks for owners once it has said so; this one is there now. */
	if (!err && !options->resharding)
		err = dv_reshard_check(s, path, why, why_size);
	if (!err && !options->resharding)
		err = dv_config_stands(s, path, why, why_size);
	if (err) {
		unsigned left; /* its records stay, for the next who opens it */
		if (!why[0])
			snprintf(why, why_size, "%s: %s", path, strerror(-err));
		dv_keeper_stop(s); /* what comes after it was started can fail */
		dv_stage_worker_stop(s);
		dv_keeper_drain(s, &left);
		free_store(s);
		return err;
	}
	*out = s;
	return 0;
}

/* ---- closing ---- */

void dv_store_commit(struct dv_store *s)
{
	if (s->journal)
		dv_keeper_commit_quiet(s);
}

dv_err dv_store_finish(struct dv_store *s)
{
	unsigned left;
	atomic_store(&s->put_off, 0);
	for (int round = 0, before = -1; round < FINISH_ROUNDS; round++) {
		int now = dv_keeper_run(s, true, true);
		if (now == 0 || now == before)
			break;
		before = now;
	}
	left = (unsigned)atomic_load(&s->counters.pending);
	dv_err why = atomic_load(&s->put_off);
	return !left ? 0 : why ? why : -EBUSY;
}

dv_err dv_store_close(struct dv_store **store, unsigned *left)
{
	struct dv_store *s = *store;
	unsigned remain = 0;
	if (!s)
		return 0;
	dv_keeper_stop(s);
	dv_stage_worker_stop(s);
	dv_err err = s->journal ? dv_store_finish(s) : 0;
	dv_keeper_drain(s, &remain);
	dv_place_prune_due(s);
	if (!dv_loose_is_empty(s)) /* the next mount does not know of it */
		dv_ignore(dv_loose_sync_all(s));
	if (left)
		*left = remain;
	*store = NULL;
	free_store(s);
	return remain ? (err ? err : -EBUSY) : 0;
}

int dv_store_run(struct dv_store *s, bool now)
{
	return dv_keeper_run(s, now, false);
}

void dv_store_set_hooks(struct dv_store *s, const struct dv_store_hooks *hooks)
{
	pthread_mutex_lock(&s->hooks_lock);
	s->hooks = *hooks;
	pthread_mutex_unlock(&s->hooks_lock);
}

/* ---- facts ---- */

bool dv_store_has_dirs(const struct dv_store *s)
{
	return dv_transform_has_dirs(s->transform);
}

bool dv_store_lists_in_order_of_backing(const struct dv_store *s)
{
	return !dv_transform_has_shards(s->transform);
}

bool dv_store_keeps_order(const struct dv_store *s)
{
	return dv_transform_keeps_order(s->transform);
}

int dv_store_compare(const struct dv_store *s, const char *a, const char *b)
{
	return dv_transform_compare(s->transform, a, b);
}

struct dv_node *dv_store_root(struct dv_store *s)
{
	return dv_node_ref(s->root);
}

void dv_store_stats(struct dv_store *s, struct dv_store_stats *out)
{
	struct dv_cache_stats c;
	dv_cache_stats(s->cache, &c);
	*out = (struct dv_store_stats){
		.read_only = s->options.read_only,
		.frames_decoded = atomic_load(&s->counters.frames_decoded),
		.twins = dv_twins_count(s->twins),
		.pieces_decoded = atomic_load(&s->counters.pieces_decoded),
		.frames_encoded = atomic_load(&s->counters.frames_encoded),
		.bytes_read = atomic_load(&s->counters.bytes_read),
		.bytes_written = atomic_load(&s->counters.bytes_written),
		.packed = atomic_load(&s->counters.packed),
		.unpacked = atomic_load(&s->counters.unpacked),
		.replaced = atomic_load(&s->counters.replaced),
		.pack_refused = atomic_load(&s->counters.pack_refused),
		.streamed = atomic_load(&s->counters.streamed),
		.copied = atomic_load(&s->counters.copied),
		.appended = atomic_load(&s->counters.appended),
		.joined = atomic_load(&s->counters.joined),
		.errors_corrupt = atomic_load(&s->counters.errors_corrupt),
		.errors_io = atomic_load(&s->counters.errors_io),
		.errors_space = atomic_load(&s->counters.errors_space),
		.errors_other = atomic_load(&s->counters.errors_other),
		.recovered = atomic_load(&s->counters.recovered),
		.put_aside = atomic_load(&s->counters.put_aside),
		.cache_hits = c.hits,
		.cache_misses = c.misses,
		.cache_evictions = c.evictions,
		.nodes = atomic_load(&s->node_count),
		.pending = atomic_load(&s->counters.pending),
		.left_pending = s->left_pending,
		.cache_bytes = c.bytes,
		.cache_entries = c.entries,
		.decoder_bytes = dv_foreign_bytes(s->foreign),
	};
	pthread_mutex_lock(&s->files_lock);
	out->open_fds = s->file_count + s->pinned_count;
	pthread_mutex_unlock(&s->files_lock);
	pthread_mutex_lock(&s->queue_lock);
	out->waiting = s->queue_len;
	pthread_mutex_unlock(&s->queue_lock);
}

/* ---- paths ---- */

static dv_err append(char *buf, size_t size, const char *part)
{
	size_t len = strlen(buf), more = strlen(part);
	if (len + more + 2 > size)
		return -ENAMETOOLONG;
	if (len && more)
		buf[len++] = '/';
	memcpy(buf + len, part, more + 1);
	return 0;
}

/* One component; *dir becomes its node where last is false and it exists, else NULL. */
static dv_err path_step(struct dv_store *s, struct dv_node **dir, const char *name, bool last,
			char *buf, size_t size, bool *exists)
{
	static const struct dv_call call = {0};
	struct dv_place p;
	struct dv_names names;
	struct dv_found f;
	char shard[DV_SHARD_MAX] = "";
	struct dv_node *child = NULL;
	dv_err err = dv_names_of(s->transform, name, &names);
	if (!err && dv_transform_has_shards(s->transform))
		err = dv_transform_shard(s->transform, name, shard);
	if (err)
		return err;
	const char *stored = !last ? names.other : names.raw[0] ? names.raw : names.packed;
	*exists = false;
	if (*dir && dv_place_open(s, *dir, name, false, &p) == 0) {
		*exists = dv_place_find(s, &p, &f) == 0;
		err = append(buf, size, shard);
		if (!err)
			err = append(buf, size, *exists ? f.stored : stored);
		dv_place_close(s, &p);
	} else {
		err = append(buf, size, shard);
		if (!err)
			err = append(buf, size, stored);
	}
	if (!err && !last && *dir && dv_find(s, &call, *dir, name, &child) == 0 &&
	    !S_ISDIR(child->type)) {
		dv_node_unref(s, child);
		err = -ENOTDIR;
		child = NULL;
	}
	dv_node_unref(s, *dir);
	*dir = child;
	return err;
}

dv_err dv_store_path(struct dv_store *s, const char *key, char *buf, size_t buf_size, bool *exists)
{
	bool there = false;
	DV_AUTO_FREE char *copy = strdup(key);
	if (!copy)
		return -ENOMEM;
	if (!buf_size || !*copy || (strchr(copy, '/') && !dv_transform_has_dirs(s->transform)))
		return -EINVAL;
	buf[0] = '\0';
	struct dv_node *dir = dv_store_root(s);
	dv_err err = 0;
	for (char *at = copy, *slash; !err && at; at = slash ? slash + 1 : NULL) {
		slash = strchr(at, '/');
		if (slash)
			*slash = '\0';
		if (strlen(at) > DV_NAME_MAX)
			err = -ENAMETOOLONG;
		else
			err = path_step(s, &dir, at, !slash, buf, buf_size, &there);
	}
	dv_node_unref(s, dir);
	if (exists)
		*exists = there && !err;
	return err;
}
