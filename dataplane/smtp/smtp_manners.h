/*
 * smtp_manners.h - how a client behaves: what good senders do not do. Never a reason to refuse by itself.
 *
 * Flow:   smtp_session notes what it sees; the worker asks, weighs by the configuration and hands a score to policy (rule 9)
 * Pure:   names and addresses are arguments.
 * Source: RFC 5321 sections 4.1.1.1, 4.1.3, 4.1.4; RFC 2920 section 3.1.
 */
#ifndef GREYLINE_SMTP_SMTP_MANNERS_H
#define GREYLINE_SMTP_SMTP_MANNERS_H

#include <stdint.h>

#include "dataplane/base/addr.h"

enum smtp_manner {
	MANNER_EARLY_TALKER = 1 << 0, /* octets before the banner */
	MANNER_PIPELINING = 1 << 1,   /* a command behind another before PIPELINING was offered */
	MANNER_BARE_LINE = 1 << 2,    /* a bare LF or CR in a command */
	MANNER_NON_SMTP = 1 << 3,     /* GET, CONNECT and the like */
	MANNER_HELO_SYNTAX = 1 << 4,  /* neither a full domain name nor an address literal */
	MANNER_HELO_OURS = 1 << 5,    /* our name or our address */
	MANNER_HELO_LITERAL = 1 << 6, /* an address literal that is not the client's */
};

/* MANNER_HELO_*: what is wrong with a HELO name of a client; "" (not said yet) has no fault. our_addr is what it connected to. */
uint32_t smtp_helo_faults(
	const char *helo, const struct ip_addr *client, const char *our_name, const struct ip_addr *our_addr);

#endif
