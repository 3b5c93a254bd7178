/* SPDX-License-Identifier: MIT */
/*
 * recover.h - finishes what an owner that died has left.
 *
 * An owner folder whose lock can be had belongs to nobody: it is adopted, its log read, and each
 * open record brought to its end. What the records name is acted upon if it is still that very
 * object; nothing else is touched. Another boot is a power cut: what was not synced is gone.
 *
 *   record              same boot (kill -9)                       another boot
 *   STAGE               committed                                 dropped, the old one stands (I6)
 *   STAGE, DURABLE      committed                                 committed
 *   SWAP, raw wins      packed unlinked once raw is durable       the same; nothing without raw
 *   SWAP, packed wins   raw unchanged: unlinked; else packed is   the same
 *   COPY                copied over the object again              the same
 *   target replaced     the stage goes to .diskvfs/lost           the same
 */
#ifndef DV_RECOVER_H
#define DV_RECOVER_H

#include "core/internal.h"

/* Adopts every dead owner's folder. First error; folders that failed stay. -EBUSY: another host has
 * the store open, nothing was done and why[] says so. */
DV_CHECK dv_err dv_recover(struct dv_store *s, char *why, size_t why_size);

/*
 * The same for owners that have died since the store was opened, if there are any. Who changes a packed value
 * beside what a dead owner has pending on it would supersede that, or mix with it; so he asks once he has
 * locked it (dv_owners_dead), and then lets go of it and comes here. No gate held. What can not be
 * finished is left for the next mount, and not waited for again. true: another thread is at it, and comes to its
 * end.
 */
bool dv_recover_beside(struct dv_store *s);

#endif
