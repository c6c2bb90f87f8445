/*
 * alog_text.c - escaping for the access log.
 *
 * Nothing a client sends can end a line, a quoted value or a JSON string, or speak to a terminal. Called by alog.c for every
 * value of every line.
 */
#include "worker/exchange/alog_text.h"

#include "worker/http/byte_class.h"

static void put(struct alog_line *l, const char *p, size_t n)
{
	if (n > (size_t)(l->end - l->p)) {
		l->full = true;
		return;
	}
	if (n > 0)
		memcpy(l->p, p, n);
	l->p += n;
}

void alog_literal(struct alog_line *l, struct span s, enum conf_escape how)
{
	put(l, s.p, s.n);
	if (how != CONF_ESC_JSON)
		return;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\' && l->in_string)
			i++;
		else if (s.p[i] == '"')
			l->in_string = !l->in_string;
	}
}

static const char hex[] = "0123456789abcdef";

/* The bytes up to the first that needs an escape. */
static size_t put_plain(struct alog_line *l, struct span s)
{
	size_t n;

	if ((size_t)(l->end - l->p) >= s.n + BYTE_VECTOR) {
		n = byte_copy_plain(l->p, s.p, s.n);
		l->p += n;
		return n;
	}
	n = (size_t)(byte_plain_end(s.p, s.p + s.n) - s.p);
	put(l, s.p, n);
	return n;
}

static void value_log(struct alog_line *l, struct span s)
{
	for (size_t i = put_plain(l, s); i < s.n; i += put_plain(l, span_make(s.p + i, s.n - i))) {
		unsigned char c = (unsigned char)s.p[i++];

		put(l, (char[]){ '\\', 'x', hex[c >> 4], hex[c & 15] }, 4);
	}
}

/* Length of the well-formed UTF-8 sequence at p, 0 for none (RFC 3629: no overlong forms, no surrogates). */
static size_t utf8_length(const char *text, size_t n)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;

	if (p[0] < 0xc2 || p[0] > 0xf4 || n < len)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

static void value_json(struct alog_line *l, struct span s)
{
	for (size_t i = put_plain(l, s); i < s.n; i += put_plain(l, span_make(s.p + i, s.n - i))) {
		unsigned char c = (unsigned char)s.p[i];
		size_t n = c > 127 ? utf8_length(s.p + i, s.n - i) : 0;

		if (n > 0)
			put(l, s.p + i, n);
		else if (c == '"' || c == '\\')
			put(l, (char[]){ '\\', (char)c }, 2);
		else
			put(l, (char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
		i += n ? n : 1;
	}
}

void alog_value(struct alog_line *l, struct span s, enum conf_escape how)
{
	bool cut = s.n > ALOG_VALUE_MAX;

	if (s.n == 0) {
		if (how == CONF_ESC_LOG)
			put(l, "-", 1);
		else if (!l->in_string)
			put(l, "null", 4);
		return;
	}
	if (cut)
		s.n = ALOG_VALUE_MAX;
	if (how == CONF_ESC_JSON)
		value_json(l, s);
	else
		value_log(l, s);
	if (cut)
		put(l, "...", 3);
}
