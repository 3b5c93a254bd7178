/* SPDX-License-Identifier: MIT */
/* rewrite.c - see rewrite.h. */
#include "core/rewrite.h"

#include "core/encode.h"
#include "core/io.h"
#include "core/journal.h"
#include "core/sealed.h"
#include "core/swap.h"

#include <string.h>
#include <sys/file.h>

void dv_rewrite_end(struct dv_store *s, uint64_t *id)
{
	char name[DV_STAGE_NAME];
	if (!*id)
		return;
	dv_journal_stage_name(*id, name);
	dv_ignore(
		DV_B(s, unlink, dv_journal_dirfd(s->journal), name)); /* swept by the next owner */
	dv_journal_end(s, *id);
	*id = 0;
}

dv_err dv_rewrite_in_place(struct dv_store *s, const struct dv_rewrite *w)
{
	struct dv_stat st;
	struct dv_encoded enc;
	char name[DV_STAGE_NAME];
	uint64_t id = dv_journal_new_id(s->journal);
	dv_journal_stage_name(id, name);
	dv_err err = DV_B(s, stat, w->from, "", &st);
	/* Those who write a raw file in place share it; a packed one is written by one at a
	 * time. */
	if (!err && !w->locked)
		err = dv_lock_wait(s, w->to, w->packed ? LOCK_EX : LOCK_SH,
				   w->wait ? DV_LOCK_WAIT_MS : 0);
	if (err)
		return err;
	int fd = DV_B(s, open, dv_journal_dirfd(s->journal), name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	if (w->packed && dv_is_sealed(s))
		err = dv_sealed_encode(s, w->from, st.size, fd, NULL);
	else if (w->packed)
		err = dv_encode(s, w->from, st.size, fd, UINT64_MAX, NULL, NULL, &enc);
	else
		err = dv_copy_over(s, w->from, fd);
	if (!err)
		err = DV_B(s, fsync, fd);
	if (!err) {
		struct dv_record r = {.id = id,
				      .type = DV_RECORD_COPY,
				      .packed = w->object,
				      .st_ino = w->st_ino,
				      .path = w->path,
				      .path_len = w->path ? strlen(w->path) : 0};
		err = w->node ? dv_record_append(s, w->node, &r) : dv_journal_append(s, &r);
	}
	bool recorded = !err;
	if (!err)
		err = dv_journal_sync(s);
	if (!err)
		err = dv_copy_over(s, fd, w->to);
	if (!err) {
		struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st.mtime};
		dv_ignore(DV_B(s, utimens, w->to, times)); /* not the owner: it moves to now */
	}
	/* Failed while copying: the record and the new bytes stay, and are copied again at
	 * recovery, or by the next try. */
	bool stays = err && recorded;
	if (!err || stays)
		dv_rewrite_end(s, w->failed);
	*w->failed = stays ? id : *w->failed;
	if (!stays)
		dv_rewrite_end(s, &id);
	/* A raw file is written in place from now on: it must not be copied over again after a
	 * power cut. And a packed one may be renamed, and not be found by its record any more. */
	if (!err)
		err = dv_journal_sync(s);
	DV_B(s, close, fd);
	return err;
}
