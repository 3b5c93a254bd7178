/* SPDX-License-Identifier: MIT */
/*
 * recover.h - finishes what an owner that died has left.
 *
 * An owner folder whose lock can be had belongs to nobody: it is adopted, its log read, and each
 * open record brought to its end. What the records name is acted upon if it is still that very
 * object; nothing else is touched.
 *
 *   record                 same boot (kill -9: the page cache lived on)     another boot (power
 * cut) STAGE                  committed                                         the stage is
 * dropped: the old value stands (I6); DURABLE: committed SWAP raw wins          the packed form is
 * unlinked once raw is durable   the same; without the raw form nothing SWAP packed wins       raw
 * unchanged: unlinked; changed: packed is       the same COPY                   copied over the
 * object again                      the same target replaced        the stage is put aside in
 * .diskvfs/lost           the same
 */
#ifndef DV_RECOVER_H
#define DV_RECOVER_H

#include "core/internal.h"

/* Adopts every dead owner's folder. First error; folders that failed stay. */
DV_CHECK dv_err dv_recover(struct dv_store *s);

#endif
