"""A version as an ONNX file, which other languages and machines without Python can serve.

What turns columns into numbers is written here, operator by operator, for the converter's own version of it treats
missing values and unseen categories otherwise than scikit-learn does; the estimator is converted by skl2onnx. Nothing
is exported on trust: the file must agree with the version on real rows, on rows with a category that it has never seen,
and on rows that lack a value.

Each feature is an input of its name, of shape (n, 1): numbers and dates (days since 1970-01-01) as doubles, NaN where
missing; categories as text, "" where missing; text in lower case.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.core.files import replace_file
from ml_assets.core.training import predict
from ml_assets.registry.sessions import fed, open_session, run_session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx
    import polars as pl

    from ml_assets.core.tasks import Values
    from ml_assets.registry.models import Registry, Version

ONNX, PARITY = "model.onnx", "model.onnx.json"
OPSETS = {"": 21, "ai.onnx.ml": 3, "com.microsoft": 1}
IR_VERSION = 10
# Of the spread of predictions, or of a probability: an ONNX estimator computes with 24 bits.
TOLERANCE = 1e-4
# Held against the version at most: enough to meet every category and most leaves.
ROWS = 20_000
UNSEEN = "a category that no row has had \N{SNOWMAN}"
WORDS = r"[\p{L}\p{N}]+"


class ExportRefusedError(Exception):
    """A version cannot be exported, or its export does not agree with it; the message says why, and where."""


@dataclass(frozen=True)
class Exported:
    """An ONNX model that agrees with its version.

    Attributes:
        content: of the file.
        sha256: over it.
        rows: on so many it was held against the version.
        greatest: the greatest difference of a prediction, in the target's unit or of a probability.
        limit: the greatest that would have been taken for rounding.
    """

    content: bytes
    sha256: str
    rows: int
    greatest: float
    limit: float


def is_installed() -> bool:
    """Whether the extra `onnx` is."""
    return all(importlib.util.find_spec(name) is not None for name in ("skl2onnx", "onnxruntime"))


def export(registry: Registry, version: Version, rows: pl.DataFrame) -> Exported:
    """Convert a version and hold the result against it.

    Args:
        registry: loads it.
        version: the version.
        rows: real rows of `features`, with lineage.

    Raises:
        ExportRefusedError: if the extra is missing, the converter cannot, or the two disagree.
        RegistryError: if the model file cannot be trusted.
    """
    if not is_installed():
        raise ExportRefusedError("ONNX needs skl2onnx and onnxruntime. Remedy: pip install 'ml-assets[onnx]'")
    model = registry.load(version)
    tried = _with_hard_cases(rows.gather_every(max(1, rows.height // ROWS)), version.features)
    wanted = predict(model, tried, version.features, version.task)
    try:
        content = _convert(model, version)
        found = predict_onnx(content, version, tried)
    except ExportRefusedError:
        raise
    except Exception as error:
        # Preprocessing of one's own, or a graph that does not run: the libraries raise of many types.
        said = str(error).strip().splitlines()[:1]
        what = f"{type(error).__name__}: {said[0] if said else ''}"
        raise ExportRefusedError(f"{version.project}@{version.number} cannot be exported: {what}") from error
    return _agreed(content, version, tried, wanted=wanted, found=found)


def keep(registry: Registry, version: Version, exported: Exported) -> None:
    """Keep an export beside the version that it agrees with."""
    facts = {name: value for name, value in asdict(exported).items() if name != "content"}
    for name, content in ((ONNX, exported.content), (PARITY, json.dumps(facts, indent=1).encode())):
        replace_file(registry.path(version, name), content)


def parity(registry: Registry, version: Version) -> dict[str, Any] | None:
    """What is known of a version's export: `sha256`, `rows`, `greatest`, `limit`; None where there is none."""
    path = registry.path(version, PARITY)
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def is_exported_as_told(folder: Path) -> bool:
    """Whether the ONNX file in a version's folder has the hash that was kept at its export; so too where there is none.

    Every export has that note: one without is not known to be what was exported.
    """
    file, told = folder / ONNX, folder / PARITY
    if not told.is_file():
        return not file.is_file()
    try:
        wanted = json.loads(told.read_text(encoding="utf-8"))["sha256"]
    except (ValueError, KeyError, TypeError):
        return False
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == wanted


def predict_onnx(content: bytes | Path, version: Version, rows: pl.DataFrame) -> Values:
    """What an exported model says of rows, in the shape of `Registry.predict`."""
    return run_session(open_session(content), version, fed(rows, version.features))


def _with_hard_cases(rows: pl.DataFrame, kinds: Mapping[str, str]) -> pl.DataFrame:
    """The rows, and the first ones again: once for each feature without its value, or with a category never seen."""
    import polars as pl

    rows = rows.with_columns(pl.lit("as it is").alias("_case"))
    first, cases = rows.head(20), [rows]
    for name, kind in kinds.items():
        missing = pl.lit(None, dtype=rows.schema[name]).alias(name)
        cases.append(first.with_columns(missing, pl.lit(f"without {name}").alias("_case")))
        if kind in {"category", "text"}:
            unseen = pl.lit(UNSEEN).alias(name)
            cases.append(first.with_columns(unseen, pl.lit(f"with an unseen {name}").alias("_case")))
    return pl.concat(cases)


