/* Probes on Go's crypto/tls: (*Conn).Read, Write, clientHandshake, serverHandshake and Close, by the calling convention
 * in registers (Go 1.17 and later): receiver rax, slice rbx, rcx, rdi; results from rax on; r14 is the goroutine
 * (struct g *).
 *
 * A goroutine may return on another thread than it called on, and its stack may be moved meanwhile, which keeps each
 * place's distance from the top. So a call is known by goroutine and distance, and its return by probes on the
 * function's return instructions: a return probe would be found by the runtime when it moves the stack, which ends the
 * program. A function whose stack is too small begins twice, which gives the same entry twice. */

static __always_inline int enter_go(struct pt_regs *ctx, u8 direction) {
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    int held = 0;
    if (!admitted(pid, &held))
        return 0;
    struct call_key key = {};
    key.who = ctx->r14;
    key.pid = pid;
    u64 top = stack_top(ctx->r14);
    if (!top)
        return 0;
    struct call fresh = {};
    fresh.ssl = ctx->ax;
    fresh.buffer = ctx->bx;
    fresh.length = ctx->cx;
    fresh.stack = PT_REGS_SP(ctx) - top; /* the larger the nearer to the top, as for a thread */
    fresh.direction = direction;
    if (fresh.buffer < top && fresh.buffer >= PT_REGS_SP(ctx)) {
        fresh.on_stack = 1;
        fresh.buffer -= top;
    }
    enter(&key, &fresh, pid, LIBRARY_GO);
    return 0;
}

int go_read(struct pt_regs *ctx) {
    return enter_go(ctx, DIRECTION_RECEIVE);
}
int go_write(struct pt_regs *ctx) {
    return enter_go(ctx, DIRECTION_SEND);
}
/* clientHandshake(context), serverHandshake(context): the first records of a session pass here. Not handshakeContext,
 * which each read and write calls. */
int go_quiet(struct pt_regs *ctx) {
    return enter_go(ctx, QUIET);
}

/* Close() */
int go_free(struct pt_regs *ctx) {
    struct session_key key = {};
    key.ssl = ctx->ax;
    key.pid = bpf_get_current_pid_tgid() >> 32;
    close_session(&key);
    return 0;
}
