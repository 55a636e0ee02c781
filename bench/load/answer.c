/*
 * answer.c - a resolver for benchmarks: answers at once, from the question alone.
 *
 * Flow:   UDP question -> answer: PTR of a.b.c.d is c-a-b-c-d.bench.example, whose A is a.b.c.d; d.c.b.a.bl.bench.example is 127.0.0.2 for
 *         127.0.0.2 and for addresses that begin with --list, else it does not exist.
 * Touches: one UDP socket on loopback.
 * Keeps:  no state but a count of questions, printed at the end (SIGTERM); what it cannot read it does not answer.
 *
 * usage: answer PORT [--list FIRST_OCTET]
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH          64
#define MESSAGE_OCTETS 512
#define NAME_OCTETS    256
#define TTL_S          3600
#define TYPE_A         1
#define TYPE_PTR       12
#define RCODE_NXDOMAIN 3

static volatile sig_atomic_t stopped;

static void
stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

/* The name of the question as text; octets it takes, 0 when it is none. */
static uint32_t
name_parse(const uint8_t *p, uint32_t n, char *out)
{
	uint32_t at = 0, used = 0;

	while (at < n && p[at] != 0) {
		const uint32_t label = p[at];

		if (label > 63 || at + 1 + label >= n || used + label + 2 > NAME_OCTETS)
			return 0;
		memcpy(out + used, p + at + 1, label);
		used += label;
		out[used++] = '.';
		at += 1 + label;
	}
	out[used > 0 ? used - 1 : 0] = '\0';
	return at < n ? at + 1 : 0;
}

static uint32_t
name_build(uint8_t *out, const char *text)
{
	uint32_t n = 0;

	while (*text != '\0') {
		const size_t label = strcspn(text, ".");

		out[n++] = (uint8_t)label;
		memcpy(out + n, text, label);
		n += (uint32_t)label;
		text += label + (text[label] == '.');
	}
	out[n++] = 0;
	return n;
}

static bool
ends_with(const char *text, const char *end)
{
	const size_t n = strlen(text), m = strlen(end);

	return n >= m && strcasecmp(text + n - m, end) == 0;
}

/* Rdata of the answer; 0: NXDOMAIN, -1: the name is there but has nothing of that type. */
static int
answer_data(const char *name, uint32_t type, int listed_net, uint8_t *out)
{
	unsigned a, b, c, d;
	char text[64];

	if (ends_with(name, ".in-addr.arpa") && sscanf(name, "%u.%u.%u.%u.", &d, &c, &b, &a) == 4) {
		snprintf(text, sizeof(text), "c-%u-%u-%u-%u.bench.example", a, b, c, d);
		return type == TYPE_PTR ? (int)name_build(out, text) : -1;
	}
	if (ends_with(name, ".bl.bench.example") && sscanf(name, "%u.%u.%u.%u.", &d, &c, &b, &a) == 4) {
		if ((int)a != listed_net && !(a == 127 && b == 0 && c == 0 && d == 2))
			return 0;
		memcpy(out, (const uint8_t[]){ 127, 0, 0, 2 }, 4);
		return type == TYPE_A ? 4 : -1;
	}
	if (sscanf(name, "c-%u-%u-%u-%u.", &a, &b, &c, &d) == 4 && ends_with(name, ".bench.example")) {
		memcpy(out, (const uint8_t[]){ (uint8_t)a, (uint8_t)b, (uint8_t)c, (uint8_t)d }, 4);
		return type == TYPE_A ? 4 : -1;
	}
	return 0;
}

/* Turns the question in m into its answer; octets, 0 when it is none. */
static uint32_t
answer(uint8_t *m, uint32_t n, int listed_net)
{
	char name[NAME_OCTETS];
	uint8_t data[NAME_OCTETS];
	uint32_t question, at, type;
	int octets;

	if (n < 17 || (m[2] & 0x80) != 0 || m[4] != 0 || m[5] != 1)
		return 0;
	question = name_parse(m + 12, n - 12, name);
	at = 12 + question;
	if (question == 0 || at + 4 > n)
		return 0;
	type = (uint32_t)m[at] << 8 | m[at + 1];
	octets = answer_data(name, type, listed_net, data);
	at += 4; /* what follows (EDNS) is not repeated */
	m[2] = (uint8_t)(0x80 | (m[2] & 1));
	m[3] = (uint8_t)(0x80 | (octets == 0 ? RCODE_NXDOMAIN : 0));
	memset(m + 6, 0, 6);
	if (octets <= 0)
		return at;
	m[7] = 1;
	memcpy(m + at,
		(const uint8_t[]){ 0xc0, 12, 0, (uint8_t)type, 0, 1, 0, 0, TTL_S >> 8, TTL_S & 0xff,
			(uint8_t)(octets >> 8), (uint8_t)octets },
		12);
	memcpy(m + at + 12, data, (size_t)octets);
	return at + 12 + (uint32_t)octets;
}

int
main(int argc, char **argv)
{
	static uint8_t room[BATCH][MESSAGE_OCTETS];
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_in peer[BATCH];
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct sigaction action = { .sa_handler = stop };
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), large = 4 << 20;
	unsigned long long questions = 0;
	int listed_net = -1;

	if (argc == 4 && strcmp(argv[2], "--list") == 0)
		listed_net = atoi(argv[3]);
	else if (argc != 2) {
		fprintf(stderr, "usage: answer PORT [--list FIRST_OCTET]\n");
		return 2;
	}
	at.sin_port = htons((uint16_t)atoi(argv[1]));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
		perror("answer");
		return 1;
	}
	sigaction(SIGTERM, &action, NULL); /* without SA_RESTART: a waiting call ends */
	sigaction(SIGINT, &action, NULL);
	fprintf(stderr, "answer: ready\n");
	while (!stopped) {
		unsigned n_out = 0;
		int n;

		for (uint32_t i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){ .iov_base = room[i], .iov_len = sizeof(room[i]) - 280 };
			in[i] = (struct mmsghdr){ .msg_hdr = { .msg_name = &peer[i],
							  .msg_namelen = sizeof(peer[i]),
							  .msg_iov = &iov[i],
							  .msg_iovlen = 1 } };
		}
		n = recvmmsg(fd, in, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < n; i++) {
			iov[i].iov_len = answer(room[i], in[i].msg_len, listed_net);
			if (iov[i].iov_len > 0)
				out[n_out++] = in[i];
			questions++;
		}
		for (unsigned sent = 0; sent < n_out;) {
			const int k = sendmmsg(fd, out + sent, n_out - sent, 0);

			if (k <= 0)
				break;
			sent += (unsigned)k;
		}
	}
	printf("%llu questions\n", questions);
	return 0;
}
