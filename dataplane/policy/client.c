/*
 * client.c - a client's verdict: codec, age, effect.
 *
 * Flow:   control's answer -> client_store() -> table;  table -> client_load() -> policy rule 8
 * Pure:   no clock, no I/O, no allocation.
 * Keeps:  only PTR_NONE is absence; a temporary error or an unanswered question has no effect.
 * Source: POLICY section 4.
 */
#include "dataplane/policy/client.h"

#include <assert.h>

#include "dataplane/base/bug.h"

#define SCORE_BIAS     1024
#define ZONE_BITS_NONE 127u

static_assert(CONF_ZONES_MAX < ZONE_BITS_NONE, "a zone's index has 7 bits, one value of which is none");
static_assert(PTR_TEMPERR < 8, "the state of the PTR has 3 bits");

struct vt_entry
client_store(const struct client_verdict *v, uint64_t tag, uint32_t now_s)
{
	const int score = MIN(MAX(v->score, -CLIENT_SCORE_MAX), CLIENT_SCORE_MAX);
	const unsigned zone = v->zone < CONF_ZONES_MAX ? v->zone : ZONE_BITS_NONE;

	return (struct vt_entry){
		.tag = tag,
		.time_s = v->time_s != 0 && v->time_s < now_s ? v->time_s : now_s,
		.aux = (uint16_t)((unsigned)(score + SCORE_BIAS) | (zone & 31) << 11),
		.flags = (uint8_t)((v->ptr_state & 7) | (v->name_list & 3) << 3 | (zone >> 5) << 5),
		.kind_state = vt_kind_state(VT_CLIENT, VT_NONE),
	};
}

struct client_verdict
client_load(const struct vt_entry *e)
{
	const unsigned zone = (unsigned)(e->aux >> 11) | (unsigned)(e->flags >> 5 & 3) << 5;
	const int score = (e->aux & 0x7ff) - SCORE_BIAS;
	const uint8_t ptr = e->flags & 7, name_list = e->flags >> 3 & 3;

	return (struct client_verdict){
		.known = CLIENT_KNOWN,
		.ptr_state = ptr <= PTR_TEMPERR ? ptr : PTR_UNKNOWN,
		.zone = zone < CONF_ZONES_MAX ? (uint8_t)zone : ZONE_NONE,
		.name_list = name_list,
		.score = (int16_t)MIN(MAX(score, -CLIENT_SCORE_MAX), CLIENT_SCORE_MAX),
		.time_s = e->time_s,
	};
}

bool
client_has_hit(const struct client_verdict *v)
{
	return v->known == CLIENT_KNOWN && v->score > 0;
}

struct client_verdict
client_add_names(const struct conf *conf, const struct client_verdict *v, const struct name_verdict *names)
{
	struct client_verdict out = *v;
	int helo = names->helo_score;

	if (helo <= 0 && names->sender_score <= 0)
		return out;
	if (!names->helo_decisive && conf->dnsbl_reject_threshold > 0)
		helo = MIN(helo, conf->dnsbl_reject_threshold - 1);
	if (v->known != CLIENT_KNOWN)
		out = (struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_UNKNOWN, .zone = ZONE_NONE };
	out.score = (int16_t)MIN(MAX(out.score + helo + names->sender_score, -CLIENT_SCORE_MAX), CLIENT_SCORE_MAX);
	return out;
}

static void
take_stronger(struct client_judgement *j, enum client_effect effect, const char *word, const char *reason)
{
	if (effect > j->effect)
		*j = (struct client_judgement){ .effect = effect, .word = word, .reason = reason };
}

/* An effect out of a byte of the configuration: what is no effect has none. */
static enum client_effect
effect_of(uint8_t value)
{
	return value <= EFFECT_REJECT ? (enum client_effect)value : EFFECT_NOTHING;
}

struct client_judgement
client_judge(const struct conf *conf, const struct client_verdict *v)
{
	struct client_judgement j = { .effect = EFFECT_NOTHING, .word = "", .reason = "" };

	if (v->known != CLIENT_KNOWN)
		return j;
	if (conf->dnsbl_reject_threshold > 0 && v->score >= conf->dnsbl_reject_threshold)
		take_stronger(&j, EFFECT_REJECT, "dnsbl", NULL);
	else if (conf->dnsbl_grey_threshold > 0 && v->score >= conf->dnsbl_grey_threshold)
		take_stronger(&j, EFFECT_GREY, "dnsbl", NULL);
	switch ((enum ptr_state)v->ptr_state) {
	case PTR_NONE:
		take_stronger(&j, effect_of(conf->ptr_missing), "no-ptr", "no reverse DNS");
		break;
	case PTR_UNCONFIRMED:
		take_stronger(&j, effect_of(conf->ptr_unconfirmed), "ptr-unconfirmed", "reverse DNS not confirmed");
		break;
	case PTR_GENERIC:
		take_stronger(&j, effect_of(conf->ptr_generic), "ptr-generic", "generic reverse DNS");
		break;
	case PTR_UNKNOWN:
	case PTR_CONFIRMED:
	case PTR_TEMPERR:
		break;
	}
	return j;
}

bool
client_judge_may(const struct conf *conf, uint32_t n_zones, enum client_effect min)
{
	const enum client_effect ptr =
		MAX(effect_of(conf->ptr_missing), MAX(effect_of(conf->ptr_unconfirmed), effect_of(conf->ptr_generic)));

	if (ptr >= min)
		return true;
	if (n_zones == 0)
		return false;
	return conf->dnsbl_reject_threshold > 0 || (min <= EFFECT_GREY && conf->dnsbl_grey_threshold > 0);
}

enum client_age
client_age(const struct conf *conf, const struct client_verdict *v, uint32_t now_s)
{
	uint32_t fresh_s = conf->client_fresh_s, age_s;

	if (v->time_s > now_s) /* of a clock that was ahead: ask anew */
		return CLIENT_AGE_STALE;
	age_s = now_s - v->time_s;
	if (age_s >= fresh_s) {
		/* An old bad verdict could refuse mail of somebody who has long been delisted. */
		if (client_judge(conf, v).effect != EFFECT_NOTHING || v->name_list == NAME_LIST_DENY)
			return CLIENT_AGE_STALE;
		return age_s / CLIENT_USABLE_FACTOR < fresh_s ? CLIENT_AGE_USABLE : CLIENT_AGE_STALE;
	}
	if (v->ptr_state == PTR_TEMPERR && age_s >= CLIENT_TEMPERR_S)
		return CLIENT_AGE_USABLE;
	return CLIENT_AGE_FRESH;
}
