/*
 * conf.h - the configuration as the data plane reads it: plain values inside a snapshot.
 *
 * Flow:   control/config.c fills these -> link/snapshot -> workers, policy, relay.
 * Keeps:  no pointers; every string is NUL-terminated inside its array; every array index is checked when a snapshot is
 *         validated. Lists of any length (domains, networks, addresses) are sections of their own, see link/snapshot.h.
 * Source: POLICY for meanings and defaults.
 */
#ifndef GREYLINE_BASE_CONF_H
#define GREYLINE_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/base/addr.h"

#define CONF_NAME_OCTETS        64  /* with NUL */
#define CONF_HOST_OCTETS        256 /* with NUL; RFC 1035 section 2.3.4 */
#define CONF_DEVICE_OCTETS      256
#define CONF_PORTS_MAX          2
#define CONF_VLAN_MAX           4094 /* IEEE 802.1Q: 0 is a priority alone, 4095 is reserved */
#define CONF_ADDRS_MAX          16   /* of one port */
#define CONF_TRUSTED_MAX        16   /* networks of load balancers, of one listener */
#define CONF_LISTENERS_MAX      32
#define CONF_POOLS_MAX          64
#define CONF_BACKENDS_MAX       64
#define CONF_ZONES_MAX          64
#define CONF_WORKERS_MAX        16
#define CONF_PATH_OCTETS        512        /* with NUL */
#define CONF_CIPHERS_OCTETS     512        /* a list in OpenSSL's words, with NUL */
#define CONF_FINGERPRINT_OCTETS 32         /* SHA-256 */
#define CONF_FINGERPRINTS_MAX   4          /* of one backend: the key of today and the next one */
#define CONF_CA_MAX_OCTETS      (1u << 20) /* of the PEM files of all backends together */

enum conf_mode { MODE_OBSERVE, MODE_SOFT, MODE_ENFORCE };
enum conf_reject_at { REJECT_AT_RCPT, REJECT_AT_CONNECT, REJECT_AT_SYN };
enum conf_role { ROLE_MX, ROLE_SUBMISSION };
enum conf_client_address {
	CLIENT_ADDRESS_NONE,
	CLIENT_ADDRESS_PROXY_V1,
	CLIENT_ADDRESS_PROXY_V2,
	CLIENT_ADDRESS_XCLIENT
};
enum conf_bare_lf { BARE_LF_NORMALIZE, BARE_LF_REJECT, BARE_LF_TOLERATE };
/* What a list is asked about. */
enum conf_zone_kind { ZONE_KIND_CLIENT, ZONE_KIND_HELO, ZONE_KIND_SENDER, ZONE_KINDS };
enum conf_limits_answer { LIMITS_ANSWER_421, LIMITS_ANSWER_SILENCE };
/* What limits of sources mean to clients that are no strangers. */
enum conf_limits_known { LIMITS_KNOWN_LIMITED, LIMITS_KNOWN_RATE_EXEMPT, LIMITS_KNOWN_EXEMPT };
enum conf_idle { IDLE_NAP, IDLE_SPIN };
enum conf_tls_version { TLS_VERSION_1_0, TLS_VERSION_1_1, TLS_VERSION_1_2, TLS_VERSION_1_3 };
/* What a listener does about TLS; without a loaded certificate may is off, and the other two answer 454 or close. */
enum conf_listener_tls {
	LISTENER_TLS_OFF,
	LISTENER_TLS_MAY,     /* STARTTLS is offered (RFC 3207) */
	LISTENER_TLS_REQUIRE, /* and MAIL before it is 530 5.7.0 */
	LISTENER_TLS_IMPLICIT /* TLS from the first octet (RFC 8314) */
};
enum conf_backend_tls {
	BACKEND_TLS_NEVER,
	BACKEND_TLS_MAY, /* where STARTTLS is offered; plain where it is not or fails, unless a CA or fingerprint is given */
	BACKEND_TLS_REQUIRE /* no TLS, no mail: 451 */
};

