/* SPDX-License-Identifier: MIT */
/* simfs.c - what every call begins and ends with, knobs, dumps, the table. See simfs_private.h. */
#include "tests/support/simfs_private.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- entering and leaving the table ---- */

static bool op_counts(const struct simfs *fs, const char *op)
{
	size_t len = strlen(op);
	if (fs->fail_ops == NULL)
		return true;
	for (const char *p = fs->fail_ops; (p = strstr(p, op)) != NULL; p += len) {
		bool starts = p == fs->fail_ops || p[-1] == ',';
		if (starts && (p[len] == ',' || p[len] == '\0'))
			return true;
	}
	return false;
}

/* Whether simfs_fail_nth picks this call. */
static bool picked(struct simfs *fs, const char *op)
{
	if (!op_counts(fs, op))
		return false;
	if (fs->failed && fs->fail_for_good)
		return true;
	if (fs->fail_left == 0 || --fs->fail_left > 0)
		return false;
	fs->failed = true;
	return true;
}

int sim_enter(struct simfs *fs, const char *op, unsigned kind)
{
	if (fs->before_call)
		fs->before_call(op);
	pthread_mutex_lock(&fs->mutex);
	if (fs->cut)
		return -EIO;
	fs->calls++;
	fs->short_now = false;
	if (kind & CHANGE) {
		fs->change_calls++;
		if (fs->cut_left > 0 && --fs->cut_left == 0) {
			fs->cut = true;
			pthread_cond_broadcast(&fs->released);
			return -EIO;
		}
	}
	if (!picked(fs, op))
		return 0;
	if (fs->fail_short && (kind & TRANSFER)) {
		fs->short_now = true;
		return 0;
	}
	return -fs->fail_error;
}

int sim_leave(struct simfs *fs, int result)
{
	pthread_mutex_unlock(&fs->mutex);
	return result;
}

ssize_t sim_leave_count(struct simfs *fs, ssize_t result)
{
	pthread_mutex_unlock(&fs->mutex);
	return result;
}

size_t sim_transfer_len(const struct simfs *fs, size_t len)
{
	return fs->short_now && len > 1 ? len / 2 : len;
}

bool sim_wait_released(struct simfs *fs, const struct timespec *until)
{
	return pthread_cond_timedwait(&fs->released, &fs->mutex, until) == 0;
}

struct timespec sim_wait_limit(void)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_MAX_S;
	return until;
}

/* ---- life ---- */

struct simfs *sim_fs_alloc(void)
{
	struct simfs *fs = sim_zalloc(sizeof(*fs));
	pthread_mutex_init(&fs->mutex, NULL);
	pthread_cond_init(&fs->released, NULL);
	fs->clock_step_ns = 1;
	fs->f_type = EXT4_MAGIC;
	return fs;
}

struct simfs *simfs_new(void)
{
	struct simfs *fs = sim_fs_alloc();
	fs->clock_ns = (uint64_t)CLOCK_START_S * 1000000000u;
	fs->free_blocks = FREE_BLOCKS_DEFAULT;
	fs->last_ino = ROOT_INO - 1;
	fs->root = sim_inode_new(fs, S_IFDIR | 0755, NULL);
	fs->root->nlink = 2;
	fs->last_ino = FIRST_INO - 1;
	return fs;
}

void sim_changes_clear(struct simfs *fs)
{
	for (size_t i = 0; i < fs->nchanges; i++)
		sim_change_release(&fs->changes[i]);
	fs->nchanges = 0;
}

void simfs_free(struct simfs *fs)
{
	if (fs == NULL)
		return;
	sim_changes_clear(fs);
	free(fs->changes);
	for (size_t i = 0; i < fs->nfiles; i++)
		free(fs->files[i]);
	free(fs->files);
	for (struct inode *in = fs->inodes, *next; in != NULL; in = next) {
		next = in->next;
		sim_inode_free(in);
	}
	free(fs->free_inos);
	pthread_cond_destroy(&fs->released);
	pthread_mutex_destroy(&fs->mutex);
	free(fs);
}

struct dv_backing simfs_backing(struct simfs *fs)
{
	static const struct dv_backing_ops ops = {
		.open = sim_open,
		.open_root = sim_open_root,
		.close = sim_close,
		.stat = sim_stat,
		.fsinfo = sim_fsinfo,
		.pread = sim_pread,
		.pread_nowait = sim_pread_nowait,
		.pwrite = sim_pwrite,
		.append = sim_append,
		.truncate = sim_truncate,
		.fallocate = sim_fallocate,
		.seek = sim_seek,
		.fsync = sim_fsync,
		.fdatasync = sim_fdatasync,
		.syncfs = sim_syncfs,
		.advise = sim_advise,
		.mkdir = sim_mkdir,
		.mknod = sim_mknod,
		.symlink = sim_symlink,
		.readlink = sim_readlink,
		.link = sim_link,
		.link_fd = sim_link_fd,
		.unlink = sim_unlink,
		.rmdir = sim_rmdir,
		.rename = sim_rename,
		.chmod = sim_chmod,
		.chown = sim_chown,
		.utimens = sim_utimens,
		.getxattr = sim_getxattr,
		.getxattr_at = sim_getxattr_at,
		.setxattr = sim_setxattr,
		.listxattr = sim_listxattr,
		.listxattr_at = sim_listxattr_at,
		.removexattr = sim_removexattr,
		.readdir = sim_readdir,
		.flock = sim_flock,
		.set_lease = sim_set_lease,
		.get_lease = sim_get_lease,
		.set_noatime = sim_set_noatime,
		.copy_range = sim_copy_range,
		.act_as = sim_act_as,
	};
	return (struct dv_backing){.ops = &ops, .self = fs};
}

