/* What the kernel itself counts of a TCP stream: how far the application has given bytes to it, and taken them. At each
 * call that is seen this is compared with what was counted here. A difference has passed by a path that the back end
 * does not see (docs/sockets.md), and lies before this call's bytes: whoever shares a direction takes turns. Sequence
 * numbers have 32 bits, so at most 2 GiB may pass unseen between two calls of a direction.
 *
 * The worker pairs responses with requests by their order. So when a call of one direction finds that the other has
 * moved, that is noticed, with the time, and not told: a thread may be on its way out of the call that moved it. The
 * next call of that direction knows, and tells when it was at the latest. */

#define SOCK_FLAG_DONE (1ULL << SOCK_DONE) /* the peer's FIN has come; its number is in rcv_nxt by then */
#define MOST_URGENT    64                  /* urgent bytes (RFC 9293 section 3.8.5) between two calls: one a segment */

static __always_inline u32 kernel_word(u64 at) {
    u32 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), (void *)at);
    return value;
}

/* The number behind the last byte. A FIN has one too: of ours, nothing is asked behind it; of the peer's, where it was
 * taken, it is left out. */
static __always_inline u32 sequence_of(u64 sk, u8 direction, u32 expected) {
    if (direction == DIRECTION_SEND)
        return kernel_word(sk + TCP_WRITTEN_SEQUENCE);
    if (kernel_word(sk + TCP_COPIED_SEQUENCE) == expected)
        return expected;
    u64 flags = kernel_pointer(sk + SOCK_FLAGS);
    u32 next = kernel_word(sk + TCP_NEXT), copied = kernel_word(sk + TCP_COPIED_SEQUENCE);
    return copied == next && (flags & SOCK_FLAG_DONE) ? copied - 1 : copied;
}

/* What find_unseen has found. */
struct unseen {
    u64 passed_ns; /* when `bytes` had passed, at the latest; 0: this call */
    u32 bytes;     /* of the call's direction, before the call's own */
    u32 again;     /* of the call's own, those that were told as unseen: calls of two threads that did not take turns */
};

/* Compares, for a call that moved `total` bytes. */
static __always_inline void find_unseen(u64 sk, struct connection *c, u8 direction, u32 total, struct unseen *found) {
    int sends = direction == DIRECTION_SEND;
    struct account *own = sends ? &c->account[0] : &c->account[1];
    struct account *other = sends ? &c->account[1] : &c->account[0];
    u32 before = own->sequence;
    u32 now = sequence_of(sk, direction, before + total);
    u32 across = sequence_of(sk, !direction, other->sequence);
    own->sequence = now;
    if (!(c->flags & CONNECTION_ACCOUNTED)) {
        c->flags |= CONNECTION_ACCOUNTED;
        other->sequence = across;
        return;
    }
    if (across != other->sequence && across != other->noticed) {
        other->noticed = across;
        other->noticed_ns = bpf_ktime_get_ns();
    }
    s32 beyond = now - before - total;
    if (!beyond)
        return;
    if (beyond < 0) { /* or the bytes are another socket's (sockmap), whose numbers they do not move */
        if (c->unseen < -beyond)
            return;
        c->unseen += beyond;
        found->again = total < -beyond ? total : -beyond;
        return;
    }
    /* An urgent byte that is not taken is passed over: urg_seq is the last one's number. */
    if (!sends && beyond <= MOST_URGENT && kernel_word(sk + TCP_URGENT_SEQUENCE) - before < now - before)
        return;
    c->unseen += beyond;
    found->bytes = beyond;
    if (own->noticed == before + beyond)
        found->passed_ns = own->noticed_ns;
}

/* Tells of bytes that have passed unseen. */
static __always_inline void tell_unseen(void *ring, u32 pid, struct connection *c, u8 direction, struct half *half,
                                        struct unseen *unseen) {
    u64 from = half->position, when = unseen->passed_ns ? unseen->passed_ns : bpf_ktime_get_ns();
    tell_loss(ring, pid, c->id, direction, half, 0);
    half->position += unseen->bytes;
    count_loss(CAUSE_UNSEEN_PATH, unseen->bytes);
    if (half->lost) /* told with that, later */
        return;
    if (emit_at(when, ring, KIND_GAP, pid, c->id, direction, from, unseen->bytes, 0, CAUSE_UNSEEN_PATH))
        lose(half, from, CAUSE_UNSEEN_PATH);
}

/* A direction is over: tells what has passed unseen behind its last call. */
static __always_inline void tell_rest(void *ring, u64 sk, struct connection *c, u8 direction, struct half *half) {
    struct unseen unseen = {};
    if (c->flags & (CONNECTION_TLS | CONNECTION_SHED | CONNECTION_NEVER | CONNECTION_UNIX))
        return;
    find_unseen(sk, c, direction, 0, &unseen);
    if (unseen.bytes)
        tell_unseen(ring, c->pid, c, direction, half, &unseen);
}
