/* SPDX-License-Identifier: MIT */
/*
 * node.h - the objects of a store that somebody uses, their names, and their descriptors.
 *
 * A node stands for one object (value, directory, symbolic link, special file). A link is one name
 * of it: a directory node and a component. Two tables find them: names (directory, component) and
 * objects (dev, ino, form). Both are weak: they hold no reference; a node leaves them when its last
 * reference goes.
 *
 *   references   the driver's (as long as the kernel knows it), the keeper's queue, links of
 *                children (on the directory), callers
 *   a link       holds a reference on its directory, none on its own node
 *
 * Locks        names_lock (short): links, both tables, the last reference.
 *              gate: everything about the object's state; held across I/O, shared to read,
 *              exclusive to change.
 *              files_lock (short): node->file and the list of open files.
 *
 * Costs        Adding, moving and removing a name cost the same however many a node has.
 *
 * Memory       There are as many nodes as the kernel knows files, so their size is what the daemon
 *              takes. The first name lies behind the node in one piece of memory;
 *              what few nodes need is allocated when they need it.
 */
#ifndef DV_NODE_H
#define DV_NODE_H

#include "core/backing.h"
#include "core/gate.h"
#include "core/key.h"
#include "core/record.h"
#include "core/table.h"

#include <stdatomic.h>

struct dv_store;
struct dv_node;
struct dv_stage;
struct dv_pack_job;

/* An open descriptor, shared. Closed with its last reference. */
struct dv_file {
	atomic_uint refs;
	int fd;
	bool writable;	      /* opened O_RDWR; a shared flock is held on it */
	bool pinned;	      /* of an object without a name: never closed to make room */
	struct dv_node *node; /* files_lock: whose node->file this is, NULL once taken out */
	struct dv_file *prev,
		*next; /* files_lock: recently used first; pinned ones stand outside */
};

enum { /* dv_link.slot: which of the stored names is taken; PACKED or not follows from the node's
	  form */
       DV_SLOT_PLAIN = 0,
       DV_SLOT_ASIDE = 1,   /* raw lies aside of a shard directory */
       DV_SLOT_LITERAL = 2, /* a foreign non-regular "x.zst" that is served as it is */
};

struct dv_link {
	struct dv_table_entry by_name; /* in s->names, by dir and name */
	struct dv_node *node;	       /* lends none */
	struct dv_node *dir;	       /* holds a reference */
	struct dv_link *next;	       /* of the node, see node.c */
	uint8_t slot;
	uint8_t name_len;
	bool in_node; /* behind the node, in its memory */
	char name[];  /* and NUL */
};
#define DV_LINK_BYTES(name_len) (offsetof(struct dv_link, name) + (name_len) + 1)

/* What a packed value's size is, and for which state of the file that holds. */
struct dv_facts {
	struct dv_version version; /* of the stored file; size is the stored size */
	uint64_t plain_size;
	uint32_t frames;
	int16_t err;	 /* it can not be read at all; plain_size is what is shown */
	bool single : 1; /* one frame fills the file: no seek table */
	bool stream : 1; /* read from its start only (foreign.h); counts as one frame */
	bool known : 1;
};

/* A superseded packed form that is still beside its raw value. */
struct dv_loser {
	struct dv_ident id;
	uint64_t record;
};

struct dv_node {
	atomic_uint refs;
	struct dv_gate gate;
	uint64_t ino;	 /* constant: st_ino */
	uint32_t cookie; /* the driver's */

	/* under the gate */
	uint32_t refused;	 /* mark of the version that packing gains nothing for; 0: none */
	struct dv_ident id;	 /* of the object in the store; of the old one while staged. Written
				     under names_lock too */
	struct dv_stage *stage;	 /* newer bytes; NULL where the store's object is the value */
	struct dv_pack_job *job; /* a packer works on it */
	struct dv_loser *beside; /* names_lock too; what `loser` speaks of, or room for it */

	/* Where ctime is still the former, the latter is reported; 0: nothing is kept. Written with
	 * the gate shared too (packed.c, keep_in_tag): the latter first. */
	atomic_llong real_ctime_ns, kept_ctime_ns;

	uint32_t writes; /* counts changes of bytes or attributes; wraps */
	/* Of a value: marks of the mtime and ctime that a driver was last told, and whether it is known to
	 * keep its bytes by that mtime; 0: never told, or the value was changed here since. */
	atomic_uint told;
	uint32_t in_sequence;	  /* bytes written one after the other since it was empty;
				   DV_NOT_IN_SEQUENCE: not so, or it is not to be streamed */
	atomic_uint unsynced;	  /* DV_NAMES_MADE: a name may be lost with the power (what may come
				   back is in loose.h); a count of changes above it */
	atomic_ushort superseded; /* stored names of the packed object that a rename took its value
				     from, and that are still there */
	atomic_short error;	  /* of later work; told once by fsync */
	uint16_t type;		  /* constant: S_IFMT part */
	uint16_t generation;	  /* another after each replacement; see meta.h */
	enum dv_form form;	  /* written under names_lock too */
	atomic_bool loser;    /* raw is the value, a superseded packed form is still beside it */
	atomic_bool dirty;    /* bytes may be unsynced */
	atomic_uchar unpacks; /* times it had to be unpacked: its quiet time doubles */
	atomic_uchar others;  /* DV_OTHERS_* */
	bool in_objects;      /* names_lock */
	bool queued : 1;      /* queue_lock, as the next */
	uint8_t probes : 7;
	uint8_t stream_wait; /* gate; writes to come before it may become a stream */

