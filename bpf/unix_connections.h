/* The entries of unix sockets in the table of connections: how they begin and, without an event for it, end. */

#if MAX_UNIX_CONNECTIONS

static __always_inline struct unix_identity *unix_identity(struct connection *c) {
    return (struct unix_identity *)c->ends.local;
}

static __always_inline int is_unix_of(struct connection *c, u64 pair) {
    return (c->flags & CONNECTION_UNIX) && unix_identity(c)->pair == pair;
}

/* A place for a new entry. 0: all that were looked at are of open sockets. */
static __always_inline struct place *unix_place(void) {
    u32 zero = 0;
    u64 *next = unix_next_place.lookup(&zero);
    if (!next)
        return 0;
    for (int i = 0; i < PLACES_LOOKED_AT; i++) {
        __sync_fetch_and_add(next, 1);
        u32 at = *next % MAX_UNIX_CONNECTIONS;
        struct place *place = unix_places.lookup(&at);
        if (!place)
            return 0;
        u64 sk = place->sk;
        struct connection *c = connections.lookup(&sk);
        if (!c || c->id != place->connection || unix_inode(sk) != unix_identity(c)->inode)
            return place;
    }
    return 0;
}

/* The table entry of a unix socket, made on first sight; 0 when there is no room, which is counted. */
static __always_inline struct connection *unix_connection_of(u64 sk, u32 pid) {
    struct connection *known = connections.lookup(&sk);
    u64 inode = unix_inode(sk);
    if (known && (known->flags & CONNECTION_UNIX) && unix_identity(known)->inode == inode)
        return known;
    struct place *place = unix_place();
    if (!place) {
        count(COUNT_MAP_FULL_CONNECTIONS, 1);
        return 0;
    }
    /* Up to two sockets are found to be gone: the one before at this address, and the one of the place. */
    u64 gone = sk;
    for (int i = 0; i < 2; i++) {
        struct connection *old = connections.lookup(&gone);
        if (old && (!i || old->id == place->connection))
            close_connection(gone, old);
        gone = place->sk;
    }
    struct connection fresh = {};
    fresh.id = identity();
    fresh.pid = pid;
    fresh.flags = CONNECTION_UNIX;
    fresh.ends.connection = fresh.id;
    unix_identity(&fresh)->pair = unix_pair(sk, kernel_pointer(sk + UNIX_PEER));
    unix_identity(&fresh)->inode = inode;
    if (is_own(unix_peer_process(sk)) || is_kernels(sk))
        fresh.flags |= CONNECTION_NEVER;
    if (is_shed(fresh.id))
        fresh.flags |= CONNECTION_SHED;
    if (connections.update(&sk, &fresh)) {
        count(COUNT_MAP_FULL_CONNECTIONS, 1);
        return 0;
    }
    place->sk = sk;
    place->connection = fresh.id;
    count(COUNT_CONNECTIONS, 1);
    return connections.lookup(&sk);
}

/* Compares, for a call that took `total` bytes, what the other end has sent with what was taken and what waits to be
 * (unix_sock.inq_len, kernel 6.17+): more than was counted has passed by a path that is not seen (account.h). Only
 * where both were in step once: then no beginning is missing. A sender is counted when its bytes lie in the queue
 * already, so with its number read first the difference may be too small, never too large. */
static __always_inline void find_unseen_unix(u64 sk, struct connection *c, u32 total, struct unseen *found) {
#ifdef UNIX_QUEUED
    u64 peer = kernel_pointer(sk + UNIX_PEER);
    struct connection *other = connections.lookup(&peer);
    if (!other || !is_unix_of(other, unix_identity(c)->pair) || (c->flags & CONNECTION_TLS))
        return;
    u64 sent = *(volatile u64 *)&other->half[0].position;
    u64 queued = kernel_word(sk + UNIX_QUEUED);
    s64 beyond = sent - queued - c->half[1].position - total;
    if (!(c->flags & CONNECTION_ACCOUNTED)) {
        if (!beyond)
            c->flags |= CONNECTION_ACCOUNTED;
        return;
    }
    if (beyond > 0 && beyond <= 0x7fffffff)
        found->bytes = beyond;
#endif
}

/* The end of the stream was read: the other end is closed, or it has shut down its sending direction. Where it is
 * closed nothing passes any more in either direction. */
static __always_inline void unix_stream_ended(u64 sk) {
    u64 peer = kernel_pointer(sk + UNIX_PEER), pair = unix_pair(sk, peer);
    int closed = peer && !kernel_pointer(peer + SOCK_SOCKET);
    struct connection *reader = connections.lookup(&sk);
    void *rest = reader && is_unix_of(reader, pair) && reader->announced ? ring_of(reader->pid) : 0;
    if (rest && !(reader->flags & (CONNECTION_SHED | CONNECTION_NEVER))) {
        struct unseen unseen = {};
        find_unseen_unix(sk, reader, 0, &unseen);
        if (unseen.bytes)
            tell_unseen(rest, reader->pid, reader, DIRECTION_RECEIVE, &reader->half[1], &unseen);
    }
    for (int i = 0; i < 2; i++) {
        u64 end = i ? sk : peer;
        struct connection *c = connections.lookup(&end);
        if (!c || !is_unix_of(c, pair))
            continue;
        void *ring = ring_of(c->pid);
        if (ring && c->announced && !(c->flags & (CONNECTION_TLS | CONNECTION_SHED)))
            emit(ring, KIND_END, c->pid, c->id, i ? DIRECTION_RECEIVE : DIRECTION_SEND, c->half[i ? 1 : 0].position, 0,
                 0, 0);
        if (closed)
            close_connection(end, c);
    }
}

#endif
