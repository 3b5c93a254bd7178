/* SPDX-License-Identifier: MIT */
/*
 * dict.h - the layout of an open store: what a value's file is (coding.h), and the dictionary of
 * diskv:zlib, a copy of which is .diskvfs/dict.
 *
 * Who deletes .diskvfs/ needs the file that the copy was made of, as diskv does.
 */
#ifndef DV_DICT_H
#define DV_DICT_H

#include "core/internal.h"

#define DV_DICT_PATH DV_CONTROL_DIR "/dict"

/* Sets what s->config tells of the layout: s->coding, and how names are spelled. -EINVAL: the copy
 * is missing or another one, why[] says so. After the config, and the transform, are there. */
DV_CHECK dv_err dv_dict_load(struct dv_store *s, const char *path, char *why, size_t why_size);
void dv_dict_release(struct dv_store *s);

/* Copies the dictionary into the store, durably, and its digest into s->config. */
DV_CHECK dv_err dv_dict_save(struct dv_store *s, const void *bytes, size_t len);

#endif
