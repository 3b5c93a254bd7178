/* SPDX-License-Identifier: MIT */
/*
 * xattrs.c - extended attributes: the value's own are those of its object in the store and survive
 * every swap; the store's own (user.diskvfs*) are hidden, and four of them are answered from what
 * the store knows.
 */
#include "core/cleanup.h"
#include "core/log.h"
#include "core/meta.h"
#include "core/ops.h"
#include "core/pack.h"
#include "core/packed.h"
#include "core/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define INFO_PREFIX DV_TAG_NAME "."
#define INFO_MAX    8192

/* ---- what the store tells of a value ---- */

static const char *form_name(const struct dv_node *n)
{
	if (dv_stage_in_parts(n->stage))
		return dv_stage_appends(n->stage) ? "appending" : "streaming";
	if (n->stage)
		return dv_stage_is_replacement(n->stage) ? "replacing" : "editing";
	return n->form == DV_FORM_PACKED ? "packed" : n->form == DV_FORM_RAW ? "raw" : "other";
}

static dv_err stored_path(struct dv_store *s, struct dv_node *n, char *out, size_t size)
{
	DV_AUTO_FREE char *key = NULL;
	dv_err err = dv_node_path_alloc(s, n, &key);
	return err ? err : dv_store_path(s, key, out, size, NULL);
}

static dv_err info_frames(struct dv_store *s, struct dv_node *n, uint32_t *out)
{
	struct dv_facts facts;
	struct dv_file *f = NULL;
	*out = 0;
	if (n->stage || n->form != DV_FORM_PACKED)
		return 0;
	dv_err err = dv_value_file(s, n, false, &f);
	if (!err)
		err = dv_packed_facts(s, n, f, false, &facts);
	if (!err)
		*out = facts.frames;
	dv_file_unref(s, f);
	return err;
}

/* Gate shared. */
static dv_err info_text(struct dv_store *s, struct dv_node *n, const char *what, char *text,
			size_t size)
{
	struct dv_stat st;
	struct dv_place p;
	const char *stored;
	uint32_t frames;
	dv_err err = 0;
	if (!S_ISREG(n->type))
		return -ENODATA;
	if (!strcmp(what, "form")) {
		snprintf(text, size, "%s", form_name(n));
	} else if (!strcmp(what, "stored_size")) {
		if (n->stage) {
			err = DV_B(s, stat, dv_stage_fd(n->stage), "", &st);
		} else {
			err = dv_place_of(s, n, 0, &p, &stored);
			if (!err) {
				err = DV_B(s, stat, p.dirfd, stored, &st);
				dv_place_of_close(s, &p);
			}
		}
		if (!err)
			snprintf(text, size, "%" PRIu64, st.size);
	} else if (!strcmp(what, "frames")) {
		err = info_frames(s, n, &frames);
		if (!err)
			snprintf(text, size, "%" PRIu32, frames);
	} else if (!strcmp(what, "path")) {
		err = -EAGAIN; /* needs the gate given up: see get_info */
	} else {
		err = -ENODATA;
	}
	return err;
}

static ssize_t get_info(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			const char *what, void *buf, size_t size)
{
	DV_AUTO_FREE char *text = malloc(INFO_MAX);
	if (!text)
		return -ENOMEM;
	dv_err err = dv_gate_shared(n, call->nowait);
	if (err)
		return err;
	err = info_text(s, n, what, text, INFO_MAX);
	dv_gate_open(n);
	if (err == -EAGAIN)
		err = stored_path(s, n, text, INFO_MAX);
	if (err)
		return err;
	size_t len = strlen(text);
	if (size == 0)
		return (ssize_t)len;
	if (size < len)
		return -ERANGE;
	memcpy(buf, text, len);
	return (ssize_t)len;
}

/* ---- the value's own ---- */

/* attr NULL: the names of all. */
static ssize_t read_fd(struct dv_store *s, int fd, const char *attr, void *buf, size_t size)
{
	return attr ? DV_B(s, getxattr, fd, attr, buf, size) : DV_B(s, listxattr, fd, buf, size);
}

/* By one of n's names, without a descriptor, which would cost more than the reading. -ESTALE: it
 * does not lead to n's object, or did not all the while. */
static ssize_t read_by_name(struct dv_store *s, struct dv_node *n, const char *attr, void *buf,
			    size_t size)
{
	struct dv_place p;
	struct dv_stat st;
	const char *stored;
	dv_err err = dv_place_of(s, n, 0, &p, &stored);
	if (err)
		return err;
	ssize_t len = attr ? DV_B(s, getxattr_at, p.dirfd, stored, attr, buf, size)
			   : DV_B(s, listxattr_at, p.dirfd, stored, buf, size);
	err = DV_B(s, stat, p.dirfd, stored, &st);
	dv_place_of_close(s, &p);
	struct dv_ident id = dv_ident_of(&st);
	if (err == -ENOENT || (!err && !dv_ident_equal(&id, &n->id)))
		return -ESTALE;
	return err ? err : len;
}

