/*
 * tmpl.h - text with variables, compiled when the configuration is read.
 *
 * A value of a key marked `$` becomes a list of parts: literal text or one
 * variable with its argument. Which variables exist is var.def's business;
 * their values are filled in by worker/exchange/vars.c. `$$` is a dollar sign,
 * `${name}` and `${kind:arg}` are long forms, `$1`..`$9` are groups of a regex.
 */
#ifndef COMMON_TMPL_H
#define COMMON_TMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/span.h"

enum var_id {
	VAR_NONE,			/* literal text */
	VAR_GROUP,			/* $1..$9, number in `group` */
#define VAR(id, name, kind, prose) VAR_##id,
#include "common/var.def"
#undef VAR
	VAR__N
};

/* Column `kind` of var.def. */
enum var_kind { VAR_PLAIN, VAR_ARG };	/* $name; ${name:ARG} */

struct tmpl_part {
	enum var_id var;
	uint8_t group;
	struct span text;		/* the literal, or the argument of a VAR_ARG (header name...) */
};

struct tmpl {
	struct span source;		/* as written */
	const struct tmpl_part *parts;
	unsigned nparts;
	bool has_vars;			/* false: parts is one literal or none */
	bool has_groups;
};

/* Compiles `s` into `a`. On an error returns NULL and *err is a sentence ("unknown variable $hots: did you mean $host?").
 * `groups`: whether $1..$9 mean anything here. Literal text is copied. */
struct tmpl *tmpl_compile(struct arena *a, struct span s, bool groups, const char **err);
/* A template that is one literal. */
struct tmpl *tmpl_literal(struct arena *a, struct span s);
bool tmpl_uses(const struct tmpl *t, enum var_id id);

#endif
