/*
 * conf_lex_test.c - how a file is read: lines, words, text, quotes, comments,
 * attributes, outside values. Values are seen through the configuration they make.
 */
#include "t/unit/confbed.h"

static struct bed bed;

/* The text that a respond of this line has; NULL: refused. */
static const char *respond(const char *line)
{
	char text[40000];

	snprintf(text, sizeof(text), LISTEN "[route r]\n%s\n", line);
	bed_load(&bed, text);
	if (bed.conf == NULL)
		return NULL;
	const struct tmpl *t = bed.conf->routes[0]->text;
	return t == NULL || t->nparts == 0 ? "" : arena_str(&bed.arena, t->parts[0].text);
}

#define ck_respond(line, want)								\
	do {										\
		const char *ck_got_ = respond(line);					\
		if (ck_got_ == NULL)							\
			conf_print_msgs(stderr, &bed.msgs);				\
		ck_assert_msg(ck_got_ != NULL, "refused: %s", line);			\
		ck_assert_str_eq(ck_got_, want);					\
	} while (0)

#define ck_refused(line, part)								\
	do {										\
		ck_assert_msg(respond(line) == NULL, "taken: %s", line);		\
		ck_said(&bed, false, 4, NULL, part);					\
	} while (0)

START_TEST(text_to_the_end_of_the_line)
{
	bed_init(&bed);
	ck_respond("respond = 200 Hello, world", "Hello, world");
	ck_respond("\t  respond\t=\t200 \t Hello \t ", "Hello");
	ck_respond("respond=200 a=b", "a=b");
	ck_respond("respond = 200", "");
	ck_respond("respond = 200 ; a comment", "");
	ck_respond("respond = 200 # a comment", "");
	ck_respond("respond = 200 {\"ok\":true}", "{\"ok\":true}");
	ck_respond("respond = 200 a;b#c", "a;b#c");
	ck_respond("respond = 200 a\\nb", "a\\nb");
	ck_respond("respond = 200 say \"x\" twice", "say \"x\" twice");
	ck_respond("respond = 200 caf\xc3\xa9", "caf\xc3\xa9");
	ck_refused("respond = 200 a ;b", "\" ;\" in text");
	ck_refused("respond = 200 a #b", "\" #\" in text");
	ck_refused("respond = 200 a\t;", "\" ;\" in text");
	bed_fini(&bed);
}
END_TEST

START_TEST(quotes)
{
	bed_init(&bed);
	ck_respond("respond = 200 \"a ; b # c\"", "a ; b # c");
	ck_respond("respond = 200 \" a \"", " a ");
	ck_respond("respond = 200 \"a\" ; comment", "a");
	ck_respond("respond = 200 \"a\\\"b\\\\c\\nd\\te\"", "a\"b\\c\nd\te");
	ck_respond("respond = 200 \"\\d\\.\\\\.\"", "\\d\\.\\.");
	ck_respond("respond = 200 \"\"", "");
	ck_respond("respond = \"200\" x", "x");
	ck_refused("respond = 200 \"a", "closing quote");
	ck_refused("respond = 200 \"a\\\"", "closing quote");
	ck_refused("respond = 200 \"a\"b", "after the closing quote");
	ck_refused("respond = 200 \"a\";b", "after the closing quote");
	ck_refused("respond = 200 \"a\" b", "nothing but a comment");
	bed_fini(&bed);
}
END_TEST

START_TEST(words_and_lists)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed, LISTEN "[route r]\nrespond = 200\n"
		"host = a.example,b.example , c.example\td.example ; comment\n"
		"host = \"e.example\",f.example # comment\n"
		"path_regex = ^/a,b{1,2}\\.c$\n"
		"path_regex = \"^/x \\\"y\\\"\"   ;comment\n");
	ck_assert_uint_eq(c->routes[0]->nhosts, 6);
	ck_span_eq(c->routes[0]->hosts[4].name, "e.example");
	ck_span_eq(c->routes[0]->path_regexes[0]->source, "^/a,b{1,2}\\.c$");
	ck_span_eq(c->routes[0]->path_regexes[1]->source, "^/x \"y\"");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nhost = a,,b\n", 5, "before the comma");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nhost = ,a\n", 5, "before the comma");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nhost = a,\n", 5, "after the last comma");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nhost = a, ; b\n", 5, "after the last comma");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nhost =\n", 5, "got nothing");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nhost = ; a\n", 5, "got nothing");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\npriority = 1 2\n", 5, "expected N, got \"1 2\"");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\npath = \"/a\"/b\n", 5, "after the closing quote");
	/* A ; right behind a word or the = begins no comment. */
	c = bed_good(&bed, LISTEN "[route r]\nrespond = 200\npath_regex =;x\npath_regex = x;y#\n");
	ck_span_eq(c->routes[0]->path_regexes[0]->source, ";x");
	ck_span_eq(c->routes[0]->path_regexes[1]->source, "x;y#");
	bed_fini(&bed);
}
END_TEST

