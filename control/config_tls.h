/*
 * config_tls.h - what listeners and backends say about TLS.
 *
 * Flow:   config_parts.c -> listener_tls_read(), backend_tls_read()
 */
#ifndef GREYLINE_CONTROL_CONFIG_TLS_H
#define GREYLINE_CONTROL_CONFIG_TLS_H

#include "control/config_member.h"

/* The member tls of a listener whose role is known. */
void listener_tls_read(struct member_ctx *m, struct conf_listener *l);
/* tls, tls_ca, tls_name and tls_fingerprints of a backend; its CA is appended to config->ca. False after an error. */
bool backend_tls_read(struct member_ctx *m, struct conf_backend *b);
/* Whether both say the same about TLS (the octets of their CAs are compared, not the names of the files). */
bool backend_tls_equal(const struct config *c, const struct conf_backend *a, const struct conf_backend *b);

#endif
