/* SPDX-License-Identifier: MIT */
/*
 * workloads.h - what crash and mutation tests do to a store, in the language of world.h: one script
 * for each operation, and random ones.
 */
#ifndef TEST_WORKLOADS_H
#define TEST_WORKLOADS_H

#include "tests/support/random.h"

#include <stdio.h>
#include <string.h>

/* Sanitizers cost ten times the time: tests do less of the same. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

struct workload {
	const char *name, *transform, *script;
};

static const struct workload workloads[] = {
	{"create", "path",
	 "create a; write a 0 9000; fsync a; create b; write b 0 100; append b 50; run"},
	{"create in a directory", "path",
	 "mkdir d; mkdir d/e; create d/e/a; write d/e/a 0 9000; fsync d/e/a; run"},
	{"fsync after packing", "path",
	 "mkdir d; put d/a 9000; run; fsync d/a; mkdir d/e; put d/e/b 9000; run; fsync d/e/b"},
	{"fsync of what was changed and packed", "path",
	 "put a 9000; fsync a; append a 6000; packall; fsync a; put c 10; fsync c; write c 2 5000; "
	 "run; fsync c; list"},
	{"pack one", "path", "put a 20000; fsync a; run; look a; put c 9000; run"},
	{"pack a batch", "path",
	 "mkdir d; put a 20000; put b 9000; put d/c 12000; put e 30000; fsync a; fsync b; fsync "
	 "d/c; run; reopen"},
	{"pack a large batch", "path",
	 "put a 9000; put b 9000; put c 9000; put d 9000; put e 9000; put f 9000; put g 9000; put "
	 "h 9000; "
	 "put i 9000; put j 9000; put k 9000; put l 9000; put m 9000; put n 9000; put o 9000; put "
	 "p 9000; "
	 "put q 9000; put r 9000; put s 9000; fsync a; fsync s; run"},
	{"pack all", "path",
	 "mkdir d; put a 20000; put d/b 9000; noise d/b 0 9000; put d/c 9000; fsync d/c; packall"},
	{"unpack all", "path",
	 "mkdir d; put a 20000; put d/b 9000; put d/c 30000; fsync a; run; unpack; append a 5; "
	 "fsync "
	 "a; run; unpack; look a"},
	{"unpack in shards", "split:3",
	 "put abcdefg 20000; put abc 9000; put abcabc 9000; run; unpack; unlink abc; run"},
	{"unpack and rename", "path",
	 "put a 20000; put b 9000; link b c; run; unpack; rename a d; run; packall; rename d b"},
	{"write without room", "path",
	 "put b 60000; put c 20000; fsync b; fsync c; create a; room 8; write a 0 60000; room "
	 "100000; fsync a; append a 10; run"},
	{"append to packed", "path",
	 "put a 20000; fsync a; run; append a 700; append a 5000; fsync a; append a 1; run"},
	{"edit packed", "path",
	 "put a 20000; fsync a; run; write a 5000 300; run; write a 9000 100; fsync a; write a 1 "
	 "1"},
	{"edit raw", "path",
	 "put a 3000; fsync a; write a 100 1000; write a 2500 2000; fsync a; write a 0 100; run"},
	{"replace raw", "path",
	 "put a 3000; fsync a; put a 2000; run; put a 1500; fsync a; put a 100; run"},
	{"replace packed", "path",
	 "put a 20000; fsync a; run; put a 14000; run; put a 9000; fsync a; run; run"},
	{"replace twice", "path",
	 "put a 20000; fsync a; run; put a 14000; put a 9000; trunc a 0; write a 0 8000; run"},
	{"replace by nothing", "path",
	 "put a 20000; fsync a; run; trunc a 0; run; put a 9000; run; trunc a 0; fsync a"},
	{"truncate", "path",
	 "put a 20000; fsync a; run; trunc a 7000; run; trunc a 30000; fsync a; trunc a 10; run"},
	{"unlink", "path",
	 "put a 9000; fsync a; run; unlink a; fsyncdir .; put a 7000; fsync a; unlink a; put a "
	 "6000; fsync a; "
	 "put a 5000; unlink a; run; put b 9000; fsync b; run; append b 9; unlink b; fsyncdir ."},
	{"unlink while open", "path",
	 "put a 9000; fsync a; run; hold a; append a 9; unlink a; drop a; put a 9000; fsync a; "
	 "run"},
	{"rename to a free name", "path",
	 "mkdir d; put a 9000; fsync a; rename a b; run; rename b d/c; fsync d/c; rename d/c a; "
	 "put x 100; rename x y; run"},
	{"rename raw over packed", "path",
	 "put a 20000; fsync a; run; put b 9000; rename b a; fsync a; run; run"},
	{"rename raw over raw", "path",
	 "put a 3000; fsync a; put b 2000; rename b a; run; put b 1000; rename b a; fsync a"},
	{"rename packed over packed", "path",
	 "put a 20000; put b 9000; fsync a; fsync b; run; rename b a; fsync a; run"},
	{"rename packed over raw", "path",
	 "put a 20000; fsync a; run; put b 3000; fsync b; rename a b; run; put c 9000; fsync c; "
	 "rename b c; fsync c; run"},
	{"rename across directories", "path",
	 "mkdir d; mkdir e; put d/a 20000; put e/a 9000; fsync d/a; fsync e/a; run; put d/b 8000; "
	 "rename d/b e/a; "
	 "run; rename d/a e/a; fsync e/a; put e/b 9000; fsync e/b; rename e/a d/x; rename e/b d/x; "
	 "run"},
	{"rename a staged value", "path",
	 "put a 20000; put b 9000; fsync a; fsync b; run; append a 100; rename a b; append b 100; "
	 "put c 9000; "
	 "fsync c; rename c b; run; put b 8000; rename b c; fsync c"},
	{"exchange", "path",
	 "put a 20000; put b 9000; fsync a; fsync b; exchange a b; run; exchange a b; put c 3000; "
	 "fsync c; "
	 "exchange a c; run; append a 10; exchange a b; fsync a; fsync b"},
	{"exchange across directories", "path",
	 "mkdir d; put a 20000; put d/b 9000; fsync a; fsync d/b; run; put d/c 3000; fsync d/c; "
	 "exchange a d/c; exchange a d/b; run"},
	{"link raw", "path",
	 "put a 9000; fsync a; link a b; fsync b; write a 100 600; fsync a; unlink a; run; link b "
	 "c; put b 7000; fsync b; run"},
	{"link packed", "path",
	 "put a 20000; fsync a; run; link a b; fsync b; append b 100; fsync a; put a 9000; run; "
	 "unlink a; run; "
	 "put b 12000; run; link b c; trunc c 5000; fsync c"},
	{"link staged", "path",
	 "mkdir d; put a 20000; fsync a; run; append a 10; link a d/b; fsync d/b; append d/b 10; "
	 "rename a c; run"},
	{"directories", "path",
	 "mkdir d; put d/a 9000; fsync d/a; run; append d/a 10; rendir d e; run; fsync e/a; put "
	 "e/a 7000; rendir e d; "
	 "fsync d/a; put d/b 9000; rendir d f; unlink f/a; unlink f/b; rmdir f; run"},
	{"directories with stages", "path",
	 "mkdir d; mkdir d/e; put d/e/a 9000; put d/b 9000; fsync d/e/a; fsync d/b; run; put d/e/a "
	 "5000; append d/b 1; "
	 "rendir d f; put f/b 7000; mkdir g; rendir f/e g/e; rendir g f/g; run"},
	{"unlink and make again", "path",
	 "put a 9000; fsync a; run; hold a; unlink a; put a 8000; fsync a; run; unlink a; drop a; "
	 "put a 7000; run"},
	{"unlink what was replaced", "path",
	 "put a 9000; fsync a; run; put a 8000; fsync a; unlink a; put a 7000; fsync a; run; "
	 "put a 6000; run; unlink a"},
	{"unlink what was renamed over", "path",
	 "put a 9000; fsync a; run; put b 8000; rename b a; unlink a"},
	{"rename to a name just unlinked", "path",
	 "mkdir d; put a 9000; put d/b 8000; put c 7000; fsync a; fsync d/b; fsync c; run; "
	 "unlink a; rename d/b a; unlink a; put d/x 100; rename d/x a; run; unlink a; rename c a"},
	{"rename away and make again", "path",
	 "put a 9000; fsync a; run; rename a b; put a 8000; run; fsync a"},
	{"replace before the first is packed", "path",
	 "put a 9000; fsync a; put a 8000; run; put a 3000; fsync a; put a 2000; fsync a"},
	{"attributes", "path",
	 "put a 9000; fsync a; run; chmod a; setx a; put a 7000; chmod a; setx a; fsync a; run; "
	 "chmod a; run"},
	{"reopen", "path",
	 "put a 9000; put b 3000; fsync a; reopen; append a 9; put b 2000; reopen; put c 9000; "
	 "unlink a; reopen"},
	{"whole over raw", "path",
	 "whole a 3000; fsync a; whole a 2000; run; whole a 1500; wholesync a 100; whole a 9000"},
	{"touched while pending", "path",
	 "put a 3000; fsync a; put a 5000; touch a; append a 9; touch a; run; touch a; put a 7000; "
	 "touch a; chmod a; touch a; fsync a; touch a; run; put a 9000; touch a; run"},
	{"whole over packed", "path",
	 "mkdir d; put d/a 20000; fsync d/a; run; whole d/a 14000; run; whole d/a 9000; run; "
	 "whole d/a 8000; fsync d/a; run; wholesync d/a 7000; reopen; whole d/a 100"},
	{"whole over staged", "path",
	 "put a 20000; fsync a; run; append a 9; whole a 9000; run; put a 7000; whole a 3000; "
	 "fsync a; run; put a 100; wholesync a 8000"},
	{"whole over links", "path",
	 "put a 20000; fsync a; run; link a b; whole a 9000; fsync b; run; append b 9; "
	 "wholesync b 100; run"},
	{"whole, unlinked and made again", "path",
	 "wholesync a 9000; run; unlink a; whole a 7000; run; unlink a; wholesync a 6000; unlink "
	 "a; put a 5000; fsync a; whole a 3000; rename a b; whole a 2000; fsync a"},
	{"whole in shards", "split:3",
	 "whole abc 9000; wholesync abcabc 8000; run; whole abc 3000; whole abcabc 2000; unlink "
	 "abcabc; whole abcd 100; fsync abcd; unlink abcd; run; whole abcabc 10"},
	{"whole under hash", "hash:md5:2x1",
	 "wholesync a 9000; run; whole a 8000; unlink a; whole a 7000; run; wholesync a 6000"},
	{"split", "split:3",
	 "put ab 9000; put abc 9000; fsync abc; run; put abcabc 9000; fsync abcabc; run; put "
	 "abcabcd 9000; run; "
	 "append abc 5; run; rename abc abcabc; fsync abcabc; unlink abcabc; fsyncdir .; put abc "
	 "3000; fsync abc"},
	{"split, fsync of what was changed and packed", "split:3",
	 "put abcd 9000; fsync abcd; append abcd 6000; packall; fsync abcd; put x 10; link x y"},
	{"split renames", "split:3",
	 "put abcd 9000; put xyz 9000; fsync abcd; fsync xyz; run; put q 3000; rename q xyz; fsync "
	 "xyz; rename abcd xyz; "
	 "run; exchange xyz ab; put ab 7000; fsync ab; exchange xyz ab; rename xyz abcabc; fsync "
	 "abcabc"},
	{"shards of renames", "split:3",
	 "put abcd 9000; put abce 3000; fsync abcd; fsync abce; run; rename abcd xyz; unlink abce; "
	 "run; put q 5000; fsync q; rename q hij; run; rename hij xyz; unlink xyz; run"},
	{"shards made again", "split:3",
	 "put abc 9000; fsync abc; run; unlink abc; put abc 4000; rename abc ab; unlink ab; run"},
	{"aside replaced", "split:3",
	 "put abc 9000; put abcabc 8000; fsync abc; unlink abcabc; put abcd 5000; rename abcd abc; "
	 "fsync abc"},
	{"shards exchanged", "hash:md5:2x1",
	 "put a 9000; fsync a; put b 8000; exchange a b; fsync a; put c 7000; rename c b; unlink "
	 "b; run"},
	{"hash", "hash:sha256:2x2",
	 "put a 9000; put b 3000; fsync a; run; rename b a; fsync a; put b 9000; append a 8000; "
	 "run; unlink b; fsyncdir .; put b 10; fsync b"},
	{"flat", "flat",
	 "put a 9000; fsync a; run; put a.zst 9000; fsync a.zst; run; rename a a.zst; fsync a.zst; "
	 "put a.zst 3000; run"},
	{"suffix", "path:.txt",
	 "mkdir d; put d/a 9000; fsync d/a; run; put b 3000; rename b d/a; fsync d/a; link d/a c; "
	 "put d/a 9000; run"},
};

/* The workload in a layout of diskv, where a value has no second name, and nothing is packed when space
 * runs out. false: it needs that (abc beside abcabc; room). transform: room for out's. */
