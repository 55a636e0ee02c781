/*
 * api_client.h - a client's verdict as JSON.
 */
#ifndef GREYLINE_CONTROL_API_CLIENT_H
#define GREYLINE_CONTROL_API_CLIENT_H

#include <jansson.h>

#include "dataplane/base/addr.h"
#include "dataplane/base/verdict.h"

struct control;

/* ptr may be NULL. The caller owns the value. */
/* What a client and its network do now, and their limits; the segment must be attached. */
json_t *source_json(struct control *c, const struct ip_addr *addr);
json_t *verdict_json(struct control *c, const struct client_verdict *v, const char *ptr);

/* What is remembered of the client's handshakes, and whether STARTTLS is hidden from it for that, on this listener or (LISTENER_ANY) on one
 * where it may be. The caller owns the value. */
#define LISTENER_ANY UINT32_MAX
json_t *handshakes_json(struct control *c, const struct ip_addr *client, uint32_t listener);

#endif
