/*
 * head_test.c - message heads: the name table, adding, finding, replacing and
 * removing fields, and what a Connection field may strip.
 */
#include "t/unit/unit.h"

#include "t/unit/codec.h"

static struct arena arena;
static struct head head;

static void fresh(void)
{
	arena_init(&arena, NULL, 1 << 20);
	head_init(&head, &arena);
}

/* The fields as "name: value|", in order. */
static const char *fields(void)
{
	static char out[4096];
	size_t n = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < head.nfields; i++)
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%.*s: %.*s|", SPAN_FMT(head.fields[i].name),
				      SPAN_FMT(head.fields[i].value));
	ck_assert(chains_whole(&head));
	return out;
}

START_TEST(every_name_is_found)
{
	for (unsigned id = 1; id < HDR__N; id++) {
		struct span name = hdr_name(id);
		char other[64];

		ck_assert_uint_lt(name.n, sizeof(other));
		ck_assert_msg(hdr_find(name) == (enum hdr_id)id, "%.*s: run worker/http/hdr_hash.py", SPAN_FMT(name));
		for (size_t i = 0; i < name.n; i++)
			other[i] = (char)(name.p[i] >= 'a' && name.p[i] <= 'z' ? name.p[i] - 32 :
					  ascii_lower((unsigned char)name.p[i]));
		ck_assert(hdr_find(span_make(guarded(other, name.n), name.n)) == (enum hdr_id)id);
		/* One byte off in any place is another name. */
		for (size_t i = 0; i < name.n; i++) {
			char kept = other[i];

			other[i] = '~';
			ck_assert(hdr_find(span_make(other, name.n)) == HDR_OTHER);
			other[i] = (char)(kept ^ 0x60);
			ck_assert(hdr_find(span_make(other, name.n)) != (enum hdr_id)id);
			other[i] = kept;
		}
	}
	ck_assert(hdr_find(SPAN("")) == HDR_OTHER);
	ck_assert(hdr_find(SPAN("X-Nobody-Knows")) == HDR_OTHER);
	ck_assert(hdr_find(SPAN("A-Name-That-Is-Longer-Than-Any-Name-In-The-Whole-Table")) == HDR_OTHER);
	ck_assert(hdr_find(SPAN("Keep\rAlive")) == HDR_OTHER);
}
END_TEST

START_TEST(knows_disguises)
{
	ck_assert(hdr_disguised(SPAN("X_Forwarded_For")) && hdr_disguised(SPAN("x-real_ip")));
	ck_assert(hdr_disguised(SPAN("X_Request-ID")) && hdr_disguised(SPAN("Content_Length")));
	ck_assert(hdr_disguised(SPAN("transfer_encoding")));
	ck_assert(!hdr_disguised(SPAN("X-Forwarded-For")) && !hdr_disguised(SPAN("X_Own")));
	ck_assert(!hdr_disguised(SPAN("User_Agent")) && !hdr_disguised(SPAN("_")));
}
END_TEST

START_TEST(adds_and_finds)
{
	fresh();
	ck_assert(head_add(&head, SPAN("cookie"), SPAN("a")));
	ck_assert(head_add(&head, SPAN("X-Own"), SPAN("1")));
	ck_assert(head_add_id(&head, HDR_COOKIE, SPAN("b")));
	ck_assert(head_add(&head, SPAN("x-own"), SPAN("2")));
	ck_assert_str_eq(fields(), "cookie: a|X-Own: 1|Cookie: b|x-own: 2|");
	ck_span_eq(head_get(&head, HDR_COOKIE), "a");
	ck_assert_ptr_null(head_get(&head, HDR_HOST).p);
	ck_span_eq(head_find(&head, SPAN("X-OWN")), "1");
	ck_span_eq(head_find(&head, SPAN("COOKIE")), "a");
	ck_assert_ptr_null(head_find(&head, SPAN("X-Other")).p);
	ck_assert_int_eq(head_index(&head, SPAN("Cookie"), 0), 0);
	ck_assert_int_eq(head_index(&head, SPAN("Cookie"), 1), 2);
	ck_assert_int_eq(head_index(&head, SPAN("Cookie"), 3), -1);
	ck_assert_int_eq(head_index(&head, SPAN("X-own"), 2), 3);
	ck_assert_int_eq(head_index(&head, SPAN("X-own"), 4), -1);
	arena_fini(&arena);
}
END_TEST