static inline bool workload_as_diskv(const struct workload *w, const char *layout,
				     char transform[64], struct workload *out)
{
	snprintf(transform, 64, "%s@%s", w->transform, layout);
	*out = (struct workload){w->name, transform, w->script};
	return strncmp(w->transform, "split", 5) != 0 && !strstr(w->script, "room");
}

/* With world_small_limits(): streams and appends. Values of one put are written at once: a stream
 * begins with what comes behind three frames of it. */
static const struct workload parts_workloads[] = {
	{"stream", "path",
	 "put a 13000; append a 9000; append a 20000; append a 3000; fsync a; append a 10; run"},
	{"stream unsynced", "path",
	 "put a 13000; append a 9000; append a 20000; run; append a 30000; run"},
	{"stream of what was synced", "path",
	 "put a 13000; fsync a; append a 9000; append a 20000; run; run"},
	{"stream over raw", "path",
	 "put a 3000; fsync a; put a 13000; append a 20000; append a 7000; run; fsync a"},
	{"stream over raw touched", "path",
	 "put a 3000; fsync a; put a 13000; touch a; append a 20000; touch a; append a 7000; touch "
	 "a; run; fsync a"},
	{"stream over packed", "path",
	 "put a 20000; fsync a; run; put a 13000; append a 20000; append a 7000; run; put a 13000; "
	 "append a 9000; fsync a; append a 1"},
	{"stream, then elsewhere", "path",
	 "put a 13000; append a 20000; write a 100 500; append a 9000; run; put b 3000; fsync b; "
	 "put "
	 "b 13000; append b 30000; write b 40000 10; fsync b; run"},
	{"stream, then truncated", "path",
	 "put a 13000; append a 20000; trunc a 9000; fsync a; put b 3000; fsync b; put b 13000; "
	 "append b 20000; trunc b 0; append b 100; run"},
	{"stream renamed", "path",
	 "mkdir d; put a 13000; append a 9000; rename a d/b; append d/b 9000; put c 9000; fsync c; "
	 "rename d/b c; fsync c; run"},
	{"stream linked and unlinked", "path",
	 "put a 13000; append a 9000; link a b; append b 9000; unlink a; fsync b; put c 13000; "
	 "append "
	 "c 9000; unlink c; fsyncdir ."},
	{"stream in a directory renamed", "path",
	 "mkdir d; put d/a 13000; append d/a 9000; rendir d e; append e/a 9000; fsync e/a"},
	{"stream chmod", "path",
	 "put a 13000; append a 9000; chmod a; setx a; append a 9000; run; chmod a; append a 1; "
	 "chmod "
	 "a; setx a; fsync a"},
	{"append", "path",
	 "put a 9500; fsync a; run; append a 700; append a 5000; fsync a; append a 1; run; append "
	 "a "
	 "4096; fsync a; append a 1"},
	{"append much", "path",
	 "put a 12288; fsync a; run; append a 20000; append a 30000; fsync a; append a 30000; "
	 "append "
	 "a 30000; run; append a 1; fsync a"},
	{"append, then edit", "path",
	 "put a 20000; fsync a; run; append a 700; fsync a; write a 5000 300; fsync a; run; append "
	 "a "
	 "9000; append a 9000; trunc a 11000; run"},
	{"append, then replace", "path",
	 "put a 20000; fsync a; run; append a 700; fsync a; put a 5000; run; put b 9000; run; "
	 "append b "
	 "20000; put b 100; fsync b"},
	{"append and rename", "path",
	 "mkdir d; put a 20000; put b 9000; fsync a; fsync b; run; append a 100; rename a b; "
	 "append b "
	 "100; fsync b; rename b d/c; append d/c 9000; append d/c 9000; rendir d e; append e/c 1; "
	 "fsync e/c"},
	{"append and unlink", "path",
	 "put a 20000; fsync a; run; append a 100; unlink a; fsyncdir .; put a 20000; run; append "
	 "a "
	 "9000; append a 9000; unlink a; put a 100; fsync a"},
	{"append to links", "path",
	 "put a 20000; fsync a; run; link a b; fsync b; append b 100; fsync a; append a 9000; "
	 "append a "
	 "9000; unlink a; run; append b 1; fsync b"},
	{"append and reopen", "path",
	 "put a 20000; fsync a; run; append a 100; reopen; append a 9000; append a 20000; reopen; "
	 "append a 1"},
	{"copy", "path",
	 "put a 20000; fsync a; run; copy a b; run; copy a c; fsync c; append c 10; copy c d; "
	 "append d 9000; run"},
	{"copy over", "path",
	 "put a 20000; put b 9000; put c 100; fsync a; fsync b; fsync c; run; copy a b; run; copy "
	 "a c; fsync c; copy b c; write c 5000 10; run; put d 9000; copy a d; fsync d"},
	{"copy, then names", "path",
	 "mkdir d; put a 20000; fsync a; run; copy a b; rename b c; copy a d/b; unlink d/b; copy a "
	 "d/c; link d/c e; fsync e; copy a f; trunc f 9000; copy a g; reopen; append a 10; copy a "
	 "h; chmod h; fsync h"},
	{"append under split", "split:3",
	 "put abcabc 20000; fsync abcabc; run; append abcabc 100; append abcabc 20000; put ab "
	 "13000; "
	 "append ab 9000; run; rename abcabc ab; fsync ab"},
};

