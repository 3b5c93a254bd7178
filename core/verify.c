/* SPDX-License-Identifier: MIT */
/*
 * verify.c - see verify.h. The frame around it: the store is opened, one thread walks, others read
 * and decode what it finds.
 */
#include "core/verify_private.h"

#include "core/cleanup.h"
#include "core/codec.h"
#include "core/pool.h"
#include "core/store.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_MAX   128u
#define CACHE_BYTES (1u << 20) /* no value is read by way of the cache */

const char *dv_finding_name(enum dv_finding_kind kind)
{
	static const char *const names[] = {
		[DV_FINDING_FRAME] = "damaged",
		[DV_FINDING_TABLE] = "table",
		[DV_FINDING_SIZE] = "cut",
		[DV_FINDING_DICTIONARY] = "dictionary",
		[DV_FINDING_LIMIT] = "limit",
		[DV_FINDING_READ] = "unreadable",
		[DV_FINDING_TWIN] = "twin",
		[DV_FINDING_MISPLACED] = "misplaced",
		[DV_FINDING_LEFTOVER] = "leftover",
		[DV_FINDING_STRAY] = "stray",
		[DV_FINDING_UNFINISHED] = "unfinished",
		[DV_FINDING_ACCESS] = "access",
	};
	return names[kind];
}

char *dv_verify_join(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	char *out = malloc(n + m + 2);
	if (!out)
		return NULL;
	memcpy(out, a, n);
	if (n && m)
		out[n++] = '/';
	memcpy(out + n, b, m + 1);
	return out;
}

void dv_verify_tell(struct dv_verify *v, const struct dv_verify_at *at, enum dv_finding_kind kind,
		    enum dv_finding_class class, const char *detail, const char *done)
{
	DV_AUTO_FREE char *file = dv_verify_join(at->dir->path, at->stored ? at->stored : "");
	DV_AUTO_FREE char *key = at->name ? dv_verify_join(at->dir->key, at->name) : NULL;
	const struct dv_finding f = {.kind = kind,
				     .class = class,
				     .file = file && file[0] ? file : ".",
				     .key = key,
				     .detail = detail,
				     .done = done};
	pthread_mutex_lock(&v->lock);
	v->r->errors += class == DV_CLASS_ERROR;
	v->r->fixed += class == DV_CLASS_FIXED;
	v->r->failures += class == DV_CLASS_FAILURE;
	v->r->strays += kind == DV_FINDING_STRAY;
	if (v->ops->found)
		v->ops->found(v->ops->self, &f);
	pthread_mutex_unlock(&v->lock);
}

void dv_verify_progress(struct dv_verify *v, uint64_t files, uint64_t bytes)
{
	pthread_mutex_lock(&v->lock);
	v->r->stored_bytes += bytes;
	if (v->ops->progress)
		v->ops->progress(v->ops->self, files, bytes);
	pthread_mutex_unlock(&v->lock);
}

struct dv_verify_dir *dv_verify_dir_ref(struct dv_verify *v, struct dv_verify_dir *d)
{
	pthread_mutex_lock(&v->lock);
	d->refs++;
	pthread_mutex_unlock(&v->lock);
	return d;
}

void dv_verify_dir_unref(struct dv_verify *v, struct dv_verify_dir *d)
{
	struct dv_store *s = v->s;
	pthread_mutex_lock(&v->lock);
	unsigned left = --d->refs;
	pthread_mutex_unlock(&v->lock);
	if (left)
		return;
	if (d->fd >= 0)
		DV_B(s, close, d->fd);
	free(d->path);
	free(d->key);
	free(d);
}

/* ---- threads ---- */

static void finish(struct dv_verify *v, struct dv_scan *scan, struct dv_verify_item *item)
{
	dv_verify_file(v, scan, item);
	dv_verify_progress(v, 1, 0);
	dv_verify_dir_unref(v, item->dir);
	free(item);
}

void dv_verify_push(struct dv_verify *v, struct dv_verify_item *item)
{
	if (!v->threads) {
		finish(v, v->scan, item);
		return;
	}
	pthread_mutex_lock(&v->lock);
	while (v->queued == QUEUE_MAX)
		pthread_cond_wait(&v->changed, &v->lock);
	v->queue[(v->queue_at + v->queued++) % QUEUE_MAX] = item;
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
}

/* NULL: nothing comes any more. */
static struct dv_verify_item *pop(struct dv_verify *v)
{
	struct dv_verify_item *item = NULL;
	pthread_mutex_lock(&v->lock);
	while (!v->queued && !v->ending)
		pthread_cond_wait(&v->changed, &v->lock);
	if (v->queued) {
		item = v->queue[v->queue_at];
		v->queue_at = (v->queue_at + 1) % QUEUE_MAX;
		v->queued--;
		pthread_cond_broadcast(&v->changed);
	}
	pthread_mutex_unlock(&v->lock);
	return item;
}

