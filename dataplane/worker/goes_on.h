/*
 * goes_on.h - what connections to backends go on from after a kill, for who maps the memory: tcp/tcp_kept.h without its insides.
 */
#ifndef GREYLINE_WORKER_GOES_ON_H
#define GREYLINE_WORKER_GOES_ON_H

#include <stdbool.h>
#include <stdint.h>

#define GOES_ON_RANDOM_OCTETS 20

struct tcp_kept;

uint64_t goes_on_octets(void);
/* A number of its layout. */
uint64_t goes_on_version(void);
/* tcp_kept_begin() */
bool goes_on_begin(struct tcp_kept *k, const uint8_t random[GOES_ON_RANDOM_OCTETS], uint64_t now_us);

#endif
