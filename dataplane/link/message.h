/*
 * message.h - the records on the rings between data plane and control.
 *
 * Flow:   worker -> event ring -> control;  control -> answer ring -> worker
 * Keeps:  fixed slots; every record carries both incarnations, and where it belongs to a session that session's number,
 *         so an answer of another life is dropped and counted. Contents are hostile: lengths are checked by the reader.
 */
#ifndef GREYLINE_LINK_MESSAGE_H
#define GREYLINE_LINK_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/addr.h"
#include "dataplane/base/cert_status.h"
#include "dataplane/base/conf.h"
#include "dataplane/base/verdict.h"

#define LINK_EVENT_OCTETS   2048
#define LINK_EVENT_RECORDS  4096 /* of each worker: 8 MiB */
#define LINK_ANSWER_OCTETS  512
#define LINK_ANSWER_RECORDS 4096

enum link_event_type {
	LINK_EVENT_CLIENT = 1,  /* ask: reverse DNS and DNSBLs of an address */
	LINK_EVENT_NAME = 2,    /* the readable name of a table entry */
	LINK_EVENT_LOG = 3,     /* a log line as fields */
	LINK_EVENT_BACKEND = 4, /* a backend's state changed: look into the segment */
	LINK_EVENT_NAMES = 5,   /* ask: what lists of names say of a HELO name and a sender's domain */
	LINK_EVENT_KEYS = 6,    /* what certificate a backend showed, or why none */
};

struct link_head {
	uint16_t type;
	uint16_t len_octets; /* of the whole record, head included */
	uint16_t worker;
	uint16_t reserved;
	uint32_t dataplane_incarnation;
	uint32_t control_incarnation; /* as the sender knows it */
};

enum link_want_name {
	LINK_WANT_VERDICT,
	LINK_WANT_NAME,      /* for a backend: the verdict may be known already, the name is not */
	LINK_WANT_LAST_NAME, /* of a client whose verdict is fresh: what was last heard, nobody is asked about it for this */
	LINK_WANT_NAME_NOW, /* of a client in good standing whose verdict is old: what was last heard, then it is asked about anew */
};

struct link_event_client {
	struct link_head head;
	uint64_t session; /* number in the worker's life; 0: nobody waits (refresh) */
	struct ip_addr client;
	uint32_t want_name; /* enum link_want_name */
	uint32_t deadline_ms;
};

/* The names of a transaction as lists are asked about them: lower case, A-labels, no final dot. */
struct link_event_names {
	struct link_head head;
	uint64_t session;
	uint32_t transaction; /* of the session: the answer to an earlier one is stale */
	uint32_t deadline_ms;
	struct ip_addr client;
	uint16_t helo_len, sender_len; /* 0: not asked about */
	uint32_t reserved;
	char text[512]; /* HELO name, then the sender's domain; not terminated */
};

/* Name of a triplet: three texts, each preceded by its length. */
struct link_event_name {
	struct link_head head;
	uint64_t tag;
	uint8_t kind; /* enum vt_kind */
	uint8_t reserved;
	uint16_t sender_len, rcpt_len;
	uint16_t reserved2;
	struct ip_addr network;
	char text[640]; /* sender then rcpt, not terminated; truncated names are cut at 320 each */
};

/* A log line: fields of (id, length, octets). */
enum link_log_kind { LINK_LOG_RCPT, LINK_LOG_MESSAGE, LINK_LOG_SESSION, LINK_LOG_NOTICE };

/* clang-format off */
enum link_log_field {
#define LINK_LOG_FIELDS(X)                                                                                             \
	X(ref) X(listener) X(client) X(ptr) X(ptr_state) X(helo) X(tls) X(from) X(rcpt) X(verdict) X(rule) X(reason)   \
	X(score) X(mode) X(would) X(left_s) X(waited_s) X(backend) X(reply) X(dns_ms) X(rcpts) X(octets)               \
	X(backend_reply) X(result) X(stage) X(duration_s) X(msgs) X(end) X(text) X(count) X(session) X(relay_denied)
#define X(name) LOG_##name,
	LINK_LOG_FIELDS(X)
#undef X
	LOG_FIELD_N
};
/* clang-format on */

