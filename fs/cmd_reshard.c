/* SPDX-License-Identifier: MIT */
/* cmd_reshard.c - diskvfs reshard STORE --transform NEW: gives a store another transform. */
#include "fs/cmd.h"

#include "core/store.h"

#include <getopt.h>
#include <inttypes.h>
#include <string.h>

static const char usage[] =
	"usage: diskvfs reshard STORE --transform SPEC\n"
	"Gives STORE, which is not mounted, another transform, by renaming its files. What was\n"
	"interrupted is gone on with: run the same again.\n"
	"  --transform SPEC               path, flat, split:W, split:WxD, hash:ALG:WxD\n";

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
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{"transform", required_argument, NULL, 't'},
		{NULL, 0, NULL, 0},
	};
	const char *transform = NULL;
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (c != 't')
			return fs_cmd_fail(1, "%s option %s",
					   c == ':' ? "a value is missing behind" : "unknown",
					   argv[optind - 1]);
		transform = optarg;
	}
	if (argc - optind != 1 || !transform) {
		fputs(usage, stderr);
		return 1;
	}
	return reshard(argv[optind], transform);
}
