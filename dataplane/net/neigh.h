/*
 * neigh.h - next hops and their MAC addresses, both families.
 *
 * Flow:   net_wrap() -> neigh_find();  ARP and ND input -> neigh_hear();  net_output() -> neigh_due()
 * Pure:   time is an argument; no allocation after neigh_create().
 * Keeps:  entries are made by what we send, never by what we receive; a static entry is changed by nobody; an entry in use is
 *         asked again by unicast before it expires and serves meanwhile; each unresolved hop keeps at most one waiting frame.
 * Source: RFC 4861 section 7.3 and appendix C (states), RFC 1122 section 2.3.2 (ARP: one waiting packet, no flood), RFC 826.
 */
#ifndef GREYLINE_NET_NEIGH_H
#define GREYLINE_NET_NEIGH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/base/addr.h"

#define NEIGH_ENTRIES_MAX 1024
#define NEIGH_WAITING_MAX 32 /* frames that wait for a MAC address, over all hops */
#define NEIGH_NO_SLOT     UINT32_MAX
#define NEIGH_PROBES_MAX  3                  /* RFC 4861: MAX_MULTICAST_SOLICIT, MAX_UNICAST_SOLICIT */
#define NEIGH_RETRANS_US  UINT64_C(1000000)  /* RETRANS_TIMER; RFC 1122: one request a second */
#define NEIGH_FRESH_US    UINT64_C(25000000) /* asked again then; REACHABLE_TIME is 30 s */
#define NEIGH_STALE_US    UINT64_C(1200000000)

#define NEIGH_STATES(X)                                                                                                \
	X(NEIGH_FREE)                                                                                                  \
	X(NEIGH_INCOMPLETE) /* asked by broadcast or multicast; no MAC address */                                      \
	X(NEIGH_REACHABLE)  /* confirmed less than NEIGH_FRESH_US ago */                                               \
	X(NEIGH_STALE)      /* has an address, nobody used it when it was due; the next use probes */                  \
	X(NEIGH_PROBE)      /* asked by unicast; serves meanwhile */                                                   \
	X(NEIGH_STATIC)     /* given by configuration */

enum neigh_state {
#define X(name) name,
	NEIGH_STATES(X)
#undef X
};

struct neigh;

struct neigh *neigh_create(uint64_t seed); /* NULL when memory is short */
size_t neigh_octets(void);                 /* of one; it takes nothing else but buffers */
void neigh_destroy(struct neigh *n);

enum neigh_found {
	NEIGH_KNOWN, /* mac is filled in */
	NEIGH_PENDING, /* it is being asked for; *waiting points to the hop's slot of a waiting frame (NEIGH_NO_SLOT: free) */
	NEIGH_NO_ROOM, /* the table is full of hops in use */
};
/* Finds or begins to ask. waiting is valid until the next call. */
enum neigh_found neigh_find(struct neigh *n, const struct ip_addr *addr, uint8_t port_index, uint8_t *mac,
	uint32_t **waiting, uint64_t now_us);

/*
 * For who sends to the same hop again and again: the number of the entry neigh_find() just called known, good while neigh_forgotten() does
 * not change. neigh_again() is a use like any other; false: it wants to be asked about, by neigh_find().
 */
uint16_t neigh_last(const struct neigh *n);
uint32_t neigh_forgotten(const struct neigh *n);
bool neigh_again(struct neigh *n, uint16_t entry, uint8_t *mac, uint64_t now_us);

/* What was heard about addr. */
struct neigh_word {
	struct ip_addr addr;
	uint8_t port_index;
	uint8_t mac[6];
	bool solicited; /* an answer to a question of ours (or of another worker) */
	bool override;
};
enum neigh_heard {
	NEIGH_IGNORED, /* nobody here asked for it */
	NEIGH_TAKEN,
	NEIGH_RESOLVED, /* it had no address until now: *waiting is the slot to release (NEIGH_NO_SLOT: none) */
};
enum neigh_heard neigh_hear(struct neigh *n, const struct neigh_word *word, uint32_t *waiting, uint64_t now_us);

/* 0, or -ENOSPC. */
int neigh_set_static(struct neigh *n, const struct ip_addr *addr, uint8_t port_index, const uint8_t *mac);

/* What is due: a question to send, or a hop that did not answer and was forgotten (its waiting frame, if any, in *waiting). */
enum neigh_due_kind { NEIGH_NOTHING, NEIGH_ASK_ALL, NEIGH_ASK_ONE, NEIGH_GAVE_UP };
struct neigh_due {
	struct ip_addr addr;
	uint8_t port_index;
	uint8_t mac[6]; /* of NEIGH_ASK_ONE */
	uint32_t waiting;
};
enum neigh_due_kind neigh_due(struct neigh *n, struct neigh_due *out, uint64_t now_us);
uint64_t neigh_deadline_us(const struct neigh *n);

/* For tests: NEIGH_FREE where there is no entry. */
enum neigh_state neigh_state_of(const struct neigh *n, const struct ip_addr *addr, uint8_t port_index);

#endif
