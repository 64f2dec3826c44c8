"""The live stream: transactions as they happen, to terminals and to subscribers of core's Unix socket."""
