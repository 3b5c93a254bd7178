/* SPDX-License-Identifier: MIT */
/* pack.c - see pack.h. */
#include "core/pack.h"
#include "core/io.h"

#include "core/cleanup.h"
#include "core/encode.h"
#include "core/format.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/nopack.h"
#include "core/refusal.h"
#include "core/space.h"
#include "core/stage.h"
#include "core/twin.h"
#include "core/value.h"
#include "core/withdraw.h"

#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define SYNCFS_FROM 17 /* so many files are synced at once by syncfs on a local filesystem */

struct dv_pack_job {
	struct dv_pack_item *item;
	atomic_bool cancelled;
	bool published; /* gate: the packed name exists */
	bool leased, recorded, failed;
	bool kept; /* the raw file may lie in the owner folder under its id: the record stays */
	uint64_t id, writes;
	int rawfd, fd;
	struct dv_stat raw, packed;
	struct dv_encoded enc;
	struct timespec ctime; /* as shown before */
};

bool dv_knows_writers(struct dv_store *s)
{
	pthread_mutex_lock(&s->hooks_lock);
	bool knows = s->hooks.has_writer;
	pthread_mutex_unlock(&s->hooks_lock);
	return knows;
}

bool dv_has_writer(struct dv_store *s, struct dv_node *n)
{
	pthread_mutex_lock(&s->hooks_lock);
	struct dv_store_hooks hooks = s->hooks;
	pthread_mutex_unlock(&s->hooks_lock);
	if (!hooks.has_writer)
		return false;
	int got = hooks.has_writer(hooks.self, n);
	if (got >= 0)
		return got > 0;
	pthread_mutex_lock(&s->queue_lock);
	bool recent = n->changed_ns && dv_now_ns() - n->changed_ns < DV_QUIET_MS * 1000000ll;
	pthread_mutex_unlock(&s->queue_lock);
	return recent;
}

/* ---- 1 prepare ---- */

static bool too_small(const struct dv_store *s, uint64_t size)
{
	uint64_t block = s->fsinfo.bsize ? s->fsinfo.bsize : 4096;
	return size <= block; /* not a block to be saved */
}

/* The largest stored size that is worth it: 5 % and a block less. */
static uint64_t gain_limit(const struct dv_store *s, uint64_t size)
{
	uint64_t block = s->fsinfo.bsize ? s->fsinfo.bsize : 4096;
	uint64_t blocks = (size + block - 1) / block;
	uint64_t by_block = (blocks - 1) * block, by_share = size - size / 20;
	return by_block < by_share ? by_block : by_share;
}

/* Frames are found through a table that is held in memory while the value is read. */
static bool too_many_frames(const struct dv_store *s, uint64_t size)
{
	uint64_t frames = size / s->config.frame_size + 1;
	return frames > DV_FRAMES_MAX || frames > s->limits.frames_max;
}

static bool is_sparse(struct dv_store *s, int fd, uint64_t size)
{
	uint64_t hole = size;
	return DV_B(s, seek, fd, 0, SEEK_HOLE, &hole) == 0 && hole < size;
}

/* Waits until bytes changed from now on would show in the times. */
static void let_clock_move(const struct dv_stat *st)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t age = (int64_t)(now.tv_sec - st->ctime.tv_sec) * 1000000000 + now.tv_nsec -
		      st->ctime.tv_nsec;
	if (age < 0 || age >= DV_PACK_QUIET_NS)
		return;
	nanosleep(&(struct timespec){.tv_nsec = (long)(DV_PACK_QUIET_NS - age)}, NULL);
}

static bool has_twin(struct dv_store *s, const struct dv_node *n, const struct dv_place *p)
{
	struct dv_stat st;
	if (DV_B(s, stat, p->dirfd, p->names.packed, &st) == -ENOENT)
		return false;
	if (dv_twin_is_foreign(s, p->dirfd, p->names.packed, n->ino))
		dv_twin_tell(s, p->dir, p->name);
	return true;
}

