/*
 * dns_server.c - the resolvers of a configuration: a c-ares channel for each, which one is asked, what their silence means.
 *
 * Flow:   question_ask() -> attempt_start() -> c-ares on libevent -> answered() -> resolver_answered(), proof_*()
 * Touches: sockets of c-ares by libevent (a socket state callback: more sockets than ares_getsock()'s 16 may be open).
 * Keeps:  a question ends when its last attempt ends, which c-ares bounds by tries and time-outs; the first answer that says something is
 *         taken; zones are never asked through a resolver that invents.
 *
 * Each resolver has a channel of its own. A question goes to one that is up; when it fails there, or says nothing for dns.timeout_ms,
 * the next one is asked besides.
 *
 * Resolvers dead: after RESOLVER_SILENT_MAX time-outs in a row the root's NS are asked for; if even that is not answered, the resolver is
 * down: asked nothing but the root's NS every second until an answer comes.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/resolver_impl.h"
#include "dataplane/base/bug.h"

#define RESOLVER_SILENT_MAX  4
#define RESOLVER_PROBE_US    1000000
#define RESOLVER_EDNS_OCTETS 1232 /* never fragmented (DNS flag day 2020) */

struct fd_event {
	LIST_ENTRY(fd_event) link;
	ares_socket_t fd;
	struct event *event;
	struct server *server;
};

static void
upstream_put(struct upstream *up)
{
	BUG_ON(up->refs == 0);
	up->refs--; /* the channel itself goes at the next tick: never inside one of its callbacks */
}

static void answered(void *arg, int status, int timeouts, unsigned char *octets, int n);

struct question *
question_new(struct upstream *up, struct job *job, enum question_kind kind, uint32_t index, enum dns_type type,
	const char *name)
{
	const size_t n = strlen(name) + 1;
	struct question *q = malloc(sizeof(*q) + n);

	BUG_ON(q == NULL);
	memset(q, 0, sizeof(*q));
	memcpy(q->name, name, n);
	q->r = up->r;
	q->up = up;
	q->job = job;
	q->kind = kind;
	q->index = index;
	q->type = type;
	q->started_us = resolver_now_us();
	q->refs = 1;
	if (job != NULL)
		job->f.pending++;
	up->refs++;
	return q;
}

void
question_put(struct question *q)
{
	if (--q->refs > 0)
		return;
	if (q->hedged)
		TAILQ_REMOVE(&q->r->hedges, q, link);
	upstream_put(q->up);
	free(q);
}

void
attempt_start(struct question *q, struct server *server)
{
	struct attempt *a = q->first.q == NULL ? &q->first : malloc(sizeof(*a));

	BUG_ON(a == NULL);
	*a = (struct attempt){ q, server, a == &q->first ? q->started_us : resolver_now_us() };
	q->tried |= 1u << (server - q->up->server);
	q->out++;
	q->refs++;
	q->r->outstanding++;
	q->r->stats.questions++;
	server->stats.questions++;
	/* 2: the root's NS, which every resolver has at hand */
	ares_query(server->channel, q->name[0] != '\0' ? q->name : ".", 1,
		q->kind == QUESTION_HEALTH ? 2 : (int)q->type, answered, a);
}

/* A resolver not yet asked: one that is up, in turn; NULL when there is none. Zones are never asked through one that invents. */
static struct server *
server_pick(struct upstream *up, const struct question *q)
{
	for (uint32_t i = 0; i < up->n_servers; i++) {
		struct server *s = &up->server[(up->next + i) % up->n_servers];

		if ((q->tried >> (s - up->server) & 1) != 0 || s->stats.down ||
			(q->kind == QUESTION_ZONE && s->stats.inventing))
			continue;
		if (q->tried == 0)
			up->next = (uint32_t)(s - up->server) + 1;
		return s;
	}
	return NULL;
}

void
question_ask(struct upstream *up, struct job *job, enum question_kind kind, uint32_t index, enum dns_type type,
	const char *name)
{
	static const struct dns_answer nothing = { .status = DNS_TEMPERR };
	struct question *q = question_new(up, job, kind, index, type, name);
	struct server *s = server_pick(up, q);

	if (s == NULL && up->n_servers > 0 && kind != QUESTION_ZONE)
		s = &up->server[0]; /* all down: what is under way goes on asking */
	if (s == NULL || up->dying) {
		resolver_answered(q, &nothing);
	} else {
		if (up->n_servers > 1) {
			q->hedged = true;
			TAILQ_INSERT_TAIL(&up->r->hedges, q, link);
		}
		attempt_start(q, s);
	}
	question_put(q);
}

