/*
 * wire.c - the whole worker wired together: every filter and handler in const
 * tables. A new one is one line here.
 */
#include "worker/wire.h"

#include "worker/filter/filters.h"
#include "worker/handler/handlers.h"

/* What happens when: in this order for requests, in reverse for answers. */
static const struct filter *const filters[] = {
	&filter_access,
	&filter_size,
	&filter_path,
	&filter_forward,
	&filter_edit,
	&filter_hsts,
	&filter_location,
};

static const struct handler *const handlers[] = {
	[CONF_UPSTREAM] = &handler_proxy,
	[CONF_RESPOND] = &handler_respond,
	[CONF_REDIRECT] = &handler_redirect,
	[CONF_ROOT] = NULL,		/* refused when the configuration is read */
};

void wire_env(struct env *e)
{
	e->filters = filters;
	e->nfilters = sizeof(filters) / sizeof(filters[0]);
	e->handlers = handlers;
}
