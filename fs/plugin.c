/* SPDX-License-Identifier: MIT */
/* plugin.c - see plugin.h. The only file that calls dlopen. */
#include "fs/plugin.h"

#include "core/cleanup.h"
#include "core/digest.h"
#include "core/plugin.h"
#include "fs/cmd.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX (64u << 20)

static dv_err say(char *why, size_t size, dv_err err, const char *file, const char *text)
{
	snprintf(why, size, "transform %s: %s", file, text);
	return err;
}

static dv_err digest_of(const char *path, char out[DV_DIGEST_TEXT])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	dv_err err = size < 0 ? -errno : size > FILE_MAX ? -EFBIG : 0;
	size_t want = size < 0 || size > FILE_MAX ? 0 : (size_t)size, len = 0;
	DV_AUTO_FREE char *bytes = malloc(want + 1);
	ssize_t n = 1;

	if (!bytes)
		err = -ENOMEM;
	while (!err && n > 0 && len < want) {
		n = pread(fd, bytes + len, want - len, (off_t)len);
		err = n < 0 ? -errno : 0;
		len += n > 0 ? (size_t)n : 0;
	}
	if (fd >= 0)
		close(fd);
	return err ? err : dv_digest(bytes, len, out);
}

/* What it defines is as long as its version says. */
static dv_err take_ops(const struct diskvfs_transform *t, const char *file,
		       struct diskvfs_transform *out, char *why, size_t why_size)
{
	char text[256] = "";

	if (!t)
		return say(why, why_size, -EINVAL, file, "it does not define diskvfs_transform");
	if (t->abi < 1 || t->abi > DISKVFS_PLUGIN_ABI) {
		snprintf(text, sizeof(text), "it is of version %u of core/plugin.h, not 1 to %d",
			 t->abi, DISKVFS_PLUGIN_ABI);
		return say(why, why_size, -EINVAL, file, text);
	}
	memset(out, 0, sizeof(*out));
	memcpy(out, t, t->abi == 1 ? offsetof(struct diskvfs_transform, compare) : sizeof(*out));
	return 0;
}

static dv_err check(const struct diskvfs_transform *t, const char *file, const char *args,
		    void **self, char *why, size_t why_size)
{
	char text[256] = "";

	if (!t->transform || !t->inverse)
		return say(why, why_size, -EINVAL, file, "transform or inverse is missing");
	if (!t->open && *args)
		return say(why, why_size, -EINVAL, file, "it takes no arguments");
	if (t->open && t->open(args, self, text, sizeof(text)) != 0) {
		text[sizeof(text) - 1] = '\0';
		return say(why, why_size, -EINVAL, file,
			   text[0] ? text : "it refuses its arguments");
	}
	return 0;
}

dv_err fs_plugin_load(const char *transform, struct fs_plugin *out, char *why, size_t why_size)
{
	const char *end = dv_plugin_file_end(transform), *args;
	char digest[DV_DIGEST_TEXT], path[PATH_MAX];
	DV_AUTO_FREE char *file = end ? strndup(transform, (size_t)(end - transform)) : NULL;
	dv_err err;

	memset(out, 0, sizeof(*out));
	if (!end)
		return 0;
	if (!file)
		return -ENOMEM;
	args = *end == ':' ? end + 1 : "";
	/* A path, so that no folder of libraries is searched for it. */
	if (!realpath(file, path))
		return say(why, why_size, -errno, file, strerror(errno));
	err = digest_of(path, digest);
	if (err)
		return say(why, why_size, err, file, strerror(-err));
	const char *name = strrchr(path, '/') + 1;
	if (strchr(name, ':') || snprintf(out->spec, sizeof(out->spec), "plugin:%s:%s%s%s", name,
					  digest, *args ? ":" : "", args) >= (int)sizeof(out->spec))
		return say(why, why_size, -EINVAL, file,
			   "its name and arguments are too long, or there is a colon in the name");
	out->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!out->handle)
		return say(why, why_size, -EINVAL, file, dlerror());
	out->plugin.ops = &out->ops;
	out->plugin.spec = out->spec;
	snprintf(out->named, sizeof(out->named), "%s%s%s", path, *args ? ":" : "", args);
	err = take_ops(dlsym(out->handle, "diskvfs_transform"), file, &out->ops, why, why_size);
	if (!err)
		err = check(&out->ops, file, args, &out->plugin.self, why, why_size);
	if (err) {
		dlclose(out->handle);
		out->handle = NULL;
	}
	return err;
}

void fs_plugin_release(struct fs_plugin *p)
{
	if (p->handle && p->plugin.ops->close)
		p->plugin.ops->close(p->plugin.self);
	memset(p, 0, sizeof(*p));
}

/* ---- of a command ---- */

static struct fs_plugin named; /* until the process ends */

const struct dv_plugin *fs_plugin_named(void)
{
	return named.handle ? &named.plugin : NULL;
}

static int load_named(const char *text, int usage_status)
{
	char why[1024] = "";

	if (named.handle)
		return fs_cmd_fail(usage_status, "--transform is given twice");
	if (!dv_plugin_file_end(text))
		return fs_cmd_fail(
			usage_status,
			"--transform %s: names no shared object, FILE.so[:ARGS]; a store "
			"of another transform needs no such option",
			text);
	dv_err err = fs_plugin_load(text, &named, why, sizeof(why));
	return err < 0 ? fs_cmd_fail(2, "%s", why[0] ? why : strerror(-err)) : 0;
}

int fs_plugin_take(int argc, char **argv, int usage_status, int *status)
{
	static const char option[] = "--transform";
	const size_t len = sizeof(option) - 1;
	int kept = 0;

	*status = 0;
	for (int i = 0; i < argc; i++) {
		const char *text = NULL;

		if (strcmp(argv[i], "--") == 0) {
			while (i < argc)
				argv[kept++] = argv[i++];
			break;
		}
		if (strncmp(argv[i], option, len) == 0 && argv[i][len] == '=')
			text = argv[i] + len + 1;
		else if (strcmp(argv[i], option) == 0 && !(text = i + 1 < argc ? argv[++i] : NULL))
			*status = fs_cmd_fail(usage_status, "option --transform needs a value");
		if (text)
			*status = load_named(text, usage_status);
		else if (!*status)
			argv[kept++] = argv[i];
		if (*status)
			return -1;
	}
	argv[kept] = NULL;
	return kept;
}