/* Single values. Every field is a row of control/options.def, which holds unit, range and default. */
struct conf {
	char hostname[CONF_HOST_OCTETS];
	uint8_t mode;      /* enum conf_mode */
	uint8_t reject_at; /* enum conf_reject_at */
	uint8_t grey_reference;
	uint8_t bare_lf; /* enum conf_bare_lf */
	uint8_t idle;    /* enum conf_idle */
	uint8_t known_clients_relay;
	uint8_t ptr_missing, ptr_unconfirmed, ptr_generic; /* enum client_effect */
	uint8_t trap_scope_network;
	uint8_t has_allowed_names; /* clients.allow_names holds any: then an address alone refuses nobody. Not an option */
	uint8_t dns_off; /* dns.resolvers is empty: nobody is there to be asked, so nobody waits for it. Not an option */

	uint32_t grey_block_s, grey_pass_s, grey_expire_s;
	uint32_t grey_lapse_memory_s; /* 7 days */
	uint32_t grey_window_max_s;   /* 4 days: the cap of a window doubled after lapses */
	uint32_t grey_auto_after;     /* 5: automatic allow of a network; 0 = off */
	uint32_t grey_source_budget;  /* new GREY records a source network may start in an hour */
	int32_t dnsbl_reject_threshold, dnsbl_grey_threshold;
	int32_t helo_weight_max,
		sender_weight_max; /* what all zones of that kind together could say; 0: there are none. Not options */
	uint32_t dns_deadline_ms;  /* 2000: from accept */
	uint32_t client_fresh_s;   /* a client verdict is fresh for so long */
	uint32_t trap_s;           /* 24 h */

	uint32_t greet_pause_ms;           /* strangers only; 0 = off */
	uint32_t command_timeout_s;        /* 300 (RFC 5321 section 4.5.3.2.7) */
	uint32_t data_timeout_s;           /* 180: only silence counts */
	uint32_t session_max_s;            /* never interrupts a message */
	uint32_t data_rate_floor_octets_s; /* 0 = off */
	uint32_t rcpts_max;                /* 100 at least */
	uint32_t commands_max, errors_max, messages_max;
	uint64_t message_max_octets; /* our own cap; 0 = the largest of the backends */

	uint32_t backend_connect_ms;  /* 10000 */
	uint32_t backend_greeting_ms; /* 10000 */
	uint32_t backend_total_ms;    /* 30000 */
	uint32_t backend_reply_ms;    /* 35000: any reply but the one after the dot */
	uint32_t backend_dot_s;       /* 600 at least (RFC 1047) */
	uint32_t backend_probe_s;     /* 30 */
	uint32_t backend_relaytest_s; /* 86400 */
	uint32_t drain_s;             /* 60: messages finish after SIGTERM */

	uint32_t client_sessions_max;         /* concurrent sessions of one address; 0 = no limit */
	uint32_t client_network_sessions_max; /* of one /24 or /64 */
	uint32_t limits_client_rate;          /* connections a minute of one address; 0 = no limit */
	uint32_t limits_network_rate;         /* of one /24 or /64 */
	uint32_t limits_reserve_percent;      /* of the session slots, which strangers may not use */
	uint8_t limits_answer;                /* enum conf_limits_answer */
	uint8_t limits_known_clients;         /* enum conf_limits_known */
	uint8_t huge_pages;                   /* pages of 2 MiB for tables, where the kernel has them */
	uint8_t reserved_limits;

	uint32_t log_grey_per_s; /* 1000 */

	/* rule 9, strangers' manners: weight of each, 0 = off; the sum from protocol_grey_threshold on greylists for longer, nothing else */
	uint32_t protocol_early_talker, protocol_pipelining, protocol_bare_line, protocol_non_smtp, protocol_errors;
	uint32_t protocol_helo_syntax, protocol_helo_ours, protocol_helo_literal;
	uint32_t protocol_errors_from;    /* bad commands that count as too many */
	uint32_t protocol_grey_threshold; /* 0 counts as 1 */

