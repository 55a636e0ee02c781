/*
 * tls_keeper.c - TLS as the data plane's main thread keeps it.
 *
 * Flow:   see tls_keeper.h.
 * Touches: see tls_keeper.h.
 * Keeps:  rows in the segment change as a whole (sequence odd while they are written); a line is said for each row that changed, once.
 *         Private keys and keys of tickets stay in this process: neither leaves it by segment, log or core dump.
 */
#include "dataplane/tls_keeper.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/siphash.h"
#include "dataplane/tls/cert_store.h"
#include "dataplane/tls/tls_memory.h"

#define CERT_LOOK_US    UINT64_C(1000000)     /* two looks that agree: a changed file counts within two seconds */
#define KEYS_CAP_OCTETS (UINT64_C(256) << 20) /* of what is built for all workers together */
#define ROTATE_RETRY_US UINT64_C(1000000)

typedef void (*say_fn)(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct tls_keeper {
	struct cert_area *area;
	say_fn say;
	struct cert_store *store;
	struct tls_memory *keys, *memory[CONF_WORKERS_MAX];
	struct tls_context *context[CONF_WORKERS_MAX];
	uint32_t n_workers;
	struct conf *conf;         /* whose tls_ values the contexts have */
	uint64_t backends;         /* hash of what the contexts know of backends */
	uint64_t generation;       /* of the snapshot looked at last */
	uint64_t set_generation;   /* of the certificates the contexts were given; 0: none */
	uint64_t tried_generation; /* of those they were to be given last: what failed is not tried again every tick */
	uint64_t wanted;           /* the reload that is being answered; 0: none */
	uint64_t look_us, rotate_us;
	uint64_t lifetime_s;
	struct tls_ticket_keys tickets;
	char wrong[CERT_TEXT_OCTETS]; /* why the contexts could not be made anew; "" */
	struct cert_report *before;   /* as it was told last */
};

static const char *const key_names[] = { "ECDSA", "RSA", "Ed25519" };

/* ---- telling ---- */

static const char *
day_of(int64_t at_s, char out[16])
{
	const time_t t = (time_t)at_s;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL || strftime(out, 16, "%Y-%m-%d", &tm) == 0)
		memcpy(out, "?", 2);
	return out;
}

static const struct cert_status *
row_of(const struct cert_report *r, const char *label)
{
	for (uint32_t i = 0; i < r->n_rows; i++)
		if (strcmp(r->row[i].label, label) == 0)
			return &r->row[i];
	return NULL;
}

static const char *
state_words(const struct cert_status *r)
{
	switch ((enum cert_state)r->state) {
	case CERT_GOOD:
		return r->why[0] != '\0' ? "; " : "";
	case CERT_EXPIRED:
		return "; EXPIRED, and nothing better is there ";
	case CERT_NOT_YET:
		return "; NOT VALID YET, and nothing better is there ";
	case CERT_KEPT:
		return "; THE NEW FILES ARE NOT USED, what was loaded before stays: ";
	case CERT_BAD:
		return "";
	}
	return "";
}

static void
say_row(const struct tls_keeper *k, const struct cert_status *r)
{
	char until[16], from[16];

	if (r->state == CERT_BAD)
		k->say("certificate %s cannot be used: %s", r->label, r->why);
	else
		k->say("certificate %s: %s %u, %s to %s, %s%s%s", r->label, key_names[r->key_type], r->key_bits,
			day_of(r->not_before, from), day_of(r->not_after, until), r->n_names > 0 ? r->names : "no name",
			state_words(r), r->why);
}

/* What is new since the report before. */
static void
say_changes(const struct tls_keeper *k, const struct cert_report *now)
{
	const struct cert_report *before = k->before;

	if (strcmp(now->folder_error, before->folder_error) != 0 && now->folder_error[0] != '\0')
		k->say("certificates: %s", now->folder_error);
	if (strcmp(now->note, before->note) != 0 && now->note[0] != '\0')
		k->say("certificates: %s", now->note);
	for (uint32_t i = 0; i < now->n_rows; i++) {
		const struct cert_status *r = &now->row[i], *b = row_of(before, r->label);

		if (b == NULL || b->state != r->state || strcmp(b->why, r->why) != 0 ||
			memcmp(b->cert_sha256, r->cert_sha256, sizeof(b->cert_sha256)) != 0)
			say_row(k, r);
	}
	for (uint32_t i = 0; i < before->n_rows; i++)
		if (row_of(now, before->row[i].label) == NULL)
			k->say("certificate %s is gone", before->row[i].label);
}

static void
tell(struct tls_keeper *k)
{
	const struct cert_report *r = cert_store_report(k->store);
	const char *error = k->wrong[0] != '\0' ? k->wrong : r->folder_error;
	struct cert_area *a = k->area;

	say_changes(k, r);
	*k->before = *r;
	__atomic_fetch_add(&a->sequence, 1, __ATOMIC_ACQ_REL);
	a->n_rows = r->n_rows;
	a->generation = k->set_generation;
	a->looked_at = (int64_t)time(NULL);
	snprintf(a->folder_error, sizeof(a->folder_error), "%s", error);
	memcpy(a->note, r->note, sizeof(a->note));
	memcpy(a->row, r->row, r->n_rows * sizeof(r->row[0]));
	__atomic_fetch_add(&a->sequence, 1, __ATOMIC_RELEASE);
}

