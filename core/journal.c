/* SPDX-License-Identifier: MIT */
/*
 * journal.c - see journal.h.
 *
 * Open records are kept in memory too, as they were encoded: compaction writes them to a new log,
 * and repath finds them.
 */
#include "core/journal.h"

#include "core/cleanup.h"
#include "core/hash.h"
#include "core/io.h"
#include "core/owner.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define MAKE_TRIES 16

struct open_record {
	uint64_t id;
	bool ended; /* of a swap: what it led to may not be durable yet, so that the log goes on to
		       have it */
	uint64_t moved; /* the renaming that gave it its path, 0: none */
	UT_hash_handle hh;
	size_t len;
	uint8_t bytes[];
};

struct dv_journal {
	pthread_mutex_t sync_lock;   /* before lock: one sync at a time, and none while the log is
					made anew */
	pthread_mutex_t lock;	     /* all but the constants */
	int stagefd, dirfd, ownerfd; /* constant */
	char name[64];		     /* constant: of the folder */
	int logfd;
	uint64_t log_len, open_len;
	uint64_t synced_len; /* of the log, as it was last synced; UINT64_MAX after a failure */
	bool doubtful; /* a sync of the log has failed: the kernel may have dropped what it held,
			  and say nothing the next time */
	uint64_t next_id;
	unsigned ended; /* records of `open` that are */
	struct open_record *open;
	pthread_mutex_t move_lock;   /* before paths_lock: one renaming of directories at a time */
	pthread_rwlock_t paths_lock; /* before lock; exclusive: directories get other paths */
	uint64_t moves;		     /* counts renamings of directories */
	bool moving;		     /* one is under way */
	bool moved; /* since the log was made: of a record's paths the earlier one may be what the
		       power leaves */
};

/* ---- the owner folder ---- */

static void close_fd(struct dv_store *s, int fd)
{
	if (fd >= 0)
		DV_B(s, close, fd);
}

