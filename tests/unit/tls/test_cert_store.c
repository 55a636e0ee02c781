/*
 * test_cert_store.c - the folder of certificates: what is a pair, what is refused, what stays, what a name gets.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/tls/cert_pair.h"
#include "dataplane/tls/cert_store.h"
#include "tests/check.h"
#include "tests/helpers/cert_files.h"

#define DAY_S 86400L

struct env {
	char folder[64];
	struct cert_store *store;
	struct test_cert ca;
};

static int
set_up(void **state)
{
	struct env *e = calloc(1, sizeof(*e));

	snprintf(e->folder, sizeof(e->folder), "/tmp/test-cert-store-XXXXXX");
	assert_non_null(mkdtemp(e->folder));
	e->store = cert_store_create();
	e->ca = test_cert_make("P-256", "Test CA", "", NULL, -DAY_S, 1000 * DAY_S);
	*state = e;
	return 0;
}

static int
tear_down(void **state)
{
	struct env *e = *state;

	cert_store_destroy(e->store);
	test_cert_free(&e->ca);
	test_remove_tree(e->folder);
	free(e);
	return 0;
}

static bool
look_at(struct env *e, const char *default_name, int64_t after_s, bool now)
{
	const struct cert_look l = {
		.folder = e->folder, .default_name = default_name, .now_s = (int64_t)time(NULL) + after_s, .now = now
	};

	return cert_store_look(e->store, &l);
}

static const struct cert_status *
row(const struct env *e, const char *label)
{
	const struct cert_report *r = cert_store_report(e->store);

	for (uint32_t i = 0; i < r->n_rows; i++)
		if (strcmp(r->row[i].label, label) == 0)
			return &r->row[i];
	fail_msg("no row %s", label);
	return NULL;
}

/* Label of the pair of that type that a name gets; "" for none. */
static const char *
pair_for(const struct env *e, const char *name, enum cert_key_type type, bool *known)
{
	const struct cert_set *s = cert_store_set(e->store);
	const uint16_t at = s->identities[cert_set_identity(s, name, strlen(name), known)].pair[type];

	return at != CERT_NO_PAIR ? s->pairs[at].label : "";
}

static void
make_pair(struct env *e, const char *label, const char *key, const char *names, long from_s, long to_s)
{
	struct test_cert c = test_cert_make(key, "leaf", names, &e->ca, from_s, to_s);

	test_write_pair(e->folder, label, &c, &e->ca);
	test_cert_free(&c);
}

static void
test_store_loads_pairs_of_every_shape(void **state)
{
	struct env *e = *state;
	struct test_cert c = test_cert_make("P-256", "leaf", "a.example", &e->ca, -DAY_S, 90 * DAY_S);
	const struct test_cert *chain[2] = { &c, &e->ca };
	char *pem = test_cert_pem(chain, 2), *key = test_key_pem(c.key, NULL), both[16384];

	snprintf(both, sizeof(both), "%s%s", key, pem);
	test_write_pair(e->folder, "dir", &c, &e->ca);
	test_write(e->folder, "one.pem", both, 0400);
	test_write(e->folder, "two.pem", pem, 0644);
	test_write(e->folder, "two.key", key, 0600);
	test_write(e->folder, "three.crt", pem, 0644);
	test_write(e->folder, "three.key", key, 0400);
	test_write(e->folder, "fullchain.pem", pem, 0644);
	test_write(e->folder, "privkey.pem", key, 0400);
	test_write(e->folder, "chain.pem", pem, 0644);
	test_write(e->folder, "README", "for nobody\n", 0644);
	test_write(e->folder, ".hidden.pem", "for nobody\n", 0644);
	assert_true(look_at(e, "a.example", 0, true));
	CHECK_EQ("pairs", cert_store_set(e->store)->n_pairs, 5);
	CHECK_EQ("rows", cert_store_report(e->store)->n_rows, 5);
	CHECK_STR("folder", cert_store_report(e->store)->folder_error, "");
	for (uint32_t i = 0; i < 5; i++) {
		const struct cert_status *r = &cert_store_report(e->store)->row[i];
		const struct cert_pair *p = &cert_store_set(e->store)->pairs[i];

		CHECK_EQ(r->label, r->state, CERT_GOOD);
		CHECK_STR(r->label, r->names, "a.example");
		CHECK_EQ(r->label, r->n_chain, 2);
		CHECK_STR("order", p->label, r->label);
		CHECK_OCTETS(r->label, p->chain_pem, p->chain_octets, pem,
			strlen(pem)); /* no key in it, whatever the file holds */
		CHECK_TRUE(r->label, memmem(p->key_pem, p->key_octets, key, strlen(key)) != NULL);
	}
	free(pem);
	free(key);
	test_cert_free(&c);
}

