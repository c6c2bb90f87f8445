/*
 * fuzz_request.c - HTTP/1 requests from anyone.
 *
 * The first byte says how the rest is split. Reading in steps comes to the same
 * as reading at once; what is good, written and read again is the same head,
 * and written once more the same bytes.
 */
#include "t/unit/codec.h"
#include "worker/http/h1_write.h"

static char out[2][CODEC_ROOM];

static size_t write_out(const struct head *h, char *to)
{
	struct h1_out how = { .proto = h->proto, .chunked = true };
	size_t n = h1_write_request(h, &how, to, CODEC_ROOM);

	if (n == 0 || n > h1_head_size(h))
		abort();
	return n;
}

static void same_again(const struct parsed *first)
{
	struct text a = { NULL, 0 }, b = { NULL, 0 };
	struct parsed second;
	size_t n = write_out(&first->head, out[0]);

	codec_parse(&second, CODEC_REQUEST, METHOD_GET, out[0], n, 0);
	/* A field more, or a blank in each, may be one too many. */
	if (second.bad == H1_BAD_FIELDS || second.bad == H1_BAD_HEAD_LARGE) {
		parsed_fini(&second);
		return;
	}
	if (second.scan != H1_DONE || second.bad || second.len != n)
		abort();
	text_head(&a, &first->head, false);
	text_fields(&a, &first->head, false);
	text_head(&b, &second.head, false);
	text_fields(&b, &second.head, false);
	if (a.n != b.n || memcmp(a.p, b.p, a.n) != 0)
		abort();
	if (write_out(&second.head, out[1]) != n || memcmp(out[0], out[1], n) != 0)
		abort();
	free(a.p);
	free(b.p);
	parsed_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct parsed whole, split;

	if (size < 1 || size > 100000)
		return 0;
	codec_parse(&whole, CODEC_REQUEST, METHOD_GET, data + 1, size - 1, 0);
	codec_parse(&split, CODEC_REQUEST, METHOD_GET, data + 1, size - 1, data[0] % 64 + 1u);
	if (!parsed_same(&whole, &split))
		abort();
	if (whole.scan == H1_DONE && !whole.bad)
		same_again(&whole);
	parsed_fini(&whole);
	parsed_fini(&split);
	return 0;
}
