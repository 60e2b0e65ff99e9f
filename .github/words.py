#!/usr/bin/env python3
"""Checks the words of the project; CONTRIBUTING.md says why. `.ci/run words` runs it.

1. Comments name their subject: the words of HUMAN and SAID occur at most this often in each thousand.
   The phrases of VAGUE stay rare, and spelling is American.
2. Names that were replaced do not come back as identifiers; REPLACED lists them with their modules. The words of
   HUMAN and SAID do not occur in names and texts either: names of tests, messages of assertions.
3. Code in documentation is at most WIDTH columns wide, so that it does not scroll on a docs page.

`words.py --list` prints every occurrence of the counted words, also where the limits are met.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 90

# What is counted in comments: name, expression, and how many are allowed in each thousand words.
HUMAN = ("human", r"whoever|somebody|someone|nobody|anybody|everybody", 0.3)
SAID = ("said", r"tell|told|tells", 0.5)
VAGUE = ("vague", r"so many|so long|news|in need", 0.3)
BRITISH = (
    "british",
    r"(?:behaviour|colour|favour|flavour|honour|labour|neighbour)\w*|licen[c]e\w*|centre\w*|defence|grey"
    r"|catalogue|acknowledgement\w*|judgement\w*|monomorphis\w*|vectoris\w*|(?:analy|cataly)se[ds]?|\w*(?:alis|optimis|organis|recognis|synchronis|minimis|maximis"
    r"|summaris|authoris|categoris|prioritis|randomis|atomis|tokenis|customis)(?:e[ds]?|ing|ation\w*)"
    r"|(?:cancel|label|model|signal|travel|tunnel)l(?:ed|ing)|artefact\w*|whilst|learnt|towards",
    0.0,
)
COUNTED = [HUMAN, SAID, VAGUE, BRITISH]

# Groups of comments. The limits hold in each of them.
RUST = ["src", "tests", "benches/src", "examples", "fuzz/fuzz_targets"]
PAGES = ["src/guide", "README.md", "benches/README.md", "fuzz/README.md", ".github"]

# Replaced names by the place where they must not occur. `name` is any identifier, `name()` a function of that
# name, so that a plain word can still be a variable or a method of std.
REPLACED = {
    "everywhere": "OptionError Promise has_parts planted_bug obey is_order",
    "src": """
        Bell Bells Mail Outlet is_order obey Newborn births give_birth give_births give_all_births
        waits_again waits_flush waits_step Wishes wishes SLICE SLICES tell tell_all tell_watcher Alarm Fire
        Mark Passed handle_passed owe_writable more_due halt_deadlines is_halted settle conclude assume_ready
        Hall Seat NoSeat Legacy unannounced announce Letter Parcel Packed Hand in_hand Estate see_off dissolve
        raise_barrier unstick one_more turn_aside wake_somebody share_backlog WORTH_A_WAKE_UP_NS
        Rack Shelf Shelves Cutting met_earlier StepCost BriefStep is_brief Fed unmapped Asker AnswerProcess
        guarded drop_guarded pardon_rustls TcpCommand meta_timer
        Inner
        shelf shelves STOCKS stocks alarm set_alarm State has_brief_keys with_brief_steps""",
    "src/bridge": "Refusal retire() recycle() ring() turn unhandled marked fire()",
    "src/poll": "ring news room time() opaque split()",
    "src/meta": "news room Remote remote() lend take_back has_time",
    "src/net": "room marked unhandled notice over() prepare() established() sit wish() welcome() lend take_back "
    "has_time together singles Earlier",
    "src/proto": "hold() held expect() notice lend take_back has_time together singles Earlier",
    "src/proto/framing": "Look Rare ask() keep() cut() looked wanted",
    "src/process": "Body Life life Env relate post() letter notice Chunk Chunks Slots fire()",
    "src/actor": "Body Life life Env",
    "src/scheduler": "Rest rest() retire() stick Place",
    "src/memory": "Stock rack things put_back Chunk Chunks Slots",
    "src/message": "rack stock fire()",
    "src/node": "far counts()",
    "src/node/stop.rs": "Signal",
    "src/record": "Warning",
}

TOKEN = re.compile(
    r"""(?P<line>//[^\n]*)
      | (?P<block>/\*.*?\*/)
      | (?P<raw>\bb?r(?P<hashes>\#*)".*?"(?P=hashes))
      | (?P<text>b?"(?:\\.|[^"\\])*")
      | (?P<char>b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^\\'\n])')""",
    re.DOTALL | re.VERBOSE,
)
FENCE = re.compile(r"\s*(```+|~~~+)")


def files(place, ending):
    path = ROOT / place
    found = [path] if path.is_file() else sorted(path.rglob("*" + ending))
    return [file for file in found if file.name.endswith(ending)]


def split(source):
    """Code without comments and literals, and the comments as (line, marker, text); lines keep their numbers."""
    comments, code, at = [], [], 0
    for token in TOKEN.finditer(source):
        code.append(source[at : token.start()])
        code.append("\n" * token.group().count("\n"))
        at = token.end()
        number = source.count("\n", 0, token.start()) + 1
        if token.group("line"):
            marker, text = re.match(r"(//[/!]?) ?(.*)", token.group()).groups()
            comments.append((number, marker, text))
        elif token.group("block"):
            for offset, text in enumerate(token.group()[2:-2].splitlines()):
                comments.append((number + offset, "/*", text))
    return "".join(code) + source[at:], comments


def prose_and_blocks(lines):
    """Sorts (line, marker, text) into prose and code in fences; a comment in such code is prose."""
    prose, blocks, fence = [], [], None
    before = None
    for number, marker, text in lines:
        # Text that goes on elsewhere is not in the fence of what stood here.
        if before is None or number != before + 1:
            fence = None
        before = number
        edge = FENCE.match(text)
        if edge and marker != "//":
            if fence is None:
                fence = edge.group(1)
            elif edge.group(1).startswith(fence):
                fence = None
        elif fence is None:
            prose.append((number, text))
        else:
            blocks.append((number, text))
            if "// " in text:
                prose.append((number, text.split("// ", 1)[1]))
    return prose, blocks


def document(path):
    """Prose and code blocks of one file."""
    source = path.read_text()
    if path.suffix == ".md":
        return prose_and_blocks((n, "", text) for n, text in enumerate(source.splitlines(), 1))
    return prose_and_blocks(split(source)[1])


def plain(text):
    """The words without `code`, the targets of links, and quoted names of tests."""
    return re.sub(r"`[^`]*`|\]\([^)]*\)|https?://\S+|\b\w*_\w*\b", " ", text)


def occurrences(prose):
    """The total of words, and for each counted name its occurrences as (line, word)."""
    total, found = 0, {name: [] for name, _, _ in COUNTED}
    for number, text in prose:
        text = plain(text)
        total += len(re.findall(r"[A-Za-z][\w'’-]*", text))
        for name, expression, _ in COUNTED:
            for match in re.finditer(rf"\b(?:{expression})\b", text, re.IGNORECASE):
                found[name].append((number, match.group()))
    return total, found


def count_words(show):
    failed = False
    print(f"{'comments':20} {'words':>7}" + "".join(f" {name:>9}" for name, _, _ in COUNTED))
    groups = [(place, files(place, ".rs")) for place in RUST]
    groups.append(("pages", [file for place in PAGES for file in files(place, ".md")]))
    for place, members in groups:
        total, places = 0, {name: [] for name, _, _ in COUNTED}
        if not members:
            failed = True
            print(f"{place} has no files")
        for path in members:
            words, found = occurrences(document(path)[0])
            total += words
            for name, hits in found.items():
                places[name] += [f"{path.relative_to(ROOT)}:{number}: {word}" for number, word in hits]
        rates = {name: 1000 * len(hits) / max(total, 1) for name, hits in places.items()}
        print(f"{place:20} {total:7}" + "".join(f" {rates[name]:9.2f}" for name, _, _ in COUNTED))
        for name, _, limit in COUNTED:
            over = rates[name] > limit
            failed |= over
            if over or show:
                print("".join(f"    {hit}\n" for hit in places[name]), end="")
            if over:
                print(f"  {place}: {name} words {rates[name]:.2f} in a thousand, at most {limit}")
    return failed


def check_names():
    failed = False
    code = {}
    for place, names in REPLACED.items():
        if place != "everywhere" and not (ROOT / place).exists():
            failed = True
            print(f"words.py names {place}, which does not exist")
            continue
        members = [file for rust in RUST for file in files(rust, ".rs")] if place == "everywhere" else files(place, ".rs")
        alternatives = [rf"fn\s+{name[:-2]}\b" if name.endswith("()") else rf"\b{name}\b" for name in names.split()]
        expression = re.compile("|".join(alternatives))
        for path in members:
            if path not in code:
                code[path] = split(path.read_text())[0].splitlines()
            for number, line in enumerate(code[path], 1):
                for match in expression.finditer(line):
                    failed = True
                    print(f"{path.relative_to(ROOT)}:{number}: {match.group()} was replaced in {place}")
    return failed


def check_texts():
    """Whether a counted word stands in a name or in a text. `tell` is a method of another crate in the benchmarks."""
    failed = False
    words = "|".join([HUMAN[1], "told", "tells"])
    expression = re.compile(rf"(?:\b|_)({words})(?:\b|_)", re.IGNORECASE)
    for path in [file for rust in RUST for file in files(rust, ".rs")]:
        source = TOKEN.sub(
            lambda token: "" if token.group("line") else token.group(), path.read_text()
        )
        for match in expression.finditer(source):
            failed = True
            number = source.count("\n", 0, match.start()) + 1
            print(f"{path.relative_to(ROOT)}:{number}: {match.group(1)} in a name or a text")
    return failed


def is_diagram_inside(path, text):
    """Whether this is a line of a drawing in a page of the inside, which has no place on a docs page."""
    shown = {ROOT / "src/lib.rs", ROOT / "src/tls/mod.rs"}
    return path.suffix == ".rs" and path not in shown and re.search(r"[─│▶◀▼▲┌└]|\S {3}", text) is not None


def check_width():
    failed = False
    paths = [file for place in RUST for file in files(place, ".rs")]
    paths += [file for place in PAGES for file in files(place, ".md")]
    for path in paths:
        for number, text in document(path)[1]:
            # A hidden line of a doctest is not shown.
            if len(text.rstrip()) > WIDTH and not text.lstrip().startswith("# ") and not is_diagram_inside(path, text):
                failed = True
                print(f"{path.relative_to(ROOT)}:{number}: code is {len(text.rstrip())} columns wide, at most {WIDTH}")
    return failed


def main():
    results = [count_words("--list" in sys.argv), check_names(), check_texts(), check_width()]
    sys.exit(any(results))


main()
