/*
 * fuzz_control_findings.c - whole answers of resolvers and lists, in any order: read, weighed and summed as control does for a client or a
 * name, and what they say about the zones themselves.
 *
 * Input:  pieces of (what, length, octets): what 0 PTR, 1 forward, 2 to 5 a zone, 6 whoami, 7 a test point, 8 a failure, 9 an end of time.
 */
#include <stdint.h>
#include <string.h>

#include "control/findings.h"
#include "dataplane/base/bug.h"

#define ZONES 4
#define NAMED 3 /* the last one is a list of names */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct config_zone zone[ZONES];
	struct zone_health health[ZONES];
	struct conf conf;
	struct findings_rules rules;
	struct resolver_seen seen[8];
	struct findings client, name;
	uint64_t now_us;
	bool absent; /* some PTR answer said that there is none */
	uint32_t answered;
};

static void
begin(struct world *w)
{
	static const char *const specs[ZONES] = { "bl.example=127.0.0.[2..11]*5", "any.example*4",
		"wl.example=127.0.[0..255].[1;2]*-99", "dbl.example=127.0.1.[2..254]*9" };
	char why[DNSBL_WHY_OCTETS];

	memset(w, 0, sizeof(*w));
	for (unsigned i = 0; i < ZONES; i++) {
		BUG_ON(dnsbl_zone_parse(specs[i], &w->zone[i].spec, why) != 0);
		w->zone[i].kind = i == NAMED ? ZONE_KIND_SENDER : ZONE_KIND_CLIENT;
		w->zone[i].spec.decisive = i == 0;
		zone_health_init(&w->health[i], &w->zone[i].spec, i == NAMED);
		w->health[i].family[ZONE_V4] = ZONE_STANDING_ACTIVE;
	}
	w->conf = (struct conf){ .dnsbl_reject_threshold = 5, .dnsbl_grey_threshold = 1, .ptr_missing = EFFECT_REJECT };
	w->rules = (struct findings_rules){ .zone = w->zone, .health = w->health, .n_zones = ZONES, .conf = &w->conf };
	w->client.subject = (struct subject){ .kind = ZONE_KIND_CLIENT, .client = ip_addr_v4(0xc0000207) };
	w->client.ptr_none = PTR_NONE;
	w->client.seen = w->seen;
	w->client.seen_max = ARRAY_LEN(w->seen);
	w->name.subject.kind = ZONE_KIND_SENDER;
	w->now_us = 1000000;
}

static void
printable(const char *text, size_t room)
{
	BUG_ON(strnlen(text, room) >= room);
	for (; *text != '\0'; text++)
		BUG_ON((unsigned char)*text <= 0x20 || (unsigned char)*text >= 0x7f);
}

/* What no sequence of answers may lead to. */
static void
check(const struct world *w)
{
	struct resolver_result r;

	findings_result(&w->client, &w->rules, &r);
	printable(r.ptr, sizeof(r.ptr));
	BUG_ON(r.verdict.score < -999 || r.verdict.score > 999 || r.verdict.name_list != NAME_LIST_NONE);
	BUG_ON(r.verdict.ptr_state == PTR_NONE && !w->absent);
	BUG_ON(r.verdict.zone != ZONE_NONE &&
		(r.verdict.zone >= NAMED || w->client.zone[r.verdict.zone].state != ZONE_LISTED));
	BUG_ON(r.verdict.score > 0 && r.verdict.zone == ZONE_NONE);
	BUG_ON(r.ttl_s < RESOLVER_TTL_ERROR_S || r.ttl_s > RESOLVER_TTL_MAX_S || r.n_seen > ARRAY_LEN(w->seen));
	for (uint32_t i = 0; i < r.n_seen; i++)
		BUG_ON(ip_addr_is_v4(&r.seen[i].addr) && ip_addr_to_v4(&r.seen[i].addr) >> 24 == 127 &&
			r.seen[i].zone == 0);
	(void)findings_decided(&w->client, &w->rules, &r);
	for (unsigned i = 0; i < ZONES; i++) { /* listed is an answer inside 127.0.0.0/8, no error among those kept */
		const struct findings *f = i == NAMED ? &w->name : &w->client;
		bool inside = false;

		for (unsigned k = 0; k < f->zone[i].n_addrs; k++)
			inside = inside || (ip_addr_is_v4(&f->zone[i].addr[k]) &&
						   ip_addr_to_v4(&f->zone[i].addr[k]) >> 24 == 127);
		BUG_ON(f->zone[i].state == ZONE_LISTED && !inside && f->zone[i].n_addrs < ARRAY_LEN(f->zone[i].addr));
	}
	findings_result(&w->name, &w->rules, &r);
	BUG_ON(r.verdict.ptr_state != PTR_UNKNOWN || r.ptr[0] != '\0' || r.verdict.score < 0);
	BUG_ON(r.verdict.zone != ZONE_NONE && r.verdict.zone != NAMED);
	(void)findings_decided(&w->name, &w->rules, &r);
}

