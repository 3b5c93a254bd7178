/* SPDX-License-Identifier: MIT */
/*
 * cmd_cas.c - diskvfs cas put, cas verify: values whose key is the SHA-256 of their bytes.
 *
 * put writes while it reads, and gives the value its key at the end, so it needs no second reading and
 * no memory. A value that is there already stays as it is: it is the same.
 */
#include "fs/cmd.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "fs/args.h"
#include "fs/door.h"

#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_BYTES  (1u << 20)
#define DIGEST_TEXT 65u /* 64 digits and NUL */
#define FILES_MAX   100000

struct cas {
	struct fs_door *door;
	const char *prefix;
	bool sync, json;
	bool found; /* a value that was there, and may not be durable */
	char *buf;
	uint64_t good, bad, others;
};

/* ---- digests ---- */

static dv_err digest_end(EVP_MD_CTX *ctx, char out[DIGEST_TEXT])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	if (EVP_DigestFinal_ex(ctx, md, &len) != 1 || len != 32)
		return -ENOMEM;
	for (unsigned i = 0; i < len; i++)
		sprintf(out + (size_t)2 * i, "%02x", md[i]);
	return 0;
}

static dv_err digest_begin(EVP_MD_CTX **out)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1) {
		*out = ctx;
		return 0;
	}
	EVP_MD_CTX_free(ctx);
	return -ENOMEM;
}

/* ---- put ---- */