/* ---- knobs ---- */

#define LOCKED_GET(type, function, expression)                                                     \
	type function(struct simfs *fs)                                                            \
	{                                                                                          \
		pthread_mutex_lock(&fs->mutex);                                                    \
		type value = (expression);                                                         \
		pthread_mutex_unlock(&fs->mutex);                                                  \
		return value;                                                                      \
	}

LOCKED_GET(unsigned long, simfs_calls, fs->calls)
LOCKED_GET(unsigned long, simfs_changes, fs->change_calls)
LOCKED_GET(unsigned long, simfs_fsync_calls, fs->fsync_calls)
LOCKED_GET(unsigned long, simfs_bad_fds, fs->bad_fds)
LOCKED_GET(size_t, simfs_open_fds, fs->open_fds)
LOCKED_GET(bool, simfs_failed, fs->failed)
LOCKED_GET(bool, simfs_is_cut, fs->cut)

#define LOCKED_SET(statements)                                                                     \
	do {                                                                                       \
		pthread_mutex_lock(&fs->mutex);                                                    \
		statements;                                                                        \
		pthread_mutex_unlock(&fs->mutex);                                                  \
	} while (0)

void simfs_fail_nth(struct simfs *fs, unsigned long n, int error, bool for_good)
{
	LOCKED_SET(fs->fail_left = n; fs->fail_error = error; fs->fail_for_good = for_good;
		   fs->failed = false);
}

void simfs_fail_op(struct simfs *fs, const char *ops)
{
	LOCKED_SET(fs->fail_ops = ops);
}

void simfs_fail_short(struct simfs *fs, bool on)
{
	LOCKED_SET(fs->fail_short = on);
}

void simfs_set_cold(struct simfs *fs, bool on)
{
	LOCKED_SET(fs->cold = on);
}

void simfs_set_free_blocks(struct simfs *fs, uint64_t blocks)
{
	LOCKED_SET(fs->free_blocks = blocks);
}

void simfs_set_type(struct simfs *fs, uint64_t f_type, bool network)
{
	LOCKED_SET(fs->f_type = f_type; fs->network = network);
}

void simfs_set_clock_step(struct simfs *fs, uint64_t step_ns)
{
	LOCKED_SET(fs->clock_step_ns = step_ns);
}

void simfs_set_before_call(struct simfs *fs, void (*before_call)(const char *op))
{
	LOCKED_SET(fs->before_call = before_call);
}

void simfs_set_ordered(struct simfs *fs, bool on)
{
	LOCKED_SET(fs->ordered = on);
}

void simfs_advance_clock(struct simfs *fs, uint64_t ns)
{
	LOCKED_SET(fs->clock_ns += ns);
}

void simfs_power_cut_at(struct simfs *fs, unsigned long n)
{
	LOCKED_SET(fs->cut_left = n);
}

void simfs_ignore_fsync(struct simfs *fs, unsigned long n)
{
	LOCKED_SET(fs->ignore_fsync_left = n);
}

void simfs_tear_rename(struct simfs *fs, unsigned long n)
{
	LOCKED_SET(fs->tear_rename_left = n);
}

/* ---- dumping ---- */

static uint64_t hash_data(const struct inode *in)
{
	unsigned char bytes[BLOCK_SIZE];
	uint64_t hash = FNV_START;
	if (sim_is_symlink(in))
		return sim_fnv1a(in->target, strlen(in->target), hash);
	for (uint64_t off = 0; off < in->now.size; off += BLOCK_SIZE) {
		ssize_t n = sim_read_data(&in->now, bytes, sizeof(bytes), off);
		hash = sim_fnv1a(bytes, (size_t)n, hash);
	}
	return hash;
}

static void print_path(FILE *out, const char *path)
{
	for (; *path != '\0'; path++) {
		unsigned char c = (unsigned char)*path;
		if (c <= ' ' || c >= 0x7f || c == '\\')
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
	fputc('\n', out);
}

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	return strcmp(x->name, y->name);
}

static void dump_dir(const struct inode *dir, const char *path, FILE *out)
{
	static const char letters[16] = "?pc?d?b?-?l?s???";
	size_t count = dir->names.count;
	struct entry *sorted = sim_copy_bytes(dir->names.entries, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_entries);
	for (size_t i = 0; i < count; i++) {
		const struct inode *in = sorted[i].inode;
		size_t size = strlen(path) + strlen(sorted[i].name) + 2;
		char *below = sim_zalloc(size);
		snprintf(below, size, "%s%s%s", path, path[0] != '\0' ? "/" : "", sorted[i].name);
		fprintf(out, "%c %04o %llu %016llx ", letters[sim_entry_type(in)],
			(unsigned)in->now.mode & 07777,
			sim_is_dir(in) ? 0 : (unsigned long long)in->now.size,
			sim_is_dir(in) ? 0 : (unsigned long long)hash_data(in));
		print_path(out, below);
		if (sim_is_dir(in))
			dump_dir(in, below, out);
		free(below);
	}
	free(sorted);
}

void simfs_dump(struct simfs *fs, FILE *out)
{
	pthread_mutex_lock(&fs->mutex);
	dump_dir(fs->root, "", out);
	pthread_mutex_unlock(&fs->mutex);
}
