/*
 * tcp_check.h - what always holds inside an endpoint between two calls: aborts where it does not.
 */
#ifndef GREYLINE_TESTS_HELPERS_TCP_CHECK_H
#define GREYLINE_TESTS_HELPERS_TCP_CHECK_H

#include "dataplane/tcp/tcp_conn.h"

/* Walks all connections; for tests and fuzz targets. drained: tcp_output() has just answered 0. */
void tcp_check_invariants(const struct tcp *tcp, bool drained);

#endif