static dv_err feed(struct cas *c, int fd, struct dvfs_writer *w, EVP_MD_CTX *ctx, uint64_t *bytes)
{
	ssize_t got;
	dv_err err = 0;

	while (!err && (got = read(fd, c->buf, COPY_BYTES)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		err = dvfs_writer_write(w, c->buf, (size_t)got);
		if (!err && EVP_DigestUpdate(ctx, c->buf, (size_t)got) != 1)
			err = -ENOMEM;
		*bytes += (uint64_t)got;
	}
	return err;
}

/* What is there under the digest is those bytes, or damaged: as far as its length tells. The rest is
 * for verify, which reads it. */
static dv_err check_there(struct cas *c, const char *key, uint64_t bytes)
{
	struct dvfs_value v;
	dv_err err = dvfs_stat(c->door->lib, key, &v);

	return !err && v.size != bytes ? -EBADMSG : err;
}

/* key: the prefix, with room for the digest behind it. */
static dv_err put_fd(struct cas *c, int fd, char *key, size_t prefix_len)
{
	struct dvfs_writer *w = NULL;
	EVP_MD_CTX *ctx = NULL;
	uint64_t bytes = 0;
	dv_err err = digest_begin(&ctx);

	strcpy(key + prefix_len, "incoming"); /* until the digest is known; never in the store */
	if (!err)
		err = dvfs_writer_open(c->door->lib, key, DVFS_NEW | (c->sync ? DVFS_SYNC : 0), &w);
	if (!err)
		err = feed(c, fd, w, ctx, &bytes);
	if (!err)
		err = digest_end(ctx, key + prefix_len);
	if (!err)
		err = dvfs_writer_set_key(w, key);
	if (!err)
		err = dvfs_writer_commit(&w);
	dvfs_writer_abort(&w);
	EVP_MD_CTX_free(ctx);
	if (err != -EEXIST)
		return err;
	c->found = true;
	return check_there(c, key, bytes);
}

static int put_one(struct cas *c, const char *path)
{
	size_t prefix_len = strlen(c->prefix);
	DV_AUTO_FREE char *key = malloc(prefix_len + DIGEST_TEXT);
	bool named = path && strcmp(path, "-") != 0;
	int fd = named ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	dv_err err = fd < 0 ? -errno : key ? 0 : -ENOMEM;

	if (!err) {
		memcpy(key, c->prefix, prefix_len);
		err = put_fd(c, fd, key, prefix_len);
	}
	if (named && fd >= 0)
		close(fd);
	if (err == -EBADMSG)
		return fs_cmd_fail(
			2,
			"%s: the value of that name, %s, is damaged: it has other bytes; "
			"diskvfs rm it, and put again",
			named ? path : "standard input", key);
	if (err < 0)
		return fs_cmd_fail(2, "%s: %s", named ? path : "standard input", strerror(-err));
	if (path)
		printf("%s  %s\n", key + prefix_len, path);
	else
		puts(key + prefix_len);
	fs_door_changed(c->door, key);
	return 0;
}

static int put(struct cas *c, char **paths, int count)
{
	int status = fs_door_library(c->door, true);
	int worst = 0;

	if (status < 0)
		status = fs_cmd_fail(2, "%s: the store's folder can not be written by this user",
				     c->door->store);
	if (status)
		return status;
	for (int i = 0; i < (count ? count : 1); i++) {
		status = put_one(c, count ? paths[i] : NULL);
		worst = status > worst ? status : worst;
	}
	dv_err err = c->sync && c->found ? dvfs_sync(c->door->lib) : 0;
	if (err < 0)
		worst = fs_cmd_fail(2, "%s: values that were there already: %s", c->door->given,
				    strerror(-err));
	return worst;
}

/* ---- verify ---- */

static bool is_digest(const char *text)
{
	return strlen(text) == DIGEST_TEXT - 1 &&
	       strspn(text, "0123456789abcdef") == DIGEST_TEXT - 1;
}

static dv_err digest_value(struct cas *c, const char *key, char out[DIGEST_TEXT])
{
	struct dvfs_reader *r = NULL;
	EVP_MD_CTX *ctx = NULL;
	ssize_t got = 0;
	dv_err err = digest_begin(&ctx);

	if (!err)
		err = dvfs_reader_open(c->door->lib, key, DVFS_DIRECT, &r);
	while (!err && (got = dvfs_reader_read(r, c->buf, COPY_BYTES)) > 0)
		if (EVP_DigestUpdate(ctx, c->buf, (size_t)got) != 1)
			err = -ENOMEM;
	if (!err)
		err = got < 0 ? (dv_err)got : digest_end(ctx, out);
	dvfs_reader_close(&r);
	EVP_MD_CTX_free(ctx);
	return err;
}

static void verify_one(struct cas *c, const char *key)
{
	char digest[DIGEST_TEXT], text[1024];
	dv_err err;

	if (!is_digest(key + strlen(c->prefix))) {
		c->others++;
		return;
	}
	err = digest_value(c, key, digest);
	if (err == -ENOENT) /* erased meanwhile */
		return;
	if (!err && !strcmp(digest, key + strlen(c->prefix))) {
		c->good++;
		return;
	}
	c->bad++;
	if (c->json)
		return;
	dv_log_key(text, sizeof(text), key);
	if (err)
		printf("%s: can not be read: %s\n", text, strerror(err == -EBADMSG ? EIO : -err));
	else
		printf("%s: is %s\n", text, digest);
}

static int verify(struct cas *c)
{
	const struct dvfs_range range = {.prefix = c->prefix};
	struct dvfs_iter *it = NULL;
	const char *key;
	int status = fs_door_library(c->door, false);
	dv_err got;

	if (status)
		return status < 0 ? fs_cmd_fail(2,
						"%s: the store's folder can not be read by this "
						"user",
						c->door->store)
				  : status;
	got = dvfs_iter_open(c->door->lib, &range, &it);
	while (!got && (got = dvfs_iter_next(it, &key)) == 1) {
		verify_one(c, key);
		got = 0;
	}
	dvfs_iter_close(&it);
	if (got < 0)
		return fs_cmd_fail(2, "%s: %s", c->door->given, strerror(-got));
	if (c->json)
		printf("{\"good\": %" PRIu64 ", \"bad\": %" PRIu64 ", \"others\": %" PRIu64 "}\n",
		       c->good, c->bad, c->others);
	else if (!fs_args_quiet())
		printf("%" PRIu64 " are what their names say, %" PRIu64 " are not, %" PRIu64
		       " have other names\n",
		       c->good, c->bad, c->others);
	return c->bad ? 1 : 0;
}

int fs_cmd_cas(int argc, char **argv)
{
	struct cas c = {.prefix = ""};
	const struct fs_arg args[] = {
		{"prefix", 0, FS_ARG_TEXT, &c.prefix, "P", "keys are P and the digest"},
		{"sync", 0, FS_ARG_SET, &c.sync, NULL, "put: return when the values are durable"},
		{"json", 0, FS_ARG_SET, &c.json, NULL, "verify: the counts as one object"},
	};
	const struct fs_args a = {
		"cas put STORE|MOUNTPOINT [FILE...] | cas verify STORE|MOUNTPOINT",
		"put: each file, or standard input (-), becomes the value whose key is its "
		"SHA-256, "
		"which "
		"is printed;\none that is there already stays. verify: finds values that are not "
		"what "
		"their names say; exit\nstatus 1 where there is one.\n",
		args,
		DV_ARRAY_LEN(args),
		2,
		FILES_MAX};
	DV_AUTO_FREE struct fs_door *door = calloc(1, sizeof(*door));
	DV_AUTO_FREE char *buf = malloc(COPY_BYTES);
	char **operands;
	int status, n = fs_args_parse(&a, argc, argv, &operands, &status);

	if (n < 0)
		return status;
	if (!door || !buf)
		return fs_cmd_fail(2, "%s", strerror(ENOMEM));
	if (strcmp(operands[0], "put") != 0 && (strcmp(operands[0], "verify") != 0 || n != 2))
		return fs_cmd_fail(2, "usage: diskvfs %s", a.usage);
	c.door = door;
	c.buf = buf;
	status = fs_door_open(door, operands[1]);
	if (!status)
		status = operands[0][0] == 'p' ? put(&c, operands + 2, n - 2) : verify(&c);
	return fs_door_close(door, status);
}
