/* SPDX-License-Identifier: MIT */
/*
 * session.c - libfuse's session, the serving loop and the INIT handshake.
 *
 * libfuse 3.14 can not ask the kernel for PARALLEL_DIROPS and HANDLE_KILLPRIV_V2. Both are bits of
 * the INIT reply, which passes io_writev(): there they are set, where the kernel offered them.
 */
#include "fs/session.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "fs/evict.h"
#include "fs/expire.h"
#include "fs/mountpoint.h"
#include "fs/ops.h"
#include "fs/probe.h"
#include "fs/session_args.h"
#include "fs/steward.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * A class whose requests take longer than this in the serving thread, on the average of the last
 * SLOW_WEIGHT or so, is slow: one of them that lost its processor for a moment is not, a disk that
 * answers late is after a few, one that does not answer at once. A class slow by mistake costs five
 * times as much for each request: it changes threads, and processors.
 */
#define SLOW_NS		 1000000
#define SLOW_WEIGHT	 8
#define SLOW_FOR_NS	 50000000
#define SPIN_NS		 60000
#define LONELY_MAX	 8 /* requests in a row that came later than that: it sleeps at once */
#define POOL_THREADS_MIN 4u
#define POOL_THREADS_MAX 16u
#define PATCHED_BITS	 (FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2)
#define READ_AHEAD_KIB	 1024u
#define IDLE_FRACTION	 16u /* of max_nodes: forgotten files whose handles can be opened */

_Thread_local struct fs_turn fs_turn;

/* The last line that libfuse logged while mounting, for the one line that the user gets. */
static char last_message[256];
static bool mounting;

char *fs_turn_buffer(void)
{
	if (!fs_turn.buffer)
		fs_turn.buffer = malloc(FS_MESSAGE_MAX);
	return fs_turn.buffer;
}

void fs_turn_release(void)
{
	free(fs_turn.buffer);
	fs_turn.buffer = NULL;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- libfuse's hooks ---- */

static void log_libfuse(enum fuse_log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
static void log_libfuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char line[256];
	size_t len;

	if (level == FUSE_LOG_DEBUG) { /* -d: every message, no rate limit */
		vfprintf(stderr, fmt, ap);
		return;
	}
	vsnprintf(line, sizeof(line), fmt, ap);
	len = strlen(line);
	while (len > 0 && line[len - 1] == '\n')
		line[--len] = '\0';
	if (len == 0)
		return;
	if (mounting) /* no other thread of the session is about */
		memcpy(last_message, line, len + 1);
	else
		dv_warn("%s", line);
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fs_session *fs = userdata;
	const struct fuse_out_header *out = iov[0].iov_base;

	/* Only the serving thread is about while INIT is; later this is 0 for good. */
	if (fs->init_unique && out->unique == fs->init_unique && out->error == 0 && count == 2 &&
	    iov[1].iov_len >= sizeof(struct fuse_init_out)) {
		struct fuse_init_out *init = iov[1].iov_base;

		init->flags |= fs->init_offered & PATCHED_BITS;
	}
	return writev(fd, iov, count);
}

/*
 * Reads the next request. A program that has its answer mostly asks again at once; to be found
 * asleep then costs more than the request itself where the two have different processors: one has
 * to wake the other. So for SPIN_NS the thread looks again and again, giving its processor to
 * whoever wants it in between, before it sleeps. Where requests come singly it soon stops doing so.
 */
static ssize_t io_read(int fd, void *buf, size_t len, void *userdata)
{
	struct fs_session *fs = userdata;
	const int64_t begin = now_ns();
	int64_t now = begin;
	bool slept = false;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n = read(fd, buf, len);

		if (n >= 0 || errno != EAGAIN) {
			bool soon = (slept ? now_ns() : now) - begin < SPIN_NS;

			fs->lonely = soon		       ? 0
				     : fs->lonely < LONELY_MAX ? fs->lonely + 1
							       : LONELY_MAX;
			return n;
		}
		now = now_ns();
		if (fs->spins && fs->lonely < LONELY_MAX && now - begin < SPIN_NS) {
			sched_yield();
			continue;
		}
		slept = true;
		if (poll(&p, 1, -1) < 0)
			return -1;
	}
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	const struct fs_session *fs = userdata;

	/* ATOMIC_O_TRUNC is left out because no OPEN is sent: truncation comes as SETATTR.
	 * ASYNC_DIO because pages that are read while such a write is under way stay stale after
	 * it. */
	conn->want = conn->capable &
		     (FUSE_CAP_ASYNC_READ | FUSE_CAP_DONT_MASK | FUSE_CAP_AUTO_INVAL_DATA |
		      FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_POSIX_ACL |
		      FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPORT_SUPPORT);
	if (fs->options->noacl)
		conn->want &= ~(unsigned)FUSE_CAP_POSIX_ACL;
	conn->max_write = FS_MESSAGE_MAX;
	conn->max_read = fs->options->max_read_bytes;
	conn->time_gran = 1;
}

