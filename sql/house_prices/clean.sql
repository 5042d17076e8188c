-- Rows as the publisher wrote them, made readable: one row out for every row in.
-- Nothing is cast with TRY_CAST and nothing is filtered: what does not read goes to the quarantine, with its reason.
SELECT
    month || '-01' AS month,
    trim(town) AS town,
    trim(flat_type) AS flat_type,
    trim(block) AS block,
    trim(street_name) AS street_name,
    storey_range,
    floor_area_sqm,
    trim(flat_model) AS flat_model,
    lease_commence_date AS lease_commence_year,
    -- "61 years 04 months", "61 years" or "1 year 1 month"; NULL where it reads otherwise.
    12 * CAST(nullif(regexp_extract(remaining_lease, '^(\d{1,2}) years?( \d{1,2} months?)?$', 1), '') AS INTEGER)
    + coalesce(CAST(nullif(regexp_extract(remaining_lease, ' (\d{1,2}) months?$', 1), '') AS INTEGER), 0)
        AS remaining_lease_months,
    resale_price,
    _partition,
    _source,
    _row
FROM raw
