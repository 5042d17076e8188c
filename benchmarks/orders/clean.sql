SELECT
    order_id, day, customer, country, category, quantity, unit_price, discount, weight, express, rating, note,
    _partition, _source, _row
FROM raw
