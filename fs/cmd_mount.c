/* SPDX-License-Identifier: MIT */
/*
 * cmd_mount.c - diskvfs mount STORE MOUNTPOINT: checks, then the life of a mount from first to
 * last.
 *
 *   parse -> check the two folders -> fork -> fork the steward -> mount -> give up what is not
 *         needed -> open the store -> serve -> finish deferred requests -> give nodes back -> close
 *         the store
 */
#include "fs/cmd.h"

#include "core/log.h"
#include "core/store.h"
#include "fs/client.h"
#include "fs/confine.h"
#include "fs/daemon.h"
#include "fs/expire.h"
#include "fs/mountpoint.h"
#include "fs/notify.h"
#include "fs/plugin.h"
#include "fs/probe.h"
#include "fs/session.h"
#include "fs/steward.h"

#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Stale mounts stacked at one place that are cleaned up. */
#define STALE_MAX 16

static const char usage[] =
	"usage: diskvfs [mount] STORE MOUNTPOINT [-f] [-d] [-o OPTION[,OPTION...]]\n"
	"  -f, --foreground               stay in the foreground, log to stderr\n"
	"  -d, --debug                    the same, and log every message\n";

struct places {
	char store[PATH_MAX], mountpoint[PATH_MAX];
};

static int check_store(const char *given, struct places *p)
{
	struct stat st;

	if (!realpath(given, p->store))
		return fs_cmd_fail(errno == EACCES ? FS_EXIT_USAGE : FS_EXIT_MOUNT,
				   "store %s: %s%s", given, strerror(errno),
				   errno == ENOENT ? "; `diskvfs init` makes one" : "");
	if (stat(p->store, &st) < 0)
		return fs_cmd_fail(FS_EXIT_MOUNT, "store %s: %s", given, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return fs_cmd_fail(FS_EXIT_MOUNT, "store %s: is not a folder", given);
	if (eaccess(p->store, R_OK | X_OK) < 0)
		return fs_cmd_fail(FS_EXIT_USAGE, "store %s: is not readable: %s", given,
				   strerror(errno));
	return 0;
}

/* Takes away what killed daemons left there; says so. */
static int clean_stale(const char *mountpoint)
{
	struct fs_mount m;
	dv_err err;

	for (int i = 0; i < STALE_MAX && fs_mountpoint_is_stale(mountpoint); i++) {
		if (fs_mountpoint_find(mountpoint, &m) < 0 || strcmp(m.type, FS_TYPE) != 0)
			return fs_cmd_fail(
				FS_EXIT_MOUNT,
				"mountpoint %s: holds the mount of another filesystem whose "
				"daemon is gone; unmount it first",
				mountpoint);
		err = fs_mountpoint_unmount(mountpoint, true);
		if (err < 0)
			return fs_cmd_fail(
				FS_EXIT_MOUNT,
				"mountpoint %s: a daemon that is gone left a mount there, and "
				"it can not be unmounted: %s",
				mountpoint, strerror(-err));
		fprintf(stderr,
			"diskvfs: mountpoint %s: cleaned up the mount that a daemon had left "
			"there\n",
			mountpoint);
	}
	return 0;
}

static int check_mountpoint(const char *given, struct places *p)
{
	struct fs_mount m;
	struct stat st;
	dv_err err;
	int status;

	err = fs_mountpoint_resolve(given, p->mountpoint);
	if (err < 0)
		return fs_cmd_fail(FS_EXIT_MOUNT, "mountpoint %s: %s", given, strerror(-err));
	status = clean_stale(p->mountpoint);
	if (status)
		return status;
	if (stat(p->mountpoint, &st) < 0)
		return fs_cmd_fail(errno == EACCES ? FS_EXIT_USAGE : FS_EXIT_MOUNT,
				   "mountpoint %s: %s", given, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return fs_cmd_fail(FS_EXIT_MOUNT, "mountpoint %s: is not a folder", given);
	if (fs_mountpoint_find(p->mountpoint, &m) == 0 && !strcmp(m.type, FS_TYPE))
		return fs_cmd_fail(
			FS_EXIT_MOUNT,
			"mountpoint %s: is busy, %s is mounted there; `diskvfs unmount` it "
			"first",
			given, m.source);
	return 0;
}

/*
 * The daemon goes on as it is; the kernel lets writes through or not. What is pending is finished
 * by a mount that became read only, while one that was made so opened the store for reading.
 */
static int remount(const char *given, bool read_only)
{
	char mountpoint[PATH_MAX];
	bool was_made_so = false;
	dv_err err = fs_mountpoint_resolve(given, mountpoint);

	if (!err && !fs_client_is_mount(mountpoint))
		return fs_cmd_fail(FS_EXIT_MOUNT, "mountpoint %s: no store is mounted there",
				   given);
	if (!err && !read_only)
		err = fs_client_is_read_only(mountpoint, &was_made_so);
	if (!err && was_made_so)
		return fs_cmd_fail(
			FS_EXIT_MOUNT,
			"mountpoint %s: was mounted with ro; unmount it and mount it anew", given);
	if (!err)
		err = fs_mountpoint_remount(mountpoint, read_only);
	if (err)
		return fs_cmd_fail(FS_EXIT_MOUNT, "mountpoint %s: can not be remounted: %s", given,
				   err == -EBUSY
					   ? "files are open for writing; `fuser -vm` tells by whom"
					   : strerror(-err));
	return 0;
}

/* What fusermount3 will refuse a user, said in one line of ours. */
static int check_user(const struct fs_options *o, const struct places *p)
{
	struct stat st;

	if (geteuid() == 0)
		return 0;
	if ((o->allow_other || o->allow_root) && !fs_mountpoint_users_may_share())
		return fs_cmd_fail(FS_EXIT_USAGE,
				   "option %s: only root may use it, until user_allow_other stands "
				   "on a line of " FS_FUSE_CONF,
				   o->allow_other ? "allow_other" : "allow_root");
	if (eaccess(p->mountpoint, W_OK) < 0 ||
	    (stat(p->mountpoint, &st) == 0 && (st.st_mode & S_ISVTX) && st.st_uid != geteuid()))
		return fs_cmd_fail(
			FS_EXIT_USAGE,
			"mountpoint %s: is not yours; a user mounts on a folder that is, "
			"and that it may write to",
			p->mountpoint);
	return 0;
}

static int check_places(const char *store, const char *mountpoint, struct places *p)
{
	int status = check_store(store, p);

	if (status)
		return status;
	status = check_mountpoint(mountpoint, p);
	if (status)
		return status;
	if (fs_path_is_within(p->store, p->mountpoint))
		return fs_cmd_fail(FS_EXIT_MOUNT,
				   "store %s: lies in the mountpoint %s, which would hide it",
				   store, mountpoint);
	if (fs_path_is_within(p->mountpoint, p->store))
		return fs_cmd_fail(FS_EXIT_MOUNT, "mountpoint %s: lies in the store %s", mountpoint,
				   store);
	return 0;
}

/* From first to last. */
struct life {
	struct fs_session fs;
	struct fs_expire_gc gc;
	struct dv_store *store;
	char why[512]; /* one sentence, where the status is not 0 */
};

static int open_store(struct life *l, const struct places *p, const struct fs_plugin *plugin)
{
	const struct fs_options *o = l->fs.options;
	struct dv_store_options so;
	dv_err err;

	memset(&so, 0, sizeof(so));
	so.cache_bytes = o->cache_bytes;
	so.settle_ms = (unsigned)(o->settle_s * 1000.0);
	so.read_only = o->read_only;
	so.noatime = o->noatime;
	so.background = true;
	so.shared = o->shared;
	so.beat_ms = DV_BEAT_MS;
	so.transform = plugin->handle ? NULL : o->transform;
	so.plugin = plugin->handle ? &plugin->plugin : NULL;
	so.threads = o->threads;
	so.compress = o->compress;
	so.frame_size = (uint32_t)o->frame_bytes;
	so.nopack = o->nopack;
	so.mountpoint = p->mountpoint;
	err = dv_store_open(dv_backing_posix(), p->store, &so, &l->store, l->why, sizeof(l->why));
	l->fs.store = l->store;
	if (err == 0)
		return 0;
	if (!l->why[0])
		snprintf(l->why, sizeof(l->why), "%s", strerror(-err));
	return err == -EACCES || err == -EPERM ? FS_EXIT_USAGE : FS_EXIT_MOUNT;
}

static void ready(struct fs_session *fs)
{
	const struct dv_store_hooks hooks = {fs, fs_probe_has_writer, fs_notify_changed,
					     fs_session_retry};

	dv_store_set_hooks(fs->store, &hooks);
	fs_daemon_ready();
	dv_info("%s is mounted on %s", fs->options->fsname, fs->mountpoint);
}

/* Until the mount ends. */
static int serve(struct life *l)
{
	struct fs_session *fs = &l->fs;
	dv_err err = fs_session_open(fs, l->why, sizeof(l->why));

	if (err == 0) {
		err = fs_daemon_watch_signals(fs);
		if (err < 0)
			snprintf(l->why, sizeof(l->why), "can not start a thread: %s",
				 strerror(-err));
	}
	if (err < 0)
		return FS_EXIT_MOUNT;
	err = fs_session_loop(fs);
	if (err < 0)
		dv_error("the connection to the kernel broke: %s", strerror(-err));
	if (!atomic_load(&fs->serving)) {
		snprintf(l->why, sizeof(l->why), "the kernel ended the mount before it was ready");
		return FS_EXIT_INTERNAL;
	}
	return err < 0 ? FS_EXIT_SYSTEM : 0;
}

/* The mount comes before the sandbox, which forbids it, and that before anything of the store is read. */
static int mount_and_serve(struct life *l, const struct places *p, const struct fs_plugin *plugin)
{
	const struct dv_store_hooks none = {.self = NULL};
	struct fs_session *fs = &l->fs;
	const bool confined = fs->options->sandbox;
	int status = FS_EXIT_MOUNT;

	if (fs_session_mount(fs, l->why, sizeof(l->why)) == 0) {
		if (confined)
			fs_confine(&(struct fs_confines){p->store, p->mountpoint,
							 fs->options->read_only, fs->dev_major,
							 fs->dev_minor});
		status = open_store(l, p, plugin);
		if (!status)
			status = serve(l);
	}
	atomic_store(&fs->ending, true);
	fs_daemon_unwatch_signals();
	if (l->store)
		dv_store_set_hooks(l->store, &none);
	fs_session_close(fs);
	return status;
}

/*
 * What is freed is to be used again by whichever thread asks next, or to go back to the kernel. By
 * itself malloc gives each thread an arena, whose free memory no other one gets: frames that one
 * thread puts into the cache and another pushes out made that twice as large as it was told to be.
 * And it raises its thresholds with the largest block it has seen, so that later ones of that size
 * come from the heap, and stay there.
 */
static void bound_heap(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

static int close_store(struct life *l, const struct places *p, int status)
{
	unsigned left = 0;
	dv_err err = dv_store_close(&l->store, &left);

	if (err < 0 || left > 0)
		dv_error("%u values are left pending in the store, recorded for the next mount: %s",
			 left, err < 0 ? strerror(-err) : "still in use");
	else if (!status)
		dv_info("everything is finished, %s is closed", p->store);
	return status ? status : err < 0 ? FS_EXIT_SYSTEM : 0;
}

static int run(struct fs_options *o, const struct places *p, const struct fs_plugin *plugin)
{
	struct life *l = calloc(1, sizeof(*l));
	int status = FS_EXIT_SYSTEM;
	dv_err err = -ENOMEM;

	if (o->debug)
		dv_log_set_level(DV_LOG_DEBUG);
	bound_heap();
	fs_daemon_start(o->foreground);
	if (l) {
		l->fs.options = o;
		l->fs.mountpoint = p->mountpoint;
		l->fs.stats.store_path = p->store;
		l->fs.timeout_s = o->coherence_s;
		l->fs.ready = ready;
		fs_expire_gc_args(o, p->mountpoint, plugin->named, &l->gc);
		err = fs_steward_new(p->mountpoint, l->gc.argv[0] ? l->gc.argv : NULL, o->sandbox,
				     &l->fs.steward);
	}
	if (err == 0) {
		dv_backing_posix_prepare();
		fs_daemon_block_signals();
		status = mount_and_serve(l, p, plugin);
		if (l->why[0])
			fs_daemon_fail(status, "%s", l->why);
		if (l->store)
			status = close_store(l, p, status);
		fs_steward_free(&l->fs.steward);
	} else {
		fs_daemon_fail(status, "can not start the daemon: %s", strerror(-err));
	}
	free(l);
	return status;
}

int fs_cmd_mount(int argc, char **argv)
{
	const char *operands[2];
	struct places *places;
	struct fs_options o;
	struct fs_plugin plugin;
	char why[512] = "";
	bool help;
	int n, status;

	fs_options_init(&o);
	memset(&plugin, 0, sizeof(plugin));
	places = calloc(1, sizeof(*places));
	n = fs_options_parse_args(&o, FS_FOR_MOUNT, argc, argv, operands, 2, &help, why,
				  sizeof(why));
	if (n >= 0 && help) {
		fputs(usage, stdout);
		fs_options_print_help(stdout, FS_FOR_MOUNT);
		status = 0;
	} else if (!places || n < 0 || fs_options_check(&o, why, sizeof(why)) < 0) {
		status = fs_cmd_fail(FS_EXIT_USAGE, "%s", why[0] ? why : "out of memory");
	} else if (n < 2) {
		fputs(usage, stderr);
		status = FS_EXIT_USAGE;
	} else if (o.remount) {
		status = remount(operands[1], o.read_only);
	} else {
		status = check_places(operands[0], operands[1], places);
		if (!status)
			status = check_user(&o, places);
		/* A file of another mount that the caller happens to have open would have a writer as long as the
		 * daemon lives. */
		closefrom(STDERR_FILENO + 1);
		if (!status && !o.fsname)
			o.fsname = strdup(places->store);
		if (!status && fs_plugin_load(o.transform, &plugin, why, sizeof(why)) < 0)
			status = fs_cmd_fail(FS_EXIT_MOUNT, "%s", why);
		if (!status)
			status = o.fsname ? run(&o, places, &plugin) : FS_EXIT_SYSTEM;
		fs_plugin_release(&plugin);
	}
	free(places);
	fs_options_release(&o);
	return status;
}
