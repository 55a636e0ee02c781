/*
 * cert_pair.c - one certificate chain and its private key: read from files, checked, held.
 *
 * Flow:   see cert_pair.h. Files -> octets -> OpenSSL's parsers -> checks in the order of check_all() -> item.
 * Touches: see cert_pair.h.
 * Keeps:  a key file that anybody but its owner may read or write is refused, and so is one that belongs to neither us nor root: whoever
 *         else could read it has it. A file is looked at by its open descriptor, never by name twice.
 *
 * Octets of a key are read straight into memory that is locked, left out of core dumps and of children; OpenSSL's copies of them while it
 * parses are wiped by OpenSSL. No message here holds an octet of a file.
 */
#include "dataplane/tls/cert_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "dataplane/tls/cert_facts.h"

#define RSA_MIN_BITS 2048 /* below it OpenSSL's own default level refuses the key, and so do senders */
#define RSA_MAX_BITS 8192 /* a signature of more takes tens of milliseconds: every handshake would stop a worker */

static const char no_memory[] = "no memory for it";

/* What is put together while a pair is read. */
struct work {
	const struct cert_files *files;
	OSSL_LIB_CTX *lib;
	struct cert_status *row;
	char *why;
	X509 *chain[CERT_CHAIN_MAX];
	uint32_t n_chain;
	EVP_PKEY *key;
	struct cert_item *item;
};

__attribute__((format(printf, 2, 3))) static bool
refuse(struct work *w, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(w->why, CERT_TEXT_OCTETS, format, ap);
	va_end(ap);
	for (char *p = w->why; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = '?';
	return false;
}

/* --- files --- */

static int
read_all(int fd, char *out, size_t octets)
{
	size_t n = 0;

	while (n < octets) {
		const ssize_t got = read(fd, out + n, octets - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ESTALE; /* shorter than it was a moment ago */
		n += (size_t)got;
	}
	return 0;
}

/* Opens a regular file of 1 to max octets; -1 after refuse(). */
static int
open_file(struct work *w, const char *path, size_t max, struct stat *st)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		refuse(w, "cannot read %s: %s", path, strerror(errno));
		return -1;
	}
	if (fstat(fd, st) != 0)
		refuse(w, "%s: %s", path, strerror(errno));
	else if (!S_ISREG(st->st_mode))
		refuse(w, "%s is not a regular file", path);
	else if (st->st_size <= 0)
		refuse(w, "%s is empty", path);
	else if ((uint64_t)st->st_size > max)
		refuse(w, "%s has %lld octets; right are at most %zu", path, (long long)st->st_size, max);
	else
		return fd;
	close(fd);
	return -1;
}

/* The key's file into memory of its own. */
static bool
read_key(struct work *w)
{
	const char *path = w->files->key != NULL ? w->files->key : w->files->chain;
	const size_t max = CERT_KEY_FILE_MAX_OCTETS + (w->files->key == NULL ? CERT_CHAIN_FILE_MAX_OCTETS : 0);
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct cert_item *item = w->item;
	struct stat st;
	void *room;
	int fd = open_file(w, path, max, &st), rc;

	if (fd < 0)
		return false;
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0 || (st.st_uid != geteuid() && st.st_uid != 0)) {
		refuse(w,
			"%s has mode %04o and belongs to user %u: the key has to be readable by user %u alone (chmod "
			"0400, chown)",
			path, (unsigned)st.st_mode & 07777u, (unsigned)st.st_uid, (unsigned)geteuid());
		close(fd);
		return false;
	}
	item->key_room = ((size_t)st.st_size + page - 1) / page * page;
	room = mmap(NULL, item->key_room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED) {
		close(fd);
		return refuse(w, "no memory for a key of %lld octets", (long long)st.st_size);
	}
	item->key = room;
	(void)madvise(room, item->key_room, MADV_DONTDUMP);
	(void)madvise(room, item->key_room, MADV_DONTFORK);
	if (mlock(room, item->key_room) != 0)
		snprintf(item->status.why, sizeof(item->status.why),
			"its key is not locked in memory: %s (LimitMEMLOCK)", strerror(errno));
	rc = read_all(fd, item->key, (size_t)st.st_size);
	close(fd);
	if (rc != 0)
		return refuse(w, "cannot read %s: %s", path, strerror(-rc));
	item->pair.key_pem = item->key;
	item->pair.key_octets = (uint32_t)st.st_size;
	(void)mprotect(room, item->key_room, PROT_READ);
	return true;
}

