/* SPDX-License-Identifier: MIT */
/*
 * control.c - the virtual folder.
 */
#include "fs/control.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "fs/pack_request.h"
#include "fs/probe.h"
#include "fs/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Two looks closer than this are of one reader. */
#define SNAPSHOT_NS 50000000

static const struct {
	const char *name;
	uint64_t id;
} files[] = {
	{"stats", FS_ID_STATS},
	{"control", FS_ID_CONTROL},
};

static struct timespec now_real(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts;
}

static int64_t diff_ns(struct timespec a, struct timespec b)
{
	return (int64_t)(a.tv_sec - b.tv_sec) * 1000000000 + (a.tv_nsec - b.tv_nsec);
}

void fs_control_init(struct fs_control *c)
{
	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	c->start_time = c->result_time = now_real();
	memset(c->stats, ' ', sizeof(c->stats));
	memset(c->result, ' ', sizeof(c->result));
	c->result[0] = '{';
	c->result[1] = '}';
	c->result[FS_RESULT_BYTES - 1] = '\n';
}

void fs_control_release(struct fs_control *c)
{
	pthread_mutex_destroy(&c->lock);
}

bool fs_control_is_folder_name(uint64_t parent, const char *name)
{
	return parent == FS_ROOT_ID && !strcmp(name, FS_CONTROL_NAME);
}

/* A new text of the counters, unless the last one is younger than min_age_ns. */
static void refresh_stats(struct fs_session *fs, int64_t min_age_ns)
{
	struct fs_control *c = &fs->control;
	struct timespec now = now_real();
	char text[FS_STATS_BYTES];
	struct fs_nodes_numbers nodes;
	int64_t age;

	pthread_mutex_lock(&c->lock);
	age = diff_ns(now, c->stats_time);
	pthread_mutex_unlock(&c->lock);
	if (age >= 0 && age < min_age_ns)
		return;
	fs_nodes_tell(fs->nodes, &nodes);
	fs_stats_render(&fs->stats, fs->store, &nodes, text, sizeof(text));
	pthread_mutex_lock(&c->lock);
	memcpy(c->stats, text, sizeof(text));
	c->stats_time = now;
	pthread_mutex_unlock(&c->lock);
}

static void fill_attr(struct fs_session *fs, uint64_t id, struct stat *st)
{
	struct fs_control *c = &fs->control;

	memset(st, 0, sizeof(*st));
	st->st_ino = id;
	st->st_uid = getuid();
	st->st_gid = getgid();
	st->st_blksize = 4096;
	st->st_nlink = 1;
	pthread_mutex_lock(&c->lock);
	switch (id) {
	case FS_ID_FOLDER:
		st->st_mode = S_IFDIR | 0755;
		st->st_nlink = 2;
		st->st_mtim = c->start_time;
		break;
	case FS_ID_STATS:
		st->st_mode = S_IFREG | 0444;
		st->st_size = FS_STATS_BYTES;
		st->st_mtim = c->stats_time;
		break;
	default:
		st->st_mode = S_IFREG | 0600;
		st->st_size = FS_RESULT_BYTES;
		st->st_mtim = c->result_time;
		break;
	}
	pthread_mutex_unlock(&c->lock);
	st->st_blocks = (st->st_size + 511) / 512;
	st->st_atim = st->st_ctim = st->st_mtim;
}

void fs_control_lookup(struct fs_session *fs, fuse_req_t req, uint64_t parent, const char *name)
{
	struct fuse_entry_param e;

	memset(&e, 0, sizeof(e)); /* timeouts 0 */
	if (parent != FS_ID_FOLDER && fs_control_is_folder_name(parent, name))
		e.ino = FS_ID_FOLDER;
	for (size_t i = 0; parent == FS_ID_FOLDER && i < DV_ARRAY_LEN(files); i++)
		if (!strcmp(name, files[i].name))
			e.ino = files[i].id;
	if (!e.ino) {
		fuse_reply_err(req, parent == FS_ID_FOLDER ? ENOENT : ENOTDIR);
		return;
	}
	if (e.ino == FS_ID_STATS)
		refresh_stats(fs, 0);
	fill_attr(fs, e.ino, &e.attr);
	fuse_reply_entry(req, &e);
}

void fs_control_getattr(struct fs_session *fs, fuse_req_t req, uint64_t id, bool truncated)
{
	struct stat st;

	/* `echo pack > control` truncates first: accepted, without effect. */
	if (truncated && id != FS_ID_CONTROL) {
		fuse_reply_err(req, EPERM);
		return;
	}
	if (id == FS_ID_STATS)
		refresh_stats(fs, SNAPSHOT_NS);
	fill_attr(fs, id, &st);
	fuse_reply_attr(req, &st, 0.0);
}

void fs_control_read(struct fs_session *fs, fuse_req_t req, uint64_t id, size_t size, uint64_t off)
{
	struct fs_control *c = &fs->control;
	size_t len = id == FS_ID_STATS ? FS_STATS_BYTES : FS_RESULT_BYTES;
	char text[FS_STATS_BYTES];

	if (id == FS_ID_FOLDER) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	pthread_mutex_lock(&c->lock);
	memcpy(text, id == FS_ID_STATS ? c->stats : c->result, len);
	pthread_mutex_unlock(&c->lock);
	if (off >= len)
		size = 0;
	else if (size > len - off)
		size = len - off;
	fuse_reply_buf(req, size ? text + off : NULL, size);
}

