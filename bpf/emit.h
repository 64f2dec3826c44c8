/* Counting, identities, and writing records into the rings.
 *
 * Programs on uprobes can be preempted by another program on the same processor, so nothing here builds a record in
 * per-processor scratch memory: space is reserved in the ring first and the payload is read from user memory straight
 * into it. Reservations have constant sizes (the verifier wants them), hence the size classes: at most half of a
 * record is room that nobody uses, and the many frame headers of 9 bytes that HTTP/2 writes apart take little. */

static __always_inline void count(u32 which, u64 n) {
    u64 *value = counts.lookup(&which);
    if (value)
        __sync_fetch_and_add(value, n);
}

/* Unique on this machine until it has been up for 2.2 years: no two programs on a processor read the clock at once. */
static __always_inline u64 identity(void) {
    return (bpf_ktime_get_ns() << 8) | (bpf_get_smp_processor_id() & 0xff);
}

static __always_inline void *ring_of(u32 pid) {
    u32 zero = 0;
    struct config *c = config.lookup(&zero);
    u32 which = c && c->workers ? pid % c->workers : 0;
    return rings.lookup(&which);
}

/* The epoch of the worker that a process's records go to. */
static __always_inline u32 epoch_of(u32 pid) {
    u32 zero = 0;
    struct config *c = config.lookup(&zero);
    u32 which = c && c->workers ? pid % c->workers : 0;
    u32 *epoch = epochs.lookup(&which);
    return epoch ? *epoch : 0;
}

/* Workers look at their ring every few milliseconds; they are woken earlier only when it fills. */
#define WAKE_AT (RING_PAGES * 4096 / 8)
static __always_inline u64 wake(void *ring) {
    return bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > WAKE_AT ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Writes a record without payload about what was at that time. 0: written; 1: the ring is full, which is counted. */
static __always_inline int emit_at(u64 time_ns, void *ring, u8 kind, u32 pid, u64 flow, u8 direction, u64 position,
                                   u32 length, u8 flags, u8 detail) {
    struct record *r = bpf_ringbuf_reserve(ring, sizeof(struct record), 0);
    if (!r) {
        count(COUNT_RING_FULL_RECORDS, 1);
        return 1;
    }
    r->time_ns = time_ns;
    r->flow = flow;
    r->position = position;
    r->pid = pid;
    r->length = length;
    r->kind = kind;
    r->direction = direction;
    r->flags = flags;
    r->detail = detail;
    r->unused = 0;
    bpf_ringbuf_submit(r, wake(ring));
    count(COUNT_RECORDS, 1);
    return 0;
}

/* The same of now. */
static __always_inline int emit(void *ring, u8 kind, u32 pid, u64 flow, u8 direction, u64 position, u32 length,
                                u8 flags, u8 detail) {
    return emit_at(bpf_ktime_get_ns(), ring, kind, pid, flow, direction, position, length, flags, detail);
}

struct ends_record {
    struct record r;
    struct endpoints ends;
};

static __always_inline void fill_ends(struct ends_record *e, u8 kind, u32 pid, u64 flow, struct endpoints *ends,
                                      u8 flags, u8 binding) {
    e->r.time_ns = bpf_ktime_get_ns();
    e->r.flow = flow;
    e->r.position = 0;
    e->r.pid = pid;
    e->r.length = 0;
    e->r.kind = kind;
    e->r.direction = 0;
    e->r.flags = flags;
    e->r.detail = binding;
    e->r.unused = 0;
    e->ends = *ends;
}

/* Writes KIND_OPEN or KIND_BIND. 0: written; 1: the ring is full, which is counted. */
static __always_inline int emit_ends(void *ring, u8 kind, u32 pid, u64 flow, struct endpoints *ends, u8 flags,
                                     u8 binding) {
    struct ends_record *e = bpf_ringbuf_reserve(ring, sizeof(struct ends_record), 0);
    if (!e) {
        count(COUNT_RING_FULL_RECORDS, 1);
        return 1;
    }
    fill_ends(e, kind, pid, flow, ends, flags, binding);
    bpf_ringbuf_submit(e, wake(ring));
    count(COUNT_RECORDS, 1);
    return 0;
}

/* Largest payload of one record; longer calls become several. A power of two. */
#define CHUNK 16384

/* Reserves a class, reads the payload into it, submits. Returns 0, or the cause of the loss. The length is read back
 * from the reserved memory: what lies there is unknown to the verifier, so the exact range it has for the length in
 * each turn of the loop around this does not make every turn a new state to explore. */
#define EMIT_CLASS(SIZE)                                                                                               \
    static __always_inline u32 emit_chunk_##SIZE(void *ring, struct record *head, u64 from) {                          \
        u8 *to = bpf_ringbuf_reserve(ring, sizeof(struct record) + SIZE, 0);                                           \
        if (!to)                                                                                                       \
            return CAUSE_RING_FULL;                                                                                    \
        *(struct record *)to = *head;                                                                                  \
        u64 length = ((volatile struct record *)to)->length;                                                           \
        asm volatile("" : "+r"(length));                                                                               \
        if (length > SIZE)                                                                                             \
            length = SIZE;                                                                                             \
        if (bpf_probe_read_user(to + sizeof(struct record), length, (void *)from)) {                                   \
            bpf_ringbuf_discard(to, BPF_RB_NO_WAKEUP);                                                                 \
            return CAUSE_COPY_FAULT;                                                                                   \
        }                                                                                                              \
        bpf_ringbuf_submit(to, wake(ring));                                                                            \
        return 0;                                                                                                      \
    }