/* --- parsing --- */

/* A key that asks for a passphrase: there is nobody to type one. */
static int
no_passphrase(char *out, int octets, int writing, void *asked)
{
	(void)out;
	(void)octets;
	(void)writing;
	*(bool *)asked = true;
	return -1;
}

static bool
parse_key(struct work *w)
{
	BIO *in = BIO_new_mem_buf(w->item->pair.key_pem, (int)w->item->pair.key_octets);
	bool asked = false;

	if (in == NULL)
		return refuse(w, "%s", no_memory);
	w->key = PEM_read_bio_PrivateKey_ex(in, NULL, no_passphrase, &asked, w->lib, NULL);
	BIO_free(in);
	ERR_clear_error();
	if (w->key == NULL && asked)
		return refuse(w, "the key is encrypted with a passphrase; right is one without, readable by the data "
				 "plane alone");
	if (w->key == NULL)
		return refuse(w, "there is no private key in PEM that could be read");
	return true;
}

static bool
parse_chain(struct work *w)
{
	BIO *in = NULL;
	char *octets = NULL;
	bool ok = false;

	if (w->files->key == NULL) {
		in = BIO_new_mem_buf(w->item->pair.key_pem, (int)w->item->pair.key_octets);
	} else {
		struct stat st;
		int fd = open_file(w, w->files->chain, CERT_CHAIN_FILE_MAX_OCTETS, &st), rc;

		if (fd < 0)
			return false;
		octets = malloc((size_t)st.st_size);
		BUG_ON(octets == NULL);
		rc = read_all(fd, octets, (size_t)st.st_size);
		close(fd);
		if (rc != 0) {
			refuse(w, "cannot read %s: %s", w->files->chain, strerror(-rc));
			goto out;
		}
		in = BIO_new_mem_buf(octets, (int)st.st_size);
	}
	for (;;) {
		X509 *x = in != NULL ? X509_new_ex(w->lib, NULL) : NULL;
		unsigned long error;

		if (x == NULL) {
			refuse(w, "%s", no_memory);
			goto out;
		}
		if (PEM_read_bio_X509(in, &x, NULL, NULL) != NULL) {
			if (w->n_chain == CERT_CHAIN_MAX) {
				X509_free(x);
				refuse(w, "more than %d certificates in the chain", CERT_CHAIN_MAX);
				goto out;
			}
			w->chain[w->n_chain++] = x;
			continue;
		}
		error = ERR_peek_last_error();
		X509_free(x); /* NULL where the reader freed it */
		if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
			refuse(w, "certificate %u of the file is damaged", w->n_chain + 1);
			goto out;
		}
		break;
	}
	ok = w->n_chain > 0 || refuse(w, "there is no certificate in PEM that could be read");
out:
	ERR_clear_error();
	BIO_free(in);
	free(octets);
	return ok;
}

/* --- what can be told of the leaf, also of a pair that is refused --- */

static void
describe(struct work *w)
{
	struct cert_status *s = w->row;

	cert_facts(w->chain[0], EVP_sha256(), s);
	if (s->key_type >= CERT_KEY_TYPE_N)
		s->key_type = CERT_KEY_ECDSA; /* of a pair that check_key() refuses */
	s->n_chain = w->n_chain;
	/* a chain is as good as its shortest part; the root, which clients have of their own, does not count */
	for (uint32_t i = 1; i < w->n_chain; i++) {
		const int64_t end = cert_seconds(X509_get0_notAfter(w->chain[i]));

		if (end < s->not_after && (X509_get_extension_flags(w->chain[i]) & EXFLAG_SS) == 0)
			s->not_after = end;
	}
}

