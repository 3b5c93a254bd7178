/* SPDX-License-Identifier: MIT */
/*
 * cmd_pack.c - diskvfs pack STORE|MOUNTPOINT: packs now what is eligible, or, with a level, packed
 * values too.
 *
 * A store that is mounted is packed by its daemon, which knows what is being written.
 */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "core/globs.h"
#include "fs/args.h"
#include "fs/client.h"
#include "fs/pack_request.h"

#include <inttypes.h>
#include <string.h>

static void print_result(const struct dv_pack_result *r)
{
	printf("packed %" PRIu64 " of %" PRIu64 " values, %" PRIu64 " to %" PRIu64 " bytes",
	       r->packed, r->seen, r->plain_bytes, r->stored_bytes);
	if (r->anew)
		printf(", %" PRIu64 " of them anew", r->anew);
	if (r->left_raw)
		printf(", %" PRIu64 " left raw", r->left_raw);
	if (r->busy)
		printf(", %" PRIu64 " in use", r->busy);
	if (r->failed)
		printf(", %" PRIu64 " failed", r->failed);
	if (r->anew && r->bytes_before >= r->stored_bytes)
		printf("; saved %" PRIu64 " bytes", r->bytes_before - r->stored_bytes);
	else if (r->anew)
		printf("; took %" PRIu64 " bytes more", r->stored_bytes - r->bytes_before);
	putchar('\n');
}

static dv_err pack_store(const char *path, const struct dv_pack_request *request,
			 struct dv_pack_result *result, char *why, size_t why_size)
{
	struct dv_store *store = NULL;
	dv_err err, closed;

	err = fs_cmd_open_store(path, &store, why, why_size);
	if (err < 0)
		return err;
	err = dv_store_pack(store, request, result);
	closed = dv_store_close(&store, NULL);
	return err < 0 ? err : closed;
}

static dv_err pack_mount(const char *mount, const struct dv_pack_request *request,
			 struct dv_pack_result *result)
{
	char command[4096 + 64];
	dv_err err = fs_pack_request_write(request, command, sizeof(command) - 1);

	if (err)
		return err;
	strcat(command, "\n");
	return fs_client_command(mount, command, result);
}

static int pack(const char *operand, const struct dv_pack_request *request)
{
	char path[PATH_MAX], mount[PATH_MAX], why[512] = "";
	struct dv_pack_result result;
	int status;
	dv_err err;

	memset(&result, 0, sizeof(result));
	status = fs_cmd_target(operand, path, mount);
	if (status)
		return status;
	if (mount[0])
		err = pack_mount(mount, request, &result);
	else
		err = pack_store(path, request, &result, why, sizeof(why));
	if (err == -EMEDIUMTYPE)
		return fs_cmd_fail(2, "%s: in a layout of diskv nothing is packed with a level",
				   operand);
	if (err < 0)
		return fs_cmd_fail(2, "%s: %s", operand, why[0] ? why : strerror(-err));
	if (!fs_args_quiet())
		print_result(&result);
	return result.failed ? 2 : 0;
}

int fs_cmd_pack(int argc, char **argv)
{
	struct dv_pack_request request;
	const char *level = NULL;
	char why[256];
	const struct fs_arg args[] = {
		{"level", 0, FS_ARG_TEXT, &level, "N",
		 "packed values too, with zstd's level N, -7 to 19"},
		{"older-than", 0, FS_ARG_AGE, &request.older_s, "AGE",
		 "only what was not written since (90s, 15m, 12h, 30d, 4w)"},
		{"match", 0, FS_ARG_TEXT, &request.match, "GLOB",
		 "only keys that match, as with nopack"},
	};
	const struct fs_args a = {
		"pack STORE|MOUNTPOINT [--level N] [--older-than AGE] [--match GLOB]",
		"Packs what is eligible; returns when that is durable. With a level, zstd files of "
		"other\nmakers become frames of 128 KiB too; what was interrupted is gone on with "
		"by "
		"the same command.\n",
		args,
		DV_ARRAY_LEN(args),
		1,
		1};
	char **operands;
	int status;

	memset(&request, 0, sizeof(request));
	if (fs_args_parse(&a, argc, argv, &operands, &status) < 0)
		return status ? 1 : 0;
	request.leveled = level;
	if (level && fs_pack_level_parse(level, &request.level) < 0)
		return fs_cmd_fail(1, "--level %s: it is -7 to 19", level);
	if (request.match && !*request.match)
		return fs_cmd_fail(1, "--match: the pattern is empty; it matches no key");
	if (request.match && dv_globs_check(request.match, why, sizeof(why)) < 0)
		return fs_cmd_fail(1, "--match: %s", why);
	return pack(*operands, &request);
}
