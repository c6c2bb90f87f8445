/*
 * conf_parts.h - what the files conf_*.c share while a configuration is read.
 *
 * Nobody else includes it (tests aside). One `struct load` lives for the call
 * of conf_load(); what is reached from it lies in the configuration's arena.
 * The way of a value: conf_read.c finds lines and makes entries; conf_lex.c cuts
 * an entry into words or text and fetches outside values; conf_layer.c says
 * which entries count for a section; conf_value.c and its like read them.
 */
#ifndef COMMON_CONF_PARTS_H
#define COMMON_CONF_PARTS_H

#include <stdarg.h>
#include <sys/types.h>

#include "common/conf.h"
#include "common/obj.h"

#define CONF_LINE_MAX 16384		/* bytes of a line */
#define CONF_TOTAL_MAX (16u << 20)	/* bytes of all files and outside values */
#define CONF_FILES_MAX 4096
#define CONF_ERRORS_MAX 1000		/* then reading stops */
#define CONF_UNIX_MAX 107		/* bytes of a socket path */
#define CONF_NAME_MAX 40
#define CONF_MEMORY_MAX (512u << 20)	/* of a configuration read in */
#define CONF_SERIES_MAX (1u << 17)	/* pairs of route and server that are counted: 8 MiB for each process */

/* ---- the table ---- */
enum opt_type {
	OPT_BOOL, OPT_COUNT, OPT_INT, OPT_TIME, OPT_SIZE, OPT_SHARE, OPT_RATE, OPT_CHOICE, OPT_WORDS, OPT_TEXT
};
enum opt_flag {
	F_LIST = 1, F_MANY = 2, F_TEXT = 4, F_LEAD = 8, F_VARS = 16, F_ROUTE = 32, F_LISTEN = 64, F_ATTRS = 128,
	F_COND = 256, F_ACTION = 512, F_PATH = 1024, F_HERE = 2048, F_ADDS = 4096, F_ZERO = 8192, F_FILE = 16384,
	F_PREFIX = 32768
};
enum sect_naming { NAME_NONE, NAME_OWN, NAME_KIND };

enum sect_kind {
#define SECTION(kind, naming, area, prose) SECT_##kind,
#include "common/opt.def"
	SECT__N
};
enum opt_id {
#define OPT(section, key, type, flags, def, min, max, form, area, prose) OPT_##section##_##key,
#include "common/opt.def"
	OPT__N
};

struct sect_def {
	const char *kind;
	enum sect_naming naming;
	const char *area, *prose;
};
struct opt {
	enum opt_id id;
	enum sect_kind section;
	const char *key;
	enum opt_type type;
	unsigned flags;
	const char *def;
	int64_t min, max;
	const char *form, *area, *prose;
};

const struct sect_def *sect_def(enum sect_kind kind);
bool sect_find(struct span word, enum sect_kind *out);
const char *sect_nearest(struct span word);
const struct opt *opt_get(enum opt_id id);
/* The option of that key in sections of that kind; R keys are found in routes too. NULL: none. */
const struct opt *opt_find(enum sect_kind kind, struct span key);
bool opt_stands_in(const struct opt *o, enum sect_kind kind);
/* Its value may come from the listener or upstream that a request meets, so that it is not settled before. */
bool opt_layered(const struct opt *o);
/* The path keys exclude each other and count as one for inheritance, and so do the actions: they share a slot. */
#define OPT_SLOTS (OPT__N + 2)
unsigned opt_slot(const struct opt *o);
/* The choices of a form, "a | b | c", one after another; an empty span at the end. */
struct span opt_choice(struct span *rest);

/* ---- what was written ---- */
struct conf_file {
	const char *name;		/* for messages */
	const char *path, *dir;		/* absolute */
	bool main;
	unsigned index;			/* order of reading */
	dev_t dev;
	ino_t ino;
};

struct word {
	struct span s;			/* what it says: escapes undone, outside values in their place */
	struct span t;			/* the same with each $ from outside doubled, for templates */
	struct span shown;		/* as written, for messages: references, never what came from outside */
	struct span attr;		/* NAME of NAME=value, in keys with attributes; else empty */
	bool quoted, outside;
};

