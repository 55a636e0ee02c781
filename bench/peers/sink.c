/*
 * sink.c - a mail server that does next to nothing: the backend of what is compared.
 *
 * Flow:   accept -> 220 -> a reply to each line; --rcpt CODE answers RCPT (250), and after DATA everything up to CRLF.CRLF is swallowed
 * Touches: one listening socket, one epoll.
 * Keeps:  one thread; a line beyond its room is cut. Lines beginning with PROXY are swallowed: a relay's first words.
 *
 * usage: sink PORT [--rcpt 250|451]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS      256
#define LINE_OCTETS 512
#define READ_OCTETS 65536

struct conn {
	int fd;
	bool data;
	uint8_t tail; /* octets of CRLF.CRLF seen */
	uint32_t n;
	char line[LINE_OCTETS];
};

static bool rcpt_451;

static bool
say(struct conn *c, const char *text)
{
	return send(c->fd, text, strlen(text), MSG_NOSIGNAL) > 0;
}

/* Whether the connection goes on. */
static bool
line_arrived(struct conn *c)
{
	c->line[c->n] = '\0';
	c->n = 0;
	if (strncmp(c->line, "PROXY ", 6) == 0)
		return true;
	if (strncasecmp(c->line, "EHLO", 4) == 0)
		return say(c, "250-sink.bench\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250 "
			      "ENHANCEDSTATUSCODES\r\n");
	if (strncasecmp(c->line, "RCPT", 4) == 0 && strstr(c->line, ".invalid") != NULL)
		return say(c, "554 5.7.1 Relay access denied\r\n");
	if (strncasecmp(c->line, "RCPT", 4) == 0 && rcpt_451)
		return say(c, "451 4.7.1 Greylisted, please try again in 240 seconds\r\n");
	if (strncasecmp(c->line, "DATA", 4) == 0) {
		c->data = true;
		c->tail = 2;
		return say(c, "354 End data with <CR><LF>.<CR><LF>\r\n");
	}
	if (strncasecmp(c->line, "QUIT", 4) == 0) {
		say(c, "221 2.0.0 Bye\r\n");
		return false;
	}
	return say(c, "250 2.0.0 Ok\r\n");
}

static bool
octets_arrived(struct conn *c, const char *p, size_t n)
{
	static const char end[] = "\r\n.\r\n";

	for (size_t i = 0; i < n; i++) {
		if (c->data) {
			c->tail = p[i] == end[c->tail] ? (uint8_t)(c->tail + 1) : p[i] == '\r' ? 1 : 0;
			if (c->tail < 5)
				continue;
			c->data = false;
			if (!say(c, "250 2.0.0 Ok: queued\r\n"))
				return false;
			continue;
		}
		if (c->n + 1 < sizeof(c->line))
			c->line[c->n++] = p[i];
		if (p[i] == '\n' && !line_arrived(c))
			return false;
	}
	return true;
}

static void
accept_some(int listener, int epoll)
{
	const int one = 1;
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *c = calloc(1, sizeof(*c));
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };

		if (c == NULL) {
			close(fd);
			continue;
		}
		c->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
		say(c, "220 sink.bench ESMTP\r\n");
	}
}

int
main(int argc, char **argv)
{
	static char room[READ_OCTETS];
	struct sockaddr_in at = { .sin_family = AF_INET };
	const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
		  epoll = epoll_create1(EPOLL_CLOEXEC), one = 1;
	struct rlimit files;
	struct epoll_event e[EVENTS] = { { .events = EPOLLIN, .data.ptr = NULL } };

	if (argc != 2 && !(argc == 4 && strcmp(argv[2], "--rcpt") == 0)) {
		fprintf(stderr, "usage: sink PORT [--rcpt 250|451]\n");
		return 2;
	}
	rcpt_451 = argc == 4 && strcmp(argv[3], "451") == 0;
	at.sin_port = htons((uint16_t)atoi(argv[1]));
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(listener, 4096) != 0 ||
		epoll_ctl(epoll, EPOLL_CTL_ADD, listener, e) != 0) {
		perror("sink");
		return 1;
	}
	fprintf(stderr, "sink: ready\n");
	for (;;) {
		const int n = epoll_wait(epoll, e, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct conn *c = e[i].data.ptr;
			ssize_t got;

			if (c == NULL) {
				accept_some(listener, epoll);
				continue;
			}
			got = recv(c->fd, room, sizeof(room), 0);
			if (got < 0 && errno == EAGAIN)
				continue;
			if (got > 0 && octets_arrived(c, room, (size_t)got))
				continue;
			close(c->fd);
			free(c);
		}
	}
}
