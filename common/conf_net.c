/*
 * conf_net.c - networks, hosts, paths, regexes, templates: words with a grammar of their own.
 *
 * Called by the section readers. What is wrong is said here; callers only need
 * to know that nothing came of it.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

#include "common/conf_parts.h"

#define REGEX_MATCH_LIMIT 100000	/* steps of one match: some milliseconds */
#define REGEX_DEPTH_LIMIT 10000
#define REGEX_HEAP_LIMIT 2048		/* KiB */

/* What `private` stands for. */
static const char *const private_nets[] = {
	"127.0.0.0/8", "169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1", "fe80::/10", "fc00::/7"
};

/* How many networks a word stands for; 0 and an error: it is none. out has room for CONF_NET_WORD. */
unsigned conf_net_word(struct load *ld, const struct entry *e, const struct word *w, struct span s, struct net *out)
{
	static const char *const words[] = { "private", "unix", "all" };
	char text[ADDR_TEXT];
	bool host_bits = false;

	_Static_assert(ARRAY_LEN(private_nets) <= CONF_NET_WORD, "room for private");
	if (span_eq(s, SPAN("private"))) {
		for (unsigned i = 0; i < ARRAY_LEN(private_nets); i++)
			must(net_parse(span_of(private_nets[i]), &out[i], &host_bits) && !host_bits);
		return ARRAY_LEN(private_nets);
	}
	if (!net_parse(s, out, &host_bits)) {
		conf_expected(ld, e, "a network such as 10.0.0.0/8 or ::1, or private, unix or all", w,
			      w->outside ? NULL : conf_nearest(s, words, ARRAY_LEN(words)));
		return 0;
	}
	if (host_bits) {
		addr_ip_text(&out->base, text, sizeof(text));
		conf_expected(ld, e, "a network without host bits", w,
			      w->outside ? NULL : arena_printf(ld->arena, "%s/%u", text, out->bits));
		return 0;
	}
	return 1;
}

struct net *conf_nets(const struct scope *sc, enum opt_id id, unsigned *n)
{
	const struct word *w;
	struct cursor c = { 0 };
	unsigned room = 0;

	while ((w = conf_next_word(sc, id, &c)) != NULL)
		room += span_eq(w->s, SPAN("private")) ? CONF_NET_WORD : 1;
	struct net *v = CONF_NEW(sc->ld, struct net, room);
	c = (struct cursor){ 0 };
	*n = 0;
	while ((w = conf_next_word(sc, id, &c)) != NULL)
		*n += conf_net_word(sc->ld, c.v->e, w, w->s, v + *n);
	return v;
}

bool conf_is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = ascii_lower((unsigned char)s.p[i]);

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && (c == 0 || strchr("!#$%&'*+-.^_`|~", c) == NULL))
			return false;
	}
	return s.n > 0;
}

/* Labels of letters, digits, - and _; the last one is not a number, so that a mistyped address is no host name. */
bool conf_host_ok(struct span s)
{
	bool number = true;
	size_t label = 0;

	if (s.n == 0 || s.n > 253)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = ascii_lower((unsigned char)s.p[i]);

		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
			number = true;
			continue;
		}
		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && (c != '-' || label == 0))
			return false;
		number = number && c >= '0' && c <= '9';
		if (++label > 63)
			return false;
	}
	return label > 0 && !number;
}

/* ---- paths ---- */
static int hex(char c)
{
	c = (char)ascii_lower((unsigned char)c);
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool unreserved(unsigned char c)
{
	unsigned char l = ascii_lower(c);

	return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || (c != 0 && strchr("-._~", c) != NULL);
}

/* Escapes as a request's path has them when it is matched: needless ones undone, others with upper-case digits, and every
 * byte escaped that cannot stand in a path. False: a bad escape. */
static bool normal_escapes(struct span s, char *out, size_t *n)
{
	static const char digits[] = "0123456789ABCDEF";

	*n = 0;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool escaped = c == '%';

		if (escaped) {
			if (i + 2 >= s.n || hex(s.p[i + 1]) < 0 || hex(s.p[i + 2]) < 0)
				return false;
			c = (unsigned char)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2]));
			i += 2;
			escaped = !unreserved(c);
			if (c == 0)
				return false;
		}
		if (escaped || c <= ' ' || c > 126 || c == '\\') {
			out[(*n)++] = '%';
			out[(*n)++] = digits[c >> 4];
			out[(*n)++] = digits[c & 15];
		} else {
			out[(*n)++] = (char)c;
		}
	}
	return true;
}

static bool has_dots(struct span path)
{
	while (path.n > 0) {
		struct span part = span_cut(&path, '/');

		if (span_eq(part, SPAN(".")) || span_eq(part, SPAN("..")))
			return true;
	}
	return false;
}

