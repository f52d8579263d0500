"""Numbers for strings: those of saved models must stay what they are."""

from heedful.text.hashing import BUCKETS, bucket


def test_the_number_of_a_string_is_the_same_everywhere_and_always():
    assert BUCKETS == 65536
    assert bucket("123456789") == 0xCBF43926 % 65536  # CRC-32's published check value
    assert 0 <= bucket("\ud800") < BUCKETS  # JSON may hold half of a character
