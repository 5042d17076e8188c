-- Messages as they were sent, made readable: one row out for every row in.
SELECT
    lower(trim(label)) AS label,
    -- The collection went through a web page. &amp; comes last: `&amp;lt;` is the text `&lt;`, not `<`.
    trim(replace(replace(replace(message, '&lt;', '<'), '&gt;', '>'), '&amp;', '&')) AS message,
    _partition,
    _source,
    _row
FROM raw