/* One `key = value`. */
struct entry {
	const struct opt *opt;		/* NULL: refused */
	struct span key, raw;		/* raw: all behind the = */
	const struct conf_file *file;
	unsigned line;
	struct sect *sect;
	struct entry *next;
	struct word *words;		/* lead words of a text, or all */
	unsigned nwords;
	struct word text;
	struct span shown;		/* the value for -T: no comment, files absolute */
	bool has_text;
	bool is_off;			/* the whole value is the word off */
	bool lexed, bad;
};

struct sect {
	enum sect_kind kind, of;	/* of: the KIND of [defaults KIND] */
	struct span name;
	const struct conf_file *file;
	unsigned line;
	struct sect *next;
	struct entry *first, *last;
	bool bad;			/* unknown kind and such: keys are not looked at */
	unsigned kinds;			/* policy: bits of the kinds that all its keys fit */
	bool used;
	struct value *values;		/* what counts for it; kept for -T */
	void *object;			/* struct conf_listen and so on */
};

/* Where a value that counts for a section was found. */
enum layer { LAYER_OWN, LAYER_POLICY, LAYER_DEFAULTS, LAYER_WEIR, LAYER_BUILT_IN };
struct value {
	struct value *next;
	const struct entry *e;
	enum layer layer;
	bool hidden;			/* of a key that adds up: a nearer one took its place */
	struct span shown;		/* the part that is left of it; .p NULL: all */
};

/* A section's values, as its reader asks for them. */
struct scope {
	struct load *ld;
	struct sect *sect;
	struct value *values, **tail;
	bool broken_action;		/* one was written, but cannot be read */
	bool trial;			/* of a policy or [defaults]: what is missing is not missed */
};

/* The two keys of an access log, as one route, listener or the general layer has them. */
struct logging {
	const struct conf_log **to;
	unsigned nto;
	bool has_to;
	const struct tmpl *format;	/* NULL: not set */
	enum conf_escape escape;
};

struct load {
	struct arena *arena;
	struct conf *conf;
	struct conf_msgs *msgs;
	struct htab msg_seen;		/* the same complaint is made once */
	struct conf_file **files;
	unsigned nfiles, cap_files;
	struct conf_file *built_in;
	struct sect *first, *last;	/* in order of reading */
	struct sect *implicit;		/* a [weir] that nobody wrote */
	struct htab names[SECT__N];	/* name -> struct sect */
	struct entry *defaults[OPT__N];
	struct scope general;		/* what holds for layered keys that no one nearer sets */
	struct scope weir;
	struct htab logs;		/* target -> struct conf_log */
	unsigned cap_logs;
	struct logging *route_logs, *listen_logs, general_log;	/* by id */
	size_t total;			/* bytes read */
	size_t regexes;			/* bytes of compiled regexes, about */
	bool full;
	unsigned dropped;		/* complaints too many to keep */
};

