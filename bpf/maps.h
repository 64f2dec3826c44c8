/* Maps: key, value, life time and bound of each. Sizes come from the loader (-D), which takes them from the settings.
 *
 * The entries of a large table that is mostly empty take memory when they are needed, where the kernel's allocator is
 * safe for that (ENTRY_FLAGS), else from the beginning, as of all other tables. An entry for which there is no memory
 * is counted as for a full table. The policies are not among these tables: there must be room for them. */
#define HASH_AS_NEEDED(name, key, value, entries) BPF_F_TABLE("hash", key, value, name, entries, ENTRY_FLAGS)

/* One ring per worker; the inner maps are made by the loader. Chosen by thread group id modulo the number of workers,
 * which is constant for a process's life. `ring_template` only gives the inner maps' type and is ring 0 itself. */
BPF_RINGBUF_OUTPUT(ring_template, RING_PAGES);
BPF_ARRAY_OF_MAPS(rings, "ring_template", MAX_WORKERS);

/* Notices to the capture process. 1 MiB: a burst of about 900 executions. */
BPF_RINGBUF_OUTPUT(notices, 256);

/* Set once by the capture process before the first probe is attached. */
struct config {
    u32 workers;
    u32 call_limit;   /* bytes of one call that are copied at most */
    u32 hold_unknown; /* 1: no payload of a process is copied before the capture process admitted it */
    u32 hold_unbound; /* 1: no payload of a TLS session is copied before its socket is known: there are never_ports */
};
BPF_ARRAY(config, struct config, 1);

/* Key: worker. Raised whenever that worker is started, from 1 on: it does not know what its predecessor was told, so
 * KIND_OPEN and KIND_BIND are told again ahead of the next record of each flow. */
BPF_ARRAY(epochs, u32, MAX_WORKERS);

/* What the governor leaves out for now. Written by `run`, read here and, through shared memory, by the workers. */
struct governor {
    u32 shed;   /* of 256 flows, those not captured: by the hash of their identity, so that more are the same and others
                 */
    u32 bodies; /* 1: the workers keep no bodies */
};
BPF_F_TABLE("array", u32, struct governor, governor, 1, BPF_F_MMAPABLE);

/* One direction of a flow. */
struct half {
    u64 position;   /* bytes that passed, counted from JOINED where a TLS session's beginning was not seen */
    u64 lost_from;  /* position of the first byte of a loss that no record has told yet */
    u32 lost_cause; /* enum cause; valid when `lost` is set */
    u32 lost;       /* 1: bytes from lost_from to position are missing */
};

/* What the kernel has counted of a direction of a TCP connection (account.h). */
struct account {
    u32 sequence; /* sequence number behind the last byte that was counted here */
    u32 noticed;  /* behind the last byte that a call of the other direction found beyond it */
    u64 noticed_ns;
};

/* Sockets. Key: struct sock *. From the first byte (or the connect call) to tcp_destroy_sock, so an address that the
 * kernel uses again is a new entry; of a unix socket see unix_places. Full: the socket is not captured and its bytes
 * are counted (COUNT_MAP_FULL_*). */
struct connection {
    u64 id;
    u32 pid;       /* process that moved its first byte */
    u32 flags;     /* enum connection_flag */
    u32 announced; /* epoch in which KIND_OPEN was delivered; 0: never */
    u32 unseen;    /* bytes that were told as CAUSE_UNSEEN_PATH */
    u64 tls_flow;  /* the TLS flow it carries, or 0 */
    u64 ssl;       /* its SSL object, with ssl_pid the key in tls_sessions */
    u32 ssl_pid;
    u32 handshake; /* bytes that passed before it was known whose they are: counted as unseen until then */
    struct half half[2];
    struct account account[2]; /* with CONNECTION_ACCOUNTED */
    struct endpoints ends;
};
enum connection_flag {
    CONNECTION_TLS = 2,        /* carries TLS records: its bytes are counted, never copied */
    CONNECTION_NEVER = 4,      /* on the never-capture list, or the sensor's own */
    CONNECTION_SENT = 8,       /* the first sent bytes were looked at */
    CONNECTION_RECEIVED = 16,  /* the first received bytes were looked at */
    CONNECTION_SHED = 32,      /* left out by the governor when it was first seen, and since */
    CONNECTION_ACCOUNTED = 64, /* `account` is known */
    CONNECTION_UNIX = 128,     /* a unix socket */
};
HASH_AS_NEEDED(connections, u64, struct connection, MAX_CONNECTIONS);

