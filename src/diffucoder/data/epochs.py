"""Endless readings in which every epoch has an order of its own."""

from collections.abc import Callable, Iterable

# From an item's place in an epoch's order to the item's number.
Order = Callable[[int], int]


def shuffled_epochs(
    length: int, positions: Iterable[int], order_of: Callable[[int], Order]
) -> list[int]:
    """The item at each position of an endless shuffled reading.

    Positions `e * length` to `(e + 1) * length - 1` are epoch e and hold every item once, so
    that a reading can start at any position.

    Args:
        length: Items of an epoch.
        positions: Positions to read, from 0.
        order_of: The order of an epoch, from the epoch's number alone; it is asked for once per
            epoch that `positions` touch.

    Returns:
        The number of each item, from 0 to `length` - 1.
    """
    orders: dict[int, Order] = {}
    items = []
    for position in positions:
        epoch, place = divmod(position, length)
        if epoch not in orders:
            orders[epoch] = order_of(epoch)
        items.append(orders[epoch](place))
    return items
