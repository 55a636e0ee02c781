/*
 * fuzz_control_config.c - the configuration reader: any text is a configuration or a list of errors; what is taken compiles.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "control/config.h"
#include "dataplane/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 leaks the last text it read before a syntax error: some octets for each bad file, and not ours to mend. */
const char *
__lsan_default_suppressions(void)
{
	return "leak:strbuf_append\n";
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_errors errors = { 0 };
	char *text = malloc(size + 1);
	struct config *c;

	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	c = config_parse("fuzz.conf", text, size, false, &errors);
	BUG_ON((c == NULL) != (errors.n > 0));
	for (uint32_t i = 0; i < errors.n; i++)
		for (const char *p = errors.line[i]; *p != '\0'; p++)
			BUG_ON((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f);
	if (c != NULL) {
		char why[OPTION_ERROR_OCTETS], shown[OPTION_TEXT_OCTETS];

		for (unsigned i = 0; i < option_n; i++) /* what is in force can be shown and set again */
			if (option_table[i].when != OPTION_FILE && option_table[i].type != OPTION_TEXT)
				BUG_ON(config_set(c, &option_table[i],
					       option_format(&option_table[i], &c->values, shown), why) != 0);
	}
	config_free(c);
	config_errors_free(&errors);
	free(text);
	return 0;
}
