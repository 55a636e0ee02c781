/*
 * store_names.c - what people read: names of entries, and rejects for `why`.
 *
 * Flow:   events.c -> store_name_add(), store_why_add() -> queues -> store_write.c;  api_grey.c, api_explain.c -> store_name(), store_why()
 * Touches: LMDB, read only; the queues.
 * Keeps:  a full queue loses readable texts and nothing else (counted).
 */
#include "control/store_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"

/* --- names */

void
store_name_add(struct store *s, uint8_t kind, uint64_t tag, const struct ip_addr *network, uint32_t first_s,
	const char *sender, uint32_t sender_len, const char *rcpt, uint32_t rcpt_len)
{
	struct schema_name n = { .first_s = first_s,
		.sender = { sender, MIN(sender_len, (uint32_t)SCHEMA_PATH_MAX_OCTETS) },
		.rcpt = { rcpt, MIN(rcpt_len, (uint32_t)SCHEMA_PATH_MAX_OCTETS) } };
	uint8_t room[SCHEMA_VALUE_MAX_OCTETS];
	struct queued_name *q;
	size_t octets;

	memcpy(n.network, network->octet, sizeof(n.network));
	octets = schema_name_build(&n, room, sizeof(room));
	if (octets == 0 || s->name_tokens < 1 || s->stats.queued_names == STORE_NAMES_QUEUE ||
		(q = malloc(sizeof(*q) + octets)) == NULL) {
		s->stats.names_lost++;
		return;
	}
	q->kind = kind;
	q->tag = tag;
	q->octets = octets;
	memcpy(q->value, room, octets);
	STAILQ_INSERT_TAIL(&s->names, q, link);
	s->name_tokens -= 1;
	s->stats.queued_names++;
}

static bool
name_take(uint8_t kind, uint64_t tag, const MDB_val *value, struct store_name *out)
{
	struct schema_name n;

	if (schema_name_parse(value->mv_data, value->mv_size, &n) != 0)
		return false;
	out->kind = kind;
	out->tag = tag;
	out->first_s = n.first_s;
	memcpy(out->network.octet, n.network, sizeof(out->network.octet));
	schema_text_copy(n.sender, out->sender, sizeof(out->sender));
	schema_text_copy(n.rcpt, out->rcpt, sizeof(out->rcpt));
	return true;
}

int
store_name(struct store *s, uint8_t kind, uint64_t tag, struct store_name *out)
{
	uint8_t room[SCHEMA_ENTRY_KEY_OCTETS];
	MDB_val key = val(room, schema_entry_key_build(room, kind, tag)), value;
	MDB_txn *txn;
	int error;

	store_queues_flush(s);
	error = store_read_begin(s, &txn);
	if (error != 0)
		return error;
	error = mdb_get(txn, s->dbi[SCHEMA_DB_NAMES], &key, &value);
	if (error == 0 && !name_take(kind, tag, &value, out))
		error = MDB_NOTFOUND;
	mdb_txn_abort(txn);
	return store_failed(s, error, "cannot read");
}

