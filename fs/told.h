/* SPDX-License-Identifier: MIT */
/*
 * told.h - does the kernel know the mtime that it was last told of a value?
 *
 * The kernel keeps pages of a value as long as its mtime stays, and takes the mtime that comes with the answer
 * to SETATTR for that of its pages, whoever has changed the bytes before. So a SETATTR that finds the mtime
 * which was told last (dv_store_told) is answered as it is, and any other so that the pages go
 * (fs_reply_set_attr). What was told is not always what the kernel knows:
 *
 *   - it drops the attributes of an answer where another answer, or a change by its own programs, came to
 *     its end between the request and the answer (attr_version of fuse_inode);
 *   - an answer may still be on its way while SETATTR is answered, and come later than that one.
 *
 * Either needs two requests about one value within the time that a program takes to wake up. So another mtime
 * counts as told only where nothing else was answered about the value for FS_TOLD_MS before, and is believed
 * by a SETATTR only when it has been told for so long. Else what was told before stays: a SETATTR that differs
 * from it costs a look at the attributes and a read of what is asked for again, and no more.
 *
 * Of a value that is looked at all the time no other mtime would ever count: where many answers in a row did
 * not, one was taken (fs_told_often), since of several that come at the same time the kernel takes the first.
 *
 * What is kept is a table of times, not a field of each node: values that share an entry are believed less, or, where
 * many answers did not count, a little sooner.
 *
 * Threads: all from any thread.
 */
#ifndef FS_TOLD_H
#define FS_TOLD_H

#include <stdbool.h>
#include <stdint.h>

/* Within it a program that is woken has taken its answer. Less than the default of `coherence`, so that
 * regular looks at a value count. */
#define FS_TOLD_MS 500u

enum fs_told_kind {
	FS_TOLD_SAME,  /* the answer has the mtime that was told last */
	FS_TOLD_OTHER, /* it has another one */
	FS_TOLD_FRESH, /* the kernel does not know the value yet, so it has no pages of it */
};

/* Milliseconds of some clock; wraps. */
uint32_t fs_told_now_ms(void);
/* Attributes of value are about to be answered. -> do they count as told? */
bool fs_told_answer(const void *value, enum fs_told_kind kind, uint32_t now_ms);
/* Many answers that may have been taken, one after the other, did not count as told: one of them was. */
bool fs_told_often(const void *value);
/* A change of value by the kernel's programs is about to be answered. */
void fs_told_change(const void *value, uint32_t now_ms);
/* May an answer by which another mtime was told not have been taken yet? */
bool fs_told_is_under_way(const void *value, uint32_t now_ms);

#endif
