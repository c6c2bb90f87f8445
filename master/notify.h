/*
 * notify.h - tells a supervisor that speaks systemd's protocol how we are.
 */
#ifndef MASTER_NOTIFY_H
#define MASTER_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* "READY=1", "STOPPING=1". Does nothing where NOTIFY_SOCKET is not set; failures are not our affair. */
void notify_systemd(const char *state);
/* With a descriptor, -1: none. False when there is no room just now; true, too, where nobody wants to know. */
bool notify_fd(const char *state, int fd);
bool notify_is_wanted(void);
/* How often a supervisor wants to hear that the loop still turns; 0: it does not ask. */
uint64_t notify_ping_ms(void);

#endif
