/*
 * page.c - /status: the page for a person.
 *
 * Owns the order of its parts and the tables of servers and routes, row by row.
 * Called by web.c. One file without script; it asks for itself anew every few
 * seconds. All that comes from the configuration or the network passes
 * text_html().
 */
#include "common/obj.h"
#include "worker/admin/pages.h"

static const char *const state_class[] = {
	[LOOK_UP] = "good", [LOOK_DOWN] = "bad", [LOOK_PENDING] = "warn", [LOOK_EJECTED] = "warn", [LOOK_DRAINED] = "off",
	[LOOK_HELD] = "off", [LOOK_DISABLED] = "off", [LOOK_UNUSED] = "off",
};

static void cell(struct text *out, const char *label, const char *class)
{
	text_fmt(out, "<td data-l=\"%s\" class=\"%s\">", label, class);
}

static void rate(struct text *out, const char *label, double per_second, bool bad)
{
	cell(out, label, per_second <= 0 ? "n none" : bad ? "n bad" : "n");
	text_count(out, per_second);
	text_str(out, "</td>");
}

static void latency(struct text *out, const char *label, const struct tally_hist *h, double q)
{
	cell(out, label, h->count == 0 ? "n none" : "n");
	if (h->count == 0)
		text_str(out, "\xe2\x80\x93");
	else
		text_latency(out, tally_quantile(h, q));
	text_str(out, "</td>");
}

static void rates(struct text *out, const struct history_rate *r)
{
	rate(out, "req/s", r->answers, false);
	rate(out, "err/s", r->errors, true);
	latency(out, "p50", &r->latency, 0.5);
	latency(out, "p95", &r->latency, 0.95);
	latency(out, "p99", &r->latency, 0.99);
}

#define RATE_HEADS "<th class=n>Requests/s<th class=n>Errors/s<th class=n>p50<th class=n>p95<th class=n>p99"

/* ---- servers ---- */

static void server_row(struct admin_view *v, const struct look *l, struct text *out)
{
	struct history_rate r = history_server(&v->history, l->server->id);
	const char *class = state_class[l->state];

	text_fmt(out, "<tr class=\"%s\"><td class=name>", class);
	text_html(out, l->name);
	if (l->server->backup)
		text_str(out, " <i>backup</i>");
	if (l->address.n > 0 && !span_eq(l->address, l->name)) {
		text_str(out, " <small>");
		text_html(out, l->address);
		text_str(out, "</small>");
	}
	text_fmt(out, "</td><td data-l=state><b class=\"state %s\">%s</b>", class, look_state_name(l->state));
	if (l->for_ms != UINT64_MAX) {
		text_str(out, " <small>for ");
		text_age(out, l->for_ms);
		text_str(out, "</small>");
	}
	if (l->why[0] != '\0') {
		text_str(out, "<span class=why>");
		text_html(out, span_of(l->why));
		text_str(out, "</span>");
	}
	text_str(out, "</td>");
	cell(out, "weight", "n");
	text_fmt(out, "%u</td>", l->weight);
	cell(out, "active", l->active > 0 ? "n" : "n none");
	text_u64(out, l->active);
	if (l->server->max_conns > 0)
		text_fmt(out, "<small>/%u</small>", l->server->max_conns);
	text_str(out, "</td>");
	/* What was counted for a host name is told once. */
	if (l->server->ncells > 1 && l->cell != l->server->cell)
		text_str(out, "<td class=none colspan=5></td>");
	else
		rates(out, &r);
	text_str(out, "</tr>\n");
}

static void upstream_head(struct admin_view *v, const struct conf_upstream *u, struct text *out)
{
	struct cursor c = { .i = u->id };
	unsigned up = 0, all = 0;
	struct look l;

	while (look_next(v, &c, &l)) {
		all++;
		up += l.state == LOOK_UP;
	}
	uint64_t waiting = tally_queued(&v->tally, u->id);

	text_str(out, "<section><h2>Upstream ");
	text_html(out, u->name);
	text_fmt(out, " <small class=\"%s\">%u of %u up", up == 0 ? "bad" : up < all ? "warn" : "", up, all);
	if (waiting > 0) {
		text_str(out, ", ");
		text_u64(out, waiting);
		text_str(out, " waiting");
	}
	text_str(out, "</small></h2><table><thead><tr><th>Server<th>State<th class=n>Weight<th class=n>Active" RATE_HEADS
		 "</thead><tbody>\n");
}

/* c->i: upstream; c->begun: its head is written. */
static bool servers(struct admin_view *v, struct cursor *c, struct text *out)
{
	struct look l;

	if (c->i >= v->conf->nupstreams)
		return false;
	if (!c->begun) {
		upstream_head(v, v->conf->upstreams[c->i], out);
		c->begun = true;
	} else if (look_next(v, c, &l)) {
		server_row(v, &l, out);
	} else {
		text_str(out, "</tbody></table></section>\n");
		c->begun = false;
		c->i++;
		c->j = c->k = 0;
	}
	return true;
}

/* ---- routes ---- */

static void route_goes(const struct conf_route *r, struct text *out)
{
	static const char *const actions[] = { [CONF_UPSTREAM] = "", [CONF_RESPOND] = "answers itself",
					       [CONF_REDIRECT] = "redirects", [CONF_ROOT] = "sends files" };

	text_str(out, actions[r->action]);
	for (unsigned i = 0; i < r->ntargets && i < 8; i++) {
		text_str(out, i > 0 ? ", " : "");
		text_html(out, r->targets[i].upstream->name);
		if (r->targets[i].upstream == r->fallback)
			text_str(out, " <i>fallback</i>");
	}
	if (r->ntargets > 8)
		text_str(out, " \xe2\x80\xa6");
}

static void route_row(struct admin_view *v, unsigned id, struct text *out)
{
	const struct conf_route *r = id < v->conf->nroutes ? v->conf->routes[id] : NULL;
	struct history_rate rates_now = history_route(&v->history, id);

	text_str(out, r != NULL && !r->enabled ? "<tr class=off><td class=name>" : "<tr><td class=name>");
	if (r != NULL)
		text_html(out, r->name);
	else
		text_str(out, "<i>no route</i>");
	if (r != NULL && !r->enabled)
		text_str(out, " <i>not enabled</i>");
	text_str(out, "</td><td data-l=to>");
	if (r != NULL)
		route_goes(r, out);
	text_str(out, "</td>");
	rates(out, &rates_now);
	text_str(out, "</tr>\n");
}

static bool routes(struct admin_view *v, struct cursor *c, struct text *out)
{
	if (!c->begun) {
		text_str(out, "<section><h2>Routes</h2><table><thead><tr><th>Route<th>To" RATE_HEADS "</thead><tbody>\n");
		c->begun = true;
		return true;
	}
	if (c->i > v->conf->nroutes + 1)
		return false;
	if (c->i == v->conf->nroutes + 1)
		text_str(out, "</tbody></table></section>\n");
	else
		route_row(v, c->i, out);
	c->i++;
	return true;
}

/* ---- the whole ---- */

bool status_page(struct admin_view *v, struct cursor *c, struct text *out)
{
	switch (c->part) {
	case 0:
		page_top(v, c, out);
		break;
	case 1:
		page_charts(v, out);
		break;
	case 2:
		if (servers(v, c, out))
			return true;
		break;
	case 3:
		if (routes(v, c, out))
			return true;
		break;
	case 4:
		page_processes(v, out);
		break;
	case 5:
		page_reasons(v, out);
		break;
	default:
		return false;
	}
	c->part++;
	c->begun = false;
	c->i = c->j = c->k = 0;
	return true;
}
