/*
 * fuzz_response.c - HTTP/1 responses and trailer sections from an origin.
 *
 * The first byte says how the rest is split, the second what was asked. Reading
 * in steps comes to the same as reading at once; what is good, written and read
 * again has the same status, framing and fields.
 */
#include "t/unit/codec.h"
#include "worker/http/h1_write.h"

static char out[2][CODEC_ROOM];

static size_t write_out(const struct head *h, enum method asked, char *to)
{
	struct h1_out how = { .proto = h->proto, .chunked = true, .to_head = asked == METHOD_HEAD };
	size_t n;

	if (h->body == BODY_CLOSE)
		how.chunked = false;
	n = h1_write_response(h, &how, to, CODEC_ROOM);
	if (n == 0 || n > h1_head_size(h))
		abort();
	return n;
}

static void same_again(const struct parsed *first, enum method asked)
{
	struct text a = { NULL, 0 }, b = { NULL, 0 };
	struct parsed second;
	size_t n = write_out(&first->head, asked, out[0]);

	codec_parse(&second, CODEC_RESPONSE, asked, out[0], n, 0);
	if (second.bad == H1_BAD_FIELDS || second.bad == H1_BAD_HEAD_LARGE) {
		parsed_fini(&second);
		return;
	}
	if (second.scan != H1_DONE || second.bad || second.len != n)
		abort();
	if (first->head.status != second.head.status || first->head.body != second.head.body ||
	    first->head.length != second.head.length)
		abort();
	text_fields(&a, &first->head, true);
	text_fields(&b, &second.head, true);
	if (a.n != b.n || (a.n && memcmp(a.p, b.p, a.n) != 0))
		abort();
	if (write_out(&second.head, asked, out[1]) != n || memcmp(out[0], out[1], n) != 0)
		abort();
	free(a.p);
	free(b.p);
	parsed_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum method asked[] = { METHOD_GET, METHOD_HEAD, METHOD_CONNECT, METHOD_OTHER };
	enum codec_kind kind;
	struct parsed whole, split;
	enum method m;

	if (size < 2 || size > 100000)
		return 0;
	m = asked[data[1] % 4];
	kind = data[1] & 128 ? CODEC_TRAILERS : CODEC_RESPONSE;
	codec_parse(&whole, kind, m, data + 2, size - 2, 0);
	codec_parse(&split, kind, m, data + 2, size - 2, data[0] % 64 + 1u);
	if (!parsed_same(&whole, &split))
		abort();
	if (kind == CODEC_RESPONSE && whole.scan == H1_DONE && !whole.bad)
		same_again(&whole, m);
	parsed_fini(&whole);
	parsed_fini(&split);
	return 0;
}
