/* Probes on the functions of TLS libraries, by role (finder/functions.py). Bytes and lengths are taken when a call
 * returns: what it returned, once. A retried write that wanted the socket first moved nothing then; a peek moves none.
 */

/* A nested call of one exported function by another on the same session (SSL_write_ex by way of SSL_write_ex2, OpenSSL
 * 3.3) lies within this many bytes of stack; anything farther is a stale entry. */
#define NESTED_STACK 8192

/* Finds or makes the session of a call that begins, on a connection that may be older than the probes. What is moved
 * by a call without a session is not reported. 1: there was no room for it.
 *
 * Nothing may be missed between two calls that are seen: HTTP/1 does not number its messages, and each response would
 * be taken for the one to another request from there on. There are two ways to miss something:
 *
 * - Some functions are observed and others not yet. Writes are attached to before reads, those before all else that
 *   makes a session (capture/probes.py), so a session that begins with anything but a write is whole. While a library
 *   is being attached to, none begins with a write.
 * - A call that waits while its function is attached to is not seen to return. A thread that writes waits in no read,
 *   but another one may, as every HTTP client in Go has it and GnuTLS allows: it has perhaps taken the answer. Where a
 *   session began with a write, and neither a handshake nor a read by the same thread shows that nobody was reading,
 *   the first read by another begins it anew. The write's request is then told to have no response that was seen. */
static __always_inline int find_session(struct session_key *key, u64 who, u8 direction, u32 library) {
    struct session *s = tls_sessions.lookup(key);
    if (direction == QUIET) {
        s = s ? s : session_of(key, library);
        if (s && is_untouched(s)) {
            s->begun_by = 0;
            s->half[0].position = s->half[1].position = 0;
        }
        return !s;
    }
    if (s && s->begun_by && direction == DIRECTION_RECEIVE) {
        if (s->begun_by == who)
            s->begun_by = 0;
        else {
            close_session(key);
            s = 0;
        }
    }
    u32 zero = 0;
    u32 *partly = attaching.lookup(&zero);
    if (s || !partly || (*partly && direction == DIRECTION_SEND))
        return 0;
    s = session_of(key, library);
    if (!s)
        return 1;
    s->half[0].position = s->half[1].position = JOINED;
    if (direction == DIRECTION_SEND)
        s->begun_by = who;
    return 0;
}

/* `key` says who calls; the call's session is (process, fresh->ssl). */
static __always_inline void enter(struct call_key *key, struct call *fresh, u32 pid, u32 library) {
    struct call *outer = calls.lookup(key);
    int inside = outer && outer->stack > fresh->stack;
    int nested = inside && outer->ssl == fresh->ssl && outer->stack - fresh->stack < NESTED_STACK;
    if (nested && fresh->direction != QUIET)
        return;
    if (inside && outer->ssl != fresh->ssl)
        key->depth = 1;
    struct session_key session = {};
    session.ssl = fresh->ssl;
    session.pid = pid;
    fresh->no_room = find_session(&session, key->who, fresh->direction, library);
    struct session *s = tls_sessions.lookup(&session);
    if (s && s->connection && is_left_out(s, fresh->direction))
        return; /* its socket is known: nothing is wanted of the call, and its return need not be looked for */
    if (!nested && calls.update(key, fresh))
        count(COUNT_MAP_FULL_CALLS, 1);
}

static __always_inline int enter_call(struct pt_regs *ctx, u32 library, u8 direction, u64 buffer, u64 length_at) {
    struct call_key key = {};
    key.who = bpf_get_current_pid_tgid();
    u32 pid = key.who >> 32;
    int held = 0;
    if (!admitted(pid, &held))
        return 0;
    struct call fresh = {};
    fresh.ssl = PT_REGS_PARM1(ctx);
    fresh.buffer = buffer;
    fresh.length_at = length_at;
    fresh.stack = PT_REGS_SP(ctx);
    fresh.direction = direction;
    enter(&key, &fresh, pid, library);
    return 0;
}

