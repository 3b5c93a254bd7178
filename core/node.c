/* SPDX-License-Identifier: MIT */
/* node.c - see node.h. */
#include "core/internal.h"

#include "core/cleanup.h"

#include <assert.h>
#include <string.h>
#include <sys/resource.h>
#include <utlist.h>

dv_err dv_nodes_init(struct dv_store *s)
{
	struct rlimit lim = {.rlim_cur = 1024};
	getrlimit(RLIMIT_NOFILE, &lim);
	if (lim.rlim_cur > (1u << 20))
		lim.rlim_cur = 1u << 20;
	s->file_max = (unsigned)lim.rlim_cur / DV_FILES_MAX_FRACTION;
	if (s->file_max > DV_FILES_MAX)
		s->file_max = DV_FILES_MAX;
	pthread_mutex_init(&s->names_lock, NULL);
	pthread_mutex_init(&s->files_lock, NULL);
	pthread_mutex_init(&s->facts_lock, NULL);
	return 0;
}

void dv_nodes_release(struct dv_store *s)
{
	pthread_mutex_destroy(&s->facts_lock);
	pthread_mutex_destroy(&s->files_lock);
	pthread_mutex_destroy(&s->names_lock);
}

struct dv_node *dv_node_new(mode_t type, uint64_t ino)
{
	struct dv_node *n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	/* A stream of readers must not keep a writer, or a swap, waiting for good. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&n->gate, &attr);
	pthread_rwlockattr_destroy(&attr);
	atomic_init(&n->refs, 1);
	atomic_init(&n->unsynced, DV_NAMES_MADE);
	n->type = type & S_IFMT;
	n->ino = ino;
	return n;
}

struct dv_node *dv_node_ref(struct dv_node *n)
{
	atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
	return n;
}

/* ---- links; names_lock held ---- */

#define KEY_MAX (sizeof(void *) + DV_NAME_MAX)

static size_t make_key(char *key, const struct dv_node *dir, const char *name)
{
	size_t len = strlen(name);
	assert(len <= DV_NAME_MAX);
	memcpy(key, &dir, sizeof(dir));
	memcpy(key + sizeof(dir), name, len);
	return sizeof(dir) + len;
}

static struct dv_link *find_link_locked(struct dv_store *s, struct dv_node *dir, const char *name)
{
	char key[KEY_MAX];
	size_t len = make_key(key, dir, name);
	struct dv_link *l = NULL;
	HASH_FIND(hh, s->names, key, len, l);
	return l;
}

static struct dv_link *new_link(struct dv_node *dir, const char *name, uint8_t slot)
{
	size_t name_len = strlen(name);
	struct dv_link *l = calloc(1, sizeof(*l) + sizeof(void *) + name_len + 1);
	if (!l)
		return NULL;
	l->slot = slot;
	l->key_len = (uint16_t)make_key(l->key, dir, name);
	l->dir = dir;
	return l;
}

static void attach_locked(struct dv_store *s, struct dv_link *l, struct dv_node *n)
{
	l->node = n;
	l->next = n->links;
	n->links = l;
	dv_node_ref(l->dir);
	HASH_ADD_KEYPTR(hh, s->names, l->key, l->key_len, l);
}

/* Takes l out of everything. Its directory's reference goes into *dead, for unref without the lock.
 */
static void detach_locked(struct dv_store *s, struct dv_link *l, struct dv_link **dead)
{
	struct dv_link **at = &l->node->links;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	HASH_DELETE(hh, s->names, l);
	l->next = *dead;
	*dead = l;
}

static void leave_objects_locked(struct dv_store *s, struct dv_node *n)
{
	if (n->in_objects)
		HASH_DELETE(hh, s->objects, n);
	n->in_objects = false;
}

static void enter_objects_locked(struct dv_store *s, struct dv_node *n)
{
	struct dv_node *other = NULL;
	leave_objects_locked(s, n);
	n->object_key = (struct dv_object_key){n->id.dev, n->id.ino, n->form};
	HASH_FIND(hh, s->objects, &n->object_key, sizeof(n->object_key), other);
	if (other) /* the number was reused: the older node's object is gone */
		leave_objects_locked(s, other);
	HASH_ADD(hh, s->objects, object_key, sizeof(n->object_key), n);
	n->in_objects = true;
}

/* Gives a reference back; with the last one n goes, and its links are added to *dead. */
static void release(struct dv_store *s, struct dv_node *n, struct dv_link **dead)
{
	unsigned refs = atomic_load_explicit(&n->refs, memory_order_relaxed);
	while (refs > 1)
		if (atomic_compare_exchange_weak(&n->refs, &refs, refs - 1))
			return;
	pthread_mutex_lock(&s->names_lock); /* tables lend references only under it */
	if (atomic_fetch_sub(&n->refs, 1) > 1) {
		pthread_mutex_unlock(&s->names_lock);
		return;
	}
	while (n->links)
		detach_locked(s, n->links, dead);
	leave_objects_locked(s, n);
	pthread_mutex_unlock(&s->names_lock);
	assert(!n->stage && !n->job && !n->queued);
	dv_node_drop_file(s, n);
	pthread_rwlock_destroy(&n->gate);
	free(n);
	atomic_fetch_sub(&s->node_count, 1);
}

/* Not by recursion: directories go with their last child, and a tree may be deeper than the stack.
 */
static void bury(struct dv_store *s, struct dv_link *dead)
{
	while (dead) {
		struct dv_link *l = dead;
		dead = l->next;
		release(s, l->dir, &dead);
		free(l);
	}
}

void dv_node_unref(struct dv_store *s, struct dv_node *n)
{
	struct dv_link *dead = NULL;
	if (n)
		release(s, n, &dead);
	bury(s, dead);
}

struct dv_node *dv_node_find_name(struct dv_store *s, struct dv_node *dir, const char *name)
{
	pthread_mutex_lock(&s->names_lock);
	struct dv_link *l = find_link_locked(s, dir, name);
	struct dv_node *n = l ? dv_node_ref(l->node) : NULL;
	pthread_mutex_unlock(&s->names_lock);
	return n;
}

/* The node that stands for fresh's object already, or NULL. */
static struct dv_node *find_object_locked(struct dv_store *s, const struct dv_node *fresh)
{
	struct dv_object_key key = {fresh->id.dev, fresh->id.ino, fresh->form};
	struct dv_node *n = NULL;
	HASH_FIND(hh, s->objects, &key, sizeof(key), n);
	/* The gate is not held: birth time and type never change under one number and form. */
	if (n && (n->type != fresh->type || !dv_ident_equal(&n->id, &fresh->id)))
		n = NULL;
	return n;
}

uint32_t dv_node_links(struct dv_node *n, uint32_t st_nlink)
{
	uint32_t superseded = atomic_load(&n->superseded);
	return superseded < st_nlink ? st_nlink - superseded : 0;
}

void dv_node_superseded_gone(struct dv_store *s, const struct dv_ident *id)
{
	struct dv_object_key key = {id->dev, id->ino, DV_FORM_PACKED};
	struct dv_node *n = NULL;
	pthread_mutex_lock(&s->names_lock);
	HASH_FIND(hh, s->objects, &key, sizeof(key), n);
	if (n && atomic_load(&n->superseded) && dv_ident_equal(&n->id, id))
		atomic_fetch_sub(&n->superseded, 1);
	pthread_mutex_unlock(&s->names_lock);
}

dv_err dv_node_enter(struct dv_store *s, struct dv_node *fresh, const struct dv_entry *e,
		     struct dv_node **out, bool *out_again)
{
	struct dv_link *link = new_link(e->dir, e->name, e->slot), *dead = NULL;
	*out_again = false;
	if (!link) {
		dv_node_unref(s, fresh);
		return -ENOMEM;
	}
	pthread_mutex_lock(&s->names_lock);
	struct dv_link *there = find_link_locked(s, e->dir, e->name);
	struct dv_node *n = there ? there->node : find_object_locked(s, fresh);
	/* Known by another name: was that moved by others, or has a rename of ours just taken it
	 * there? */
	if (there || (n && n->links && s->moves != e->moves)) {
		*out_again = true;
	} else {
		if (n && e->alone)
			while (n->links)
				detach_locked(s, n->links, &dead);
		if (!n) {
			n = fresh;
			enter_objects_locked(s, n);
		}
		attach_locked(s, link, n);
		link = NULL;
	}
	*out = dv_node_ref(n);
	pthread_mutex_unlock(&s->names_lock);
	free(link);
	bury(s, dead);
	dv_node_unref(s, fresh);
	return 0;
}

dv_err dv_node_add_name(struct dv_store *s, struct dv_node *n, struct dv_node *dir,
			const char *name, uint8_t slot)
{
	struct dv_link *link = new_link(dir, name, slot), *dead = NULL;
	if (!link)
		return -ENOMEM;
	pthread_mutex_lock(&s->names_lock);
	struct dv_link *there = find_link_locked(s, dir, name);
	if (there)
		detach_locked(s, there, &dead);
	attach_locked(s, link, n);
	pthread_mutex_unlock(&s->names_lock);
	bury(s, dead);
	return 0;
}

bool dv_node_drop_name(struct dv_store *s, struct dv_node *dir, const char *name)
{
	struct dv_link *dead = NULL;
	bool others = false;
	pthread_mutex_lock(&s->names_lock);
	struct dv_link *l = find_link_locked(s, dir, name);
	if (l) {
		struct dv_node *n = l->node;
		detach_locked(s, l, &dead);
		others = n->links != NULL;
	}
	pthread_mutex_unlock(&s->names_lock);
	bury(s, dead);
	return others;
}

dv_err dv_node_move_name(struct dv_store *s, struct dv_node *olddir, const char *oldname,
			 struct dv_node *newdir, const char *newname, uint8_t slot)
{
	struct dv_link *link = new_link(newdir, newname, slot), *dead = NULL;
	if (!link)
		return -ENOMEM;
	pthread_mutex_lock(&s->names_lock);
	struct dv_link *over = find_link_locked(s, newdir, newname);
	if (over)
		detach_locked(s, over, &dead);
	struct dv_link *l = find_link_locked(s, olddir, oldname);
	s->moves++;
	if (l) {
		struct dv_node *n = l->node;
		detach_locked(s, l, &dead);
		attach_locked(s, link, n);
		link = NULL;
	}
	pthread_mutex_unlock(&s->names_lock);
	free(link);
	bury(s, dead);
	return 0;
}

dv_err dv_node_swap_names(struct dv_store *s, struct dv_node *dir1, const char *name1,
			  struct dv_node *dir2, const char *name2)
{
	struct dv_link *new1 = new_link(dir1, name1, 0), *new2 = new_link(dir2, name2, 0),
		       *dead = NULL;
	if (!new1 || !new2) {
		free(new1);
		free(new2);
		return -ENOMEM;
	}
	pthread_mutex_lock(&s->names_lock);
	struct dv_link *l1 = find_link_locked(s, dir1, name1),
		       *l2 = find_link_locked(s, dir2, name2);
	s->moves++;
	struct dv_node *n1 = l1 ? l1->node : NULL, *n2 = l2 ? l2->node : NULL;
	if (l1) {
		new1->slot = l1->slot; /* it is the name's, not the object's */
		detach_locked(s, l1, &dead);
	}
	if (l2) {
		new2->slot = l2->slot;
		detach_locked(s, l2, &dead);
	}
	if (n2) {
		attach_locked(s, new1, n2);
		new1 = NULL;
	}
	if (n1) {
		attach_locked(s, new2, n1);
		new2 = NULL;
	}
	pthread_mutex_unlock(&s->names_lock);
	free(new1);
	free(new2);
	bury(s, dead);
	return 0;
}

bool dv_node_has_name(struct dv_store *s, struct dv_node *n)
{
	return n == s->root || dv_node_has_names(s, n, 1);
}

bool dv_node_has_names(struct dv_store *s, struct dv_node *n, unsigned count)
{
	pthread_mutex_lock(&s->names_lock);
	struct dv_link *l = n->links;
	for (; l && count > 1; count--)
		l = l->next;
	pthread_mutex_unlock(&s->names_lock);
	return l != NULL;
}

dv_err dv_node_name(struct dv_store *s, struct dv_node *n, unsigned skip, struct dv_node **out_dir,
		    char name[DV_NAME_MAX + 1], uint8_t *out_slot)
{
	dv_err err = -ESTALE;
	pthread_mutex_lock(&s->names_lock);
	struct dv_link *l = n->links;
	while (l && skip--)
		l = l->next;
	if (l) {
		*out_dir = dv_node_ref(l->dir);
		memcpy(name, DV_LINK_NAME(l), l->key_len - sizeof(void *) + 1);
		if (out_slot)
			*out_slot = l->slot;
		err = 0;
	}
	pthread_mutex_unlock(&s->names_lock);
	return err;
}

void dv_node_path(struct dv_store *s, struct dv_node *n, char *buf, size_t buf_size)
{
	size_t at = buf_size - 1;
	buf[at] = '\0';
	pthread_mutex_lock(&s->names_lock);
	for (struct dv_link *l; n != s->root && (l = n->links); n = l->dir) {
		size_t len = l->key_len - sizeof(void *);
		if (len + 1 > at)
			break;
		if (buf[at])
			buf[--at] = '/';
		at -= len;
		memcpy(buf + at, DV_LINK_NAME(l), len);
	}
	bool whole = n == s->root;
	pthread_mutex_unlock(&s->names_lock);
	if (whole)
		memmove(buf, buf + at, buf_size - at);
	else
		buf[0] = '\0';
}

void dv_node_set_object(struct dv_store *s, struct dv_node *n, const struct dv_ident *id,
			enum dv_form form)
{
	pthread_mutex_lock(&s->names_lock);
	n->id = *id;
	n->form = form;
	atomic_store(&n->superseded, 0); /* those are the old object's */
	enter_objects_locked(s, n);
	pthread_mutex_unlock(&s->names_lock);
}

uint64_t dv_node_moves(struct dv_store *s)
{
	pthread_mutex_lock(&s->names_lock);
	uint64_t moves = s->moves;
	pthread_mutex_unlock(&s->names_lock);
	return moves;
}

bool dv_node_is(struct dv_store *s, struct dv_node *n, const struct dv_ident *id, enum dv_form form)
{
	pthread_mutex_lock(&s->names_lock);
	bool is = n->form == form && dv_ident_equal(&n->id, id);
	pthread_mutex_unlock(&s->names_lock);
	return is;
}

enum dv_form dv_node_form(struct dv_store *s, struct dv_node *n)
{
	pthread_mutex_lock(&s->names_lock);
	enum dv_form form = n->form;
	pthread_mutex_unlock(&s->names_lock);
	return form;
}

uint64_t dv_node_ino(const struct dv_node *n)
{
	return n->ino;
}

mode_t dv_node_type(const struct dv_node *n)
{
	return n->type;
}

void **dv_node_cookie(struct dv_node *n)
{
	return &n->cookie;
}

void dv_node_set_loser(struct dv_store *s, struct dv_node *n, const struct dv_ident *id,
		       uint64_t record)
{
	pthread_mutex_lock(&s->names_lock);
	n->loser_id = *id;
	n->loser_record = record;
	n->loser = true;
	pthread_mutex_unlock(&s->names_lock);
}

bool dv_node_loser(struct dv_store *s, struct dv_node *n, struct dv_ident *out_id)
{
	pthread_mutex_lock(&s->names_lock);
	bool has = n->loser;
	*out_id = n->loser_id;
	pthread_mutex_unlock(&s->names_lock);
	return has;
}

/* ---- gates ---- */

dv_err dv_gate_shared(struct dv_node *n, bool nowait)
{
	if (!nowait)
		return -pthread_rwlock_rdlock(&n->gate);
	return pthread_rwlock_tryrdlock(&n->gate) ? -EAGAIN : 0;
}

dv_err dv_gate_exclusive(struct dv_node *n, bool nowait)
{
	if (!nowait)
		return -pthread_rwlock_wrlock(&n->gate);
	return pthread_rwlock_trywrlock(&n->gate) ? -EAGAIN : 0;
}

void dv_gate_open(struct dv_node *n)
{
	pthread_rwlock_unlock(&n->gate);
}

dv_err dv_gates_shared(struct dv_node *a, struct dv_node *b, bool nowait)
{
	struct dv_node *first = a < b ? a : b, *second = a < b ? b : a;
	dv_err err = dv_gate_shared(first, nowait);
	if (err || first == second)
		return err;
	err = dv_gate_shared(second, nowait);
	if (err)
		dv_gate_open(first);
	return err;
}

void dv_gates_open(struct dv_node *a, struct dv_node *b)
{
	dv_gate_open(a);
	if (a != b)
		dv_gate_open(b);
}

/* ---- files ---- */

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