int
store_names(struct store *s, uint8_t kind, uint64_t after, uint32_t max,
	bool (*fn)(void *arg, const struct store_name *name), void *arg)
{
	uint8_t room[SCHEMA_ENTRY_KEY_OCTETS];
	struct store_name name;
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;
	int error;
	uint32_t n = 0;

	if (after == UINT64_MAX)
		return 0;
	store_queues_flush(s);
	error = store_read_begin(s, &txn);
	if (error != 0)
		return error;
	error = mdb_cursor_open(txn, s->dbi[SCHEMA_DB_NAMES], &cursor);
	if (error != 0) {
		mdb_txn_abort(txn);
		return store_failed(s, error, "cannot read");
	}
	key = val(room, schema_entry_key_build(room, kind, after + 1));
	error = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
	while (error == 0 && n < max) {
		uint64_t tag;
		uint8_t k;

		if (schema_entry_key_parse(key.mv_data, key.mv_size, &k, &tag) != 0 || k != kind) {
			error = MDB_NOTFOUND;
			break;
		}
		n++;
		if (name_take(k, tag, &value, &name) && !fn(arg, &name))
			break;
		error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	if (error != 0 && error != MDB_NOTFOUND)
		return store_failed(s, error, "cannot read");
	return error == 0 && n == max;
}

int
store_entry_by_ref(struct store *s, uint8_t kind, uint64_t ref, uint64_t *tag)
{
	uint8_t room[SCHEMA_ENTRY_KEY_OCTETS], k = 0;
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;
	uint64_t at = 0;
	int error;

	store_queues_flush(s);
	error = store_read_begin(s, &txn);
	if (error != 0)
		return error;
	/* names are written with the first attempt, entries at a bounded rate: the name is the surer one */
	for (unsigned i = 0; i < 2; i++) {
		key = val(room, schema_entry_key_build(room, kind, ref << 24));
		error = mdb_cursor_open(txn, s->dbi[i == 0 ? SCHEMA_DB_NAMES : SCHEMA_DB_ENTRIES], &cursor);
		if (error != 0)
			break;
		error = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
		if (error == 0 && (schema_entry_key_parse(key.mv_data, key.mv_size, &k, &at) != 0 || k != kind ||
					  at >> 24 != ref))
			error = MDB_NOTFOUND;
		mdb_cursor_close(cursor);
		if (error == 0) {
			*tag = at;
			break;
		}
	}
	mdb_txn_abort(txn);
	return store_failed(s, error, "cannot read");
}

/* --- rejects */

static char *
text_keep(struct schema_text *t, uint32_t max, char *at)
{
	t->len_octets = MIN(t->len_octets, max);
	if (t->len_octets > 0)
		memcpy(at, t->ptr, t->len_octets);
	t->ptr = at;
	return at + t->len_octets;
}

static size_t
why_texts(const struct schema_why *w)
{
	return (size_t)w->listener.len_octets + w->ptr.len_octets + w->helo.len_octets + w->from.len_octets +
	       w->rcpt.len_octets + w->reason.len_octets + w->reply.len_octets;
}

static void
why_keep(struct schema_why *w, char *at)
{
	at = text_keep(&w->listener, SCHEMA_WORD_MAX_OCTETS, at);
	at = text_keep(&w->ptr, SCHEMA_HOST_MAX_OCTETS, at);
	at = text_keep(&w->helo, SCHEMA_HOST_MAX_OCTETS, at);
	at = text_keep(&w->from, SCHEMA_PATH_MAX_OCTETS, at);
	at = text_keep(&w->rcpt, SCHEMA_PATH_MAX_OCTETS, at);
	at = text_keep(&w->reason, SCHEMA_WORD_MAX_OCTETS, at);
	text_keep(&w->reply, SCHEMA_REPLY_MAX_OCTETS, at);
}

void
store_why_add(struct store *s, uint64_t ref, const struct schema_why *w)
{
	struct queued_why *q;

	if (s->stats.queued_why == STORE_WHY_QUEUE || (q = malloc(sizeof(*q) + why_texts(w))) == NULL) {
		s->stats.why_lost++;
		return;
	}
	q->ref = ref;
	q->why = *w;
	why_keep(&q->why, q->room);
	STAILQ_INSERT_TAIL(&s->whys, q, link);
	s->stats.queued_why++;
}

int
store_why(struct store *s, uint64_t ref, struct schema_why *out, char room[SCHEMA_VALUE_MAX_OCTETS])
{
	uint8_t key_room[SCHEMA_WHY_KEY_OCTETS];
	MDB_val key = val(key_room, schema_why_key_build(key_room, ref)), value;
	struct queued_why *q;
	MDB_txn *txn;
	int error;

	store_queues_flush(s);
	STAILQ_FOREACH (q, &s->whys, link)
		if (q->ref == ref &&
			why_texts(&q->why) <= SCHEMA_VALUE_MAX_OCTETS) { /* the disk is full: it is in memory alone */
			*out = q->why;
			why_keep(out, room);
			return 0;
		}
	error = store_read_begin(s, &txn);
	if (error != 0)
		return error;
	error = mdb_get(txn, s->dbi[SCHEMA_DB_WHY], &key, &value);
	if (error == 0 &&
		(schema_why_parse(value.mv_data, value.mv_size, out) != 0 || why_texts(out) > SCHEMA_VALUE_MAX_OCTETS))
		error = MDB_NOTFOUND;
	if (error == 0)
		why_keep(out, room);
	mdb_txn_abort(txn);
	return store_failed(s, error, "cannot read");
}
