"""A made-up market of resale flats, for machines that can reach no publisher, with a price shock whose size is known.

It has the published table's columns, spellings and texts, so that everything downstream runs unchanged; and because the
shock is ours, a demonstration can say what drift monitoring should have found and when. A fixed stock of blocks is sold
again and again: features stay as they are while prices climb, which is concept drift. The figures of the hedonic price
formula are chosen to resemble the real market's medians, not estimated.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.sources.month_files import COLUMNS, write_months, write_origin

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    Columns = dict[str, np.ndarray[Any, np.dtype[Any]]]


@dataclass(frozen=True)
class Shock:
    """Prices climb by `monthly_growth` in each month from `first` through `last`; before and after they stand still."""

    first: str = "2021-01"
    last: str = "2022-06"
    monthly_growth: float = 0.013


SHOCK = Shock()
FIRST_YEAR = 2017
MONTHS = tuple(f"{FIRST_YEAR + n // 12}-{n % 12 + 1:02d}" for n in range(94))  # through 2024-10
SALES_PER_MONTH = (1_050, 1_850)
QUIET_MONTHS = ("2020-04", "2020-05", "2024-10")  # a lockdown, and a last month that is not over
QUIET_SALES = 700

BLOCKS = 4_000
BLOCK_NOISE = 0.03  # standard deviation of log price: a block's location, the same in every sale
SALE_NOISE = 0.08  # of each sale: renovation, view, haggling
DUPLICATES = 0.0015  # share of rows that appear twice, with an `_id` of their own
MALFORMED = 0.0004  # share of rows with a value that does not parse
MALFORMED_VALUES = {
    "floor_area_sqm": "n.a.",
    "remaining_lease": "unknown",
    "resale_price": "",
    "storey_range": "GROUND",
}

LEASE_MONTHS = 99 * 12
HIGH_RISE_SINCE = 2000
TOWERS = 0.05  # share of the blocks since then
MONTHS_BEFORE_RESALE = 5 * 12

# Town: share of sales in %, price of a 94 m² flat with a full lease in thousand SGD.
TOWNS = {
    "ANG MO KIO": (4.1, 520),
    "BEDOK": (5.3, 505),
    "BISHAN": (1.8, 640),
    "BUKIT BATOK": (4.0, 445),
    "BUKIT MERAH": (3.8, 640),
    "BUKIT PANJANG": (3.6, 425),
    "BUKIT TIMAH": (0.3, 690),
    "CENTRAL AREA": (0.8, 720),
    "CHOA CHU KANG": (4.6, 390),
    "CLEMENTI": (2.2, 560),
    "GEYLANG": (2.5, 530),
    "HOUGANG": (5.0, 450),
    "JURONG EAST": (2.1, 470),
    "JURONG WEST": (6.6, 420),
    "KALLANG/WHAMPOA": (3.0, 580),
    "MARINE PARADE": (0.6, 640),
    "PASIR RIS": (2.9, 430),
    "PUNGGOL": (7.4, 440),
    "QUEENSTOWN": (2.7, 660),
    "SEMBAWANG": (2.8, 385),
    "SENGKANG": (8.3, 430),
    "SERANGOON": (1.8, 530),
    "TAMPINES": (6.7, 480),
    "TOA PAYOH": (3.1, 560),
    "WOODLANDS": (7.1, 390),
    "YISHUN": (6.8, 405),
}
STREETS = ("AVE", "ST", "RD", "DR")

# Flat type, flat model, first and last year of the lease, m², share of the stock in %, premium in log price.
KINDS = (
    ("1 ROOM", "Improved", 1975, 1975, 31, 0.05, 0.0),
    ("2 ROOM", "Improved", 1970, 1986, 45, 0.3, 0.0),
    ("2 ROOM", "Standard", 1967, 1983, 45, 0.3, -0.03),
    ("2 ROOM", "Model A", 2000, 2019, 47, 1.6, 0.02),
    ("2 ROOM", "2-room", 2015, 2019, 47, 0.2, 0.02),
    ("3 ROOM", "New Generation", 1977, 1987, 68, 8.0, 0.0),
    ("3 ROOM", "Improved", 1968, 1987, 65, 5.8, 0.0),
    ("3 ROOM", "Model A", 1983, 2019, 68, 7.0, 0.02),
    ("3 ROOM", "Standard", 1967, 1983, 60, 1.4, -0.03),
    ("3 ROOM", "Simplified", 1985, 1990, 64, 1.0, -0.01),
    ("3 ROOM", "Premium Apartment", 2012, 2018, 68, 0.6, 0.05),
    ("3 ROOM", "DBSS", 2011, 2015, 67, 0.2, 0.13),
    ("3 ROOM", "Terrace", 1968, 1972, 99, 0.05, 0.55),
    ("4 ROOM", "Model A", 1984, 2019, 94, 25.8, 0.0),
    ("4 ROOM", "Premium Apartment", 1998, 2018, 93, 6.0, 0.04),
    ("4 ROOM", "New Generation", 1976, 1988, 92, 4.5, 0.0),
    ("4 ROOM", "Simplified", 1985, 1996, 84, 2.8, -0.01),
    ("4 ROOM", "Model A2", 1997, 2004, 90, 1.2, -0.01),
    ("4 ROOM", "Improved", 1972, 1982, 84, 1.1, 0.0),
    ("4 ROOM", "DBSS", 2011, 2015, 91, 0.7, 0.13),
    ("4 ROOM", "Type S1", 2011, 2011, 94, 0.16, 0.25),
    ("4 ROOM", "Premium Apartment Loft", 2012, 2016, 97, 0.06, 0.15),
    ("5 ROOM", "Improved", 1980, 2018, 119, 17.4, 0.0),
    ("5 ROOM", "Premium Apartment", 1998, 2018, 112, 4.0, 0.04),
    ("5 ROOM", "Model A", 1983, 1996, 134, 1.3, 0.02),
    ("5 ROOM", "Standard", 1974, 1979, 118, 1.0, -0.03),
    ("5 ROOM", "DBSS", 2008, 2014, 112, 0.75, 0.13),
    ("5 ROOM", "Model A-Maisonette", 1983, 1985, 140, 0.18, 0.12),
    ("5 ROOM", "Adjoined flat", 1970, 1987, 134, 0.1, 0.05),
    ("5 ROOM", "Type S2", 2011, 2011, 106, 0.09, 0.25),
    ("5 ROOM", "3Gen", 2017, 2019, 120, 0.2, 0.03),
    ("5 ROOM", "Improved-Maisonette", 1983, 1983, 137, 0.05, 0.12),
    ("EXECUTIVE", "Apartment", 1985, 2002, 144, 3.7, 0.03),
    ("EXECUTIVE", "Maisonette", 1984, 1999, 147, 2.8, 0.08),
    ("EXECUTIVE", "Premium Apartment", 1996, 2004, 132, 0.8, 0.05),
    ("EXECUTIVE", "Adjoined flat", 1977, 1985, 163, 0.06, 0.05),
    ("EXECUTIVE", "Premium Maisonette", 1996, 2000, 150, 0.05, 0.1),
    ("MULTI-GENERATION", "Multi Generation", 1987, 1988, 164, 0.05, 0.05),
)


def resale_market(*, seed: int = 7) -> dict[str, list[list[str]]]:
    """Make the rows of the simulated market.

    The log price of a sale is the town's level + the model's premium + 0.85 · log(m² / 94) + 0.3 · log(share of the
    lease that remains) + 0.007 per three storeys + the market's level (`SHOCK`) + the block's and the sale's noise.

    Args:
        seed: The same seed gives the same rows.

    Returns:
        For each of `MONTHS`, its rows in the order of the published columns, every value as text.
    """
    import numpy as np  # noqa: PLC0415 - a declaration that names this module must not load it

    rng = np.random.default_rng(seed)
    stock = _stock(rng)
    months: dict[str, list[list[str]]] = {}
    next_id = 1
    for number, month in enumerate(MONTHS):
        sales = QUIET_SALES if month in QUIET_MONTHS else int(rng.integers(*SALES_PER_MONTH))
        rows = _with_dirt(_month_rows(rng, stock, number, sales), rng)
        months[month] = [[str(next_id + position), *row] for position, row in enumerate(rows)]
        next_id += len(rows)
    return months


def market_level(number: int) -> float:
    """The log of the market's price level in month `number` of `MONTHS`, against the level before the shock."""
    climbing = sum(SHOCK.first <= month <= SHOCK.last for month in MONTHS[: number + 1])
    return climbing * math.log1p(SHOCK.monthly_growth)


