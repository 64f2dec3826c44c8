"""The processes of the sensor: each is composed in one module, on what stands beside it here.

    run         supervising: supervisor over parts; loading (the loader), governing (by governor), rights, describing
    describer   started by describing, and gone
    capture     asking (the finder)
    finder
    worker      finishing
    core        calls, commands, delivered, pausing, node_status
    recorder    in core's place while a recording is written
    web
    replay      the stages of worker and core in one process over a file; replay_summary

Between them: link, messages, pages. Each begins with: privileges (capabilities), sandbox, log, garbage, scheduling.
"""
