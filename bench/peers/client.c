/*
 * client.c - SMTP sessions over the kernel's sockets: the same dialogue for every gateway that is compared.
 *
 * Flow:   --slots sessions at a time for --seconds, each from the next address of --net: EHLO, MAIL, RCPT, [DATA, a message,] QUIT, close.
 * Touches: sockets of its namespace; stdout (one JSON object). idle: says "open N" on stdout and holds the sessions until stdin ends.
 * Keeps:  one thread, one epoll. Each reply's code is checked: 451 or 450 to RCPT (greylist), 250 (data). What is wrong is counted and the
 *         first of it printed on stderr.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define SLOTS_MAX     65536
#define REPLY_OCTETS  1024
#define EVENTS        256
#define LINE_OCTETS   72
#define GIVE_UP_NS    UINT64_C(30000000000)
#define COMPLAINTS    5
#define HOLD_NS       UINT64_C(15000000000) /* to open what is to stay open */
#define SWEEP_NS      UINT64_C(500000000)
#define START_AT_ONCE 64

enum template { GREYLIST, DATA, IDLE };
enum step { FREE, CONNECT, BANNER, EHLO, MAIL, RCPT, DATA_CMD, BODY, QUIT, SILENT };

static const char *const step_names[] = { "free", "connect", "banner", "EHLO", "MAIL", "RCPT", "DATA", "message",
	"QUIT", "silence" };

struct session {
	int fd;
	enum step step;
	uint64_t began_ns;
	uint32_t serial, n, body_sent;
	char reply[REPLY_OCTETS];
};

struct client {
	enum template template;
	struct sockaddr_in server;
	uint8_t net;
	uint32_t slots, serial, open, silent;
	char *body;
	uint32_t body_octets;
	int epoll;
	struct session *session;
	uint64_t done, failed, wrong, refused;
	uint32_t complaints;
};

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void
session_end(struct client *c, struct session *s, bool well)
{
	c->silent -= s->step == SILENT;
	close(s->fd);
	s->step = FREE;
	c->open--;
	if (well)
		c->done++;
	else
		c->failed++;
}

static void
complain(struct client *c, struct session *s, const char *what)
{
	if (c->complaints++ < COMPLAINTS)
		fprintf(stderr, "client: at %s: %s%.*s\n", step_names[s->step], what, (int)s->n, s->reply);
}

static bool
say(struct session *s, const char *text, size_t n)
{
	return send(s->fd, text, n, MSG_NOSIGNAL) == (ssize_t)n;
}

/* Sender in letters: digits would be folded by those who normalise. */
static bool
say_mail(struct session *s)
{
	char line[64] = "MAIL FROM:<", word[8];
	uint32_t n = s->serial;

	for (uint32_t i = 0; i < 7; i++, n /= 26)
		word[i] = (char)('a' + n % 26);
	word[7] = '\0';
	n = (uint32_t)snprintf(line, sizeof(line), "MAIL FROM:<%s@sender.example>\r\n", word);
	return say(s, line, n);
}

static void
watch(struct client *c, struct session *s, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = s };

	epoll_ctl(c->epoll, EPOLL_CTL_MOD, s->fd, &e);
}

/* As much of the message as the socket takes. */
static void
send_body(struct client *c, struct session *s)
{
	while (s->body_sent < c->body_octets) {
		const ssize_t n = send(s->fd, c->body + s->body_sent, c->body_octets - s->body_sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			watch(c, s, EPOLLIN | EPOLLOUT);
			return;
		}
		if (n <= 0) {
			session_end(c, s, false);
			return;
		}
		s->body_sent += (uint32_t)n;
	}
	watch(c, s, EPOLLIN);
}