static void *work(void *ctx)
{
	struct dv_verify *v = ctx;
	struct dv_verify_item *item;
	struct dv_scan *scan = NULL;
	dv_err err = dv_scan_new(&scan);
	while ((item = pop(v))) {
		if (!err) {
			finish(v, scan, item);
			continue;
		}
		dv_verify_dir_unref(v, item->dir);
		free(item);
	}
	dv_scan_free(&scan);
	dv_codec_thread_release();
	if (err) {
		pthread_mutex_lock(&v->lock);
		v->failed = v->failed ? v->failed : err;
		pthread_mutex_unlock(&v->lock);
	}
	return NULL;
}

static dv_err start_threads(struct dv_verify *v)
{
	unsigned want = v->options->jobs;
	if (!want) {
		long online = sysconf(_SC_NPROCESSORS_ONLN);
		want = online > 0 ? (unsigned)online : 1;
	}
	if (want > DV_VERIFY_JOBS_MAX)
		want = DV_VERIFY_JOBS_MAX;
	if (want == 1) /* the one that walks */
		return dv_scan_new(&v->scan);
	v->queue = calloc(QUEUE_MAX, sizeof(*v->queue));
	if (!v->queue)
		return -ENOMEM;
	for (; v->threads < want; v->threads++)
		if (pthread_create(&v->ids[v->threads], NULL, work, v))
			break; /* fewer do it too */
	return v->threads ? 0 : -EAGAIN;
}

static void end_threads(struct dv_verify *v)
{
	pthread_mutex_lock(&v->lock);
	v->ending = true;
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
	for (unsigned i = 0; i < v->threads; i++)
		pthread_join(v->ids[i], NULL);
	free(v->queue);
	dv_scan_free(&v->scan);
}

/* ---- all of it ---- */

static dv_err make_flat(struct dv_verify *v)
{
	char why[128];
	if (!dv_transform_has_shards(v->s->transform) || dv_transform_is_plugin(v->s->transform))
		return 0;
	dv_err err = dv_transform_new("flat", &v->flat, why, sizeof(why));
	if (!err)
		dv_transform_set_spelling(v->flat, dv_transform_spelling(v->s->transform));
	return err;
}

static dv_err look(struct dv_verify *v)
{
	uint64_t files = 0, bytes = 0;
	dv_err err = make_flat(v);
	if (!err && v->ops->total) {
		err = dv_verify_count(v, &files, &bytes);
		if (!err)
			v->ops->total(v->ops->self, files, bytes);
	}
	if (!err)
		err = dv_verify_control(v);
	if (!err)
		err = start_threads(v);
	if (!err)
		err = dv_verify_walk(v);
	end_threads(v);
	return err ? err : v->failed;
}

static dv_err look_or_say(struct dv_verify *v, const char *path, char *why, size_t why_size)
{
	dv_err err = look(v);
	if (err)
		snprintf(why, why_size, "%s: could not be looked at to the end: %s", path,
			 strerror(-err));
	return err;
}

/* Nobody who could be at work on what is repaired. */
static dv_err refuse_others(struct dv_verify *v, const char *path, char *why, size_t why_size)
{
	char who[512];
	if (!v->options->repair || !dv_verify_others(v, who, sizeof(who)))
		return 0;
	snprintf(why, why_size, "%s: is open, %s; a store is repaired while nobody has it open",
		 path, who);
	return -EBUSY;
}

dv_err dv_store_verify(struct dv_backing backing, const char *path,
		       const struct dv_verify_options *options, const struct dv_verify_ops *ops,
		       struct dv_verify_result *out, char *why, size_t why_size)
{
	/* No machine but this one is there for a test that names its kernel's run. */
	bool beats = options->repair && !options->boot_id;
	const struct dv_store_options so = {.read_only = !options->repair,
					    .noatime = true,
					    .threads = 1,
					    .cache_bytes = CACHE_BYTES,
					    .plugin = options->plugin,
					    .boot_id = options->boot_id,
					    .beat_ms = beats ? DV_BEAT_MS : 0};
	struct dv_verify *v = calloc(1, sizeof(*v));
	*out = (struct dv_verify_result){0};
	why[0] = '\0';
	if (!v)
		return -ENOMEM;
	v->options = options;
	v->ops = ops;
	v->r = out;
	dv_err err = dv_store_open(backing, path, &so, &v->s, why, why_size);
	if (!err) {
		pthread_mutex_init(&v->lock, NULL);
		pthread_mutex_init(&v->wide, NULL);
		pthread_mutex_init(&v->mending, NULL);
		pthread_cond_init(&v->changed, NULL);
		err = refuse_others(v, path, why, why_size);
		if (!err)
			err = look_or_say(v, path, why, why_size);
		dv_verify_lost_free(v);
		dv_transform_free(&v->flat);
		dv_err closed = dv_store_close(&v->s, NULL);
		err = err ? err : closed;
		pthread_cond_destroy(&v->changed);
		pthread_mutex_destroy(&v->mending);
		pthread_mutex_destroy(&v->wide);
		pthread_mutex_destroy(&v->lock);
	}
	if (err && !why[0])
		snprintf(why, why_size, "%s: %s", path, strerror(-err));
	free(v);
	return err;
}
