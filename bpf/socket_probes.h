/* The socket contract, and the back ends that fulfil it.
 *
 * Contract: on_socket(sk, direction, returned, transfer) is called once for every call that moved bytes, or read the
 * end of the stream, on a TCP or unix stream socket, in the context of the thread that made it, after the kernel has
 * finished with the user's memory. `transfer` says where the bytes lie.
 *
 * Back end "sock" (kernel 6.3+): the tracepoints sock:sock_send_length and sock:sock_recv_length name the socket and
 * the true length for every path; the arguments come from the thread's saved registers, so no other system call of
 * the machine pays anything.
 * Back end "kprobe" (kernel 5.8+, with kprobes and BPF trampolines): the kernel's own functions, in kernel_probes.h.
 * Back end "syscall" (kernel 5.8+): the raw tracepoint sys_exit and a walk of the file table. Every system call of the
 * machine pays for the look at its number. */

/* The first bytes of the call, for a look at what they are. Fewer than asked for: zeroes. */
static __always_inline void first_bytes(struct source *source, u8 *to, u32 size, u64 total) {
    u64 from = source->buffer, available = source->left;
    if (!available && source->vectors) {
        /* Empty leading elements are legal and rare: then nothing is recognised, which only costs a copy. */
        struct user_iovec v = {};
        read_vector(&v, sizeof(v), (void *)source->vectors);
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
        if (t) {
            __sync_fetch_and_add(&t->unseen, total);
            if (pid == c->pid && c->handshake < MOST_OF_A_HANDSHAKE)
                c->handshake += total;
        }
        notice_once(t, TOLD_ENCRYPTED, NOTICE_ENCRYPTED, pid);
    }
}

/* Tells the worker of a plaintext flow and its socket, unless it was told already. */
static __always_inline void announce(void *ring, u32 pid, u64 sk, struct connection *c) {
    u32 epoch = epoch_of(c->pid);
    if (c->announced == epoch)
        return;
    read_ends(sk, c->id, &c->ends);
    if (!tell_ends(ring, KIND_OPEN, pid, c->id, sk, c, 0, BINDING_SOCKET))
        c->announced = epoch;
}

/* Bytes of a plaintext flow passed that can not be read. Told at once: a response whose body is a file ends with it,
 * and nothing may follow for long. */
static __always_inline void miss(void *ring, u32 pid, struct connection *c, u8 direction, struct half *half, u64 total,
                                 u32 cause) {
    lose(half, half->position, cause);
    count_loss(cause, total);
    half->position += total;
    tell_loss(ring, pid, c->id, direction, half, 0);
}

