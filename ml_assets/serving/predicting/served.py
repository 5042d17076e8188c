"""A version that is served: rows as a request gives them in, predictions out."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import duckdb

from ml_assets.core.shapley import shapley
from ml_assets.core.statement import SqlError
from ml_assets.core.tasks import as_number
from ml_assets.lake.connection import LakeError
from ml_assets.lake.origin import origin_warning
from ml_assets.lake.sql import quoted
from ml_assets.lake.tables import window_of
from ml_assets.registry.models import RegistryError
from ml_assets.serving.predicting.batching import Batcher
from ml_assets.serving.predicting.bulk import Judge
from ml_assets.serving.predicting.features import Features, UnusableRowError, of_version
from ml_assets.serving.predicting.inputs import CannotServeError
from ml_assets.serving.predicting.request import TOLD, Contract, Mistake, RefusedError, outline_of
from ml_assets.serving.predicting.scorer import Scorer, noted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    import polars as pl

    from ml_assets.core.tasks import Values
    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.ledger import Entry
    from ml_assets.registry.models import Registry

# Rows of a request that are answered together with other requests; more are worked on by themselves.
TOGETHER = 256
# Training rows that a prediction is explained against.
BACKGROUND = 100
HALF = 0.5
DROPPED = "{path} drops this row: a filter does not let it through, so there is no prediction for it"
NO_NUMBER = (
    "version {number} predicts no finite number for this row. Remedy: smaller values, as the model has learnt from"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a row.

    Attributes:
        told: as the answer has it.
        features: those made of the row.
        predicted: as `Registry.predict` says it, a number or the probabilities of many classes.
    """

    told: dict[str, Any]
    features: dict[str, Any]
    predicted: Any


