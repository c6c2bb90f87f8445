/*
 * fuzz_h2_server.c - HTTP/2 field sections to and from servers.
 *
 * The first byte tells the kind; then come fields, each with a byte of length
 * before name and value. A good answer, written as HTTP/1 and read again, is the
 * same answer; a good request, written as HTTP/2 and mapped again, the same
 * request.
 */
#include "t/unit/codec.h"
#include "worker/http/h1_write.h"
#include "worker/http/h2_map.h"

#define KIND_TO_HEAD 1
#define KIND_END 2
#define KIND_REQUEST 4

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

static void same_by_h1(const struct head *h, bool to_head)
{
	struct h1_out how = { .proto = PROTO_HTTP11, .chunked = true, .to_head = to_head };
	size_t n = h1_write_response(h, &how, out, sizeof(out));
	struct parsed again;

	if (n == 0 || n > h1_head_size(h))
		abort();
	codec_parse(&again, CODEC_RESPONSE, to_head ? METHOD_HEAD : METHOD_GET, out, n, 0);
	if (again.bad != H1_BAD_FIELDS && again.bad != H1_BAD_HEAD_LARGE) {
		if (again.scan != H1_DONE || again.bad || again.len != n)
			abort();
		if (again.head.status != h->status || again.head.body != h->body || again.head.length != h->length)
			abort();
	}
	parsed_fini(&again);
}

static struct span lower(struct arena *a, struct span s)
{
	char *p = arena_bytes(a, s.n + 1);

	if (p == NULL)
		abort();
	for (size_t i = 0; i < s.n; i++)
		p[i] = (char)ascii_lower((unsigned char)s.p[i]);
	return span_make(p, s.n);
}

static void same_by_h2(const struct head *h)
{
	struct h2_field *f = arena_alloc(h->arena, (h->nfields + H2_MAP_REQUEST_EXTRA) * sizeof(*f));
	char scratch[H2_MAP_SCRATCH];
	struct head again;
	struct h2_map m;
	unsigned n;

	if (f == NULL)
		return;
	n = h2_map_request(h, false, h->arena, f, scratch);
	if (n == 0 || n > h->nfields + H2_MAP_REQUEST_EXTRA)
		abort();
	head_init(&again, h->arena);
	h2_map_init(&m, &again, false, SIZE_MAX);
	for (unsigned i = 0; i < n; i++)
		h2_map_field(&m, lower(h->arena, f[i].name), f[i].value);
	if (h2_map_end(&m, h->body == BODY_NONE) != H2_GOOD)
		abort();
	if (!span_eq(again.path, h->path) || !span_eq(again.host, h->host) || !span_eq(again.query, h->query) ||
	    again.body != h->body || again.length != h->length || again.te_trailers != h->te_trailers)
		abort();
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
	h2_map_init_as(&m, &h, data[0] & KIND_REQUEST ? H2_REQUEST : H2_RESPONSE, 16384);
	m.to_head = data[0] & KIND_TO_HEAD;
	while (p < end) {
		struct span name = piece(&p, end);

		h2_map_field(&m, name, piece(&p, end));
	}
	if (h2_map_end(&m, data[0] & KIND_END) == H2_GOOD) {
		if (data[0] & KIND_REQUEST)
			same_by_h2(&h);
		else
			same_by_h1(&h, m.to_head);
	}
	arena_fini(&arena);
	return 0;
}