/* --- names --- */

struct name_list {
	char **names, *text;
	uint32_t n;
};

static bool
add_name(void *arg, const char *name, size_t octets)
{
	struct name_list *l = arg;

	if (l->n == CERT_NAMES_PER_PAIR_MAX)
		return false;
	l->names[l->n++] = memcpy(l->text, name, octets + 1);
	l->text += octets + 1;
	return true;
}

static void
read_names(struct work *w)
{
	const size_t room = CERT_NAMES_PER_PAIR_MAX * (sizeof(char *) + CERT_HOST_MAX_OCTETS + 1);
	struct name_list l = { .names = malloc(room) };

	BUG_ON(l.names == NULL);
	l.text = (char *)(l.names + CERT_NAMES_PER_PAIR_MAX);
	cert_names(w->chain[0], add_name, &l);
	w->item->names = l.names;
	w->item->n_names = l.n;
	w->row->n_names = l.n;
}

/* --- checks --- */

static bool
check_key(struct work *w)
{
	const enum cert_key_type type = cert_key_of(w->key, &w->row->key_bits);
	const uint32_t bits = w->row->key_bits;
	char group[64] = "";

	if (type == CERT_KEY_TYPE_N)
		return refuse(w, "a key of a kind that TLS servers do not use; right are ECDSA, RSA and Ed25519");
	w->row->key_type = (uint8_t)type;
	if (type == CERT_KEY_RSA && (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS))
		return refuse(w, "an RSA key of %u bits; right are %d to %d", bits, RSA_MIN_BITS, RSA_MAX_BITS);
	if (type == CERT_KEY_ECDSA) {
		EVP_PKEY_get_group_name(w->key, group, sizeof(group), NULL);
		if (strcmp(group, "prime256v1") != 0 && strcmp(group, "secp384r1") != 0 &&
			strcmp(group, "secp521r1") != 0)
			return refuse(w, "an ECDSA key of the curve %.40s; right are P-256, P-384 and P-521", group);
	}
	return true;
}

static bool
check_match(struct work *w)
{
	const bool match = X509_check_private_key(w->chain[0], w->key) == 1;

	ERR_clear_error();
	if (match)
		return true;
	for (uint32_t i = 1; i < w->n_chain; i++)
		if (X509_check_private_key(w->chain[i], w->key) == 1)
			return refuse(w,
				"the key is that of certificate %u of the file: the server's own has to stand first",
				i + 1);
	ERR_clear_error();
	return refuse(w, "the key and the certificate do not belong together");
}

/* Each certificate was issued by the one after it. */
static bool
check_chain(struct work *w)
{
	for (uint32_t i = 0; i + 1 < w->n_chain; i++) {
		const bool issued = X509_check_issued(w->chain[i + 1], w->chain[i]) == X509_V_OK &&
		                    X509_verify(w->chain[i], X509_get0_pubkey(w->chain[i + 1])) == 1;

		ERR_clear_error();
		if (!issued)
			return refuse(w,
				"certificate %u of the file was not issued by certificate %u, which follows it", i + 1,
				i + 2);
	}
	return true;
}

/* The last word is OpenSSL's, at the level that workers use. */
static bool
check_usable(struct work *w)
{
	SSL_CTX *ctx = SSL_CTX_new_ex(w->lib, NULL, TLS_server_method());
	bool ok;

	if (ctx == NULL)
		return refuse(w, "%s", no_memory);
	ok = SSL_CTX_use_certificate(ctx, w->chain[0]) == 1 && SSL_CTX_use_PrivateKey(ctx, w->key) == 1;
	for (uint32_t i = 1; ok && i < w->n_chain; i++)
		ok = SSL_CTX_add1_chain_cert(ctx, w->chain[i]) == 1;
	if (!ok) {
		const char *reason = ERR_reason_error_string(ERR_peek_last_error());

		refuse(w, "OpenSSL does not take it: %s", reason != NULL ? reason : "no reason given");
	}
	ERR_clear_error();
	SSL_CTX_free(ctx);
	return ok;
}

