/* SPDX-License-Identifier: MIT */
/*
 * cmd_info.c - diskvfs info STORE|MOUNTPOINT: what a store is, who has it mounted, what is pending
 * in it, what it holds. Writes nothing.
 */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "core/info.h"
#include "core/log.h"
#include "fs/args.h"
#include "fs/client.h"
#include "fs/info_value.h"
#include "fs/json.h"
#include "fs/mountpoint.h"
#include "fs/plugin.h"
#include "fs/progress.h"

#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Of each list the text shows so many; JSON has all of them. */
#define SHOWN_MAX 20u

struct flags {
	bool json, quick, quiet;
};

/* A list that is gathered while the store is looked at: lines of text, or values of JSON. */
struct lines {
	char *text; /* owned, NULL: none */
	size_t len;
	uint64_t count;
};

struct report {
	const struct flags *flags;
	struct lines mounts, pending, lost, twins;
	uint64_t under_way; /* pending ones whose owner lives */
	bool failed;	    /* out of memory */
};

static void add(struct report *r, struct lines *l, const char *line)
{
	size_t n = strlen(line);
	char *grown;

	l->count++;
	if (!r->flags->json && l->count > SHOWN_MAX)
		return;
	grown = realloc(l->text, l->len + n + 3);
	if (!grown) {
		r->failed = true;
		return;
	}
	l->text = grown;
	if (r->flags->json && l->count > 1)
		l->len = (size_t)(stpcpy(grown + l->len, ", ") - grown);
	memcpy(grown + l->len, line, n + 1);
	l->len += n;
}

static const char *fate_text(enum dv_info_fate fate)
{
	switch (fate) {
	case DV_FATE_UNDER_WAY:
		return "is being written or packed";
	case DV_FATE_FINISHED:
		return "the next mount puts its newer bytes in place";
	case DV_FATE_DROPPED:
		return "the next mount leaves the old value: the power went before the new one was "
		       "whole";
	case DV_FATE_FAILED:
		return "the next mount leaves the old value: a write of the new one failed";
	case DV_FATE_ONE_FORM:
		return "the next mount removes the form that was superseded";
	}
	return "";
}

static const char *fate_word(enum dv_info_fate fate)
{
	static const char *const words[] = {"under_way", "finished", "dropped", "failed",
					    "one_form"};

	return words[fate];
}

static void on_owner(void *self, const struct dv_info_owner *o)
{
	struct report *r = self;
	char line[FS_JSON_GROWS * (PATH_MAX + 256) + 64], path[FS_JSON_GROWS * PATH_MAX];
	char host[FS_JSON_GROWS * 256];

	if (!o->alive)
		return;
	if (r->flags->json)
		snprintf(line, sizeof(line), "{\"pid\": %ld, \"host\": %s, \"mountpoint\": %s}",
			 o->pid, fs_json_quote(host, sizeof(host), o->host),
			 fs_json_quote(path, sizeof(path), o->mountpoint));
	else if (o->mountpoint[0])
		snprintf(line, sizeof(line), "in use       mounted on %s by process %ld%s%s\n",
			 dv_log_key(path, PATH_MAX, o->mountpoint), o->pid,
			 o->host[0] ? " of " : "", dv_log_key(host, sizeof(host), o->host));
	else
		snprintf(line, sizeof(line), "in use       by process %ld\n", o->pid);
	add(r, &r->mounts, line);
}

static void on_pending(void *self, const struct dv_info_owner *o, const char *key,
		       enum dv_info_fate fate)
{
	struct report *r = self;
	size_t room = FS_JSON_GROWS * strlen(key) + 256;
	DV_AUTO_FREE char *line = malloc(room);
	DV_AUTO_FREE char *text = malloc(room);

	if (!line || !text) {
		r->failed = true;
		return;
	}
	r->under_way += fate == DV_FATE_UNDER_WAY;
	if (r->flags->json)
		snprintf(line, room, "{\"key\": %s, \"owner\": %ld, \"fate\": \"%s\"}",
			 fs_json_quote(text, room - 100, key), o->pid, fate_word(fate));
	else
		snprintf(line, room, "             %s: %s\n", dv_log_key(text, room - 120, key),
			 fate_text(fate));
	if (r->flags->json || fate != DV_FATE_UNDER_WAY)
		add(r, &r->pending, line);
}

static void on_lost(void *self, const char *name, uint64_t size)
{
	struct report *r = self;
	char line[FS_JSON_GROWS * 256 + 64], text[FS_JSON_GROWS * 256];

	if (r->flags->json)
		snprintf(line, sizeof(line), "{\"name\": %s, \"bytes\": %" PRIu64 "}",
			 fs_json_quote(text, sizeof(text), name), size);
	else
		snprintf(line, sizeof(line), "             %s, %" PRIu64 " bytes\n",
			 dv_log_key(text, sizeof(text), name), size);
	add(r, &r->lost, line);
}

