/*
 * rules_client.c - rules 8 and 9: what DNS says of the client and its names, and its manners.
 *
 * Flow:   policy.c (order of tests) -> rule_client(), rule_protocol() -> judge_refuse()
 * Touches: the automatic allow of a listed client's network, unless dry.
 * Source: POLICY sections 2 and 4.
 */
#include "dataplane/policy/judge.h"

#include "dataplane/policy/autoallow.h"

static const char *
zone_name(const struct judge *j, uint8_t zone)
{
	return j->ctx->zones != NULL && zone < j->ctx->n_zones && j->ctx->zones[zone].name[0] != '\0'
	               ? j->ctx->zones[zone].name
	               : "blocklist";
}

/* What weighs on a client whose score has an effect: its own zone where that would do alone, else the heavier of its names. */
struct blame {
	const char *word; /* for the log */
	uint8_t zone;
};

static struct blame
blame_of(const struct judge *j)
{
	const struct name_verdict *n = &j->q->names;
	const bool by_client = client_judge(j->ctx->conf, &j->q->verdict).effect >= j->client.effect;

	if (by_client || (n->helo_score <= 0 && n->sender_score <= 0))
		return (struct blame){ "dnsbl", j->q->verdict.zone };
	return n->sender_score >= n->helo_score ? (struct blame){ "dnsbl-sender", n->sender_zone }
	                                        : (struct blame){ "dnsbl-helo", n->helo_zone };
}

/* Whether any zone is asked about addresses: lists of names come last in the table of zones. */
static uint32_t
client_zones(const struct policy_ctx *ctx)
{
	return ctx->n_zones > 0 && (ctx->zones == NULL || ctx->zones[0].kind == ZONE_KIND_CLIENT) ? ctx->n_zones : 0;
}

/* What an answer that is still missing could do. */
static void
client_may(struct judge *j)
{
	const struct conf *conf = j->ctx->conf;
	const int names = j->names_open ? conf->helo_weight_max + conf->sender_weight_max : 0;

	if (j->open) {
		j->may_reject |= client_judge_may(conf, client_zones(j->ctx), EFFECT_DEFER);
		j->may_doubt |= client_judge_may(conf, client_zones(j->ctx), EFFECT_GREY);
	}
	if (names == 0)
		return;
	/* beside an open score of the client any weight may be the one that was missing */
	if (conf->dnsbl_reject_threshold > 0 && (j->open || j->listed.score + names >= conf->dnsbl_reject_threshold))
		j->may_reject = true;
	if (conf->dnsbl_grey_threshold > 0 && (j->open || j->listed.score + names >= conf->dnsbl_grey_threshold) &&
		j->client.effect < EFFECT_GREY)
		j->may_doubt = true;
}

static void
client_trace(const struct judge *j, bool is)
{
	const struct client_verdict *v = &j->q->verdict;
	const struct name_verdict *n = &j->q->names;

	if (j->trace == NULL)
		return;
	if (j->listed.known != CLIENT_KNOWN) {
		judge_trace(j, RULE_CLIENT, false,
			j->open ? "DNS has not answered yet" : "DNS did not answer in time: decided without");
		return;
	}
	judge_trace(j, RULE_CLIENT, is, "score %d%s%s%s%s%s%s, reverse DNS %s: %s", j->listed.score,
		v->zone != ZONE_NONE ? ", most by " : "", v->zone != ZONE_NONE ? zone_name(j, v->zone) : "",
		n->helo_score > 0 ? ", HELO name in " : "", n->helo_score > 0 ? zone_name(j, n->helo_zone) : "",
		n->sender_score > 0 ? ", sender's domain in " : "",
		n->sender_score > 0 ? zone_name(j, n->sender_zone) : "", policy_ptr_name((enum ptr_state)v->ptr_state),
		j->client.effect == EFFECT_REJECT  ? "refused"
		: j->client.effect == EFFECT_DEFER ? "deferred"
		: j->client.effect == EFFECT_GREY  ? "greylisted for twice the block"
						   : "nothing");
}

/* 8. The client's verdict: score of the lists and reverse DNS. */
bool
rule_client(struct judge *j)
{
	const bool is = j->client.effect >= EFFECT_DEFER;
	struct blame by;

	client_may(j);
	client_trace(j, is);
	if (client_has_hit(&j->q->verdict) &&
		!j->q->dry) /* its own: a listed sender is no fault of the network that relays him */
		autoallow_lose(j->ctx, &j->network, j->q->now_s);
	j->doubt = j->client.effect == EFFECT_GREY;
	if (!is)
		return false;
	judge_count(j, j->client.effect == EFFECT_REJECT ? CTR_policy_client_refused : CTR_policy_client_deferred);
	by = j->client.reason != NULL ? (struct blame){ j->client.word, ZONE_NONE } : blame_of(j);
	return judge_refuse(j, RULE_CLIENT, j->client.effect == EFFECT_REJECT ? VERDICT_REJECT : VERDICT_DEFER, by.word,
		j->client.reason != NULL ? j->client.reason : zone_name(j, by.zone));
}

/* 9. HELO and protocol tests: at most "greylist longer" (RFC 5321 section 4.1.4). */
bool
rule_protocol(struct judge *j)
{
	if (judge_has_bad_manners(j->ctx, j->q))
		j->doubt = true;
	judge_trace(j, RULE_PROTOCOL, false, "protocol score %u", j->q->protocol_score);
	return false;
}
