/*
 * conf_read.c - the lines of a configuration: bytes in, sections and entries out.
 *
 * Called by conf.c. The INI grammar is inih's: what is a comment, a heading, a
 * key with its value. This reader stands before it and sees every line first:
 * it checks the bytes, takes headings and values out and hands over a short
 * line with the line's number in their place. So inih's own ideas of long or
 * indented lines, colons, inline comments and empty sections never meet a file.
 */
#include <ini.h>
#include <stdio.h>

#include "common/conf_parts.h"

#define KEY_MAX 100			/* fits inih's line of 200 bytes with room to spare */

struct reader {
	struct load *ld;
	const struct conf_file *file;
	const char *at, *end;
	unsigned line;
	struct span value;		/* of the line handed over */
	struct sect *sect;
	bool orphans;			/* keys before the first section were complained about */
};

/* ---- bytes ---- */

/* Bytes of the UTF-8 character at p; 0: none (overlong, surrogates and what is beyond U+10FFFF are not UTF-8). */
static unsigned utf8_len(const unsigned char *p, size_t left)
{
	unsigned n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 :
		     p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;

	if (n == 0 || n > left)
		return 0;
	for (unsigned i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return n;
}

static bool check_bytes(struct reader *r, struct span s)
{
	if (s.n > CONF_LINE_MAX) {
		conf_line_error(r->ld, r->file, r->line, "expected a line of up to %d bytes, got one of %zu", CONF_LINE_MAX,
				s.n);
		return false;
	}
	for (size_t i = 0; i < s.n;) {
		const unsigned char *p = (const unsigned char *)s.p + i;
		unsigned n = utf8_len(p, s.n - i);

		if (n == 0) {
			conf_line_error(r->ld, r->file, r->line, "expected UTF-8, got byte 0x%02x in column %zu", p[0], i + 1);
			return false;
		}
		if ((p[0] < 32 && p[0] != '\t') || p[0] == 127) {
			conf_line_error(r->ld, r->file, r->line, "expected text, got the control byte 0x%02x in column %zu%s", p[0],
					i + 1, p[0] == '\r' ? " (a line ends in LF or CR LF)" : "");
			return false;
		}
		i += n;
	}
	return true;
}

/* ---- headings ---- */
bool conf_name_ok(struct span s, const char **why)
{
	*why = NULL;
	if (s.n == 0 || s.n > CONF_NAME_MAX)
		*why = "a name has 1 to 40 characters";
	for (size_t i = 0; i < s.n && *why == NULL; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (!(ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') && !(c >= '0' && c <= '9') && strchr("_-.", c) == NULL)
			*why = "a name is made of letters, digits, _, - and .";
	}
	if (*why == NULL && span_eq(s, SPAN("off")))
		*why = "off is not a name";
	return *why == NULL;
}

static void bad_heading(struct reader *r, struct sect *s, const char *what)
{
	s->bad = true;
	conf_line_error(r->ld, r->file, r->line, "%s", what);
}

/* What stands between the brackets. */
static void read_heading(struct reader *r, struct sect *s, struct span inside)
{
	struct arena *a = r->ld->arena;
	struct span rest = span_trim(inside);
	size_t n = 0;

	while (n < rest.n && rest.p[n] != ' ' && rest.p[n] != '\t')
		n++;
	struct span word = span_make(rest.p, n);
	s->name = span_trim(span_make(rest.p + n, rest.n - n));
	if (!sect_find(word, &s->kind)) {
		const char *near = sect_nearest(word);

		bad_heading(r, s, arena_printf(a, "unknown section [%s]%s%s%s", conf_show(a, rest),
					       near ? "; did you mean [" : "", near ? near : "", near ? "]?" : ""));
		return;
	}
	const struct sect_def *def = sect_def(s->kind);
	const char *why;
	if (def->naming == NAME_NONE && s->name.n > 0)
		bad_heading(r, s, arena_printf(a, "[%s] takes no name, got \"%s\"", def->kind, conf_show(a, s->name)));
	else if (def->naming == NAME_OWN && s->name.n == 0)
		bad_heading(r, s, arena_printf(a, "expected [%s NAME], got [%s]", def->kind, def->kind));
	else if (def->naming == NAME_OWN && !conf_name_ok(s->name, &why))
		bad_heading(r, s, arena_printf(a, "expected [%s NAME], got \"%s\": %s", def->kind, conf_show(a, s->name), why));
}

static void heading(struct reader *r, struct span line)
{
	struct load *ld = r->ld;
	struct sect *s = CONF_NEW(ld, struct sect, 1);
	const char *close = memchr(line.p, ']', line.n);

	s->file = r->file;
	s->line = r->line;
	s->kind = SECT_weir;
	if (ld->last != NULL)
		ld->last->next = s;
	else
		ld->first = s;
	ld->last = r->sect = s;
	if (close == NULL) {
		bad_heading(r, s, "expected [kind] or [kind NAME], got no ]");
		return;
	}
	size_t n = (size_t)(close - line.p);
	struct span rest = span_trim(span_make(close + 1, line.n - n - 1));
	if (rest.n > 0 && rest.p[0] != ';' && rest.p[0] != '#') {
		bad_heading(r, s, arena_printf(ld->arena, "expected nothing but a comment after ], got \"%s\"",
					       conf_show(ld->arena, rest)));
		return;
	}
	read_heading(r, s, span_make(line.p + 1, n - 1));
}

/* ---- key = value ---- */
static bool key_ok(struct span key)
{
	for (size_t i = 0; i < key.n; i++) {
		unsigned char c = (unsigned char)key.p[i];

		if (!(ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') && !(c >= '0' && c <= '9') && strchr("_-.", c) == NULL)
			return false;
	}
	return key.n > 0 && key.n <= KEY_MAX;
}

static void not_a_line(struct reader *r, struct span line)
{
	struct arena *a = r->ld->arena;
	struct span value = line;
	struct span key = span_trim(span_cut(&value, ':'));
	const char *hint = "";

	value = span_trim(value);
	if (key.n < line.n && key_ok(key))
		hint = arena_printf(a, "; did you mean \"%s = %s\"?", conf_show(a, key), conf_show(a, value));
	conf_line_error(r->ld, r->file, r->line, "expected [kind NAME] or key = value, got \"%s\"%s",
			conf_show(a, line), hint);
}

/* True when the key is fit to be handed over. */
static bool entry_line(struct reader *r, struct span line, struct span *key)
{
	const char *eq = memchr(line.p, '=', line.n);

	if (eq == NULL) {
		not_a_line(r, line);
		return false;
	}
	*key = span_trim(span_make(line.p, (size_t)(eq - line.p)));
	r->value = span_make(eq + 1, (size_t)(line.p + line.n - eq - 1));
	if (!key_ok(*key)) {
		conf_line_error(r->ld, r->file, r->line, "expected key = value with a key of letters, digits and _, got \"%s\"",
				conf_show(r->ld->arena, line));
		return false;
	}
	if (r->sect == NULL) {
		if (!r->orphans)
			conf_line_error(r->ld, r->file, r->line, "%s stands before the first [section] of this file",
					conf_show(r->ld->arena, *key));
		r->orphans = true;
		return false;
	}
	return true;
}

/* inih's fgets: the next line, made harmless. */
static char *on_want_line(char *out, int size, void *arg)
{
	struct reader *r = arg;

	if (r->at == r->end || r->ld->msgs->nerrors >= CONF_ERRORS_MAX)
		return NULL;
	const char *lf = memchr(r->at, '\n', (size_t)(r->end - r->at));
	struct span line = span_make(r->at, (size_t)((lf ? lf : r->end) - r->at));
	struct span key;
	r->at = lf ? lf + 1 : r->end;
	r->line++;
	if (lf != NULL && line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	bool ok = check_bytes(r, line);
	line = span_trim(line);
	(void)snprintf(out, (size_t)size, "\n");
	if (!ok || line.n == 0)
		return out;
	if (line.p[0] == ';' || line.p[0] == '#') {
		(void)snprintf(out, (size_t)size, "%c\n", line.p[0]);
	} else if (line.p[0] == '[') {
		heading(r, line);
		(void)snprintf(out, (size_t)size, "[%u]\n", r->line);
	} else if (entry_line(r, line, &key)) {
		must(key.n + 32 < (size_t)size);
		(void)snprintf(out, (size_t)size, "%.*s = %u\n", SPAN_FMT(key), r->line);
	}
	return out;
}

/* inih's word: this key, with the number of its line as value, in the section with the number of its heading. */
static int on_key(void *arg, const char *section, const char *name, const char *value)
{
	struct reader *r = arg;

	if (name == NULL)
		return 1;
	must(strtoul(section, NULL, 10) == r->sect->line && strtoul(value, NULL, 10) == r->line);
	struct entry *e = CONF_NEW(r->ld, struct entry, 1);
	e->key = arena_span(r->ld->arena, span_of(name));
	e->raw = r->value;
	e->file = r->file;
	e->line = r->line;
	e->sect = r->sect;
	if (r->sect->last != NULL)
		r->sect->last->next = e;
	else
		r->sect->first = e;
	r->sect->last = e;
	return 1;
}

void conf_read_text(struct load *ld, const struct conf_file *file, struct span text)
{
	struct reader r = { .ld = ld, .file = file, .at = text.p, .end = text.p + text.n };

	if (span_starts(text, SPAN("\xef\xbb\xbf")))
		r.at += 3;
	int rc = ini_parse_stream(on_want_line, &r, on_key, &r);
	must(rc == 0);
	ld->dropped += ld->msgs->nerrors >= CONF_ERRORS_MAX;
}
