/*
 * smtp_data.c - see smtp_data.h.
 *
 * Pure:   octets.
 *
 * One octet decides at a line's start, after its first dot and after a CR; within a line plain_end() runs on over whole lines up to
 * the first CR or LF that is more than the end of a line with plain text behind it. What may pass as it is grows a run that becomes one view.
 *
 * normalize: LF without CR becomes CRLF and a dot after it gets another one; CR without LF becomes a space. A NUL passes, except
 * as a line's first octet or after a line's first dot, where it becomes a space: an MTA that drops NULs, or compares C strings,
 * would take ". NUL anything CRLF" for the end of the message (OpenSMTPD compares so) and read what follows as commands.
 */
#include "dataplane/smtp/smtp_data.h"

#include <string.h>

#ifdef __SSSE3__
#include <immintrin.h>
#endif

#include "dataplane/base/bug.h"

/* The most one step may give: a dot and CRLF. */
#define STEP_OCTETS 4

struct scan {
	struct smtp_data *d;
	struct smtp_data_out *out;
	const struct buf_view *in;
	const uint8_t *p, *end;
	const uint8_t *run; /* start of what passes as it is, up to p; NULL when there is none */
};

void
smtp_data_init(struct smtp_data *d, enum conf_bare_lf bare_lf)
{
	*d = (struct smtp_data){ .at = SMTP_DATA_LINE, .bare_lf = (uint8_t)bare_lf };
}

static void
run_flush(struct scan *s)
{
	if (s->run == NULL)
		return;
	if (s->out != NULL && s->p > s->run)
		s->out->view[s->out->n++] = (struct buf_view){ s->run, (uint32_t)(s->p - s->run), s->in->buf };
	s->run = NULL;
}

/* n octets pass as they are. */
static void
pass(struct scan *s, uint32_t n)
{
	if (s->run == NULL)
		s->run = s->p;
	s->p += n;
	if (s->out != NULL)
		s->out->room_octets -= n;
}

/* A constant of ours goes out. */
static void
give(struct scan *s, const char *text, uint32_t n)
{
	run_flush(s);
	if (s->out == NULL)
		return;
	s->out->view[s->out->n++] = (struct buf_view){ (const uint8_t *)text, n, NULL };
	s->out->room_octets -= n;
}

/* The octet at p is not given (something else was, or it is held). */
static void
skip(struct scan *s)
{
	run_flush(s);
	s->p++;
}

static bool
has_room(const struct scan *s)
{
	/* the run under way, a constant, and a run after it */
	return s->out == NULL || (s->out->n + 3 <= s->out->n_max && s->out->room_octets >= STEP_OCTETS);
}

/* A lone LF at p; dot: the line so far is a dot given already, which must not become the end. */
static void
bare_lf(struct scan *s, bool dot)
{
	s->d->n_bare_lf++;
	switch ((enum conf_bare_lf)s->d->bare_lf) {
	case BARE_LF_NORMALIZE:
		if (dot)
			give(s, ".\r\n", 3);
		else
			give(s, "\r\n", 2);
		skip(s);
		s->d->at = SMTP_DATA_SOFT;
		break;
	case BARE_LF_REJECT:
		s->d->broken = true;
		skip(s);
		s->d->at = SMTP_DATA_MID;
		break;
	case BARE_LF_TOLERATE:
		pass(s, 1);
		s->d->at = SMTP_DATA_MID;
		break;
	}
}

/* The octet at p follows a held CR and is no LF: what becomes of the CR. The octet itself is looked at next. */
static void
bare_cr(struct scan *s)
{
	s->d->n_bare_cr++;
	switch ((enum conf_bare_lf)s->d->bare_lf) {
	case BARE_LF_NORMALIZE:
		give(s, " ", 1);
		break;
	case BARE_LF_REJECT:
		s->d->broken = true;
		break;
	case BARE_LF_TOLERATE:
		give(s, "\r", 1);
		break;
	}
	s->d->at = SMTP_DATA_MID;
}