/* One program for each role that a library's functions play, named after both. */

/* (session, buffer, size) */
int openssl_read(struct pt_regs *ctx) {
    return enter_call(ctx, LIBRARY_OPENSSL, DIRECTION_RECEIVE, PT_REGS_PARM2(ctx), 0);
}
int openssl_write(struct pt_regs *ctx) {
    return enter_call(ctx, LIBRARY_OPENSSL, DIRECTION_SEND, PT_REGS_PARM2(ctx), 0);
}
int gnutls_read(struct pt_regs *ctx) {
    return enter_call(ctx, LIBRARY_GNUTLS, DIRECTION_RECEIVE, PT_REGS_PARM2(ctx), 0);
}
int gnutls_write(struct pt_regs *ctx) {
    return enter_call(ctx, LIBRARY_GNUTLS, DIRECTION_SEND, PT_REGS_PARM2(ctx), 0);
}
/* (session, buffer, size, count) */
int openssl_read_counted(struct pt_regs *ctx) {
    return enter_call(ctx, LIBRARY_OPENSSL, DIRECTION_RECEIVE, PT_REGS_PARM2(ctx), PT_REGS_PARM4(ctx));
}
int openssl_write_counted(struct pt_regs *ctx) {
    return enter_call(ctx, LIBRARY_OPENSSL, DIRECTION_SEND, PT_REGS_PARM2(ctx), PT_REGS_PARM4(ctx));
}
/* (session, buffer, size, flags, count) */
int openssl_write_flags_counted(struct pt_regs *ctx) {
    return enter_call(ctx, LIBRARY_OPENSSL, DIRECTION_SEND, PT_REGS_PARM2(ctx), PT_REGS_PARM5(ctx));
}
/* The bytes come from a file, or lie in a structure of the library. */
int openssl_write_elsewhere(struct pt_regs *ctx) {
    return enter_call(ctx, LIBRARY_OPENSSL, DIRECTION_SEND, 0, 0);
}
int gnutls_read_elsewhere(struct pt_regs *ctx) {
    return enter_call(ctx, LIBRARY_GNUTLS, DIRECTION_RECEIVE, 0, 0);
}
/* The first records of a session pass in a handshake, before any plaintext; a peek may take them from the socket. */
int openssl_quiet(struct pt_regs *ctx) {
    return enter_call(ctx, LIBRARY_OPENSSL, QUIET, 0, 0);
}
int gnutls_quiet(struct pt_regs *ctx) {
    return enter_call(ctx, LIBRARY_GNUTLS, QUIET, 0, 0);
}

/* Takes the call that returns now out of the table: its stack pointer is the one of its entry. 1: there is one. */
static __always_inline int take_call(struct call_key *where, u64 stack, struct call *call) {
    struct call *found = innermost_call(where, where->who, where->pid);
    if (!found)
        return 0;
    if (found->stack != stack) {
        if (!where->depth)
            return 0;
        where->depth = 0;
        found = calls.lookup(where);
        if (!found || found->stack != stack)
            return 0;
    }
    *call = *found;
    calls.delete(where);
    return 1;
}

