/*
 * smtp_naive.c - see smtp_naive.h.
 *
 * Pure:   octets.
 */
#include "tests/helpers/smtp_naive.h"

#include <string.h>

/*
 * The naive reference. Step 1: where a CRLF.CRLF ends the message (the start counts as behind a CRLF). Step 2: what comes before it,
 * octet by octet with a look at neighbours. A CR at the very end of an unfinished message is not known yet and left out.
 */
struct smtp_naive
smtp_naive(const uint8_t *in, uint32_t n, enum conf_bare_lf mode)
{
	struct smtp_naive o = { .used = n };
	bool soft = false; /* the line began behind a lone LF */
	uint32_t line = 0; /* where the line began */

	for (uint32_t i = 0; i + 3 <= n && !o.ended; i++) {
		if (memcmp(in + i, ".\r\n", 3) != 0 || !(i == 0 || (i >= 2 && memcmp(in + i - 2, "\r\n", 2) == 0)))
			continue;
		o.ended = true;
		o.used = i + 3;
	}
	for (uint32_t i = 0; i < o.used; i++) {
		const bool cr_before = i > 0 && in[i - 1] == '\r';
		const bool last = i + 1 == o.used;
		const bool true_dot_before = i == line + 1 && !soft && in[line] == '.';

		if (in[i] == '\r' && last)
			break;
		if (in[i] == '\r' && in[i + 1] != '\n') {
			o.broken |= mode == BARE_LF_REJECT;
			o.out[o.n_out++] = mode == BARE_LF_NORMALIZE ? ' ' : '\r';
		} else if (in[i] == '\n' && cr_before) {
			o.out[o.n_out++] = '\n';
			line = i + 1;
			soft = false;
		} else if (in[i] == '\n' && mode == BARE_LF_TOLERATE) {
			o.out[o.n_out++] = '\n';
		} else if (in[i] == '\n') {
			o.broken |= mode == BARE_LF_REJECT;
			if (true_dot_before)
				o.out[o.n_out++] = '.';
			o.out[o.n_out++] = '\r';
			o.out[o.n_out++] = '\n';
			line = i + 1;
			soft = true;
		} else if (in[i] == '.' && i == line && soft) {
			o.out[o.n_out++] = '.';
			o.out[o.n_out++] = '.';
		} else if (in[i] == '\0' && mode != BARE_LF_TOLERATE && (i == line || true_dot_before)) {
			o.broken |= mode == BARE_LF_REJECT;
			o.out[o.n_out++] = ' ';
		} else {
			o.out[o.n_out++] = in[i];
		}
	}
	return o;
}