#if MAX_UNIX_CONNECTIONS
/* Unix sockets that have an entry in `connections`. No event tells of their end, so entries are removed when an end of
 * the stream is read from the other side, when the kernel uses the address again, and at the latest when a new socket
 * comes around to the place of one that is closed. A new one looks at a few places; where all of them are of open
 * sockets, it is not captured, which is counted as for connections. */
struct place {
    u64 sk;
    u64 connection; /* its id, as the address may be another's by now */
};
BPF_ARRAY(unix_places, struct place, MAX_UNIX_CONNECTIONS);
BPF_ARRAY(unix_next_place, u64, 1);
#define PLACES_LOOKED_AT 16
#endif

/* TLS sessions. Key: process and SSL object. From the first call on it to SSL_free, SSL_clear, or the end of its
 * socket; the capture process removes what a killed process left behind. Full: counted as for connections. */
struct session_key {
    u64 ssl;
    u32 pid;
    u32 unused;
};
struct session {
    u64 flow;
    u64 sock;       /* struct sock * that carries it, or 0 */
    u64 connection; /* id of that socket */
    u32 announced;  /* epoch in which KIND_BIND for that socket was delivered; 0: never */
    u32 binding;    /* enum binding: how the socket is known */
    u32 added;      /* bytes that a TLS record of it adds to its plaintext; 0: not known yet; goroutines only */
    u32 flags;      /* SESSION_SHED: left out by the governor when it was first seen, and since */
    u64 begun_by;   /* who made the write that it was first seen by, until a read shows that none was missed; else 0 */
    struct half half[2];
};
#define SESSION_SHED 1
HASH_AS_NEEDED(tls_sessions, struct session_key, struct session, MAX_TLS_SESSIONS);

/* Key: 0. 1 while the capture process attaches to a library, whose probes then are only partly there. */
BPF_ARRAY(attaching, u32, 1);

/* TLS calls in progress. Key: who calls, and depth (a TLS session inside another's call, as a client does to an HTTPS
 * proxy, is depth 1). Who: a thread id, or a goroutine (struct g *) with its process, as it moves between threads. From
 * entry to return; removed when the thread ends, by the capture process where a goroutine's process has ended. */
struct call_key {
    u64 who;
    u32 pid; /* 0 for a thread */
    u32 depth;
};
struct call {
    u64 ssl;
    u64 buffer;
    u64 length_at; /* size_t * of the _ex functions, 0 for the others */
    u64 stack;     /* stack pointer at entry: tells a nested call from a stale entry, and finds the call at return; of a
                      goroutine its distance from the top, as its stack may be moved */
    u32 socket_calls;
    u8 direction; /* enum direction, or QUIET */
    u8 on_stack;  /* the buffer lies on the goroutine's stack, given as a distance from its top */
    u8 no_room;   /* there was none for its session: its bytes are lost */
    u8 unused;
    /* Of a write of a goroutine: see whole_write_sent. */
    u64 length;
    u64 reported;    /* bytes that were told before the return */
    u64 ciphertext;  /* bytes that its socket calls sent */
    u32 records;     /* TLS records in them; MANY: not to be told from the bytes */
    u32 record_left; /* bytes of the last record that are yet to be sent */
};
#define MANY  0xffffffff
#define QUIET 2 /* a call whose bytes are not reported; its socket calls and records tell the session's socket */
HASH_AS_NEEDED(calls, struct call_key, struct call, 65536);

