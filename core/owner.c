/* SPDX-License-Identifier: MIT */
/* owner.c - see owner.h. */
#include "core/owner.h"

#include "core/cleanup.h"
#include "core/fnv.h"
#include "core/io.h"
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define MS	     1000000ll
#define DYING_TRIES  500 /* of a killed owner: 5 s */
#define SETTLE_TRIES 10	 /* of an owner that can not be seen: another mount may just be taking it */
#define TAKEN_TRIES  3000 /* of a folder that another mount works on: 30 s */
#define WAIT_MS	     10
#define SILENT_MS    60000 /* an owner that never beats may be that old */
#define ADOPTED	     ".by-"

static int64_t clock_ms(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / MS;
}

static int64_t as_ms(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / MS;
}

static void pause_ms(int64_t ms)
{
	struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000 * MS)};
	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

/* ---- who this is ---- */

static bool read_line(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
	if (fd >= 0)
		close(fd);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return out[0];
}

void dv_owner_identify(struct dv_store *s)
{
	const struct dv_store_options *o = &s->options;
	if (o->boot_id)
		snprintf(s->boot_id, sizeof(s->boot_id), "%s", o->boot_id);
	else
		dv_boot_id(s->boot_id);
	if (o->host_id)
		snprintf(s->host_id, sizeof(s->host_id), "%s", o->host_id);
	else if (!read_line("/etc/machine-id", s->host_id, sizeof(s->host_id)) &&
		 !read_line("/var/lib/dbus/machine-id", s->host_id, sizeof(s->host_id)))
		gethostname(s->host_id, sizeof(s->host_id) - 1);
}

