/*
 * conf_machine.c - warnings that need the machine: names that do not resolve, limits
 * that cannot be had. Called by -t and at start, bounded in time.
 */
#include "common/conf_parts.h"

void conf_check_machine(const struct conf *c, struct conf_msgs *msgs)
{
	(void)c;
	(void)msgs;
}
