/* SPDX-License-Identifier: MIT */
/*
 * reshard.h - gives a store another transform: each value's file is renamed to where the new one wants it.
 *
 * Files are renamed and nothing else: no byte of a value is read or written, so owner, times, links and
 * inode numbers stay. The new tree grows in .diskvfs/reshard/tree, since a folder of the one may have
 * the name of a file of the other.
 *
 * Where keys may lie in folders under both (path, path:SUFFIX), only the names of values change: folders,
 * and what is no plain file, stay where they are, and the tree has a folder for each in which values are.
 * The times of change of those folders move.
 *
 *   phase   the store is                                        then
 *   check   as it was; every file is looked at                  refused as it is, or move
 *   move    in two: files go from the root to the tree          up; back where a key has no place
 *   up      in two: the tree's entries go to the empty root,    the config names the new transform
 *           or its values to their folders there
 *   back    in two: files go from the tree to the root          refused, as it was
 *
 * .diskvfs/reshard/state tells the phase, durably, before its first renaming. As long as it is there
 * the store is opened by nobody, and reshard goes on where it was interrupted, whatever did that. What
 * is in the tree at last is compared with what was counted at first: how many files, and a sum over
 * keys, forms, inode numbers, sizes and times.
 *
 * Refused: keys with folders, objects that are no plain files, where the new transform has none; files
 * that are no value; a store that somebody has open or in which work is pending. The plugins that the old
 * and the new transform may be are the caller's to name.
 */
#ifndef DV_RESHARD_H
#define DV_RESHARD_H

#include "core/internal.h"

#define DV_RESHARD_DIR	 DV_CONTROL_DIR "/reshard"
#define DV_RESHARD_STATE DV_RESHARD_DIR "/state"

/* -EBUSY and why[]: it is being resharded, and may not be opened. */
DV_CHECK dv_err dv_reshard_check(struct dv_store *s, const char *path, char *why, size_t why_size);

#endif
