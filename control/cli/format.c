/*
 * format.c - JSON values as tables and lines for people.
 *
 * Touches: stdout.
 * Keeps:  nothing but printable ASCII reaches the terminal, so a name in a record cannot move its cursor.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/cli/cli.h"

#define CELL_OCTETS 512
#define COLUMNS_MAX 16
#define KEY_OCTETS  64

const json_t *
cli_get(const json_t *object, const char *dotted)
{
	char key[KEY_OCTETS];

	while (object != NULL) {
		const size_t n = strcspn(dotted, ".");

		if (n >= sizeof(key))
			return NULL;
		memcpy(key, dotted, n);
		key[n] = '\0';
		object = json_object_get(object, key);
		if (dotted[n] == '\0')
			return object;
		dotted += n + 1;
	}
	return NULL;
}

const char *
cli_get_text(const json_t *object, const char *dotted, const char *otherwise)
{
	const json_t *v = cli_get(object, dotted);

	return json_is_string(v) ? json_string_value(v) : otherwise;
}

/* Appends text as printable ASCII; returns the new length. */
static size_t
append(char *out, size_t at, size_t room, const char *text)
{
	for (; *text != '\0' && at + 1 < room; text++) {
		const unsigned char c = (unsigned char)*text;

		if (c >= ' ' && c <= '~') {
			out[at++] = (char)c;
		} else if (at + 5 < room) {
			snprintf(out + at, room - at, "\\x%02X", c);
			at += 4;
		} else {
			break;
		}
	}
	out[at] = '\0';
	return at;
}

void
cli_print_text(const char *text)
{
	for (; *text != '\0'; text++) {
		const unsigned char c = (unsigned char)*text;

		if (c >= ' ' && c <= '~')
			putchar(c);
		else
			printf("\\x%02X", c);
	}
}

static void
format_duration(double seconds, char *out, size_t room)
{
	static const struct {
		const char *unit;
		long s;
	} units[] = { { "d", 86400 }, { "h", 3600 }, { "m", 60 }, { "s", 1 } };
	long left = seconds < 0 ? 0 : (long)(seconds + 0.5);
	size_t at = 0;
	unsigned shown = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < ARRAY_LEN(units) && shown < 2; i++) { /* the two largest say enough */
		if (left >= units[i].s) {
			at += (size_t)snprintf(
				out + at, room - at, "%s%ld%s", shown > 0 ? " " : "", left / units[i].s, units[i].unit);
			left %= units[i].s;
			shown++;
		} else if (shown > 0) {
			break;
		}
	}
	if (shown == 0)
		snprintf(out, room, "0s");
}

static void
format_octets(double octets, char *out, size_t room)
{
	static const char *const units[] = { "octets", "KiB", "MiB", "GiB", "TiB" };
	unsigned u = 0;

	while (octets >= 1024 && u + 1 < ARRAY_LEN(units)) {
		octets /= 1024;
		u++;
	}
	snprintf(out, room, u == 0 ? "%.0f %s" : "%.1f %s", octets, units[u]);
}