	/* names_lock */
	struct dv_link *links;
	struct dv_table_entry by_object; /* in s->objects, by id and form */

	/* files_lock */
	struct dv_file *file;

	/* queue_lock */
	struct dv_node *queue_prev, *queue_next;
	int64_t due_ns, changed_ns;

	union {					      /* by type */
		struct dv_facts facts;		      /* of a value; facts_lock (short) */
		struct {			      /* of a directory */
			atomic_llong listed_until_ns; /* a listing is under way: names are not
							 swapped */
			atomic_llong listed_end; /* cookie where the last listing had come to its
						    end; 0: none */
			int64_t touched_ns;	 /* names_lock; shard transforms: the root's mtime
						    as seen by names */
			atomic_uint listers;	 /* listings under way, as far as can be told */
			atomic_llong
				told_ctime_ns; /* when a driver was last told of it; 0: never */
		};
	};
};

/* What a node with one name takes, without the name and what malloc adds: as many as the kernel
 * knows files are there. */
_Static_assert(sizeof(struct dv_node) + DV_LINK_BYTES(0) <= 252, "P6: about 300 bytes in all");

/* For dv_node.told: 16 bits of the mtime, never 0, 15 of the ctime as it is shown, DV_TOLD_KEPT. */
#define DV_TOLD_KEPT	    1u
#define DV_TOLD_MTIME(mark) ((mark) >> 16)
static inline uint32_t dv_told_mark(const struct dv_stat *st)
{
	uint64_t m = (uint64_t)dv_time_ns(st->mtime) * 0x9E3779B97F4A7C15u;
	uint64_t c = (uint64_t)dv_time_ns(st->ctime) * 0x9E3779B97F4A7C15u;
	return ((uint32_t)(m >> 48 ? m >> 48 : 1) << 16) | ((uint32_t)(c >> 49) << 1);
}

/* The value, or its ctime alone, was changed here: what was told of it tells no changes of others. */
static inline void dv_told_ends(struct dv_node *n)
{
	if (S_ISREG(n->type))
		atomic_store(&n->told, 0);
}

#define DV_NOT_IN_SEQUENCE UINT32_MAX

/* So many bytes more in sequence. */
static inline uint32_t dv_sequence(uint32_t before, size_t more)
{
	return more < DV_NOT_IN_SEQUENCE - before ? before + (uint32_t)more : DV_NOT_IN_SEQUENCE;
}

enum {
	DV_OTHERS_TOOK = 1, /* they have taken a name from it */
	DV_OTHERS_DIED =
		2, /* their work comes before a change of it that waits for that (owner.h) */
};

enum {
	DV_NAMES_MADE = 1, /* one was made, and its directory was not synced since */
	DV_NAMES_COUNT = 2,
};

/* A name of n was made; any gate or none. */
static inline void dv_names_changed(struct dv_node *n)
{
	unsigned was = atomic_load(&n->unsynced);
	while (!atomic_compare_exchange_weak(&n->unsynced, &was,
					     (was + DV_NAMES_COUNT) | DV_NAMES_MADE))
		;
}

/* The directory was synced, after n->unsynced was `seen`. Where there was a change meanwhile
 * nothing is forgotten: another sync tells. */
static inline void dv_names_synced(struct dv_node *n, unsigned seen)
{
	atomic_compare_exchange_strong(&n->unsynced, &seen, seen & ~(unsigned)DV_NAMES_MADE);
}

#define DV_FILES_MAX                                                                               \
	4096 /* kept open for reuse: more costs the kernel memory and saves nothing                \
	      */
#define DV_FILES_MAX_FRACTION                                                                      \
	2 /* of RLIMIT_NOFILE: the rest is for stages, packers and listings                        \
	   */

dv_err dv_nodes_init(struct dv_store *s);
void dv_nodes_release(struct dv_store *s);

/* A new node with one reference, in no table, with room for its first name. NULL: no memory. */
struct dv_node *dv_node_new(mode_t type, uint64_t ino, const char *name);

/* -> a new reference or NULL */
struct dv_node *dv_node_find_name(struct dv_store *s, struct dv_node *dir, const char *name);

/*
 * Finds the node of object (id, form) or enters `fresh` for it, and gives it the name (dir, name).
 * Takes the reference `fresh`, which was made for that name; lends one. alone: the object has one
 * link, so other names of a found node are gone. Where (dir, name) has another node already, or a
 * name was moved since the object was found and it has one, that node is lent and *out_again is
 * set: the caller looks again.
 */
