"""Determines from a metric's name whether smaller or larger values are better: ``min``, ``max``, or unknown.

Only whole words of these lists count, which ``docs/better.md`` shows. A metric with other words has no best
run, since a wrong one is worse than none. Words are split at ``/ _ - .`` and spaces, at a change of case
(``valLoss``, ``BCELoss``) and after digits; the list may omit a number at a word's end (``hd95``, ``AP50``). Of
several words the last one names what is measured: ``dice_loss`` is a loss.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

Direction = Literal["min", "max"]


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


MIN_WORDS = _listed(
    """
    loss losses logloss bceloss mseloss celoss nllloss error errors err cost costs penalty regret
    violation violations mse rmse rmsle msle mae mape smape wape mase medae nrmse rmsd mpjpe epe ade fde
    absrel sqrel nll nelbo ce bce xent crossentropy perplexity ppl bpc bpb bpd divergence brier ece mce
    aic bic wer cer ter der eer fid kid fvd fad lpips niqe brisque hd95 hd100 hausdorff assd chamfer
    wasserstein fpr fnr fdr frr misclassification toxicity
    """
)
MAX_WORDS = _listed(
    """
    accuracy acc macc accuracies precision recall sensitivity specificity tpr tnr ppv npv f1 f2 fbeta
    fscore fmeasure auc auroc rocauc aucroc auprc aupr prauc ap map mar iou miou jaccard dice mdice dsc
    kappa mcc r2 rsquared psnr ssim msssim snr sdr sisdr sisnr stoi pesq mos bleu sacrebleu rouge meteor
    cider chrf bertscore clipscore reward rewards rew return returns elo winrate success hits mrr ndcg
    likelihood elbo pearson spearman kendall plcc srcc nmi ari ami silhouette lddt
    """
)
# These have a direction but do not measure quality: the name of such a group does not apply to its members.
COST_WORDS = _listed("latency duration runtime memory")
SPEED_WORDS = _listed("throughput fps sps mfu")
# Units count at the end of a name and before "per": step_ms, seconds_per_step. After "per" they make a rate:
# samples_per_second.
TIME_UNITS = _listed("ms sec secs second seconds millisecond milliseconds minute minutes hour hours")
RATE_UNITS = TIME_UNITS | {"s", "h"}

PHRASES: dict[str, Direction] = {
    "cross entropy": "min", "kl divergence": "min", "kl div": "min", "log loss": "min", "neg log loss": "max",
    "bits per dim": "min", "bits per byte": "min", "bits per character": "min", "bits per char": "min",
    "bits per token": "min", "edit distance": "min", "levenshtein distance": "min", "surface distance": "min",
    "inception distance": "min", "hausdorff distance": "min", "chamfer distance": "min",
    "wasserstein distance": "min", "abs rel": "min", "sq rel": "min", "davies bouldin": "min",
    "false positive": "min", "false positives": "min", "false negative": "min", "false negatives": "min",
    "false alarm": "min", "false alarms": "min", "failure rate": "min", "miss rate": "min",
    "collision rate": "min",
    "true positive": "max", "true positives": "max", "true negative": "max", "true negatives": "max",
    "negative predictive value": "max", "positive predictive value": "max", "explained variance": "max",
    "signal to noise": "max", "ms ssim": "max", "si sdr": "max", "si snr": "max", "f score": "max",
    "f measure": "max", "v measure": "max", "r squared": "max", "exact match": "max", "inception score": "max",
    "clip score": "max", "tm score": "max", "lower bound": "max", "win rate": "max", "hit rate": "max",
    "pass rate": "max", "pass at": "max",
}  # fmt: skip

# A name with one of these words measures something else: loss_scale, accuracy_std, reward_model_lr.
EXCLUDING = _listed(
    """
    lr learning grad grads gradient gradients norm norms scale scaler scaling weight weights coef coeff
    coefficient lambda alpha beta gamma epsilon eps temperature threshold momentum decay size sizes count
    counts num number length len std stdev stddev var variance entropy approx target ratio fraction frac
    clipfrac delta diff difference change drop gap increase decrease improvement reduction slope bias
    logit logits prob probs histogram index id seed budget limit elapsed wall clock timestamp uptime steps
    timesteps no non not free inverse inv code calls gain recovery saving savings
    """
)
# These words have no direction; a part of a name with no other words is skipped.
NEUTRAL = _listed(
    """
    train training val valid validation test testing eval evaluation dev holdout rate score mean avg
    average median sum total min max best last final ema running smoothed micro macro weighted top step
    epoch iter batch episode log marginal absolute squared root percent pct ep
    """
)
NEGATING = _listed("neg negative minus")
# The words after one of these are a condition of the measurement: recall_at_precision is a recall.
QUALIFYING = _listed("at on for over in vs versus with without given to under")

_MIXED = re.compile(r"[mM]?IoU|mAP|mAR|chrF|[mM]Dice|mAcc")
_CASES = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\d)(?=[A-Z][a-z])")
_WORDS = re.compile(r"[^\W\d_]+\d*|\d+")
_ONE_LESS = re.compile(r"(?:^|(?<=[(\s]))1\s*-\s*(?=[a-z])")
_LONGEST = max(phrase.count(" ") + 1 for phrase in PHRASES)
_UNKNOWN, _EXCLUDED = "unknown", "excluded"


@lru_cache(4096)
def better(name: str) -> Direction | None:
    """Return whether smaller (``min``) or larger (``max``) values of a metric are better, None if unknown."""
    parts = [words for part in name.split("/") if (words := _words(part)) and not set(words) <= NEUTRAL]
    if not parts:
        return "max" if _words(name)[-1:] == ["score"] else None
    own = _direction(parts[-1])
    if own == _EXCLUDED:
        return None
    groups = {direction for words in parts[:-1] if (direction := _direction_of_members(words)) is not None}
    group = groups.pop() if len(groups) == 1 else None
    if own == "max":
        return None if group == "min" else "max"  # loss/dice may be either
    return "min" if "min" in (own, group) else "max" if group == "max" else None


def _words(part: str) -> list[str]:
    """Return the words, in lower case, of the part of a name between two slashes."""
    part = _ONE_LESS.sub("minus ", part.replace("@", " at "))
    part = _MIXED.sub(lambda found: f"_{found.group().lower()}", part)
    words = []
    for word in _WORDS.findall(_CASES.sub("_", part)):
        plain = word.lower()
        bare = plain.rstrip("0123456789")
        words.append(bare if _is_listed(bare) and not _is_listed(plain) else plain)
    return [word for word in words if not word.isdecimal()]


def _is_listed(word: str) -> bool:
    lists = (MIN_WORDS, MAX_WORDS, COST_WORDS, SPEED_WORDS, NEUTRAL, EXCLUDING)
    return any(word in known for known in lists)


def _direction(words: Sequence[str]) -> str:
    """Return ``min``, ``max``, unknown, or excluded if a word excludes a direction."""
    rate = _of_rate(words)
    if rate is not None:
        return rate
    direction, place = _UNKNOWN, 0
    while place < len(words):
        found, width = _phrase(words, place)
        word = words[place]
        if found is None and word in QUALIFYING and place:
            break
        if found is None and word in EXCLUDING:
            return _EXCLUDED
        found = found or _of_word(words, place)
        if found is not None:
            direction = _negated(words, place, found)
            if direction == _EXCLUDED:
                return direction
        place += width
    return direction


def _phrase(words: Sequence[str], place: int) -> tuple[Direction | None, int]:
    for width in range(min(_LONGEST, len(words) - place), 1, -1):
        found = PHRASES.get(" ".join(words[place : place + width]))
        if found is not None:
            return found, width
    return None, 1


def _of_word(words: Sequence[str], place: int) -> Direction | None:
    word, is_last = words[place], place == len(words) - 1
    if word in MIN_WORDS or word in COST_WORDS:
        return "min"
    if word in MAX_WORDS or word in SPEED_WORDS:
        return "max"
    if is_last and (word in TIME_UNITS or (word == "time" and place)):  # "time" alone is a clock
        return "min"
    return None


def _of_rate(words: Sequence[str]) -> str | None:
    """Return the direction of ``<this> per <that>``, None if the words have another form."""
    if "per" not in words or any(" ".join(words[at : at + 3]) in PHRASES for at in range(len(words))):
        return None
    place = words.index("per")
    what, of = words[:place], words[place + 1 :]
    if not what or not of:
        return None
    if what[-1] == "time":
        return "min"
    direction = _direction(what)
    if of[0] in RATE_UNITS:
        return "max" if direction == _UNKNOWN or what[-1] in ("steps", "step") else _EXCLUDED
    return direction


def _negated(words: Sequence[str], place: int, found: Direction) -> str:
    """Return the direction after ``neg``; excluded for ``neg loss``, which may also be a loss of negatives."""
    before = place - 1
    while before >= 0 and words[before] in NEUTRAL:
        before -= 1
    if before < 0 or words[before] not in NEGATING:
        return found
    if words[place] in ("loss", "losses"):
        return _EXCLUDED
    return "max" if found == "min" else "min"


def _direction_of_members(words: Sequence[str]) -> str | None:
    """Return the direction that a group's name gives to its members: ``losses/box`` is a loss."""
    known = [word for word in words if word not in NEUTRAL]
    if len(known) == 1 and known[0] in MIN_WORDS | MAX_WORDS:
        return _direction(words)
    return None
