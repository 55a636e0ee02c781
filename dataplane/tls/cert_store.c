/*
 * cert_store.c - the folder of certificates as the main thread keeps it: looked at, loaded, reported.
 *
 * Flow:   see cert_store.h. scan_folder() -> entries -> load_entry() each -> what stays, what goes -> cert_set_build()
 * Touches: see cert_store.h.
 *
 * What is a pair (its label in quotes), symbolic links followed everywhere:
 *   "NAME"          a folder NAME with fullchain.pem and privkey.pem, as certbot and others make it
 *   "fullchain.pem" the same two files in the folder itself
 *   "NAME.pem"      NAME.pem with NAME.key; or alone, with the key in the same file
 *   "NAME.crt"      NAME.crt with NAME.key
 * Names that begin with a dot, and all other files, are nobody's.
 *
 * Keeps:
 *   - A label with bad files (cert_pair.c says what is bad) keeps the pair it had. So does one whose new pair is expired or not valid
 *     yet while the old one is good today. Where there is no old one, an expired pair is used and told of: most senders take it, those
 *     that pin its key (DANE, TLSA 3 1 1) are right to (RFC 7672 section 3.1.1), and no TLS at all is worse for all of them.
 *   - A label that is gone is taken out, unless it was the last: a set never becomes empty but by tls.certificates = "".
 *   - Files are read when two looks found the same (certbot renames several links one after another), or when the operator asks.
 *   - A set is new only where a pair is new: a look that finds the same certificates disturbs no worker.
 */
#include "dataplane/tls/cert_store.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/bug.h"
#include "dataplane/base/siphash.h"
#include "dataplane/tls/cert_set_impl.h"

struct entry {
	char label[CERT_LABEL_OCTETS];
	char chain[CERT_FILE_OCTETS], key[CERT_FILE_OCTETS]; /* key "": in the chain's file */
	const char *wrong;                                   /* it cannot be a pair, and why; NULL */
	uint64_t signature;                                  /* of what stat() says of both files */
};

/* What is known of a label: lives as long as its item or its files do. */
struct slot {
	char label[CERT_LABEL_OCTETS];
	uint64_t signature;
	struct cert_item *item; /* in use; NULL: none was ever good */
	struct cert_status row;
	int64_t pending_at; /* when files that were passed over become valid; 0 */
	bool seen;          /* in this look */
};

struct cert_store {
	OSSL_LIB_CTX *lib;
	struct entry *entry; /* [CERT_ENTRIES_MAX] */
	uint32_t n_entries;
	struct slot *slot; /* [CERT_ENTRIES_MAX * 2]: those of before beside those of now */
	uint32_t n_slots;
	uint64_t signature_read, signature_seen;
	bool has_read;
	int64_t next_date_s; /* when a pair in use begins or ends to be valid */
	const struct cert_set *set;
	uint64_t generation;
	struct cert_report report;
};

static const struct siphash_key signature_key = { UINT64_C(0x6365727469666963), UINT64_C(0x617465666f6c6465) };

__attribute__((format(printf, 2, 3))) static void
folder_error(struct cert_store *s, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(s->report.folder_error, sizeof(s->report.folder_error), format, ap);
	va_end(ap);
}

/* --- the folder --- */

static bool
has_suffix(const char *name, const char *suffix)
{
	const size_t n = strlen(name), k = strlen(suffix);

	return n > k && strcmp(name + n - k, suffix) == 0;
}

static bool
is_there(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

static bool
is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Whoever may rename files in a folder chooses our keys. */
static bool
others_write(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 &&
	       ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 || (st.st_uid != 0 && st.st_uid != geteuid()));
}

static bool
label_usable(const char *name)
{
	for (const char *p = name; *p != '\0'; p++)
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f)
			return false;
	return strlen(name) < CERT_LABEL_OCTETS;
}

