/*
 * conf_lex.c - one value cut into words, or into words and text.
 *
 * Called once per entry, before anybody asks what it means; the shape (list,
 * text, attributes, variables) is the option's. Quotes, comments and outside
 * values end here: whoever reads a word sees its text alone.
 */
#include "common/conf_parts.h"

struct sb {
	char *p;
	size_t n, cap;
};

struct lexer {
	struct load *ld;
	struct entry *e;
	unsigned flags;
	const char *start, *p, *end;
	unsigned cap;			/* of e->words */
	struct sb shown;
	bool split;			/* the word just read is one reference of a list */
};

static void sb_add(struct lexer *lx, struct sb *b, struct span s)
{
	if (b->n + s.n > b->cap) {
		size_t cap = (b->n + s.n) * 2 + 32;
		char *p = arena_bytes(lx->ld->arena, cap);

		if (b->n > 0)
			memcpy(p, b->p, b->n);
		b->p = p;
		b->cap = cap;
	}
	if (s.n > 0)
		memcpy(b->p + b->n, s.p, s.n);
	b->n += s.n;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct span left(const struct lexer *lx)
{
	return span_make(lx->p, (size_t)(lx->end - lx->p));
}

static bool at_comment(const struct lexer *lx)
{
	return lx->p < lx->end && (*lx->p == ';' || *lx->p == '#') && lx->p > lx->start && is_blank(lx->p[-1]);
}

static void skip_blanks(struct lexer *lx)
{
	while (lx->p < lx->end && is_blank(*lx->p))
		lx->p++;
}

/* ---- pieces of a word: s, t and shown grow together ---- */
struct piece {
	struct sb s, t, shown;
	bool outside;
};

static void put(struct lexer *lx, struct piece *w, struct span s)
{
	sb_add(lx, &w->s, s);
	sb_add(lx, &w->t, s);
}

/* What comes from outside is never a variable. */
static void put_outside(struct lexer *lx, struct piece *w, struct span value)
{
	sb_add(lx, &w->s, value);
	while (value.n > 0) {
		const char *dollar = memchr(value.p, '$', value.n);
		size_t n = dollar ? (size_t)(dollar + 1 - value.p) : value.n;

		sb_add(lx, &w->t, span_make(value.p, n));
		if (dollar != NULL)
			sb_add(lx, &w->t, SPAN("$"));
		value = span_make(value.p + n, value.n - n);
	}
	w->outside = true;
}

/* At a reference: takes it. 0: there is none, -1: a bad one. */
static int take_outside(struct lexer *lx, struct piece *w)
{
	struct span value, shown;
	size_t n = *lx->p == '$' ? conf_outside_len(left(lx)) : 0;

	if (n == 0)
		return 0;
	if (n == SIZE_MAX) {
		conf_error(lx->ld, lx->e, "expected a } after \"%s\"", conf_show(lx->ld->arena, left(lx)));
		return -1;
	}
	if (!conf_outside(lx->ld, lx->e, span_make(lx->p, n), &value, &shown))
		return -1;
	put_outside(lx, w, value);
	sb_add(lx, &w->shown, shown);
	lx->p += n;
	return 1;
}

/* In keys with variables $$ is a dollar sign, so that $${env:X} refers to nothing. */
static size_t plain_len(const struct lexer *lx)
{
	return (lx->flags & F_VARS) && left(lx).n > 1 && lx->p[0] == '$' && lx->p[1] == '$' ? 2 : 1;
}

/* From behind the opening quote to behind the closing one. */
static bool take_quoted(struct lexer *lx, struct piece *w)
{
	while (lx->p < lx->end && *lx->p != '"') {
		int rc = take_outside(lx, w);
		size_t n = plain_len(lx);

		if (rc < 0)
			return false;
		if (rc > 0)
			continue;
		if (*lx->p == '\\' && left(lx).n > 1 && strchr("\"\\nt", lx->p[1]) != NULL) {
			char c = lx->p[1] == 'n' ? '\n' : lx->p[1] == 't' ? '\t' : lx->p[1];

			put(lx, w, span_make(&c, 1));
			n = 2;
		} else {
			put(lx, w, span_make(lx->p, n));
		}
		sb_add(lx, &w->shown, span_make(lx->p, n));
		lx->p += n;
	}
	if (lx->p == lx->end) {
		conf_error(lx->ld, lx->e, "expected a closing quote");
		return false;
	}
	lx->p++;
	if (lx->p < lx->end && !is_blank(*lx->p) && !((lx->flags & F_LIST) && *lx->p == ',')) {
		conf_error(lx->ld, lx->e, "expected a blank or the end of the line after the closing quote, got \"%s\"",
			   conf_show(lx->ld->arena, left(lx)));
		return false;
	}
	return true;
}

static bool ends_word(const struct lexer *lx)
{
	return lx->p == lx->end || is_blank(*lx->p) || ((lx->flags & F_LIST) && *lx->p == ',');
}

static bool take_bare(struct lexer *lx, struct piece *w)
{
	const char *from = lx->p;
	unsigned refs = 0;

	while (!ends_word(lx)) {
		int rc = take_outside(lx, w);
		size_t n = plain_len(lx);

		if (rc < 0)
			return false;
		refs += rc > 0;
		if (rc > 0)
			continue;
		put(lx, w, span_make(lx->p, n));
		sb_add(lx, &w->shown, span_make(lx->p, n));
		lx->p += n;
	}
	lx->split = (lx->flags & F_LIST) && refs == 1 && conf_outside_len(span_make(from, (size_t)(lx->p - from))) ==
		    (size_t)(lx->p - from);
	return true;
}

/* To the end of the line; what would begin a comment after words is an error here, so that text is never cut. */
static bool take_text(struct lexer *lx, struct piece *w)
{
	while (lx->p < lx->end) {
		int rc = take_outside(lx, w);
		size_t n = plain_len(lx);

		if (rc < 0)
			return false;
		if (rc > 0)
			continue;
		if (at_comment(lx)) {
			conf_error(lx->ld, lx->e,
				   "\" %c\" in text without quotes: put the text in quotes, or the comment on a line of its own",
				   *lx->p);
			return false;
		}
		put(lx, w, span_make(lx->p, n));
		sb_add(lx, &w->shown, span_make(lx->p, n));
		lx->p += n;
	}
	return true;
}

static struct word finish(struct piece *w, struct span attr, bool quoted)
{
	return (struct word){ .s = span_make(w->s.p, w->s.n), .t = span_make(w->t.p, w->t.n),
			      .shown = span_make(w->shown.p, w->shown.n), .attr = attr, .quoted = quoted, .outside = w->outside };
}

static void add_word(struct lexer *lx, struct word w)
{
	struct entry *e = lx->e;

	if (e->nwords == lx->cap) {
		unsigned cap = lx->cap ? lx->cap * 2 : 2;
		struct word *v = CONF_NEW(lx->ld, struct word, cap);

		if (e->nwords > 0)
			memcpy(v, e->words, sizeof(*v) * e->nwords);
		e->words = v;
		lx->cap = cap;
	}
	e->words[e->nwords++] = w;
}

/* An outside value in a list: several words, by lines, blanks and commas; lines with # in front do not count. */
static void add_split(struct lexer *lx, struct word w)
{
	struct span rest = w.s;

	while (rest.n > 0) {
		struct span line = span_trim(span_cut(&rest, '\n'));

		for (size_t i = 0, from = 0; i <= line.n && line.n > 0 && line.p[0] != '#'; i++) {
			if (i < line.n && strchr(" \t,\r", line.p[i]) == NULL)
				continue;
			struct word one = w;
			one.s = one.t = span_make(line.p + from, i - from);
			if (one.s.n > 0)
				add_word(lx, one);
			from = i + 1;
		}
	}
}

struct span conf_quote(struct arena *a, struct span s)
{
	bool plain = s.n > 0 && s.p[0] != '"' && s.p[0] != ';' && s.p[0] != '#';
	char *out = arena_bytes(a, s.n * 2 + 2);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		plain = plain && (unsigned char)s.p[i] > ' ' && s.p[i] != ',';
	if (plain)
		return s;
	out[n++] = '"';
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i] == '\n' ? 'n' : s.p[i] == '\t' ? 't' : s.p[i];

		if (c != s.p[i] || c == '"' || c == '\\')
			out[n++] = '\\';
		out[n++] = c;
	}
	out[n++] = '"';
	return span_make(out, n);
}