/* ---- contexts ---- */

/* Gives the certificates in force, with conf's options, to every worker. False: nothing changed for those it could not be given to. */
static bool
give_certificates(struct tls_keeper *k, const struct conf *conf)
{
	const struct cert_set *set = cert_store_set(k->store);
	char why[CERT_TEXT_OCTETS] = "", before[CERT_TEXT_OCTETS];

	memcpy(before, k->wrong, sizeof(before));
	k->wrong[0] = '\0';
	k->tried_generation = set != NULL ? set->generation : 0;
	for (uint32_t i = 0; i < k->n_workers; i++)
		if (tls_context_load(k->context[i], conf, set, why, sizeof(why)) != 0)
			snprintf(k->wrong, sizeof(k->wrong), "%s", why);
	if (k->wrong[0] != '\0') {
		if (strcmp(before, k->wrong) != 0)
			k->say("TLS stays as it was: %s", k->wrong);
		return false;
	}
	k->set_generation = set != NULL ? set->generation : 0;
	*k->conf = *conf;
	return true;
}

static bool
same_options(const struct conf *a, const struct conf *b)
{
	const size_t from = offsetof(struct conf, tls_ciphers), to = offsetof(struct conf, tls_memory_mb);

	return memcmp((const uint8_t *)a + from, (const uint8_t *)b + from, to - from) == 0;
}

static bool
same_folder(const struct conf *a, const struct conf *b)
{
	return strcmp(a->tls_certificates, b->tls_certificates) == 0 &&
	       strcmp(a->tls_default_name, b->tls_default_name) == 0 && strcmp(a->hostname, b->hostname) == 0;
}

static uint64_t
backends_hash(const struct snapshot *s)
{
	static const struct siphash_key key = { 1, 2 };
	struct siphash_state h;

	siphash_init(&h, &key);
	siphash_update(&h, s->backends, s->n_backends * sizeof(s->backends[0]));
	siphash_update(&h, s->ca, s->ca_octets);
	return siphash_final(&h) | 1;
}

static void
give_backends(struct tls_keeper *k, const struct snapshot *s)
{
	const uint64_t hash = backends_hash(s);
	char why[CERT_TEXT_OCTETS] = "";

	if (hash == k->backends)
		return;
	for (uint32_t i = 0; i < k->n_workers; i++)
		if (tls_context_load_backends(
			    k->context[i], s->backends, s->n_backends, s->ca, s->ca_octets, why, sizeof(why)) != 0 &&
			i == 0)
			k->say("TLS to a backend cannot be spoken: %s", why);
	k->backends = hash;
}

/* A new key of tickets each lifetime: three of them are known, so that a ticket is good for as long as it says. */
static void
rotate_tickets(struct tls_keeper *k, uint64_t now_us)
{
	uint8_t fresh[TLS_TICKET_NAME_OCTETS + 2 * TLS_TICKET_KEY_OCTETS];

	if (getrandom(fresh, sizeof(fresh), 0) != (ssize_t)sizeof(fresh)) {
		k->rotate_us = now_us + ROTATE_RETRY_US;
		return;
	}
	tls_ticket_keys_rotate(&k->tickets, fresh);
	explicit_bzero(fresh, sizeof(fresh));
	for (uint32_t i = 0; i < k->n_workers; i++)
		tls_context_tickets(k->context[i], &k->tickets);
	k->rotate_us = now_us + k->lifetime_s * 1000000;
}

/* ---- looking ---- */

static bool
look(struct tls_keeper *k, const struct conf *conf, bool now)
{
	const struct cert_look l = { .folder = conf->tls_certificates,
		.default_name = conf->tls_default_name[0] != '\0' ? conf->tls_default_name : conf->hostname,
		.now_s = (int64_t)time(NULL),
		.now = now };
	struct tls_memory *before = tls_memory_enter(k->keys);
	const bool news = cert_store_look(k->store, &l);

	tls_memory_enter(before);
	return news;
}

static uint64_t
generation_to_be(const struct tls_keeper *k)
{
	const struct cert_set *set = cert_store_set(k->store);

	return set != NULL ? set->generation : 0;
}

/* A reload is answered when every worker shows what it led to, or when that cannot be. */
static void
answer_reload(struct tls_keeper *k)
{
	bool all = true;

	for (uint32_t i = 0; i < k->n_workers; i++)
		all = all && tls_context_generation(k->context[i]) == k->set_generation;
	if (k->wanted == 0 || (!all && k->wrong[0] == '\0'))
		return;
	__atomic_store_n(&k->area->reload_done, k->wanted, __ATOMIC_RELEASE);
	k->wanted = 0;
}

