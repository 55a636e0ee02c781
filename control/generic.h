/*
 * generic.h - whether a reverse name looks like a dial-up pool's.
 *
 * Pure:   a name and an address. The words are data: generic.def.
 */
#ifndef GREYLINE_CONTROL_GENERIC_H
#define GREYLINE_CONTROL_GENERIC_H

#include <stdbool.h>

#include "dataplane/base/addr.h"

bool ptr_is_generic(const char *name, const struct ip_addr *client);

#endif
