-- What is known of a flight at its scheduled departure, and whether it then arrived more than 15 minutes late.
-- dep_time, dep_delay, arr_time, air_time and arr_delay are known only later: of these none is a feature, and the
-- target alone is made from arr_delay.
WITH observed AS (
    SELECT
        origin,
        -- In UTC, though nothing says so: it is warmest at 22:30, which is 15:00 in Seattle. And the file tells the hour
        -- of an observation, not its minute: 10:00 may have been observed at 10:59, so it is known when its hour has ended.
        CAST(date AS TIMESTAMP) + INTERVAL 1 HOUR AS known_at,
        -- `NA` is missing.
        TRY_CAST(temp AS DOUBLE) AS temperature,
        TRY_CAST(humid AS DOUBLE) AS humidity,
        TRY_CAST(wind_speed AS DOUBLE) AS wind_speed,
        TRY_CAST(precip AS DOUBLE) AS precipitation,
        TRY_CAST(pressure AS DOUBLE) AS pressure,
        TRY_CAST(visib AS DOUBLE) AS visibility
    FROM weather
),

scheduled AS (
    SELECT
        *,
        scheduled_departure AT TIME ZONE 'America/Los_Angeles' AT TIME ZONE 'UTC' AS departure
    FROM validated
)

SELECT
    flight._partition,
    flight._source,
    flight._row,
    flight.date,
    flight.carrier,
    flight.origin,
    flight.dest,
    flight.distance,
    dayofweek(flight.date) AS weekday,
    hour(flight.scheduled_departure) + minute(flight.scheduled_departure) / 60 AS hour,
    observed.temperature,
    observed.humidity,
    observed.wind_speed,
    observed.precipitation,
    observed.pressure,
    observed.visibility,
    -- Hours; never negative. Gaps in the observations make the last one old.
    date_diff('minute', observed.known_at, flight.departure) / 60 AS weather_age,
    flight.arr_delay > 15 AS late
FROM scheduled AS flight
-- For each flight the newest observation that was known by then, and none that came later.
ASOF LEFT JOIN observed
    ON flight.origin = observed.origin AND flight.departure >= observed.known_at
-- A flight that was cancelled or diverted has no arrival to be late: nothing to learn from it and nothing to be judged
-- by. It stays in `validated`.
WHERE flight.arr_delay IS NOT NULL
