/* SPDX-License-Identifier: MIT */
/*
 * control.h - the virtual folder MOUNTPOINT/.diskvfs: counters to read, commands to write.
 *
 *   .diskvfs/          0755, of the mounter; never listed, a key of that name can not be made
 *   .diskvfs/stats     0444, FS_STATS_BYTES of JSON, see stats.h
 *   .diskvfs/control   0600; `pack`, `commit`, `finish`, `unpack` and `unpack KEY` are written to it, and the
 *                      write returns when the work is done and durable, with the work's errno;
 *                      reading gives the last result, FS_RESULT_BYTES of JSON (of unpack: "packed"
 *                      counts what was unpacked, "left_raw" what stays packed)
 *
 * Sizes never change (the texts are padded with spaces), so that the kernel's cached size is always
 * right. Nothing is cached: timeouts are 0, and the mtime of stats moves with every look, which
 * makes the kernel drop its pages. A reader gets one snapshot: the text is made anew by a LOOKUP
 * (every open is one) and by a GETATTR that comes SNAPSHOT_NS or more after the last.
 */
#ifndef FS_CONTROL_H
#define FS_CONTROL_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define FS_CONTROL_NAME	 ".diskvfs"
#define FS_STATS_BYTES	 8192u
#define FS_RESULT_BYTES	 4096u
#define FS_COMMAND_BYTES 65536u /* as long as a key may be */

/* Node ids that fs_nodes never reaches. */
#define FS_ID_FOLDER  (UINT64_C(1) << 62)
#define FS_ID_STATS   (FS_ID_FOLDER + 1)
#define FS_ID_CONTROL (FS_ID_FOLDER + 2)

struct fs_session;

struct fs_control {
	pthread_mutex_t lock;
	char stats[FS_STATS_BYTES];   /* lock */
	struct timespec stats_time;   /* lock */
	char result[FS_RESULT_BYTES]; /* lock */
	struct timespec result_time;  /* lock */
	struct timespec start_time;   /* constant */
};

void fs_control_init(struct fs_control *c);
void fs_control_release(struct fs_control *c);

static inline bool fs_control_is(uint64_t id)
{
	return id >= FS_ID_FOLDER && id <= FS_ID_CONTROL;
}

/* Does (parent, name) stand for the folder itself? */
bool fs_control_is_folder_name(uint64_t parent, const char *name);

/* Each answers the request for a node of the folder. */
void fs_control_lookup(struct fs_session *fs, fuse_req_t req, uint64_t parent, const char *name);
void fs_control_getattr(struct fs_session *fs, fuse_req_t req, uint64_t id, bool truncated);
void fs_control_read(struct fs_session *fs, fuse_req_t req, uint64_t id, size_t size, uint64_t off);
void fs_control_write(struct fs_session *fs, fuse_req_t req, uint64_t id, const char *buf,
		      size_t size);
void fs_control_readdir(fuse_req_t req, uint64_t id, size_t size, int64_t off, bool plus);

#endif
