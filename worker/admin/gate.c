/*
 * gate.c - who may see the pages, and by what name.
 *
 * Called by web.c for each request. The pages tell names and loads, and a
 * browser inside the network would fetch them for any page it shows. So: only
 * the networks of `allow`; only names that cannot be somebody else's, since a
 * name that is may be pointed here (DNS rebinding); nothing that another
 * origin's page asked for. Pure.
 */
#include "worker/admin/gate.h"

#include "common/obj.h"

static bool is_allowed(const struct conf_admin *a, const struct addr *peer)
{
	for (unsigned i = 0; i < a->nallow; i++) {
		if (net_has(&a->allow[i], peer))
			return true;
	}
	return !a->has_allow;
}

static bool is_our_name(const struct conf_admin *a, const struct head *req)
{
	struct addr ip;

	if (req->host.n == 0)
		return req->proto == PROTO_HTTP10;	/* no browser */
	if (addr_parse_ip(req->host, &ip) || span_eq(req->host, SPAN("localhost")))
		return true;
	for (unsigned i = 0; i < a->nhosts; i++) {
		if (span_eq(req->host, a->hosts[i]))
			return true;
	}
	return false;
}

/* The whole of SCHEME://AUTHORITY; the pages are in clear. */
static bool is_own_origin(const struct head *req, struct span origin)
{
	const struct span scheme = SPAN("http://");

	return span_starts(origin, scheme) &&
	       span_caseeq(span_make(origin.p + scheme.n, origin.n - scheme.n), req->authority);
}

/* Every one of several fields has to be good. */
static bool all_good(const struct head *req, struct span name, bool (*good)(const struct head *req, struct span value))
{
	for (int i = head_index(req, name, 0); i >= 0; i = head_index(req, name, (unsigned)i + 1)) {
		if (!good(req, req->fields[i].value))
			return false;
	}
	return true;
}

static bool is_own_site(const struct head *req, struct span site)
{
	(void)req;
	return span_eq(site, SPAN("none")) || span_eq(site, SPAN("same-origin"));
}

unsigned gate_check(const struct conf_admin *a, const struct head *req, const struct addr *peer, const char **why)
{
	if (!is_allowed(a, peer)) {
		*why = "allow in [admin] does not name your address.";
		return 403;
	}
	if (!is_our_name(a, req)) {
		*why = "Ask by address, as localhost, or by a name that host in [admin] names.";
		return 421;
	}
	if (!all_good(req, SPAN("Origin"), is_own_origin) || !all_good(req, SPAN("Sec-Fetch-Site"), is_own_site)) {
		*why = "Another site asked for this page. Open its address yourself.";
		return 403;
	}
	if (req->method != METHOD_GET && req->method != METHOD_HEAD) {
		*why = "Only GET and HEAD.";
		return 405;
	}
	if (req->body != BODY_NONE) {
		*why = "A request for a page has no body.";
		return 400;
	}
	*why = NULL;
	return 0;
}
