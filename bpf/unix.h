/* Unix stream sockets: what is read of struct unix_sock, whose first member is the struct sock. */

#if MAX_UNIX_CONNECTIONS

/* The inode number of a unix socket, which no other socket has while it is open. 0: it is closed, or was not accepted
 * yet. */
static __always_inline u64 unix_inode(u64 sk) {
    u64 socket = kernel_pointer(sk + SOCK_SOCKET), inode = 0;
    if (socket) /* lies in a struct socket_alloc, with its inode behind it */
        bpf_probe_read_kernel(&inode, sizeof(inode), (void *)(socket + SOCKET_INODE + INODE_NUMBER));
    return inode;
}

/* A number that both ends of a connection have in common, and hardly any other connection at the same time. Of the
 * addresses that it is made of it tells nothing: PAIR_SALT is drawn when it is compiled. */
static __always_inline u64 unix_pair(u64 sk, u64 peer) {
    u64 low = sk < peer ? sk : peer, high = sk < peer ? peer : sk;
    u64 mixed = (low ^ PAIR_SALT) * 0x9e3779b97f4a7c15ULL;
    mixed = ((mixed ^ (mixed >> 29)) + high) * 0xbf58476d1ce4e5b9ULL;
    mixed = (mixed ^ (mixed >> 32)) * 0x94d049bb133111ebULL;
    return mixed ^ (mixed >> 29);
}

/* The process that the kernel keeps for SO_PEERCRED: who connected, or who listens. */
static __always_inline u32 unix_peer_process(u64 sk) {
    u64 pid = kernel_pointer(sk + SOCK_PEER_PID);
    u32 number = 0;
    if (pid)
        bpf_probe_read_kernel(&number, sizeof(number), (void *)(pid + PID_NUMBERS + UPID_NUMBER));
    return number;
}

/* The name that a socket is bound to (struct sockaddr_un without its family), an accepted one that of its listener.
 * Returns its length, 0 for none. */
static __always_inline u32 unix_name(u64 sk, u8 *name) {
    u64 address = kernel_pointer(sk + UNIX_ADDRESS);
    u32 whole = 0;
    if (address)
        bpf_probe_read_kernel(&whole, sizeof(whole), (void *)(address + UNIX_ADDRESS_LENGTH));
    if (whole <= 2)
        return 0; /* no name: only the family, or nothing */
    u64 length = whole - 2;
    /* In one piece, or the compiler uses a copy from before the comparison, of which the verifier (6.1) knows nothing.
     */
    asm volatile("if %0 <= %1 goto +1\n%0 = %1" : "+r"(length) : "i"(UNIX_NAME));
    return bpf_probe_read_kernel(name, length, (void *)(address + UNIX_ADDRESS_NAME + 2)) ? 0 : length;
}

struct unix_record {
    struct ends_record open;
    struct unix_names names;
};

/* As emit_ends, with the names behind. */
static __always_inline int emit_unix_ends(void *ring, u8 kind, u32 pid, u64 flow, u64 sk, struct endpoints *ends,
                                          u8 flags, u8 binding) {
    struct unix_record *u = bpf_ringbuf_reserve(ring, sizeof(struct unix_record), 0);
    if (!u) {
        count(COUNT_RING_FULL_RECORDS, 1);
        return 1;
    }
    fill_ends(&u->open, kind, pid, flow, ends, flags | FLAG_UNIX, binding);
    u->names.local_length = unix_name(sk, u->names.local);
    u->names.remote_length = unix_name(kernel_pointer(sk + UNIX_PEER), u->names.remote);
    bpf_ringbuf_submit(u, wake(ring));
    count(COUNT_RECORDS, 1);
    return 0;
}

#endif

/* Writes KIND_OPEN or KIND_BIND. 0: written; 1: the ring is full, which is counted. */
static __always_inline int tell_ends(void *ring, u8 kind, u32 pid, u64 flow, u64 sk, struct connection *c, u8 flags,
                                     u8 binding) {
#if MAX_UNIX_CONNECTIONS
    if (c->flags & CONNECTION_UNIX)
        return emit_unix_ends(ring, kind, pid, flow, sk, &c->ends, flags, binding);
#endif
    return emit_ends(ring, kind, pid, flow, &c->ends, flags, binding);
}