static void
test_store_refuses_bad_pairs_and_says_why(void **state)
{
	struct env *e = *state;
	struct test_cert good = test_cert_make("P-256", "leaf", "a.example", &e->ca, -DAY_S, 90 * DAY_S);
	struct test_cert other = test_cert_make("P-256", "leaf", "a.example", &e->ca, -DAY_S, 90 * DAY_S);
	struct test_cert root = test_cert_make("P-256", "Other CA", "", NULL, -DAY_S, 90 * DAY_S);
	struct test_cert small = test_cert_make("RSA:1024", "leaf", "a.example", NULL, -DAY_S, 90 * DAY_S);
	struct test_cert curve = test_cert_make("secp256k1", "leaf", "a.example", NULL, -DAY_S, 90 * DAY_S);
	const struct test_cert *one[1] = { &good }, *wrong_way[2] = { &e->ca, &good }, *stranger[2] = { &good, &root };
	char *pem = test_cert_pem(one, 1), *key = test_key_pem(good.key, NULL);
	char *other_key = test_key_pem(other.key, NULL), *locked = test_key_pem(good.key, "secret");
	char *reversed = test_cert_pem(wrong_way, 2), *odd = test_cert_pem(stranger, 2);
	const struct test_cert *weak[1] = { &small }, *bent[1] = { &curve };
	char *weak_pem = test_cert_pem(weak, 1), *weak_key = test_key_pem(small.key, NULL);
	char *bent_pem = test_cert_pem(bent, 1), *bent_key = test_key_pem(curve.key, NULL);
	char half[2048], damaged[8192];
	const struct {
		const char *label, *pem, *key;
		unsigned mode;
		const char *want; /* part of why */
	} rows[] = {
		{ "mismatch", pem, other_key, 0600, "do not belong together" },
		{ "reversed", reversed, key, 0600, "the key is that of certificate 2" },
		{ "stranger", odd, key, 0600, "certificate 1 of the file was not issued by certificate 2" },
		{ "world", pem, key, 0644, "mode 0644" },
		{ "group", pem, key, 0640, "mode 0640" },
		{ "writable", pem, key, 0620, "mode 0620" },
		{ "locked", pem, locked, 0600, "passphrase" },
		{ "nokey", pem, "nothing\n", 0600, "no private key" },
		{ "nocert", "nothing\n", key, 0600, "no certificate in PEM" },
		{ "empty", "", key, 0600, "is empty" },
		{ "emptykey", pem, "", 0600, "is empty" },
		{ "half", half, key, 0600, "damaged" },
		{ "damaged", damaged, key, 0600, "damaged" },
		{ "small", weak_pem, weak_key, 0600, "RSA key of 1024 bits" },
		{ "curve", bent_pem, bent_key, 0600, "curve secp256k1" },
	};

	snprintf(half, sizeof(half), "%.*s", (int)strlen(pem) / 2, pem);
	snprintf(damaged, sizeof(damaged), "%s", pem);
	memcpy(strchr(damaged, '\n') + 20, "????", 4);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char path[256], name[64];

		snprintf(path, sizeof(path), "%s/%s", e->folder, rows[i].label);
		mkdir(path, 0755);
		test_write(path, "fullchain.pem", rows[i].pem, 0644);
		test_write(path, "privkey.pem", rows[i].key, rows[i].mode);
		snprintf(name, sizeof(name), "%s", rows[i].label);
	}
	test_write(e->folder, "alone.key", key, 0600);
	test_write(e->folder, "odd name.pem", pem, 0600);
	look_at(e, "a.example", 0, true);
	assert_null(cert_store_set(e->store));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct cert_status *r = row(e, rows[i].label);

		CHECK_EQ(rows[i].label, r->state, CERT_BAD);
		CHECK_EQ(rows[i].label, r->in_use, 0);
		if (strstr(r->why, rows[i].want) == NULL)
			fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].label, r->why, rows[i].want);
	}
	CHECK_TRUE("alone", strstr(row(e, "alone.key")->why, "without a certificate") != NULL);
	CHECK_TRUE("name", strstr(row(e, "odd?name.pem")->why, "space") != NULL);
	/* no octet of a file gets into a message or a row */
	for (uint32_t i = 0; i < cert_store_report(e->store)->n_rows; i++)
		assert_null(strstr(cert_store_report(e->store)->row[i].why, "-----"));
	/* what is mended comes in at the next looks, without being asked */
	make_pair(e, "mismatch", "P-256", "a.example", -DAY_S, 90 * DAY_S);
	assert_false(look_at(e, "a.example", 0, false));
	assert_true(look_at(e, "a.example", 0, false));
	CHECK_EQ("mended", row(e, "mismatch")->state, CERT_GOOD);
	free(pem), free(key), free(other_key), free(locked), free(reversed), free(odd);
	free(weak_pem), free(weak_key), free(bent_pem), free(bent_key);
	test_cert_free(&good), test_cert_free(&other), test_cert_free(&root), test_cert_free(&small),
		test_cert_free(&curve);
}

