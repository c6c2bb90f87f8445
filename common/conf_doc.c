/*
 * conf_doc.c - the commented sample and the option part of weir.ini.5, from the table.
 *
 * Called when etc/weir.ini and man/weir.ini.5 are made; a test compares. What
 * is not built yet is named in neither but in one list of the man page.
 */
#include <stdio.h>

#include "common/conf_parts.h"

#define WIDTH 100

/* ---- the sample ---- */
static void comment(FILE *out, const char *text)
{
	size_t column = 0;

	while (*text != '\0') {
		size_t n = strcspn(text, " ");

		if (column > 0 && column + 1 + n > WIDTH) {
			fputc('\n', out);
			column = 0;
		}
		fprintf(out, "%s%.*s", column == 0 ? "; " : " ", (int)n, text);
		column += (column == 0 ? 2 : 1) + n;
		text += n + strspn(text + n, " ");
	}
	fputc('\n', out);
}

static const char *marks(const struct opt *o, char out[160])
{
	bool limit = (o->flags & F_ZERO) && (o->type == OPT_TIME || o->type == OPT_SIZE);
	const char *list = (o->flags & F_LIST) ? " A list." : (o->flags & F_MANY) ? " May repeat." : "";
	const char *also = (o->flags & F_ROUTE) ? " Also in a route." : "";

	if (o->flags & F_LISTEN)
		also = " Also in a listener or a route.";
	(void)snprintf(out, 160, "%s%s%s%s", list, (o->flags & F_VARS) ? " Variables." : "", also,
		       limit ? " 0 or off: no limit." : "");
	return out;
}

static void sample_option(FILE *out, const struct opt *o)
{
	char text[1024], extra[160];

	(void)snprintf(text, sizeof(text), "%s%s", o->prose, marks(o, extra));
	fputc('\n', out);
	comment(out, text);
	bool number = o->type != OPT_BOOL && o->type != OPT_CHOICE && o->type != OPT_WORDS && o->type != OPT_TEXT;

	if (o->def[0] != '\0' && strcmp(o->def, o->form) != 0 && !number)
		fprintf(out, ";   %s = %s\n", o->key, o->form);
	fprintf(out, ";%s = %s\n", o->key, o->def[0] != '\0' ? o->def : o->form);
}

static bool in_doc(const struct opt *o, enum sect_kind kind)
{
	return o->section == kind && o->area[0] == '\0';
}

static void sample_section(FILE *out, enum sect_kind kind, const char *heading, const char *lines)
{
	fprintf(out, "\n\n; ---- %s: %s ----\n%s\n%s", sect_def(kind)->kind, sect_def(kind)->prose, heading, lines);
	for (unsigned i = 0; i < OPT__N; i++) {
		if (in_doc(opt_get((enum opt_id)i), kind))
			sample_option(out, opt_get((enum opt_id)i));
	}
}

void conf_print_sample(FILE *out)
{
	fputs("; weir.ini - every option of weir, with its default or with the form of its value.\n"
	      "; An option that is commented out has its default. weir.ini(5) tells more; weir -t checks this file,\n"
	      "; weir -T prints it with all that is not said here.\n", out);
	sample_section(out, SECT_weir, "[weir]", "");
	sample_section(out, SECT_listen, "[listen http]", "bind = *:80\n");
	sample_section(out, SECT_route, "[route welcome]", "respond = 200 Welcome to weir.\n");
	sample_section(out, SECT_upstream, ";[upstream app]", ";server = 127.0.0.1:5000\n");
	sample_section(out, SECT_admin, ";[admin]", ";bind = 127.0.0.1:9080\n");
	fputs("\n\n; ---- policy: keys that several sections share by use ----\n"
	      ";[policy shop]\n;host = shop.example, www.shop.example\n"
	      "\n\n; ---- defaults: keys for every route, listener or upstream ----\n"
	      ";[defaults route]\n;[defaults listen]\n;[defaults upstream]\n", out);
}

/* ---- the man page ---- */

/* Text of mdoc: each sentence on a line of its own; a dot or quote first on a line, and every backslash, would be commands. */
static void man_text(FILE *out, const char *text)
{
	bool start = true;
	char last = ' ';

	for (; *text != '\0'; text++) {
		if (*text == ' ' && last == '.') {
			fputc('\n', out);
			start = true;
			continue;
		}
		if (start && (*text == '.' || *text == '\''))
			fputs("\\&", out);
		if (*text == '\\')
			fputs("\\e", out);
		else
			fputc(*text, out);
		start = false;
		last = *text;
	}
	fputc('\n', out);
}

static void man_range(FILE *out, const struct opt *o)
{
	if (o->type == OPT_COUNT && o->max != 0)
		fprintf(out, "%s%lld to %lld.\n", (o->flags & F_ZERO) ? "0 or " : "", (long long)o->min, (long long)o->max);
	if (o->type == OPT_INT)
		fprintf(out, "\\-%lld to %lld.\n", (long long)-o->min, (long long)o->max);
}

static void man_option(FILE *out, const struct opt *o)
{
	char extra[160];

	fprintf(out, ".It Ic %s No = Ar ", o->key);
	for (const char *p = o->form; *p != '\0'; p++) {
		if (*p == '|')
			fputs("\\*(Ba", out);
		else if (*p == '"' || *p == '\\')
			fputs(*p == '"' ? "\\(dq" : "\\e", out);
		else
			fputc(*p, out);
	}
	fputc('\n', out);
	man_text(out, o->prose);
	man_range(out, o);
	marks(o, extra);
	if (extra[0] != '\0')
		man_text(out, extra + 1);
	if (o->def[0] != '\0')
		fprintf(out, "Default:\n.Li %s .\n", o->def);
}

void conf_print_man(FILE *out)
{
	static const enum sect_kind kinds[] = { SECT_weir, SECT_listen, SECT_tls, SECT_route, SECT_upstream, SECT_admin };

	for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
		const struct sect_def *def = sect_def(kinds[k]);

		fprintf(out, ".Ss %s%s\n", def->kind, def->naming == NAME_OWN ? " NAME" : "");
		fprintf(out, ".Li [%s%s]\nis %s.\n.Bl -tag -width Ds\n", def->kind, def->naming == NAME_OWN ? " NAME" : "",
			def->prose);
		for (unsigned i = 0; i < OPT__N; i++) {
			if (in_doc(opt_get((enum opt_id)i), kinds[k]))
				man_option(out, opt_get((enum opt_id)i));
		}
		fputs(".El\n", out);
	}
	fputs(".Ss Not built yet\nThese names are reserved; using one is an error that says so.\nSections:", out);
	for (unsigned k = 0; k < SECT__N; k++) {
		if (sect_def((enum sect_kind)k)->area[0] != '\0')
			fprintf(out, "\n.Li [%s]", sect_def((enum sect_kind)k)->kind);
	}
	for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
		fprintf(out, ".\nKeys of\n.Li [%s] :", sect_def(kinds[k])->kind);
		for (unsigned i = 0; i < OPT__N; i++) {
			const struct opt *o = opt_get((enum opt_id)i);

			if (o->section == kinds[k] && o->area[0] != '\0')
				fprintf(out, "\n.Ic %s%s", o->key, (o->flags & F_PREFIX) ? "*" : "");
		}
	}
	fputs(" .\n", out);
}
