"""Pictures in a tar or zip, their texts beside them: webdataset's samples, pairs of files, or a list of them all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from indexer.archives import Member
from indexer.decode import PICTURE_SUFFIXES
from indexer.errors import BadDataset
from indexer.sources import listed
from indexer.sources.content import parsed_line
from indexer.sources.dataset import Example, Text
from indexer.sources.fields import Fields, quoted
from indexer.sources.shard import Shard, shown, strings, texts_of

TEXT_ENDINGS = ("txt", "caption", "text")
TEXT_KEYS = ("caption", "captions", "text", "texts", "sentence", "sentences", "description", "title")
SCALAR_BYTES = 256
"""A member of at most so many bytes, all printable, is a value: a class, an address."""

_SPLIT = "split"
_NO_SAMPLES = ("readme", "license", "licence", "notice", "copying", "changelog")
_INTEGER = re.compile(r"[+-]?\d{1,15}")


@dataclass
class Sample:
    """The members that are called alike, each with its ending."""

    key: str
    members: list[tuple[str, Member]] = field(default_factory=list)


def read_tar(shard: Shard, image: str | None, texts: tuple[str, ...]) -> list[Example]:
    """Read a tar as webdataset does, where a name up to its last part's first dot is the sample's.

    Members of a sample need not follow each other.
    """
    return _read(shard, image, texts, first_dot=True)


def read_zip(shard: Shard, image: str | None, texts: tuple[str, ...]) -> list[Example]:
    """Read a zip of pictures, where `a.b.jpg` and `a.b.txt` belong together."""
    return _read(shard, image, texts, first_dot=False)


def _read(shard: Shard, image: str | None, texts: tuple[str, ...], *, first_dot: bool) -> list[Example]:
    """Read a shard by the lists in it, where there are such, else sample by sample."""
    members = [member for member in shard.members() if _is_meant(member.name)]
    pictures = {member.name for member in members if _is_picture(member.name)}
    if not pictures:
        raise BadDataset(shard.path, "", f"it holds no pictures, but {_endings(members)}")
    lists = [member for member in members if PurePosixPath(member.name).name in listed.NAMES]
    if lists:
        return listed.read(shard, lists, pictures, image, texts)
    return _examples(shard, _samples(members, first_dot=first_dot), image, texts)


def _is_meant(name: str) -> bool:
    """Whether a member is one of the dataset's, and not what a system leaves behind."""
    parts = PurePosixPath(name).parts
    return not parts[-1].startswith(".") and parts[0] != "__MACOSX"


def _is_picture(name: str) -> bool:
    return PurePosixPath(name.lower()).suffix in PICTURE_SUFFIXES


def _endings(members: Iterable[Member]) -> str:
    counted = Counter(PurePosixPath(member.name).suffix.lower() or "no ending" for member in members)
    return ", ".join(f"{count} of {shown(ending)}" for ending, count in counted.most_common(5)) or "nothing"


# --- samples


def _samples(members: Sequence[Member], *, first_dot: bool) -> list[Sample]:
    samples: dict[str, Sample] = {}
    for member in members:
        folder, slash, last = member.name.rpartition("/")
        stem, _, ending = last.partition(".") if first_dot else last.rpartition(".")
        if stem and ending:
            key = folder + slash + stem
            samples.setdefault(key, Sample(key)).members.append((ending.lower(), member))
    return list(samples.values())


def _examples(shard: Shard, samples: Sequence[Sample], image: str | None, texts: tuple[str, ...]) -> list[Example]:
    told = set[str]()
    examples = [example for sample in samples if (example := _example(shard, sample, image, texts, told))]
    for wanted in texts:
        if wanted not in told:
            there = ", ".join(map(quoted, sorted(told))) or "none"
            raise BadDataset(shard.path, "", f"no sample has texts called {quoted(wanted)}; its columns are {there}")
    if not examples:
        raise BadDataset(shard.path, "", f"no picture's name ends in {quoted('.' + (image or ''))}")
    return examples