static void
test_store_keeps_a_good_pair_when_its_files_go_bad(void **state)
{
	struct env *e = *state;
	const struct cert_set *held;
	uint64_t generation;
	uint8_t was[32];
	char path[256];

	make_pair(e, "mx", "P-256", "a.example", -DAY_S, 90 * DAY_S);
	look_at(e, "a.example", 0, true);
	generation = cert_store_set(e->store)->generation;
	memcpy(was, row(e, "mx")->cert_sha256, sizeof(was));
	snprintf(path, sizeof(path), "%s/mx", e->folder);

	test_write(path, "privkey.pem", "rubbish\n", 0600);
	look_at(e, "a.example", 0, true);
	CHECK_EQ("kept", row(e, "mx")->state, CERT_KEPT);
	CHECK_EQ("in use", row(e, "mx")->in_use, 1);
	CHECK_OCTETS("the old one", row(e, "mx")->cert_sha256, 32, was, 32);
	CHECK_EQ("no worker is disturbed", cert_store_set(e->store)->generation, generation);

	make_pair(e, "mx", "P-256", "a.example", -20 * DAY_S, -DAY_S);
	look_at(e, "a.example", 0, true);
	CHECK_EQ("an expired one", row(e, "mx")->state, CERT_KEPT);
	CHECK_TRUE("says so", strstr(row(e, "mx")->why, "expired 20") != NULL);
	CHECK_OCTETS("still the old one", row(e, "mx")->cert_sha256, 32, was, 32);

	make_pair(e, "mx", "P-256", "a.example", 2 * DAY_S, 90 * DAY_S);
	look_at(e, "a.example", 0, true);
	CHECK_EQ("one of the future", row(e, "mx")->state, CERT_KEPT);
	CHECK_TRUE("says so", strstr(row(e, "mx")->why, "not valid before") != NULL);
	assert_false(look_at(e, "a.example", DAY_S, false));
	assert_true(look_at(e, "a.example", 2 * DAY_S + 5, false)); /* its time has come: nobody has to ask */
	CHECK_EQ("taken over", row(e, "mx")->state, CERT_GOOD);
	CHECK_TRUE("another one", memcmp(row(e, "mx")->cert_sha256, was, 32) != 0);
	CHECK_EQ("one generation on", cert_store_set(e->store)->generation, generation + 1);

	held = cert_set_take(cert_store_set(e->store));
	test_remove_tree(path);
	look_at(e, "a.example", 0, true);
	CHECK_EQ("gone, but the last one", row(e, "mx")->state, CERT_KEPT);
	CHECK_TRUE("the folder says so",
		strstr(cert_store_report(e->store)->folder_error, "no usable pair any more") != NULL);
	make_pair(e, "new", "P-256", "a.example", -DAY_S, 90 * DAY_S);
	look_at(e, "a.example", 0, true);
	CHECK_EQ("rows", cert_store_report(e->store)->n_rows, 1);
	CHECK_STR("the new one alone", cert_store_set(e->store)->pairs[0].label, "new");
	CHECK_STR("who holds a set still has it", held->pairs[0].label, "mx");
	CHECK_TRUE(
		"with its key", memmem(held->pairs[0].key_pem, held->pairs[0].key_octets, "PRIVATE KEY", 11) != NULL);
	cert_set_release(held);
}

