/*
 * sni.c - which entry a server name leads to.
 *
 * Called by tls_ctx.c when contexts are set up and for each handshake. Knows
 * nothing of TLS.
 */
#include "worker/io/sni.h"

void sni_init(struct sni *s)
{
	for (unsigned i = 0; i < SNI_KINDS; i++)
		htab_init(&s->names[i]);
}

void sni_fini(struct sni *s)
{
	for (unsigned i = 0; i < SNI_KINDS; i++)
		htab_fini(&s->names[i]);
}

bool sni_add(struct sni *s, struct span name, enum sni_kind kind, void *entry)
{
	if (name.n == 0 || htab_get(&s->names[kind], name) != NULL)
		return false;
	htab_put(&s->names[kind], name, entry);
	return true;
}

void *sni_find(const struct sni *s, struct span name)
{
	char lower[SNI_MAX];
	void *found;

	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	if (name.n == 0 || name.n > sizeof(lower))
		return NULL;
	for (size_t i = 0; i < name.n; i++)
		lower[i] = (char)ascii_lower((unsigned char)name.p[i]);
	name.p = lower;
	found = htab_get(&s->names[SNI_EXACT], name);
	for (size_t i = 0, labels = 0; found == NULL && i + 1 < name.n; i++) {
		struct span rest = span_make(lower + i + 1, name.n - i - 1);

		/* Something must stand for the star. */
		if (lower[i] != '.' || i == 0)
			continue;
		if (labels++ == 0)
			found = htab_get(&s->names[SNI_ONE], rest);
		if (found == NULL)
			found = htab_get(&s->names[SNI_DEEP], rest);
	}
	return found;
}
