"""The shipped project sms_spam on the whole SMS Spam Collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from shipped import Shipped, data_or_skip, open_shipped

from ml_assets.runs import PREPARING

if TYPE_CHECKING:
    from pathlib import Path

# Dagster's own reading of a defs.yaml.
pytestmark = pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")

FIRST, LAST = "block-000001", "block-000012"


@pytest.fixture(scope="module")
def sms(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """All blocks, up to a trained version."""
    made = open_shipped("sms_spam", _home(tmp_path_factory), data_or_skip("sms_spam"))
    made.instance.add_dynamic_partitions("sms_spam_blocks", [f"block-{number:06}" for number in range(1, 13)])
    made.materialize(PREPARING, FIRST, LAST)
    made.retrain()
    return made


def _home(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("sms") / "home"


def test_every_message_is_accounted_for(sms: Shipped) -> None:
    raw, validated = sms.table("raw"), sms.table("validated")

    assert raw.height == 5574
    assert raw["label"].value_counts().sort("label")["count"].to_list() == [4827, 747]
    assert sms.table("quarantine").height == 0
    assert raw.group_by("_partition").len()["len"].sort().to_list() == [74, *[500] * 11]
    # 403 messages repeat another, of their own block or of an earlier one, and are dropped.
    assert raw.height - raw.n_unique(["label", "message"]) == 403
    assert raw.height - validated.height == 403


def test_quotes_that_are_never_closed_part_no_messages(sms: Shipped) -> None:
    raw = sms.table("raw")

    assert raw.filter(raw["message"].str.count_matches('"') % 2 == 1).height > 0
    assert raw.filter(raw["message"].str.contains("\n")).height == 0


def test_messages_are_read_as_they_were_sent_and_their_words_are_plain(sms: Shipped) -> None:
    validated, features = sms.table("validated"), sms.table("features")

    assert validated.filter(validated["message"].str.contains("&(lt|gt|amp);")).height == 0
    assert features["words"].str.contains(r"[A-Z]|[^\p{L}\p{N}£$€ ]|[0-9]{5}").sum() == 0
    assert features["label"].unique().sort().to_list() == ["ham", "spam"]
    money = features.filter(features["names_money"])
    assert (money["label"] == "spam").mean() > 0.8
    assert features["share_of_capitals"].is_between(0, 1).all()


def test_the_declared_model_passes_its_gates_by_far(sms: Shipped) -> None:
    stored = sms.registry.evaluation("sms_spam", 1)

    assert stored is not None
    assert all(gate["passed"] for gate in stored["gates"])
    assert stored["metrics"]["test"]["f1"] > 0.96
    assert sms.registry.version("sms_spam", 1).features["words"] == "text"


def test_the_leakage_gate_accuses_nothing(sms: Shipped) -> None:
    assert sms.registry.version("sms_spam", 1).training_set.leakage == ()


def test_a_block_has_the_same_features_alone_and_in_a_range(sms: Shipped) -> None:
    before = sms.table("features")
    sms.materialize(PREPARING, "block-000005")

    assert sms.table("features").equals(before)