	/* TLS towards clients */
	char tls_certificates[CONF_PATH_OCTETS]; /* folder of pairs, read by the data plane alone; "" = no TLS */
	char tls_default_name[CONF_HOST_OCTETS]; /* for clients without SNI; "" = hostname */
	char tls_ciphers[CONF_CIPHERS_OCTETS];   /* TLS 1.2 and below; "" = ours */
	char tls_ciphersuites[256];              /* TLS 1.3; "" = OpenSSL's */
	char tls_groups[128];                    /* key exchange; "" = OpenSSL's */
	uint8_t tls_min_version;                 /* enum conf_tls_version; below 1.2 means @SECLEVEL=0 */
	uint8_t tls_tickets;
	uint8_t tls_hide_after_failures;  /* STARTTLS is hidden from an address for a while (policy/handshake.h) */
	uint32_t tls_ticket_lifetime_s;   /* also how often the keys of tickets rotate */
	uint32_t tls_handshake_s;         /* from the first octet of TLS to its end; the connection is closed then */
	uint32_t tls_handshakes_per_turn; /* begun or moved on in one turn of a worker */
	uint32_t tls_handshake_queue;     /* waiting for that, of one worker; beyond: 454 */
	uint32_t tls_warn_s;              /* a certificate that expires earlier is warned of */

	/* fixed for the life of a data plane: a change is reported and counts at its next start */
	uint32_t tls_memory_mb; /* OpenSSL's, of one worker */
	uint32_t workers;
	uint32_t sessions;      /* of one worker */
	uint32_t busy_sessions; /* of those, not at rest at a time; 0: chosen by their number */
	uint32_t memory_mb;
};

struct conf_port_addr {
	struct ip_addr addr;
	uint8_t prefix_bits; /* in the 128-bit form: an IPv4 /24 is 120 */
	uint8_t reserved[3];
};

struct conf_port {
	char name[CONF_NAME_OCTETS];
	char device[CONF_DEVICE_OCTETS]; /* DPDK name of a bound device, or driver and arguments of a virtual one */
	uint8_t mac[6];                  /* all zero: the device's own */
	uint16_t mtu;                    /* 1280 to 9000; a tag is not counted */
	uint16_t vlan;                   /* 802.1Q: sent with its tag, dropped without; 0: none */
	uint16_t reserved;
	struct ip_addr gateway4, gateway6; /* zero: none */
	uint32_t n_addrs;
	struct conf_port_addr addr[CONF_ADDRS_MAX];
};

struct conf_listener {
	char name[CONF_NAME_OCTETS];
	uint8_t role; /* enum conf_role */
	uint8_t i_trust_the_backend;
	uint16_t port;
	uint8_t tls;        /* enum conf_listener_tls */
	uint8_t auth_relay; /* AUTH is carried to the default pool */
	uint8_t reserved_tls[2];
	uint32_t n_addrs;
	struct ip_addr addr[CONF_ADDRS_MAX];
	uint64_t pools; /* bit i: pool i may be routed to */
	uint16_t default_pool;
	uint16_t reserved[3];
	uint32_t n_trusted;
	struct conf_port_addr trusted[CONF_TRUSTED_MAX]; /* who has to begin with a PROXY header; network addresses */
};

struct conf_pool {
	char name[CONF_NAME_OCTETS];
	uint64_t backends; /* bit i: backend i belongs to it */
};