static void
take_zone(struct world *w, struct findings *f, unsigned zone, const struct dns_answer *a)
{
	const bool failed = a->status == DNS_TEMPERR;
	struct zone_weight weight = { 0 };

	if (failed)
		findings_zone_failed(f, zone, 1);
	else
		weight = findings_zone(f, &w->zone[zone], zone, a, 1);
	zone_health_answered(&w->health[zone], failed, w->now_us);
	zone_health_client(&w->health[zone], w->answered++ % 2 == 0, weight.listed && weight.weight > 0);
	BUG_ON(weight.listed && weight.error);
}

static void
piece(struct world *w, uint8_t what, const uint8_t *octets, size_t n)
{
	static const char *const questions[] = { "7.2.0.192.in-addr.arpa", "mail.example.org", "7.2.0.192.bl.example",
		"7.2.0.192.any.example", "7.2.0.192.wl.example", "sender.example.dbl.example", "whoami.bl.example",
		"2.0.0.127.bl.example" };
	static struct dns_answer a;
	bool bad;

	what %= 10;
	if (what < ARRAY_LEN(questions))
		dns_answer_parse(octets, n, questions[what],
			what == 0                 ? DNS_PTR
			: what == 6 && n % 2 == 0 ? DNS_TXT
						  : DNS_A,
			&a);
	else
		a = (struct dns_answer){ .status = DNS_TEMPERR };
	switch (what) {
	case 0:
		if (w->client.ptr_done)
			return; /* a job has one */
		w->absent = a.status == DNS_NONE;
		findings_ptr(&w->client, &a);
		BUG_ON(w->client.n_names > RESOLVER_PTR_NAMES_MAX || w->client.n_forward > w->client.n_names);
		break;
	case 1:
		for (uint32_t i = 0; i < w->client.n_names && w->client.n_forward > 0; i++)
			if (findings_name_is_askable(&w->client, i)) {
				findings_forward(&w->client, i, &a);
				break;
			}
		break;
	case 2:
	case 3:
	case 4:
		take_zone(w, &w->client, what - 2u, &a);
		break;
	case 5:
		take_zone(w, &w->name, NAMED, &a);
		break;
	case 6:
		findings_whoami(&w->client, 1, 0, &a);
		break;
	case 7:
		zone_health_round(&w->health[0], ZONE_POINTS, w->now_us);
		for (unsigned p = 0; p < ZONE_POINTS; p++)
			zone_health_point(&w->health[0], ZONE_V4, (enum zone_point)p, a.status != DNS_TEMPERR,
				zone_weigh(&w->zone[0], &a).listing, w->now_us, &bad);
		BUG_ON(w->health[0].proof_at_us <= w->now_us || w->health[0].proof_at_us > w->now_us + ZONE_PROOF_US);
		break;
	case 8:
		take_zone(w, &w->client, n % NAMED, &a);
		break;
	default:
		w->now_us += 60000000;
		zone_health_window(&w->health[n % ZONES], &bad);
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	begin(&w);
	for (size_t at = 0; at + 3 <= size;) {
		const size_t n = MIN((size_t)(data[at + 1] | data[at + 2] << 8), size - at - 3);

		piece(&w, data[at], data + at + 3, n);
		at += 3 + n;
		check(&w);
	}
	return 0;
}
