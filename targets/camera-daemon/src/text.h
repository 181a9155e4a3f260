/* Text that grows, and JSON strings. */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>

typedef struct text {
    char *data; /* With a NUL behind it; NULL while empty. */
    size_t size, room;
} text;

/* Appends as printf does. Without memory the program ends: a daemon that cannot report is restarted instead. */
void text_add(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends `s` as a JSON string with its quotes. What is not UTF-8 becomes U+FFFD, a byte at a time. */
void text_add_json(text *t, const char *s);

/* Appends a number with `digits` behind the point; `null` for what JSON has no number for: infinities and NaN. */
void text_add_number(text *t, double value, int digits);

void text_clear(text *t);
void text_free(text *t);

#endif
