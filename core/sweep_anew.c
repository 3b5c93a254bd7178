/* SPDX-License-Identifier: MIT */
/* sweep_anew.c - see sweep_private.h. */
#include "core/sweep_private.h"

#include "core/io.h"
#include "core/keeper.h"
#include "core/meta.h"
#include "core/ops.h"
#include "core/owner.h"
#include "core/pack.h"
#include "core/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MARK_PATH  DV_CONTROL_DIR "/pack"
#define MARK_BYTES 256

/* A mark of the same level goes on; a torn one is none. */
static bool read_mark(struct dv_store *s, struct dv_anew *a)
{
	char text[MARK_BYTES + 1] = "", level[16], since[32], end[4];
	int fd = dv_open_quiet(s, s->rootfd, MARK_PATH, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return false;
	ssize_t n = DV_B(s, pread, fd, text, MARK_BYTES, 0);
	DV_B(s, close, fd);
	if (n < 0 || dv_owner_field(text, "level", level, sizeof(level)) ||
	    dv_owner_field(text, "since", since, sizeof(since)) ||
	    dv_owner_field(text, "end", end, sizeof(end)) || atoi(level) != a->level)
		return false;
	a->since_ns = strtoll(since, NULL, 10);
	return true;
}

dv_err dv_anew_begin(struct dv_store *s, int level, struct dv_anew *out)
{
	char text[MARK_BYTES];
	struct timespec now;
	out->level = level;
	if (read_mark(s, out))
		return 0;
	clock_gettime(CLOCK_REALTIME, &now);
	out->since_ns = dv_time_ns(now);
	int len = snprintf(text, sizeof(text), "level=%d\nsince=%" PRId64 "\nend=1\n", level,
			   out->since_ns);
	int fd = DV_B(s, open, s->rootfd, MARK_PATH, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	dv_err err = dv_write_full(s, fd, text, (size_t)len, 0);
	DV_B(s, close, fd);
	return err;
}

void dv_anew_end(struct dv_store *s)
{
	dv_ignore(DV_B(s, unlink, s->rootfd, MARK_PATH)); /* then a later run does less */
}

/* Its file's size; was it packed since the run began? Gate at least shared. */
static dv_err look(struct dv_store *s, struct dv_node *n, const struct dv_anew *a,
		   uint64_t *out_stored, bool *done)
{
	struct dv_file *f = NULL;
	struct dv_stat st;
	struct dv_tag tag;
	dv_err err = dv_value_file(s, n, false, &f);
	if (!err)
		err = DV_B(s, stat, f->fd, "", &st);
	if (!err) {
		*out_stored = st.size;
		*done = dv_tag_load_fd(s, f->fd, &st, &tag) && tag.anew &&
			dv_time_ns(tag.swapped) >= a->since_ns;
	}
	dv_file_unref(s, f);
	return err;
}

dv_err dv_anew_unpack(struct dv_store *s, struct dv_node *n, const struct dv_anew *a,
		      uint64_t *out_stored, enum dv_anew_outcome *out)
{
	struct dv_refusal_before before;
	bool done = false, several = false;
	*out = DV_ANEW_NOT;
	*out_stored = 0;
	dv_err err = dv_gate_shared(n, false);
	if (err)
		return err;
	if (n->form == DV_FORM_PACKED && !n->stage)
		err = look(s, n, a, out_stored, &done);
	else
		done = true; /* it is being changed, and packed later */
	dv_gate_open(n);
	if (err || done)
		return err;
	*out = DV_ANEW_BUSY;
	if (dv_has_writer(s, n))
		return 0;
	err = dv_sweep_begin_unpacking(s, n, &several, &before);
	*out = several ? DV_ANEW_NOT : DV_ANEW_DONE;
	if (!err && !several)
		err = dv_unpack_value(s, n);
	if (!err && !several) /* its ctime stays */
		err = dv_refusal_keep_raw(s, n, &before);
	return err;
}

void dv_anew_give_up(struct dv_store *s, struct dv_node *n)
{
	if (dv_gate_exclusive(n, false))
		return;
	n->refused = 0;
	dv_gate_open(n);
	dv_keeper_touch(s, n);
}
