/*
 * session_store.c - where sessions are: the pools of their memory, and the slots by which answers find them.
 *
 * Flow:   session_accept() -> session_store_get() ... session_maybe_free() -> session_store_put();  answer ring -> session_store_at()
 * Touches: nothing but the worker's own state.
 * Keeps:  a session has one slot for its life, and its number holds it; numbers are never used twice, so an answer to a session that is
 *         gone finds nobody. Pages of the pools are touched as sessions come: a start costs no time and rest no memory.
 */
#include "dataplane/worker/session_rest.h"
#include "dataplane/worker/worker_impl.h"

#include <assert.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/large.h"

/* place[slot]: a session's index in its pool, its record where it rests, or of a free slot the next free one, counted from 1. */
#define PLACE_FREE  (UINT32_C(1) << 31)
#define PLACE_REST  (UINT32_C(1) << 30)
#define PLACE_INDEX (PLACE_REST - 1)

/* Up to so many sessions have a block each; more of them mostly wait. */
#define BLOCKS_ALL   65536u
#define BLOCKS_SHARE 16
#define BLOCKS_MIN   256u /* above what one turn can wake */

#define LINE_OF(field) (offsetof(struct session, field) / 64)

static_assert(LINE_OF(client) == 0 && offsetof(struct session, stream) == 64 &&
		      offsetof(struct session, timer) == 128 && offsetof(struct session, number) == 192,
	"what every segment asks about lies in three lines");
static_assert(offsetof(struct session, listener_name) <= 10 * 64, "what a session begins with");
static_assert(BLOCKS_MIN > TURN_FRAMES + 2 * RX_BURST_MAX_SEGS, "a turn wakes no more");

static size_t
session_octets(void)
{
	return sizeof(struct session) + smtp_session_octets() + splice_octets();
}

static size_t
relay_block_octets(void)
{
	return sizeof(struct session_relay) + relay_octets();
}

static uint32_t
n_kept_of(uint32_t sessions)
{
	return MAX(sessions / KEPT_RCPTS_SHARE, 16u);
}

uint32_t
session_store_blocks(const struct conf *conf)
{
	const uint32_t n = conf->busy_sessions != 0 ? MAX(conf->busy_sessions, BLOCKS_MIN)
	                                            : MAX(BLOCKS_ALL, conf->sessions / BLOCKS_SHARE);

	return MIN(conf->sessions, n);
}

uint32_t
session_store_block_octets(void)
{
	return (uint32_t)(pool_stride(session_octets()) + pool_stride(relay_block_octets()));
}

void
session_store_memory(const struct worker *w, struct memory_list *l)
{
	pool_memory(&w->sessions, "sessions not at rest", l);
	pool_memory(&w->relays, "relayed sessions", l);
	pool_memory(&w->kepts, "lists of recipients kept", l);
	pool_memory(&w->texts, "texts of sessions at rest", l);
	memory_list_add(l, "places of sessions", w->n_slots, sizeof(w->place[0]));
}

bool
session_store_create(struct worker *w, const struct conf *conf)
{
	const uint32_t blocks = session_store_blocks(conf), sessions = conf->sessions;

	BUG_ON(sessions > SESSION_SLOT_MASK + 1);
	w->n_slots = sessions;
	w->place = large_alloc(sessions * sizeof(w->place[0]));
	return w->place != NULL && pool_create(&w->sessions, blocks, session_octets()) &&
	       pool_create(&w->relays, blocks, relay_block_octets()) &&
	       pool_create(&w->kepts, n_kept_of(blocks), sizeof(struct kept_rcpts)) &&
	       pool_create(&w->texts, sessions, sizeof(struct session_text));
}

void
session_store_destroy(struct worker *w)
{
	pool_destroy(&w->sessions);
	pool_destroy(&w->relays);
	pool_destroy(&w->kepts);
	pool_destroy(&w->texts);
	large_free(w->place, w->n_slots * sizeof(w->place[0]));
}

void
session_store_drop(struct worker *w)
{
	for (uint32_t i = 0; i < w->n_slots_fresh; i++) {
		struct session *s = session_store_at(w, i);

		if (s != NULL) {
			buf_unref(w->io->pool, s->held.buf);
			if (s->stream != NULL)
				s->stream->ops->destroy(s->stream);
			session_relay_stream_end(s);
		} else if (!(w->place[i] & PLACE_FREE)) {
			session_rest_drop(w, w->place[i] & PLACE_INDEX);
		}
	}
}

