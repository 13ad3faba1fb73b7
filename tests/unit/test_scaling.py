from benchmarks.scaling import Costs, read_costs


def test_other_chats_can_be_calculated_from_the_costs_in_the_document() -> None:
    costs = read_costs()
    assert isinstance(costs, Costs) and costs.delivery > 0
