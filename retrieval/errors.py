"""What can go wrong in retrieval: small named errors that carry the facts. Every message is one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class RetrievalError(Exception):
    """Any error of this room."""


class UnknownModel(RetrievalError):
    """A model name that is neither in the table, nor a Hugging Face id, nor a folder of a known kind."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"unknown model {name!r}: {reason}")


class UnknownFamily(RetrievalError):
    """A checkpoint whose family no class implements."""

    def __init__(self, family: str) -> None:
        self.family = family
        super().__init__(f"no class implements the model family {family!r}")


class RoleMissing(RetrievalError):
    """A model was asked to do what it cannot: it has no matcher, no captioner or no answerer."""

    def __init__(self, model: str, role: str) -> None:
        self.model = model
        self.role = role
        super().__init__(f"the model {model} has no {role}")


class FeaturesMissing(RetrievalError):
    """A model was asked for features that its family does not have; `instead` says what it has."""

    def __init__(self, model: str, what: str, instead: str) -> None:
        self.model = model
        self.what = what
        self.instead = instead
        super().__init__(f"the model {model} has no {what}: {instead}")


class NotRun(RetrievalError):
    """A checkpoint that is known, but cannot be run here."""

    def __init__(self, model: str, why: str) -> None:
        self.model = model
        self.why = why
        super().__init__(f"{model} cannot be run: {why}")


class NoModel(RetrievalError):
    """A gallery that is searched by names and captions was asked for what needs a model."""

    def __init__(self, gallery: str, what: str) -> None:
        self.gallery = gallery
        self.what = what
        super().__init__(f"gallery {gallery!r} has no model, which {what} needs: index it again with --model")


class WeightsMissing(RetrievalError):
    """Weights are neither here nor to be had: what is missing, where it was looked for, how to get it."""

    def __init__(self, model: str, looked: str, remedy: str) -> None:
        self.model = model
        self.looked = looked
        self.remedy = remedy
        super().__init__(f"the weights of {model} are missing: {looked}; {remedy}")


class DownloadFailed(RetrievalError):
    """A file could not be had from its address; the remedy says what became of what was received."""

    def __init__(self, address: str, reason: str, remedy: str) -> None:
        self.address = address
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"downloading {address} failed: {reason}; {remedy}")


class WeightsChanged(RetrievalError):
    """A downloaded weights file is not what it was at its first use (`record` says so), or not what its name says."""

    def __init__(self, file: Path, *, found: str, expected: str, record: Path | None) -> None:
        self.file = file
        self.found = found
        self.expected = expected
        self.record = record
        source = "its name in the hub's cache says" if record is None else "at its first use it was"
        otherwise = "" if record is None else f", or delete {record} if the change was meant"
        remedy = f"delete it and download it again{otherwise}"
        super().__init__(f"the weights file {file} has the SHA-256 {found}, but {source} {expected}: {remedy}")


class BadCheckpoint(RetrievalError):
    """A folder whose configuration, vocabulary or weights file cannot be read."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.folder = folder
        self.reason = reason
        super().__init__(f"the model at {folder} cannot be used: {reason}")


class BadWeights(RetrievalError):
    """Weights that do not fit the model: keys missing, left over, or of another shape."""

    def __init__(
        self, folder: Path, *, missing: Sequence[str], unexpected: Sequence[str], mismatched: Sequence[str]
    ) -> None:
        self.folder = folder
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.mismatched = tuple(mismatched)
        kinds = {"missing": self.missing, "left over": self.unexpected, "of another shape": self.mismatched}
        found = "; ".join(f"{kind}: {_first(keys)}" for kind, keys in kinds.items() if keys)
        super().__init__(f"the weights in {folder} do not fit the model: {found}")


class EmptyText(RetrievalError):
    """A query or a question in which nothing is left to read after the authors' cleaning."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(f"the text {text!r} holds no words; give at least one")


class PictureGone(RetrievalError):
    """The picture of an item is missing, changed or no longer readable."""

    def __init__(self, uri: str, reason: str) -> None:
        self.uri = uri
        self.reason = reason
        super().__init__(f"{uri}: {reason}")


class NoPairs(RetrievalError):
    """An evaluation or a training needs texts that are known to describe pictures."""

    def __init__(self, gallery: str) -> None:
        self.gallery = gallery
        super().__init__(
            f"gallery {gallery!r} has no pairs: put a captions.jsonl into its folder, or take a dataset with texts, "
            "and index again; so, too, where indexing was stopped"
        )


class UnknownSplit(RetrievalError):
    """A split of which the gallery has no picture with a text."""

    def __init__(self, gallery: str, split: str, splits: Sequence[str]) -> None:
        self.gallery, self.split, self.splits = gallery, split, splits
        there = f"it has {', '.join(splits)}" if splits else "its pictures are of no split"
        super().__init__(f"gallery {gallery!r} has no pictures with texts of a split {split!r}: {there}")


