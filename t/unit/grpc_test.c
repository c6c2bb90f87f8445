/*
 * grpc_test.c - calls of gRPC: which requests are some, their deadlines, and
 * the answers that weir makes for them.
 */
#include "t/unit/unit.h"

#include "common/obj.h"
#include "worker/exchange/grpc.h"

static struct arena arena;
static struct head head;

static void with(const char *name, const char *value)
{
	arena_fini(&arena);
	arena_init(&arena, NULL, 1 << 20);
	head_init(&head, &arena);
	if (name)
		ck_assert(head_add(&head, span_of(name), span_of(value)));
}

START_TEST(calls)
{
	static const char *const yes[] = { "application/grpc", "application/grpc+proto", "Application/GRPC;x=y",
					   "application/grpc-web+proto" };
	static const char *const no[] = { "application/grpcx", "application/json", "", "application/grp" };

	arena_init(&arena, NULL, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		with("content-type", yes[i]);
		ck_assert_msg(grpc_is(&head), "%s is a call", yes[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(no); i++) {
		with("content-type", no[i]);
		ck_assert_msg(!grpc_is(&head), "%s is none", no[i]);
	}
	with(NULL, NULL);
	ck_assert(!grpc_is(&head));
	arena_fini(&arena);
}
END_TEST

START_TEST(deadlines)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} rows[] = {
		{ "1S", 1000 }, { "250m", 250 }, { "2M", 120000 }, { "1H", 3600000 }, { "1500u", 2 }, { "1n", 1 }, { "0S", 1 },
		{ "1000000n", 1 }, { "1000001n", 2 }, { "99999999H", UINT64_MAX / 1000000 + 1 },
		{ "", 0 }, { "S", 0 }, { "1", 0 }, { "1s", 0 }, { "-1S", 0 }, { "1.5S", 0 }, { "100000000S", 0 }, { "1 S", 0 },
	};

	arena_init(&arena, NULL, 1 << 20);
	with(NULL, NULL);
	ck_assert_uint_eq(grpc_timeout(&head), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		with("grpc-timeout", rows[i].text);
		ck_assert_msg(grpc_timeout(&head) == rows[i].ms, "%s: %llu", rows[i].text,
			      (unsigned long long)grpc_timeout(&head));
	}
	arena_fini(&arena);
}
END_TEST

START_TEST(statuses)
{
	static const struct {
		enum reason why;
		unsigned status, want;
	} rows[] = {
		{ REASON_BAD_REQUEST, 400, 13 }, { REASON_NONE, 401, 16 }, { REASON_DENIED, 403, 7 },
		{ REASON_NO_ROUTE, 404, 12 },
		{ REASON_NONE, 429, 14 }, { REASON_SERVER_RESET, 502, 14 }, { REASON_NO_SERVER, 503, 14 },
		{ REASON_RESPONSE_TIMEOUT, 504, 14 }, { REASON_REQUEST_TIMEOUT, 504, 4 }, { REASON_BODY_TOO_LARGE, 413, 8 },
		{ REASON_INTERNAL, 500, 2 }, { REASON_NONE, 418, 2 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ck_assert_uint_eq(grpc_status(rows[i].why, rows[i].status), rows[i].want);
}
END_TEST

START_TEST(answers)
{
	struct head resp, *t;

	arena_init(&arena, NULL, 1 << 20);
	with("content-type", "application/grpc+proto");
	head_init(&resp, &arena);
	resp.status = 503;
	resp.body = BODY_LENGTH;
	resp.has_length = true;
	resp.length = 10;
	ck_assert(head_add_id(&resp, HDR_CONTENT_TYPE, SPAN("text/plain")));
	ck_assert(head_add_id(&resp, HDR_RETRY_AFTER, SPAN("5")));
	ck_assert(grpc_answer(&resp, &head, REASON_NO_SERVER));
	ck_assert_uint_eq(resp.status, 200);
	ck_assert_int_eq(resp.body, BODY_NONE);
	ck_assert(!resp.has_length);
	ck_assert(span_eq(head_get(&resp, HDR_CONTENT_TYPE), SPAN("application/grpc+proto")));
	ck_assert(span_eq(head_find(&resp, SPAN("grpc-status")), SPAN("14")));
	ck_assert(span_eq(head_find(&resp, SPAN("grpc-message")), SPAN("Service Unavailable")));
	ck_assert(span_eq(head_get(&resp, HDR_RETRY_AFTER), SPAN("5")));
	t = grpc_trailers(&arena, REASON_REQUEST_TIMEOUT);
	ck_assert(t != NULL && span_eq(head_find(t, SPAN("grpc-status")), SPAN("4")));
	arena_fini(&arena);
}
END_TEST

UNIT("grpc", calls, deadlines, statuses, answers)
