/* Processes: what may be seen of them is inherited, told and cleaned up here. */

/* sched_process_fork(parent, child) */
int sched_process_fork(struct bpf_raw_tracepoint_args *ctx) {
    u32 parent = bpf_get_current_pid_tgid() >> 32, child = 0, thread = 0;
    bpf_probe_read_kernel(&child, sizeof(child), (void *)(ctx->args[1] + TASK_TGID));
    bpf_probe_read_kernel(&thread, sizeof(thread), (void *)(ctx->args[1] + TASK_PID));
    if (child != thread)
        return 0; /* a new thread */
    u8 *policy = policies.lookup(&parent);
    if (policy) {
        u8 inherited = *policy;
        policies.update(&child, &inherited);
    }
    u8 *bio = memory_bio.lookup(&parent);
    if (bio) {
        u8 one = 1;
        memory_bio.update(&child, &one);
    }
    return 0;
}

/* sched_process_exec(task, old pid, bprm) */
int sched_process_exec(struct bpf_raw_tracepoint_args *ctx) {
    u64 task = ctx->args[0], bprm = ctx->args[2];
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 inode = kernel_pointer(kernel_pointer(bprm + BPRM_FILE) + FILE_INODE);
    struct inode_key key = {};
    bpf_probe_read_kernel(&key.inode, sizeof(key.inode), (void *)(inode + INODE_NUMBER));
    bpf_probe_read_kernel(&key.device, sizeof(key.device),
                          (void *)(kernel_pointer(inode + INODE_SUPER) + SUPER_DEVICE));
    u8 never = POLICY_NEVER;
    u8 *policy = policies.lookup(&pid);
    if (never_executables.lookup(&key)) {
        if (!policy || *policy != POLICY_OWN)
            policies.update(&pid, &never);
    } else if (policy && *policy == POLICY_ADMITTED)
        policies.delete(&pid); /* another program: the capture process looks again where it holds unknown ones */
    memory_bio.delete(&pid);
    traffic.delete(&pid);
    struct notice *n = notices.ringbuf_reserve(sizeof(struct notice));
    if (!n) {
        count(COUNT_NOTICES_LOST, 1);
        return 0;
    }
    n->time_ns = bpf_ktime_get_ns();
    n->pid = pid;
    n->parent = 0;
    bpf_probe_read_kernel(&n->parent, sizeof(n->parent), (void *)(kernel_pointer(task + TASK_PARENT) + TASK_TGID));
    n->uid = bpf_get_current_uid_gid();
    n->kind = NOTICE_EXEC;
    n->library = 0;
    u64 mm = kernel_pointer(task + TASK_MM);
    u64 from = kernel_pointer(mm + MM_ARGUMENTS), to = kernel_pointer(mm + MM_ARGUMENTS_END);
    u64 length = to - from;
    asm volatile("" : "+r"(length));
    if (length > NOTICE_TEXT)
        length = NOTICE_TEXT;
    if (bpf_probe_read_user(n->text, length, (void *)from))
        length = 0;
    n->length = length;
    notices.ringbuf_submit(n, 0);
    return 0;
}

/* sched_process_exit(task) */
int sched_process_exit(struct bpf_raw_tracepoint_args *ctx) {
    struct call_key key = {};
    key.who = bpf_get_current_pid_tgid();
    calls.delete(&key);
    key.depth = 1;
    calls.delete(&key);
    u32 live = 0, pid = key.who >> 32;
    bpf_probe_read_kernel(&live, sizeof(live), (void *)(kernel_pointer(ctx->args[0] + TASK_SIGNAL) + SIGNAL_LIVE));
    if (live)
        return 0;
    policies.delete(&pid);
    memory_bio.delete(&pid);
    notice(NOTICE_EXIT, pid);
    return 0;
}
