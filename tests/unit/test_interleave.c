/* SPDX-License-Identifier: MIT */
/*
 * test_interleave.c - two mounts of one store, and programs in it, change one value at the same time:
 * at each call that the one makes to the filesystem the other does its work. Whatever the moment, what
 * is there afterwards is what would be there had the one come after the other; nothing that was closed
 * is lost to what had come before it; one form is left; who reads meanwhile sees one whole value.
 *
 * With arguments [streams | gzip] SUBJECTS [OUTSIDERS [FORMS [N]]] only those are run: names of doings[]
 * (interleave.c) with commas, "-" for all. streams: every value is a large one. gzip: in a layout where
 * values have one file, which is compressed. gzip cut: there a replacement of the subject is cut short once
 * the outsider has been there, by kill -9 or by an error.
 */
#include "tests/unit/interleave.h"

#include "core/cleanup.h"
#include "tests/support/check.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

static const struct forms all_forms[] = {{"raw", false, false},
					 {"packed", true, true},
					 {"packed-raw", true, false},
					 {"raw-packed", false, true}};

/* ---- whose turn it is ---- */

/* What becomes of the subject once the outsider has been there. */
enum fate { GOES_ON, IS_KILLED, MEETS_AN_ERROR };

enum turn { NOT_ARMED, ARMED, RUNS, WAITS, ENDED };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	enum turn turn;	     /* the outsider's; lock */
	unsigned long at;    /* at this call of the subject */
	unsigned long calls; /* of the subject so far */
	/* Counted are those that come right behind one of this name; NULL: all. */
	const char *behind;
	bool is_behind;
	pthread_t subject, outsider;
	const struct doing *doing;
	struct mount *m;
	dv_err err;	  /* of the outsider */
	bool after_close; /* it began when all was written */
	unsigned long
		overtaken_at; /* at this call the outsider stops till the subject has ended; 0: never */
	unsigned long their_calls;  /* of the outsider so far */
	bool subject_ended;	    /* lock */
	unsigned naps, naps_wanted; /* so often the outsider waits in vain */
	char op[64];		    /* the subject's call */
	enum fate fate;
	unsigned long fate_at; /* so many calls later, when all was written */
	unsigned long calls_since;
	bool fate_came;
	struct simfs *left; /* by who was killed */
} play = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static __thread bool is_outsider;

static enum turn get_turn(void)
{
	pthread_mutex_lock(&play.lock);
	enum turn turn = play.turn;
	pthread_mutex_unlock(&play.lock);
	return turn;
}

static void set_turn(enum turn turn)
{
	pthread_mutex_lock(&play.lock);
	play.turn = turn;
	pthread_cond_broadcast(&play.cond);
	pthread_mutex_unlock(&play.lock);
}

static void *outsider_main(void *arg)
{
	(void)arg;
	is_outsider = true;
	play.err = play.doing->run(play.m);
	set_turn(ENDED);
	return NULL;
}

/* Lets the outsider do its work, up to where it has to wait. */
static void give_turn(const char *op)
{
	set_turn(RUNS);
	play.after_close = wrote_all;
	snprintf(play.op, sizeof(play.op), "%s", op);
	CHECK_EQ(pthread_create(&play.outsider, NULL, outsider_main, NULL), 0);
	pthread_mutex_lock(&play.lock);
	while (play.turn == RUNS)
		pthread_cond_wait(&play.cond, &play.lock);
	pthread_mutex_unlock(&play.lock);
}

static bool is_subject(void)
{
	return pthread_equal(pthread_self(), play.subject) && !is_outsider;
}

/* The subject goes on to its end. */
static void be_overtaken(void)
{
	pthread_mutex_lock(&play.lock);
	play.turn = play.subject_ended ? play.turn : WAITS;
	pthread_cond_broadcast(&play.cond);
	while (!play.subject_ended)
		pthread_cond_wait(&play.cond, &play.lock);
	pthread_mutex_unlock(&play.lock);
}

