/*
 * resolver_impl.h - what the files of the resolver share.
 *
 * Flow:   resolver.c (subjects asked about, waiters, time) -> dns_server.c (resolvers, c-ares, attempts) -> answers -> findings.c;
 *         dns_proof.c (test points, random names) asks by the same attempts
 */
#ifndef GREYLINE_CONTROL_RESOLVER_IMPL_H
#define GREYLINE_CONTROL_RESOLVER_IMPL_H

#include <ares.h>
#include <sys/queue.h>

#include "control/dns_cache.h"
#include "control/resolver.h"

struct event;
struct fd_event;

/* One resolver of one configuration. */
struct server {
	struct upstream *up;
	ares_channel channel;
	LIST_HEAD(, fd_event) fds;
	struct ip_addr addr;
	uint16_t port;
	uint32_t silent; /* time-outs in a row */
	bool probing;
	uint64_t probe_at_us, answered_us;
	uint64_t invents_at_us; /* when random names are asked for next */
	uint32_t random_out, random_invented, random_clear;
	struct resolver_server_stats stats;
};

/* One configuration: its resolvers and what its questions need. Counted by its jobs. */
struct upstream {
	struct resolver *r;
	unsigned refs;
	bool retired, dying;
	uint32_t next; /* whose turn it is */
	struct server server[RESOLVER_SERVERS_MAX];
	LIST_ENTRY(upstream) link;
	struct config_zone *zone;
	struct zone_health *health;
	uint32_t timeout_ms;
	uint32_t n_zones;
	void *allow_names, *deny_names, *big_senders; /* name_set */
	struct conf conf;                             /* thresholds and effects: what could change an outcome */
	uint32_t n_servers;
};

struct waiter {
	STAILQ_ENTRY(waiter) link;
	resolver_fn *fn;
	void *arg;
	uint64_t deadline_us;
};

struct job {
	LIST_ENTRY(job) hash_link;
	TAILQ_ENTRY(job) link;
	STAILQ_HEAD(, waiter) waiters;
	struct resolver *r;
	struct upstream *up;
	uint64_t started_us;
	struct findings f;
};

/* The last three are asked of one resolver, without a job. */
enum question_kind {
	QUESTION_PTR,
	QUESTION_FORWARD,
	QUESTION_ZONE,
	QUESTION_WHOAMI, /* of a job, but asked of one resolver */
	QUESTION_HEALTH,
	QUESTION_POINT,
	QUESTION_RANDOM
};

/* A question at one resolver. */
struct attempt {
	struct question *q;
	struct server *server;
	uint64_t started_us;
};

struct question {
	struct attempt first; /* mostly the only one */
	struct resolver *r;
	struct upstream *up;
	struct job *job;
	enum question_kind kind;
	uint32_t index;          /* of the name, of the zone */
	uint32_t server;         /* the one whose address a zone is asked for */
	enum zone_family family; /* of a test point */
	enum zone_point point;
	enum dns_type type;
	uint64_t started_us;
	uint32_t tried, out; /* resolvers, as bits; answers of them still to come */
	unsigned refs;
	bool done, hedged;
	TAILQ_ENTRY(question) link; /* while another resolver may be asked besides */
	char name[];                /* NUL-terminated */
};

struct resolver {
	struct event_base *base;
	struct event *tick;
	bool ticking;
	struct upstream *up;
	LIST_HEAD(, upstream) upstreams;
	uint32_t in_flight_max, n_buckets;
	LIST_HEAD(job_bucket, job) * job_hash;
	TAILQ_HEAD(, job) jobs;
	TAILQ_HEAD(, job)
	free_jobs; /* as many as were ever under way at once: they are too large to be made each time */
	struct dns_cache *cache;
	TAILQ_HEAD(, question) hedges; /* the oldest first */
	struct siphash_key key;
	resolver_fn *finished;
	void *finished_arg;
	struct resolver_stats stats;
	bool (*in_good_standing)(void *arg, const struct ip_addr *client);
	void *standing_arg;
	uint64_t window_at_us; /* of the shares of good clients */
	uint32_t outstanding;  /* questions with c-ares */
};

uint64_t resolver_now_us(void);

/* resolver.c: the answer to a question of a job, or that there is none. */
void resolver_answered(struct question *q, const struct dns_answer *a);

/* dns_server.c */
int servers_create(struct upstream *up, const struct config *config);
void servers_destroy(struct upstream *up);
/* Counts which are down or invent, and says so when it changed for all of them. */
void servers_count(struct upstream *up);
/* Whether a resolver said anything since then. */
bool servers_spoke_since(const struct upstream *up, uint64_t since_us);
/* Asks the root's NS of one: whether it is there at all. */
void server_health_ask(struct server *s);
/* A question of a job, of one resolver after another until one answers. */
void question_ask(struct upstream *up, struct job *job, enum question_kind kind, uint32_t index, enum dns_type type,
	const char *name);
/* What a zone's whoami name says to one of them. */
void question_ask_one(
	struct upstream *up, struct job *job, uint32_t server, uint32_t zone, enum dns_type type, const char *name);
/* A question of its own, to be sent by attempt_start() and given back by question_put(). */
struct question *question_new(struct upstream *up, struct job *job, enum question_kind kind, uint32_t index,
	enum dns_type type, const char *name);
void question_put(struct question *q);
void attempt_start(struct question *q, struct server *server);
/* Questions without an answer for so long are asked of another resolver besides. */
void hedges_turn(struct resolver *r, uint64_t now);

/* dns_proof.c */
void proofs_turn(struct resolver *r, uint64_t now);
void proof_random(struct server *s, const struct dns_answer *a);
void proof_point(struct server *s, const struct question *q, const struct dns_answer *a);
/* What an answer of a zone about a client says of the zone. */
void proof_client(struct job *j, uint32_t zone, bool listed);
/* A line about a zone, by its public name: never the key. */
void zone_say(const struct upstream *up, uint32_t zone, const char *what);

#endif
