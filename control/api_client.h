/*
 * api_client.h - a client's verdict as JSON.
 */
#ifndef GREYLINE_CONTROL_API_CLIENT_H
#define GREYLINE_CONTROL_API_CLIENT_H

#include <jansson.h>

#include "dataplane/base/verdict.h"

struct control;

/* ptr may be NULL. The caller owns the value. */
json_t *verdict_json(struct control *c, const struct client_verdict *v, const char *ptr);

#endif