def _example(
    shard: Shard, sample: Sample, image: str | None, wanted: tuple[str, ...], told: set[str]
) -> Example | None:
    """Make an example of a sample; None where it holds neither a picture nor a text.

    `told` gathers what columns there are. The picture is the first whose ending has no dot, so that `a.mask.png` is not
    taken for that of `a`; the others are named in the metadata.
    """
    place = f"sample {shown(sample.key)}"
    pictures = [one for one in sample.members if _is_picture(one[1].name) and image in (None, one[0])]
    pictures.sort(key=lambda one: "." in one[0])
    known = _values(shard, sample, place, wanted, told)
    texts = _texts(shard, sample, place, known, wanted)
    if not pictures:
        if texts and sample.key.lower() not in _NO_SAMPLES:
            which = "" if image is None else f" that ends in {quoted('.' + image)}"
            raise BadDataset(shard.path, place, f"it has a text but no picture{which}")
        return None
    picture = pictures[0][1]
    others = [shard.named(member.name) for _, member in pictures[1:]]
    record = Fields(
        shard.path, place, known | ({"pictures": others} if others else {}), "a sample is a picture and its texts"
    )
    used = [key for key, value in known.items() if key in (*TEXT_KEYS, *wanted) and _is_said(value, texts)]
    return Example(
        shard.place(place),
        shard.named(picture.name),
        shard.path / picture.name,
        texts,
        record.split(_SPLIT),
        record.metadata(_SPLIT, *used),
    )


def _texts(
    shard: Shard, sample: Sample, place: str, known: dict[str, Any], wanted: tuple[str, ...]
) -> tuple[Text, ...]:
    """Give the texts of a sample: those of its text members, else those in its JSON."""
    members = [m for e, m in sample.members if (e in wanted if wanted else e.rpartition(".")[2] in TEXT_ENDINGS)]
    texts = [
        text for member in members for text in texts_of(shard, place, member.name, _lines(shard, member, place, known))
    ]
    keys = [key for key in wanted or TEXT_KEYS if key in known]
    for key in keys if wanted else keys[: not texts]:
        texts += texts_of(shard, place, f"{sample.key}.json {key}", strings(shard, place, key, known[key]))
    return tuple(texts)


def _lines(shard: Shard, member: Member, place: str, known: dict[str, Any]) -> list[str]:
    """Give the texts in a member, one a line, unless the JSON beside it says that they are one text of many lines."""
    content = shard.text(member, place)
    if any(isinstance(value := known.get(key), str) and value.strip() == content.strip() for key in TEXT_KEYS):
        return [content]
    return content.split("\n")


def _is_said(value: Any, texts: Sequence[Text]) -> bool:
    said = {text.text for text in texts}
    return all(isinstance(one, str) and one.strip() in said for one in (value if isinstance(value, list) else [value]))


def _values(shard: Shard, sample: Sample, place: str, wanted: tuple[str, ...], told: set[str]) -> dict[str, Any]:
    """Give what a sample says of itself: the keys of its JSON, and its small members."""
    known: dict[str, Any] = {}
    for ending, member in sample.members:
        if ending == "json" or ending.endswith(".json"):
            known |= _json(shard, member, ending, place)
        elif ending in wanted or ending.rpartition(".")[2] in TEXT_ENDINGS:
            told.add(ending)
        elif member.size <= SCALAR_BYTES and not member.refused and not _is_picture(member.name):
            value = _scalar(shard, member)
            if value is not None:
                known[ending] = value
    told.update(known)
    return known


def _json(shard: Shard, member: Member, ending: str, place: str) -> dict[str, Any]:
    try:
        value = parsed_line(shard.text(member, place))
    except ValueError:
        raise BadDataset(shard.path, place, f"{shown(member.name)} is not JSON") from None
    return value if isinstance(value, dict) else {ending: value}


def _scalar(shard: Shard, member: Member) -> int | str | None:
    """Give the value that a small member is; None where it is no line of text."""
    try:
        text = shard.text(member, "").strip()
    except BadDataset:
        return None
    if not text or not text.isprintable():
        return None
    return int(text) if _INTEGER.fullmatch(text) else text
