"""Makes the picture in README.md: real terminal output, with its colours, as an SVG. Changes no character of it.

script -qec 'stty cols 132; apisensor tail --count 16 --host "shop.example*"' /dev/null | .venv/bin/python docs/picture.py docs/picture.svg
"""  # noqa: E501 - a command to be copied

import io
import re
import sys

from rich.console import Console
from rich.text import Text

WIDTH = 132
TITLE = "apisensor tail"

target = sys.argv[1]
output = sys.stdin.buffer.read().decode().replace("\r\n", "\n").rstrip("\n")
console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
console.print(Text.from_ansi(output), soft_wrap=True)
picture = console.export_svg(title=TITLE)
# The viewer's own monospace font: a picture in a README loads nothing from elsewhere.
picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL).replace("Fira Code", "ui-monospace")
picture = re.sub(r"<!--.*?-->\s*", "", picture, flags=re.DOTALL)
picture = picture.replace("<text ", '<text xml:space="preserve" ')  # or some viewers drop the first blank of a run
with open(target, "w", encoding="utf-8") as file:
    file.write(picture)
