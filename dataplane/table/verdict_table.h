/*
 * verdict_table.h - the one table of the policy's memory: triplets, client verdicts, automatic allow, learned pairs.
 *
 * Flow:   policy_decide(), control's store and CLI -> find / put / remove;  control's store -> dirty buckets -> LMDB
 * Touches: shared memory, by offsets alone; several processes read and write it at once without locks.
 * Keeps:  DESIGN section 3: 16 octets an entry, 4 entries a bucket of one cache line, two candidate buckets which are
 *         functions of the tag alone; 16-octet compare-and-swap to write, one aligned vector load to read; the tag is
 *         the whole identity. A process killed anywhere leaves a table whose invariants hold (verdict_table_check()):
 *         an insert first claims its slot under a nonce, looks at both buckets again, and only then becomes an entry,
 *         so that a tag never has two. Contents are hostile: copy, check, use.
 */
#ifndef GREYLINE_TABLE_VERDICT_TABLE_H
#define GREYLINE_TABLE_VERDICT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/base/counters.h"
#include "dataplane/base/siphash.h"

enum vt_kind {
	VT_FREE = 0,
	VT_TRIPLET = 1,       /* client network, sender, recipient; states VT_GREY and VT_WHITE */
	VT_CLIENT = 2,        /* a client's verdict: aux score and zone, flags ptr_state and name_list */
	VT_AUTO = 3,          /* automatic allow of a client network: aux: messages counted | its WHITE triplets << 8 */
	VT_PAIR = 4,          /* sender and recipient seen from several networks: aux counts them */
	VT_TRAP = 5,          /* a client or network blocked by a trap, or denied by the operator for a time */
	VT_SENDER_DOMAIN = 6, /* a client network and sender domain counted for automatic allow */
	VT_TLS = 7,           /* a client's handshakes: VT_GREY failed ones (aux: how many), VT_WHITE one completed */
	VT_KIND_KNOWN = VT_TLS, /* the last an entry may have */
	VT_CLAIM = 15,          /* a slot somebody is inserting into; readers take it for free */
	VT_KIND_MAX = 15,
};

enum vt_state { VT_NONE = 0, VT_GREY = 1, VT_WHITE = 2, VT_LAPSED = 3 };

/* As in memory, little endian, 16 octets. */
struct vt_entry {
	uint64_t tag;    /* SipHash over kind and key material; never 0 */
	uint32_t time_s; /* policy time */
	uint16_t aux;
	uint8_t flags;
	uint8_t kind_state; /* kind << 4 | state */
};

#define VT_AUTO_COUNT(e)  ((e)->aux & 0xff)
#define VT_AUTO_WHITES(e) ((e)->aux >> 8)

static inline enum vt_kind
vt_kind(const struct vt_entry *e)
{
	return (enum vt_kind)(e->kind_state >> 4);
}

static inline enum vt_state
vt_state(const struct vt_entry *e)
{
	return (enum vt_state)(e->kind_state & 15);
}

static inline uint8_t
vt_kind_state(enum vt_kind kind, enum vt_state state)
{
	return (uint8_t)(kind << 4 | state);
}

/* Where the table lies in the segment; offsets from the segment's start. A process-local handle. */
struct verdict_table {
	struct vt_entry *bucket;     /* 4 * n_buckets entries, aligned to 64 */
	uint64_t *dirty, *in_flight; /* a bit for each bucket */
	uint64_t *
		kinds; /* a bit for each kind that was ever put, and one 32 higher for each that was put but by a load; on a cache line of
	                       its own, written when one is set */
	uint32_t n_buckets;     /* a power of two is not required */
	struct siphash_key key; /* of the tags; from the segment, kept in LMDB */
};

/* Octets that n_buckets need in all, and binding a handle to memory of that size (zeroed = empty). */
uint64_t verdict_table_octets(uint32_t n_buckets);
uint32_t verdict_table_buckets_for(uint64_t entries); /* at a load of 0.75 */
void verdict_table_bind(struct verdict_table *t, void *memory, uint32_t n_buckets, const struct siphash_key *key);

/* The two buckets of a tag, for tools and tests; they are the same where there is only one. */
void verdict_table_candidates(const struct verdict_table *t, uint64_t tag, uint32_t out[2]);

/* True where 16-octet atomics work as needed (cmpxchg16b and AVX); checked once at start. */
bool verdict_table_cpu_ok(void);

