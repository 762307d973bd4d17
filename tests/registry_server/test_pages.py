"""What the pages say, to whom, and under which policy; without a browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petapter_registry_server.services import modules, showing
from petapter_registry_server.services.accounts import TokenLimits
from petapter_registry_server.services.revisions import resolve_revision
from petapter_registry_server.settings import Settings
from tests.registry_server.browser_caller import Browser, text_of
from tests.registry_server.conftest import Caller, Registry, running
from tests.registry_server.page_modules import PageModule, fill, publish
from tests.registry_server.varied_modules import Varied


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Caller]]:
    with running(Settings(data=tmp_path_factory.mktemp("pages") / "data")) as registry:
        yield registry, fill(registry)


@pytest.fixture
def anonymous(filled: tuple[Registry, Caller]) -> Browser:
    return Browser.of(filled[0], None)


@pytest.fixture
def ada(filled: tuple[Registry, Caller]) -> Browser:
    return Browser.of(filled[0], filled[1].token)


@pytest.fixture
def admin(filled: tuple[Registry, Caller]) -> Browser:
    return Browser.of(filled[0], filled[0].admin_token)


def names(answer: Any) -> list[str]:
    return re.findall(r'<h3><a href="/([^"]+)">', answer.text)


def test_first_page_lists_modules_with_their_figures(anonymous: Browser) -> None:
    answer = anonymous.get("/")
    assert set(names(answer)) == {"team/tickets", "team/tickets-de", "team/toxicity", "team/spam"}
    said = text_of(answer)
    assert "macro_f1 0.780 (0.680 to 0.880) on tickets-2024, n 20" in said
    assert "4 modules" in said


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("text=ticket", {"team/tickets", "team/tickets-de"}),
        ("label=Toxic", {"team/toxicity"}),
        ("language=de", {"team/tickets-de", "team/toxicity"}),
        ("backbone=xlm-roberta-base", {"team/spam"}),
        ("where=macro_f1%3E%3D0.7", {"team/tickets"}),
        ("text=&label=spam&where=", {"team/spam"}),  # as a form with empty fields sends it
        ("text=nothing-like-it", set()),
    ],
)
def test_search_page_finds_what_the_api_finds(filled: tuple[Registry, Caller], query: str, found: set[str]) -> None:
    answer = Browser.of(filled[0], None).get(f"/?{query}")
    kept = "&".join(pair for pair in query.split("&") if not pair.endswith("="))
    api = filled[0].anonymous.get(f"/api/petapter/v1/modules?{kept}").json()
    assert set(names(answer)) == found == {module["id"] for module in api["modules"]}


def test_every_facet_leads_to_as_many_modules_as_it_says(anonymous: Browser) -> None:
    page = anonymous.get("/").text
    links = re.findall(r'<li><a href="(/\?[^"]+)" hx-boost="true">[^<]*</a> <span class="count">(\d+)</span>', page)
    assert {link.partition("=")[0] for link, _ in links} == {
        "/?task", "/?label", "/?language", "/?backbone", "/?adapter", "/?status", "/?where",
    }  # fmt: skip
    for link, count in links:
        assert len(names(anonymous.get(link.replace("&amp;", "&")))) == int(count), link


def test_what_is_chosen_can_be_taken_away_one_by_one(anonymous: Browser) -> None:
    page = anonymous.get("/?language=de&label=toxic").text
    chosen = re.findall(r'<li><a href="([^"]+)" hx-boost="true"><span aria-hidden="true">', page)
    assert chosen == ["/?label=toxic", "/?language=de"]


def test_pages_follow_each_other_by_the_cursor(anonymous: Browser) -> None:
    seen, path = [], "/?sort=name&limit=2"
    while path:
        answer = anonymous.get(path)
        seen += names(answer)
        found = re.search(r'href="([^"]+)" hx-boost="true" rel="next"', answer.text)
        path = found[1].replace("&amp;", "&") if found else ""
    assert seen == ["team/spam", "team/tickets", "team/tickets-de", "team/toxicity"]


def test_htmx_gets_the_results_alone(anonymous: Browser) -> None:
    part = anonymous.get("/?label=spam", headers={"HX-Request": "true"})
    assert names(part) == ["team/spam"]
    assert "<html" not in part.text
    again = anonymous.get("/?label=spam", headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert "<html" in again.text


def test_page_lets_nothing_run_but_its_own_scripts(anonymous: Browser) -> None:
    one, other = anonymous.get("/"), anonymous.get("/")
    policy = one.headers["content-security-policy"]
    nonce = re.search(r"'nonce-([^']+)'", policy)
    assert nonce is not None
    assert policy == (
        f"default-src 'none'; script-src 'nonce-{nonce[1]}'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert re.findall(r"<script[^>]*>", one.text) == re.findall(rf'<script[^>]* nonce="{nonce[1]}"[^>]*>', one.text)
    assert other.headers["content-security-policy"] != policy
    assert " style=" not in one.text
    assert " onclick" not in one.text


def test_answers_of_the_api_carry_no_policy_of_pages(filled: tuple[Registry, Caller]) -> None:
    answer = filled[0].anonymous.get("/api/petapter/v1/modules")
    assert "content-security-policy" not in answer.headers


def test_static_files_have_the_hash_of_their_content_and_stay(anonymous: Browser) -> None:
    for address in re.findall(r'(?:href|src)="(/static/[^"]+)"', anonymous.get("/").text):
        assert re.search(r"\.[0-9a-f]{12}\.(css|js|svg)$", address)
        answer = anonymous.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert anonymous.get("/static/pages.000000000000.css").status_code == 404
    assert anonymous.get("/static/..%2Fpages.css").status_code == 404


def test_vendored_htmx_is_the_file_that_npm_has() -> None:
    from petapter_schemas.digests import sha256_bytes

    folder = Path("registry_server/petapter_registry_server/web/static")
    digest = sha256_bytes((folder / "htmx-2.0.10.min.js").read_bytes())
    assert digest == "71ea67185bfa8c98c39d31717c6fce5d852370fcdfd129db4543774d3145c0de"
    assert digest in Path("NOTICE").read_text(encoding="utf-8")
    assert "Zero-Clause BSD" in (folder / "htmx-2.0.10.LICENSE").read_text(encoding="utf-8")


def test_module_page_fills_the_pattern_with_a_probe_text(anonymous: Browser) -> None:
    said = text_of(anonymous.get("/team/tickets"))
    assert "The update fixed everything, thank you! It was great ." in said
    assert "“great” in the gap is the label very good ." in said
    assert "{text} It was {mask}." in said


def test_module_page_shows_figures_with_intervals_and_the_plot_as_a_table_too(anonymous: Browser) -> None:
    answer = anonymous.get("/team/tickets")
    said = text_of(answer)
    assert "macro_f1 0.780 0.680 to 0.880 (95 %)" in said
    assert "Reliability on tickets-2024 (test, n 20), calibration error 0.060" in said
    assert "Mean confidence Share right 0.520 0.450 0.610 0.580" in said
    assert "<title>Reliability</title>" in answer.text


def test_module_page_shows_every_plot_of_the_card_with_a_table_of_its_numbers(anonymous: Browser) -> None:
    answer = anonymous.get("/team/tickets")
    said = text_of(answer)
    titles = re.findall(r'<svg [^>]*role="img"[^>]*>\s*<title>([^<]*)</title>\s*<desc>[^<]+</desc>', answer.text)
    assert titles == ["Confusion matrix", "F1 of each label", "Reliability", "Learning curve"]
    assert "Label, given: very good poor very good 8 2 poor 2 8" in said
    assert "Label F1 very good 0.800 poor 0.800" in said
    assert "Step Loss 1 0.61 2 0.498" in said
    assert ' style="' not in answer.text


def test_plots_that_a_module_has_not_are_left_out(anonymous: Browser) -> None:
    assert '<figure class="plot">' not in anonymous.get("/team/spam").text


def test_plots_of_a_gated_module_are_for_those_who_get_its_files(filled: tuple[Registry, Caller]) -> None:
    registry, ada = filled
    assert ada.create("team/gated").status_code == 200
    publish(ada, "team/gated", "1.0.0", PageModule(Varied(fill=0.4)).files())
    ada.call("PUT", "/api/models/team/gated/settings", json={"gated": "manual"})
    closed = Browser.of(registry, None).get("/team/gated")
    assert "Confusion matrix" not in closed.text
    assert "Confusion matrix" in Browser.of(registry, ada.token).get("/team/gated").text
    ada.delete("team/gated")


def test_names_of_labels_in_plots_are_texts(filled: tuple[Registry, Caller]) -> None:
    registry, ada = filled
    assert ada.create("team/nasty").status_code == 200
    varied = Varied(labels=("</text><script>alert(1)</script>", "a\"b'c&d"), fill=0.6)
    publish(ada, "team/nasty", "1.0.0", PageModule(varied).files())
    page = Browser.of(registry, None).get("/team/nasty").text
    assert "<script>alert" not in page
    assert "&lt;/text&gt;&lt;script" in page
    ada.delete("team/nasty")


def test_page_of_a_module_resolves_its_revision_once(
    filled: tuple[Registry, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a page is of one commit and one moment."""
    resolved: list[str] = []

    def resolve(session: Any, repository: Any, revision: str) -> Any:
        resolved.append(revision)
        return resolve_revision(session, repository, revision)

    for service in (modules, showing):
        monkeypatch.setattr(service, "resolve_revision", resolve)
    assert Browser.of(filled[0], None).get("/team/tickets").status_code == 200
    assert resolved == ["v1.1.0"]


