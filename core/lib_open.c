/* SPDX-License-Identifier: MIT */
/* lib_open.c - opening and closing a store, options, and what concerns all of it. See diskvfs.h. */
#include "core/lib.h"
#include "core/lib_plugin.h"

#include "core/cleanup.h"
#include "core/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct dv_call lib_call;

/* ---- the log ---- */

static _Atomic(void (*)(int, const char *)) log_to;
static pthread_once_t log_once = PTHREAD_ONCE_INIT;

static void pass_line(enum dv_log_level level, const char *line)
{
	void (*to)(int, const char *) = atomic_load(&log_to);
	if (!to || level > DV_LOG_INFO)
		return;
	lib_guard_sink(true);
	to((int)level, line);
	lib_guard_sink(false);
}

static void begin_log(void)
{
	dv_log_set_sink(pass_line);
}

void dvfs_set_log(void (*sink)(int severity, const char *line))
{
	atomic_store(&log_to, sink);
	pthread_once(&log_once, begin_log);
}

const char *dvfs_version(void)
{
	return DISKVFS_VERSION;
}

/* ---- options ---- */

void dvfs_options_init(struct dvfs_options *o, size_t size)
{
	struct dvfs_options defaults = {.file_mode = 0666, .dir_mode = 0777, .settle_ms = 5000};
	defaults.struct_size = size;
	memset(o, 0, size);
	memcpy(o, &defaults, size < sizeof(defaults) ? size : sizeof(defaults));
}

static dv_err say(char *why, size_t size, dv_err err, const char *text)
{
	snprintf(why, size, "%s", text);
	return err;
}

/* A caller that was built with another header may know less or more. */
static dv_err take_options(struct dvfs *s, const struct dvfs_options *o, char *why, size_t size)
{
	dvfs_options_init(&s->o, sizeof(s->o));
	if (!o)
		return 0;
	if (o->struct_size < offsetof(struct dvfs_options, file_mode))
		return say(why, size, -EINVAL, "options: call dvfs_options_init() first");
	size_t known = o->struct_size < sizeof(s->o) ? o->struct_size : sizeof(s->o);
	memcpy(&s->o, o, known);
	for (size_t at = known; at < o->struct_size; at++)
		if (((const char *)o)[at])
			return say(why, size, -EINVAL,
				   "options: one is set that this version of the library has not");
	const struct dvfs_transform *t = s->o.custom_transform;
	if (t) {
		if (t->struct_size != sizeof(*t) || !t->to_path != !t->to_key)
			return say(why, size, -EINVAL,
				   "custom_transform: struct_size is wrong, or one of to_path and "
				   "to_key is missing");
		s->t = *t;
		s->maps = t->to_path;
	}
	const struct dvfs_codec *c = s->o.codec;
	if (c) {
		if (c->struct_size != sizeof(*c) || !c->begin || !c->run || !c->end)
			return say(why, size, -EINVAL,
				   "codec: struct_size is wrong, or a function is missing");
		s->codec = *c;
		s->has_codec = true;
	}
	return 0;
}

/* ---- opening ---- */

static dv_err create(const struct dvfs *s, const char *path, char *why, size_t why_size)
{
	const struct dv_init_options io = {.transform = s->o.transform,
					   .compress = s->o.compress,
					   .frame_size = s->o.frame_size,
					   .nopack = s->o.nopack,
					   .layout = s->o.layout,
					   .dict = s->o.dict,
					   .dict_len = s->o.dict_len};
	dv_err err = dv_store_init(dv_backing_posix(), path, &io, why, why_size);
	if (err == -EEXIST) {
		why[0] = '\0';
		return 0;
	}
	return err;
}

/* The program's signals are for its own threads: those of the store are all made here, and have the
 * mask of who makes them. */
