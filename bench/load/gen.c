/*
 * gen.c - the load generator, see gen.h: templates, what comes in, floods, start and end.
 */
#include "bench/load/gen_impl.h"

#include <stdlib.h>
#include <string.h>

uint64_t
gen_percentile(const struct gen_histogram *h, double share)
{
	const uint64_t want = (uint64_t)((double)h->n * share);
	uint64_t seen = 0;

	for (uint32_t i = 0; i < GEN_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen > want)
			return i < 32 ? i : (uint64_t)(32 + i % 32) << (i / 32 - 1);
	}
	return 0;
}

const char *
gen_template_name(enum gen_template t)
{
	static const char *const names[] = {
#define X(name, help) #name,
		GEN_TEMPLATES(X)
#undef X
	};

	return names[t];
}

const char *
gen_template_help(enum gen_template t)
{
	static const char *const help[] = {
#define X(name, text) text,
		GEN_TEMPLATES(X)
#undef X
	};

	return help[t];
}

bool
gen_template_parse(const char *text, enum gen_template *t)
{
	for (uint32_t i = 0; i < GEN_TEMPLATES_N; i++)
		if (strcmp(text, gen_template_name((enum gen_template)i)) == 0) {
			*t = (enum gen_template)i;
			return true;
		}
	return false;
}

void
gen_input(struct gen *g, const uint8_t *frame, uint32_t octets, uint64_t now_ns)
{
	struct segment in;
	int64_t slot;

	if (octets < ETH_OCTETS)
		return;
	if (get16(frame + 12) == 0x0806) {
		gen_arp_input(g, frame, octets);
		return;
	}
	if (get16(frame + 12) != 0x0800 || !gen_segment_parse(g, frame, octets, &in)) {
		g->stats.stray++;
		return;
	}
	slot = in.sport == g->conf.gateway_port ? gen_slot_of(g, in.dst, in.dport) : -1;
	if (slot >= 0)
		gen_session_input(g, (uint32_t)slot, &in, now_ns);
	else if (in.dport == 25 && g->served != NULL)
		gen_backend_input(g, &in, now_ns);
	else if ((in.flags & FLAG_SYN) != 0)
		g->stats.flood_answered++;
	else
		g->stats.stray++;
}

void
gen_flood(struct gen *g, uint32_t n, uint8_t net, uint64_t now_ns)
{
	for (uint32_t i = 0; i < n; i++) {
		const uint64_t r = next_random(g);
		uint8_t *f = g->ops.room(g->arg);
		uint32_t opt;

		if (f == NULL)
			return;
		opt = gen_put_syn_options(g, f + ETH_OCTETS + IP_OCTETS + TCP_OCTETS, now_ns);
		gen_frame_send(g, f, (uint32_t)net << 24 | ((uint32_t)r & 0xffffff), g->conf.gateway_ip,
			1024 + (uint32_t)(r >> 24 & 0x7fff), g->conf.gateway_port, (uint32_t)(r >> 32), 0, FLAG_SYN,
			opt, 0);
		g->stats.flood_sent++;
	}
}

/* ---- start and end ---- */

struct gen *
gen_create(const struct gen_conf *conf, const struct gen_ops *ops, void *arg)
{
	struct gen *g = calloc(1, sizeof(*g));

	if (g == NULL || conf->slots == 0 || conf->slots > GEN_SLOTS_MAX || (conf->slots & (conf->slots - 1)) != 0 ||
		conf->clients == 0 || conf->clients > GEN_CLIENTS || (conf->clients & (conf->clients - 1)) != 0) {
		free(g);
		return NULL;
	}
	g->conf = *conf;
	g->ops = *ops;
	g->arg = arg;
	g->random[0] = conf->seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	g->random[1] = conf->seed ^ UINT64_C(0xd1b54a32d192ed03);
	for (uint32_t n = conf->slots; n > PORT_SLOTS; n /= 2)
		g->slot_bits++;
	g->session = calloc(conf->slots, sizeof(*g->session));
	g->free = calloc(conf->slots, sizeof(*g->free));
	g->served = conf->beside ? NULL : calloc(SERVED_MAX, sizeof(*g->served));
	if (g->session == NULL || g->free == NULL || (!conf->beside && g->served == NULL) ||
		1u << g->slot_bits > conf->clients || !gen_tls_create(g)) {
		gen_destroy(g);
		return NULL;
	}
	for (uint32_t i = conf->slots; i-- > 0;)
		g->free[g->n_free++] = i;
	return g;
}

void
gen_destroy(struct gen *g)
{
	if (g == NULL)
		return;
	gen_tls_destroy(g);
	free(g->session);
	free(g->free);
	free(g->served);
	free(g);
}

void
gen_touch(struct gen *g)
{
	for (uint32_t i = 0; i < g->conf.slots; i++)
		*(volatile uint8_t *)&g->session[i].step = g->session[i].step;
}

bool
gen_is_ready(const struct gen *g)
{
	return g->ready;
}

bool
gen_owns(const struct gen *g, const uint8_t *frame, uint32_t octets)
{
	if (octets < ETH_OCTETS + IP_OCTETS + TCP_OCTETS || get16(frame + 12) != 0x0800)
		return false;
	return frame[ETH_OCTETS + 16] == g->conf.client_net;
}

uint32_t
gen_idle(const struct gen *g)
{
	return g->n_idle;
}

uint32_t
gen_open(const struct gen *g)
{
	return g->conf.slots - g->n_free;
}

uint32_t
gen_slots(const struct gen *g)
{
	return g->conf.slots;
}

const struct gen_stats *
gen_stats(const struct gen *g)
{
	return &g->stats;
}

struct gen_histogram *
gen_latency(struct gen *g)
{
	return &g->latency;
}

struct gen_histogram *
gen_reply(struct gen *g)
{
	return &g->reply;
}

const char *
gen_complaint(const struct gen *g)
{
	return g->complaint;
}
