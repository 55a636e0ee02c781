/*
 * api_grey.h - records of the greylist as JSON, for the commands that show one.
 */
#ifndef GREYLINE_CONTROL_API_GREY_H
#define GREYLINE_CONTROL_API_GREY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "control/store.h"

struct control;

/* A record of kind VT_TRIPLET; name may be NULL. The caller owns the value. */
json_t *grey_json(struct control *c, const struct vt_entry *e, const struct store_name *name);
/* The tag whose 40 bits ref is. */
bool grey_tag_by_ref(struct control *c, uint64_t ref, uint64_t *tag);

#endif
