/*
 * fuzz_proxy.c - the PROXY header in front of a connection.
 *
 * Bytes that are a header stay one whatever follows, no part of them is one,
 * and what is written for the addresses read is read as the same.
 */
#include "t/unit/codec.h"
#include "worker/io/proxy_protocol.h"

static void same_again(unsigned version, const struct proxy_hello *first)
{
	char out[PROXY_PROTOCOL_OUT_MAX];
	size_t n = proxy_protocol_write(version, &first->src, &first->dst, out), len;
	struct proxy_hello again;

	if (proxy_protocol_parse(out, n, &again, &len) != PROXY_DONE || len != n || !again.told ||
	    !addr_eq(&again.src, &first->src) || !addr_eq(&again.dst, &first->dst))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_hello hello, part;
	enum proxy_rc rc;
	size_t len, used;

	if (size > 8192)
		return 0;
	rc = proxy_protocol_parse(guarded(data, size), size, &hello, &len);
	if (rc == PROXY_MORE && size >= PROXY_PROTOCOL_IN_MAX)
		abort();
	if (rc != PROXY_DONE)
		return 0;
	if (len == 0 || len > size || len > PROXY_PROTOCOL_IN_MAX)
		abort();
	if (proxy_protocol_parse(guarded(data, len), len, &part, &used) != PROXY_DONE || used != len)
		abort();
	for (size_t i = 0; i < len; i += 1 + i / 16) {
		if (proxy_protocol_parse(guarded(data, i), i, &part, &used) != PROXY_MORE)
			abort();
	}
	if (hello.told) {
		same_again(1, &hello);
		same_again(2, &hello);
	}
	return 0;
}