EMIT_CLASS(64)
EMIT_CLASS(256)
EMIT_CLASS(512)
EMIT_CLASS(1024)
EMIT_CLASS(2048)
EMIT_CLASS(4096)
EMIT_CLASS(8192)
EMIT_CLASS(16384)

static __always_inline u32 emit_chunk(void *ring, struct record *head, u64 from) {
    u32 n = head->length;
    if (n <= 64)
        return emit_chunk_64(ring, head, from);
    if (n <= 256)
        return emit_chunk_256(ring, head, from);
    if (n <= 512)
        return emit_chunk_512(ring, head, from);
    if (n <= 1024)
        return emit_chunk_1024(ring, head, from);
    if (n <= 2048)
        return emit_chunk_2048(ring, head, from);
    if (n <= 4096)
        return emit_chunk_4096(ring, head, from);
    if (n <= 8192)
        return emit_chunk_8192(ring, head, from);
    return emit_chunk_16384(ring, head, from);
}

struct user_iovec {
    u64 base;
    u64 length;
};

/* Reads an element of an iovec array: a system call names the application's, a function of the kernel has a copy. */
#if defined(BACK_END_KPROBE)
#define read_vector bpf_probe_read_kernel
#elif defined(REQUEST_OPERATION)
static __always_inline long read_vector(void *to, u32 size, const void *from) {
    return (s64)from < 0 ? bpf_probe_read_kernel(to, size, from) : bpf_probe_read_user(to, size, from);
}
#else
#define read_vector bpf_probe_read_user
#endif

/* One call is copied in at most this many chunks. A TLS call has one buffer: 1 MiB of content with its head and the
 * sizes of its parts. A socket call may have an iovec array, as event loops use it: a chunk for each element. */
#define TLS_STEPS 68
#ifndef SOCKET_STEPS /* the loader gives fewer to verifiers that follow less */
#define SOCKET_STEPS 128
#endif

static __always_inline void lose(struct half *half, u64 from, u32 cause) {
    if (!half->lost) {
        half->lost = 1;
        half->lost_from = from;
        half->lost_cause = cause;
    }
}

/* Tells a loss that was noted earlier, ahead of the next record of its direction. */
static __always_inline void tell_loss(void *ring, u32 pid, u64 flow, u8 direction, struct half *half, u8 flags) {
    if (!half->lost)
        return;
    u64 length = half->position - half->lost_from;
    if (length > 0xffffffff)
        length = 0xffffffff;
    if (!emit(ring, KIND_GAP, pid, flow, direction, half->lost_from, length, flags, half->lost_cause))
        half->lost = 0;
}

static __always_inline void count_loss(u32 cause, u64 bytes) {
    if (cause == CAUSE_RING_FULL) {
        count(COUNT_RING_FULL_RECORDS, 1);
        count(COUNT_RING_FULL_BYTES, bytes);
    } else if (cause == CAUSE_COPY_FAULT)
        count(COUNT_COPY_FAULT_BYTES, bytes);
    else if (cause == CAUSE_CALL_LIMIT)
        count(COUNT_CALL_LIMIT_BYTES, bytes);
    else if (cause == CAUSE_NOT_IN_USER_MEMORY)
        count(COUNT_NOT_IN_USER_MEMORY_BYTES, bytes);
    else if (cause == CAUSE_MAP_FULL)
        count(COUNT_MAP_FULL_BYTES, bytes);
    else if (cause == CAUSE_UNSEEN_PATH)
        count(COUNT_UNSEEN_PATH_BYTES, bytes);
}

/* Does the governor leave out a flow of this identity now? The hash is apisensor.transactions.shedding's. */
static __always_inline int is_shed(u64 flow) {
    u32 zero = 0;
    struct governor *g = governor.lookup(&zero);
    return g && ((flow * 0x9e3779b97f4a7c15ULL) >> 56) < g->shed;
}

/* The same of a flow that moves `n` bytes, `flags` having `bit` where it was left out when it was first seen: it stays
 * so, whole and counted, until the governor takes it back. Then its positions begin at `joined`, as where a flow is
 * joined late. */
