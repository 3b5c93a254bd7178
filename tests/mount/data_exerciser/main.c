/* SPDX-License-Identifier: MIT */
/*
 * data_exerciser - random changes of one file's bytes, against a shadow in memory.
 *
 *   data_exerciser PROGRAM STORE MOUNTPOINT [-s SEED] [-n STEPS] [-r FILE] [-o OPTIONS] [-x] [-v]
 *
 * Written, appended to by several, mapped, truncated, punched, copied, replaced, streamed, read,
 * synced, closed and opened again, packed, unpacked, remounted, its daemon killed; after each step
 * the size and after many the bytes are compared. A second descriptor and a second name read along.
 * The idea is that of fsx (Apple, 1991). Options as of the exerciser.
 */
#include "tests/mount/data_exerciser/data.h"
#include "tests/mount/shrink_list.h"

struct dx_world dx;

static void on_alarm(int signal_number)
{
	static const char text[] = "HANGS\n";

	(void)signal_number;
	if (write(2, text, sizeof(text) - 1) < 0)
		_exit(4);
	dx_print(&dx.now, stderr); /* not safe in a handler, but the process ends */
	fflush(stderr);
	_exit(3);
}

/* mounted.h ends the process where a mount can not be brought up or taken down. */
static void tell_step(void)
{
	fprintf(stderr, "  at step ");
	dx_print(&dx.now, stderr);
}

static void run(const struct dx_step *steps, unsigned count)
{
	static const struct dx_step first = {.kind = DX_REMOUNT, .fill = 0x200};
	char beside[sizeof(dx.path) + 8];

	dx.shadow = calloc(1, DX_LARGE_BYTES);
	dx.buf = aligned_alloc(4096, DX_LARGE_BYTES);
	if (!dx.shadow || !dx.buf)
		dx_fail("memory");
	signal(SIGALRM, on_alarm);
	atexit(tell_step);
	if (mounted_pid(&dx.mounted) > 1)
		mounted_down(&dx.mounted);
	dx_mount_up(&first);
	snprintf(dx.path, sizeof(dx.path), "%s/value", dx.mounted.mountpoint);
	strcpy(dx.second, dx.path);
	unlink(dx.path);
	static const char *const others[] = {".zst", ".new", ".copy", ".away"};
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		snprintf(beside, sizeof(beside), "%s%s", dx.path, others[i]);
		unlink(beside);
	}
	dx_open_files();
	for (unsigned i = 0; i < count; i++) {
		dx.now = steps[i];
		alarm(DX_HANG_SECONDS);
		if (dx.verbose)
			dx_print(&steps[i], stderr);
		dx_act(&steps[i]);
		dx_check(&steps[i]);
	}
	dx_check_all();
	dx_close_files();
	alarm(0);
}

static bool fails(const void *steps, unsigned count)
{
	int status = 0;
	pid_t pid;

	if (mounted_pid(&dx.mounted) <= 1) { /* a run left it dead, or not mounted */
		umount2(dx.mounted.mountpoint, MNT_DETACH);
		dx_mount_up(&(struct dx_step){.fill = 0x200});
	}
	fflush(stderr);
	pid = fork();
	if (pid == 0) {
		run(steps, count);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && status != 0;
}

static bool fails_quietly(const void *steps, unsigned count)
{
	int err = dup(2), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	bool failed;

	dup2(null, 2);
	failed = fails(steps, count) || fails(steps, count); /* some do not fail each time */
	dup2(err, 2);
	close(err);
	close(null);
	return failed;
}

static struct dx_step *get_steps(const char *path, uint64_t seed, unsigned *count)
{
	struct dx_step *steps = calloc(*count, sizeof(*steps));
	FILE *f = path ? fopen(path, "r") : NULL;
	char line[DX_LINE_BYTES];
	unsigned n = 0;

	for (unsigned i = 0; !path && steps && i < *count; i++)
		dx_choose(seed, i, &steps[i]);
	if (!path)
		return steps;
	while (f && steps && n < *count && fgets(line, sizeof(line), f)) {
		if (line[0] == '#' || line[0] == '\n')
			continue;
		if (!dx_parse(line, &steps[n++])) {
			fprintf(stderr, "%s: not a step: %s", path, line);
			exit(2);
		}
	}
	if (!f)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	else
		fclose(f);
	*count = n;
	return f ? steps : NULL;
}

int main(int argc, char **argv)
{
	const char *file = NULL;
	uint64_t seed = 1;
	unsigned count = 2000;
	bool shrinking = false;
	int option;

	if (argc < 4) {
		fprintf(stderr, "see the top of data_exerciser/main.c\n");
		return 2;
	}
	optind = 4;
	while ((option = getopt(argc, argv, "s:n:r:o:xv")) != -1) {
		if (option == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (option == 'n')
			count = (unsigned)strtoul(optarg, NULL, 0);
		else if (option == 'r')
			file = optarg;
		else if (option == 'o')
			snprintf(dx.options, sizeof(dx.options), "%s", optarg);
		else if (option == 'x')
			shrinking = true;
		else if (option == 'v')
			dx.verbose = true;
		else
			return 2;
	}
	dx.mounted = (struct mounted){argv[1], argv[2], argv[3], dx.options};
	if (count == 0 || count > DX_STEPS_MAX)
		return 2;
	struct dx_step *steps = get_steps(file, seed, &count);
	if (!steps)
		return 2;
	bool failed = fails(steps, count);
	if (failed)
		fprintf(stderr, "seed %llu, %u steps, options %s\n", (unsigned long long)seed,
			count, dx.options);
	if (failed && shrinking)
		count = shrink_list(steps, count, sizeof(*steps), fails_quietly);
	for (unsigned i = 0; failed && shrinking && i < count; i++)
		dx_print(&steps[i], stdout);
	fflush(stdout);
	if (failed && shrinking)
		fails(steps, count);
	free(steps);
	return failed;
}
