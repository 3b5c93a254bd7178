/* SPDX-License-Identifier: MIT */
/*
 * transform.h - where the value of a key lies: pure functions of the key, no I/O.
 *
 *   path          slashes are directories (the default)
 *   path:SUFFIX   the same, regular files carry SUFFIX
 *   flat          one directory, no slashes
 *   split:W       whole blocks of W bytes are directories, the rest is dropped from the path
 *   split:WxD     the same, at most D directories
 *   hash:ALG:WxD  D directories of W hexadecimal digits of ALG(key); ALG sha256, sha1, md5
 *   plugin:NAME:SHA256[:ARGS]  of the shared object NAME (plugin.h), whose functions are bound to it
 *
 *   split:3    abcdefgh -> abc/def/abcdefgh      abc -> abc/abc      ab -> ab
 *   hash:md5:2x2  KEY   -> 3b/59/KEY
 *
 * W of split is 1 to 255, D 1 to 64; W of hash is 1 to 16, D 1 to 8, W * D digits must be there.
 * SUFFIX is 1 to 64 bytes without slash, space or control byte. One that could be taken for an
 * ending .zst or .raw, or complete one (".zst", ".raw", ".x.zst", ".zst.raw", "t", "aw"), is
 * refused: a value would share a file with another one or with a directory.
 *
 * Laws: inverse(transform(k)) = k, and no two keys share a file.
 */
#ifndef DV_TRANSFORM_H
#define DV_TRANSFORM_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

struct diskvfs_transform;
struct dv_transform; /* opaque, immutable, shared by threads */

#define DV_NAME_MAX 255
/* More than the longest shard path: 255 bytes of key, in components that are escaped. */
#define DV_SHARD_MAX 4096
#define DV_SPEC_MAX  300

/*
 * spec as above. why[] gets one clear sentence on -EINVAL, without a full stop. *out is owned by
 * the caller. -ENOMEM.
 */
DV_CHECK dv_err dv_transform_new(const char *spec, struct dv_transform **out, char *why,
				 size_t why_size);
/* *t is NULL afterwards. */
void dv_transform_free(struct dv_transform **t);

/*
 * How names are spelled, and what of the two names of a value there is (key.h): our own way, or as
 * diskv does (coding.h), where a component is stored as it is. Set once, before t is shared.
 */
enum dv_spelling {
	DV_SPELL_OWN,
	DV_SPELL_PLAIN,	 /* one name, of the raw form */
	DV_SPELL_SEALED, /* one name, of the packed form */
};
void dv_transform_set_spelling(struct dv_transform *t, enum dv_spelling spelling);
enum dv_spelling dv_transform_spelling(const struct dv_transform *t);

/* The spec in its normal form ("split:2x3"). */
const char *dv_transform_spec(const struct dv_transform *t);

/* Does the mount have directories (path)? Else keys are single names in the root. */
bool dv_transform_has_dirs(const struct dv_transform *t);
/* Do values lie in directories that are not keys (split, hash)? */
bool dv_transform_has_shards(const struct dv_transform *t);
/* Depth of the shard tree, 0 without; the greatest for split:W without D. */
unsigned dv_transform_shard_depth(const struct dv_transform *t);
/*
 * Is the order of a sorted walk of the store the order of the keys (bytewise)? The walk sorts what
 * the entries of a directory stand for: a value its key, a directory of path its name and '/', a
 * shard directory of split its block. True for all but hash.
 */
bool dv_transform_keeps_order(const struct dv_transform *t);
/*
 * The file of `name`, before it is escaped: with SUFFIX; of a plugin what that says. -ENAMETOOLONG,
 * -EINVAL. And the reverse; shard is the directory it was found in. -ENOENT: of no name.
 */
DV_CHECK dv_err dv_transform_file(const struct dv_transform *t, const char *name,
				  char out[DV_NAME_MAX + 1]);
DV_CHECK dv_err dv_transform_name(const struct dv_transform *t, const char *shard, const char *file,
				  char out[DV_NAME_MAX + 1]);

/* The functions of a shared object, and the spec that names it. All borrowed. */
struct dv_plugin {
	const struct diskvfs_transform *ops; /* plugin.h */
	void *self;
	const char *spec;
};
/* Where the file of FILE.so[:ARGS] ends in text; NULL: it is another transform, or NULL. */
const char *dv_plugin_file_end(const char *text);
/* t is of plugin->spec. Before it is shared. */
void dv_transform_bind(struct dv_transform *t, const struct dv_plugin *plugin);
bool dv_transform_is_plugin(const struct dv_transform *t);
/* A total order: a plugin's own, where keys are equal by it that of their bytes; else that alone. */
int dv_transform_compare(const struct dv_transform *t, const char *a, const char *b);
/* Of a bound one: do sample keys keep the laws of plugin.h? -EINVAL, why[]. */
DV_CHECK dv_err dv_transform_check_laws(const struct dv_transform *t, char *why, size_t why_size);

/* "" but for path:SUFFIX. Regular files of the store without it are not ours. */
const char *dv_transform_suffix(const struct dv_transform *t);

/*
 * The shard directories of `name` (one component, as in the mount) as a relative path with slashes,
 * "" where it lies in the root. A block of split is spelled as a directory of that name would be:
 * escaped, and with .raw where it matches \.zst(\.raw)*$, so that no shard directory ever has the
 * name of a packed value; in a layout of diskv as it is, and -EINVAL for ".", ".." and ".diskvfs...".
 * -ENAMETOOLONG for a name over 255 bytes, and for a block that is over 255
 * bytes once it is spelled so (W >= 250 only); -EINVAL for an empty name or '/', and where a plugin has none; -ENOMEM.
 */
DV_CHECK dv_err dv_transform_shard(const struct dv_transform *t, const char *name,
				   char out[DV_SHARD_MAX]);

/* Is `component` what shard level `level` (0 first) may hold as a directory of this transform? */
bool dv_transform_is_shard(const struct dv_transform *t, unsigned level, const char *component);

/*
 * The spelling of one component, shared with key.c.
 *
 * escape    ".", "..", ".diskvfs..." get their first dot written %2e; what would look escaped gets
 *           "25" behind its '%': ^%(25)*2e(|\.|diskvfs.*)$. One to one. -ENAMETOOLONG.
 * unescape  its inverse. -ENOENT: no component is spelled like this (empty, ".", ".diskvfs...").
 * ending    does the component match ENDING(\.raw)*$?
 * reserved  is it one that is stored escaped, or in a layout of diskv not at all?
 */
DV_CHECK dv_err dv_component_escape(const char *component, size_t len, char out[DV_NAME_MAX + 1]);
DV_CHECK dv_err dv_component_unescape(const char *stored, size_t len, char out[DV_NAME_MAX + 1]);
bool dv_component_is_reserved(const char *component, size_t len);
bool dv_component_has_ending(const char *component, size_t len, const char *ending);

#endif
