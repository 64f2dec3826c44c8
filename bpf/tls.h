/* TLS sessions and the sockets that carry them.
 *
 * A session's socket is learnt, best first, from SSL_set_fd; from a socket call that the library makes inside its own
 * call; from ciphertext: what the library wrote to a memory BIO inside its call begins what a later send call of the
 * process sends. The last two look at the bytes: only a TLS record counts, so a callback that talks to another host
 * inside an SSL call binds nothing. Later evidence replaces earlier. */

/* A process has a session of this library: it may have others mapped that it never calls. */
static __always_inline void uses_library(u32 pid, u32 library) {
    struct traffic *t = traffic_of(pid);
    if (!t || (t->libraries & library))
        return;
    t->libraries |= library;
    notice_of(NOTICE_LIBRARY, pid, library);
}

static __always_inline struct session *session_of(struct session_key *key, u32 library) {
    struct session *known = tls_sessions.lookup(key);
    if (known)
        return known;
    struct session fresh = {};
    fresh.flow = identity();
    if (is_shed(fresh.flow))
        fresh.flags = SESSION_SHED;
    if (tls_sessions.update(key, &fresh)) {
        count(COUNT_MAP_FULL_SESSIONS, 1);
        return 0;
    }
    count(COUNT_SESSIONS, 1);
    if (fresh.flags & SESSION_SHED)
        count(COUNT_SHED_CONNECTIONS, 1);
    uses_library(key->pid, library);
    return tls_sessions.lookup(key);
}

/* Where the positions of a session begin whose beginning was not seen: the worker takes what comes first for the middle
 * of something, perhaps of a body that quotes requests. */
#define JOINED (1ULL << 32)

static __always_inline int is_untouched(struct session *s) {
    return (!s->half[0].position && !s->half[1].position) ||
           (s->half[0].position == JOINED && s->half[1].position == JOINED);
}

/* Tells the worker which socket carries the session, unless it was told already. */
static __always_inline void announce_binding(u32 pid, struct session *s, struct connection *c) {
    u32 epoch = epoch_of(pid);
    if (s->announced == epoch || (c->flags & CONNECTION_NEVER) || (s->flags & SESSION_SHED))
        return;
    void *ring = ring_of(pid);
    if (!ring)
        return;
    if (!tell_ends(ring, KIND_BIND, pid, s->flow, s->sock, c, FLAG_TLS, s->binding)) {
        s->announced = epoch;
        count(COUNT_BINDINGS, 1);
    }
}

/* Bytes of a handshake: of a server with memory BIOs what it has received before it writes; certificates make the rest.
 * What is more has passed outside of any call that is seen. */
#define MOST_OF_A_HANDSHAKE 65536

/* What began the session has been seen after all. */
static __always_inline void count_handshake(u32 pid, struct connection *c) {
    u32 bytes = c->handshake;
    c->handshake = 0;
    if (!bytes || bytes >= MOST_OF_A_HANDSHAKE || c->pid != pid)
        return;
    struct traffic *t = traffic_of(pid);
    if (t && t->unseen >= bytes)
        __sync_fetch_and_add(&t->unseen, -(u64)bytes);
}

static __always_inline void bind_session(struct session_key *key, struct session *s, u64 sk, struct connection *c,
                                         u8 binding) {
    if (s->connection != c->id) {
        s->sock = sk;
        s->connection = c->id;
        s->binding = binding;
        s->announced = 0;
        c->flags |= CONNECTION_TLS;
        count_handshake(key->pid, c);
        c->tls_flow = s->flow;
        c->ssl = key->ssl;
        c->ssl_pid = key->pid;
        /* Addresses may not have been known at first sight (an unconnected socket). */
        read_ends(sk, c->id, &c->ends);
    }
    announce_binding(key->pid, s, c);
}

