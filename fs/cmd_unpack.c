/* SPDX-License-Identifier: MIT */
/*
 * cmd_unpack.c - diskvfs unpack STORE|MOUNTPOINT [KEY...]: packed values become plain files.
 *
 * In a store that is mounted its daemon does it.
 */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "core/store.h"
#include "fs/args.h"
#include "fs/client.h"
#include "fs/control.h"

#include <inttypes.h>
#include <string.h>

#define KEYS_MAX 4096

static const char usage[] =
	"usage: diskvfs unpack STORE|MOUNTPOINT [KEY]... [-q] [--transform FILE.so[:ARGS]]\n"
	"Makes packed values raw, all or those of the keys and below; returns when that is "
	"durable.\n"
	"They stay so until they change or `diskvfs pack` is run. With all unpacked, and .diskvfs\n"
	"removed, the store is a folder of plain files. --transform names the shared object that "
	"the\n"
	"store's transform is.\n";

static void print_result(const struct dv_pack_result *r)
{
	printf("unpacked %" PRIu64 " values, %" PRIu64 " bytes", r->packed, r->plain_bytes);
	if (r->left_raw)
		printf(", %" PRIu64 " stay packed (several links, or not ours)", r->left_raw);
	if (r->busy)
		printf(", %" PRIu64 " gone meanwhile", r->busy);
	if (r->failed)
		printf(", %" PRIu64 " failed", r->failed);
	putchar('\n');
}

static void add(struct dv_pack_result *sum, const struct dv_pack_result *r)
{
	sum->seen += r->seen;
	sum->packed += r->packed;
	sum->left_raw += r->left_raw;
	sum->busy += r->busy;
	sum->failed += r->failed;
	sum->plain_bytes += r->plain_bytes;
}

/* One key, NULL all; of the store, or of its mount where store is NULL. */
static dv_err unpack_key(struct dv_store *store, const char *mount, const char *key,
			 struct dv_pack_result *result)
{
	DV_AUTO_FREE char *command = NULL;
	if (store)
		return dv_store_unpack(store, key, result);
	if (asprintf(&command, "unpack%s%s\n", key ? " " : "", key ? key : "") < 0) {
		command = NULL;
		return -ENOMEM;
	}
	return fs_client_command(mount, command, result);
}

static const char *meaning(dv_err err)
{
	switch (err) {
	case -EMEDIUMTYPE:
		return "the store's layout keeps every value compressed; nothing is unpacked";
	case -ENOENT:
		return "no such key, and none below it";
	}
	return strerror(-err);
}

/* -> exit status */
static int unpack_keys(struct dv_store *store, const char *mount, const char **keys, int count)
{
	struct dv_pack_result sum, result;
	bool sealed = false;
	int status = 0;

	memset(&sum, 0, sizeof(sum));
	for (int i = 0; i < (count ? count : 1); i++) {
		const char *key = count ? keys[i] + strspn(keys[i], "/") : NULL;

		/* Of a script's variable that is not set: not all of the store. */
		if (count && !*keys[i]) {
			status = fs_cmd_fail(2, "'': is no key; name one, or none to unpack all");
			continue;
		}
		memset(&result, 0, sizeof(result));
		dv_err err = unpack_key(store, mount, key && *key ? key : NULL, &result);
		add(&sum, &result);
		sealed |= err == -EMEDIUMTYPE;
		if (err < 0)
			status = fs_cmd_fail(2, "%s: %s", key ? key : mount, meaning(err));
	}
	if (!sealed && !fs_args_quiet())
		print_result(&sum);
	return sum.failed ? 2 : status;
}

static int unpack_store(const char *path, const char **keys, int count)
{
	struct dv_store *store = NULL;
	char why[512] = "";

	dv_err err = fs_cmd_open_store(path, &store, why, sizeof(why));
	if (err < 0)
		return fs_cmd_fail(2, "%s: %s", path, why[0] ? why : strerror(-err));
	int status = unpack_keys(store, path, keys, count);
	err = dv_store_close(&store, NULL);
	return err < 0 ? fs_cmd_fail(2, "%s: %s", path, strerror(-err)) : status;
}

int fs_cmd_unpack(int argc, char **argv)
{
	char path[PATH_MAX], mount[PATH_MAX];
	DV_AUTO_FREE const char **operands = calloc(KEYS_MAX + 1, sizeof(*operands));
	int status;

	if (!operands)
		return fs_cmd_fail(2, "%s", strerror(ENOMEM));
	int count = fs_cmd_operands(argc, argv, usage, 1, KEYS_MAX + 1, operands, &status);
	if (count < 0)
		return status;
	status = fs_cmd_target(operands[0], path, mount);
	if (status)
		return status;
	if (mount[0])
		return unpack_keys(NULL, mount, operands + 1, count - 1);
	return unpack_store(path, operands + 1, count - 1);
}