/* Gate at least shared. */
static ssize_t read_attrs(struct dv_store *s, struct dv_node *n, const char *attr, void *buf,
			  size_t size)
{
	/* One that is written over its old object leaves that its attributes, and may not have them
	 * itself. */
	if (n->stage && !(dv_stage_is_in_place(n->stage) && dv_node_has_name(s, n)))
		return read_fd(s, dv_stage_fd(n->stage), attr, buf, size);
	struct dv_file *file = dv_node_file(s, n, false);
	if (!file && !S_ISDIR(n->type)) {
		ssize_t len = read_by_name(s, n, attr, buf, size);
		if (len != -ESTALE)
			return len;
	}
	dv_err err = file ? 0 : dv_value_handle(s, n, &file);
	if (err)
		return err;
	ssize_t len = read_fd(s, file->fd, attr, buf, size);
	dv_file_unref(s, file);
	return len;
}

ssize_t dv_store_getxattr(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			  const char *attr, void *buf, size_t size)
{
	unsigned tries = 0;
	ssize_t len;
	dv_err err;
	if (strncmp(attr, INFO_PREFIX, strlen(INFO_PREFIX)) == 0)
		return get_info(s, call, n, attr + strlen(INFO_PREFIX), buf, size);
	if (dv_meta_is_hidden(attr))
		return -ENODATA;
	do {
		err = dv_gate_shared(n, call->nowait);
		if (err)
			return err;
		len = read_attrs(s, n, attr, buf, size);
		dv_gate_open(n);
		err = len < 0 ? (dv_err)len : 0;
	} while (dv_try_again(s, call, n, &err, &tries));
	return err ? err : len;
}

/* Takes the hidden names out of a list; trusted.* is for root to see. */
static size_t without_hidden(const struct dv_call *call, char *list, size_t len)
{
	size_t kept = 0;
	for (size_t at = 0, n; at < len; at += n) {
		n = strlen(list + at) + 1;
		if (dv_meta_is_hidden(list + at) ||
		    (call->uid != 0 && strncmp(list + at, "trusted.", 8) == 0))
			continue;
		memmove(list + kept, list + at, n);
		kept += n;
	}
	return kept;
}

ssize_t dv_store_listxattr(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			   char *buf, size_t size)
{
	enum { LIST_MAX = 65536 };
	unsigned tries = 0;
	ssize_t len;
	dv_err err;
	DV_AUTO_FREE char *list = malloc(LIST_MAX);
	if (!list)
		return -ENOMEM;
	do {
		err = dv_gate_shared(n, call->nowait);
		if (err)
			return err;
		len = read_attrs(s, n, NULL, list, LIST_MAX);
		dv_gate_open(n);
		err = len < 0 ? (dv_err)len : 0;
	} while (dv_try_again(s, call, n, &err, &tries));
	if (err)
		return err;
	size_t kept = without_hidden(call, list, (size_t)len);
	if (size && size < kept)
		return -ERANGE;
	if (size)
		memcpy(buf, list, kept);
	return (ssize_t)kept;
}

static dv_err set(struct dv_store *s, const struct dv_call *call, int fd, const char *attr,
		  const void *value, size_t size, int flags)
{
	if (!value)
		return DV_B(s, removexattr, fd, attr);
	dv_err err = DV_B(s, setxattr, fd, attr, value, size, flags);
	return !err && !strcmp(attr, "system.posix_acl_access") ? dv_meta_acl_set(s, fd, call)
								: err;
}

/* value NULL: remove. */
static dv_err change(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
		     const char *attr, const void *value, size_t size, int flags)
{
	unsigned tries = 0;
	dv_err err;
	if (s->options.read_only)
		return -EROFS;
	if (dv_meta_is_hidden(attr))
		return -EPERM;
	do {
		struct dv_file *file = NULL;
		err = dv_gate_exclusive(n, call->nowait);
		if (err)
			return err;
		dv_pack_cancel(s, n);
		err = dv_value_handle(s, n, &file);
		if (!err)
			err = set(s, call, file->fd, attr, value, size, flags);
		dv_file_unref(s, file);
		if (!err)
			dv_forget_kept_ctime(s, n);
		dv_told_ends(n);
		/* The stage gets the same; it may differ from the old object by what was changed
		 * there since. */
		if (!err && n->stage) {
			err = set(s, call, dv_stage_fd(n->stage), attr, value, size, 0);
			if (err == -ENODATA)
				err = 0;
			dv_stage_attrs_set(s, n);
		}
		n->writes++;
		dv_gate_open(n);
	} while (dv_try_again(s, call, n, &err, &tries));
	return err;
}

dv_err dv_store_setxattr(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			 const char *attr, const void *buf, size_t size, int flags)
{
	return change(s, call, n, attr, buf ? buf : "", size, flags);
}

dv_err dv_store_removexattr(struct dv_store *s, const struct dv_call *call, struct dv_node *n,
			    const char *attr)
{
	return change(s, call, n, attr, NULL, 0, 0);
}
