/* SPDX-License-Identifier: MIT */
/*
 * stats.c - counting, and the JSON text.
 */
#include "fs/stats.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "fs/json.h"

#include <inttypes.h>
#include <linux/fuse.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STORE_PATH_MAX 4400 /* of PATH_MAX bytes, few of them escaped; the counters need the rest */

static const char *const names[FS_OPCODES] = {
	[FUSE_LOOKUP] = "LOOKUP",
	[FUSE_FORGET] = "FORGET",
	[FUSE_GETATTR] = "GETATTR",
	[FUSE_SETATTR] = "SETATTR",
	[FUSE_READLINK] = "READLINK",
	[FUSE_SYMLINK] = "SYMLINK",
	[FUSE_MKNOD] = "MKNOD",
	[FUSE_MKDIR] = "MKDIR",
	[FUSE_UNLINK] = "UNLINK",
	[FUSE_RMDIR] = "RMDIR",
	[FUSE_RENAME] = "RENAME",
	[FUSE_LINK] = "LINK",
	[FUSE_OPEN] = "OPEN",
	[FUSE_READ] = "READ",
	[FUSE_WRITE] = "WRITE",
	[FUSE_STATFS] = "STATFS",
	[FUSE_RELEASE] = "RELEASE",
	[FUSE_FSYNC] = "FSYNC",
	[FUSE_SETXATTR] = "SETXATTR",
	[FUSE_GETXATTR] = "GETXATTR",
	[FUSE_LISTXATTR] = "LISTXATTR",
	[FUSE_REMOVEXATTR] = "REMOVEXATTR",
	[FUSE_FLUSH] = "FLUSH",
	[FUSE_INIT] = "INIT",
	[FUSE_OPENDIR] = "OPENDIR",
	[FUSE_READDIR] = "READDIR",
	[FUSE_RELEASEDIR] = "RELEASEDIR",
	[FUSE_FSYNCDIR] = "FSYNCDIR",
	[FUSE_GETLK] = "GETLK",
	[FUSE_SETLK] = "SETLK",
	[FUSE_SETLKW] = "SETLKW",
	[FUSE_ACCESS] = "ACCESS",
	[FUSE_CREATE] = "CREATE",
	[FUSE_INTERRUPT] = "INTERRUPT",
	[FUSE_BMAP] = "BMAP",
	[FUSE_DESTROY] = "DESTROY",
	[FUSE_IOCTL] = "IOCTL",
	[FUSE_POLL] = "POLL",
	[FUSE_NOTIFY_REPLY] = "NOTIFY_REPLY",
	[FUSE_BATCH_FORGET] = "BATCH_FORGET",
	[FUSE_FALLOCATE] = "FALLOCATE",
	[FUSE_READDIRPLUS] = "READDIRPLUS",
	[FUSE_RENAME2] = "RENAME2",
	[FUSE_LSEEK] = "LSEEK",
	[FUSE_COPY_FILE_RANGE] = "COPY_FILE_RANGE",
	[50] = "SYNCFS",
	[51] = "TMPFILE",
	[52] = "STATX",
};

const char *fs_opcode_name(uint32_t opcode)
{
	return opcode < FS_OPCODES && names[opcode] ? names[opcode] : "OTHER";
}

void fs_stats_count(struct fs_stats *stats, uint32_t opcode, bool own)
{
	uint32_t slot = opcode < FS_OPCODES ? opcode : 0;

	atomic_fetch_add_explicit(own ? &stats->own[slot] : &stats->messages[slot], 1,
				  memory_order_relaxed);
}

void fs_stats_own_thread(struct fs_stats *stats)
{
	static _Thread_local struct fs_stats *marked;
	int tid = (int)syscall(SYS_gettid);

	if (marked == stats)
		return;
	marked = stats;
	for (size_t i = 0; i < FS_OWN_THREADS; i++) {
		int none = 0;

		if (atomic_compare_exchange_strong(&stats->own_threads[i], &none, tid))
			return;
	}
	dv_warn("more than %d own threads: some of their messages are counted as foreign",
		FS_OWN_THREADS);
}

bool fs_stats_is_own(const struct fs_stats *stats, uint32_t tid)
{
	for (size_t i = 0; i < FS_OWN_THREADS; i++) {
		int own = atomic_load_explicit(&stats->own_threads[i], memory_order_relaxed);

		if (own == 0)
			return false; /* slots are filled in order and never cleared */
		if ((uint32_t)own == tid)
			return true;
	}
	return false;
}

/* A text that stops growing where it is full. */
struct text {
	char *buf;
	size_t size, len;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->len, t->size - t->len, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < t->size - t->len)
		t->len += (size_t)n;
}