class UnknownProtocol(RetrievalError):
    """A protocol that has no row."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, known
        super().__init__(f"there is no protocol {name!r}; there are {', '.join(known)}")


class TooFewPictures(RetrievalError):
    """More folds were asked for than there are pictures with texts."""

    def __init__(self, gallery: str, pictures: int, folds: int) -> None:
        self.gallery, self.pictures, self.folds = gallery, pictures, folds
        super().__init__(f"gallery {gallery!r} has {pictures} pictures with texts: they make no {folds} folds")


class NoPictures(RetrievalError):
    """A bootstrap needs pictures to write captions of."""

    def __init__(self, gallery: str) -> None:
        self.gallery = gallery
        super().__init__(f"gallery {gallery!r} has no pictures: put some into its folder and index again")


class NoTexts(RetrievalError):
    """A lookup needs texts to choose from."""

    def __init__(self, gallery: str) -> None:
        self.gallery = gallery
        super().__init__(f"gallery {gallery!r} holds no texts: give some, or put a captions.jsonl into its folder")


class TooFewExamples(RetrievalError):
    """Fewer examples than one step of training needs."""

    def __init__(self, found: int, need: int) -> None:
        self.found = found
        self.need = need
        super().__init__(f"{found} examples to train on, at least {need} are needed: index more pairs")


class BadQuestions(RetrievalError):
    """A file of questions that does not hold what it should; `line` counts from 1, 0 is the file as a whole."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        self.path = path
        self.line = line
        self.reason = reason
        super().__init__(_at(path, f"line {line}" if line else "", reason))


class BadRecords(RetrievalError):
    """A file that does not hold what it should; `where` names the record, empty for the file as a whole."""

    def __init__(self, path: Path, where: str, reason: str) -> None:
        self.path, self.where, self.reason = path, where, reason
        super().__init__(_at(path, where, reason))


class BadTrec(RetrievalError):
    """A run or qrels file that does not hold what it should; `line` counts from 1, and is 0 for the whole file."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        self.path, self.line, self.reason = path, line, reason
        super().__init__(_at(path, f"line {line}" if line else "", reason))


class BadMatrix(RetrievalError):
    """A score matrix, or its index, that does not hold what it should; `reason` is one line."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, " ".join(reason.split())
        super().__init__(_at(path, "", self.reason))


class NoMeteor(RetrievalError):
    """METEOR of captions cannot be computed here."""


class PairsWithoutPicture(RetrievalError):
    """Pairs that cannot be trained on, because their pictures are missing or changed."""

    def __init__(self, gallery: str, count: int, first: str) -> None:
        self.gallery = gallery
        self.count = count
        self.first = first
        many = f"{count} pictures of pairs are missing or changed, the first is {first}"
        one = f"the picture of a pair is missing or changed: {first}"
        super().__init__(f"{one if count == 1 else many}; index gallery {gallery!r} again")


class TrainingDiffers(RetrievalError):
    """A folder holds a training that was begun in another way, so that it cannot go on."""

    def __init__(self, folder: Path, what: str) -> None:
        self.folder = folder
        self.what = what
        super().__init__(f"{folder} holds another training ({what}): repeat its command, or choose another folder")


class TrainingBusy(RetrievalError):
    """Another process trains in this folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(f"another process is training in {folder}: wait for it, or choose another folder")


class TrainingBroken(RetrievalError):
    """No checkpoint of a training can be read."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.folder = folder
        self.reason = reason
        super().__init__(f"the training in {folder} cannot go on: {reason}; choose another folder")


class TrainingNotWritten(RetrievalError):
    """A checkpoint or a model could not be written; what was there before is still there."""

    def __init__(self, path: Path, error: Exception) -> None:
        self.path = path
        # Where the system's error upsets torch, torch tells of itself alone.
        told = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = (str(told).splitlines() or [type(told).__name__])[0]
        super().__init__(
            f"{path} could not be written ({reason}); the last checkpoint is whole, the same command goes on"
        )


class TrainingDiverged(RetrievalError):
    """A loss became infinite or no number."""

    def __init__(self, epoch: int, step: int, losses: str) -> None:
        self.epoch = epoch
        self.step = step
        super().__init__(f"training diverged in epoch {epoch}, step {step} ({losses}): lower the rate")


class TooFewHits(RetrievalError):
    """A calibration needs right hits and wrong ones."""

    def __init__(self, right: int, wrong: int, least: int) -> None:
        self.right, self.wrong, self.least = right, wrong, least
        super().__init__(
            f"a calibration needs at least {least} right hits and {least} wrong ones; there were {right} and {wrong}: "
            "ask more queries, or give the gallery more pictures with pairs"
        )


class TooFewToCalibrate(RetrievalError):
    """The pages of a gallery's queries hold too few right hits, or too few wrong ones."""

    def __init__(self, gallery: str) -> None:
        self.gallery = gallery
        super().__init__(
            f"gallery {gallery!r} cannot be calibrated: its queries found too few right hits, or too few wrong ones; "
            "ask more queries, or give it more pictures with pairs"
        )


class Uncalibrated(RetrievalError):
    """A precision was asked for of match probabilities that nobody has held against the truth."""

    def __init__(self, gallery: str, matcher: str) -> None:
        self.gallery, self.matcher = gallery, matcher
        super().__init__(
            f"the match probabilities of {matcher} in gallery {gallery!r} are not calibrated: "
            f"run `sightline calibrate {gallery}`, or give min_match in place of target_precision"
        )


class PrecisionOutOfReach(RetrievalError):
    """No threshold gave that precision."""

    def __init__(self, gallery: str, wanted: float, best: float) -> None:
        self.gallery, self.wanted, self.best = gallery, wanted, best
        super().__init__(
            f"target_precision is {wanted:g}; the best that any threshold gave in gallery {gallery!r} is {best:.3f}"
        )


def in_one_line(text: str) -> str:
    """Write a text so that it breaks no line and steers no terminal: what cannot be seen is escaped."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _at(path: Path, where: str, reason: str) -> str:
    """Say what is wrong in a file; a name that would break the line stands in quotes."""
    file = str(path) if str(path).isprintable() else repr(str(path))
    return in_one_line(f"{file}, {where}: {reason}" if where else f"{file}: {reason}")


def _first(keys: Sequence[str], *, count: int = 5) -> str:
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more
