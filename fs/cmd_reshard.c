/* SPDX-License-Identifier: MIT */
/* cmd_reshard.c - diskvfs reshard STORE --transform NEW: gives a store another transform. */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "core/store.h"
#include "fs/args.h"

#include <inttypes.h>
#include <string.h>

static int reshard(const char *operand, const char *transform)
{
	char path[PATH_MAX], mount[PATH_MAX], why[1024] = "";
	uint64_t count = 0;
	int status = fs_cmd_target(operand, path, mount);

	if (status)
		return status;
	if (mount[0])
		return fs_cmd_fail(2, "%s: is mounted on %s; unmount it first", operand, mount);
	dv_backing_posix_prepare();
	dv_err err = dv_store_reshard(dv_backing_posix(), path, transform, NULL, &count, why,
				      sizeof(why));
	if (err < 0)
		return fs_cmd_fail(2, "%s", why[0] ? why : strerror(-err));
	printf("%" PRIu64 " values lie by %s now\n", count, transform);
	return 0;
}

int fs_cmd_reshard(int argc, char **argv)
{
	const char *transform = NULL;
	const struct fs_arg args[] = {
		{"transform", 0, FS_ARG_TEXT, &transform, "SPEC",
		 "path, flat, path:SUFFIX, split:W, split:WxD, hash:ALG:WxD"},
	};
	const struct fs_args a = {
		"reshard STORE --transform SPEC",
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
	return reshard(*operands, transform);
}
