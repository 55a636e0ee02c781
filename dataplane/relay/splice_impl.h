/*
 * splice_impl.h - the struct behind splice.h, for who embeds it. Everybody else uses splice.h alone.
 */
#ifndef GREYLINE_RELAY_SPLICE_IMPL_H
#define GREYLINE_RELAY_SPLICE_IMPL_H

#include "dataplane/relay/splice.h"

#define SPLICE_HEAD_OCTETS 112 /* our headers have no TLVs: 107 at most (version 1) */

struct splice_flow {
	uint64_t octets;    /* handed over in all */
	uint32_t in_flight; /* of these not acknowledged */
	uint64_t acked_us;  /* when some of them were acknowledged last, or began to fly */
	bool ended;         /* the giver's FIN came and all before it was handed over */
	bool shut_said;
};

struct splice {
	uint8_t state; /* enum splice_state */
	uint8_t end;   /* enum splice_end */
	bool told;     /* the last action was given */
	uint32_t flight_octets;
	uint64_t idle_us, half_idle_us;
	uint64_t connect_end_us;
	uint64_t moved_us; /* when an octet or an end moved last */
	struct splice_flow flow[SPLICE_WAYS];
	struct counters *counters;
	uint16_t head_len, head_sent;
	uint8_t head[SPLICE_HEAD_OCTETS];
};

#endif