def _agreed(content: bytes, version: Version, rows: pl.DataFrame, *, wanted: Values, found: Values) -> Exported:
    import numpy as np  # noqa: PLC0415

    apart = np.abs(found - wanted)
    apart = np.where(np.isfinite(apart), apart, np.inf).reshape(len(apart), -1).max(axis=1)
    # Beside the tolerance, what the last bits of a float are worth.
    limit = TOLERANCE if version.task != "regression" else TOLERANCE * np.std(wanted) + 1e-6 * np.abs(wanted).max()
    at, greatest = int(apart.argmax()), float(apart.max())
    if greatest > limit:
        row = rows.row(at, named=True)
        raise ExportRefusedError(
            f"{version.project}@{version.number}: the ONNX model disagrees on {(apart > limit).sum()} of "
            f"{len(apart)} rows, most by {greatest:.4g} on row {row['_row']} of {row['_source']}, {row['_case']}: "
            f"{np.round(found[at], 6)} instead of {np.round(wanted[at], 6)}. Nothing was exported"
        )
    return Exported(content, hashlib.sha256(content).hexdigest(), len(apart), greatest, float(limit))


def _convert(model: Any, version: Version) -> bytes:
    import onnx
    from onnx import compose

    columns, estimator = model.named_steps["columns"], model.named_steps["estimator"]
    where = f"{version.project}@{version.number}"
    try:
        front, width = _Columns(version.features).of(columns)
        back = _estimator(estimator, width, version)
    except NotImplementedError as error:
        raise ExportRefusedError(f"{where} cannot be exported: {error}") from error
    whole = compose.merge_models(front, back, io_map=[("columns", "features")])
    whole.doc_string = f"{where}, artefact {version.artefact}"
    onnx.checker.check_model(whole)
    return bytes(whole.SerializeToString(deterministic=True))


def _estimator(estimator: Any, width: int, version: Version) -> onnx.ModelProto:
    """The estimator alone: `features`, floats of shape (n, width), to `prediction`."""
    from onnx import compose
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    options = {} if version.task == "regression" else {id(estimator): {"zipmap": False}}
    try:
        with warnings.catch_warnings():
            # The converter writes booleans where protobuf wants integers, and protobuf says so for each.
            warnings.simplefilter("ignore", DeprecationWarning)
            made = convert_sklearn(
                estimator,
                name="estimator",
                initial_types=[("features", FloatTensorType([None, width]))],
                options=options,
                target_opset={name: OPSETS[name] for name in ("", "ai.onnx.ml")},
            )
    except Exception as error:
        # The converter raises whatever its parts raise, of many types; each says what it cannot.
        said = str(error).strip().splitlines()[:1]
        raise NotImplementedError(f"skl2onnx: {type(estimator).__name__}: {said[0] if said else error!r}") from error
    made = compose.add_prefix(made, "estimator_", inplace=True)
    made.graph.input[0].name = "features"
    output = made.graph.output[0 if version.task == "regression" else 1].name
    for node in made.graph.node:
        node.input[:] = ["features" if name == "estimator_features" else name for name in node.input]
        node.output[:] = ["prediction" if name == output else name for name in node.output]
    (kept,) = [one for one in made.graph.output if one.name == output]
    kept.name = "prediction"
    del made.graph.output[:]
    made.graph.output.append(kept)
    # It names the versions in which its operators last changed; the newer ones read them too.
    del made.opset_import[:]
    made.opset_import.extend(_opsets())
    made.ir_version = IR_VERSION
    return made


def _opsets() -> list[Any]:
    from onnx import helper

    return [helper.make_opsetid(domain, number) for domain, number in OPSETS.items()]


