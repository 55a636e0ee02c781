/*
 * run_segments.c - plays segment scripts: one file a case, one segment or look a line.
 *
 * Flow:   meson -> run_segments FILE... -> peer_reach() -> segments in, answers compared
 * Keeps:  what is compared lies on the wire, is a state as RFC 9293 names it, or is an event; nothing of the connection's insides.
 *
 * The language, a line at a time; # begins a comment:
 *   state NAME [OPTION...]    first line: v6 no-ts no-sack no-wscale mss=N wnd=N rcv=N (the window the endpoint offers at most)
 *   in FLAGS [WORD...]        the peer says: FLAGS of S A F R P or -, seq= ack= len= wnd= ts=+N|-N|none sack=A-B bad-checksum
 *   out FLAGS [WORD...]       the endpoint says at once: seq= ack= len= wnd= mss= as far as given; `out later`: within 500 ms
 *   silence                   it says nothing, for 100 ms
 *   wait MS | write N | read N | close | abort | keepalive
 *   then NAME                 the state now
 *   event NAME...             events told since the last look, all of them: ACCEPTED CONNECTED READABLE EOF CLOSED RESET REFUSED TIMEOUT
 *   readable N
 *   counts NAME...            each counter tcp.NAME moved since the last segment in
 *
 * Numbers are relative. seq= in and ack= out: to what the peer would say next when the state was reached; ack= in and seq= out: to what
 * the endpoint would say next then, its FIN counted. A number may be edge (the right edge of the window offered), with +N or -N behind.
 */
#include <ctype.h>
#include <stdlib.h>

#include "dataplane/base/seq.h"
#include "tests/helpers/tcp_check.h"
#include "tests/helpers/tcp_pair.h"
#include "tests/helpers/tcp_peer.h"

#define WORDS_MAX 24

struct play {
	const char *path;
	uint32_t line;
	struct peer p;
	bool started;
	uint32_t peer_base, our_base;
	uint32_t failures;
	bool failed;            /* this case: the rest is not played */
	uint64_t counted;       /* by all counters but that of segments received, before the last segment in */
	struct counters before; /* the last segment in */
	bool must_count; /* it was more than an ACK: where nothing comes of it, it was dropped, and a drop is counted */
};

struct words {
	uint32_t n;
	char *word[WORDS_MAX];
};

static void __attribute__((format(printf, 2, 3))) complain(struct play *t, const char *format, ...)
{
	va_list ap;

	printf("%s:%u: ", t->path, t->line);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf("\n");
	t->failures++;
	t->failed = true;
}

static void
split(char *line, struct words *w)
{
	*w = (struct words){ 0 };
	line[strcspn(line, "#\n")] = '\0';
	for (char *at = strtok(line, " \t"); at != NULL && w->n < WORDS_MAX; at = strtok(NULL, " \t"))
		w->word[w->n++] = at;
}

/* The value of name=...; NULL: not given. */
static const char *
value_of(const struct words *w, const char *name)
{
	const size_t len = strlen(name);

	for (uint32_t i = 1; i < w->n; i++)
		if (strncmp(w->word[i], name, len) == 0 && w->word[i][len] == '=')
			return w->word[i] + len + 1;
	return NULL;
}

static bool
has_word(const struct words *w, const char *name)
{
	for (uint32_t i = 1; i < w->n; i++)
		if (strcmp(w->word[i], name) == 0)
			return true;
	return false;
}

static int64_t
number(struct play *t, const char *text)
{
	int64_t base = 0;
	char *end;

	if (strncmp(text, "edge", 4) == 0) {
		base = (int32_t)(t->p.edge - t->peer_base);
		text += 4;
		if (*text == '\0')
			return base;
	}
	base += strtoll(text, &end, 0);
	if (*end != '\0')
		complain(t, "no number: %s", text);
	return base;
}

static uint32_t
number_of(struct play *t, const struct words *w, const char *name, int64_t otherwise)
{
	const char *text = value_of(w, name);

	return (uint32_t)(text != NULL ? number(t, text) : otherwise);
}