/* What is no reason to refuse, but to tell. */
static void
warn(struct work *w)
{
	const X509 *last = w->chain[w->n_chain - 1];
	const bool self = X509_NAME_cmp(X509_get_subject_name(last), X509_get_issuer_name(last)) == 0;
	char *why = w->item->status.why;

	if (why[0] != '\0')
		return;
	if (w->item->n_names == 0)
		snprintf(why, CERT_TEXT_OCTETS, "it holds no host name: only clients without SNI will see it");
	else if (w->n_chain == 1 && !self)
		snprintf(why, CERT_TEXT_OCTETS,
			"its issuer's certificate is not in the file: who checks it will not be able to");
}

static bool
write_chain(struct work *w)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *text = NULL;
	bool ok = out != NULL;
	long n = 0;

	for (uint32_t i = 0; ok && i < w->n_chain; i++)
		ok = PEM_write_bio_X509(out, w->chain[i]) == 1;
	if (ok)
		n = BIO_get_mem_data(out, &text);
	w->item->chain = n > 0 ? malloc((size_t)n) : NULL;
	if (w->item->chain != NULL) {
		memcpy(w->item->chain, text, (size_t)n);
		w->item->pair.chain_pem = w->item->chain;
		w->item->pair.chain_octets = (uint32_t)n;
	}
	BIO_free(out);
	ERR_clear_error();
	return w->item->chain != NULL || refuse(w, "%s", no_memory);
}

static bool
load_all(struct work *w)
{
	if (!read_key(w) || !parse_chain(w))
		return false;
	describe(w);
	read_names(w);
	return parse_key(w) && check_key(w) && check_match(w) && check_chain(w) && check_usable(w) && write_chain(w);
}

struct cert_item *
cert_pair_load(OSSL_LIB_CTX *lib, const struct cert_files *files, struct cert_status *row, char *why)
{
	struct work w = { .files = files, .lib = lib, .row = row, .why = why };
	struct cert_item *item = calloc(1, sizeof(*item));
	bool ok;

	BUG_ON(item == NULL);
	*row = (struct cert_status){ .state = CERT_BAD };
	snprintf(row->label, sizeof(row->label), "%s", files->label);
	why[0] = '\0';
	atomic_init(&item->holders, 1);
	w.item = item;
	ok = load_all(&w);
	if (ok) {
		struct cert_pair *p = &item->pair;

		warn(&w);
		snprintf(row->why, sizeof(row->why), "%s", item->status.why);
		item->status = *row;
		item->status.state = CERT_GOOD;
		memcpy(p->label, row->label, sizeof(p->label));
		p->key_type = (enum cert_key_type)row->key_type;
		p->key_bits = row->key_bits;
		p->not_before = row->not_before;
		p->not_after = row->not_after;
		memcpy(p->spki_sha256, row->spki_sha256, sizeof(p->spki_sha256));
	}
	for (uint32_t i = 0; i < w.n_chain; i++)
		X509_free(w.chain[i]);
	EVP_PKEY_free(w.key);
	if (ok)
		return item;
	cert_item_release(item);
	return NULL;
}

struct cert_item *
cert_item_take(struct cert_item *item)
{
	atomic_fetch_add_explicit(&item->holders, 1, memory_order_relaxed);
	return item;
}

void
cert_item_release(struct cert_item *item)
{
	if (item == NULL || atomic_fetch_sub_explicit(&item->holders, 1, memory_order_acq_rel) != 1)
		return;
	if (item->key != NULL) {
		(void)mprotect(item->key, item->key_room, PROT_READ | PROT_WRITE);
		explicit_bzero(item->key, item->key_room);
		munmap(item->key, item->key_room); /* unlocks too */
	}
	free(item->chain);
	free(item->names);
	free(item);
}
