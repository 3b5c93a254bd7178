/* SPDX-License-Identifier: MIT */
/* node.c - see node.h. */
#include "core/internal.h"

#include "core/cleanup.h"
#include "core/node_private.h"

#include <assert.h>
#include <string.h>
#include <sys/resource.h>

static uint64_t hash_name(const struct dv_node *dir, const char *name, size_t len, uint64_t seed)
{
	return dv_table_hash_bytes(seed ^ (uint64_t)(uintptr_t)dir, name, len);
}

static uint64_t hash_link(const struct dv_table_entry *e, uint64_t seed)
{
	const struct dv_link *l = DV_TABLE_OWNER(e, const struct dv_link, by_name);
	return hash_name(l->dir, l->name, l->name_len, seed);
}

static uint64_t hash_object(const struct dv_ident *id, enum dv_form form, uint64_t seed)
{
	uint64_t key[] = {id->dev, id->ino, form};
	return dv_table_hash_bytes(seed, key, sizeof(key));
}

static uint64_t hash_node(const struct dv_table_entry *e, uint64_t seed)
{
	const struct dv_node *n = DV_TABLE_OWNER(e, const struct dv_node, by_object);
	return hash_object(&n->id, n->form, seed);
}

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
	dv_err err = dv_table_init(&s->names, hash_link);
	return err ? err : dv_table_init(&s->objects, hash_node);
}

void dv_nodes_release(struct dv_store *s)
{
	dv_table_release(&s->objects);
	dv_table_release(&s->names);
	pthread_mutex_destroy(&s->facts_lock);
	pthread_mutex_destroy(&s->files_lock);
	pthread_mutex_destroy(&s->names_lock);
}

struct dv_node *dv_node_new(mode_t type, uint64_t ino, const char *name)
{
	size_t len = strlen(name);
	struct dv_node *n = calloc(1, sizeof(*n) + DV_LINK_BYTES(len));
	if (!n)
		return NULL;
	dv_gate_init(&n->gate);
	atomic_init(&n->refs, 1);
	atomic_init(&n->unsynced, DV_NAMES_MADE);
	n->type = type & S_IFMT;
	n->ino = ino;
	dv_link_name(dv_link_own(n), name, len);
	dv_link_own(n)->in_node = true;
	return n;
}

struct dv_node *dv_node_ref(struct dv_node *n)
{
	atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
	return n;
}

/* ---- links; names_lock held ---- */

static struct dv_link *find_link_locked(struct dv_store *s, struct dv_node *dir, const char *name)
{
	size_t len = strlen(name);
	assert(len <= DV_NAME_MAX);
	struct dv_table_entry *e =
		dv_table_chain(&s->names, hash_name(dir, name, len, s->names.seed));
	for (; e; e = e->next) {
		struct dv_link *l = DV_TABLE_OWNER(e, struct dv_link, by_name);
		if (l->dir == dir && l->name_len == len && memcmp(l->name, name, len) == 0)
			return l;
	}
	return NULL;
}

static void attach_locked(struct dv_store *s, struct dv_link *l, struct dv_node *n)
{
	dv_link_chain(n, l);
	dv_node_ref(l->dir);
	dv_table_insert(&s->names, &l->by_name);
}

/* Takes l out of everything. Its directory's reference goes into *dead, for bury() without the
 * lock. */
static void take_out_locked(struct dv_store *s, struct dv_link *l, struct dv_link **dead)
{
	dv_link_unchain(l);
	dv_table_remove(&s->names, &l->by_name);
	l->next = *dead;
	*dead = l;
}

/* The same for a node that lives on: the link may lie in its memory. */
static void detach_locked(struct dv_store *s, struct dv_link *l, struct dv_link **dead)
{
	if (l->in_node)
		dv_node_ref(l->node);
	take_out_locked(s, l, dead);
}

static void leave_objects_locked(struct dv_store *s, struct dv_node *n)
{
	if (n->in_objects)
		dv_table_remove(&s->objects, &n->by_object);
	n->in_objects = false;
}

static struct dv_node *at_object_locked(struct dv_store *s, const struct dv_ident *id,
					enum dv_form form)
{
	struct dv_table_entry *e =
		dv_table_chain(&s->objects, hash_object(id, form, s->objects.seed));
	for (; e; e = e->next) {
		struct dv_node *n = DV_TABLE_OWNER(e, struct dv_node, by_object);
		if (n->id.ino == id->ino && n->id.dev == id->dev && n->form == form)
			return n;
	}
	return NULL;
}

/* n is in no table. */
static void enter_objects_locked(struct dv_store *s, struct dv_node *n)
{
	struct dv_node *other = at_object_locked(s, &n->id, n->form);
	if (other) /* the number was reused: the older node's object is gone */
		leave_objects_locked(s, other);
	dv_table_insert(&s->objects, &n->by_object);
	n->in_objects = true;
}

/* Gives a reference back; with the last one n goes, and its links are added to *dead. A link that
 * lies in n's memory keeps that until it is buried. */
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
	bool named_within = false;
	while (n->links) {
		named_within |= n->links->in_node;
		take_out_locked(s, n->links, dead);
	}
	leave_objects_locked(s, n);
	pthread_mutex_unlock(&s->names_lock);
	assert(!n->stage && !n->job && !n->queued);
	dv_node_drop_file(s, n);
	dv_gate_release(&n->gate);
	free(n->beside);
	if (!named_within)
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
		if (!l->in_node)
			dv_link_free(l);
		else if (atomic_load(&l->node->refs) == 0) /* the last of it */
			free(l->node);
		else
			release(s, l->node, &dead);
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
	struct dv_node *n = at_object_locked(s, &fresh->id, fresh->form);
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
	pthread_mutex_lock(&s->names_lock);
	struct dv_node *n = at_object_locked(s, id, DV_FORM_PACKED);
	if (n && atomic_load(&n->superseded) && dv_ident_equal(&n->id, id))
		atomic_fetch_sub(&n->superseded, 1);
	pthread_mutex_unlock(&s->names_lock);
}

