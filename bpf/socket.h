/* Sockets: the table of connections, their addresses, and which process may be seen. Offsets of kernel structures come
 * from the running kernel's BTF (apisensor/loader/macros.py). */

#define AF_UNIX     1
#define AF_INET     2
#define AF_INET6    10
#define SOCK_STREAM 1

static __always_inline u64 kernel_pointer(u64 at) {
    u64 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), (void *)at);
    return value;
}

enum transport { TRANSPORT_OTHER = 0, TRANSPORT_TCP = 1, TRANSPORT_UNIX = 2 };

/* Which of the observed kinds a socket is. */
static __always_inline enum transport transport_of(u64 sk) {
    u16 family = 0, kind = 0;
    bpf_probe_read_kernel(&family, sizeof(family), (void *)(sk + SOCK_FAMILY));
    if (family == AF_INET || family == AF_INET6) {
        bpf_probe_read_kernel(&kind, sizeof(kind), (void *)(sk + SOCK_PROTOCOL));
        return kind == 6 ? TRANSPORT_TCP : TRANSPORT_OTHER;
    }
#if MAX_UNIX_CONNECTIONS
    if (family == AF_UNIX) {
        bpf_probe_read_kernel(&kind, sizeof(kind), (void *)(sk + SOCK_TYPE));
        return kind == SOCK_STREAM ? TRANSPORT_UNIX : TRANSPORT_OTHER;
    }
#endif
    return TRANSPORT_OTHER;
}

/* What both ends of a TCP connection know of it, whatever is done to its addresses on the way: where the sequence
 * numbers of the bytes sent begin, and of those received. tcp_sock counts bytes_acked and bytes_received together with
 * snd_una and rcv_nxt (RFC 4898), so each difference is the same at any time. The end that connected had its SYN
 * acknowledged, and counts it: its first half is one less than the other end's second. */
static __always_inline u64 sequence_identity(u64 sk) {
    u32 unacknowledged = 0, next = 0;
    u64 acknowledged = 0, received = 0;
    bpf_probe_read_kernel(&unacknowledged, sizeof(unacknowledged), (void *)(sk + TCP_UNACKNOWLEDGED));
    bpf_probe_read_kernel(&acknowledged, sizeof(acknowledged), (void *)(sk + TCP_BYTES_ACKED));
    bpf_probe_read_kernel(&next, sizeof(next), (void *)(sk + TCP_NEXT));
    bpf_probe_read_kernel(&received, sizeof(received), (void *)(sk + TCP_BYTES_RECEIVED));
    return (u64)(u32)(unacknowledged - acknowledged) << 32 | (u32)(next - received);
}

/* `id` stands for a connection that is not made yet. Leaves the ends of a unix socket as they are: they do not change.
 */
static __always_inline void read_ends(u64 sk, u64 id, struct endpoints *ends) {
    u16 family = 0, remote_port = 0;
    bpf_probe_read_kernel(&family, sizeof(family), (void *)(sk + SOCK_FAMILY));
    if (family == AF_UNIX)
        return;
    __builtin_memset(ends, 0, sizeof(*ends));
    u64 sequence = sequence_identity(sk);
    ends->connection = sequence ? sequence : id;
    bpf_probe_read_kernel(&ends->local_port, 2, (void *)(sk + SOCK_LOCAL_PORT));
    bpf_probe_read_kernel(&remote_port, 2, (void *)(sk + SOCK_REMOTE_PORT));
    ends->remote_port = bpf_ntohs(remote_port);
    if (family == AF_INET) {
        ends->local[10] = ends->local[11] = ends->remote[10] = ends->remote[11] = 0xff;
        bpf_probe_read_kernel(&ends->local[12], 4, (void *)(sk + SOCK_LOCAL_ADDRESS));
        bpf_probe_read_kernel(&ends->remote[12], 4, (void *)(sk + SOCK_REMOTE_ADDRESS));
    } else {
        bpf_probe_read_kernel(ends->local, 16, (void *)(sk + SOCK_LOCAL_ADDRESS6));
        bpf_probe_read_kernel(ends->remote, 16, (void *)(sk + SOCK_REMOTE_ADDRESS6));
    }
}

