/* Tells systemd how the service does, if systemd started it (sd_notify's protocol: a datagram to $NOTIFY_SOCKET). */
#ifndef NOTIFY_H
#define NOTIFY_H

/* `state` as in sd_notify(3): "READY=1", "WATCHDOG=1", "RELOADING=1", "STOPPING=1", "STATUS=…". */
void notify(const char *state);

/* Milliseconds between two WATCHDOG=1, half of what systemd allows; -1 if it does not watch. */
int notify_watchdog_ms(void);

#endif