static enum peer_state
state_named(struct play *t, const char *name)
{
	for (uint32_t s = 0; s < PEER_STATE_N; s++)
		if (strcmp(peer_state_name(s), name) == 0)
			return s;
	if (strcmp(name, "SYN-RECEIVED-BOTH") == 0)
		return PEER_SYN_RECEIVED_BOTH;
	complain(t, "no state is named %s", name);
	return PEER_STATE_N;
}

/* --- the lines --- */

static void
do_state(struct play *t, const struct words *w)
{
	const enum peer_state state = w->n > 1 ? state_named(t, w->word[1]) : PEER_STATE_N;
	struct peer_options o = { .v6 = has_word(w, "v6"),
		.no_ts = has_word(w, "no-ts"),
		.no_sack = has_word(w, "no-sack"),
		.no_wscale = has_word(w, "no-wscale"),
		.mss = (uint16_t)number_of(t, w, "mss", 1460),
		.wnd = (uint16_t)number_of(t, w, "wnd", 0) };
	struct tcp_conf conf = tcp_end_conf();

	if (state == PEER_STATE_N)
		return;
	conf.rcv_wnd_max_octets = number_of(t, w, "rcv", conf.rcv_wnd_max_octets);
	peer_init(&t->p, &o, &conf);
	peer_reach(&t->p, state);
	t->started = true;
	t->peer_base = t->p.snd_nxt;
	t->our_base = t->p.rcv_nxt + (state == PEER_FIN_WAIT_1 || state == PEER_CLOSING || state == PEER_LAST_ACK);
	if (peer_state(&t->p) != state)
		complain(t, "%s was not reached: %s", peer_state_name(state), peer_state_name(peer_state(&t->p)));
	t->p.events = 0;
}

static uint8_t
flags_of(struct play *t, const char *text)
{
	static const char letter[] = "FSRPAU";
	uint8_t flags = 0;

	for (; *text != '\0'; text++) {
		const char *at = strchr(letter, *text);

		if (at != NULL)
			flags |= (uint8_t)(1u << (at - letter));
		else if (*text != '-')
			complain(t, "no flag: %c", *text);
	}
	return flags;
}

static void
parse_sack(struct play *t, const struct words *w, struct tcp_hdr *h)
{
	const char *text = value_of(w, "sack");
	char *end;

	while (text != NULL && *text != '\0' && h->n_sack < TCP_SACK_BLOCKS_MAX) {
		struct tcp_sack_block *b = &h->sack[h->n_sack++];

		b->start = t->our_base + (uint32_t)strtoll(text, &end, 10);
		b->end = t->our_base + (uint32_t)strtoll(*end == ':' ? end + 1 : end, &end, 10);
		text = *end == ',' ? end + 1 : "";
	}
}

static uint64_t
sum_of_counters(const struct peer *p)
{
	uint64_t sum = 0;

	for (enum counter c = 0; c < COUNTER_N; c++)
		sum += c == CTR_tcp_in_segs ? 0 : tcp_end_count(&p->e, c);
	return sum;
}

static void
do_in(struct play *t, const struct words *w)
{
	static uint8_t octets[WIRE_SEG_MAX_OCTETS];
	const char *ts = value_of(w, "ts");
	static struct wire_seg seg;
	struct peer *p = &t->p;
	struct tcp_hdr h = { .seq = t->peer_base + number_of(t, w, "seq", 0),
		.wscale = TCP_WSCALE_NONE,
		.flags = flags_of(t, w->n > 1 ? w->word[1] : ""),
		.wnd = (uint16_t)number_of(t, w, "wnd", p->opt.wnd),
		.payload = octets,
		.payload_octets = MIN(number_of(t, w, "len", 0), sizeof(octets)) };

	if ((h.flags & TCP_ACK) != 0)
		h.ack = t->our_base + number_of(t, w, "ack", 0);
	for (uint32_t i = 0; i < h.payload_octets; i++)
		octets[i] = stream_octet(1, h.seq + i - p->iss - 1);
	if ((h.flags & TCP_SYN) != 0) {
		h.mss = p->opt.mss;
		h.sack_permitted = !p->opt.no_sack;
		h.wscale = p->opt.no_wscale ? TCP_WSCALE_NONE : p->opt.wscale;
	}
	h.has_ts = (p->ts || ((h.flags & TCP_SYN) != 0 && !p->opt.no_ts)) && (ts == NULL || strcmp(ts, "none") != 0);
	h.tsval = 5000 + (uint32_t)(p->e.now_us / 1000) +
	          (uint32_t)(ts != NULL && h.has_ts ? number(t, *ts == '+' ? ts + 1 : ts) : 0);
	h.tsecr = p->tsecr;
	parse_sack(t, w, &h);
	t->counted = sum_of_counters(p);
	for (enum counter c = 0; c < COUNTER_N; c++)
		t->before.value[c] = tcp_end_count(&p->e, c);
	t->must_count = h.flags != TCP_ACK || h.payload_octets > 0;
	wire_seg_build(&seg, &p->flow, &h);
	if (has_word(w, "bad-checksum"))
		seg.octets[16] ^= 0x55;
	tcp_end_input(&p->e, &seg, false);
	peer_events(p);
}

