/* SPDX-License-Identifier: MIT */
/*
 * cmd_keys.c - diskvfs keys: the keys of a store, one a line.
 */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "fs/args.h"
#include "fs/door.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define FLUSH_NS 100000000 /* what was found is not held back longer */

struct listing {
	struct dvfs_range range;
	bool zero, details;
	int status; /* the worst of single values */
};

static const char about[] = "Prints the keys, in the order of their bytes. With the transform "
			    "hash, or a shared object\n"
			    "(which may have an order of its own), they come in no order, unless "
			    "--after or --sorted is\n"
			    "given: then the store is walked once for each 8 MiB of keys. With an "
			    "order a prefix costs\n"
			    "what it matches: other directories are not read. The first key comes "
			    "when its directory has\n"
			    "been read; with --unsorted at once.\n";

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A mount knows what it has not put in place yet. */
static void ask_mount(struct fs_door *d, const char *key, struct dvfs_value *v)
{
	char path[PATH_MAX];
	struct stat st;

	if (!d->mount[0] || fs_door_path(d, key, path) < 0 || lstat(path, &st) ||
	    !S_ISREG(st.st_mode))
		return;
	v->size = (uint64_t)st.st_size;
	v->stored_bytes = (uint64_t)st.st_blocks * 512;
	v->mtime = st.st_mtim;
}

/* -ENOENT: it was erased meanwhile. Nothing is printed on an error. */
static dv_err print_details(struct fs_door *d, const char *key)
{
	struct dvfs_value v;
	char when[32];
	struct tm tm;
	dv_err err = dvfs_stat(d->lib, key, &v);

	if (err)
		return err;
	ask_mount(d, key, &v);
	localtime_r(&v.mtime.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	printf("%s %12" PRIu64 " %12" PRIu64 " %s ", v.packed ? "packed" : "raw   ", v.size,
	       v.stored_bytes, when);
	return 0;
}

static uint64_t errors_so_far(struct fs_door *d)
{
	struct dvfs_stats st;

	dvfs_stats(d->lib, &st);
	return st.errors;
}

/* One that can not be told of keeps nothing from those behind it. Of damaged bytes the library has
 * told, and gives the size that its file has. */
static void print_key(struct fs_door *d, struct listing *l, const char *key)
{
	uint64_t errors = l->details ? errors_so_far(d) : 0;
	dv_err err = l->details ? print_details(d, key) : 0;

	if (err == -ENOENT)
		return;
	if (l->details && errors_so_far(d) != errors)
		l->status = 2;
	if (err) {
		fs_door_fail(d, key, err);
		l->status = 2;
		return;
	}
	fputs(key, stdout);
	putchar(l->zero ? '\0' : '\n');
}

/* -> exit status; FS_PIPE_CLOSED */
static int print_keys(struct fs_door *d, struct listing *l)
{
	struct dvfs_iter *it = NULL;
	const char *key;
	int64_t flushed = 0;
	bool failed = false;
	dv_err got = dvfs_iter_open(d->lib, &l->range, &it);

	while (!got && !failed && (got = dvfs_iter_next(it, &key)) == 1) {
		print_key(d, l, key);
		got = 0;
		if (now_ns() - flushed > FLUSH_NS) {
			failed = fflush(stdout) != 0;
			flushed = now_ns();
		}
		failed |= ferror(stdout) != 0;
	}
	dvfs_iter_close(&it);
	failed |= fflush(stdout) != 0;
	if (failed)
		return errno == EPIPE ? FS_PIPE_CLOSED
				      : fs_cmd_fail(2, "standard output: %s", strerror(errno));
	return got < 0 ? fs_cmd_fail(2, "%s: %s", d->given, strerror(-got)) : l->status;
}

int fs_cmd_keys(int argc, char **argv)
{
	struct listing l = {0};
	bool sorted = false, unsorted = false;
	const struct fs_arg args[] = {
		{"prefix", 0, FS_ARG_TEXT, &l.range.prefix, "P", "keys that begin with P"},
		{"after", 0, FS_ARG_TEXT, &l.range.after, "K", "keys that come after K"},
		{"limit", 0, FS_ARG_COUNT, &l.range.limit, "N", "so many at most"},
		{"sorted", 0, FS_ARG_SET, &sorted, NULL, "in order, with hash too"},
		{"unsorted", 'U', FS_ARG_SET, &unsorted, NULL,
		 "as they are found: the first at once, in a large directory too"},
		{"null", '0', FS_ARG_SET, &l.zero, NULL, "end each with NUL, not with a newline"},
		{"long", 'l', FS_ARG_SET, &l.details, NULL,
		 "form, bytes, bytes on the disk, time of change before each"},
	};
	const struct fs_args a = {"keys STORE|MOUNTPOINT [--prefix P] [--after K] [--limit N] [-0] "
				  "[-l]",
				  about,
				  args,
				  DV_ARRAY_LEN(args),
				  1,
				  1};
	DV_AUTO_FREE struct fs_door *d = calloc(1, sizeof(*d));
	char **operands;
	int status;

	if (fs_args_parse(&a, argc, argv, &operands, &status) < 0)
		return status;
	l.range.sorted = sorted;
	l.range.unsorted = unsorted;
	if (unsorted && (sorted || l.range.after))
		return fs_cmd_fail(2, "keys: --unsorted goes with neither --sorted nor --after");
	signal(SIGPIPE, SIG_IGN);
	status = fs_door_open(d, operands[0]);
	if (!status)
		status = fs_door_library(d, false);
	if (status < 0)
		status = fs_cmd_fail(2, "%s: the store's folder can not be read by this user",
				     d->store);
	else if (!status)
		status = print_keys(d, &l);
	return fs_cmd_end(fs_door_close(d, status));
}
