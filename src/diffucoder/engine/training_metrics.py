"""Schema of the table of metrics that a training stage leaves."""

import pandera.pandas as pa
from pandera.typing import Series


class TrainingMetrics(pa.DataFrameModel):
    """Metrics of a training stage, one number per row; steps count from 1."""

    step: Series[int] = pa.Field(ge=0)
    name: Series[str] = pa.Field(str_length={"min_value": 1})
    value: Series[float]

    class Config(pa.DataFrameModel.Config):
        """What a table must keep to."""

        strict = True
        # A stage that trains nothing writes an empty table, whose columns have no type.
        coerce = True
