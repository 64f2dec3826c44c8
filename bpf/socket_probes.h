/* The socket contract, and the back ends that fulfil it.
 *
 * Contract: on_socket(sk, direction, returned, call) is called once for every call that moved bytes, or read the end of
 * the stream, on a TCP socket, in the context of the thread that made it, after the kernel has finished with the
 * user's memory. `call` names the system call and its arguments, from which the bytes are found again.
 *
 * Back end "sock" (kernel 6.3+): the tracepoints sock:sock_send_length and sock:sock_recv_length name the socket and
 * the true length for every path; the arguments come from the thread's saved registers, so no other system call of
 * the machine pays anything.
 * Back end "syscall" (kernel 5.8+): the raw tracepoint sys_exit and a walk of the file table. Every system call of the
 * machine pays for the look at its number. */

struct syscall {
    u64 number;
    u64 arguments[4];
    u64 goroutine; /* r14: where the program is Go's, struct g * of the goroutine that makes the call */
};

#define NR_READ     0
#define NR_WRITE    1
#define NR_READV    19
#define NR_WRITEV   20
#define NR_SENDFILE 40
#define NR_SENDTO   44
#define NR_RECVFROM 45
#define NR_SENDMSG  46
#define NR_RECVMSG  47

#define PEEK     0x2    /* MSG_PEEK: the bytes stay in the queue */
#define TRUNC    0x20   /* MSG_TRUNC on TCP: the bytes are thrown away */
#define ERRQUEUE 0x2000 /* MSG_ERRQUEUE: not stream data */

static __always_inline void read_syscall(struct pt_regs *user, struct syscall *call) {
    struct pt_regs r = {};
    bpf_probe_read_kernel(&r, sizeof(r), user);
    call->number = r.orig_ax;
    call->arguments[0] = r.di;
    call->arguments[1] = r.si;
    call->arguments[2] = r.dx;
    call->arguments[3] = r.r10;
    call->goroutine = r.r14;
}

static __always_inline u64 message_flags(struct syscall *call) {
    if (call->number == NR_RECVFROM)
        return call->arguments[3];
    if (call->number == NR_RECVMSG)
        return call->arguments[2];
    return 0;
}

/* Where the call's bytes lie. 0: nowhere that can be read. */
static __always_inline int find_source(struct syscall *call, struct source *source) {
    __builtin_memset(source, 0, sizeof(*source));
    u64 nr = call->number;
    if (nr == NR_READ || nr == NR_WRITE || nr == NR_SENDTO || nr == NR_RECVFROM) {
        source->buffer = call->arguments[1];
        source->left = call->arguments[2];
        return 1;
    }
    if (nr == NR_READV || nr == NR_WRITEV) {
        source->vectors = call->arguments[1];
        source->vector_count = call->arguments[2];
        return 1;
    }
    if (nr == NR_SENDMSG || nr == NR_RECVMSG) {
        u64 header[4] = {}; /* struct user_msghdr: name, namelen, iov, iovlen */
        if (bpf_probe_read_user(header, sizeof(header), (void *)call->arguments[1]))
            return 0;
        source->vectors = header[2];
        source->vector_count = header[3];
        return 1;
    }
    return 0;
}

/* The first bytes of the call, for a look at what they are. Fewer than asked for: zeroes. */
static __always_inline void first_bytes(struct source *source, u8 *to, u32 size, u64 total) {
    u64 from = source->buffer, available = source->left;
    if (!available && source->vectors) {
        /* Empty leading elements are legal and rare: then nothing is recognised, which only costs a copy. */
        struct user_iovec v = {};
        bpf_probe_read_user(&v, sizeof(v), (void *)source->vectors);
        from = v.base;
        available = v.length;
    }
    if (available >= size && total >= size)
        bpf_probe_read_user(to, size, (void *)from);
    else if (available >= 5 && total >= 5)
        bpf_probe_read_user(to, 5, (void *)from);
}

/* The bytes of a socket that carries TLS: bound where they can be, counted, never copied. */
static __always_inline void on_ciphertext(u64 sk, u32 pid, struct connection *c, u8 direction, u8 *head, u64 total,
                                          struct call *call, struct traffic *t) {
    if (t)
        __sync_fetch_and_add(&t->encrypted, total);
    struct session_key key = {};
    key.pid = pid;
    if (call) {
        call->socket_calls++;
        key.ssl = call->ssl;
        struct session *s = tls_sessions.lookup(&key);
        if (s && is_tls_record(head))
            bind_session(&key, s, sk, c, BINDING_NESTED);
        return;
    }
    if (direction == DIRECTION_SEND && total >= PREFIX && memory_bio.lookup(&pid)) {
        struct prefix_key prefix = {};
        prefix.pid = pid;
        __builtin_memcpy(prefix.bytes, head, PREFIX);
        struct prefix *p = prefixes.lookup(&prefix);
        if (p) {
            if (!p->ambiguous) {
                key.ssl = p->ssl;
                struct session *s = tls_sessions.lookup(&key);
                if (s)
                    bind_session(&key, s, sk, c, BINDING_CIPHERTEXT);
            }
            prefixes.delete(&prefix);
            return;
        }
    }
    if (!c->tls_flow) {
        if (t)
            __sync_fetch_and_add(&t->unseen, total);
        notice_once(t, TOLD_ENCRYPTED, NOTICE_ENCRYPTED, pid);
    }
}