/* Ages decide what is worth least when buckets are full: expired, then oldest GREY, then client verdicts. */
struct vt_ages {
	uint32_t now_s;
	uint32_t grey_s;  /* a GREY entry older is expired: pass plus lapse memory */
	uint32_t white_s; /* expire */
	uint32_t client_s;
	uint32_t auto_s;
	uint32_t tls_good_s, tls_failed_s;
};

/*
 * Whether the table may hold an entry of this kind. False: none was ever put, so nobody has to look; an entry put at this moment may be
 * missed, as by a look the moment before.
 */
static inline bool
verdict_table_may_hold(const struct verdict_table *t, enum vt_kind kind)
{
	return (__atomic_load_n(t->kinds, __ATOMIC_ACQUIRE) >> kind & 1) != 0;
}

/* Copies the entry of tag; false when there is none. */
bool verdict_table_find(const struct verdict_table *t, uint64_t tag, struct vt_entry *out);
void verdict_table_prefetch(const struct verdict_table *t, uint64_t tag);
/* The same of a tag that will be put, too: also the words in which its buckets are marked dirty. */
void verdict_table_prefetch_put(const struct verdict_table *t, uint64_t tag);

enum vt_put { VT_PUT_DONE, VT_PUT_RACED /* somebody changed it: find again */, VT_PUT_FULL /* no victim: refused */ };

/* Writes want in place of old (old->tag == want->tag), or inserts where old is NULL. Marks the bucket dirty after the
 * swap. An entry of no known kind or of tag 0 (a damaged database) is refused like one without a victim: VT_PUT_FULL.
 * evicted: the entry that had to go, kind VT_FREE when none; may be NULL. ages is asked for inserts only. */
enum vt_put verdict_table_put(const struct verdict_table *t, const struct vt_entry *old, const struct vt_entry *want,
	const struct vt_ages *ages, struct vt_entry *evicted);
/* What became of entries that were loaded. */
struct vt_load {
	uint64_t put, known /* the table knows as much or better */, raised /* what it knew was less */,
		refused /* no room */;
};

/*
 * Puts n entries that come from the database, VT_LOAD_MAX at most, in one go: all their lines are asked for before the first is needed.
 * Buckets are not marked dirty, for the database has these entries; but those where another one had to go are. An entry that is there
 * already stays, unless its state is lower: a GREY one becomes WHITE, a lower count of automatic allow the higher. Others may write the
 * table meanwhile.
 *
 * known_kinds: a bit (1 << kind) for each kind of which a tag may come that a load put before. Of the others, as long as nobody else puts one
 * (the table knows), an entry is put without being looked for: the caller answers for each of their tags coming once.
 */
#define VT_LOAD_MAX  64
#define VT_KINDS_ALL UINT32_MAX
void verdict_table_load(const struct verdict_table *t, const struct vt_entry *entries, uint32_t n,
	const struct vt_ages *ages, uint32_t known_kinds, struct vt_load *out);
/* Removes the entry if it still equals old. */
bool verdict_table_remove(const struct verdict_table *t, const struct vt_entry *old);

/* A copy of the 4 entries of one bucket, each whole (free ones have kind VT_FREE); for sweeps. */
void verdict_table_read_bucket(const struct verdict_table *t, uint32_t bucket, struct vt_entry out[4]);

/* Durability: moves dirty bits of up to n buckets to in-flight and gives their numbers; then, after the commit, clears
 * them. */
uint32_t verdict_table_take_dirty(const struct verdict_table *t, uint32_t *cursor, uint32_t *buckets, uint32_t n);
void verdict_table_committed(const struct verdict_table *t, const uint32_t *buckets, uint32_t n);
void verdict_table_dirty_all(const struct verdict_table *t);
void verdict_table_requeue_in_flight(const struct verdict_table *t); /* at control's start */

/* Joins entries of one tag, which only damaged memory has: lower slot wins, earliest time, highest state. How many
 * went. */
uint32_t verdict_table_merge(const struct verdict_table *t, uint64_t tag);

/* The invariants (for the kill test and `greylinectl db check`): 0, or the number of entries in a wrong bucket,
 * duplicated or of unknown kind; what is wrong is written to why. */
uint32_t verdict_table_check(const struct verdict_table *t, char *why, uint32_t why_octets);

/* by_kind[VT_CLAIM] counts claims left by the killed, by_kind[VT_FREE] the free slots; used counts neither. */
struct vt_counts {
	uint64_t used, by_kind[VT_KIND_MAX + 1], grey, white;
};
void verdict_table_count(const struct verdict_table *t, struct vt_counts *out);

#endif
