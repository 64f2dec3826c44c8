/* The kernel side of apisensor. The loader replaces each include of a file in this folder by its text (BCC rewrites map
 * accesses in its main file only) and keeps file names and line numbers by #line. */
#include <uapi/linux/ptrace.h>

#include "event.h"
#include "maps.h"
#include "emit.h"
#include "socket.h"
#include "account.h"
#include "unix.h"
#include "tls.h"
#include "syscall.h"
#include "iterator.h"
#include "io_uring.h"
#include "unix_connections.h"
#include "socket_probes.h"
#include "kernel_probes.h"
#include "tls_probes.h"
#include "go_probes.h"
#include "process_probes.h"
