"""Another part stands in the package's place inside the block, wherever it is looked up, and nowhere after it."""

import itertools

import pytest

from wm_tutorial import actor_critic, kl, parts, returns, world_model
from wm_tutorial.data import Trajectory
from wm_tutorial.parts import Replacement, any_replaced, replaced


class Base:
    def speak(self) -> str:
        return "own"


class Child(Base):
    pass


def test_a_function_is_replaced_in_every_module_that_imported_it() -> None:
    own = kl.balanced_kl
    with replaced(Replacement(kl, "balanced_kl", len)):
        assert kl.balanced_kl is world_model.balanced_kl is len
        assert any_replaced()
    assert kl.balanced_kl is world_model.balanced_kl is own
    assert not any_replaced()


def test_a_function_of_the_same_name_that_is_another_one_is_left_alone() -> None:
    from wm_tutorial import check

    theirs = check.lambda_returns
    with replaced(Replacement(returns, "lambda_returns", len)):
        assert actor_critic.lambda_returns is len and check.lambda_returns is theirs


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_blocks_may_end_in_any_order_and_the_newest_left_is_used(order: tuple[int, ...]) -> None:
    own, new = Trajectory.weight, [lambda *_, i=i: i for i in range(3)]
    blocks = [replaced(Replacement(Trajectory, "weight", part)) for part in new]
    for block in blocks:
        block.__enter__()
    left = list(range(3))
    for i in order:
        assert Trajectory.weight is new[left[-1]]
        blocks[i].__exit__(None, None, None)
        left.remove(i)
    assert Trajectory.weight is own and not any_replaced()


def test_a_part_may_stand_in_one_place_twice() -> None:
    outer, inner = (replaced(Replacement(Base, "speak", len)) for _ in range(2))
    own = Base.speak
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert Base.speak is len
    inner.__exit__(None, None, None)
    assert Base.speak is own


def test_what_a_class_inherits_is_inherited_again_afterwards() -> None:
    with replaced(Replacement(Child, "speak", lambda self: "another")):
        assert (Child().speak(), Base().speak()) == ("another", "own")
    assert Child().speak() == "own" and "speak" not in vars(Child)


def test_properties_and_class_methods_come_back_as_what_they_were() -> None:
    from wm_tutorial.config import Config
    from wm_tutorial.latents import OneHot

    before = vars(Config)["imagined_discount"], vars(OneHot)["mixed"]
    wrong = Replacement(Config, "imagined_discount", property(lambda _: 7.0)), Replacement(OneHot, "mixed", len)
    with replaced(*wrong):
        assert Config().imagined_discount == 7.0 and OneHot.mixed is len
    assert (vars(Config)["imagined_discount"], vars(OneHot)["mixed"]) == before


def test_a_block_that_cannot_begin_leaves_nothing_behind() -> None:
    own = kl.balanced_kl
    with pytest.raises(AttributeError), replaced(Replacement(kl, "balanced_kl", len), Replacement(kl, "nothing", len)):
        raise AssertionError("the block must not be entered")
    assert kl.balanced_kl is own and not any_replaced() and not parts._places
