/*
 * text.h - what a text holds, eight or sixteen octets at a time.
 *
 * Pure:   octets.
 * Source: the sums and masks by which a word's octets are compared all at once: H. S. Warren, "Hacker's Delight", section 6-1.
 */
#ifndef GREYLINE_BASE_TEXT_H
#define GREYLINE_BASE_TEXT_H

#include <emmintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/base/bug.h"

#define TEXT_CONTROL 1u /* an octet below 0x20, or 0x7f */
#define TEXT_8BIT    2u /* one above 0x7f */

#define TEXT_EACH(octet) (UINT64_C(0x0101010101010101) * (octet))

/* TEXT_CONTROL and TEXT_8BIT of the octets of one word. */
static inline unsigned
text_kinds_of_word(uint64_t w)
{
	const uint64_t high = TEXT_EACH(0x80), is_del = w ^ TEXT_EACH(0x7f);
	/* exact about whether there is one, which is all that is asked: a borrow only leaves an octet that is one */
	const uint64_t control = (w - TEXT_EACH(0x20)) & ~w, del = (is_del - TEXT_EACH(1)) & ~is_del;

	return (((control | del) & high) != 0 ? TEXT_CONTROL : 0) | ((w & high) != 0 ? TEXT_8BIT : 0);
}

/*
 * The highest bit of some octet is set where, and only where, one of w is not printable ASCII: of the lowest such octet one of the three sets
 * it, for nothing below it carries or borrows.
 */
static inline uint64_t
text_oddities(uint64_t w)
{
	return (w - TEXT_EACH(0x20)) | (w + TEXT_EACH(1)) | w;
}

/* What the n octets at text hold: 0 is printable ASCII alone, as nearly every text is; the others are looked at twice. */
static inline unsigned
text_kinds(const void *text, uint32_t n)
{
	const char *p = text, *end = p + n;
	uint64_t w = TEXT_EACH(' '), last = w, odd = 0;
	unsigned kinds;

	if (n >= 8) /* some of them a second time: no loop over what is over */
		memcpy(&last, end - 8, 8);
	else
		memcpy(&last, p, n);
	for (; end - p > 8; p += 8) {
		memcpy(&w, p, 8);
		odd |= text_oddities(w);
	}
	if (((odd | text_oddities(last)) & TEXT_EACH(0x80)) == 0)
		return 0;
	kinds = text_kinds_of_word(last);
	for (p = text; end - p > 8; p += 8) {
		memcpy(&w, p, 8);
		kinds |= text_kinds_of_word(w);
	}
	return kinds;
}

/* The first sixteen of n octets, or all of them and zeros: nothing behind them is read. */
static inline __m128i
text_load_16(const void *text, uint32_t n)
{
	const uint8_t *p = text;
	uint64_t low = 0, high = 0;

	if (n >= 16)
		return _mm_loadu_si128((const __m128i *)text);
	if (n >= 8) {
		memcpy(&low, p, 8);
		memcpy(&high, p + n - 8, 8);
		high = n > 8 ? high >> 8 * (16 - n) : 0;
	} else if (n >= 4) { /* the four and the last four, which may overlap */
		uint32_t first, last;

		memcpy(&first, p, 4);
		memcpy(&last, p + n - 4, 4);
		low = first | (uint64_t)last << 8 * (n - 4);
	} else if (n > 0) {
		low = p[0] | (uint64_t)p[n / 2] << 8 * (n / 2) | (uint64_t)p[n - 1] << 8 * (n - 1);
	}
	return _mm_set_epi64x((int64_t)high, (int64_t)low);
}

