/* SPDX-License-Identifier: MIT */
/* cmd_reshard.c - diskvfs reshard STORE --transform NEW: gives a store another transform. */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "core/store.h"
#include "fs/args.h"
#include "fs/plugin.h"

#include <inttypes.h>
#include <string.h>

/* What of the two is a shared object is loaded. */
static int load(const char *text, struct fs_plugin *p)
{
	char why[1024] = "";
	dv_err err = fs_plugin_load(text, p, why, sizeof(why));

	return err < 0 ? fs_cmd_fail(2, "%s", why[0] ? why : strerror(-err)) : 0;
}

static int reshard(const char *operand, const char *transform, const struct fs_plugin *from,
		   const struct fs_plugin *to)
{
	const struct dv_store_options o = {.plugin = from->handle ? &from->plugin : NULL};
	const struct dv_reshard_request request = {
		.transform = transform, .plugin = to->handle ? &to->plugin : NULL, .options = &o};
	char path[PATH_MAX], mount[PATH_MAX], why[1024] = "";
	uint64_t count = 0;
	int status = fs_cmd_target(operand, path, mount);

	if (status)
		return status;
	if (mount[0])
		return fs_cmd_fail(2, "%s: is mounted on %s; unmount it first", operand, mount);
	dv_backing_posix_prepare();
	dv_err err = dv_store_reshard(dv_backing_posix(), path, &request, &count, why, sizeof(why));
	if (err < 0)
		return why[0] ? fs_cmd_fail(2, "%s", why)
			      : fs_cmd_fail(2, "%s: %s", operand, strerror(-err));
	if (!fs_args_quiet())
		printf("%" PRIu64 " values lie by %s now\n", count, transform);
	return 0;
}

int fs_cmd_reshard(int argc, char **argv)
{
	const char *transform = NULL, *from = NULL;
	const struct fs_arg args[] = {
		{"transform", 0, FS_ARG_TEXT, &transform, "SPEC",
		 "path, flat, path:SUFFIX, split:W, split:WxD, hash:ALG:WxD, FILE.so[:ARGS]"},
		{"from", 0, FS_ARG_TEXT, &from, "FILE.so[:ARGS]",
		 "the shared object that the store's transform is so far"},
	};
	DV_AUTO_FREE struct fs_plugin *plugins = calloc(2, sizeof(*plugins));
	const struct fs_args a = {
		"reshard STORE --transform SPEC [--from FILE.so[:ARGS]]",
		"Gives STORE, which is not mounted, another transform, by renaming its files. What "
		"was\ninterrupted is gone on with by the same command.\n",
		args,
		DV_ARRAY_LEN(args),
		1,
		1};
	char **operands;
	int status;

	if (fs_args_parse(&a, argc, argv, &operands, &status) < 0)
		return status ? 1 : 0;
	if (!transform)
		return fs_cmd_fail(1, "reshard needs --transform SPEC");
	if (!plugins)
		return fs_cmd_fail(2, "%s", strerror(ENOMEM));
	if (from && !dv_plugin_file_end(from))
		return fs_cmd_fail(1, "--from %s: names no shared object, FILE.so[:ARGS]", from);
	status = load(from, &plugins[0]);
	if (!status)
		status = load(transform, &plugins[1]);
	if (!status)
		status = reshard(*operands, transform, &plugins[0], &plugins[1]);
	fs_plugin_release(&plugins[0]);
	fs_plugin_release(&plugins[1]);
	return status;
}
