/* SPDX-License-Identifier: MIT */
/*
 * exerciser.h - what the parts of the exerciser share.
 *
 *   main       options, one run, runs again
 *   shrink     leaves out of a failing run what does not matter
 *   actors     the processes that take the steps, the mount under them
 *   choose     a step from seed and number          steps  a step as a line of text, and back
 *   act*       a step is taken on one side          known  where the mount may differ, and why
 *   compare    what a step touched                  tree   everything, and inode numbers
 *
 * Side MOUNT is the mount, side PLAIN a directory of the filesystem below. Each actor has its own
 * descriptors, mappings and working directory, and is in the side's base when it acts, so that both
 * sides know paths of the same length. A difference ends the actor that finds it with status 1.
 */
#ifndef TEST_EXERCISER_H
#define TEST_EXERCISER_H

#include "tests/mount/mounted.h"
#include "tests/support/random.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum { MOUNT, PLAIN, SIDES };

#define EX_ACTORS	 3
#define EX_SLOTS	 5 /* descriptors of an actor */
#define EX_MAPS		 2 /* mappings of an actor */
#define EX_USERS	 5
#define EX_TOKEN_BYTES	 64		/* a path in a step, with its NUL */
#define EX_PATH_BYTES	 (2 * PATH_MAX) /* a path that may be too long */
#define EX_LINE_BYTES	 640
#define EX_STEPS_MAX	 2000000u
#define EX_DATA_BYTES	 (1u << 20) /* of one call */
#define EX_STREAM_BYTES	 (9u << 20)
#define EX_COMPARED_ALL	 (256u << 10) /* files up to this are compared whole after a step */
#define EX_HANG_SECONDS	 60
#define EX_OLD_TIMES_END 1500000000 /* mtimes before it were set, not made */
#define EX_LIST_BYTES	 (64u << 10)

enum ex_kind {
	EX_OPEN,
	EX_OPENAT,
	EX_CLOSE,
	EX_READ,
	EX_PREAD,
	EX_WRITE,
	EX_PWRITE,
	EX_WRITEV,
	EX_LSEEK,
	EX_FTRUNCATE,
	EX_TRUNCATE,
	EX_FALLOCATE,
	EX_COPY,
	EX_SENDFILE,
	EX_SPLICE,
	EX_STORE,
	EX_MAP,
	EX_MAP_WRITE,
	EX_MSYNC,
	EX_MUNMAP,
	EX_FSYNC,
	EX_SETFL,
	EX_LOCK,
	EX_REPLACE,
	EX_SAVE,
	EX_STREAM,
	EX_UNLINK,
	EX_UNLINKAT,
	EX_MKDIR,
	EX_RMDIR,
	EX_RENAME,
	EX_RENAMEAT,
	EX_LINK,
	EX_LINK_FD,
	EX_SYMLINK,
	EX_READLINK,
	EX_MKNOD,
	EX_LIST,
	EX_ACCESS,
	EX_STATFS,
	EX_CHMOD,
	EX_FCHMOD,
	EX_CHOWN,
	EX_FCHOWN,
	EX_UTIMENS,
	EX_FUTIMENS,
	EX_SETXATTR,
	EX_FSETXATTR,
	EX_GETXATTR,
	EX_REMOVEXATTR,
	EX_LISTXATTR,
	EX_SETACL,
	EX_PAUSE,
	EX_PACK, /* from here on: of the whole mount */
	EX_UNPACK,
	EX_REMOUNT,
	EX_KILL,
	EX_KINDS
};

struct ex_kind_info {
	const char *name;
	unsigned weight;
	const char *fields; /* letters of ex_fields in steps.c; others are 0 */
};
extern const struct ex_kind_info ex_kinds[EX_KINDS];

/* Operands that a kind does not use are 0. */
struct ex_step {
	unsigned number; /* of the run it comes from */
	enum ex_kind kind;
	unsigned proc, who;
	char a[EX_TOKEN_BYTES], b[EX_TOKEN_BYTES];
	unsigned slot, slot2;
	unsigned flags, mode, umask;
	uint64_t off, len, fill;
	int64_t uid, gid;
	struct timespec times[2];
};

struct ex_result {
	long ret;
	int err;
	uint64_t sum; /* of what came back */
};

