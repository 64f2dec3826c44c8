/* io_uring's operations on sockets, for the back end "sock" (kernel 6.10+).
 *
 * What io_uring does for a request it does in a system call of the thread that asks for it, on that thread's way out of
 * another one, or in a thread of its own; sock_send_length and sock_recv_length do not say for which. So each request
 * is entered in a table when it is submitted and taken out when it is complete, by socket and direction. Of these it is
 * the one where there is one: whoever shares a stream has one request a direction in flight. Where there are several,
 * as with sends that are linked, the one is not told from the other, and the bytes are counted.
 *
 * Where the bytes lie is in the request's iterator. Of a message it has moved on by then, of a read or write it has not
 * (sock_read_iter and sock_write_iter copy it). Since kernel 6.10 a request has it from the beginning. Buffers that are
 * registered are pages in place of user memory: their bytes are counted. */

#ifdef REQUEST_OPERATION

#define NR_IO_URING_ENTER 426

/* enum io_uring_op: include/uapi/linux/io_uring.h */
#define OPERATION(NUMBER) (1ULL << (NUMBER))
#define WRITES            (OPERATION(2) | OPERATION(5) | OPERATION(23) | OPERATION(61)) /* WRITEV, _FIXED, WRITE, WRITEV_FIXED */
#define READS                                                                                                          \
    (OPERATION(1) | OPERATION(4) | OPERATION(22) | OPERATION(49) | OPERATION(60)) /* the same, and READ_MULTISHOT */
#define SENDS    (WRITES | OPERATION(9) | OPERATION(26) | OPERATION(47) | OPERATION(48)) /* SENDMSG, SEND, both _ZC */
#define RECEIVES (READS | OPERATION(10) | OPERATION(27))                                 /* RECVMSG, RECV */

#define FLAG_FIXED_FILE   1  /* IOSQE_FIXED_FILE: the descriptor is a place in the ring's own table */
#define FLAG_SKIP_SUCCESS 64 /* IOSQE_CQE_SKIP_SUCCESS: no completion tells that it is over, if it succeeds */
#define FILE_POINTER      (~3ULL)

static __always_inline u64 operation_of(u64 request) {
    u8 number = 0;
    bpf_probe_read_kernel(&number, sizeof(number), (void *)(request + REQUEST_OPERATION));
    return number < 64 ? OPERATION(number) : 0;
}

static __always_inline u32 flags_of(u64 request) {
    return kernel_word(request + REQUEST_FLAGS);
}

/* The socket that a request is about; 0 where it is none, or not known yet: an earlier request may open it. */
static __always_inline u64 sock_of_request(u64 request) {
    u32 descriptor = kernel_word(request + REQUEST_DESCRIPTOR);
    if (!(flags_of(request) & FLAG_FIXED_FILE))
        return sock_of_descriptor(descriptor);
#ifdef RING_FILES
    u64 files = kernel_pointer(request + REQUEST_RING) + RING_FILES;
    if (descriptor >= kernel_word(files + RING_FILES_NUMBER))
        return 0;
    u64 node = kernel_pointer(kernel_pointer(files + RING_FILES_NODES) + 8ULL * descriptor);
    return node ? sock_of_file(kernel_pointer(node + RING_FILE_POINTER) & FILE_POINTER) : 0;
#else
    return 0;
#endif
}

static __always_inline u64 way_of(u64 sk, u8 direction) {
    return sk | direction;
}

static __always_inline void forget_request(u64 request) {
    u64 *way = requests.lookup(&request);
    if (!way)
        return;
    u64 key = *way;
    struct in_flight *f = in_flight.lookup(&key);
    requests.delete(&request);
    if (!f)
        return;
    if (f->request == request)
        f->request = 0;
    __sync_fetch_and_add(&f->number, -1);
    if (f->number <= 0)
        in_flight.delete(&key);
}

/* (request) */
int io_uring_submit_req(struct bpf_raw_tracepoint_args *ctx) {
    u64 request = ctx->args[0], operation = operation_of(request);
    if (!(operation & (SENDS | RECEIVES)))
        return 0;
    forget_request(request); /* one that succeeded without a word, and this one has its place in memory */
    u64 sk = sock_of_request(request);
    if (!sk)
        return 0;
    u64 way = way_of(sk, operation & SENDS ? DIRECTION_SEND : DIRECTION_RECEIVE);
    struct in_flight fresh = {};
    in_flight.insert(&way, &fresh);
    struct in_flight *f = in_flight.lookup(&way);
    if (!f)
        return 0;
    __sync_fetch_and_add(&f->number, 1);
    f->request = request;
    requests.update(&request, &way);
    return 0;
}

/* (ring, request, ...); no request: one of several completions of it, and not its last */
int io_uring_complete(struct bpf_raw_tracepoint_args *ctx) {
    u64 request = ctx->args[1];
    if (request && (operation_of(request) & (SENDS | RECEIVES)))
        forget_request(request);
    return 0;
}

/* Where the bytes lie that io_uring has moved over a socket. 0: that is not known. */
static __always_inline int find_request(u64 sk, u8 direction, u64 returned, struct source *source) {
    u64 way = way_of(sk, direction);
    struct in_flight *f = in_flight.lookup(&way);
    if (!f || f->number != 1)
        return 0;
    u64 request = f->request;
    /* It has its file only when it is its turn. */
    if (!request || kernel_pointer(kernel_pointer(kernel_pointer(request) + FILE_PRIVATE) + SOCKET_SOCK) != sk)
        return 0;
    u64 data = kernel_pointer(request + REQUEST_DATA), operation = operation_of(request);
    if ((flags_of(request) & FLAG_SKIP_SUCCESS) && returned)
        forget_request(request);
    if (!data)
        return 0;
    if (operation & (READS | WRITES))
        return read_iterator(data + READ_ITERATOR, 0, source);
    return read_iterator(data + REQUEST_MESSAGE + MESSAGE_ITERATOR, returned, source);
}

#endif
