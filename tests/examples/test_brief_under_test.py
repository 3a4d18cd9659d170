"""The documentation's applications, as they stand, in tests of a user's own."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.examples.shell import ROOT
from tests.support import servers
from tests.support.servers import Server
from tests.testing.outside import Project


@pytest.fixture
def project(tmp_path: Path, start_server: Callable[[int], Server]) -> Project:
    """A project with the two applications."""
    url = start_server(servers.newest_version()).url()
    project = Project(tmp_path, {"CURRANT_TEST_DATABASE_URL": url})
    for name in ("quickstart/app.py", "advanced/signals.py"):
        source = ROOT / "tests" / "examples" / name
        project.write(source.name, source.read_text())
    project.write(
        "pytest.ini",
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n",
    )
    return project


def test_applications_of_the_documentation(project: Project) -> None:
    project.write(
        "test_app.py",
        textwrap.dedent("""
            from app import charge_card, process_order, send_receipt

            ORDER = {"order_id": "o1", "amount": 5, "email": "a@example.com", "card_token": "tok"}

            def test_order_as_it_is(currant_worker):
                result = currant_worker.run_sync(process_order, **ORDER)
                assert result == {"order_id": "o1", "transaction_id": "txn_123"}
                (receipt,) = currant_worker.calls(send_receipt)
                assert receipt.arguments == {"email": "a@example.com", "amount": 5}

            async def test_order_with_another_card_company(currant_worker):
                async def charge(amount, card_token):
                    return {"transaction_id": f"t-{amount}"}

                with currant_worker.replace(charge_card, charge):
                    result = await currant_worker.run(process_order, **ORDER)
                assert result["transaction_id"] == "t-5"
        """),
    )
    project.write(
        "test_signals.py",
        textwrap.dedent("""
            import pytest
            from signals import approval_workflow, process_document
            from currant import ExecutionFailed, send_signal

            @pytest.mark.parametrize(
                ("decision", "status"), [(True, "approved"), (False, "rejected")]
            )
            async def test_decision_after_some_hours(currant_worker, decision, status):
                handle = await approval_workflow.queue("d1")
                await currant_worker.skip(23 * 3600)
                await send_signal(handle, "approved", {"approved": decision, "approver": "a"})
                assert await currant_worker.result(handle) == {"status": status}
                assert len(currant_worker.calls(process_document)) == decision

            async def test_nobody_decides(currant_worker):
                with pytest.raises(ExecutionFailed, match="TimeoutError"):
                    await currant_worker.run(approval_workflow, "d1")
        """),
    )

    assert project.pytest() == {"passed": 5}
