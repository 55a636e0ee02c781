/*
 * fuzz_smtp_path.c - any octets as an address with parameters.
 *
 * Keeps:  what is taken is bounded, holds no control octet, and is taken again as the same when it is put in brackets.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/smtp/smtp_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy, again[SMTP_PATH_MAX_OCTETS + 2];
	struct smtp_path path, second;
	struct smtp_param param;
	struct smtp_str rest;
	uint64_t number;
	uint32_t n = 0;

	if (size > SMTP_LINE_MAX_OCTETS)
		return 0;
	copy = malloc(size > 0 ? size : 1);
	BUG_ON(copy == NULL);
	for (size_t i = 0; i < size; i++) /* as smtp_line lets it through */
		copy[i] = data[i] < 0x20 || data[i] == 0x7f ? ' ' : (char)data[i];
	if (smtp_path_parse((struct smtp_str){ copy, (uint32_t)size }, &path, &rest) == SMTP_PATH_OK) {
		BUG_ON(path.len_octets > SMTP_PATH_MAX_OCTETS || path.text[path.len_octets] != '\0');
		BUG_ON(strlen(path.text) != path.len_octets);
		BUG_ON(rest.len_octets > 0 && rest.ptr + rest.len_octets != copy + size);
		again[0] = '<';
		memcpy(again + 1, path.text, path.len_octets);
		again[path.len_octets + 1] = '>';
		while (smtp_param_next(&rest, &param) > 0) {
			BUG_ON(param.name.len_octets == 0 || ++n > SMTP_LINE_MAX_OCTETS);
			smtp_str_number(param.value, &number);
			smtp_str_is_xtext(param.value);
		}
		BUG_ON(smtp_path_parse((struct smtp_str){ again, path.len_octets + 2u }, &second, &rest) !=
			SMTP_PATH_OK);
		BUG_ON(strcmp(path.text, second.text) != 0 || path.has_8bit != second.has_8bit || rest.len_octets != 0);
	}
	free(copy);
	return 0;
}
