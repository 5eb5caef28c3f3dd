"""What the documentation says exists: its pages, its links, and every command and option it shows."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

import curate.cli
import train.cli

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *PAGES]
PROGRAMS = {"curate": get_command(curate.cli.app), "train": get_command(train.cli.app)}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """What a page's headings are called in links."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings]
    return {re.sub(r"[ ]+", "-", heading) for heading in plain} | {
        heading.replace(" ", "-") for heading in plain
    }


def commands(path: Path) -> list[list[str]]:
    """The words of every command of ours in the page's shell blocks."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            starts = [i for i, word in enumerate(words) if word in PROGRAMS]
            if starts:
                found.append(words[starts[0] :])
    return found


def navigated(entries: list) -> set[str]:
    pages: set[str] = set()
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            pages |= navigated(value) if isinstance(value, list) else {value}
    return pages


def test_the_site_has_every_page():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert navigated(site["nav"]) == {str(page.relative_to(ROOT / "docs")) for page in PAGES}


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("path", [p for p in TEXTS if commands(p)], ids=name)
def test_commands_exist_with_their_options(path):
    for words in commands(path):
        command, rest = PROGRAMS[words[0]], words[1:]
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, words
            command, rest = command.commands[rest[0]], rest[1:]
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        given = {word.partition("=")[0] for word in rest if word.startswith("--") and word != "--"}
        assert given <= known | {"--help"}, (given - known, words)


def test_pictures_are_small_and_shown():
    shown = "".join(path.read_text(encoding="utf-8") for path in TEXTS)
    for picture in sorted((ROOT / "docs" / "images").iterdir()):
        assert picture.stat().st_size < 300_000, picture
        assert f"images/{picture.name}" in shown, picture
