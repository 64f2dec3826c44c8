"""Prints a settings file of nothing but comments: every setting with its meaning, what is allowed and its default."""

from textwrap import fill

from apisensor.settings import TABLE, shown_default

print("# Settings of apisensor. Each line that is commented out shows the default; uncomment it to change it.")
print("# The export to OTLP is configured by the OTEL_* variables of the OpenTelemetry specification instead.")
section = None
for field in TABLE.values():
    if field.key.partition(".")[0] != section:
        section = field.key.partition(".")[0]
        print(f"\n[{section}]")
    print("\n" + fill(f"{field.description} Allowed: {field.allowed}.", 116, initial_indent="# ", subsequent_indent="# "))
    print(f"#{field.key.partition('.')[2]} = {shown_default(field.default)}")