static __always_inline int on_socket(u64 sk, u8 direction, s64 returned, struct syscall *syscall) {
    u64 thread = bpf_get_current_pid_tgid();
    u32 pid = thread >> 32;
    if (returned < 0 || !is_tcp(sk))
        return 0;
    u64 flags = direction == DIRECTION_RECEIVE ? message_flags(syscall) : 0;
    if (flags & (PEEK | ERRQUEUE))
        return 0;
    u64 total = returned;
    int held = 0;
    if (!admitted(pid, &held)) {
        count(held ? COUNT_HELD_BYTES : is_own(pid) ? COUNT_OWN_BYTES : COUNT_NEVER_BYTES, total);
        if (held)
            traffic_of(pid);
        return 0;
    }
    struct connection *c = connection_of(sk, pid);
    if (!c)
        return 0;
    /* Which TLS session such a connection carries must be known all the same: its plaintext passes elsewhere. */
    u32 never = c->flags & CONNECTION_NEVER;
    if (never)
        count(COUNT_NEVER_BYTES, total);
    void *ring = ring_of(c->pid);
    if (!ring)
        return 0;
    struct half *half = direction == DIRECTION_SEND ? &c->half[0] : &c->half[1];
    struct source source;
    int readable = find_source(syscall, &source);
    if (!total) {
        /* read(2) of no bytes returns 0 too: that is not the end of the stream. */
        if (!never && direction == DIRECTION_RECEIVE && readable && (source.left || source.vectors)) {
            u64 flow = c->tls_flow ? c->tls_flow : c->id;
            if (!(c->flags & CONNECTION_TLS))
                emit(ring, KIND_END, pid, flow, DIRECTION_RECEIVE, half->position, 0, 0, 0);
        }
        return 0;
    }
    struct traffic *t = never ? 0 : traffic_of(pid);
    struct call_key where = {};
    struct call *call = current_call(&where);
    if (!call && t && (t->libraries & LIBRARY_GO))
        call = innermost_call(&where, syscall->goroutine, pid);
    u8 head[PREFIX] = {};
    u64 flow = c->id;
    u8 tls = 0;
    u32 looked = direction == DIRECTION_SEND ? CONNECTION_SENT : CONNECTION_RECEIVED;
    if (readable && (call || (c->flags & CONNECTION_TLS) || !(c->flags & looked)))
        first_bytes(&source, head, PREFIX, total);
    if (!(c->flags & looked)) {
        c->flags |= looked;
        if (is_tls_record(head))
            c->flags |= CONNECTION_TLS;
    }
    if ((c->flags & CONNECTION_TLS) || (call && is_tls_record(head))) {
        c->flags |= CONNECTION_TLS;
        if (!never)
            count(COUNT_ENCRYPTED_BYTES, total);
        on_ciphertext(sk, pid, c, direction, head, total, call, t);
        half->position += total;
        if (!call || !where.pid || never || direction != DIRECTION_SEND || call->direction != DIRECTION_SEND)
            return 0;
        struct session_key key = {};
        key.ssl = call->ssl;
        key.pid = pid;
        struct session *s = tls_sessions.lookup(&key);
        ring = ring_of(pid);
        if (!s || s->connection != c->id || call->on_stack || !ring || !whole_write_sent(s, call, head, total))
            return 0;
        total = call->reported = call->length;
        if (t)
            __sync_fetch_and_add(&t->decrypted, total);
        __builtin_memset(&source, 0, sizeof(source));
        source.buffer = call->buffer;
        source.left = total;
        flow = s->flow;
        half = &s->half[0];
        tls = FLAG_TLS;
        goto tell;
    }
    if (never)
        return 0;
    if (t)
        __sync_fetch_and_add(&t->plain, total);
    u32 epoch = epoch_of(c->pid);
    if (c->announced != epoch) {
        read_ends(sk, c->id, &c->ends);
        if (!emit_ends(ring, KIND_OPEN, pid, c->id, &c->ends, 0, BINDING_SOCKET))
            c->announced = epoch;
    }
    if (!readable || (flags & TRUNC)) {
        lose(half, half->position, CAUSE_NOT_IN_USER_MEMORY);
        count_loss(CAUSE_NOT_IN_USER_MEMORY, total);
        half->position += total;
        /* Told at once: a response whose body is a file ends with it, and nothing may follow for long. */
        tell_loss(ring, pid, c->id, direction, half, 0);
        return 0;
    }
tell:
    emit_bytes(ring, pid, flow, direction, half, &source, total, tls, SOCKET_STEPS);
    return 0;
}

