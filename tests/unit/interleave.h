/* SPDX-License-Identifier: MIT */
/*
 * interleave.h - two mounts of one store and programs in it, on simfs, and what they do to the
 * value k: for test_interleave.c.
 *
 * One party, the subject, does something; before one of its calls to the filesystem another one, the
 * outsider, does something else, in a thread of its own. Where the outsider has to wait for the subject
 * (it sleeps), the subject goes on; where the subject waits, the outsider's turn has come. So nothing
 * depends on time.
 */
#ifndef INTERLEAVE_H
#define INTERLEAVE_H

#include "core/store.h"
#include "tests/support/simfs.h"

struct mount {
	struct dv_store *s;
	struct dv_node *root;
	int writers; /* what the kernel would say */
	char letter; /* of the values that it writes, 'a' or 'x' */
};

/* Bytes of one value: who wrote it, and what was done to it. */
struct shape {
	char base;	     /* 'o' old, 'a' or 'x' by a party, 0 no value, '!' none of these */
	bool a_edit, x_edit; /* one byte in it */
	unsigned a_tails, x_tails; /* bytes at its end */
};

/* What is under the two names. */
struct state {
	struct shape k, k2;
};

/* Who does it: m NULL is a program in the store. */
struct doing {
	const char *name;
	dv_err (*run)(struct mount *m); /* 0: done, else nothing was */
	void (*model)(struct state *is, char letter);
	bool program;	  /* by one in the store */
	bool needs_none;  /* k is not there */
	bool packed_only; /* else it would be something else */
	bool leaves_twin; /* both forms may be there after it */
	bool replaces;	  /* the value is another object, in one step */
	bool on_object; /* of the object that lies in the store: not of what is pending beside it */
	bool not_sealed; /* there is no such thing where values have one compressed file */
};

extern const struct doing doings[];
extern const size_t doings_count;

extern struct simfs *fs;
extern struct mount mount_a, mount_b;

/* Where the subject has got to. */
extern __thread bool wrote_all; /* what it wrote was closed: what others do now comes later */

enum { SIZE_OLD = 20000, SIZE_A = 21000, SIZE_X = 22000, SIZE_MAX_ALL = SIZE_X + 16 };

void fill_value(char letter, char *buf, size_t *len);
struct shape parse_value(const char *buf, size_t len);
bool same_shape(struct shape x, struct shape y);
const char *shape_text(struct shape x);

struct dv_node *find_node(struct mount *m, const char *name);
dv_err look_whole(struct mount *m, const char *name, struct shape *out);
void come_to_rest(struct mount *m);
/* What a program in the store finds. both: two forms are there. */
struct shape look_in_store(const char *name, bool *both);

/* Of a packed file. */
struct shape unpack_shape(const char *file, size_t len);
/* Of a file of the layout gzip. */
struct shape gunzip_shape(const char *file, size_t len);

/* The store's layout; NULL: our own. With streams values come as frames and segments: all are large. */
extern const char *world_layout;
extern bool world_streams;
extern char world_small; /* ..but those that the mount of this letter writes; 0: of neither */

/* The form of k, and of what is to be renamed over it. */
struct forms {
	const char *name;
	bool k_packed, t_packed;
};
void begin_world(const struct forms *forms, bool there);
void end_world(void);
/* Both mounts were killed, and that is what they have left: others are there now. Frees fs. */
void succeed_world(struct simfs *left);

#endif
