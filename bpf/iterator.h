/* struct iov_iter: where the kernel's functions read from and write to. */

#ifdef ITERATOR_TYPE

/* Where the bytes lie from which on `consumed` have been copied, and those behind them; nothing where that is not user
 * memory. An iterator moves on as bytes are copied: only back over as many buffers as a call may have. 0: unknown. */
static __always_inline int read_iterator(u64 iterator, u64 consumed, struct source *source) {
    u64 count = 0, offset = 0;
    u8 type = 0;
    bpf_probe_read_kernel(&type, sizeof(type), (void *)(iterator + ITERATOR_TYPE));
    bpf_probe_read_kernel(&count, sizeof(count), (void *)(iterator + ITERATOR_COUNT));
    bpf_probe_read_kernel(&offset, sizeof(offset), (void *)(iterator + ITERATOR_OFFSET));
    type &= ITERATOR_TYPE_MASK;
    if (!count && !consumed)
        return 0;
    if (type == ITERATOR_IS_VECTORS) {
        struct user_iovec v = {};
        u64 vectors = kernel_pointer(iterator + ITERATOR_VECTORS), number = 0;
        bpf_probe_read_kernel(&number, 8, (void *)(iterator + ITERATOR_VECTOR_COUNT));
        for (int i = 0; i < MOST_VECTORS && offset < consumed; i++) {
            vectors -= sizeof(v);
            number++;
            if (bpf_probe_read_kernel(&v, sizeof(v), (void *)vectors))
                return 0;
            offset += v.length;
        }
        if (offset < consumed || !number || bpf_probe_read_kernel(&v, sizeof(v), (void *)vectors))
            return 0;
        offset -= consumed;
        source->buffer = v.base + offset;
        source->left = v.length - offset;
        source->vectors = vectors + sizeof(v);
        source->vector_count = number - 1;
        return 1;
    }
#ifdef ITERATOR_BUFFER
    if (type == ITERATOR_IS_BUFFER) {
        source->buffer = kernel_pointer(iterator + ITERATOR_BUFFER) + offset - consumed;
        source->left = count + consumed;
        return 1;
    }
#endif
    return 0;
}

#endif