static void
test_store_uses_an_expired_pair_where_nothing_else_is(void **state)
{
	struct env *e = *state;

	make_pair(e, "old", "P-256", "a.example", -20 * DAY_S, -DAY_S);
	make_pair(e, "soon", "RSA:2048", "a.example", DAY_S, 20 * DAY_S);
	look_at(e, "a.example", 0, true);
	CHECK_EQ("expired", row(e, "old")->state, CERT_EXPIRED);
	CHECK_EQ("not yet", row(e, "soon")->state, CERT_NOT_YET);
	CHECK_EQ("both in use", cert_store_set(e->store)->n_pairs, 2);
	make_pair(e, "zz", "P-256", "a.example", -DAY_S, DAY_S);
	look_at(e, "a.example", 0, true);
	CHECK_STR("a valid one goes first", pair_for(e, "a.example", CERT_KEY_ECDSA, &(bool){ false }), "zz");
	assert_true(look_at(e, "a.example", DAY_S + 5, false)); /* zz expires, soon begins */
	CHECK_EQ("expired by now", row(e, "zz")->state, CERT_EXPIRED);
	CHECK_EQ("valid by now", row(e, "soon")->state, CERT_GOOD);
	CHECK_STR("the one that was valid longer", pair_for(e, "a.example", CERT_KEY_ECDSA, &(bool){ false }), "zz");
}

static void
test_set_finds_names(void **state)
{
	static const struct {
		const char *label, *name, *ecdsa, *rsa;
		bool known;
	} rows[] = {
		{ "both types", "mx.example.org", "ec", "rsa", true },
		{ "any case", "MX.Example.ORG", "ec", "rsa", true },
		{ "a dot at the end", "mx.example.org.", "ec", "rsa", true },
		{ "one type alone", "only-ec.example.org", "ec", "", true },
		{ "by wildcard", "other.example.net", "", "wild", true },
		{ "the exact name before the wildcard", "exact.example.net", "exact", "", true },
		{ "a wildcard is one label", "a.b.example.net", "ec", "rsa", false },
		{ "nor none", "example.net", "ec", "rsa", false },
		{ "unknown", "mx.elsewhere.example", "ec", "rsa", false },
		{ "a star asked for", "*.example.net", "ec", "rsa", false },
		{ "dots alone", ".", "ec", "rsa", false },
		{ "no label", ".example.net", "ec", "rsa", false },
		{ "empty", "", "ec", "rsa", false },
	};
	struct env *e = *state;
	char name[400];
	bool known;

	make_pair(e, "ec", "P-256", "mx.example.org,only-ec.example.org", -DAY_S, 90 * DAY_S);
	make_pair(e, "rsa", "RSA:2048", "mx.example.org", -DAY_S, 90 * DAY_S);
	make_pair(e, "wild", "RSA:2048", "*.example.net", -DAY_S, 90 * DAY_S);
	make_pair(e, "exact", "P-384", "exact.example.net", -DAY_S, 90 * DAY_S);
	make_pair(e, "ed", "ED25519", "ed.example.net", -DAY_S, 90 * DAY_S);
	look_at(e, "mx.example.org", 0, true);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK_STR(rows[i].label, pair_for(e, rows[i].name, CERT_KEY_ECDSA, &known), rows[i].ecdsa);
		CHECK_EQ(rows[i].label, known, rows[i].known);
		CHECK_STR(rows[i].label, pair_for(e, rows[i].name, CERT_KEY_RSA, &known), rows[i].rsa);
	}
	CHECK_STR("Ed25519", pair_for(e, "ed.example.net", CERT_KEY_ED25519, &known), "ed");
	CHECK_EQ("default", row(e, "ec")->is_default && row(e, "rsa")->is_default && !row(e, "wild")->is_default, 1);
	for (size_t n = 0; n < sizeof(name); n++) { /* any length, with or without a NUL in it */
		memset(name, 'a', sizeof(name));
		cert_set_identity(cert_store_set(e->store), name, n, &known);
		assert_false(known);
		name[n / 2] = '\0';
		cert_set_identity(cert_store_set(e->store), name, n, &known);
		assert_false(known);
	}
	look_at(e, "nobody.example", 0, true);
	CHECK_TRUE("told", strstr(cert_store_report(e->store)->note, "nobody.example") != NULL);
	known = false;
	for (unsigned k = 0; k < CERT_KEY_TYPE_N; k++)
		known = known || cert_store_set(e->store)->identities[0].pair[k] != CERT_NO_PAIR;
	CHECK_TRUE("and there is a default all the same", known);
}