static void meet_fate(const char *op)
{
	size_t len = strlen(play.op);
	snprintf(play.op + len, sizeof(play.op) - len, ", %s %s",
		 play.fate == IS_KILLED ? "killed" : "EIO", op);
	play.fate_came = true;
	if (play.fate == IS_KILLED)
		play.left = simfs_after_kill(fs);
	else
		simfs_fail_nth(fs, 1, EIO, false);
}

static void before_call(const char *op)
{
	if (is_outsider && ++play.their_calls == play.overtaken_at)
		be_overtaken();
	if (!is_subject() || get_turn() == NOT_ARMED)
		return;
	bool counts = !play.behind || play.is_behind;
	play.is_behind = play.behind && strcmp(op, play.behind) == 0;
	if (counts && ++play.calls == play.at && get_turn() == ARMED)
		give_turn(op);
	else if (play.fate && wrote_all && get_turn() == ENDED &&
		 ++play.calls_since == play.fate_at)
		meet_fate(op);
}

/* Stands in for libc's: whoever sleeps waits for the other one. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time, (void)left;
	if (is_outsider && ++play.naps < play.naps_wanted)
		return 0;
	if (is_outsider)
		set_turn(WAITS);
	else if (is_subject() && get_turn() == ARMED)
		give_turn("(waiting)");
	return clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = 50000}, NULL);
}

/* ---- one run ---- */

static unsigned long complaints;

static void complain(const struct doing *subject, const char *forms, const char *what)
{
	complaints++;
	printf("%s | %s | %s | %lu (%s): %s\n", subject->name, play.doing->name, forms, play.at,
	       play.op, what);
	fflush(stdout);
}

static bool same_state(const struct state *x, const struct state *y)
{
	return same_shape(x->k, y->k) && same_shape(x->k2, y->k2);
}

static struct state after(const struct state *was, const struct doing *first, char by,
			  const struct doing *then, char then_by)
{
	struct state is = *was;
	if (first)
		first->model(&is, by);
	if (then)
		then->model(&is, then_by);
	return is;
}

/* Is it what one after the other would have made? */
static bool is_explained(const struct state *was, const struct state *is,
			 const struct doing *subject, bool subject_did, bool outsider_did)
{
	const struct doing *s = subject_did ? subject : NULL, *o = outsider_did ? play.doing : NULL;
	struct state s_o = after(was, s, 'a', o, 'x'), o_s = after(was, o, 'x', s, 'a');
	/* What is pending beside the store's object is not seen by others, who change that: as if they
	 * had come before. */
	bool late = play.after_close && !play.doing->on_object;
	return same_state(is, &s_o) || (!late && same_state(is, &o_s));
}

static dv_err see(struct mount *m, struct state *out)
{
	dv_err err = look_whole(m, "k", &out->k), err2 = look_whole(m, "k2", &out->k2);
	return err && err != -ENOENT ? err : err2 && err2 != -ENOENT ? err2 : 0;
}

static struct shape shape_of_file(const struct dv_backing *k, int dirfd, const char *name)
{
	char file[SIZE_MAX_ALL];
	int fd = k->ops->open(k->self, dirfd, name, O_RDONLY, 0);
	ssize_t got = fd < 0 ? fd : k->ops->pread(k->self, fd, file, sizeof(file), 0);
	if (fd >= 0)
		k->ops->close(k->self, fd);
	if (got <= 0)
		return (struct shape){.base = '!'};
	return file[0] == 0x1f	 ? gunzip_shape(file, (size_t)got)
	       : file[0] == 0x28 ? unpack_shape(file, (size_t)got)
				 : parse_value(file, (size_t)got);
}

/* Is a value in lost/ that has this base? *mixed: one that has none is. */
static bool is_put_aside(char base, bool *mixed)
{
	char buf[4096];
	struct dv_dirent ents[32];
	struct dv_backing k = simfs_backing(fs);
	bool found = false;
	int root = k.ops->open_root(k.self, "/");
	int fd = k.ops->open(k.self, root, ".diskvfs/lost", O_RDONLY | O_DIRECTORY, 0);
	ssize_t n = fd < 0 ? 0 : k.ops->readdir(k.self, fd, 0, buf, sizeof(buf), ents, 32);
	for (ssize_t i = 0; i < n; i++) {
		if (ents[i].name[0] == '.')
			continue;
		struct shape is = shape_of_file(&k, fd, ents[i].name);
		found |= is.base == base;
		*mixed |= is.base == '!';
	}
	if (fd >= 0)
		k.ops->close(k.self, fd);
	k.ops->close(k.self, root);
	return found;
}

