/*
 * text.c - text into a buffer that never overflows.
 *
 * Owns the escaping of what goes into pages and metrics. Called by the admin
 * process alone. Pure.
 */
#include "worker/admin/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/obj.h"

#define REPLACEMENT "\xef\xbf\xbd"	/* U+FFFD */

void text_put(struct text *t, struct span s)
{
	if (t->over || s.n > t->room - t->n) {
		t->over = true;
		return;
	}
	memcpy(t->p + t->n, s.p, s.n);
	t->n += s.n;
}

void text_u64(struct text *t, uint64_t v)
{
	char digits[20];
	unsigned at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v != 0);
	text_put(t, span_make(digits + at, sizeof(digits) - at));
}

void text_fmt(struct text *t, const char *fmt, ...)
{
	char some[512];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(some, sizeof(some), fmt, ap);
	va_end(ap);
	must(n >= 0 && (size_t)n < sizeof(some));
	text_put(t, span_make(some, (size_t)n));
}

void text_seconds(struct text *t, uint64_t us)
{
	char fraction[8];

	text_u64(t, us / 1000000);
	if (us % 1000000 == 0)
		return;
	int n = snprintf(fraction, sizeof(fraction), ".%06u", (unsigned)(us % 1000000));
	while (fraction[n - 1] == '0')
		n--;
	text_put(t, span_make(fraction, (size_t)n));
}

/* ---- escapes ---- */

/* Length of the UTF-8 sequence at p; 0: none (overlong, surrogate, beyond Unicode or cut). */
static size_t utf8_at(const unsigned char *p, size_t n)
{
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

/* Passes on each character, replaced where `swap` has something else for it. */
static void escape(struct text *t, struct span s, const char *(*swap)(unsigned char c))
{
	for (size_t i = 0; i < s.n;) {
		const unsigned char *p = (const unsigned char *)s.p + i;
		size_t len = utf8_at(p, s.n - i);
		const char *other = len == 1 ? swap(*p) : len == 0 ? REPLACEMENT : NULL;

		text_put(t, other != NULL ? span_of(other) : span_make(s.p + i, len));
		i += len > 0 ? len : 1;
	}
}

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

static const char *html_swap(unsigned char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	default:
		return is_control(c) ? REPLACEMENT : NULL;
	}
}

void text_html(struct text *t, struct span s)
{
	escape(t, s, html_swap);
}

/* Of the control characters only the newline may stand in a label, escaped; the others are nothing to anybody. */
static const char *label_swap(unsigned char c)
{
	switch (c) {
	case '\\':
		return "\\\\";
	case '"':
		return "\\\"";
	case '\n':
		return "\\n";
	default:
		return is_control(c) ? REPLACEMENT : NULL;
	}
}

void text_label(struct text *t, const char *name, struct span value)
{
	text_str(t, name);
	text_str(t, "=\"");
	escape(t, value, label_swap);
	text_str(t, "\"");
}

static const char *json_swap(unsigned char c)
{
	switch (c) {
	case '\\':
		return "\\\\";
	case '"':
		return "\\\"";
	case '\n':
		return "\\n";
	case '\t':
		return "\\t";
	default:
		return is_control(c) ? REPLACEMENT : NULL;
	}
}

void text_json(struct text *t, struct span s)
{
	text_str(t, "\"");
	escape(t, s, json_swap);
	text_str(t, "\"");
}

/* ---- for people ---- */

void text_age(struct text *t, uint64_t ms)
{
	const uint64_t s = ms / 1000;

	if (s >= 86400)
		text_fmt(t, "%" PRIu64 "d %" PRIu64 "h", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		text_fmt(t, "%" PRIu64 "h %" PRIu64 "m", s / 3600, s / 60 % 60);
	else if (s >= 60)
		text_fmt(t, "%" PRIu64 "m %" PRIu64 "s", s / 60, s % 60);
	else
		text_fmt(t, "%" PRIu64 "s", s);
}

static void scaled(struct text *t, double v, double step, const char *const *units, unsigned n)
{
	unsigned u = 0;

	while (v >= step && u + 1 < n) {
		v /= step;
		u++;
	}
	/* Of what is not scaled the whole part is all there is, unless it is little. */
	bool whole = v >= 100 || (u == 0 && (v >= 10 || v == (double)(unsigned)v));

	text_fmt(t, whole ? "%.0f%s" : "%.1f%s", v, units[u]);
}

void text_bytes(struct text *t, double v)
{
	static const char *const units[] = { " B", " KiB", " MiB", " GiB", " TiB", " PiB" };

	scaled(t, v, 1024, units, ARRAY_LEN(units));
}

void text_count(struct text *t, double v)
{
	static const char *const units[] = { "", "k", "M", "G", "T" };

	scaled(t, v, 1000, units, ARRAY_LEN(units));
}

void text_latency(struct text *t, double us)
{
	if (us < 1e6)
		text_fmt(t, us < 10000 ? "%.1f ms" : "%.0f ms", us / 1e3);
	else
		text_fmt(t, us < 1e7 ? "%.1f s" : "%.0f s", us / 1e6);
}