/* One actor's state on one side. */
struct ex_side {
	int base; /* the base, -1 while it is not open */
	int fds[EX_SLOTS];
	struct ex_map {
		char *at; /* NULL: none */
		size_t len;
		ino_t ino;
	} maps[EX_MAPS];
};

struct ex_world {
	struct mounted mounted;
	const char *base[SIDES];
	char options[256];   /* of each mount; settle and coherence follow */
	size_t suffix_bytes; /* of the transform path:SUFFIX */
	bool acls, verbose;
	const struct ex_step *steps;
	unsigned count;
	struct ex_step now; /* the step that is being taken */
	struct ex_side side[SIDES];
	char *data, *other; /* EX_DATA_BYTES each */
};
extern struct ex_world ex;

/* steps.c */

/* name=value words; bytes that are not printable are %XX in paths. */
void ex_step_print(const struct ex_step *s, FILE *out);
/* false: not a step */
bool ex_step_parse(const char *line, struct ex_step *out);
/* The path that a token stands for: %XX are bytes, a component @N is N times the letter n, @DEEP
 * a chain of directories near PATH_MAX. The root is a dot. */
void ex_path(const char *token, char out[EX_PATH_BYTES]);
/* What lies above a path of ex_path, "." for the base. */
void ex_parent(const char *path, char out[EX_PATH_BYTES]);

/* choose.c */

/* Depends on seed and number alone. */
void ex_choose(uint64_t seed, unsigned number, struct ex_step *out);

/* act.c, act_data.c, act_names.c, act_attrs.c */

struct ex_result ex_act(const struct ex_step *s, int side);
void ex_become(unsigned who);
int ex_base(int side); /* opens it where it is not */
void ex_enter(int side);
long ex_act_data(const struct ex_step *s, int side, uint64_t *sum);
long ex_act_names(const struct ex_step *s, int side, uint64_t *sum);
long ex_act_attrs(const struct ex_step *s, int side, uint64_t *sum);
void ex_fill(const struct ex_step *s, size_t len);
uint64_t ex_sum(const void *bytes, size_t len);
/* Names of a directory, sorted, as a sum. -> how many, or -1. */
long ex_list(int dir, uint64_t *sum);
long ex_sum_attributes(const char *path, uint64_t *sum);
void ex_close_all(int side);

/* known.c */

/* Steps that are left out, or taken on the mount alone, since the mount may differ: README. */
enum ex_how { EX_BOTH, EX_NEITHER, EX_MOUNT_ALONE };
enum ex_how ex_known_before(const struct ex_step *s);
/* Does the mount have the right to this other result? What the plain side did is then undone. */
bool ex_known_result(const struct ex_step *s, const struct ex_result r[SIDES]);
/* Is mtime, is ctime outside the comparison after this step? */
bool ex_known_mtime(const struct ex_step *s, const struct stat *plain);
bool ex_known_ctime(const struct ex_step *s, const struct stat *plain, bool mount_moved);
void ex_known_print(FILE *out);

/* compare.c */

__attribute__((noreturn)) void ex_fail(const char *what, const char *where);
__attribute__((noreturn)) void ex_fail_values(const char *what, const char *where, long long mount,
					      long long plain);
void ex_compare_stat(const struct stat *m, const struct stat *p, const char *where);
/* Contents around off, or all. */
void ex_compare_bytes(int mount_fd, int plain_fd, uint64_t off, bool all, const char *where);
/* Between these two the step is taken. */
void ex_look_before(const struct ex_step *s);
void ex_compare_after(const struct ex_step *s);
void ex_compare_slots(bool bytes);
/* Names below the directory that both sides are in, and where it lies for messages. */
void ex_compare_name(const char *name, const char *where, uint64_t off, bool all);

/* tree.c */

/* light: no contents, and nothing is compared but names. */
void ex_tree_compare(bool light);
/* Numbers must be what they were in the last ex_tree_compare but one. */
void ex_tree_same_numbers(void);
void ex_tree_clear(void);

/* actors.c */

/* Takes ex.steps, then mounts anew. Ends the process with status 1 where the sides differ. */
void ex_run(void);

/* shrink.c */

/* -> true where taking steps fails; in a process of its own. */
bool ex_fails(const struct ex_step *steps, unsigned count, bool quiet);
/* Leaves out what does not matter to the failure. -> how many are left, in place. */
unsigned ex_shrink(struct ex_step *steps, unsigned count);

#endif