def test_module_page_names_every_file_with_its_digest(filled: tuple[Registry, Caller], anonymous: Browser) -> None:
    page = anonymous.get("/team/tickets").text
    for entry in filled[0].anonymous.get("/api/models/team/tickets/tree/v1.1.0").json():
        assert f"/resolve/{filled[0].anonymous.head('team/tickets')}/{entry['path']}" in page


def test_module_page_says_how_to_pull_this_version(anonymous: Browser) -> None:
    said = text_of(anonymous.get("/team/tickets?revision=v1.0.0"))
    assert "petapter pull lab:team/tickets@v1.0.0" in said
    assert "HF_ENDPOINT=http://registry.test hf download team/tickets --revision v1.0.0" in said
    assert "The latest version is 1.1.0" in said


def test_lineage_leads_to_parent_and_child(anonymous: Browser) -> None:
    assert 'href="/team/tickets-de?revision=v1.0.0"' in anonymous.get("/team/tickets").text
    assert 'href="/team/tickets?revision=v1.1.0"' in anonymous.get("/team/tickets-de").text


def test_comparison_shows_figures_side_by_side(anonymous: Browser) -> None:
    said = text_of(anonymous.get("/team/tickets/compare?from=v1.0.0&to=v1.1.0"))
    assert "macro_f1 tickets-2024 aaaaaaaa 0.710 0.780 +0.070" in said
    assert "version &#34;1.0.0&#34; &#34;1.1.0&#34;" in said
    assert said == text_of(anonymous.get("/team/tickets/compare"))  # the last two unless named