/* A whole reply has come: checked, and the next command said. */
static void
reply_arrived(struct client *c, struct session *s)
{
	static const char *const want[] = {
		[BANNER] = "220", [EHLO] = "250", [MAIL] = "250", [DATA_CMD] = "354", [BODY] = "250", [QUIT] = "221"
	};
	const char *code = s->step == RCPT ? (c->template == DATA ? "250" : "45") : want[s->step];
	bool well = true;

	if (code == NULL || strncmp(s->reply, code, strlen(code)) != 0) {
		c->wrong++;
		complain(c, s, "answered ");
		session_end(c, s, false);
		return;
	}
	s->n = 0;
	switch (s->step) {
	case BANNER:
		s->step = EHLO;
		well = say(s, "EHLO client.example\r\n", 21);
		break;
	case EHLO:
		s->step = c->template == IDLE ? SILENT : MAIL;
		c->silent += s->step == SILENT;
		if (s->step == SILENT) /* idle is who has acknowledged: without, all wait 40 ms for that at once */
			setsockopt(s->fd, IPPROTO_TCP, TCP_QUICKACK, &(int){ 1 }, sizeof(int));
		well = s->step == SILENT || say_mail(s);
		break;
	case MAIL:
		s->step = RCPT;
		well = say(s, "RCPT TO:<user@example.org>\r\n", 28);
		break;
	case RCPT:
		s->step = c->template == DATA ? DATA_CMD : QUIT;
		well = say(s, c->template == DATA ? "DATA\r\n" : "QUIT\r\n", 6);
		break;
	case DATA_CMD:
		s->step = BODY;
		s->body_sent = 0;
		send_body(c, s);
		return;
	case BODY:
		s->step = QUIT;
		well = say(s, "QUIT\r\n", 6);
		break;
	case QUIT:
		session_end(c, s, true);
		return;
	case FREE:
	case CONNECT:
	case SILENT:
		return;
	}
	if (!well)
		session_end(c, s, false);
}

static bool
reply_is_whole(const char *p, uint32_t n)
{
	uint32_t at = n;

	if (n < 5 || p[n - 1] != '\n')
		return false;
	for (at = n - 1; at > 0 && p[at - 1] != '\n'; at--)
		continue;
	return n - at >= 4 && p[at + 3] == ' ';
}

static void
session_event(struct client *c, struct session *s, uint32_t events)
{
	ssize_t n;

	if (s->step == CONNECT) {
		int error = 0;
		socklen_t size = sizeof(error);

		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error != 0) {
			c->refused++;
			session_end(c, s, false);
			return;
		}
		s->step = BANNER;
		watch(c, s, EPOLLIN);
		return;
	}
	if (s->step == BODY && events & EPOLLOUT) {
		send_body(c, s);
		return;
	}
	n = recv(s->fd, s->reply + s->n, sizeof(s->reply) - 1 - s->n, 0);
	if (n <= 0) {
		if (n < 0 && errno == EAGAIN)
			return;
		complain(c, s, n == 0 ? "closed " : "reset ");
		session_end(c, s, false);
		return;
	}
	s->n += (uint32_t)n;
	s->reply[s->n] = '\0';
	if (reply_is_whole(s->reply, s->n))
		reply_arrived(c, s);
	else if (s->n + 1 == sizeof(s->reply))
		session_end(c, s, false);
}

static void
session_start(struct client *c, struct session *s)
{
	const uint32_t serial = c->serial++;
	struct sockaddr_in from = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl((uint32_t)c->net << 24 | (serial % 0xfffe00 + 256)) };
	struct epoll_event e = { .events = EPOLLOUT, .data.ptr = s };
	const int one = 1;

	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	s->step = CONNECT;
	s->serial = serial;
	s->n = 0;
	s->began_ns = now_ns();
	c->open++;
	if (s->fd < 0) {
		perror("client: socket");
		exit(1);
	}
	setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (bind(s->fd, (struct sockaddr *)&from, sizeof(from)) != 0 ||
		(connect(s->fd, (struct sockaddr *)&c->server, sizeof(c->server)) != 0 && errno != EINPROGRESS) ||
		epoll_ctl(c->epoll, EPOLL_CTL_ADD, s->fd, &e) != 0) {
		c->refused++;
		session_end(c, s, false);
	}
}

static void
start_some(struct client *c)
{
	static uint32_t at;

	for (uint32_t i = 0, n = 0; i < c->slots && n < START_AT_ONCE && c->open < c->slots; i++) {
		struct session *s = &c->session[at++ % c->slots];

		if (s->step != FREE)
			continue;
		session_start(c, s);
		n++;
	}
}

static void
sweep(struct client *c, uint64_t now)
{
	for (uint32_t i = 0; i < c->slots; i++) {
		struct session *s = &c->session[i];

		if (s->step != FREE && s->step != SILENT && now - s->began_ns > GIVE_UP_NS) {
			complain(c, s, "no answer ");
			session_end(c, s, false);
		}
	}
}

static void
turn(struct client *c, int wait_ms)
{
	struct epoll_event e[EVENTS];
	const int n = epoll_wait(c->epoll, e, EVENTS, wait_ms);

	for (int i = 0; i < n; i++) {
		struct session *s = e[i].data.ptr;

		if (s->step != FREE)
			session_event(c, s, e[i].events);
	}
}

