/* What the user said on the command line. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "source.h"

typedef struct options {
    const char *model;
    source_options source;
    int live; /* Drop frames rather than fall behind. */
    int all;  /* A line for every frame. */
    int whole; /* Compute every frame as a whole. */
    float tolerance; /* Grey levels; negative: learned. */
    uint32_t threads;
    float score_threshold; /* Negative: the bundle's. */
    uint32_t proposer;
    int proposer_given; /* Else by what the model has. */
    const char *mqtt_host; /* NULL: no MQTT. */
    int mqtt_port;
    const char *topic;
    int metrics_port; /* -1: none. */
} options;

/* Takes HOST, HOST:PORT, an IPv6 address, [ADDRESS] or [ADDRESS]:PORT apart, within `text`. 0, or -1 after a message on
   stderr. */
int options_broker(char *text, const char **host, int *port);

/* 0 to go on, 1 when --help or --version was answered, -1 after a message on stderr. */
int options_read(options *o, int argc, char **argv);

#endif
