"""Segment's client for browsers, in a page of another origin; its settings come from the proxy."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.clients.conftest import CALLS, KEY, SOURCE, Stage
from tests.clients.installed import needs_node, node
from tests.end_to_end.processes import Sink, running, write_config

pytestmark = needs_node

NEW, OLD = "@segment/analytics-next", "analytics-next-1.53"
SETTINGS = f"/v1/projects/{KEY}/settings"


async def page(stage: Stage, url: str, package: str, strategy: str) -> None:
    """A page that makes all the calls, sees no error, and loses none of them."""
    # The old one accepts screen calls, and sends none of them.
    calls = [call for call in CALLS if package == NEW or call["type"] != "screen"]
    report = await node(
        "browser.js", url=url, key=KEY, calls=calls, package=package, strategy=strategy
    )
    assert report.errors == []
    loaded, *sent = (each["path"] for each in report.requests)
    assert loaded == SETTINGS
    single = {f"/v1/{call['type'][0]}" for call in calls}
    assert set(sent) == ({"/v1/b"} if strategy == "batching" else single)
    await stage.has_all(calls)


@pytest.mark.parametrize(
    ("package", "strategy"), [(NEW, "standard"), (NEW, "batching"), (OLD, "standard")]
)
async def test_a_page_sees_no_error_and_nothing_it_sent_is_missing(
    package: str, strategy: str, stage: Stage
) -> None:
    await page(stage, stage.proxy.url, package, strategy)


async def test_the_same_over_tls(
    tmp_path: Path, kochava: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one batches over https whatever its settings say."""
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "server.pem"
    )
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(tmp_path / "authority.pem"))
    server = {"port": 0, "tls_certificate": "server.pem", "tls_key": "server.pem"}
    config = write_config(tmp_path, kochava.url, sources=[SOURCE], server=server)
    async with running(config) as proxy:
        url = f"https://localhost:{proxy.port}"
        await page(Stage(proxy, kochava), url, OLD, "batching")


async def test_a_page_with_an_unknown_key_does_not_start(stage: Stage) -> None:
    report = await node(
        "browser.js", url=stage.proxy.url, key="wk_unknown", calls=CALLS[:1], package=NEW,
        strategy="standard",
    )  # fmt: skip
    assert report.errors
    assert (await stage.ledger())["received"] == 0
