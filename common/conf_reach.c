/* conf_reach.c - stub */
#include "common/conf_parts.h"
void conf_reach(struct load *ld) { (void)ld; }
