/*
 * conn_stream.c - plain octets through a stream onto a connection to a backend.
 *
 * Flow:   session_relay.c, probes.c -> stream_wrap() -> tcp_send()
 * Pure:   touches the connection and the stream alone.
 * Keeps:  a record goes out whole or the stream is failed: after a cut record nothing can be said any more.
 */
#include "dataplane/worker/worker_impl.h"

/* What TLS says by itself (plain of length 0), or makes of plain octets. Returns plain octets taken; less than all only where there is no
 * room or no buffer. */
uint32_t
conn_stream_send(struct tcp_conn *conn, struct stream *stream, struct buf_view plain, uint64_t now_us)
{
	const uint32_t n = plain.len_octets;
	uint32_t used;
	struct buf_view wire;

	do {
		if (tcp_send_room(conn) < CONN_STREAM_ROOM_OCTETS)
			break;
		used = stream_wrap(stream, &plain, &wire, now_us);
		plain.ptr += used;
		plain.len_octets -= used;
		if (wire.len_octets > 0 && tcp_send(conn, &wire) != wire.len_octets) {
			stream->failed = true;
			break;
		}
	} while (used > 0 || wire.len_octets > 0);
	return n - plain.len_octets;
}
