/*
 * fuzz_control_api.c - lines of the control socket: a command with arguments it knows, or a reason in printable ASCII.
 */
#include <stdint.h>
#include <string.h>

#include "control/api.h"
#include "dataplane/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct api_command *cmd;
	const json_t *args = NULL;
	json_t *root = NULL;
	char why[160] = "";

	if (size > API_LINE_MAX_OCTETS)
		return 0;
	cmd = api_parse((const char *)data, size, &root, &args, why);
	if (cmd == NULL) {
		BUG_ON(why[0] == '\0' || root != NULL);
		for (const char *p = why; *p != '\0'; p++)
			BUG_ON((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f);
		return 0;
	}
	BUG_ON(!json_is_object(args));
	json_decref(root);
	return 0;
}
