"""What follows from a metric's name: its quantity, its split, and how informative it is."""

from __future__ import annotations

import re
from collections.abc import Iterable

SPLITS = ("train", "training", "val", "valid", "validation", "test", "eval")

_INFORMATIVE = frozenset((
    "loss", "acc", "accuracy", "f1", "auc", "auroc", "reward", "return", "score", "map", "iou", "dice", "bleu",
    "rouge", "perplexity", "ppl", "error", "mse", "rmse", "mae", "recall", "precision",
))  # fmt: skip
_WORDS = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case: ``valLoss_top5`` has val, loss, top, 5."""
    return [word.lower() for word in _WORDS.findall(_CAMEL.sub("_", name))]


def quantity_of(name: str) -> str:
    """Return the name without a leading or trailing split: ``loss`` for ``train_loss`` and ``loss/val``."""
    for separator in ("/", "_", "-", "."):
        head, _, tail = name.partition(separator)
        if tail and head.lower() in SPLITS:
            return tail
        front, _, last = name.rpartition(separator)
        if front and last.lower() in SPLITS:
            return front
    return name


def most_informative_first(names: Iterable[str]) -> list[str]:
    """Return the names sorted: losses and scores first, then the others; splits of a quantity together."""
    return sorted(names, key=_sort_key)


def _sort_key(name: str) -> tuple[bool, bool, list[tuple[int, int, str]], str]:
    words = words_of(name)
    informative = not _INFORMATIVE.isdisjoint(words)
    deep = len(words_of(quantity_of(name))) > 2  # layers.3.loss is less informative than loss
    return not informative, deep, _natural(quantity_of(name)), name


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts ``layer_9`` before ``layer_10``."""
    pieces = re.split(r"(\d+)", name.lower())
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces if piece]


def file_name(name: str, taken: Iterable[str] = ()) -> str:
    """Return a file name that is valid on any file system and differs from all of ``taken``."""
    plain = re.sub(r"[^\w.+-]+", "_", name).strip("._")[:80].encode("ascii", "ignore").decode() or "metric"
    known = {other.lower() for other in taken}  # a file system may ignore case
    chosen, number = plain, 2
    while chosen.lower() in known:
        chosen, number = f"{plain}-{number}", number + 1
    return chosen
