"""TIM: times in messages, and clocks that are wrong."""

from typing import Final

from tests.hostile.cases import Case

CASES: Final = (
    Case("TIM-01", "A Timestamp created six minutes from now", "G6", "ts.future", "EBMS:0101"),
    Case(
        "TIM-02",
        "A Timestamp that has expired",
        "G6",
        "ts.expired",
        "EBMS:0101",
        "for two days after its creation an expired one is taken: repetitions carry the first one",
    ),
    Case("TIM-03", "A Timestamp that expires before it is created", "G6", "ts.order", "EBMS:0101"),
    Case(
        "TIM-04",
        "Times without a zone, with a leap second, with nine decimals, in year 9999, in a negative year",
        "G5",
        "ts.form",
        "EBMS:0009",
        "in the Timestamp of the Security header; year 9999 is a form like any other and ends as ts.future. "
        "The header's own Timestamp may lack the zone and have any number of decimals, as products write it",
    ),
    Case("TIM-05", "Two Timestamps", "G5", "sec.schema", "EBMS:0101"),
    Case(
        "TIM-06",
        "The clock of the node is set by an hour while a message comes in",
        expected="accepted when its times fit the clock at either end of the request",
    ),
    Case(
        "TIM-07",
        "A certificate runs out while its message comes in",
        expected="judged at the instant at which the request arrived, and at no other",
    ),
)
