/* SPDX-License-Identifier: MIT */
/* session_args.c - see session_args.h. */
#include "fs/session_args.h"

#include "fs/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool asks(const struct fs_options *o, bool want_other)
{
	return o->allow_other || (want_other && !o->noallow_other && !o->allow_root);
}

/* The words for libfuse. *out is the caller's. */
static dv_err session_words(const struct fs_options *o, char **out)
{
	bool root = geteuid() == 0;
	char number[32];
	int bad = 0;

	bad |= fuse_opt_add_opt(out, "default_permissions");
	bad |= fuse_opt_add_opt(out, "subtype=diskvfs");
	if (asks(o, root))
		bad |= fuse_opt_add_opt(out, "allow_other");
	if (o->allow_root)
		bad |= fuse_opt_add_opt(out, "allow_root");
	if (o->read_only)
		bad |= fuse_opt_add_opt(out, "ro");
	if (o->noatime)
		bad |= fuse_opt_add_opt(out, "noatime");
	bad |= fuse_opt_add_opt(out, root && o->suid ? "suid" : "nosuid");
	bad |= fuse_opt_add_opt(out, root && o->dev ? "dev" : "nodev");
	if (o->max_read_bytes) {
		snprintf(number, sizeof(number), "max_read=%u", o->max_read_bytes);
		bad |= fuse_opt_add_opt(out, number);
	}
	if (o->passed) /* escaped already */
		bad |= fuse_opt_add_opt(out, o->passed);
	return bad ? -ENOMEM : 0;
}

dv_err fs_session_args(const struct fs_options *o, struct fuse_args *args)
{
	char *words = NULL, *fsname = NULL;
	dv_err err = session_words(o, &words);
	int bad = 0;

	if (err == 0) {
		if (asprintf(&fsname, "fsname=%s", o->fsname) < 0)
			fsname = NULL;
		bad |= !fsname || fuse_opt_add_opt_escaped(&words, fsname);
		bad |= fuse_opt_add_arg(args, "diskvfs");
		bad |= fuse_opt_add_arg(args, "-o");
		bad |= !bad && fuse_opt_add_arg(args, words);
		if (o->debug)
			bad |= fuse_opt_add_arg(args, "-d");
		err = bad ? -ENOMEM : 0;
	}
	free(words);
	free(fsname);
	return err;
}