static void
add_file_to(struct siphash_state *h, const char *path)
{
	struct {
		uint64_t dev, ino, size, mode, uid, error;
		int64_t mtime_s, mtime_ns, ctime_s, ctime_ns;
	} w;
	struct stat st;

	memset(&w, 0, sizeof(w));
	if (path[0] != '\0' && stat(path, &st) == 0) {
		w.dev = (uint64_t)st.st_dev;
		w.ino = (uint64_t)st.st_ino;
		w.size = (uint64_t)st.st_size;
		w.mode = st.st_mode;
		w.uid = st.st_uid;
		w.mtime_s = st.st_mtim.tv_sec;
		w.mtime_ns = st.st_mtim.tv_nsec;
		w.ctime_s = st.st_ctim.tv_sec;
		w.ctime_ns = st.st_ctim.tv_nsec;
	} else if (path[0] != '\0') {
		w.error = (uint64_t)errno;
	}
	siphash_update(h, &w, sizeof(w));
}

static uint64_t
entry_signature(const struct entry *e)
{
	struct siphash_state h;

	siphash_init(&h, &signature_key);
	siphash_update(&h, e->label, strlen(e->label) + 1);
	add_file_to(&h, e->chain);
	add_file_to(&h, e->key);
	siphash_update(&h, e->wrong != NULL ? e->wrong : "", e->wrong != NULL ? strlen(e->wrong) : 0);
	return siphash_final(&h);
}

/* A path below the folder; false where it is too long. */
__attribute__((format(printf, 2, 3))) static bool
path_of(char out[CERT_FILE_OCTETS], const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(out, CERT_FILE_OCTETS, format, ap);
	va_end(ap);
	return n >= 0 && n < CERT_FILE_OCTETS;
}

/* Fills e from a name in the folder. False: it is nobody's. */
static bool
entry_of(struct entry *e, const char *folder, const char *name)
{
	const int stem = (int)(strlen(name) - 4); /* of ".pem", ".crt", ".key" */
	bool fits;

	memset(e, 0, sizeof(*e));
	for (size_t i = 0; name[i] != '\0' && i < sizeof(e->label) - 1; i++)
		e->label[i] = (char)((unsigned char)name[i] > 0x20 && (unsigned char)name[i] < 0x7f ? name[i] : '?');
	if (!path_of(e->chain, "%s/%s", folder, name)) {
		e->wrong = "its path is too long";
		return true;
	}
	if (is_folder(e->chain)) {
		const bool open = others_write(e->chain);

		fits = path_of(e->chain, "%s/%s/fullchain.pem", folder, name) &&
		       path_of(e->key, "%s/%s/privkey.pem", folder, name);
		if (fits && !is_there(e->chain) && !is_there(e->key))
			return false;
		if (open)
			e->wrong =
				"its folder belongs to or may be written by others than the data plane's user and root";
	} else if (strcmp(name, "fullchain.pem") == 0) {
		fits = path_of(e->key, "%s/privkey.pem", folder);
	} else if (strcmp(name, "cert.pem") == 0 || strcmp(name, "chain.pem") == 0 ||
		   strcmp(name, "privkey.pem") == 0) {
		return false; /* they lie beside fullchain.pem */
	} else if (has_suffix(name, ".pem") || has_suffix(name, ".crt")) {
		fits = path_of(e->key, "%s/%.*s.key", folder, stem, name);
		if (fits && has_suffix(name, ".pem") && !is_there(e->key))
			e->key[0] = '\0';
	} else if (has_suffix(name, ".key")) {
		char crt[CERT_FILE_OCTETS], pem[CERT_FILE_OCTETS];

		fits = path_of(crt, "%s/%.*s.crt", folder, stem, name) &&
		       path_of(pem, "%s/%.*s.pem", folder, stem, name);
		if (fits && (is_there(crt) || is_there(pem)))
			return false;
		e->wrong = "a key without a certificate: NAME.crt or NAME.pem has to lie beside NAME.key";
	} else {
		return false;
	}
	if (!fits)
		e->wrong = "its path is too long";
	else if (!label_usable(name))
		e->wrong = "its name is too long, or has a space or characters beyond printable ASCII";
	return true;
}

static int
entry_order(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->label, ((const struct entry *)b)->label);
}

