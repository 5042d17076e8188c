SELECT _partition, _source, _row, quantity, weight, unit_price FROM validated
