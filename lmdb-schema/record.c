/*
 * record.c - see record.h.
 *
 * Pure:   see the header.
 * Keeps:  each pair of build and parse names the same fields in the same order; that is the encoding, and README.md
 *         repeats it.
 */
#include "lmdb-schema/record.h"

#include <errno.h>

#include "lmdb-schema/key.h"
#include "lmdb-schema/octets_io.h"

/* The highest number an entry's state may have: a nibble in memory. */
#define ENTRY_STATE_MAX 15
#define ENTRY_OCTETS    9 /* version, state, flags, aux, time */

struct schema_text
schema_text_of(const char *s)
{
	return (struct schema_text){ .ptr = s != NULL ? s : "", .len_octets = s != NULL ? (uint32_t)strlen(s) : 0 };
}

char *
schema_text_copy(struct schema_text t, char *out, size_t room)
{
	const size_t n = t.len_octets < room ? t.len_octets : room - 1;

	if (n > 0)
		memcpy(out, t.ptr, n);
	out[n] = '\0';
	return out;
}

static struct schema_out
begin(uint8_t *out, size_t room, uint8_t version)
{
	struct schema_out o = { .at = out, .room = room };

	out_uint(&o, version, 1);
	return o;
}

static size_t
finish(const struct schema_out *o)
{
	return o->failed ? 0 : o->used;
}

/* 0 and the rest of the value, when its version is the one given. */
static int
open_value(struct schema_in *in, const void *value, size_t octets, uint8_t version)
{
	*in = (struct schema_in){ .at = value, .left = octets };
	if (octets == 0)
		return -EBADMSG;
	return in_uint(in, 1) == version ? 0 : -ENOTSUP;
}

static void
out_text(struct schema_out *o, struct schema_text t, uint32_t max)
{
	if (t.len_octets > max)
		o->failed = true;
	out_uint(o, t.len_octets, 2);
	out_octets(o, t.ptr, t.len_octets);
}

static struct schema_text
in_text(struct schema_in *in, uint32_t max)
{
	const uint32_t len = (uint32_t)in_uint(in, 2);
	const uint8_t *p;

	if (len > max)
		in->failed = true;
	p = in_octets(in, len);
	return (struct schema_text){ .ptr = p != NULL ? (const char *)p : "", .len_octets = p != NULL ? len : 0 };
}

size_t
schema_entry_build(const struct schema_entry *e, uint8_t *out, size_t room)
{
	struct schema_out o = begin(out, room, SCHEMA_ENTRY_VERSION);

	out_uint(&o, e->state, 1);
	out_uint(&o, e->flags, 1);
	out_uint(&o, e->aux, 2);
	out_uint(&o, e->time_s, 4);
	return finish(&o);
}

int
schema_entry_parse(const void *value, size_t octets, struct schema_entry *out)
{
	const uint8_t *p = value;

	if (octets == 0)
		return -EBADMSG;
	if (p[0] != SCHEMA_ENTRY_VERSION)
		return -ENOTSUP;
	if (octets != ENTRY_OCTETS || p[1] > ENTRY_STATE_MAX)
		return -EBADMSG;
	*out = (struct schema_entry){ .state = p[1],
		.flags = p[2],
		.aux = (uint16_t)get_uint(p + 3, 2),
		.time_s = (uint32_t)get_uint(p + 5, 4) };
	return 0;
}

size_t
schema_name_build(const struct schema_name *n, uint8_t *out, size_t room)
{
	struct schema_out o = begin(out, room, SCHEMA_NAME_VERSION);

	out_octets(&o, n->network, sizeof(n->network));
	out_uint(&o, n->first_s, 4);
	out_text(&o, n->sender, SCHEMA_PATH_MAX_OCTETS);
	out_text(&o, n->rcpt, SCHEMA_PATH_MAX_OCTETS);
	return finish(&o);
}

int
schema_name_parse(const void *value, size_t octets, struct schema_name *out)
{
	struct schema_in in;
	struct schema_name n;
	int rc = open_value(&in, value, octets, SCHEMA_NAME_VERSION);

	if (rc != 0)
		return rc;
	in_copy(&in, n.network, sizeof(n.network));
	n.first_s = (uint32_t)in_uint(&in, 4);
	n.sender = in_text(&in, SCHEMA_PATH_MAX_OCTETS);
	n.rcpt = in_text(&in, SCHEMA_PATH_MAX_OCTETS);
	if (!in_done(&in))
		return -EBADMSG;
	*out = n;
	return 0;
}

