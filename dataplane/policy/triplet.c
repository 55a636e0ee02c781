/*
 * triplet.c - what makes two attempts the same: network, sender, recipient.
 *
 * Flow:   policy_rcpt() -> triplet_normalise_*() -> triplet_tag() -> verdict_table_find()
 * Pure:   but for libidn2, which allocates for the few domains that carry octets above 127 (only SMTPUTF8 brings them); when it
 *         fails, the octets stay as they are.
 * Keeps:  output never above TRIPLET_PATH_MAX_OCTETS, whatever comes in.
 * Source: POLICY section 3; RFC 5321 section 4.1.2; BATV: draft-levine-smtp-batv-01; SRS: Shevek, "The Sender Rewriting Scheme" (2004);
 *         VERP: D. J. Bernstein (1997).
 */
#include "dataplane/policy/triplet.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <idn2.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/text.h"

#define TOKEN_MIN_OCTETS   8 /* a run of letters and digits shorter than this is no unique token */
#define TOKEN_MIN_SWITCHES 3 /* between letters and digits: "john1985" has one, "4f3a9c01" has five */
#define UNWRAP_ROUNDS_MAX  4 /* BATV around SRS around BATV: deeper is nobody's mail and taken as it is */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_alnum(char c)
{
	return is_digit(c) || is_alpha(c);
}

