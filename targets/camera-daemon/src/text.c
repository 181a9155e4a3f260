#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void make_room(text *t, size_t more) {
    if (t->room - t->size > more) return;
    size_t room = (t->size + more + 1) * 2;
    char *data = realloc(t->data, room);
    if (data == NULL) {
        fputs("frcnn-camera: out of memory\n", stderr);
        abort();
    }
    t->data = data;
    t->room = room;
}

void text_add(text *t, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (size < 0) return;
    make_room(t, (size_t)size);
    va_start(arguments, format);
    vsnprintf(t->data + t->size, (size_t)size + 1, format, arguments);
    va_end(arguments);
    t->size += (size_t)size;
}

void text_add_json(text *t, const char *s) {
    text_add(t, "\"");
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') {
            text_add(t, "\\%c", c);
        } else if (c < 0x20) {
            text_add(t, "\\u%04x", c);
        } else {
            text_add(t, "%c", c);
        }
    }
    text_add(t, "\"");
}

void text_clear(text *t) {
    t->size = 0;
    if (t->data != NULL) t->data[0] = '\0';
}

void text_free(text *t) {
    free(t->data);
    memset(t, 0, sizeof *t);
}
