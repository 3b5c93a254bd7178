/* SPDX-License-Identifier: MIT */
/*
 * actors.c - a run: processes that take steps in turns, and the mount under them.
 *
 * The parent tells an actor which steps to take and waits for it, so one acts at a time. What is
 * done to the whole mount the parent does itself.
 */
#include "tests/mount/exerciser/exerciser.h"
#include "tests/mount/exerciser/mapped.h"

#include <sys/socket.h>
#include <sys/xattr.h>

struct order {
	enum { TAKE, CLOSE_ALL } what;
	unsigned from, to;
};

static struct actor {
	pid_t pid;
	int line;
} actors[EX_ACTORS];

static void on_alarm(int signal_number)
{
	static const char text[] = "HANGS\n";

	(void)signal_number;
	if (write(2, text, sizeof(text) - 1) < 0)
		_exit(4);
	ex_step_print(&ex.now, stderr); /* not safe in a handler, but the process ends */
	fflush(stderr);
	_exit(3);
}

/* ---- in an actor ---- */

static void compare_results(const struct ex_step *s, const struct ex_result r[SIDES])
{
	if (r[MOUNT].ret == r[PLAIN].ret && r[MOUNT].err == r[PLAIN].err &&
	    r[MOUNT].sum == r[PLAIN].sum)
		return;
	if (ex_known_result(s, r))
		return;
	if (r[MOUNT].ret != r[PLAIN].ret || r[MOUNT].err != r[PLAIN].err)
		ex_fail_values("result * 1000 + errno", ex_kinds[s->kind].name,
			       r[MOUNT].ret * 1000 + r[MOUNT].err,
			       r[PLAIN].ret * 1000 + r[PLAIN].err);
	ex_fail("what came back", ex_kinds[s->kind].name);
}

/* Pages of a mapping would move the times once more when they reach the daemon. */
static void settle_mappings(const struct ex_step *s)
{
	if ((s->kind == EX_UTIMENS || s->kind == EX_FUTIMENS) && ex_any_mapped() &&
	    syncfs(ex_base(MOUNT)))
		ex_fail("syncfs", strerror(errno));
}

static void take_step(const struct ex_step *s)
{
	struct ex_result r[SIDES];
	enum ex_how how;

	ex.now = *s;
	alarm(EX_HANG_SECONDS);
	how = ex_known_before(s);
	if (ex.verbose)
		ex_step_print(s, stderr);
	if (how == EX_NEITHER)
		return;
	if (how == EX_MOUNT_ALONE) {
		r[MOUNT] = ex_act(s, MOUNT);
		if (r[MOUNT].ret >= 0)
			ex_fail("done, where it is to be refused", ex_kinds[s->kind].name);
		return;
	}
	settle_mappings(s);
	ex_look_before(s);
	for (int side = 0; side < SIDES; side++)
		r[side] = ex_act(s, side);
	if (ex.verbose)
		fprintf(stderr, "   -> %ld %s\n", r[PLAIN].ret,
			r[PLAIN].err ? strerrorname_np(r[PLAIN].err) : "");
	compare_results(s, r);
	ex_compare_after(s);
}

__attribute__((noreturn)) static void be_actor(int line)
{
	struct order order;

	signal(SIGALRM, on_alarm);
	signal(SIGPIPE, SIG_IGN);
	while (read(line, &order, sizeof(order)) == sizeof(order)) {
		if (order.what == CLOSE_ALL) {
			ex_close_all(MOUNT);
			ex_close_all(PLAIN);
		} else {
			ex_compare_slots(false);
			for (unsigned i = order.from; i < order.to; i++)
				take_step(&ex.steps[i]);
		}
		alarm(0);
		if (write(line, "", 1) != 1)
			break;
	}
	_exit(0);
}

/* ---- in the parent ---- */

static void make_actors(void)
{
	int ends[2];

	for (int i = 0; i < EX_ACTORS; i++) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
			ex_fail("socketpair", strerror(errno));
		fflush(stderr);
		actors[i] = (struct actor){fork(), ends[0]};
		if (actors[i].pid < 0)
			ex_fail("fork", strerror(errno));
		if (actors[i].pid == 0) {
			for (int j = 0; j <= i; j++)
				close(actors[j].line);
			be_actor(ends[1]);
		}
		close(ends[1]);
	}
}

/* The others end when their line does. */
static void tell(unsigned actor, struct order order)
{
	char answer;

	if (write(actors[actor].line, &order, sizeof(order)) != sizeof(order) ||
	    read(actors[actor].line, &answer, 1) != 1) {
		for (int i = 0; i < EX_ACTORS; i++)
			close(actors[i].line);
		_exit(1);
	}
}

/* Descriptors may outlive the daemon that is killed. */
static void close_all(void)
{
	for (unsigned i = 0; i < EX_ACTORS; i++)
		tell(i, (struct order){.what = CLOSE_ALL});
	ex_mapped_clear();
	ex_close_all(MOUNT);
	ex_close_all(PLAIN);
}

static void mount_up(const struct ex_step *s)
{
	static const char *const more[] = {"settle=0", "settle=0.02", "settle=1",
					   "settle=5,coherence=0"};
	static char options[sizeof(ex.options) + 64];

	snprintf(options, sizeof(options), "%s,%s", ex.options, more[s->fill >> 8 & 3]);
	ex.mounted.options = options;
	mounted_up(&ex.mounted);
}

