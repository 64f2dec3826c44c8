/* System calls that move a socket's bytes: their numbers and arguments, from which the bytes are found again. */

/* What on_socket is told of a call (socket_probes.h). */
struct transfer {
    struct source source;
    u64 goroutine; /* r14: where the program is Go's, struct g * of the goroutine that makes the call */
    u32 flags;     /* MSG_* of the call */
    u32 cause;     /* enum cause: why the bytes can not be read; 0: they can */
};

struct syscall {
    u64 number;       /* NO_SYSCALL: the bytes are moved for none */
    u64 arguments[5]; /* the sixth is never needed */
    u64 goroutine;
};

#define NO_SYSCALL    (~0ULL)
#define NR_READ       0
#define NR_WRITE      1
#define NR_READV      19
#define NR_WRITEV     20
#define NR_SENDFILE   40
#define NR_SENDTO     44
#define NR_RECVFROM   45
#define NR_SENDMSG    46
#define NR_RECVMSG    47
#define NR_GETSOCKOPT 55 /* TCP_ZEROCOPY_RECEIVE maps received pages */
#define NR_SPLICE     275
#define NR_RECVMMSG   299
#define NR_SENDMMSG   307
#define NR_PREADV2    327 /* on a socket with offset -1 only, as read and write have no other there */
#define NR_PWRITEV2   328

#define OOB      0x1    /* MSG_OOB: the urgent byte, which is no part of what is read else */
#define PEEK     0x2    /* MSG_PEEK: the bytes stay in the queue */
#define TRUNC    0x20   /* MSG_TRUNC on TCP: the bytes are thrown away */
#define ERRQUEUE 0x2000 /* MSG_ERRQUEUE: not stream data */

/* struct mmsghdr: a struct user_msghdr, the bytes that were moved of it, padding. */
#define MESSAGE_SIZE  64
#define MESSAGE_MOVED 56
#define MOST_MESSAGES 1024 /* UIO_MAXIOV: what the kernel takes of one call */
#define MOST_VECTORS  64   /* buffers of a message whose lengths are added up */

/* Returns ax: the call's result, if it is over. */
static __always_inline s64 read_syscall(struct pt_regs *user, struct syscall *call) {
    struct pt_regs r = {};
    bpf_probe_read_kernel(&r, sizeof(r), user);
    call->number = r.orig_ax;
    call->arguments[0] = r.di;
    call->arguments[1] = r.si;
    call->arguments[2] = r.dx;
    call->arguments[3] = r.r10;
    call->arguments[4] = r.r8;
    call->goroutine = r.r14;
    return r.ax;
}

/* Where the call's bytes lie. 0: nowhere that can be read. */
static __always_inline int find_source(struct syscall *call, struct source *source) {
    u64 nr = call->number;
    if (nr == NR_READ || nr == NR_WRITE || nr == NR_SENDTO || nr == NR_RECVFROM) {
        source->buffer = call->arguments[1];
        source->left = call->arguments[2];
        return 1;
    }
    if (nr == NR_READV || nr == NR_WRITEV || nr == NR_PREADV2 || nr == NR_PWRITEV2) {
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

static __always_inline void find_transfer(struct syscall *call, u32 flags, struct transfer *transfer) {
    transfer->flags = flags;
    transfer->goroutine = call->goroutine;
    if (!find_source(call, &transfer->source)) {
        transfer->cause = CAUSE_NOT_IN_USER_MEMORY;
        transfer->source.left = 1; /* bytes were asked for: a receive that returns none has met the end of the stream */
    }
}

#ifdef BACK_END_SOCK

/* sendmmsg and recvmmsg reach the socket once for each message. Puts the one whose turn it is into the call's place;
 * batches says where the call stands. It ends with its last message, with an error (end_messages), or with a message
 * that is not sent whole. A receive with a time limit may end after any message: of that the buffers are not known. */
static __always_inline void take_message(struct syscall *call, s64 returned) {
    u64 thread = bpf_get_current_pid_tgid();
    struct batch batch = {.messages = call->arguments[1], .count = call->arguments[2]};
    struct batch *known = batches.lookup(&thread);
    if (known && known->messages == batch.messages && known->count == batch.count)
        batch.next = known->next;
    struct syscall one = *call;
    int sends = call->number == NR_SENDMMSG;
    call->number = sends ? NR_SENDMSG : NR_RECVMSG;
    call->arguments[1] = batch.messages + (u64)batch.next * MESSAGE_SIZE;
    batch.next++;
    int over = batch.next >= batch.count;
    if (!sends && one.arguments[4] && batch.count > 1) {
        call->number = NO_SYSCALL;
        over = 1;
    }
    if (sends && !over) {
        struct source source = {};
        find_source(call, &source);
        u64 whole = 0;
        for (int i = 0; i < MOST_VECTORS; i++) {
            struct user_iovec v = {};
            if (i >= source.vector_count)
                break;
            bpf_probe_read_user(&v, sizeof(v), (void *)(source.vectors + i * sizeof(v)));
            whole += v.length;
        }
        over = returned < whole;
    }
    if (!over)
        batches.update(&thread, &batch);
    else if (known)
        batches.delete(&thread);
}

/* A call of the thread has failed. */
static __always_inline void end_messages(void) {
    u64 thread = bpf_get_current_pid_tgid();
    if (batches.lookup(&thread))
        batches.delete(&thread);
}

/* The system call that the current thread is in. While one runs, ax is -ENOSYS (entry_64.S); then it is its result.
 * What io_uring does on a thread's way out of another system call has nothing to do with that one's arguments, nor has
 * what it does in a worker thread, which keeps a copy of its maker's registers with ax 0. */
#define ENOSYS 38
static __always_inline void running_syscall(struct syscall *call) {
    if (read_syscall((struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf()), call) != -ENOSYS)
        call->number = NO_SYSCALL;
}

#endif

#ifdef BACK_END_SYSCALL

/* The call's flags of a receive. */
static __always_inline u32 message_flags(struct syscall *call) {
    if (call->number == NR_RECVFROM || call->number == NR_RECVMMSG)
        return call->arguments[3];
    if (call->number == NR_RECVMSG)
        return call->arguments[2];
    return 0;
}

/* The bytes of so many messages of a sendmmsg or recvmmsg, whose own result is their number. One is taken for a
 * sendmsg or recvmsg; the buffers of more are not looked for. */
static __always_inline s64 take_messages(struct syscall *call, s64 messages) {
    s64 total = 0;
    for (int i = 0; i < MOST_MESSAGES; i++) {
        u32 moved = 0;
        if (i >= messages)
            break;
        bpf_probe_read_user(&moved, sizeof(moved), (void *)(call->arguments[1] + i * MESSAGE_SIZE + MESSAGE_MOVED));
        total += moved;
    }
    int sends = call->number == NR_SENDMMSG;
    call->number = messages != 1 ? NO_SYSCALL : sends ? NR_SENDMSG : NR_RECVMSG;
    return total;
}

#endif
