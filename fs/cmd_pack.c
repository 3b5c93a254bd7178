/* SPDX-License-Identifier: MIT */
/*
 * cmd_pack.c - diskvfs pack STORE|MOUNTPOINT: packs now what is eligible.
 *
 * A store that is mounted is packed by its daemon, which knows what is being written.
 */
#include "fs/cmd.h"

#include "core/store.h"
#include "fs/client.h"

#include <inttypes.h>
#include <string.h>

static void print_result(const struct dv_pack_result *r)
{
	printf("packed %" PRIu64 " of %" PRIu64 " values, %" PRIu64 " to %" PRIu64 " bytes",
	       r->packed, r->seen, r->plain_bytes, r->stored_bytes);
	if (r->left_raw)
		printf(", %" PRIu64 " left raw", r->left_raw);
	if (r->busy)
		printf(", %" PRIu64 " in use", r->busy);
	if (r->failed)
		printf(", %" PRIu64 " failed", r->failed);
	putchar('\n');
}

static dv_err pack_store(const char *path, struct dv_pack_result *result, char *why,
			 size_t why_size)
{
	struct dv_store *store = NULL;
	dv_err err, closed;

	err = fs_cmd_open_store(path, &store, why, why_size);
	if (err < 0)
		return err;
	err = dv_store_pack_all(store, result);
	closed = dv_store_close(&store, NULL);
	return err < 0 ? err : closed;
}

int fs_cmd_pack(int argc, char **argv)
{
	static const char usage[] = "usage: diskvfs pack STORE|MOUNTPOINT\n"
				    "Packs what is eligible; returns when that is durable.\n";
	char path[PATH_MAX], mount[PATH_MAX], why[512] = "";
	struct dv_pack_result result;
	const char *operand;
	int status;
	dv_err err;

	if (fs_cmd_operands(argc, argv, usage, 1, 1, &operand, &status) < 0)
		return status;
	memset(&result, 0, sizeof(result));
	status = fs_cmd_target(operand, path, mount);
	if (status)
		return status;
	if (mount[0])
		err = fs_client_command(mount, "pack\n", &result);
	else
		err = pack_store(path, &result, why, sizeof(why));
	if (err < 0)
		return fs_cmd_fail(2, "%s: %s", operand, why[0] ? why : strerror(-err));
	print_result(&result);
	return result.failed ? 2 : 0;
}
