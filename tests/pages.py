"""README.md, CONTRIBUTING.md and docs/ as the tests read them: blocks, commands, links, what stands in backticks."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
NAMES = ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.S | re.M)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]+(\.yaml)?")  # VERSION, EXPERIMENT, STUDY.yaml: what a reader fills in
BETWEEN = {"|", "||", "&", "&&", ";"}


class Block(NamedTuple):
    """What stands between two fences."""

    page: str
    line: int
    kind: str  # "" is for the shell
    text: str


class Command(NamedTuple):
    """One program with its arguments."""

    page: str
    line: int
    words: tuple[str, ...]

    @property
    def program(self):
        """Its name, wherever it is started from."""
        return self.words[0].rpartition("/")[2] if len(self.words[0]) > 1 else self.words[0]

    def __str__(self):
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


@cache
def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(kind, names=NAMES):
    """The blocks of a kind, in the order of the pages."""
    return [block for name in names for block in all_blocks(name) if block.kind == kind]


@cache
def all_blocks(name):
    text = text_of(name)
    return [Block(name, text.count("\n", 0, match.start()) + 2, *match.groups()) for match in FENCE.finditer(text)]


def prose(name):
    """A page without its blocks; the lines stay where they were."""
    return FENCE.sub(lambda match: "\n" * match[0].count("\n"), text_of(name))


def spans(name):
    """What stands in backticks, with its line."""
    text = prose(name)
    return [(text.count("\n", 0, match.start()) + 1, match[1]) for match in SPAN.finditer(text)]


def commands(names=NAMES):
    """Every command of the shell's blocks."""
    return [command for block in blocks("", names) for command in commands_of(block)]


def commands_of(block):
    """A block's commands: lines that go on are put together, pipes and lists taken apart, comments left out."""
    block_commands, line, whole = [], block.line, ""
    for number, row in enumerate(block.text.splitlines(), block.line):
        line = line if whole else number
        if row.endswith("\\"):
            whole += row[:-1] + " "
            continue
        block_commands += [Command(block.page, line, words) for words in simple_commands(whole + row)]
        whole = ""
    return block_commands


def simple_commands(line):
    """The words of every program that a line of the shell starts, without redirections and variables set for it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    commands, words = [], iter(lexer)
    current = []
    for word in words:
        if word in BETWEEN:
            commands.append(tuple(current))
            current = []
        elif set(word) <= set("<>&"):
            next(words)
        elif current or not re.fullmatch(r"[A-Z_]+=.*", word):
            current.append(word)
    return [words for words in (*commands, tuple(current)) if words]


def anchors(name):
    """What a link to a heading of a page may say, as GitHub makes it."""
    made = {}
    for heading in re.findall(r"^#{1,6} (.+)$", prose(name), re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        made[anchor] = made.get(anchor, -1) + 1
    return {f"{name}-{again}" if again else name for name, most in made.items() for again in range(most + 1)}