START_TEST(attributes)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed, LISTEN "[route r]\nupstream = u weight=3\n[upstream u]\n"
		"server = a:80 name=\"one\" weight=2 max_conns=\"10\" backup disabled ; comment\nserver = \"b\"\n");
	const struct conf_server *s = c->upstreams[0]->servers;
	ck_span_eq(s[0].name, "one");
	ck_span_eq(s[0].text, "a:80");
	ck_assert_uint_eq(s[0].weight, 2);
	ck_assert_uint_eq(s[0].max_conns, 10);
	ck_assert(s[0].backup && s[0].disabled);
	ck_span_eq(s[1].name, "b");
	ck_assert_uint_eq(c->routes[0]->split[0].weight, 3);
	bed_bad(&bed, LISTEN "[route r]\nupstream = u wieght=3\n[upstream u]\nserver = a\n", 4, "did you mean weight=N");
	bed_bad(&bed, LISTEN "[route r]\nupstream = u\n[upstream u]\nserver = a wait=1\n", 6, "unknown attribute \"wait\"");
	bed_bad(&bed, LISTEN "[route r]\nupstream = u\n[upstream u]\nserver = a weight=1 weight=2\n", 6,
		"weight stands twice");
	bed_bad(&bed, LISTEN "[route r]\nupstream = u\n[upstream u]\nserver = a weight\n", 6, "got no value");
	bed_bad(&bed, LISTEN "[route r]\nupstream = u\n[upstream u]\nserver = a backup=1\n", 6, "backup takes no value");
	bed_bad(&bed, LISTEN "[route r]\nupstream = u\n[upstream u]\nserver = a name=\"a b\"\n", 6, "name=NAME");
	bed_fini(&bed);
}
END_TEST

START_TEST(lines)
{
	char text[40000], long_text[16400];

	bed_init(&bed);
	/* Indents join nothing, empty sections count, CR LF is a line end, a BOM is none of the text. */
	const struct conf *c = bed_good(&bed, "\xef\xbb\xbf; first\r\n  [listen l] ; comment\r\n"
					"\tbind = 127.0.0.1:1\r\n\r\n"
		"[defaults route]# comment\r\n[route r]\n    respond = 200 a\n        \n   # x = y\n  ; z\n"
		"  path = /a:b\n\n\n[upstream u]\n server = a\n[policy empty]\n[route r2]\nuse = empty\nrespond = 201");
	ck_assert_uint_eq(c->nroutes, 2);
	ck_span_eq(c->routes[0]->paths[0], "/a:b");
	ck_assert_uint_eq(c->routes[0]->at.line, 6);
	ck_assert_uint_eq(c->routes[1]->at.line, 17);

	/* 16 KiB and not a byte more. */
	memset(long_text, 'x', sizeof(long_text));
	snprintf(text, sizeof(text), LISTEN "[route r]\nrespond = 200 %.*s\n", 16384 - 14, long_text);
	c = bed_good(&bed, text);
	ck_assert_uint_eq(c->routes[0]->text->parts[0].text.n, 16384 - 14);
	snprintf(text, sizeof(text), LISTEN "[route r]\nrespond = 200 %.*s\nrespond = 200\n", 16385 - 14, long_text);
	bed_bad(&bed, text, 4, "up to 16384 bytes, got one of 16385");

	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nfoo\n", 5, "expected [kind NAME] or key = value, got \"foo\"");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\npath: /x\n", 5, "did you mean \"path = /x\"?");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\n= x\n", 5, "key = value");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\na b = x\n", 5, "key = value");
	bed_bad(&bed, "a = b\nc = d\n" LISTEN, 1, "before the first [section]");
	/* A bad line ends nothing: what comes after it is still looked at. */
	bed_load(&bed, LISTEN "[route r]\nrespond = 200 a\x01\n[route s]\nrespond = 200\n[route t]\n");
	ck_assert_uint_eq(bed.msgs.nerrors, 3);
	ck_said(&bed, false, 4, NULL, "control byte 0x01 in column 16");
	ck_said(&bed, false, 7, NULL, "expected an action");
	bed_fini(&bed);
}
END_TEST

