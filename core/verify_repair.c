/* SPDX-License-Identifier: MIT */
/* verify_repair.c - what is done about what was found: it is told. See verify.h. */
#include "core/verify_private.h"

void dv_repair_value(struct dv_verify *v, struct dv_scan *scan, struct dv_verify_item *item, int fd,
		     const struct dv_look *look)
{
	const struct dv_verify_at at = {item->dir, item->stored, item->name};
	(void)scan, (void)fd;
	for (unsigned i = 0; i < look->faults.count; i++)
		dv_verify_tell(v, &at, look->faults.at[i].kind, DV_CLASS_ERROR,
			       look->faults.at[i].detail, "left as it is");
}

void dv_repair_twin(struct dv_verify *v, struct dv_verify_item *item, int fd,
		    const struct dv_stat *st, const char *detail)
{
	const struct dv_verify_at at = {item->dir, item->stored, item->name};
	(void)fd, (void)st;
	dv_verify_tell(v, &at, DV_FINDING_TWIN, DV_CLASS_ERROR, detail, "left as it is");
}

void dv_repair_misplaced(struct dv_verify *v, const struct dv_verify_at *at, enum dv_form form,
			 const char *detail)
{
	(void)form;
	dv_verify_tell(v, at, DV_FINDING_MISPLACED, DV_CLASS_ERROR, detail, "left as it is");
}

void dv_repair_leftover(struct dv_verify *v, const struct dv_verify_at *at, const char *detail)
{
	dv_verify_tell(v, at, DV_FINDING_LEFTOVER, DV_CLASS_ERROR, detail, "left as it is");
}

void dv_verify_lost_free(struct dv_verify *v)
{
	(void)v;
}