size_t
schema_option_build(const struct schema_option *op, uint8_t *out, size_t room)
{
	struct schema_out o = begin(out, room, SCHEMA_OPTION_VERSION);

	out_uint(&o, op->set_wall_s, 8);
	out_text(&o, op->text, SCHEMA_OPTION_MAX_OCTETS);
	return finish(&o);
}

int
schema_option_parse(const void *value, size_t octets, struct schema_option *out)
{
	struct schema_in in;
	struct schema_option op;
	int rc = open_value(&in, value, octets, SCHEMA_OPTION_VERSION);

	if (rc != 0)
		return rc;
	op.set_wall_s = in_uint(&in, 8);
	op.text = in_text(&in, SCHEMA_OPTION_MAX_OCTETS);
	if (!in_done(&in))
		return -EBADMSG;
	*out = op;
	return 0;
}

size_t
schema_backend_build(const struct schema_backend *b, uint8_t *out, size_t room)
{
	struct schema_out o = begin(out, room, SCHEMA_BACKEND_VERSION);

	out_uint(&o, b->health, 1);
	out_uint(&o, b->drained, 1);
	out_uint(&o, b->failures, 1);
	out_uint(&o, b->probed, 1);
	out_uint(&o, b->ext, 4);
	out_uint(&o, b->probed_s, 4);
	out_uint(&o, b->relaytest_s, 4);
	out_uint(&o, b->changed_s, 4);
	out_uint(&o, b->size_octets, 8);
	out_text(&o, b->words, SCHEMA_REPLY_MAX_OCTETS);
	return finish(&o);
}

int
schema_backend_parse(const void *value, size_t octets, struct schema_backend *out)
{
	struct schema_in in;
	struct schema_backend b;
	int rc = open_value(&in, value, octets, SCHEMA_BACKEND_VERSION);

	if (rc != 0)
		return rc;
	b.health = (uint8_t)in_uint(&in, 1);
	b.drained = (uint8_t)in_uint(&in, 1);
	b.failures = (uint8_t)in_uint(&in, 1);
	b.probed = (uint8_t)in_uint(&in, 1);
	b.ext = (uint32_t)in_uint(&in, 4);
	b.probed_s = (uint32_t)in_uint(&in, 4);
	b.relaytest_s = (uint32_t)in_uint(&in, 4);
	b.changed_s = (uint32_t)in_uint(&in, 4);
	b.size_octets = in_uint(&in, 8);
	b.words = in_text(&in, SCHEMA_REPLY_MAX_OCTETS);
	if (!in_done(&in))
		return -EBADMSG;
	*out = b;
	return 0;
}

size_t
schema_why_build(const struct schema_why *w, uint8_t *out, size_t room)
{
	struct schema_out o = begin(out, room, SCHEMA_WHY_VERSION);

	out_uint(&o, w->sequence, 8);
	out_uint(&o, w->wall_s, 8);
	out_uint(&o, w->time_s, 4);
	out_octets(&o, w->client, sizeof(w->client));
	out_uint(&o, w->verdict, 1);
	out_uint(&o, w->rule, 1);
	out_uint(&o, w->mode, 1);
	out_uint(&o, w->code, 2);
	out_uint(&o, (uint16_t)w->score, 2);
	out_text(&o, w->listener, SCHEMA_WORD_MAX_OCTETS);
	out_text(&o, w->ptr, SCHEMA_HOST_MAX_OCTETS);
	out_text(&o, w->helo, SCHEMA_HOST_MAX_OCTETS);
	out_text(&o, w->from, SCHEMA_PATH_MAX_OCTETS);
	out_text(&o, w->rcpt, SCHEMA_PATH_MAX_OCTETS);
	out_text(&o, w->reason, SCHEMA_WORD_MAX_OCTETS);
	out_text(&o, w->reply, SCHEMA_REPLY_MAX_OCTETS);
	return finish(&o);
}

