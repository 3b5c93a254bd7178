/* SPDX-License-Identifier: MIT */
/*
 * cmd_values.c - diskvfs get, put, has, rm: single values from a command line. door.h says which way
 * each goes. Exit status: 0; 1 a key that is missing; 2 an error.
 */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "fs/args.h"
#include "fs/door.h"
#include "fs/through.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_BYTES (1u << 20)
#define KEYS_MAX   100000 /* operands */

/* ---- bytes ---- */

/* -> 0; -EPIPE: nobody wants more. */
static dv_err write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t done = write(fd, buf, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		buf += done;
		len -= (size_t)done;
	}
	return 0;
}

static ssize_t read_some(int fd, char *buf, size_t len)
{
	ssize_t got;

	do
		got = read(fd, buf, len);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

/* ---- get ---- */

/* *out_failed: it was stdout that failed. */
static dv_err get_through(struct fs_door *d, const char *key, char *buf, bool *out_failed)
{
	int fd = fs_through_open(d, key);
	ssize_t got = 0;
	dv_err err = fd < 0 ? fd : 0;

	while (!err && (got = read_some(fd, buf, COPY_BYTES)) > 0) {
		err = write_all(STDOUT_FILENO, buf, (size_t)got);
		*out_failed = err < 0;
	}
	if (fd >= 0)
		close(fd);
	return err ? err : (dv_err)got;
}

static dv_err get_beside(struct fs_door *d, const char *key, char *buf, bool *out_failed)
{
	struct dvfs_reader *r = NULL;
	ssize_t got = 0;
	dv_err err = dvfs_reader_open(d->lib, key, 0, &r);

	while (!err && (got = dvfs_reader_read(r, buf, COPY_BYTES)) > 0) {
		err = write_all(STDOUT_FILENO, buf, (size_t)got);
		*out_failed = err < 0;
	}
	dvfs_reader_close(&r);
	return err ? err : (dv_err)got;
}

static int get(struct fs_door *d, char **keys, int count)
{
	DV_AUTO_FREE char *buf = malloc(COPY_BYTES);
	bool out_failed = false;
	int worst = 0;

	if (!buf)
		return fs_cmd_fail(2, "%s", strerror(ENOMEM));
	for (int i = 0; i < count && !out_failed; i++) {
		dv_err err = d->mount[0] ? get_through(d, keys[i], buf, &out_failed)
					 : get_beside(d, keys[i], buf, &out_failed);
		int status = 0;

		if (out_failed && err == -EPIPE)
			return FS_PIPE_CLOSED;
		if (out_failed)
			status = fs_cmd_fail(2, "standard output: %s", strerror(-err));
		else if (err < 0)
			status = fs_door_fail(d, keys[i], err);
		worst = status > worst ? status : worst;
	}
	return worst;
}

/* ---- put ---- */

struct putting {
	const char *key;
	bool sync, only_new;
};

/* Reads standard input to its end. */
static dv_err feed(int fd, struct dvfs_writer *w, bool *in_failed)
{
	DV_AUTO_FREE char *buf = malloc(COPY_BYTES);
	ssize_t got = buf ? 1 : -ENOMEM;
	dv_err err = 0;

	while (!err && got > 0) {
		got = read_some(STDIN_FILENO, buf, COPY_BYTES);
		*in_failed = got < 0;
		if (got > 0)
			err = w ? dvfs_writer_write(w, buf, (size_t)got)
				: write_all(fd, buf, (size_t)got);
	}
	return err ? err : (dv_err)got;
}

static dv_err put_beside(struct fs_door *d, const struct putting *p, bool *in_failed)
{
	struct dvfs_writer *w = NULL;
	int flags = (p->sync ? DVFS_SYNC : 0) | (p->only_new ? DVFS_NEW : 0);
	dv_err err = dvfs_writer_open(d->lib, p->key, flags, &w);

	if (!err)
		err = feed(-1, w, in_failed);
	if (!err)
		err = dvfs_writer_commit(&w);
	dvfs_writer_abort(&w);
	return err;
}

static dv_err put_through(struct fs_door *d, const struct putting *p, bool *in_failed)
{
	struct fs_through_put t;
	dv_err err = fs_through_put_begin(d, p->key, &t);

	if (err)
		return err;
	err = feed(t.fd, NULL, in_failed);
	return fs_through_put_end(&t, err, p->sync, p->only_new);
}

static int put(struct fs_door *d, const struct putting *p)
{
	bool in_failed = false;
	int status = fs_door_library(d, true);
	dv_err err;

	if (status > 0)
		return status;
	err = status < 0 ? put_through(d, p, &in_failed) : put_beside(d, p, &in_failed);
	if (in_failed)
		return fs_cmd_fail(2, "standard input: %s; the old value of %s stays",
				   strerror(-err), p->key);
	if (err < 0) { /* a directory that is missing is not the user's business */
		fs_door_fail(d, p->key, err == -ENOENT ? -EBUSY : err);
		return 2;
	}
	fs_door_changed(d, p->key);
	return 0;
}

/* ---- has, rm ---- */

static int has(struct fs_door *d, char **keys, int count)
{
	int worst = 0;

	for (int i = 0; i < count; i++) {
		int fd = d->mount[0] ? fs_through_open(d, keys[i]) : -1;
		dv_err err = d->mount[0] ? (fd < 0 ? fd : 1) : dvfs_has(d->lib, keys[i]);
		int status = err == 0 || err == -ENOENT ? 1 : 0;

		if (fd >= 0)
			close(fd);
		if (err < 0 && err != -ENOENT)
			status = fs_door_fail(d, keys[i], err);
		worst = status > worst ? status : worst;
	}
	return worst;
}

static int rm(struct fs_door *d, char **keys, int count)
{
	int worst = 0;

	for (int i = 0; i < count; i++) {
		dv_err err =
			d->mount[0] ? fs_through_erase(d, keys[i]) : dvfs_erase(d->lib, keys[i]);
		int status = err < 0 ? fs_door_fail(d, keys[i], err) : 0;

		worst = status > worst ? status : worst;
	}
	return worst;
}

/* ---- commands ---- */

/* A command that takes keys and no options. */
static int with_keys(const struct fs_args *a, int argc, char **argv, bool write,
		     int (*run)(struct fs_door *d, char **keys, int count))
{
	DV_AUTO_FREE struct fs_door *d = calloc(1, sizeof(*d));
	char **operands;
	int status, n = fs_args_parse(a, argc, argv, &operands, &status);

	if (n < 0)
		return status;
	signal(SIGPIPE, SIG_IGN);
	status = fs_door_open(d, operands[0]);
	if (!status && !d->mount[0])
		status = fs_door_library(d, write);
	if (!status)
		status = run(d, operands + 1, n - 1);
	return fs_cmd_end(fs_door_close(d, status));
}

int fs_cmd_get(int argc, char **argv)
{
	static const struct fs_args a = {"get STORE|MOUNTPOINT KEY...",
					 "Writes the values to standard output, one behind the "
					 "other. Exit status 1: no such "
					 "key.\n",
					 NULL,
					 0,
					 2,
					 KEYS_MAX};

	return with_keys(&a, argc, argv, false, get);
}

int fs_cmd_has(int argc, char **argv)
{
	static const struct fs_args a = {
		"has STORE|MOUNTPOINT KEY...",
		"Exit status 0 where all keys have values, 1 where one has none. Prints nothing.\n",
		NULL,
		0,
		2,
		KEYS_MAX};

	return with_keys(&a, argc, argv, false, has);
}

int fs_cmd_rm(int argc, char **argv)
{
	static const struct fs_args a = {
		"rm STORE|MOUNTPOINT KEY...",
		"Erases values, and the directories that this leaves empty. Exit status 1: no such "
		"key.\n",
		NULL,
		0,
		2,
		KEYS_MAX};

	return with_keys(&a, argc, argv, true, rm);
}

int fs_cmd_put(int argc, char **argv)
{
	struct putting p = {0};
	const struct fs_arg args[] = {
		{"sync", 0, FS_ARG_SET, &p.sync, NULL, "return when the value is durable"},
		{"new", 0, FS_ARG_SET, &p.only_new, NULL, "fail where the key has a value"},
	};
	const struct fs_args a = {
		"put STORE|MOUNTPOINT KEY [--sync] [--new]",
		"Standard input becomes the value of KEY, whole, once it has come to its end: "
		"until "
		"then, and\nwhere that fails or the command is ended, the old value stays.\n",
		args,
		DV_ARRAY_LEN(args),
		2,
		2};
	DV_AUTO_FREE struct fs_door *d = calloc(1, sizeof(*d));
	char **operands;
	int status;

	if (fs_args_parse(&a, argc, argv, &operands, &status) < 0)
		return status;
	p.key = operands[1];
	status = fs_door_open(d, operands[0]);
	if (!status)
		status = put(d, &p);
	return fs_door_close(d, status);
}