int dv_owner_write(struct dv_store *s, int dirfd)
{
	char text[DV_OWNER_MAX], name[256] = "";
	gethostname(name, sizeof(name) - 1);
	int len = snprintf(text, sizeof(text),
			   "boot=%s\nhost=%s\nname=%s\npid=%ld\nsince=%" PRId64
			   "\nshared=%d\nbeat_ms=%u\nmountpoint=%s\n",
			   s->boot_id, s->host_id, s->options.host_id ? s->host_id : name,
			   (long)getpid(), clock_ms(CLOCK_REALTIME) / 1000, s->options.shared,
			   s->options.beat_ms, s->mountpoint ? s->mountpoint : "");
	if (len < 0 || (size_t)len >= sizeof(text))
		return -ENAMETOOLONG;
	int fd = DV_B(s, open, dirfd, "owner", O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	dv_err err = DV_B(s, flock, fd, LOCK_EX | LOCK_NB);
	if (!err) {
		/* Not had on some network filesystems: `pack` then opens the store for itself. */
		dv_ignore(DV_B(s, flock, dirfd, LOCK_EX | LOCK_NB));
		err = dv_write_full(s, fd, text, (size_t)len, 0);
	}
	if (err)
		DV_B(s, close, fd);
	return err ? err : fd;
}

/* ---- who others are ---- */

dv_err dv_owner_field(const char *text, const char *name, char *value, size_t size)
{
	size_t name_len = strlen(name);
	for (const char *line = text; *line; line = strchrnul(line, '\n'), line += *line == '\n') {
		if (strncmp(line, name, name_len) != 0 || line[name_len] != '=')
			continue;
		const char *from = line + name_len + 1;
		size_t len = (size_t)(strchrnul(from, '\n') - from);
		if (len >= size)
			len = size - 1;
		memcpy(value, from, len);
		value[len] = '\0';
		return 0;
	}
	return -ENOENT;
}

/* "" where the owner has no such line. */
static void field(const char *text, const char *name, char *value, size_t size)
{
	if (dv_owner_field(text, name, value, size))
		value[0] = '\0';
}

static dv_err read_owner(struct dv_store *s, int fd, char text[DV_OWNER_MAX + 1])
{
	ssize_t n = DV_B(s, pread, fd, text, DV_OWNER_MAX, 0);
	text[n > 0 ? n : 0] = '\0';
	return n < 0 ? (dv_err)n : 0;
}

static int open_owner(struct dv_store *s, int dirfd)
{
	return DV_B(s, open, dirfd, "owner", O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
}

bool dv_owner_is_here(struct dv_store *s, int dirfd, char text[DV_OWNER_MAX + 1])
{
	bool here = DV_B(s, flock, dirfd, LOCK_SH | LOCK_NB) == -EWOULDBLOCK;
	int fd = dv_open_quiet(s, dirfd, "owner", O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	bool good = fd >= 0 && read_owner(s, fd, text) == 0;
	if (fd >= 0)
		DV_B(s, close, fd);
	return here && good;
}

/* Has this machine been started since? A test that names its kernel's run has begun it just now. */
static bool before_our_boot(const struct dv_store *s, int64_t age_ms)
{
	int64_t up_ms = s->options.boot_id ? 0 : clock_ms(CLOCK_BOOTTIME);
	return age_ms >= up_ms;
}

static enum dv_owner_state judge(const struct dv_store *s, const char *text, struct dv_owner *o)
{
	char boot[64], host[64], number[32];
	field(text, "boot", boot, sizeof(boot));
	field(text, "host", host, sizeof(host));
	field(text, "name", o->host, sizeof(o->host));
	field(text, "since", o->since, sizeof(o->since));
	field(text, "shared", number, sizeof(number));
	o->shared = number[0] == '1';
	field(text, "beat_ms", number, sizeof(number));
	long long beat = strtoll(number, NULL, 10);
	/* No process beats less often: a larger number is damage, or there to keep others waiting. */
	o->beat_ms = beat > 0 && beat <= DV_BEAT_MS ? beat : SILENT_MS / DV_BEATS_DEAD;
	if (!boot[0] ||
	    strcmp(boot, s->boot_id) == 0) /* it was being made: who makes it has the lock */
		return DV_OWNER_LOCK_TELLS;
	int64_t limit = o->beat_ms * DV_BEATS_DEAD;
	bool fresh = o->age_ms <= limit && o->age_ms >= -limit;
	if (strcmp(host, s->host_id) == 0 && (!fresh || before_our_boot(s, o->age_ms)))
		return DV_OWNER_GONE;
	return fresh ? DV_OWNER_ELSEWHERE : DV_OWNER_SUSPECT;
}

/* -ENOENT: no owner file. */
static dv_err look_at(struct dv_store *s, int stagefd, struct dv_owner *o, int64_t now_ms,
		      char text[DV_OWNER_MAX + 1])
{
	char path[DV_OWNER_NAME_MAX + 8];
	struct dv_stat st;
	snprintf(path, sizeof(path), "%s/owner", o->folder);
	int fd = dv_open_quiet(s, stagefd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return fd == -ENOTDIR || fd == -ELOOP ? -ENOENT : fd;
	dv_err err = read_owner(s, fd, text);
	if (!err)
		err = DV_B(s, stat, fd, "", &st);
	DV_B(s, close, fd);
	if (err)
		return err;
	o->beat = st.mtime;
	o->age_ms = now_ms - as_ms(st.mtime);
	return 0;
}

static dv_err push(struct dv_owners *all, const struct dv_owner *o)
{
	if (all->count == all->room) {
		size_t room = all->room ? all->room * 2 : 8;
		struct dv_owner *grown = realloc(all->at, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		all->at = grown;
		all->room = room;
	}
	all->at[all->count++] = *o;
	return 0;
}

struct finding {
	int64_t now_ms; /* of the backing */
	struct dv_owners *out;
	dv_err err; /* of the first that could not be looked at: the others are found all the same */
};

static dv_err find_one(struct dv_store *s, int stagefd, const char *folder, void *ctx)
{
	struct finding *f = ctx;
	char text[DV_OWNER_MAX + 1];
	struct dv_owner o = {.state = DV_OWNER_LOCK_TELLS};
	size_t len = strlen(folder);
	if (len >= sizeof(o.folder))
		return 0;
	memcpy(o.folder, folder, len + 1);
	dv_err err = look_at(s, stagefd, &o, f->now_ms, text);
	if (!err)
		o.state = judge(s, text, &o);
	else if (err != -ENOENT)
		f->err = f->err ? f->err : err;
	return err && err != -ENOENT ? 0 : push(f->out, &o);
}

/* Who is suspected, and does not beat while we look, is gone. */
static void watch_suspects(struct dv_store *s, int stagefd, struct dv_owners *all, bool watch)
{
	char text[DV_OWNER_MAX + 1];
	int64_t wait_ms = 0;
	for (size_t i = 0; i < all->count; i++) {
		const struct dv_owner *o = &all->at[i];
		if (o->state != DV_OWNER_SUSPECT || !watch)
			continue;
		dv_warn("host %s has the store open, or has left it unfinished; waiting %" PRId64
			" s to see whether it is gone",
			o->host, o->beat_ms * 3 / 2000);
		if (wait_ms < o->beat_ms * 3 / 2)
			wait_ms = o->beat_ms * 3 / 2;
	}
	if (wait_ms)
		pause_ms(wait_ms);
	for (size_t i = 0; i < all->count; i++) {
		struct dv_owner *o = &all->at[i], now = *o;
		if (o->state != DV_OWNER_SUSPECT)
			continue;
		bool beats = watch && look_at(s, stagefd, &now, 0, text) == 0 &&
			     as_ms(now.beat) != as_ms(o->beat);
		o->state = beats ? DV_OWNER_ELSEWHERE : DV_OWNER_GONE;
		if (beats)
			o->age_ms = 0;
	}
}

/* The clock of the backing: when our own owner file was written. */
static int64_t backing_now_ms(struct dv_store *s)
{
	struct dv_stat st;
	if (s->owner_fd < 0 || DV_B(s, stat, s->owner_fd, "", &st))
		return clock_ms(CLOCK_REALTIME);
	return as_ms(st.mtime);
}

/* Calls fn for each folder of another owner, until it returns other than 0. */
typedef dv_err owner_fn(struct dv_store *s, int stagefd, const char *folder, void *ctx);
static dv_err each_other(struct dv_store *s, int stagefd, owner_fn *fn, void *ctx)
{
	enum { BUF = 32768, MAX = 512 };
	DV_AUTO_FREE char *buf = malloc(BUF);
	DV_AUTO_FREE struct dv_dirent *ents = malloc(MAX * sizeof(*ents));
	if (!buf || !ents)
		return -ENOMEM;
	/* Its own, since a descriptor has one position: of two threads with one, one would miss names. */
	int fd = dv_open_quiet(s, stagefd, "", O_RDONLY | O_DIRECTORY);
	dv_err err = fd < 0 ? fd : 0;
	int64_t cookie = 0;
	for (unsigned seen = 0; !err && seen < DV_OWNERS_MAX;) {
		ssize_t n = DV_B(s, readdir, fd, cookie, buf, BUF, ents, MAX);
		if (n <= 0) {
			err = (dv_err)n;
			break;
		}
		seen += (unsigned)n;
		for (ssize_t i = 0; !err && i < n; i++)
			if (strcmp(ents[i].name, s->owner_folder) != 0)
				err = fn(s, stagefd, ents[i].name, ctx);
		cookie = ents[n - 1].cookie;
	}
	if (fd >= 0)
		DV_B(s, close, fd);
	return err;
}

dv_err dv_owners_find(struct dv_store *s, int stagefd, bool watch, struct dv_owners *out)
{
	struct finding f = {.now_ms = backing_now_ms(s), .out = out};
	dv_err err = each_other(s, stagefd, find_one, &f);
	watch_suspects(s, stagefd, out, watch);
	return err ? err : f.err;
}

static dv_err stop_at_first(struct dv_store *s, int stagefd, const char *folder, void *ctx)
{
	(void)s, (void)stagefd, (void)folder, (void)ctx;
	return -EEXIST;
}

bool dv_owners_beside(struct dv_store *s)
{
	return each_other(s, s->stage_fd, stop_at_first, NULL) != 0;
}

void dv_owners_release(struct dv_owners *o)
{
	free(o->at);
	*o = (struct dv_owners){0};
}

dv_err dv_owners_check(struct dv_store *s, const struct dv_owners *all, char *why, size_t why_size)
{
	for (size_t i = 0; i < all->count; i++) {
		const struct dv_owner *o = &all->at[i];
		char since[64] = "?";
		struct tm tm;
		time_t t = (time_t)strtoll(o->since, NULL, 10);
		if (o->state != DV_OWNER_ELSEWHERE || (s->options.shared && o->shared))
			continue;
		if (localtime_r(&t, &tm))
			strftime(since, sizeof(since), "%Y-%m-%d %H:%M:%S", &tm);
		int64_t age_s = o->age_ms > 0 ? o->age_ms / 1000 : 0;
		if (s->options.shared)
			snprintf(why, why_size,
				 "host %s has it open since %s without `shared` (last heard of "
				 "%" PRId64 " s ago); open it there with -o shared too",
				 o->host, since, age_s);
		else
			snprintf(why, why_size,
				 "host %s has it open since %s (last heard of %" PRId64
				 " s ago); to use it on both, mount it with -o shared on each. If "
				 "that "
				 "host is gone, try again in %" PRId64 " s",
				 o->host, since, age_s,
				 o->beat_ms * DV_BEATS_DEAD / 1000 - age_s + 1);
		return -EBUSY;
	}
	return 0;
}

/* ---- taking a dead one's folder ---- */

static bool has_sigkill(const char *status, const char *name)
{
	const char *at = strstr(status, name);
	return at && strtoull(at + strlen(name), NULL, 16) & (1u << (SIGKILL - 1));
}

enum process { ALIVE, DYING, UNSEEN };

/* Of an owner of this kernel. Its locks go with its last thread, a moment after it was killed. */
static enum process look_at_process(const char *owner)
{
	char pid[32], path[64], status[4096];
	field(owner, "pid", pid, sizeof(pid));
	snprintf(path, sizeof(path), "/proc/%ld/status", strtol(pid, NULL, 10));
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, status, sizeof(status) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return UNSEEN; /* ended, or of a namespace that is not seen from here */
	status[n] = '\0';
	const char *state = strstr(status, "\nState:\t");
	return (state && strchr("ZX", state[8])) || has_sigkill(status, "\nSigPnd:\t") ||
			       has_sigkill(status, "\nShdPnd:\t")
		       ? DYING
		       : ALIVE;
}

/* Of the name that the folder had from its owner. */
static uint64_t hash_of(const char *folder)
{
	const char *by = strstr(folder, ADOPTED);
	size_t len = by ? (size_t)(by - folder) : strlen(folder);
	return dv_fnv1a(DV_FNV1A, folder, len);
}

/* One that is asleep on another kernel has no lock here: it is among the dead, until it is looked at closely. */
static dv_err add_dead(struct dv_store *s, int stagefd, const char *folder, void *ctx)
{
	uint64_t *which = ctx;
	char text[DV_OWNER_MAX + 1];
	if (strncmp(folder, "new-", 4) == 0) /* nothing is recorded in it yet */
		return 0;
	int fd = DV_B(s, open, stagefd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd == -ENOENT) /* just taken, or swept */
		return -EAGAIN;
	/* No folder; or another user's, whose work is not for this one to finish. */
	if (fd == -ENOTDIR || fd == -ELOOP || fd == -EACCES || fd == -EPERM)
		return 0;
	if (fd < 0)
		return fd;
	if (!dv_owner_is_here(s, fd, text) || look_at_process(text) == DYING)
		*which += hash_of(folder);
	DV_B(s, close, fd);
	return 0;
}

dv_err dv_owners_dead(struct dv_store *s, uint64_t *which)
{
	*which = 0;
	if (s->stage_fd < 0 || s->options.shared) /* locks do not reach other hosts */
		return 0;
	dv_err err = each_other(s, s->stage_fd, add_dead, which);
	if (!err && *which && *which != atomic_load(&s->dead_left))
		err = -EAGAIN;
	return err;
}

dv_err dv_owners_dead_before(struct dv_store *s, struct dv_node *n)
{
	uint64_t which;
	dv_err err = dv_owners_dead(s, &which);
	if (err == -EAGAIN)
		atomic_fetch_or(&n->others, DV_OTHERS_DIED);
	else /* what others put under its name from now on is another value */
		atomic_fetch_and(&n->others, (unsigned char)~DV_OTHERS_DIED);
	return err;
}

void dv_owners_leave_dead(struct dv_store *s, uint64_t which)
{
	atomic_store(&s->dead_left, which);
}

/* Is the folder's file still the one that fd is? Else others have taken the folder. */
static bool is_still_there(struct dv_store *s, int dirfd, int fd)
{
	struct dv_stat by_name, by_fd;
	return DV_B(s, stat, dirfd, "owner", &by_name) == 0 && DV_B(s, stat, fd, "", &by_fd) == 0 &&
	       by_name.ino == by_fd.ino && by_name.dev == by_fd.dev;
}

/* Its folder is locked by the owner alone, while it lives; its file also for moments, by those who look and
 * by whoever takes it. */
static bool is_locked_by_others_only(struct dv_store *s, int dirfd)
{
	if (DV_B(s, flock, dirfd, LOCK_SH | LOCK_NB))
		return false;
	dv_ignore(DV_B(s, flock, dirfd, LOCK_UN));
	return true;
}

static unsigned tries_for(struct dv_store *s, int dirfd, const struct dv_owner *o, const char *text)
{
	if (strstr(o->folder, ADOPTED))
		return TAKEN_TRIES; /* its adopter holds the lock */
	if (o->state != DV_OWNER_LOCK_TELLS)
		return SETTLE_TRIES; /* nobody of another run of the kernel holds it: its adopter */
	if (strncmp(o->folder, "new-", 4) != 0 && is_locked_by_others_only(s, dirfd))
		return TAKEN_TRIES;
	switch (look_at_process(text)) {
	case DYING:
		return DYING_TRIES;
	case UNSEEN:
		return SETTLE_TRIES;
	default:
		return 0;
	}
}

/* Gives the folder a name that says whose it is now. -ESTALE: another one was faster. */
static dv_err claim(struct dv_store *s, int stagefd, struct dv_owner *o)
{
	char name[DV_OWNER_NAME_MAX];
	int len = (int)strlen(o->folder);
	const char *by = strstr(o->folder, ADOPTED);
	if (by)
		len = (int)(by - o->folder);
	int n = snprintf(name, sizeof(name), "%.*s" ADOPTED "%s", len, o->folder, s->owner_folder);
	if (n < 0 || (size_t)n >= sizeof(name))
		return -ENAMETOOLONG;
	dv_err err = DV_B(s, rename, stagefd, o->folder, stagefd, name, 0);
	if (!err)
		memcpy(o->folder, name, (size_t)n + 1);
	return err == -ENOENT ? -ESTALE : err;
}

/* The lock on the owner file, once it can be had. */
static dv_err lock_owner(struct dv_store *s, int stagefd, int dirfd, const struct dv_owner *o,
			 int fd, const char *text)
{
	struct dv_stat st;
	bool taken = false;
	dv_err err = DV_B(s, flock, fd, LOCK_EX | LOCK_NB);
	unsigned tries = err == -EWOULDBLOCK ? tries_for(s, dirfd, o, text) : 0, now;
	for (; err == -EWOULDBLOCK && tries && is_still_there(s, dirfd, fd); tries--) {
		if (!taken && DV_B(s, stat, stagefd, o->folder, &st) == -ENOENT) {
			taken = true; /* renamed by its adopter */
			tries = TAKEN_TRIES;
		}
		pause_ms(WAIT_MS);
		err = DV_B(s, flock, fd, LOCK_EX | LOCK_NB);
		now = err == -EWOULDBLOCK && !taken ? tries_for(s, dirfd, o, text) : tries;
		if (now < tries)
			tries = now + 1;
	}
	return is_still_there(s, dirfd, fd) ? err : -ESTALE;
}

dv_err dv_owner_take(struct dv_store *s, int stagefd, int dirfd, struct dv_owner *owner,
		     int *lock_fd, bool *same_boot)
{
	char text[DV_OWNER_MAX + 1], boot[64];
	int fd = open_owner(s, dirfd);
	if (fd < 0)
		return fd;
	dv_err err = read_owner(s, fd, text);
	if (!err)
		err = lock_owner(s, stagefd, dirfd, owner, fd, text);
	if (!err)
		err = claim(s, stagefd, owner);
	if (err) {
		DV_B(s, close, fd);
		return err;
	}
	field(text, "boot", boot, sizeof(boot));
	*same_boot = strcmp(boot, s->boot_id) == 0;
	*lock_fd = fd;
	return 0;
}