/* ---- serving ---- */

static enum fs_class class_of(const struct fuse_in_header *in)
{
	switch (in->opcode) {
	case FUSE_LOOKUP:
	case FUSE_GETATTR:
	case FUSE_READLINK:
	case FUSE_STATFS:
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		return FS_CLASS_ATTR;
	case FUSE_SETATTR:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_LINK:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR:
		return FS_CLASS_NAME;
	case FUSE_READ:
	case FUSE_LSEEK:
		return FS_CLASS_READ;
	case FUSE_WRITE:
		return in->nodeid == FS_ID_CONTROL ? FS_CLASS_COMMAND : FS_CLASS_WRITE;
	case FUSE_FALLOCATE:
		return FS_CLASS_WRITE;
	case FUSE_OPENDIR:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return FS_CLASS_LIST;
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
	case FUSE_COPY_FILE_RANGE:
		return FS_CLASS_BLOCKING;
	default:
		return FS_CLASS_NONE;
	}
}

static void process(struct fs_session *fs, struct fuse_buf *buf, bool may_wait)
{
	fs_turn.in = buf->mem;
	fs_turn.may_wait = may_wait;
	fs_turn.deferred = fs_turn.parked = false;
	fuse_session_process_buf(fs->se, buf);
	fs_turn.in = NULL;
}

/* In a thread of the pool. */
static bool run_deferred(void *self, struct fuse_buf *buf, int64_t waited_ns)
{
	struct fs_session *fs = self;

	fs_stats_own_thread(&fs->stats);
	fs_turn.parks = waited_ns >= 0;
	fs_turn.waited_ns = waited_ns < 0 ? FS_WAITED_ENOUGH_NS : waited_ns;
	process(fs, buf, true);
	return fs_turn.parked;
}

void fs_session_retry(void *self)
{
	struct fs_session *fs = self;

	/* Counted first, so that fs_session_close() waits for it, or it sees the end. */
	atomic_fetch_add(&fs->retries, 1);
	if (!atomic_load(&fs->ending))
		fs_pool_retry(fs->pool);
	atomic_fetch_sub(&fs->retries, 1);
}

static void leave_pool(void *self)
{
	(void)self;
	fs_turn_release();
}

static void defer(struct fs_session *fs, struct fuse_buf *buf, bool command)
{
	dv_err err = fs_pool_put(fs->pool, buf, command);

	if (err == 0) {
		atomic_fetch_add_explicit(&fs->stats.deferred, 1, memory_order_relaxed);
		return;
	}
	/* No memory for it, or too many commands: answered here and now, whatever it takes, but for
	 * space. */
	fs_turn.refuse = command;
	fs_turn.waited_ns = FS_WAITED_ENOUGH_NS;
	process(fs, buf, true);
	fs_turn.refuse = false;
	fs_turn.waited_ns = 0;
}

/* For the virtual folder, or sent by a thread of ours. */
static bool is_own(const struct fs_session *fs, const struct fuse_in_header *in)
{
	if (fs_control_is(in->nodeid) || fs_stats_is_own(&fs->stats, in->pid))
		return true;
	return in->opcode == FUSE_LOOKUP &&
	       fs_control_is_folder_name(in->nodeid, (const char *)(in + 1));
}

/* A command's writer was sent a signal. */
static void interrupt(struct fs_session *fs, const struct fuse_in_header *in)
{
	const struct fuse_interrupt_in *target = (const void *)(in + 1);
	struct fuse_out_header out = {.len = sizeof(out), .error = -EINTR};

	if (in->len < sizeof(*in) + sizeof(*target))
		return;
	for (size_t i = 0; i < FS_COMMANDS_KNOWN; i++) {
		if (fs->commands[i] != target->unique)
			continue;
		fs->commands[i] = 0;
		out.unique = target->unique;
		/* -ENOENT: it was answered meanwhile. */
		dv_ignore(write(fuse_session_fd(fs->se), &out, sizeof(out)));
	}
}

