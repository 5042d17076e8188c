"""What a row of the departures from Seattle and Portland must be (US BTS, on-time performance, 2014)."""

from datetime import date, datetime

import pandera.polars as pa  # noqa: TID253 - a schema is imported when rows are judged, never when the graph is loaded


class Flight(pa.DataFrameModel):
    """One scheduled departure. What a cancelled or diverted flight never had is missing."""

    date: date = pa.Field(description="Scheduled day of departure, local time.")
    scheduled_departure: datetime = pa.Field(
        nullable=True, description="Local time; unknown of a cancelled flight, whose delay is not told."
    )
    carrier: str = pa.Field(str_matches=r"^[A-Z0-9]{2}$", description="Airline, IATA code.")
    flight: int = pa.Field(ge=1, le=9999, description="Number of the flight.")
    tailnum: str = pa.Field(nullable=True, description="Registration of the aircraft.")
    origin: str = pa.Field(isin=["PDX", "SEA"], description="Airport of departure.")
    dest: str = pa.Field(str_matches=r"^[A-Z]{3}$", description="Airport of arrival.")
    distance: float = pa.Field(gt=0, le=6000, description="Miles.")
    dep_time: int = pa.Field(nullable=True, ge=1, le=2400, description="Departure, local hours and minutes: 517, 2400.")
    dep_delay: float = pa.Field(nullable=True, ge=-120, le=3000, description="Minutes after the schedule.")
    arr_time: int = pa.Field(nullable=True, ge=1, le=2400, description="Arrival, local hours and minutes.")
    arr_delay: float = pa.Field(nullable=True, ge=-180, le=3000, description="Minutes after the schedule.")
    air_time: float = pa.Field(nullable=True, gt=0, le=1000, description="Minutes in the air.")

    class Config:
        """A flight number departs once a day on one leg."""

        unique = ["date", "carrier", "flight", "origin", "dest"]  # noqa: RUF012 - as pandera reads it