static inline const char *random_key(struct test_random *r, bool dirs)
{
	static const char *const path[] = {"a", "b", "d/a", "d/b", "e/c"}, *const flat[] = {
										   "abc", "abcabc",
										   "ab", "abcd",
										   "x"};
	return (dirs ? path : flat)[test_random_below(r, 5)];
}

/* One step with values of a few frames; some make no sense and are left out. */
static inline void random_step(struct test_random *r, bool dirs, char *out, size_t size)
{
	static const char *const ops[] = {
		"put",	  "put",   "put",      "write",	 "write",  "append",   "append", "trunc",
		"fsync",  "fsync", "fsync",    "run",	 "run",	   "run",      "rename", "rename",
		"rename", "link",  "exchange", "unlink", "rendir", "fsyncdir", "reopen", "noise"};
	const char *op = ops[test_random_below(r, sizeof(ops) / sizeof(ops[0]))];
	const char *a = random_key(r, dirs), *b = random_key(r, dirs);
	size_t x = test_random_below(r, 12000), y = 1 + test_random_below(r, 12000);
	if (!strcmp(op, "rendir"))
		snprintf(out, size, "%s", test_random_below(r, 2) ? "rendir d f" : "rendir f d");
	else if (!strcmp(op, "fsyncdir"))
		snprintf(out, size, "fsyncdir .");
	else if (!strcmp(op, "rename") || !strcmp(op, "link") || !strcmp(op, "exchange"))
		snprintf(out, size, "%s %s %s", op, a, b);
	else if (!strcmp(op, "write") || !strcmp(op, "noise"))
		snprintf(out, size, "%s %s %zu %zu", op, a, x, 1 + y / 8);
	else
		snprintf(out, size, "%s %s %zu", op, a, !strcmp(op, "append") ? 1 + y / 16 : y);
}