static void
format_time(double at, char *out, size_t room)
{
	const time_t t = (time_t)at;
	struct tm tm;

	if (at <= 0 || localtime_r(&t, &tm) == NULL || strftime(out, room, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(out, room, "-");
}

static size_t
format_scalar(const json_t *v, char *out, size_t at, size_t room)
{
	char number[64];

	if (json_is_string(v))
		return append(out, at, room, json_string_value(v));
	if (json_is_integer(v))
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		snprintf(number, sizeof(number), "%.3g", json_real_value(v));
	else if (json_is_boolean(v))
		snprintf(number, sizeof(number), "%s", json_is_true(v) ? "yes" : "no");
	else
		return at;
	return append(out, at, room, number);
}

char *
cli_format(const json_t *v, enum cli_as as, char *out, size_t room)
{
	const double number = json_number_value(v);
	const json_t *item;
	size_t i, at = 0;

	out[0] = '\0';
	if (v == NULL || json_is_null(v)) {
		append(out, 0, room, "-");
	} else if (json_is_array(v)) {
		json_array_foreach(v, i, item)
		{
			if (i > 0)
				at = append(out, at, room, " ");
			at = format_scalar(item, out, at, room);
		}
		if (at == 0)
			append(out, 0, room, "-");
	} else if (!json_is_number(v) && as != CLI_YES) {
		format_scalar(v, out, 0, room);
	} else {
		switch (as) {
		case CLI_TEXT:
			format_scalar(v, out, 0, room);
			break;
		case CLI_DURATION:
			format_duration(number, out, room);
			break;
		case CLI_TIME:
			format_time(number, out, room);
			break;
		case CLI_OCTETS:
			format_octets(number, out, room);
			break;
		case CLI_MS:
			snprintf(out, room, "%.0f ms", number);
			break;
		case CLI_YES:
			snprintf(out, room, "%s", json_is_true(v) || number != 0 ? "yes" : "no");
			break;
		case CLI_SHARE:
			snprintf(out, room, "%.1f %%", number * 100);
			break;
		}
	}
	return out;
}

static bool
is_right(const json_t *array, const struct cli_field *column)
{
	const json_t *row;
	size_t i;

	json_array_foreach(array, i, row)
	{
		const json_t *v = cli_get(row, column->key);

		if (v != NULL && !json_is_null(v) && (!json_is_number(v) || column->as == CLI_TIME))
			return false;
	}
	return true;
}

void
cli_print_table(const json_t *array, const struct cli_field *columns, size_t n, const char *none)
{
	size_t width[COLUMNS_MAX] = { 0 }, i, last = 0;
	bool right[COLUMNS_MAX];
	char cell[CELL_OCTETS];
	const json_t *row;

	if (json_array_size(array) == 0) {
		printf("%s\n", none);
		return;
	}
	if (n > COLUMNS_MAX)
		n = COLUMNS_MAX;
	for (size_t c = 0; c < n; c++) {
		bool filled = false;

		right[c] = is_right(array, &columns[c]);
		json_array_foreach(array, i, row)
		{
			const json_t *v = cli_get(row, columns[c].key);
			const size_t length = strlen(cli_format(v, columns[c].as, cell, sizeof(cell)));

			filled |= v != NULL && !json_is_null(v);
			width[c] = length > width[c] ? length : width[c];
		}
		if (!filled) {
			width[c] = 0; /* nobody has it */
			continue;
		}
		width[c] = strlen(columns[c].title) > width[c] ? strlen(columns[c].title) : width[c];
		last = c;
	}
	for (size_t r = 0; r <= json_array_size(array); r++) {
		bool first = true;

		for (size_t c = 0; c < n; c++) {
			const char *text = columns[c].title;

			if (width[c] == 0)
				continue;
			if (r > 0)
				text = cli_format(cli_get(json_array_get(array, r - 1), columns[c].key), columns[c].as,
					cell, sizeof(cell));
			printf("%s", first ? "" : "  ");
			if (c == last && !right[c])
				printf("%s", text);
			else
				printf(right[c] ? "%*s" : "%-*s", (int)width[c], text);
			first = false;
		}
		printf("\n");
	}
}

/* Nothing to show: missing, null, "" or []. */
static bool
is_empty(const json_t *v)
{
	return v == NULL || json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0) ||
	       (json_is_array(v) && json_array_size(v) == 0);
}

void
cli_print_fields(const json_t *object, const struct cli_field *fields, size_t n)
{
	char cell[CELL_OCTETS * 4];
	size_t width = 0;

	for (size_t i = 0; i < n; i++)
		if (!is_empty(cli_get(object, fields[i].key)) && strlen(fields[i].title) > width)
			width = strlen(fields[i].title);
	for (size_t i = 0; i < n; i++) {
		const json_t *v = cli_get(object, fields[i].key);

		if (is_empty(v))
			continue;
		printf("%-*s  %s\n", (int)width, fields[i].title, cli_format(v, fields[i].as, cell, sizeof(cell)));
	}
}