/* Where a call's bytes lie in user memory: one buffer, or an iovec array of which `buffer` is the current element. */
struct source {
    u64 buffer;
    u64 left;    /* bytes left in the current buffer */
    u64 vectors; /* struct iovec * of the next element, or 0 */
    u64 vector_count;
};

/* A sendmmsg or recvmmsg in progress. Key: thread id. From its first message to its last or to an error; where neither
 * is seen, until the thread's next such call of other messages, or evicted as the oldest. */
struct batch {
    u64 messages; /* struct mmsghdr *: the first */
    u32 count;
    u32 next; /* the message whose turn it is */
};
BPF_TABLE("lru_hash", u64, struct batch, batches, 4096);
#ifdef REQUEST_OPERATION
/* Requests of io_uring about sockets, in flight. Key: struct io_kiocb *; value: the key of `in_flight`. From its
 * submission to its completion, or evicted as the oldest: then its bytes are counted. */
BPF_TABLE("lru_hash", u64, u64, requests, 16384);
/* Key: struct sock * and, in the lowest bit, the direction. While there is one in flight, or evicted as the oldest. */
struct in_flight {
    u64 request; /* the latest; 0: it is complete */
    s64 number;
};
BPF_TABLE("lru_hash", u64, struct in_flight, in_flight, 16384);
#endif
#ifdef BACK_END_KPROBE
/* Socket calls in progress. Key: thread id. From a call's entry, where its iterator still points to its beginning, to
 * its return: the next call of the thread replaces what is left. Full: the bytes are counted (COUNT_MAP_FULL_BYTES). */
HASH_AS_NEEDED(transfers, u64, struct source, 65536);
#endif

/* How far the copying of a call has come. Key: thread id; only while a program copies. It lies in a map and not on the
 * stack because the verifier follows values on the stack through every turn of the loop and would never finish. */
struct cursor {
    struct source source;
    u64 done;
    u64 limit;
};
BPF_HASH(cursors, u64, struct cursor, 4096);

/* The first bytes of a TLS record that a library gave to a memory BIO. Key: process and those bytes. Until the socket
 * call that sends them, or evicted as the oldest (8,192 records in flight between encryption and sending). */
#define PREFIX 24 /* a record header and 19 ciphertext bytes; no two records of a process share them */
struct prefix_key {
    u32 pid;
    u32 unused;
    u8 bytes[PREFIX];
};
struct prefix {
    u64 ssl;
    u32 ambiguous; /* two sessions wrote the same bytes: matches nothing */
    u32 unused;
};
BPF_TABLE("lru_hash", struct prefix_key, struct prefix, prefixes, 8192);

/* Processes whose sends are compared with `prefixes`. Key: thread group id. Until the process ends. */
HASH_AS_NEEDED(memory_bio, u32, u8, 16384);

/* What may be seen of a process. Key: thread group id; inherited by fork; until the process ends. */
enum policy { POLICY_ADMITTED = 1, POLICY_NEVER = 2, POLICY_OWN = 3, POLICY_PAUSED = 64 };
BPF_HASH(policies, u32, u8,
         65536); /* POLICY_PAUSED + place in `pauses` of the one that it is for, so that children know */

/* What is paused for now: the rules as the capture process wrote them, for its successor. Key: place. */
#define MAX_PAUSES 64
struct pause {
    u8 rule[128]; /* text; empty: the place is free */
};
BPF_ARRAY(pauses, struct pause, MAX_PAUSES);

/* Ports of paused connections, and how many there are, which is all that a call looks at where there is none. */
BPF_HASH(paused_ports, u16, u8, MAX_PAUSES);
BPF_ARRAY(ports_paused, u32, 1);

/* The never-capture list. Filled once at start. */
BPF_HASH(never_ports, u16, u8, 1024);
struct inode_key {
    u64 inode;
    u32 device; /* kernel's dev_t: major << 20 | minor */
    u32 unused;
};
BPF_HASH(never_executables, struct inode_key, u8, 1024);