/* Where the first control octet (below 0x20, or 0x7f) of n stands; n: there is none. */
static inline uint32_t
text_first_control(const void *text, uint32_t n)
{
	for (uint32_t at = 0; at < n; at += 16) {
		const __m128i x = text_load_16((const char *)text + at, n - at);
		const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x);
		const unsigned found =
			(unsigned)_mm_movemask_epi8(_mm_or_si128(low, _mm_cmpeq_epi8(x, _mm_set1_epi8(0x7f))));

		if (found != 0) /* of the zeros behind the last octet, too: they stand at n */
			return at + (uint32_t)__builtin_ctz(found);
	}
	return n;
}

/* Where the first space or tab of n stands; n: there is none. */
static inline uint32_t
text_first_blank(const void *text, uint32_t n)
{
	for (uint32_t at = 0; at < n; at += 16) {
		const __m128i x = text_load_16((const char *)text + at, n - at);
		const unsigned found = (unsigned)_mm_movemask_epi8(
			_mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8(' ')), _mm_cmpeq_epi8(x, _mm_set1_epi8('\t'))));

		if (found != 0)
			return at + (uint32_t)__builtin_ctz(found);
	}
	return n;
}

/* Whether no octet of n is above 0x7f. */
static inline bool
text_is_7bit(const void *text, uint32_t n)
{
	__m128i all = _mm_setzero_si128();

	for (uint32_t at = 0; at < n; at += 16)
		all = _mm_or_si128(all, text_load_16((const char *)text + at, n - at));
	return _mm_movemask_epi8(all) == 0;
}

/* Of eight octets of 7 bits: one is a capital where one sum sets its highest bit and one does not. */
static inline uint64_t
text_fold_word(uint64_t w)
{
	return w | ((w + TEXT_EACH(0x80 - 'A')) & ~(w + TEXT_EACH(0x80 - 'Z' - 1)) & TEXT_EACH(0x80)) >> 2;
}

/* Sixteen octets with ASCII letters folded to lower case: what is above 0x7f stays. */
static inline __m128i
text_fold_16(const void *text)
{
	const __m128i x = _mm_loadu_si128((const __m128i *)text);
	const __m128i capital =
		_mm_and_si128(_mm_cmpgt_epi8(x, _mm_set1_epi8('A' - 1)), _mm_cmpgt_epi8(_mm_set1_epi8('Z' + 1), x));

	return _mm_or_si128(x, _mm_and_si128(capital, _mm_set1_epi8('a' - 'A')));
}

/* Copies n octets of 7 bits, ASCII letters folded to lower case; out and text do not overlap. The last of them are written a second time. */
static inline void
text_fold(char *out, const char *text, uint32_t n)
{
	uint64_t w = 0, last = 0;
	uint32_t at = 0;

	if (n >= 16) {
		for (; n - at > 16; at += 16)
			_mm_storeu_si128((__m128i *)(void *)(out + at), text_fold_16(text + at));
		_mm_storeu_si128((__m128i *)(void *)(out + n - 16), text_fold_16(text + n - 16));
		return;
	}
	if (n >= 8) {
		memcpy(&w, text, 8);
		memcpy(&last, text + n - 8, 8);
		w = text_fold_word(w);
		last = text_fold_word(last);
		memcpy(out, &w, 8);
		memcpy(out + n - 8, &last, 8);
		return;
	}
	memcpy(&w, text, n);
	w = text_fold_word(w);
	memcpy(out, &w, n);
}

/* Copies a text as far as the room goes, a NUL behind it; returns its octets. */
static inline size_t
text_copy(char *out, size_t room, const char *text)
{
	const size_t n = MIN(strlen(text), room - 1);

	memcpy(out, text, n);
	out[n] = '\0';
	return n;
}

/* number in decimal at the place given; returns the end of what was written, TEXT_NUMBER_OCTETS at most. No NUL. */
#define TEXT_NUMBER_OCTETS 20
static inline char *
text_put_number(char *at, uint64_t number)
{
	char digits[TEXT_NUMBER_OCTETS];
	unsigned n = 0;

	do {
		digits[n++] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	while (n > 0)
		*at++ = digits[--n];
	return at;
}

#endif
