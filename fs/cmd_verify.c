/* SPDX-License-Identifier: MIT */
/*
 * cmd_verify.c - diskvfs verify STORE|MOUNTPOINT: is all of a store whole? With --repair what can be
 * mended is, while nobody has it open.
 *
 * Exit statuses are those of fsck(8), or-ed, and not those of the other commands: who runs checks of
 * filesystems knows them, and "mended" and "still bad" have to be told apart.
 */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "core/verify.h"
#include "fs/args.h"
#include "fs/client.h"
#include "fs/json.h"
#include "fs/plugin.h"
#include "fs/progress.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	DONE_CLEAN = 0,
	DONE_CORRECTED = 1,
	DONE_UNCORRECTED = 4,
	DONE_FAILED = 8,
	DONE_USAGE = 16,
	DONE_LIBRARY = 128,
};

struct report {
	struct fs_progress progress;
	bool json;
	/* Paths may be longer than PATH_MAX; they are cut. */
	char a[FS_JSON_GROWS * PATH_MAX], b[FS_JSON_GROWS * PATH_MAX], c[FS_JSON_GROWS * 512],
		d[FS_JSON_GROWS * PATH_MAX];
};

static const char *const class_names[] = {
	[DV_CLASS_ERROR] = "error",
	[DV_CLASS_FIXED] = "fixed",
	[DV_CLASS_NOTE] = "note",
	[DV_CLASS_FAILURE] = "failure",
};

static void found_json(struct report *r, const struct dv_finding *f)
{
	printf("{\"finding\": \"%s\", \"class\": \"%s\", \"file\": %s", dv_finding_name(f->kind),
	       class_names[f->class], fs_json_quote(r->a, sizeof(r->a), f->file));
	if (f->key)
		printf(", \"key\": %s", fs_json_quote(r->b, sizeof(r->b), f->key));
	printf(", \"detail\": %s", fs_json_quote(r->c, sizeof(r->c), f->detail));
	if (f->done)
		printf(", \"done\": %s", fs_json_quote(r->d, sizeof(r->d), f->done));
	puts("}");
}

static void on_found(void *self, const struct dv_finding *f)
{
	struct report *r = self;

	if (f->class == DV_CLASS_NOTE && fs_args_quiet() && !r->json)
		return;
	fs_progress_clear(&r->progress);
	if (r->json) {
		found_json(r, f);
		return;
	}
	printf("%s: %s: ", dv_finding_name(f->kind), dv_log_key(r->a, sizeof(r->a), f->file));
	if (f->key && strcmp(f->key, f->file) != 0)
		printf("key %s: ", dv_log_key(r->b, sizeof(r->b), f->key));
	printf("%s%s%s\n", f->detail, f->done ? ": " : "",
	       f->done ? dv_log_key(r->d, sizeof(r->d), f->done) : "");
}

static void on_total(void *self, uint64_t files, uint64_t bytes)
{
	struct report *r = self;

	r->progress.total_files = files;
	r->progress.total_bytes = bytes;
}

static void on_progress(void *self, uint64_t files, uint64_t bytes)
{
	struct report *r = self;

	fs_progress_add(&r->progress, files, bytes);
}

static void print_json(const struct dv_verify_result *v, int status)
{
	printf("{\"status\": %d, \"raw\": %" PRIu64 ", \"packed\": %" PRIu64
	       ", \"directories\": %" PRIu64 ", \"others\": %" PRIu64 ", \"strays\": %" PRIu64
	       ", \"frames\": %" PRIu64 ", \"frames_without_checksum\": %" PRIu64
	       ", \"plain_bytes\": %" PRIu64 ", \"stored_bytes\": %" PRIu64 ", \"in_use\": %" PRIu64
	       ", \"errors\": %" PRIu64 ", \"fixed\": %" PRIu64 ", \"failures\": %" PRIu64
	       ", \"lost\": %" PRIu64 "}\n",
	       status, v->raw, v->packed, v->directories, v->others, v->strays, v->frames,
	       v->unsummed, v->plain_bytes, v->stored_bytes, v->in_use, v->errors, v->fixed,
	       v->failures, v->lost);
}

static void print_text(const struct dv_verify_result *v, bool repair)
{
	char a[32], b[32];

	printf("%" PRIu64 " packed values verified, %" PRIu64 " frames; %s read, %s unpacked\n",
	       v->packed, v->frames, fs_size_text(v->stored_bytes, a),
	       fs_size_text(v->plain_bytes, b));
	if (v->raw)
		printf("%" PRIu64 " raw values read; they carry no checksum\n", v->raw);
	if (v->unsummed)
		printf("%" PRIu64 " frames of other makers decode, and carry no checksum\n",
		       v->unsummed);
	if (v->in_use)
		printf("%" PRIu64 " values are in use and were left out\n", v->in_use);
	if (v->lost)
		printf("%" PRIu64 " files were in .diskvfs/lost before\n", v->lost);
	if (v->failures)
		printf("%" PRIu64 " could not be looked at\n", v->failures);
	if (repair)
		printf("%" PRIu64 " errors corrected, %" PRIu64 " left\n", v->fixed, v->errors);
	else
		printf("%" PRIu64 " errors\n", v->errors);
}