static bool is_in_packed_form(char base)
{
	struct dv_backing k = simfs_backing(fs);
	int root = k.ops->open_root(k.self, "/");
	bool is = shape_of_file(&k, root, "k.zst").base == base;
	k.ops->close(k.self, root);
	return is;
}

/*
 * Who is cut short can not look any more at what he did, nor can recovery tell it from what was finished:
 * the later value may be in the other form beside his, when a program put it there; and his own may be back
 * that was removed just before it came.
 */
static bool is_explained_by_fate(const struct state *is, bool twins, bool *mixed)
{
	static const struct shape a = {.base = 'a'};
	bool removes = strcmp(play.doing->name, "remove") == 0 ||
		       strcmp(play.doing->name, "shell-removes") == 0;
	return is_put_aside('x', mixed) || (removes && same_shape(is->k, a)) ||
	       (twins && play.doing->program && is_in_packed_form('x'));
}

static void check_end(const struct doing *subject, const char *forms, const struct state *was,
		      dv_err err)
{
	struct state at[3] = {0};
	char text[256];
	bool both, both2;
	dv_err e1 = see(&mount_a, &at[0]), e2 = see(&mount_b, &at[1]);
	at[2].k = look_in_store("k", &both);
	at[2].k2 = look_in_store("k2", &both2);
	snprintf(text, sizeof(text), "a %s %s (%d), b %s %s (%d), store %s %s; done: %d %d%s",
		 shape_text(at[0].k), shape_text(at[0].k2), e1, shape_text(at[1].k),
		 shape_text(at[1].k2), e2, shape_text(at[2].k), shape_text(at[2].k2), err, play.err,
		 play.after_close ? ", late" : "");
	bool twins = (both || both2) && !play.doing->leaves_twin;
	if (play.fate_came && play.doing->program && at[2].k.base == 'x')
		twins = false; /* it is served; what it replaced may lie beside it */
	if (twins)
		strcat(text, "; two forms are left");
	bool mixed = false, explained = is_explained(was, &at[0], subject, !err, !play.err);
	/* What came at the moment of the kill, or of the error, is put aside, at least. */
	if (play.fate_came)
		explained |= is_explained_by_fate(&at[0], both, &mixed);
	if (mixed)
		strcat(text, "; mixed bytes were put aside");
	if (e1 || e2 || mixed || !same_state(&at[0], &at[1]) || !same_state(&at[0], &at[2]) ||
	    !explained || twins)
		complain(subject, forms, text);
}

/* -> was there a call at which the outsider came? */
static bool play_once(const struct doing *subject, const struct doing *outsider,
		      const struct forms *forms, unsigned long at)
{
	bool there = !subject->needs_none;
	begin_world(forms, there);
	struct state was = {.k = {.base = there ? 'o' : 0}};
	play.subject = pthread_self();
	play.doing = outsider;
	play.m = &mount_b;
	play.at = at;
	play.calls = 0;
	play.is_behind = false;
	play.err = 0;
	play.their_calls = play.naps = 0;
	play.subject_ended = play.fate_came = false;
	play.calls_since = 0;
	wrote_all = false;
	simfs_set_before_call(fs, before_call);
	set_turn(ARMED);
	dv_err err = subject->run(&mount_a);
	bool came = get_turn() != ARMED;
	pthread_mutex_lock(&play.lock);
	play.subject_ended = true;
	pthread_cond_broadcast(&play.cond);
	pthread_mutex_unlock(&play.lock);
	if (came)
		CHECK_EQ(pthread_join(play.outsider, NULL), 0);
	set_turn(NOT_ARMED);
	simfs_set_before_call(fs, NULL);
	simfs_fail_nth(fs, 0, 0, false);
	if (play.left)
		succeed_world(play.left);
	play.left = NULL;
	if (came) {
		come_to_rest(&mount_a);
		come_to_rest(&mount_b);
		come_to_rest(&mount_a);
		check_end(subject, forms->name, &was, err);
	}
	end_world();
	return came;
}