static dv_err open_without_signals(const char *path, const struct dv_store_options *so,
				   struct dv_store **out, char *why, size_t why_size)
{
	static const int of_ones_own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
	sigset_t all, before;
	sigfillset(&all);
	for (size_t i = 0; i < DV_ARRAY_LEN(of_ones_own); i++)
		sigdelset(&all, of_ones_own[i]);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	dv_err err = dv_store_open(dv_backing_posix(), path, so, out, why, why_size);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

static dv_err open_store(struct dvfs *s, const char *path, const struct dv_plugin *plugin,
			 char *why, size_t why_size)
{
	const struct dv_store_options so = {.cache_bytes = s->o.cache_bytes,
					    .settle_ms = s->o.settle_ms ? s->o.settle_ms : 5000,
					    .threads = s->o.threads,
					    .read_only = s->o.read_only,
					    .noatime = s->o.noatime != 0,
					    .background = !s->o.read_only,
					    .transform = s->o.transform,
					    .plugin = plugin,
					    .compress = s->o.compress,
					    .frame_size = s->o.frame_size,
					    .nopack = s->o.nopack};
	dv_err err = s->o.create && !s->o.read_only ? create(s, path, why, why_size) : 0;
	if (!err)
		err = open_without_signals(path, &so, &s->store, why, why_size);
	if (!err && s->maps && !dv_store_has_dirs(s->store))
		err = say(
			why, why_size, -EINVAL,
			"custom_transform maps keys to paths: it needs a store whose transform is "
			"path");
	if (!err && s->o.custom_transform)
		err = lib_check_laws(s, why, why_size);
	return err;
}

static void free_all(struct dvfs *s)
{
	free(s->base);
	free(s);
}

int lib_open_plugin(const char *path, const struct dvfs_options *options,
		    const struct dv_plugin *plugin, struct dvfs **out, char *why, size_t why_size)
{
	char own[512];
	if (!why || !why_size) {
		why = own;
		why_size = sizeof(own);
	}
	why[0] = '\0';
	if (!out)
		return -EINVAL;
	*out = NULL;
	if (!path || !*path)
		return say(why, why_size, -EINVAL, "no path is given");
	pthread_once(&log_once, begin_log);
	struct dvfs *s = calloc(1, sizeof(*s));
	if (!s)
		return say(why, why_size, -ENOMEM, "out of memory");
	lib_guard_begin(s);
	dv_err err = take_options(s, options, why, why_size);
	if (!err && !(s->base = strdup(path)))
		err = -ENOMEM;
	if (!err)
		err = open_store(s, path, plugin, why, why_size);
	if (err) {
		if (s->store)
			dv_ignore(dv_store_close(&s->store, NULL)); /* nothing was done */
		if (!why[0])
			snprintf(why, why_size, "%s: %s", path, strerror(-err));
		free_all(s);
		return err;
	}
	*out = s;
	return 0;
}

int dvfs_open(const char *path, const struct dvfs_options *options, struct dvfs **out, char *why,
	      size_t why_size)
{
	return lib_open_plugin(path, options, NULL, out, why, why_size);
}

int dvfs_close(struct dvfs **store)
{
	struct dvfs *s = store ? *store : NULL;
	if (!s)
		return 0;
	dv_err may = lib_may(s);
	if (may == -ECHILD) /* all of it is the parent's: its locks, its files, its folder */
		*store = NULL;
	if (may)
		return may;
	if (atomic_load(&s->handles))
		return -EBUSY;
	dv_err err = dv_store_close(&s->store, NULL);
	free_all(s);
	*store = NULL;
	return err == -EBUSY ? -EAGAIN : err;
}

/* ---- upkeep ---- */

int dvfs_sync(struct dvfs *s)
{
	dv_err err = lib_enter(s);
	if (err)
		return err;
	err = s->o.read_only ? 0 : dv_store_sync(s->store);
	lib_leave(s);
	return err;
}

int dvfs_pack(struct dvfs *s, struct dvfs_packed *out)
{
	struct dv_pack_result r;
	dv_err err = lib_enter(s);
	if (err)
		return err;
	err = dv_store_pack_all(s->store, &r);
	lib_leave(s);
	if (out)
		*out = (struct dvfs_packed){.packed = r.packed,
					    .left_raw = r.left_raw,
					    .busy = r.busy,
					    .failed = r.failed,
					    .plain_bytes = r.plain_bytes,
					    .stored_bytes = r.stored_bytes};
	return err;
}

void dvfs_stats(struct dvfs *s, struct dvfs_stats *out)
{
	struct dv_store_stats st;
	*out = (struct dvfs_stats){0};
	if (lib_enter(s))
		return;
	dv_store_stats(s->store, &st);
	lib_leave(s);
	*out = (struct dvfs_stats){
		.bytes_read = st.bytes_read,
		.bytes_written = st.bytes_written,
		.frames_decoded = st.frames_decoded,
		.frames_encoded = st.frames_encoded,
		.packed = st.packed,
		.unpacked = st.unpacked,
		.replaced = st.replaced,
		.recovered = st.recovered,
		.put_aside = st.put_aside,
		.errors = st.errors_corrupt + st.errors_io + st.errors_space + st.errors_other,
		.cache_hits = st.cache_hits,
		.cache_misses = st.cache_misses,
		.cache_bytes = st.cache_bytes,
		.cache_entries = st.cache_entries,
		.waiting = st.waiting,
		.left_pending = st.left_pending,
		.open_files = st.open_fds,
	};
}

/* ---- sentences ---- */

static const char *meaning(const struct dvfs *s, int err)
{
	switch (err) {
	case -EINVAL:
		return dv_store_has_dirs(s->store) ? "is no key: it is empty, or has an empty, "
						     "\".\" or \"..\" component"
						   : "is no key: it is empty, \".\" or \"..\", or "
						     "has a slash, which the "
						     "store's transform can not hold";
	case -ENAMETOOLONG:
		return "is too long for a key: a component has 255 bytes at most";
	case -ENOENT:
		return "no such key";
	case -EEXIST:
		return "there is a value already";
	case -EISDIR:
		return "is a directory, since there are keys below it";
	case -ENOTDIR:
		return "can not be a key beneath another key's value; erase that first, or use "
		       "another transform";
	case -EBADMSG:
	case -EIO:
		return "the stored bytes are damaged or can not be read; restore the file from a "
		       "backup";
	case -EROFS:
		return "the store is open for reading only";
	case -ENOSPC:
	case -EDQUOT:
		return "there is no room left on the store's filesystem; the old value stays";
	case -ECHILD:
		return "the store was opened before a fork(); the child opens its own";
	case -EDEADLK:
		return "the log's sink may not use the library";
	case -ESTALE:
	case -EBUSY:
		return "is being changed by others all the time; try again";
	case -EACCES:
	case -EPERM:
		return "permission denied in the store's folder";
	}
	return strerror(-err);
}

/* The place of the store's own files in a mount. */
static bool is_control(const char *key)
{
	return strncmp(key, ".diskvfs", 8) == 0 && (!key[8] || key[8] == '/');
}

static const char *meaning_of_key(const struct dvfs *s, const char *key, int err)
{
	if (err == -EINVAL && is_control(key))
		return "is no key: .diskvfs is the store's own";
	return meaning(s, err);
}

const char *dvfs_explain(struct dvfs *s, const char *key, int err, char *buf, size_t size)
{
	char text[1024];
	if (!size)
		return "";
	if (!s)
		snprintf(buf, size, "%s", strerror(err < 0 ? -err : err));
	else if (key)
		snprintf(buf, size, "%s: %s", *key ? dv_log_key(text, sizeof(text), key) : "''",
			 meaning_of_key(s, key, err));
	else if (err == -ENOSPC || err == -EDQUOT)
		snprintf(buf, size, "%s: there is no room left on its filesystem", s->base);
	else
		snprintf(buf, size, "%s: %s", s->base, strerror(err < 0 ? -err : err));
	return buf;
}