void
question_ask_one(
	struct upstream *up, struct job *job, uint32_t server, uint32_t zone, enum dns_type type, const char *name)
{
	struct question *q = question_new(up, job, QUESTION_WHOAMI, zone, type, name);

	q->server = server;
	q->tried = UINT32_MAX; /* nobody else can tell */
	attempt_start(q, &up->server[server]);
	question_put(q);
}

/* Questions without an answer for so long are asked of another resolver besides. */
void
hedges_turn(struct resolver *r, uint64_t now)
{
	struct question *q;

	while ((q = TAILQ_FIRST(&r->hedges)) != NULL && q->started_us + (uint64_t)q->up->timeout_ms * 1000 <= now) {
		struct server *s = q->done || q->up->dying ? NULL : server_pick(q->up, q);

		TAILQ_REMOVE(&r->hedges, q, link);
		q->hedged = false;
		if (s == NULL)
			continue;
		r->stats.failovers++;
		attempt_start(q, s);
	}
}

void
server_health_ask(struct server *s)
{
	struct question *q;

	if (s->probing)
		return;
	s->probing = true;
	q = question_new(s->up, NULL, QUESTION_HEALTH, 0, DNS_A, "");
	attempt_start(q, s);
	question_put(q);
}

/* Whether a resolver said anything since then. */
bool
servers_spoke_since(const struct upstream *up, uint64_t since_us)
{
	for (uint32_t i = 0; i < up->n_servers; i++)
		if (up->server[i].answered_us >= since_us)
			return true;
	return false;
}

void
servers_count(struct upstream *up)
{
	bool all_down = up->n_servers > 0, all_invent = up->n_servers > 0;

	for (uint32_t i = 0; i < up->n_servers; i++) {
		all_down = all_down && up->server[i].stats.down;
		all_invent = all_invent && up->server[i].stats.inventing;
	}
	if (up != up->r->up)
		return;
	up->r->stats.down = all_down;
	if (up->r->stats.zones_off != all_invent) {
		up->r->stats.zones_off = all_invent;
		fprintf(stderr, all_invent
					? "greyline-control: EVERY RESOLVER INVENTS ANSWERS for names that do not "
					  "exist: blocklists are OFF\n"
					: "greyline-control: a resolver answers honestly again: blocklists are on\n");
	}
}

/* Whether a resolver spoke at all; time-outs in a row call for a look at the resolver itself. */
static void
server_note(struct server *s, const struct question *q, int status)
{
	const bool silent = status == ARES_ETIMEOUT || status == ARES_ECONNREFUSED;

	if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED)
		return;
	if (silent) {
		s->up->r->stats.timeouts++;
		s->stats.timeouts++;
		s->silent++;
		if (q->kind == QUESTION_HEALTH && !s->stats.down) {
			s->stats.down = true;
			fprintf(stderr, "greyline-control: resolver %s does not answer\n", s->stats.name);
			servers_count(s->up);
		} else if (q->kind != QUESTION_HEALTH && s->silent >= RESOLVER_SILENT_MAX) {
			server_health_ask(s);
		}
		return;
	}
	s->silent = 0;
	s->answered_us = resolver_now_us();
	s->stats.answers++;
	if (s->stats.down) {
		s->stats.down = false;
		fprintf(stderr, "greyline-control: resolver %s answers again\n", s->stats.name);
		for (uint32_t i = 0; i < s->up->n_zones; i++)
			zone_health_forgive(&s->up->health[i]);
		servers_count(s->up);
	}
}

static void
answered(void *arg, int status, int timeouts, unsigned char *octets, int n)
{
	struct attempt *at = arg;
	struct server *s = at->server, *next;
	struct question *q = at->q;
	struct resolver *r = q->r;
	struct dns_answer a;

	(void)timeouts;
	r->outstanding--;
	q->out--;
	/* c-ares gives the message with NXDOMAIN and "no data", too; what it says is read by our own parser */
	if (octets != NULL && n > 0 && (status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND)) {
		dns_answer_parse(octets, (size_t)n, q->name, q->type, &a);
		s->stats.ms_total += (resolver_now_us() - at->started_us) / 1000;
	} else {
		memset(&a, 0, sizeof(a));
		a.status = DNS_TEMPERR;
		if (status == ARES_ESERVFAIL || status == ARES_EREFUSED) {
			r->stats.servfails++;
			s->stats.failures++;
		}
	}
	if (at != &q->first)
		free(at);
	if (q->kind == QUESTION_HEALTH) {
		s->probing = false;
		s->probe_at_us = resolver_now_us() + RESOLVER_PROBE_US;
	}
	server_note(s, q, status);
	if (q->kind == QUESTION_RANDOM) {
		proof_random(s, &a);
	} else if (q->kind == QUESTION_POINT) {
		proof_point(s, q, &a);
	} else if (!q->done) {
		if (a.status == DNS_TEMPERR && q->job != NULL && !q->up->dying &&
			(next = server_pick(q->up, q)) != NULL) {
			r->stats.failovers++;
			attempt_start(q, next);
		}
		if (!q->done && (a.status != DNS_TEMPERR || q->out == 0))
			resolver_answered(q, &a);
	}
	question_put(q);
}

