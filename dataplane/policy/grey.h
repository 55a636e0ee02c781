/*
 * grey.h - the greylist decision, and how its record lies in the 16 octets of a table entry.
 *
 * Flow:   smtp_session (RCPT TO) -> policy_rcpt() -> grey_decide() -> answer -> SMTP reply
 * Pure:   no clock, no I/O, no allocation; time and record come in as arguments.
 * Keeps:  1 <= wait_s <= block_s in every deferral, and a retry exactly wait_s later passes, whatever the clock did.
 * Source: POLICY section 3; RFC 6647.
 *
 * The record in a vt_entry of kind VT_TRIPLET (grey_load(), grey_store()):
 *
 *   time_s      GREY: first attempt of this window.  WHITE: last attempt let through.
 *   kind_state  VT_TRIPLET << 4 | VT_GREY or VT_WHITE. VT_LAPSED is not used: a lapse is a number, and its entry stays GREY.
 *   flags       bits 0 to 4: how often in a row the window lapsed (0 to GREY_LAPSED_MAX); bits 5 to 7: zero.
 *   aux         zero.
 */
#ifndef GREYLINE_POLICY_GREY_H
#define GREYLINE_POLICY_GREY_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/verdict.h"
#include "dataplane/table/verdict_table.h"

/* The shortest period is 1 s and the longest window 4 days: 19 doublings reach it; 5 bits hold them. */
#define GREY_LAPSED_MAX 31

/* `last` of a WHITE record is written again only when older than this or 1/64 of expire, whichever is less (DESIGN section 3). */
#define GREY_RENEW_S 3600

struct grey_conf {
	uint32_t block_s, pass_s, expire_s;
	uint32_t lapse_memory_s; /* a lapse is remembered for so long after its window closed */
	uint32_t window_max_s;   /* the cap of a window doubled after lapses */
};

enum grey_state { GREY_NONE, GREY_WAITING, GREY_WHITE };

struct grey_record {
	enum grey_state state;
	uint32_t time_s;
	uint8_t lapsed; /* windows in a row that closed without a retry inside */
};

/* What happened to the record, for counters and log. */
enum grey_event {
	GREY_EVENT_NEW,     /* first ever */
	GREY_EVENT_EARLY,   /* within the block: record unchanged */
	GREY_EVENT_PASSED,  /* came back within the window: WHITE from now on */
	GREY_EVENT_RENEWED, /* WHITE already */
	GREY_EVENT_EXPIRED, /* was WHITE, or GREY so long ago that its lapse is forgotten: starts anew */
	GREY_EVENT_LAPSED,  /* came back after the window: starts anew, the next window is doubled */
};

struct grey_answer {
	enum verdict verdict; /* VERDICT_PASS or VERDICT_DEFER */
	uint32_t wait_s;      /* of a deferral */
	uint32_t waited_s;    /* of GREY_EVENT_PASSED: since first */
	enum grey_event event;
	bool clock_ahead; /* the record's time lay in the future and was set to now */
};

/* The window of a record that lapsed so often: from first, in seconds; always longer than the block. */
uint32_t grey_window_s(const struct grey_conf *conf, uint8_t lapsed);

/*
 * The answer for an attempt at now_s (policy time, seconds). Borrows conf. Borrows rec (all zero when there is none) and updates it in
 * place; the caller stores it. Cannot fail.
 */
struct grey_answer grey_decide(const struct grey_conf *conf, struct grey_record *rec, uint32_t now_s);

/* Whether after is worth a write in place of before: always but for a WHITE record renewed a moment ago. */
bool grey_is_worth_writing(
	const struct grey_conf *conf, const struct grey_record *before, const struct grey_record *after);

/* An entry as a record; one of another kind or state is no record. */
struct grey_record grey_load(const struct vt_entry *e);
struct vt_entry grey_store(const struct grey_record *rec, uint64_t tag);

#endif