/* The folder's entries in the order of their labels. False with folder_error when it cannot be used; *signature is of either. */
static bool
scan_folder(struct cert_store *s, const char *folder, uint64_t *signature)
{
	struct siphash_state h;
	struct dirent *d;
	DIR *dir;

	s->n_entries = 0;
	s->report.folder_error[0] = '\0';
	dir = opendir(folder);
	if (dir == NULL)
		folder_error(s, "cannot read %s: %s", folder, strerror(errno));
	else if (others_write(folder))
		folder_error(s,
			"%s belongs to or may be written by others than the data plane's user and root: chmod go-w, "
			"chown root",
			folder);
	while (dir != NULL && s->report.folder_error[0] == '\0' && (d = readdir(dir)) != NULL) {
		if (d->d_name[0] == '.')
			continue;
		if (s->n_entries == CERT_ENTRIES_MAX)
			folder_error(
				s, "%s holds more than %d pairs or files: none is looked at", folder, CERT_ENTRIES_MAX);
		else if (entry_of(&s->entry[s->n_entries], folder, d->d_name))
			s->n_entries++;
	}
	if (dir != NULL)
		closedir(dir);
	siphash_init(&h, &signature_key);
	siphash_update(&h, s->report.folder_error, strlen(s->report.folder_error) + 1);
	if (s->report.folder_error[0] == '\0') {
		qsort(s->entry, s->n_entries, sizeof(*s->entry), entry_order);
		for (uint32_t i = 0; i < s->n_entries; i++) {
			s->entry[i].signature = entry_signature(&s->entry[i]);
			siphash_update(&h, &s->entry[i].signature, sizeof(s->entry[i].signature));
		}
	}
	*signature = siphash_final(&h);
	return s->report.folder_error[0] == '\0';
}

/* --- labels --- */

static struct slot *
slot_of(struct cert_store *s, const char *label)
{
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (strcmp(s->slot[i].label, label) == 0)
			return &s->slot[i];
	BUG_ON(s->n_slots == CERT_ENTRIES_MAX * 2);
	s->slot[s->n_slots] = (struct slot){ 0 };
	memcpy(s->slot[s->n_slots].label, label, sizeof(s->slot[0].label));
	return &s->slot[s->n_slots++];
}

static void
slot_drop(struct cert_store *s, uint32_t at)
{
	cert_item_release(s->slot[at].item);
	s->slot[at] = s->slot[--s->n_slots];
}

static enum cert_state
state_on(const struct cert_pair *p, int64_t now_s)
{
	return now_s < p->not_before ? CERT_NOT_YET : now_s >= p->not_after ? CERT_EXPIRED : CERT_GOOD;
}

static void
day_of(int64_t at_s, char out[32])
{
	const time_t t = (time_t)at_s;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL || strftime(out, 32, "%Y-%m-%d %H:%M UTC", &tm) == 0)
		snprintf(out, 32, "%lld", (long long)at_s);
}

/* Whether both hold the same certificates and the same key. */
static bool
same_pair(const struct cert_item *a, const struct cert_item *b)
{
	return a->pair.chain_octets == b->pair.chain_octets && a->pair.key_octets == b->pair.key_octets &&
	       memcmp(a->pair.chain_pem, b->pair.chain_pem, a->pair.chain_octets) == 0 &&
	       CRYPTO_memcmp(a->pair.key_pem, b->pair.key_pem, a->pair.key_octets) == 0;
}

/* A good pair for the slot: it comes into use, unless the one in use is of this day and this one is not. Takes item. */
static void
offer_item(struct slot *slot, struct cert_item *item, int64_t now_s)
{
	const enum cert_state state = state_on(&item->pair, now_s);
	char day[32];

	if (slot->item != NULL && state != CERT_GOOD && state_on(&slot->item->pair, now_s) == CERT_GOOD &&
		!same_pair(slot->item, item)) {
		slot->row = slot->item->status;
		slot->row.state = CERT_KEPT;
		day_of(state == CERT_EXPIRED ? item->pair.not_after : item->pair.not_before, day);
		snprintf(slot->row.why, sizeof(slot->row.why), "its files hold a certificate that %s %s",
			state == CERT_EXPIRED ? "expired" : "is not valid before", day);
		slot->pending_at = state == CERT_NOT_YET ? item->pair.not_before : 0;
		cert_item_release(item);
		return;
	}
	if (slot->item != NULL && same_pair(slot->item, item)) {
		cert_item_release(item);
	} else {
		cert_item_release(slot->item);
		slot->item = item;
		item->status.loaded_at = now_s;
	}
	slot->row = slot->item->status;
}