/* One step of those that make, move and remove names, with values that are worth packing. */
static inline void random_naming(struct test_random *r, bool dirs, char *out, size_t size)
{
	static const char *const ops[] = {
		"put", "put", "put", "unlink", "unlink", "unlink", "rename", "rename", "rename",
		"run", "run", "run", "append", "fsync",	 "fsync",  "rendir", "link",   "exchange"};
	const char *op = ops[test_random_below(r, sizeof(ops) / sizeof(ops[0]))];
	const char *a = random_key(r, dirs), *b = random_key(r, dirs);
	size_t len = 4500 + test_random_below(r, 8000);
	if (!strcmp(op, "rendir"))
		snprintf(out, size, "%s", test_random_below(r, 2) ? "rendir d f" : "rendir f d");
	else if (!strcmp(op, "rename") || !strcmp(op, "link") || !strcmp(op, "exchange"))
		snprintf(out, size, "%s %s %s", op, a, b);
	else
		snprintf(out, size, "%s %s %zu", op, a, !strcmp(op, "append") ? 700 : len);
}

/* Every other one is of names. */
static inline void random_script(uint64_t seed, bool dirs, unsigned steps, char *out, size_t size)
{
	struct test_random r = {.state = seed * 2654435761u + 1};
	size_t at = (size_t)snprintf(out, size,
				     dirs ? "mkdir d; mkdir e; put a 9000; fsync a"
					  : "put abc 9000; fsync abc");
	for (unsigned i = 0; i < steps && at < size; i++) {
		char step[64];
		if (seed / 4 % 2)
			random_naming(&r, dirs, step, sizeof(step));
		else
			random_step(&r, dirs, step, sizeof(step));
		at += (size_t)snprintf(out + at, size - at, "; %s", step);
	}
}

#endif