static uint32_t
slot_get(struct worker *w)
{
	uint32_t slot;

	if (w->free_slot_plus_1 == 0)
		return w->n_slots_fresh++;
	slot = w->free_slot_plus_1 - 1;
	w->free_slot_plus_1 = w->place[slot] & ~PLACE_FREE;
	return slot;
}

static void
slot_put(struct worker *w, uint32_t slot)
{
	w->place[slot] = PLACE_FREE | w->free_slot_plus_1;
	w->free_slot_plus_1 = slot + 1;
}

/* A block for slot; one is free. */
static struct session *
block_get(struct worker *w, uint32_t slot, uint64_t number)
{
	const uint32_t index = pool_get(&w->sessions);
	struct session *s;

	BUG_ON(index == POOL_NONE);
	w->place[slot] = index;
	s = pool_at(&w->sessions, index);
	memset(s, 0, offsetof(struct session, listener_name));
	s->listener_name[0] = s->lost_backend[0] = s->backend_words[0] = '\0';
	s->message_backend[0] = s->ptr_name[0] = s->message_from[0] = '\0';
	memset(&s->answer, 0, offsetof(struct policy_answer, text));
	s->answer.text[0] = s->answer.enhanced[0] = '\0';
	s->slot = slot;
	s->smtp = (struct smtp_session *)(void *)(s + 1);
	s->splice = (struct splice *)(void *)((uint8_t *)(s + 1) + smtp_session_octets());
	s->live = true;
	s->number = number;
	s->client = (struct end){ .kind = END_CLIENT, .owner = s };
	s->backend = (struct end){ .kind = END_BACKEND, .owner = s };
	s->end_reason = "quit";
	return s;
}

static void
block_put(struct worker *w, struct session *s)
{
	s->live = false;
	pool_put(&w->sessions, w->place[s->slot]);
}

bool
session_store_has_room(const struct worker *w)
{
	return pool_n_free(&w->sessions) > tcp_n_woken(w->tcp);
}

struct session *
session_store_get(struct worker *w)
{
	uint32_t slot;

	if (w->n_live == w->n_slots || !session_store_has_room(w))
		return NULL;
	slot = slot_get(w);
	w->n_live++;
	atomic_store_explicit(&w->n_live_shared, w->n_live, memory_order_relaxed);
	return block_get(w, slot, ++w->next_number << SESSION_SLOT_BITS | slot);
}

void
session_store_put(struct worker *w, struct session *s)
{
	block_put(w, s);
	slot_put(w, s->slot);
	w->n_live--;
	atomic_store_explicit(&w->n_live_shared, w->n_live, memory_order_relaxed);
}

struct session *
session_store_at(const struct worker *w, uint32_t slot)
{
	if (slot >= w->n_slots_fresh || w->place[slot] & (PLACE_FREE | PLACE_REST))
		return NULL;
	return pool_at(&w->sessions, w->place[slot]);
}

void
session_store_rest(struct worker *w, struct session *s, uint32_t record)
{
	block_put(w, s);
	w->place[s->slot] = PLACE_REST | record;
}

struct session *
session_store_wake(struct worker *w, uint64_t number)
{
	return block_get(w, (uint32_t)number & SESSION_SLOT_MASK, number);
}

bool
session_store_visit(struct worker *w, uint32_t slot, struct session **s)
{
	*s = session_store_at(w, slot);
	if (*s != NULL || slot >= w->n_slots_fresh || w->place[slot] & PLACE_FREE)
		return true;
	*s = session_wake(w, w->place[slot] & PLACE_INDEX);
	return *s != NULL;
}

struct session *
session_of_number(struct worker *w, uint64_t number)
{
	const uint32_t slot = (uint32_t)number & SESSION_SLOT_MASK;
	struct session *s = session_store_at(w, slot);

	if (s != NULL)
		return s->number == number ? s : NULL;
	if (slot >= w->n_slots_fresh || w->place[slot] & PLACE_FREE ||
		session_rest_number(w, w->place[slot] & PLACE_INDEX) != number)
		return NULL;
	return session_wake(w, w->place[slot] & PLACE_INDEX);
}

struct session_relay *
session_store_relay_get(struct worker *w)
{
	struct session_relay *r = pool_at(&w->relays, pool_get(&w->relays));

	r->relay = (struct relay *)(void *)(r + 1);
	return r;
}
