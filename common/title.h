/*
 * title.h - what ps shows of a process.
 *
 * The words of the command line are written over in place, so that titles need
 * no privilege. title_init() comes first in main(), before anything keeps a
 * pointer into argv or environ.
 */
#ifndef COMMON_TITLE_H
#define COMMON_TITLE_H

/* Moves the environment out of the way and returns a copy of argv that stays valid. Ends the process without memory. */
char **title_init(int argc, char **argv);
/* Cut to the room that the command line and environment had. Does nothing before title_init(). */
void title_set(const char *text);

#endif