/* Reads the files of an entry where they changed. n_usable: labels that have or get a pair. */
static void
load_entry(struct cert_store *s, const struct entry *e, struct slot *slot, const struct cert_look *look,
	uint32_t *n_usable)
{
	const struct cert_files files = {
		.label = e->label, .chain = e->chain, .key = e->key[0] != '\0' ? e->key : NULL
	};
	const bool had = slot->item != NULL;
	struct cert_item *item = NULL;
	char why[CERT_TEXT_OCTETS] = "";
	struct cert_status row = { .state = CERT_BAD };

	slot->seen = true;
	if (slot->signature == e->signature && had && slot->row.state != CERT_KEPT && !look->now)
		return;
	slot->signature = e->signature;
	slot->pending_at = 0;
	if (e->wrong != NULL)
		snprintf(why, sizeof(why), "%s", e->wrong);
	else if (!had && *n_usable >= CERT_PAIRS_MAX)
		snprintf(why, sizeof(why), "more than %d pairs: this one is not read", CERT_PAIRS_MAX);
	else
		item = cert_pair_load(s->lib, &files, &row, why);
	if (item != NULL) {
		*n_usable += !had;
		offer_item(slot, item, look->now_s);
		return;
	}
	slot->row = had ? slot->item->status : row;
	slot->row.state = had ? CERT_KEPT : CERT_BAD;
	memcpy(slot->row.label, slot->label, sizeof(slot->row.label));
	snprintf(slot->row.why, sizeof(slot->row.why), "%s", why);
}

static uint32_t
usable_slots(const struct cert_store *s, bool seen_alone)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_slots; i++)
		n += s->slot[i].item != NULL && (!seen_alone || s->slot[i].seen);
	return n;
}

/* Takes out what is gone, but never the last usable pair. */
static void
drop_gone(struct cert_store *s, const char *folder)
{
	const bool keep = usable_slots(s, true) == 0 && usable_slots(s, false) > 0;

	for (uint32_t i = 0; i < s->n_slots;) {
		struct slot *slot = &s->slot[i];

		if (slot->seen || (keep && slot->item != NULL)) {
			if (!slot->seen) {
				slot->row = slot->item->status;
				slot->row.state = CERT_KEPT;
				snprintf(slot->row.why, sizeof(slot->row.why), "its files are gone");
				slot->signature = 0;
			}
			i++;
			continue;
		}
		slot_drop(s, i);
	}
	if (keep)
		folder_error(s, "%.160s holds no usable pair any more: what was loaded before stays in use", folder);
}

/* --- sets --- */

static int
slot_order(const void *a, const void *b)
{
	return strcmp(((const struct slot *)a)->label, ((const struct slot *)b)->label);
}

static bool
same_items(const struct cert_set *set, struct cert_item *const *items, uint32_t n)
{
	if (set == NULL || set->n_pairs != n)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (set->pairs[i].key_pem != items[i]->pair.key_pem) /* an item's own mapping: the same item */
			return false;
	return true;
}

static void
renew_set(struct cert_store *s, const struct cert_look *look, bool by_date)
{
	struct cert_item *items[CERT_PAIRS_MAX];
	const struct cert_set *next;
	uint32_t n = 0;
	bool known, same;

	qsort(s->slot, s->n_slots, sizeof(*s->slot), slot_order);
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (s->slot[i].item != NULL)
			items[n++] = s->slot[i].item;
	if (n == 0)
		return; /* never was one: drop_gone() keeps the last */
	same = same_items(s->set, items, n);
	next = cert_set_build(items, n, look->default_name, look->now_s, s->generation + 1, &known);
	if (same && !by_date &&
		memcmp(&s->set->identities[0], &next->identities[0], sizeof(next->identities[0])) == 0) {
		cert_set_release(next);
	} else {
		cert_set_release(s->set);
		s->set = next;
		s->generation++;
	}
	if (!known)
		snprintf(s->report.note, sizeof(s->report.note),
			"no certificate holds %.120s: clients without SNI are shown another name", look->default_name);
	else if (s->set->n_names_dropped > 0)
		snprintf(s->report.note, sizeof(s->report.note),
			"too many combinations of names: %u names are answered with the default certificate",
			s->set->n_names_dropped);
}

static void
note_date(struct cert_store *s, int64_t at_s, int64_t now_s)
{
	if (at_s > now_s && at_s < s->next_date_s)
		s->next_date_s = at_s;
}