START_TEST(bytes)
{
	static const struct { const char *bytes; size_t n; const char *part; } bad[] = {
		{ "\x01", 1, "control byte 0x01" }, { "\0", 1, "control byte 0x00" }, { "\x7f", 1, "control byte 0x7f" },
		{ "\x1b[0m", 4, "control byte 0x1b" }, { "a\rb", 3, "LF or CR LF" }, { "\xff", 1, "byte 0xff" },
		{ "\xc0\x80", 2, "byte 0xc0" }, { "\xed\xa0\x80", 3, "byte 0xed" }, { "\xe2\x82", 2, "byte 0xe2" },
		{ "\xf4\x90\x80\x80", 4, "byte 0xf4" }, { "\x80", 1, "byte 0x80" }, { "\xf0\x80\x80\x80", 4, "byte 0xf0" },
	};
	static const char *const good[] = { "\xc2\x80", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf",
					   "\xed\x9f\xbf" };
	char text[200];

	bed_init(&bed);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int n = snprintf(text, sizeof(text), LISTEN "[route r]\nrespond = 200\n; ");

		memcpy(text + n, bad[i].bytes, bad[i].n);
		text[n + (int)bad[i].n] = '\n';
		bed_load_span(&bed, span_make(text, (size_t)n + bad[i].n + 1));
		ck_assert_uint_eq(bed.msgs.nerrors, 1);
		ck_said(&bed, false, 5, NULL, bad[i].part);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(text, sizeof(text), "respond = 200 %s", good[i]);
		ck_respond(text, good[i]);
	}
	bed_fini(&bed);
}
END_TEST

START_TEST(headings)
{
	static const struct { const char *line, *part; } bad[] = {
		{ "[route", "no ]" }, { "[route x] y", "nothing but a comment" }, { "[route]", "expected [route NAME]" },
		{ "[rote x]", "did you mean [route]?" }, { "[Route x]", "did you mean [route]?" }, { "[]", "unknown section" },
		{ "[weir x]", "takes no name" }, { "[route off]", "off is not a name" }, { "[route a b]", "letters, digits" },
		{ "[route a/b]", "letters, digits" }, { "[route \xc3\xa9]", "letters, digits" },
		{ "[route 12345678901234567890123456789012345678901]", "1 to 40" }, { "[acme a]", "not built yet" },
		{ "[overload]", "not built yet" },
		{ "[defaults rote]", "did you mean route?" }, { "[policy]", "[policy NAME]" },
		{ "[route l]\nrespond = 200\n[route l]\nrespond = 200", "stands twice; the first is at" },
	};
	char text[400];

	bed_init(&bed);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), LISTEN "%s\n", bad[i].line);
		bed_bad(&bed, text, 0, bad[i].part);
	}
	const struct conf *c = bed_good(&bed, LISTEN " [ route   Az-09_. ];x\nrespond = 200\n"
		"[route 1234567890123456789012345678901234567890]\nrespond = 200\n[upstream l]\nserver = a\n");
	ck_span_eq(c->routes[0]->name, "Az-09_.");
	bed_fini(&bed);
}
END_TEST

START_TEST(outside_values)
{
	bed_init(&bed);
	setenv("CONF_TEST", "v 1, \"x\" ; # $host\n", 1);
	setenv("CONF_EMPTY", "", 1);
	unsetenv("CONF_NONE");
	bed_put(&bed, "body.txt", SPAN("line 1\nline 2\n"));
	ck_respond("respond = 200 [${env:CONF_TEST}]", "[v 1, \"x\" ; # $host]");
	ck_respond("respond = 200 \"[${env:CONF_TEST}]\"", "[v 1, \"x\" ; # $host]");
	ck_respond("respond = 200 ${env:CONF_NONE:-a ; b}", "a ; b");
	ck_respond("respond = 200 ${env:CONF_EMPTY:-x}", "x");
	ck_respond("respond = 200 [${env:CONF_EMPTY}]", "[]");
	ck_respond("respond = 200 ${file:body.txt}", "line 1\nline 2");
	ck_respond("respond = 200 $${env:CONF_NONE}", "${env:CONF_NONE}");
	ck_refused("respond = 200 ${env:CONF_NONE}", "CONF_NONE is not set");
	ck_refused("respond = 200 ${env:1X}", "expected ${env:NAME}");
	ck_refused("respond = 200 ${env:CONF_TEST", "expected a }");
	ck_refused("respond = 200 ${file:none.txt}", "No such file");
	ck_refused("respond = 200 ${file:.}", "not a regular file");
	ck_refused("respond = 200 ${file:/dev/zero}", "not a regular file");
	ck_refused("respond = 200 ${file:}", "got no path");
	/* The source of a template, which may be printed, does not tell what came in. */
	ck_respond("respond = 200 ${env:CONF_TEST}", "v 1, \"x\" ; # $host");
	ck_span_eq(bed.conf->routes[0]->text->source, "${env:CONF_TEST}");
	bed_fini(&bed);
}
END_TEST

