/* SPDX-License-Identifier: MIT */
/*
 * exerciser - random operations on the mount and on a plain directory, in lockstep.
 *
 *   exerciser PROGRAM STORE MOUNTPOINT PLAIN [-s SEED] [-n STEPS] [-r FILE] [-o OPTIONS] [-t SUFFIX]
 *             [-x] [-v]
 *   exerciser -d
 *
 * Each step is taken on both sides, by one of several processes, as one of several users. After it
 * results, errnos, attributes and contents of what was touched are compared; after each pack,
 * unpack, remount and kill -9 of the daemon the whole trees are, and inode numbers must have
 * stayed.
 *
 *   -s -n   STEPS random steps; a step depends on the seed and its number alone
 *   -r      the steps of FILE, a line each, as a failing run prints them
 *   -o      options of each mount, behind "dev"
 *   -t      the store has the transform path:SUFFIX
 *   -x      a failing run is shrunk to the steps that matter
 *   -v      tells each step
 *   -d      tells where the mount may differ, and why
 *
 * Status 1: different; the steps are on the standard output.
 */
#include "tests/mount/exerciser/exerciser.h"

struct ex_world ex;

static struct ex_step *read_steps(const char *path, unsigned *out_count)
{
	struct ex_step *steps = NULL;
	char line[EX_LINE_BYTES];
	unsigned count = 0;
	FILE *f = fopen(path, "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (line[0] == '#' || line[0] == '\n')
			continue;
		if (count % 1024 == 0)
			steps = realloc(steps, (count + 1024) * sizeof(*steps));
		if (!steps || !ex_step_parse(line, &steps[count])) {
			fprintf(stderr, "%s: not a step: %s", path, line);
			exit(2);
		}
		count++;
	}
	if (!f)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	else
		fclose(f);
	*out_count = count;
	return steps;
}

static struct ex_step *choose_steps(uint64_t seed, unsigned count)
{
	struct ex_step *steps = calloc(count, sizeof(*steps));

	for (unsigned i = 0; steps && i < count; i++)
		ex_choose(seed, i, &steps[i]);
	return steps;
}

static bool is_option(const char *options, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = options; (at = strstr(at, word)); at += len)
		if ((at == options || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const char *file = NULL, *options = "";
	uint64_t seed = 1;
	unsigned count = 3000;
	bool shrinking = false;
	struct ex_step *steps;
	int option;

	if (argc == 2 && !strcmp(argv[1], "-d")) {
		ex_known_print(stdout);
		return 0;
	}
	if (argc < 5) {
		fprintf(stderr, "see the top of exerciser/main.c\n");
		return 2;
	}
	optind = 5;
	while ((option = getopt(argc, argv, "s:n:r:o:t:xv")) != -1) {
		switch (option) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			count = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'r':
			file = optarg;
			break;
		case 'o':
			options = optarg;
			break;
		case 't':
			ex.suffix_bytes = strlen(optarg);
			break;
		case 'x':
			shrinking = true;
			break;
		case 'v':
			ex.verbose = true;
			break;
		default:
			return 2;
		}
	}
	snprintf(ex.options, sizeof(ex.options), "dev%s%s", *options ? "," : "", options);
	ex.mounted = (struct mounted){argv[1], argv[2], argv[3], ex.options};
	ex.base[MOUNT] = argv[3];
	ex.base[PLAIN] = argv[4];
	ex.acls = !is_option(options, "noacl");
	if (count == 0 || count > EX_STEPS_MAX)
		return 2;
	steps = file ? read_steps(file, &count) : choose_steps(seed, count);
	if (!steps)
		return 2;
	bool failed = ex_fails(steps, count, false);
	if (failed)
		fprintf(stderr, "seed %llu, %u steps, options %s\n", (unsigned long long)seed,
			count, ex.options);
	if (failed && shrinking)
		count = ex_shrink(steps, count);
	for (unsigned i = 0; failed && shrinking && i < count; i++)
		ex_step_print(&steps[i], stdout);
	if (failed && shrinking) {
		fflush(stdout);
		ex.verbose = true;
		ex_fails(steps, count, false);
	}
	free(steps);
	return failed;
}