/* --- c-ares on the event loop */

static void
fd_ready(evutil_socket_t fd, short what, void *arg)
{
	struct fd_event *f = arg;

	ares_process_fd(f->server->channel, (what & EV_READ) != 0 ? fd : ARES_SOCKET_BAD,
		(what & EV_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
}

static void
fd_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct server *server = arg;
	struct fd_event *f;

	LIST_FOREACH (f, &server->fds, link)
		if (f->fd == fd)
			break;
	if (f != NULL) {
		event_del(f->event);
		event_free(f->event);
		if (!readable && !writable) {
			LIST_REMOVE(f, link);
			free(f);
			return;
		}
	} else {
		if (!readable && !writable)
			return;
		f = calloc(1, sizeof(*f));
		BUG_ON(f == NULL);
		f->fd = fd;
		f->server = server;
		LIST_INSERT_HEAD(&server->fds, f, link);
	}
	f->event = event_new(server->up->r->base, fd,
		(short)(EV_PERSIST | (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0)), fd_ready, f);
	BUG_ON(f->event == NULL);
	event_add(f->event, NULL);
}

static int
channel_create(struct server *s, const struct config *config)
{
	char text[IP_ADDR_TEXT_MAX_OCTETS], server[IP_ADDR_TEXT_MAX_OCTETS + 16], empty[] = "", lookups[] = "b",
										  resolvconf[] = "/dev/null";
	struct ares_options o = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_STAYOPEN | ARES_FLAG_EDNS,
		.timeout = (int)config->values.dns_timeout_ms,
		.tries = (int)config->values.dns_tries,
		.ndots = 0,
		.domains = (char *[]){ empty },
		.ndomains = 0,
		.lookups = lookups,
		.sock_state_cb = fd_state,
		.sock_state_cb_data = s,
		.ednspsz = RESOLVER_EDNS_OCTETS,
		.resolvconf_path = resolvconf,
		.socket_receive_buffer_size = 1 << 20,
	};

	if (ares_init_options(&s->channel, &o,
		    ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS | ARES_OPT_DOMAINS |
			    ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_EDNSPSZ | ARES_OPT_RESOLVCONF |
			    ARES_OPT_SOCK_RCVBUF) != ARES_SUCCESS)
		return -ENOMEM;
	ip_addr_format(&s->addr, text);
	snprintf(server, sizeof(server), ip_addr_is_v4(&s->addr) ? "%s:%u" : "[%s]:%u", text, s->port);
	snprintf(s->stats.name, sizeof(s->stats.name), "%s", server);
	if (ares_set_servers_ports_csv(s->channel, server) != ARES_SUCCESS) {
		ares_destroy(s->channel);
		return -EINVAL;
	}
	return 0;
}

int
servers_create(struct upstream *up, const struct config *config)
{
	const struct config_texts *t = &config->list[LIST_RESOLVERS];
	int error;

	for (uint32_t i = 0; i < t->n && up->n_servers < RESOLVER_SERVERS_MAX; i++) {
		struct server *s = &up->server[up->n_servers];

		if (config_server_parse(t->v[i].text, 53, &s->addr, &s->port) != 0)
			continue;
		s->up = up;
		LIST_INIT(&s->fds);
		error = channel_create(s, config);
		if (error != 0) {
			while (up->n_servers > 0)
				ares_destroy(up->server[--up->n_servers].channel);
			return error;
		}
		up->n_servers++;
	}
	return 0;
}

void
servers_destroy(struct upstream *up)
{
	for (uint32_t i = 0; i < up->n_servers; i++) {
		ares_destroy(up->server[i].channel);
		BUG_ON(!LIST_EMPTY(&up->server[i].fds));
	}
}