START_TEST(outside_values_in_lists)
{
	bed_init(&bed);
	setenv("CONF_NETS", "10.0.0.0/8,192.168.0.0/16\n\n # none\n#::2\n::1\t1.2.3.4", 1);
	setenv("CONF_HOSTS", "a.example b.example", 1);
	bed_put(&bed, "none.txt", SPAN("# nobody\n"));
	const struct conf *c = bed_good(&bed, LISTEN "[route r]\nrespond = 200\nallow = ${env:CONF_NETS}, unix\n"
		"host = x.${env:CONF_NETX:-example}, ${env:CONF_HOSTS}\ndeny = ${file:none.txt}\n");
	ck_assert_uint_eq(c->routes[0]->nallow, 5);
	ck_assert_uint_eq(c->routes[0]->nhosts, 3);
	ck_assert_uint_eq(c->routes[0]->ndeny, 0);
	/* An empty list is a list: it lets nobody in, and that is worth a warning. */
	c = bed_good(&bed, LISTEN "[route r]\nrespond = 200\nallow = ${file:none.txt}\n");
	ck_assert(c->routes[0]->has_allow && c->routes[0]->nallow == 0);
	ck_said(&bed, true, 3, NULL, "allow is empty");
	/* Quoted, or a part of a word, or where one word is due, it stays one. */
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nhost = \"${env:CONF_HOSTS}\"\n", 5, "got \"${env:CONF_HOSTS}\"");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nhost = x.${env:CONF_HOSTS}\n", 5, "got \"x.${env:CONF_HOSTS}\"");
	setenv("CONF_SERVER", "a:80 weight=2", 1);
	bed_bad(&bed, LISTEN "[route r]\nupstream = u\n[upstream u]\nserver = ${env:CONF_SERVER}\n", 6,
		"got \"${env:CONF_SERVER}\"");
	setenv("CONF_SERVER", "a:80", 1);
	c = bed_good(&bed, LISTEN "[route r]\nupstream = u\n[upstream u]\n"
		     "server = ${env:CONF_SERVER} weight=${env:CONF_W:-3}\n");
	ck_span_eq(c->upstreams[0]->servers[0].text, "a:80");
	ck_assert_uint_eq(c->upstreams[0]->servers[0].weight, 3);
	bed_fini(&bed);
}
END_TEST

START_TEST(header_values_from_outside)
{
	bed_init(&bed);
	setenv("CONF_TOKEN", "a$host", 1);
	const struct conf *c = bed_good(&bed, LISTEN "[route r]\nupstream = u\n"
					"request_header = X-Token: ${env:CONF_TOKEN} $host\n"
		"[upstream u]\nserver = a\n");
	const struct conf_edit *e = &c->routes[0]->request_edits[0];
	ck_span_eq(e->value->parts[0].text, "a$host ");
	ck_assert_int_eq(e->value->parts[1].var, VAR_HOST);
	setenv("CONF_TOKEN", "a\r\nX-Evil: 1", 1);
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nresponse_header = X: ${env:CONF_TOKEN}\n", 5, "line break");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nresponse_header = \"X: a\\nb\"\n", 5, "line break");
	bed_put(&bed, "nul", span_make("a\0b", 3));
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nresponse_header = X: ${file:nul}\n", 5, "control byte");
	bed_fini(&bed);
}
END_TEST

UNIT("conf_lex", text_to_the_end_of_the_line, quotes, words_and_lists, attributes, lines, bytes, headings,
     outside_values,
     outside_values_in_lists, header_values_from_outside)
