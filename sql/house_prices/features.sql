-- What is known of a flat when it is put up for sale, and what it then sold for.
SELECT
    _partition,
    _source,
    _row,
    month,
    town,
    flat_type,
    flat_model,
    floor_area_sqm,
    -- "10 TO 12" is the eleventh storey.
    (CAST(left(storey_range, 2) AS DOUBLE) + CAST(right(storey_range, 2) AS DOUBLE)) / 2 AS storey,
    lease_commence_year,
    remaining_lease_months,
    resale_price
FROM validated
