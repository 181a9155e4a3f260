#include "text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void make_room(text *t, size_t more) {
    if (t->room - t->size > more) return;
    size_t room = (t->size + more + 1) * 2;
    char *data = realloc(t->data, room);
    if (data == NULL) {
        fputs("frcnn-camera-mini: out of memory\n", stderr);
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

/* Bytes of the UTF-8 character at `s`; 0 if there is none (RFC 3629: no surrogates, no longer form than needed). */
static size_t character(const unsigned char *s) {
    if (s[0] < 0x80) return 1;
    size_t more = s[0] >= 0xc2 && s[0] <= 0xdf ? 1 : (s[0] & 0xf0) == 0xe0 ? 2 : s[0] >= 0xf0 && s[0] <= 0xf4 ? 3 : 0;
    /* A NUL continues nothing, so this does not go beyond the end. */
    for (size_t i = 1; i <= more; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f)) {
        return 0;
    }
    return more == 0 ? 0 : more + 1;
}

void text_add_json(text *t, const char *string) {
    text_add(t, "\"");
    for (const unsigned char *s = (const unsigned char *)string; *s != '\0';) {
        size_t bytes = character(s);
        if (bytes == 0) {
            text_add(t, "\xef\xbf\xbd");
            bytes = 1;
        } else if (*s == '"' || *s == '\\') {
            text_add(t, "\\%c", *s);
        } else if (*s < 0x20 || *s == 0x7f) {
            text_add(t, "\\u%04x", *s);
        } else {
            text_add(t, "%.*s", (int)bytes, (const char *)s);
        }
        s += bytes;
    }
    text_add(t, "\"");
}

void text_add_number(text *t, double value, int digits) {
    if (isfinite(value)) {
        text_add(t, "%.*f", digits, value);
    } else {
        text_add(t, "null");
    }
}

void text_clear(text *t) {
    t->size = 0;
    if (t->data != NULL) t->data[0] = '\0';
}

void text_free(text *t) {
    free(t->data);
    memset(t, 0, sizeof *t);
}