static __always_inline int on_socket(u64 sk, u8 direction, s64 returned, struct transfer *transfer) {
    u64 thread = bpf_get_current_pid_tgid();
    u32 pid = thread >> 32;
    enum transport transport = transport_of(sk);
    if (returned < 0 || !transport)
        return 0;
    u32 flags = direction == DIRECTION_RECEIVE ? transfer->flags : 0;
    if (flags & (OOB | PEEK | ERRQUEUE))
        return 0;
    u64 total = returned;
#if MAX_UNIX_CONNECTIONS
    if (transport == TRANSPORT_UNIX && !total) {
        if (direction == DIRECTION_RECEIVE && (transfer->source.left || transfer->source.vectors))
            unix_stream_ended(sk);
        return 0;
    }
#endif
    int held = 0;
    if (!admitted(pid, &held)) {
        count(held ? COUNT_HELD_BYTES : is_own(pid) ? COUNT_OWN_BYTES : COUNT_NEVER_BYTES, total);
        if (held)
            traffic_of(pid);
        return 0;
    }
#if MAX_UNIX_CONNECTIONS
    struct connection *c = transport == TRANSPORT_UNIX ? unix_connection_of(sk, pid) : connection_of(sk, pid);
#else
    struct connection *c = connection_of(sk, pid);
#endif
    if (!c) {
        count_loss(CAUSE_MAP_FULL, total);
        return 0;
    }
    struct unseen unseen = {};
    if (transport == TRANSPORT_TCP) {
        find_unseen(sk, c, direction, total, &unseen);
        if (c->flags & CONNECTION_TLS) /* TLS in the kernel adds to the bytes; and no content is expected here */
            unseen.bytes = unseen.again = 0;
        total -= unseen.again;
        if (unseen.again && !total)
            return 0;
    }
#if MAX_UNIX_CONNECTIONS
    else if (direction == DIRECTION_RECEIVE)
        find_unseen_unix(sk, c, total, &unseen);
#endif
    /* Which TLS session such a connection carries must be known all the same: its plaintext passes elsewhere. */
    u32 never = c->flags & CONNECTION_NEVER;
    if (never)
        count(COUNT_NEVER_BYTES, total);
    void *ring = ring_of(c->pid);
    if (!ring)
        return 0;
    struct half *half = direction == DIRECTION_SEND ? &c->half[0] : &c->half[1];
    struct source source = transfer->source;
    u32 cause = unseen.again ? CAUSE_UNSEEN_PATH : transfer->cause;
    if (!total) {
        if (never || (c->flags & (CONNECTION_TLS | CONNECTION_SHED)))
            return 0;
        if (unseen.bytes)
            tell_unseen(ring, pid, c, direction, half, &unseen);
        /* read(2) of no bytes returns 0 too: that is not the end of the stream. */
        if (direction == DIRECTION_RECEIVE && (source.left || source.vectors))
            emit(ring, KIND_END, pid, c->id, DIRECTION_RECEIVE, half->position, 0, 0, 0);
        return 0;
    }
    struct traffic *t = never ? 0 : traffic_of(pid);
    struct call_key where = {};
    struct call *call = current_call(&where);
    if (!call && t && (t->libraries & LIBRARY_GO))
        call = innermost_call(&where, transfer->goroutine, pid);
    u8 head[PREFIX] = {};
    u64 flow = c->id;
    u8 tls = 0;
    u32 looked = direction == DIRECTION_SEND ? CONNECTION_SENT : CONNECTION_RECEIVED;
    if (!cause && (call || (c->flags & CONNECTION_TLS) || !(c->flags & looked)))
        first_bytes(&source, head, PREFIX, total);
    if (!cause && !(c->flags & looked)) {
        c->flags |= looked;
        if (is_tls_record(head))
            c->flags |= CONNECTION_TLS;
    }
    if ((c->flags & CONNECTION_TLS) || (call && is_tls_record(head))) {
        c->flags |= CONNECTION_TLS;
        if (!never)
            count(COUNT_ENCRYPTED_BYTES, total);
        if (!never && !call && c->tls_flow && is_shed(c->tls_flow))
            count(COUNT_SHED_BYTES, total); /* its TLS calls are not looked at: is_left_out */
        on_ciphertext(sk, pid, c, direction, head, total, call, t);
        half->position += total;
        if (!call || !where.pid || never || direction != DIRECTION_SEND || call->direction != DIRECTION_SEND)
            return 0;
        struct session_key key = {};
        key.ssl = call->ssl;
        key.pid = pid;
        struct session *s = tls_sessions.lookup(&key);
        ring = ring_of(pid);
        if (!s || (s->flags & SESSION_SHED) || s->connection != c->id || call->on_stack || !ring || is_paused(pid, c) ||
            !whole_write_sent(s, call, head, total))
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
    u64 passed = total + unseen.bytes;
    if (never) {
        half->position += passed;
        return 0;
    }
    if (t)
        __sync_fetch_and_add(&t->plain, passed);
    if (is_paused(pid, c)) {
        pass_over(c->half, direction, passed);
        return 0;
    }
    if (left_out(&c->flags, CONNECTION_SHED, c->id, c->half, direction, passed, 0))
        return 0;
    announce(ring, pid, sk, c);
    if (unseen.bytes)
        tell_unseen(ring, pid, c, direction, half, &unseen);
    if (flags & TRUNC)
        cause = CAUSE_NOT_IN_USER_MEMORY;
    if (cause) {
        miss(ring, pid, c, direction, half, total, cause);
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
    struct transfer transfer = {};
    s64 returned = (int)ctx->args[1];
    if (returned < 0) { /* event loops read until there is nothing more: every other call of theirs */
        end_messages();
        return 0;
    }
    running_syscall(&call);
#ifdef REQUEST_OPERATION
    int may_be_io_uring = call.number == NO_SYSCALL || call.number == NR_IO_URING_ENTER;
#endif
    if (call.number == NR_SENDMMSG || call.number == NR_RECVMMSG)
        take_message(&call, returned);
    find_transfer(&call, ctx->args[2], &transfer);
#ifdef REQUEST_OPERATION
    if (may_be_io_uring && find_request(ctx->args[0], direction, returned, &transfer.source))
        transfer.cause = 0;
#endif
    return on_socket(ctx->args[0], direction, returned, &transfer);
}

/* (sock, returned, flags) */
int sock_send_length(struct bpf_raw_tracepoint_args *ctx) {
    return at_sock_length(ctx, DIRECTION_SEND);
}

int sock_recv_length(struct bpf_raw_tracepoint_args *ctx) {
    return at_sock_length(ctx, DIRECTION_RECEIVE);
}

/* (sock) The application has taken received bytes. Of splice and of TCP_ZEROCOPY_RECEIVE nothing else tells; how many
 * bytes they took is what tcp_sock.copied_seq has moved beyond those that were counted. */
int tcp_rcv_space_adjust(struct bpf_raw_tracepoint_args *ctx) {
    u64 sk = ctx->args[0];
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    int held = 0;
    struct syscall call;
    running_syscall(&call);
    if ((call.number != NR_SPLICE && call.number != NR_GETSOCKOPT) || !admitted(pid, &held))
        return 0;
    /* Not seen before: nobody can say how many there were. */
    struct connection *c = connection_of(sk, pid);
    if (!c)
        return 0;
    struct unseen unseen = {};
    find_unseen(sk, c, DIRECTION_RECEIVE, 0, &unseen);
    u32 moved = unseen.bytes;
    void *ring = ring_of(c->pid);
    if (!moved || !ring)
        return 0;
    struct half *half = &c->half[1];
    struct traffic *t = traffic_of(pid);
    if (c->flags & (CONNECTION_NEVER | CONNECTION_TLS)) {
        count(c->flags & CONNECTION_NEVER ? COUNT_NEVER_BYTES : COUNT_ENCRYPTED_BYTES, moved);
        if (t && !(c->flags & CONNECTION_NEVER))
            __sync_fetch_and_add(&t->encrypted, moved);
        half->position += moved;
        return 0;
    }
    if (t)
        __sync_fetch_and_add(&t->plain, moved);
    if (is_paused(pid, c)) {
        pass_over(c->half, DIRECTION_RECEIVE, moved);
        return 0;
    }
    if (left_out(&c->flags, CONNECTION_SHED, c->id, c->half, DIRECTION_RECEIVE, moved, 0))
        return 0;
    announce(ring, pid, sk, c);
    miss(ring, pid, c, DIRECTION_RECEIVE, half, moved, CAUSE_NOT_IN_USER_MEMORY);
    return 0;
}
#endif

#ifdef BACK_END_SYSCALL
/* Back end "syscall". */
int sys_exit(struct bpf_raw_tracepoint_args *ctx) {
    s64 returned = ctx->args[1];
    if (returned < 0)
        return 0;
    struct syscall call;
    struct transfer transfer = {};
    read_syscall((struct pt_regs *)ctx->args[0], &call);
    u64 nr = call.number;
    u8 direction;
    u64 sk = 0;
    if (nr == NR_WRITE || nr == NR_WRITEV || nr == NR_PWRITEV2 || nr == NR_SENDTO || nr == NR_SENDMSG ||
        nr == NR_SENDMMSG || nr == NR_SENDFILE)
        direction = DIRECTION_SEND;
    else if (nr == NR_READ || nr == NR_READV || nr == NR_PREADV2 || nr == NR_RECVFROM || nr == NR_RECVMSG ||
             nr == NR_RECVMMSG || nr == NR_SPLICE)
        direction = DIRECTION_RECEIVE;
    else
        return 0;
    sk = sock_of_descriptor(call.arguments[0]);
    if (!sk && nr == NR_SPLICE) {
        direction = DIRECTION_SEND;
        sk = sock_of_descriptor(call.arguments[2]);
    }
    if (!sk)
        return 0;
    u32 flags = message_flags(&call);
    if (nr == NR_SENDMMSG || nr == NR_RECVMMSG)
        returned = take_messages(&call, returned);
    find_transfer(&call, flags, &transfer);
    return on_socket(sk, direction, returned, &transfer);
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
    if (state == (int)ctx->args[1]) /* close(2) after shutdown(2) */
        return 0;
    if (state == STATE_SYN_SENT) {
        /* connect(2): the caller is the current process. Only the sensor's own connections must be known this early,
         * before the other end can read their first byte. */
        u32 pid = bpf_get_current_pid_tgid() >> 32;
        if (is_own(pid) && transport_of(sk) == TRANSPORT_TCP)
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
        if (!ring)
            return 0;
        tell_rest(ring, sk, c, DIRECTION_SEND, &c->half[0]); /* the FIN's own number comes later */
        emit(ring, KIND_END, c->pid, c->id, DIRECTION_SEND, c->half[0].position, 0, 0, 0);
    }
    return 0;
}

int tcp_destroy_sock(struct bpf_raw_tracepoint_args *ctx) {
    u64 sk = ctx->args[0];
    struct connection *c = connections.lookup(&sk);
    if (!c)
        return 0;
    void *ring = ring_of(c->pid);
    if (ring && c->announced)
        tell_rest(ring, sk, c, DIRECTION_RECEIVE, &c->half[1]);
    close_connection(sk, c);
    return 0;
}
