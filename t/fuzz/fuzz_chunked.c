/*
 * fuzz_chunked.c - message bodies, chunked for the most part.
 *
 * The first byte says how the rest is split, the second how it is framed.
 * Reading in steps comes to the same as reading at once; a whole body, framed
 * anew by our writer, is the same body.
 */
#include "t/unit/codec.h"
#include "worker/http/h1_write.h"

#define TRAILER_MAX 4096

/* The data in chunks of `step`, as our codecs would send it. */
static size_t frame(struct text data, size_t step, char *out)
{
	size_t n = 0;

	for (size_t at = 0; at < data.n;) {
		size_t run = data.n - at < step ? data.n - at : step;

		n += h1_write_chunk_head(run, out + n);
		memcpy(out + n, data.p + at, run);
		memcpy(out + n + run, "\r\n", 2);
		n += run + 2;
		at += run;
	}
	return n + h1_write_last_chunk(NULL, out + n, 5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum body_kind kinds[] = { BODY_STREAM, BODY_STREAM, BODY_LENGTH, BODY_CLOSE };
	static char out[CODEC_ROOM];
	const char *bytes = (const char *)data + 2;
	struct unbodied whole, split;
	enum body_kind kind;

	if (size < 2 || size > 20000)
		return 0;
	kind = kinds[data[1] % 4];
	codec_unbody(&whole, kind, data[1], bytes, size - 2, 0, TRAILER_MAX);
	codec_unbody(&split, kind, data[1], bytes, size - 2, data[0] % 64 + 1u, TRAILER_MAX);
	if (!unbodied_same(&whole, &split))
		abort();
	if (kind == BODY_STREAM && whole.rc == H1B_RC_END) {
		struct unbodied again;
		size_t n = frame(whole.data, data[0] % 16 + 1u, out);

		codec_unbody(&again, BODY_STREAM, 0, out, n, 0, TRAILER_MAX);
		if (again.rc != H1B_RC_END || again.used != n || again.data.n != whole.data.n ||
		    (whole.data.n && memcmp(again.data.p, whole.data.p, whole.data.n) != 0))
			abort();
		unbodied_fini(&again);
	}
	unbodied_fini(&whole);
	unbodied_fini(&split);
	return 0;
}
