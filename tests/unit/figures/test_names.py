"""What names of metrics mean, and how figures show them."""

import pytest

from neural.tracking.figures.names import file_name, most_informative_first, quantity_of
from neural.tracking.figures.texts import number, shown, text_width


def test_losses_and_scores_come_first_and_numbers_in_their_order():
    names = ["layer_10/norm", "lr", "layer_9/norm", "val_loss", "train_loss", "accuracy"]

    assert most_informative_first(names) == [
        "accuracy", "train_loss", "val_loss", "lr", "layer_9/norm", "layer_10/norm",
    ]  # fmt: skip


def test_split_is_no_part_of_the_quantity():
    assert {quantity_of(name) for name in ("train_loss", "loss/val", "test-loss", "loss")} == {"loss"}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("train/loss", "train_loss"),
        ("../../etc/passwd", "etc_passwd"),
        ("دقة", "metric"),
        ("a" * 300, "a" * 80),
    ],
)
def test_file_name_is_safe(name, file):
    assert file_name(name) == file


def test_file_names_differ_where_names_do():
    assert file_name("train/loss", ["train_loss"]) == "train_loss-2"
    assert file_name("Loss", ["loss"]) == "Loss-2"


def test_long_name_is_cut_in_the_middle():
    text = shown("validation/" + "x" * 300 + "/loss", 30)

    assert text.startswith("validation/x")
    assert text.endswith("/loss")
    assert text_width(text) <= 31


def test_emoji_that_no_font_has_is_named():
    assert shown("loss\U0001f680") == "loss[rocket]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.1235"), (-2.0, "−2"), (12_345.6, "12\u2009346"), (1.5e-7, "1.5e−7"), (1e300, "1e300"),
        (float("nan"), "NaN"), (float("-inf"), "−∞"), (0.0, "0"),
    ],
)  # fmt: skip
def test_number_is_short(value, text):
    assert number(value) == text