void
tls_keeper_tick(struct tls_keeper *k, const struct snapshot *s, uint64_t now_us)
{
	const uint64_t wanted = __atomic_load_n(&k->area->reload_wanted, __ATOMIC_ACQUIRE);
	const bool asked = wanted != __atomic_load_n(&k->area->reload_done, __ATOMIC_RELAXED) && k->wanted != wanted;
	const bool new_snapshot = s->generation != k->generation;
	bool news = false;

	if (asked || new_snapshot || now_us - k->look_us >= CERT_LOOK_US) {
		k->look_us = now_us;
		news = look(k, s->conf, asked || (new_snapshot && !same_folder(k->conf, s->conf)));
	}
	if (asked)
		k->wanted = wanted;
	if (new_snapshot) {
		k->generation = s->generation;
		k->lifetime_s = s->conf->tls_ticket_lifetime_s;
		k->rotate_us = MIN(k->rotate_us, now_us + k->lifetime_s * 1000000);
		give_backends(k, s);
	}
	if (generation_to_be(k) != k->tried_generation || (new_snapshot && !same_options(k->conf, s->conf)) ||
		((asked || new_snapshot) && k->wrong[0] != '\0')) {
		give_certificates(k, s->conf);
		news = true;
	}
	if (news)
		tell(k);
	if (now_us >= k->rotate_us)
		rotate_tickets(k, now_us);
	answer_reload(k);
}

/* ---- beginning and end ---- */

static bool
create_contexts(struct tls_keeper *k, struct segment *segment, const struct conf *conf)
{
	const uint64_t cap = (uint64_t)conf->tls_memory_mb << 20;
	char why[256] = "";
	bool locked = true, one = true;
	const int rc = tls_memory_install(MAX(cap, KEYS_CAP_OCTETS));

	if (rc != 0)
		k->say("OpenSSL's memory has no bound of its own: %s", strerror(-rc));
	k->keys = rc == 0 ? tls_memory_create(KEYS_CAP_OCTETS, &locked) : NULL;
	for (uint32_t i = 0; i < k->n_workers; i++) {
		k->memory[i] = rc == 0 ? tls_memory_create(cap, &one) : NULL;
		locked = locked && one;
		k->context[i] = tls_context_create(k->memory[i], k->keys, &segment->counters[i], why, sizeof(why));
		if (k->context[i] == NULL) {
			k->say("TLS: %s", why);
			return false;
		}
	}
	if (!locked)
		k->say("memory that holds keys is not locked: RLIMIT_MEMLOCK is too small (LimitMEMLOCK=infinity in "
		       "the unit)");
	return true;
}

struct tls_keeper *
tls_keeper_create(struct segment *segment, const struct snapshot *snapshot, say_fn say)
{
	struct tls_keeper *k = calloc(1, sizeof(*k));

	BUG_ON(k == NULL);
	k->before = calloc(1, sizeof(*k->before));
	k->conf = calloc(1, sizeof(*k->conf));
	BUG_ON(k->before == NULL || k->conf == NULL);
	k->area = segment->certs;
	k->say = say;
	k->n_workers = snapshot->conf->workers;
	if (create_contexts(k, segment, snapshot->conf)) {
		struct tls_memory *before = tls_memory_enter(k->keys);

		k->store = cert_store_create();
		tls_memory_enter(before);
		return k;
	}
	tls_keeper_destroy(k);
	return NULL;
}

void
tls_keeper_start(struct tls_keeper *k, const struct snapshot *s, uint64_t now_us)
{
	/* a life that ended while it wrote left it odd */
	__atomic_and_fetch(&k->area->sequence, ~1u, __ATOMIC_ACQ_REL);
	k->generation = s->generation;
	k->lifetime_s = s->conf->tls_ticket_lifetime_s;
	look(k, s->conf, true);
	give_backends(k, s);
	give_certificates(k, s->conf);
	tell(k);
	k->look_us = now_us;
	rotate_tickets(k, now_us);
}

struct tls_context *
tls_keeper_context(struct tls_keeper *k, uint32_t worker)
{
	return k->context[worker];
}

void
tls_keeper_destroy(struct tls_keeper *k)
{
	struct tls_memory *before;

	if (k == NULL)
		return;
	for (uint32_t i = 0; i < k->n_workers; i++)
		tls_context_destroy(k->context[i]);
	before = tls_memory_enter(k->keys);
	if (k->store != NULL)
		cert_store_destroy(k->store);
	tls_memory_enter(before);
	explicit_bzero(&k->tickets, sizeof(k->tickets));
	free(k->before);
	free(k->conf);
	free(k);
}

uint64_t
tls_keeper_memory_octets(const struct tls_keeper *k)
{
	uint64_t octets = k->keys != NULL ? tls_memory_cap_octets(k->keys) : 0;

	for (uint32_t i = 0; i < k->n_workers; i++)
		octets += k->memory[i] != NULL ? tls_memory_cap_octets(k->memory[i]) : 0;
	return octets;
}
