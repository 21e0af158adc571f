"""Protocols by name: how the authors' papers and programs measured recall, as rows of one table.

Sources: salesforce/ALBEF `Retrieval.py` and configs/Retrieval_coco.yaml, Retrieval_flickr.yaml; salesforce/BLIP
`train_retrieval.py` and configs/retrieval_coco.yaml, retrieval_flickr.yaml; salesforce/LAVIS `compute_sim_matrix` and
its ret_coco_eval.yaml; salesforce/ALPRO `run_video_retrieval.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from retrieval.errors import UnknownProtocol
from retrieval.models.checkpoints import Checkpoint, Scoring

EVERY = 1 << 40
"""So many candidates mean every item there is, whatever the gallery."""


@dataclass(frozen=True)
class Protocol:
    """What a protocol fixes: how many candidates are reranked, what orders them, and what the model reads.

    `candidates` is the k_test of the authors, per query and direction; None is every item there is. `text_length`
    counts ids, `image_size` is the side in pixels; both belong to the model, so a run with another model departs from
    the protocol, and says so. None leaves them to the model.
    """

    name: str
    candidates: int | None
    scoring: Scoring
    text_length: int | None
    image_size: int | None
    meaning: str

    def departures(self, checkpoint: Checkpoint, candidates: int, scoring: Scoring) -> list[str]:
        """Name what a run does otherwise than the protocol, a short clause each."""
        found = []
        if self.candidates is not None and candidates != self.candidates:
            found.append(f"{candidates} candidates in place of {self.candidates}")
        if self.candidates is None and self.scoring != "itc" and candidates < EVERY:
            found.append(f"{candidates} candidates in place of all")
        if scoring != self.scoring:
            found.append(f"ordered by {scoring} in place of {self.scoring}")
        if self.text_length is not None and checkpoint.text_length != self.text_length:
            found.append(f"texts of {checkpoint.text_length} ids in place of {self.text_length}")
        if self.image_size is not None and checkpoint.image_size != self.image_size:
            found.append(f"pictures of {checkpoint.image_size} px in place of {self.image_size}")
        return found


_ROWS = (
    Protocol("albef", 256, "itm", 30, 384, "ALBEF on COCO: the match logit alone"),
    Protocol("albef-flickr30k", 128, "itm", 30, 384, "ALBEF on Flickr30k"),
    Protocol("blip", 256, "itm+itc", 35, 384, "BLIP on COCO: the match logit and the cosine"),
    Protocol("blip-flickr30k", 128, "itm+itc", 35, 384, "BLIP on Flickr30k"),
    Protocol("blip2", 128, "itm+itc", 35, 364, "BLIP-2 on COCO and Flickr30k: logits averaged over query tokens"),
    Protocol("lavis-albef", 128, "itm+itc", 35, 384, "LAVIS' rewrite of ALBEF, which adds the cosine"),
    Protocol("lavis-blip", 256, "itm+itc", 35, 384, "BLIP in LAVIS on COCO, as BLIP itself"),
    Protocol("lavis-blip-flickr30k", 128, "itm+itc", 35, 384, "BLIP in LAVIS on Flickr30k"),
    Protocol("alpro", None, "itm-probability", 40, 224, "ALPRO: the match probability of every pair"),
    Protocol("postcards", 32, "itm+itc", 64, 144, "the shipped models on postcards"),
    Protocol("postcards-albef", 32, "itm", 64, 144, "the shipped ALBEF on postcards"),
    Protocol("itc", None, "itc", None, None, "the first stage alone, for models without a matcher"),
)

PROTOCOLS: Mapping[str, Protocol] = {row.name: row for row in _ROWS}


def by_name(name: str) -> Protocol:
    """Find a protocol, or raise UnknownProtocol."""
    if name not in PROTOCOLS:
        raise UnknownProtocol(name, tuple(PROTOCOLS))
    return PROTOCOLS[name]


def protocol_of(checkpoint: Checkpoint) -> Protocol:
    """Choose the protocol of a model: that of the paper it is from, on COCO unless it was fine-tuned on Flickr30k."""
    if checkpoint.name.startswith("postcards"):
        return PROTOCOLS["postcards-albef" if checkpoint.protocol == "itm" else "postcards"]
    flickr = "-flickr30k" if "flickr" in checkpoint.name.lower() else ""
    match checkpoint.family:
        case "albef":
            return PROTOCOLS[f"albef{flickr}" if checkpoint.protocol == "itm" else "lavis-albef"]
        case "blip":
            return PROTOCOLS[f"blip{flickr}"]
        case "blip2":
            return PROTOCOLS["blip2"]
        case "alpro":
            return PROTOCOLS["alpro"]
        case _:
            return PROTOCOLS["itc"]
