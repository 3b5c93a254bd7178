/* SPDX-License-Identifier: MIT */
/*
 * cmd_init.c - diskvfs init STORE: makes a folder a store.
 */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "core/config.h"
#include "core/store.h"
#include "fs/options.h"
#include "fs/plugin.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const char usage[] = "usage: diskvfs init STORE [--adopt [--decode-zst|--keep-zst]] "
			    "[--transform SPEC] [--compress C]\n"
			    "                    [--frame-size N] [--nopack GLOBS] [--layout "
			    "diskv[:gzip|:zlib] [--dict FILE]]\n"
			    "Makes STORE a store; the folder is made where it is missing.\n";

/* All of a dictionary, on the heap; a byte more than there may be shows that it is too long. */
static dv_err read_dict(const char *path, void **out, size_t *out_len)
{
	DV_AUTO_FREE char *bytes = malloc(DV_DICT_MAX + 1);
	size_t len = 0;
	ssize_t n = 1;
	int fd;

	if (!bytes)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (n > 0 && len < DV_DICT_MAX + 1) {
		n = read(fd, bytes + len, DV_DICT_MAX + 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (n < 0) {
		dv_err err = -errno;

		close(fd);
		return err;
	}
	close(fd);
	*out = dv_take_ptr(&bytes);
	*out_len = len;
	return 0;
}

static int init(const char *path, const struct fs_options *o)
{
	DV_AUTO_FREE void *dict = NULL;
	struct fs_plugin plugin;
	struct dv_init_options io;
	char why[512] = "";
	dv_err err;

	memset(&io, 0, sizeof(io));
	err = fs_plugin_load(o->transform, &plugin, why, sizeof(why));
	if (err < 0)
		return fs_cmd_fail(2, "%s", why[0] ? why : strerror(-err));
	io.transform = o->transform;
	io.plugin = plugin.handle ? &plugin.plugin : NULL;
	io.compress = o->compress;
	io.frame_size = (uint32_t)o->frame_bytes;
	io.nopack = o->nopack;
	io.layout = o->layout;
	if (o->dict) {
		err = read_dict(o->dict, &dict, &io.dict_len);
		if (err < 0) {
			fs_plugin_release(&plugin);
			return fs_cmd_fail(2, "dictionary %s: %s", o->dict, strerror(-err));
		}
		io.dict = dict;
	}
	io.adopt = o->adopt;
	io.decode_zst = o->decode_zst;
	io.keep_zst = o->keep_zst;
	dv_backing_posix_prepare();
	err = dv_store_init(dv_backing_posix(), path, &io, why, sizeof(why));
	fs_plugin_release(&plugin);
	if (err < 0)
		return fs_cmd_fail(2, "%s", why[0] ? why : strerror(-err));
	return 0;
}

int fs_cmd_init(int argc, char **argv)
{
	struct fs_options o;
	const char *path = NULL;
	char why[512] = "";
	bool help;
	int n, status;

	fs_options_init(&o);
	n = fs_options_parse_args(&o, FS_FOR_INIT, argc, argv, &path, 1, &help, why, sizeof(why));
	if (n >= 0 && help) {
		fputs(usage, stdout);
		fs_options_print_help(stdout, FS_FOR_INIT);
		status = 0;
	} else if (n < 0 || fs_options_check(&o, why, sizeof(why)) < 0) {
		status = fs_cmd_fail(1, "%s", why);
	} else if (n == 0) {
		fputs(usage, stderr);
		status = 1;
	} else {
		status = init(path, &o);
	}
	fs_options_release(&o);
	return status;
}