/* A NUL at p, at a line's start or after its first dot. */
static void
early_nul(struct scan *s)
{
	s->d->n_nul++;
	s->d->at = SMTP_DATA_MID;
	switch ((enum conf_bare_lf)s->d->bare_lf) {
	case BARE_LF_NORMALIZE:
		give(s, " ", 1);
		skip(s);
		break;
	case BARE_LF_REJECT:
		s->d->broken = true;
		skip(s);
		break;
	case BARE_LF_TOLERATE:
		pass(s, 1);
		break;
	}
}

/* A CR at p: with its LF here both pass, and the next state is after; else it is held, and the next state is held. */
static void
cr(struct scan *s, enum smtp_data_at after, enum smtp_data_at held)
{
	if (s->p + 1 < s->end && s->p[1] == '\n') {
		pass(s, 2);
		s->d->at = (uint8_t)after;
	} else {
		skip(s);
		s->d->at = (uint8_t)held;
	}
}

static void
at_line(struct scan *s)
{
	const bool soft = s->d->at == SMTP_DATA_SOFT;

	switch (*s->p) {
	case '.':
		if (soft)
			give(s, ".", 1);
		pass(s, 1);
		s->d->at = soft ? SMTP_DATA_MID : SMTP_DATA_DOT;
		break;
	case '\r':
		cr(s, SMTP_DATA_LINE, SMTP_DATA_MID_CR);
		break;
	case '\n':
		bare_lf(s, false);
		break;
	case '\0':
		early_nul(s);
		break;
	default:
		s->d->at = SMTP_DATA_MID; /* looked at again there, with all that follows it */
		break;
	}
}

static void
at_dot(struct scan *s)
{
	switch (*s->p) {
	case '\r':
		cr(s, SMTP_DATA_END, SMTP_DATA_DOT_CR);
		break;
	case '\n':
		bare_lf(s, true);
		break;
	case '\0':
		early_nul(s);
		break;
	default:
		s->d->at = SMTP_DATA_MID;
		break;
	}
}

/*
 * The next CR or LF from p on, end when there is none. Sixteen octets at a time where the machine can: an octet looked up by its low half
 * is itself where it is CR or LF, and nowhere else.
 */
static inline const uint8_t *
line_end(const uint8_t *p, const uint8_t *end)
{
#ifdef __SSSE3__
	const __m128i ends = _mm_set_epi8(-1, -1, '\r', -1, -1, '\n', -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);

	for (; end - p >= 16; p += 16) {
		const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		const int hits = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_shuffle_epi8(ends, v), v));

		if (hits != 0)
			return p + __builtin_ctz((unsigned)hits);
	}
#endif
	while (p < end && *p != '\r' && *p != '\n')
		p++;
	return p;
}

/* Octets compared at a time, in registers of 32 octets where the machine has them, else in two of 16 each. */
#define BLOCK_OCTETS 64

typedef uint8_t octets __attribute__((vector_size(32)));