class Served:
    """A version, all that it needs to answer, and its statement.

    Attributes:
        project: as declared.
        scorer: predicts.
        features: makes features of rows.
        contract: what rows must be.
        batcher: answers requests of few rows.
        warning: what must be said of where its data come from, or None.

    Raises:
        CannotServeError, RegistryError, LakeError, SqlError: why it cannot be served; no other error.
    """

    def __init__(self, project: Project, lake: Lake, registry: Registry, number: int, entries: Sequence[Entry]) -> None:
        with _told_as_reason(project, number):
            version = registry.version(project.name, number)
            self.project, self._lake, self._registry = project, lake, registry
            self.scorer = Scorer(registry, version, entries)
            outline = outline_of(project.schema)
            declared = of_version(project, version.sources.get("features_sql", ""))
            schema = [column.name for column in outline.columns]
            self.features = Features(declared, lake, version.features, schema)
            inputs = self.features.inputs
            self.demands_more = outline.demands_more
            self.contract = Contract(
                [column for column in outline.columns if column.name in inputs.asked],
                inputs.needed,
                unknown=project.serving.unknown_fields,
                timezone=project.partitions.timezone,
                example=self.example if inputs.needed <= self.example.keys() else None,
            )
            self.batcher = _batched(self)
            with lake.reader() as cursor:
                self.warning = origin_warning(cursor, project.name)
            self._try()

    @property
    def number(self) -> int:
        """The version's."""
        return self.scorer.version.number

    @property
    def example(self) -> dict[str, Any]:
        """What a request may give of a real row, but for what is personal: whoever may predict need not see rows."""
        personal = self.project.serving.personal
        return {name: value for name, value in self.features.example.items() if name not in personal}

    @property
    def max_rows(self) -> int:
        """Rows that one JSON request may hold."""
        declared = self.project.serving.max_rows
        return min(declared, self.features.most or declared)

    @property
    def together(self) -> int:
        """Rows up to which a request is answered together with others; where each is looked at alone, others wait."""
        return TOGETHER if self.features.inputs.row_wise else 1

    @property
    def can_be_faster(self) -> bool:
        """Whether an ONNX file has been made since it was loaded."""
        scorer = self.scorer
        return scorer.engine != "onnx" and noted(self._registry, scorer.version) != scorer.noted

    def answer_all(self, requests: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Answer] | Exception]:
        """The answers to some requests, each of some rows; or what is wrong with one."""
        try:
            found = self._answers([row for rows in requests for row in rows])
        except Exception:  # noqa: BLE001 - whatever it is, it is told to the one that is at fault
            # The others are answered all the same.
            return [self._alone(rows) for rows in requests]
        answers = iter(found)
        return [[next(answers) for _ in rows] for rows in requests]

    def answer(self, rows: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """The answers to one request's rows.

        Raises:
            RefusedError: if there is no prediction for one, naming it.
        """
        try:
            return self._answers(rows)
        except UnusableRowError as error:
            # One more than is told: then there are more.
            found = list(islice(self._mistakes(rows), TOLD + 1)) or [Mistake(0, "", "", str(error))]
            raise RefusedError(found[:TOLD], len(found[TOLD:])) from error

    def answer_frame(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The answers to many rows: `prediction`, and of a classification `label` too.

        Args:
            rows: asked columns, judged and cast.

        Raises:
            RefusedError: if there is no prediction for a row.
        """
        try:
            answers, wrong = self._answer_some(rows)
        except UnusableRowError as error:
            raise RefusedError([Mistake(0, "", "", str(error))]) from error
        if wrong:
            raise _refused(wrong)
        return answers.drop("_row")

    def answer_each(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, str]]:
        """The same, with the place of each row that has an answer as `_row`, and why the others have none."""
        import polars as pl

        try:
            return self._answer_some(rows)
        except UnusableRowError as error:
            if not rows.height:  # it is not a row's fault
                raise
            if rows.height == 1:
                return self._answer_some(rows.clear())[0], {0: str(error)}
            half = rows.height // 2
            (first, why), (second, others) = self.answer_each(rows[:half]), self.answer_each(rows[half:])
            second = second.with_columns(pl.col("_row") + half)
            return pl.concat([first, second]), why | {place + half: reason for place, reason in others.items()}

    def _answer_some(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, str]]:
        """As `answer_each`; but where the statement or the model fails, there is no answer at all.

        Raises:
            UnusableRowError: if it does.
        """
        import polars as pl

        features, version = self.features.of_frame(rows), self.scorer.version
        there = set(features["_row"])
        wrong = {place: self._drop_message for place in range(rows.height) if place not in there}
        predicted = self._predicted(self.scorer.predict_frame, features)
        if unheard := _not_finite(predicted):
            wrong |= {int(features["_row"][place]): self._no_number for place in unheard}
            kept = [place for place in range(features.height) if place not in set(unheard)]
            features, predicted = features[kept], predicted[kept]
        made: dict[str, Any] = {"_row": features["_row"], "prediction": as_number(predicted)}
        if version.task != "regression":
            places = (predicted > HALF).astype(int) if version.task == "binary" else predicted.argmax(axis=1)
            made["label"] = pl.Series(version.classes, dtype=pl.String).gather(places)
        return pl.DataFrame(made), wrong

    def explain(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What moved a row's prediction, and, of a regression, where it lies with a chance of 90 %.

        Raises:
            RefusedError: if the statement makes no features of it.
            CannotServeError: if the rows that it is explained against are gone.
        """
        columns, places = self.features.of([row])
        if not places:
            raise _refused({0: self._drop_message})
        features, version = {name: values[0] for name, values in columns.items()}, self.scorer.version
        own = self.scorer.predict(columns, self.features.schema)

        def predict(columns: dict[str, list[Any]]) -> Values:
            said = self.scorer.predict(columns, self.features.schema)
            # Of many classes, the probability of the one that it says.
            return said[:, own[0].argmax()] if version.task == "multiclass" else said

        base, found = shapley(predict, features, self.background, permutations=2 * BACKGROUND)
        told: dict[str, Any] = {
            "base": base,
            "contributions": [
                {"feature": one.feature, "value": _plain(features[one.feature]), "contribution": one.value,
                 "error": one.error}
                for one in found
            ],
        }  # fmt: skip
        evaluation = self._registry.evaluation(version.project, version.number) or {}
        below = evaluation.get("residuals", {}).get("quantiles") if version.task == "regression" else None
        if below:
            # Prediction less actual value, of the rows held out: 5, 25, 50, 75 and 95 % of them lie below.
            told["interval"] = {"share": 0.9, "low": float(own[0]) - below[-1], "high": float(own[0]) - below[0]}
        return told

    def refuse(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Hold rows against what the schema demands beyond the limits of its columns.

        Raises:
            RefusedError: naming the rows that do not pass.
        """
        import polars as pl

        given = [name for name in self.contract.columns if all(name in row for row in rows)]
        kinds = {name: self.judge.types[name] for name in given}
        self.judge.refuse(pl.DataFrame([[row[name] for name in given] for row in rows], kinds, orient="row"))

    @cached_property
    def judge(self) -> Judge:
        """Judges rows that come as frames; pandera is imported for it."""
        return Judge(self.project, self.contract)

    @cached_property
    def background(self) -> list[dict[str, Any]]:
        """Some rows that the version has learnt from, as features."""
        version, project = self.scorer.version, self.project
        chosen = version.training_set
        window = project.window(min(chosen.train), max(chosen.train))
        names = ", ".join(map(quoted, version.features))
        with self._lake.reader() as cursor:
            some = window_of(project.table("features"), window, chosen.snapshot)
            sql = f"SELECT {names} FROM ({some}) USING SAMPLE {BACKGROUND} ROWS (reservoir, {version.seed})"
            try:
                return cursor.execute(sql).pl().rows(named=True)
            except duckdb.Error as error:
                raise CannotServeError(f"the rows that version {version.number} has learnt from are gone") from error

    def _answers(self, rows: Sequence[Mapping[str, Any]]) -> list[Answer]:
        columns, places = self.features.of(rows)
        if len(places) < len(rows):
            there = set(places)
            raise _refused({place: self._drop_message for place in range(len(rows)) if place not in there})
        predicted = self._predicted(self.scorer.predict, columns, self.features.schema)
        if unheard := _not_finite(predicted):
            raise _refused(dict.fromkeys(unheard, self._no_number))
        features = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
        return list(map(Answer, self._told(predicted), features, predicted.tolist()))

    def _told(self, predicted: Values) -> list[dict[str, Any]]:
        version = self.scorer.version
        if version.task == "regression":
            return [{"prediction": value} for value in predicted.tolist()]
        if version.task == "binary":
            no, yes = version.classes
            return [
                {
                    "prediction": value,
                    "label": yes if value > HALF else no,
                    "probabilities": {no: 1 - value, yes: value},
                }
                for value in predicted.tolist()
            ]
        return [
            {"prediction": max(values), "label": version.classes[values.index(max(values))],
             "probabilities": dict(zip(version.classes, values, strict=True))}
            for values in predicted.tolist()
        ]  # fmt: skip

    def _predicted(self, predict: Callable[..., Values], features: Any, *more: Any) -> Values:
        """What `predict` says of features.

        Raises:
            UnusableRowError: if the model takes a value for unusable, as trees do a number beyond 32 bits.
        """
        try:
            return predict(features, *more)
        except ValueError as error:
            said = str(error).strip().splitlines()[:1]
            raise UnusableRowError(f"version {self.number} predicts nothing for it: {' '.join(said)[:300]}") from error

    def _alone(self, rows: Sequence[Mapping[str, Any]]) -> list[Answer] | Exception:
        try:
            return self.answer(rows)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            return error

    def _mistakes(self, rows: Sequence[Mapping[str, Any]], first: int = 0) -> Iterator[Mistake]:
        """What is wrong with each row, found by halves: most are all right."""
        try:
            self._answers(rows)
        except RefusedError as error:
            yield from (replace(one, row=one.row + first) for one in error.mistakes)
        except UnusableRowError as error:
            if len(rows) == 1:
                yield Mistake(first, "", "", str(error))
                return
            half = len(rows) // 2
            yield from self._mistakes(rows[:half], first)
            yield from self._mistakes(rows[half:], first + half)

    @property
    def _drop_message(self) -> str:
        return DROPPED.format(path=self.project.features_path)

    @property
    def _no_number(self) -> str:
        return NO_NUMBER.format(number=self.number)

    def _try(self) -> None:
        """Answer real rows before anybody asks: what is loaded late is loaded, and a broken version never serves."""
        rows = self.features.samples[:20]
        try:
            self._answers(rows[:1])
            self._answers(rows)
        except (UnusableRowError, RefusedError) as error:
            raise CannotServeError(
                f"version {self.number} of {self.project.name} predicts no numbers for real rows: {error}. "
                "Remedy: train again"
            ) from error


@contextmanager
def _told_as_reason(project: Project, number: int) -> Iterator[None]:
    """Whatever goes wrong within is why a version cannot be served: a column that the lake lacks, say."""
    try:
        yield
    except (CannotServeError, LakeError, RegistryError, SqlError):
        raise
    except Exception as error:
        said = str(error).strip().splitlines()[:1]
        raise CannotServeError(
            f"version {number} of {project.name} does not run here: {type(error).__name__}: {' '.join(said)[:300]}"
        ) from error


def _batched(served: Served) -> Batcher[Sequence[Mapping[str, Any]], list[Answer]]:
    """Answers requests, and does not hold what answers: that goes, with its tables, after the last who asks it."""
    held = weakref.ref(served)

    def answer_all(requests: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Answer] | Exception]:
        own = held()
        # Whoever waits for an answer holds it too: then nobody does.
        return own.answer_all(requests) if own else [CannotServeError("nobody waits for this answer")] * len(requests)

    return Batcher(answer_all)


def _not_finite(predicted: Values) -> list[int]:
    """The places of predictions that are no finite numbers: JSON has none for them."""
    import numpy as np  # noqa: PLC0415

    whole: np.ndarray[Any, Any] = np.isfinite(predicted)
    return [] if whole.all() else np.flatnonzero(~whole.reshape(len(whole), -1).all(axis=1)).tolist()


def _refused(wrong: Mapping[int, str]) -> RefusedError:
    told = [Mistake(place, "", "", wrong[place]) for place in sorted(wrong)[:TOLD]]
    return RefusedError(told, len(wrong) - len(told))


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
