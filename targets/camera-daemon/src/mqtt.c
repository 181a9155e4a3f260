#include "mqtt.h"
#include "log.h"

#include <stdio.h>

#ifdef HAVE_MOSQUITTO

#include "metrics.h"

#include <errno.h>
#include <mosquitto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Handed to libmosquitto and not acknowledged; few, so that the queue stays in our hands. */
enum { IN_FLIGHT = 16 };

static struct mosquitto *client;
static char availability[256], detections[256];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *queue[MQTT_QUEUE];
static unsigned first, waiting, in_flight;
static int connected;
static const char *news; /* What mqtt_news gives next. */
static int was_told;     /* That it is not there. */
static char broker[300], reason[200];
static int online_id; /* Used by libmosquitto's thread alone. */

/* Hands over as much as may be in flight. libmosquitto may call back from within publish, so without the lock. */
static void pump(void) {
    for (;;) {
        pthread_mutex_lock(&lock);
        char *message = NULL;
        if (connected && waiting > 0 && in_flight < IN_FLIGHT) {
            message = queue[first];
            first = (first + 1) % MQTT_QUEUE;
            waiting--;
            in_flight++;
        }
        pthread_mutex_unlock(&lock);
        if (message == NULL) return;
        int result = mosquitto_publish(client, NULL, detections, (int)strlen(message), message, 1, false);
        /* Without a connection libmosquitto has kept it, and sends it after the next one. */
        if (result != MOSQ_ERR_SUCCESS && result != MOSQ_ERR_NO_CONN) {
            metrics_add(MQTT_DROPPED, 1);
            pthread_mutex_lock(&lock);
            in_flight--;
            pthread_mutex_unlock(&lock);
        }
        free(message);
    }
}

static void failed(const char *why) {
    metrics_add(MQTT_FAILED, 1);
    metrics_set(MQTT_CONNECTED, 0);
    pthread_mutex_lock(&lock);
    /* Told once an outage. */
    if (connected || !was_told) {
        news = connected ? "mqtt_lost" : "mqtt_unreachable";
        was_told = 1;
        snprintf(reason, sizeof reason, ": %s", why);
    }
    connected = 0;
    pthread_mutex_unlock(&lock);
}

static void on_connect(struct mosquitto *m, void *user, int code) {
    (void)user;
    if (code != 0) {
        failed(mosquitto_connack_string(code));
        return;
    }
    mosquitto_publish(m, &online_id, availability, 6, "online", 1, true);
    pthread_mutex_lock(&lock);
    connected = 1;
    was_told = 0;
    news = "mqtt_connected";
    reason[0] = '\0';
    pthread_mutex_unlock(&lock);
    metrics_set(MQTT_CONNECTED, 1);
    pump();
}

/* Also when there was no connection yet: the broker refused it, or did not answer. */
static void on_disconnect(struct mosquitto *m, void *user, int code) {
    (void)m, (void)user;
    if (code != 0) failed(code == MOSQ_ERR_ERRNO ? strerror(errno) : mosquitto_strerror(code));
}

/* Acknowledged. "online" is, too, but was not counted as in flight. */
static void on_publish(struct mosquitto *m, void *user, int id) {
    (void)m, (void)user;
    if (id == online_id) {
        online_id = 0;
        return;
    }
    pthread_mutex_lock(&lock);
    int counted = in_flight > 0;
    in_flight -= (unsigned)counted;
    pthread_mutex_unlock(&lock);
    metrics_add(MQTT_PUBLISHED, (uint64_t)counted);
    pump();
}

int mqtt_start(const char *host, int port, const char *prefix) {
    snprintf(availability, sizeof availability, "%s/availability", prefix);
    snprintf(detections, sizeof detections, "%s/detections", prefix);
    snprintf(broker, sizeof broker, strchr(host, ':') != NULL ? "[%s]:%d" : "%s:%d", host, port);
    mosquitto_lib_init();
    char name[64], machine[40] = "";
    gethostname(machine, sizeof machine - 1);
    snprintf(name, sizeof name, "frcnn-camera-mini-%.30s-%ld", machine, (long)getpid());
    client = mosquitto_new(name, true, NULL);
    if (client == NULL) {
        log_line("MQTT: %m");
        return -1;
    }
    mosquitto_connect_callback_set(client, on_connect);
    mosquitto_disconnect_callback_set(client, on_disconnect);
    mosquitto_publish_callback_set(client, on_publish);
    mosquitto_will_set(client, availability, 7, "offline", 1, true);
    mosquitto_reconnect_delay_set(client, 1, 30, true);
    /* The thread tries again where the first attempt fails at once. */
    int result = mosquitto_connect_async(client, host, port, 20);
    if (result == MOSQ_ERR_INVAL) {
        log_line("MQTT: %s: %s", broker, mosquitto_strerror(result));
        return -1;
    }
    if (result != MOSQ_ERR_SUCCESS) failed(result == MOSQ_ERR_ERRNO ? strerror(errno) : mosquitto_strerror(result));
    result = mosquitto_loop_start(client);
    if (result != MOSQ_ERR_SUCCESS) {
        log_line("MQTT: %s", mosquitto_strerror(result));
        return -1;
    }
    return 0;
}

const char *mqtt_news(char *detail, size_t size) {
    pthread_mutex_lock(&lock);
    const char *event = news;
    news = NULL;
    if (event != NULL) snprintf(detail, size, "%s%s", broker, reason);
    pthread_mutex_unlock(&lock);
    return event;
}

void mqtt_publish(const char *message) {
    if (client == NULL) return;
    char *copy = strdup(message);
    if (copy == NULL) {
        metrics_add(MQTT_DROPPED, 1);
        return;
    }
    pthread_mutex_lock(&lock);
    char *oldest = NULL;
    if (waiting == MQTT_QUEUE) {
        oldest = queue[first];
        first = (first + 1) % MQTT_QUEUE;
        waiting--;
    }
    queue[(first + waiting++) % MQTT_QUEUE] = copy;
    pthread_mutex_unlock(&lock);
    if (oldest != NULL) {
        free(oldest);
        metrics_add(MQTT_DROPPED, 1);
    }
    pump();
}

unsigned mqtt_stop(int seconds) {
    if (client == NULL) return 0;
    for (int i = 0; i < 20 * seconds; i++) {
        pthread_mutex_lock(&lock);
        int done = !connected || waiting + in_flight == 0;
        pthread_mutex_unlock(&lock);
        if (done) break;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    pthread_mutex_lock(&lock);
    unsigned lost = waiting + in_flight;
    pthread_mutex_unlock(&lock);
    mosquitto_publish(client, NULL, availability, 7, "offline", 1, true);
    mosquitto_disconnect(client);
    mosquitto_loop_stop(client, false);
    mosquitto_destroy(client);
    mosquitto_lib_cleanup();
    client = NULL;
    while (waiting > 0) {
        free(queue[first]);
        first = (first + 1) % MQTT_QUEUE;
        waiting--;
    }
    metrics_add(MQTT_DROPPED, lost);
    return lost;
}

#else

int mqtt_start(const char *host, int port, const char *prefix) {
    (void)host, (void)port, (void)prefix;
    log_line("built without libmosquitto, so without --mqtt");
    return -1;
}

void mqtt_publish(const char *message) { (void)message; }

const char *mqtt_news(char *detail, size_t size) {
    (void)detail, (void)size;
    return NULL;
}

unsigned mqtt_stop(int seconds) {
    (void)seconds;
    return 0;
}

#endif
