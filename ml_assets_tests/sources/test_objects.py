"""Files of an object store: a real server on a local socket."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from small_files import PARTS, read

from ml_assets.sources.files import FileReader
from ml_assets.sources.reading import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINES = b"nr,town,price\n1,EAST,2\n"
SECRET = "not-to-be-told"  # noqa: S105 - of a server that takes any
NOWHERE = Path("nowhere")


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[str, Any]]:
    """The server's address, and a client."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="key", aws_secret_access_key=SECRET, region_name="us-east-1"
    )
    client.create_bucket(Bucket="bucket")
    yield address, client
    server.stop()


@pytest.fixture
def put(store: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], None]:
    """Puts an object; the environment is that of somebody who may read it."""
    address, client = store
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)

    def write(key: str, content: bytes) -> None:
        client.put_object(Bucket="bucket", Key=key, Body=content)

    return write


def parquet() -> bytes:
    out = io.BytesIO()
    pl.DataFrame({"nr": [1], "town": ["EAST"], "price": [2]}).write_parquet(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        (".csv", LINES),
        (".csv.gz", gzip.compress(LINES, mtime=0)),
        (".jsonl", b'{"nr": 1, "town": "EAST", "price": 2}\n'),
        (".parquet", parquet()),
    ],
    ids=["csv", "gz", "jsonl", "parquet"],
)
def test_an_object_is_read_like_a_file(put: Callable[[str, bytes], None], ending: str, content: bytes) -> None:
    put(f"sales/2024-01{ending}", content)
    loaded = read(NOWHERE, f"s3://bucket/sales/%Y-%m{ending}")

    name = f"s3://bucket/sales/2024-01{ending}"
    assert loaded.rows.select("nr", "town", "price", "_row", "_source").rows() == [("1", "EAST", "2", 1, name)]
    assert loaded.facts == {"2024-01": {"source": name, "sha256": hashlib.sha256(content).hexdigest()}}


def test_objects_are_found_by_wildcards(put: Callable[[str, bytes], None]) -> None:
    for key in ("w/2024-01/a.csv", "w/2024-01/b.csv", "w/2024-01/b.txt", "w/2024-01/deep/c.csv", "w/2024-02/a.csv"):
        put(key, LINES)

    def found(pattern: str) -> list[str]:
        sources = read(NOWHERE, f"s3://bucket/{pattern}").rows["_source"].to_list()
        return [source.removeprefix("s3://bucket/w/") for source in sources]

    assert found("w/%Y-%m/*.csv") == ["2024-01/a.csv", "2024-01/b.csv"]
    assert found("w/%Y-%m/**/*.csv") == ["2024-01/a.csv", "2024-01/b.csv", "2024-01/deep/c.csv"]
    assert found("w/%Y-%m/[!a].c?v") == ["2024-01/b.csv"]
    assert found("w/*/a.csv") == ["2024-01/a.csv", "2024-02/a.csv"]
    reader = FileReader("s3://bucket/w/%Y-%m/*.csv", NOWHERE, lambda: pytest.fail("no database"))
    assert [part.key for part in reader.there(PARTS)] == ["2024-01", "2024-02"]


def test_an_object_larger_than_a_block_is_read_whole(put: Callable[[str, bytes], None]) -> None:
    put("large/2024-01.csv", b"nr,town,price\n" + b"1,EAST,2\n" * 1_500_000)

    assert read(NOWHERE, "s3://bucket/large/%Y-%m.csv").rows["_row"].to_list()[-1] == 1_500_000


@pytest.mark.parametrize("address", ["s3://bucket/sales/%Y-%m/none.csv", "s3://bucket/none/%Y-%m/*.csv"])
def test_a_missing_object_is_named_with_its_partition(put: Callable[[str, bytes], None], address: str) -> None:
    del put
    with pytest.raises(SourceError, match=r"^s3://bucket/.*there is no such file for the partition 2024-01"):
        read(NOWHERE, address)


@pytest.mark.parametrize("name", ["x.csv", "*.csv"])
def test_a_missing_bucket_is_an_error(put: Callable[[str, bytes], None], name: str) -> None:
    del put
    with pytest.raises(SourceError, match=r"^s3://no-bucket/"):
        read(NOWHERE, f"s3://no-bucket/{name}")


def test_a_store_that_does_not_answer_is_an_error_without_secrets(
    put: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    del put
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"^s3://bucket/sales/2024-01\.csv: cannot be looked for") as refused:
        read(NOWHERE, "s3://bucket/sales/%Y-%m.csv")
    assert "Remedy: " in str(refused.value)
    assert SECRET not in str(refused.value)
