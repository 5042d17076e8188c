-- What is known of a message when it arrives, and what people said of it.
SELECT
    _partition,
    _source,
    _row,
    -- In lower case, without punctuation; every long number is one word, for no telephone number comes twice.
    -- `training.text` reads it word by word, and `training.stop_words` may drop the common ones.
    trim(regexp_replace(
        regexp_replace(lower(message), '[0-9]{5,}', ' longnumber ', 'g'),
        '[^\p{L}\p{N}£$€]+', ' ', 'g'
    )) AS words,
    -- What the words no longer tell.
    length(message) AS length,
    length(regexp_replace(message, '[^0-9]', '', 'g')) AS digits,
    length(regexp_replace(message, '[^A-Z]', '', 'g')) / length(message) AS share_of_capitals,
    regexp_matches(message, '[£$€]') AS names_money,
    label
FROM validated