/* Rows in the order of labels; what is in use first counts when there is no room for all. */
static void
fill_report(struct cert_store *s, int64_t now_s)
{
	struct cert_report *r = &s->report;
	uint32_t dropped = 0;

	r->n_rows = 0;
	s->next_date_s = INT64_MAX;
	for (unsigned bad = 0; bad < 2; bad++) {
		for (uint32_t i = 0, pair = 0; i < s->n_slots; i++) {
			struct slot *slot = &s->slot[i];
			struct cert_status row = slot->row;

			if (slot->item != NULL) {
				if (row.state != CERT_KEPT)
					row.state = (uint8_t)state_on(&slot->item->pair, now_s);
				row.in_use = 1;
				for (unsigned k = 0; k < CERT_KEY_TYPE_N; k++)
					row.is_default = row.is_default || s->set->identities[0].pair[k] == pair;
				note_date(s, slot->item->pair.not_before, now_s);
				note_date(s, slot->item->pair.not_after, now_s);
				note_date(s, slot->pending_at, now_s);
				pair++;
			}
			if ((slot->item == NULL) != (bad == 1))
				continue;
			if (r->n_rows == CERT_ROWS_MAX)
				dropped++;
			else
				r->row[r->n_rows++] = row;
		}
	}
	if (dropped > 0)
		snprintf(r->note, sizeof(r->note), "%u more entries of the folder cannot be used and are not listed",
			dropped);
}

/* --- doors --- */

struct cert_store *
cert_store_create(void)
{
	struct cert_store *s = calloc(1, sizeof(*s));

	BUG_ON(s == NULL);
	s->lib = OSSL_LIB_CTX_new();
	s->entry = calloc(CERT_ENTRIES_MAX, sizeof(*s->entry));
	s->slot = calloc(CERT_ENTRIES_MAX * 2, sizeof(*s->slot));
	BUG_ON(s->lib == NULL || s->entry == NULL || s->slot == NULL);
	return s;
}

static void
forget_all(struct cert_store *s)
{
	while (s->n_slots > 0)
		slot_drop(s, 0);
	cert_set_release(s->set);
	s->set = NULL;
	s->report.n_rows = 0;
	s->report.folder_error[0] = s->report.note[0] = '\0';
	s->has_read = false;
}

void
cert_store_destroy(struct cert_store *s)
{
	forget_all(s);
	OSSL_LIB_CTX_free(s->lib);
	free(s->entry);
	free(s->slot);
	free(s);
}

bool
cert_store_look(struct cert_store *s, const struct cert_look *look)
{
	char error_before[CERT_TEXT_OCTETS];
	struct siphash_state h;
	uint64_t signature;
	uint32_t n_usable;
	bool readable, by_date;

	if (look->folder[0] == '\0') {
		const bool had = s->has_read;

		forget_all(s);
		return had;
	}
	memcpy(error_before, s->report.folder_error, sizeof(error_before));
	readable = scan_folder(s, look->folder, &signature);
	siphash_init(&h, &signature_key);
	siphash_update(&h, look->folder, strlen(look->folder) + 1);
	siphash_update(&h, look->default_name, strlen(look->default_name) + 1);
	siphash_update(&h, &signature, sizeof(signature));
	signature = siphash_final(&h);
	by_date = look->now_s >= s->next_date_s;
	if (!look->now && !(s->has_read && by_date) &&
		(signature == s->signature_read || signature != s->signature_seen)) {
		s->signature_seen = signature;
		memcpy(s->report.folder_error, error_before, sizeof(error_before));
		return false;
	}
	s->signature_seen = s->signature_read = signature;
	s->has_read = true;
	s->report.note[0] = '\0';
	if (readable) {
		n_usable = usable_slots(s, false);
		for (uint32_t i = 0; i < s->n_slots; i++)
			s->slot[i].seen = false;
		for (uint32_t i = 0; i < s->n_entries; i++)
			load_entry(s, &s->entry[i], slot_of(s, s->entry[i].label), look, &n_usable);
		drop_gone(s, look->folder);
	}
	renew_set(s, look, by_date);
	fill_report(s, look->now_s);
	return true;
}

const struct cert_set *
cert_store_set(const struct cert_store *s)
{
	return s->set;
}

const struct cert_report *
cert_store_report(const struct cert_store *s)
{
	return &s->report;
}
