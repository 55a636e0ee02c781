/*
 * relay_impl.h - the struct behind relay.h, for who embeds it. Everybody else uses relay.h alone.
 *
 * Keeps:  all room is fixed: a relay costs sizeof(struct relay), whatever client and backend send.
 */
#ifndef GREYLINE_RELAY_RELAY_IMPL_H
#define GREYLINE_RELAY_RELAY_IMPL_H

#include "dataplane/relay/ehlo.h"
#include "dataplane/relay/relay.h"
#include "dataplane/smtp/smtp_session.h"

/* "MAIL FROM:<" and "RCPT TO:<" with all that a session lets through, pipelined; XCLIENT and PROXY are shorter. */
#define RELAY_OUT_MAX_OCTETS     (2 * (SMTP_PATH_MAX_OCTETS + SMTP_PARAMS_MAX_OCTETS + 16))
#define RELAY_REQUEST_MAX_OCTETS (2 * (SMTP_PATH_MAX_OCTETS + 1 + SMTP_PARAMS_MAX_OCTETS + 1))
#define RELAY_WORDS_OCTETS       256

struct relay {
	uint8_t stage;          /* enum relay_stage: what is awaited */
	uint8_t at;             /* enum relay_stage: where the last action came from */
	uint8_t action, after;  /* enum relay_action: not taken yet, and what follows it */
	uint8_t after_at;       /* enum relay_stage: where what follows comes from */
	uint8_t client_address; /* enum conf_client_address */
	uint8_t tls;            /* enum conf_backend_tls */
	bool tls_strict, tls_possible, tls_failed;

	/* what the worker asked for and could not be sent yet */
	bool want_rcpt, want_reset, want_quit, want_auth;
	bool muted; /* the command under way was given up: its answer is read and dropped */

	/* the dialogue with the backend */
	bool failed; /* FAILED was said: said again to each further command */
	bool must_abort;
	bool use_helo;     /* the client said HELO, or the backend does not know EHLO */
	bool own_name;     /* the greeting under way names us: its refusal is our failure */
	bool ehlo_refused; /* refused with the client's name: greet again before the next recipient */
	bool probe_works;
	bool reused;       /* a transaction was ended on this connection: its loss may have happened before we spoke */
	bool mail_open;    /* the backend has taken MAIL */
	bool mail_refused; /* reply holds the answer to MAIL; that to the pipelined RCPT is awaited and dropped */
	bool rcpt_sent;    /* pipelined behind MAIL */
	bool early;        /* octets came before the backend had the end of the message */
	bool bdat, bdat_last;
	bool auth_whole, auth_line; /* the command's line is whole; a line of the client goes to the backend past us */
	uint32_t n_accepted;
	uint64_t bdat_left_octets;
	struct ehlo ehlo;

	uint64_t phase_us;       /* when the command under way was begun; in BODY when the last octets went */
	uint64_t setup_end_us;   /* greeting must be over by then */
	uint64_t request_end_us; /* the recipient must be answered by then */
	uint64_t connect_us, greeting_us, total_us, reply_us, dot_us, stall_us; /* periods */

	struct counters *counters;
	char our_name[CONF_HOST_OCTETS];
	struct relay_client client;

	/* the recipient asked for: four strings one after another */
	uint32_t needs;
	uint64_t size_octets;
	uint16_t mail_params_at, rcpt_at, rcpt_params_at;
	uint16_t auth_octets; /* of AUTH, which lies in request instead */
	bool request_broken;  /* an octet that cannot be in a command, or too long */
	char request[RELAY_REQUEST_MAX_OCTETS];

	uint32_t out_len, out_sent;
	uint8_t out[RELAY_OUT_MAX_OCTETS];

	struct smtp_reply_parser parser;
	struct smtp_reply reply;        /* for the client */
	bool reply_over;                /* what the parser holds was worked on: the next octet begins another reply */
	bool words_due;                 /* words are the parser's reply's, and not made yet: of most nobody asks */
	char words[RELAY_WORDS_OCTETS]; /* the backend's last */
};

#endif
