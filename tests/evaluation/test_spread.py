"""What chance moves: the scores of one training with several seeds."""

from heedful.evaluation.spread import spread, spread_table


def test_the_spread_of_seeds():
    runs = [{"test": [{"name": "accuracy", "value": number, "label": "right"}]} for number in (88, 90, 89)]
    (found,) = spread(runs)
    assert (found.mean, found.deviation, found.values) == (89, 1, (88, 90, 89))
    assert found.to_dict()["values"] == [88, 90, 89]
    assert spread_table([found]).row_count == 1
    assert spread([*runs, {}]) == []
    assert spread(runs[:1])[0].deviation is None
