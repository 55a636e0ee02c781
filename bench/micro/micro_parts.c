/* micro_parts.c - pure parts of the data plane: hashes, checksums, SYN cookies; SMTP lines, addresses and message data. */
#include "bench/micro/micro.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/bug.h"
#include "dataplane/net/csum.h"
#include "dataplane/net/flow.h"
#include "dataplane/smtp/smtp_data.h"
#include "dataplane/smtp/smtp_line.h"
#include "dataplane/smtp/smtp_path.h"
#include "dataplane/smtp/smtp_session.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/tcp/tcp_conn.h"
#include "dataplane/tcp/tcp_listen.h"
#include "dataplane/tcp/tcp_wire.h"

#define MESSAGE_OCTETS  65536
#define PIECE_OCTETS    1448 /* of a segment with timestamps */
#define VIEWS           64
#define MESSAGE_REPEATS 50

/* ---- hashes ---- */

struct octets_bench {
	uint8_t data[PIECE_OCTETS];
	uint32_t n;
};

static uint64_t
run_siphash(void *arg)
{
	struct octets_bench *b = arg;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++) {
		b->data[0] = (uint8_t)i;
		sum += siphash(&micro_key, b->data, b->n);
	}
	return sum;
}

static uint64_t
run_csum(void *arg)
{
	struct octets_bench *b = arg;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++) {
		b->data[0] = (uint8_t)i;
		sum += csum_of(b->data, b->n);
	}
	return sum;
}

struct flow_bench {
	struct flow_steering steering;
	struct tcp *tcp;
	bool v6;
};

static struct flow
flow_at(const struct flow_bench *b, uint64_t i)
{
	struct flow f = {
		.local = ip_addr_v4(0xc6120002), .local_port = 25, .remote_port = (uint16_t)(1024 + i % 60000)
	};

	f.remote = ip_addr_v4(0x0a000000 + (uint32_t)(i & 0xffffff));
	if (b->v6) {
		f.remote.octet[0] = f.local.octet[0] = 0x20;
		f.remote.octet[1] = (uint8_t)i;
	}
	return f;
}

static uint64_t
run_flow_hash(void *arg)
{
	const struct flow_bench *b = arg;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++) {
		const struct flow f = flow_at(b, i);

		sum += flow_hash(&b->steering, &f);
	}
	return sum;
}

static uint64_t
run_cookie(void *arg)
{
	const struct flow_bench *b = arg;
	const struct tcp_syn_options opt = { .mss = 1460, .wscale = 7, .sack = true, .ts = true };
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OPS; i++) {
		const struct flow f = flow_at(b, i);

		sum += tcp_cookie_make(b->tcp, tcp_flow_hash(b->tcp, &f), (uint32_t)i, &opt, UINT64_C(1000000000));
	}
	return sum;
}

static uint64_t
run_cookie_check(void *arg)
{
	const struct flow_bench *b = arg;
	uint64_t good = 0;

	for (uint64_t i = 0; i < OPS; i++) { /* guesses: what a flood of ACKs costs */
		const struct flow f = flow_at(b, i);
		struct tcp_syn_options opt = { .ts = true };

		good += tcp_cookie_check(
			b->tcp, tcp_flow_hash(b->tcp, &f), (uint32_t)i, (uint32_t)mix(i), &opt, UINT64_C(1000000000));
	}
	return good;
}

void
bench_hash(void)
{
	static const struct {
		const char *hash, *csum;
		uint32_t n;
	} sizes[] = { { "SipHash of 16 octets", "checksum of 20 octets", 0 },
		{ "SipHash of 64 octets", "checksum of 64 octets", 64 },
		{ "SipHash of 300 octets", "checksum of 1,448 octets", 1 } };
	static const uint8_t flow_key[FLOW_KEY_OCTETS] = { 0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2 };
	static const uint32_t hash_octets[] = { 16, 64, 300 }, csum_octets[] = { 20, 64, PIECE_OCTETS };
	static struct octets_bench b;
	static struct flow_bench f;
	static struct counters counters;
	struct buf_pool pool = { .n_bufs = 1024, .room_octets = BUF_ROOM_MAX_OCTETS };
	const struct tcp_conf conf = { .conns_max = 64,
		.syn_ring_entries = 16,
		.time_wait_max = 64,
		.rcv_wnd_max_octets = 65536,
		.rcv_budget_octets = 1 << 20,
		.snd_queue_max_octets = 65536,
		.ooo_max_segs = 16,
		.mtu = 1500,
		.steering = &f.steering,
		.secret = micro_key };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		b.n = hash_octets[i];
		measure(&(struct work){ sizes[i].hash, NULL, run_siphash, &b, OPS });
	}
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		b.n = csum_octets[i];
		measure(&(struct work){ sizes[i].csum, NULL, run_csum, &b, OPS });
	}
	flow_steering_init(&f.steering, flow_key, 4);
	measure(&(struct work){ "Toeplitz hash of an IPv4 flow", NULL, run_flow_hash, &f, OPS });
	f.v6 = true;
	measure(&(struct work){ "Toeplitz hash of an IPv6 flow", NULL, run_flow_hash, &f, OPS });
	f.v6 = false;
	f.tcp = tcp_create(&conf, &pool, &counters, 1000000);
	BUG_ON(f.tcp == NULL);
	measure(&(struct work){ "SYN cookie made, IPv4", NULL, run_cookie, &f, OPS });
	measure(&(struct work){ "SYN cookie checked (a guess), IPv4", NULL, run_cookie_check, &f, OPS });
	tcp_destroy(f.tcp);
}