START_TEST(removes)
{
	fresh();
	head_add(&head, SPAN("Cookie"), SPAN("a"));
	head_add(&head, SPAN("X-Own"), SPAN("1"));
	head_add(&head, SPAN("Host"), SPAN("h"));
	head_add(&head, SPAN("Cookie"), SPAN("b"));
	head_add(&head, SPAN("x-own"), SPAN("2"));
	ck_assert_uint_eq(head_remove(&head, SPAN("X-OWN")), 2);
	ck_assert_str_eq(fields(), "Cookie: a|Host: h|Cookie: b|");
	ck_assert_uint_eq(head_remove(&head, SPAN("X-Own")), 0);
	ck_assert_uint_eq(head_remove(&head, SPAN("")), 0);
	ck_assert_uint_eq(head_remove_id(&head, HDR_COOKIE), 2);
	ck_assert_uint_eq(head_remove_id(&head, HDR_COOKIE), 0);
	ck_assert_str_eq(fields(), "Host: h|");
	ck_assert_uint_eq(head_remove(&head, SPAN("hOST")), 1);
	ck_assert_uint_eq(head.nfields, 0);
	arena_fini(&arena);
}
END_TEST

START_TEST(sets)
{
	fresh();
	head_add(&head, SPAN("cookie"), SPAN("a"));
	head_add(&head, SPAN("X-Own"), SPAN("1"));
	head_add(&head, SPAN("Cookie"), SPAN("b"));
	head_add(&head, SPAN("x-own"), SPAN("2"));
	ck_assert(head_set(&head, SPAN("cookie"), SPAN("c")));
	ck_assert_str_eq(fields(), "Cookie: c|X-Own: 1|x-own: 2|");
	ck_assert(head_set(&head, SPAN("X-OWN"), SPAN("3")));
	ck_assert_str_eq(fields(), "Cookie: c|X-OWN: 3|");
	ck_assert(head_set(&head, SPAN("X-New"), SPAN("4")) && head_set_id(&head, HDR_VIA, SPAN("v")));
	ck_assert_str_eq(fields(), "Cookie: c|X-OWN: 3|X-New: 4|Via: v|");
	ck_assert(head_set(&head, SPAN("X-Own"), SPAN("")) && head_set_id(&head, HDR_COOKIE, SPAN("")));
	ck_assert_str_eq(fields(), "X-New: 4|Via: v|");
	arena_fini(&arena);
}
END_TEST

START_TEST(grows_and_says_when_full)
{
	unsigned n = 0;

	fresh();
	for (; n < 1000; n++)
		ck_assert(head_add(&head, n % 3 ? SPAN("X-Own") : SPAN("Via"), SPAN("v")));
	ck_assert(chains_whole(&head));
	arena.limit = arena.total;
	while (n < 100000 && head_add(&head, SPAN("X-Own"), SPAN("v")))
		n++;
	ck_assert_uint_lt(n, 100000);
	ck_assert_uint_eq(head.nfields, n);
	arena_fini(&arena);
}
END_TEST

START_TEST(finds_tokens)
{
	fresh();
	head_add(&head, SPAN("Cache-Control"), SPAN(" , max-age=0,\tNo-Store "));
	head_add(&head, SPAN("Cache-Control"), SPAN("private"));
	ck_assert(head_has_token(&head, HDR_CACHE_CONTROL, SPAN("no-store")));
	ck_assert(head_has_token(&head, HDR_CACHE_CONTROL, SPAN("private")));
	ck_assert(!head_has_token(&head, HDR_CACHE_CONTROL, SPAN("max-age")));
	ck_assert(!head_has_token(&head, HDR_VARY, SPAN("private")));
	arena_fini(&arena);
}
END_TEST

