// call: socket
// expect: bypass
// via: inline
#include "stuck.h"

static void stick(void) { MUST(RAW(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0) >= 0); }
