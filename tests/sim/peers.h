/*
 * peers.h - a backend and a control process as a test plays them in the simulator, and a configuration to start from.
 *
 * The backend is a small MTA of its own (not our relay's mirror): it reads PROXY or XCLIENT, speaks SMTP line by line, and can be told
 * to fail at any stage. It keeps what it got octet for octet.
 */
#ifndef GREYLINE_TESTS_SIM_PEERS_H
#define GREYLINE_TESTS_SIM_PEERS_H

#include "tests/sim/sim.h"

#define FAKE_MESSAGES_MAX 128

struct fake_message {
	char from[512], to[8][512];
	uint32_t n_to;
	char client[64], helo[256], name[256];               /* from the PROXY header or XCLIENT */
	char tls_version[64], tls_cipher[64], tls_name[256]; /* of the client's TLS, from the PROXY header */
	bool under_tls;
	uint8_t *data; /* with the final CRLF.CRLF as received; of chunks, their octets */
	size_t octets;
};

enum fake_fail { /* what the backend does when the named stage comes */
	FAKE_OK,
	FAKE_SILENT,
	FAKE_CLOSE,
	FAKE_RESET,
	FAKE_421,
	FAKE_4XX,
	FAKE_5XX,
	FAKE_NONSENSE,
	FAKE_RAW, /* says raw, whatever that is */
};

struct fake_mta {
	struct stream *(*tls_create)(void *arg); /* offers STARTTLS, and this is the stream then */
	void *tls_arg;
	enum fake_fail at_starttls;
	bool leaves_at_starttls; /* closes in one breath with its 220 */
	bool tls_only;           /* demands TLS: before it 530, and its extensions are said under TLS alone */
	uint32_t n_tls;          /* connections that said STARTTLS */
	struct sim *sim;
	struct sim_host *host;
	enum conf_client_address client_address;
	const char *banner; /* without code; NULL: "mta.example ESMTP" */
	const char *ext;    /* EHLO lines, e.g. "250-SIZE 50000000\r\n250-8BITMIME\r\n"; XCLIENT is added by itself */
	enum fake_fail at_connect, at_banner, at_ehlo, at_xclient, at_mail, at_rcpt, at_data, at_body, at_chunk, at_dot;
	enum fake_fail at_rset, at_auth;
	const char *unknown_rcpt; /* answered 550 */
	bool open_relay;
	bool tolerant;     /* takes lines that no relay of ours would send: behind a splice */
	uint64_t delay_us; /* before each reply */
	const char *raw;   /* of FAKE_RAW */
	bool dribble;      /* replies go out one octet at a time, a millisecond apart */
	bool deaf_in_data; /* once it said 354 it takes nothing more from its socket */
	struct fake_message message[FAKE_MESSAGES_MAX];
	uint32_t n_messages;
	/* told of each message with its octets; it is not kept then. NULL: kept in message[] */
	void (*on_message)(void *arg, const struct fake_message *msg);
	void *on_message_arg;
	uint32_t n_conns, n_quits, n_aborted_in_data, n_chunks;
	uint32_t n_unanswered; /* messages that it had whole when their connection was gone */
	/* of connections that greeted with another name than the gateway's own, which probes have */
	uint32_t n_sessions, n_session_quits;
	char heard[65536]; /* what those said, a line each: "PROXY ADDRESS", commands, lines of an AUTH exchange */
	size_t heard_octets;
};

/* Listens on addr:port of host; call fake_mta_step() in each step. */
void fake_mta_start(struct fake_mta *m, struct sim *sim, struct sim_host *host, const char *addr, uint16_t port,
	enum conf_client_address client_address);
void fake_mta_step(struct fake_mta *m);
/* Says text on every connection it has, unasked. */
void fake_mta_shout(struct fake_mta *m, const char *text);
/* All of its connections take nothing more from their sockets, or do again. */
void fake_mta_deafen(struct fake_mta *m, bool deaf);
/* Closes its side of all of its connections, and goes on reading. */
void fake_mta_shut(struct fake_mta *m);
void fake_mta_stop(struct fake_mta *m);

/* Control as the test plays it: answers questions as told, keeps log lines as "key=value ..." text. */
struct fake_control {
	struct sim *sim;
	struct client_verdict verdict; /* the answer */
	const char *ptr;
	bool silent; /* answers nothing */
	uint64_t delay_us;
	uint32_t n_questions, n_last_name_questions; /* all; those for a name alone, which go to nobody */
	struct name_verdict names;                   /* the answer about names; names_delay_us before it */
	bool names_silent;
	uint64_t names_delay_us;
	uint32_t n_name_questions;
	char asked_helo[256], asked_sender[256]; /* of the last one */
	struct link_event_keys keys;             /* the last one */
	char log[64][4096];                      /* the last lines, a ring */
	uint32_t n_log;
	struct {
		uint64_t due_us;
		union link_answer a;
		uint16_t worker;
	} held[64];
	uint32_t n_held;
};

void fake_control_step(struct fake_control *c);
/* The last log line that holds text; "" when none. */
const char *fake_control_find(const struct fake_control *c, const char *text);

/*
 * A configuration with one mx listener on 198.18.0.2:25 and 2001:db8:0:1::2, one submission listener on port 587, domains example.org and
 * example.net (second pool), backends on 198.18.1.3 port 25 (proxy_v2), .4 port 2525 (xclient), .5 port 24 (proxy_v1), .6 port 587 (submission). The memory
 * is the caller's, filled by sim_conf_init(), changed as the test needs, made into parts by sim_conf_parts().
 */
struct sim_config {
	struct conf conf;
	struct conf_port port[2];
	struct conf_listener listener[2];
	struct conf_pool pool[3];
	struct conf_backend backend[4];
	struct conf_zone zone[3]; /* of clients, HELO names, senders; names are asked about where conf has weights */
	uint32_t n_backends;
	/* one entry each, NULL: none */
	const char *client_allow, *client_deny, *sender_allow, *sender_deny, *rcpt_allow, *rcpt_deny, *rcpt_no_grey,
		*trap;
	bool any_domain; /* "*" is one of the domains */
	_Alignas(8) uint8_t domains[4096], lists[8][4096];
	struct snapshot_part part[SNAPSHOT_SECTION_N];
};

void sim_conf_init(struct sim_config *c);
const struct snapshot_part *sim_conf_parts(struct sim_config *c);

#endif