static inline __attribute__((always_inline)) octets
octets_at(const uint8_t *p)
{
	octets v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline __attribute__((always_inline)) bool
is_zero(octets v)
{
#ifdef __AVX__
	return _mm256_testz_si256((__m256i)v, (__m256i)v) != 0;
#else
	uint64_t word[4];

	memcpy(word, &v, sizeof(word));
	return (word[0] | word[1] | word[2] | word[3]) == 0;
#endif
}

/* Not zero at each octet of p that is CR without LF behind it, or is before an LF without being CR, or is before an LF and two before a dot or NUL. */
static inline __attribute__((always_inline)) octets
odd_octets(const uint8_t *p)
{
	const octets after = octets_at(p + 2), lf = (octets)(octets_at(p + 1) == '\n');

	return ((octets)(octets_at(p) == '\r') ^ lf) | (lf & (octets)((after == '.') | (after == 0)));
}

static inline __attribute__((always_inline)) bool
is_plain_block(const uint8_t *p)
{
	return is_zero(odd_octets(p) | odd_octets(p + BLOCK_OCTETS / 2));
}

/* Where the octets from p on end within a CRLF, they end before it. */
static inline const uint8_t *
before_crlf(const uint8_t *p, const uint8_t *at)
{
	return at > p && at[-1] == '\r' ? at - 1 : at;
}

/*
 * Runs on from p, which is no LF, over whole blocks of lines that are text whatever stands around them: each CR has its LF, each LF its CR, and no
 * line begins with a dot or NUL. Where a block ends within a CRLF, it ends before it; behind one, before no dot or NUL. A segment of 1,448 octets takes 430 instructions.
 */
static inline __attribute__((always_inline)) const uint8_t *
plain_blocks_of(const uint8_t *const p, const uint8_t *end)
{
	const uint8_t *at = p;

	for (; end - at >= BLOCK_OCTETS + 2; at += BLOCK_OCTETS)
		if (!is_plain_block(at))
			return before_crlf(p, at);
	/* the rest is less than a block: the last one begins within what was looked at */
	if (at > p && is_plain_block(end - 2 - BLOCK_OCTETS))
		at = end - 2;
	return before_crlf(p, at);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static const uint8_t *
plain_blocks_avx2(const uint8_t *p, const uint8_t *end)
{
	return plain_blocks_of(p, end);
}

static const uint8_t *
plain_blocks(const uint8_t *p, const uint8_t *end)
{
	return __builtin_cpu_supports("avx2") ? plain_blocks_avx2(p, end) : plain_blocks_of(p, end);
}
#else
static const uint8_t *
plain_blocks(const uint8_t *p, const uint8_t *end)
{
	return plain_blocks_of(p, end);
}
#endif

/* Within a line from p on: the first CR or LF that is not CRLF with the plain start of another line behind it before end; end when there is none. */
static const uint8_t *
plain_end(const uint8_t *p, const uint8_t *end)
{
	if (p < end && *p != '\n')
		p = plain_blocks(p, end);
	for (;;) {
		p = line_end(p, end);
		if (end - p < 3 || p[0] != '\r' || p[1] != '\n' || p[2] == '.' || p[2] == '\0')
			return p;
		p += 2; /* a CR or LF there is the same at a line's start and within a line */
	}
}

static void
at_mid(struct scan *s)
{
	uint32_t n = (uint32_t)(s->end - s->p);
	const uint8_t *stop;

	if (s->out != NULL)
		n = MIN(n, s->out->room_octets);
	stop = plain_end(s->p, s->p + n);
	if (stop > s->p)
		pass(s, (uint32_t)(stop - s->p));
	if (s->p == s->end || !has_room(s))
		return;
	if (*s->p == '\r')
		cr(s, SMTP_DATA_LINE, SMTP_DATA_MID_CR);
	else if (*s->p == '\n')
		bare_lf(s, false);
}

/* A CR is held. */
static void
at_cr(struct scan *s, enum smtp_data_at after)
{
	if (*s->p != '\n') {
		bare_cr(s);
		return;
	}
	give(s, "\r\n", 2);
	skip(s);
	s->d->at = (uint8_t)after;
}

uint32_t
smtp_data_input(struct smtp_data *d, const struct buf_view *in, struct smtp_data_out *out)
{
	struct scan s = { .d = d, .out = out, .in = in, .p = in->ptr, .end = in->ptr + in->len_octets };

	if (in->len_octets == 0)
		return 0;
	while (s.p < s.end && d->at != SMTP_DATA_END && has_room(&s) && !(d->broken && out != NULL)) {
		switch ((enum smtp_data_at)d->at) {
		case SMTP_DATA_LINE:
		case SMTP_DATA_SOFT:
			at_line(&s);
			break;
		case SMTP_DATA_DOT:
			at_dot(&s);
			break;
		case SMTP_DATA_MID:
			at_mid(&s);
			break;
		case SMTP_DATA_DOT_CR:
			at_cr(&s, SMTP_DATA_END);
			break;
		case SMTP_DATA_MID_CR:
			at_cr(&s, SMTP_DATA_LINE);
			break;
		case SMTP_DATA_END:
			break;
		}
	}
	run_flush(&s);
	return (uint32_t)(s.p - in->ptr);
}