/* A call moved `n` bytes of plaintext. */
static __always_inline int moved(u32 pid, struct call *call, s64 n) {
    struct session_key key = {};
    key.ssl = call->ssl;
    key.pid = pid;
    struct session *s = tls_sessions.lookup(&key);
    if (!s) {
        if (call->no_room)
            count_loss(CAUSE_MAP_FULL, n);
        return 0;
    }
    struct traffic *t = traffic_of(key.pid);
    if (t)
        __sync_fetch_and_add(&t->decrypted, n);
    u8 direction = call->direction == DIRECTION_SEND ? DIRECTION_SEND : DIRECTION_RECEIVE;
    struct connection *c = s->sock ? connections.lookup(&s->sock) : 0;
    if (c && c->id != s->connection)
        c = 0;
    if (c && (c->flags & CONNECTION_NEVER)) {
        count(COUNT_NEVER_BYTES, n);
        return 0;
    }
    if (!c) {
        if (call->direction == DIRECTION_SEND && !call->socket_calls)
            notice_once(t, TOLD_MEMORY_BIO, NOTICE_MEMORY_BIO, key.pid); /* written, no socket call: a memory BIO */
        u32 zero = 0;
        struct config *settings = config.lookup(&zero);
        if (settings && settings->hold_unbound) {
            /* Its port may be on the never-capture list. Once bound, it is as a connection that was joined late. */
            count(COUNT_HELD_BYTES, n);
            return 0;
        }
    }
    if (is_paused(key.pid, c)) {
        pass_over(s->half, direction, n);
        return 0;
    }
    if (left_out(&s->flags, SESSION_SHED, s->flow, s->half, direction, n, JOINED))
        return 0;
    if (c)
        announce_binding(key.pid, s, c);
    void *ring = ring_of(key.pid);
    if (!ring)
        return 0;
    struct source source = {};
    source.buffer = call->buffer;
    /* GnuTLS, asked to go on with a write that it could not finish (NULL, 0), takes the bytes that it has kept. */
    source.left = call->buffer ? n : 0;
    struct half *half = direction == DIRECTION_SEND ? &s->half[0] : &s->half[1];
    emit_bytes(ring, key.pid, s->flow, direction, half, &source, n, FLAG_TLS, TLS_STEPS);
    return 0;
}

#define G_STACK_TOP 8 /* offset of g.stack.hi in Go's struct g; of Go 1.4 and later */

static __always_inline u64 stack_top(u64 goroutine) {
    u64 top = 0;
    bpf_probe_read_user(&top, sizeof(top), (void *)(goroutine + G_STACK_TOP));
    return top;
}

/* On a C function's return the return address is popped: the stack pointer is one word above its value at entry. On a
 * return instruction of a function of Go's it is the one of the entry. */
int tls_return(struct pt_regs *ctx) {
    struct call_key where = {};
    struct call call = {};
    where.who = bpf_get_current_pid_tgid();
    u32 pid = where.who >> 32;
    s64 n;
    if (take_call(&where, PT_REGS_SP(ctx) - 8, &call))
        n = (int)PT_REGS_RC(ctx);
    else {
        struct traffic *t = traffic.lookup(&pid);
        if (!t || !(t->libraries & LIBRARY_GO))
            return 0;
        where.who = ctx->r14;
        where.pid = pid;
        u64 top = stack_top(ctx->r14);
        if (!take_call(&where, PT_REGS_SP(ctx) - top, &call))
            return 0;
        n = ctx->ax;
        if (call.on_stack)
            call.buffer += top;
        struct session_key key = {};
        key.ssl = call.ssl;
        key.pid = pid;
        struct session *s = n > 0 && call.direction == DIRECTION_SEND ? tls_sessions.lookup(&key) : 0;
        if (s)
            learn_added(s, &call, n);
        n -= call.reported;
        call.buffer += call.reported;
    }
    if (call.direction == QUIET)
        return 0;
    if (call.length_at) {
        u64 length = 0;
        if (n != 1 || bpf_probe_read_user(&length, sizeof(length), (void *)call.length_at))
            return 0;
        n = length;
    }
    return n > 0 ? moved(pid, &call, n) : 0;
}

static __always_inline int set_fd(struct pt_regs *ctx, u32 library) {
    u64 thread = bpf_get_current_pid_tgid();
    struct session_key key = {};
    key.ssl = PT_REGS_PARM1(ctx);
    key.pid = thread >> 32;
    int held = 0;
    if (!admitted(key.pid, &held))
        return 0;
    u64 sk = sock_of_descriptor(PT_REGS_PARM2(ctx));
    if (!sk || transport_of(sk) != TRANSPORT_TCP)
        return 0; /* a unix socket is known by what the library does there */
    u16 remote_port = 0;
    bpf_probe_read_kernel(&remote_port, 2, (void *)(sk + SOCK_REMOTE_PORT));
    /* Not connected yet: nobody knows whom it will be to, nor whether that may be captured. Its own calls will tell. */
    if (!remote_port)
        return 0;
    struct session *s = session_of(&key, library);
    struct connection *c = connection_of(sk, key.pid);
    if (s && c)
        bind_session(&key, s, sk, c, BINDING_SET_FD);
    return 0;
}

