/*
 * location.c - makes a server's references to itself true for the client (rewrite_location).
 *
 * A filter of servers' answers: Location, Content-Location and Refresh. A path
 * gets the stripped prefix back and loses the added one; an absolute reference
 * to the server, or to the host the client asked for, names the client's scheme
 * and host. References to elsewhere, and relative ones, stay as they are.
 */
#include "common/obj.h"
#include "worker/filter/filters.h"
#include "worker/http/uri.h"

#define HOST_MAX 256

static bool same_authority(struct span a, struct span b)
{
	char x[HOST_MAX + URI_V6_ROOM], y[HOST_MAX + URI_V6_ROOM];
	uint16_t px, py;
	size_t nx, ny;

	if (a.n == 0 || b.n == 0 || a.n > HOST_MAX || b.n > HOST_MAX)
		return false;
	nx = uri_host(a, x, &px);
	ny = uri_host(b, y, &py);
	return nx > 0 && nx == ny && memcmp(x, y, nx) == 0 && (px ? px : 80) == (py ? py : 80);
}

/* The authorities under which the server may know itself: what it was called by, its address, the client's word. */
static bool is_ours(const struct exchange *x, struct span authority)
{
	if (same_authority(authority, head_get(&x->req, HDR_HOST)) || same_authority(authority, x->server) ||
	    same_authority(authority, x->req.authority))
		return true;
	/* A host name's server is called NAME@IP here. */
	for (unsigned i = 0; x->upstream != NULL && i < x->upstream->nservers; i++)
		if (same_authority(authority, x->upstream->servers[i].text))
			return true;
	return false;
}

/* What stands in front of an absolute path: scheme and authority as the server sees them. */
struct origin {
	bool named;
	struct span authority, path;	/* path: the rest, query and fragment included */
};

/* False: a reference that is none of ours to change. */
static bool cut_origin(const struct exchange *x, struct span v, struct origin *o)
{
	struct span rest = v;
	size_t n = 0;

	o->named = true;
	if (v.n > 7 && span_caseeq(span_make(v.p, 7), SPAN("http://"))) {
		rest = span_make(v.p + 7, v.n - 7);
	} else if (span_starts(v, SPAN("//"))) {
		rest = span_make(v.p + 2, v.n - 2);
	} else {
		o->named = false;
		o->authority = span_make("", 0);
		o->path = v;
		return span_starts(v, SPAN("/"));
	}
	while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?' && rest.p[n] != '#')
		n++;
	o->authority = span_make(rest.p, n);
	o->path = span_make(rest.p + n, rest.n - n);
	return is_ours(x, o->authority);
}

static size_t path_length(struct span s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] != '?' && s.p[n] != '#')
		n++;
	return n;
}

/* Cuts the added prefix off and gives the one to put in front. A path that shows the stripped prefix comes from a server that
 * heeds X-Forwarded-Prefix. */
static struct span map_path(const struct exchange *x, struct span *path)
{
	struct span stripped = path_stripped(x), added = x->route->add_prefix;
	struct span own = span_make(path->p, path_length(*path));

	if (added.n > 0 && added.p[added.n - 1] == '/')
		added.n--;
	if (added.n > 0) {
		if (!uri_below(own, added))
			return SPAN("");
		*path = span_make(path->p + added.n, path->n - added.n);
	} else if (stripped.n > 0 && uri_below(own, stripped)) {
		return SPAN("");
	}
	return stripped;
}

/* Of a list that trusted proxies made, the one nearest to the client. */
static struct span first_of(struct span list)
{
	return span_trim(span_cut(&list, ','));
}

bool location_map(struct exchange *x, struct span value, struct span *out)
{
	struct span proto = first_of(head_get(&x->req, HDR_X_FORWARDED_PROTO));
	struct span host = first_of(head_get(&x->req, HDR_X_FORWARDED_HOST));
	struct span parts[6], prefix, path;
	struct origin o;
	unsigned n = 0;

	*out = value;
	if (!cut_origin(x, value, &o))
		return true;
	path = o.path;
	prefix = map_path(x, &path);
	if (o.named) {
		bool https = span_caseeq(proto.n ? proto : x->req.scheme, SPAN("https"));

		parts[n++] = https ? SPAN("https://") : SPAN("http://");
		parts[n++] = host.n ? host : x->req.authority.n ? x->req.authority : o.authority;
	}
	parts[n++] = prefix;
	/* What remains is below the prefix, or the root itself; two slashes in front would make it a host (RFC 3986 4.2). */
	if (path.n == 0 || path.p[0] != '/')
		parts[n++] = SPAN("/");
	else if (!o.named && prefix.n == 0 && span_starts(path, SPAN("//")))
		parts[n++] = SPAN("/.");
	parts[n++] = path;
	*out = arena_join(&x->arena, parts, n);
	return out->p != NULL;
}

static bool map_field(struct exchange *x, enum hdr_id id)
{
	struct span value = head_get(&x->resp, id), mapped;

	if (value.n == 0)
		return true;
	return location_map(x, value, &mapped) && (mapped.p == value.p || head_set_id(&x->resp, id, mapped));
}

/* "5; url=/path", the reference perhaps in quotes. */
static bool map_refresh(struct exchange *x)
{
	struct span value = head_get(&x->resp, HDR_REFRESH), rest = value, url, mapped, tail;
	size_t n = 0;

	while (n < value.n && value.p[n] != ';' && value.p[n] != ',')
		n++;
	if (n >= value.n)
		return true;
	rest = span_trim(span_make(value.p + n + 1, value.n - n - 1));
	if (rest.n < 4 || !span_caseeq(span_make(rest.p, 4), SPAN("url=")))
		return true;
	url = span_trim(span_make(rest.p + 4, rest.n - 4));
	if (url.n >= 2 && (url.p[0] == '"' || url.p[0] == '\'') && url.p[url.n - 1] == url.p[0])
		url = span_make(url.p + 1, url.n - 2);
	if (!location_map(x, url, &mapped))
		return false;
	if (mapped.p == url.p)
		return true;
	tail = span_make(url.p + url.n, (size_t)(value.p + value.n - url.p) - url.n);
	mapped = arena_join(&x->arena, (struct span[]){ span_make(value.p, (size_t)(url.p - value.p)), mapped, tail }, 3);
	return mapped.p != NULL && head_set_id(&x->resp, HDR_REFRESH, mapped);
}

static void on_response(struct exchange *x)
{
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	if (x->own_answer || x->route == NULL || !x->route->rewrite_location || x->route->action != CONF_UPSTREAM)
		return;
	if (!map_field(x, HDR_LOCATION) || !map_field(x, HDR_CONTENT_LOCATION) || !map_refresh(x))
		log_debug("A Location of route %.*s left as the server wrote it: the answer's head is too large.",
			  SPAN_FMT(x->route->name));
}

const struct filter filter_location = { .name = "location", .response = on_response };
