/*
 * conf_reach_test.c - warnings: routes that no request can reach, routes that lose
 * on the listener they name, and what was written without effect. Just as
 * much: that good configurations get none.
 */
#include "t/unit/confbed.h"

static struct bed bed;

/* Routes as "conditions|conditions|...", each responding; the warnings about them. */
static unsigned warnings(const char *head, const char *routes)
{
	char text[4000];
	int n = snprintf(text, sizeof(text), "%s", head);
	unsigned id = 0;
	struct span rest = span_of(routes);

	while (rest.n > 0) {
		struct span one = span_cut(&rest, '|');

		n += snprintf(text + n, sizeof(text) - (size_t)n, "[route r%u]\nrespond = 200\n", id++);
		while (one.n > 0) {
			struct span line = span_trim(span_cut(&one, ';'));

			n += snprintf(text + n, sizeof(text) - (size_t)n, "%.*s\n", SPAN_FMT(line));
		}
	}
	bed_good(&bed, text);
	return bed.msgs.n;
}

static bool about(const char *route, const char *part)
{
	char label[80];

	snprintf(label, sizeof(label), "[route %s]", route);
	for (unsigned i = 0; i < bed.msgs.n; i++) {
		if (strcmp(bed.msgs.v[i].section, label) == 0 && strstr(bed.msgs.v[i].text, part) != NULL)
			return true;
	}
	return false;
}

#define ck_fine(routes) ck_assert_msg(warnings(LISTEN, routes) == 0, "%s: %s", routes, bed.msgs.v[0].text)
#define ck_hidden(routes, who, why)							\
	do {										\
		ck_assert_msg(warnings(LISTEN, routes) == 1, "%s: %u warnings", routes, bed.msgs.n);	\
		ck_assert_msg(about(who, "no request can reach") && about(who, why), "%s: %s", routes, bed.msgs.v[0].text);	\
	} while (0)

START_TEST(out_of_reach)
{
	bed_init(&bed);
	ck_hidden("path = /a|path = /a", "r1", "stands first");
	ck_hidden("path = /a|path = /a/", "r1", "stands first");
	ck_hidden("path = / |host = a; priority = -1", "r1", "priority is higher");
	ck_hidden("priority = 1|path = /a", "r1", "priority is higher");
	ck_hidden("path_exact = /a/b;method = POST|path = /a;priority = 5", "r0", "priority is higher");
	ck_hidden("host = *.b; path = /x|host = a.b; path = /x|host = *.a.b a.b; path = /x; priority = -3", "r2",
		  "priority");
	ck_hidden("host = a b; path = /|host = b;path=/", "r1", "stands first");
	ck_hidden("host = b;path=/x|host = a;path=/x|host = a b; path = /x", "r2", "stands first");
	ck_hidden("path_regex = ^/(a)|path_regex = ^/(a)", "r1", "stands first");
	ck_hidden("path_regex = ^/a;priority=1|path_exact = /abc", "r1", "priority is higher");
	ck_hidden("method = GET|method = GET; priority = -1; header = X: 1", "r1", "priority is higher");
	ck_hidden("method = GET; priority = 1|method = HEAD", "r1", "priority is higher");
	ck_hidden("method = !POST; priority = 1|method = GET PUT", "r1", "priority is higher");
	ck_hidden("client = 10.0.0.0/8; priority = 1|client = 10.1.0.0/16", "r1", "priority is higher");
	ck_hidden("client = !unix; priority = 1|client = !unix !private", "r1", "priority is higher");
	ck_hidden("header = X; priority = 1|header = x: 1", "r1", "priority is higher");
	ck_hidden("query = a=1; priority = 1|query = a=1; cookie = c", "r1", "priority is higher");
	ck_hidden("header = X; header = !x", "r0", "exclude each other");
	bed_fini(&bed);
}
END_TEST

START_TEST(within_reach)
{
	bed_init(&bed);
	ck_fine("path = /|path = /a|path = /a/b|path_exact = /a|path_regex = ^/a|host = a|host = *.a|host = b.a");
	ck_fine("path = /a|path = /ab");
	ck_fine("path_exact = /a|path = /a");
	ck_fine("host = a; path = /x|path = /x");
	ck_fine("host = *.b|host = *.a.b|host = x.a.b");
	ck_fine("path = /a; method = GET|path = /a; method = POST");
	ck_fine("method = GET; priority = 1|method = GET POST");
	ck_fine("method = GET; priority = 1|method = !POST");
	ck_fine("method = HEAD; priority = 1|method = GET");
	ck_fine("client = 10.0.0.0/16; priority = 1|client = 10.0.0.0/8");
	ck_fine("client = !10.0.0.0/8; priority = 1|client = 10.0.0.0/16");
	ck_fine("header = X: 1; priority = 1|header = X");
	ck_fine("header = X: ~a; priority = 1|header = X: a");
	ck_fine("path_regex = ^/a$; priority = 1|path = /a");
	ck_fine("priority = 9; enabled = no|path = /a|enabled = no; path = /a");
	ck_fine("host = a; path = /x /y; priority = 1|host = a b; path = /x");
	ck_fine("host = a; path = /x; priority = 1|host = a; path = /x /y");
	bed_fini(&bed);
}
END_TEST