static void on_twin(void *self, const char *key)
{
	struct report *r = self;
	char line[FS_JSON_GROWS * PATH_MAX + 64], text[FS_JSON_GROWS * PATH_MAX];

	if (r->flags->json)
		snprintf(line, sizeof(line), "%s", fs_json_quote(text, sizeof(text), key));
	else
		snprintf(line, sizeof(line), "             %s\n", dv_log_key(text, PATH_MAX, key));
	add(r, &r->twins, line);
}

/* Names of filesystems by their magic numbers (linux/magic.h and their own sources). */
static const char *type_name(uint64_t magic, char buf[32])
{
	static const struct {
		uint64_t magic;
		const char *name;
	} types[] = {
		{0xef53, "ext4"},	  {0x58465342, "xfs"},	   {0x9123683e, "btrfs"},
		{0x01021994, "tmpfs"},	  {0xf2f52010, "f2fs"},	   {0x2fc12fc1, "zfs"},
		{0xca451a4e, "bcachefs"}, {0x794c7630, "overlay"}, {0x6969, "nfs"},
		{0xff534d42, "cifs"},	  {0xfe534d42, "smb2"},	   {0x00c36400, "ceph"},
		{0x65735546, "fuse"},	  {0x01021997, "9p"},	   {0x4d44, "vfat"},
	};

	for (size_t i = 0; i < DV_ARRAY_LEN(types); i++)
		if (types[i].magic == magic)
			return types[i].name;
	snprintf(buf, 32, "0x%" PRIx64, magic);
	return buf;
}

static uint64_t in_bytes(const struct dv_fsinfo *fs, uint64_t blocks)
{
	return fs->bsize && blocks > UINT64_MAX / fs->bsize ? UINT64_MAX : blocks * fs->bsize;
}

static double ratio(uint64_t plain, uint64_t stored)
{
	return stored ? (double)plain / (double)stored : 1.0;
}

static void print_list(const struct lines *l, const char *title, const char *what)
{
	if (!l->count)
		return;
	printf("%-12s %" PRIu64 " %s\n%s", title, l->count, what, l->text ? l->text : "");
	if (l->count > SHOWN_MAX)
		printf("             and %" PRIu64 " more; --json lists all\n",
		       l->count - SHOWN_MAX);
}

static void print_values(const struct dv_info *i)
{
	char a[32], b[32], c[32];

	printf("values       %" PRIu64 ": %" PRIu64 " packed, %" PRIu64 " raw; %" PRIu64
	       " directories, %" PRIu64 " others\n",
	       i->packed + i->raw, i->packed, i->raw, i->directories, i->others);
	printf("size         %s, %s in files, %s of the disk; ratio %.2f\n",
	       fs_size_text(i->plain_bytes, a), fs_size_text(i->stored_bytes, b),
	       fs_size_text(i->disk_bytes, c), ratio(i->plain_bytes, i->stored_bytes));
	if (i->packed)
		printf("of packed    %s in %s; ratio %.2f\n",
		       fs_size_text(i->packed_plain_bytes, a),
		       fs_size_text(i->packed_stored_bytes, b),
		       ratio(i->packed_plain_bytes, i->packed_stored_bytes));
	if (i->unreadable)
		printf("unreadable   %" PRIu64 " values; cat tells more of each\n", i->unreadable);
}

static void print_text(const char *store, const struct report *r, const struct dv_info *i)
{
	const struct dv_fsinfo *fs = &i->backing;
	char a[32], b[32], path[PATH_MAX], type[32];

	printf("store        %s\n", dv_log_key(path, sizeof(path), store));
	printf("format       %u; transform %s; ", i->format, i->transform);
	if (i->layout[0])
		printf("layout %s\n", i->layout);
	else
		printf("compress %s; frames of %u KiB\n", i->compress, i->frame_size / 1024);
	if (i->nopack[0])
		printf("nopack       %s\n", i->nopack);
	printf("lies on      %s, %s free of %s\n", type_name(fs->type, type),
	       fs_size_text(in_bytes(fs, fs->bavail), a),
	       fs_size_text(in_bytes(fs, fs->blocks), b));
	fputs(r->mounts.text ? r->mounts.text : "in use       no\n", stdout);
	if (r->under_way)
		printf("under way    %" PRIu64 " values\n", r->under_way);
	print_list(&r->pending, "pending", "values of processes that are gone");
	print_list(&r->lost, "lost", "files in .diskvfs/lost, whose place was taken");
	if (!r->flags->quick)
		print_values(i);
	print_list(&r->twins, "twins", "keys with a raw and a packed file; the raw one is served");
}

static const char *items(const struct lines *l)
{
	return l->text ? l->text : "";
}