/* The session is not on its socket any more: that one's end is not its end. */
static __always_inline void release_session(struct session *s) {
    struct connection *c = connections.lookup(&s->sock);
    if (c && c->id == s->connection)
        c->tls_flow = c->ssl = 0;
    s->sock = s->connection = 0;
    s->announced = 0;
}

/* Is the session left out for the governor, by its own word or by the worker's? What passes is not counted here then,
 * but with the bytes of its socket. */
static __always_inline int is_left_out(struct session *s, u8 direction) {
    if (s->flags & SESSION_SHED)
        return is_shed(s->flow);
    return skip_below(s->flow, direction) == FLOW_SHED;
}

static __always_inline void close_session(struct session_key *key) {
    struct session *s = tls_sessions.lookup(key);
    if (!s)
        return;
    void *ring = ring_of(key->pid);
    if (ring && !(s->flags & SESSION_SHED)) {
        tell_loss(ring, key->pid, s->flow, DIRECTION_SEND, &s->half[0], FLAG_TLS);
        tell_loss(ring, key->pid, s->flow, DIRECTION_RECEIVE, &s->half[1], FLAG_TLS);
        emit(ring, KIND_CLOSE, key->pid, s->flow, 0, 0, 0, FLAG_TLS, 0);
    }
    tls_sessions.delete(key);
}

/* A socket is gone. */
static __always_inline void close_connection(u64 sk, struct connection *c) {
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
}

/* Content types 20 to 23 (RFC 8446 section 5.1, RFC 5246 section 6.2.1), version 3.0 to 3.4. */
static __always_inline int is_tls_record(u8 *b) {
    return b[0] >= 20 && b[0] <= 23 && b[1] == 3 && b[2] <= 4;
}

/* The innermost TLS call that a thread or goroutine is in, with its key; 0 when it is in none. */
static __always_inline struct call *innermost_call(struct call_key *key, u64 who, u32 pid) {
    key->who = who;
    key->pid = pid;
    key->depth = 1;
    struct call *inner = calls.lookup(key);
    if (inner)
        return inner;
    key->depth = 0;
    return calls.lookup(key);
}

/* A goroutine's write has sent `total` bytes, which begin with `head`, by a socket call. Is the whole of its plaintext
 * sent? Another goroutine reads the answer, perhaps before the writer has got as far as its return instruction: told
 * there, the request would come after its response, or after the end of the connection. Go gives each TLS record a
 * socket write of its own. What a record adds to its plaintext is learnt from the session's first write; for that, 17
 * bytes in TLS 1.3 (RFC 8446 section 5.2: type, tag; Go does not pad) and 24 in TLS 1.2 with AES-GCM (RFC 5288) are
 * tried. What is not recognised is told at the return, as every other write. */
static __always_inline int whole_write_sent(struct session *s, struct call *call, u8 *head, u64 total) {
    if (call->records == MANY || call->reported)
        return 0;
    if (!call->record_left && is_tls_record(head)) {
        call->records++;
        call->record_left = 5 + ((u32)head[3] << 8 | head[4]);
    }
    if (call->record_left < total) {
        call->records = MANY;
        return 0;
    }
    call->record_left -= total;
    call->ciphertext += total;
    if (call->record_left)
        return 0;
    u64 added = call->ciphertext - 5ULL * call->records - call->length, records = call->records;
    if (s->added)
        return added == s->added * records;
    return added == 17 * records || added == 24 * records;
}

/* A goroutine's write of `n` bytes is over: what did each of its records add? */
static __always_inline void learn_added(struct session *s, struct call *call, u64 n) {
    if (s->added || !call->records || call->records == MANY || call->record_left)
        return;
    u64 added = call->ciphertext - 5ULL * call->records - n, records = call->records;
    if (added < 64 * records && added % records == 0)
        s->added = added / records;
}

static __always_inline struct call *current_call(struct call_key *key) {
    return innermost_call(key, bpf_get_current_pid_tgid(), 0);
}