static double
cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void
run(struct client *c, uint32_t seconds)
{
	const uint64_t began = now_ns(), until = began + seconds * UINT64_C(1000000000);
	uint64_t now = began, swept = began, ended;
	const double cpu = cpu_s();

	do {
		start_some(c);
		turn(c, c->open < c->slots ? 0 : 10);
		now = now_ns();
		if (now - swept > SWEEP_NS) {
			sweep(c, now);
			swept = now;
		}
	} while (now < until);
	ended = now;
	while (c->open > 0 && now < ended + GIVE_UP_NS) {
		turn(c, 10);
		now = now_ns();
	}
	printf("{\"sessions\": %llu, \"failed\": %llu, \"wrong\": %llu, \"refused\": %llu, \"seconds\": %.3f, "
	       "\"generator_busy\": %.3f, \"next\": %u, \"octets\": %llu}\n",
		(unsigned long long)c->done, (unsigned long long)c->failed + c->open, (unsigned long long)c->wrong,
		(unsigned long long)c->refused, (double)(now - began) / 1e9,
		(cpu_s() - cpu) / ((double)(now - began) / 1e9), c->serial,
		(unsigned long long)c->done * (c->template == DATA ? c->body_octets : 0));
}

static void
hold(struct client *c)
{
	const uint64_t until = now_ns() + HOLD_NS;
	char word;

	while (c->silent < c->slots && now_ns() < until && c->failed < c->slots) {
		if (c->open - c->silent < START_AT_ONCE) /* one after another: a thousand at once are a burst */
			start_some(c);
		turn(c, 5);
	}
	printf("open %u\n", c->silent);
	fflush(stdout);
	while (read(STDIN_FILENO, &word, 1) > 0)
		continue;
}

static void
make_body(struct client *c, uint32_t octets)
{
	const uint32_t lines = octets / LINE_OCTETS;

	c->body_octets = lines * LINE_OCTETS + 3;
	c->body = malloc(c->body_octets + 1);
	if (c->body == NULL)
		exit(1);
	for (uint32_t i = 0; i < lines * LINE_OCTETS; i++)
		c->body[i] = i % LINE_OCTETS == 70   ? '\r'
		             : i % LINE_OCTETS == 71 ? '\n'
		                                     : (char)('a' + i % LINE_OCTETS % 26);
	memcpy(c->body + lines * LINE_OCTETS, ".\r\n", 3);
}

/* As many sockets as we may have. */
static void
raise_files(void)
{
	struct rlimit r;

	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

static void
usage(void)
{
	fputs("usage: client --server IP [--port N] --template greylist|data|idle [--net N] [--slots N] [--seconds N] "
	      "[--message N]\n"
	      "              [--first N]\n",
		stderr);
	exit(2);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "server", required_argument, NULL, 's' },
		{ "port", required_argument, NULL, 'p' }, { "template", required_argument, NULL, 't' },
		{ "net", required_argument, NULL, 'a' }, { "slots", required_argument, NULL, 'n' },
		{ "seconds", required_argument, NULL, 'd' }, { "message", required_argument, NULL, 'm' },
		{ "first", required_argument, NULL, 'f' }, { 0 } };
	static struct client c = { .net = 10, .slots = 64 };
	uint32_t seconds = 10, message = 10240;
	int option;

	c.server = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(25) };
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			if (inet_pton(AF_INET, optarg, &c.server.sin_addr) != 1)
				usage();
			break;
		case 'p':
			c.server.sin_port = htons((uint16_t)atoi(optarg));
			break;
		case 't':
			if (strcmp(optarg, "data") == 0)
				c.template = DATA;
			else if (strcmp(optarg, "idle") == 0)
				c.template = IDLE;
			else if (strcmp(optarg, "greylist") != 0)
				usage();
			break;
		case 'a':
			c.net = (uint8_t)atoi(optarg);
			break;
		case 'n':
			c.slots = (uint32_t)atoi(optarg);
			break;
		case 'd':
			seconds = (uint32_t)atoi(optarg);
			break;
		case 'm':
			message = (uint32_t)atoi(optarg);
			break;
		case 'f':
			c.serial = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		default:
			usage();
		}
	}
	if (c.server.sin_addr.s_addr == 0 || c.slots == 0 || c.slots > SLOTS_MAX)
		usage();
	raise_files();
	c.session = calloc(c.slots, sizeof(*c.session));
	c.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (c.session == NULL || c.epoll < 0)
		return 1;
	make_body(&c, message);
	if (c.template == IDLE)
		hold(&c);
	else
		run(&c, seconds);
	return 0;
}
