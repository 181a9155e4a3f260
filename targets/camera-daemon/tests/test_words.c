/* JSON whatever stands in it, and names of brokers. */
#include "options.h"
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

/* The options' one question to the library. */
const char *frcnn_version(void) { return "0"; }

static void brokers(void) {
    static const struct {
        const char *argument, *host;
        int port; /* 0: refused. */
    } CASES[] = {
        {"localhost", "localhost", 1883},
        {"localhost:77", "localhost", 77},
        {"127.0.0.1:65535", "127.0.0.1", 65535},
        {"::1", "::1", 1883},
        {"fe80::1%eth0", "fe80::1%eth0", 1883},
        {"[::1]", "::1", 1883},
        {"[::1]:8883", "::1", 8883},
        {"[2001:db8::8:800:200c:417a]:1", "2001:db8::8:800:200c:417a", 1},
        {"", NULL, 0},
        {":1883", NULL, 0},
        {"[]:1883", NULL, 0},
        {"[::1", NULL, 0},
        {"[::1]x", NULL, 0},
        {"[::1]:", NULL, 0},
        {"[::1]:0", NULL, 0},
        {"localhost:65536", NULL, 0},
        {"localhost:x", NULL, 0},
        {"localhost:", NULL, 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char argument[80];
        const char *host = NULL;
        int port = 1883;
        snprintf(argument, sizeof argument, "%s", CASES[i].argument);
        int result = options_broker(argument, &host, &port);
        if (result != (CASES[i].port == 0 ? -1 : 0)) fprintf(stderr, "%s: %d\n", CASES[i].argument, result);
        CHECK(result == (CASES[i].port == 0 ? -1 : 0));
        if (result == 0) CHECK(strcmp(host, CASES[i].host) == 0 && port == CASES[i].port);
    }
}

/* JSON whatever a name holds and a number is. */
static void json(void) {
    static const char *const CASES[][2] = {
        {"street", "\"street\""},
        {"a \"b\" \\ \n\x7f", "\"a \\\"b\\\" \\\\ \\u000a\\u007f\""},
        {"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x9a\xb2", "\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x9a\xb2\""},
        /* Cut, stray, too long, a surrogate, beyond Unicode. */
        {"\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\x80" "a\xff", "\"\xef\xbf\xbd" "a\xef\xbf\xbd\""},
        {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    text t = {0};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        text_clear(&t);
        text_add_json(&t, CASES[i][0]);
        if (strcmp(t.data, CASES[i][1]) != 0) fprintf(stderr, "%s\n%s\n", t.data, CASES[i][1]);
        CHECK(strcmp(t.data, CASES[i][1]) == 0);
    }
    text_clear(&t);
    const double numbers[] = {0.5, -2, NAN, INFINITY, -INFINITY, 1e300};
    for (int i = 0; i < 5; i++) {
        text_add_number(&t, numbers[i], 2);
        text_add(&t, " ");
    }
    CHECK(strcmp(t.data, "0.50 -2.00 null null null ") == 0);
    text_free(&t);
}

int main(void) {
    brokers();
    json();
    puts("words conform");
    return 0;
}
