"""What can go wrong on disk, named; HTTP status and exit code are decided in api/errors.py."""

from __future__ import annotations

from datetime import datetime


class StorageError(Exception):
    """Base of the room's errors: each carries facts and one sentence."""


class GalleryNotFound(StorageError):
    """No gallery of that name."""

    def __init__(self, name: str, known: list[str]) -> None:
        self.name, self.known = name, known
        listed = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        super().__init__(f"no gallery is called {name!r}; there are: {listed}" if known else f"no gallery {name!r} yet")


class BadGalleryName(StorageError):
    """The name cannot stand in an address."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name!r} is no gallery name: use 1 to 64 lower-case letters, digits, '-' and '_', "
            "the first a letter or a digit"
        )


class ItemNotFound(StorageError):
    """No item of that id."""

    def __init__(self, item_id: int) -> None:
        self.item_id = item_id
        super().__init__(f"there is no item {item_id}")


class GalleryBusy(StorageError):
    """Another writer holds the gallery's lease."""

    def __init__(self, name: str, until: datetime) -> None:
        self.name, self.until = name, until
        super().__init__(f"gallery {name!r} is being written by another process; try again after {until:%H:%M:%S} UTC")


class LeaseLost(StorageError):
    """The lease ran out while this writer was working; nothing of the last batch was published."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"another process took over gallery {name!r}; run the same command again to continue")


class GalleryAtWork(StorageError):
    """A gallery is to be deleted that a job is at work on."""

    def __init__(self, name: str, job_id: int, kind: str) -> None:
        self.name, self.job_id, self.kind = name, job_id, kind
        super().__init__(f"job {job_id} ({kind}) is at work on gallery {name!r}; cancel it, or wait until it is done")


class JobNotFound(StorageError):
    """No job of that id."""

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        super().__init__(f"there is no job {job_id}")


class EvaluationNotFound(StorageError):
    """No evaluation of that id."""

    def __init__(self, evaluation_id: int) -> None:
        self.evaluation_id = evaluation_id
        super().__init__(f"there is no evaluation {evaluation_id}: `sightline evaluate GALLERY --list` shows some")


class EvaluationBusy(StorageError):
    """Two processes went on with one evaluation."""

    def __init__(self, evaluation_id: int) -> None:
        self.evaluation_id = evaluation_id
        super().__init__(f"another process goes on with evaluation {evaluation_id}; let it finish")


class NotContinued(StorageError):
    """A job was asked to go on that has not stopped, or that no service can go on with."""

    def __init__(self, job_id: int, state: str, *, is_service: bool) -> None:
        self.job_id, self.state = job_id, state
        if is_service:
            sentence = f"job {job_id} is {state}; only one that failed or was stopped can be continued"
        else:
            sentence = f"job {job_id} was begun at a command line: run the same command again to continue"
        super().__init__(sentence)


class JobLost(StorageError):
    """Another process took a job over while this one was not to be heard of."""

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id} was taken over by another process")


class QueryPictureGone(StorageError):
    """A picture that was sent to search by is not kept any more, or was never sent."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        super().__init__(f"the picture {digest[:12]}... is not kept any more; send it again (POST /v1/pictures)")


class UploadRefused(StorageError):
    """A file that was sent cannot be kept under its name; `reason` is meant for people."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name}: {reason}")


class DiskFull(StorageError):
    """There is no room for what was sent."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"what was sent cannot be kept: {reason}")


class UploadsFull(DiskFull):
    """What was uploaded is as much as this service wants to hold."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        super().__init__(
            f"all uploads together may have {most_bytes} bytes, and there is no room for more; delete a gallery of "
            "uploaded pictures, or let the service's keeper raise SIGHTLINE_UPLOADS_BYTES"
        )


class ModelMismatch(StorageError):
    """A gallery was built by one model and is asked to speak with another."""

    def __init__(self, gallery: str, want: str, got: str) -> None:
        self.gallery, self.want, self.got = gallery, want, got
        super().__init__(
            f"gallery {gallery!r} was built by model {want!r}, not by {got!r}: the one or the other was named, "
            "or the model has changed since; index into another gallery (--gallery NAME) to use it"
        )


class DimensionMismatch(StorageError):
    """Vectors of one size met an index of another."""

    def __init__(self, got: int, want: int) -> None:
        self.got, self.want = got, want
        super().__init__(f"vectors of {got} numbers, but the index holds vectors of {want}")


class BadVectors(StorageError):
    """NaN or infinite numbers, which an index would accept in silence."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(f"{count} vectors hold NaN or infinite numbers")


class BlockDamaged(StorageError):
    """A block file is shorter than what was acknowledged: vectors are lost."""

    def __init__(self, path: str, rows: int, want: int) -> None:
        self.path, self.rows, self.want = path, rows, want
        super().__init__(
            f"block file {path} holds {rows} rows where {want} were published; "
            "restore it from a backup, or delete the gallery and index again"
        )


class SchemaOutdated(StorageError):
    """The database is older or newer than this program."""

    def __init__(self, found: str | None, want: str) -> None:
        self.found, self.want = found, want
        super().__init__(
            f"the database is at schema {found or 'none'}, this program needs {want}: run `sightline migrate`, "
            "or a newer Sightline where the database is ahead"
        )


class DatabaseUnreachable(StorageError):
    """The database cannot be opened: a wrong address, no permission, no server."""

    def __init__(self, address: str, reason: str) -> None:
        self.address, self.reason = address, reason
        super().__init__(f"the database {address} cannot be opened: {reason}")


class FaissConflict(StorageError):
    """The faiss module is missing, or two distributions own it."""

    def __init__(self, found: list[str]) -> None:
        self.found = found
        if not found:
            sentence = "FAISS is not installed: pip install 'sightline[cpu]' or, with an NVIDIA GPU, 'sightline[gpu]'"
        else:
            both = " ".join(found)
            sentence = f"{' and '.join(found)} overwrite each other: pip uninstall -y {both}, then install one of them"
        super().__init__(sentence)