/* As it must be written to be read again. Right behind the = a word may begin with ; or #, which behind a blank would be a
 * comment. */
static struct span shown_word(struct lexer *lx, const struct word *w)
{
	bool like_comment = w->shown.n > 0 && (w->shown.p[0] == ';' || w->shown.p[0] == '#');
	struct span quoted[] = { SPAN("\""), w->shown, SPAN("\"") };

	if (w->quoted)
		return arena_join(lx->ld->arena, quoted, 3);
	return like_comment ? conf_quote(lx->ld->arena, w->shown) : w->shown;
}

/* As -T shows it: a file by its whole path, since the output may be read from elsewhere. */
static struct span shown_file(struct lexer *lx, const struct word *w)
{
	struct arena *a = lx->ld->arena;
	const struct opt *o = lx->e->opt;
	struct span rest = span_of(o->form), s = w->s;
	bool is_unix = (o->id == OPT_listen_bind || o->id == OPT_upstream_server) && span_starts(s, SPAN("unix:"));

	if (w->outside || (!(o->flags & F_FILE) && !is_unix))
		return shown_word(lx, w);
	while (rest.n > 0) {
		if (span_eq(opt_choice(&rest), s))
			return shown_word(lx, w);
	}
	if (is_unix)
		s = span_make(s.p + 5, s.n - 5);
	if (s.n == 0 || s.p[0] == '/')
		return shown_word(lx, w);
	const char *path = conf_abs_path(a, lx->e->file->dir, s);
	return conf_quote(a, span_of(arena_printf(a, "%s%s", is_unix ? "unix:" : "", path)));
}

