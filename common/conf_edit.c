/*
 * conf_edit.c - the keys that add up over layers: header edits and error_page.
 *
 * Called by conf_route.c. Nearest wins name by name, or status by status; what
 * was hidden by something nearer is marked so, because -T must not show it.
 */
#include "common/conf_parts.h"

struct edit {
	struct conf_edit out;
	struct value *v;
	struct edit *next;		/* of the same name */
	bool lost;
};

struct side {
	const struct scope *sc;
	bool request, groups;
	struct edit *v;
	unsigned n;
	struct htab names;		/* lower-case name -> first struct edit */
};

/* They frame messages or belong to one connection. */
static const char *const fixed[] = {
	"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length",
	"http2-settings"
};

static bool name_ok(const struct side *sd, const struct entry *e, struct span name, const struct word *w)
{
	struct load *ld = sd->sc->ld;

	if (!conf_is_token(name) || memchr(name.p, '$', name.n) != NULL) {
		conf_expected(ld, e, e->opt->form, w, NULL);
		return false;
	}
	for (unsigned i = 0; i < ARRAY_LEN(fixed); i++) {
		if (!span_caseeq(name, span_of(fixed[i])))
			continue;
		conf_error(ld, e, "%.*s belongs to a single connection or frames the message: weir alone sets it",
			   SPAN_FMT(name));
		return false;
	}
	if (sd->request && span_caseeq(name, SPAN("host"))) {
		conf_error(ld, e, "Host is set by host_header");
		return false;
	}
	return true;
}

/* ---- one line ---- */
static bool value_ok(const struct side *sd, const struct entry *e, struct span value)
{
	for (size_t i = 0; i < value.n; i++) {
		unsigned char c = (unsigned char)value.p[i];

		if ((c >= 32 && c != 127) || c == '\t')
			continue;
		conf_error(sd->sc->ld, e, c == '\n' || c == '\r' ? "a header value cannot hold a line break" :
			   "a header value cannot hold a control byte");
		return false;
	}
	return true;
}

static struct span behind_colon(struct span s)
{
	span_cut(&s, ':');
	return span_trim(s);
}

static bool read_line(const struct side *sd, const struct entry *e, struct edit *out)
{
	struct word w = e->text;
	struct span rest = w.t;
	struct span name = span_trim(span_cut(&rest, ':'));

	if (memchr(w.t.p, ':', w.t.n) == NULL)
		return conf_expected(sd->sc->ld, e, e->opt->form, &w, NULL);
	if (!name_ok(sd, e, name, &w) || !value_ok(sd, e, behind_colon(w.s)))
		return false;
	w.t = span_trim(rest);
	out->out.name = name;
	out->out.value = conf_tmpl(sd->sc->ld, e, &w, sd->groups);
	return out->out.value != NULL;
}

static void put(struct side *sd, struct edit e)
{
	struct span name = arena_span(sd->sc->ld->arena, e.out.name);
	struct edit *slot = &sd->v[sd->n++];

	for (size_t i = 0; i < name.n; i++)
		((char *)name.p)[i] = (char)ascii_lower((unsigned char)name.p[i]);
	*slot = e;
	slot->next = htab_get(&sd->names, name);
	htab_put(&sd->names, name, slot);
}

static void take(struct side *sd, struct value *v, enum conf_edit_kind kind)
{
	const struct entry *e = v->e;
	struct edit one = { .out = { .kind = kind }, .v = v };

	if (kind != CONF_EDIT_REMOVE) {
		if (read_line(sd, e, &one))
			put(sd, one);
		return;
	}
	for (unsigned i = 0; i < e->nwords; i++) {
		if (!name_ok(sd, e, e->words[i].s, &e->words[i]))
			continue;
		one.out.name = e->words[i].s;
		put(sd, one);
	}
}

/* Lines of one key; an `off` ends the layers behind it. */
static void take_key(struct side *sd, enum opt_id id, enum conf_edit_kind kind)
{
	enum layer off = LAYER_BUILT_IN;
	struct value *v;

	for (v = sd->sc->values; v != NULL; v = v->next) {
		if (v->e->opt->id == id && v->e->is_off && v->layer < off)
			off = v->layer;
	}
	for (v = sd->sc->values; v != NULL; v = v->next) {
		if (v->e->opt->id != id)
			continue;
		v->hidden = v->e->is_off ? v->layer > off : v->layer >= off;
		if (!v->hidden && !v->e->is_off)
			take(sd, v, kind);
	}
}

