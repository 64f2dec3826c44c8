/* What the kernel side tells user space. This file is the only definition of the records: the Python decoders are
 * compared with the layout that the compiler chose, when the sensor starts and in a test.
 *
 * A record travels in the ring of its process (`rings`), so all records of a process keep their order. A record is a
 * `struct record`, followed by `length` payload bytes for KIND_CHUNK, or by a `struct endpoints` for KIND_OPEN and
 * KIND_BIND (and a `struct unix_names` with FLAG_UNIX). The ring may hold more bytes behind it (payloads are reserved
 * in size classes): they are no part of it.
 */

enum kind {
    KIND_OPEN = 1,  /* a plaintext flow and its socket; struct endpoints follows */
    KIND_BIND = 2,  /* a TLS flow is carried by this socket; struct endpoints follows */
    KIND_CHUNK = 3, /* `length` bytes follow, `position` is the first one's */
    KIND_GAP = 4,   /* `length` bytes from `position` on passed and were not captured; `detail` is the cause */
    KIND_END = 5,   /* one direction is over (FIN sent, or end of stream read) */
    KIND_CLOSE = 6, /* the flow is over */
};

enum direction { DIRECTION_SEND = 0, DIRECTION_RECEIVE = 1 };

/* Why bytes are missing; the same numbers as apisensor.events.model.Cause. */
enum cause {
    CAUSE_UNKNOWN = 0,
    CAUSE_RING_FULL = 1,
    CAUSE_COPY_FAULT = 2,
    CAUSE_CALL_LIMIT = 3,
    CAUSE_NOT_IN_USER_MEMORY = 4,
    CAUSE_SKIPPED = 5,
    CAUSE_DETACHED = 6,
    CAUSE_MAP_FULL = 8,
    CAUSE_UNSEEN_PATH = 9, /* account.h */
};

/* How a flow's socket is known; the same numbers as apisensor.events.model.Binding. */
enum binding { BINDING_SOCKET = 0, BINDING_SET_FD = 1, BINDING_NESTED = 2, BINDING_CIPHERTEXT = 3 };

enum record_flag {
    FLAG_TLS = 1,        /* the flow is a TLS session's plaintext */
    FLAG_CALL_START = 2, /* the chunk begins an application call */
    FLAG_UNIX = 4,       /* the ends are of a unix socket: struct unix_names follows struct endpoints */
};

struct record {
    u64 time_ns;  /* CLOCK_MONOTONIC */
    u64 flow;     /* plaintext flow, unique while the maps live */
    u64 position; /* offset in this direction of the flow, bytes */
    u32 pid;      /* thread group */
    u32 length;   /* bytes of payload, or of the gap */
    u8 kind;
    u8 direction;
    u8 flags;  /* enum record_flag */
    u8 detail; /* enum cause of a gap, enum binding of an open or bind */
    u32 unused;
};

struct endpoints {
    u64 connection;  /* sequence_identity of the socket; its id of a unix socket */
    u8 local[16];    /* IPv6, or IPv4 as ::ffff:a.b.c.d; network byte order. Of a unix socket: struct unix_identity */
    u8 remote[16];   /* the same of the peer; nothing of a unix socket */
    u16 local_port;  /* host byte order */
    u16 remote_port; /* host byte order */
    u32 unused;
};

struct unix_identity {
    u64 pair;  /* the same at both ends of the connection */
    u64 inode; /* of this end's socket */
};

#define UNIX_NAME 108 /* sizeof(sun_path) */

/* Names that the ends are bound to: a path, which may end with a NUL byte, or a NUL byte and an abstract name. */
struct unix_names {
    u16 local_length; /* bytes; 0: no name */
    u16 remote_length;
    u8 local[UNIX_NAME];
    u8 remote[UNIX_NAME];
};

/* What the capture process needs to know, in a ring of its own (`notices`). */
enum notice_kind {
    NOTICE_EXEC = 1,       /* a process executes a program; its arguments follow in `text` */
    NOTICE_EXIT = 2,       /* the last thread of a process is gone */
    NOTICE_TRAFFIC = 3,    /* a process moves bytes over a socket for the first time */
    NOTICE_ENCRYPTED = 4,  /* a process moves TLS records outside of any observed TLS call for the first time */
    NOTICE_MEMORY_BIO = 5, /* a process uses TLS sessions that do no socket calls of their own */
    NOTICE_LIBRARY = 6,    /* a process has its first TLS session of a library */
};

#define NOTICE_TEXT                                                                                                    \
    1024 /* bytes of the argument list that an exec notice carries: what a process list shows at most                  \
          */

struct notice {
    u64 time_ns;
    u32 pid;
    u32 parent; /* thread group of the parent; exec only */
    u32 uid;
    u32 kind;
    u32 length;           /* valid bytes in text */
    u32 library;          /* its bit; library only */
    u8 text[NOTICE_TEXT]; /* arguments, each ended by a NUL byte; exec only: other notices end before it */
};