/* ---- SMTP ---- */

static uint64_t
run_lines(void *arg)
{
	static const char text[] = "MAIL FROM:<somebody@sender.example> SIZE=10240 BODY=8BITMIME\r\n";
	struct smtp_line *l = arg;
	uint64_t sum = 0;

	smtp_line_init(l);
	for (uint64_t i = 0; i < OPS; i++) {
		struct smtp_str line;
		uint32_t used;

		if (smtp_line_input(l, (const uint8_t *)text, sizeof(text) - 1, &used, &line) == SMTP_LINE_DONE)
			sum += line.len_octets;
	}
	BUG_ON(sum != OPS * (sizeof(text) - 3));
	return sum;
}

static uint64_t
run_paths(void *arg)
{
	static const char *const texts[] = { "<somebody@sender.example> SIZE=10240", "<user@example.org>",
		"<bounce+12345-user=example.org@lists.sender.example> BODY=8BITMIME", "<\"quoted name\"@[192.0.2.1]>" };
	uint64_t ok = 0;

	(void)arg;
	for (uint64_t i = 0; i < OPS; i++) {
		const char *text = texts[i % ARRAY_LEN(texts)];
		struct smtp_path path;
		struct smtp_str rest;

		ok += smtp_path_parse((struct smtp_str){ text, (uint32_t)strlen(text) }, &path, &rest) == SMTP_PATH_OK;
	}
	BUG_ON(ok != OPS);
	return ok;
}

struct message_bench {
	uint8_t octets[MESSAGE_OCTETS];
	enum conf_bare_lf rule;
};

/* As a message comes: in pieces of a segment. */
static uint64_t
run_data(void *arg)
{
	struct message_bench *b = arg;
	uint64_t given = 0;

	for (unsigned k = 0; k < MESSAGE_REPEATS; k++) {
		struct smtp_data d;

		smtp_data_init(&d, b->rule);
		for (uint32_t at = 0; at < MESSAGE_OCTETS;) {
			struct buf_view view[VIEWS];
			struct smtp_data_out out = { .view = view, .n_max = VIEWS, .room_octets = 2 * PIECE_OCTETS };
			const uint32_t left = MESSAGE_OCTETS - at;
			const struct buf_view in = { .ptr = b->octets + at,
				.len_octets = left < PIECE_OCTETS ? left : PIECE_OCTETS };
			const uint32_t used = smtp_data_input(&d, &in, &out);

			BUG_ON(used == 0);
			at += used;
			for (uint32_t i = 0; i < out.n; i++)
				given += out.view[i].len_octets;
		}
	}
	return given;
}

static void
fill_message(struct message_bench *b, uint32_t line, char ending)
{
	for (uint32_t i = 0; i < MESSAGE_OCTETS; i++)
		b->octets[i] = (uint8_t)(i % line == line - 1   ? '\n'
					 : i % line == line - 2 ? ending
								: (int)('a' + i % 26));
}

void
bench_smtp(void)
{
	struct smtp_line *line = memory(sizeof(*line));
	struct message_bench *b = memory(sizeof(*b));
	const uint64_t kib = (uint64_t)MESSAGE_REPEATS * MESSAGE_OCTETS / 1024;

	measure(&(struct work){ "SMTP line of 63 octets gathered", NULL, run_lines, line, OPS });
	measure(&(struct work){ "SMTP path parsed (four kinds in turn)", NULL, run_paths, NULL, OPS });
	b->rule = BARE_LF_NORMALIZE;
	fill_message(b, 72, '\r');
	measure(&(struct work){ "message data, lines of 72, a KiB", NULL, run_data, b, kib });
	fill_message(b, 1000, '\r');
	measure(&(struct work){ "message data, lines of 1,000, a KiB", NULL, run_data, b, kib });
	fill_message(b, 72, 'x');
	measure(&(struct work){ "message data, bare LF normalised, lines of 72, a KiB", NULL, run_data, b, kib });
	free(line);
	free(b);
}
