// kind: accept4 with unknown flags fails before it waits
#include "odd.h"

static void odd(void) { SHOW(accept4(listener, NULL, NULL, 0x12345)); }
