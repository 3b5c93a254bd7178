/* SPDX-License-Identifier: MIT */
/*
 * world.h - a store on simfs, the model of what it must hold, and a language for what is done to
 * it.
 *
 * A workload is text, one step a line or between semicolons:
 *
 *   create K              write K OFF LEN      append K LEN     noise K OFF LEN   (incompressible)
 *   trunc K SIZE          put K LEN  (> K)     fsync K          fsyncdir D
 *   whole K LEN, wholesync K LEN  (put.h)
 *   unlink K              rename A B           exchange A B     link A B
 *   copy A B (as cp does: what can not be copied as it is stored is written)
 *   mkdir D               rmdir D              rendir D E       chmod K    setx K    touch K
 *   run  (commit, pack)   packall    unpack    reopen           list       look K
 *   hold K, drop K        as a program that has K open
 *   empty K               it truncates that to nothing, of which no name is left
 *   room N                blocks of 4 KiB that are free
 *
 * A step that makes no sense now (unlink of a key that is not there) is left out. Each step tells
 * the model before it is made what may come, and afterwards, where it was acknowledged, what holds.
 *
 *   power    what is on the disk counts: states stay possible until an fsync
 *   process  what programs see counts: an acknowledged step holds (kill -9, failing calls)
 */
#ifndef TEST_WORLD_H
#define TEST_WORLD_H

#include "core/store.h"
#include "tests/support/model.h"
#include "tests/support/simfs.h"

#define WORLD_DIRS	 8
#define WORLD_HOLDS	 4
#define WORLD_KEPT	 256
#define WORLD_BOOT	 "boot-a"
#define WORLD_OTHER_BOOT "boot-b"

enum world_mode { WORLD_PROCESS, WORLD_POWER };

struct world {
	enum world_mode mode;
	const char *transform;
	struct simfs *fs;
	struct dv_store *s;
	struct model m;
	char dirs[WORLD_DIRS][MODEL_PATH]; /* "" free */
	struct {
		char path[MODEL_PATH];
		struct dv_node *node;
	} holds[WORLD_HOLDS];
	/* Nodes are kept as the kernel keeps them, until the store is closed; else each step looks
	 * anew. */
	bool keep;
	struct dv_node *kept[WORLD_KEPT];
	size_t kept_count;
	unsigned writes; /* makes each write's bytes its own */
	/* Called around each call of the store; NULL: nothing. */
	void (*before)(struct world *w);
	void (*after)(struct world *w);
	void *ctx;
	char step[2 * MODEL_PATH]; /* the last one */
	bool skipped;		   /* ..was left out */
	dv_err err;		   /* ..returned this */
	bool may_put_aside;	   /* an unacknowledged removal: its stage may be found in lost */
	char why[4096];		   /* the first violation; "" none */
};

/* What is being tried: printed with the last step where the process aborts. */
void world_context(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *world_context_text(void);

/* From the next world_open() on: are values of three frames streams, and of more than two appended
 * to? Else none of those that tests make is. */
void world_small_limits(bool on);

/* From now on the filesystem's clock is set by so many seconds after each step of a script; 0: it runs. */
void world_clock_steps(int64_t seconds);

/* -> the disk as kill -9 of w's process leaves it, on which w can be opened anew; *dead: w's store, to be given back. */
struct simfs *world_kill(struct world *w, struct dv_store **dead);

/* Makes a durable store on a new simfs and opens it. transform: TRANSFORM, or TRANSFORM@LAYOUT. */
void world_init(struct world *w, enum world_mode mode, const char *transform);
void world_release(struct world *w);

/* The first that is wrong is kept in w->why. -> false */
bool world_wrong(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* One step. false: the power is cut, or something is wrong (why). */
bool world_step(struct world *w, const char *step);
/* Steps until the text ends, the power is cut or something is wrong. */
bool world_run(struct world *w, const char *script);
/* Gives all references back and closes the store. */
dv_err world_close(struct world *w);
dv_err world_open(struct world *w, struct simfs *fs, const char *boot);

/*
 * Does what the open store w->s shows agree with the model? settle: what is seen is what holds from
 * now on.
 */
bool world_verify(struct world *w, bool settle);

/*
 * Opens the store of `disk`, which outlived a crash of w, under the boot id; checks it against the
 * model, closes it, looks for strays, leaks and broken packed files, and does all of it once more.
 * The model and w->fs are left alone. false: why.
 */
bool world_check(struct world *w, struct simfs *disk, const char *boot);

/* What must hold of a closed store, whatever happened to it: packed files decode, no strays. */
bool world_check_closed(struct world *w, struct simfs *disk);

#endif
