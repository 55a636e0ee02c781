/*
 * fuzz_smtp_data.c - the data scanner against the naive normaliser.
 *
 * Input:  an octet of mode, four of a seed for cuts and room; the rest is the message.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/smtp/smtp_data.h"
#include "dataplane/smtp/smtp_session.h"
#include "tests/helpers/smtp_naive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t got[4 * SMTP_NAIVE_MAX_OCTETS];
	uint32_t from = 0, n, n_got = 0, seed;
	struct smtp_naive want;
	struct smtp_data d;
	enum conf_bare_lf mode;

	if (size < 5 || size - 5 > SMTP_NAIVE_MAX_OCTETS)
		return 0;
	mode = (enum conf_bare_lf)(data[0] % 3);
	memcpy(&seed, data + 1, 4);
	data += 5;
	n = (uint32_t)size - 5;
	want = smtp_naive(data, n, mode);
	smtp_data_init(&d, mode);
	while (from < n && d.at != SMTP_DATA_END && !d.broken) {
		struct buf_view view[SMTP_BODY_VIEWS_MAX];
		struct smtp_data_out out = { view, 0, SMTP_BODY_VIEWS_MAX, 0 };
		struct buf_view in;
		uint8_t *piece;
		uint32_t used;

		seed = seed * 1664525 + 1013904223;
		in.len_octets = MIN(n - from, 1 + (seed >> 24) % 16);
		out.room_octets = SMTP_BODY_ROOM_MIN_OCTETS + (seed >> 16) % 16;
		piece = malloc(in.len_octets);
		BUG_ON(piece == NULL);
		memcpy(piece, data + from, in.len_octets);
		in.ptr = piece;
		in.buf = NULL;
		used = smtp_data_input(&d, &in, &out);
		BUG_ON(used > in.len_octets || (used == 0 && out.n == 0 && !d.broken));
		for (uint32_t i = 0; i < out.n; i++) {
			memcpy(got + n_got, view[i].ptr, view[i].len_octets);
			n_got += view[i].len_octets;
		}
		from += used;
		free(piece);
	}
	BUG_ON(d.broken != want.broken);
	if (d.broken)
		return 0;
	BUG_ON((d.at == SMTP_DATA_END) != want.ended || from != want.used);
	BUG_ON(n_got != want.n_out || memcmp(got, want.out, n_got) != 0);
	return 0;
}