static __always_inline int left_out(u32 *flags, u32 bit, u64 flow, struct half *half, u8 direction, u64 n, u64 joined) {
    if (!(*flags & bit))
        return 0;
    if (!is_shed(flow)) {
        *flags &= ~bit;
        half[0].position = half[1].position = joined; /* nothing of it was told: as at first sight */
        half[0].lost = half[1].lost = 0;
        return 0;
    }
    if (bit == CONNECTION_SHED && !half[0].position && !half[1].position)
        count(COUNT_SHED_CONNECTIONS, 1); /* TLS sessions are counted when they are made */
    if (direction == DIRECTION_SEND)
        half[0].position += n;
    else
        half[1].position += n;
    count(COUNT_SHED_BYTES, n);
    return 1;
}

static __always_inline u32 flow_slot(u64 flow) {
    return (flow ^ (flow >> 24)) & (SKIP_SLOTS - 1);
}

/* The position below which the worker needs no payload of this direction of the flow. */
static __always_inline u64 skip_below(u64 flow, u8 direction) {
    u32 slot = flow_slot(flow);
    struct skip *s = skips.lookup(&slot);
    if (!s || s->flow != flow)
        return 0;
    return direction == DIRECTION_SEND ? s->below[0] : s->below[1];
}

/* Sends `total` bytes that a call moved, and moves the direction's position past them. What cannot be sent becomes a
 * loss that the next record of the direction tells. */
static __always_inline void emit_bytes(void *ring, u32 pid, u64 flow, u8 direction, struct half *half,
                                       struct source *source, u64 total, u8 flags, const int steps) {
    u32 zero = 0;
    struct config *c = config.lookup(&zero);
    u64 limit = c ? c->call_limit : 0;
    u64 start = half->position, done = 0;
    u64 below = skip_below(flow, direction);
    tell_loss(ring, pid, flow, direction, half, flags);
    half->position = start + total;
    if (below >= start + total) {
        /* The worker asked for it and sees the jump in the next record. But where a message ends here, none may follow
         * for long. */
        count(below == FLOW_SHED ? COUNT_SHED_BYTES : COUNT_SKIPPED_BYTES, total);
        if (below == start + total)
            emit(ring, KIND_GAP, pid, flow, direction, start, total, flags, CAUSE_SKIPPED);
        return;
    }
    if (limit > total)
        limit = total;
    u64 thread = bpf_get_current_pid_tgid();
    struct cursor fresh = {};
    fresh.source = *source;
    fresh.limit = limit;
    cursors.update(&thread, &fresh);
    struct cursor *at = cursors.lookup(&thread);
    if (!at) {
        count_loss(CAUSE_MAP_FULL, total);
        lose(half, start, CAUSE_MAP_FULL);
        return;
    }
    struct record head = {};
    head.time_ns = bpf_ktime_get_ns();
    head.flow = flow;
    head.pid = pid;
    head.kind = KIND_CHUNK;
    head.direction = direction;
    u32 cause = 0;
    for (int i = 0; i < steps; i++) {
        if (at->done >= at->limit)
            break;
        if (!at->source.left) {
            struct user_iovec v = {};
            if (!at->source.vector_count || read_vector(&v, sizeof(v), (void *)at->source.vectors))
                break;
            at->source.vectors += sizeof(v);
            at->source.vector_count--;
            at->source.buffer = v.base;
            at->source.left = v.length;
            if (!v.length)
                continue;
        }
        u64 n = at->limit - at->done;
        if (n > at->source.left)
            n = at->source.left;
        if (n > CHUNK)
            n = CHUNK;
        head.position = start + at->done;
        head.length = n;
        head.flags = flags | (at->done ? 0 : FLAG_CALL_START);
        cause = emit_chunk(ring, &head, at->source.buffer);
        if (cause)
            break; /* The rest of this call is left out too: half a message is worth little, room for the next more. */
        n = head.length;
        count(COUNT_RECORDS, 1);
        count(COUNT_CHUNK_BYTES, n);
        at->source.buffer += n;
        at->source.left -= n;
        at->done += n;
    }
    done = at->done;
    u64 in_buffer = at->source.left;
    cursors.delete(&thread);
    struct traffic *t = traffic.lookup(&pid);
    if (t)
        __sync_fetch_and_add(&t->captured, done);
    if (done < total) {
        if (!cause)
            cause = done >= limit || in_buffer ? CAUSE_CALL_LIMIT : CAUSE_NOT_IN_USER_MEMORY;
        count_loss(cause, total - done);
        lose(half, start + done, cause);
        if (cause != CAUSE_RING_FULL)
            tell_loss(ring, pid, flow, direction, half, flags); /* at once, for the same reason */
    }
}