static int status_of(const struct dv_verify_result *v, dv_err err)
{
	int status = DONE_CLEAN;

	status |= v->fixed ? DONE_CORRECTED : 0;
	status |= v->errors ? DONE_UNCORRECTED : 0;
	status |= v->failures || err ? DONE_FAILED : 0;
	return status;
}

static int verify_store(const char *store, struct dv_verify_options *o, struct report *r)
{
	struct dv_verify_ops ops = {r, on_found, on_total, on_progress};
	struct dv_verify_result result;
	char why[1024] = "";
	dv_err err;
	int status;

	if (fs_args_quiet())
		ops.total = NULL;
	dv_backing_posix_prepare();
	fs_progress_begin(&r->progress, "verify");
	err = dv_store_verify(dv_backing_posix(), store, o, &ops, &result, why, sizeof(why));
	fs_progress_clear(&r->progress);
	status = status_of(&result, err);
	if (r->json)
		print_json(&result, status);
	else if (!err && !fs_args_quiet())
		print_text(&result, o->repair);
	if (err)
		fs_cmd_fail(status, "%s%s", why,
			    err == -EINVAL && !o->plugin && strstr(why, "-o transform=")
				    ? "; verify takes it with --transform"
				    : "");
	if (fflush(stdout) || ferror(stdout))
		status |=
			fs_cmd_fail(DONE_FAILED, "standard output: not all could be written to it");
	return status;
}

/* A mountpoint stands for its store; one that is mounted is looked at beside its daemon. */
static int verify(const char *operand, const char *transform, struct dv_verify_options *o,
		  struct report *r)
{
	char path[PATH_MAX], mount[PATH_MAX], why[1024] = "";
	struct fs_plugin plugin;
	int status = fs_cmd_target(operand, path, mount);

	if (status)
		return DONE_FAILED;
	if (mount[0] && fs_client_is_mount(path) && fs_client_store(mount, path, sizeof(path)) < 0)
		return fs_cmd_fail(DONE_FAILED,
				   "%s: the store that is mounted there can not be told", operand);
	if (mount[0] && o->repair)
		return fs_cmd_fail(DONE_FAILED, "%s: is mounted on %s; unmount it to repair it",
				   operand, mount);
	if (transform && !dv_plugin_file_end(transform))
		return fs_cmd_fail(DONE_USAGE, "--transform %s: it is FILE.so[:ARGS]", transform);
	if (fs_plugin_load(transform, &plugin, why, sizeof(why)) < 0)
		return fs_cmd_fail(DONE_LIBRARY, "%s", why);
	o->plugin = transform ? &plugin.plugin : NULL;
	status = verify_store(path, o, r);
	fs_plugin_release(&plugin);
	return status;
}

int fs_cmd_verify(int argc, char **argv)
{
	struct dv_verify_options o = {.repair = false};
	DV_AUTO_FREE struct report *r = calloc(1, sizeof(*r));
	const char *transform = NULL;
	uint64_t jobs = 0;
	bool json = false;
	const struct fs_arg args[] = {
		{"repair", 0, FS_ARG_SET, &o.repair, NULL,
		 "mend what can be, put aside in .diskvfs/lost what can not; unmounted only"},
		{"json", 0, FS_ARG_SET, &json, NULL, "an object a line, the counts in the last"},
		{"jobs", 'j', FS_ARG_COUNT, &jobs, "N", "threads; as many as processors"},
		{"transform", 0, FS_ARG_TEXT, &transform, "FILE.so[:ARGS]",
		 "the store's, where it is a shared object"},
	};
	const struct fs_args a = {
		"verify STORE|MOUNTPOINT [--repair] [--json] [--jobs N]",
		"Reads every file of the store, decodes what is packed, checks checksums, seek "
		"tables and where\nfiles lie. Raw values carry no checksum: they are read. Without "
		"--repair nothing is written, and the\nstore may be mounted and written to; what "
		"changes meanwhile is counted as in use.\n"
		"Exit status, or-ed, as of fsck(8): 0 clean, 1 errors corrected, 4 errors left, 8 "
		"it could not be\ndone, 16 used wrongly, 128 a shared object could not be "
		"loaded.\n",
		args,
		DV_ARRAY_LEN(args),
		1,
		1};
	char **operands;
	int status;

	if (fs_args_parse(&a, argc, argv, &operands, &status) < 0)
		return status ? DONE_USAGE : DONE_CLEAN;
	if (!r)
		return fs_cmd_fail(DONE_FAILED, "%s", strerror(ENOMEM));
	if (jobs > DV_VERIFY_JOBS_MAX)
		return fs_cmd_fail(DONE_USAGE, "option --jobs: at most %u", DV_VERIFY_JOBS_MAX);
	o.jobs = (unsigned)jobs;
	r->json = json;
	return verify(*operands, transform, &o, r);
}
