/*
 * stream_test.h - the third stream: re-frames and delays as TLS will, without its cryptography.
 *
 * Flow:   tests and the simulated worker, on both ends of a connection.
 * Pure:   octets and time. Not linked into a daemon.
 * Keeps:  what STREAM_HELD_MAX_OCTETS allows is held each way, then nothing more is taken. Plain octets come out only of whole
 *         records, and only delay_us after their last octet was there; records go out so much after they were made.
 *
 * A record is a type (handshake, data, close), two octets of length, the payload with every bit turned (so that nobody mistakes
 * wire for plain), and a check octet.
 */
#ifndef GREYLINE_TLS_STREAM_TEST_H
#define GREYLINE_TLS_STREAM_TEST_H

#include "dataplane/tls/stream.h"

#define STREAM_TEST_RECORD_MAX_OCTETS 16384 /* of plain octets, as in TLS */
#define STREAM_TEST_HEADER_OCTETS     3
#define STREAM_TEST_TRAILER_OCTETS    1

struct stream_test_conf {
	uint32_t record_octets;    /* the most plain octets in a record, 1 to STREAM_TEST_RECORD_MAX_OCTETS */
	uint64_t delay_us;         /* of each record, each way */
	uint32_t handshake_octets; /* of each side's part; 0: no handshake. The client talks first. */
	bool is_client;
};

struct stream_test_lane {
	uint32_t from, to, lent; /* of octet[]; lent: dropped with the next call */
	uint64_t ready_us;       /* of the first record; UINT64_MAX: it is not whole */
	uint8_t octet[STREAM_HELD_MAX_OCTETS];
};

struct stream_test {
	struct stream stream;
	struct stream_test_conf conf;
	bool hello_sent, hello_got, close_wanted, close_sent;
	struct stream_test_lane rx, tx;
};

/* Prepares t in the caller's memory; &t->stream is the stream. */
void stream_test_init(struct stream_test *t, const struct stream_test_conf *conf);

#endif