static void print_json(const char *store, const struct report *r, const struct dv_info *i)
{
	const struct dv_fsinfo *fs = &i->backing;
	char path[FS_JSON_GROWS * PATH_MAX], nopack[FS_JSON_GROWS * sizeof(i->nopack)], type[32];

	printf("{\"store\": %s,\n", fs_json_quote(path, sizeof(path), store));
	printf("\"format\": %u, \"transform\": %s, ", i->format,
	       fs_json_quote(path, sizeof(path), i->transform));
	printf("\"layout\": \"%s\", ", i->layout);
	printf("\"compress\": \"%s\", \"frame_size\": %u, \"nopack\": %s,\n", i->compress,
	       i->frame_size, fs_json_quote(nopack, sizeof(nopack), i->nopack));
	printf("\"backing\": {\"type\": \"%s\", \"block_size\": %" PRIu64 ", \"bytes\": %" PRIu64
	       ", \"free_bytes\": %" PRIu64 ", \"files\": %" PRIu64 ", \"free_files\": %" PRIu64
	       "},\n",
	       type_name(fs->type, type), fs->bsize, in_bytes(fs, fs->blocks),
	       in_bytes(fs, fs->bavail), fs->files, fs->ffree);
	printf("\"in_use\": [%s],\n\"pending\": [%s],\n\"lost\": [%s]", items(&r->mounts),
	       items(&r->pending), items(&r->lost));
	if (!r->flags->quick) {
		printf(",\n\"values\": {\"packed\": %" PRIu64 ", \"raw\": %" PRIu64
		       ", \"directories\": %" PRIu64 ", \"others\": %" PRIu64
		       ", \"unreadable\": %" PRIu64 "},\n",
		       i->packed, i->raw, i->directories, i->others, i->unreadable);
		printf("\"bytes\": {\"plain\": %" PRIu64 ", \"stored\": %" PRIu64
		       ", \"disk\": %" PRIu64 ", \"packed_plain\": %" PRIu64
		       ", \"packed_stored\": %" PRIu64 ", \"ratio\": %.4f},\n",
		       i->plain_bytes, i->stored_bytes, i->disk_bytes, i->packed_plain_bytes,
		       i->packed_stored_bytes, ratio(i->plain_bytes, i->stored_bytes));
		printf("\"twins\": [%s]", items(&r->twins));
	}
	puts("}");
}

static int info(const char *given, const struct flags *flags)
{
	struct report r = {.flags = flags};
	const struct dv_info_ops ops = {&r, on_owner, on_pending, on_lost, on_twin};
	DV_AUTO_FREE struct dv_info *i = malloc(sizeof(*i));
	char path[PATH_MAX], store[PATH_MAX], why[512] = "";
	dv_err err = fs_mountpoint_resolve(given, path);
	int status = 0;

	if (err < 0)
		return fs_cmd_fail(2, "%s: %s", given, strerror(-err));
	memcpy(store, path, sizeof(store));
	if (fs_client_is_mount(path)) {
		if (fs_mountpoint_is_stale(path))
			return fs_cmd_stale(2, given);
		err = fs_client_store(path, store, sizeof(store));
		if (err < 0)
			return fs_cmd_fail(
				2, "%s: the store that is mounted there can not be told: %s", given,
				strerror(-err));
	}
	dv_log_set_level(DV_LOG_ERROR); /* pending values and twins are in what it prints */
	err = i ? dv_store_info(dv_backing_posix(), store, fs_plugin_named(), !flags->quick, &ops,
				i, why, sizeof(why))
		: -ENOMEM;
	if (err < 0)
		status = fs_cmd_fail(2, "%s", why[0] ? why : strerror(-err));
	else if (r.failed)
		status = fs_cmd_fail(2, "%s: out of memory", given);
	else if (!flags->quiet)
		(flags->json ? print_json : print_text)(store, &r, i);
	free(r.mounts.text);
	free(r.pending.text);
	free(r.lost.text);
	free(r.twins.text);
	return status;
}

int fs_cmd_info(int argc, char **argv)
{
	static const char usage[] =
		"usage: diskvfs info [--quick] [--json] STORE|MOUNTPOINT [KEY]... [--transform "
		"FILE.so[:ARGS]]\n"
		"Tells what a store is, who has it open, what is pending in it and what it holds; "
		"writes\nnothing. --quick (-q) does not look at every key. With keys: the form, "
		"sizes and "
		"place of each;\nexit status 1 where one is missing. --json: one object, of each "
		"key. "
		"--quiet: errors only.\n--transform names the shared object that the store's "
		"transform "
		"is.\n";
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{"json", no_argument, NULL, 'j'},
		{"quick", no_argument, NULL, 'q'},
		{"quiet", no_argument, NULL, 'Q'},
		{NULL, 0, NULL, 0},
	};
	struct flags flags = {0};
	char text[64];
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "hjq", longs, NULL)) != -1) {
		flags.json |= c == 'j';
		flags.quick |= c == 'q';
		flags.quiet |= c == 'Q';
		if (c == 'h')
			return fputs(usage, stdout) < 0;
		if (c == '?')
			return fs_cmd_fail(1, "%s; info --help lists them all",
					   fs_args_wrong(argv, text));
	}
	if (optind == argc) {
		fputs(usage, stderr);
		return 1;
	}
	if (optind + 1 < argc)
		return fs_info_values(
			argv[optind], argv + optind + 1, argc - optind - 1,
			&(struct fs_info_flags){.json = flags.json, .quiet = flags.quiet});
	return info(argv[optind], &flags);
}