/* The observed socket behind an open file, or 0. */
static __always_inline u64 sock_of_file(u64 file) {
    u16 mode = 0;
    bpf_probe_read_kernel(&mode, sizeof(mode), (void *)(kernel_pointer(file + FILE_INODE) + INODE_MODE));
    if ((mode & 0170000) != 0140000) /* S_IFSOCK: only then private_data is a struct socket */
        return 0;
    u64 sk = kernel_pointer(kernel_pointer(file + FILE_PRIVATE) + SOCKET_SOCK);
    return sk && transport_of(sk) ? sk : 0;
}

/* The observed socket behind a file descriptor of the current task, or 0. */
static __always_inline u64 sock_of_descriptor(u32 descriptor) {
    u64 files = kernel_pointer(bpf_get_current_task() + TASK_FILES);
    u64 table = kernel_pointer(files + FILES_TABLE);
    u32 size = 0;
    bpf_probe_read_kernel(&size, sizeof(size), (void *)(table + TABLE_SIZE));
    if (descriptor >= size)
        return 0;
    u64 file = kernel_pointer(kernel_pointer(table + TABLE_FILES) + 8ULL * descriptor);
    return file ? sock_of_file(file) : 0;
}

/* May payload of this process be copied? `held` tells the one refusal that is only for the moment. */
static __always_inline int admitted(u32 pid, int *held) {
    u8 *policy = policies.lookup(&pid);
    *held = 0;
    if (policy)
        return *policy == POLICY_ADMITTED || *policy >= POLICY_PAUSED;
    u32 zero = 0;
    struct config *c = config.lookup(&zero);
    if (c && c->hold_unknown) {
        *held = 1;
        return 0;
    }
    return 1;
}

/* Is capture of this process, or of a port of this connection, paused? Without a connection its ports are not known
 * yet: then it is while any port is. */
static __always_inline int is_paused(u32 pid, struct connection *c) {
    u8 *policy = policies.lookup(&pid);
    if (policy && *policy >= POLICY_PAUSED)
        return 1;
    u32 zero = 0;
    u32 *ports = ports_paused.lookup(&zero);
    if (!ports || !*ports)
        return 0;
    if (!c)
        return 1;
    u16 local = c->ends.local_port, remote = c->ends.remote_port;
    return paused_ports.lookup(&local) || paused_ports.lookup(&remote);
}

/* `n` bytes of a paused flow: counted, and told as a loss when it is captured again. */
static __always_inline void pass_over(struct half *half, u8 direction, u64 n) {
    count(COUNT_PAUSED_BYTES, n);
    if (direction == DIRECTION_SEND) {
        lose(&half[0], half[0].position, CAUSE_DETACHED);
        half[0].position += n;
    } else {
        lose(&half[1], half[1].position, CAUSE_DETACHED);
        half[1].position += n;
    }
}

static __always_inline int is_own(u32 pid) {
    u8 *policy = policies.lookup(&pid);
    return policy && *policy == POLICY_OWN;
}

static __always_inline void notice_of(u32 kind, u32 pid, u32 library) {
    struct notice *n = notices.ringbuf_reserve(__builtin_offsetof(struct notice, text));
    if (!n) {
        count(COUNT_NOTICES_LOST, 1);
        return;
    }
    n->time_ns = bpf_ktime_get_ns();
    n->pid = pid;
    n->parent = 0;
    n->uid = bpf_get_current_uid_gid();
    n->kind = kind;
    n->length = 0;
    n->library = library;
    notices.ringbuf_submit(n, 0);
}

