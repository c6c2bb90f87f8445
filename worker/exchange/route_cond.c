/*
 * route_cond.c - whether one condition of a route holds for a request.
 *
 * Called by the look-up and by the trace. Looks at the request and the configuration, keeps nothing, allocates nothing.
 * Which of several routes wins is route.c's business.
 */
#include "common/obj.h"
#include "worker/exchange/route_table.h"
#include "worker/exchange/vars.h"
#include "worker/http/uri.h"

bool route_stands_on(const struct conf_route *r, const struct conf_listen *l)
{
	if (r->nlistens == 0)
		return !l->exclusive && l->redirect_https == 0;
	for (unsigned i = 0; i < r->nlistens; i++)
		if (r->listens[i] == l)
			return true;
	return false;
}

/* A GET word covers HEAD; a HEAD word is HEAD alone. */
static bool method_is(const struct conf_method *m, const struct head *req)
{
	return span_eq(m->name, req->method_text) || (req->method == METHOD_HEAD && span_eq(m->name, SPAN("GET")));
}

bool route_methods_hold(const struct conf_route *r, const struct head *req)
{
	bool asked = false, found = false;

	for (unsigned i = 0; i < r->nmethods; i++) {
		const struct conf_method *m = &r->methods[i];

		if (m->not) {
			if (method_is(m, req))
				return false;
		} else {
			asked = true;
			found = found || method_is(m, req);
		}
	}
	return found || !asked;
}

bool route_clients_hold(const struct conf_route *r, const struct addr *client)
{
	bool asked = false, found = false;

	for (unsigned i = 0; i < r->nclients; i++) {
		const struct conf_client *c = &r->clients[i];

		if (c->not) {
			if (net_has(&c->net, client))
				return false;
		} else {
			asked = true;
			found = found || net_has(&c->net, client);
		}
	}
	return found || !asked;
}

static bool value_holds(const struct conf_cond *c, struct span value)
{
	switch (c->how) {
	case CONF_M_PRESENT:
		return true;
	case CONF_M_EQUAL:
		return span_eq(c->value, value);
	case CONF_M_REGEX:
		return conf_regex_match(c->regex, value, NULL);
	case CONF_M_ABSENT:
		break;
	}
	return false;
}

/* Several fields of one name: any of them may hold. */
bool route_header_holds(const struct conf_cond *c, const struct head *req)
{
	char scratch[VARS_SCRATCH];
	struct span value = vars_framing(req, c->name, scratch);
	bool there = value.p != NULL;

	if (there && value_holds(c, value))
		return true;
	for (int i = head_index(req, c->name, 0); i >= 0; i = head_index(req, c->name, (unsigned)i + 1)) {
		there = true;
		if (value_holds(c, req->fields[i].value))
			return true;
	}
	return c->how == CONF_M_ABSENT && !there;
}

bool route_cookie_holds(const struct conf_cond *c, const struct head *req)
{
	struct span value;

	if (!vars_cookie(req, c->name, &value))
		return c->how == CONF_M_ABSENT;
	return value_holds(c, value);
}

bool route_query_holds(const struct conf_cond *c, const struct head *req)
{
	struct span value;

	if (!uri_query_get(req->query, c->name, &value))
		return c->how == CONF_M_ABSENT;
	return value_holds(c, value);
}

bool route_rest_holds(const struct conf_route *r, const struct route_ask *ask)
{
	if (r->nmethods > 0 && !route_methods_hold(r, ask->req))
		return false;
	if (r->nclients > 0 && !route_clients_hold(r, ask->client))
		return false;
	for (unsigned i = 0; i < r->nqueries; i++)
		if (!route_query_holds(&r->queries[i], ask->req))
			return false;
	for (unsigned i = 0; i < r->nheaders; i++)
		if (!route_header_holds(&r->headers[i], ask->req))
			return false;
	for (unsigned i = 0; i < r->ncookies; i++)
		if (!route_cookie_holds(&r->cookies[i], ask->req))
			return false;
	return true;
}

bool route_host_holds(const struct conf_host *h, struct span host)
{
	if (!h->wildcard)
		return span_eq(h->name, host);
	/* Something must stand before the dot. */
	return host.n > h->name.n + 1 && span_ends(host, h->name) && host.p[host.n - h->name.n - 1] == '.';
}

bool route_path_holds(const struct conf_route *r, unsigned index, struct span path)
{
	struct span word;

	switch (r->path_kind) {
	case CONF_PATH_NONE:
		return true;
	case CONF_PATH_EXACT:
		return span_eq(r->paths[index], path);
	case CONF_PATH_REGEX:
		return conf_regex_match(r->path_regexes[index], path, NULL);
	case CONF_PATH_PREFIX:
		word = r->paths[index];
		return span_starts(path, word) && (path.n == word.n ? path.n > 0 : path.p[word.n] == '/');
	}
	must_not_reach("unknown kind of path");
}