static const char *only[4];
static unsigned long plays;

/* In a list with commas? */
static bool wanted(int i, const char *name)
{
	const char *at = only[i] ? strstr(only[i], name) : name;
	size_t len = strlen(name);
	while (at && only[i] && ((at > only[i] && at[-1] != ',') || (at[len] && at[len] != ',')))
		at = strstr(at + 1, name);
	return at;
}

static void play_all(const struct doing *subject, const struct doing *outsider)
{
	unsigned long first = only[3] ? strtoul(only[3], NULL, 10) : 1;
	bool renames =
		strcmp(subject->name, "rename") == 0 || strcmp(outsider->name, "rename") == 0;
	for (size_t f = 0; f < DV_ARRAY_LEN(all_forms); f++) {
		bool differs = all_forms[f].k_packed == all_forms[f].t_packed || renames;
		differs &= !world_layout || f == 0;
		if (!differs || !wanted(2, all_forms[f].name))
			continue;
		for (unsigned long at = first; play_once(subject, outsider, &all_forms[f], at);
		     at++) {
			plays++;
			if (only[3])
				break;
		}
	}
}

/* Two who write the same new file, in place: as on any filesystem, what is there then is of both. Where its
 * bytes come with its commit alone, one who moves it meanwhile moves what there is (README, caveats). */
static bool both_write(const struct doing *subject, const struct doing *outsider)
{
	bool moves = (world_streams || world_layout) && strcmp(outsider->name, "move") == 0;
	return subject->needs_none && (moves || strcmp(outsider->name, "replace") == 0);
}

static bool is_possible(const struct doing *d)
{
	return !world_layout || !d->not_sealed;
}

static void test_whatever_the_moment_one_comes_after_the_other(void)
{
	for (size_t s = 0; s < doings_count; s++) {
		if (doings[s].program || !wanted(0, doings[s].name) || !is_possible(&doings[s]))
			continue;
		for (size_t o = 0; o < doings_count; o++)
			if (wanted(1, doings[o].name) && is_possible(&doings[o]) &&
			    !both_write(&doings[s], &doings[o]))
				play_all(&doings[s], &doings[o]);
	}
	printf("%lu plays\n", plays);
	CHECK_EQ(complaints, 0);
}

static const struct doing *doing_of(const char *name)
{
	for (size_t i = 0; i < doings_count; i++)
		if (strcmp(doings[i].name, name) == 0)
			return &doings[i];
	CHECK(false);
	return NULL;
}

static const char *const movers[] = {"rename", "remove", "move"};

/* A packer that has begun comes to its end at any call of one who renames or removes the value. */
static void test_a_packer_may_end_at_any_moment_of_another_mounts_change(void)
{
	for (size_t m = 0; m < DV_ARRAY_LEN(movers); m++) {
		const struct doing *outsider = doing_of(movers[m]);
		bool came = true;
		for (unsigned long at = 1; came; at++) {
			play.overtaken_at = 0;
			came = play_once(doing_of("pack"), outsider, &all_forms[0], at);
			bool stopped = play.naps > 0; /* it met the packer */
			while (came && stopped) {
				play.overtaken_at++;
				came = play_once(doing_of("pack"), outsider, &all_forms[0], at);
				stopped = play.their_calls >= play.overtaken_at;
				plays += came;
			}
		}
	}
	play.overtaken_at = 0;
	printf("%lu plays\n", plays);
	CHECK_EQ(complaints, 0);
}

/* It gets no processor for longer than a program's lock would be waited for. */
static void test_a_change_waits_for_a_packer_however_slow_it_is(void)
{
	play.naps_wanted = 2500;
	for (size_t m = 0; m < DV_ARRAY_LEN(movers); m++) {
		const struct doing *outsider = doing_of(movers[m]);
		bool waited = false;
		for (unsigned long at = 1; play_once(doing_of("pack"), outsider, &all_forms[0], at);
		     at++) {
			CHECK_EQ(play.err, 0);
			waited |= play.naps >= play.naps_wanted;
		}
		CHECK(waited);
	}
	play.naps_wanted = 0;
	CHECK_EQ(complaints, 0);
}