/* certbot: live/NAME/x.pem -> ../../archive/NAME/xN.pem, renamed one after another. */
static void
test_store_follows_links_and_waits_for_the_rest(void **state)
{
	struct env *e = *state;
	char archive[] = "/tmp/test-cert-archive-XXXXXX", live[128], from[256], to[256];
	static const char *const names[] = { "fullchain.pem", "privkey.pem" };
	uint64_t generation;

	assert_non_null(mkdtemp(archive));
	for (unsigned n = 1; n <= 2; n++) {
		struct test_cert c = test_cert_make("P-256", "leaf", "a.example", &e->ca, -DAY_S, 90 * DAY_S);
		char label[8];

		snprintf(label, sizeof(label), "%u", n);
		test_write_pair(archive, label, &c, &e->ca);
		test_cert_free(&c);
	}
	snprintf(live, sizeof(live), "%s/a.example", e->folder);
	mkdir(live, 0755);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(from, sizeof(from), "%s/1/%s", archive, names[i]);
		snprintf(to, sizeof(to), "%s/%s", live, names[i]);
		assert_int_equal(symlink(from, to), 0);
	}
	look_at(e, "a.example", 0, true);
	CHECK_EQ("by links", row(e, "a.example")->state, CERT_GOOD);
	generation = cert_store_set(e->store)->generation;
	for (unsigned i = 0; i < 2; i++) {
		snprintf(from, sizeof(from), "%s/2/%s", archive, names[i]);
		snprintf(to, sizeof(to), "%s/%s", live, names[i]);
		unlink(to);
		assert_int_equal(symlink(from, to), 0);
		assert_false(look_at(e, "a.example", 0, false)); /* between the two links nothing is read */
	}
	CHECK_EQ("still the first", cert_store_set(e->store)->generation, generation);
	assert_true(look_at(e, "a.example", 0, false));
	CHECK_EQ("the second", cert_store_set(e->store)->generation, generation + 1);
	CHECK_EQ("good", row(e, "a.example")->state, CERT_GOOD);
	unlink(to); /* the key's link points nowhere */
	assert_int_equal(symlink("/nowhere/privkey.pem", to), 0);
	look_at(e, "a.example", 0, true);
	CHECK_EQ("a dangling link", row(e, "a.example")->state, CERT_KEPT);
	test_remove_tree(archive);
}

static void
test_store_bounds_folders(void **state)
{
	struct env *e = *state;
	char name[64];

	make_pair(e, "a", "P-256", "a.example", -DAY_S, 90 * DAY_S);
	look_at(e, "a.example", 0, true);
	assert_non_null(cert_store_set(e->store));
	for (unsigned i = 0; i < CERT_ENTRIES_MAX; i++) {
		snprintf(name, sizeof(name), "f%04u.pem", i);
		test_write(e->folder, name, "rubbish\n", 0600);
	}
	look_at(e, "a.example", 0, true);
	CHECK_TRUE("too many", strstr(cert_store_report(e->store)->folder_error, "more than 2048") != NULL);
	CHECK_EQ("what was stays", cert_store_set(e->store)->n_pairs, 1);
	for (unsigned i = 0; i < 8; i++) {
		char path[256];

		snprintf(path, sizeof(path), "%s/f%04u.pem", e->folder, i);
		unlink(path);
	}
	look_at(e, "a.example", 0, true);
	CHECK_EQ("rows have a bound", cert_store_report(e->store)->n_rows, CERT_ROWS_MAX);
	CHECK_STR("what is in use comes first", cert_store_report(e->store)->row[0].label, "a");
	CHECK_TRUE("the rest is counted", strstr(cert_store_report(e->store)->note, "more entries") != NULL);
	chmod(e->folder, 0777);
	look_at(e, "a.example", 0, true);
	CHECK_TRUE("a folder anybody writes", strstr(cert_store_report(e->store)->folder_error, "by others") != NULL);
	CHECK_EQ("what was stays", cert_store_set(e->store)->n_pairs, 1);
	chmod(e->folder, 0700);
}