/* (session, descriptor) */
int openssl_set_fd(struct pt_regs *ctx) {
    return set_fd(ctx, LIBRARY_OPENSSL);
}
int gnutls_set_fd(struct pt_regs *ctx) {
    return set_fd(ctx, LIBRARY_GNUTLS);
}

/* SSL_set_bio(ssl, read, write), before the handshake: the session is seen from its beginning, also where its first
 * read or write makes the handshake. Two different BIOs are memory BIOs; a socket has one for both directions. Told
 * this early, so that BIO_write of this process is observed when its first record is written.
 *
 * In the middle of a session: what follows passes elsewhere. The socket tells itself inside the next call that uses it,
 * ahead of that call's bytes. Ciphertext tells after them, so with memory BIOs the session is begun anew. */
int openssl_set_bio(struct pt_regs *ctx) {
    struct session_key key = {};
    key.ssl = PT_REGS_PARM1(ctx);
    key.pid = bpf_get_current_pid_tgid() >> 32;
    int held = 0;
    if (!admitted(key.pid, &held))
        return 0;
    struct session *s = session_of(&key, LIBRARY_OPENSSL);
    int memory = PT_REGS_PARM2(ctx) != PT_REGS_PARM3(ctx);
    if (s && s->connection && !is_untouched(s)) {
        if (memory)
            close_session(&key);
        else
            release_session(s);
    }
    if (memory)
        notice_once(traffic_of(key.pid), TOLD_MEMORY_BIO, NOTICE_MEMORY_BIO, key.pid);
    return 0;
}

/* (session) */
static __always_inline int end_session(struct pt_regs *ctx) {
    struct session_key key = {};
    key.ssl = PT_REGS_PARM1(ctx);
    key.pid = bpf_get_current_pid_tgid() >> 32;
    close_session(&key);
    return 0;
}
int openssl_free(struct pt_regs *ctx) {
    return end_session(ctx);
}
int gnutls_free(struct pt_regs *ctx) {
    return end_session(ctx);
}

/* SSL_clear(ssl): the application uses the object for another connection. The library calls it too, at the beginning
 * of each handshake, perhaps inside the first read: then nothing has passed yet, and nothing is over. */
int openssl_clear(struct pt_regs *ctx) {
    struct session_key key = {};
    key.ssl = PT_REGS_PARM1(ctx);
    key.pid = bpf_get_current_pid_tgid() >> 32;
    struct session *s = tls_sessions.lookup(&key);
    if (s && !is_untouched(s))
        close_session(&key);
    return 0;
}

/* BIO_write(bio, buffer, length) and BIO_write_ex, attached in processes with memory BIOs. Where these are many, it is
 * attached in all processes, and the others leave at once. */
int openssl_bio_write(struct pt_regs *ctx) {
    struct call_key where = {};
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    if (!memory_bio.lookup(&pid))
        return 0;
    struct call *call = current_call(&where);
    if (!call || (s64)(int)PT_REGS_PARM3(ctx) < PREFIX)
        return 0;
    struct prefix_key key = {};
    key.pid = where.who >> 32;
    if (bpf_probe_read_user(key.bytes, PREFIX, (void *)PT_REGS_PARM2(ctx)) || !is_tls_record(key.bytes))
        return 0;
    struct prefix fresh = {.ssl = call->ssl};
    struct prefix *known = prefixes.lookup(&key);
    if (known && known->ssl != call->ssl) {
        fresh.ambiguous = 1;
        count(COUNT_PREFIX_AMBIGUOUS, 1);
    }
    prefixes.update(&key, &fresh);
    return 0;
}
