"""Domain error to HTTP status and exit code: one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from indexer import errors as indexing
from retrieval import errors as retrieval
from storage import errors as storage


class UsageError(Exception):
    """The user asked for something that cannot be: `field` names what is wrong, the message what would be right."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


class NotNow(UsageError):
    """What was asked for is well said, but does not go together with what there is."""


class WeightsElsewhere(NotNow):
    """A job needs weights that are not here; only a command line downloads any."""

    def __init__(self, model: str, *, command: str, field: str) -> None:
        self.model, self.command = model, command
        super().__init__(
            field,
            f"the weights of {model} are not here, and no job downloads any: at the command line of the service's "
            f"machine `{command}` does",
        )


class Overloaded(Exception):
    """A queue is full; the same request will do later."""

    def __init__(self, queue: str, limit: int) -> None:
        self.queue, self.limit = queue, limit
        super().__init__(f"{limit} requests wait already; try again in a moment")


class FolderForbidden(Exception):
    """A stranger named a server folder that this service must not index."""

    def __init__(self, folder: str, roots: Sequence[Path]) -> None:
        self.folder, self.roots = folder, tuple(roots)
        allowed = f"only folders below {' and '.join(map(str, roots))}" if roots else "no folder of its own"
        super().__init__(
            f"the folder {folder!r} may not be indexed: this service indexes {allowed} when it is asked over HTTP; "
            "its keeper names others in SIGHTLINE_FOLDERS. Pictures can be uploaded instead"
        )


class Stopped(Exception):
    """Somebody cancelled the work as a job; what was done so far is durable."""

    def __init__(self) -> None:
        super().__init__("somebody cancelled this job; what was done so far is kept")


class Closing(Exception):
    """The service is shutting down."""

    def __init__(self) -> None:
        super().__init__("the service is shutting down; try again when it is back")


DOMAIN = (
    storage.StorageError,
    retrieval.RetrievalError,
    indexing.IndexerError,
    UsageError,
    FolderForbidden,
    Overloaded,
    Stopped,
    Closing,
)
"""Every error that is a sentence for the user; anything else is a defect and shows its traceback."""

STATUS: tuple[tuple[type[Exception], int, str | None], ...] = (
    (storage.GalleryNotFound, 404, "name"),
    (storage.ItemNotFound, 404, "id"),
    (storage.JobNotFound, 404, "id"),
    (storage.EvaluationNotFound, 404, "id"),
    (storage.EvaluationBusy, 409, None),
    (storage.NotContinued, 409, "id"),
    (storage.QueryPictureGone, 410, "picture"),
    (storage.DiskFull, 507, None),
    (storage.BadGalleryName, 422, "name"),
    (storage.GalleryBusy, 409, None),
    (storage.GalleryAtWork, 409, None),
    (storage.LeaseLost, 409, None),
    (storage.ModelMismatch, 409, "name"),
    (storage.SchemaOutdated, 503, None),
    (storage.DatabaseUnreachable, 503, None),
    (storage.StorageError, 400, None),
    (retrieval.EmptyText, 422, "text"),
    (retrieval.NoTexts, 409, "texts"),
    (retrieval.NoPairs, 409, "name"),
    (retrieval.UnknownProtocol, 422, "protocol"),
    (retrieval.UnknownSplit, 409, "split"),
    (retrieval.TooFewPictures, 409, "folds"),
    (retrieval.TooFewHits, 409, "name"),
    (retrieval.TooFewToCalibrate, 409, "name"),
    (retrieval.Uncalibrated, 409, "target_precision"),
    (retrieval.PrecisionOutOfReach, 409, "target_precision"),
    (retrieval.RoleMissing, 409, "name"),
    (retrieval.NotRun, 409, "name"),
    (retrieval.FeaturesMissing, 422, "model"),
    (retrieval.NoModel, 409, "name"),
    (retrieval.WeightsMissing, 503, None),
    (retrieval.WeightsChanged, 503, None),
    (retrieval.DownloadFailed, 503, None),
    (retrieval.PictureGone, 410, "id"),
    (retrieval.RetrievalError, 400, None),
    (indexing.DecodeFailed, 422, "image"),
    (indexing.OriginalMissing, 410, "id"),
    (indexing.OriginalChanged, 410, "id"),
    (indexing.SourceMissing, 422, "folder"),
    (indexing.BadDataset, 422, "folder"),
    (indexing.IndexerError, 400, None),
    (FolderForbidden, 403, "folder"),
    (Overloaded, 429, None),
    (Stopped, 409, None),
    (Closing, 503, None),
    (UsageError, 422, None),
)
"""Status code, and the field of the request that is at fault; the first row that fits counts."""

WRONG_COMMAND = 2
"""The exit code where a command asks for what cannot be."""


def status_of(error: Exception) -> tuple[int, str | None]:
    """Give the HTTP status of a domain error and the field it is about."""
    if isinstance(error, UsageError):
        return (409 if isinstance(error, NotNow) else 422), error.field
    return next((status, field) for kind, status, field in STATUS if isinstance(error, kind))


def exit_code(error: Exception) -> int:
    """Give the exit code of a domain error: 2 for what the user can put right in the command, 1 for the rest."""
    wrong_name = (
        *(storage.GalleryNotFound, storage.ItemNotFound, storage.BadGalleryName, storage.EvaluationNotFound),
        *(retrieval.UnknownProtocol, retrieval.UnknownSplit, retrieval.TooFewPictures),
    )
    wrong_model = (retrieval.UnknownModel, retrieval.NotRun, retrieval.RoleMissing, retrieval.FeaturesMissing)
    wrong_place = (indexing.SourceMissing, indexing.PictureMissing, storage.ModelMismatch)
    wrong_input = (UsageError, retrieval.EmptyText, *wrong_name, *wrong_model, *wrong_place)
    return WRONG_COMMAND if isinstance(error, wrong_input) else 1