static dv_err make_folder(struct dv_store *s, struct dv_journal *j)
{
	uint64_t random = 0;
	char fresh[80];
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	snprintf(j->name, sizeof(j->name), "%.8s-%ld-%08" PRIx32, s->boot_id, (long)getpid(),
		 (uint32_t)random);
	snprintf(fresh, sizeof(fresh), "new-%s", j->name);
	dv_err err = DV_B(s, mkdir, j->stagefd, fresh, 0700);
	if (err)
		return err;
	j->dirfd = DV_B(s, open, j->stagefd, fresh, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (j->dirfd < 0)
		return j->dirfd;
	j->ownerfd = dv_owner_write(s, j->dirfd);
	if (j->ownerfd < 0)
		return j->ownerfd;
	j->logfd = DV_B(s, open, j->dirfd, "log", O_RDWR | O_CREAT | O_EXCL, 0600);
	if (j->logfd < 0)
		return j->logfd;
	err = DV_B(s, fsync, j->ownerfd);
	if (!err)
		err = DV_B(s, fsync, j->dirfd);
	if (!err)
		err = DV_B(s, rename, j->stagefd, fresh, j->stagefd, j->name, 0);
	if (err)
		return err;
	snprintf(s->owner_folder, sizeof(s->owner_folder), "%s", j->name);
	s->owner_fd = j->ownerfd;
	s->stage_fd = j->stagefd;
	/* Records are of use after a power cut only where the folder is. */
	return DV_B(s, fsync, j->stagefd);
}

static void close_folder(struct dv_store *s, struct dv_journal *j)
{
	close_fd(s, j->logfd);
	close_fd(s, j->ownerfd);
	close_fd(s, j->dirfd);
	j->dirfd = j->ownerfd = j->logfd = -1;
}

/* Another mount that recovers may take a folder that is being made for one that was left so. */
static dv_err make_folder_once_more(struct dv_store *s, struct dv_journal *j)
{
	dv_err err = make_folder(s, j);
	for (int tries = 0; (err == -ENOENT || err == -EWOULDBLOCK) && tries < MAKE_TRIES;
	     tries++) {
		close_folder(s, j);
		err = make_folder(s, j);
	}
	return err;
}

/* The stage folder's own name: without it no record outlives the power. */
static dv_err sync_control_dir(struct dv_store *s)
{
	int fd = DV_B(s, open, s->rootfd, DV_CONTROL_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	dv_err err = DV_B(s, fsync, fd);
	DV_B(s, close, fd);
	return err;
}

/* Else a renaming waits as long as there is somebody who appends. */
static void init_paths_lock(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

dv_err dv_journal_open(struct dv_store *s, struct dv_journal **out)
{
	struct dv_journal *j = calloc(1, sizeof(*j));
	if (!j)
		return -ENOMEM;
	pthread_mutex_init(&j->lock, NULL);
	pthread_mutex_init(&j->sync_lock, NULL);
	pthread_mutex_init(&j->move_lock, NULL);
	init_paths_lock(&j->paths_lock);
	j->dirfd = j->ownerfd = j->logfd = -1;
	j->next_id = 1;
	dv_err err = DV_B(s, mkdir, s->rootfd, DV_STAGE_DIR, 0700);
	if (err == -EEXIST)
		err = 0;
	j->stagefd = err ? -1
			 : DV_B(s, open, s->rootfd, DV_STAGE_DIR,
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (!err && j->stagefd < 0)
		err = j->stagefd;
	if (!err) /* also where it is there: who made it may have died at once */
		err = sync_control_dir(s);
	if (!err)
		err = make_folder_once_more(s, j);
	*out = j;
	if (err)
		dv_journal_close(s, out);
	return err;
}

void dv_journal_close(struct dv_store *s, struct dv_journal **slot)
{
	struct dv_journal *j = *slot;
	if (!j)
		return;
	bool done = HASH_COUNT(j->open) == j->ended && (!j->ended || !DV_B(s, syncfs, s->rootfd));
	if (done && j->dirfd >= 0 && !atomic_load(&s->fenced)) {
		/* Whatever fails here leaves a folder without open records: the next owner sweeps
		 * it. */
		dv_ignore(DV_B(s, unlink, j->dirfd, "log"));
		dv_ignore(DV_B(s, unlink, j->dirfd, "owner"));
		dv_ignore(DV_B(s, rmdir, j->stagefd, j->name));
	}
	struct open_record *r, *next;
	HASH_ITER(hh, j->open, r, next)
	{
		HASH_DEL(j->open, r);
		free(r);
	}
	s->owner_fd = s->stage_fd = -1;
	close_folder(s, j);
	close_fd(s, j->stagefd);
	pthread_mutex_destroy(&j->lock);
	pthread_mutex_destroy(&j->sync_lock);
	pthread_mutex_destroy(&j->move_lock);
	pthread_rwlock_destroy(&j->paths_lock);
	free(j);
	*slot = NULL;
}

uint64_t dv_journal_new_id(struct dv_journal *j)
{
	pthread_mutex_lock(&j->lock);
	uint64_t id = j->next_id++;
	pthread_mutex_unlock(&j->lock);
	return id;
}

int dv_journal_dirfd(const struct dv_journal *j)
{
	return j->dirfd;
}

void dv_journal_stage_name(uint64_t id, char out[DV_STAGE_NAME])
{
	snprintf(out, DV_STAGE_NAME, "%" PRIx64, id);
}

dv_err dv_journal_make_file(struct dv_store *s, const char *name, struct dv_file **out)
{
	dv_act_as_self(s);
	int fd = DV_B(s, open, s->journal->dirfd, name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	dv_keep_quiet(s, fd);
	*out = dv_file_new(s, fd, true);
	if (!*out)
		dv_ignore(DV_B(s, unlink, s->journal->dirfd, name)); /* swept by the next owner */
	return *out ? 0 : -ENOMEM;
}

/* ---- the log ---- */

static dv_err append_locked(struct dv_store *s, struct dv_journal *j, const uint8_t *bytes,
			    size_t len)
{
	dv_err err = dv_write_full(s, j->logfd, bytes, len, j->log_len);
	if (err) /* a half-written record must not stand before the next one */
		dv_ignore(DV_B(s, truncate, j->logfd, j->log_len));
	else
		j->log_len += len;
	return err;
}

/* What they led to is durable. The old log, should it stay, tells of them without harm. */
static void drop_ended_locked(struct dv_journal *j)
{
	struct open_record *r, *next;
	HASH_ITER(hh, j->open, r, next)
	{
		if (!r->ended)
			continue;
		HASH_DEL(j->open, r);
		free(r);
	}
	j->ended = 0;
}

/* Writes the open records to a new log in place of the old one, which stays where that fails. Both
 * locks. */
static dv_err renew_locked(struct dv_store *s, struct dv_journal *j)
{
	dv_err err = j->ended || j->moved ? DV_B(s, syncfs, s->rootfd) : 0;
	if (err)
		return err;
	drop_ended_locked(j);
	int fd = DV_B(s, open, j->dirfd, "log.new", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return fd;
	uint64_t at = 0;
	for (struct open_record *r = j->open; r && !err; r = r->hh.next) {
		err = dv_write_full(s, fd, r->bytes, r->len, at);
		at += r->len;
	}
	if (!err)
		err = DV_B(s, fsync, fd);
	if (!err)
		err = DV_B(s, rename, j->dirfd, "log.new", j->dirfd, "log", 0);
	if (err) {
		DV_B(s, close, fd);
		return err;
	}
	DV_B(s, close, j->logfd);
	j->logfd = fd;
	j->moved = j->moving;
	j->log_len = at;
	j->synced_len = UINT64_MAX; /* until its name is durable */
	/* Where the new name is lost with the power, the old log holds every record that counts. */
	dv_ignore(DV_B(s, fsync, j->dirfd));
	return 0;
}

static void compact_locked(struct dv_store *s, struct dv_journal *j)
{
	if (j->log_len < DV_LOG_COMPACT || j->log_len / 4 < j->open_len || j->moving ||
	    pthread_mutex_trylock(&j->sync_lock))
		return;
	dv_ignore(renew_locked(s, j)); /* the next append tries again */
	pthread_mutex_unlock(&j->sync_lock);
}

/* Written again it takes the place of the earlier one, which stays until it is in the log. */
static dv_err remember_locked(struct dv_journal *j, struct open_record *r, struct open_record **old)
{
	HASH_FIND(hh, j->open, &r->id, sizeof(r->id), *old);
	HASH_ADD(hh, j->open, id, sizeof(r->id), r);
	return DV_HASHED(r) ? 0 : -ENOMEM;
}

static void forget_locked(struct dv_journal *j, struct open_record *r)
{
	HASH_DEL(j->open, r);
	free(r);
}

static dv_err append_open_locked(struct dv_store *s, struct dv_journal *j,
				 const struct dv_record *r)
{
	size_t len = dv_record_bytes(r);
	if (r->path_len > DV_RECORD_PATH_MAX)
		return -ENAMETOOLONG;
	struct open_record *old = NULL, *o = malloc(sizeof(*o) + len);
	if (!o)
		return -ENOMEM;
	o->id = r->id;
	o->len = len;
	o->ended = false;
	o->moved = 0;
	dv_record_encode(r, o->bytes);
	dv_err err = remember_locked(j, o, &old);
	if (err) {
		free(o);
		return err;
	}
	err = append_locked(s, j, o->bytes, len);
	if (err) {
		forget_locked(j, o);
		return err;
	}
	o->ended = old && old->ended;
	if (old) {
		j->open_len -= old->ended ? 0 : old->len;
		forget_locked(j, old);
	}
	j->open_len += o->ended ? 0 : o->len;
	return 0;
}

dv_err dv_journal_append(struct dv_store *s, const struct dv_record *r)
{
	struct dv_journal *j = s->journal;
	if (!j)
		return -EROFS;
	dv_err err = dv_beat_check(s);
	if (err)
		return err;
	pthread_mutex_lock(&j->lock);
	compact_locked(s, j);
	err = append_open_locked(s, j, r);
	pthread_mutex_unlock(&j->lock);
	return err;
}

void dv_journal_end(struct dv_store *s, uint64_t id)
{
	struct dv_journal *j = s->journal;
	struct dv_record end = {.id = id, .type = DV_RECORD_END, .path = ""};
	uint8_t bytes[DV_RECORD_FIXED];
	struct open_record *r = NULL;
	dv_record_encode(&end, bytes);
	pthread_mutex_lock(&j->lock);
	HASH_FIND(hh, j->open, &id, sizeof(id), r);
	struct dv_record was;
	if (r && !r->ended) {
		j->open_len -= r->len;
		/*
		 * The end of a swap must not be durable before the unlinking of its loser is, or
		 * both forms stay for good: it is not written. Until the log is made anew, or
		 * removed, recovery looks at the record again and finds nothing to do.
		 */
		if (dv_record_decode(r->bytes, r->len, &was) && was.type == DV_RECORD_SWAP) {
			r->ended = true;
			j->ended++;
		} else { /* a record whose end is lost finds its objects gone, and does nothing */
			HASH_DEL(j->open, r);
			free(r);
			dv_ignore(append_locked(s, j, bytes, sizeof(bytes)));
		}
	}
	pthread_mutex_unlock(&j->lock);
}

dv_err dv_journal_sync(struct dv_store *s)
{
	struct dv_journal *j = s->journal;
	pthread_mutex_lock(&j->sync_lock);
	pthread_mutex_lock(&j->lock);
	dv_err err = j->doubtful ? renew_locked(s, j) : 0;
	bool clean = j->synced_len == j->log_len;
	uint64_t len = j->log_len;
	int fd = j->logfd; /* stays while sync_lock is held */
	j->doubtful = err;
	pthread_mutex_unlock(&j->lock);
	/* Others append meanwhile: begin a stage, end a record. */
	if (!err && !clean)
		err = DV_B(s, fdatasync, fd);
	bool failed = err;
	/* Names of stage files count too: a record's stage must outlive the power with it. */
	if (!err && !clean)
		err = DV_B(s, fsync, j->dirfd);
	pthread_mutex_lock(&j->lock);
	j->doubtful |= failed;
	if (err)
		j->synced_len = UINT64_MAX;
	else if (!clean)
		j->synced_len = len;
	pthread_mutex_unlock(&j->lock);
	pthread_mutex_unlock(&j->sync_lock);
	return err;
}

/* r once more, with its path beneath `to` in place of `from`; the last one counts. */
static dv_err move_locked(struct dv_store *s, struct dv_journal *j, struct dv_record *r,
			  size_t from_len, const char *to)
{
	size_t to_len = strlen(to), len = to_len + r->path_len - from_len;
	DV_AUTO_FREE char *path = malloc(len + 1);
	if (!path)
		return -ENOMEM;
	memcpy(path, to, to_len);
	memcpy(path + to_len, r->path + from_len, r->path_len - from_len);
	r->path = path;
	r->path_len = len;
	return append_open_locked(s, j, r);
}

dv_err dv_journal_move_begin(struct dv_store *s, bool nowait)
{
	struct dv_journal *j = s->journal;
	if (nowait && pthread_mutex_trylock(&j->move_lock))
		return -EAGAIN;
	if (!nowait)
		pthread_mutex_lock(&j->move_lock);
	pthread_mutex_lock(&j->lock);
	j->moves++;
	j->moving = true;
	pthread_mutex_unlock(&j->lock);
	return 0;
}

void dv_journal_move_hold(struct dv_store *s)
{
	pthread_rwlock_wrlock(&s->journal->paths_lock);
}

void dv_journal_move_end(struct dv_store *s)
{
	struct dv_journal *j = s->journal;
	pthread_rwlock_unlock(&j->paths_lock);
	pthread_mutex_lock(&j->lock);
	j->moving = false;
	pthread_mutex_unlock(&j->lock);
	pthread_mutex_unlock(&j->move_lock);
}

void dv_journal_paths_hold(struct dv_store *s)
{
	if (s->journal)
		pthread_rwlock_rdlock(&s->journal->paths_lock);
}

void dv_journal_paths_release(struct dv_store *s)
{
	if (s->journal)
		pthread_rwlock_unlock(&s->journal->paths_lock);
}

static bool lies_beneath(const struct dv_record *r, const char *dir, size_t len)
{
	return r->path_len > len && memcmp(r->path, dir, len) == 0 && r->path[len] == '/';
}

dv_err dv_journal_repath(struct dv_store *s, const char *from, const char *to, unsigned flags)
{
	struct dv_journal *j = s->journal;
	bool back = flags & DV_REPATH_BACK, sync = false;
	dv_err err = 0;
	if (back) {
		const char *forth = from;
		from = to;
		to = forth;
	}
	size_t from_len = strlen(from), to_len = strlen(to);
	pthread_mutex_lock(&j->lock);
	struct open_record *o, *next;
	HASH_ITER(hh, j->open, o, next)
	{
		struct dv_record r;
		if ((o->moved == j->moves) != back || !dv_record_decode(o->bytes, o->len, &r))
			continue; /* moved by this renaming already, or lay there before it */
		if (lies_beneath(&r, from, from_len))
			err = move_locked(s, j, &r, from_len, to);
		else if ((flags & DV_REPATH_EXCHANGE) && lies_beneath(&r, to, to_len))
			err = move_locked(s, j, &r, to_len, from);
		else
			continue;
		if (err)
			break;
		HASH_FIND(hh, j->open, &r.id, sizeof(r.id), o);
		o->moved = back ? 0 : j->moves;
		j->moved = true;
		/* Those do not outlive the power. */
		sync |= r.type != DV_RECORD_STAGE && r.type != DV_RECORD_STREAM;
	}
	pthread_mutex_unlock(&j->lock);
	return err || !sync ? err : dv_journal_sync(s);
}

uint64_t dv_journal_open_records(struct dv_store *s)
{
	struct dv_journal *j = s->journal;
	if (!j)
		return 0;
	pthread_mutex_lock(&j->lock);
	uint64_t n = HASH_COUNT(j->open);
	pthread_mutex_unlock(&j->lock);
	return n;
}
