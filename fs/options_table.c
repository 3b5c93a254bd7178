/* SPDX-License-Identifier: MIT */
/*
 * options_table.c - the table of options.
 *
 * Words that mount(8) and fstab know but that say nothing to a FUSE filesystem (the kernel never
 * updates atimes of one, so relatime and its kin have no effect) are accepted and dropped.
 */
#include "fs/options_private.h"

#include "core/cleanup.h"
#include "core/config.h"

#include <string.h>

#define AT(field) offsetof(struct fs_options, field)
#define IGNORED(word)                                                                              \
	{                                                                                          \
		word, FS_OPT_IGNORE, NULL, 0, 0, NULL, 0, FS_FOR_MOUNT, NULL                       \
	}
#define PASSED(word)                                                                               \
	{                                                                                          \
		word, FS_OPT_PASS, NULL, 0, 0, NULL, 0, FS_FOR_MOUNT, NULL                         \
	}

const struct fs_option fs_option_table[] = {
	{"compress", FS_OPT_STRING, "zstd[:LEVEL]|none", 0, 0, "zstd:3", AT(compress), FS_FOR_BOTH,
	 "how values at rest are compressed"},
	{"frame_size", FS_OPT_BYTES, "BYTES", DV_FRAME_SIZE_MIN, DV_FRAME_SIZE_MAX, "128K",
	 AT(frame_bytes), FS_FOR_BOTH,
	 "plain bytes of one frame of a packed value, a power of two"},
	{"nopack", FS_OPT_LIST, "GLOB[:GLOB...]", 0, 0, NULL, AT(nopack), FS_FOR_BOTH,
	 "values whose last component, or with a slash in the pattern whose whole key, matches are "
	 "not packed; may be given again, a mount's are added to the store's"},
	{"transform", FS_OPT_STRING, "SPEC", 0, 0, "path", AT(transform), FS_FOR_BOTH,
	 "where a value lies: path, flat, path:SUFFIX, split:W, split:WxD, hash:ALG:WxD, or a "
	 "shared "
	 "object FILE.so[:ARGS], which each mount is to name; "
	 "another one comes by reshard alone"},
	{"layout", FS_OPT_STRING, "diskv[:gzip[:LEVEL]|:zlib[:LEVEL]]", 0, 0, NULL, AT(layout),
	 FS_FOR_INIT,
	 "diskv's own layout: the file of a value has its name, and is raw, gzip or zlib as a "
	 "whole; "
	 "fixed when the store is made"},
	{"dict", FS_OPT_STRING, "FILE", 0, 0, NULL, AT(dict), FS_FOR_INIT,
	 "preset dictionary of layout diskv:zlib, which is copied into the store"},
	{"adopt", FS_OPT_SET, NULL, 0, 0, NULL, AT(adopt), FS_FOR_INIT,
	 "take over a folder that holds files already"},
	{"decode_zst", FS_OPT_SET, NULL, 0, 0, NULL, AT(decode_zst), FS_FOR_INIT,
	 "with adopt: every *.zst is served as its content"},
	{"keep_zst", FS_OPT_SET, NULL, 0, 0, NULL, AT(keep_zst), FS_FOR_INIT,
	 "with adopt: every *.zst is renamed to *.zst.raw, and served as the file it is"},
	{"cache_size", FS_OPT_BYTES, "BYTES", MIB, 1024 * GIB, "64M", AT(cache_bytes), FS_FOR_MOUNT,
	 "memory for decoded frames and seek tables"},
	{"settle", FS_OPT_SECONDS, "SECONDS", 0, 86400, "5", AT(settle_s), FS_FOR_MOUNT,
	 "a value is packed when it was quiet that long"},
	{"coherence", FS_OPT_SECONDS, "SECONDS", 0, 86400, "1", AT(coherence_s), FS_FOR_MOUNT,
	 "changes made in the store by others are seen within that time; 0 looks every time"},
	{"max_size", FS_OPT_BYTES, "BYTES", MIB, 1024 * 1024 * GIB, NULL, AT(max_size),
	 FS_FOR_MOUNT,
	 "the store is a cache: what was used longest ago is erased where its values take more"},
	{"max_age", FS_OPT_SECONDS, "AGE", 1, 100 * 366 * 86400.0, NULL, AT(max_age_s),
	 FS_FOR_MOUNT,
	 "the store is a cache: what was not read or written for so long is erased; "
	 "30d, 12h, 15m, or seconds"},
	{"max_nodes", FS_OPT_COUNT, "N", 1024, 1u << 31, "262144", AT(max_nodes), FS_FOR_MOUNT,
	 "files that the kernel may hold on to, about 300 bytes of memory each"},
	{"threads", FS_OPT_COUNT, "N", 0, 64, "0", AT(threads), FS_FOR_MOUNT,
	 "threads for packing, decoding and work that waits; 0: one for each processor"},
	{"noacl", FS_OPT_SET, NULL, 0, 0, NULL, AT(noacl), FS_FOR_MOUNT,
	 "no POSIX ACLs; saves a message for each path that starts at a root directory of another "
	 "user"},
	{"acl", FS_OPT_CLEAR, NULL, 0, 0, NULL, AT(noacl), FS_FOR_MOUNT, NULL},
	{"shared", FS_OPT_SET, NULL, 0, 0, NULL, AT(shared), FS_FOR_MOUNT,
	 "other hosts may mount the store at the same time, with this option too; nothing is "
	 "packed"},
	{"ro", FS_OPT_SET, NULL, 0, 0, NULL, AT(read_only), FS_FOR_MOUNT, "write nothing at all"},
	{"rw", FS_OPT_CLEAR, NULL, 0, 0, NULL, AT(read_only), FS_FOR_MOUNT, NULL},
	{"noatime", FS_OPT_SET, NULL, 0, 0, NULL, AT(noatime), FS_FOR_MOUNT,
	 "reading moves no time of access"},
	{"atime", FS_OPT_CLEAR, NULL, 0, 0, NULL, AT(noatime), FS_FOR_MOUNT, NULL},
	{"remount", FS_OPT_SET, NULL, 0, 0, NULL, AT(remount), FS_FOR_MOUNT,
	 "with ro or rw: a mount that is there takes no writes any more, or takes them again"},
	{"allow_other", FS_OPT_SET, NULL, 0, 0, NULL, AT(allow_other), FS_FOR_MOUNT,
	 "other users may use the mount (always so when root mounts)"},
	{"noallow_other", FS_OPT_SET, NULL, 0, 0, NULL, AT(noallow_other), FS_FOR_MOUNT,
	 "only the user who mounts may use the mount"},
	{"allow_root", FS_OPT_SET, NULL, 0, 0, NULL, AT(allow_root), FS_FOR_MOUNT,
	 "root may use the mount, other users not"},
	{"suid", FS_OPT_SET, NULL, 0, 0, NULL, AT(suid), FS_FOR_MOUNT,
	 "honour set-user-id bits (root only)"},
	{"nosuid", FS_OPT_CLEAR, NULL, 0, 0, NULL, AT(suid), FS_FOR_MOUNT, NULL},
	{"dev", FS_OPT_SET, NULL, 0, 0, NULL, AT(dev), FS_FOR_MOUNT,
	 "honour device nodes (root only)"},
	{"nodev", FS_OPT_CLEAR, NULL, 0, 0, NULL, AT(dev), FS_FOR_MOUNT, NULL},
	{"sandbox", FS_OPT_SWITCH, "yes|no", 0, 0, "yes", AT(sandbox), FS_FOR_MOUNT,
	 "the daemon gives up what it does not need: other files, programs, networks"},
	{"max_read", FS_OPT_COUNT, "BYTES", 4096, MIB, NULL, AT(max_read_bytes), FS_FOR_MOUNT,
	 "largest read request of the kernel"},
	{"fsname", FS_OPT_STRING, "NAME", 0, 0, "STORE", AT(fsname), FS_FOR_MOUNT,
	 "the source that mount(8) shows"},
	{"subtype", FS_OPT_STRING, "diskvfs", 0, 0, NULL, AT(subtype), FS_FOR_MOUNT, NULL},
	PASSED("exec"),
	PASSED("noexec"),
	PASSED("sync"),
	PASSED("async"),
	PASSED("dirsync"),
	PASSED("context="),
	PASSED("fscontext="),
	PASSED("defcontext="),
	PASSED("rootcontext="),
	IGNORED("nofail"),
	IGNORED("noauto"),
	IGNORED("auto"),
	IGNORED("_netdev"),
	IGNORED("defaults"),
	IGNORED("default_permissions"),
	IGNORED("user"),
	IGNORED("user="),
	IGNORED("users"),
	IGNORED("nouser"),
	IGNORED("nousers"),
	IGNORED("owner"),
	IGNORED("noowner"),
	IGNORED("group"),
	IGNORED("nogroup"),
	IGNORED("relatime"),
	IGNORED("norelatime"),
	IGNORED("strictatime"),
	IGNORED("nostrictatime"),
	IGNORED("lazytime"),
	IGNORED("nolazytime"),
	IGNORED("diratime"),
	IGNORED("nodiratime"),
	IGNORED("iversion"),
	IGNORED("noiversion"),
	IGNORED("silent"),
	IGNORED("loud"),
	IGNORED("x-*"),
	IGNORED("X-*"),
	IGNORED("comment="),
	/* As mountinfo shows them, which mount(8) gives back with remount. */
	IGNORED("user_id="),
	IGNORED("group_id="),
	IGNORED("blksize="),
	IGNORED("uhelper="),
	IGNORED("helper="),
};

const size_t fs_option_count = DV_ARRAY_LEN(fs_option_table);

/* "x-*" and "context=" stand for every word that begins so; the rest must be equal. */
static bool name_matches(const struct fs_option *opt, const char *name, const char *value)
{
	size_t len = strlen(opt->name);
	char last = opt->name[len - 1];

	if (last == '*')
		return !strncmp(opt->name, name, len - 1);
	if (last == '=')
		return value && strlen(name) == len - 1 && !strncmp(opt->name, name, len - 1);
	return !strcmp(opt->name, name);
}

const struct fs_option *fs_option_find(unsigned command, const char *name, const char *value)
{
	for (size_t i = 0; i < fs_option_count; i++)
		if ((fs_option_table[i].commands & command) &&
		    name_matches(&fs_option_table[i], name, value))
			return &fs_option_table[i];
	return NULL;
}
