/*
 * certs.h - certificates as control sees them: rows that the data plane wrote into the segment, never a key.
 *
 * Flow:   segment -> certs_read() -> api_cert.c, alarms, metrics
 */
#ifndef GREYLINE_CONTROL_CERTS_H
#define GREYLINE_CONTROL_CERTS_H

#include <event2/buffer.h>
#include <jansson.h>
#include <stdbool.h>

#include "dataplane/base/cert_status.h"

struct control;

/*
 * A copy of the rows, checked: counts within bounds, choices that exist, texts terminated and printable. NULL: there is no segment, or its
 * writer died in the middle. Lent until the next call.
 */
const struct cert_area *certs_read(struct control *c);

/* Makes a row that came from elsewhere safe to show: choices that exist, texts terminated and printable. */
void certs_tame(struct cert_status *r);

/* What an administrator has to see to about certificates, as lines added to alarms. */
void certs_alarms(struct control *c, json_t *alarms);
/* Prometheus text. */
void certs_metrics(struct control *c, struct evbuffer *out);

/* "in use", "expired", "not yet valid", "kept", "bad" */
const char *cert_state_name(const struct cert_status *r);
/* "ECDSA", "RSA", "Ed25519" */
const char *cert_key_name(const struct cert_status *r);

#endif