START_TEST(strips_hop_by_hop)
{
	fresh();
	head_add(&head, SPAN("Host"), SPAN("h"));
	head_add(&head, SPAN("Connection"), SPAN("close, X-Own,, Host ,Cookie, X-Forwarded-For, Authorization"));
	head_add(&head, SPAN("X-Own"), SPAN("1"));
	head_add(&head, SPAN("Cookie"), SPAN("c"));
	head_add(&head, SPAN("Keep-Alive"), SPAN("timeout=5"));
	head_add(&head, SPAN("X-Forwarded-For"), SPAN("f"));
	head_add(&head, SPAN("X-Late"), SPAN("2"));
	head_add(&head, SPAN("Connection"), SPAN("x-late"));
	head_add(&head, SPAN("TE"), SPAN("trailers"));
	head_add(&head, SPAN("Upgrade"), SPAN("websocket"));
	head_add(&head, SPAN("Proxy-Connection"), SPAN("keep-alive"));
	head_add(&head, SPAN("Proxy-Authorization"), SPAN("Basic x"));
	head_add(&head, SPAN("HTTP2-Settings"), SPAN("x"));
	head_add(&head, SPAN("Trailer"), SPAN("X-Sum"));
	head_add(&head, SPAN("Authorization"), SPAN("a"));
	head_add(&head, SPAN("x-own"), SPAN("3"));
	head_strip_hop(&head);
	ck_assert_str_eq(fields(), "Host: h|Cookie: c|X-Forwarded-For: f|Trailer: X-Sum|Authorization: a|");
	head_strip_hop(&head);
	ck_assert_uint_eq(head.nfields, 5);
	arena_fini(&arena);
}
END_TEST

START_TEST(methods)
{
	ck_assert(method_find(SPAN("GET")) == METHOD_GET && method_find(SPAN("get")) == METHOD_OTHER);
	ck_assert(method_find(SPAN("")) == METHOD_OTHER && method_find(SPAN("GETS")) == METHOD_OTHER);
	for (unsigned m = 1; m < METHOD__N; m++)
		ck_assert(method_find(method_name(m)) == (enum method)m);
	ck_assert(method_safe(METHOD_HEAD) && !method_safe(METHOD_PUT) && !method_safe(METHOD_OTHER));
	ck_assert(method_idempotent(METHOD_PUT) && method_idempotent(METHOD_DELETE));
	ck_assert(!method_idempotent(METHOD_POST) && !method_idempotent(METHOD_PATCH));
	ck_assert(!method_idempotent(METHOD_OTHER) && !method_idempotent(METHOD_CONNECT));
}
END_TEST

START_TEST(reasons_and_bytes)
{
	ck_span_eq(status_reason(100), "Continue");
	ck_span_eq(status_reason(200), "OK");
	ck_span_eq(status_reason(404), "Not Found");
	ck_span_eq(status_reason(511), "Network Authentication Required");
	for (unsigned s = 0; s < 700; s++)
		ck_assert(status_reason(s).n == 0 || (s >= 100 && s < 600));
	ck_assert_str_eq(proto_name(PROTO_HTTP10), "HTTP/1.0");
	for (unsigned c = 0; c < 256; c++) {
		char s[40];
		bool token = c > 32 && c < 127 && !strchr("\"(),/:;<=>?@[\\]{}", (int)c);

		memset(s, 'a', sizeof(s));
		/* In the vector part and behind it. */
		for (size_t at = 0; at < sizeof(s); at += 13) {
			s[at] = (char)c;
			ck_assert(field_name_ok(span_make(s, sizeof(s))) == token);
			ck_assert(field_value_ok(span_make(guarded(s, sizeof(s)), sizeof(s))) ==
				  (c == '\t' || (c >= 32 && c != 127)));
			s[at] = 'a';
		}
	}
	ck_assert(!field_name_ok(SPAN("")) && field_value_ok(SPAN("")));
}
END_TEST

START_TEST(switches)
{
	ck_assert(head_upgrade_matches(SPAN("websocket"), SPAN("WebSocket")));
	ck_assert(head_upgrade_matches(SPAN("a/1, b"), SPAN("b")));
	ck_assert(!head_upgrade_matches(SPAN("a/1, b"), SPAN("a")));
	ck_assert(!head_upgrade_matches(SPAN("a, b"), SPAN("a, b")));
	ck_assert(!head_upgrade_matches(SPAN("a"), SPAN("")));
	ck_assert(!head_upgrade_matches(SPAN(""), SPAN("a")));
	ck_assert(!head_upgrade_matches(SPAN(","), SPAN("")));
}
END_TEST

UNIT("head", every_name_is_found, knows_disguises, adds_and_finds, removes, sets, grows_and_says_when_full,
     finds_tokens, strips_hop_by_hop, methods, reasons_and_bytes, switches)
