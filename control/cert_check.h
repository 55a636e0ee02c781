/*
 * cert_check.h - `cert check`: what is wrong with certificates here, and how they fit those that MTAs show.
 *
 * Flow:   api.c -> cert_check() -> questions by the answer ring of worker 0 -> events.c -> cert_check_event() -> findings
 */
#ifndef GREYLINE_CONTROL_CERT_CHECK_H
#define GREYLINE_CONTROL_CERT_CHECK_H

#include <jansson.h>

#include "dataplane/link/message.h"

struct api_request;
struct control;

void cert_check(struct control *c, struct api_request *r, const json_t *args);
/* What a backend showed. A question nobody waits for any more is dropped. */
void cert_check_event(struct control *c, const struct link_event_keys *e);
/* At the end of control: who waits is not answered any more. */
void cert_check_stop(struct control *c);

#endif