static bool in_total(uint32_t opcode)
{
	return opcode != FUSE_INIT && opcode != FUSE_DESTROY && opcode != FUSE_FORGET &&
	       opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

static void add_counters(struct text *t, const char *title, _Atomic uint64_t *counters)
{
	uint64_t total = 0;
	const char *comma = "";

	add(t, "\"%s\": {", title);
	for (uint32_t i = 0; i < FS_OPCODES; i++) {
		uint64_t n = atomic_load_explicit(&counters[i], memory_order_relaxed);

		if (n == 0)
			continue;
		if (in_total(i))
			total += n;
		add(t, "%s\"%s\": %" PRIu64, comma, names[i] ? names[i] : "OTHER", n);
		comma = ", ";
	}
	add(t, "},\n\"%s_total\": %" PRIu64 ",\n", title, total);
}

static void add_store(struct text *t, const struct dv_store_stats *s)
{
	add(t,
	    "\"frames\": {\"decoded\": %" PRIu64 ", \"encoded\": %" PRIu64 ", \"pieces\": %" PRIu64
	    "},\n",
	    s->frames_decoded, s->frames_encoded, s->pieces_decoded);
	add(t, "\"bytes\": {\"read\": %" PRIu64 ", \"written\": %" PRIu64 "},\n", s->bytes_read,
	    s->bytes_written);
	add(t,
	    "\"values\": {\"packed\": %" PRIu64 ", \"unpacked\": %" PRIu64
	    ", \"replaced\": %" PRIu64 ", \"streamed\": %" PRIu64 ", \"copied\": %" PRIu64
	    ", \"appended\": %" PRIu64 ", \"joined\": %" PRIu64 ", \"pack_refused\": %" PRIu64
	    ", \"recovered\": %" PRIu64 ", \"put_aside\": %" PRIu64 ", \"pending\": %" PRIu64
	    ", \"left_pending\": %" PRIu64 ", \"waiting\": %" PRIu64 "},\n",
	    s->packed, s->unpacked, s->replaced, s->streamed, s->copied, s->appended, s->joined,
	    s->pack_refused, s->recovered, s->put_aside, s->pending, s->left_pending, s->waiting);
	add(t,
	    "\"errors\": {\"corrupt\": %" PRIu64 ", \"io\": %" PRIu64 ", \"space\": %" PRIu64
	    ", \"other\": %" PRIu64 "},\n",
	    s->errors_corrupt, s->errors_io, s->errors_space, s->errors_other);
	add(t,
	    "\"cache\": {\"hits\": %" PRIu64 ", \"misses\": %" PRIu64 ", \"evictions\": %" PRIu64
	    ", \"bytes\": %" PRIu64 ", \"entries\": %" PRIu64 ", \"decoders\": %" PRIu64
	    ", \"open_fds\": %" PRIu64 "},\n",
	    s->cache_hits, s->cache_misses, s->cache_evictions, s->cache_bytes, s->cache_entries,
	    s->decoder_bytes, s->open_fds);
	add(t, "\"twins\": %" PRIu64 ",\n", s->twins);
	add(t, "\"store_nodes\": %" PRIu64 ",\n", s->nodes);
}

void fs_stats_render(struct fs_stats *stats, struct dv_store *store,
		     const struct fs_nodes_numbers *nodes, char *buf, size_t size)
{
	struct text t = {.buf = buf, .size = size};
	struct dv_store_stats s;
	char path[STORE_PATH_MAX];

	memset(&s, 0, sizeof(s));
	dv_store_stats(store, &s);
	add(&t, "{\"pid\": %ld,\n\"version\": \"%s\",\n\"read_only\": %s,\n", (long)getpid(),
	    DISKVFS_VERSION, s.read_only ? "true" : "false");
	add(&t, "\"store\": %s,\n", fs_json_quote(path, sizeof(path), stats->store_path));
	add_counters(&t, "messages", stats->messages);
	add_counters(&t, "own_messages", stats->own);
	add(&t, "\"deferred\": %" PRIu64 ",\n",
	    atomic_load_explicit(&stats->deferred, memory_order_relaxed));
	add_store(&t, &s);
	add(&t,
	    "\"nodes\": %" PRIu64 ", \"nodes_peak\": %" PRIu64 ", \"nodes_pruned\": %" PRIu64 "}",
	    nodes->count, nodes->peak, atomic_load_explicit(&stats->pruned, memory_order_relaxed));
	memset(buf + t.len, ' ', size - t.len);
	buf[size - 1] = '\n';
}
