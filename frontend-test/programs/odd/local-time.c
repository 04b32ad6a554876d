// kind: localtime_r with TZ, strftime, mktime, difftime
#include "odd.h"

static void odd(void) {
    char text[64];
    struct tm parts;
    time_t at = 1700000000;
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
    localtime_r(&at, &parts);
    strftime(text, sizeof text, "%F %T %Z", &parts);
    say("%s\n", text);
    SHOW(mktime(&parts));
    gmtime_r(&at, &parts);
    strftime(text, sizeof text, "%c", &parts);
    say("%s\n", text);
}
