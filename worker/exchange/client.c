/*
 * client.c - the client's address behind proxies.
 *
 * Only a trusted peer's header is believed, and only from the right: each
 * address was appended by the hop to its right, so the first one that is not
 * trusted is the last that can be vouched for. Text that is no address ends the walk.
 */
#include "worker/exchange/client.h"

#include "common/obj.h"

/* Cuts the last element off *list. */
static struct span last_element(struct span *list)
{
	size_t i = list->n;
	struct span e;

	while (i > 0 && list->p[i - 1] != ',')
		i--;
	e = span_trim(span_make(list->p + i, list->n - i));
	list->n = i ? i - 1 : 0;
	return e;
}

/* Walks one field's list from the right. True: the client was found, or nothing further left can be believed. */
static bool walk_list(struct exchange *x, struct span list)
{
	const struct conf_listen *l = x->listen;
	struct addr a;

	while (list.n) {
		struct span e = last_element(&list);

		if (e.n == 0)
			continue;
		if (!addr_parse_ip(e, &a) && !addr_parse(e, &a))
			return true;
		a.port = 0;
		x->client = a;
		if (!nets_have(l->trusted, l->ntrusted, &a))
			return true;
	}
	return false;
}

void client_find(struct exchange *x)
{
	const struct conf_listen *l = x->listen;
	const struct head *h = &x->req;

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	x->client = x->peer;
	x->peer_trusted = l->ntrusted && nets_have(l->trusted, l->ntrusted, &x->peer);
	if (!x->peer_trusted)
		return;
	for (unsigned i = h->nfields; i-- > 0;) {
		if (span_caseeq(h->fields[i].name, l->client_ip_header) && walk_list(x, h->fields[i].value))
			return;
	}
}

struct span client_text(struct exchange *x)
{
	char text[ADDR_TEXT];

	if (x->client_text.n == 0)
		x->client_text = arena_span(&x->arena, span_make(text, addr_ip_text(&x->client, text, sizeof(text))));
	return x->client_text;
}
