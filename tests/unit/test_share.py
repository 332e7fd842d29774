"""Water-filling by weight."""

from memtide.policy.share import Claim, fill


def claims(**caps_and_weights: tuple[int, float]) -> dict[str, Claim]:
    """Return claims from caps and weights."""
    return {key: Claim(cap_bytes=cap, weight=weight) for key, (cap, weight) in caps_and_weights.items()}


def test_a_heavier_claim_gets_more_in_proportion() -> None:
    """Weight 3 gets three times what weight 1 gets when neither is at its cap."""
    assert fill(400, claims(a=(1000, 1), b=(1000, 3))) == {"a": 100, "b": 300}


def test_what_a_full_claim_leaves_is_shared_on() -> None:
    """Whoever reaches its cap drops out and the rest go on sharing."""
    assert fill(400, claims(a=(50, 1), b=(1000, 1), c=(1000, 1))) == {"a": 50, "b": 175, "c": 175}


def test_more_than_all_caps_fills_every_cap() -> None:
    """No claim gets more than its cap, however much there is."""
    assert fill(9999, claims(a=(50, 1), b=(10, 7))) == {"a": 50, "b": 10}


def test_nothing_and_less_than_nothing_share_alike() -> None:
    """A negative amount is no amount."""
    assert fill(-5, claims(a=(50, 1))) == {"a": 0}
    assert fill(5, {}) == {}


def test_a_heavy_claim_that_is_served_first_does_not_lower_the_next() -> None:
    """Whoever is served later shares what is left by the weights that are left, whatever the first one weighed."""
    claims = {
        "heavy": Claim(cap_bytes=53, weight=53.0),
        "a": Claim(cap_bytes=900, weight=6.0),
        "b": Claim(cap_bytes=900, weight=3.0),
    }

    assert fill(353, claims) == {"heavy": 53, "a": 200, "b": 100}