int
schema_why_parse(const void *value, size_t octets, struct schema_why *out)
{
	struct schema_in in;
	struct schema_why w;
	int rc = open_value(&in, value, octets, SCHEMA_WHY_VERSION);

	if (rc != 0)
		return rc;
	w.sequence = in_uint(&in, 8);
	w.wall_s = in_uint(&in, 8);
	w.time_s = (uint32_t)in_uint(&in, 4);
	in_copy(&in, w.client, sizeof(w.client));
	w.verdict = (uint8_t)in_uint(&in, 1);
	w.rule = (uint8_t)in_uint(&in, 1);
	w.mode = (uint8_t)in_uint(&in, 1);
	w.code = (uint16_t)in_uint(&in, 2);
	w.score = (int16_t)in_uint(&in, 2);
	w.listener = in_text(&in, SCHEMA_WORD_MAX_OCTETS);
	w.ptr = in_text(&in, SCHEMA_HOST_MAX_OCTETS);
	w.helo = in_text(&in, SCHEMA_HOST_MAX_OCTETS);
	w.from = in_text(&in, SCHEMA_PATH_MAX_OCTETS);
	w.rcpt = in_text(&in, SCHEMA_PATH_MAX_OCTETS);
	w.reason = in_text(&in, SCHEMA_WORD_MAX_OCTETS);
	w.reply = in_text(&in, SCHEMA_REPLY_MAX_OCTETS);
	if (!in_done(&in))
		return -EBADMSG;
	*out = w;
	return 0;
}

size_t
schema_order_build(uint64_t ref, uint8_t *out, size_t room)
{
	struct schema_out o = begin(out, room, SCHEMA_ORDER_VERSION);

	out_uint(&o, ref & SCHEMA_REF_MAX, SCHEMA_WHY_KEY_OCTETS);
	return finish(&o);
}

int
schema_order_parse(const void *value, size_t octets, uint64_t *ref)
{
	struct schema_in in;
	uint64_t v;
	int rc = open_value(&in, value, octets, SCHEMA_ORDER_VERSION);

	if (rc != 0)
		return rc;
	v = in_uint(&in, SCHEMA_WHY_KEY_OCTETS);
	if (!in_done(&in))
		return -EBADMSG;
	*ref = v;
	return 0;
}

size_t
schema_meta_build(const struct schema_meta *m, uint8_t *out, size_t room)
{
	struct schema_out o = begin(out, room, SCHEMA_META_VERSION);

	out_uint(&o, m->schema, 4);
	out_uint(&o, m->created_wall_s, 8);
	return finish(&o);
}

int
schema_meta_parse(const void *value, size_t octets, struct schema_meta *out)
{
	struct schema_in in;
	struct schema_meta m;
	int rc = open_value(&in, value, octets, SCHEMA_META_VERSION);

	if (rc != 0)
		return rc;
	m.schema = (uint32_t)in_uint(&in, 4);
	m.created_wall_s = in_uint(&in, 8);
	if (!in_done(&in) || m.schema == 0)
		return -EBADMSG;
	*out = m;
	return 0;
}

size_t
schema_table_key_build(const struct schema_table_key *k, uint8_t *out, size_t room)
{
	struct schema_out o = begin(out, room, SCHEMA_META_VERSION);

	out_uint(&o, k->k0, 8);
	out_uint(&o, k->k1, 8);
	return finish(&o);
}

int
schema_table_key_parse(const void *value, size_t octets, struct schema_table_key *out)
{
	struct schema_in in;
	struct schema_table_key k;
	int rc = open_value(&in, value, octets, SCHEMA_META_VERSION);

	if (rc != 0)
		return rc;
	k.k0 = in_uint(&in, 8);
	k.k1 = in_uint(&in, 8);
	if (!in_done(&in) || (k.k0 == 0 && k.k1 == 0)) /* no secret at all: zeroed by damage */
		return -EBADMSG;
	*out = k;
	return 0;
}

size_t
schema_policy_time_build(const struct schema_policy_time *p, uint8_t *out, size_t room)
{
	struct schema_out o = begin(out, room, SCHEMA_META_VERSION);

	out_uint(&o, (uint64_t)p->offset_s, 8);
	out_text(&o, schema_text_of(p->boot_id), SCHEMA_BOOT_ID_MAX_OCTETS);
	return finish(&o);
}

int
schema_policy_time_parse(const void *value, size_t octets, struct schema_policy_time *out)
{
	struct schema_in in;
	struct schema_policy_time p;
	struct schema_text boot_id;
	int rc = open_value(&in, value, octets, SCHEMA_META_VERSION);

	if (rc != 0)
		return rc;
	p.offset_s = (int64_t)in_uint(&in, 8);
	boot_id = in_text(&in, SCHEMA_BOOT_ID_MAX_OCTETS);
	if (!in_done(&in) || memchr(boot_id.ptr, '\0', boot_id.len_octets) != NULL)
		return -EBADMSG;
	schema_text_copy(boot_id, p.boot_id, sizeof(p.boot_id));
	*out = p;
	return 0;
}
