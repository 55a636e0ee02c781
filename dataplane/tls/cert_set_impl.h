/*
 * cert_set_impl.h - how a set is made: for cert_store.c and tests. Workers need cert_set.h alone.
 */
#ifndef GREYLINE_TLS_CERT_SET_IMPL_H
#define GREYLINE_TLS_CERT_SET_IMPL_H

#include "dataplane/tls/cert_pair.h"

/*
 * A set of 1 to CERT_PAIRS_MAX items with different labels, in the order of their labels; each is held once more. now_s (seconds since
 * 1970) decides between pairs for the same name. *default_known: whether a certificate holds default_name. Gives the set with one holder.
 */
const struct cert_set *cert_set_build(struct cert_item *const *items, uint32_t n, const char *default_name,
	int64_t now_s, uint64_t generation, bool *default_known);

#endif