/* The sensor's own connections as the other end sees them. Evicted as the oldest. */
struct tuple {
    u8 local[16];
    u8 remote[16];
    u16 local_port;
    u16 remote_port;
    u32 unused;
};
BPF_TABLE("lru_hash", struct tuple, u8, own_tuples, 4096);

/* Written by the workers through shared memory, read here: below these positions payload need not be copied. Slot:
 * flow modulo SKIP_SLOTS. Two flows may share a slot: the later one wins it, the earlier is copied again. */
struct skip {
    u64 flow;
    u64 below[2]; /* FLOW_SHED: the worker gave the flow up for the governor, between two messages */
    u64 unused;
};
#define FLOW_SHED (~0ULL - 1)
BPF_F_TABLE("array", u32, struct skip, skips, SKIP_SLOTS, BPF_F_MMAPABLE);

/* Bit of a library in `traffic`; the same numbers as apisensor.finder.functions. */
enum tls_library { LIBRARY_OPENSSL = 1, LIBRARY_GNUTLS = 2, LIBRARY_GO = 4 };

/* Bytes per process. Key: thread group id. Read by the capture process; evicted as the oldest. */
struct traffic {
    u64 plain;     /* bytes over sockets that carry no TLS */
    u64 encrypted; /* bytes of TLS records over sockets */
    u64 decrypted; /* plaintext bytes of TLS calls */
    u64 captured;  /* of the plaintext: copied into records */
    u64 unseen;    /* those of `encrypted` that passed outside of any observed call and session */
    u32 flags;     /* 1: NOTICE_ENCRYPTED was sent; 2: NOTICE_MEMORY_BIO was sent */
    u32 libraries; /* enum tls_library of its TLS sessions, or-ed */
};
BPF_TABLE("lru_hash", u32, struct traffic, traffic, 16384);

/* Counters, summed over processors by the reader. */
enum count {
    COUNT_RECORDS = 0,
    COUNT_CHUNK_BYTES = 1,
    COUNT_RING_FULL_RECORDS = 2,
    COUNT_RING_FULL_BYTES = 3,
    COUNT_COPY_FAULT_BYTES = 4,
    COUNT_CALL_LIMIT_BYTES = 5,
    COUNT_NOT_IN_USER_MEMORY_BYTES = 6,
    COUNT_SKIPPED_BYTES = 7,
    COUNT_MAP_FULL_CONNECTIONS = 8,
    COUNT_MAP_FULL_SESSIONS = 9,
    COUNT_MAP_FULL_CALLS = 10,
    COUNT_ENCRYPTED_BYTES = 11,
    COUNT_NEVER_BYTES = 12,
    COUNT_HELD_BYTES = 13,
    COUNT_NOTICES_LOST = 14,
    COUNT_BINDINGS = 15,
    COUNT_PREFIX_AMBIGUOUS = 16,
    COUNT_CONNECTIONS = 17,
    COUNT_SESSIONS = 18,
    COUNT_OWN_BYTES = 19,
    COUNT_MAP_FULL_BYTES = 20,
    COUNT_SHED_CONNECTIONS = 21,
    COUNT_SHED_BYTES = 22,
    COUNT_PAUSED_BYTES = 23,
    COUNT_UNSEEN_PATH_BYTES = 24,
    COUNT_SIZE = 25,
};
BPF_PERCPU_ARRAY(counts, u64, COUNT_SIZE);

/* Never written: gives the loader the layout that the compiler chose for the records. */
BPF_ARRAY(layout_record, struct record, 1);
BPF_ARRAY(layout_endpoints, struct endpoints, 1);
BPF_ARRAY(layout_unix_identity, struct unix_identity, 1);
BPF_ARRAY(layout_unix_names, struct unix_names, 1);
BPF_ARRAY(layout_notice, struct notice, 1);
