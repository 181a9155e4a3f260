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

/* Appends `s` as a JSON string with its quotes. Bytes that are not UTF-8 are passed on as they are. */
void text_add_json(text *t, const char *s);

void text_clear(text *t);
void text_free(text *t);

#endif
