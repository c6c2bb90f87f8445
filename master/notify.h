/*
 * notify.h - tells a supervisor that speaks systemd's protocol how we are.
 */
#ifndef MASTER_NOTIFY_H
#define MASTER_NOTIFY_H

/* "READY=1", "STOPPING=1". Does nothing where NOTIFY_SOCKET is not set; failures are not our affair. */
void notify_systemd(const char *state);

#endif
