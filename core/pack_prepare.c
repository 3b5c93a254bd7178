/* SPDX-License-Identifier: MIT */
/*
 * pack_prepare.c - step 1 of packing (pack.h): looks whether a value is worth it and may be packed,
 * keeps writers away, makes the packed file in the owner folder. Nothing of it shows; what ends
 * here leaves nothing behind.
 */
#include "core/pack_private.h"

#include "core/format.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/nopack.h"
#include "core/refusal.h"
#include "core/space.h"
#include "core/twin.h"

#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

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
		dv_twin_tell(s, p->dir, p->name, p->dirfd, p->names.packed);
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

bool dv_pack_is_wanted(struct dv_store *s, struct dv_pack_job *j)
{
	return atomic_load(&j->cancelled) || (j->leased && DV_B(s, get_lease, j->rawfd) != F_RDLCK);
}

bool dv_pack_stop(void *ctx)
{
	struct dv_pack_stop_ctx *c = ctx;
	return dv_pack_is_wanted(c->s, c->j);
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
	struct dv_pack_stop_ctx ctx = {s, j};
	const struct dv_encoding e = {.from = j->rawfd,
				      .to = j->fd,
				      .level = j->item->leveled ? j->item->level : s->config.level,
				      .plain_size = j->raw.size,
				      .max_stored = gain_limit(s, j->raw.size),
				      .stop = dv_pack_stop,
				      .ctx = &ctx};
	dv_err err = dv_encode_at(s, &e, &j->enc);
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
			     .anew = j->item->leveled,
			     .mtime = j->packed.mtime,
			     .has_ctime = true,
			     .ctime = j->ctime,
			     .swapped = j->packed.ctime};
	dv_tag_store(s, j->fd, &id, &tag);
	return 0;
}

void dv_pack_close_job(struct dv_store *s, struct dv_pack_job *j)
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
	dv_node_unref(s, j->dir);
	free(j);
}

void dv_pack_tell_failure(struct dv_store *s, struct dv_node *n, dv_err err)
{
	char path[4096], text[1024];
	dv_node_path(s, n, path, sizeof(path));
	dv_warn("%s could not be packed and stays raw: %s", dv_log_key(text, sizeof(text), path),
		strerror(-err));
	dv_count_error(s, err);
}

void dv_pack_give_up(struct dv_store *s, struct dv_pack_item *item, enum dv_pack_outcome outcome)
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
	dv_pack_close_job(s, j);
}

/* What one stat tells, before writers are asked for and files are opened. -> DV_PACK_DONE to go on.
 */
static enum dv_pack_outcome worth_a_try(struct dv_store *s, struct dv_pack_item *item)
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
		if (DV_B(s, stat, p.dirfd, stored, &st) == 0) {
			item->plain_size = st.size;
			outcome = dv_refusal_holds(s, n, item->by, &p, stored, &st) ||
						  st.nlink != 1 || too_small(s, st.size) ||
						  !p.names.packed[0]
					  ? DV_PACK_NO_GAIN
					  : DV_PACK_DONE;
		}
		dv_place_of_close(s, &p);
	}
	dv_gate_open(n);
	return outcome;
}

void dv_pack_give_up_failed(struct dv_store *s, struct dv_pack_item *item, dv_err err)
{
	bool room = dv_space_is_short(err);
	if (room)
		dv_count_error(s, err);
	else
		dv_pack_tell_failure(s, item->node, err);
	dv_pack_give_up(s, item, room ? DV_PACK_NO_ROOM : DV_PACK_FAILED);
}

dv_err dv_pack_prepare(struct dv_store *s, struct dv_pack_item *item)
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
		dv_pack_give_up(s, item, item->outcome);
		return 0;
	}
	item->plain_size = j->raw.size;
	let_clock_move(&j->raw);
	dv_err err = encode(s, item->node, j);
	if (!err)
		return 0;
	if (err == -E2BIG) {
		dv_pack_give_up(s, item, DV_PACK_NO_GAIN);
		return 0;
	}
	if (err == -ECANCELED) {
		dv_pack_give_up(s, item, DV_PACK_BUSY);
		return 0;
	}
	if (err == -EPERM || err == -EACCES) { /* its owner can not be kept: it keeps its form */
		dv_pack_give_up(s, item, DV_PACK_NO_GAIN);
		return 0;
	}
	dv_pack_give_up_failed(s, item, err);
	return err;
}