struct link_event_log {
	struct link_head head;
	uint32_t policy_s; /* policy time of the event */
	uint8_t kind;      /* enum link_log_kind */
	uint8_t verdict;   /* enum verdict, for caps and the why table */
	uint8_t rule;      /* enum policy_rule */
	uint8_t n_fields;
	uint64_t ref;
	struct ip_addr client;
	uint8_t fields[LINK_EVENT_OCTETS - 64]; /* id (1), length (2, host order), octets */
};

enum link_answer_type {
	LINK_ANSWER_CLIENT = 1,
	LINK_ANSWER_PROBE = 2, /* probe this backend now (id), relaytest if asked */
	LINK_ANSWER_NAMES = 3,
	LINK_ANSWER_KEYS = 4, /* ask this backend for its certificate of one kind */
};

struct link_answer_client {
	struct link_head head;
	uint64_t session;
	struct ip_addr client;
	struct client_verdict verdict;
	uint32_t dns_ms;
	uint16_t ptr_len;
	uint16_t reserved;
	char ptr[256]; /* confirmed or not, printable ASCII; not terminated */
};

struct link_answer_probe {
	struct link_head head;
	uint32_t backend_id;
	uint32_t relaytest;
};

struct link_answer_names {
	struct link_head head;
	uint64_t session;
	uint32_t transaction;
	uint32_t dns_ms;
	struct name_verdict names;
};

#define LINK_DOMAIN_MAX_OCTETS    253 /* of a name in a link_event_names */
#define LINK_NAME_PART_MAX_OCTETS 320 /* of sender and rcpt in a link_event_name */

/* For `cert check`: only the data plane reaches a backend, and only it speaks TLS. */
struct link_answer_keys {
	struct link_head head;
	uint64_t question; /* control's number, given back */
	uint32_t backend_id;
	uint32_t key_type; /* enum cert_key_type */
	char name[256];    /* SNI; terminated */
};

enum link_keys_result {
	LINK_KEYS_SHOWN,
	LINK_KEYS_TLS_FAILED,  /* the handshake: no key of that kind, or no TLS in common */
	LINK_KEYS_NO_STARTTLS, /* not offered, or refused */
	LINK_KEYS_UNREACHABLE, /* no connection, no SMTP; not configured any more */
	LINK_KEYS_RESULT_N
};

struct link_event_keys {
	struct link_head head;
	uint64_t question;
	uint32_t result; /* enum link_keys_result */
	uint32_t reserved;
	struct cert_status shown; /* label: the backend's name; why: words, where nothing was shown */
};

/* A copy of a slot. */
union link_event {
	struct link_head head;
	struct link_event_client client;
	struct link_event_name name;
	struct link_event_log log;
	struct link_event_names names;
	struct link_event_keys keys;
	uint8_t octets[LINK_EVENT_OCTETS];
};

union link_answer {
	struct link_head head;
	struct link_answer_client client;
	struct link_answer_probe probe;
	struct link_answer_names names;
	struct link_answer_keys keys;
	uint8_t octets[LINK_ANSWER_OCTETS];
};

struct ring;

/* Whether a copied record is what its type says: lengths inside the record, choices that exist. Log fields:
 * log_record.h. */
bool link_event_valid(const union link_event *e);
bool link_answer_valid(const union link_answer *a);

/* Takes the oldest record off the ring into out, read once and checked. LINK_MALFORMED: one was dropped; the caller
 * counts it and goes on. */
enum link_take { LINK_TAKEN, LINK_EMPTY, LINK_MALFORMED };
enum link_take link_event_take(struct ring *r, union link_event *out);
enum link_take link_answer_take(struct ring *r, union link_answer *out);

#endif