bool conf_path(struct load *ld, const struct entry *e, const struct word *w, bool prefix, struct span *out)
{
	struct span s = w->s;
	char *p = arena_bytes(ld->arena, s.n * 3 + 1);
	size_t n = 0;

	*out = span_make("", 0);
	if (s.n == 0 || s.p[0] != '/')
		return conf_expected(ld, e, "a path that begins with /", w,
				     w->outside || s.n == 0 ? NULL : arena_printf(ld->arena, "/%.*s", SPAN_FMT(s)));
	if (memchr(s.p, '?', s.n) != NULL || memchr(s.p, '#', s.n) != NULL)
		return conf_expected(ld, e, "a path without ? and #; the query has a key of its own", w, NULL);
	if (!normal_escapes(s, p, &n))
		return conf_expected(ld, e, "a path in which % begins an escape such as %20", w, NULL);
	if (has_dots(span_make(p, n)))
		return conf_expected(ld, e, "a path without the segments . and ..", w, NULL);
	if (prefix && p[n - 1] == '/')
		n--;
	*out = span_make(p, n);
	return true;
}

/* ---- regexes ---- */
struct conf_regex *conf_regex(struct load *ld, const struct entry *e, struct span source)
{
	PCRE2_UCHAR text[120];
	PCRE2_SIZE at;
	size_t size = 0;
	int err;

	if (source.n > CONF_LINE_MAX) {
		conf_error(ld, e, "expected a regex of up to %d bytes, got one of %zu", CONF_LINE_MAX, source.n);
		return NULL;
	}
	pcre2_code *code = pcre2_compile((PCRE2_SPTR)source.p, source.n, PCRE2_NEVER_BACKSLASH_C, &err, &at, NULL);

	if (code == NULL) {
		pcre2_get_error_message(err, text, sizeof(text));
		conf_error(ld, e, "not a regex: %s, at character %zu", (const char *)text, at + 1);
		return NULL;
	}
	pcre2_match_context *limits = pcre2_match_context_create(NULL);
	struct conf_regex *r = CONF_NEW(ld, struct conf_regex, 1);
	if (limits == NULL)
		log_no_memory(sizeof(*r));
	(void)pcre2_pattern_info(code, PCRE2_INFO_SIZE, &size);
	ld->regexes += size + 1024;
	pcre2_set_match_limit(limits, REGEX_MATCH_LIMIT);
	pcre2_set_depth_limit(limits, REGEX_DEPTH_LIMIT);
	pcre2_set_heap_limit(limits, REGEX_HEAP_LIMIT);
	r->source = arena_span(ld->arena, source);
	r->code = code;
	r->limits = limits;
	r->match = pcre2_match_data_create(10, NULL);
	if (r->match == NULL)
		log_no_memory(sizeof(*r));
	r->next = ld->conf->regexes;
	ld->conf->regexes = r;
	return r;
}

bool conf_regex_match(const struct conf_regex *r, struct span s, int groups[20])
{
	pcre2_match_data *match = r->match != NULL ? r->match : pcre2_match_data_create(10, NULL);
	const char *p = s.n > 0 ? s.p : "";
	int rc = match != NULL ? pcre2_match(r->code, (PCRE2_SPTR)p, s.n, 0, 0, match, r->limits) : -1;
	const PCRE2_SIZE *found = match != NULL ? pcre2_get_ovector_pointer(match) : NULL;

	/* rc 0: more groups than there is room for; the first ten are filled. */
	for (int i = 0; rc >= 0 && groups != NULL && i < 10; i++) {
		bool set = (rc == 0 || i < rc) && found[2 * i] != PCRE2_UNSET;

		groups[2 * i] = set ? (int)found[2 * i] : -1;
		groups[2 * i + 1] = set ? (int)found[2 * i + 1] : -1;
	}
	/* One that no configuration holds brings no room for a match of its own. */
	if (r->match == NULL)
		pcre2_match_data_free(match);
	return rc >= 0;
}

void conf_free(struct conf *c)
{
	OBJ_CHECK(c, CONF_MAGIC);
	for (struct conf_regex *r = c->regexes; r != NULL; r = r->next) {
		pcre2_code_free(r->code);
		pcre2_match_data_free(r->match);
		pcre2_match_context_free(r->limits);
	}
	c->magic = 0;
}

/* ---- templates ---- */
struct tmpl *conf_tmpl(struct load *ld, const struct entry *e, const struct word *w, bool groups)
{
	const char *err;
	struct tmpl *t = tmpl_compile(ld->arena, w->t, groups, &err);

	if (t == NULL) {
		conf_error(ld, e, "%s", err);
		return NULL;
	}
	/* Without what came from outside, which may be a secret. */
	t->source = w->shown;
	return t;
}

const char *conf_file_word(struct load *ld, const struct entry *e, const struct word *w)
{
	if (w->s.n == 0 || memchr(w->s.p, '\0', w->s.n) != NULL || memchr(w->s.p, '\n', w->s.n) != NULL) {
		conf_expected(ld, e, "a file name", w, NULL);
		return NULL;
	}
	return conf_abs_path(ld->arena, e->file->dir, w->s);
}
