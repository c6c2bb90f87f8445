/*
 * fuzz_h2.c - HTTP/2 field sections from anyone, as they are after decoding.
 *
 * The first byte tells the kind; then come fields, each with a byte of length
 * before name and value. What is good, written as HTTP/1 and read again, is one
 * message with the same target and host.
 */
#include "t/unit/codec.h"
#include "worker/http/h1_write.h"
#include "worker/http/h2_map.h"

static char out[CODEC_ROOM];

static struct span piece(const uint8_t **p, const uint8_t *end)
{
	size_t n = *p < end ? **p : 0;
	struct span s;

	*p += *p < end;
	if (n > (size_t)(end - *p))
		n = (size_t)(end - *p);
	s = span_make((const char *)*p, n);
	*p += n;
	return s;
}

static void same_by_h1(const struct head *h)
{
	struct h1_out how = { .proto = PROTO_HTTP11, .chunked = true };
	size_t n = h1_write_request(h, &how, out, sizeof(out));
	struct parsed again;

	if (n == 0 || n > h1_head_size(h))
		abort();
	codec_parse(&again, CODEC_REQUEST, METHOD_GET, out, n, 0);
	if (again.bad != H1_BAD_FIELDS && again.bad != H1_BAD_HEAD_LARGE && again.bad != H1_BAD_TARGET_LARGE) {
		if (again.scan != H1_DONE || again.bad || again.len != n)
			abort();
		if (!span_eq(again.head.path, h->path) || !span_eq(again.head.host, h->host) || again.head.body != h->body ||
		    again.head.length != h->length || !span_eq(again.head.method_text, h->method_text))
			abort();
	}
	parsed_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *p = data + 1, *end = data + size;
	struct arena arena;
	struct h2_map m;
	struct head h;

	if (size < 1 || size > 20000)
		return 0;
	arena_init(&arena, NULL, 1 << 20);
	head_init(&h, &arena);
	h2_map_init(&m, &h, data[0] & 1, 16384);
	while (p < end) {
		struct span name = piece(&p, end);

		h2_map_field(&m, name, piece(&p, end));
	}
	if (h2_map_end(&m, data[0] & 2) == H2_GOOD && !(data[0] & 1))
		same_by_h1(&h);
	arena_fini(&arena);
	return 0;
}
