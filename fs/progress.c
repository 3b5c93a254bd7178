/* SPDX-License-Identifier: MIT */
/* progress.c - see progress.h. */
#include "fs/progress.h"

#include "fs/args.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_NS	  200000000ll
#define BAR_WIDTH 24

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

const char *fs_size_text(uint64_t bytes, char buf[32])
{
	static const char units[] = "KMGTPE";
	double n = (double)bytes;
	int unit = -1;

	for (; n >= 1024 && unit < 5; unit++)
		n /= 1024;
	if (unit < 0)
		snprintf(buf, 32, "%" PRIu64 " bytes", bytes);
	else
		snprintf(buf, 32, "%.1f %ciB", n, units[unit]);
	return buf;
}

void fs_progress_begin(struct fs_progress *p, const char *what)
{
	memset(p, 0, sizeof(*p));
	p->what = what;
	p->began_ns = p->told_ns = now_ns();
	p->terminal = isatty(STDERR_FILENO);
	p->silent = fs_args_quiet();
}

void fs_progress_clear(struct fs_progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}

/* Of the work, by bytes where there are any. */
static double share(const struct fs_progress *p)
{
	if (p->total_bytes)
		return (double)p->bytes / (double)p->total_bytes;
	return p->total_files ? (double)p->files / (double)p->total_files : 0;
}

static void print_bar(double part)
{
	int full = (int)(part * BAR_WIDTH);

	fputs(" [", stderr);
	for (int i = 0; i < BAR_WIDTH; i++)
		fputc(i < full ? '#' : ' ', stderr);
	fputs("]", stderr);
}

static void print(struct fs_progress *p, int64_t now)
{
	double seconds = (double)(now - p->began_ns) / 1e9, part = share(p);
	char done[32], total[32], rate[32];

	if (part > 1) /* what grew since it was counted */
		part = 1;
	fprintf(stderr, "%s%s", p->terminal ? "\r\033[K" : "diskvfs: ", p->what);
	if (p->total_files && p->terminal)
		print_bar(part);
	if (p->total_files)
		fprintf(stderr, " %.0f%%", part * 100);
	fprintf(stderr, " %" PRIu64 " files, %s", p->files, fs_size_text(p->bytes, done));
	if (p->total_bytes)
		fprintf(stderr, " of %s", fs_size_text(p->total_bytes, total));
	if (seconds > 0)
		fprintf(stderr, ", %s/s",
			fs_size_text((uint64_t)((double)p->bytes / seconds), rate));
	if (part > 0.01) {
		unsigned left = (unsigned)(seconds * (1 - part) / part);

		fprintf(stderr, ", %u:%02u:%02u left", left / 3600, left / 60 % 60, left % 60);
	}
	if (!p->terminal)
		fputc('\n', stderr);
	p->shown = p->terminal;
	p->told_ns = now;
}

void fs_progress_add(struct fs_progress *p, uint64_t files, uint64_t bytes)
{
	int64_t now;

	p->files += files;
	p->bytes += bytes;
	if (p->silent)
		return;
	now = now_ns();
	if (now - p->told_ns >= (p->terminal ? BAR_NS : FS_PROGRESS_LOG_S * 1000000000ll))
		print(p, now);
}