static void play_fates(const struct doing *outsider, const struct forms *forms, enum fate fate)
{
	const struct doing *subject = doing_of("replace");
	bool came = true;
	for (unsigned long at = 1; came; at++) {
		play.fate = fate;
		play.fate_at = 0;
		do {
			play.fate_at++;
			came = play_once(subject, outsider, forms, at);
			plays += came;
		} while (came && play.fate_came);
	}
}

/* He is killed, or a call fails, at any moment after another one has replaced the value too. */
static void test_nothing_is_mixed_or_lost_where_a_replacement_is_cut_short(void)
{
	static const char *const outsiders[] = {"replace", "shell-replaces", "shell-puts-packed",
						"remove", "shell-removes"};
	for (enum fate fate = IS_KILLED; fate <= MEETS_AN_ERROR; fate++)
		for (size_t o = 0; o < DV_ARRAY_LEN(outsiders); o++) {
			const struct doing *outsider = doing_of(outsiders[o]);
			if (!is_possible(outsider) || !wanted(1, outsiders[o]))
				continue;
			for (size_t f = 0; f < (world_layout ? 1 : 2); f++)
				play_fates(outsider, &all_forms[f], fate);
		}
	play.fate = GOES_ON;
	printf("%lu plays\n", plays);
	CHECK_EQ(complaints, 0);
}

/* One of them is stopped where the other comes, and the other at each of its calls until that one has ended. */
static void test_two_who_stop_each_other_leave_one_form(void)
{
	const struct doing *replace = doing_of("replace");
	for (const char *small = "xa"; *small; small++)
		for (size_t f = 0; f < 2; f++) {
			bool came = true;
			world_small = *small;
			for (unsigned long at = 1; came; at++) {
				bool stopped = true;
				for (play.overtaken_at = 1; came && stopped; play.overtaken_at++) {
					came = play_once(replace, replace, &all_forms[f], at);
					stopped = play.their_calls >= play.overtaken_at;
					plays += came;
				}
			}
		}
	play.overtaken_at = 0;
	printf("%lu plays\n", plays);
	CHECK_EQ(complaints, 0);
}

int main(int argc, char **argv)
{
	static const struct check_test tests[] = {
		CHECK_TEST(test_whatever_the_moment_one_comes_after_the_other),
	};
	static const struct check_test packer_tests[] = {
		CHECK_TEST(test_a_packer_may_end_at_any_moment_of_another_mounts_change),
		CHECK_TEST(test_a_change_waits_for_a_packer_however_slow_it_is),
	};
	static const struct check_test cut_tests[] = {
		CHECK_TEST(test_nothing_is_mixed_or_lost_where_a_replacement_is_cut_short),
	};
	static const struct check_test stopped_tests[] = {
		CHECK_TEST(test_two_who_stop_each_other_leave_one_form),
	};
	world_streams = argc > 1 && strcmp(argv[1], "streams") == 0;
	world_layout = argc > 1 && strcmp(argv[1], "gzip") == 0 ? "diskv:gzip" : NULL;
	if (world_streams || world_layout) {
		argc--;
		argv++;
	}
	if (argc > 1 && strcmp(argv[1], "cut") == 0) {
		only[1] = argc > 2 ? argv[2] : NULL;
		return check_main(1, argv, cut_tests, DV_ARRAY_LEN(cut_tests));
	}
	if (argc > 1 && strcmp(argv[1], "stopped") == 0) {
		play.behind = argc > 2 ? argv[2] : NULL;
		return check_main(1, argv, stopped_tests, DV_ARRAY_LEN(stopped_tests));
	}
	if (argc == 2 && strcmp(argv[1], "packer") == 0)
		return check_main(1, argv, packer_tests, DV_ARRAY_LEN(packer_tests));
	for (int i = 1; i < argc && i <= 4; i++)
		only[i - 1] = strcmp(argv[i], "-") == 0 ? NULL : argv[i];
	return check_main(1, argv, tests, DV_ARRAY_LEN(tests));
}
