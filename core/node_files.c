/* SPDX-License-Identifier: MIT */
/* node_files.c - the descriptors of nodes: see node.h. */
#include "core/internal.h"

#include <stdlib.h>
#include <utlist.h>

struct dv_file *dv_file_new(struct dv_store *s, int fd, bool writable)
{
	struct dv_file *f = calloc(1, sizeof(*f));
	if (!f) {
		DV_B(s, close, fd);
		return NULL;
	}
	atomic_init(&f->refs, 1);
	f->fd = fd;
	f->writable = writable;
	return f;
}

void dv_file_unref(struct dv_store *s, struct dv_file *f)
{
	if (!f || atomic_fetch_sub(&f->refs, 1) > 1)
		return;
	DV_B(s, close, f->fd);
	free(f);
}

/* Pinned files stand outside the list of those that may be closed. */
static void set_pinned_locked(struct dv_store *s, struct dv_file *f, bool pinned)
{
	if (f->pinned == pinned)
		return;
	f->pinned = pinned;
	if (pinned)
		DL_DELETE(s->files, f);
	else
		DL_PREPEND(s->files, f);
	s->file_count += pinned ? -1u : 1u;
	s->pinned_count += pinned ? 1u : -1u;
}

/* Takes f out of its node and the list; the node's reference is the caller's now. */
static void take_out_locked(struct dv_store *s, struct dv_file *f)
{
	set_pinned_locked(s, f, false);
	DL_DELETE(s->files, f);
	s->file_count--;
	f->node->file = NULL;
	f->node = NULL;
}

struct dv_file *dv_node_file(struct dv_store *s, struct dv_node *n, bool writable)
{
	pthread_mutex_lock(&s->files_lock);
	struct dv_file *f = n->file;
	if (f && writable && !f->writable)
		f = NULL;
	if (f) {
		atomic_fetch_add(&f->refs, 1);
		if (s->files != f && !f->pinned) {
			DL_DELETE(s->files, f);
			DL_PREPEND(s->files, f);
		}
	}
	pthread_mutex_unlock(&s->files_lock);
	return f;
}

void dv_node_set_file(struct dv_store *s, struct dv_node *n, struct dv_file *f, bool pinned)
{
	struct dv_file *dead = NULL, *old = NULL;
	pthread_mutex_lock(&s->files_lock);
	if (n->file == f) {
		set_pinned_locked(s, f, pinned || f->pinned);
		pthread_mutex_unlock(&s->files_lock);
		return;
	}
	if (n->file) {
		old = n->file;
		take_out_locked(s, old);
	}
	atomic_fetch_add(&f->refs, 1);
	f->pinned = false;
	f->node = n;
	n->file = f;
	DL_PREPEND(s->files, f);
	s->file_count++;
	set_pinned_locked(s, f, pinned);
	if (s->file_count > s->file_max) {
		dead = s->files->prev; /* utlist: the head's prev is the tail */
		take_out_locked(s, dead);
	}
	pthread_mutex_unlock(&s->files_lock);
	dv_file_unref(s, old);
	dv_file_unref(s, dead);
}

void dv_node_unpin(struct dv_store *s, struct dv_node *n)
{
	pthread_mutex_lock(&s->files_lock);
	if (n->file)
		set_pinned_locked(s, n->file, false);
	pthread_mutex_unlock(&s->files_lock);
}

void dv_node_drop_file(struct dv_store *s, struct dv_node *n)
{
	pthread_mutex_lock(&s->files_lock);
	struct dv_file *f = n->file;
	if (f)
		take_out_locked(s, f);
	pthread_mutex_unlock(&s->files_lock);
	dv_file_unref(s, f);
}

bool dv_node_rest(struct dv_store *s, struct dv_node *n)
{
	struct dv_file *f;

	if (!dv_node_has_name(s, n))
		return false;
	pthread_mutex_lock(&s->files_lock);
	f = n->file && !n->file->pinned ? n->file : NULL;
	if (f)
		take_out_locked(s, f);
	pthread_mutex_unlock(&s->files_lock);
	dv_file_unref(s, f);
	return true;
}