/* Opens and locks the raw file. -> DV_PACK_DONE to go on. */
static enum dv_pack_outcome claim(struct dv_store *s, struct dv_node *n, struct dv_pack_job *j)
{
	struct dv_place p;
	const char *stored;
	if (n->form != DV_FORM_RAW || !S_ISREG(n->type))
		return DV_PACK_NO_GAIN;
	if (n->stage || n->job || n->loser)
		return DV_PACK_BUSY;
	if (dv_place_of(s, n, 0, &p, &stored))
		return DV_PACK_BUSY;
	enum dv_pack_outcome outcome = DV_PACK_BUSY;
	j->rawfd =
		DV_B(s, open, p.dirfd, stored, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME, 0);
	if (j->rawfd == -EPERM)
		j->rawfd = DV_B(s, open, p.dirfd, stored, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (j->rawfd >= 0 && DV_B(s, stat, j->rawfd, "", &j->raw) == 0) {
		struct dv_ident id = dv_ident_of(&j->raw);
		if (!dv_ident_equal(&id, &n->id))
			outcome = DV_PACK_BUSY;
		else if (j->raw.nlink != 1 || too_small(s, j->raw.size) ||
			 too_many_frames(s, j->raw.size) || !p.names.packed[0] ||
			 has_twin(s, n, &p) || is_sparse(s, j->rawfd, j->raw.size))
			outcome = DV_PACK_NO_GAIN;
		else
			outcome = DV_PACK_DONE;
	}
	dv_place_of_close(s, &p);
	if (outcome != DV_PACK_DONE)
		return outcome;
	dv_node_drop_file(s, n); /* its shared lock would be in the way */
	if (DV_B(s, flock, j->rawfd, LOCK_EX | LOCK_NB) == -EWOULDBLOCK)
		return DV_PACK_BUSY;
	int lease = DV_B(s, set_lease, j->rawfd, F_RDLCK);
	if (lease == -EAGAIN) /* a program has it open for writing */
		return DV_PACK_BUSY;
	j->leased = lease >= 0;
	j->ctime = dv_time_ns(j->raw.ctime) == n->real_ctime_ns ? dv_time_of_ns(n->kept_ctime_ns)
								: j->raw.ctime;
	j->writes = n->writes;
	n->job = j;
	return DV_PACK_DONE;
}

/* Someone wants to write to it, through this mount or besides it. */
static bool wanted_elsewhere(struct dv_store *s, struct dv_pack_job *j)
{
	return atomic_load(&j->cancelled) || (j->leased && DV_B(s, get_lease, j->rawfd) != F_RDLCK);
}

struct stop_ctx {
	struct dv_store *s;
	struct dv_pack_job *j;
};

static bool stop(void *ctx)
{
	struct stop_ctx *c = ctx;
	return wanted_elsewhere(c->s, c->j);
}

/* Makes the packed file in the owner folder. */
static dv_err encode(struct dv_store *s, struct dv_node *n, struct dv_pack_job *j)
{
	char name[DV_STAGE_NAME];
	j->id = dv_journal_new_id(s->journal);
	dv_journal_stage_name(j->id, name);
	dv_act_as_self(s);
	j->fd = DV_B(s, open, dv_journal_dirfd(s->journal), name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (j->fd < 0)
		return j->fd;
	struct stop_ctx ctx = {s, j};
	dv_err err = dv_encode(s, j->rawfd, j->raw.size, j->fd, gain_limit(s, j->raw.size), stop,
			       &ctx, &j->enc);
	if (!err)
		err = dv_meta_copy(s, j->rawfd, &j->raw, j->fd);
	if (!err) {
		struct timespec times[2] = {j->raw.atime, j->raw.mtime};
		err = DV_B(s, utimens, j->fd, times);
	}
	if (!err)
		err = DV_B(s, stat, j->fd, "", &j->packed);
	if (err)
		return err;
	struct dv_ident id = dv_ident_of(&j->packed);
	struct dv_tag before = {0};
	if (!dv_tag_load_fd(s, j->rawfd, &j->raw, &before))
		before.unpacks = 0;
	unsigned unpacks = atomic_load(&n->unpacks);
	if (unpacks < before.unpacks) /* the node was forgotten since */
		unpacks = before.unpacks;
	struct dv_tag tag = {.st_ino = n->ino,
			     .generation = n->generation,
			     .unpacks = (uint8_t)unpacks,
			     .has_size = true,
			     .plain_size = j->enc.plain_size,
			     .stored_size = j->enc.stored_size,
			     .single = j->enc.single,
			     .mtime = j->packed.mtime,
			     .has_ctime = true,
			     .ctime = j->ctime,
			     .swapped = j->packed.ctime};
	dv_tag_store(s, j->fd, &id, &tag);
	return 0;
}

static void close_job(struct dv_store *s, struct dv_pack_job *j)
{
	char name[DV_STAGE_NAME];
	if (j->fd >= 0 && !j->kept) {
		dv_journal_stage_name(j->id, name);
		dv_ignore(DV_B(s, unlink, dv_journal_dirfd(s->journal),
			       name)); /* gone if it was published */
	}
	if (j->fd >= 0)
		DV_B(s, close, j->fd);
	if (j->recorded && !j->kept)
		dv_journal_end(s, j->id);
	if (j->rawfd >= 0)
		DV_B(s, close, j->rawfd); /* and with it the lock and the lease */
	free(j);
}

static void tell_failure(struct dv_store *s, struct dv_node *n, dv_err err)
{
	char path[4096], text[1024];
	dv_node_path(s, n, path, sizeof(path));
	dv_warn("%s could not be packed and stays raw: %s", dv_log_key(text, sizeof(text), path),
		strerror(-err));
	dv_count_error(s, err);
}

/* Ends the job of item, which has not published anything. */
static void give_up(struct dv_store *s, struct dv_pack_item *item, enum dv_pack_outcome outcome)
{
	struct dv_pack_job *j = item->job;
	item->outcome = outcome;
	item->job = NULL;
	if (item->node->job == j) {
		dv_ignore(dv_gate_exclusive(item->node, false)); /* waits: it can not fail */
		item->node->job = NULL;
		if (outcome == DV_PACK_NO_GAIN)
			item->node->refused = dv_refusal_mark(&j->raw);
		dv_gate_open(item->node);
	}
	if (outcome == DV_PACK_NO_GAIN)
		dv_count(s, pack_refused, 1);
	close_job(s, j);
}

/* What one stat tells, before writers are asked for and files are opened. -> DV_PACK_DONE to go on.
 */
static enum dv_pack_outcome worth_a_try(struct dv_store *s, const struct dv_pack_item *item)
{
	struct dv_node *n = item->node;
	struct dv_place p;
	const char *stored;
	struct dv_stat st;
	enum dv_pack_outcome outcome = DV_PACK_BUSY;
	if (dv_nopack_holds(s, n))
		return DV_PACK_NO_GAIN;
	if (dv_gate_shared(n, false))
		return outcome;
	if (n->form != DV_FORM_RAW || !S_ISREG(n->type)) {
		outcome = DV_PACK_NO_GAIN;
	} else if (!n->stage && !n->job && !n->loser && dv_place_of(s, n, 0, &p, &stored) == 0) {
		if (DV_B(s, stat, p.dirfd, stored, &st) == 0)
			outcome = dv_refusal_holds(s, n, item->by, &p, stored, &st) ||
						  st.nlink != 1 || too_small(s, st.size) ||
						  !p.names.packed[0]
					  ? DV_PACK_NO_GAIN
					  : DV_PACK_DONE;
		dv_place_of_close(s, &p);
	}
	dv_gate_open(n);
	return outcome;
}

/* A full disk is told by those whom it hinders, not by each value that waits for it. */
static void give_up_failed(struct dv_store *s, struct dv_pack_item *item, dv_err err)
{
	bool room = dv_space_is_short(err);
	if (room)
		dv_count_error(s, err);
	else
		tell_failure(s, item->node, err);
	give_up(s, item, room ? DV_PACK_NO_ROOM : DV_PACK_FAILED);
}

static dv_err prepare(struct dv_store *s, struct dv_pack_item *item)
{
	item->outcome = worth_a_try(s, item);
	if (item->outcome != DV_PACK_DONE) {
		dv_count(s, pack_refused, item->outcome == DV_PACK_NO_GAIN);
		return 0;
	}
	struct dv_pack_job *j = calloc(1, sizeof(*j));
	if (!j)
		return -ENOMEM;
	j->item = item;
	j->fd = j->rawfd = -1;
	item->job = j;
	item->outcome = DV_PACK_BUSY;
	if (!dv_has_writer(s, item->node) && dv_gate_exclusive(item->node, false) == 0) {
		item->outcome = claim(s, item->node, j);
		dv_gate_open(item->node);
	}
	if (item->outcome != DV_PACK_DONE) {
		give_up(s, item, item->outcome);
		return 0;
	}
	item->plain_size = j->raw.size;
	let_clock_move(&j->raw);
	dv_err err = encode(s, item->node, j);
	if (!err)
		return 0;
	if (err == -E2BIG) {
		give_up(s, item, DV_PACK_NO_GAIN);
		return 0;
	}
	if (err == -ECANCELED) {
		give_up(s, item, DV_PACK_BUSY);
		return 0;
	}
	if (err == -EPERM || err == -EACCES) { /* its owner can not be kept: it keeps its form */
		give_up(s, item, DV_PACK_NO_GAIN);
		return 0;
	}
	give_up_failed(s, item, err);
	return err;
}

/* ---- 2 sync ---- */

static dv_err sync_files(struct dv_store *s, struct dv_pack_item *items, size_t count, size_t live)
{
	if (live >= SYNCFS_FROM && !s->fsinfo.network)
		return dv_loose_sync_all(s);
	for (size_t i = 0; i < count; i++) {
		dv_err err = items[i].job ? DV_B(s, fsync, items[i].job->fd) : 0;
		if (err)
			return err;
	}
	return 0;
}

static dv_err record(struct dv_store *s, struct dv_pack_item *item)
{
	struct dv_pack_job *j = item->job;
	struct dv_record r = {.id = j->id,
			      .type = DV_RECORD_SWAP,
			      .flags = DV_RECORD_PACKED_WINS | DV_RECORD_CHECK_RAW,
			      .raw = dv_ident_of(&j->raw),
			      .raw_version = dv_version_of(&j->raw),
			      .packed = dv_ident_of(&j->packed),
			      .st_ino = item->node->ino};
	dv_err err = dv_record_append(s, item->node, &r);
	j->recorded = !err;
	return err;
}

/* ---- 3 publish, 5 finish ---- */

/* Is the raw file still what was encoded? Gates held. */
static bool unchanged(struct dv_store *s, struct dv_node *n, const struct dv_place *p,
		      const char *stored, struct dv_pack_job *j)
{
	struct dv_stat st;
	if (wanted_elsewhere(s, j) || n->writes != j->writes || n->stage || n->form != DV_FORM_RAW)
		return false;
	if (DV_B(s, stat, p->dirfd, stored, &st))
		return false;
	struct dv_ident a = dv_ident_of(&st), b = dv_ident_of(&j->raw);
	struct dv_version va = dv_version_of(&st), vb = dv_version_of(&j->raw);
	return dv_ident_equal(&a, &b) && dv_version_equal(&va, &vb) && st.nlink == 1;
}

static bool being_listed(struct dv_node *dir)
{
	return dir && atomic_load(&dir->listed_until_ns) > dv_now_ns();
}

/* Unlinks the packed form if it is the one this job made. */
static dv_err unlink_packed(struct dv_store *s, const struct dv_place *p, struct dv_pack_job *j)
{
	struct dv_stat st;
	dv_err err = DV_B(s, stat, p->dirfd, p->names.packed, &st);
	struct dv_ident a = dv_ident_of(&st), b = dv_ident_of(&j->packed);
	if (err || !dv_ident_equal(&a, &b)) /* I5 */
		return err == -ENOENT ? 0 : err;
	return dv_unlink_form(s, p, p->names.packed, false);
}

static dv_err publish(struct dv_store *s, struct dv_pack_item *item, struct dv_node *dir,
		      bool *published)
{
	struct dv_pack_job *j = item->job;
	struct dv_node *n = item->node;
	struct dv_place p;
	const char *stored;
	struct dv_dir_times times;
	char name[DV_STAGE_NAME];
	*published = false;
	if (!dir || being_listed(dir) || dv_place_of(s, n, 0, &p, &stored))
		return 0;
	dv_err err = dv_node_reserve_loser(s, n); /* leave_loser() can not fail */
	if (!err && unchanged(s, n, &p, stored, j)) {
		dv_journal_stage_name(j->id, name);
		dv_dir_times_keep(s, p.dirfd, &times);
		err = DV_B(s, rename, dv_journal_dirfd(s->journal), name, p.dirfd, p.names.packed,
			   RENAME_NOREPLACE);
		dv_dir_times_restore(s, &times);
		j->published = *published = !err;
		/* Renamed or removed by others at this moment: no second value is to be left. */
		if (!err && !unchanged(s, n, &p, stored, j) && unlink_packed(s, &p, j) == 0)
			j->published = *published = false;
		if (err == -EEXIST)
			err = 0;
	}
	dv_place_of_close(s, &p);
	return err;
}

/* n's value is the packed file now. */
static void become_packed(struct dv_store *s, struct dv_node *n, struct dv_pack_job *j)
{
	struct dv_ident id = dv_ident_of(&j->packed);
	struct dv_stat st;
	dv_node_set_object(s, n, &id, DV_FORM_PACKED);
	dv_node_drop_file(s, n);
	if (DV_B(s, stat, j->fd, "", &st) == 0) {
		n->real_ctime_ns = dv_time_ns(st.ctime);
		n->kept_ctime_ns = dv_time_ns(j->ctime);
		pthread_mutex_lock(&s->facts_lock);
		n->facts = (struct dv_facts){.version = dv_version_of(&st),
					     .plain_size = j->enc.plain_size,
					     .frames = j->enc.frames,
					     .single = j->enc.single,
					     .known = true};
		pthread_mutex_unlock(&s->facts_lock);
	}
	atomic_store(&n->dirty, false);
	atomic_fetch_add(&s->swaps, 1);
	dv_count(s, packed, 1);
}

/* The packed form could not be removed, or nobody knows: raw is the value, and the keeper tries
 * again. The record stays until then. */
static void leave_loser(struct dv_store *s, struct dv_node *n, struct dv_pack_job *j, dv_err err)
{
	tell_failure(s, n, err);
	struct dv_ident id = dv_ident_of(&j->packed);
	dv_node_set_loser(s, n, &id, j->id);
	j->recorded = false;
}

/* Takes the raw form away; not where it is not ours to take. */
static dv_err withdraw(struct dv_store *s, const struct dv_place *p, const char *stored,
		       struct dv_pack_job *j, bool *gone)
{
	struct stop_ctx ctx = {s, j};
	struct dv_withdrawal w = {.dirfd = dv_journal_dirfd(s->journal),
				  .id = j->id,
				  .object = dv_ident_of(&j->raw),
				  .version = dv_version_of(&j->raw),
				  .wanted = stop,
				  .ctx = &ctx};
	return dv_withdraw(s, p, stored, &w, gone, &j->kept);
}

static enum dv_pack_outcome finish(struct dv_store *s, struct dv_pack_item *item, bool durable)
{
	struct dv_pack_job *j = item->job;
	struct dv_node *n = item->node;
	struct dv_place p;
	const char *stored;
	struct dv_dir_times times;
	enum dv_pack_outcome outcome = DV_PACK_BUSY;
	dv_err err;
	if (!j->published)
		return outcome; /* retracted: the name went elsewhere */
	err = dv_place_of(s, n, 0, &p, &stored);
	if (err) {
		leave_loser(s, n, j, err);
		return outcome;
	}
	/* A listing that gave the raw name must not come by the packed one alone. */
	durable = durable && !being_listed(p.dir);
	dv_dir_times_keep(s, p.dirfd, &times);
	bool gone = false;
	err = 0;
	if (durable && unchanged(s, n, &p, stored, j))
		err = withdraw(s, &p, stored, j, &gone);
	if (j->kept) { /* the packed form has the name to itself; the record says the rest */
		tell_failure(s, n, err);
		err = 0;
	}
	if (gone || j->kept) {
		become_packed(s, n, j);
		outcome = DV_PACK_DONE;
	} else if (!err) {
		err = unlink_packed(s, &p, j);
	}
	dv_dir_times_restore(s, &times);
	dv_place_of_close(s, &p);
	if (err)
		leave_loser(s, n, j, err);
	return outcome;
}

bool dv_pack_is_active(const struct dv_node *n)
{
	return n->job && (n->job->published || !atomic_load(&n->job->cancelled));
}

void dv_pack_cancel(struct dv_store *s, struct dv_node *n)
{
	struct dv_pack_job *j = n->job;
	if (!j || atomic_exchange(&j->cancelled, true))
		return;
	/* The writer opens the file and locks it: both must be free for it. */
	if (j->leased)
		dv_ignore(DV_B(s, set_lease, j->rawfd, F_UNLCK));
	dv_ignore(DV_B(s, flock, j->rawfd, LOCK_UN));
}

dv_err dv_pack_retract(struct dv_store *s, struct dv_node *n)
{
	struct dv_pack_job *j = n->job;
	struct dv_place p;
	const char *stored;
	dv_pack_cancel(s, n);
	if (!j || !j->published)
		return 0;
	dv_err err = dv_place_of(s, n, 0, &p, &stored);
	if (err)
		return err;
	err = unlink_packed(s, &p, j);
	dv_place_of_close(s, &p);
	if (!err)
		j->published = false;
	return err;
}

/* Runs step 3 or 5 on one item under its gates. */
static dv_err with_gates(struct dv_store *s, struct dv_pack_item *item, bool last, bool durable)
{
	struct dv_node *dir = NULL;
	bool published = false;
	dv_err err = dv_swap_gates(s, item->node, false, &dir);
	if (err)
		return err;
	if (!last) {
		err = publish(s, item, dir, &published);
	} else {
		item->outcome = finish(s, item, durable);
		item->stored_size = item->job->packed.size;
		item->node->job = NULL;
		if (!item->node->loser)
			dv_node_end_loser(s, item->node);
	}
	dv_swap_gates_open(s, item->node, dir);
	if (!last && !published) {
		if (err)
			give_up_failed(s, item, err);
		else
			give_up(s, item, DV_PACK_BUSY);
	}
	return err;
}

/* Syncs the directory of one item. *last: what was synced for the one before. */
static dv_err sync_dir(struct dv_store *s, struct dv_node *n, bool moved,
		       const struct dv_node **last)
{
	struct dv_place p;
	const char *stored;
	if (dv_place_of(s, n, 0, &p, &stored))
		return 0; /* gone: it is not published, or found out in step 5 */
	/* Neighbours mostly come from one directory. */
	bool again = *last == p.dir && !p.shard;
	struct dv_loose_at at = dv_place_at(&p);
	dv_err err = 0;
	if (moved)
		err = dv_settle_move(s, &p, p.names.packed);
	else if (!again)
		err = dv_loose_sync(s, &at, p.dirfd);
	*last = moved || p.shard ? NULL : p.dir; /* compared, not read */
	dv_place_of_close(s, &p);
	return err;
}

/* moved: only of those that were renamed; see dv_settle_move(). */
static dv_err sync_dirs(struct dv_store *s, struct dv_pack_item *items, size_t count, size_t live,
			bool moved)
{
	if (live >= SYNCFS_FROM && !s->fsinfo.network)
		return moved ? 0 : dv_loose_sync_all(s); /* sync_files() did it for the moved */
	const struct dv_node *last = NULL;
	dv_err err = 0;
	for (size_t i = 0; i < count && !err; i++)
		if (items[i].job)
			err = sync_dir(s, items[i].node, moved, &last);
	return err;
}

static size_t count_live(const struct dv_pack_item *items, size_t count)
{
	size_t live = 0;
	for (size_t i = 0; i < count; i++)
		live += items[i].job != NULL;
	return live;
}

/* Step 1 for as many as fit DV_PACK_BATCH_BYTES. -> how many were looked at. */
static size_t prepare_some(struct dv_store *s, struct dv_pack_item *items, size_t count,
			   dv_err *first)
{
	uint64_t bytes = 0;
	size_t i;
	for (i = 0; i < count && bytes < DV_PACK_BATCH_BYTES; i++) {
		/* The locks that keep writers away do not reach other hosts everywhere. */
		if (!s->journal || !s->config.compress || s->options.shared) {
			items[i].outcome = DV_PACK_NO_GAIN;
			continue;
		}
		dv_err err = prepare(s, &items[i]);
		*first = *first ? *first : err;
		bytes += items[i].job ? items[i].plain_size : 0;
	}
	return i;
}

/* Step 2: files, records, and the directories that earlier changes of them are in. */
static dv_err sync_prepared(struct dv_store *s, struct dv_pack_item *items, size_t count)
{
	dv_err first = 0;
	size_t live = count_live(items, count);
	dv_err err = live ? sync_files(s, items, count, live) : 0;
	for (size_t i = 0; i < count; i++) {
		if (!items[i].job)
			continue;
		dv_err one = err ? err : record(s, &items[i]);
		if (one) {
			/* A path that no record can hold: it stays raw. */
			give_up(s, &items[i],
				one == -ESTALE		 ? DV_PACK_BUSY
				: one == -ENAMETOOLONG	 ? DV_PACK_NO_GAIN
				: dv_space_is_short(one) ? DV_PACK_NO_ROOM
							 : DV_PACK_FAILED);
			first = first || one == -ESTALE || one == -ENAMETOOLONG ? first : one;
		}
	}
	live = count_live(items, count);
	err = live ? dv_journal_sync(s) : 0;
	if (live && !err)
		err = sync_dirs(s, items, count, live, true);
	for (size_t i = 0; err && i < count; i++)
		if (items[i].job)
			give_up(s, &items[i],
				dv_space_is_short(err) ? DV_PACK_NO_ROOM : DV_PACK_FAILED);
	return first ? first : err;
}

/* Steps 3 to 5. */
static dv_err swap_prepared(struct dv_store *s, struct dv_pack_item *items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (items[i].job)
			dv_ignore(with_gates(s, &items[i], false, false)); /* told by its outcome */
	size_t live = count_live(items, count);
	dv_err err = live ? sync_dirs(s, items, count, live, false) : 0;
	for (size_t i = 0; i < count; i++) {
		struct dv_pack_job *j = items[i].job;
		if (!j)
			continue;
		dv_ignore(with_gates(s, &items[i], true, err == 0)); /* likewise */
		if (items[i].outcome == DV_PACK_DONE)
			dv_tell_changed(s, items[i].node); /* it takes other blocks now */
		items[i].job = NULL;
		close_job(s, j);
	}
	return err;
}

dv_err dv_pack_batch(struct dv_store *s, struct dv_pack_item *items, size_t count)
{
	dv_err first = 0;
	pthread_mutex_lock(&s->batch_lock);
	for (size_t done = 0, some; done < count; done += some) {
		some = prepare_some(s, items + done, count - done, &first);
		dv_err err = sync_prepared(s, items + done, some);
		first = first ? first : err;
		err = swap_prepared(s, items + done, some);
		first = first ? first : err;
	}
	pthread_mutex_unlock(&s->batch_lock);
	return first;
}
