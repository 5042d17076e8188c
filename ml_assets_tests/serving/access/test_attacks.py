"""What does not get through: keys, paths, headers, forms, and what stands in names."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyed_site import Server

from ml_assets.serving.access import record
from ml_assets.serving.access.forms import local_path
from ml_assets.serving.access.keys import revoke_key
from ml_assets.serving.access.shield import HEADERS
from ml_assets.serving.access.table import TABLE, demand_of

if TYPE_CHECKING:
    import httpx

ACT = "/projects/houses/rollback"
MARKUP = "<script>alert(1)</script>"


def is_plain(answer: httpx.Response) -> bool:
    """Whether an answer tells nothing of the inside."""
    return not re.search(r"Traceback|File \"|ml_assets/|sqlite|\.py\b", answer.text)


# ------------------------------------------------------------------------------------------------------------- keys


def revoked(server: Server) -> str:
    token = server.key("look", "decide")
    revoke_key(server.store, token[4:12])
    return token


KEYS: dict[str, Any] = {
    "none": lambda _: {},
    "wrong secret": lambda server: {"authorization": f"Bearer {server.key('look')[:-4]}AAAA"},
    "unknown id": lambda server: {"authorization": f"Bearer mla_00000000_{server.key('look')[13:]}"},
    "revoked": lambda server: {"authorization": f"Bearer {revoked(server)}"},
    "expired": lambda server: {"authorization": f"Bearer {server.key('look', expires=time.time() - 1)}"},
    "no scheme": lambda server: {"authorization": server.key("look")},
    "other scheme": lambda server: {"authorization": f"Basic {server.key('look')}"},
    "empty": lambda _: {"authorization": ""},
    "only a scheme": lambda _: {"authorization": "Bearer"},
    "very long": lambda _: {"authorization": "Bearer " + "A" * 100_000},
    "not ASCII": lambda _: {"authorization": "Bearer mla_é".encode("latin-1")},
    "SQL": lambda _: {"authorization": "Bearer mla_' OR 1=1 --_x"},
    "as a cookie": lambda server: {"cookie": f"ml_assets_session={server.key('look')}"},
    "a cookie of nobody": lambda _: {"cookie": "ml_assets_session=" + "A" * 43},
    "a broken cookie": lambda _: {"cookie": ";;=;ml_assets_session;=x"},
    "in the query": lambda _: {},
}


@pytest.mark.parametrize("how", KEYS)
def test_what_is_no_key_opens_nothing_and_says_so_the_same_way(server: Server, how: str) -> None:
    headers = KEYS[how](server)
    server.key("look")  # from now on keys are demanded
    path = f"/projects/houses?key={server.key('look')}" if how == "in the query" else "/projects/houses"
    answer = server.ask(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="ml-assets"')
    assert is_plain(answer)
    if "authorization" in headers:
        assert answer.json()["error"].startswith(
            "this key opens nothing: it is none, it was revoked, or it has expired"
        )
    assert server.ask("/healthz", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("scopes", "method", "path", "status"),
    [
        (["look"], "GET", "/projects/houses", 200),
        (["look"], "GET", "/projects/boats", 403),
        (["look"], "GET", "/projects/nobody", 403),
        (["look"], "GET", "/projects", 404),
        (["look"], "GET", "/", 200),
        (["look"], "GET", "/auth/dagster", 403),
        (["look"], "GET", "/ledger", 200),
        (["look"], "POST", "/predict/houses", 403),
        (["look"], "GET", "/try/houses", 403),
        (["look"], "POST", ACT, 403),
        (["predict"], "GET", "/", 403),
        (["predict"], "GET", "/projects/houses", 403),
        (["predict"], "GET", "/metrics", 403),
        (["look"], "GET", "/metrics", 403),
        (["predict"], "POST", "/predict/boats", 403),
        (["predict"], "POST", "/try/boats", 403),
        (["predict"], "POST", ACT, 403),
        (["decide"], "GET", "/projects/houses", 200),
        (["decide"], "POST", "/predict/houses", 403),
        (["decide"], "POST", "/projects/boats/rollback", 403),
        (["decide"], "DELETE", "/projects/boats", 403),
        (["decide"], "POST", "/projects", 404),
        (["decide"], "POST", "/", 404),
        (["decide"], "GET", "/nowhere", 404),
        (["decide"], "GET", "/openapi.json.bak", 404),
    ],
)  # fmt: skip
def test_a_key_of_one_project_opens_what_its_scopes_say(
    server: Server, scopes: list[str], method: str, path: str, status: int
) -> None:
    answer = server.ask(path, server.key(*scopes, projects=("houses",)), method)
    assert answer.status_code == status, answer.text
    assert is_plain(answer)
    if status == 403:
        assert re.search(r"this needs the scope (look|predict|decide) in \w+", answer.json()["error"])


def test_every_refused_act_stands_in_the_record_and_no_look_does(server: Server) -> None:
    key = server.key("look", name=f"Eve {MARKUP}")
    server.ask(ACT, key, "POST")
    server.ask(ACT, method="POST")
    server.ask("/projects/houses")
    first, second = [one for one in record.read(server.store) if one.what == "act refused"]
    assert (first.who, first.key) == (f"Eve {MARKUP}", key[4:12])
    assert first.detail.startswith(f"POST {ACT} from 127.0.0.1: 403, this needs the scope decide in houses")
    assert (second.who, second.key) == ("", "")


def test_refused_acts_are_few_so_the_record_is_not_flooded_and_hold_no_control_characters(server: Server) -> None:
    key = server.key("look")
    answers = [server.ask("/projects/houses/%1b[31m", key, "POST").status_code for _ in range(30)]
    assert set(answers) == {403, 429}
    found = [one for one in record.read(server.store) if one.what == "act refused"]
    assert len(found) == answers.count(403) <= 22
    assert found[0].detail.isprintable()
    assert server.ask("/projects/houses", key).status_code == 200


def test_a_project_that_may_not_be_looked_at_is_named_nowhere(server: Server) -> None:
    server.sign_in(server.key("look", projects=("houses",)))
    for path in ("/", "/projects/houses", "/projects/houses/nowhere", "/nowhere", "/sign-in", "/sign-out"):
        assert "boats" not in server.page(path).text, path
    server.cookies.clear()
    assert not re.search("boats|houses", server.page("/sign-in").text)


def test_the_metrics_of_all_projects_are_for_who_may_look_at_all(server: Server) -> None:
    assert server.ask("/metrics", server.key("look", projects=("houses", "boats"))).status_code == 403
    assert server.ask("/metrics", server.key("look")).status_code == 200


def test_keys_are_looked_up_for_who_is_not_on_this_machine_even_before_there_is_one(server: Server) -> None:
    server.address = "203.0.113.7"
    assert server.ask("/").status_code == 401
    server.address = "127.0.0.1"
    assert server.ask("/").status_code == 200
    for name in ("x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-proto", "x-forwarded-host"):
        assert server.ask("/", headers={name: "127.0.0.1"}).status_code == 401, name
    server.base = "http://10.0.0.5:3001"
    assert server.ask("/", headers={"host": "localhost"}).status_code == 401


# ------------------------------------------------------------------------------------------------------------ paths

ESCAPES = [
    "../../registry/houses/1/version.json", "..%2f..%2fregistry", "%2e%2e/%2e%2e/registry", "..%252f..%252fregistry",
    "%252e%252e%252fregistry", "..\\..\\registry", "..%5c..%5cregistry", "/etc/passwd", "%2fetc%2fpasswd",
    "....//....//app.py", "%00", "x%00.css", "%c0%ae%c0%ae/app.py", "..;/app.py", "C:%5cwindows", "~root/.ssh",
    "%2e%2e%2f%2e%2e%2faccess.sqlite",
]  # fmt: skip


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize(
    "base",
    [
        "/static/", "/projects/", "/projects/houses/", "/projects/houses/drift/", "/projects/houses/versions/",
        "/projects/houses/versions/1/",
    ],
)  # fmt: skip
def test_no_path_leads_out(server: Server, base: str, escape: str) -> None:
    server.sign_in(server.key("look"))
    for path in (base + escape, f"{base}{escape}/evidently"):
        answer = server.page(path)
        assert answer.status_code in {303, 307, 404, 422}, path
        assert is_plain(answer)
        assert "root:" not in answer.text


@given(st.text(max_size=60))
def test_the_table_is_closed_where_it_says_nothing(path: str) -> None:
    demand = demand_of("GET", f"/{path}")
    under = [
        row for row in TABLE if row.address and (f"/{path}" == row.address or path.startswith(f"{row.address[1:]}/"))
    ]
    assert (demand is not None) == bool(under or not path)
    if path and not under:
        assert demand_of("POST", f"/{path}") is None


@pytest.mark.parametrize("path", ["//projects/houses", "/Projects/houses", "/projects//houses"])
def test_another_spelling_of_a_path_opens_nothing(server: Server, path: str) -> None:
    key = server.key("look", projects=("houses",))
    assert server.ask(f"http://127.0.0.1:3001{path}", key).status_code in {403, 404}


# ---------------------------------------------------------------------------------------------------------- headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "evil.example:3001", "", "[::1", "::1"]
)
def test_another_host_is_refused_before_any_key_is_read(server: Server, host: str) -> None:
    answer = server.ask("/sign-in", headers={"host": host, "accept": "text/html"})
    assert answer.status_code == 400
    assert "evil" not in answer.text


def test_headers_that_stand_twice_are_refused(server: Server) -> None:
    import asyncio

    import httpx

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url=server.base) as client:
            return await client.get(
                "/", headers=[("host", "127.0.0.1"), ("authorization", "a"), ("authorization", "b")]
            )

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["error"]) == (400, "the header authorization stands there twice")


@pytest.mark.parametrize(
    "path", ["/", "/sign-in", "/sign-out", "/static/style.css", "/healthz", "/nowhere", "/projects/houses"]
)
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("with_key", [True, False])
def test_every_answer_carries_the_security_headers_errors_too(
    server: Server, path: str, accept: str, *, with_key: bool
) -> None:
    key = server.key("look")
    answer = server.ask(path, key if with_key else "", headers={"accept": accept})
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert is_plain(answer)


# ----------------------------------------------------------------------------------------------- signing in and out


def test_a_browser_without_a_session_is_sent_to_sign_in_and_back(server: Server) -> None:
    key = server.key("look")
    sent = server.page("/projects/houses?a=1&b=%22")
    assert sent.status_code == 303
    assert sent.headers["location"] == "/sign-in?next=%2Fprojects%2Fhouses%3Fa%3D1%26b%3D%2522"
    form = server.page(sent.headers["location"])
    assert 'name="next" value="/projects/houses?a=1&amp;b=%22"' in form.text
    assert '<input id="key" name="key" type="password" autocomplete="current-password"' in form.text
    done = server.sign_in(key, "/projects/houses?a=1&b=%22")
    assert (done.status_code, done.headers["location"]) == (303, "/projects/houses?a=1&b=%22")
    assert server.page("/projects/houses").status_code == 200


@pytest.mark.parametrize(
    ("scopes", "projects", "lands"),
    [
        (("predict",), ("boats",), "/try/boats"),
        (("predict",), ("*",), "/try/houses"),
        (("predict", "look"), ("boats",), "/"),
        (("decide",), ("boats",), "/"),
    ],
)
def test_who_signs_in_lands_on_the_first_page_that_they_may_see(
    server: Server, scopes: tuple[str, ...], projects: tuple[str, ...], lands: str
) -> None:
    landed = server.sign_in(server.key(*scopes, projects=projects)).headers["location"]
    assert landed == lands
    # Nothing has been trained here: the form says so, and is theirs.
    page = server.page(landed)
    assert page.status_code in {200, 409}
    links = re.findall(r'href="(/[^"]*)"', page.text)
    assert [link for link in links if server.page(link).status_code == 403] == []


def test_who_may_predict_alone_finds_every_form_of_theirs(server: Server) -> None:
    server.sign_in(server.key("predict"))
    page = server.page("/try/houses").text
    assert 'href="/try/houses"' in page
    assert 'href="/try/boats"' in page


def test_who_asked_for_a_page_that_they_may_not_see_is_told_so(server: Server) -> None:
    done = server.sign_in(server.key("predict", projects=("boats",)), "/projects/houses")
    assert done.headers["location"] == "/projects/houses"


def test_the_cookie_is_the_browsers_alone_and_kept_nowhere(server: Server) -> None:
    said = server.sign_in(server.key("look")).headers["set-cookie"]
    assert re.fullmatch(r"ml_assets_session=[\w-]{43}; HttpOnly; Max-Age=43200; Path=/; SameSite=strict", said)
    token = server.cookies["ml_assets_session"]
    assert all(token.encode() not in file.read_bytes() for file in server.store.file.parent.iterdir() if file.is_file())


def test_by_https_the_cookie_goes_by_https_alone(server: Server) -> None:
    server.base = "https://127.0.0.1:3001"
    said = server.sign_in(server.key("look")).headers["set-cookie"]
    assert said.startswith("__Host-ml_assets_session=")
    assert "Secure" in said
    assert server.page("/").status_code == 200


@pytest.mark.parametrize(
    "next_",
    [
        "https://evil.example", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "evil",
        "javascript:alert(1)", "/x\r\nSet-Cookie: a=b", "/\tx", "/%0d%0aSet-Cookie:a=b", "", "/\x00", "http:/x",
        "/ //evil.example", "/é", "//[",
    ],
)  # fmt: skip
def test_after_signing_in_nobody_is_led_elsewhere(server: Server, next_: str) -> None:
    answer = server.sign_in(server.key("look"), next_)
    assert answer.status_code == 303
    assert re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", answer.headers["location"])
    assert [name for name in answer.headers if name == "set-cookie"] == ["set-cookie"]
    assert "a=b" not in answer.headers["set-cookie"]


@given(st.text(max_size=80) | st.text("/[]:\\.@?# a", max_size=12))
def test_a_local_path_is_local_whatever_is_asked(text: str) -> None:
    for tried in (text, f"/{text}"):
        assert re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", local_path(tried))


def test_a_session_is_new_at_every_sign_in_whatever_the_browser_came_with(server: Server) -> None:
    server.key("look")
    server.cookies["ml_assets_session"] = "A" * 43
    server.sign_in(server.key("look"))
    first = server.cookies["ml_assets_session"]
    assert first != "A" * 43
    server.sign_in(server.key("look"))
    assert server.cookies["ml_assets_session"] != first
    server.cookies["ml_assets_session"] = first
    assert server.page("/").status_code == 303  # that session ended with the new one


def test_a_session_ends_when_its_key_is_revoked_when_it_is_old_and_when_one_signs_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [server.key("look") for _ in range(3)]
    server.sign_in(keys[0])
    revoke_key(server.store, keys[0][4:12])
    assert server.page("/").status_code == 303

    server.cookies.clear()
    server.sign_in(keys[1])
    assert server.page("/").status_code == 200
    real = time.time
    with monkeypatch.context() as later:
        later.setattr("ml_assets.serving.access.door.time.time", lambda: real() + 12 * 3600 + 1)
        assert server.page("/").status_code == 303

    server.cookies.clear()
    server.sign_in(keys[2])
    kept = dict(server.cookies)
    assert server.act("/sign-out").headers["location"] == "/sign-in"
    server.cookies = kept
    assert server.page("/").status_code == 303


def test_guessing_is_slow(server: Server) -> None:
    server.key("look")
    answers = [server.sign_in(f"mla_00000000_{'A' * 43}") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert server.sign_in(server.key("look")).status_code == 429
    server.address = "127.0.0.2"
    assert server.sign_in(server.key("look")).status_code == 303
    assert [one.what for one in record.read(server.store)].count("sign-in refused") == 10


# ------------------------------------------------------------------------------------------------------------ forms


@pytest.fixture
def decider(server: Server) -> Server:
    server.sign_in(server.key("decide"))
    return server


def token_of(server: Server) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', server.page("/sign-out").text)
    assert found
    return found[1]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:4000"},
        {"origin": "http://127.0.0.1:3001.evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://evil.example@127.0.0.1:3001"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:3001"},
    ],
)
@pytest.mark.parametrize("path", [ACT, "/sign-in", "/sign-out", "/predict/houses", "/try/houses"])
def test_another_sites_page_sends_nothing_here(decider: Server, path: str, headers: dict[str, str]) -> None:
    decider.cookies.clear()
    decider.sign_in(decider.key("decide", "predict"))
    data = {"form_token": token_of(decider), "why": "because"}
    answer = decider.ask(path, method="POST", data=data, headers=headers)
    assert answer.status_code == 403
    assert "another site" in answer.text


@pytest.mark.parametrize("shown", [None, "", "0" * 64, "é", "another's"])
def test_a_form_without_its_sessions_token_is_not_taken(decider: Server, shown: str | None) -> None:
    if shown == "another's":
        other = Server(decider.store)
        other.sign_in(other.key("decide"))
        shown = token_of(other)
    data = {"why": "because", **({} if shown is None else {"form_token": shown})}
    for path in (ACT, "/sign-out"):
        assert decider.page(path, method="POST", data=data).status_code == 403
    assert decider.page("/").status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"why=x", "", 415),
        (b"why=x", "multipart/form-data; boundary=x", 415),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=b" for _ in range(100)), "application/x-www-form-urlencoded", 400),
        (b"why=" + b"x" * 70_000, "application/x-www-form-urlencoded", 413),
    ],
)  # fmt: skip
def test_what_is_no_form_is_refused(decider: Server, content: bytes, kind: str, status: int) -> None:
    answer = decider.page(ACT, method="POST", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert is_plain(answer)


def test_a_key_in_a_header_acts_without_a_token_for_no_browser_sends_one_by_itself(server: Server) -> None:
    answer = server.ask(ACT, server.key("decide"), "POST", data={"why": "because"})
    assert answer.status_code == 409
    assert "no version has served before the champion" in answer.text


@pytest.mark.parametrize("version", ["9" * 5000, "1000000000", "two", "-1", "\N{ARABIC-INDIC DIGIT TWO}"])
def test_a_form_that_names_no_version_is_not_taken_for_one_that_names_none(server: Server, version: str) -> None:
    key = server.key("decide")
    answer = server.ask("/projects/houses/rollback", key, "POST", data={"why": "because", "version": version})
    assert answer.status_code == 422
    assert "no version's number" in unescape(answer.text)


# ------------------------------------------------------------------------------------------------- names from people


def test_the_name_of_a_key_is_text_wherever_it_stands(server: Server) -> None:
    server.sign_in(server.key("decide", name=MARKUP))
    for path in ("/", "/sign-out", ACT, "/projects/houses", "/projects/houses/versions/1/approve"):
        page = server.page(path)
        assert MARKUP not in page.text
    refused = server.page("/auth/dagster", headers={"accept": "text/html"})
    assert refused.status_code == 204
    assert MARKUP not in json.dumps(dict(refused.headers))


def test_what_is_asked_for_is_text_in_the_refusal(server: Server) -> None:
    server.sign_in(server.key("look", projects=("houses",), name=MARKUP))
    for path in (f"/projects/{MARKUP}", f"/nowhere/{MARKUP}", f"/sign-in?next=/{MARKUP}", f"/projects/houses/{MARKUP}"):
        page = server.page(path)
        assert "<script" not in page.text, path