static void set_result(struct fs_control *c, const char *command, dv_err err,
		       const struct dv_pack_result *r)
{
	char text[FS_RESULT_BYTES];
	int n;

	n = snprintf(text, sizeof(text),
		     "{\"command\": \"%s\", \"error\": %d, \"seen\": %" PRIu64
		     ", \"packed\": %" PRIu64 ", \"left_raw\": %" PRIu64 ", \"busy\": %" PRIu64
		     ", \"failed\": %" PRIu64 ", \"plain_bytes\": %" PRIu64
		     ", \"stored_bytes\": %" PRIu64 ", \"anew\": %" PRIu64
		     ", \"bytes_before\": %" PRIu64 "}",
		     command, -err, r->seen, r->packed, r->left_raw, r->busy, r->failed,
		     r->plain_bytes, r->stored_bytes, r->anew, r->bytes_before);
	memset(text + n, ' ', sizeof(text) - (size_t)n);
	text[sizeof(text) - 1] = '\n';
	pthread_mutex_lock(&c->lock);
	memcpy(c->result, text, sizeof(text));
	c->result_time = now_real();
	pthread_mutex_unlock(&c->lock);
}

static dv_err pack_some(struct fs_session *fs, const char *command, struct dv_pack_result *result)
{
	struct dv_pack_request request;
	dv_err err = fs_pack_request_parse(command, &request);

	return err ? err : dv_store_pack(fs->store, &request, result);
}

/* Runs command (NUL terminated, without its last newline). -ENOTSUP: no such command. */
static dv_err run_command(struct fs_session *fs, const char *command, struct dv_pack_result *result)
{
	if (!strcmp(command, "pack"))
		return dv_store_pack_all(fs->store, result);
	if (!strncmp(command, "pack ", 5))
		return pack_some(fs, command, result);
	if (!strcmp(command, "unpack"))
		return dv_store_unpack(fs->store, NULL, result);
	if (!strncmp(command, "unpack ", 7) && command[7])
		return dv_store_unpack(fs->store, command + 7, result);
	if (!strcmp(command, "commit")) {
		dv_store_commit(fs->store);
		return 0;
	}
	if (!strcmp(command, "finish")) { /* it is about to be unmounted */
		dv_err err = dv_store_finish(fs->store);
		fs_probe_pause(fs);
		return err;
	}
	return -ENOTSUP;
}

void fs_control_write(struct fs_session *fs, fuse_req_t req, uint64_t id, const char *buf,
		      size_t size)
{
	struct dv_pack_result result;
	DV_AUTO_FREE char *command = NULL;
	char word[16];
	size_t len = size;
	dv_err err;

	memset(&result, 0, sizeof(result));
	if (len > 0 && buf[len - 1] == '\n') /* one: a key may end in more */
		len--;
	if (id != FS_ID_CONTROL || len == 0 || len > FS_COMMAND_BYTES) {
		fuse_reply_err(req, id == FS_ID_CONTROL ? EINVAL : EPERM);
		return;
	}
	if (fs_turn.refuse) {
		fuse_reply_err(req, EBUSY);
		return;
	}
	command = calloc(1, len + 1); /* buf ends without a NUL */
	if (!command) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	memcpy(command, buf, len);
	err = run_command(fs, command, &result);
	if (err == -ENOTSUP || err == -EINVAL) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(command, " "), command);
	if (err < 0)
		dv_error("command %s: %s", word, strerror(-err));
	if (err == -ENOSYS || err == -EAGAIN || err == -EBADMSG)
		err = -EIO;
	set_result(&fs->control, word, err, &result);
	if (err < 0)
		fuse_reply_err(req, -err);
	else
		fuse_reply_write(req, size);
}

void fs_control_readdir(fuse_req_t req, uint64_t id, size_t size, int64_t off, bool plus)
{
	static const char *const names[] = {".", "..", "stats", "control"};
	char buf[1024];
	size_t used = 0;

	if (id != FS_ID_FOLDER) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	if (size > sizeof(buf))
		size = sizeof(buf);
	for (size_t i = off < 0 ? 0 : (size_t)off; i < DV_ARRAY_LEN(names); i++) {
		struct fuse_entry_param e; /* node id 0: gives no attributes */
		off_t next = (off_t)i + 1;
		size_t n;

		memset(&e, 0, sizeof(e));
		e.attr.st_ino = i < 2 ? FS_ID_FOLDER : files[i - 2].id;
		e.attr.st_mode = i < 2 ? S_IFDIR : S_IFREG;
		n = plus ? fuse_add_direntry_plus(req, buf + used, size - used, names[i], &e, next)
			 : fuse_add_direntry(req, buf + used, size - used, names[i], &e.attr, next);
		if (n > size - used)
			break;
		used += n;
	}
	fuse_reply_buf(req, buf, used);
}
