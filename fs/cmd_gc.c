/* SPDX-License-Identifier: MIT */
/* cmd_gc.c - diskvfs gc: erases what was used longest ago from a store that is a cache. See gc.h. */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "fs/args.h"
#include "fs/client.h"
#include "fs/door.h"
#include "fs/gc.h"
#include "fs/progress.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void tell_key(void *ctx, const char *key, uint64_t bytes)
{
	char text[1024];

	(void)ctx;
	printf("%12" PRIu64 " %s\n", bytes, dv_log_key(text, sizeof(text), key));
}

static void tell(const struct fs_gc *gc, bool json)
{
	char a[32], b[32];

	if (json)
		printf("{\"values\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"erased\": %" PRIu64
		       ", \"erased_bytes\": %" PRIu64 ", \"in_use\": %" PRIu64 "}\n",
		       gc->values, gc->bytes, gc->erased, gc->erased_bytes, gc->in_use);
	else if (!fs_args_quiet())
		printf("%s %" PRIu64 " of %" PRIu64 " values, %s of %s; %" PRIu64 " are in use\n",
		       gc->dry ? "would erase" : "erased", gc->erased, gc->values,
		       fs_size_text(gc->erased_bytes, a), fs_size_text(gc->bytes, b), gc->in_use);
}

static int run(struct fs_door *d, struct fs_gc *gc, bool json)
{
	int status;
	dv_err err;

	if (d->mount[0]) /* else what was just written would be taken for old; it is kept anyway */
		dv_ignore(fs_client_command(d->mount, "commit\n", NULL));
	d->looks = true; /* or what it reads of a value's table would count as use of it */
	status = fs_door_library(d, !d->mount[0] && !gc->dry);
	if (status < 0)
		return fs_cmd_fail(2, "%s: the store's folder can not be read by this user",
				   d->store);
	if (status)
		return status;
	err = fs_gc_run(d, gc);
	if (err < 0)
		fs_cmd_fail(2, "%s: %s", d->given, strerror(-err));
	tell(gc, json);
	return err < 0 ? 2 : 0;
}

int fs_cmd_gc(int argc, char **argv)
{
	struct fs_gc gc = {0};
	bool json = false, list = false;
	const struct fs_arg args[] = {
		{"max-size", 0, FS_ARG_BYTES, &gc.max_bytes, "N",
		 "so much of the disk may the values take"},
		{"max-age", 0, FS_ARG_AGE, &gc.max_age_s, "AGE",
		 "values not read or written for so long go"},
		{"dry-run", 'n', FS_ARG_SET, &gc.dry, NULL, "erase nothing, tell what would go"},
		{"list", 'l', FS_ARG_SET, &list, NULL, "print each value that goes"},
		{"json", 0, FS_ARG_SET, &json, NULL, "tell the counts as one object"},
	};
	const struct fs_args a = {
		"gc STORE|MOUNTPOINT [--max-size N] [--max-age AGE]",
		"Erases what was not used for AGE, and what was used longest ago until the rest "
		"takes N "
		"bytes.\nWhat is open in the mount, or written just now, stays.\n",
		args,
		DV_ARRAY_LEN(args),
		1,
		1};
	DV_AUTO_FREE struct fs_door *d = calloc(1, sizeof(*d));
	char **operands;
	int status;

	if (fs_args_parse(&a, argc, argv, &operands, &status) < 0)
		return status;
	if (!gc.max_bytes && !gc.max_age_s)
		return fs_cmd_fail(2, "gc: say --max-size N or --max-age AGE, of more than 0");
	gc.tell = list ? tell_key : NULL;
	status = fs_door_open(d, operands[0]);
	if (!status)
		status = run(d, &gc, json);
	return fs_door_close(d, status);
}
