/* SPDX-License-Identifier: MIT */
/*
 * model.h - what each key of a store may hold, for fault and crash tests: pure, no I/O.
 *
 * A key has a list of states, oldest first; the last one is what programs see now. The others are
 * kept as long as a power cut may bring them back. States of one segment are changes in place of
 * one file: what was not synced may be mixed by sectors of 512 bytes, as on any filesystem. From
 * one segment to the next the value changes as a whole.
 *
 *   hidden   the last segment is a stage that was not put in place: not in the store yet
 *   pair     a rename: one key has reached its new state exactly when the other one has
 *
 * States are numbered for good: forgetting old ones does not move the numbers of the others.
 */
#ifndef TEST_MODEL_H
#define TEST_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_KEYS  32
#define MODEL_PAIRS 256
#define MODEL_PATH  600

/* Bytes, shared by states. */
struct model_bytes {
	unsigned refs;
	size_t len;
	uint8_t data[];
};

struct model_state {
	struct model_bytes *bytes; /* NULL: no such key */
	unsigned segment;
	unsigned file;	/* a renamed file is changed under its old name too, as long as the renaming
			   is not durable.. */
	unsigned stamp; /* ..by what comes after */
};

struct model_key {
	char path[MODEL_PATH];
	struct model_state *states;
	size_t count, room;
	size_t base; /* number of states[0] */
	unsigned segment, file;
	bool hidden;
	unsigned group; /* keys of one group are links to one file */
};

struct model_pair {
	size_t key[2], state[2]; /* indexes of keys, numbers of states */
	bool of_directory; /* where it is lost the first key shows all that is done to the second */
};

struct model {
	struct model_key keys[MODEL_KEYS];
	size_t count;
	struct model_pair pairs[MODEL_PAIRS];
	size_t pair_count;
	unsigned groups, files, stamps;
};

/* What was seen of a key. */
struct model_seen {
	bool exists;
	size_t len;
	uint8_t *data;
	/* filled by model_explain: numbers of the first and the last state that explains it */
	size_t first, last;
};

void model_release(struct model *m);

struct model_bytes *model_bytes_new(size_t len);
struct model_bytes *model_bytes_ref(struct model_bytes *b);
void model_bytes_unref(struct model_bytes *b);

/* The key's index; it is entered, as absent, where it is not known. */
size_t model_key(struct model *m, const char *path);
/* Its present bytes, borrowed; NULL: absent. */
struct model_bytes *model_now(const struct model *m, size_t key);

/* Takes bytes. as_whole: a new segment. */
void model_push(struct model *m, size_t key, struct model_bytes *bytes, bool as_whole);
/* A renaming over a good value: `to` holds what `from` holds now, whole. */
void model_push_over(struct model *m, size_t from, size_t to);
/* Only the last state is possible. */
void model_settle(struct model *m, size_t key);
/* The stage is being put in place: only its last state can be seen of it. */
void model_commit(struct model *m, size_t key);
/* The stage is gone: what it held is not seen any more. */
void model_drop_stage(struct model *m, size_t key);
/* `to` may hold what `from` may. all: any of its states, else those of the last segment. */
void model_copy(struct model *m, size_t from, size_t to, bool all);
/* Each may hold what the last segment of the other one may. Both exist. */
void model_exchange(struct model *m, size_t a, size_t b);
/* Their next states come together. Called before they are pushed. */
void model_pair(struct model *m, size_t a, size_t b, bool of_directory);
/* The number that the next state of key will have. */
size_t model_next(const struct model *m, size_t key);

/* May the key hold that? hidden_too: the stage counts (kill -9). Sets seen->first and last. */
bool model_explain(const struct model *m, size_t key, bool hidden_too, struct model_seen *seen);
/* Do the explanations of all keys respect the renames? -> index of a pair that is torn, or -1 */
int model_torn_pair(const struct model *m, const struct model_seen *seen);

#endif
