/*
 * conf_msg.c - complaints about a configuration: collected, put in order, printed.
 *
 * Called by all readers. A complaint about one place is kept once, however many
 * sections share the value. What came from outside is never shown.
 */
#include <stdio.h>
#include <string.h>

#include "common/conf_parts.h"

void conf_msgs_add(struct arena *a, struct conf_msgs *m, struct conf_msg msg)
{
	if (m->n == m->cap) {
		unsigned cap = m->cap ? m->cap * 2 : 16;
		struct conf_msg *v = arena_alloc(a, sizeof(*v) * cap);

		if (m->n > 0)
			memcpy(v, m->v, sizeof(*v) * m->n);
		m->v = v;
		m->cap = cap;
	}
	m->v[m->n++] = msg;
	m->nerrors += !msg.warning;
}

static void add(struct load *ld, struct conf_msg msg)
{
	char *id = arena_printf(ld->arena, "%s:%u:%d:%s:%s:%s", msg.at.file, msg.at.line, msg.warning,
				msg.section ? msg.section : "", msg.key ? msg.key : "", msg.text);

	if (htab_get(&ld->msg_seen, span_of(id)) != NULL)
		return;
	/* Errors are what is looked for; warnings leave room for them. */
	if (ld->msgs->nerrors >= CONF_ERRORS_MAX || (msg.warning && ld->msgs->n >= CONF_ERRORS_MAX)) {
		ld->dropped++;
		return;
	}
	htab_put(&ld->msg_seen, span_of(id), id);
	conf_msgs_add(ld->arena, ld->msgs, msg);
}

__attribute__((format(printf, 2, 0), nonnull(2))) static char *format(struct load *ld, const char *fmt, va_list ap)
{
	va_list again;

	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	must(n >= 0);
	char *text = arena_bytes(ld->arena, (size_t)n + 1);
	(void)vsnprintf(text, (size_t)n + 1, fmt, again);
	va_end(again);
	return text;
}

const char *conf_sect_label(struct arena *a, const struct sect *s)
{
	if (s == NULL)
		return NULL;
	const char *kind = sect_def(s->kind)->kind;
	if (s->name.n == 0)
		return arena_printf(a, "[%s]", kind);
	return arena_printf(a, "[%s %.*s]", kind, SPAN_FMT(s->name));
}

static void about_entry(struct load *ld, const struct entry *e, bool warning, const char *text)
{
	add(ld, (struct conf_msg){ .warning = warning, .at = { e->file->name, e->line },
				   .section = conf_sect_label(ld->arena, e->sect),
				   .key = arena_str(ld->arena, e->key), .text = text });
}

static void about_sect(struct load *ld, const struct sect *s, bool warning, const char *text)
{
	add(ld, (struct conf_msg){ .warning = warning, .at = { s->file->name, s->line },
				   .section = conf_sect_label(ld->arena, s), .text = text });
}

#define FORMAT(text)				\
	va_list ap;				\
	va_start(ap, fmt);			\
	char *text = format(ld, fmt, ap);	\
	va_end(ap)

void conf_error(struct load *ld, const struct entry *e, const char *fmt, ...)
{
	FORMAT(text);
	about_entry(ld, e, false, text);
}

void conf_warn(struct load *ld, const struct entry *e, const char *fmt, ...)
{
	FORMAT(text);
	about_entry(ld, e, true, text);
}

void conf_sect_error(struct load *ld, const struct sect *s, const char *fmt, ...)
{
	FORMAT(text);
	about_sect(ld, s, false, text);
}

void conf_sect_warn(struct load *ld, const struct sect *s, const char *fmt, ...)
{
	FORMAT(text);
	about_sect(ld, s, true, text);
}

void conf_line_error(struct load *ld, const struct conf_file *f, unsigned line, const char *fmt, ...)
{
	FORMAT(text);
	add(ld, (struct conf_msg){ .at = { f->name, line }, .text = text });
}

const char *conf_show(struct arena *a, struct span s)
{
	char out[200];
	size_t n = 0;
	bool cut = s.n > 120;

	for (size_t i = 0; i < (cut ? 120 : s.n); i++)
		out[n++] = (unsigned char)s.p[i] < 32 || s.p[i] == 127 ? '?' : s.p[i];
	/* Not in the middle of a character. */
	while (cut && n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
		n--;
	return arena_printf(a, "%.*s%s", (int)n, out, cut ? "..." : "");
}

const char *conf_where(struct arena *a, const struct conf_file *f, unsigned line)
{
	return line > 0 ? arena_printf(a, "%s:%u", f->name, line) : f->name;
}

bool conf_expected(struct load *ld, const struct entry *e, const char *what, const struct word *got, const char *near)
{
	const char *shown = conf_show(ld->arena, got->shown);
	const char *hint = near ? arena_printf(ld->arena, "; did you mean \"%s\"?", near) : "";

	conf_error(ld, e, "expected %s, got \"%s\"%s", what, shown, hint);
	return false;
}

/* ---- order ---- */
struct order {
	struct conf_msg msg;
	unsigned file, seq;
};

static int by_place(const void *a, const void *b)
{
	const struct order *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	if (x->msg.at.line != y->msg.at.line)
		return x->msg.at.line < y->msg.at.line ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static unsigned file_index(const struct load *ld, const char *name)
{
	for (unsigned i = 0; i < ld->nfiles; i++) {
		if (ld->files[i]->name == name)
			return i;
	}
	return ld->nfiles;
}

void conf_msgs_sort(struct load *ld)
{
	struct conf_msgs *m = ld->msgs;
	struct order *v = calloc(m->n + 1, sizeof(*v));

	if (v == NULL)
		return;
	for (unsigned i = 0; i < m->n; i++)
		v[i] = (struct order){ m->v[i], file_index(ld, m->v[i].at.file), i };
	qsort(v, m->n, sizeof(*v), by_place);
	for (unsigned i = 0; i < m->n; i++)
		m->v[i] = v[i].msg;
	free(v);
	if (ld->dropped > 0)
		conf_msgs_add(ld->arena, m, (struct conf_msg){ .warning = true, .at = { ld->files[0]->name, 0 },
							       .text = "there was more to complain about; these are the first" });
}

void conf_print_msgs(FILE *out, const struct conf_msgs *msgs)
{
	for (unsigned i = 0; i < msgs->n; i++) {
		const struct conf_msg *m = &msgs->v[i];

		fputs(m->at.file, out);
		if (m->at.line > 0)
			fprintf(out, ":%u", m->at.line);
		fprintf(out, ": %s: ", m->warning ? "warning" : "error");
		if (m->section != NULL)
			fprintf(out, "%s%s", m->section, m->key ? " " : ": ");
		if (m->key != NULL)
			fprintf(out, "%s: ", m->key);
		fprintf(out, "%s\n", m->text);
	}
}
