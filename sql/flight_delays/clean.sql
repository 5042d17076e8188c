-- Departures as the bureau wrote them, made readable: one row out for every row in.
-- Nothing is filtered, and what the schema holds is not cast here: what does not read goes to the quarantine.
SELECT
    year || '-' || lpad(month, 2, '0') || '-' || lpad(day, 2, '0') AS date,
    -- The file tells when a flight left and how late that was, so the schedule is their difference. This is no leakage:
    -- the schedule is public long before, and the difference says nothing of the delay.
    -- `date` is the scheduled day. A flight that left at 00:01, 96 minutes late, was scheduled for 22:25 of that day,
    -- and one that left at 23:58, 7 minutes early, for 00:05: hence modulo the minutes of a day. 2400 is midnight.
    TRY_CAST(year || '-' || month || '-' || day AS DATE) + to_minutes(CAST(
        (
            TRY_CAST(dep_time AS INTEGER) // 100 * 60 + TRY_CAST(dep_time AS INTEGER) % 100
            - TRY_CAST(dep_delay AS INTEGER) + 3 * 1440
        ) % 1440
    AS INTEGER)) AS scheduled_departure,
    carrier,
    flight,
    tailnum,
    origin,
    dest,
    distance,
    dep_time,
    dep_delay,
    arr_time,
    arr_delay,
    air_time,
    _partition,
    _source,
    _row
FROM raw
