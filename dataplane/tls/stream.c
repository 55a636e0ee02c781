/*
 * stream.c - the identity stream.
 *
 * Pure:   holds nothing, so one constant-like object serves every session.
 */
#include "dataplane/tls/stream.h"

static uint32_t
identity_pass(struct stream *s, const struct buf_view *in, struct buf_view *out, uint64_t now_us)
{
	(void)s;
	(void)now_us;
	*out = *in;
	return in->len_octets;
}

static void
identity_nothing(struct stream *s)
{
	(void)s;
}

static uint64_t
identity_never(const struct stream *s)
{
	(void)s;
	return UINT64_MAX;
}

static bool
identity_always(const struct stream *s)
{
	(void)s;
	return true;
}

static const struct stream_ops identity_ops = {
	.unwrap = identity_pass,
	.wrap = identity_pass,
	.shutdown = identity_nothing,
	.deadline_us = identity_never,
	.may_rest = identity_always,
	.destroy = identity_nothing,
};

struct stream *
stream_identity(void)
{
	static struct stream identity = { .ops = &identity_ops }; /* never written */

	return &identity;
}
