/*
 * version.h - what "weir -V" tells.
 */
#ifndef MASTER_VERSION_H
#define MASTER_VERSION_H

#include <stdio.h>

/* From the compiler line; these are for a build by hand. */
#ifndef WEIR_VERSION
#define WEIR_VERSION "unknown"
#endif
#ifndef WEIR_BUILD_OPTIONS
#define WEIR_BUILD_OPTIONS "unknown"
#endif
#ifndef WEIR_CONF_FILE
#define WEIR_CONF_FILE "/etc/weir/weir.ini"
#endif

void version_print(FILE *out);

#endif