/* More pairs than a set holds: the first by label are in, those that are in stay in, the rest is told. */
static void
test_store_holds_512_pairs(void **state)
{
	struct env *e = *state;
	struct test_cert c = test_cert_make("P-256", "leaf", "a.example", &e->ca, -DAY_S, 90 * DAY_S);
	const struct test_cert *chain[1] = { &c };
	char *pem = test_cert_pem(chain, 1), *key = test_key_pem(c.key, NULL), both[8192], name[64];

	snprintf(both, sizeof(both), "%s%s", pem, key);
	for (unsigned i = 0; i < CERT_PAIRS_MAX + 1; i++) {
		snprintf(name, sizeof(name), "p%04u.pem", i);
		test_write(e->folder, name, both, 0600);
	}
	look_at(e, "a.example", 0, true);
	CHECK_EQ("pairs", cert_store_set(e->store)->n_pairs, CERT_PAIRS_MAX);
	CHECK_TRUE("the last is refused", strstr(row(e, "p0512.pem")->why, "more than 512") != NULL);
	test_write(e->folder, "a.pem", both, 0600);
	look_at(e, "a.example", 0, false);
	look_at(e, "a.example", 0, false); /* reads what is new alone */
	CHECK_TRUE("one that came later pushes none out", strstr(row(e, "a.pem")->why, "more than 512") != NULL);
	free(pem);
	free(key);
	test_cert_free(&c);
}

static void
test_store_without_folder(void **state)
{
	struct env *e = *state;
	struct cert_look l = { .folder = "/nowhere/at/all", .default_name = "a.example", .now_s = 1000, .now = true };

	cert_store_look(e->store, &l);
	assert_null(cert_store_set(e->store));
	CHECK_TRUE("told",
		strstr(cert_store_report(e->store)->folder_error, "cannot read /nowhere/at/all: No such file") != NULL);
	l.now = false;
	assert_false(cert_store_look(e->store, &l));
	assert_false(cert_store_look(e->store, &l));
	make_pair(e, "a", "P-256", "a.example", -DAY_S, 90 * DAY_S);
	look_at(e, "a.example", 0, true);
	assert_non_null(cert_store_set(e->store));
	cert_store_look(e->store,
		&(struct cert_look){
			.folder = "/nowhere", .default_name = "a.example", .now_s = time(NULL), .now = true });
	CHECK_EQ("a wrong folder takes nothing away", cert_store_set(e->store)->n_pairs, 1);
	l.folder = "";
	assert_true(cert_store_look(e->store, &l));
	assert_null(cert_store_set(e->store));
	assert_false(cert_store_look(e->store, &l));
}

/* Flags of the mapping that holds p: "lo" is locked, "dd" is left out of core dumps. */
static bool
mapping_has(const void *p, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[4096];
	bool in = false, has = false;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			in = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (in && strncmp(line, "VmFlags:", 8) == 0)
			has = strstr(line, flag) != NULL;
	}
	fclose(f);
	return has;
}

static void
test_keys_are_locked_and_not_dumped(void **state)
{
	struct env *e = *state;
	const void *key;

	make_pair(e, "a", "P-256", "a.example", -DAY_S, 90 * DAY_S);
	look_at(e, "a.example", 0, true);
	key = cert_store_set(e->store)->pairs[0].key_pem;
	CHECK_TRUE("not in a core dump", mapping_has(key, " dd"));
#ifndef __SANITIZE_ADDRESS__ /* its mlock() does nothing */
	CHECK_TRUE("locked", mapping_has(key, " lo"));
#endif
	CHECK_TRUE("a key's memory is its own", !mapping_has(cert_store_set(e->store), " dd"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_store_loads_pairs_of_every_shape, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_store_refuses_bad_pairs_and_says_why, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_store_keeps_a_good_pair_when_its_files_go_bad, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_store_uses_an_expired_pair_where_nothing_else_is, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_set_finds_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_store_follows_links_and_waits_for_the_rest, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_store_bounds_folders, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_store_holds_512_pairs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_store_without_folder, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_keys_are_locked_and_not_dumped, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
