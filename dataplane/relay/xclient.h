/*
 * xclient.h - the XCLIENT command: who the client is, for a backend that takes it.
 *
 * Pure:   a client in, a line out.
 * Source: Postfix XCLIENT_README; xtext of RFC 3461 section 4.
 */
#ifndef GREYLINE_RELAY_XCLIENT_H
#define GREYLINE_RELAY_XCLIENT_H

#include <stdint.h>

#include "dataplane/relay/relay.h"

/* XCLIENT_README says 512, Postfix reads 2048. All in one command: a second one is refused, as authorisation then
 * looks at the first client (seen with Postfix 3.7). */
#define XCLIENT_LINE_MAX_OCTETS 1280

/* "XCLIENT ..." with CRLF of the attributes in attrs (enum xclient_attr) to out; returns its length, no NUL. */
uint32_t xclient_build(const struct relay_client *c, uint32_t attrs, char out[XCLIENT_LINE_MAX_OCTETS]);

#endif