/* `NAME=` in front of an attribute's value. */
static struct span take_attr(struct lexer *lx)
{
	const char *p = lx->p;

	if (!(lx->flags & F_ATTRS) || lx->e->nwords == 0)
		return span_make(p, 0);
	while (p < lx->end && ((*p >= 'a' && *p <= 'z') || *p == '_'))
		p++;
	if (p == lx->end || *p != '=' || p == lx->p)
		return span_make(p, 0);
	struct span attr = span_make(lx->p, (size_t)(p - lx->p));
	lx->p = p + 1;
	return attr;
}

static bool take_word(struct lexer *lx)
{
	struct piece w = { 0 };
	struct span attr = take_attr(lx);
	bool quoted = lx->p < lx->end && *lx->p == '"';

	lx->split = false;
	if (quoted)
		lx->p++;
	if (!(quoted ? take_quoted(lx, &w) : take_bare(lx, &w)))
		return false;
	struct word word = finish(&w, attr, quoted);
	if (attr.n > 0) {
		sb_add(lx, &lx->shown, attr);
		sb_add(lx, &lx->shown, SPAN("="));
	}
	sb_add(lx, &lx->shown, shown_file(lx, &word));
	if (lx->split)
		add_split(lx, word);
	else
		add_word(lx, word);
	return true;
}

/* All words up to the end or a comment, or the first `max`. */
static bool take_words(struct lexer *lx, unsigned max)
{
	bool comma = true;		/* nothing before the next comma yet */
	unsigned n = 0;

	for (;;) {
		skip_blanks(lx);
		if (lx->p == lx->end || at_comment(lx) || n == max)
			break;
		if ((lx->flags & F_LIST) && *lx->p == ',') {
			if (comma) {
				conf_error(lx->ld, lx->e, "expected a word before the comma in \"%s\"",
					   conf_show(lx->ld->arena, span_trim(lx->e->raw)));
				return false;
			}
			comma = true;
			sb_add(lx, &lx->shown, SPAN(","));
			lx->p++;
			continue;
		}
		if (n > 0)
			sb_add(lx, &lx->shown, SPAN(" "));
		if (!take_word(lx))
			return false;
		comma = false;
		n++;
	}
	if (comma && n > 0) {
		conf_error(lx->ld, lx->e, "expected a word after the last comma");
		return false;
	}
	if (n == 0) {
		conf_error(lx->ld, lx->e, "expected %s, got nothing", lx->e->opt->form);
		return false;
	}
	return true;
}

static bool take_whole_text(struct lexer *lx)
{
	struct piece w = { 0 };

	skip_blanks(lx);
	if (lx->p == lx->end || at_comment(lx)) {
		if (lx->flags & F_LEAD)
			return true;
		conf_error(lx->ld, lx->e, "expected %s, got nothing", lx->e->opt->form);
		return false;
	}
	bool quoted = *lx->p == '"';
	if (quoted)
		lx->p++;
	if (!(quoted ? take_quoted(lx, &w) : take_text(lx, &w)))
		return false;
	lx->e->text = finish(&w, span_make(NULL, 0), quoted);
	lx->e->has_text = true;
	skip_blanks(lx);
	if (lx->p != lx->end && !at_comment(lx)) {
		conf_error(lx->ld, lx->e, "expected nothing but a comment after the closing quote, got \"%s\"",
			   conf_show(lx->ld->arena, left(lx)));
		return false;
	}
	if (lx->flags & F_LEAD)
		sb_add(lx, &lx->shown, SPAN(" "));
	sb_add(lx, &lx->shown, shown_word(lx, &lx->e->text));
	return true;
}

static bool lex(struct lexer *lx)
{
	if (!(lx->flags & F_TEXT))
		return take_words(lx, UINT32_MAX);
	if ((lx->flags & F_LEAD) && !take_words(lx, 1))
		return false;
	return take_whole_text(lx);
}

bool conf_lex(struct load *ld, struct entry *e)
{
	struct span raw = e->raw;
	struct lexer lx = { .ld = ld, .e = e, .flags = e->opt->flags };

	if (e->lexed)
		return !e->bad;
	while (raw.n > 0 && is_blank(raw.p[raw.n - 1]))
		raw.n--;
	lx.start = lx.p = raw.p;
	lx.end = raw.p + raw.n;
	e->lexed = true;
	e->bad = !lex(&lx);
	e->shown = span_make(lx.shown.p, lx.shown.n);
	if (e->opt->type != OPT_BOOL && e->nwords + e->has_text == 1) {
		const struct word *w = e->has_text ? &e->text : &e->words[0];

		e->is_off = !w->quoted && span_eq(w->s, SPAN("off"));
	}
	return !e->bad;
}
