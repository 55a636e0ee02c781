/*
 * world.c - see world.h.
 */
#include "tests/unit/policy/world.h"

#include <stdlib.h>

#include "dataplane/table/name_set.h"
#include "dataplane/table/prefix.h"

const void *
world_names(struct world *w, const char *const *list, const uint64_t *values)
{
	struct name_set_entry e[16];
	uint32_t n = 0;
	size_t octets;
	void *out;

	for (; list[n] != NULL; n++)
		e[n] = (struct name_set_entry){ .name = list[n],
			.len_octets = (uint32_t)strlen(list[n]),
			.value = values != NULL ? values[n] : 1 };
	octets = name_set_octets(e, n);
	out = aligned_alloc(64, (octets + 63) / 64 * 64);
	assert_true(name_set_build(out, octets, e, n, 5) > 0);
	w->lists[w->n_lists++] = out;
	return out;
}

const void *
world_networks(struct world *w, const char *a, const char *b)
{
	const char *const text[2] = { a, b };
	struct prefix_entry e[2];
	uint32_t n = 0;
	size_t octets;
	void *out;

	while (n < 2 && text[n] != NULL) {
		assert_int_equal(prefix_parse(text[n], &e[n]), 0);
		n++;
	}
	octets = prefix_table_octets(n);
	out = aligned_alloc(64, (octets + 63) / 64 * 64);
	assert_true(prefix_table_build(out, octets, e, n, 5) > 0);
	w->lists[w->n_lists++] = out;
	return out;
}

void
from_client(struct world *w, const char *client)
{
	assert_int_equal(ip_addr_parse(client, &w->q.client), 0);
}

struct client_verdict
clean(void)
{
	return (struct client_verdict){ .known = CLIENT_KNOWN, .ptr_state = PTR_CONFIRMED, .zone = ZONE_NONE };
}

int
world_setup(void **state)
{
	static const char *const domains[] = { "example.org", ".sub.example.org", "other.example", "*",
		"xn--bcher-kva.example", NULL };
	static const uint64_t values[] = { 1 | UINT64_C(3) << 32, 1 | UINT64_C(4) << 32, 2, 1 | UINT64_C(9) << 32, 1 };
	const struct siphash_key key = { 0x1234, 0x5678 };
	const size_t octets = (verdict_table_octets(BUCKETS) + 63) / 64 * 64;
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->conf = (struct conf){
		.mode = MODE_ENFORCE,
		.ptr_missing = EFFECT_REJECT,
		.grey_block_s = BLOCK_S,
		.grey_pass_s = 21600,
		.grey_expire_s = 36 * DAY_S,
		.grey_lapse_memory_s = 7 * DAY_S,
		.grey_window_max_s = 4 * DAY_S,
		.grey_auto_after = 5,
		.grey_source_budget = 0,
		.dnsbl_reject_threshold = 5,
		.dnsbl_grey_threshold = 1,
		.client_fresh_s = 43200,
		.trap_s = DAY_S,
	};
	snprintf(w->zones[0].name, sizeof(w->zones[0].name), "bl.lab.example");
	snprintf(w->zones[1].name, sizeof(w->zones[1].name), "public.name");
	w->memory = aligned_alloc(64, octets);
	memset(w->memory, 0, octets);
	verdict_table_bind(&w->table, w->memory, BUCKETS, &key);
	w->budget = calloc(SOURCE_BUDGET_CELLS, sizeof(*w->budget));
	w->ctx = (struct policy_ctx){ .conf = &w->conf,
		.domains = world_names(w, domains, values),
		.zones = w->zones,
		.n_zones = 2,
		.table = &w->table,
		.budget = w->budget,
		.counters = &w->counters };
	w->q = (struct policy_question){ .verdict = clean(),
		.helo = "mail.sender.example",
		.ptr_name = "mail.sender.example",
		.from = "alice@sender.example",
		.rcpt = "bob@example.org",
		.now_s = NOW_S };
	from_client(w, "192.0.2.10");
	*state = w;
	return 0;
}

int
world_teardown(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < w->n_lists; i++)
		free(w->lists[i]);
	free(w->memory);
	free(w->budget);
	free(w);
	return 0;
}

const struct policy_answer *
rcpt(struct world *w)
{
	memset(&w->a, 0xee, sizeof(w->a)); /* every field has to be set */
	policy_rcpt(&w->ctx, &w->q, &w->a, NULL, NULL);
	return &w->a;
}

const struct policy_answer *
rcpt_at(struct world *w, uint32_t now_s)
{
	w->q.now_s = now_s;
	return rcpt(w);
}

uint64_t
counted(const struct world *w, enum counter which)
{
	return counter_read(&w->counters, which);
}

uint64_t
records(const struct world *w)
{
	struct vt_counts c;

	verdict_table_count(&w->table, &c);
	return c.used;
}

void
make_white(struct world *w)
{
	rcpt(w);
	rcpt_at(w, w->q.now_s + BLOCK_S);
	CHECK_EQ("made WHITE", w->a.verdict, VERDICT_PASS);
}
