"""Pages and the commands on them. A fence that says `sh` is run, unless it says why it is not; one that says `json` or
`text` directly behind it is what it answers."""
import re
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = ("sh", "json", "text", "yaml", "python", "js", "rust", "sql", "toml")
HOW = ("", "refused", "endless")


class WrongPage(Exception):
    """A page that cannot be read as one."""


@dataclass
class Block:
    """`how`: "" must succeed; "refused" is about an error; "endless" goes on until it is cut off; "no-run: WHY"."""
    page: str
    line: int
    how: str
    text: str
    answer: str | None = None

    @property
    def where(self):
        return f"{self.page}:{self.line}"

    @property
    def why_not_run(self):
        return self.how.removeprefix("no-run:").strip() if self.how.startswith("no-run") else None


def blocks(root, page):
    """The sh blocks of a page, in order."""
    found, behind = [], None
    for line, info, text, gap in fences(Path(root, page)):
        language, _, how = info.partition(" ")
        where = f"{page}:{line}"
        if language not in LANGUAGES:
            raise WrongPage(f"{where}: a fence is one of {', '.join(LANGUAGES)}, not {language!r}")
        if language == "sh":
            behind = Block(page, line, how, text)
            if how not in HOW and not behind.why_not_run:
                raise WrongPage(f"{where}: sh, or sh with one of refused, endless, no-run: WHY; not {how!r}")
            found.append(behind)
        elif language in ("json", "text") and behind is not None and gap:
            behind.answer, behind = text, None
        else:
            behind = None
    for block in found:
        if block.how == "refused" and block.answer is None:
            raise WrongPage(f"{block.where}: what is refused shows the refusal")
    return found


def fences(path):
    """(line, info, text, whether nothing stands between it and the fence before) of each."""
    info, begun, text, gap = None, 0, [], False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if info is None and line.startswith("```"):
            info, begun, text = line[3:].strip(), number, []
        elif info is not None and line == "```":
            yield begun, info, "\n".join(text) + "\n", gap
            info, gap = None, True
        elif info is not None:
            text.append(line)
        elif line.strip():
            gap = False
    if info is not None:
        raise WrongPage(f"{path}:{begun}: the fence has no end")


def in_order(root):
    """The pages of docs/, in the order of its index, which has to name every one."""
    index = Path(root, "docs/README.md").read_text()
    named = list(dict.fromkeys(re.findall(r"\]\(([\w-]+\.md)\)", index)))
    there = {path.name for path in Path(root, "docs").glob("*.md")} - {"README.md"}
    if set(named) != there:
        raise WrongPage(f"docs/README.md and docs/ differ: {sorted(set(named) ^ there)}")
    return [f"docs/{name}" for name in named]


def agrees(shown, came):
    """Whether an answer is what a page shows: spaces do not count, and … is anything."""
    def squeezed(text):
        return "".join(text.split())

    wanted = ".*".join(re.escape(part) for part in squeezed(shown).split("…"))
    return re.fullmatch(wanted, squeezed(came), re.DOTALL) is not None
