/* SPDX-License-Identifier: MIT */
/*
 * cmd_path.c - diskvfs path STORE KEY: where a value lies. Writes nothing.
 */
#include "fs/cmd.h"

#include "core/store.h"
#include "fs/args.h"
#include "fs/plugin.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

int fs_cmd_path(int argc, char **argv)
{
	static const char usage[] =
		"usage: diskvfs path STORE KEY [-q] [--transform FILE.so[:ARGS]]\n"
		"Prints the file that holds the value of KEY, or would hold "
		"it; in that case the exit\n"
		"status is 1. --transform names the shared object that the store's transform is.\n";
	struct dv_store_options so;
	struct dv_store *store = NULL;
	char file[PATH_MAX], why[512] = "";
	const char *operands[2], *key;
	bool exists = false;
	int status;
	dv_err err;

	if (fs_cmd_operands(argc, argv, usage, 2, 2, operands, &status) < 0)
		return status;
	key = operands[1] + strspn(operands[1], "/");
	memset(&so, 0, sizeof(so));
	so.read_only = true;
	so.plugin = fs_plugin_named();
	err = dv_store_open(dv_backing_posix(), operands[0], &so, &store, why, sizeof(why));
	if (err < 0)
		return fs_cmd_fail(2, "%s", why[0] ? why : strerror(-err));
	err = fs_cmd_check_key(key);
	if (!err)
		err = dv_store_path(store, key, file, sizeof(file), &exists);
	dv_ignore(dv_store_close(&store, NULL)); /* opened read-only: nothing to finish */
	if (err == -EINVAL)
		return fs_cmd_no_key(2, key);
	if (err < 0)
		return fs_cmd_fail(2, "%s: %s", key, strerror(-err));
	if (!fs_args_quiet())
		printf("%s/%s\n", operands[0], file);
	return exists ? 0 : 1;
}