static void before_init(struct fs_session *fs, const struct fuse_in_header *in)
{
	const struct fuse_init_in *init = (const void *)(in + 1);

	if (in->len < sizeof(*in) + sizeof(*init))
		return;
	fs->init_unique = in->unique;
	fs->init_offered = init->flags;
}

/* Which device the mount is, for the probe and the sandbox. */
static void look_at_mount(struct fs_session *fs)
{
	DV_AUTO_FREE struct fs_mount *m = malloc(sizeof(*m));

	if (m && fs_mountpoint_find(fs->mountpoint, m) == 0) {
		fs->dev_major = m->major;
		fs->dev_minor = m->minor;
	}
}

/* As root: the kernel reads more ahead. */
static void read_more_ahead(struct fs_session *fs)
{
	dv_err err;

	if (geteuid() != 0)
		return;
	err = fs_mountpoint_read_ahead(fs->mountpoint, READ_AHEAD_KIB);
	if (err < 0)
		dv_debug("read_ahead_kb stays as it is: %s", strerror(-err));
}

/* The INIT reply is with the kernel, clients are let in: the mount works. */
static void after_init(struct fs_session *fs)
{
	fs->init_unique = 0;
	if (fuse_session_exited(fs->se)) /* libfuse refused; the loop ends */
		return;
	read_more_ahead(fs);
	atomic_store(&fs->serving, true);
	fs->ready(fs);
}

static void serve(struct fs_session *fs, struct fuse_buf *buf)
{
	const struct fuse_in_header *in = buf->mem;
	uint32_t opcode = in->opcode;
	enum fs_class class = class_of(in);
	int64_t start, end;

	fs_stats_count(&fs->stats, opcode, is_own(fs, in));
	if (opcode == FUSE_INTERRUPT) {
		interrupt(fs, in);
		return;
	}
	if (opcode == FUSE_INIT) {
		before_init(fs, in);
		process(fs, buf, false);
		after_init(fs);
		return;
	}
	if (class == FS_CLASS_NONE) {
		process(fs, buf, false);
		return;
	}
	start = now_ns();
	if (class == FS_CLASS_COMMAND) {
		fs->commands[fs->next_command] = in->unique;
		fs->next_command = (fs->next_command + 1) % FS_COMMANDS_KNOWN;
	}
	if (class >= FS_CLASS_BLOCKING || start < fs->slow_until_ns[class]) {
		defer(fs, buf, class == FS_CLASS_COMMAND);
		return;
	}
	process(fs, buf, false);
	end = now_ns();
	fs->average_ns[class] += (end - start - fs->average_ns[class]) / SLOW_WEIGHT;
	if (fs->average_ns[class] > SLOW_NS) {
		fs->slow_until_ns[class] = end + SLOW_FOR_NS;
		fs->average_ns[class] = 0;
	}
	if (fs_turn.deferred)
		defer(fs, buf, false);
}

dv_err fs_session_loop(struct fs_session *fs)
{
	struct fuse_buf buf;
	dv_err err = 0;

	memset(&buf, 0, sizeof(buf));
	fs_stats_own_thread(&fs->stats);
	while (!fuse_session_exited(fs->se)) {
		int n = fuse_session_receive_buf(fs->se, &buf);

		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n < 0)
			err = n;
		if (n <= 0) /* 0: unmounted, or told to stop */
			break;
		serve(fs, &buf);
		fs_evict_check(fs->evict);
	}
	free(buf.mem);
	fs_turn_release();
	atomic_store(&fs->ending, true);
	return err;
}

void fs_session_stop(struct fs_session *fs)
{
	fuse_session_exit(fs->se);
}

/* ---- making and ending ---- */

static dv_err make_session(struct fs_session *fs, char *why, size_t why_size)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_lowlevel_ops ops;
	dv_err err;

	memset(&ops, 0, sizeof(ops));
	ops.init = op_init;
	fs_ops_lookup_fill(&ops);
	fs_ops_name_fill(&ops);
	fs_ops_file_fill(&ops);
	fs_ops_dir_fill(&ops);
	fs_ops_xattr_fill(&ops);
	last_message[0] = '\0';
	err = fs_session_args(fs->options, &args);
	if (err == 0)
		fs->se = fuse_session_new(&args, &ops, sizeof(ops), fs);
	fuse_opt_free_args(&args);
	if (!fs->se) {
		snprintf(why, why_size, "libfuse refused the options: %s", last_message);
		return err < 0 ? err : -EINVAL;
	}
	if (fuse_session_mount(fs->se, fs->mountpoint) < 0) {
		snprintf(why, why_size, "can not mount on %s: %s", fs->mountpoint,
			 last_message[0] ? last_message : "fusermount3 refused");
		return -ENODEV;
	}
	return 0;
}

