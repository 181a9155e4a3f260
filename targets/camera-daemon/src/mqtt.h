/*
 * Publishes to an MQTT broker, and keeps what cannot be published while it is away: up to MQTT_QUEUE messages, then the
 * oldest is given up and counted.
 *
 *     PREFIX/availability   "online", and "offline" by the broker itself when this process is gone; retained
 *     PREFIX/detections     each JSON line, quality of service 1
 */
#ifndef MQTT_H
#define MQTT_H

#include <stddef.h>

enum { MQTT_QUEUE = 1024 };

/* 0, or -1 with a message on stderr. Returns without waiting for the broker, which may come later. */
int mqtt_start(const char *host, int port, const char *prefix);

/* Never blocks. Nothing happens if MQTT was not started. */
void mqtt_publish(const char *message);

/* What there is to say of the broker since the last call: an event's name, and where and why in `detail`; NULL if nothing.
   "mqtt_connected", "mqtt_lost", or "mqtt_unreachable", once however often a connection is tried. */
const char *mqtt_news(char *detail, size_t size);

/* Says "offline" and waits up to `seconds` for what is queued to go out. How many messages did not. */
unsigned mqtt_stop(int seconds);

#endif
