/*
 * verdict.h - the words the layers share about a client and a recipient.
 *
 * Source: POLICY sections 2 to 4.
 */
#ifndef GREYLINE_BASE_VERDICT_H
#define GREYLINE_BASE_VERDICT_H

#include <stdint.h>

enum verdict {
	VERDICT_PASS,   /* to the backend */
	VERDICT_DEFER,  /* 451 */
	VERDICT_REJECT, /* 554 or 550 */
	VERDICT_WAIT,   /* the client's verdict is still being asked for */
};

/* Numbers of the order of tests, as `explain` prints them. */
enum policy_rule {
	RULE_NONE = 0,
	RULE_SYNTAX = 1,
	RULE_RELAY = 2,
	RULE_POSTMASTER = 3,
	RULE_RCPT_DENIED = 4,
	RULE_ALLOWED = 5,
	RULE_DENIED = 6,
	RULE_TRAP = 7,
	RULE_CLIENT = 8,
	RULE_PROTOCOL = 9,
	RULE_OPT_OUT = 10,
	RULE_AUTO_ALLOW = 11,
	RULE_GREYLIST = 12,
};

/* What reverse DNS said. Only PTR_NONE is absence; PTR_TEMPERR never counts as it. */
enum ptr_state {
	PTR_UNKNOWN,     /* not asked or not answered yet */
	PTR_NONE,        /* NXDOMAIN or no PTR record */
	PTR_UNCONFIRMED, /* a name, but its addresses do not hold the client's */
	PTR_CONFIRMED,
	PTR_GENERIC, /* confirmed, but generic by pattern */
	PTR_TEMPERR, /* SERVFAIL, REFUSED, time-out, truncated for good */
};

/* The effect one test on a client has. */
enum client_effect {
	EFFECT_NOTHING,
	EFFECT_GREY,   /* greylist longer */
	EFFECT_DEFER,  /* 451 */
	EFFECT_REJECT, /* 554 */
};

enum client_known {
	CLIENT_UNASKED, /* no verdict and no question under way */
	CLIENT_ASKED,   /* the question is under way */
	CLIENT_KNOWN,
	CLIENT_LATE, /* no answer within the deadline, or too many questions: decide without */
};

#define ZONE_NONE 0xff

/* The client's verdict as sessions hold it and as control answers it. 12 octets. */
struct client_verdict {
	uint8_t known;     /* enum client_known */
	uint8_t ptr_state; /* enum ptr_state */
	uint8_t zone;      /* index of the zone that weighed most, ZONE_NONE when none listed the client */
	uint8_t name_list; /* of a confirmed name: NAME_LIST_* */
	int16_t score;     /* sum of weights, -999 to 999 */
	uint8_t trapped;   /* blocked by a trap until trap_until_s */
	uint8_t reserved;
	uint32_t time_s; /* policy time of the answer */
};

/* What lists of names say of the names a client gave in a transaction: HELO and the domain of the sender. 8 octets. */
struct name_verdict {
	uint8_t known;                  /* enum client_known */
	uint8_t helo_zone, sender_zone; /* index of the zone that weighed most, ZONE_NONE when none listed the name */
	uint8_t helo_decisive;          /* a decisive zone listed it: only then may the HELO name alone refuse */
	int16_t helo_score,
		sender_score; /* sums of weights, 0 to 999: nobody has confirmed these names, they never help */
};

#define NAME_VERDICT_NONE ((struct name_verdict){ .helo_zone = ZONE_NONE, .sender_zone = ZONE_NONE })

/* BIG_SENDER: of a pool that retries from many addresses; it has the automatic allow (rule 11), no more. */
enum { NAME_LIST_NONE, NAME_LIST_ALLOW, NAME_LIST_DENY, NAME_LIST_BIG_SENDER };

#endif