static __always_inline void notice(u32 kind, u32 pid) {
    notice_of(kind, pid, 0);
}

/* Adds to a process's byte counts and returns them; the first bytes of a process are told to the capture process. */
static __always_inline struct traffic *traffic_of(u32 pid) {
    struct traffic *t = traffic.lookup(&pid);
    if (t)
        return t;
    struct traffic fresh = {};
    traffic.update(&pid, &fresh);
    notice(NOTICE_TRAFFIC, pid);
    return traffic.lookup(&pid);
}

static __always_inline void notice_once(struct traffic *t, u32 flag, u32 kind, u32 pid) {
    if (!t || (t->flags & flag))
        return;
    t->flags |= flag;
    notice(kind, pid);
}
#define TOLD_ENCRYPTED  1
#define TOLD_MEMORY_BIO 2

/* Whether the entry is of an earlier socket at the same address: the kernel does not run tcp_destroy_sock where it
 * interrupts itself (recursion_misses), and the entry stays. A closed socket has no local port (inet_put_port), but may
 * have bytes to read. */
static __always_inline int is_stale(u64 sk, struct connection *known) {
    u16 local_port = 0, remote_port = 0;
    bpf_probe_read_kernel(&local_port, 2, (void *)(sk + SOCK_LOCAL_PORT));
    bpf_probe_read_kernel(&remote_port, 2, (void *)(sk + SOCK_REMOTE_PORT));
    return local_port && known->ends.local_port &&
           (local_port != known->ends.local_port || bpf_ntohs(remote_port) != known->ends.remote_port);
}

/* TLS in the kernel (kTLS): the socket calls of such a socket carry plaintext, which the TLS library's calls tell. */
static __always_inline int is_kernel_tls(u64 sk) {
    u64 protocol = kernel_pointer(sk + SOCK_UPPER_PROTOCOL);
    char name[4] = {};
    if (protocol)
        bpf_probe_read_kernel(name, sizeof(name), (void *)(protocol + UPPER_PROTOCOL_NAME));
    return name[0] == 't' && name[1] == 'l' && name[2] == 's' && !name[3];
}

/* Whether the kernel talks through the socket itself (NFS and its like), perhaps inside a system call about a file. */
static __always_inline int is_kernels(u64 sk) {
    u64 socket = kernel_pointer(sk + SOCK_SOCKET);
    return socket && !kernel_pointer(socket + SOCKET_FILE);
}

/* The table entry of a TCP socket, made on first sight; 0 when the table is full, which is counted. */
static __always_inline struct connection *connection_of(u64 sk, u32 pid) {
    struct connection *known = connections.lookup(&sk);
    if (known && !is_stale(sk, known))
        return known;
    struct connection fresh = {};
    fresh.id = identity();
    fresh.pid = pid;
    read_ends(sk, fresh.id, &fresh.ends);
    if (is_kernel_tls(sk)) /* joined late: no handshake was seen on it */
        fresh.flags |= CONNECTION_TLS;
    u16 local = fresh.ends.local_port, remote = fresh.ends.remote_port;
    if (never_ports.lookup(&local) || never_ports.lookup(&remote))
        fresh.flags |= CONNECTION_NEVER;
    struct tuple seen = {};
    __builtin_memcpy(seen.local, fresh.ends.local, 16);
    __builtin_memcpy(seen.remote, fresh.ends.remote, 16);
    seen.local_port = local;
    seen.remote_port = remote;
    if (own_tuples.lookup(&seen) || is_kernels(sk))
        fresh.flags |= CONNECTION_NEVER;
    if (is_shed(fresh.id))
        fresh.flags |= CONNECTION_SHED;
    if (connections.update(&sk, &fresh)) { /* in the place of a stale one */
        count(COUNT_MAP_FULL_CONNECTIONS, 1);
        return 0;
    }
    count(COUNT_CONNECTIONS, 1);
    return connections.lookup(&sk);
}