/* One try with the lock; link: for a name of a node that is known already. -> false: it needs one.
 */
static bool enter_locked(struct dv_store *s, struct dv_node *fresh, const struct dv_entry *e,
			 struct dv_link **link, struct dv_link **dead, struct dv_node **out,
			 bool *out_again)
{
	struct dv_link *there = find_link_locked(s, e->dir, e->name);
	struct dv_node *n = there ? there->node : find_object_locked(s, fresh);
	/* Known by another name: was that moved by others, or has a rename of ours just taken it
	 * there? */
	*out_again = there || (n && n->links && s->moves != e->moves);
	if (!n) {
		n = fresh;
		enter_objects_locked(s, n);
		dv_link_own(n)->dir = e->dir;
		dv_link_own(n)->slot = e->slot;
		attach_locked(s, dv_link_own(n), n);
	} else if (!*out_again) {
		if (!*link)
			return false;
		if (e->alone)
			while (n->links)
				detach_locked(s, n->links, dead);
		attach_locked(s, dv_take_ptr(link), n);
	}
	*out = dv_node_ref(n);
	return true;
}

dv_err dv_node_enter(struct dv_store *s, struct dv_node *fresh, const struct dv_entry *e,
		     struct dv_node **out, bool *out_again)
{
	struct dv_link *link = NULL, *dead = NULL;
	bool entered;
	do {
		pthread_mutex_lock(&s->names_lock);
		entered = enter_locked(s, fresh, e, &link, &dead, out, out_again);
		pthread_mutex_unlock(&s->names_lock);
		if (!entered)
			link = dv_link_new(e->dir, e->name, e->slot);
	} while (!entered && link);
	if (entered)
		dv_link_free(link);
	bury(s, dead);
	dv_node_unref(s, fresh);
	return entered ? 0 : -ENOMEM;
}

dv_err dv_node_add_name(struct dv_store *s, struct dv_node *n, struct dv_node *dir,
			const char *name, uint8_t slot)
{
	struct dv_link *link = dv_link_new(dir, name, slot), *dead = NULL;
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
	struct dv_link *link = dv_link_new(newdir, newname, slot), *dead = NULL;
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
	dv_link_free(link);
	bury(s, dead);
	return 0;
}

dv_err dv_node_swap_names(struct dv_store *s, struct dv_node *dir1, const char *name1,
			  struct dv_node *dir2, const char *name2)
{
	struct dv_link *new1 = dv_link_new(dir1, name1, 0), *new2 = dv_link_new(dir2, name2, 0),
		       *dead = NULL;
	if (!new1 || !new2) {
		dv_link_free(new1);
		dv_link_free(new2);
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
	dv_link_free(new1);
	dv_link_free(new2);
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
		memcpy(name, l->name, l->name_len + 1u);
		if (out_slot)
			*out_slot = l->slot;
		err = 0;
	}
	pthread_mutex_unlock(&s->names_lock);
	return err;
}

size_t dv_node_names(struct dv_store *s, struct dv_node *n, size_t skip, struct dv_name_of *out,
		     size_t max)
{
	size_t count = 0;
	pthread_mutex_lock(&s->names_lock);
	struct dv_link *l = n->links;
	while (l && skip--)
		l = l->next;
	for (; l && count < max; l = l->next, count++) {
		out[count].dir = dv_node_ref(l->dir);
		memcpy(out[count].name, l->name, l->name_len + 1u);
	}
	pthread_mutex_unlock(&s->names_lock);
	return count;
}

void dv_node_path(struct dv_store *s, struct dv_node *n, char *buf, size_t buf_size)
{
	size_t at = buf_size - 1;
	buf[at] = '\0';
	pthread_mutex_lock(&s->names_lock);
	for (struct dv_link *l; n != s->root && (l = n->links); n = l->dir) {
		size_t len = l->name_len;
		if (len + 1 > at)
			break;
		if (buf[at])
			buf[--at] = '/';
		at -= len;
		memcpy(buf + at, l->name, len);
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
	leave_objects_locked(s, n);
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

uint32_t *dv_node_cookie(struct dv_node *n)
{
	return &n->cookie;
}

dv_err dv_node_reserve_loser(struct dv_store *s, struct dv_node *n)
{
	struct dv_loser *room = n->beside ? NULL : calloc(1, sizeof(*room));
	if (!n->beside && !room)
		return -ENOMEM;
	pthread_mutex_lock(&s->names_lock);
	if (room)
		n->beside = room;
	pthread_mutex_unlock(&s->names_lock);
	return 0;
}

void dv_node_set_loser(struct dv_store *s, struct dv_node *n, const struct dv_ident *id,
		       uint64_t record)
{
	assert(n->beside); /* reserved */
	pthread_mutex_lock(&s->names_lock);
	*n->beside = (struct dv_loser){*id, record};
	n->loser = true;
	pthread_mutex_unlock(&s->names_lock);
}

void dv_node_end_loser(struct dv_store *s, struct dv_node *n)
{
	pthread_mutex_lock(&s->names_lock);
	struct dv_loser *room = dv_take_ptr(&n->beside);
	n->loser = false;
	pthread_mutex_unlock(&s->names_lock);
	free(room);
}

bool dv_node_loser(struct dv_store *s, struct dv_node *n, struct dv_ident *out_id)
{
	pthread_mutex_lock(&s->names_lock);
	bool has = n->loser;
	if (has)
		*out_id = n->beside->id;
	pthread_mutex_unlock(&s->names_lock);
	return has;
}
