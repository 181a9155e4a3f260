/*
 * Publishes to an MQTT broker, and keeps what cannot be published while it is away: up to MQTT_QUEUE messages, then the
 * oldest is given up and counted.
 *
 *     PREFIX/availability   "online", and "offline" by the broker itself when this process is gone; retained
 *     PREFIX/detections     each JSON line, quality of service 1
 */
#ifndef MQTT_H
#define MQTT_H

enum { MQTT_QUEUE = 1024 };

/* 0, or -1 with a message on stderr. Returns without waiting for the broker, which may come later. */
int mqtt_start(const char *host, int port, const char *prefix);

/* Never blocks. Nothing happens if MQTT was not started. */
void mqtt_publish(const char *message);

/* Says "offline" and waits up to `seconds` for what is queued to go out. */
void mqtt_stop(int seconds);

#endif