/* ---- nearest wins ---- */
/* Two lines that set one header in one layer. */
static void compare(struct side *sd, const struct edit *a, struct edit *b)
{
	const struct entry *x = a->v->e, *y = b->v->e;
	struct load *ld = sd->sc->ld;
	const char *where = conf_where(ld->arena, x->file, x->line);

	b->lost = true;
	if (x->sect == y->sect)
		conf_error(ld, y, "%.*s is set twice; the first is at %s", SPAN_FMT(b->out.name), where);
	else if (!span_eq(x->text.t, y->text.t))
		conf_sect_error(ld, sd->sc->sect,
				"the policies %.*s and %.*s differ on the header %.*s (%s and %s): set it in this section",
				SPAN_FMT(x->sect->name), SPAN_FMT(y->sect->name), SPAN_FMT(b->out.name), where,
				conf_where(ld->arena, y->file, y->line));
}

/* All lines about one header; they hang from the last one backwards. */
static void settle(struct side *sd, struct edit *last)
{
	enum layer nearest = LAYER_BUILT_IN;
	const struct edit *first = NULL;

	for (struct edit *e = last; e != NULL; e = e->next)
		nearest = e->v->layer < nearest ? e->v->layer : nearest;
	for (struct edit *e = last; e != NULL; e = e->next) {
		e->lost = e->v->layer > nearest;
		if (!e->lost && e->out.kind == CONF_EDIT_SET)
			first = e;
	}
	for (struct edit *e = last; e != NULL && first != NULL; e = e->next) {
		if (e != first && !e->lost && e->out.kind == CONF_EDIT_SET)
			compare(sd, first, e);
	}
}

/* What -T shows of lines of which only a part counts. */
static void note_hidden(struct side *sd)
{
	struct arena *a = sd->sc->ld->arena;

	for (unsigned i = 0; i < sd->n;) {
		struct value *v = sd->v[i].v;
		unsigned lost = 0, from = i;
		const char *left = "";

		for (; i < sd->n && sd->v[i].v == v; i++)
			lost += sd->v[i].lost;
		v->hidden = lost == i - from;
		for (unsigned k = from; k < i && lost > 0; k++) {
			if (!sd->v[k].lost)
				left = arena_printf(a, "%s%s%.*s", left, *left ? ", " : "", SPAN_FMT(sd->v[k].out.name));
		}
		if (lost > 0)
			v->shown = span_of(left);
	}
}

static struct conf_edit *finish(struct side *sd, unsigned *n)
{
	struct conf_edit *out = CONF_NEW(sd->sc->ld, struct conf_edit, sd->n);

	for (size_t i = 0; i < sd->names.cap; i++) {
		if (sd->names.slots[i].key.p != NULL)
			settle(sd, sd->names.slots[i].value);
	}
	note_hidden(sd);
	*n = 0;
	for (unsigned kind = CONF_EDIT_REMOVE; kind <= CONF_EDIT_ADD; kind++) {
		for (unsigned i = 0; i < sd->n; i++) {
			if (sd->v[i].out.kind == kind && !sd->v[i].lost)
				out[(*n)++] = sd->v[i].out;
		}
	}
	return out;
}

static struct conf_edit *read_side(struct scope *sc, bool request, bool groups, unsigned *n)
{
	enum opt_id remove = request ? OPT_route_request_header_remove : OPT_route_response_header_remove;
	struct side sd = { .sc = sc, .request = request, .groups = groups };
	unsigned room = 0;

	for (struct value *v = sc->values; v != NULL; v = v->next)
		room += (v->e->opt->flags & F_ADDS) ? v->e->nwords + 1 : 0;
	if (room == 0) {
		*n = 0;
		return NULL;
	}
	sd.v = CONF_NEW(sc->ld, struct edit, room);
	htab_init(&sd.names);
	take_key(&sd, remove, CONF_EDIT_REMOVE);
	take_key(&sd, request ? OPT_route_request_header : OPT_route_response_header, CONF_EDIT_SET);
	take_key(&sd, request ? OPT_route_request_header_add : OPT_route_response_header_add, CONF_EDIT_ADD);
	struct conf_edit *out = finish(&sd, n);
	htab_fini(&sd.names);
	return out;
}

void conf_route_edits(struct scope *sc, struct conf_route *r)
{
	bool groups = r->path_kind == CONF_PATH_REGEX || sc->trial;

	r->request_edits = read_side(sc, true, groups, &r->nrequest_edits);
	r->response_edits = read_side(sc, false, groups, &r->nresponse_edits);
}
