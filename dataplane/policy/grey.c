/*
 * grey.c - the greylist decision for one delivery attempt of one triplet.
 *
 * Flow:   smtp_session (RCPT TO) -> policy_rcpt() -> grey_decide() -> answer -> SMTP reply
 * Pure:   no clock, no I/O, no allocation; time and record come in as arguments.
 * Keeps:  1 <= wait_s <= block_s in every deferral, whatever the clock did.
 * Source: POLICY section 3; RFC 6647 (greylisting). Intervals are half open, as the policy table has them.
 */
#include "dataplane/policy/grey.h"

#include "dataplane/base/bug.h"

/* A period of 0 s would promise "try again in 0 seconds"; the configuration begins at 1 s. */
static uint32_t
grey_block_s(const struct grey_conf *conf)
{
	return MAX(conf->block_s, 1u);
}

uint32_t
grey_window_s(const struct grey_conf *conf, uint8_t lapsed)
{
	const uint64_t cap_s = MAX(conf->window_max_s, conf->pass_s), block_s = grey_block_s(conf);
	uint64_t window_s = (uint64_t)conf->pass_s << MIN(lapsed, GREY_LAPSED_MAX);

	window_s = MIN(window_s, cap_s);
	/* A block set longer than the window (or doubled for a doubtful client) must leave a moment in which a retry passes. */
	if (window_s <= block_s)
		window_s = 2 * block_s;
	return (uint32_t)MIN(window_s, UINT32_MAX);
}

static struct grey_answer
grey_defer(uint32_t wait_s, enum grey_event event)
{
	return (struct grey_answer){ .verdict = VERDICT_DEFER, .wait_s = wait_s, .event = event };
}

static struct grey_answer
grey_restart(
	const struct grey_conf *conf, struct grey_record *rec, uint32_t now_s, uint8_t lapsed, enum grey_event event)
{
	*rec = (struct grey_record){ .state = GREY_WAITING, .time_s = now_s, .lapsed = lapsed };
	return grey_defer(grey_block_s(conf), event);
}

static struct grey_answer
grey_pass(struct grey_record *rec, uint32_t now_s, uint32_t waited_s, enum grey_event event)
{
	*rec = (struct grey_record){ .state = GREY_WHITE, .time_s = now_s };
	return (struct grey_answer){ .verdict = VERDICT_PASS, .waited_s = waited_s, .event = event };
}

static struct grey_answer
grey_in_waiting(const struct grey_conf *conf, struct grey_record *rec, uint32_t now_s)
{
	const uint32_t age_s = now_s - rec->time_s, block_s = grey_block_s(conf),
		       window_s = grey_window_s(conf, rec->lapsed);

	if (age_s < block_s)
		return grey_defer(block_s - age_s, GREY_EVENT_EARLY);
	if (age_s < window_s)
		return grey_pass(rec, now_s, age_s, GREY_EVENT_PASSED);
	if (age_s - window_s >= conf->lapse_memory_s)
		return grey_restart(conf, rec, now_s, 0, GREY_EVENT_EXPIRED);
	return grey_restart(conf, rec, now_s, (uint8_t)MIN(rec->lapsed + 1, GREY_LAPSED_MAX), GREY_EVENT_LAPSED);
}

static struct grey_answer
grey_in_white(const struct grey_conf *conf, struct grey_record *rec, uint32_t now_s)
{
	if (now_s - rec->time_s >= conf->expire_s)
		return grey_restart(conf, rec, now_s, 0, GREY_EVENT_EXPIRED);
	return grey_pass(rec, now_s, 0, GREY_EVENT_RENEWED);
}

struct grey_answer
grey_decide(const struct grey_conf *conf, struct grey_record *rec, uint32_t now_s)
{
	/* A time in the future is set to now, not just counted as now: else a record from a clock far ahead would be answered with
	 * the whole block again and again, and "try again in N seconds" would not hold. */
	const bool clock_ahead = rec->state != GREY_NONE && rec->time_s > now_s;
	struct grey_answer answer = { 0 };

	if (clock_ahead)
		rec->time_s = now_s;
	switch (rec->state) {
	case GREY_NONE:
		answer = grey_restart(conf, rec, now_s, 0, GREY_EVENT_NEW);
		break;
	case GREY_WAITING:
		answer = grey_in_waiting(conf, rec, now_s);
		break;
	case GREY_WHITE:
		answer = grey_in_white(conf, rec, now_s);
		break;
	}
	answer.clock_ahead = clock_ahead;
	return answer;
}

bool
grey_is_worth_writing(const struct grey_conf *conf, const struct grey_record *before, const struct grey_record *after)
{
	if (before->state != after->state || before->lapsed != after->lapsed || before->time_s > after->time_s)
		return true;
	if (after->state != GREY_WHITE)
		return before->time_s != after->time_s;
	return after->time_s - before->time_s > MIN((uint32_t)GREY_RENEW_S, conf->expire_s / 64);
}

struct grey_record
grey_load(const struct vt_entry *e)
{
	struct grey_record rec = { .time_s = e->time_s };

	if (vt_kind(e) == VT_TRIPLET && vt_state(e) == VT_GREY) {
		rec.state = GREY_WAITING;
		rec.lapsed = e->flags & GREY_LAPSED_MAX;
	} else if (vt_kind(e) == VT_TRIPLET && vt_state(e) == VT_WHITE) {
		rec.state = GREY_WHITE;
	} else {
		rec.time_s = 0;
	}
	return rec;
}

struct vt_entry
grey_store(const struct grey_record *rec, uint64_t tag)
{
	return (struct vt_entry){
		.tag = tag,
		.time_s = rec->time_s,
		.flags = rec->lapsed,
		.kind_state = vt_kind_state(VT_TRIPLET, rec->state == GREY_WHITE ? VT_WHITE : VT_GREY),
	};
}