/* A few at least: they mostly wait. */
static unsigned waiting_threads(const struct fs_session *fs)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned threads = fs->options->threads;

	if (threads == 0 && online > 0)
		threads = online < POOL_THREADS_MAX ? (unsigned)online : POOL_THREADS_MAX;
	return threads < POOL_THREADS_MIN ? POOL_THREADS_MIN : threads;
}

dv_err fs_session_mount(struct fs_session *fs, char *why, size_t why_size)
{
	static const struct fuse_custom_io io = {.writev = io_writev, .read = io_read};
	dv_err err;

	fuse_set_log_func(log_libfuse);
	fs_control_init(&fs->control);
	mounting = true;
	err = make_session(fs, why, why_size);
	if (err == 0) {
		int fd = fuse_session_fd(fs->se);

		fs->spins = sysconf(_SC_NPROCESSORS_ONLN) > 1;
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); /* see io_read() */
		err = fuse_session_custom_io(fs->se, &io, fuse_session_fd(fs->se));
		if (err < 0)
			snprintf(why, why_size, "libfuse: %s", last_message);
	}
	mounting = false;
	if (err == 0)
		look_at_mount(fs);
	return err;
}

dv_err fs_session_open(struct fs_session *fs, char *why, size_t why_size)
{
	const struct fs_pool_ops pool = {fs, run_deferred, leave_pool};
	dv_err err;

	if (getrandom(&fs->generation, sizeof(fs->generation), GRND_NONBLOCK) < 0)
		fs->generation = (uint32_t)now_ns();
	err = fs_nodes_new(fs->store, fs->options->max_nodes / IDLE_FRACTION, &fs->nodes);
	if (err < 0) {
		snprintf(why, why_size, "out of memory");
		return err;
	}
	err = fs_pool_new(&pool, waiting_threads(fs), &fs->pool);
	if (err == 0)
		err = fs_probe_new(fs, &fs->probe);
	if (err == 0)
		err = fs_evict_new(fs, fs->options->max_nodes, &fs->evict);
	if (err == 0)
		err = fs_expire_new(fs->options, fs->mountpoint, fs->steward, &fs->expire);
	if (err < 0)
		snprintf(why, why_size, "can not start threads: %s", strerror(-err));
	return err;
}

/* Is the kernel's side of the connection gone? */
static bool disconnected(struct fs_session *fs)
{
	struct pollfd p = {.fd = fuse_session_fd(fs->se)};

	return p.fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

/*
 * Closes the connection, before the mount is taken away: the kernel may want to write to it first. libfuse
 * would unmount by itself, which a confined daemon can not, but where it sees POLLERR: such a pipe
 * takes the place of the connection.
 */
static void disconnect(struct fs_session *fs)
{
	int fd = fuse_session_fd(fs->se), fds[2];

	if (fd < 0 || pipe2(fds, O_CLOEXEC) < 0)
		return;
	close(fds[0]);
	dup2(fds[1], fd);
	close(fds[1]);
	fuse_session_unmount(fs->se);
}

void fs_session_close(struct fs_session *fs)
{
	const struct timespec moment = {.tv_nsec = 1000000};

	atomic_store(&fs->ending, true);
	fs_expire_stop(fs->expire);
	while (atomic_load(&fs->retries) > 0)
		nanosleep(&moment, NULL);
	fs_pool_free(&fs->pool); /* their replies need the session */
	fs_evict_free(&fs->evict);
	while (atomic_load(&fs->notices) > 0)
		nanosleep(&moment, NULL);
	if (fs->se) {
		/* By path, and so only where it is ours that is there. */
		bool mounted = fuse_session_fd(fs->se) >= 0 && !atomic_load(&fs->unmounted) &&
			       !disconnected(fs);

		disconnect(fs); /* a probe that waits for an answer fails now */
		fuse_session_destroy(fs->se);
		fs->se = NULL;
		if (mounted)
			dv_ignore(fs_steward_do(fs->steward, FS_ERRAND_UNMOUNT_LAZY));
	}
	while (atomic_load(&fs->probes) > 0)
		nanosleep(&moment, NULL);
	fs_probe_free(&fs->probe);
	fs_expire_free(&fs->expire);
	if (fs->nodes)
		dv_debug("%" PRIu64 " nodes were in use", fs_nodes_count(fs->nodes));
	fs_nodes_free(&fs->nodes);
	fs_control_release(&fs->control);
}