struct dv_entry {
	struct dv_node *dir; /* borrowed */
	const char *name;
	uint8_t slot;
	bool alone;
	uint64_t moves; /* dv_node_moves() before the object was found under the name */
};
DV_CHECK dv_err dv_node_enter(struct dv_store *s, struct dv_node *fresh, const struct dv_entry *e,
			      struct dv_node **out, bool *out_again);
/* How often names were moved. */
uint64_t dv_node_moves(struct dv_store *s);

/*
 * Before a change that is not to be taken back for want of memory: the calling thread has room for two
 * names that it gives, moves or swaps, until it releases what it did not need.
 */
DV_CHECK dv_err dv_node_reserve_names(void);
void dv_node_release_names(void);
/* Gives n one more name; a name of another node is taken from it. */
DV_CHECK dv_err dv_node_add_name(struct dv_store *s, struct dv_node *n, struct dv_node *dir,
				 const char *name, uint8_t slot);
/* The name is gone, whoever had it. -> does its node have other names? */
bool dv_node_drop_name(struct dv_store *s, struct dv_node *dir, const char *name);
/* Moves the name; a node at the new name loses it. */
DV_CHECK dv_err dv_node_move_name(struct dv_store *s, struct dv_node *olddir, const char *oldname,
				  struct dv_node *newdir, const char *newname, uint8_t slot);
DV_CHECK dv_err dv_node_swap_names(struct dv_store *s, struct dv_node *dir1, const char *name1,
				   struct dv_node *dir2, const char *name2);
bool dv_node_has_name(struct dv_store *s, struct dv_node *n);
bool dv_node_has_names(struct dv_store *s, struct dv_node *n,
		       unsigned count); /* so many at least */

/* A name of n: *out_dir lends a reference, name is copied. -ESTALE: it has none. skip: which one (0
 * the first). */
DV_CHECK dv_err dv_node_name(struct dv_store *s, struct dv_node *n, unsigned skip,
			     struct dv_node **out_dir, char name[DV_NAME_MAX + 1],
			     uint8_t *out_slot);

/* So many of them at once, from the skip-th on; each dir lends a reference. -> how many: fewer than
 * max where there are no more. For who goes over all names of a value that has many. */
struct dv_name_of {
	struct dv_node *dir;
	char name[DV_NAME_MAX + 1];
};
size_t dv_node_names(struct dv_store *s, struct dv_node *n, size_t skip, struct dv_name_of *out,
		     size_t max);

/* Without the gate: as it was a moment ago. */
bool dv_node_is(struct dv_store *s, struct dv_node *n, const struct dv_ident *id,
		enum dv_form form);
enum dv_form dv_node_form(struct dv_store *s, struct dv_node *n);

/* n's object is another now (a swap): enters the table under it. Gate exclusive. */
void dv_node_set_object(struct dv_store *s, struct dv_node *n, const struct dv_ident *id,
			enum dv_form form);

/* Of st_nlink, those that are not superseded. */
uint32_t dv_node_links(struct dv_node *n, uint32_t st_nlink);
/* A superseded stored name of the packed object is gone. */
void dv_node_superseded_gone(struct dv_store *s, const struct dv_ident *id);

/* A superseded packed form is beside n's value (stage.h). Room for what is to be known of it is
 * taken before the names change that bring it about; set and ended under the gate, exclusively; the
 * id is read without it too, so all is under names_lock. */
DV_CHECK dv_err dv_node_reserve_loser(struct dv_store *s, struct dv_node *n);
void dv_node_set_loser(struct dv_store *s, struct dv_node *n, const struct dv_ident *id,
		       uint64_t record);
/* There is none, or it is gone; the room goes too. */
void dv_node_end_loser(struct dv_store *s, struct dv_node *n);
bool dv_node_loser(struct dv_store *s, struct dv_node *n, struct dv_ident *out_id);

/* ---- gates: nowait gives -EAGAIN ---- */
DV_CHECK dv_err dv_gate_shared(struct dv_node *n, bool nowait);
DV_CHECK dv_err dv_gate_exclusive(struct dv_node *n, bool nowait);
void dv_gate_open(struct dv_node *n);
/* Both directories, once where they are the same, in a fixed order. */
DV_CHECK dv_err dv_gates_shared(struct dv_node *a, struct dv_node *b, bool nowait);
void dv_gates_open(struct dv_node *a, struct dv_node *b);

/* ---- files ---- */
/* Takes fd. NULL: no memory (fd is closed). */
struct dv_file *dv_file_new(struct dv_store *s, int fd, bool writable);
void dv_file_unref(struct dv_store *s, struct dv_file *f); /* NULL is allowed */
/* n's file with a new reference, or NULL. writable: only a writable one. */
struct dv_file *dv_node_file(struct dv_store *s, struct dv_node *n, bool writable);
/* Makes f n's file (shares the reference), in place of another one; closes what was used longest
 * ago where there are too many. */
void dv_node_set_file(struct dv_store *s, struct dv_node *n, struct dv_file *f, bool pinned);
/* n keeps its name: its file may be closed to make room again. */
void dv_node_unpin(struct dv_store *s, struct dv_node *n);
void dv_node_drop_file(struct dv_store *s, struct dv_node *n);

#endif