class _Columns:
    """Writes the graph that turns features into the columns that an estimator takes."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = kinds
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def of(self, columns: Any) -> tuple[onnx.ModelProto, int]:
        """The graph of a fitted ColumnTransformer, and how many columns it makes.

        Raises:
            NotImplementedError: naming a part that cannot be written.
        """
        from onnx import TensorProto, helper

        outputs: list[tuple[str, int]] = []
        for name, part, of in columns.transformers_:
            if name == "remainder" or (not isinstance(of, str) and not len(of)):
                continue
            kind = type(part).__name__
            if kind in {"CountVectorizer", "TfidfVectorizer"}:
                outputs.append(self._words(part, of))
            elif kind == "OrdinalEncoder":
                outputs += [self._ordinal(one, values) for one, values in zip(of, part.categories_, strict=True)]
            elif kind == "OneHotEncoder":
                outputs += [self._one_hot(one, values) for one, values in zip(of, part.categories_, strict=True)]
            else:
                steps = [step for _, step in part.steps] if kind == "Pipeline" else [part]
                outputs.append(self._numbers(steps, list(of)))
        self._add("Concat", [name for name, _ in outputs], "columns", axis=1)
        inputs = [
            helper.make_tensor_value_info(
                name, TensorProto.DOUBLE if kind in {"number", "date"} else TensorProto.STRING, [None, 1]
            )
            for name, kind in self._kinds.items()
        ]
        width = sum(columns for _, columns in outputs)
        output = helper.make_tensor_value_info("columns", TensorProto.FLOAT, [None, width])
        graph = helper.make_graph(self._nodes, "columns", inputs, [output], self._constants)
        return helper.make_model(graph, opset_imports=_opsets(), ir_version=IR_VERSION), width

    def _add(self, operator: str, inputs: list[str], output: str = "", *, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or f"made {len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def _constant(self, values: Any) -> str:
        from onnx import numpy_helper

        name = f"constant {len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def _float(self, name: str) -> str:
        from onnx import TensorProto

        return self._add("Cast", [name], to=TensorProto.FLOAT)

    def _ordinal(self, name: str, categories: Any) -> tuple[str, int]:
        """A category's place; NaN for a missing or an unseen one."""
        keys = [value for value in categories if isinstance(value, str)]
        places = [float(place) for place, value in enumerate(categories) if isinstance(value, str)]
        made = self._add(
            "LabelEncoder", [name], domain="ai.onnx.ml",
            keys_strings=keys or [UNSEEN], values_floats=places or [0.0], default_float=float("nan"),
        )  # fmt: skip
        return made, 1

    def _one_hot(self, name: str, categories: Any) -> tuple[str, int]:
        """A column for each category, missing being one where training rows lacked it; none is 1 for an unseen one."""
        import numpy as np  # noqa: PLC0415

        keys = [value if isinstance(value, str) else "" for value in categories]
        made = self._add("OneHotEncoder", [name], domain="ai.onnx.ml", cats_strings=keys, zeros=1)
        return self._add("Reshape", [made, self._constant(np.array([-1, len(keys)]))]), len(keys)

    def _numbers(self, steps: list[Any], names: list[str]) -> tuple[str, int]:
        """Numbers: the median for a missing one, then to scale, in doubles."""
        import numpy as np  # noqa: PLC0415

        made = self._add("Concat", names, axis=1) if len(names) > 1 else names[0]
        for step in steps:
            kind = type(step).__name__
            if kind == "SimpleImputer" and len(step.statistics_) == len(names):
                missing = self._add("IsNaN", [made])
                made = self._add("Where", [missing, self._constant(np.array(step.statistics_, dtype=float)), made])
            elif kind == "StandardScaler":
                made = self._add("Sub", [made, self._constant(step.mean_)])
                made = self._add("Div", [made, self._constant(step.scale_)])
            elif kind == "MinMaxScaler" and step.clip:
                made = self._add(
                    "Add", [self._add("Mul", [made, self._constant(step.scale_)]), self._constant(step.min_)]
                )
                low, high = (self._constant(np.array(float(limit))) for limit in step.feature_range)
                made = self._add("Clip", [made, low, high])
            elif kind != "FunctionTransformer" or step.func is not None:
                raise NotImplementedError(f"there is no ONNX operator for {kind} here")
        return self._float(made), len(names)

    def _words(self, part: Any, name: str) -> tuple[str, int]:
        """Words counted, or weighed by TF-IDF as scikit-learn does, to rows of length 1."""
        import numpy as np  # noqa: PLC0415

        words = sorted(part.vocabulary_, key=part.vocabulary_.get)
        flat = self._add("Reshape", [name, self._constant(np.array([-1]))])
        # A word more, so that a batch of empty texts is no empty tensor.
        padded = self._add("Concat", [flat, self._constant(np.array(["0"], dtype=object))], axis=0)
        tokens = self._add(
            "Tokenizer", [padded], domain="com.microsoft",
            mark=0, mincharnum=1, pad_value="#", tokenexp=WORDS,
        )  # fmt: skip
        counted = self._add(
            "TfIdfVectorizer", [tokens], mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0,
            ngram_counts=[0], ngram_indexes=list(range(len(words))), pool_strings=words,
        )  # fmt: skip
        rows = self._add("Shape", [name], start=0, end=1)
        made = self._add("Slice", [counted, self._constant(np.array([0])), rows])
        if type(part).__name__ == "TfidfVectorizer":
            weighed = self._add("Mul", [made, self._constant(part.idf_.astype(np.float32))])
            length = self._add("ReduceL2", [weighed, self._constant(np.array([1]))], keepdims=1)
            made = self._add(
                "Div", [weighed, self._add("Max", [length, self._constant(np.array([1e-30], dtype=np.float32))])]
            )
        return made, len(words)
