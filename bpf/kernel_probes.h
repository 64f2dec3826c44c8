/* Back end "kprobe" of the socket contract (socket_probes.h): the functions of the kernel that move the bytes of TCP,
 * and of unix stream sockets.
 *
 * tcp_sendmsg and tcp_recvmsg are what every path comes to, io_uring's too, for IPv4 and IPv6. A kprobe at their entry
 * keeps where the bytes lie: the kernel's iterator moves on as they are copied. Their return is observed by a BPF
 * trampoline (fexit, kernel 5.5+), not by a return probe: of those a kernel holds max(10, 2 * processors) for all
 * threads together, and a thread that waits in a read keeps one, so the next one's read would pass unseen.
 * The entry is no trampoline because a program on one can be preempted, and is not run then for the next thread on that
 * processor; of the returns the kernel counts that (recursion_misses, kernel.lost.recursion).
 *
 * sendfile and splice come by tcp_sendpage, and from kernel 6.5 on by tcp_sendmsg with pages in place of user memory;
 * splice from a socket comes by tcp_splice_read. Their bytes are counted. Of TLS in the kernel (kTLS) nothing passes
 * here: such a socket has other functions. Argument positions and offsets come from the running kernel's BTF. */

/* Arguments and then the result of the function that returns: copied, as the verifier would give them types. */
static __always_inline u64 argument(struct bpf_raw_tracepoint_args *ctx, const int position) {
    u64 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), &ctx->args[position]);
    return value;
}

static __always_inline int leave_pages(u64 sk, u8 direction, s64 returned) {
    struct transfer transfer = {.cause = CAUSE_NOT_IN_USER_MEMORY};
    return returned > 0 ? on_socket(sk, direction, returned, &transfer) : 0;
}

/* (socket, page, offset, size, flags): sendfile and splice to a unix socket, until kernel 6.4; then as sendmsg. */
#ifdef UNIX_STREAM_SENDPAGE_RESULT
int fexit_unix_stream_sendpage(struct bpf_raw_tracepoint_args *ctx) {
    u64 sk = kernel_pointer(argument(ctx, 0) + SOCKET_SOCK);
    return leave_pages(sk, DIRECTION_SEND, argument(ctx, UNIX_STREAM_SENDPAGE_RESULT));
}
#endif

/* (socket, position, pipe, length, flags). Of splice from a unix socket nothing else tells, in the back end "sock"
 * neither. */
#ifdef UNIX_STREAM_SPLICE_READ_RESULT
int fexit_unix_stream_splice_read(struct bpf_raw_tracepoint_args *ctx) {
    u64 sk = kernel_pointer(argument(ctx, 0) + SOCKET_SOCK);
    return leave_pages(sk, DIRECTION_RECEIVE, argument(ctx, UNIX_STREAM_SPLICE_READ_RESULT));
}
#endif

#ifdef BACK_END_KPROBE

/* Keeps where the call's bytes lie, before any is copied; nothing where that is not user memory. */
static __always_inline int enter_message(u64 message) {
    u64 thread = bpf_get_current_pid_tgid();
    struct source source = {};
    read_iterator(message + MESSAGE_ITERATOR, 0, &source);
    transfers.update(&thread, &source);
    return 0;
}

/* (sock, message, ...) */
int kprobe_tcp_sendmsg(struct pt_regs *ctx) {
    return enter_message(PT_REGS_PARM2(ctx));
}
int kprobe_tcp_recvmsg(struct pt_regs *ctx) {
    return enter_message(PT_REGS_PARM2(ctx));
}

/* (socket, message, ...); of packets the function that sends them, too: on_socket looks at the kind */
int kprobe_unix_stream_sendmsg(struct pt_regs *ctx) {
    return enter_message(PT_REGS_PARM2(ctx));
}
int kprobe_unix_stream_recvmsg(struct pt_regs *ctx) {
    return enter_message(PT_REGS_PARM2(ctx));
}

#define KERNEL_STACK 16384 /* THREAD_SIZE; the registers of the thread's own code lie at its top */
static __always_inline u64 goroutine(void) {
    u64 value = 0;
#ifdef HAVE_TASK_PT_REGS /* kernel 5.15+ */
    u64 registers = (u64)bpf_task_pt_regs(bpf_get_current_task_btf());
#else
    u64 registers = kernel_pointer(bpf_get_current_task() + TASK_STACK) + KERNEL_STACK - sizeof(struct pt_regs);
#endif
    bpf_probe_read_kernel(&value, sizeof(value), (void *)(registers + __builtin_offsetof(struct pt_regs, r14)));
    return value;
}

static __always_inline int leave_message(u64 sk, u8 direction, s64 returned, u32 flags) {
    u64 thread = bpf_get_current_pid_tgid();
    struct transfer transfer = {};
    if (returned < 0)
        return 0; /* the thread's next call replaces what was kept of this one */
    struct source *source = transfers.lookup(&thread);
    if (source) {
        transfer.source = *source;
        if (!source->buffer && !source->vectors)
            transfer.cause = CAUSE_NOT_IN_USER_MEMORY;
        transfers.delete(&thread);
    } else
        transfer.cause = CAUSE_MAP_FULL;
    transfer.flags = flags;
    transfer.goroutine = goroutine();
    return on_socket(sk, direction, returned, &transfer);
}

int fexit_tcp_sendmsg(struct bpf_raw_tracepoint_args *ctx) {
    return leave_message(argument(ctx, 0), DIRECTION_SEND, (int)argument(ctx, TCP_SENDMSG_RESULT), 0);
}
int fexit_tcp_recvmsg(struct bpf_raw_tracepoint_args *ctx) {
    return leave_message(argument(ctx, 0), DIRECTION_RECEIVE, (int)argument(ctx, TCP_RECVMSG_RESULT),
                         argument(ctx, TCP_RECVMSG_FLAGS));
}

#ifdef UNIX_STREAM_SENDMSG_RESULT
int fexit_unix_stream_sendmsg(struct bpf_raw_tracepoint_args *ctx) {
    u64 sk = kernel_pointer(argument(ctx, 0) + SOCKET_SOCK);
    return leave_message(sk, DIRECTION_SEND, (int)argument(ctx, UNIX_STREAM_SENDMSG_RESULT), 0);
}
int fexit_unix_stream_recvmsg(struct bpf_raw_tracepoint_args *ctx) {
    u64 sk = kernel_pointer(argument(ctx, 0) + SOCKET_SOCK);
    return leave_message(sk, DIRECTION_RECEIVE, (int)argument(ctx, UNIX_STREAM_RECVMSG_RESULT),
                         argument(ctx, UNIX_STREAM_RECVMSG_FLAGS));
}
#endif

/* (sock, page, offset, size, flags); until kernel 6.4 */
#ifdef TCP_SENDPAGE_RESULT
int fexit_tcp_sendpage(struct bpf_raw_tracepoint_args *ctx) {
    return leave_pages(argument(ctx, 0), DIRECTION_SEND, (int)argument(ctx, TCP_SENDPAGE_RESULT));
}
#endif

/* (socket, position, pipe, length, flags) */
int fexit_tcp_splice_read(struct bpf_raw_tracepoint_args *ctx) {
    u64 sk = kernel_pointer(argument(ctx, 0) + SOCKET_SOCK);
    return leave_pages(sk, DIRECTION_RECEIVE, argument(ctx, TCP_SPLICE_READ_RESULT));
}

#endif