def test_page_of_a_user_and_of_an_organisation(anonymous: Browser, ada: Browser) -> None:
    assert names(anonymous.get("/team")) == ["team/spam", "team/tickets", "team/tickets-de", "team/toxicity"]
    assert "members and roles" not in anonymous.get("/team").text
    assert "members and roles" in ada.get("/team").text
    assert "belongs to team" in text_of(ada.get("/ada"))


def test_namespace_of_which_one_may_see_nothing_does_not_exist(anonymous: Browser, ada: Browser) -> None:
    assert anonymous.get("/grace").status_code == 404  # a user without modules
    assert anonymous.get("/nobody").status_code == 404
    assert ada.get("/grace").text.count("grace") == ada.get("/nobody").text.count("nobody")


def test_private_module_does_not_exist_for_strangers(filled: tuple[Registry, Caller], anonymous: Browser) -> None:
    registry, ada = filled
    ada.create("team/secret", private=True)
    assert anonymous.get("/team/secret").status_code == 401
    assert Browser.of(registry, registry.caller("grace").token).get("/team/secret").status_code == 404
    assert Browser.of(registry, ada.token).get("/team/secret").status_code == 200
    assert "secret" not in anonymous.get("/team").text


def test_audit_and_operations_are_for_admins_of_the_registry(ada: Browser, admin: Browser) -> None:
    for path in ("/web/audit", "/web/operations"):
        refused = ada.get(path)
        assert refused.status_code == 403
        assert "only an admin of this registry may do that" in text_of(refused)
        assert admin.get(path).status_code == 200
    assert "version.publish" in admin.get("/web/audit").text
    said = text_of(admin.get("/web/operations"))
    ((versions,),) = admin.registry.rows("SELECT count(*) FROM module_versions")
    assert f"Versions {versions} 0 yanked" in said
    for words in ("Nothing waits to be deleted.", "No scrub is under way.", "No damage is known.", "Webhooks There is"):
        assert words in said
    assert "Requests to this process" in said


def test_audit_pages_begin_at_the_newest_row(filled: tuple[Registry, Caller], admin: Browser) -> None:
    rows = [int(row) for row in re.findall(r'<th scope="row">(\d+)</th>', admin.get("/web/audit?before=5").text)]
    assert rows == [4, 3, 2, 1]


def test_what_a_token_may_not_do_has_no_button(filled: tuple[Registry, Caller]) -> None:
    issue = filled[0].app.state.services.accounts.issue_token
    reader = Browser.of(filled[0], issue("ada", "write", TokenLimits(scope="read")).secret)
    assert "Yank" not in text_of(reader.get("/team/tickets"))
    assert "Create the token" not in text_of(reader.get("/web/tokens"))
    assert "Yank" in text_of(Browser.of(filled[0], filled[1].token).get("/team/tickets"))