static const char *
show_flags(uint8_t flags)
{
	static char text[8];
	uint32_t n = 0;

	for (uint32_t i = 0; i < 6; i++)
		if ((flags & 1u << i) != 0)
			text[n++] = "FSRPAU"[i];
	text[n] = '\0';
	return n > 0 ? text : "-";
}

static void
compare(struct play *t, const struct words *w, const char *name, int64_t got)
{
	const char *text = value_of(w, name);

	if (text != NULL && number(t, text) != got)
		complain(t, "%s: got %lld, want %s", name, (long long)got, text);
}

static void
do_out(struct play *t, const struct words *w)
{
	const bool later = w->n > 1 && strcmp(w->word[1], "later") == 0;
	const char *flags = w->n > 1u + later ? w->word[1 + later] : "";
	const uint8_t want = flags_of(t, flags), but_psh = (uint8_t)~TCP_PSH;
	const struct heard *h = peer_hear(&t->p);

	t->must_count = false;
	if (!h->any && later)
		h = peer_hear_next(&t->p, 500000);
	if (!h->any) {
		complain(t, "silence, where %s is due", flags);
		return;
	}
	/* PSH is the sender's own affair */
	if ((h->h.flags & but_psh) != (want & but_psh)) {
		complain(t, "got %s (seq %d ack %d len %u), want %s", show_flags(h->h.flags),
			(int32_t)(h->h.seq - t->our_base), (int32_t)(h->h.ack - t->peer_base), h->len, flags);
		return;
	}
	compare(t, w, "seq", (int32_t)(h->h.seq - t->our_base));
	compare(t, w, "ack", (int32_t)(h->h.ack - t->peer_base));
	compare(t, w, "len", h->len);
	compare(t, w, "wnd", (int64_t)h->h.wnd << ((h->h.flags & TCP_SYN) != 0 ? 0 : t->p.scale));
	compare(t, w, "mss", h->h.mss);
}

static void
do_silence(struct play *t)
{
	const uint64_t until_us = t->p.e.now_us + 100000;
	const struct heard *h = peer_hear(&t->p);

	if (!h->any)
		h = peer_hear_next(&t->p, 100000);
	if (h->any)
		complain(t, "got %s (seq %d ack %d len %u), want silence", show_flags(h->h.flags),
			(int32_t)(h->h.seq - t->our_base), (int32_t)(h->h.ack - t->peer_base), h->len);
	else if (t->must_count && sum_of_counters(&t->p) == t->counted)
		complain(t, "the segment came to nothing, and no counter says so");
	t->must_count = false;
	t->p.e.now_us = MAX(t->p.e.now_us, until_us);
}

static void
do_event(struct play *t, const struct words *w)
{
	static const struct {
		const char *name;
		uint32_t bit;
	} names[] = { { "ACCEPTED", TCP_EV_ACCEPTED }, { "CONNECTED", TCP_EV_CONNECTED },
		{ "READABLE", TCP_EV_READABLE }, { "EOF", TCP_EV_EOF }, { "CLOSED", TCP_EV_CLOSED },
		{ "RESET", TCP_EV_RESET }, { "REFUSED", TCP_EV_REFUSED }, { "TIMEOUT", TCP_EV_TIMEOUT } };
	uint32_t want = 0, looked_at = 0, got;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		looked_at |= names[i].bit;
		want |= has_word(w, names[i].name) ? names[i].bit : 0;
	}
	peer_events(&t->p);
	got = t->p.events & looked_at;
	t->p.events = 0;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (((got ^ want) & names[i].bit) != 0)
			complain(t, "%s was %stold", names[i].name, (got & names[i].bit) != 0 ? "" : "not ");
}