#define TWO LISTEN "[listen m]\nbind = 127.0.0.1:2\n"

START_TEST(listeners)
{
	bed_init(&bed);
	ck_assert_uint_eq(warnings("[listen m]\nbind = 127.0.0.1:2\nexclusive = yes\n", "path = /"), 1);
	ck_assert(about("r0", "every listener is exclusive"));
	ck_assert_uint_eq(warnings("[listen m]\nbind = 127.0.0.1:2\nredirect_https = yes\n",
				   "path = /|listen = m; path = /x"), 1);
	/* The second one is still there for the other listener. */
	ck_assert_uint_eq(warnings(TWO, "listen = l|path_exact = /a; priority = -1"), 0);
	ck_assert_uint_eq(warnings(TWO, "listen = l; priority = 1|listen = m; priority = 1|path = /a"), 1);
	ck_assert(about("r2", "no request can reach"));
	/* Named, and yet beaten there. */
	ck_assert_uint_eq(warnings(TWO, "listen = m|host = a.example"), 1);
	ck_assert(about("r0", "names [listen m], yet loses there to [route r1]"));
	ck_assert(about("r0", "its host is more exact"));
	ck_assert_uint_eq(warnings(TWO, "listen = m; path = /x|path = /x/y"), 1);
	ck_assert(about("r0", "its path is more exact"));
	ck_assert_uint_eq(warnings(TWO, "listen = m; path = /x|path = /x; method = GET; header = X"), 1);
	ck_assert(about("r0", "more conditions"));
	ck_assert_uint_eq(warnings(TWO, "listen = m; path = /x|path = /x; method = GET; enabled = no; header = Y"), 0);
	ck_assert_uint_eq(warnings(TWO, "listen = m; path = /x; priority = 1|host = a"), 0);
	ck_assert_uint_eq(warnings(TWO, "listen = m; path = /x|path = /y|path = /"), 0);
	ck_assert_uint_eq(warnings(TWO, "listen = m; host = b|host = a"), 0);
	ck_assert_uint_eq(warnings(TWO, "listen = m; method = GET|host = a; method = POST"), 0);
	ck_assert_uint_eq(warnings(TWO, "listen = m; header = !X|host = a; header = X"), 0);
	ck_assert_uint_eq(warnings(TWO, "listen = m; client = 10.0.0.0/8|host = a; client = 11.0.0.0/8"), 0);
	ck_assert_uint_eq(warnings(LISTEN "[listen m]\nbind = 127.0.0.1:2\nexclusive = yes\n", "listen = m|host = a"), 0);
	bed_fini(&bed);
}
END_TEST

START_TEST(without_effect)
{
	bed_init(&bed);
	bed_good(&bed, LISTEN "[route r]\nrespond = 200\nhost_header = upstream\nretries = 1\nstrip_prefix = /x\n"
		 "read_timeout = 1s\n");
	ck_assert_uint_eq(bed.msgs.n, 4);
	ck_said(&bed, true, 5, "host_header", "has no effect: the action of this route is not upstream");
	bed_good(&bed, LISTEN "[route r]\nupstream = u\nsplit_by = $host\n[upstream u]\nserver = a\ncheck = tcp\n"
		 "check_path = /x\n"
		 "check_rise = 9\n[upstream v]\nserver = b weight=0\nserver = c disabled\ncheck_rise = 9\nmax_fails = 0\n"
		 "fail_timeout = 1s\n");
	ck_said(&bed, true, 5, "split_by", "only one upstream");
	ck_said(&bed, true, 9, "check_path", "check = http");
	ck_said(&bed, true, 14, "check_rise", "check is off");
	ck_said(&bed, true, 16, "fail_timeout", "max_fails is 0");
	ck_said(&bed, true, 11, NULL, "no route uses this upstream");
	ck_said(&bed, true, 11, NULL, "disabled or has weight 0");
	ck_assert_uint_eq(bed.msgs.n, 6);
	/* Shared keys are for those that can use them, and a default that is written out promises nothing. */
	bed_good(&bed, LISTEN "[defaults route]\nretries = 1\n[defaults upstream]\ncheck_path = /x\n[route r]\n"
		 "respond = 200\ntimeout = 0\n"
		 "[route s]\npath = /s\nupstream = u\n[upstream u]\nserver = a\ncheck_rise = 2\n");
	ck_assert_uint_eq(bed.msgs.n, 0);
	bed_fini(&bed);
}
END_TEST

UNIT("conf_reach", out_of_reach, within_reach, listeners, without_effect)