static char
fold(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* RFC 5321 atext, and any octet above 127 (RFC 6531 section 3.3). */
static bool
is_atext(char c)
{
	return is_alnum(c) || (unsigned char)c >= 0x80 || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool
is_dot_string(const char *s, size_t n)
{
	if (n == 0 || s[0] == '.' || s[n - 1] == '.')
		return false;
	for (size_t i = 0; i < n; i++)
		if (s[i] == '.' ? s[i + 1] == '.' : !is_atext(s[i]))
			return false;
	return true;
}

/* "@a,@b:user@c" is user@c (RFC 5321 section 4.1.1.3 and appendix C). A colon inside a quoted local part is no end of a route. */
static const char *
skip_source_route(const char *path)
{
	const char *colon;

	if (path[0] != '@' || (colon = strchr(path, ':')) == NULL)
		return path;
	return colon + 1;
}

/* The next code point of valid UTF-8; 0 at the end. */
static uint32_t
utf8_next(const uint8_t **at)
{
	const uint8_t *p = *at;
	uint32_t c = *p;
	unsigned more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;

	if (c == 0)
		return 0;
	p++;
	if (more > 0)
		c &= 0x3fu >> more;
	for (; more > 0 && *p != 0; more--)
		c = c << 6 | (*p++ & 0x3f);
	*at = p;
	return c;
}

static bool
is_combining_mark(uint32_t c)
{
	return c >= 0x300 && c < 0x370;
}

/* The code points at *in and *back are the same letter: equal, two cases of one (they lie in one row of 256), or composed of its parts. */
static bool
same_letter(const uint8_t **in, const uint8_t **back)
{
	const uint32_t want = utf8_next(in), got = utf8_next(back);
	const uint8_t *mark = *in;
	bool composed = false;

	if (want == got)
		return true;
	while (is_combining_mark(utf8_next(&mark))) {
		composed = true;
		*in = mark;
	}
	if (composed)
		return want < 0x500 && got >= 0x80;
	return want >= 0x80 && got >= 0x80 && want >> 8 == got >> 8;
}

/*
 * Whether the A-labels are those of the domain itself, but for the case of its letters and how accents are written. UTS 46 maps more than case: full-width letters,
 * ligatures, an ideographic full stop become ASCII. To a backend that does not map they are another domain, so the relay guard must not
 * take them for ours.
 */
static bool
is_same_domain(const char *domain, const char *a_labels)
{
	const uint8_t *in = (const uint8_t *)domain, *back;
	char *u_labels = NULL;
	bool same = true;

	if (idn2_to_unicode_8z8z(a_labels, &u_labels, 0) != IDN2_OK || u_labels == NULL)
		return false;
	back = (const uint8_t *)u_labels;
	while (same && *in != '\0' && *back != '\0')
		same = same_letter(&in, &back);
	same = same && *in == '\0' && *back == '\0';
	idn2_free(u_labels);
	return same;
}

void
triplet_normalise_domain(const char *domain, char *out)
{
	size_t n = MIN(strlen(domain), (size_t)TRIPLET_PATH_MAX_OCTETS);
	bool has_8bit = false;

	if (n > 1 && domain[n - 1] == '.')
		n--;
	for (size_t i = 0; i < n; i++) {
		out[i] = fold(domain[i]);
		has_8bit |= (unsigned char)domain[i] >= 0x80;
	}
	out[n] = '\0';
	if (has_8bit) {
		uint8_t *a_label = NULL;

		if (idn2_lookup_u8((const uint8_t *)out, &a_label, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK &&
			a_label != NULL && strlen((const char *)a_label) <= TRIPLET_PATH_MAX_OCTETS &&
			is_same_domain(out, (const char *)a_label))
			strcpy(out, (const char *)a_label);
		idn2_free(a_label);
	}
}

/*
 * The local part without needless quotes: "a.b" in quotes is a.b (RFC 5321 section 4.1.2: quoting is not part of the name). What
 * needs its quotes keeps them, each quoted-pair written only where it must be. out has room for n * 2 + 3 octets. Returns its length.
 */
static size_t
canonical_local(const char *s, size_t n, char *out)
{
	char bare[TRIPLET_PATH_MAX_OCTETS + 1];
	size_t n_bare = 0, o = 0;

	if (n < 2 || s[0] != '"' || s[n - 1] != '"') {
		for (size_t i = 0; i < n; i++)
			out[i] = fold(s[i]);
		return n;
	}
	for (size_t i = 1; i < n - 1; i++) {
		if (s[i] == '\\' && i + 1 < n - 1)
			i++;
		bare[n_bare++] = fold(s[i]);
	}
	bare[n_bare] = '\0';
	if (is_dot_string(bare, n_bare)) {
		memcpy(out, bare, n_bare);
		return n_bare;
	}
	out[o++] = '"';
	for (size_t i = 0; i < n_bare; i++) {
		if (bare[i] == '"' || bare[i] == '\\')
			out[o++] = '\\';
		out[o++] = bare[i];
	}
	out[o++] = '"';
	return o;
}

/* Splits at the last '@', folds and unquotes. local gets its length in *n_local; domain is NUL-terminated, "" when there is none. */
static void
split_path(const char *path, char *local, size_t *n_local, char *domain)
{
	char cut[TRIPLET_PATH_MAX_OCTETS + 1];
	const char *at;
	size_t n;

	path = skip_source_route(path);
	n = MIN(strlen(path), (size_t)TRIPLET_PATH_MAX_OCTETS);
	memcpy(cut, path, n);
	cut[n] = '\0';
	at = strrchr(cut, '@');
	/* "a@b" in quotes without a domain: the '@' is inside */
	if (at != NULL && cut[0] == '"' && cut[n - 1] == '"')
		at = NULL;
	*n_local = canonical_local(cut, at != NULL ? (size_t)(at - cut) : n, local);
	domain[0] = '\0';
	if (at != NULL)
		triplet_normalise_domain(at + 1, domain);
}

/* local@domain into out; a path that grew too long (A-labels, quoted-pairs) loses its end, never its room. Returns its length. */
static uint32_t
join_path(const char *local, size_t n_local, const char *domain, char *out)
{
	size_t n_domain = strlen(domain);
	size_t n = MIN(n_local, (size_t)TRIPLET_PATH_MAX_OCTETS);

	memcpy(out, local, n);
	if (n_domain > 0 && n < TRIPLET_PATH_MAX_OCTETS) {
		out[n++] = '@';
		n_domain = MIN(n_domain, (size_t)TRIPLET_PATH_MAX_OCTETS - n);
		memcpy(out + n, domain, n_domain);
		n += n_domain;
	}
	out[n] = '\0';
	return (uint32_t)n;
}

/* A view of the local part that shrinks while it is unwrapped. */
struct part {
	const char *s;
	size_t n;
};

static bool
part_starts(struct part p, const char *word)
{
	const size_t n = strlen(word);

	return p.n >= n && memcmp(p.s, word, n) == 0;
}

/* Cuts up to the first c: the head, and *p after it. False (and *p as it was) where there is no c or the head is empty. */
static bool
part_cut(struct part *p, char c, struct part *head)
{
	const char *at = p->n > 0 ? memchr(p->s, c, p->n) : NULL;

	if (at == NULL || at == p->s)
		return false;
	*head = (struct part){ p->s, (size_t)(at - p->s) };
	*p = (struct part){ at + 1, p->n - head->n - 1 };
	return true;
}

static bool
part_is_alnum(struct part p)
{
	for (size_t i = 0; i < p.n; i++)
		if (!is_alnum(p.s[i]))
			return false;
	return p.n > 0;
}

/* BATV: prvs=TAG=local; its kin: btv1==TAG==local (Barracuda), msprvs1=TAG=local (SparkPost). Leaves local. */
static bool
unwrap_batv(struct part *p)
{
	struct part rest = *p, tag;

	if (part_starts(rest, "prvs="))
		rest = (struct part){ rest.s + 5, rest.n - 5 };
	else if (part_starts(rest, "msprvs1="))
		rest = (struct part){ rest.s + 8, rest.n - 8 };
	else if (part_starts(rest, "btv1=="))
		rest = (struct part){ rest.s + 6, rest.n - 6 };
	else
		return false;
	if (!part_cut(&rest, '=', &tag) || !part_is_alnum(tag))
		return false;
	if (p->s[0] == 'b') {
		if (rest.n < 2 || rest.s[0] != '=')
			return false;
		rest = (struct part){ rest.s + 1, rest.n - 1 };
	}
	if (rest.n == 0)
		return false;
	*p = rest;
	return true;
}

/* HASH=TIME=domain=local: leaves domain and local. */
static bool
srs_inner(struct part rest, struct part *domain, struct part *local)
{
	struct part hash, time;

	if (!part_cut(&rest, '=', &hash) || !part_cut(&rest, '=', &time) || !part_cut(&rest, '=', domain) ||
		rest.n == 0)
		return false;
	*local = rest;
	return true;
}

/*
 * SRS0=HASH=TIME=domain=local and SRS1=HASH=forwarder==HASH=TIME=domain=local; the first separator may be '=', '+' or '-'. Leaves the
 * original local part in *p and its domain in *domain.
 */
static bool
unwrap_srs(struct part *p, struct part *domain)
{
	struct part rest, hash, forwarder;

	if (p->n < 5 || (!part_starts(*p, "srs0") && !part_starts(*p, "srs1")) || strchr("=+-", p->s[4]) == NULL)
		return false;
	rest = (struct part){ p->s + 5, p->n - 5 };
	if (p->s[3] == '0')
		return srs_inner(rest, domain, p);
	if (!part_cut(&rest, '=', &hash) || !part_cut(&rest, '=', &forwarder) || rest.n < 2 ||
		strchr("=+-", rest.s[0]) == NULL)
		return false;
	return srs_inner((struct part){ rest.s + 1, rest.n - 1 }, domain, p);
}

/* Whether a run of letters and digits differs from message to message: digits alone, or letters and digits thoroughly mixed. */
static bool
is_unique_token(const char *s, size_t n)
{
	size_t n_digits = 0, switches = 0;

	for (size_t i = 0; i < n; i++) {
		n_digits += is_digit(s[i]);
		switches += i > 0 && is_digit(s[i]) != is_digit(s[i - 1]);
	}
	return n_digits == n || (n >= TOKEN_MIN_OCTETS && switches >= TOKEN_MIN_SWITCHES);
}

/*
 * Copies the local part with each unique token as '#'. A local part of digits alone is somebody's number, not VERP. out has room for n
 * octets. Returns its length.
 */
static size_t
squeeze_tokens(struct part p, char *out)
{
	size_t o = 0;

	for (size_t i = 0; i < p.n;) {
		size_t end = i;

		while (end < p.n && is_alnum(p.s[end]))
			end++;
		if (end == i) {
			out[o++] = p.s[i++];
			continue;
		}
		if (end - i < p.n && is_unique_token(p.s + i, end - i)) {
			out[o++] = '#';
		} else {
			memcpy(out + o, p.s + i, end - i);
			o += end - i;
		}
		i = end;
	}
	return o;
}

/* The sender's local part as its key; out has room for 2 * TRIPLET_PATH_MAX_OCTETS + 8 octets. Returns its length. */
static size_t
normalise_local(const char *local, size_t n_local, char *out)
{
	struct part p = { local, n_local }, domain = { 0 };
	const char *plus;
	size_t o = 0;

	if (n_local == 0 || local[0] == '"') { /* what needs quotes was not written by a mailer */
		memcpy(out, local, n_local);
		return n_local;
	}
	for (unsigned round = 0; round < UNWRAP_ROUNDS_MAX; round++)
		if (!unwrap_batv(&p) && !unwrap_srs(&p, &domain))
			break;
	plus = p.n > 1 ? memchr(p.s + 1, '+', p.n - 1) : NULL;
	if (plus != NULL)
		p.n = (size_t)(plus - p.s);
	if (domain.n > 0) {
		memcpy(out, "srs=", 4);
		memcpy(out + 4, domain.s, domain.n);
		o = 4 + domain.n;
		out[o++] = '=';
	}
	return o + squeeze_tokens(p, out + o);
}

/* No route, no quotes, no dot or '@' at its end, ASCII alone: such a path only wants its letters folded, and nearly every one is such. */
static bool
is_plain_path(const char *path, size_t n)
{
	return n > 0 && n <= TRIPLET_PATH_MAX_OCTETS && path[0] != '@' && path[0] != '"' && path[n - 1] != '.' &&
	       path[n - 1] != '@' && text_is_7bit(path, (uint32_t)n);
}

uint32_t
triplet_canonical(const char *path, char *out)
{
	char local[2 * TRIPLET_PATH_MAX_OCTETS + 4], domain[TRIPLET_PATH_MAX_OCTETS + 1];
	const size_t n = strlen(path);
	size_t n_local;

	if (is_plain_path(path, n)) {
		text_fold(out, path, (uint32_t)n);
		out[n] = '\0';
		return (uint32_t)n;
	}
	split_path(path, local, &n_local, domain);
	return join_path(local, n_local, domain, out);
}

void
triplet_normalise_rcpt(const char *path, char *out)
{
	triplet_canonical(path, out);
}

const char *
triplet_domain_of(const char *path, uint32_t n)
{
	const char *at = n > 0 ? memrchr(path, '@', n) : NULL;

	/* an '@' inside quotes with nothing behind them is no border */
	return at != NULL && (path[0] != '"' || path[n - 1] != '"') ? at + 1 : path + n;
}

const char *
triplet_domain(const char *path)
{
	return triplet_domain_of(path, (uint32_t)strlen(path));
}

/* Letters and dots alone say all there is to say, and so does every local part that nothing below takes anything from. */
static bool
is_plain_local(const char *local, size_t n)
{
	static const uint8_t telling[256] = { ['0' ... '9'] = 1, ['='] = 1, ['+'] = 1, ['"'] = 1, ['-'] = 1 };
	uint8_t told = 0;

	for (size_t i = 0; i < n; i++)
		told |= telling[(uint8_t)local[i]];
	return told == 0;
}

uint32_t
triplet_sender_key(const char *canonical, uint32_t n, char *out)
{
	char key[2 * TRIPLET_PATH_MAX_OCTETS + 16];
	const char *domain = triplet_domain_of(canonical, n);
	const size_t n_local = domain[0] != '\0' ? (size_t)(domain - canonical) - 1 : n;

	if (is_plain_local(canonical, n_local)) {
		memcpy(out, canonical, n + 1);
		return n;
	}
	return join_path(key, normalise_local(canonical, n_local, key), domain, out);
}

void
triplet_normalise_sender(const char *path, char *out)
{
	char canonical[TRIPLET_PATH_MAX_OCTETS + 1];

	triplet_sender_key(canonical, triplet_canonical(path, canonical), out);
}

uint64_t
policy_tag(const struct siphash_key *key, enum vt_kind kind, const void *material, uint32_t len_octets)
{
	/* the kind as a whole word, so that the material stays in step with SipHash's blocks */
	const uint64_t tag = siphash13_word_and(key, (uint64_t)kind, material, len_octets);

	return tag != 0 ? tag : 1; /* 0 is a free slot */
}

uint64_t
policy_address_tag(const struct siphash_key *key, enum vt_kind kind, const struct ip_addr *a)
{
	uint64_t tag, word;

	if (!ip_addr_is_v4(a))
		return policy_tag(key, kind, a->octet, sizeof(a->octet));
	memcpy(&word, a->octet + 8, sizeof(word)); /* says as much, in one go; as 12 octets it is no other's material */
	tag = siphash13_12(key, word, (uint32_t)kind);
	return tag != 0 ? tag : 1;
}

/* k->names holds n octets of the sender's part; the recipient follows. A path holds no NUL, so the border is certain. */
static void
key_finish(struct triplet_key *k, const struct siphash_key *key, const struct ip_addr *network, uint32_t n,
	const char *rcpt, uint32_t n_rcpt)
{
	uint64_t words[3];

	k->names[n] = '\0';
	memcpy(k->names + n + 1, rcpt, n_rcpt);
	k->pair_tag = policy_tag(key, VT_PAIR, k->names, n + 1 + n_rcpt);
	memcpy(words, network->octet, sizeof(network->octet));
	words[2] = k->pair_tag;
	/* of an IPv4 network the second word says all; what is hashed of another is longer, so they never meet */
	k->tag = ip_addr_is_v4(network) ? siphash_20(key, words[1], words[2], VT_TRIPLET)
	                                : siphash_word_and(key, VT_TRIPLET, words, sizeof(words));
	k->tag += k->tag == 0;
}

void
triplet_key_make(struct triplet_key *k, const struct siphash_key *key, const struct ip_addr *network,
	const char *sender, uint32_t n_sender, const char *rcpt, uint32_t n_rcpt)
{
	key_finish(k, key, network, triplet_sender_key(sender, n_sender, k->names), rcpt, n_rcpt);
}

uint64_t
triplet_tag(const struct siphash_key *key, const struct ip_addr *network, const char *sender, const char *rcpt)
{
	const uint32_t n_sender = (uint32_t)strnlen(sender, TRIPLET_PATH_MAX_OCTETS);
	struct triplet_key k;

	memcpy(k.names, sender, n_sender);
	key_finish(&k, key, network, n_sender, rcpt, (uint32_t)strnlen(rcpt, TRIPLET_PATH_MAX_OCTETS));
	return k.tag;
}