#ifdef BACK_END_SOCK
/* Back end "sock". */
static __always_inline int at_sock_length(struct bpf_raw_tracepoint_args *ctx, u8 direction) {
    struct syscall call;
    read_syscall((struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf()), &call);
    return on_socket(ctx->args[0], direction, (int)ctx->args[1], &call);
}

int sock_send_length(struct bpf_raw_tracepoint_args *ctx) {
    return at_sock_length(ctx, DIRECTION_SEND);
}

int sock_recv_length(struct bpf_raw_tracepoint_args *ctx) {
    return at_sock_length(ctx, DIRECTION_RECEIVE);
}

#else
/* Back end "syscall". */
int sys_exit(struct bpf_raw_tracepoint_args *ctx) {
    struct syscall call;
    read_syscall((struct pt_regs *)ctx->args[0], &call);
    u64 nr = call.number;
    u8 direction;
    u64 descriptor = call.arguments[0];
    if (nr == NR_WRITE || nr == NR_WRITEV || nr == NR_SENDTO || nr == NR_SENDMSG || nr == NR_SENDFILE)
        direction = DIRECTION_SEND;
    else if (nr == NR_READ || nr == NR_READV || nr == NR_RECVFROM || nr == NR_RECVMSG)
        direction = DIRECTION_RECEIVE;
    else
        return 0;
    s64 returned = ctx->args[1];
    if (returned < 0)
        return 0;
    u64 sk = sock_of_descriptor(descriptor);
    return sk ? on_socket(sk, direction, returned, &call) : 0;
}

#endif

/* The life of a socket, the same for every back end. */

#define STATE_ESTABLISHED 1
#define STATE_SYN_SENT    2
#define STATE_FIN_WAIT1   4
#define STATE_LAST_ACK    9

int inet_sock_set_state(struct bpf_raw_tracepoint_args *ctx) {
    u64 sk = ctx->args[0];
    int state = ctx->args[2];
    if (state == STATE_SYN_SENT) {
        /* connect(2): the caller is the current process. Only the sensor's own connections must be known this early,
         * before the other end can read their first byte. */
        u32 pid = bpf_get_current_pid_tgid() >> 32;
        if (is_own(pid) && is_tcp(sk))
            connection_of(sk, pid);
        return 0;
    }
    struct connection *c = connections.lookup(&sk);
    if (!c)
        return 0;
    if (state == STATE_ESTABLISHED) {
        if (!is_own(c->pid))
            return 0;
        read_ends(sk, c->id, &c->ends);
        struct tuple seen = {};
        __builtin_memcpy(seen.local, c->ends.remote, 16);
        __builtin_memcpy(seen.remote, c->ends.local, 16);
        seen.local_port = c->ends.remote_port;
        seen.remote_port = c->ends.local_port;
        u8 one = 1;
        own_tuples.update(&seen, &one);
        return 0;
    }
    if ((state == STATE_FIN_WAIT1 || state == STATE_LAST_ACK) && c->announced) {
        void *ring = ring_of(c->pid);
        if (ring)
            emit(ring, KIND_END, c->pid, c->id, DIRECTION_SEND, c->half[0].position, 0, 0, 0);
    }
    return 0;
}

int tcp_destroy_sock(struct bpf_raw_tracepoint_args *ctx) {
    u64 sk = ctx->args[0];
    struct connection *c = connections.lookup(&sk);
    if (!c)
        return 0;
    if (c->tls_flow) {
        struct session_key key = {};
        key.ssl = c->ssl;
        key.pid = c->ssl_pid;
        struct session *s = tls_sessions.lookup(&key);
        if (s && s->connection == c->id)
            close_session(&key);
    }
    void *ring = ring_of(c->pid);
    if (ring && c->announced) {
        tell_loss(ring, c->pid, c->id, DIRECTION_SEND, &c->half[0], 0);
        tell_loss(ring, c->pid, c->id, DIRECTION_RECEIVE, &c->half[1], 0);
        emit(ring, KIND_CLOSE, c->pid, c->id, 0, 0, 0, 0, 0);
    }
    connections.delete(&sk);
    return 0;
}
