/*
 * fuzz_dnsbl.c - the notation of zones and the judge of answers. Input: the notation, an octet 0, then A records of four octets.
 */
#include <stdint.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/policy/dnsbl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT_MAX_OCTETS 1024
#define ANSWERS_MAX     100 /* more than the judge looks at */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
	const size_t n_text = MIN(end != NULL ? (size_t)(end - data) : size, (size_t)TEXT_MAX_OCTETS);
	char text[TEXT_MAX_OCTETS + 1], why[DNSBL_WHY_OCTETS], name[300];
	uint32_t answers[ANSWERS_MAX], n = 0;
	struct dnsbl_score score = DNSBL_SCORE_NONE;
	struct dnsbl_judgement j;
	struct dnsbl_zone z;
	bool listing = false, error = false;

	memcpy(text, data, n_text);
	text[n_text] = '\0';
	memset(why, 0x7f, sizeof(why));
	if (dnsbl_zone_parse(text, &z, why) != 0) {
		BUG_ON(memchr(why, 0, sizeof(why)) == NULL);
		BUG_ON(why[0] == '\0');
		return 0;
	}
	BUG_ON(dnsbl_zone_wrong(z.zone) != NULL);
	for (const uint8_t *p = end != NULL ? end + 1 : data + size; n < ANSWERS_MAX && p + 4 <= data + size;
		p += 4, n++) {
		answers[n] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
		if (n < DNSBL_ANSWERS_MAX) {
			error |= answers[n] >> 8 == 0x7fffff;
			listing |= answers[n] >> 24 == 127 && answers[n] != 0x7f000001;
		}
	}
	j = dnsbl_judge(&z, answers, n);
	BUG_ON(error && j.listing != DNSBL_ERROR);
	BUG_ON(!listing && (j.listing == DNSBL_LISTED || j.weight != 0));
	BUG_ON(!z.decisive && j.weight > DNSBL_WEIGHT_CAP);
	BUG_ON(j.weight > dnsbl_zone_weight_max(&z) && dnsbl_zone_weight_max(&z) > 0);
	dnsbl_score_add(&score, 0, &j);
	BUG_ON(score.sum != j.weight);
	dnsbl_test_name(z.zone, true, true, name, sizeof(name));
	dnsbl_test_name(z.zone, false, true, name, 30);
	return 0;
}