static void
do_counts(struct play *t, const struct words *w)
{
	for (uint32_t i = 1; i < w->n; i++) {
		enum counter c = 0;

		while (c < COUNTER_N &&
			(strcmp(counter_names[c].group, "tcp") != 0 || strcmp(counter_names[c].name, w->word[i]) != 0))
			c++;
		if (c == COUNTER_N)
			complain(t, "no counter is named tcp.%s", w->word[i]);
		else if (tcp_end_count(&t->p.e, c) == t->before.value[c])
			complain(t, "tcp.%s did not move", w->word[i]);
	}
}

static void
do_line(struct play *t, const struct words *w)
{
	const char *verb = w->word[0];
	struct peer *p = &t->p;
	const uint32_t n = w->n > 1 && isdigit((unsigned char)w->word[1][0]) ? (uint32_t)number(t, w->word[1]) : 0;

	if (strcmp(verb, "state") == 0 && !t->started)
		do_state(t, w);
	else if (!t->started)
		complain(t, "the first line names the state");
	else if (strcmp(verb, "in") == 0)
		do_in(t, w);
	else if (strcmp(verb, "out") == 0)
		do_out(t, w);
	else if (strcmp(verb, "silence") == 0)
		do_silence(t);
	else if (strcmp(verb, "wait") == 0)
		peer_wait(p, UINT64_C(1000) * n);
	else if (strcmp(verb, "event") == 0)
		do_event(t, w);
	else if (strcmp(verb, "counts") == 0)
		do_counts(t, w);
	else if (strcmp(verb, "then") == 0) {
		const enum peer_state want = w->n > 1 ? state_named(t, w->word[1]) : PEER_STATE_N, got = peer_state(p);

		if (got != want)
			complain(t, "got %s, want %s", peer_state_name(got), peer_state_name(want));
	} else if (p->c == NULL)
		complain(t, "there is no connection to %s", verb);
	else if (strcmp(verb, "write") == 0) {
		if (peer_write(p, n) != n)
			complain(t, "not taken");
	} else if (strcmp(verb, "read") == 0)
		tcp_consume(p->c, n);
	else if (strcmp(verb, "close") == 0)
		tcp_close(p->c);
	else if (strcmp(verb, "abort") == 0)
		tcp_abort(p->c);
	else if (strcmp(verb, "keepalive") == 0)
		tcp_keepalive(p->c);
	else if (strcmp(verb, "readable") == 0) {
		if (tcp_readable_octets(p->c) != n)
			complain(t, "%u octets are readable, want %u", tcp_readable_octets(p->c), n);
	} else
		complain(t, "no such line: %s", verb);
}

static void
play_file(struct play *t, FILE *f)
{
	char line[512];
	struct words w;

	while (!t->failed && fgets(line, sizeof(line), f) != NULL) {
		t->line++;
		split(line, &w);
		if (w.n > 0)
			do_line(t, &w);
	}
	if (!t->started)
		return;
	if (!t->failed && peer_hear(&t->p)->any)
		complain(t, "more is said than the script has");
	tcp_check_invariants(t->p.e.tcp, !t->failed);
	peer_fini(&t->p);
}

static char **files;
static int n_files;

static void
test_segments(void **state)
{
	uint32_t failures = 0;

	(void)state;
	for (int i = 0; i < n_files; i++) {
		static struct play t;
		FILE *f = fopen(files[i], "r");

		t = (struct play){ .path = files[i] };
		if (f == NULL) {
			complain(&t, "cannot be read");
		} else {
			play_file(&t, f);
			fclose(f);
			if (!t.started && !t.failed)
				complain(&t, "nothing in it");
		}
		failures += t.failures;
	}
	print_message("%d cases\n", n_files);
	CHECK_EQ("cases that differ", failures, 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_segments) };

	files = argv + 1;
	n_files = argc - 1;
	if (n_files == 0) {
		fprintf(stderr, "usage: %s FILE...\n", argv[0]);
		return 2;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