static void command(const char *what)
{
	int err = mounted_control(&ex.mounted, what);

	if (err)
		ex_fail(what, strerror(err));
}

static void change_mount(const struct ex_step *s)
{
	ex.now = *s;
	if (ex.verbose)
		ex_step_print(s, stderr);
	alarm(4 * EX_HANG_SECONDS);
	ex_tree_compare(true);
	switch (s->kind) {
	case EX_PACK:
	case EX_UNPACK:
		command(ex_kinds[s->kind].name);
		break;
	case EX_REMOUNT:
		close_all();
		mounted_down(&ex.mounted);
		mount_up(s);
		break;
	default:
		/* Pages of a mapping that did not reach the daemon are lost with it. */
		if (ex_any_mapped() && syncfs(ex_base(MOUNT)))
			ex_fail("syncfs", strerror(errno));
		ex_close_all(MOUNT);
		if (s->fill & 1024) { /* descriptors are closed before, or when nobody answers */
			close_all();
			mounted_kill(&ex.mounted);
		} else {
			mounted_kill(&ex.mounted);
			close_all();
		}
		mount_up(s);
	}
	ex_tree_compare(false);
	ex_tree_same_numbers();
	alarm(0);
}

/* What the steps start from, the same each time. Everybody may work in d and d.zst. */
static void make_directories(void)
{
	static const struct {
		const char *path;
		mode_t mode;
		gid_t gid;
	} dirs[] = {{".", 0777, 0},	 {"d", 01777, 0},      {"d.zst", 02775, 1001},
		    {"d/d", 0755, 1002}, {"d/d.zst", 0777, 0}, {"d/.diskvfs", 0777, 0},
		    {"@DEEP", 0777, 0}};
	char path[EX_PATH_BYTES];

	for (int side = 0; side < SIDES; side++) {
		ex_enter(side);
		for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
			ex_path(dirs[i].path, path);
			for (char *at = path; (at = strchr(at + 1, '/'));) { /* all above it */
				*at = '\0';
				mkdir(path, 0777);
				*at = '/';
			}
			if (mkdir(path, 0777) && errno != EEXIST)
				ex_fail("mkdir", dirs[i].path);
			if (chown(path, 0, dirs[i].gid) || chmod(path, dirs[i].mode))
				ex_fail(strerror(errno), dirs[i].path);
		}
	}
}

static void reset_bases(void)
{
	static const struct timespec times[2] = {{1000, 0}, {1000, 0}};
	static const char *const attributes[] = {"system.posix_acl_default",
						 "system.posix_acl_access",
						 "user.x",
						 "user.y",
						 "user.diskvf",
						 "trusted.t",
						 "security.t"};

	for (int side = 0; side < SIDES; side++) {
		ex_enter(side);
		for (size_t i = 0; i < sizeof(attributes) / sizeof(*attributes); i++)
			removexattr(".", attributes[i]);
		if (chown(".", 0, 0))
			ex_fail("chown", strerror(errno));
	}
	make_directories();
	for (int side = 0; side < SIDES; side++) {
		ex_enter(side);
		if (utimensat(AT_FDCWD, ".", times, 0))
			ex_fail("utimensat", strerror(errno));
	}
}

/* mounted.h ends the process where a mount can not be brought up or taken down. */
static void tell_step(void)
{
	fprintf(stderr, "  at step ");
	ex_step_print(&ex.now, stderr);
}

static void prepare(void)
{
	struct ex_step first = {.kind = EX_REMOUNT, .fill = 0x200};

	for (int side = 0; side < SIDES; side++) {
		ex.side[side].base = -1;
		for (int i = 0; i < EX_SLOTS; i++)
			ex.side[side].fds[i] = -1;
	}
	ex.data = aligned_alloc(4096, EX_DATA_BYTES);
	ex.other = aligned_alloc(4096, EX_DATA_BYTES);
	if (!ex.data || !ex.other)
		ex_fail("memory", "start");
	signal(SIGALRM, on_alarm);
	atexit(tell_step);
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	ex_mapped_init();
	ex.now = first;
	if (mounted_pid(&ex.mounted))
		mounted_down(&ex.mounted);
	mount_up(&first);
	ex_tree_clear();
	reset_bases();
}

void ex_run(void)
{
	struct ex_step last = {.kind = EX_REMOUNT, .number = ex.count, .fill = 0x200};
	unsigned i = 0, to;

	prepare();
	make_actors();
	while (i < ex.count) {
		const struct ex_step *s = &ex.steps[i];
		if (s->kind >= EX_PACK) {
			change_mount(s);
			i++;
			continue;
		}
		for (to = i + 1;
		     to < ex.count && ex.steps[to].kind < EX_PACK && ex.steps[to].proc == s->proc;)
			to++;
		tell(s->proc, (struct order){TAKE, i, to});
		i = to;
	}
	change_mount(&last);
	close_all();
	for (int j = 0; j < EX_ACTORS; j++) {
		close(actors[j].line);
		waitpid(actors[j].pid, NULL, 0);
	}
}
