/* SPDX-License-Identifier: MIT */
/*
 * journal.h - the owner folder of this process: its stage files and its log of records.
 *
 *   .diskvfs/stage/OWNER/owner   who this is (owner.h); flocked while it lives
 *   .diskvfs/stage/OWNER/log     records (record.h), appended
 *   .diskvfs/stage/OWNER/ID      stage file of record ID, in hexadecimal
 *
 * OWNER is made under a name beginning with "new-", locked, and renamed: a folder without that
 * beginning always has its owner file, and is locked while its owner lives.
 *
 * Threads      every function from any thread; one short lock, held across the log's own writes.
 * Durability   an appended record survives kill -9 at once, and a power cut after
 *              dv_journal_sync().
 */
#ifndef DV_JOURNAL_H
#define DV_JOURNAL_H

#include "core/internal.h"
#include "core/owner.h"
#include "core/record.h"

#define DV_LOST_DIR   DV_CONTROL_DIR "/lost"
#define DV_STAGE_NAME 17
#define DV_LOG_COMPACT                                                                             \
	(1u << 20) /* a log this long, four times what is still open, is written anew */
#define DV_LOG_MAX (256u << 20) /* more is not read at recovery */

/* Makes the owner folder. boot: this boot's id. */
DV_CHECK dv_err dv_journal_open(struct dv_store *s, struct dv_journal **out);
/* Removes the folder if no record is open; else leaves it for the next owner. */
void dv_journal_close(struct dv_store *s, struct dv_journal **j);

uint64_t dv_journal_new_id(struct dv_journal *j);
int dv_journal_dirfd(const struct dv_journal *j); /* of the owner folder */
void dv_journal_stage_name(uint64_t id, char out[DV_STAGE_NAME]);
/* A new file in the owner folder, open for reading and writing. */
DV_CHECK dv_err dv_journal_make_file(struct dv_store *s, const char *name, struct dv_file **out);

/* Appends r (path and all). */
DV_CHECK dv_err dv_journal_append(struct dv_store *s, const struct dv_record *r);
/* Record id is done; not durable by itself. */
void dv_journal_end(struct dv_store *s, uint64_t id);
/* All records appended so far are durable. */
DV_CHECK dv_err dv_journal_sync(struct dv_store *s);
/*
 * Paths of records and renamed directories. Records beneath a directory that is renamed learn their
 * new path before it is, so that a kill at any moment finds them under one of both:
 *
 *   dv_journal_move_begin      one renaming at a time: of two, each could take up the other's records
 *   dv_journal_repath          with the sync that this may need, while records are appended
 *   dv_journal_move_hold       nobody appends until move_end
 *   dv_journal_repath          of those that were appended meanwhile
 *   the renaming, on the disk and of the nodes; where it fails: dv_journal_repath, back
 *   dv_journal_move_end
 *
 * Who appends holds the paths from finding out the record's until it is in the log. Both locks come
 * after all gates and before those of the log.
 */
DV_CHECK dv_err dv_journal_move_begin(struct dv_store *s, bool nowait); /* -EAGAIN: another one */
void dv_journal_move_hold(struct dv_store *s);
void dv_journal_move_end(struct dv_store *s);
void dv_journal_paths_hold(struct dv_store *s);
void dv_journal_paths_release(struct dv_store *s);

enum { DV_REPATH_BACK = 1, DV_REPATH_EXCHANGE = 2 };
/*
 * Records beneath the directory `from` lie beneath `to` from now on, durably (I4) where they outlive a
 * power cut; with EXCHANGE those beneath `to` beneath `from`, too. BACK: undone for those that this
 * renaming has moved.
 */
DV_CHECK dv_err dv_journal_repath(struct dv_store *s, const char *from, const char *to,
				  unsigned flags);
uint64_t dv_journal_open_records(struct dv_store *s);

#endif