struct conf_backend {
	char name[CONF_NAME_OCTETS];
	struct ip_addr addr;
	uint16_t port;
	uint8_t client_address; /* enum conf_client_address */
	uint8_t is_submission;  /* reached by splicing alone: no EHLO capabilities wanted of it */
	uint32_t id;            /* of name, address, port: stable over reloads, keys its state in the segment */
	uint8_t tls;            /* enum conf_backend_tls */
	uint8_t n_fingerprints;
	uint8_t reserved[2];
	char tls_name
		[CONF_HOST_OCTETS]; /* in its certificate, sent as SNI; "" = none is checked (fingerprint, or no check) */
	uint32_t ca_offset, ca_octets; /* PEM in the snapshot's section CA; 0 octets: no check by CA */
	uint8_t fingerprint[CONF_FINGERPRINTS_MAX]
			   [CONF_FINGERPRINT_OCTETS]; /* SHA-256 of its certificate or of its public key */
};

struct conf_zone {
	char name[CONF_HOST_OCTETS]; /* the public name: never the key */
	uint8_t kind;                /* enum conf_zone_kind */
	uint8_t reserved[7];
};

/* What a probe found; EHLO keywords as a set. */
enum ehlo_ext {
	EXT_PIPELINING = 1 << 0,
	EXT_SIZE = 1 << 1,
	EXT_8BITMIME = 1 << 2,
	EXT_SMTPUTF8 = 1 << 3,
	EXT_DSN = 1 << 4,
	EXT_CHUNKING = 1 << 5,
	EXT_BINARYMIME = 1 << 6,
	EXT_ENHANCEDSTATUSCODES = 1 << 7,
	EXT_STARTTLS = 1 << 8,
	EXT_XCLIENT = 1 << 9,
	EXT_AUTH = 1 << 10,
};

enum backend_health {
	BACKEND_UNPROBED,
	BACKEND_UP,
	BACKEND_DOWN,
	BACKEND_OPEN_RELAY, /* out of service: it relays for strangers; its mynetworks names the gateway */
	BACKEND_LOOP,       /* out of service: it is ourselves */
	BACKEND_DRAINED,    /* by the operator */
};

/* Lives in the segment; one writer (worker 0 for probes; drained alone is control's), fields read relaxed. */
struct backend_state {
	uint32_t id;    /* conf_backend.id, 0 = free */
	uint8_t health; /* enum backend_health */
	uint8_t drained;
	uint8_t failures;                          /* in a row */
	uint8_t probed;                            /* a probe ever succeeded: ext and size are valid */
	uint32_t ext;                              /* enum ehlo_ext */
	uint32_t probed_s, relaytest_s, changed_s; /* policy time */
	uint32_t auth;                             /* mechanisms of AUTH, bits of smtp_auth.h */
	uint8_t under_tls, reserved[3];            /* the last probe that found it up spoke TLS with it */
	uint64_t size_octets;                      /* SIZE offered, 0 = none given */
	char words[256];                           /* what it said last, printable ASCII, for status and log */
};

/* A state as other threads and the other process see it change: each word whole, by relaxed atomics. */
static inline void
backend_state_load(struct backend_state *out, const struct backend_state *shared)
{
	uint64_t *to = (uint64_t *)(void *)out;
	const uint64_t *from = (const uint64_t *)(const void *)shared;

	for (uint32_t i = 0; i < sizeof(*out) / 8; i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	out->words[sizeof(out->words) - 1] = '\0';
}

/* Stores all but drained, which is the operator's and may change meanwhile: it shares the first word. */
static inline void
backend_state_store(struct backend_state *shared, const struct backend_state *in)
{
	uint64_t *to = (uint64_t *)(void *)shared;
	struct backend_state merged = *in;
	const uint64_t *from = (const uint64_t *)(const void *)&merged;
	uint64_t before = __atomic_load_n(&to[0], __ATOMIC_RELAXED);

	for (uint32_t i = 1; i < sizeof(*in) / 8; i++)
		__atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
	do {
		uint64_t word = before;

		memcpy(&merged.drained, (const uint8_t *)&word + offsetof(struct backend_state, drained), 1);
	} while (!__atomic_compare_exchange_n(&to[0], &before, from[0], false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

_Static_assert(
	sizeof(struct backend_state) % 8 == 0 && _Alignof(struct backend_state) == 8, "copied by words of 8 octets");

#endif