/* ---- conf_msg.c: complaints ---- */
void conf_error(struct load *ld, const struct entry *e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void conf_warn(struct load *ld, const struct entry *e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void conf_sect_error(struct load *ld, const struct sect *s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void conf_sect_warn(struct load *ld, const struct sect *s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void conf_line_error(struct load *ld, const struct conf_file *f, unsigned line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* `expected WHAT, got "word"; did you mean "near"?`; near may be NULL. Always false. */
bool conf_expected(struct load *ld, const struct entry *e, const char *what, const struct word *got, const char *near);
void conf_msgs_sort(struct load *ld);
/* "[listen http]" */
const char *conf_sect_label(struct arena *a, const struct sect *s);
/* Safe to print: control bytes replaced, cut when long. */
const char *conf_show(struct arena *a, struct span s);
const char *conf_where(struct arena *a, const struct conf_file *f, unsigned line);
/* For conf_check_machine(), which has no load. */
void conf_msgs_add(struct arena *a, struct conf_msgs *m, struct conf_msg msg);

/* ---- conf_read.c, conf_files.c: files, lines, sections, entries ---- */
/* conf_read.c: one text */
void conf_read_text(struct load *ld, const struct conf_file *file, struct span text);
bool conf_read_files(struct load *ld, const char *file);
/* The whole of a regular file within the budget; NULL and *why on trouble. */
const char *conf_slurp(struct load *ld, const char *path, size_t *n, const char **why);
const char *conf_abs_path(struct arena *a, const char *dir, struct span path);
bool conf_name_ok(struct span s, const char **why);

/* ---- conf_section.c: which section is which, which key may stand where ---- */
void conf_sections(struct load *ld);
struct sect *conf_sect_named(const struct load *ld, enum sect_kind kind, struct span name);
/* The section a word names; an error when there is none. */
struct sect *conf_refer(struct load *ld, const struct entry *e, enum sect_kind kind, const struct word *w);

/* ---- conf_lex.c, conf_outside.c ---- */
/* Fills words and text; false (and an error) when it cannot be cut. Once per entry. */
bool conf_lex(struct load *ld, struct entry *e);
/* Length of the reference ${env:..} or ${file:..} that s begins with; 0: none, SIZE_MAX: not closed. */
size_t conf_outside_len(struct span s);
/* A word as it must be written to be read again. */
struct span conf_quote(struct arena *a, struct span s);
/* Its value; false and an error when there is none. *shown is the reference with its path absolute. */
bool conf_outside(struct load *ld, const struct entry *e, struct span ref, struct span *value, struct span *shown);

/* ---- conf_layer.c: what counts ---- */
void conf_scope(struct load *ld, struct sect *s, struct scope *out);
/* A policy or [defaults] read for itself, so that its values are checked though nobody uses them. */
void conf_scope_alone(struct load *ld, struct sect *s, struct scope *out);
void conf_scope_general(struct load *ld);
void conf_scope_weir(struct load *ld);
/* First value of an option; NULL: none, or off. */
const struct entry *conf_first(const struct scope *sc, enum opt_id id);
const struct value *conf_value(const struct scope *sc, enum opt_id id);
const struct value *conf_value_next(const struct value *v);
bool conf_is_off(const struct scope *sc, enum opt_id id);
bool conf_is_own(const struct scope *sc, enum opt_id id);

/* ---- conf_value.c: numbers, words ---- */
bool conf_bool(const struct scope *sc, enum opt_id id);
/* COUNT, INT, TIME, SIZE, SHARE; CONF_UNSET when the key has no value. */
int64_t conf_number(const struct scope *sc, enum opt_id id);
/* Index in the form's choices. */
unsigned conf_choice(const struct scope *sc, enum opt_id id);
/* The one word of a key; NULL: none. */
const struct word *conf_word(const struct scope *sc, enum opt_id id, const struct entry **e);
/* Exactly `n` words; an error that shows the form otherwise. */
bool conf_nwords(struct load *ld, const struct entry *e, unsigned from, unsigned to);
/* The n-th word over all lines of a list; NULL at the end. Start with a zeroed cursor. */
struct cursor {
	const struct value *v;
	unsigned i;
	bool started;
};
const struct word *conf_next_word(const struct scope *sc, enum opt_id id, struct cursor *c);
unsigned conf_count_words(const struct scope *sc, enum opt_id id);
bool conf_parse_number(enum opt_type type, struct span s, int64_t *out);
bool conf_uint(struct span s, int64_t min, int64_t max, int64_t *out);

/* ---- conf_net.c: networks, addresses, names; conf_log.c ---- */
struct net *conf_nets(const struct scope *sc, enum opt_id id, unsigned *n);
#define CONF_NET_WORD 8			/* networks that one word may stand for */
unsigned conf_net_word(struct load *ld, const struct entry *e, const struct word *w, struct span s, struct net *out);
bool conf_host_ok(struct span s);
bool conf_is_token(struct span s);
/* A path of a request in its normal form. */
bool conf_path(struct load *ld, const struct entry *e, const struct word *w, bool prefix, struct span *out);
struct conf_regex *conf_regex(struct load *ld, const struct entry *e, struct span source);
struct tmpl *conf_tmpl(struct load *ld, const struct entry *e, const struct word *w, bool groups);
const char *conf_file_word(struct load *ld, const struct entry *e, const struct word *w);
const struct conf_log *conf_log_target(struct load *ld, const struct entry *e, const struct word *w, bool access);
/* The keys access_log and log_format of a section. */
void conf_logging(const struct scope *sc, struct logging *out);
/* Once all are read: puts them together. */
void conf_access_logs(struct load *ld);

/* ---- readers of the sections ---- */
void conf_read_weir(struct load *ld);
void conf_read_listen(struct load *ld, struct sect *s);
void conf_read_upstream(struct load *ld, struct sect *s);
void conf_read_route(struct load *ld, struct sect *s);
void conf_read_tls(struct load *ld, struct sect *s);
void conf_read_admin(struct load *ld, struct sect *s);
/* One `bind` word; false after an error. */
bool conf_read_bind(struct load *ld, const struct entry *e, const struct word *w, struct conf_bind *b);
/* The same for a scope of its own, a trial: fills the object only. */
void conf_fill_listen(struct scope *sc, struct conf_listen *l);
void conf_fill_upstream(struct scope *sc, struct conf_upstream *u);
void conf_fill_route(struct scope *sc, struct conf_route *r);
void conf_route_conditions(const struct scope *sc, struct conf_route *r);
void conf_route_action(const struct scope *sc, struct conf_route *r);
void conf_route_way(const struct scope *sc, struct conf_route *r);
bool conf_status(struct span s, uint16_t *from, uint16_t *to);
void conf_route_edits(struct scope *sc, struct conf_route *r);
void conf_route_error_pages(struct scope *sc, struct conf_route *r);

/* conf_tls.c: the keys of TLS of the one and the other. */
void conf_listen_tls(const struct scope *sc, struct conf_listen *l);
void conf_upstream_tls(const struct scope *sc, struct conf_upstream *u);
void conf_free_tls(struct conf *c);
/* Lower case, "*." apart; false and an error: no host. */
bool conf_read_host(struct load *ld, const struct entry *e, const struct word *w, struct conf_host *h);

/* ---- whole-configuration checks ---- */
void conf_check_tls(struct load *ld);
void conf_check(struct load *ld);
/* Why a key does nothing in this section, or NULL. */
const char *conf_no_effect(const struct sect *s, enum opt_id id);
void conf_reach(struct load *ld);

/* ---- conf_cover.c: two routes; certain or not said ---- */
/* The conditions other than listen, host and path: b's hold wherever a's do; both can hold at once. */
bool conf_rest_covers(const struct conf_route *b, const struct conf_route *a);
bool conf_rest_meets(const struct conf_route *b, const struct conf_route *a);
/* b holds and wins wherever a does at this host (NULL: any) and path of a: why it wins, or NULL. */
const char *conf_route_hides(const struct conf_route *b, const struct conf_route *a, const struct conf_host *ah,
			     unsigned ap);
/* Somewhere both hold and b wins: why, or NULL. */
const char *conf_route_beats(const struct conf_route *b, const struct conf_route *a);

/* Both may hold for one request, and nothing but their order decides then. For regexes that is never certain, and said. */
bool conf_route_ties(const struct conf_route *b, const struct conf_route *a);

/* ---- for -T ---- */
/* -T prints it as what counts for this section (NULL: [weir]). */
bool conf_value_counts(const struct sect *s, const struct value *v);
struct conf_text {
	struct sect *first;
	struct value *weir, *general;
};

/* True, and an error once, when the configuration takes more memory than any sane one. */
bool conf_full(struct load *ld);

/* Never 0 bytes, so that an empty array has an address too. */
static inline void *conf_zalloc(struct load *ld, size_t size, size_t n)
{
	return arena_zalloc(ld->arena, size * (n > 0 ? n : 1));
}
#define CONF_NEW(ld, type, n) ((type *)conf_zalloc((ld), sizeof(type), (n)))

#endif