def simulate_resale_market(folder: Path, *, seed: int = 7) -> None:
    """Write the simulated market: one CSV file per month, and an `ORIGIN.json` that says that it is simulated.

    Args:
        folder: Where to write; made if it is not there.
        seed: The same seed gives the same files, byte for byte.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = write_months(folder, resale_market(seed=seed))
    write_origin(folder, "simulated", facts={"seed": seed, "shock": asdict(SHOCK)}, files=files)


def _stock(rng: np.random.Generator) -> Columns:
    """The blocks that exist, one kind of flat in each: an array per attribute, in the order of the published table."""
    import numpy as np  # noqa: PLC0415 - as above

    shares, prices = np.array(list(TOWNS.values())).T
    town = np.sort(rng.choice(len(TOWNS), BLOCKS, p=shares / shares.sum()))
    names = np.array(list(TOWNS), dtype=object)[town]
    flat_type, model, first, last, area, share, premium = (np.array(column) for column in zip(*KINDS, strict=True))
    # Each kind gets its share of the blocks exactly (at least one), so that no seed lacks a kind.
    count = np.maximum(1, (share / share.sum() * BLOCKS).astype(int))
    kind = rng.permutation(np.resize(np.repeat(np.arange(len(KINDS)), count), BLOCKS))
    street = [
        f"{name.split('/')[0]} {STREETS[way]} {number}"
        for name, way, number in zip(
            names, rng.integers(len(STREETS), size=BLOCKS), rng.integers(1, 12, BLOCKS), strict=True
        )
    ]
    lease_year = rng.integers(first[kind], last[kind] + 1)
    # Bands of three storeys: old blocks are low, recent ones high, and a few of those are towers.
    bands = np.where(lease_year < HIGH_RISE_SINCE, rng.integers(2, 6, BLOCKS), rng.integers(4, 9, BLOCKS))
    tower = (lease_year >= HIGH_RISE_SINCE) & (rng.random(BLOCKS) < TOWERS)
    return {
        "town": names,
        "flat_type": flat_type[kind],
        "block": rng.permutation(np.arange(1, BLOCKS + 1) % 999 + 1),
        "street_name": np.array(street, dtype=object),
        "floor_area_sqm": np.round(area[kind] * rng.normal(1.0, 0.04, BLOCKS)),
        "flat_model": model[kind],
        "lease_year": lease_year,
        # Months from January of FIRST_YEAR to the start of the lease; negative, as it began before.
        "lease_start": (lease_year - FIRST_YEAR) * 12 + rng.integers(12, size=BLOCKS),
        "bands": np.where(tower, rng.integers(9, 18, BLOCKS), bands),
        "log_price": np.log(prices[town] * 1_000) + premium[kind] + rng.normal(0, BLOCK_NOISE, BLOCKS),
    }


def _month_rows(rng: np.random.Generator, stock: Columns, number: int, sales: int) -> list[list[str]]:
    """The sales of one month, without `_id`, in the order of the stock."""
    import numpy as np  # noqa: PLC0415 - as above

    on_sale = np.flatnonzero(stock["lease_start"] + MONTHS_BEFORE_RESALE <= number)
    block = np.sort(rng.choice(on_sale, sales))
    area, lease_start = stock["floor_area_sqm"][block], stock["lease_start"][block]
    band = (rng.random(sales) * stock["bands"][block]).astype(int)
    lease = LEASE_MONTHS - (number - lease_start)
    log_price = (
        stock["log_price"][block]
        + 0.85 * np.log(area / 94)
        + 0.3 * np.log(lease / LEASE_MONTHS)
        + 0.007 * band
        + market_level(number)
        + rng.normal(0, SALE_NOISE, sales)
    )
    columns = (
        [MONTHS[number]] * sales,
        stock["town"][block].tolist(),
        stock["flat_type"][block].tolist(),
        stock["block"][block].astype(str).tolist(),
        stock["street_name"][block].tolist(),
        [f"{3 * level + 1:02d} TO {3 * level + 3:02d}" for level in band.tolist()],
        area.astype(str).tolist(),
        stock["flat_model"][block].tolist(),
        stock["lease_year"][block].astype(str).tolist(),
        [_lease_text(months) for months in lease.tolist()],
        (np.round(np.exp(log_price) / 1_000) * 1_000).astype(str).tolist(),
    )
    return [list(row) for row in zip(*columns, strict=True)]


def _with_dirt(rows: list[list[str]], rng: np.random.Generator) -> list[list[str]]:
    """The rows with a few repeated right after themselves, and a few values that do not parse."""
    dirty = []
    for row, chance in zip(rows, rng.random(len(rows)).tolist(), strict=True):
        dirty.append(row)
        if chance < DUPLICATES:
            dirty.append(row)
        elif chance > 1 - MALFORMED:
            column = str(rng.choice(list(MALFORMED_VALUES)))
            row[COLUMNS.index(column) - 1] = MALFORMED_VALUES[column]  # the rows have no _id yet
    return dirty


def _lease_text(months: int) -> str:
    """A remaining lease as the publisher writes it: `61 years 04 months`, `59 years 01 month`, `66 years`."""
    years, rest = divmod(months, 12)
    if rest == 0:
        return f"{years} years"
    return f"{years} years {rest:02d} month{'' if rest == 1 else 's'}"
