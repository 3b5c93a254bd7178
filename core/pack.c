/* SPDX-License-Identifier: MIT */
/* pack.c - the order of a batch and its durability; see pack.h, pack_private.h. */
#include "core/pack_private.h"

#include "core/io.h"
#include "core/journal.h"
#include "core/space.h"
#include "core/stage.h"
#include "core/value.h"

#define SYNCFS_FROM 17 /* so many files are synced at once by syncfs on a local filesystem */

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

/* ---- 2, 4 sync ---- */

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

/* ---- the batch ---- */

/* Runs step 3 or 5 on one item under its gates. */
static dv_err with_gates(struct dv_store *s, struct dv_pack_item *item, bool last, bool durable)
{
	struct dv_node *dir = NULL;
	bool published = false;
	dv_err err = dv_swap_gates(s, item->node, false, &dir);
	if (err)
		return err;
	if (!last) {
		err = dv_pack_publish(s, item, dir, &published);
	} else {
		item->outcome = dv_pack_finish(s, item, durable);
		item->stored_size = item->job->packed.size;
		item->node->job = NULL;
		if (!item->node->loser)
			dv_node_end_loser(s, item->node);
	}
	dv_swap_gates_open(s, item->node, dir);
	if (!last && !published) {
		if (err)
			dv_pack_give_up_failed(s, item, err);
		else
			dv_pack_give_up(s, item, DV_PACK_BUSY);
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

/* Step 1 for as many as fit DV_PACK_BATCH_BYTES, and may have two descriptors each. -> how many were
 * looked at. */
static size_t prepare_some(struct dv_store *s, struct dv_pack_item *items, size_t count,
			   dv_err *first)
{
	uint64_t bytes = 0;
	size_t i, max = s->file_max / DV_PACK_BATCH_FILES + 1;
	for (i = 0; i < count && i < max && bytes < DV_PACK_BATCH_BYTES; i++) {
		/* The locks that keep writers away do not reach other hosts everywhere. */
		if (!s->journal || !s->config.compress || s->options.shared) {
			items[i].outcome = DV_PACK_NO_GAIN;
			continue;
		}
		dv_err err = dv_pack_prepare(s, &items[i]);
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
			dv_pack_give_up(s, &items[i],
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
			dv_pack_give_up(s, &items[i],
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
		dv_pack_close_job(s, j);
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
