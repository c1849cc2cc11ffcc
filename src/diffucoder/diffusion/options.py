"""Options of the diffusion loss."""

from typing import Annotated, Literal

from pydantic import Field

from diffucoder.config.base import Params


class InverseTimeWeighting(Params):
    """Each masked position weighs 1/t: the negative evidence lower bound (LLaDA, MDLM).

    Attributes:
        kind: names this weighting.
    """

    kind: Literal["inverse_t"]


class CartWeighting(Params):
    """A masked position near visible tokens weighs more (CART of Dream).

    Attributes:
        kind: names this weighting.
        cart_p: parameter of the geometric distribution over distances.
    """

    kind: Literal["cart"]
    cart_p: float = Field(default=0.1, gt=0, lt=1)  # (Dream)


Weighting = Annotated[InverseTimeWeighting | CartWeighting, Field(discriminator="kind")]
