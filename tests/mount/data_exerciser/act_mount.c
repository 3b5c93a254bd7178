/* SPDX-License-Identifier: MIT */
/*
 * act_mount.c - steps that leave the bytes as they are: names, syncs, reads, and what is done to
 * the mount below.
 */
#include "tests/mount/data_exerciser/data.h"

void dx_mount_up(const struct dx_step *s)
{
	static const char *const more[] = {"settle=0", "settle=0.05", "settle=1",
					   "settle=5,coherence=0"};
	static char options[sizeof(dx.options) + 64];

	snprintf(options, sizeof(options), "%s%s%s", dx.options, *dx.options ? "," : "",
		 more[s->fill >> 8 & 3]);
	dx.mounted.options = options;
	mounted_up(&dx.mounted);
}

/* Sometimes the second name is a link to the file, sometimes the file's own. A flat namespace has
 * no links. */
static void do_link(void)
{
	dx_close_files();
	if (strcmp(dx.second, dx.path) == 0) {
		snprintf(dx.second, sizeof(dx.second), "%.4000s.zst", dx.path);
		if (link(dx.path, dx.second) && errno != EPERM)
			dx_fail("link");
		if (access(dx.second, F_OK))
			strcpy(dx.second, dx.path);
	} else {
		if (unlink(dx.second))
			dx_fail("unlink");
		strcpy(dx.second, dx.path);
	}
	dx_open_files();
}

/* There and back; descriptors stay open. */
static void do_rename(const struct dx_step *s)
{
	char away[sizeof(dx.path) + 8];

	snprintf(away, sizeof(away), "%s.away", dx.path);
	if (rename(dx.path, away))
		dx_fail("rename");
	if (s->flags & 1)
		dx_compare(dx.fd, 0, DX_PIECE_BYTES);
	if (rename(away, dx.path))
		dx_fail("rename back");
}

static void command(const char *what)
{
	if (mounted_control(&dx.mounted, what))
		dx_fail(what);
}

static void do_mount(const struct dx_step *s)
{
	if (s->kind == DX_PACK || s->kind == DX_UNPACK) {
		if (s->flags & 1)
			dx_close_files();
		command(dx_kinds[s->kind].name);
		if (s->flags & 1)
			dx_open_files();
	} else if (s->kind == DX_REMOUNT) {
		dx_close_files();
		mounted_down(&dx.mounted);
		dx_mount_up(s);
		dx_open_files();
	} else {
		if (s->flags & 1)
			dx_close_files();
		mounted_kill(&dx.mounted);
		close(dx.fd);
		close(dx.other);
		dx_mount_up(s);
		dx_open_files();
	}
	dx_check_all();
}

void dx_act_mount(const struct dx_step *s)
{
	switch (s->kind) {
	case DX_LINK:
		do_link();
		break;
	case DX_RENAME:
		do_rename(s);
		break;
	case DX_SYNC:
		if (s->flags & 1 ? fsync(dx.fd) : fdatasync(dx.fd))
			dx_fail("fsync");
		break;
	case DX_REOPEN:
		dx_close_files();
		dx_open_files();
		break;
	case DX_READ:
		dx_compare(s->flags & 1 ? dx.fd : dx.other, s->off, s->len);
		break;
	case DX_SEEK:
		dx_check_holes(s);
		break;
	case DX_KILL_WRITING:
		dx_kill_writing(s);
		break;
	case DX_PAUSE:
		usleep((unsigned)s->off % 150000);
		break;
	default:
		do_mount(s);
	}
}
