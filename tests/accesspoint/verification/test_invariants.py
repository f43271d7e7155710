"""A clean exchange is green, and for each invariant a corruption that breaks that one and no other."""

from accesspoint.verification import INVARIANTS, Verdict, compare


async def test_a_clean_exchange_holds_every_invariant(nodes):
    for node in nodes:
        report = await node.verify()
        report.check()
        assert report.held
        assert [result.name for result in report.results] == [one.name for one in INVARIANTS]
        for result in report.results:
            # What holds over nothing would hold over anything.
            if result.verdict is Verdict.HELD and result.name not in {"I8", "I14"}:
                assert result.checked > 0, result


async def test_nothing_is_lost_or_doubled_between_clean_stores(nodes):
    sender, receiver = nodes
    async with sender.open() as (there, _), receiver.open() as (here, _):
        comparison = await compare(there, here)
        comparison.check()
        assert comparison.sent == comparison.acknowledged == comparison.delivered == 6
        (await compare(here, there)).check()
